//! Arrays, by mdadm. The initial sync runs in the background, so that parity is true before it is relied on.

use super::sync_speed::{self, thaw};
use super::{LockedDevice, Tools, bitmap, dirty_degraded, journal, partition};
use anyhow::{Context, bail};
use machine_config::schema::{Rebuild, WriteHole};
use run_tool::Command;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use storage_plan::PartitionRef;
use storage_plan::inventory::MdMember;
use storage_plan::layer::md;
use uuid::Uuid;

/// How long an array may take to note something on a member: a moment, and longer where its disks are busy.
const NOTED_WITHIN: Duration = Duration::from_secs(30);

/// Held while a free number is chosen and taken, so that two arrays don't choose the same.
static NUMBERS: Mutex<()> = Mutex::new(());

/// The host's name in every superblock we write.
const HOME_HOST: &str = "bedplate";

/// An array to be made.
pub(super) struct NewArray<'a> {
    pub uuid: &'a Uuid,
    pub name: &'a str,
    pub level: u8,
    /// Members; the last of them are the spares.
    pub members: &'a [PartitionRef],
    pub spares: u32,
    /// Bytes, if it is not mdadm's own.
    pub chunk: Option<u64>,
    pub write_hole: WriteHole,
    /// The partition of its journal, if it has one.
    pub journal: Option<&'a PartitionRef>,
}

/// Makes an array of members that are all being provisioned, and gives its node.
pub(super) fn create(
    tools: &Tools,
    disks: &[&LockedDevice],
    array: &NewArray<'_>,
    remake: bool,
) -> anyhow::Result<PathBuf> {
    let all: Vec<&PartitionRef> = array.members.iter().chain(array.journal).collect();
    let mut nodes = all.iter().map(|member| partition::node(member)).collect::<anyhow::Result<Vec<_>>>()?;
    for ((disk, node), member) in disks.iter().zip(&nodes).zip(all) {
        if remake {
            disk.wipe_partition(node)?;
        }
        must_be_empty(disk, node, member)?;
    }
    let _guard = NUMBERS.lock().map_err(|_| anyhow::anyhow!("another array's creation panicked"))?;
    let node = free_node();
    // --run only answers "Continue creating array?", after our own look at every member.
    let command = tools.mdadm()?.command().env("MDADM_NO_UDEV", "1").args(["--create", "--run", "--metadata=1.2"]);
    let journal = array.journal.and_then(|_| nodes.pop());
    // Where mdadm finds this word it takes the disk for the next in its list, whose first is the array.
    let journal = journal.into_iter().flat_map(|node| [OsString::from("--write-journal"), node.into()]);
    command.args(shape(array)).arg(&node).args(&nodes).args(journal).run().inspect_err(|_| abandon(&node))?;
    wait_for(&node)?;
    // There is nothing on it yet that a sync would protect; a node that starts has better use for its processors.
    if let Err(e) = sync_speed::hold_back(&node) {
        tracing::warn!("the first sync of {} is not held back: {e}", node.display());
    }
    Ok(node)
}

pub(super) fn must_be_empty(disk: &LockedDevice, node: &Path, member: &PartitionRef) -> anyhow::Result<()> {
    let found = crate::observe::signatures(node)?;
    if found.is_empty() {
        return Ok(());
    }
    let words = found.iter().map(storage_plan::inventory::Signature::words).collect::<Vec<_>>().join(", ");
    bail!("partition {} of {} holds {words}", member.number, disk.device().words())
}

/// Gives a running array a new member, and returns when the array has noted on the disk that it belongs to it. The kernel
/// fills it from then on, as fast as `rebuild` says, and disks and system allow.
pub(super) fn add(
    tools: &Tools,
    disk: &LockedDevice,
    uuid: &Uuid,
    member: &PartitionRef,
    remake: bool,
    rebuild: Rebuild,
) -> anyhow::Result<()> {
    let (array, node) = (running(uuid)?, partition::node(member)?);
    if remake {
        disk.wipe_partition(&node)?;
    }
    must_be_empty(disk, &node, member)?;
    drop_failed(uuid)?;
    manage(tools, uuid, |command| command.arg("--add").arg(&node))?;
    if let Err(e) = sync_speed::set(&array, rebuild) {
        tracing::warn!("the rebuild of {} may be slow: {e}", array.display());
    }
    // mdadm's own superblock has the event counter 0, by which the member would be left out after a power cut.
    wait_until_noted(uuid, &node, |md| md.events > 0)
}

/// Gives a running array a member back that was away, and returns when the array has noted so on it. mdadm and the kernel look
/// once more whether it is that member, and whether the bitmap goes back far enough; if not, nothing is written.
pub(super) fn give_back(tools: &Tools, uuid: &Uuid, member: &PartitionRef, rebuild: Rebuild) -> anyhow::Result<()> {
    let (array, node) = (running(uuid)?, partition::node(member)?);
    let own = crate::observe::superblock(&node).filter(|md| md.array == *uuid);
    let own = own.with_context(|| format!("{} is no member of the array any more", node.display()))?;
    // The kernel may still have it by its old name, and then takes no other of its number.
    drop_failed(uuid)?;
    manage(tools, uuid, |command| command.arg("--re-add").arg(&node))?;
    if let Err(e) = sync_speed::set(&array, rebuild) {
        tracing::warn!("bringing {} up to date may be slow: {e}", array.display());
    }
    wait_until_noted(uuid, &node, |md| md.role == own.role && md.events > own.events)
}

/// Has a running array copy `member` onto `onto`, which stands by in it, and returns when the array has noted so on the
/// latter. Both serve until the copy is whole; then the kernel calls `member` faulty, so that it is never taken in again.
pub(super) fn copy(
    tools: &Tools,
    uuid: &Uuid,
    member: &PartitionRef,
    onto: &PartitionRef,
    rebuild: Rebuild,
) -> anyhow::Result<()> {
    let (array, from, to) = (running(uuid)?, partition::node(member)?, partition::node(onto)?);
    let own = crate::observe::superblock(&from).filter(|md| md.array == *uuid);
    let role = own.and_then(|md| md.role).with_context(|| format!("{} has no place in the array", from.display()))?;
    // mdadm keeps the array from choosing another for it in between.
    manage(tools, uuid, |command| command.arg("--replace").arg(&from).arg("--with").arg(&to))?;
    if let Err(e) = sync_speed::set(&array, rebuild) {
        tracing::warn!("the copy in {} may be slow: {e}", array.display());
    }
    wait_until_noted(uuid, &to, |md| md.role == Some(role))
}

/// Lets a member that a running array does not need leave it. Nothing is written to it.
pub(super) fn release(tools: &Tools, uuid: &Uuid, member: &PartitionRef) -> anyhow::Result<()> {
    let node = partition::node(member)?;
    manage(tools, uuid, |command| command.arg("--remove").arg(&node))
}

/// Makes a running array as large as its members let it be, and returns when all of them have noted so. What is new is synced by
/// the kernel from then on, as fast as `rebuild` says, and disks and system allow; of an array with a bitmap that has noted
/// that it is not synced yet, so that a member which is away meanwhile gets it when it comes back.
pub(super) fn grow(tools: &Tools, uuid: &Uuid, members: &[PartitionRef], rebuild: Rebuild) -> anyhow::Result<()> {
    let array = running(uuid)?;
    let nodes = members.iter().map(partition::node).collect::<anyhow::Result<Vec<_>>>()?;
    let needs = |node: &PathBuf| crate::observe::superblock(node).filter(|md| md.array == *uuid).map(|md| md.needs);
    let before: Vec<Option<u64>> = nodes.iter().map(needs).collect();
    let synced = bitmap::covers(&array)?;
    // What is new is not synced before the bitmap knows of it.
    sync_speed::freeze(&array).with_context(|| format!("{} does not stand still", array.display()))?;
    let grown = change(tools, uuid, "--grow", |command| command.arg("--size=max"));
    let noted = bitmap::set_from(&array, synced);
    thaw(&crate::observe::arrays()?.into_iter().filter(|a| a.uuid == Some(*uuid)).collect::<Vec<_>>());
    grown?;
    noted.with_context(|| format!("the bitmap of {} does not know what is to be synced", array.display()))?;
    if let Err(e) = sync_speed::set(&array, rebuild) {
        tracing::warn!("the sync of what is new in {} may be slow: {e}", array.display());
    }
    let is_larger = || Ok(nodes.iter().zip(&before).all(|(node, before)| needs(node) > *before));
    wait_until(is_larger, "on all of its members how large it is")
}

fn manage(tools: &Tools, uuid: &Uuid, what: impl FnOnce(Command) -> Command) -> anyhow::Result<()> {
    change(tools, uuid, "--manage", what)
}

/// Changes a running array, in this mode of mdadm's. Where mdadm fails it may have left the array standing still.
fn change(tools: &Tools, uuid: &Uuid, mode: &str, what: impl FnOnce(Command) -> Command) -> anyhow::Result<()> {
    let command = tools.mdadm()?.command().env("MDADM_NO_UDEV", "1").arg(mode).arg(running(uuid)?);
    let done = what(command).run();
    if done.is_err() {
        thaw(&crate::observe::arrays()?.into_iter().filter(|a| a.uuid == Some(*uuid)).collect::<Vec<_>>());
    }
    done?;
    Ok(())
}

/// Lets failed members leave the array: one whose disk was pulled would keep the name that a new disk may get.
#[allow(clippy::disallowed_methods, reason = "edge: a running array's members, by sysfs")]
fn drop_failed(uuid: &Uuid) -> anyhow::Result<()> {
    let arrays = crate::observe::arrays()?;
    let array = arrays.iter().find(|a| a.uuid == Some(*uuid)).context("the array does not run")?;
    for member in &array.failed {
        let folder = Path::new("/sys/block").join(&array.name).join("md").join(format!("dev-{member}"));
        let state = folder.join("state");
        // The kernel refuses to call the last good member faulty, and it can't be removed while a write to it is under way.
        let dropped = (0..100).any(|_| {
            let _ = std::fs::write(&state, "faulty");
            let _ = std::fs::write(&state, "remove");
            let gone = !folder.exists();
            if !gone {
                std::thread::sleep(Duration::from_millis(50));
            }
            gone
        });
        if !dropped {
            tracing::warn!("the failed member {member} of {} did not leave it within 5 s", array.name);
        }
    }
    Ok(())
}

/// Waits until the medium has a superblock of the array that says so, and all other members have noted its place: each is
/// written by itself, and after a power cut what one alone knows does not count.
fn wait_until_noted(uuid: &Uuid, node: &Path, says: impl Fn(&MdMember) -> bool) -> anyhow::Result<()> {
    let of = |node: &Path| crate::observe::superblock(node).filter(|md| md.array == *uuid);
    let others = || -> anyhow::Result<Vec<MdMember>> {
        let array = crate::observe::arrays()?.into_iter().find(|a| a.uuid == Some(*uuid));
        let members = array.context("the array does not run any more")?.members;
        Ok(members.iter().filter_map(|name| of(&Path::new("/dev").join(name))).collect())
    };
    let is_noted = || match of(node).filter(|md| says(md)) {
        Some(own) => Ok(others()?.iter().all(|md| md::knows(md, &own))),
        None => Ok(false),
    };
    wait_until(is_noted, &format!("on {} what it is in it", node.display()))
}

fn wait_until(is_noted: impl Fn() -> anyhow::Result<bool>, what: &str) -> anyhow::Result<()> {
    let clock = Instant::now();
    while clock.elapsed() < NOTED_WITHIN {
        if is_noted()? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("the array did not note within {} s {what}", NOTED_WITHIN.as_secs())
}

/// What mdadm(8) is told of an array beside its members.
///
/// Where RAID 5 logs partial parity, its write hole is closed: it may start degraded after a power cut. It is made so in any
/// case, its last member filled from the others. A journal closes it, too, and stands in place of a bitmap. Otherwise a bitmap
/// notes what is being written.
fn shape(array: &NewArray<'_>) -> Vec<String> {
    let spares = usize::try_from(array.spares).unwrap_or(usize::MAX);
    let mut words = vec![
        format!("--level={}", array.level),
        format!("--raid-devices={}", array.members.len().saturating_sub(spares)),
        format!("--uuid={}", mdadm_uuid(array.uuid)),
        format!("--homehost={HOME_HOST}"),
        format!("--name={}", short_name(array.name)),
    ];
    words.extend((spares > 0).then(|| format!("--spare-devices={spares}")));
    words.extend(array.chunk.map(|chunk| format!("--chunk={}K", chunk >> 10)));
    match array.write_hole {
        _ if array.level == 0 => {}
        WriteHole::Ppl => words.push("--consistency-policy=ppl".into()),
        WriteHole::Bitmap => words.push("--bitmap=internal".into()),
        WriteHole::Journal => words.push("--consistency-policy=journal".into()),
    }
    words
}

/// Starts an array from exactly these members, degraded if some are lacking, and gives its node; `read_only` also where its
/// parity may not be true, and then nothing is written to it.
pub(super) fn assemble(
    tools: &Tools,
    uuid: &Uuid,
    members: &[PartitionRef],
    read_only: bool,
    rebuild: Rebuild,
) -> anyhow::Result<PathBuf> {
    let nodes = members.iter().map(partition::node).collect::<anyhow::Result<Vec<_>>>()?;
    let _guard = NUMBERS.lock().map_err(|_| anyhow::anyhow!("another array's assembly panicked"))?;
    let node = free_node();
    if nodes.iter().filter_map(|node| crate::observe::superblock(node)).any(|md| md.journaled) {
        journal::start(tools, &node, &nodes, read_only)?;
        return started(tools, node, read_only, rebuild);
    }
    // --run starts it with members lacking; a mirror that is degraded is served and said, not hidden.
    let command = tools.mdadm()?.command().env("MDADM_NO_UDEV", "1").args(["--assemble", "--run"]);
    let command = if read_only { command.arg("--readonly") } else { command };
    let leave = if read_only { Some(dirty_degraded::Leave::give()?) } else { None };
    let command = command.arg(format!("--uuid={}", mdadm_uuid(uuid))).arg(&node).args(&nodes);
    command.run().inspect_err(|_| abandon(&node))?;
    drop(leave);
    started(tools, node, read_only, rebuild)
}

/// What is to be done with an array that has just started.
fn started(tools: &Tools, node: PathBuf, read_only: bool, rebuild: Rebuild) -> anyhow::Result<PathBuf> {
    wait_for(&node)?;
    if let Err(e) = sync_speed::set(&node, rebuild) {
        tracing::warn!("{} may not be rebuilt as fast as it should: {e}", node.display());
    }
    if read_only {
        dirty_degraded::must_be_read_only(tools, &node)?;
    }
    Ok(node)
}

/// The node of a running array, found by the UUID in its members' superblocks.
pub(super) fn running(uuid: &Uuid) -> anyhow::Result<PathBuf> {
    let arrays = crate::observe::arrays()?;
    let found = arrays.iter().find(|a| a.uuid == Some(*uuid)).context("the array does not run")?;
    Ok(Path::new("/dev").join(&found.name))
}

/// Where the kernel shows the array at this node.
pub(super) fn folder(node: &Path) -> PathBuf {
    Path::new("/sys/block").join(node.file_name().unwrap_or_default())
}

fn free_node() -> PathBuf {
    let free = |n: &u32| !Path::new("/sys/block").join(format!("md{n}")).exists();
    let number = (0..).find(free).unwrap_or(0);
    Path::new("/dev").join(format!("md{number}"))
}

/// Has the kernel let go of the members of an array that mdadm gathered and did not start; it would hold them until the next
/// start of the machine. One that runs stays, and nothing is written to a disk.
#[allow(clippy::disallowed_methods, reason = "edge: an array that does not run, by sysfs")]
fn abandon(node: &Path) {
    let state = folder(node).join("md/array_state");
    // Documentation/admin-guide/md.rst, `array_state`: it has members and does not run, and is to have none.
    if std::fs::read_to_string(&state).is_ok_and(|state| state.trim() == "inactive")
        && let Err(error) = std::fs::write(&state, "clear")
    {
        tracing::warn!("{} does not let go of its members: {error}", node.display());
    }
}

/// devtmpfs makes the node when the kernel makes the array; mdadm returns after that.
fn wait_for(node: &Path) -> anyhow::Result<()> {
    for _ in 0..100 {
        if std::fs::File::open(node).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("the array's node {} did not appear within 5 s", node.display())
}

/// mdadm writes UUIDs as four words with colons between them.
fn mdadm_uuid(uuid: &Uuid) -> String {
    let hex = uuid.simple().to_string();
    [&hex[..8], &hex[8..16], &hex[16..24], &hex[24..]].join(":")
}

/// The superblock holds 32 bytes of `homehost:name`, and mdadm takes only characters that are plain in a path.
fn short_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    name.chars().map(plain).take(32 - HOME_HOST.len() - 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_written_as_mdadm_reads_them() {
        let uuid = Uuid::parse_str("2969559b-8487-56fb-ad0d-2bd36150a901").unwrap();
        assert_eq!(mdadm_uuid(&uuid), "2969559b:848756fb:ad0d2bd3:6150a901");
    }

    #[test]
    fn each_level_is_made_so_that_it_outlives_a_power_cut() {
        let uuid = Uuid::nil();
        let at = |n: u32| PartitionRef { disk: format!("vd{n}"), number: 1, start: 0, size: 0, guid: uuid };
        let members: Vec<PartitionRef> = (0..5).map(at).collect();
        let words = |level, spares, chunk, write_hole| {
            let (uuid, members) = (&uuid, &members);
            let array = NewArray { uuid, name: "db", level, members, spares, chunk, write_hole, journal: None };
            shape(&array).into_iter().filter(|w| !w.contains("uuid") && !w.contains("name") && !w.contains("host"))
        };
        let said = |level, spares, chunk, hole| words(level, spares, chunk, hole).collect::<Vec<_>>().join(" ");
        assert_eq!(said(0, 0, Some(64 << 10), WriteHole::Bitmap), "--level=0 --raid-devices=5 --chunk=64K");
        let five = "--level=5 --raid-devices=4 --spare-devices=1";
        assert_eq!(said(5, 1, None, WriteHole::Ppl), format!("{five} --consistency-policy=ppl"));
        assert_eq!(said(5, 1, None, WriteHole::Bitmap), format!("{five} --bitmap=internal"));
        let six = "--level=6 --raid-devices=5";
        assert_eq!(said(6, 0, None, WriteHole::Journal), format!("{six} --consistency-policy=journal"));
        for level in [1, 6, 10] {
            assert_eq!(
                said(level, 0, None, WriteHole::Bitmap),
                format!("--level={level} --raid-devices=5 --bitmap=internal")
            );
        }
    }

    #[test]
    fn names_fit_the_superblock() {
        assert_eq!(short_name(&"x".repeat(50)).len() + HOME_HOST.len() + 1, 32);
        assert_eq!(short_name("a:b c"), "a-b-c");
    }
}
