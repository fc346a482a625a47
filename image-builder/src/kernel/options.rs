//! What the node needs of a kernel, checked against the configuration the kernel was built with.

use super::fragment::values;
use serde::{Deserialize, Serialize};

/// The options the node needs, from `kernel-config/node.toml`.
pub const NODE_OPTIONS: &str = include_str!("../../../kernel-config/node.toml");

/// One option and why it is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Needed {
    /// Name without `CONFIG_`.
    pub name: String,
    /// Whether a module will do.
    pub need: Need,
    /// An option without which the kernel need not have this one.
    #[serde(default, rename = "if", skip_serializing_if = "Option::is_none")]
    pub only_with: Option<String>,
    /// Why.
    pub reason: String,
}

/// Whether a module will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// `y` or `m`.
    Any,
    /// `y`.
    BuiltIn,
}

/// A needed option, and what a kernel has of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found<'a> {
    /// The option.
    #[serde(flatten)]
    pub option: &'a Needed,
    /// `y`, `m`, or nothing.
    pub has: Option<String>,
    /// Whether that is enough.
    pub enough: bool,
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

/// What a kernel with this `/boot/config-*` text has of each option.
pub fn found<'a>(options: &'a [Needed], config: &str) -> Vec<Found<'a>> {
    let values = values(config);
    let find = |option: &'a Needed| {
        let has = values.get(option.name.as_str()).copied();
        let enough = match has {
            Some("y") => true,
            Some("m") => option.need == Need::Any,
            _ => option.only_with.as_deref().is_some_and(|other| !values.contains_key(other)),
        };
        Found { option, has: has.map(str::to_owned), enough }
    };
    options.iter().map(find).collect()
}

/// What is missing of these, with the reasons, in one line; none if nothing is.
pub fn lacks(found: &[Found]) -> Option<String> {
    let missing = found.iter().filter(|f| !f.enough).map(|f| format!("{} ({})", f.option.name, f.option.reason));
    let missing: Vec<String> = missing.collect();
    (!missing.is_empty()).then(|| missing.join("; "))
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
        assert_eq!(lacks(&found(&options, config)).unwrap(), "B (r); C (r)");
        assert_eq!(lacks(&found(&options, "CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=m\n")), None);
    }

    #[test]
    fn an_option_may_be_needed_with_another_only() {
        let options = read("[[option]]\nname='SIG'\nneed='built-in'\nif='MODULES'\nreason='r'\n").unwrap();
        assert_eq!(lacks(&found(&options, "CONFIG_MODULES=y\n")).unwrap(), "SIG (r)");
        assert_eq!(lacks(&found(&options, "# CONFIG_MODULES is not set\n")), None);
        assert_eq!(lacks(&found(&options, "CONFIG_MODULES=y\nCONFIG_SIG=y\n")), None);
    }
}
