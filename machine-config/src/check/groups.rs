//! Rules over volume groups: what is asked of each volume goes together, and is there.

use super::Rules;
use crate::schema::{Group, Layout, Logical};

/// Words that LVM keeps for itself at the beginning of a name.
const RESERVED: [&str; 2] = ["pvmove", "snapshot"];

pub(super) fn check(rules: &mut Rules<'_>) {
    for (name, group) in &rules.config().storage.group {
        if group.volume.is_empty() {
            rules.fault(
                "BP-C055",
                &["group", name],
                format!("`group.{name}` has no volumes"),
                "Its disks would be taken for nothing.",
                "Write one [group.NAME.volume.VOLUME], or for one file system per disk [each.NAME].",
            );
        }
        names(rules, name, group);
        let rest: Vec<&String> =
            group.volume.iter().filter(|(_, v)| v.size.is_none() && v.pool.is_none()).map(|(name, _)| name).collect();
        if let [first, second, ..] = &rest[..] {
            rules.fault(
                "BP-C057",
                &["group", name, "volume", second],
                format!("`{first}` and `{second}` of `group.{name}` have no `size`"),
                "Without one a volume gets all that the others leave, and only one can.",
                "Write the size of all but one.",
            );
        }
        for (volume, asked) in &group.volume {
            pooled(rules, name, group, volume, asked);
            spread(rules, name, group, volume, asked);
        }
    }
}

fn names(rules: &mut Rules<'_>, name: &str, group: &Group) {
    for (kind, volume) in group.volume.keys().map(|v| ("volume", v)).chain(group.pool.keys().map(|pool| ("pool", pool)))
    {
        if RESERVED.iter().any(|reserved| volume.starts_with(reserved)) {
            rules.fault(
                "BP-C056",
                &["group", name, kind, volume],
                format!("`{volume}` can't be the name of a {kind} in a group"),
                "LVM keeps names that begin with `snapshot` or `pvmove` for itself.",
                "Choose another name.",
            );
        }
        if kind == "pool" && group.volume.contains_key(volume) {
            rules.fault(
                "BP-C056",
                &["group", name, kind, volume],
                format!("`group.{name}` has a volume and a pool by the name `{volume}`"),
                "In a volume group both are names of one kind.",
                "Give one of them another name.",
            );
        }
    }
}

/// What is said of a volume of a thin pool.
fn pooled(rules: &mut Rules<'_>, name: &str, group: &Group, volume: &str, asked: &Logical) {
    let Some(pool) = &asked.pool else { return };
    let at = |key| ["group", name, "volume", volume, key];
    if !group.pool.contains_key(pool) {
        rules.fault(
            "BP-C058",
            &at("pool"),
            format!("`group.{name}` has no pool {pool:?}"),
            &format!("`{volume}` would have nothing to take its space from."),
            "Write [group.NAME.pool.POOL] with its size, or leave `pool` out.",
        );
    }
    if asked.size.is_none() {
        rules.fault(
            "BP-C057",
            &["group", name, "volume", volume],
            format!("`{volume}` of `group.{name}` is in a pool and has no `size`"),
            "It takes space as it fills, and how large it looks has to be said.",
            "Write its size.",
        );
    }
    for (key, _) in [("layout", asked.layout.is_some()), ("over", asked.over.is_some())].iter().filter(|(_, is)| *is) {
        rules.fault(
            "BP-C058",
            &at(key),
            format!("`{volume}` of `group.{name}` is in a pool and has `{key}`"),
            "Where its blocks lie is up to the pool.",
            "Take one of the two out.",
        );
    }
}

/// Over how many disks a volume lies.
fn spread(rules: &mut Rules<'_>, name: &str, group: &Group, volume: &str, asked: &Logical) {
    let layout = asked.layout.unwrap_or_default();
    if asked.pool.is_some() || (layout == Layout::Linear && asked.over.is_none()) {
        return;
    }
    let disks = group.disks.how_many();
    let over = asked.over.map_or(2, |over| usize::try_from(over).unwrap_or(usize::MAX));
    let (key, what) = match layout {
        Layout::Linear => ("over", "is linear and has `over`".to_owned()),
        _ if disks.is_some_and(|disks| over > disks) => {
            let disks = disks.unwrap_or_default();
            (if asked.over.is_some() { "over" } else { "layout" }, format!("takes {over} disks, and there are {disks}"))
        }
        _ => return,
    };
    rules.fault(
        "BP-C059",
        &["group", name, "volume", volume, key],
        format!("`{volume}` of `group.{name}` {what}"),
        "A striped volume and a mirror lie on two and more disks of their group, a linear one wherever there is space.",
        "Correct `layout` and `over`, or select more disks.",
    );
}
