//! Volume groups as LVM tells of them, and what device mapper shows of them.
//!
//! LVM is asked only where a physical volume was seen, and it is shown these and nothing else.

use super::uses::AllUses;
use super::{signatures, sysfs, unreadable};
use crate::tool_limit::tool_limit;
use anyhow::Context;
use run_tool::{Command, Tool};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use storage_plan::inventory::{Device, GroupMember, LogicalVolume, Partition, VolumeGroup};
use storage_plan::layer::lvm;

/// Where LVM is looked for.
const FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/bin"];

/// Without udev and its daemons, which leave alone what we have locked and are not there to answer; and without copies of its
/// metadata below `/etc`, which can't be written to.
const SETTINGS: &str = "devices{obtain_device_list_from_udev=0 external_device_info_source=\"none\"} \
    activation{udev_sync=0 udev_rules=0 monitoring=0} backup{backup=0 archive=0} global{event_activation=0}";

/// LVM with one of its commands, shown just these devices.
pub(crate) fn command(tool: &Tool, name: &str, nodes: &[PathBuf]) -> Command {
    let shown = nodes.iter().map(|node| node.to_string_lossy().into_owned()).collect::<Vec<_>>().join(",");
    // Descriptors that it inherits are none of its concern, and it would say so.
    let command = tool.command().env("DM_DISABLE_UDEV", "1").env("LVM_SUPPRESS_FD_WARNINGS", "1");
    command.arg(name).args(["--config", SETTINGS, "--devices"]).arg(shown)
}

/// Nodes of the partitions of these disks that are physical volumes.
pub(super) fn members(devices: &[Device]) -> Vec<PathBuf> {
    let is_member = |p: &&Partition| p.signatures.iter().any(|s| s.kind == lvm::MEMBER);
    let members = devices.iter().flat_map(|d| &d.partitions).filter(is_member);
    members.map(|p| Path::new("/dev").join(&p.name)).collect()
}

/// All groups of these physical volumes.
pub(super) fn groups(nodes: &[PathBuf], uses: &AllUses) -> anyhow::Result<Vec<VolumeGroup>> {
    if nodes.is_empty() {
        return Ok(Vec::new());
    }
    let Ok(tool) = Tool::find("lvm", &FOLDERS.map(Path::new)) else {
        tracing::info!("there are physical volumes of LVM, and no lvm to read them with");
        return Ok(Vec::new());
    };
    let told = match read(&tool.within(tool_limit()), nodes) {
        Ok(told) => told,
        // What can't be read is nobody's group, so nothing is made of it.
        Err(error) => {
            tracing::warn!("volume groups can't be read: {error:#}");
            return Ok(Vec::new());
        }
    };
    let mappings = mappings()?;
    Ok(told.into_iter().map(|told| shown(told, &mappings, uses)).collect())
}

fn read(tool: &Tool, nodes: &[PathBuf]) -> anyhow::Result<Vec<Told>> {
    let of = |kind: &str, fields: &str| ["--configreport", kind, "-o", fields].map(str::to_owned);
    let asked = [
        of("vg", "vg_name,vg_uuid,vg_extent_size"),
        of("pv", "pv_uuid,pv_name,pv_pe_count,pv_pe_alloc_count"),
        of("lv", "lv_name,lv_uuid,lv_size,lv_tags,lv_layout,lv_health_status,pool_lv"),
        of("pvseg", "pvseg_start"),
        of("seg", "lv_name,stripes"),
    ];
    let command = command(tool, "fullreport", nodes).args(["--readonly", "--reportformat", "json"]);
    let done = command.args(["--units", "b", "--nosuffix"]).args(asked.concat()).run()?;
    parse(&done.stdout_text())
}

/// A group as LVM tells of it, with what its volumes are called by device mapper.
struct Told {
    group: VolumeGroup,
    /// UUIDs of its volumes, as LVM writes them, in their order.
    volumes: Vec<String>,
}

/// What `lvm fullreport` prints: numbers, too, are texts in it (lvmreport(7)).
#[derive(Deserialize)]
struct Report {
    report: Vec<OfGroup>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OfGroup {
    vg: Vec<Vg>,
    pv: Vec<Pv>,
    lv: Vec<Lv>,
    seg: Vec<Segment>,
}

#[derive(Deserialize)]
struct Vg {
    vg_name: String,
    vg_uuid: String,
    vg_extent_size: String,
}

#[derive(Deserialize)]
struct Pv {
    pv_uuid: String,
    pv_name: String,
    pv_pe_count: String,
    pv_pe_alloc_count: String,
}

#[derive(Deserialize)]
struct Lv {
    lv_name: String,
    lv_uuid: String,
    lv_size: String,
    lv_tags: String,
    lv_layout: String,
    lv_health_status: String,
    pool_lv: String,
}

#[derive(Deserialize)]
struct Segment {
    lv_name: String,
    stripes: String,
}

fn parse(json: &str) -> anyhow::Result<Vec<Told>> {
    let report: Report = serde_json::from_str(json).context("what lvm tells is not what was asked for")?;
    // Physical volumes without a group are told of in one without a name.
    let groups = report.report.into_iter().filter_map(|mut of| {
        let vg = (of.vg.len() == 1).then(|| of.vg.remove(0)).filter(|vg| !vg.vg_name.is_empty())?;
        Some(group(&vg, &of))
    });
    groups.collect()
}

fn group(vg: &Vg, of: &OfGroup) -> anyhow::Result<Told> {
    let number = |text: &str| text.parse::<u64>().with_context(|| format!("lvm tells {text:?} in place of a number"));
    let member = |pv: &Pv| -> anyhow::Result<GroupMember> {
        let (extents, taken) = (number(&pv.pv_pe_count)?, number(&pv.pv_pe_alloc_count)?);
        // One that is not there is `[unknown]`.
        let device = pv.pv_name.strip_prefix("/dev/").map(str::to_owned);
        Ok(GroupMember { uuid: pv.pv_uuid.clone(), device, extents, free: extents.saturating_sub(taken) })
    };
    let volume = |lv: &Lv| -> anyhow::Result<LogicalVolume> {
        let stripes = of.seg.iter().filter(|seg| seg.lv_name == lv.lv_name).filter_map(|seg| seg.stripes.parse().ok());
        Ok(LogicalVolume {
            name: lv.lv_name.clone(),
            size: number(&lv.lv_size)?,
            tags: lv.lv_tags.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
            layout: lv.lv_layout.clone(),
            over: stripes.max().unwrap_or(1),
            pool: Some(lv.pool_lv.clone()).filter(|pool| !pool.is_empty()),
            lacks_member: lv.lv_health_status.contains("partial"),
            ..LogicalVolume::default()
        })
    };
    let mut lvs: Vec<&Lv> = of.lv.iter().collect();
    lvs.sort_by(|a, b| a.lv_name.cmp(&b.lv_name));
    Ok(Told {
        group: VolumeGroup {
            name: vg.vg_name.clone(),
            uuid: vg.vg_uuid.clone(),
            extent: number(&vg.vg_extent_size)?,
            members: of.pv.iter().map(member).collect::<anyhow::Result<_>>()?,
            volumes: lvs.iter().map(|lv| volume(lv)).collect::<anyhow::Result<_>>()?,
            mappings: Vec::new(),
        },
        volumes: lvs.iter().map(|lv| lv.lv_uuid.clone()).collect(),
    })
}

/// What device mapper shows of LVM's: the kernel's name, and both UUIDs without what sets their digits off.
fn mappings() -> anyhow::Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/sys/block").context("cannot list /sys/block")?.flatten() {
        let Some(uuid) = sysfs::text(&entry.path(), "dm/uuid") else { continue };
        let Some(uuids) = uuid.strip_prefix("LVM-") else { continue };
        all.push((entry.file_name().to_string_lossy().into_owned(), uuids.to_owned()));
    }
    all.sort();
    Ok(all)
}

/// Adds what is active of a group: a volume's mapping has the UUIDs of group and volume, what LVM keeps for itself more.
fn shown(told: Told, mappings: &[(String, String)], uses: &AllUses) -> VolumeGroup {
    let mut group = told.group;
    let of_group = group.uuid.replace('-', "");
    group.mappings =
        mappings.iter().filter(|(_, of)| of.starts_with(&of_group)).map(|(name, _)| name.clone()).collect();
    for (volume, uuid) in group.volumes.iter_mut().zip(&told.volumes) {
        let own = of_group.clone() + &uuid.replace('-', "");
        let Some((name, _)) = mappings.iter().find(|(_, of)| *of == own) else { continue };
        let folder = sysfs::folder(name);
        volume.signatures = signatures(&Path::new("/dev").join(name)).unwrap_or_else(|error| {
            tracing::warn!(mapping = name, "cannot read: {error:#}");
            vec![unreadable()]
        });
        volume.uses = uses.of(name, &sysfs::text(&folder, "dev").unwrap_or_default(), &folder);
        volume.mapping = Some(name.clone());
    }
    group
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As lvm2 2.03.31 prints it, of a group of three disks that lacks one, and of a physical volume without a group.
    const PRINTED: &str = r#"{"report": [
      {"vg": [{"vg_name":"bedplate.data", "vg_uuid":"BekdKo-Kz6z-4jHH-c3vJ-yuDt-2oet-VgxeKm", "vg_extent_size":"4194304"}],
       "pv": [{"pv_uuid":"edaac2-041c-ac45-3d8a-e82f-b1ae-6e19b2", "pv_name":"/dev/vdb1", "pv_pe_count":"99", "pv_pe_alloc_count":"20"},
              {"pv_uuid":"2d3eed-44c6-9e4a-48a4-b219-8481-edef0c", "pv_name":"[unknown]", "pv_pe_count":"99", "pv_pe_alloc_count":"10"}],
       "lv": [{"lv_name":"safe", "lv_uuid":"ZMUTc1-jcKA-AvML-v1fv-SOst-gqHZ-yxq9cm", "lv_size":"125829120", "lv_tags":"bedplate.made,bedplate.x",
               "lv_layout":"raid,raid1", "lv_health_status":"partial", "pool_lv":""},
              {"lv_name":"a", "lv_uuid":"FK01PP-0Vp4-iVbH-6xEJ-4mLr-gBpS-qTMapg", "lv_size":"41943040", "lv_tags":"",
               "lv_layout":"thin,sparse", "lv_health_status":"", "pool_lv":"thin"}],
       "pvseg": [{"pvseg_start":"0"}],
       "seg": [{"lv_name":"safe", "stripes":"2"}, {"lv_name":"a", "stripes":"0"}]},
      {"vg": [], "pv": [{"pv_uuid":"a", "pv_name":"/dev/vdz1", "pv_pe_count":"0", "pv_pe_alloc_count":"0"}], "lv": [], "pvseg": [], "seg": []}
    ]}"#;

    #[test]
    fn what_lvm_prints_is_read_with_what_is_missing() {
        let told = parse(PRINTED).unwrap();
        let [Told { group, volumes }] = &told[..] else { panic!("one group") };
        assert_eq!((group.name.as_str(), group.extent), ("bedplate.data", 4 << 20));
        let members: Vec<_> = group.members.iter().map(|m| (m.device.as_deref(), m.extents, m.free)).collect();
        assert_eq!(members, [(Some("vdb1"), 99, 79), (None, 99, 89)]);
        let [a, safe] = &group.volumes[..] else { panic!("two volumes, by name: {group:?}") };
        assert_eq!((a.name.as_str(), a.pool.as_deref(), a.over, a.tags.len()), ("a", Some("thin"), 0, 0));
        assert_eq!((safe.layout.as_str(), safe.over, safe.lacks_member), ("raid,raid1", 2, true));
        assert_eq!(safe.tags, ["bedplate.made", "bedplate.x"]);
        assert_eq!(volumes, &["FK01PP-0Vp4-iVbH-6xEJ-4mLr-gBpS-qTMapg", "ZMUTc1-jcKA-AvML-v1fv-SOst-gqHZ-yxq9cm"]);
        assert!(parse("{}").is_err() && parse(&PRINTED.replace("\"99\"", "\"many\"")).is_err());
    }

    #[test]
    fn a_volume_is_shown_by_the_mapping_that_has_its_uuid_and_no_more() {
        let told = parse(PRINTED).unwrap().remove(0);
        let of = |rest: &str| format!("BekdKoKz6z4jHHc3vJyuDt2oetVgxeKm{rest}");
        let mappings = [
            ("dm-900001".to_owned(), of("FK01PP0Vp4iVbH6xEJ4mLrgBpSqTMapg")),
            ("dm-900002".to_owned(), of("ZMUTc1jcKAAvMLv1fvSOstgqHZyxq9cm-real")),
            ("dm-900003".to_owned(), "another".to_owned()),
        ];
        let group = shown(told, &mappings, &AllUses::default());
        assert_eq!(group.mappings, ["dm-900001", "dm-900002"]);
        assert_eq!(group.volumes[0].mapping.as_deref(), Some("dm-900001"));
        assert_eq!(group.volumes[0].signatures, [unreadable()], "there is no such device here");
        assert_eq!(group.volumes[1].mapping, None);
    }
}
