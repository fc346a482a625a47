//! `Packages`: the packages that suites offer.
//!
//! Pure: text in, data out. Format: Debian repository format, "Packages" indices (deb822).

use super::relation::{self, Alternatives, Term};
use crate::digest::Sha256;
use deb822_fast::borrowed::{BorrowedParagraph, BorrowedParagraphIter};
use debversion::Version;
use std::collections::BTreeMap;

/// One version of one package in one suite.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Name.
    pub name: String,
    /// Version, to compare.
    pub version: Version,
    /// Version as the index writes it.
    pub version_text: String,
    /// Which of the suites given to [`Index::add`] it is in.
    pub suite: usize,
    /// What must be there with it: `Pre-Depends` and `Depends`.
    pub depends: Vec<Alternatives>,
    /// What must not be there with it: `Conflicts` and `Breaks`.
    pub conflicts: Vec<Term>,
    /// Names it answers to beside its own.
    pub provides: Vec<(String, Option<Version>)>,
    /// Path below the archive's address.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// Digest.
    pub sha256: Sha256,
}

/// Everything that all suites offer.
#[derive(Debug, Clone, Default)]
pub struct Index {
    candidates: Vec<Candidate>,
    by_name: BTreeMap<String, Vec<usize>>,
    providers: BTreeMap<String, Vec<usize>>,
}

impl Index {
    /// Adds the packages of an index file that suit `architecture`. `suite` is a number of the caller's; smaller
    /// ones come first where nothing else decides. Of one file in several suites, the suite added first keeps it.
    ///
    /// # Errors
    /// A sentence fragment naming the package whose entry can't be read.
    pub fn add(&mut self, text: &str, suite: usize, architecture: &str) -> Result<(), String> {
        for stanza in BorrowedParagraphIter::new(text) {
            let stanza = stanza.map_err(|e| e.to_string())?;
            let of = stanza.get_single("Architecture").unwrap_or_default();
            if of != architecture && of != "all" {
                continue;
            }
            let name = stanza.get_single("Package").unwrap_or_default();
            let candidate = read(&stanza, suite).map_err(|why| format!("the entry of package {name:?}: {why}"))?;
            self.push(candidate);
        }
        Ok(())
    }

    fn push(&mut self, candidate: Candidate) {
        let number = self.candidates.len();
        let known = self.by_name.entry(candidate.name.clone()).or_default();
        // A point release and an update suite may offer the very same file; the first suite keeps it.
        if known.iter().any(|k| {
            self.candidates[*k].sha256 == candidate.sha256 && self.candidates[*k].version_text == candidate.version_text
        }) {
            return;
        }
        known.push(number);
        for (name, _) in &candidate.provides {
            let providers = self.providers.entry(name.clone()).or_default();
            if providers.last() != Some(&number) {
                providers.push(number);
            }
        }
        self.candidates.push(candidate);
    }

    /// How many candidates there are; they are numbered from 0.
    pub fn len(&self) -> usize {
        self.candidates.len()
    }

    /// Whether nothing is offered.
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// The candidate with this number.
    pub fn get(&self, number: usize) -> &Candidate {
        &self.candidates[number]
    }

    /// Numbers of the versions of this package.
    pub fn versions(&self, name: &str) -> &[usize] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// Numbers of the candidates that provide this name without having it.
    pub fn providers(&self, name: &str) -> &[usize] {
        self.providers.get(name).map_or(&[], Vec::as_slice)
    }

    /// All names of packages, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Numbers of the candidates that meet `term` by their own name, then of those that provide it.
    ///
    /// A provided name without a version meets no term with one (Debian Policy, 7.5).
    pub fn matching(&self, term: &Term) -> (Vec<usize>, Vec<usize>) {
        let own = self.versions(&term.name).iter().copied().filter(|n| term.allows(&self.get(*n).version)).collect();
        let provided = self
            .providers(&term.name)
            .iter()
            .copied()
            .filter(|n| {
                let candidate = self.get(*n);
                candidate.name != term.name
                    && candidate.provides.iter().filter(|(name, _)| *name == term.name).any(
                        |(_, version)| match version {
                            Some(version) => term.allows(version),
                            None => term.version.is_none(),
                        },
                    )
            })
            .collect();
        (own, provided)
    }
}

fn read(stanza: &BorrowedParagraph<'_>, suite: usize) -> Result<Candidate, String> {
    let field = |name: &str| stanza.get(name).map(|lines| lines.join(" ")).unwrap_or_default();
    let needed = |name: &str| stanza.get_single(name).ok_or_else(|| format!("it has no {name}"));
    let version_text = needed("Version")?;
    let mut depends = relation::parse(&field("Pre-Depends"))?;
    depends.extend(relation::parse(&field("Depends"))?);
    let mut conflicts = relation::parse(&field("Conflicts"))?;
    conflicts.extend(relation::parse(&field("Breaks"))?);
    let provides = relation::parse(&field("Provides"))?
        .into_iter()
        .flatten()
        .map(|term| (term.name, term.version.map(|(_, version)| version)))
        .collect();
    let path = needed("Filename")?;
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(format!("its path {path:?} leads out of the archive"));
    }
    Ok(Candidate {
        name: needed("Package")?.to_owned(),
        version: version_text.parse().map_err(|_| format!("{version_text:?} is no version"))?,
        version_text: version_text.to_owned(),
        suite,
        depends,
        conflicts: conflicts.into_iter().flatten().collect(),
        provides,
        path: path.trim_start_matches("./").to_owned(),
        size: needed("Size")?.parse().map_err(|_| "its Size is no number".to_owned())?,
        sha256: needed("SHA256")?.parse()?,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An index text from lines like `name version ; Field: value ; Field: value`.
    pub(in crate::resolve) fn text(lines: &str) -> String {
        let mut text = String::new();
        for line in lines.lines().map(str::trim).filter(|l| !l.is_empty()) {
            let mut parts = line.split(" ; ").map(str::trim);
            let (name, version) = parts.next().unwrap().split_once(' ').unwrap();
            text += &format!(
                "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: pool/{name}_{version}.deb\nSize: 1\n\
                 SHA256: {}\n",
                Sha256::of(line)
            );
            for field in parts {
                text += field;
                text.push('\n');
            }
            text.push('\n');
        }
        text
    }

    pub(in crate::resolve) fn index(lines: &str) -> Index {
        let mut index = Index::default();
        index.add(&text(lines), 0, "amd64").unwrap();
        index
    }

    #[test]
    fn fields_are_read() {
        let index = index("a 1:1.0-1 ; Depends: b (>= 1), c ; Provides: v (= 2), w ; Breaks: d (<< 3)");
        let a = index.get(index.versions("a")[0]);
        assert_eq!((a.version_text.as_str(), a.size, a.path.as_str()), ("1:1.0-1", 1, "pool/a_1:1.0-1.deb"));
        assert_eq!(a.depends.iter().map(|d| relation::show(d)).collect::<Vec<_>>(), ["b (>= 1)", "c"]);
        assert_eq!(a.provides[0], ("v".into(), Some("2".parse().unwrap())));
        assert_eq!(a.conflicts[0].to_string(), "d (<< 3)");
    }

    #[test]
    fn a_version_is_met_only_by_a_provided_version() {
        let index = index("a 1 ; Provides: v (= 2)\nb 1 ; Provides: v\nv 1");
        let matching = |term: &str| {
            let (own, provided) = index.matching(&Term::parse(term).unwrap());
            own.iter().chain(&provided).map(|n| index.get(*n).name.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(matching("v"), ["v", "a", "b"]);
        assert_eq!(matching("v (>= 2)"), ["a"]);
        assert_eq!(matching("v (= 1)"), ["v"]);
    }

    #[test]
    fn other_architectures_and_doubles_are_left_out() {
        let mut index = index("a 1");
        index.add(&text("a 1"), 1, "amd64").unwrap();
        index.add(&text("a 2").replace("amd64", "arm64"), 1, "amd64").unwrap();
        assert_eq!(index.versions("a").len(), 1);
    }

    #[test]
    fn a_path_out_of_the_archive_is_refused() {
        let text = text("a 1").replace("pool/a_1.deb", "../../etc/passwd");
        let error = Index::default().add(&text, 0, "amd64").unwrap_err();
        assert!(error.contains("\"a\"") && error.contains("leads out"), "{error}");
    }
}
