//! Merged-/usr: everything below `/bin`, `/sbin`, `/lib` and `/lib64` lies below `/usr`, and those four are
//! links into it. What `usrmerge` and the protective diversions of maintainer scripts are about is not
//! needed here, since no path is ever laid through such a link.

use crate::compose::tree::TreePath;

/// The folders that are links on a merged-/usr system.
pub const ALIASES: [&str; 4] = ["/bin", "/lib", "/lib64", "/sbin"];

/// Whether this is one of the links themselves.
pub fn is_alias(path: &TreePath) -> bool {
    ALIASES.contains(&path.as_str())
}

/// Where a path of a package lies: `/bin/x` is `/usr/bin/x`.
pub fn merged(path: &TreePath) -> TreePath {
    let text = path.as_str();
    let inside =
        ALIASES.iter().any(|alias| text.strip_prefix(alias).is_some_and(|r| r.is_empty() || r.starts_with('/')));
    if !inside {
        return path.clone();
    }
    // The text is a tree path already, so this can't fail.
    TreePath::new(&format!("/usr{text}")).unwrap_or_else(|_| path.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_an_alias_moves() {
        let at = |text| merged(&TreePath::new(text).unwrap()).to_string();
        assert_eq!(at("/bin/sh"), "/usr/bin/sh");
        assert_eq!(at("/lib64/ld.so"), "/usr/lib64/ld.so");
        assert_eq!(at("/lib"), "/usr/lib");
        assert_eq!(at("/library/x"), "/library/x");
        assert_eq!(at("/usr/bin/sh"), "/usr/bin/sh");
    }
}
