//! What the node needs of a kernel, checked against the configuration the kernel was built with.

use serde::Deserialize;
use std::collections::BTreeMap;

/// The options the node needs, from `kernel-config/node.toml`.
pub const NODE_OPTIONS: &str = include_str!("../../../kernel-config/node.toml");

/// One option and why it is needed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Needed {
    /// Name without `CONFIG_`.
    pub name: String,
    /// Whether a module will do.
    pub need: Need,
    /// Why.
    pub reason: String,
}

/// Whether a module will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// `y` or `m`.
    Any,
    /// `y`.
    BuiltIn,
}

/// Reads a list of options.
///
/// # Errors
/// A sentence with line and column.
pub fn read(text: &str) -> Result<Vec<Needed>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        option: Vec<Needed>,
    }
    toml::from_str::<File>(text).map(|f| f.option).map_err(|e| e.to_string())
}

/// The options that a kernel with this `/boot/config-*` text lacks.
pub fn missing<'a>(options: &'a [Needed], config: &str) -> Vec<&'a Needed> {
    let set: BTreeMap<&str, &str> =
        config.lines().filter_map(|line| line.strip_prefix("CONFIG_")?.split_once('=')).collect();
    let has = |option: &Needed| match set.get(option.name.as_str()) {
        Some(&"y") => true,
        Some(&"m") => option.need == Need::Any,
        _ => false,
    };
    options.iter().filter(|o| !has(o)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_list_reads_and_each_option_stands_once() {
        let options = read(NODE_OPTIONS).unwrap();
        let mut names: Vec<_> = options.iter().map(|o| &o.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), options.len());
        assert!(options.iter().all(|o| !o.reason.is_empty() && !o.name.starts_with("CONFIG_")));
    }

    #[test]
    fn a_module_is_not_built_in_and_a_comment_is_not_set() {
        let options = read(
            "[[option]]\nname='A'\nneed='any'\nreason='r'\n[[option]]\nname='B'\nneed='built-in'\nreason='r'\n[[option]]\nname='C'\nneed='any'\nreason='r'\n",
        )
        .unwrap();
        let config = "CONFIG_A=m\nCONFIG_B=m\n# CONFIG_C is not set\n";
        assert_eq!(missing(&options, config).iter().map(|o| o.name.as_str()).collect::<Vec<_>>(), ["B", "C"]);
    }
}
