//! Rules over what each disk of a selection holds: one volume, or partitions that are each one.

use super::Rules;
use crate::schema::{Each, Partition};

pub(super) fn check(rules: &mut Rules<'_>) {
    for (name, each) in &rules.config().storage.each {
        if each.partition.is_empty() {
            whole(rules, name, each);
        } else {
            partitions(rules, name, each);
        }
    }
}

fn whole(rules: &mut Rules<'_>, name: &str, each: &Each) {
    if each.format.is_none() {
        rules.fault(
            "BP-C066",
            &["each", name],
            format!("`each.{name}` does not say what its disks hold"),
            "A disk is one volume, whose `format` stands in the section, or it has partitions that are each one.",
            "Add `format = \"xfs\"` with a `mount`, `format = \"raw\"`, or a [each.NAME.partition.PARTITION] for each partition.",
        );
    }
}

fn partitions(rules: &mut Rules<'_>, name: &str, each: &Each) {
    for key in each.keys_of_whole() {
        rules.fault(
            "BP-C066",
            &["each", name, key],
            format!("`each.{name}` has `partition` and `{key}`"),
            "A disk is one volume or it has partitions: of what the key would be said is a guess.",
            "Move it into a partition, or take one of the two out.",
        );
    }
    if each.partition.len() > Partition::MOST {
        rules.fault(
            "BP-C067",
            &["each", name, "partition"],
            format!("`each.{name}` has {} partitions", each.partition.len()),
            &format!("A disk is cut into {} at most.", Partition::MOST),
            "Leave some out; for many volumes make a [group.NAME] of the disks.",
        );
    }
    let rest: Vec<&String> =
        each.partition.iter().filter(|(_, part)| part.size.is_none()).map(|(part, _)| part).collect();
    if let [first, second, ..] = &rest[..] {
        rules.fault(
            "BP-C067",
            &["each", name, "partition", second],
            format!("the partitions `{first}` and `{second}` of `each.{name}` have no `size`"),
            "Without one a partition gets all that the others leave, and only one can.",
            "Write the size of all but one.",
        );
    }
}
