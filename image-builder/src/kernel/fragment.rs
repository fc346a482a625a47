//! Fragments of a kernel's configuration (`kernel-config/*.config`), and whether they took effect. Pure.

use anyhow::{Result, bail};
use std::collections::BTreeMap;

/// One file of settings, as kconfig writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// Its file's name.
    pub name: String,
    /// Its text.
    pub text: String,
    /// What it sets, in order.
    pub settings: Vec<Setting>,
}

/// One option as a fragment wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Name without `CONFIG_`.
    pub name: String,
    /// As it is written behind `=`; none where it is not to be set.
    pub value: Option<String>,
    /// Line in the fragment.
    pub line: usize,
}

/// An option that is not as a fragment wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotTaken<'a> {
    /// The fragment.
    pub fragment: &'a str,
    /// What it wants.
    pub setting: &'a Setting,
    /// What came of it; none where it is not set.
    pub found: Option<String>,
}

impl Fragment {
    /// Reads the text of the file `name`.
    ///
    /// # Errors
    /// When a line is neither a setting nor a comment.
    pub fn read(name: &str, text: &str) -> Result<Fragment> {
        let mut settings = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_end();
            let (option, value) = match line.strip_prefix("# CONFIG_").and_then(|l| l.strip_suffix(" is not set")) {
                Some(option) => (option, None),
                None if line.is_empty() || line.starts_with('#') => continue,
                None => match line.strip_prefix("CONFIG_").and_then(|l| l.split_once('=')) {
                    Some((option, "n")) => (option, None),
                    Some((option, value)) if !value.is_empty() => (option, Some(value.to_owned())),
                    _ => bail!(
                        "{name}:{}: {line:?} is no line of a kernel's configuration; write CONFIG_NAME=y, or \
                         # CONFIG_NAME is not set",
                        number + 1
                    ),
                },
            };
            if option.is_empty() || !option.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                bail!("{name}:{}: {option:?} is no name of an option", number + 1);
            }
            settings.push(Setting { name: option.into(), value, line: number + 1 });
        }
        Ok(Fragment { name: name.into(), text: text.into(), settings })
    }
}

/// What a configuration sets, by name without `CONFIG_`.
pub fn values(config: &str) -> BTreeMap<&str, &str> {
    config.lines().filter_map(|line| line.strip_prefix("CONFIG_")?.split_once('=')).collect()
}

/// The options that `config`, made with these fragments, has in another way. Of several settings of one option the last
/// counts.
pub fn not_taken<'a>(fragments: &'a [Fragment], config: &str) -> Vec<NotTaken<'a>> {
    let mut wanted: BTreeMap<&str, (&str, &Setting)> = BTreeMap::new();
    for fragment in fragments {
        wanted.extend(fragment.settings.iter().map(|s| (s.name.as_str(), (fragment.name.as_str(), s))));
    }
    let values = values(config);
    let mut differ: Vec<NotTaken> = wanted
        .into_values()
        .filter_map(|(fragment, setting)| {
            let found = values.get(setting.name.as_str()).copied().filter(|v| *v != "n");
            (found != setting.value.as_deref()).then(|| NotTaken { fragment, setting, found: found.map(str::to_owned) })
        })
        .collect();
    differ.sort_by_key(|d| (d.fragment, d.setting.line));
    differ
}

/// What a Kconfig file says an option depends on, if it is the one that has the option.
pub fn depends(kconfig: &str, option: &str) -> Option<Vec<String>> {
    let mut lines = kconfig.lines();
    lines.find(|line| {
        let mut words = line.split_whitespace();
        matches!(words.next(), Some("config" | "menuconfig")) && words.next() == Some(option) && words.next().is_none()
    })?;
    // Its own lines are indented; the next option's are not.
    let own = lines.take_while(|line| line.is_empty() || line.starts_with([' ', '\t']));
    Some(own.filter_map(|line| line.trim().strip_prefix("depends on ")).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: [(&str, &str); 6] = [
        ("base.config", include_str!("../../../kernel-config/base.config")),
        ("kubernetes.config", include_str!("../../../kernel-config/kubernetes.config")),
        ("machine.config", include_str!("../../../kernel-config/machine.config")),
        ("network.config", include_str!("../../../kernel-config/network.config")),
        ("security.config", include_str!("../../../kernel-config/security.config")),
        ("storage.config", include_str!("../../../kernel-config/storage.config")),
    ];

    #[test]
    fn settings_are_read_and_comments_are_not() {
        let text = "# Why.\n\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"x=y\"\nCONFIG_D=n\n";
        let fragment = Fragment::read("a.config", text).unwrap();
        let found: Vec<_> = fragment.settings.iter().map(|s| (s.name.as_str(), s.value.as_deref(), s.line)).collect();
        assert_eq!(found, [("A", Some("y"), 3), ("B", None, 4), ("C", Some("\"x=y\""), 5), ("D", None, 6)]);
    }

    #[test]
    fn a_line_that_sets_nothing_is_named() {
        for line in ["A=y", "CONFIG_A", "CONFIG_A=", "CONFIG_A B=y"] {
            let error = Fragment::read("a.config", &format!("CONFIG_X=y\n{line}\n")).unwrap_err().to_string();
            assert!(error.starts_with("a.config:2: "), "{error}");
        }
    }

    #[test]
    fn what_did_not_take_effect_is_named() {
        let one = Fragment::read("one", "CONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\nCONFIG_D=y\n").unwrap();
        let two = Fragment::read("two", "# CONFIG_D is not set\nCONFIG_E=m\n").unwrap();
        let fragments = [one, two];
        let config = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=m\nCONFIG_E=y\n";
        let found: Vec<_> =
            not_taken(&fragments, config).into_iter().map(|n| (n.fragment, n.setting.name.as_str(), n.found)).collect();
        assert_eq!(found, [("one", "B", None), ("one", "C", Some("m".into())), ("two", "E", Some("y".into()))]);
    }

    #[test]
    fn what_an_option_depends_on_is_found_in_its_own_lines() {
        let text = "config A\n\tbool \"a\"\n\tdepends on X && Y\n\n\tdepends on Z\n\nconfig AB\n\tdepends on Q\n";
        assert_eq!(depends(text, "A").unwrap(), ["X && Y", "Z"]);
        assert_eq!(depends(text, "AB").unwrap(), ["Q"]);
        assert_eq!(depends(text, "B"), None);
    }

    #[test]
    fn the_shipped_fragments_read_and_set_each_option_once() {
        let mut names = Vec::new();
        for (name, text) in SHIPPED {
            names.extend(Fragment::read(name, text).unwrap().settings.into_iter().map(|s| s.name));
        }
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(all > 300);
    }
}
