//! The verdict on each volume, and what a plan is.

use crate::graph::{Graph, Step};
use machine_config::schema::Rebuild;
use machine_config::{Diagnostic, Place};
use serde::{Deserialize, Serialize};

/// What is to become of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is there and as it should be: it is started and mounted, nothing is written.
    Keep,
    /// It is made.
    Create,
    /// It is there from an earlier installation of this node: kept as it is.
    Adopt,
    /// It is there, and something around its data is put right.
    Repair,
    /// It can't be had; see the refusals.
    Refuse,
}

impl Verdict {
    /// The word in the table.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Keep => "keep",
            Verdict::Create => "create",
            Verdict::Adopt => "adopt",
            Verdict::Repair => "repair",
            Verdict::Refuse => "refuse",
        }
    }
}

/// What a volume is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The state partition.
    State,
    /// One disk, or a partition of one.
    Each,
    /// An array.
    Array,
    /// A volume of a volume group.
    Logical,
}

/// One volume and what is to become of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct VolumeVerdict {
    /// Name for people: `state`, `object/ZL2ABCDE`, `object/ZL2ABCDE/meta`, `meta/db`.
    pub volume: String,
    /// What it is made of.
    pub kind: Kind,
    /// What is to become of it.
    pub verdict: Verdict,
    /// Whether the node must not run without it.
    pub required: bool,
    /// Why, in sentences.
    pub reasons: Vec<String>,
    /// Its disks in words.
    pub disks: Vec<String>,
    /// Mount point; of a raw volume the path of its device.
    pub mount: String,
    /// File system, in libblkid's word, or `raw`.
    pub format: String,
    /// UUID of its file system; of a raw volume nothing is written with it.
    pub filesystem: uuid::Uuid,
    /// Whether what it holds is encrypted.
    #[serde(default)]
    pub encrypted: bool,
    /// Its array, if it is on one.
    pub array: Option<ArrayVerdict>,
    /// Whether it can only be read: its array was cut off in the middle of a write, and lacks a member.
    #[serde(default)]
    pub read_only: bool,
    /// Whether it is a mirror in a volume group, and a copy of it is on a disk that is not there.
    #[serde(default)]
    pub lacks_copy: bool,
    /// Members that the configuration retires and that are still there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retiring: Vec<Retiring>,
    /// Storage class, if it has one.
    pub class: Option<String>,
    /// Where the configuration asks for it, if a text does.
    #[serde(default)]
    pub place: Option<Place>,
    /// Why it is refused; of a volume that is not, what was asked for beside it and can't be had.
    pub refusals: Vec<Diagnostic>,
}

impl VolumeVerdict {
    /// What it holds: `xfs`, or `xfs, encrypted`.
    pub fn content(&self) -> String {
        if self.encrypted { format!("{}, encrypted", self.format) } else { self.format.clone() }
    }
}

/// The array under a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ArrayVerdict {
    /// Its UUID.
    pub uuid: uuid::Uuid,
    /// RAID level.
    pub level: u8,
    /// Members that are there.
    pub present: u32,
    /// Members it should have.
    pub wanted: u32,
    /// How fast it is rebuilt.
    #[serde(default)]
    pub rebuild: Rebuild,
}

/// A member that the configuration retires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Retiring {
    /// The disk in words.
    pub disk: String,
    /// How far it is.
    pub stage: Stage,
    /// The same in a sentence, and what it waits for.
    pub says: String,
}

/// How far the retirement of a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// It serves, and waits for something.
    Waits,
    /// It serves, and is being copied.
    Copied,
    /// The array has all its data elsewhere, and does not need it any more.
    Over,
}

/// What is to be done, and what is not, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    /// Verdicts, by volume.
    pub volumes: Vec<VolumeVerdict>,
    /// What is wrong with the configuration as a whole; then nothing is planned.
    pub refusals: Vec<Diagnostic>,
    /// What to do for the volumes that are not refused.
    pub graph: Graph,
}

/// A plan that may be carried out: nothing that the node needs is refused in it.
///
/// Comes only from [`Plan::approve`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovedPlan {
    plan: Plan,
}

impl Plan {
    /// Every refusal, each once, in a fixed order.
    pub fn all_refusals(&self) -> Vec<Diagnostic> {
        let own = self.volumes.iter().flat_map(|v| v.refusals.iter());
        let mut all: Vec<Diagnostic> = self.refusals.iter().chain(own).cloned().collect();
        all.sort_by(|a, b| (&a.code, &a.what, &a.why).cmp(&(&b.code, &b.what, &b.why)));
        // One disk can be refused for two volumes, which stand on two lines.
        all.dedup_by(|a, b| (&a.code, &a.what, &a.why) == (&b.code, &b.what, &b.why));
        all
    }

    /// Whether something that the node must not run without is refused.
    pub fn is_blocked(&self) -> bool {
        !self.refusals.is_empty() || self.volumes.iter().any(|v| v.required && v.verdict == Verdict::Refuse)
    }

    /// How many of its steps write to a disk.
    pub fn writes(&self) -> usize {
        self.graph.steps.iter().filter(|s| s.action.writes()).count()
    }

    /// The part that puts right what runs: no step that makes, starts or mounts anything, and no volume but those that this
    /// leaves with steps of their own. Nothing is refused in it, whatever is refused of other volumes.
    #[must_use]
    pub fn repairs(&self) -> Plan {
        let of =
            |volume: &VolumeVerdict| self.graph.steps.iter().filter(|s| s.volume == volume.volume).collect::<Vec<_>>();
        let is_one = |volume: &&VolumeVerdict| {
            let steps = of(volume);
            volume.verdict == Verdict::Repair && !steps.is_empty() && steps.iter().all(|s| s.action.mends())
        };
        let volumes: Vec<VolumeVerdict> = self.volumes.iter().filter(is_one).cloned().collect();
        let taken: Vec<usize> = (0..self.graph.steps.len())
            .filter(|i| volumes.iter().any(|v| v.volume == self.graph.steps[*i].volume))
            .collect();
        let place = |old: &usize| taken.iter().position(|i| i == old);
        let step = |i: &usize| {
            let step = &self.graph.steps[*i];
            Step { after: step.after.iter().filter_map(place).collect(), ..step.clone() }
        };
        Plan { volumes, refusals: Vec::new(), graph: Graph { steps: taken.iter().map(step).collect() } }
    }

    /// The plan as one that may be carried out.
    ///
    /// # Errors
    /// All refusals at once, when one of them blocks. Then nothing may be written.
    pub fn approve(self) -> Result<ApprovedPlan, Vec<Diagnostic>> {
        if self.is_blocked() { Err(self.all_refusals()) } else { Ok(ApprovedPlan { plan: self }) }
    }
}

impl ApprovedPlan {
    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}
