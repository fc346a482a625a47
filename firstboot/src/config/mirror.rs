//! The state on a mirror that does not run, read through the member that knows most. Nothing is written, to no member: the
//! kernel is shown the data alone, by a linear device that can't be written to.

use crate::observe;
use crate::stage1::dm;
use std::path::Path;
use std::time::Duration;
use storage_plan::layer::md::newest;

/// Its name while it is there, below `/dev/mapper`.
const NAME: &str = "bedplate-state";
/// How often its removal is tried: whoever watches for new devices has it open for a moment.
const TRIES: u32 = 50;

/// The data of one member, as a device.
#[derive(Debug)]
pub(super) struct Member {
    /// Its kernel name (`dm-1`).
    pub(super) name: String,
}

impl Member {
    /// Of the mirror that the partition `name` is a member of; none if it is of none, or in use.
    pub(super) fn of_mirror_with(name: &str) -> Option<Member> {
        let node = |name: &str| Path::new("/dev").join(name);
        let own = observe::superblock(&node(name)).filter(|md| md.level == 1)?;
        let members: Vec<(String, _)> = partitions()
            .into_iter()
            .filter_map(|name| Some((name.clone(), observe::superblock(&node(&name))?)))
            .filter(|(_, md)| md.array == own.array)
            .collect();
        let most = newest(members.iter().map(|(_, md)| md))?;
        let (name, _) = members.iter().find(|(_, md)| md.member == most.member)?;
        let (start, sectors) = observe::data_of_member(&node(name))?;
        let table = dm::Table { sectors, kind: "linear", parameters: format!("{} {start}", node(name).display()) };
        dm::activate(NAME, "", &table).ok().map(|name| Member { name })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        for _ in 0..TRIES {
            if dm::remove(NAME).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        tracing::warn!("the member of the mirror that was read stays in use");
    }
}

/// Kernel names of all partitions.
fn partitions() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/class/block").into_iter().flatten().flatten();
    let partitions = entries.filter(|e| e.path().join("partition").exists());
    let mut names: Vec<String> = partitions.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
