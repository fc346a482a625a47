//! Volume groups (LVM2): who is a physical volume of ours, what is tagged how, and what there is room for.
//!
//! LVM gives groups and volumes UUIDs that it draws itself, so tags say whose they are; a physical volume can be given one.

use crate::inventory::LogicalVolume;
use machine_config::schema::{Layout, Logical};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// libblkid's word for a physical volume.
pub const MEMBER: &str = "LVM2_member";

/// Bytes of an extent, of which everything in a group is made: LVM's own.
pub const EXTENT: u64 = 4 << 20;

/// Bytes in front of the first extent of a physical volume.
pub const TAKES: u64 = 1 << 20;

/// The tag of a volume that is being made.
pub const MAKING: &str = "bedplate.making";

/// The tag of a volume that was verified and holds data.
pub const MADE: &str = "bedplate.made";

/// The tag, beside that of one that was made, of a volume that is being made larger.
pub const GROWING: &str = "bedplate.growing";

/// The group's name, which is also that of a folder below `/dev`.
pub fn group_name(name: &str) -> String {
    format!("bedplate.{name}")
}

/// The tag that says whose a volume is.
pub fn tag(uuid: &Uuid) -> String {
    format!("bedplate.{}", uuid.simple())
}

/// A UUID as LVM writes one: 32 digits, set off in groups of its own (`lib/uuid/uuid.c`).
pub fn id(uuid: &Uuid) -> String {
    let digits = uuid.simple().to_string();
    [0..6, 6..10, 10..14, 14..18, 18..22, 22..26, 26..32].map(|group| &digits[group]).join("-")
}

/// The UUID that LVM writes so, if its digits are those of one: only those that it was given are.
pub fn uuid(id: &str) -> Option<Uuid> {
    Uuid::parse_str(&id.replace('-', "")).ok()
}

/// The least number of extents that hold so many bytes.
pub fn extents(bytes: u64) -> u64 {
    bytes.div_ceil(EXTENT)
}

/// How many extents a partition of so many bytes gives.
pub fn extents_of(partition: u64) -> u64 {
    partition.saturating_sub(TAKES) / EXTENT
}

/// How a volume lies in its group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// One piece after the other.
    Linear,
    /// In stripes over so many members.
    Striped(u32),
    /// So many copies.
    Mirrored(u32),
    /// A thin pool, with so many extents for where its blocks are; LVM keeps as many to mend that with.
    Pool(u64),
    /// In the pool of this name.
    Thin(String),
}

impl Shape {
    /// What the configuration asks for of a group of so many members.
    pub fn asked(volume: &Logical, members: usize) -> Shape {
        let all = u32::try_from(members).unwrap_or(u32::MAX);
        match (&volume.pool, volume.layout.unwrap_or_default()) {
            (Some(pool), _) => Shape::Thin(pool.clone()),
            (None, Layout::Linear) => Shape::Linear,
            (None, Layout::Striped) => Shape::Striped(volume.over.unwrap_or(all)),
            (None, Layout::Raid1) => Shape::Mirrored(volume.over.unwrap_or(2)),
        }
    }

    /// A pool for so many extents of data: a thousandth of them say where its blocks are, as many as LVM takes.
    pub fn pool(extents: u64) -> Shape {
        Shape::Pool(extents.div_ceil(1000).min((15 << 30) / EXTENT))
    }

    /// The extents of a volume that is to hold so many bytes: LVM makes all stripes equally long.
    pub fn extents(&self, bytes: u64) -> u64 {
        let over = if let Shape::Striped(over) = self { u64::from((*over).max(1)) } else { 1 };
        extents(bytes).next_multiple_of(over)
    }

    /// Whether a volume that was made lies so. How much a pool has beside its data is of no matter.
    pub fn is_that_of(&self, made: &LogicalVolume) -> bool {
        let is_pool = |shape: &Shape| matches!(shape, Shape::Pool(_));
        Shape::of(made).is_some_and(|made| made == *self || (is_pool(&made) && is_pool(self)))
    }

    /// As LVM tells of a volume that was made; none for one that nobody here makes.
    pub fn of(made: &LogicalVolume) -> Option<Shape> {
        Some(match made.layout.as_str() {
            "linear" => Shape::Linear,
            "striped" => Shape::Striped(made.over),
            "raid,raid1" => Shape::Mirrored(made.over),
            "thin,pool" => Shape::pool(extents(made.size)),
            "thin,sparse" => Shape::Thin(made.pool.clone()?),
            _ => return None,
        })
    }

    /// LVM's words for it.
    pub fn layout(&self) -> &'static str {
        match self {
            Shape::Linear => "linear",
            Shape::Striped(_) => "striped",
            Shape::Mirrored(_) => "raid,raid1",
            Shape::Pool(_) => "thin,pool",
            Shape::Thin(_) => "thin,sparse",
        }
    }

    /// Over how many members it lies, where that is asked for.
    pub fn over(&self) -> u32 {
        match self {
            Shape::Striped(over) | Shape::Mirrored(over) => *over,
            Shape::Linear | Shape::Pool(_) | Shape::Thin(_) => 1,
        }
    }

    /// In words.
    pub fn words(&self) -> String {
        match self {
            Shape::Linear => "linear".into(),
            Shape::Striped(over) => format!("striped over {over}"),
            Shape::Mirrored(over) => format!("raid1 over {over}"),
            Shape::Pool(_) => "a thin pool".into(),
            Shape::Thin(pool) => format!("thin in \"{pool}\""),
        }
    }
}

/// Extents that are free on each member of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Room(pub Vec<u64>);

impl Room {
    /// The most extents of a volume of this shape.
    pub fn most(&self, shape: &Shape) -> u64 {
        let widest = |over: u32| self.by_room().get(over.saturating_sub(1) as usize).map_or(0, |at| self.0[*at]);
        match shape {
            Shape::Linear => self.0.iter().sum(),
            Shape::Striped(over) => widest(*over) * u64::from(*over),
            // Each copy has one extent beside it for where it stands.
            Shape::Mirrored(over) => widest(*over).saturating_sub(1),
            Shape::Pool(beside) => self.0.iter().sum::<u64>().saturating_sub(2 * beside),
            Shape::Thin(_) => u64::MAX,
        }
    }

    /// What a volume of so many extents takes of each member; nothing if there is no room for it.
    pub fn take(&mut self, shape: &Shape, extents: u64) -> Option<Vec<u64>> {
        let mut taken = vec![0; self.0.len()];
        if extents > self.most(shape) {
            return None;
        }
        let order = self.by_room();
        match shape {
            Shape::Thin(_) => {}
            Shape::Striped(over) => {
                let of_each = extents.div_ceil(u64::from((*over).max(1)));
                order.iter().take(*over as usize).for_each(|at| taken[*at] = of_each);
            }
            Shape::Mirrored(over) => order.iter().take(*over as usize).for_each(|at| taken[*at] = extents + 1),
            Shape::Linear | Shape::Pool(_) => {
                let beside = if let Shape::Pool(beside) = shape { 2 * beside } else { 0 };
                let mut left = extents + beside;
                for at in order {
                    taken[at] = left.min(self.0[at]);
                    left -= taken[at];
                }
            }
        }
        self.0.iter_mut().zip(&taken).for_each(|(free, taken)| *free = free.saturating_sub(*taken));
        Some(taken)
    }

    /// Gives back what was taken.
    pub fn give_back(&mut self, taken: &[u64]) {
        self.0.iter_mut().zip(taken).for_each(|(free, taken)| *free += taken);
    }

    /// Members, those with most room first.
    fn by_room(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.0.len()).collect();
        order.sort_by_key(|at| (std::cmp::Reverse(self.0[*at]), *at));
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_written_as_lvm_does() {
        let uuid = Uuid::parse_str("2969559b-8487-56fb-ad0d-2bd36150a901").unwrap();
        assert_eq!(id(&uuid), "296955-9b84-8756-fbad-0d2b-d361-50a901");
    }

    #[test]
    fn each_shape_takes_what_it_lies_on() {
        let room = || Room(vec![10, 30, 20]);
        let most = |shape| room().most(&shape);
        assert_eq!((most(Shape::Linear), most(Shape::Striped(2)), most(Shape::Striped(3))), (60, 40, 30));
        assert_eq!((most(Shape::Mirrored(2)), most(Shape::Mirrored(3)), most(Shape::Mirrored(4))), (19, 9, 0));
        assert_eq!(most(Shape::Pool(5)), 50);
        let taken = |shape, extents| {
            let mut room = room();
            let taken = room.take(&shape, extents);
            (taken, room.0)
        };
        assert_eq!(taken(Shape::Linear, 45), (Some(vec![0, 30, 15]), vec![10, 0, 5]));
        assert_eq!(taken(Shape::Striped(2), 21), (Some(vec![0, 11, 11]), vec![10, 19, 9]));
        assert_eq!(taken(Shape::Mirrored(2), 19), (Some(vec![0, 20, 20]), vec![10, 10, 0]));
        assert_eq!(taken(Shape::Mirrored(2), 20), (None, vec![10, 30, 20]));
        assert_eq!(taken(Shape::Thin("p".into()), 1 << 40), (Some(vec![0, 0, 0]), vec![10, 30, 20]));
        let mut room = room();
        let of_pool = room.take(&Shape::Pool(5), 50).unwrap();
        assert_eq!((room.0.iter().sum::<u64>(), of_pool.iter().sum()), (0, 60));
        room.give_back(&of_pool);
        assert_eq!(room, Room(vec![10, 30, 20]));
    }

    #[test]
    fn stripes_are_equally_long() {
        assert_eq!((Shape::Striped(4).extents(EXTENT * 5), Shape::Striped(4).extents(EXTENT * 8)), (8, 8));
        assert_eq!((Shape::Linear.extents(EXTENT * 5), Shape::Mirrored(2).extents(EXTENT + 1)), (5, 2));
    }

    #[test]
    fn a_pool_takes_a_thousandth_for_itself() {
        assert_eq!(Shape::pool(extents(1_000_000_000)), Shape::Pool(1));
        assert_eq!(Shape::pool(extents(12_000_000_000_000)), Shape::Pool(2862));
    }
}
