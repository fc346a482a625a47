//! The line: check, select, judge each volume, join the steps.
//!
//! Guarantees: the same inventory and configuration give the same plan whatever order devices are listed in; no
//! step writes to a disk that no selector names, that does not carry our identity and that is not in the slot of a lost
//! member whose array asks for just that; a disk that is neither blank nor ours is written to only as a permit for all
//! that it holds allows; a refused volume has no step.

mod array;
mod decides;
mod dirty;
mod each;
mod encryption;
mod give_back;
mod group;
mod grow;
mod journal;
mod replace;
mod retire;
mod state;

use crate::action::{Action, PartitionRef, Target};
use crate::arrays::{self, Asked, On};
use crate::erase::{self, Erase, Fate};
use crate::graph::{Graph, is_under};
use crate::identity::{Layer, Owner, VolumeKey};
use crate::inventory::{Device, Inventory, RAW};
use crate::layer::image::Image;
use crate::layer::{filesystem, gpt, image, reserve};
use crate::ownership::{Standing, Wanted, standing};
use crate::refusal::{self, diagnostic};
use crate::verdict::{Kind, Plan, Verdict, VolumeVerdict};
use crate::{check, controller, selector};
use machine_config::Diagnostic;
use machine_config::permit::Granted;
use machine_config::schema::{Content, Each, Encrypt, Holding, Logical, MachineConfig, Mkfs, Selector, System, Volume};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What is to be done so that the disks in `inventory` become what `config` asks for.
pub fn plan(inventory: &Inventory, config: &MachineConfig) -> Plan {
    let refusals = check::check(&config.storage);
    if !refusals.is_empty() {
        return Plan { refusals, ..Plan::default() };
    }
    let context = Context::new(inventory, config);
    let mut drafts = vec![state::state(&context)];
    for (name, each) in &config.storage.each {
        drafts.extend(each::each(&context, name, each));
    }
    for asked in context.arrays.iter().filter(|asked| asked.on == On::WholeDisks) {
        drafts.extend(asked.array.volume.iter().map(|(volume, v)| array::array(&context, asked, volume, v)));
    }
    for (name, group) in &config.storage.group {
        drafts.extend(group::group(&context, name, group));
    }
    refuse_equal_mounts(&mut drafts);
    loop {
        refuse_orphans(&mut drafts);
        if !refuse_together(&mut drafts) {
            break;
        }
    }
    adopt(&mut drafts);

    let mut plan = Plan::default();
    for draft in drafts {
        if draft.verdict.verdict != Verdict::Refuse {
            plan.graph.append(draft.graph);
        }
        let mut volume = draft.verdict;
        volume.place = decides::volume(&volume, config);
        for refusal in &mut volume.refusals {
            refusal.place = decides::refusal(&volume.volume, volume.kind, &refusal.code, config);
        }
        plan.volumes.push(volume);
    }
    plan.graph.order();
    controller::explain(&mut plan, inventory);
    plan
}

/// As [`plan`], with the permits that `at_hand` gives. It is asked only if a disk is refused that one could be for.
pub fn plan_with(
    inventory: &mut Inventory,
    config: &MachineConfig,
    at_hand: impl FnOnce(&Inventory) -> Vec<Granted>,
) -> Plan {
    let without = plan(inventory, config);
    let could_be = |refusal: &Diagnostic| [refusal::FOREIGN, refusal::UNKNOWN_DATA].contains(&refusal.code.as_str());
    if !without.all_refusals().iter().any(could_be) {
        return without;
    }
    inventory.permits = at_hand(inventory);
    plan(inventory, config)
}

/// What all volumes are judged against.
struct Context<'a> {
    inventory: &'a Inventory,
    config: &'a MachineConfig,
    owner: Owner,
    /// Every array that is asked for.
    arrays: Vec<Asked<'a>>,
    /// The image that the node runs.
    image: Option<Image<'a>>,
    /// All disks, by identity.
    all: Vec<&'a Device>,
    /// Disks that data may go to: all but the system disks, by identity.
    disks: Vec<&'a Device>,
    /// Disks that volumes select, by kernel name, with the names of those volumes.
    claims: BTreeMap<&'a str, BTreeSet<String>>,
}

impl<'a> Context<'a> {
    fn new(inventory: &'a Inventory, config: &'a MachineConfig) -> Context<'a> {
        let owner = Owner { cluster: config.cluster.id, machine: config.name.clone() };
        let mut all: Vec<&Device> = inventory.devices.iter().collect();
        all.sort_by(|a, b| (a.identity(), &a.by_path, &a.sysfs).cmp(&(b.identity(), &b.by_path, &b.sysfs)));
        let image = Image::of(inventory, &owner, &arrays::state_key());
        let (disks, claims) = (Vec::new(), BTreeMap::new());
        let arrays = arrays::arrays(&config.storage);
        let mut context = Context { inventory, config, owner, arrays, image, all, disks, claims };
        context.disks = context.all.iter().copied().filter(|d| !context.is_system_disk(d)).collect();
        let storage = &config.storage;
        let each = storage.each.iter().map(|(n, e)| (n, &e.disks));
        let array = storage.array.iter().map(|(n, a)| (n, &a.disks));
        let journals = storage.array.iter().filter_map(|(n, a)| Some((journal::claims(n), a.journal.as_ref()?)));
        let mut claims: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        let group = storage.group.iter().map(|(n, g)| (n, &g.disks));
        let owned = each.chain(array).chain(group).map(|(name, selector)| (name.clone(), selector));
        for (name, selector) in owned.chain(journals) {
            for disk in selector::select(selector, &context.disks, &name).disks {
                claims.entry(&disk.name).or_default().insert(name.clone());
            }
        }
        context.claims = claims;
        context
    }

    /// Whether the node was started from it, or it is one of those that the state is mirrored on.
    fn is_system_disk(&self, device: &Device) -> bool {
        let boot = self.inventory.boot.as_ref();
        let mirror = self.arrays.iter().find(|asked| asked.on == On::SystemDisks);
        boot.is_some_and(|b| b.disk == device.name)
            || mirror.is_some_and(|asked| {
                let selected = selector::select(&asked.array.disks, &self.all, asked.name).disks;
                selected.iter().any(|d| d.name == device.name) || self.carries(asked, device)
            })
    }

    /// The disks that members of an array may be.
    fn candidates(&self, on: On) -> &[&'a Device] {
        match on {
            On::WholeDisks => &self.disks,
            On::SystemDisks => &self.all,
        }
    }

    /// The tables that make `device` a member of an array, with a partition of at least `least` bytes if there is room for
    /// that, and whose it is.
    fn member(&self, asked: &Asked<'_>, device: &Device, least: u64) -> Result<(Wanted, Standing), String> {
        match asked.on {
            On::WholeDisks => {
                let wanted = reserve::member(&self.owner, &asked.key, &asked.array, device, least)?;
                let standing = standing(device, &wanted);
                Ok((wanted, standing))
            }
            On::SystemDisks => {
                let image = self.image.as_ref().ok_or("Which image the node runs can't be told")?;
                let system = &self.config.storage.system;
                let size = image::Size { asked: system.state_size, least: state::least(system).max(least) };
                image::member(&self.owner, &asked.key, &asked.array, image, device, size)
            }
        }
    }

    /// The tables by which `device` belongs to a volume as a whole, and whose it is.
    fn whole_disk(&self, key: &VolumeKey, device: &Device) -> Result<(Wanted, Standing), String> {
        let wanted = gpt::whole_disk(&self.owner, key, device)?;
        let standing = standing(device, &wanted);
        Ok((wanted, standing))
    }

    /// The tables by which `device` is one of a section's disks, and whose it is.
    fn of_each(&self, name: &str, each: &Each, device: &Device) -> Result<(Wanted, Standing), String> {
        let wanted = each::tables(&self.owner, name, each, device)?;
        let standing = standing(device, &wanted);
        Ok((wanted, standing))
    }

    /// Whether `device` carries a table of an array.
    fn carries(&self, asked: &Asked<'_>, device: &Device) -> bool {
        self.member(asked, device, 0).is_ok_and(|(_, standing)| matches!(standing, Standing::Ours { .. }))
    }

    fn select(&self, selector: &Selector, volume: &str) -> selector::Selected<'a> {
        selector::select(selector, &self.disks, volume)
    }

    /// The UUIDs of the layers of a volume that hold what is stored.
    fn inner(&self, key: &VolumeKey, member: &str) -> Inner {
        let of = |layer: Layer| self.owner.uuid(key, layer, member);
        Inner { filesystem: of(Layer::Filesystem), luks: of(Layer::Luks) }
    }

    /// Whether what `device` holds keeps it from being taken for a new volume, or has to be erased first.
    fn claim(&self, device: &Device, standing: &Standing, volume: &str) -> Result<Option<Erase>, Diagnostic> {
        let (code, holds) = match standing {
            Standing::Foreign(holds) => (refusal::FOREIGN, holds),
            Standing::UnknownData(holds) => (refusal::UNKNOWN_DATA, holds),
            Standing::Blank | Standing::HalfWritten | Standing::Ours { .. } => return Ok(None),
        };
        let refuse =
            |why: &[String], command: Option<&str>| refusal::foreign(code, device, holds, volume, why, command);
        if let Some(other) = self.belongs(device) {
            return Err(refuse(
                &[format!("It belongs to \"{other}\" of this node, and no permit changes that.")],
                None,
            ));
        }
        if let Some(how) = device.in_use() {
            return Err(refuse(&[format!("It is in use: {how}. No permit changes that.")], None));
        }
        if self.inventory.devices.iter().filter(|d| d.is_twin_of(device)).count() > 1 {
            return Err(refuse(&["Another disk answers to the same serial number or wwn.".to_owned()], None));
        }
        match erase::fate(&self.owner, device, &self.inventory.permits) {
            Fate::Erased(erase) => Ok(Some(*erase)),
            Fate::Left(why) => Err(refuse(&why, erase::command(&self.owner, device).as_deref())),
        }
    }

    /// The volume of the configuration that `device` carries a table of.
    fn belongs(&self, device: &Device) -> Option<String> {
        let is_on = |key: VolumeKey| {
            self.whole_disk(&key, device).is_ok_and(|(_, standing)| matches!(standing, Standing::Ours { .. }))
        };
        let (storage, arrays) = (&self.config.storage, &self.arrays);
        let of_each = |name: &str, each: &Each| {
            self.of_each(name, each, device).is_ok_and(|(_, standing)| matches!(standing, Standing::Ours { .. }))
                || gpt::made_for(&self.owner, &each::key(name, each), device).is_some()
        };
        let each = storage.each.iter().find(|(name, each)| of_each(name, each)).map(|(name, _)| name.clone());
        let array = || arrays.iter().find(|asked| self.carries(asked, device)).map(|asked| asked.name.to_owned());
        let group = || storage.group.iter().find(|(name, group)| is_on(group::key(name, group)));
        each.or_else(array).or_else(|| group().map(|(name, _)| name.clone()))
    }

    /// Why `device` can't be taken for a new volume, apart from what it holds.
    fn unfit(&self, device: &Device, least: u64, volume: &str) -> Option<Diagnostic> {
        if let Some(names) = self.claims.get(device.name.as_str()).filter(|names| names.len() > 1) {
            let names = names.iter().map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(" and ");
            return Some(diagnostic(
                refusal::CLAIMED_TWICE,
                format!("{} is selected for {names}.", device.words()),
                "A disk belongs to one volume. Nothing was written.".into(),
                "Narrow one of the selectors in the site file.".into(),
            ));
        }
        if device.read_only {
            return Some(refusal::unfit(device, "It is write-protected".into(), volume));
        }
        if let Some(how) = device.uses.words() {
            return Some(refusal::in_use(device, &how, volume));
        }
        let least = least + (4 << 20);
        (device.size < least).then(|| {
            let words = crate::inventory::size_words;
            let why = format!("It has {}, and {} are the least", words(device.size), words(least));
            refusal::unfit(device, why, volume)
        })
    }
}

/// Why `device` can't be in one array or group with `others`, in a sentence without its end: none of them has sectors like its.
///
/// The kernel gives what lies on several disks the largest sectors of those that are there (`queue_limits_stack_bdev()`), so it would
/// be another device to its file system whenever such a disk comes or goes; LVM refuses it for that.
fn unlike<'d>(device: &Device, others: impl IntoIterator<Item = &'d Device>) -> Option<String> {
    let mut others = others.into_iter();
    let first = others.next()?;
    let is_like = |other: &Device| other.logical_sector == device.logical_sector;
    let is_alone = !is_like(first) && !others.any(is_like);
    let (own, theirs) = (device.logical_sector, first.logical_sector);
    is_alone.then(|| format!("Its logical sectors have {own} bytes, and those of {} have {theirs}", first.words()))
}

/// A volume's verdict and its steps.
struct Draft {
    verdict: VolumeVerdict,
    graph: Graph,
    /// UUID that a LUKS header of it has.
    luks: Uuid,
    /// What a file system of it is labelled with.
    label: String,
    /// The disk that it shares with other volumes, in words: none of them is had without the others.
    together: Option<String>,
}

/// The UUIDs of the layers of a volume that hold what is stored.
struct Inner {
    filesystem: Uuid,
    luks: Uuid,
}

impl Draft {
    fn refuse(mut self, refusals: Vec<Diagnostic>) -> Draft {
        self.verdict.verdict = Verdict::Refuse;
        self.verdict.refusals.extend(refusals);
        self.graph = Graph::default();
        self
    }

    fn because(mut self, verdict: Verdict, reason: impl Into<String>) -> Draft {
        self.verdict.verdict = verdict;
        self.verdict.reasons.push(reason.into());
        self
    }

    fn add(&mut self, action: Action, after: &[usize]) -> usize {
        self.graph.add(&self.verdict.volume, action, after)
    }

    /// Erases a disk before anything is made on it.
    fn erase(&mut self, device: &Device, erase: Erase) -> usize {
        let by = erase.signed_by.as_ref().map_or(String::new(), |key| format!(", signed with {key}"));
        let again = if erase.begun { ", as an interrupted run began to" } else { "" };
        self.verdict.reasons.push(format!(
            "{} is erased first{again}, by permit {}{by}. It holds {}.",
            device.words(),
            erase.permit,
            erase.holds.join(", ")
        ));
        self.add(Action::Erase { disk: device.name.clone(), erase: Box::new(erase) }, &[])
    }

    /// Lets programs use what is finished and open: mounts it, or lets a path lead to it. Gives that step.
    fn offer(&mut self, on: Target, wanted: &Holds<'_>, after: &[usize]) -> usize {
        let (uuid, at) = (self.verdict.filesystem, self.verdict.mount.clone());
        let (options, read_only) = (wanted.options.to_vec(), self.verdict.read_only);
        let action = match wanted.content.file_system() {
            Some(format) => Action::Mount { on, format, uuid, at, options, read_only },
            None => Action::Link { on, at },
        };
        self.add(action, after)
    }

    fn make(&mut self, on: Target, wanted: &Holds<'_>, after: &[usize]) -> usize {
        let (on, after) = self.encrypt(on, wanted, after);
        let after = &after[..];
        let Some(format) = wanted.content.file_system() else { return self.add(Action::Clear { on }, after) };
        let label = filesystem::label(format, &self.label);
        let (uuid, mkfs) = (self.verdict.filesystem, wanted.mkfs.clone());
        self.add(Action::MakeFilesystem { on, format, uuid, label, mkfs }, after)
    }
}

/// What a volume is to hold, as the configuration asks for it.
struct Holds<'a> {
    content: Content,
    /// How a file system is made.
    mkfs: &'a Mkfs,
    /// How it is mounted.
    options: &'a [String],
    encrypt: Option<Encrypt>,
}

impl<'a> Holds<'a> {
    fn of(asked: &Holding<'a>) -> Holds<'a> {
        let encrypt = asked.encrypt;
        Holds { content: asked.format, mkfs: asked.mkfs, options: asked.mount_options, encrypt }
    }

    fn of_volume(volume: &'a Volume) -> Holds<'a> {
        let encrypt = volume.encrypt;
        Holds { content: volume.format, mkfs: &volume.mkfs, options: &volume.mount_options, encrypt }
    }

    fn of_logical(volume: &'a Logical) -> Holds<'a> {
        let encrypt = volume.encrypt;
        Holds { content: volume.format, mkfs: &volume.mkfs, options: &volume.mount_options, encrypt }
    }

    fn of_state(system: &'a System) -> Holds<'a> {
        let (mkfs, options) = (&system.mkfs, &system.mount_options[..]);
        Holds { content: system.format.into(), mkfs, options, encrypt: None }
    }

    fn is_encrypted(&self) -> bool {
        self.encrypt.is_some()
    }

    /// The least bytes of the place of a volume that holds this.
    fn least(&self) -> u64 {
        filesystem::least_place(self.content, self.is_encrypted())
    }
}

fn draft(volume: String, kind: Kind, wanted: &Holds<'_>, mount: String, required: bool, inner: &Inner) -> Draft {
    let label = volume.split('/').next().unwrap_or_default().to_owned();
    let verdict = VolumeVerdict {
        volume,
        kind,
        verdict: Verdict::Keep,
        required,
        reasons: Vec::new(),
        disks: Vec::new(),
        mount,
        format: filesystem::word(wanted.content).into(),
        filesystem: inner.filesystem,
        encrypted: wanted.is_encrypted(),
        array: None,
        read_only: false,
        lacks_copy: false,
        retiring: Vec::new(),
        class: None,
        place: None,
        refusals: Vec::new(),
    };
    Draft { verdict, graph: Graph::default(), luks: inner.luks, label, together: None }
}

fn table_step(device: &Device, wanted: &Wanted, done: bool) -> (Action, PartitionRef) {
    let partition = our_partition(device, wanted);
    (write_table(device, wanted, done, std::slice::from_ref(&partition)), partition)
}

/// Writes the one table or the other, in which volumes are on these partitions.
fn write_table(device: &Device, wanted: &Wanted, done: bool, partitions: &[PartitionRef]) -> Action {
    let table = if done { &wanted.done } else { &wanted.provisioning };
    let (disk, table, partitions) = (device.name.clone(), table.clone(), partitions.to_vec());
    Action::WriteTable { disk, table, partitions }
}

/// The partition that the two wanted tables differ in.
fn our_partition(device: &Device, wanted: &Wanted) -> PartitionRef {
    let pairs = wanted.provisioning.partitions.iter().zip(&wanted.done.partitions);
    let ours = pairs.filter(|(a, b)| a.kind != b.kind).map(|(a, _)| a).next_back();
    let ours = ours.or(wanted.done.partitions.last());
    PartitionRef {
        disk: device.name.clone(),
        number: ours.map_or(0, |p| p.number),
        start: ours.map_or(0, |p| p.start),
        size: ours.map_or(0, |p| p.size),
        guid: ours.map_or(Uuid::nil(), |p| p.guid),
    }
}

fn changed_inside(device: &Device, holds: &str, volume: &str) -> Diagnostic {
    diagnostic(
        refusal::CHANGED_INSIDE,
        format!("{} belongs to \"{volume}\", but inside it there is {holds}.", device.words()),
        "That is not what this node made there, so it is left alone. Nothing was written.".into(),
        format!("If what was there is lost, give \"{volume}\" another disk, or clear this one on another machine."),
    )
}

/// Where programs find a volume: at its mount point, or, of a raw one, by its name.
fn place(volume: &str, mount: Option<&String>) -> String {
    mount.cloned().unwrap_or_else(|| format!("{RAW}/{}", volume.split('/').map(plain).collect::<Vec<_>>().join("/")))
}

/// Only characters that are plain in a path.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).collect()
}

/// `{serial}` and `{slot}` in a mount point, in characters that are plain in a path.
fn expand(mount: &str, device: &Device) -> String {
    let slot = device.slot.as_ref().map_or_else(|| device.identity().unwrap_or("unknown"), |s| s.bay.as_str());
    mount.replace("{serial}", &plain(device.identity().unwrap_or("unknown"))).replace("{slot}", &plain(slot))
}

/// Mount points may become equal only after serial numbers were put in.
fn refuse_equal_mounts(drafts: &mut [Draft]) {
    let mut owners: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (i, draft) in drafts.iter().enumerate().filter(|(_, d)| d.verdict.verdict != Verdict::Refuse) {
        owners.entry(draft.verdict.mount.clone()).or_default().push(i);
    }
    for (mount, at) in owners.into_iter().filter(|(_, at)| at.len() > 1) {
        let names = at.iter().map(|i| format!("\"{}\"", drafts[*i].verdict.volume)).collect::<Vec<_>>().join(" and ");
        let refusal = diagnostic(
            refusal::CONFIG,
            format!("{names} would both be found at {mount}."),
            "Their disks tell the same name in its place. Nothing was written.".into(),
            "Change the mount point in the site file.".into(),
        );
        at.iter().for_each(|i| refuse_in_place(&mut drafts[*i], refusal.clone()));
    }
}

/// A volume whose mount point lies in a refused one would be mounted into the wrong file system.
fn refuse_orphans(drafts: &mut [Draft]) {
    loop {
        let refused: Vec<(String, String)> = drafts
            .iter()
            .filter(|d| d.verdict.verdict == Verdict::Refuse)
            .map(|d| (d.verdict.mount.clone(), d.verdict.volume.clone()))
            .collect();
        let next = drafts.iter_mut().filter(|d| d.verdict.verdict != Verdict::Refuse).find_map(|draft| {
            // Below a refused /var nothing is written anyway: the plan is blocked, and one refusal says it better.
            let above = refused.iter().find(|(m, _)| m != "/var" && is_under(&draft.verdict.mount, m))?;
            Some((draft, above.clone()))
        });
        let Some((draft, (mount, volume))) = next else { return };
        let refusal = diagnostic(
            refusal::CONFIG,
            format!("\"{}\" is mounted below {mount}, and \"{volume}\", which belongs there, is refused.", {
                draft.verdict.volume.clone()
            }),
            "It would be mounted into the wrong file system.".into(),
            format!("Mend \"{volume}\" first."),
        );
        refuse_in_place(draft, refusal);
    }
}

/// What is refused of a disk keeps all of it from being made and had. Gives whether another volume is refused for that.
fn refuse_together(drafts: &mut [Draft]) -> bool {
    let refused = drafts.iter().filter(|d| d.verdict.verdict == Verdict::Refuse);
    let why: BTreeMap<String, Vec<Diagnostic>> =
        refused.filter_map(|d| Some((d.together.clone()?, d.verdict.refusals.clone()))).collect();
    let mut found = false;
    for draft in drafts.iter_mut().filter(|d| d.verdict.verdict != Verdict::Refuse) {
        let Some(why) = draft.together.as_ref().and_then(|disk| why.get(disk)) else { continue };
        why.iter().for_each(|refusal| refuse_in_place(draft, refusal.clone()));
        found = true;
    }
    found
}

fn refuse_in_place(draft: &mut Draft, refusal: Diagnostic) {
    draft.verdict.verdict = Verdict::Refuse;
    draft.verdict.refusals.push(refusal);
    draft.graph = Graph::default();
}

/// Volumes that are older than the node's state come from an earlier installation.
fn adopt(drafts: &mut [Draft]) {
    let fresh = drafts.iter().any(|d| d.verdict.kind == Kind::State && d.verdict.verdict == Verdict::Create);
    if !fresh {
        return;
    }
    for draft in drafts.iter_mut().filter(|d| d.verdict.verdict == Verdict::Keep) {
        draft.verdict.verdict = Verdict::Adopt;
        draft.verdict.reasons.push("It is from an earlier installation of this node.".into());
    }
}
