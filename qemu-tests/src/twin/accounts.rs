//! Users and groups of two roots that count ids from different ends.
//!
//! Ids up to 99 and those of nobody are Debian's for ever and are compared as numbers. All others are taken as they come
//! when a package is installed, so what counts is the name: owners are told by it, and in the files of accounts such ids
//! stand as names, with the lines in order.

use std::collections::HashMap;

/// Names of a root's users and groups by id.
#[derive(Debug, Clone, Default)]
pub struct Names {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Names {
    /// Those of the texts of `/etc/passwd` and `/etc/group`.
    pub fn new(passwd: &str, group: &str) -> Names {
        let read = |text: &str| {
            let fields = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
            fields.filter_map(|f| Some((f.get(2)?.parse().ok()?, f[0].to_owned()))).collect()
        };
        Names { users: read(passwd), groups: read(group) }
    }

    /// An owner as people say it.
    pub fn owner(&self, uid: u32, gid: u32) -> String {
        format!("{}:{}", told(&self.users, uid), told(&self.groups, gid))
    }

    /// A file of accounts as it is compared; none for any other path.
    pub fn file(&self, path: &str, text: &str) -> Option<String> {
        // Which columns are ids, and whose.
        let columns: &[(usize, &HashMap<u32, String>)] = match path {
            "/etc/passwd" => &[(2, &self.users), (3, &self.groups)],
            "/etc/group" => &[(2, &self.groups)],
            "/etc/shadow" | "/etc/gshadow" => &[],
            _ => return None,
        };
        let line = |line: &str| {
            let mut fields: Vec<String> = line.split(':').map(str::to_owned).collect();
            for (column, names) in columns {
                if let Some(id) = fields.get(*column).and_then(|id| id.parse().ok()) {
                    fields[*column] = told(names, id);
                }
            }
            fields.join(":") + "\n"
        };
        let mut lines: Vec<String> = text.lines().map(line).collect();
        lines.sort_unstable();
        Some(lines.concat())
    }
}

fn told(names: &HashMap<u32, String>, id: u32) -> String {
    match names.get(&id) {
        None => format!("unknown {id}"),
        Some(name) if id < 100 || id == 65534 => format!("{name} {id}"),
        Some(name) => name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_are_taken_as_they_come_are_names() {
        let one = Names::new("root:x:0:0::/:/bin/sh\na:x:998:997:A:/:/x\n", "root:x:0:\nb:x:997:a\n");
        let other = Names::new("a:x:101:102:A:/:/x\nroot:x:0:0::/:/bin/sh\n", "b:x:102:a\nroot:x:0:\n");
        assert_eq!(one.owner(998, 997), "a:b");
        assert_eq!(one.owner(0, 5), "root 0:unknown 5");
        let passwd = |names: &Names, text: &str| names.file("/etc/passwd", text).unwrap();
        assert_eq!(
            passwd(&one, "root:x:0:0::/:/bin/sh\na:x:998:997:A:/:/x\n"),
            passwd(&other, "a:x:101:102:A:/:/x\nroot:x:0:0::/:/bin/sh\n")
        );
        assert_ne!(passwd(&one, "root:x:0:0::/:/bin/sh\n"), passwd(&one, "root:x:0:0::/root:/bin/sh\n"));
        assert_eq!(one.file("/etc/hosts", ""), None);
    }
}
