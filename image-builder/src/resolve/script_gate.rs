//! The script gate: no maintainer script is passed over without somebody having read it.
//!
//! No maintainer script ever runs. Each one (and each `triggers` file) is hashed and looked up in the table of
//! reviewed scripts, which says that it does nothing an image needs, or which emulations have its effect. A
//! script that nobody has read fails the lock, so an update that changes one can't slip by.
//!
//! What changes without changing meaning is normalised away first: the package's own version, the kernel's ABI
//! name, the version of the debhelper that generated a section, comments and order in `triggers`.

use crate::compose::emulate;
use crate::digest::Sha256;
use crate::lock::Script;
use crate::recipe::ReviewedScript;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// The table that ships with the builder.
const TABLE: &str = include_str!("../../script-gate.toml");

/// A package's scripts by name.
#[derive(Debug, Clone, Copy)]
pub struct PackageScripts<'a> {
    /// Package.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// `preinst`, `postinst`, `prerm`, `postrm`, `config`, `triggers` and their text.
    pub scripts: &'a BTreeMap<String, String>,
}

/// The reviewed scripts: those that ship with the builder and the recipe's own.
#[derive(Debug, Clone)]
pub struct Table {
    // Package and script -> reviews, the latest last.
    reviews: BTreeMap<(String, String), Vec<ReviewedScript>>,
}

/// An entry of the table that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Not TOML, or not of the table's shape.
    #[error("the table of reviewed scripts can't be read")]
    Toml(#[from] toml::de::Error),
    /// A verdict that says nothing the builder knows.
    #[error(
        "the review of {script} of {package} has the verdict {verdict:?}; expected \"ignore\" or \"emulate:NAME\" \
         (several as \"emulate:A+B\") with names out of {}", emulate::NAMES.join(", ")
    )]
    Verdict {
        /// Package.
        package: String,
        /// Script.
        script: String,
        /// What it says.
        verdict: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableFile {
    script: Vec<ReviewedScript>,
}

impl Table {
    /// The builder's table with the recipe's reviews behind it.
    ///
    /// # Errors
    /// When a verdict names an emulation that does not exist.
    pub fn new(recipe: &[ReviewedScript]) -> Result<Table, TableError> {
        let file: TableFile = toml::from_str(TABLE)?;
        Table::of(file.script.into_iter().chain(recipe.iter().cloned()))
    }

    fn of(all: impl IntoIterator<Item = ReviewedScript>) -> Result<Table, TableError> {
        let mut reviews: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for review in all {
            let names = review.verdict.strip_prefix("emulate:");
            if review.verdict != "ignore" && !names.is_some_and(|n| n.split('+').all(|n| emulate::NAMES.contains(&n))) {
                let ReviewedScript { package, script, verdict, .. } = review;
                return Err(TableError::Verdict { package, script, verdict });
            }
            reviews.entry((review.package.clone(), review.script.clone())).or_default().push(review);
        }
        Ok(Table { reviews })
    }

    /// The verdict on every script of every package, in order of package and script.
    ///
    /// A review whose package is `*` holds for any package: for texts that say all there is to say.
    ///
    /// # Errors
    /// With all scripts that nobody has read.
    pub fn check(&self, packages: &[PackageScripts<'_>]) -> Result<Vec<Script>, Unreviewed> {
        let kernels: Vec<&str> = packages.iter().filter_map(|p| kernel_abi(p.name)).collect();
        let mut known = Vec::new();
        let mut unknown = Vec::new();
        for package in packages {
            let name = normal_name(package.name);
            for (script, text) in package.scripts {
                let text = normalise(script, text, package.version, &kernels);
                let sha256 = Sha256::of(&text);
                let reviews = |package: &str| self.reviews.get(&(package.to_owned(), script.clone()));
                let mut found = reviews(&name).into_iter().chain(reviews("*")).flatten();
                match found.find(|review| review.sha256 == sha256) {
                    Some(review) => known.push(Script {
                        package: package.name.into(),
                        script: script.clone(),
                        sha256,
                        verdict: review.verdict.clone(),
                    }),
                    None => unknown.push(UnreviewedScript {
                        package: name.clone(),
                        version: package.version.into(),
                        script: script.clone(),
                        sha256,
                        text,
                        former: reviews(&name).and_then(|r| r.last()).cloned(),
                        before: None,
                    }),
                }
            }
        }
        known.sort_by(|a, b| (&a.package, &a.script).cmp(&(&b.package, &b.script)));
        if unknown.is_empty() { Ok(known) } else { Err(Unreviewed(unknown)) }
    }
}

/// A script that nobody has read.
#[derive(Debug, Clone, PartialEq)]
pub struct UnreviewedScript {
    /// Package, kernel ABI normalised.
    pub package: String,
    /// Its version.
    pub version: String,
    /// Which script.
    pub script: String,
    /// Digest of the normalised text.
    pub sha256: Sha256,
    /// The normalised text.
    pub text: String,
    /// The last review of another text of it.
    pub former: Option<ReviewedScript>,
    /// What the former lock has in its place.
    pub before: Option<Before>,
}

/// The script that the former lock has, which somebody has read.
#[derive(Debug, Clone, PartialEq)]
pub struct Before {
    /// Version of its package.
    pub version: String,
    /// Its normalised text; none if that package can't be had any more.
    pub text: Option<String>,
}

/// All scripts that nobody has read.
#[derive(Debug, Clone, PartialEq)]
pub struct Unreviewed(pub Vec<UnreviewedScript>);

impl std::error::Error for Unreviewed {}

impl fmt::Display for Unreviewed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for UnreviewedScript { package, version, script, text, before, .. } in &self.0 {
            let name = |version: &str| format!("{script} of {package} {version}, normalised");
            match before {
                Some(Before { version: old, text: Some(known) }) => {
                    let lines = similar::TextDiff::from_lines(known, text);
                    let (known, now) = (name(old) + ", as reviewed", name(version));
                    write!(f, "{}", lines.unified_diff().context_radius(3).header(&known, &now))?;
                }
                Some(Before { version: old, text: None }) => {
                    let gone =
                        format!("the package {package} {old} is neither in the store nor in the archive any more");
                    writeln!(f, "--- {}; all of it, as {gone}", name(version))?;
                    writeln!(f, "{}", text.trim_end())?;
                }
                None => writeln!(f, "--- {}\n{}", name(version), text.trim_end())?,
            }
        }
        writeln!(f, "---")?;
        writeln!(f, "{} maintainer scripts that nobody has reviewed:", self.0.len())?;
        for UnreviewedScript { package, version, script, sha256, former, .. } in &self.0 {
            write!(f, "  {script} of {package} {version}, SHA-256 {sha256}")?;
            match former {
                Some(former) => writeln!(
                    f,
                    "; its text changed since the last review, of {}, which said {} ({})",
                    former.sha256, former.verdict, former.reason
                )?,
                None => writeln!(f, "; never reviewed")?,
            }
        }
        writeln!(f, "Maintainer scripts never run. Read each one above and put into the recipe what is to be done:")?;
        for UnreviewedScript { package, script, sha256, .. } in &self.0 {
            writeln!(f, "\n[[script]]\npackage = {package:?}\nscript = {script:?}\nsha256 = \"{sha256}\"")?;
            writeln!(f, "verdict = \"ignore\" # or \"emulate:NAME\"\nreason = \"\"")?;
        }
        Ok(())
    }
}

/// `6.12.57+deb13-amd64` of `linux-image-6.12.57+deb13-amd64`.
fn kernel_abi(package: &str) -> Option<&str> {
    package.strip_prefix("linux-image-").filter(|abi| abi.starts_with(|c: char| c.is_ascii_digit()))
}

/// What a package is called in the table.
pub fn normal_name(package: &str) -> String {
    kernel_abi(package).map_or_else(|| package.into(), |_| "linux-image-{abi}".into())
}

/// A script's text without what changes at every release. `packages` are all that are in one image.
pub fn normal_text(script: &str, text: &str, version: &str, packages: &[&str]) -> String {
    let kernels: Vec<&str> = packages.iter().filter_map(|name| kernel_abi(name)).collect();
    normalise(script, text, version, &kernels)
}

fn normalise(script: &str, text: &str, version: &str, kernels: &[&str]) -> String {
    if script == "triggers" {
        let mut lines: Vec<&str> =
            text.lines().map(|l| l.split('#').next().unwrap_or("").trim()).filter(|l| !l.is_empty()).collect();
        lines.sort_unstable();
        return lines.join("\n") + "\n";
    }
    let mut text = text.to_owned();
    for abi in kernels {
        text = replace_word(&text, abi, "{abi}");
        text = replace_word(&text, &abi.replace('+', "\\+"), "{abi}");
    }
    let without_epoch = version.split_once(':').map_or(version, |(_, v)| v);
    for version in [version, without_epoch] {
        text = replace_word(&text, version, "{version}");
        text = replace_word(&text, &version.replace('~', "\\~").replace('+', "\\+"), "{version}");
    }
    let mut normal = String::new();
    for line in text.split_inclusive('\n') {
        match line.split_once("utomatically added by dh_") {
            Some((before, tool)) if before.trim_start().starts_with('#') => {
                normal.push_str(before);
                normal.push_str("utomatically added by dh_");
                normal.push_str(tool.split('/').next().unwrap_or(tool).trim_end());
                normal.push('\n');
            }
            _ => normal.push_str(line),
        }
    }
    normal
}

/// Replaces `word` where it is no part of a longer version or name.
fn replace_word(text: &str, word: &str, by: &str) -> String {
    if word.is_empty() {
        return text.into();
    }
    let part = |c: char| c.is_ascii_alphanumeric() || "+~".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let (before, after) = (&rest[..at], &rest[at + word.len()..]);
        let joined = before.ends_with(|c| part(c) || c == '.') || after.starts_with(part);
        // `1.2` is no word in `1.2.3`, but ends the sentence in `1.2.`.
        let longer = after.strip_prefix('.').is_some_and(|a| a.starts_with(|c: char| c.is_ascii_digit()));
        out.push_str(before);
        out.push_str(if joined || longer { word } else { by });
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(package: &str, script: &str, text: &str, verdict: &str) -> ReviewedScript {
        ReviewedScript {
            package: package.into(),
            script: script.into(),
            sha256: Sha256::of(text),
            verdict: verdict.into(),
            reason: "because".into(),
        }
    }

    fn check(
        table: &[ReviewedScript],
        name: &str,
        version: &str,
        script: &str,
        text: &str,
    ) -> Result<Vec<Script>, String> {
        let scripts = BTreeMap::from([(script.to_owned(), text.to_owned())]);
        let package = PackageScripts { name, version, scripts: &scripts };
        Table::of(table.to_vec()).unwrap().check(&[package]).map_err(|e| e.to_string())
    }

    #[test]
    fn the_table_that_ships_is_good_sorted_and_without_doubles() {
        Table::new(&[]).unwrap();
        let file: TableFile = toml::from_str(TABLE).unwrap();
        let keys: Vec<_> = file.script.iter().map(|s| (&s.package, &s.script, s.sha256)).collect();
        let mut sorted = keys.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(keys, sorted);
        assert!(file.script.iter().all(|s| s.reason.len() > 10 && crate::compose::deb::SCRIPTS.contains(&&*s.script)));
    }

    #[test]
    fn an_unread_script_is_named_with_hash_text_and_stanza() {
        let error = check(&[], "x", "1.0-1", "postinst", "#!/bin/sh\nrm -rf /\n").unwrap_err();
        for part in
            ["postinst of x 1.0-1", "rm -rf /", "never reviewed", "[[script]]\npackage = \"x\"\nscript = \"postinst\""]
        {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert!(error.contains(&Sha256::of("#!/bin/sh\nrm -rf /\n").to_string()), "{error}");
    }

    #[test]
    fn a_changed_script_says_what_the_last_review_said() {
        let table = [review("x", "postinst", "old", "ignore")];
        let error = check(&table, "x", "1.0-1", "postinst", "new").unwrap_err();
        assert!(error.contains("changed since the last review") && error.contains("because"), "{error}");
    }

    #[test]
    fn a_changed_script_shows_what_changed() {
        let of = |before| {
            let script = UnreviewedScript {
                package: "x".into(),
                version: "2".into(),
                script: "postinst".into(),
                sha256: Sha256::of(""),
                text: "#!/bin/sh\nset -e\nrm -rf /\nexit 0\n".into(),
                former: None,
                before,
            };
            Unreviewed(vec![script]).to_string()
        };
        let known = |text: &str| Before { version: "1".into(), text: Some(text.into()) };
        let shown = of(Some(known("#!/bin/sh\nset -e\ntrue\nexit 0\n")));
        assert!(
            shown.starts_with(
                "--- postinst of x 1, normalised, as reviewed\n+++ postinst of x 2, normalised\n@@ -1,4 +1,4 @@\n #!/bin/sh\n \
                 set -e\n-true\n+rm -rf /\n exit 0\n---\n"
            ),
            "{shown}"
        );
        let shown = of(Some(Before { version: "1".into(), text: None }));
        let why = "all of it, as the package x 1 is neither in the store nor in the archive any more\n#!/bin/sh\n";
        assert!(shown.contains(why), "{shown}");
    }

    #[test]
    fn versions_and_kernels_do_not_count() {
        let table = [review("x", "postinst", "upgrade to {version} from 1.0-1.2, not 11.0-1\n", "ignore")];
        let text = "upgrade to 1.0-1 from 1.0-1.2, not 11.0-1\n";
        assert_eq!(check(&table, "x", "2:1.0-1", "postinst", text).unwrap()[0].verdict, "ignore");
        let table = [review("linux-image-{abi}", "postinst", "version={abi}\nlinux-image-{abi}\n", "emulate:depmod")];
        let text = "version=6.12.57+deb13-amd64\nlinux-image-6.12.57\\+deb13-amd64\n";
        let found = check(&table, "linux-image-6.12.57+deb13-amd64", "6.12.57-1", "postinst", text).unwrap();
        assert_eq!(
            (found[0].package.as_str(), found[0].verdict.as_str()),
            ("linux-image-6.12.57+deb13-amd64", "emulate:depmod")
        );
        let dh = normalise("prerm", "# Automatically added by dh_python3/1.2\n# by dh_x/1\n", "9", &[]);
        assert_eq!(dh, "# Automatically added by dh_python3\n# by dh_x/1\n");
    }

    #[test]
    fn a_star_holds_for_every_package_and_comments_of_triggers_do_not_count() {
        let table = [review("*", "triggers", "activate-noawait ldconfig\n", "emulate:ldconfig")];
        let text = "# Triggers added by dh_makeshlibs/13\nactivate-noawait ldconfig\n";
        assert!(check(&table, "libx1", "1", "triggers", text).is_ok());
        assert!(check(&table, "libx1", "1", "triggers", &format!("{text}interest /etc\n")).is_err());
        assert!(check(&table, "libx1", "1", "postinst", "activate-noawait ldconfig\n").is_err());
    }

    #[test]
    fn a_verdict_must_name_an_emulation() {
        assert!(Table::of([review("x", "postinst", "", "emulate:users+presets")]).is_ok());
        for verdict in ["", "emulate:", "emulate:users+nonsense", "run"] {
            let error = Table::of([review("x", "postinst", "", verdict)]).unwrap_err().to_string();
            assert!(error.contains("postinst of x") && error.contains("users"), "{error}");
        }
    }
}
