//! Licences, as far as a package's `copyright` file tells them. Pure.
//!
//! Format: Debian machine-readable copyright file 1.0 (DEP-5). A file in free text tells nothing.

use std::collections::BTreeSet;

/// One licence of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Licence {
    /// By its identifier in SPDX's list.
    Spdx(String),
    /// By the name that the file gives it.
    Named(String),
}

/// The licences of the files of a package; none if the text is no machine-readable copyright file.
pub(super) fn licences(text: &str) -> Option<BTreeSet<Licence>> {
    let mut found = BTreeSet::new();
    let mut paragraphs = text.split("\n\n").map(str::trim_start);
    let header = paragraphs.next()?;
    let format = field(header, "Format")?;
    if !format.contains("copyright-format/1.0") && !format.contains("dep5") {
        return None;
    }
    // A paragraph without files only tells the text of a licence.
    let of_files = paragraphs.filter(|paragraph| field(paragraph, "Files").is_some());
    for paragraph in std::iter::once(header).chain(of_files) {
        if let Some(name) = field(paragraph, "License").filter(|name| !name.is_empty()) {
            found.insert(licence(name));
        }
    }
    (!found.is_empty()).then_some(found)
}

/// The first line of a field.
fn field<'a>(paragraph: &'a str, name: &str) -> Option<&'a str> {
    paragraph.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Names that are the same in both lists.
const SAME: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "BSL-1.0",
    "Beerware",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "FSFAP",
    "ISC",
    "MIT",
    "MPL-1.1",
    "MPL-2.0",
    "Unicode-DFS-2016",
    "X11",
    "Zlib",
];

/// Names that have one meaning in SPDX's list.
fn licence(name: &str) -> Licence {
    let known = SAME.iter().find(|id| id.eq_ignore_ascii_case(name)).map(|id| (*id).to_owned());
    let spdx = known.or_else(|| gnu(name)).or_else(|| {
        let id = match name.to_ascii_lowercase().as_str() {
            "apache-2" => "Apache-2.0",
            "expat" => "MIT",
            "bsd-2-clause" => "BSD-2-Clause",
            "bsd-3-clause" => "BSD-3-Clause",
            "bsd-4-clause" => "BSD-4-Clause",
            _ => return None,
        };
        Some(id.to_owned())
    });
    spdx.map_or_else(|| Licence::Named(name.to_owned()), Licence::Spdx)
}

/// `GPL-2+` is `GPL-2.0-or-later`, `LGPL-2.1` is `LGPL-2.1-only`.
fn gnu(name: &str) -> Option<String> {
    let (family, version) = name.split_once('-')?;
    let (version, range) = match version.strip_suffix('+') {
        Some(version) => (version, "or-later"),
        None => (version, "only"),
    };
    let version = if version.contains('.') { version.to_owned() } else { format!("{version}.0") };
    let family = family.to_ascii_uppercase();
    let versions: &[&str] = match family.as_str() {
        "GPL" => &["1.0", "2.0", "3.0"],
        "LGPL" => &["2.0", "2.1", "3.0"],
        _ => return None,
    };
    versions.contains(&version.as_str()).then(|| format!("{family}-{version}-{range}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_count_and_texts_do_not() {
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: x\n\n\
            Files: *\nCopyright: somebody\nLicense: GPL-2+\n This program is free.\n\n\
            Files: lib/*\nLicense: LGPL-2.1\n\nFiles: a\nLicense: Expat or public-domain\n\nFiles: b\nLicense: Expat\n\n\
            License: BSD-3-clause\n Redistribution and use\n";
        let spdx = |id: &str| Licence::Spdx(id.into());
        let wanted = [
            spdx("GPL-2.0-or-later"),
            spdx("LGPL-2.1-only"),
            spdx("MIT"),
            Licence::Named("Expat or public-domain".into()),
        ];
        assert_eq!(licences(text), Some(BTreeSet::from(wanted)));
    }

    #[test]
    fn free_text_tells_nothing() {
        assert_eq!(licences("This package was debianised by somebody.\n\nLicense: GPL-2\n"), None);
        assert_eq!(licences(""), None);
    }

    #[test]
    fn only_what_has_one_meaning_is_translated() {
        assert_eq!(licence("GPL-3+"), Licence::Spdx("GPL-3.0-or-later".into()));
        assert_eq!(licence("LGPL-2"), Licence::Spdx("LGPL-2.0-only".into()));
        for name in ["GPL", "GPL-4", "GPL-2+ with OpenSSL exception", "Artistic", "BSD"] {
            assert_eq!(licence(name), Licence::Named(name.into()));
        }
    }
}
