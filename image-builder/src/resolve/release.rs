//! `InRelease`: whose word it is, how long it holds, and which indexes it vouches for.
//!
//! Pure: text in, data out; the present moment is an argument. Format: Debian repository format,
//! "Release" files (deb822) inside an OpenPGP clear-signed message.

use crate::digest::Sha256;
use deb822_fast::borrowed::BorrowedParser;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// What a `Release` file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// `Suite` (`stable`).
    pub suite: Option<String>,
    /// `Codename` (`trixie`).
    pub codename: Option<String>,
    /// `Date`, seconds since 1970.
    pub date: i64,
    /// `Valid-Until`, seconds since 1970, if it says so.
    pub valid_until: Option<i64>,
    /// Whether indexes are also served by their digest.
    pub by_hash: bool,
    /// Whether packages of architecture `all` have an index of their own.
    pub separate_all: bool,
    files: BTreeMap<String, (Sha256, u64)>,
}

/// What is wrong with a `Release` file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not the format.
    #[error("the Release file of suite {suite} of archive {archive:?} can't be read: {why}")]
    Format {
        /// The recipe's name of the archive.
        archive: String,
        /// Suite.
        suite: String,
        /// What is wrong.
        why: String,
    },
    /// Past its time.
    #[error(
        "the Release file of suite {suite} of archive {archive:?} is expired: it was valid until {until}; the mirror may be \
         stale, or this machine's clock wrong"
    )]
    Expired {
        /// The recipe's name of the archive.
        archive: String,
        /// Suite.
        suite: String,
        /// Its last moment.
        until: String,
    },
    /// Older than the one that was locked last.
    #[error(
        "the Release file of suite {suite} of archive {archive:?} is of {found}, older than the one in the lock, of {former}: \
         the mirror is stale, or somebody holds updates back; use another mirror, or take it with `bedplate lock --accept-older`"
    )]
    Older {
        /// The recipe's name of the archive.
        archive: String,
        /// Suite.
        suite: String,
        /// Its date.
        found: String,
        /// Date of the one that was locked last.
        former: String,
    },
    /// Another suite's.
    #[error("archive {archive:?} answered with the Release file of suite {found} when asked for {suite}")]
    Suite {
        /// The recipe's name of the archive.
        archive: String,
        /// Suite asked for.
        suite: String,
        /// Suite and code name found.
        found: String,
    },
    /// It does not vouch for an index that is needed.
    #[error("suite {suite} of archive {archive:?} has no {index}; it has the components {components}")]
    NoIndex {
        /// The recipe's name of the archive.
        archive: String,
        /// Suite.
        suite: String,
        /// The index (`main/binary-amd64/Packages.xz`).
        index: String,
        /// Components that have one.
        components: String,
    },
}

impl Release {
    /// Reads the signed text.
    ///
    /// # Errors
    /// A sentence fragment that says what is wrong.
    pub fn parse(text: &str) -> Result<Release, String> {
        let stanzas = BorrowedParser::new(text).parse_all().map_err(|e| e.to_string())?;
        let stanza = stanzas.first().ok_or("it is empty")?;
        let moment = |name: &str| {
            let Some(value) = stanza.get_single(name) else { return Ok(None) };
            parse_date(value).map(Some).ok_or_else(|| format!("{name} is {value:?}, which is no date"))
        };
        let mut files = BTreeMap::new();
        for line in stanza.get("SHA256").ok_or("it has no SHA256 sums")?.iter().filter(|l| !l.trim().is_empty()) {
            let mut words = line.split_whitespace();
            let parsed = (|| Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?)))();
            let (digest, size, path): (Sha256, u64, &str) =
                parsed.ok_or_else(|| format!("{line:?} is no line of SHA256 sums"))?;
            files.insert(path.to_owned(), (digest, size));
        }
        let has = |name: &str, word: &str| {
            stanza.get(name).is_some_and(|lines| lines.iter().any(|l| l.split_whitespace().any(|w| w == word)))
        };
        Ok(Release {
            suite: stanza.get_single("Suite").map(str::to_owned),
            codename: stanza.get_single("Codename").map(str::to_owned),
            date: moment("Date")?.ok_or("it has no Date")?,
            valid_until: moment("Valid-Until")?,
            by_hash: has("Acquire-By-Hash", "yes"),
            separate_all: has("Architectures", "all") && !has("No-Support-for-Architecture-all", "Packages"),
            files,
        })
    }

    /// Whether this is the `Release` of `suite`: by its `Suite`, its `Codename`, or the code name with the
    /// suite's own ending (older security archives are `buster/updates`).
    pub fn is_of(&self, suite: &str) -> bool {
        let flat = suite.ends_with('/');
        flat || [&self.suite, &self.codename].into_iter().flatten().any(|name| name == suite)
    }

    /// How it names itself, for people.
    pub fn own_name(&self) -> String {
        match (&self.suite, &self.codename) {
            (Some(suite), Some(codename)) if suite != codename => format!("{codename} ({suite})"),
            (_, Some(name)) | (Some(name), None) => name.clone(),
            (None, None) => "no name".into(),
        }
    }

    /// The best index of packages for this component and architecture: its path below the suite's folder, its
    /// digest and its size. None when there is none in a form this builder reads.
    pub fn packages(&self, component: &str, architecture: &str) -> Option<(String, Sha256, u64)> {
        ["xz", "gz", ""].into_iter().find_map(|ending| {
            let dot = if ending.is_empty() { "" } else { "." };
            let path = format!("{component}/binary-{architecture}/Packages{dot}{ending}");
            self.files.get(&path).map(|(digest, size)| (path.clone(), *digest, *size))
        })
    }

    /// Components that have an index of packages for this architecture.
    pub fn components(&self, architecture: &str) -> Vec<&str> {
        let ending = format!("/binary-{architecture}/Packages");
        let mut names: Vec<&str> = self
            .files
            .keys()
            .filter_map(|path| {
                path.strip_suffix(".xz").or(path.strip_suffix(".gz")).unwrap_or(path).strip_suffix(&ending)
            })
            .collect();
        names.dedup();
        names
    }
}

/// Seconds since 1970 of a date as in RFC 2822 with `UTC` for the zone; none if it is none.
fn parse_date(text: &str) -> Option<i64> {
    let text = text.trim();
    let zoned = text.strip_suffix("UTC").or(text.strip_suffix("GMT")).map(|t| format!("{t}+0000"));
    let parsed = jiff::fmt::rfc2822::parse(zoned.as_deref().unwrap_or(text)).ok()?;
    Some(parsed.timestamp().as_second())
}

/// A moment for people: `2026-11-28 02:10:46 UTC`.
pub fn show_moment(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |t| t.strftime("%F %T UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
Origin: Example
Suite: stable
Codename: trixie
Date: Sat, 12 Sep 2026 07:55:41 UTC
Valid-Until: Sat, 19 Sep 2026 07:55:41 UTC
Acquire-By-Hash: yes
No-Support-for-Architecture-all: Packages
Architectures: all amd64
Components: main contrib
SHA256:
 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 10 main/binary-amd64/Packages
 60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752  7 main/binary-amd64/Packages.xz
";

    #[test]
    fn fields_and_sums_are_read() {
        let release = Release::parse(TEXT).unwrap();
        assert_eq!(show_moment(release.date), "2026-09-12 07:55:41 UTC");
        assert_eq!(release.valid_until, Some(release.date + 7 * 86400));
        assert!(release.by_hash && !release.separate_all);
        let (path, digest, size) = release.packages("main", "amd64").unwrap();
        assert_eq!((path.as_str(), size), ("main/binary-amd64/Packages.xz", 7));
        assert!(digest.to_string().starts_with("60303ae2"));
        assert_eq!(release.packages("contrib", "amd64"), None);
        assert_eq!(release.components("amd64"), ["main"]);
    }

    #[test]
    fn a_suite_goes_by_both_its_names_and_no_other() {
        let release = Release::parse(TEXT).unwrap();
        assert!(release.is_of("trixie") && release.is_of("stable"));
        assert!(!release.is_of("trixie-security") && !release.is_of("bookworm"));
    }

    #[test]
    fn what_is_missing_or_odd_is_said() {
        let without = |field: &str| {
            let text: String = TEXT.lines().filter(|l| !l.starts_with(field)).flat_map(|l| [l, "\n"]).collect();
            Release::parse(&text).unwrap_err()
        };
        assert_eq!(without("Date"), "it has no Date");
        let error = Release::parse(&TEXT.replace("12 Sep", "12 Foo")).unwrap_err();
        assert!(error.contains("no date"), "{error}");
        let error = Release::parse(&TEXT.replace("60303ae2", "xyz")).unwrap_err();
        assert!(error.contains("no line of SHA256"), "{error}");
    }

    #[test]
    fn an_archive_with_an_index_for_all_says_so() {
        let text = TEXT.replace("No-Support-for-Architecture-all: Packages\n", "");
        assert!(Release::parse(&text).unwrap().separate_all);
    }
}
