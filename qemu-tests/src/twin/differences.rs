//! What differs between two roots, and whether the list knows why.

use super::seen::{Bytes, Root, Seen, What};
use anyhow::{Context, Result};
use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};
use std::fmt;

/// In what a path of the two roots differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aspect {
    /// Only the distribution's tools make it.
    OnlyInstalled,
    /// Only the builder makes it.
    OnlyComposed,
    /// Folder, file, link ...
    Type,
    /// Permission bits.
    Mode,
    /// Owner or group.
    Owner,
    /// Extended attributes.
    Attributes,
    /// A file's bytes.
    Content,
    /// Under which names one file is there.
    Names,
    /// Where a symbolic link leads.
    Target,
}

/// One difference of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Path.
    pub path: String,
    /// In what it differs.
    pub aspect: Aspect,
    /// What the builder made of it.
    pub composed: String,
    /// What the distribution's tools made of it.
    pub installed: String,
}

/// The list of differences that are as they should be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reasons {
    difference: Vec<Reason>,
}

/// Some differences and their one reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    /// Globs of paths: `*` stops at a slash, `**` does not.
    paths: Vec<String>,
    /// In what they differ.
    differ: Vec<Aspect>,
    /// Why it is right so.
    reason: String,
}

impl fmt::Display for Aspect {
    /// As it stands in the list.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Found { path, aspect, composed, installed } = self;
        write!(f, "{path} ({aspect}): the builder has {composed}, the distribution's tools make {installed}")
    }
}

/// Everything in which the two differ, in path order.
pub fn compare(composed: &Root, installed: &Root) -> Vec<Found> {
    let mut all = Vec::new();
    let mut paths: Vec<&String> = composed.keys().chain(installed.keys()).collect();
    paths.sort_unstable();
    paths.dedup();
    for path in paths {
        let found =
            |aspect, composed: String, installed: String| Found { path: path.clone(), aspect, composed, installed };
        match (composed.get(path), installed.get(path)) {
            (Some(c), Some(i)) => all.extend(aspects(c, i).into_iter().map(|(a, c, i)| found(a, c, i))),
            (Some(c), None) => all.push(found(Aspect::OnlyComposed, whole(c), "nothing".into())),
            (None, Some(i)) => all.push(found(Aspect::OnlyInstalled, "nothing".into(), whole(i))),
            (None, None) => {}
        }
    }
    all
}

fn aspects(composed: &Seen, installed: &Seen) -> Vec<(Aspect, String, String)> {
    let mut all = Vec::new();
    let mut differ = |aspect, c: String, i: String| {
        if c != i {
            all.push((aspect, c, i));
        }
    };
    let mode = |seen: &Seen| format!("{:04o}", seen.mode);
    let attributes = |seen: &Seen| {
        let all: Vec<String> =
            seen.xattrs.iter().map(|(name, value)| format!("{name}={}", hex::encode(value))).collect();
        if all.is_empty() { "none".into() } else { all.join(" ") }
    };
    match (&composed.what, &installed.what) {
        (What::File(c, first_c), What::File(i, first_i)) => {
            if c.digest != i.digest {
                let (c, i) = contents(c, i);
                differ(Aspect::Content, c, i);
            }
            differ(Aspect::Names, format!("one file with {first_c}"), format!("one file with {first_i}"));
        }
        (What::Link(c), What::Link(i)) => {
            differ(Aspect::Target, c.clone(), i.clone());
            // A link's mode counts nowhere.
            differ(Aspect::Owner, composed.owner.clone(), installed.owner.clone());
            return all;
        }
        (What::Folder, What::Folder) => {}
        (What::Special(c), What::Special(i)) if c == i => {}
        (c, i) => return vec![(Aspect::Type, kind(c), kind(i))],
    }
    differ(Aspect::Mode, mode(composed), mode(installed));
    differ(Aspect::Owner, composed.owner.clone(), installed.owner.clone());
    differ(Aspect::Attributes, attributes(composed), attributes(installed));
    all
}

fn kind(what: &What) -> String {
    match what {
        What::Folder => "a folder".into(),
        What::File(bytes, _) => format!("a file of {} bytes", bytes.size),
        What::Link(target) => format!("a link to {target}"),
        What::Special(what) => format!("a {what}"),
    }
}

fn whole(seen: &Seen) -> String {
    format!("{}, {:04o} {}", kind(&seen.what), seen.mode, seen.owner)
}

/// Of two texts the first line in which they differ, of other bytes the digests.
fn contents(composed: &Bytes, installed: &Bytes) -> (String, String) {
    if let (Some(c), Some(i)) = (&composed.text, &installed.text) {
        let (mut c, mut i) = (c.lines(), i.lines());
        for number in 1.. {
            match (c.next(), i.next()) {
                (None, None) => break,
                (c, i) if c == i => {}
                (c, i) => {
                    let told = |line: Option<&str>| match line {
                        Some(line) => format!("{line:?} in line {number}"),
                        None => format!("no line {number}"),
                    };
                    return (told(c), told(i));
                }
            }
        }
    }
    let told = |bytes: &Bytes| format!("{} bytes, SHA-256 {}", bytes.size, bytes.digest);
    (told(composed), told(installed))
}

impl Reasons {
    /// Reads the list.
    ///
    /// # Errors
    /// When it is no such list, or an entry has no reason.
    pub fn parse(text: &str) -> Result<Reasons> {
        let reasons: Reasons = toml::from_str(text)?;
        for Reason { paths, reason, .. } in &reasons.difference {
            anyhow::ensure!(
                reason.ends_with('.'),
                "{paths:?}: the reason is a sentence, and there is none: {reason:?}"
            );
        }
        Ok(reasons)
    }

    /// What speaks against the two roots, a line each: every difference without an entry, and every glob and aspect of an
    /// entry that nothing uses any more. Of one aspect of one path the first entry counts.
    ///
    /// # Errors
    /// When a glob is none.
    pub fn judge(&self, found: &[Found]) -> Result<Vec<String>> {
        let globs = self
            .difference
            .iter()
            .map(|reason| reason.paths.iter().map(|glob| matcher(glob)).collect::<Result<Vec<_>>>())
            .collect::<Result<Vec<_>>>()?;
        let mut unused: Vec<(Vec<bool>, Vec<bool>)> =
            self.difference.iter().map(|r| (vec![true; r.paths.len()], vec![true; r.differ.len()])).collect();
        let mut against = Vec::new();
        for difference in found {
            let mut known = false;
            for ((reason, globs), (paths, differ)) in self.difference.iter().zip(&globs).zip(&mut unused) {
                let aspect = reason.differ.iter().position(|aspect| *aspect == difference.aspect);
                let path = globs.iter().position(|glob| glob.is_match(&difference.path));
                if let (Some(aspect), Some(path), false) = (aspect, path, known) {
                    (paths[path], differ[aspect], known) = (false, false, true);
                }
            }
            if !known {
                against.push(difference.to_string());
            }
        }
        for (reason, (paths, differ)) in self.difference.iter().zip(&unused) {
            let paths = reason.paths.iter().zip(paths).filter(|(_, unused)| **unused).map(|(glob, _)| glob.clone());
            let differ = reason.differ.iter().zip(differ).filter(|(_, unused)| **unused).map(|(a, _)| a.to_string());
            against.extend(paths.chain(differ).map(|what| {
                format!("the list has {what:?} ({}), and nothing differs so any more: take it out", reason.reason)
            }));
        }
        Ok(against)
    }
}

fn matcher(glob: &str) -> Result<GlobMatcher> {
    let built = GlobBuilder::new(glob).literal_separator(true).empty_alternates(true).build();
    Ok(built.with_context(|| format!("the list of differences has {glob:?}, which is no glob"))?.compile_matcher())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn seen(what: What, mode: u32) -> Seen {
        Seen { what, mode, owner: "root 0:root 0".into(), xattrs: BTreeMap::new() }
    }

    fn file(path: &str, text: &str) -> Seen {
        seen(What::File(Bytes::of_text(text.into()), path.into()), 0o644)
    }

    fn told(composed: &[(&str, Seen)], installed: &[(&str, Seen)]) -> Vec<String> {
        let root = |all: &[(&str, Seen)]| all.iter().map(|(path, seen)| ((*path).to_owned(), seen.clone())).collect();
        compare(&root(composed), &root(installed)).iter().map(Found::to_string).collect()
    }

    #[test]
    fn every_aspect_of_a_path_is_told_with_both_sides() {
        let same =
            [("/a", file("/a", "x")), ("/b", seen(What::Folder, 0o755)), ("/l", seen(What::Link("x".into()), 0))];
        assert_eq!(told(&same, &same), [""; 0]);
        let mut other = file("/0", "x\nz");
        (other.mode, other.owner) = (0o600, "a:b".into());
        other.xattrs.insert("security.x".into(), vec![1, 255]);
        let others = [
            ("/a", other),
            ("/b", seen(What::Special("named pipe".into()), 0)),
            ("/l", seen(What::Link("y".into()), 1)),
        ];
        let wanted = [
            "/a (content): the builder has no line 2, the distribution's tools make \"z\" in line 2",
            "/a (names): the builder has one file with /a, the distribution's tools make one file with /0",
            "/a (mode): the builder has 0644, the distribution's tools make 0600",
            "/a (owner): the builder has root 0:root 0, the distribution's tools make a:b",
            "/a (attributes): the builder has none, the distribution's tools make security.x=01ff",
            "/b (type): the builder has a folder, the distribution's tools make a named pipe",
            "/l (target): the builder has x, the distribution's tools make y",
        ];
        assert_eq!(told(&same, &others), wanted);
        let wanted = [
            "/a (only-composed): the builder has a file of 1 bytes, 0644 root 0:root 0, the distribution's tools make nothing",
            "/c (only-installed): the builder has nothing, the distribution's tools make a file of 0 bytes, 0644 root 0:root 0",
        ];
        assert_eq!(told(&[("/a", file("/a", "x"))], &[("/c", file("/c", ""))]), wanted);
    }

    #[test]
    fn what_has_no_entry_and_what_is_no_longer_so_speaks_against_them() {
        let list = "[[difference]]\npaths = ['/var/lib{,/**}', '/old/*']\ndiffer = ['mode', 'owner']\nreason = 'So.'\n";
        let found =
            |path: &str, aspect| Found { path: path.into(), aspect, composed: "one".into(), installed: "other".into() };
        let reasons = Reasons::parse(list).unwrap();
        let against = reasons.judge(&[found("/var/lib/x", Aspect::Mode), found("/var", Aspect::Mode)]).unwrap();
        let wanted = [
            "/var (mode): the builder has one, the distribution's tools make other",
            "the list has \"/old/*\" (So.), and nothing differs so any more: take it out",
            "the list has \"owner\" (So.), and nothing differs so any more: take it out",
        ];
        assert_eq!(against, wanted);
        let all = [found("/var/lib", Aspect::Owner), found("/old/x", Aspect::Mode)];
        assert_eq!(reasons.judge(&all).unwrap(), [""; 0]);
        assert_eq!(reasons.judge(&[found("/old/x/y", Aspect::Mode)]).unwrap().len(), 5);
        assert!(Reasons::parse(&list.replace("So.", "")).unwrap_err().to_string().contains("/old"));
    }
}
