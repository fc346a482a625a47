//! Users and groups of an image, each with a pinned id.
//!
//! They come from base-passwd's masters and from every `sysusers.d` file (sysusers.d(5)) of packages and
//! overlays. An id that a former lock gave to a name stays with it, so that `/var` keeps its owners over
//! updates. What is new and names no number gets the highest free one from 999 downward, as systemd-sysusers
//! does, in order of name, so the result does not depend on the order of files.

use crate::lock::{Group, User};
use std::collections::{BTreeMap, BTreeSet};

/// Ids given out to what names none: SYSTEM_UID_MAX and the least that systemd-sysusers takes.
const DYNAMIC: std::ops::RangeInclusive<u32> = 101..=999;

/// Where names come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// base-passwd's `passwd.master`; empty without that package.
    pub passwd: String,
    /// base-passwd's `group.master`.
    pub group: String,
    /// `sysusers.d` files: path and text. Of two with one file name, the earlier path in `/etc`, `/run`,
    /// `/usr` counts.
    pub sysusers: Vec<(String, String)>,
}

/// A user or group that can't be had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdError {
    /// A line that is not understood.
    #[error("{from}, line {line}: {why}")]
    Line {
        /// File.
        from: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// Two sources give one name different numbers.
    #[error("the {what} {name} is {first} in {first_from} and {second} in {second_from}")]
    Contradiction {
        /// `user` or `group`.
        what: &'static str,
        /// Name.
        name: String,
        /// Its number in the first source.
        first: u32,
        /// Which one that is.
        first_from: String,
        /// Its number in the other.
        second: u32,
        /// Which one that is.
        second_from: String,
    },
    /// One number for two names.
    #[error("the {what}s {first} and {second} have the same number {id}")]
    Twice {
        /// `user` or `group`.
        what: &'static str,
        /// Number.
        id: u32,
        /// A name that has it.
        first: String,
        /// The other.
        second: String,
    },
    /// Nothing left between 101 and 999.
    #[error("no number from 101 to 999 is left for {0}")]
    Full(String),
}

#[derive(Debug, Clone, Default)]
struct WantedUser {
    uid: Option<u32>,
    /// Group by number or name; the group of the same name if none is given.
    group: Option<String>,
    comment: String,
    home: String,
    shell: String,
    from: String,
}

#[derive(Debug, Clone, Default)]
struct WantedGroup {
    gid: Option<u32>,
    members: BTreeSet<String>,
    from: String,
}

#[derive(Debug, Default)]
struct Wanted {
    users: BTreeMap<String, WantedUser>,
    groups: BTreeMap<String, WantedGroup>,
}

/// Users and groups by id, with the ids of `former` where a name had one.
///
/// # Errors
/// When a line is not understood, sources contradict each other, or the numbers run out.
pub fn assign(sources: &Sources, former: &(Vec<User>, Vec<Group>)) -> Result<(Vec<User>, Vec<Group>), IdError> {
    let mut wanted = Wanted::default();
    wanted.read_masters(&sources.passwd, &sources.group)?;
    for (path, text) in effective(&sources.sysusers) {
        wanted.read_sysusers(path, text)?;
    }
    wanted.number(former)
}

/// The files that count, in order of file name: `/etc` hides `/run` hides `/usr`.
fn effective(files: &[(String, String)]) -> Vec<(&str, &str)> {
    let mut by_name: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for (path, text) in files {
        let name = path.rsplit('/').next().unwrap_or(path);
        let entry = by_name.entry(name).or_insert((path, text));
        if path.as_str() < entry.0 {
            *entry = (path, text);
        }
    }
    by_name.into_values().collect()
}

impl Wanted {
    fn read_masters(&mut self, passwd: &str, group: &str) -> Result<(), IdError> {
        let (passwd_from, group_from) = ("base-passwd's passwd.master", "base-passwd's group.master");
        for (number, line) in group.lines().enumerate().filter(|(_, l)| !l.is_empty()) {
            let fields: Vec<&str> = line.split(':').collect();
            let gid = fields.get(2).and_then(|id| id.parse().ok());
            let gid = gid.ok_or_else(|| wrong(group_from, number, "expected name:password:number:members"))?;
            let members = fields.get(3).into_iter().flat_map(|m| m.split(',')).filter(|m| !m.is_empty());
            let wanted = WantedGroup {
                gid: Some(gid),
                members: members.map(str::to_owned).collect(),
                from: "base-passwd".into(),
            };
            self.groups.insert(fields[0].into(), wanted);
        }
        for (number, line) in passwd.lines().enumerate().filter(|(_, l)| !l.is_empty()) {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, uid, gid, comment, home, shell] = fields[..] else {
                return Err(wrong(passwd_from, number, "expected seven fields"));
            };
            let uid = uid.parse().map_err(|_| wrong(passwd_from, number, "the user has no number"))?;
            let wanted = WantedUser {
                uid: Some(uid),
                group: Some(gid.into()),
                comment: comment.into(),
                home: home.into(),
                shell: shell.into(),
                from: "base-passwd".into(),
            };
            self.users.insert(name.into(), wanted);
        }
        Ok(())
    }

    fn read_sysusers(&mut self, from: &str, text: &str) -> Result<(), IdError> {
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fields = words(line).ok_or_else(|| wrong(from, number, "a quotation mark is not closed"))?;
            let field = |n: usize| fields.get(n).map(String::as_str).filter(|f| !f.is_empty() && *f != "-");
            let name = field(1).ok_or_else(|| wrong(from, number, "there is no name"))?.to_owned();
            if fields.iter().any(|f| f.contains('%')) {
                return Err(wrong(from, number, "specifiers (%) depend on the machine; write the value"));
            }
            // `!` locks the account, which all of the image's are.
            match fields[0].trim_end_matches('!') {
                "u" => self.want_user(name, field(2), [field(3), field(4), field(5)], from, number)?,
                "g" => {
                    let gid =
                        field(2).map(|id| id.parse().map_err(|_| wrong(from, number, "the group's number is none")));
                    self.want_group(&name, gid.transpose()?, from)?;
                }
                "m" => {
                    let group = field(2).ok_or_else(|| wrong(from, number, "there is no group"))?;
                    self.want_group(group, None, from)?;
                    if !self.users.contains_key(&name) {
                        self.want_user(name.clone(), None, [None; 3], from, number)?;
                    }
                    self.groups.entry(group.into()).or_default().members.insert(name);
                }
                // A range for ids given out: the builder's own is within systemd's.
                "r" => {}
                other => return Err(wrong(from, number, &format!("{other:?} is none of u, g, m, r"))),
            }
        }
        Ok(())
    }

    fn want_user(
        &mut self,
        name: String,
        id: Option<&str>,
        [comment, home, shell]: [Option<&str>; 3],
        from: &str,
        line: usize,
    ) -> Result<(), IdError> {
        let number = |text: &str| text.parse().map_err(|_| wrong(from, line, "the user's number is none"));
        let (uid, group) = match id.map(|id| id.split_once(':').map_or((id, None), |(u, g)| (u, Some(g)))) {
            None => (None, None),
            Some(("-", group)) => (None, group),
            Some((path, _)) if path.starts_with('/') => {
                return Err(wrong(from, line, "a file's owner is no number; write the number"));
            }
            Some((uid, group)) => (Some(number(uid)?), group),
        };
        if let Some(known) = self.users.get_mut(&name) {
            contradiction("user", &name, (known.uid, &known.from), (uid, from))?;
            known.uid = known.uid.or(uid);
            return Ok(());
        }
        if group.is_none() {
            self.want_group(&name, None, from)?;
        }
        let shell = shell.unwrap_or(if uid == Some(0) { "/bin/sh" } else { "/usr/sbin/nologin" });
        let wanted = WantedUser {
            uid,
            group: group.map(str::to_owned),
            comment: comment.unwrap_or_default().into(),
            home: home.unwrap_or("/").into(),
            shell: shell.into(),
            from: from.into(),
        };
        self.users.insert(name, wanted);
        Ok(())
    }

    fn want_group(&mut self, name: &str, gid: Option<u32>, from: &str) -> Result<(), IdError> {
        let new = || WantedGroup { gid, members: BTreeSet::new(), from: from.into() };
        let known = self.groups.entry(name.into()).or_insert_with(new);
        contradiction("group", name, (known.gid, &known.from), (gid, from))?;
        known.gid = known.gid.or(gid);
        Ok(())
    }

    fn number(self, (users, groups): &(Vec<User>, Vec<Group>)) -> Result<(Vec<User>, Vec<Group>), IdError> {
        let former_uids: BTreeMap<&str, u32> = users.iter().map(|u| (u.name.as_str(), u.uid)).collect();
        let former_gids: BTreeMap<&str, u32> = groups.iter().map(|g| (g.name.as_str(), g.gid)).collect();
        let mut uids = BTreeMap::new();
        let mut gids = BTreeMap::new();
        for (name, user) in &self.users {
            if let Some(id) = user.uid.or(former_uids.get(name.as_str()).copied()) {
                take(&mut uids, "user", id, name)?;
            }
        }
        for (name, group) in &self.groups {
            // A user's own group has the user's number unless it says otherwise.
            let own = self.users.get(name).filter(|u| u.group.is_none()).and_then(|u| u.uid);
            if let Some(id) = group.gid.or(former_gids.get(name.as_str()).copied()).or(own) {
                take(&mut gids, "group", id, name)?;
            }
        }
        // Numbers of the former lock's other names stay unused: files of theirs may be left in /var.
        let burnt: BTreeSet<u32> = users.iter().map(|u| u.uid).chain(groups.iter().map(|g| g.gid)).collect();
        let mut free = DYNAMIC.rev().filter(|id| !burnt.contains(id));
        for name in self.users.keys().chain(self.groups.keys()).collect::<BTreeSet<_>>() {
            let needs_uid = self.users.contains_key(name) && !uids.values().any(|n| n == name);
            let needs_gid = self.groups.contains_key(name) && !gids.values().any(|n| n == name);
            if !needs_uid && !needs_gid {
                continue;
            }
            let has = |ids: &BTreeMap<u32, String>| ids.iter().find(|(_, n)| *n == name).map(|(id, _)| *id);
            let other = if needs_uid { has(&gids) } else { has(&uids) };
            let same = other.filter(|id| if needs_uid { !uids.contains_key(id) } else { !gids.contains_key(id) });
            let id = same
                .or_else(|| free.find(|id| !uids.contains_key(id) && !gids.contains_key(id)))
                .ok_or_else(|| IdError::Full(name.clone()))?;
            if needs_uid {
                take(&mut uids, "user", id, name)?;
            }
            if needs_gid {
                take(&mut gids, "group", id, name)?;
            }
        }
        self.result(&uids, &gids)
    }

    fn result(
        mut self,
        uids: &BTreeMap<u32, String>,
        gids: &BTreeMap<u32, String>,
    ) -> Result<(Vec<User>, Vec<Group>), IdError> {
        let gid_of: BTreeMap<&str, u32> = gids.iter().map(|(id, name)| (name.as_str(), *id)).collect();
        let mut users = Vec::new();
        for (uid, name) in uids {
            let user = self.users.remove(name).unwrap_or_default();
            let group = user.group.as_deref().unwrap_or(name);
            let gid = group.parse().ok().or_else(|| gid_of.get(group).copied());
            let gid =
                gid.ok_or_else(|| wrong(&user.from, 0, &format!("the user {name}'s group {group} does not exist")))?;
            let User { comment, home, shell, from, .. } = User {
                name: String::new(),
                uid: 0,
                gid: 0,
                comment: user.comment,
                home: user.home,
                shell: user.shell,
                from: user.from,
            };
            users.push(User { name: name.clone(), uid: *uid, gid, comment, home, shell, from });
        }
        let groups = gids.iter().map(|(gid, name)| {
            let group = self.groups.remove(name).unwrap_or_default();
            Group { name: name.clone(), gid: *gid, members: group.members.into_iter().collect(), from: group.from }
        });
        Ok((users, groups.collect()))
    }
}

fn wrong(from: &str, line: usize, why: &str) -> IdError {
    IdError::Line { from: from.into(), line: line + 1, why: why.into() }
}

fn contradiction(
    what: &'static str,
    name: &str,
    (first, first_from): (Option<u32>, &str),
    (second, second_from): (Option<u32>, &str),
) -> Result<(), IdError> {
    match (first, second) {
        (Some(first), Some(second)) if first != second => Err(IdError::Contradiction {
            what,
            name: name.into(),
            first,
            first_from: first_from.into(),
            second,
            second_from: second_from.into(),
        }),
        _ => Ok(()),
    }
}

fn take(ids: &mut BTreeMap<u32, String>, what: &'static str, id: u32, name: &str) -> Result<(), IdError> {
    match ids.insert(id, name.into()) {
        Some(first) if first != name => Err(IdError::Twice { what, id, first, second: name.into() }),
        _ => Ok(()),
    }
}

/// Words of a line, where quotation marks hold blanks together; `None` if one is not closed.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:*:0:0:root:/root:/bin/bash\nsync:*:4:65534:sync:/bin:/bin/sync\n";
    const GROUP: &str = "root:*:0:\nshadow:*:42:\nnogroup:*:65534:\n";

    fn assigned(files: &[(&str, &str)], former: &(Vec<User>, Vec<Group>)) -> Result<(Vec<User>, Vec<Group>), String> {
        let sources = Sources {
            passwd: PASSWD.into(),
            group: GROUP.into(),
            sysusers: files.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect(),
        };
        assign(&sources, former).map_err(|e| e.to_string())
    }

    fn ids((users, groups): &(Vec<User>, Vec<Group>), name: &str) -> (Option<(u32, u32)>, Option<u32>) {
        let user = users.iter().find(|u| u.name == name).map(|u| (u.uid, u.gid));
        (user, groups.iter().find(|g| g.name == name).map(|g| g.gid))
    }

    const FILE: &str = "# a comment\ng render -\nu! systemd-network - \"systemd Network\"\nu sync 4:65534 - /bin\n\
                        m systemd-network shadow\nu fixed 77:42 \"\" /x /bin/sh\n";

    #[test]
    fn numbers_go_downward_in_order_of_name() {
        let made = assigned(
            &[("/usr/lib/sysusers.d/b.conf", FILE), ("/usr/lib/sysusers.d/a.conf", "g zzz -\n")],
            &Default::default(),
        )
        .unwrap();
        assert_eq!(ids(&made, "render"), (None, Some(999)));
        assert_eq!(ids(&made, "systemd-network"), (Some((998, 998)), Some(998)));
        assert_eq!(ids(&made, "zzz"), (None, Some(997)));
        assert_eq!(ids(&made, "fixed"), (Some((77, 42)), None));
        assert_eq!(ids(&made, "sync"), (Some((4, 65534)), None));
        let network = made.0.iter().find(|u| u.name == "systemd-network").unwrap();
        assert_eq!(
            (network.comment.as_str(), network.home.as_str(), network.shell.as_str()),
            ("systemd Network", "/", "/usr/sbin/nologin")
        );
        assert_eq!(made.1.iter().find(|g| g.name == "shadow").unwrap().members, ["systemd-network"]);
        assert_eq!(network.from, "/usr/lib/sysusers.d/b.conf");
    }

    #[test]
    fn a_former_lock_keeps_its_numbers_and_nobody_inherits_them() {
        let before = assigned(&[("/usr/lib/sysusers.d/a.conf", "u m -\nu n -\n")], &Default::default()).unwrap();
        assert_eq!((ids(&before, "m").1, ids(&before, "n").1), (Some(999), Some(998)));
        let after = assigned(&[("/usr/lib/sysusers.d/a.conf", "u a -\nu n -\n")], &before).unwrap();
        assert_eq!(ids(&after, "n"), (Some((998, 998)), Some(998)));
        assert_eq!(ids(&after, "a"), (Some((997, 997)), Some(997)));
    }

    #[test]
    fn the_host_files_hide_those_of_packages() {
        let files = [("/usr/lib/sysusers.d/a.conf", "g x 200\n"), ("/etc/sysusers.d/a.conf", "g y 201\n")];
        let made = assigned(&files, &Default::default()).unwrap();
        assert_eq!((ids(&made, "x").1, ids(&made, "y").1), (None, Some(201)));
    }

    #[test]
    fn what_can_not_be_is_said() {
        let error = |text| assigned(&[("/a.conf", text)], &Default::default()).unwrap_err();
        assert_eq!(error("g shadow 43\n"), "the group shadow is 42 in base-passwd and 43 in /a.conf");
        assert_eq!(error("\ng x 42\n"), "the groups shadow and x have the same number 42");
        assert!(error("u x - \"open\n").starts_with("/a.conf, line 1: a quotation mark"));
        assert!(error("u x /some/file\n").contains("write the number"));
        assert!(error("q x\n").contains("none of u, g, m, r"));
    }
}
