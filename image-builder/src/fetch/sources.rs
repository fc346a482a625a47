//! The host's apt sources, and which of their addresses serves a suite of Debian.
//!
//! Pure: text in, data out. Formats: sources.list(5), one-line style and deb822 style. What apt itself would
//! skip is skipped: disabled stanzas, source archives, entries for other architectures.

use deb822_fast::borrowed::BorrowedParser;

/// One place the host's apt takes packages from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Addresses, without a `/` at the end.
    pub uris: Vec<String>,
    /// Suites.
    pub suites: Vec<String>,
    /// Keyring file that signs it, when one is named.
    pub signed_by: Option<String>,
    /// Whether apt minds a `Valid-Until` that is past, when the entry says so.
    pub check_valid_until: Option<bool>,
}

/// Reads a one-line style file (`/etc/apt/sources.list`). Lines that are no entry are skipped, as apt warns about
/// them itself.
pub fn parse_list(text: &str) -> Vec<Source> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let option = |name: &str| {
        options
            .split_whitespace()
            .filter_map(|o| o.split_once('='))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_owned())
    };
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    Some(Source {
        uris: vec![uri.trim_end_matches('/').to_owned()],
        suites: vec![suite.to_owned()],
        signed_by: option("signed-by").and_then(|v| keyring_file(&v)),
        check_valid_until: option("check-valid-until").and_then(|v| switch(&v)),
    })
}

/// Reads a deb822 style file (`debian.sources`). A file that does not parse gives nothing, as with apt.
pub fn parse_deb822(text: &str) -> Vec<Source> {
    // apt takes comment lines anywhere, the parser between fields only.
    let text: String = text.lines().filter(|l| !l.starts_with('#')).flat_map(|l| [l, "\n"]).collect();
    let Ok(stanzas) = BorrowedParser::new(&text).parse_all() else { return Vec::new() };
    stanzas
        .iter()
        .filter_map(|stanza| {
            let words = |name: &str| -> Vec<String> {
                stanza
                    .get(name)
                    .map(|lines| lines.iter().flat_map(|l| l.split_whitespace()).map(str::to_owned).collect())
                    .unwrap_or_default()
            };
            let enabled = words("Enabled").first().and_then(|v| switch(v)).unwrap_or(true);
            let uris: Vec<String> = words("URIs").iter().map(|u| u.trim_end_matches('/').to_owned()).collect();
            let suites = words("Suites");
            (enabled && words("Types").iter().any(|t| t == "deb") && !uris.is_empty() && !suites.is_empty()).then(
                || Source {
                    uris,
                    suites,
                    signed_by: words("Signed-By").first().and_then(|v| keyring_file(v)),
                    check_valid_until: words("Check-Valid-Until").first().and_then(|v| switch(v)),
                },
            )
        })
        .collect()
}

// Signed-By may also hold fingerprints or a whole key; only a file helps here.
fn keyring_file(value: &str) -> Option<String> {
    value.split(',').find(|v| v.starts_with('/')).map(str::to_owned)
}

// apt's words for yes and no.
fn switch(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "yes" | "true" | "with" | "on" | "enable" | "1" => Some(true),
        "no" | "false" | "without" | "off" | "disable" | "0" => Some(false),
        _ => None,
    }
}

/// What apt's own configuration says about `Valid-Until` (`Acquire::Check-Valid-Until`), from the text of its
/// files in the order apt reads them; the last one counts.
pub fn check_valid_until(configuration: &str) -> Option<bool> {
    configuration
        .lines()
        .filter_map(|l| l.trim().strip_prefix("Acquire::Check-Valid-Until"))
        .filter_map(|l| switch(l.trim().trim_end_matches(';').trim().trim_matches('"')))
        .next_back()
}

/// Releases of Debian by which an entry of the host is known to serve Debian, whatever its address is.
const RELEASES: [&str; 14] = [
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "stable",
    "oldstable",
    "oldoldstable",
    "testing",
    "unstable",
    "experimental",
    "rc-buggy",
];

fn is_security(suite: &str) -> bool {
    suite.ends_with("-security") || suite.ends_with("/updates")
}

fn is_debian(suite: &str) -> bool {
    let release = suite.split(['-', '/']).next().unwrap_or(suite);
    RELEASES.contains(&release)
}

/// The host's source for a suite of Debian: one that has this very suite, else any that serves suites of its
/// kind. Security updates have an address of their own; all other suites of Debian share one.
///
/// None when `suite` is not Debian's, or the host has no such source with an address this builder can read.
pub fn find<'a>(sources: &'a [Source], suite: &str) -> Option<(&'a Source, &'a str)> {
    if !is_debian(suite) {
        return None;
    }
    let same_kind = |s: &&Source| s.suites.iter().any(|s| is_debian(s) && is_security(s) == is_security(suite));
    let readable = |s: &'a Source| {
        let uri = s.uris.iter().find(|u| ["http://", "https://", "file:/"].iter().any(|p| u.starts_with(p)))?;
        Some((s, uri.as_str()))
    };
    sources
        .iter()
        .filter(|s| s.suites.iter().any(|s| s == suite))
        .find_map(readable)
        .or_else(|| sources.iter().filter(same_kind).find_map(readable))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
# a comment
deb-src http://mirror.example.org/debian trixie main
deb [arch=amd64 signed-by=/usr/share/keyrings/k.gpg check-valid-until=no] http://mirror.example.org/debian/ bookworm main # x
deb http://other.example.org/linux stable-rpm main
deb cdrom:[Debian]/ bookworm main
";
    const SOURCES: &str = "\
Types: deb deb-src
# inside
URIs: http://mirror.example.net/debian/
Suites: bookworm
 bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://security.example.net/debian-security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://off.example.net/debian
Suites: trixie
Components: main
";

    #[test]
    fn one_line_entries_are_read_with_their_options() {
        let sources = parse_list(LIST);
        assert_eq!(
            sources[0],
            Source {
                uris: vec!["http://mirror.example.org/debian".into()],
                suites: vec!["bookworm".into()],
                signed_by: Some("/usr/share/keyrings/k.gpg".into()),
                check_valid_until: Some(false),
            }
        );
        assert!(sources.iter().all(|s| !s.suites.contains(&"trixie".to_owned())), "deb-src is no source of packages");
    }

    #[test]
    fn stanzas_are_read_and_disabled_ones_are_not() {
        let sources = parse_deb822(SOURCES);
        assert_eq!(sources.len(), 2);
        assert_eq!(sources[0].suites, ["bookworm", "bookworm-updates"]);
        assert_eq!(sources[0].uris, ["http://mirror.example.net/debian"]);
        assert_eq!(sources[0].signed_by.as_deref(), Some("/usr/share/keyrings/debian-archive-keyring.gpg"));
    }

    #[test]
    fn another_release_is_found_where_the_host_takes_its_own() {
        let sources = parse_deb822(SOURCES);
        let uri = |suite| find(&sources, suite).map(|(_, uri)| uri);
        assert_eq!(uri("trixie"), Some("http://mirror.example.net/debian"));
        assert_eq!(uri("trixie-backports"), Some("http://mirror.example.net/debian"));
        assert_eq!(uri("trixie-security"), Some("http://security.example.net/debian-security"));
        assert_eq!(uri("nodistro"), None);
    }

    #[test]
    fn an_entry_with_the_very_suite_comes_first() {
        let sources =
            parse_list("deb http://a.example.org/debian bookworm main\ndeb http://b.example.org/debian trixie main\n");
        assert_eq!(find(&sources, "trixie").map(|f| f.1), Some("http://b.example.org/debian"));
        assert_eq!(find(&sources, "trixie-security"), None);
    }

    #[test]
    fn the_last_word_of_the_configuration_counts() {
        assert_eq!(
            check_valid_until("Acquire::Check-Valid-Until \"true\";\nAcquire::Check-Valid-Until \"false\";\n"),
            Some(false)
        );
        assert_eq!(check_valid_until("Acquire::Check-Date \"false\";\n"), None);
    }
}
