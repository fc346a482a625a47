//! A component's `go.mod`, from the template that ships with the builder, the recipe's versions and the
//! upstream module's own `go.mod`.
//!
//! Pure: text in, text out. What Go then resolves from it (`go mod tidy`) is the edge's work.
//!
//! A `replace` counts only in the main module (Go modules reference, "replace directive"), so what upstream
//! replaces must be said again in ours. Kubernetes is the case that matters: its `go.mod` asks for `v0.0.0`
//! of its staging modules and replaces them by folders of its repository, which no module zip has; they are
//! published beside it as `v0.N.P` for Kubernetes `v1.N.P`.

use serde::Deserialize;
use std::collections::BTreeMap;

/// Why a `go.mod` can't be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The recipe gives no version for a name of the template.
    #[error(
        "component {component} needs a version for {name:?}; write version = {{ {name} = \"...\" }} below [component.{component}]"
    )]
    Missing {
        /// The recipe's name of the component.
        component: String,
        /// Name in the template.
        name: String,
    },
    /// The recipe gives a version that no name of the template asks for.
    #[error("component {component} has a version for {name:?}, which it does not contain; it takes {known}")]
    Unknown {
        /// The recipe's name of the component.
        component: String,
        /// Name in the recipe.
        name: String,
        /// Names it takes.
        known: String,
    },
    /// Not a semantic version.
    #[error("component {component}: {version:?} is no version of {name}; expected one like \"1.2.3\"")]
    Version {
        /// The recipe's name of the component.
        component: String,
        /// Name in the template.
        name: String,
        /// As in the recipe.
        version: String,
    },
    /// A folder stands for a module, and where that module is published is not known.
    #[error(
        "{module} {version} takes {replaced} from a folder of its own repository, and the version it is published \
         under can't be told: only modules of version v1 publish theirs as v0"
    )]
    Staging {
        /// Upstream module.
        module: String,
        /// Its version.
        version: String,
        /// The module it replaces.
        replaced: String,
    },
}

/// The parts of a `go.mod` that matter here, as `go mod edit -json` prints them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GoMod {
    /// Go version the module is written for.
    pub go: Option<String>,
    /// `godebug` settings.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub godebug: Vec<Godebug>,
    /// Requirements.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub require: Vec<Module>,
    /// Versions to be passed over.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub exclude: Vec<Module>,
    /// Replacements.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub replace: Vec<Replace>,
}

/// A `godebug` setting.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Godebug {
    /// Name.
    pub key: String,
    /// Value.
    pub value: String,
}

/// A module, and a version where one is said.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Module {
    /// Module path.
    pub path: String,
    /// Version with its `v`.
    #[serde(default)]
    pub version: String,
}

/// A replacement.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Replace {
    /// What is replaced; every version where none is said.
    pub old: Module,
    /// By what; a folder has no version.
    pub new: Module,
}

// `go mod edit -json` writes null for a block that is not there.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The version with its leading `v`, as Go writes it; none if it is no semantic version.
pub fn go_version(version: &str) -> Option<String> {
    let bare = version.strip_prefix('v').unwrap_or(version);
    let core = bare.split(['-', '+']).next().unwrap_or("");
    let numbers = core.split('.').filter(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())).count();
    let clean = bare.bytes().all(|b| b.is_ascii_alphanumeric() || b".-+".contains(&b));
    (clean && numbers == 3 && core.split('.').count() == 3).then(|| format!("v{bare}"))
}

/// The names in braces that a template asks versions for, in order.
pub fn names(template: &str) -> Vec<&str> {
    template.split('{').skip(1).filter_map(|part| part.split_once('}')).map(|(name, _)| name).collect()
}

/// Puts the recipe's versions into a template: `{name}` becomes `v1.2.3`.
///
/// # Errors
/// When a version is missing, is no version, or belongs to no name of the template.
pub fn fill(component: &str, template: &str, versions: &BTreeMap<String, String>) -> Result<String, Error> {
    let component = component.to_owned();
    let known = names(template);
    if let Some(name) = versions.keys().find(|name| !known.contains(&name.as_str())) {
        let known = if known.is_empty() { "none".into() } else { known.join(", ") };
        return Err(Error::Unknown { component, name: name.clone(), known });
    }
    let mut text = template.to_owned();
    for name in known {
        let Some(version) = versions.get(name) else {
            return Err(Error::Missing { component, name: name.into() });
        };
        let Some(version) = go_version(version) else {
            return Err(Error::Version { component, name: name.into(), version: version.clone() });
        };
        text = text.replace(&format!("{{{name}}}"), &version);
    }
    Ok(text)
}

/// The first module a filled template requires: the one whose programs the component is made of.
pub fn primary(go_mod: &str) -> Option<Module> {
    let mut words = go_mod.lines().find_map(|line| line.strip_prefix("require "))?.split_whitespace();
    Some(Module { path: words.next()?.into(), version: words.next()?.into() })
}

/// Says again, in a filled template, what counts only in a main module: upstream's Go version, `godebug`
/// settings, exclusions and replacements.
///
/// A folder that upstream puts in place of a module becomes the module of the same name published beside it,
/// unless upstream's requirement names a published version already.
///
/// # Errors
/// When it can't be told as what such a folder is published.
pub fn lift(go_mod: &str, primary: &Module, upstream: &GoMod) -> Result<String, Error> {
    let mut text = go_mod.trim_end().to_owned() + "\n";
    let mut line = |l: String| {
        text.push_str(&l);
        text.push('\n');
    };
    if let Some(go) = &upstream.go {
        line(format!("\ngo {go}"));
    }
    for Godebug { key, value } in &upstream.godebug {
        line(format!("godebug {key}={value}"));
    }
    for Module { path, version } in &upstream.exclude {
        line(format!("exclude {path} {version}"));
    }
    for Replace { old, new } in &upstream.replace {
        let replaced = spaced(old);
        if !is_folder(new) {
            line(format!("replace {replaced} => {}", spaced(new)));
            continue;
        }
        let required = upstream.require.iter().find(|r| r.path == old.path);
        if required.is_some_and(|r| r.version != UNPUBLISHED) {
            continue;
        }
        let Some(rest) = primary.version.strip_prefix("v1.") else {
            return Err(Error::Staging {
                module: primary.path.clone(),
                version: primary.version.clone(),
                replaced: old.path.clone(),
            });
        };
        line(format!("replace {replaced} => {} v0.{rest}", old.path));
    }
    Ok(text)
}

/// The version that stands where a folder is meant.
const UNPUBLISHED: &str = "v0.0.0";

fn is_folder(module: &Module) -> bool {
    module.version.is_empty()
}

fn spaced(module: &Module) -> String {
    format!("{} {}", module.path, module.version).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str =
        "module m\n\nrequire k8s.io/kubernetes {kubernetes}\nrequire go.etcd.io/etcd/server/v3 {etcd}\n";

    fn versions(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        list.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    fn upstream(json: &str) -> GoMod {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn versions_are_put_in_with_or_without_their_v() {
        let text = fill("kube", TEMPLATE, &versions(&[("kubernetes", "1.37.2"), ("etcd", "v3.7.3-rc.1")])).unwrap();
        assert!(text.contains("require k8s.io/kubernetes v1.37.2\n"), "{text}");
        assert!(text.contains("require go.etcd.io/etcd/server/v3 v3.7.3-rc.1\n"), "{text}");
        assert_eq!(primary(&text), Some(Module { path: "k8s.io/kubernetes".into(), version: "v1.37.2".into() }));
    }

    #[test]
    fn a_missing_version_a_strange_name_and_a_strange_version_are_named() {
        let error = |list: &[(&str, &str)]| fill("kube", TEMPLATE, &versions(list)).unwrap_err().to_string();
        insta::assert_snapshot!(error(&[("kubernetes", "1.37.2")]), @r#"component kube needs a version for "etcd"; write version = { etcd = "..." } below [component.kube]"#);
        insta::assert_snapshot!(error(&[("kubernetes", "1.37.2"), ("etdc", "3.7.3")]), @r#"component kube has a version for "etdc", which it does not contain; it takes kubernetes, etcd"#);
        insta::assert_snapshot!(error(&[("kubernetes", "latest"), ("etcd", "3.7.3")]), @r#"component kube: "latest" is no version of kubernetes; expected one like "1.2.3""#);
    }

    #[test]
    fn what_could_say_more_than_a_version_is_none() {
        for text in ["", "1", "1.2", "1..2", "1.2.3.4", "1.2.x", "1.2.3 // x", "1.2.3\nreplace a => b", "../1.2.3"] {
            assert_eq!(go_version(text), None, "{text:?}");
        }
        assert_eq!(
            go_version("1.2.3-0.20250520000000-abcdef123456").as_deref(),
            Some("v1.2.3-0.20250520000000-abcdef123456")
        );
    }

    #[test]
    fn staging_folders_become_the_modules_published_beside_kubernetes() {
        let upstream = upstream(
            r#"{"Module":{"Path":"k8s.io/kubernetes"},"Go":"1.26.0","Godebug":[{"Key":"default","Value":"go1.26"}],
                "Require":[{"Path":"k8s.io/api","Version":"v0.0.0"},{"Path":"example.org/own","Version":"v0.4.0"}],
                "Exclude":null,
                "Replace":[{"Old":{"Path":"k8s.io/api"},"New":{"Path":"./staging/src/k8s.io/api"}},
                           {"Old":{"Path":"k8s.io/unasked"},"New":{"Path":"./staging/src/k8s.io/unasked"}},
                           {"Old":{"Path":"example.org/own"},"New":{"Path":"./own"}},
                           {"Old":{"Path":"a.org/a","Version":"v1.0.0"},"New":{"Path":"b.org/a","Version":"v1.0.1"}}]}"#,
        );
        let primary = Module { path: "k8s.io/kubernetes".into(), version: "v1.37.2".into() };
        insta::assert_snapshot!(lift("module m\n\nrequire k8s.io/kubernetes v1.37.2\n", &primary, &upstream).unwrap(), @r"
        module m

        require k8s.io/kubernetes v1.37.2

        go 1.26.0
        godebug default=go1.26
        replace k8s.io/api => k8s.io/api v0.37.2
        replace k8s.io/unasked => k8s.io/unasked v0.37.2
        replace a.org/a v1.0.0 => b.org/a v1.0.1
        ");
    }

    #[test]
    fn a_folder_beside_a_module_of_version_two_is_an_error_that_names_it() {
        let upstream = upstream(r#"{"Replace":[{"Old":{"Path":"x.org/part"},"New":{"Path":"./part"}}]}"#);
        let primary = Module { path: "x.org/all/v2".into(), version: "v2.0.0".into() };
        let error = lift("", &primary, &upstream).unwrap_err().to_string();
        assert!(error.contains("x.org/all/v2 v2.0.0 takes x.org/part from a folder"), "{error}");
    }
}
