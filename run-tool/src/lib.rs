//! The one way to run an external program.
//!
//! A [`Tool`] is found by absolute path and can have its version checked before it is used. A
//! [`Command`] runs with an environment that is given, not inherited, and its error carries the program,
//! its arguments, the exit status and the end of its standard error.

mod command;
mod tool;

pub use command::{Command, Error, Finished, Running};
pub use tool::{Tool, ToolError};
