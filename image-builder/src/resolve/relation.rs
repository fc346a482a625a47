//! Relations between packages: `libc6 (>= 2.38), default-logind | logind`.
//!
//! Format: Debian Policy, chapter 7.

use debversion::Version;
use std::fmt;

/// How a version is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Comparison {
    Earlier,
    EarlierEqual,
    Equal,
    LaterEqual,
    Later,
}

/// One package name, perhaps with a range of versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// Name.
    pub name: String,
    /// Versions that count.
    pub version: Option<(Comparison, Version)>,
}

/// Terms of which one is enough, best first.
pub type Alternatives = Vec<Term>;

impl Term {
    /// Whether this version is in the range.
    pub fn allows(&self, version: &Version) -> bool {
        self.version.as_ref().is_none_or(|(comparison, bound)| match comparison {
            Comparison::Earlier => version < bound,
            Comparison::EarlierEqual => version <= bound,
            Comparison::Equal => version == bound,
            Comparison::LaterEqual => version >= bound,
            Comparison::Later => version > bound,
        })
    }

    /// Reads `name`, `name:any`, `name (>= 1.2)`.
    ///
    /// # Errors
    /// A sentence fragment that says what is wrong.
    pub fn parse(text: &str) -> Result<Term, String> {
        let wrong = || format!("{text:?} is no package name with an optional version range");
        let (name, rest) = match text.find(|c: char| c == '(' || c == '[' || c.is_whitespace()) {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        // `:any` and `:native` make no difference where there is one architecture.
        let name = name.split(':').next().unwrap_or(name);
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
            return Err(wrong());
        }
        let rest = rest.trim();
        if rest.is_empty() {
            return Ok(Term { name: name.into(), version: None });
        }
        let range = rest.strip_prefix('(').and_then(|r| r.strip_suffix(')')).ok_or_else(wrong)?.trim();
        let split = range.find(|c| !"<>=".contains(c)).ok_or_else(wrong)?;
        let (operator, version) = range.split_at(split);
        let comparison = match operator {
            "<<" => Comparison::Earlier,
            "<=" | "<" => Comparison::EarlierEqual,
            "=" => Comparison::Equal,
            ">=" | ">" => Comparison::LaterEqual,
            ">>" => Comparison::Later,
            _ => return Err(wrong()),
        };
        let version = version.trim().parse().map_err(|_| wrong())?;
        Ok(Term { name: name.into(), version: Some((comparison, version)) })
    }
}

/// Reads a whole field.
///
/// # Errors
/// As [`Term::parse`].
pub fn parse(field: &str) -> Result<Vec<Alternatives>, String> {
    field
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| part.split('|').map(|term| Term::parse(term.trim())).collect())
        .collect()
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        let Some((comparison, version)) = &self.version else { return Ok(()) };
        let operator = match comparison {
            Comparison::Earlier => "<<",
            Comparison::EarlierEqual => "<=",
            Comparison::Equal => "=",
            Comparison::LaterEqual => ">=",
            Comparison::Later => ">>",
        };
        write!(f, " ({operator} {version})")
    }
}

/// Alternatives as Debian writes them.
pub fn show(alternatives: &[Term]) -> String {
    alternatives.iter().map(Term::to_string).collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_shown_alike() {
        let field = "libc6 (>= 2.38), default-logind | logind (<< 1:2~rc1-3), python3:any, x(=1)";
        let read = parse(field).unwrap();
        assert_eq!(
            read.iter().map(|a| show(a)).collect::<Vec<_>>(),
            ["libc6 (>= 2.38)", "default-logind | logind (<< 1:2~rc1-3)", "python3", "x (= 1)"]
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "a b", "a (1)", "a (>= )", "a (>= 1", "ä", "a (=> 1)"] {
            assert!(Term::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn ranges_follow_debian_order() {
        let allows = |term: &str, version: &str| Term::parse(term).unwrap().allows(&version.parse().unwrap());
        assert!(allows("a (>= 1.0)", "1.0") && !allows("a (>= 1.0)", "1.0~rc1"));
        assert!(allows("a (<< 2:0)", "1:99") && !allows("a (<< 1.10)", "1.10"));
        assert!(allows("a (>> 1.9)", "1.10") && !allows("a (= 1.0-1)", "1.0-2"));
        assert!(!allows("a (<= 1.0-1)", "1.0-1+b1") && allows("a", "0"));
    }
}
