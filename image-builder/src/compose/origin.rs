//! Which input a path of the root came from. Pure.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// Which input a path came from. Its text says all of it, and can be read again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Origin {
    /// A package: name and version.
    Package(String, String),
    /// A component: name and version.
    Component(String, String),
    /// An overlay folder.
    Overlay(String),
    /// A container image that was taken ready: name, and digest of its manifest.
    Image(String, String),
    /// Done as data for a maintainer script or by the builder itself: the emulation's name.
    Emulation(Cow<'static, str>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Package(name, version) => write!(f, "package {name} {version}"),
            Origin::Component(name, version) => write!(f, "component {name} {version}"),
            Origin::Overlay(name) => write!(f, "overlay {name}"),
            Origin::Image(name, digest) => write!(f, "image {name} {digest}"),
            Origin::Emulation(name) => write!(f, "emulation {name}"),
        }
    }
}

impl FromStr for Origin {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("{text:?} names no input; expected a package, component, overlay, image or emulation");
        let (kind, name) = text.split_once(' ').ok_or_else(unknown)?;
        let versioned = || {
            let (name, version) = name.split_once(' ').ok_or_else(unknown)?;
            Ok::<_, String>((name.to_owned(), version.to_owned()))
        };
        match kind {
            "package" => versioned().map(|(name, version)| Origin::Package(name, version)),
            "component" => versioned().map(|(name, version)| Origin::Component(name, version)),
            "overlay" => Ok(Origin::Overlay(name.to_owned())),
            "image" => versioned().map(|(name, digest)| Origin::Image(name, digest)),
            "emulation" => Ok(Origin::Emulation(name.to_owned().into())),
            _ => Err(unknown()),
        }
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> String {
        origin.to_string()
    }
}

impl TryFrom<String> for Origin {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_text_can_be_read_again() {
        let all = [
            Origin::Package("mount".into(), "2.41-5".into()),
            Origin::Component("kube".into(), "kubernetes v1.37.2, etcd v3.7.3".into()),
            Origin::Overlay("my site".into()),
            Origin::Image("registry.example.org/a/b:1".into(), "sha256:ab".into()),
            Origin::Emulation("users".into()),
        ];
        for origin in all {
            assert_eq!(origin.to_string().parse(), Ok(origin));
        }
        for text in ["", "package", "package mount", "image a", "tool gcc 14"] {
            assert!(text.parse::<Origin>().unwrap_err().contains("names no input"), "{text}");
        }
    }
}
