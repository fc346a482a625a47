//! `bedplate diff`: what changes from one image to another. Pure: two [`Contents`] in, data out; [`text`] and
//! [`markdown`] print it.
//!
//! Of releases everything is compared; where a side is a lock alone, what a lock can tell. Two releases that boot
//! the same bytes differ in nothing but their signatures.

mod compare;
mod page;

pub use compare::compare;
pub use page::{markdown, text};

use serde::Serialize;
use std::collections::BTreeMap;

/// Everything that differs. What is the same is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Diff {
    /// Format of this data: 1.
    pub format: u32,
    /// The older side.
    pub from: Side,
    /// The newer side.
    pub to: Side,
    /// Whether both are releases with the same root and the same UKI before it was signed.
    pub same_image: bool,
    /// Packages of the root.
    pub packages: Vec<Change>,
    /// Packages that the image is made with: compilers, file system tools.
    pub tools: Vec<Change>,
    /// Components, by name.
    pub components: BTreeMap<String, ComponentDiff>,
    /// Container images: names, and digests of their manifests. Of locks only those that are taken ready.
    pub images: Vec<Change>,
    /// Release of the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Step<String>>,
    /// Words of the signed command line, without the root hash.
    pub command_line: Words,
    /// Sizes in bytes, by what they are of.
    pub sizes: BTreeMap<String, Step<u64>>,
    /// Users and groups: `user NAME` or `group NAME`, and their numbers.
    pub ids: Vec<Change>,
    /// Files of overlays and the agent's programs: only that they differ.
    pub local: Vec<Change>,
    /// Paths of the root.
    pub files: Vec<FileChange>,
    /// What somebody who rolls this out should know before.
    pub notes: Vec<String>,
}

/// One side of the comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Side {
    /// The path it was read from.
    pub path: String,
    /// Name and version of a release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Root hash of a release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_hash: Option<String>,
    /// The newest date of its archives, RFC 3339.
    pub snapshot: String,
}

/// From one value to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Step<T> {
    pub from: T,
    pub to: T,
}

/// Something that came, went or changed its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Change {
    /// What.
    pub name: String,
    /// In which way.
    pub kind: ChangeKind,
    /// Its former value; none if it was not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Its value now; none if it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Of a package that came or changed: the suite it is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
}

/// In which way something differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum ChangeKind {
    Upgraded,
    Downgraded,
    /// Another value of the same or no version.
    Changed,
    Added,
    Removed,
}

/// How a component differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ComponentDiff {
    /// Whether the component itself came, went or changed.
    pub kind: ChangeKind,
    /// Its versions.
    pub versions: Vec<Change>,
    /// Go modules compiled into it.
    pub modules: Vec<Change>,
    /// Whether the sources that ship with the builder, or files that were fetched, differ.
    pub sources: bool,
}

/// Words that came and went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Words {
    pub added: Vec<String>,
    pub removed: Vec<String>,
}

/// One path that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FileChange {
    /// The path.
    pub path: String,
    /// `added`, `removed` or `changed`.
    pub kind: ChangeKind,
    /// The input it is from now, or was from if it is gone: without its version.
    pub input: String,
    /// Whether the input itself came, went or is of another version, so that the change is no surprise.
    pub expected: bool,
    /// Of a change: each property that differs (`kind`, `content`, `target`, `mode`, `owner`, `xattrs`, `input`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub what: BTreeMap<&'static str, Step<String>>,
    /// By how many bytes its content grew.
    pub grew: i64,
    /// Whether it is or was a program that runs with others' rights: set-uid, set-gid or with capabilities.
    pub privileged: bool,
}

impl Diff {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        let Diff { packages, tools, components, images, kernel, command_line, sizes, ids, local, files, .. } = self;
        let lists = [packages, tools, images, ids, local];
        lists.iter().all(|list| list.is_empty())
            && (components.is_empty() && kernel.is_none() && sizes.is_empty() && files.is_empty())
            && *command_line == Words::default()
    }
}

#[cfg(test)]
mod tests;
