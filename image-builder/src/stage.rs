//! Keys of stage outputs.

use crate::digest::Sha256;
use std::fmt::Display;

/// Names a stage's output by everything that went into it: the stage, the `REVISION` of its code, its
/// inputs, its options and the digests of the tools it drove. Equal keys mean equal bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageKey {
    /// The stage's name; the folder the output is cached in begins with it.
    pub stage: &'static str,
    text: String,
}

impl StageKey {
    /// A key of this stage at this revision of its code.
    pub fn new(stage: &'static str, revision: u32) -> StageKey {
        StageKey { stage, text: format!("stage {stage}\nrevision {revision}\n") }
    }

    /// Adds an input or an option. Order matters.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Display) -> StageKey {
        // Length first, so that no two lists of values give one text.
        let value = value.to_string();
        self.text.push_str(&format!("{name} {} {value}\n", value.len()));
        self
    }

    /// The digest of the key.
    pub fn digest(&self) -> Sha256 {
        Sha256::of(&self.text)
    }

    /// What the key was made of, for a person who asks why a stage ran again.
    pub fn text(&self) -> &str {
        &self.text
    }
}
