//! What maintainer scripts would have done, done as data: one module each.

pub mod usrmerge;
