//! Modes and owners that scripts set, with dpkg-statoverride(1) or systemd-tmpfiles(8).

use crate::compose::layer::Ids;
use crate::compose::tree::Tree;

/// Path, group, mode; each from the script of the package that has the path.
const OVERRIDES: [(&str, &str, u32); 3] = [
    ("/usr/lib/dbus-1.0/dbus-daemon-launch-helper", "messagebus", 0o4754),
    // The package has them open to all.
    ("/etc/credstore", "root", 0o700),
    ("/etc/credstore.encrypted", "root", 0o700),
];

/// Sets each where path and group exist.
pub fn apply(tree: &mut Tree, ids: &Ids) {
    for (path, group, mode) in OVERRIDES {
        let Some(gid) = ids.group(group) else { continue };
        for (_, entry) in tree.iter_mut().filter(|(at, _)| at.as_str() == path) {
            (entry.gid, entry.mode) = (gid, mode);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{entry, tree};
    use super::*;
    use crate::lock::Group;

    #[test]
    fn the_launch_helper_is_the_buss_alone() {
        let mut tree = tree(&[(OVERRIDES[0].0, "")]);
        let group = Group { name: "messagebus".into(), gid: 990, members: vec![], from: String::new() };
        apply(&mut tree, &Ids::new(&[], &[group]));
        assert_eq!(entry(&tree, OVERRIDES[0].0).map(|e| (e.uid, e.gid, e.mode)), Some((0, 990, 0o4754)));
    }
}
