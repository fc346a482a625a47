//! Decisions of the lock. Pure: text and data in, data out.

pub mod go_modules;
