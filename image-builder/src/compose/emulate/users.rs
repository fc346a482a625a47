//! `/etc/passwd`, `group`, `shadow` and `gshadow` (passwd(5), shadow(5), gshadow(5)) of the lock's users.
//!
//! Nobody has a password and every account is locked, root's too: nobody logs in to a node.

use super::{path, put_file};
use crate::compose::tree::Tree;
use crate::lock::{Group, User};
use anyhow::Result;
use std::fmt::Write;

const BY: &str = "users";

/// Writes the four files, and an empty subuid and subgid.
///
/// # Errors
/// Never for a well-formed tree.
pub fn apply(tree: &mut Tree, users: &[User], groups: &[Group]) -> Result<()> {
    let [passwd, group, shadow, gshadow] = files(users, groups);
    put_file(tree, "/etc/passwd", passwd, 0o644, BY)?;
    put_file(tree, "/etc/group", group, 0o644, BY)?;
    put_file(tree, "/etc/shadow", shadow, 0o640, BY)?;
    put_file(tree, "/etc/gshadow", gshadow, 0o640, BY)?;
    put_file(tree, "/etc/subuid", "", 0o644, BY)?;
    put_file(tree, "/etc/subgid", "", 0o644, BY)?;
    if let Some(shadow) = groups.iter().find(|g| g.name == "shadow") {
        let secret = [path("/etc/shadow")?, path("/etc/gshadow")?];
        tree.iter_mut().filter(|(at, _)| secret.contains(at)).for_each(|(_, entry)| entry.gid = shadow.gid);
    }
    Ok(())
}

fn files(users: &[User], groups: &[Group]) -> [String; 4] {
    let mut files = [const { String::new() }; 4];
    let [passwd, group, shadow, gshadow] = &mut files;
    let mut users: Vec<&User> = users.iter().collect();
    users.sort_by_key(|u| u.uid);
    let mut groups: Vec<&Group> = groups.iter().collect();
    groups.sort_by_key(|g| g.gid);
    for User { name, uid, gid, comment, home, shell, .. } in users {
        // Writing to a String does not fail.
        let _ = writeln!(passwd, "{name}:x:{uid}:{gid}:{comment}:{home}:{shell}");
        let _ = writeln!(shadow, "{name}:!*:::::::");
    }
    for Group { name, gid, members, .. } in groups {
        let members = members.join(",");
        let _ = writeln!(group, "{name}:x:{gid}:{members}");
        let _ = writeln!(gshadow, "{name}:!*::{members}");
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_account_is_locked() {
        let user = |name: &str, uid| User {
            name: name.into(),
            uid,
            gid: uid,
            comment: "c".into(),
            home: "/".into(),
            shell: "/bin/sh".into(),
            from: String::new(),
        };
        let group = Group { name: "adm".into(), gid: 4, members: vec!["a".into(), "b".into()], from: String::new() };
        let [passwd, groups, shadow, gshadow] = files(&[user("a", 998), user("root", 0)], &[group]);
        assert_eq!(passwd, "root:x:0:0:c:/:/bin/sh\na:x:998:998:c:/:/bin/sh\n");
        assert_eq!(shadow, "root:!*:::::::\na:!*:::::::\n");
        assert_eq!((groups.as_str(), gshadow.as_str()), ("adm:x:4:a,b\n", "adm:!*::a,b\n"));
    }
}
