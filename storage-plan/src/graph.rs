//! What has to come before what in a plan.

use crate::action::Action;
use crate::layer::lvm::Shape;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// An action in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Step {
    /// The volume it is for.
    pub volume: String,
    /// What to do.
    pub action: Action,
    /// Positions of the steps that must have ended; always lower than its own.
    pub after: Vec<usize>,
}

/// The steps of a plan: a directed graph without cycles, in an order that respects it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Graph {
    /// Steps; each comes after those that it waits for.
    pub steps: Vec<Step>,
}

impl Graph {
    /// Adds a step behind those at `after` and gives its position.
    pub fn add(&mut self, volume: &str, action: Action, after: &[usize]) -> usize {
        self.steps.push(Step { volume: volume.into(), action, after: after.to_vec() });
        self.steps.len() - 1
    }

    /// Kernel names of disks whose part in an array that runs is changed: the array runs on as it is where one can't be had.
    pub fn replacements(&self) -> BTreeSet<&str> {
        let of_members = self.steps.iter().filter(|step| step.action.changes_array());
        of_members.flat_map(|step| step.action.disks()).collect()
    }

    /// The longest chain of steps that wait for each other, when each takes as long as `took` says: however many run side by
    /// side, all of them take no less. A step waits only for such as stand before it.
    pub fn critical_path(&self, took: &[Duration]) -> Duration {
        let mut ends: Vec<Duration> = Vec::new();
        for (step, took) in self.steps.iter().zip(took) {
            let begins = step.after.iter().filter_map(|before| ends.get(*before)).max().copied().unwrap_or_default();
            ends.push(begins + *took);
        }
        ends.into_iter().max().unwrap_or_default()
    }

    /// Adds another graph's steps, keeping their order among themselves. What both have to do is done once, for both: volumes
    /// of one group wait for the same group.
    pub fn append(&mut self, other: Graph) {
        let mut places = Vec::new();
        for mut step in other.steps {
            step.after.iter_mut().for_each(|a| *a = places[*a]);
            let there = self.steps.iter().position(|other| other.action == step.action);
            places.push(there.unwrap_or(self.steps.len()));
            if there.is_none() {
                self.steps.push(step);
            }
        }
    }

    /// Lets every mount wait for the mounts that its mount point lies under, every erasing for the mount of `/var`, where it is
    /// noted that a permit was used, and what can lie anywhere in a volume group for what needs several of its disks.
    ///
    /// Steps come out in an order that respects it: what waits for nothing erased, then mounts from the top down, with
    /// what is erased and made there behind `/var`, and what waits for a mount behind that.
    pub fn order(&mut self) {
        let mut behind_erasing: Vec<bool> = Vec::new();
        for step in &self.steps {
            let waits = step.after.iter().any(|a| behind_erasing[*a]);
            behind_erasing.push(waits || matches!(step.action, Action::Erase { .. }));
        }
        let point = |step: &Step| match &step.action {
            Action::Mount { at, .. } => Some(at.clone()),
            _ => None,
        };
        let mut ranks: Vec<usize> = Vec::new();
        for (i, step) in self.steps.iter().enumerate() {
            let own = match point(step) {
                Some(at) => 2 * at.matches('/').count(),
                // Behind /var, and before every mount below it.
                None if behind_erasing[i] => 3,
                None => usize::from(lies_anywhere(&step.action).is_some()),
            };
            ranks.push(step.after.iter().map(|before| ranks[*before]).fold(own, usize::max));
        }
        let mut order: Vec<usize> = (0..self.steps.len()).collect();
        order.sort_by_key(|i| (ranks[*i], *i));
        let mut place = vec![0; order.len()];
        order.iter().enumerate().for_each(|(new, old)| place[*old] = new);
        let old = std::mem::take(&mut self.steps);
        self.steps = order.iter().map(|i| old[*i].clone()).collect();
        for step in &mut self.steps {
            step.after.iter_mut().for_each(|a| *a = place[*a]);
        }
        let points: Vec<Option<String>> = self.steps.iter().map(point).collect();
        let several: Vec<Option<String>> = self.steps.iter().map(|step| lies_on_several(&step.action)).collect();
        for (i, step) in self.steps.iter_mut().enumerate() {
            let before = |j: &usize| match (&points[*j], &points[i]) {
                (Some(point), Some(own)) => is_under(own, point),
                (Some(point), None) => point == "/var" && matches!(step.action, Action::Erase { .. }),
                (None, _) => false,
            };
            step.after.extend((0..i).filter(before));
            let group = lies_anywhere(&step.action);
            let needs_several = |j: &usize| group.is_some() && several[*j] == group;
            step.after.extend((0..i).filter(needs_several));
            step.after.sort_unstable();
            step.after.dedup();
        }
    }
}

/// The group of a volume that is to be made anywhere in it.
fn lies_anywhere(action: &Action) -> Option<String> {
    match action {
        Action::CreateLogical { volume, shape: Shape::Linear | Shape::Pool(_), .. } => Some(volume.group.clone()),
        _ => None,
    }
}

/// The group of a volume that is to be made on several of its disks.
fn lies_on_several(action: &Action) -> Option<String> {
    match action {
        Action::CreateLogical { volume, shape: Shape::Striped(_) | Shape::Mirrored(_), .. } => {
            Some(volume.group.clone())
        }
        _ => None,
    }
}

/// Whether the path `inner` lies under `outer` and is not the same.
pub fn is_under(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/') && rest.len() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{LogicalPlace, Target};
    use crate::erase::Erase;
    use machine_config::schema::{Format, Mkfs};
    use uuid::Uuid;

    fn mount(at: &str) -> Action {
        let on = Target::Array(Uuid::nil());
        Action::Mount {
            on,
            format: Format::Xfs,
            uuid: Uuid::nil(),
            at: at.into(),
            options: Vec::new(),
            read_only: false,
        }
    }

    #[test]
    fn mounts_wait_for_those_they_lie_under_in_any_order() {
        let mut graph = Graph::default();
        graph.add("c", mount("/var/lib/a/b"), &[]);
        graph.add("b", mount("/var/lib/a"), &[]);
        graph.add("x", mount("/var/lib/ab"), &[]);
        graph.add("a", mount("/var"), &[]);
        graph.order();
        let after: Vec<(&str, &[usize])> = graph.steps.iter().map(|s| (s.volume.as_str(), &s.after[..])).collect();
        assert_eq!(after, [("a", &[][..]), ("b", &[0]), ("x", &[0]), ("c", &[0, 1])]);
    }

    #[test]
    fn what_waits_for_a_mount_stays_behind_it() {
        let mut graph = Graph::default();
        let mounted = graph.add("a", mount("/var/lib/a"), &[]);
        let clear = Action::Clear { on: Target::Array(Uuid::from_u128(1)) };
        graph.add("a", clear.clone(), &[mounted]);
        graph.add("b", mount("/var"), &[]);
        graph.order();
        let after: Vec<(&str, &[usize])> = graph.steps.iter().map(|s| (s.volume.as_str(), &s.after[..])).collect();
        assert_eq!(after, [("b", &[][..]), ("a", &[0]), ("a", &[1])]);
        assert_eq!(graph.steps[2].action, clear);
    }

    #[test]
    fn what_needs_several_disks_of_a_group_comes_before_what_can_lie_anywhere() {
        let create = |group: &str, name: &str, shape: Shape| {
            let (group, name) = (group.to_owned(), name.to_owned());
            let volume = LogicalPlace { group, members: Vec::new(), name, uuid: Uuid::nil() };
            Action::CreateLogical { volume, shape, extents: 1, remake: false }
        };
        let mut graph = Graph::default();
        graph.add("a", create("g", "a", Shape::Linear), &[]);
        graph.add("b", create("g", "b", Shape::Mirrored(2)), &[]);
        graph.add("c", create("h", "c", Shape::Pool(1)), &[]);
        graph.order();
        let after: Vec<(&str, &[usize])> = graph.steps.iter().map(|s| (s.volume.as_str(), &s.after[..])).collect();
        assert_eq!(after, [("b", &[][..]), ("a", &[0]), ("c", &[])]);
    }

    #[test]
    fn the_critical_path_is_the_longest_chain_and_not_the_sum() {
        let mut graph = Graph::default();
        let first = graph.add("a", mount("/a"), &[]);
        let beside = graph.add("b", mount("/b"), &[]);
        let behind = graph.add("c", mount("/c"), &[first]);
        graph.add("d", mount("/d"), &[behind, beside]);
        let path = |seconds: [u64; 4]| graph.critical_path(&seconds.map(Duration::from_secs)).as_secs();
        assert_eq!(path([1, 2, 3, 4]), 8, "a, c, d");
        assert_eq!(path([1, 9, 3, 4]), 13, "b, d");
        assert_eq!(path([9, 1, 9, 0]), 18, "a, c");
        assert_eq!(Graph::default().critical_path(&[]), Duration::ZERO);
    }

    #[test]
    fn what_is_erased_waits_for_the_place_where_that_is_noted() {
        let mut graph = Graph::default();
        let erase = Erase {
            permit: Uuid::nil(),
            signed_by: None,
            device: "S1".into(),
            holds: Vec::new(),
            method: machine_config::permit::Method::Wipe,
            psid: None,
            begun: false,
            note: Vec::new(),
        };
        let erased = graph.add("a", Action::Erase { disk: "vdb".into(), erase: Box::new(erase) }, &[]);
        let on = Target::Array(Uuid::nil());
        let (format, uuid, mkfs) = (Format::Xfs, Uuid::nil(), Mkfs::default());
        let make = Action::MakeFilesystem { on, format, uuid, label: String::new(), mkfs };
        let made = graph.add("a", make.clone(), &[erased]);
        graph.add("a", mount("/var/lib/a"), &[made]);
        let other = graph.add("b", make.clone(), &[]);
        graph.add("b", mount("/var/lib/b"), &[other]);
        let state = graph.add("state", make, &[]);
        graph.add("state", mount("/var"), &[state]);
        graph.order();
        let after: Vec<(&str, &[usize])> = graph.steps.iter().map(|s| (s.volume.as_str(), &s.after[..])).collect();
        assert_eq!(
            after,
            [("b", &[][..]), ("state", &[]), ("state", &[1]), ("a", &[2]), ("a", &[3]), ("a", &[2, 4]), ("b", &[0, 2]),]
        );
    }
}
