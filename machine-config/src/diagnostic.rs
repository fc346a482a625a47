//! One shape for everything that has to be told to a person.
//!
//! The command line, the console page, the status file and the tests render the same value. Codes are
//! stable: a code once given keeps its meaning, and each has a paragraph in `docs/diagnostics.md`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where in a text something stands. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The file's name as the person gave it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Something that is wrong, why it matters and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Stable code: `BP-` + room letter (`C` config, `S` storage, `N` network, `J` join, `B` boot, `R` recipe,
    /// `L` lock and inputs, `H` health of disks) + three digits.
    pub code: String,
    /// What is wrong, in one sentence, naming the thing.
    pub what: String,
    /// The text that decides it, if a text does.
    pub place: Option<Place>,
    /// Why that is refused, or what was expected instead.
    pub why: String,
    /// What the person can do about it.
    pub mend: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}: {}", self.code, self.what)?;
        if !self.why.is_empty() {
            write!(f, "\n  why:  {}", self.why)?;
        }
        if !self.mend.is_empty() {
            write!(f, "\n  mend: {}", self.mend)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}
