//! What a person is shown: a page on every console, lines of progress, a status file.

pub mod console;
pub mod estimate;
pub mod memory;
pub mod page;
pub mod status;
