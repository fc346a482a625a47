//! External programs, located before they are needed.

use crate::Command;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An external program at an absolute path, with what it takes to start it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// Name for people.
    pub name: String,
    /// The program that is started: the tool itself, or a loader that starts it.
    pub program: PathBuf,
    /// Arguments that come before the caller's: the loader's options and the tool's path.
    pub prefix: Vec<OsString>,
    /// Environment of every run, beyond `PATH=/nonexistent`, `LC_ALL=C.UTF-8` and `TZ=UTC`.
    pub environment: Vec<(OsString, OsString)>,
    /// How long each run may take, if that is limited.
    pub limit: Option<Duration>,
}

/// A tool that is not there or not usable.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// Not in any of the folders.
    #[error(
        "the program {name} is in none of {folders}; it belongs to what is locked, so the tree it comes from is incomplete"
    )]
    Missing {
        /// Program.
        name: String,
        /// Where it was looked for.
        folders: String,
    },
    /// Another version than what was asked for.
    #[error("{name} at {path} says {found:?}; version {wanted} or later is needed")]
    Version {
        /// Program.
        name: String,
        /// Where.
        path: String,
        /// First line it printed.
        found: String,
        /// Least version.
        wanted: String,
    },
    /// It could not be asked.
    #[error(transparent)]
    Run(#[from] crate::Error),
}

impl Tool {
    /// The program at this absolute path.
    pub fn at(path: impl Into<PathBuf>) -> Tool {
        let program = path.into();
        let name = program.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        Tool { name, program, prefix: Vec::new(), environment: Vec::new(), limit: None }
    }

    /// The first of `folders` that has an executable file `name`.
    ///
    /// # Errors
    /// [`ToolError::Missing`] when none has.
    pub fn find(name: &str, folders: &[&Path]) -> Result<Tool, ToolError> {
        folders.iter().map(|f| f.join(name)).find(|p| p.is_file()).map(Tool::at).ok_or_else(|| ToolError::Missing {
            name: name.into(),
            folders: folders.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", "),
        })
    }

    /// Sets a variable for every run.
    #[must_use]
    pub fn with_env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Tool {
        self.environment.push((key.into(), value.into()));
        self
    }

    /// Kills each run that has not ended after `limit`.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Tool {
        self.limit = Some(limit);
        self
    }

    /// Runs the tool with `argument` (`--version`) and compares the first dotted number it prints, on
    /// either stream, with `least`.
    ///
    /// # Errors
    /// [`ToolError::Version`] when it is older or prints none.
    pub fn require_version(&self, argument: &str, least: &[u32]) -> Result<(), ToolError> {
        let done = self.command().arg(argument).run()?;
        let text = format!("{}\n{}", done.stdout_text(), done.stderr_text());
        let found = first_version(&text);
        if found.as_deref().is_some_and(|f| f >= least) {
            return Ok(());
        }
        Err(ToolError::Version {
            name: self.name.clone(),
            path: self.program.display().to_string(),
            found: text.lines().find(|l| !l.trim().is_empty()).unwrap_or("").into(),
            wanted: least.iter().map(u32::to_string).collect::<Vec<_>>().join("."),
        })
    }

    /// A run of this tool.
    #[must_use]
    pub fn command(&self) -> Command {
        Command::new(self)
    }
}

/// The first run of digits and dots with at least one dot: `mdadm - v4.4 - 2024` gives `[4, 4]`.
fn first_version(text: &str) -> Option<Vec<u32>> {
    text.split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .map(|w| w.trim_matches('.'))
        .find(|w| w.contains('.'))
        .map(|w| w.split('.').map_while(|n| n.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_banners() {
        assert_eq!(first_version("mdadm - v4.4 - 2024-11-07"), Some(vec![4, 4]));
        assert_eq!(first_version("mkfs.xfs version 6.13.0"), Some(vec![6, 13, 0]));
        assert_eq!(first_version("no number"), None);
    }

    #[test]
    fn a_missing_tool_is_named() {
        let error = Tool::find("no-such-program", &[Path::new("/usr/bin")]).unwrap_err();
        assert!(error.to_string().contains("no-such-program"));
    }

    #[test]
    fn an_old_version_is_refused() {
        let tool = Tool::at("/bin/echo");
        assert!(tool.require_version("tool 2.1", &[2, 0]).is_ok());
        assert!(tool.require_version("tool 2.1", &[2, 2]).is_err());
    }
}
