//! What a plan says of a volume names the line of the site file that decides it.

use crate::world::*;
use machine_config::merge;
use machine_config::schema::MachineConfig;
use machine_config::site::SiteFile;
use storage_plan::{Plan, plan};

const SITE: &str = r#"format = 1
revision = 1
cluster = { id = "0d4f7c1e-8a52-4c0e-9b1f-2f6f0c7e5a11", name = "a", api = ["https://a:1"] }

[machine.n1]
match = { serial = "S" }
profiles = ["a"]

[profile.a.each.object]
mount = "/var/lib/volumes/{serial}"
format = "ext4"
disks = { serial = ["THERE", "AWAY"] }

[profile.a.array.meta]
disks = { media = "ssd", size = "1 GiB .. 1 GiB", count = 2 }
level = 1
volume.db.format = "xfs"
volume.db.mount = "/var/lib/volumes/db"
"#;

fn site(text: &str) -> MachineConfig {
    merge::resolve(&SiteFile::read(text, "site.toml").unwrap(), "n1").unwrap().config
}

/// Code and line of each refusal.
fn lines(plan: &Plan) -> Vec<(String, usize)> {
    plan.all_refusals().into_iter().map(|r| (r.code, r.place.map_or(0, |place| place.line))).collect()
}

fn found(text: &str, disks: &[(&str, u64)]) -> Plan {
    let disk = |(at, (serial, size)): (usize, &(&str, u64))| {
        disk(&format!("vd{}", char::from(b'b' + u8::try_from(at).unwrap())), serial, *size)
    };
    plan(&node(disks.iter().enumerate().map(disk).collect()).inventory(), &site(text))
}

#[test]
fn a_refusal_names_the_line_of_the_selector() {
    let plan = found(SITE, &[("THERE", 2 * GIB), ("M1", GIB)]);
    assert_eq!(lines(&plan), [("BP-S001".into(), 12), ("BP-S002".into(), 15)]);
    let text = storage_plan::explain::table(&plan);
    assert!(text.contains("site.toml:12:1: BP-S001: "), "{text}");
}

#[test]
fn every_volume_names_the_line_that_asks_for_it() {
    let plan = found(SITE, &[("THERE", 2 * GIB), ("AWAY", 2 * GIB), ("M1", GIB), ("M2", GIB)]);
    assert_eq!(lines(&plan), []);
    let asked: Vec<(&str, usize)> =
        plan.volumes.iter().map(|v| (v.volume.as_str(), v.place.as_ref().map_or(0, |place| place.line))).collect();
    assert_eq!(asked, [("state", 0), ("object/AWAY", 9), ("object/THERE", 9), ("meta/db", 17)]);
    let text = storage_plan::explain::table(&plan);
    assert!(text.contains("  as site.toml:17:8 says\n"), "{text}");
}

#[test]
fn a_made_array_of_another_level_names_the_line_of_the_level() {
    let mut model = node(vec![
        disk("vdb", "THERE", 2 * GIB),
        disk("vdc", "AWAY", 2 * GIB),
        disk("vdd", "M1", GIB),
        disk("vde", "M2", GIB),
    ]);
    model.carry_out(&plan(&model.inventory(), &site(SITE))).unwrap();
    let other = site(&SITE.replace("level = 1", "level = 0"));
    assert_eq!(lines(&plan(&model.inventory(), &other)), [("BP-S022".into(), 16)]);
}

#[test]
fn what_the_text_alone_shows_names_its_line() {
    let wrong = |from: &str, to: &str| lines(&found(&SITE.replace(from, to), &[]));
    let of = |line: usize| vec![("BP-S030".to_owned(), line)];
    assert_eq!(wrong("{serial}", "object"), of(10));
    assert_eq!(wrong("\"/var/lib/volumes/db\"", "\"/srv\""), of(18));
    assert_eq!(wrong("level = 1", "level = 6"), of(16));
    assert_eq!(wrong("level = 1", "level = 0\nspares = 1"), [of(16), of(17)].concat());
    assert_eq!(wrong(", count = 2", ""), of(15));
    assert_eq!(wrong("\"/var/lib/volumes/db\"", "\"/var/lib/volumes/{serial}\""), of(18));
}

#[test]
fn a_partition_names_its_line_and_a_disk_that_was_made_otherwise_the_line_of_the_list() {
    let one = "mount = \"/var/lib/volumes/{serial}\"\nformat = \"ext4\"\n";
    let cut = SITE.replace(one, "partition.meta = { size = \"1 GB\", format = \"ext4\", mount = \"/var/m/{serial}\" }\npartition.data.format = \"raw\"\n");
    let disks = [("THERE", 2 * GIB), ("AWAY", 2 * GIB), ("M1", GIB), ("M2", GIB)];
    let first = found(&cut, &disks);
    let asked: Vec<(&str, usize)> =
        first.volumes.iter().map(|v| (v.volume.as_str(), v.place.as_ref().map_or(0, |place| place.line))).collect();
    assert_eq!(asked[1..3], [("object/AWAY/meta", 10), ("object/AWAY/data", 11)]);
    let mut model = node(
        disks
            .iter()
            .enumerate()
            .map(|(at, (serial, size))| disk(&format!("vd{}", char::from(b'b' + at as u8)), serial, *size))
            .collect(),
    );
    model.carry_out(&plan(&model.inventory(), &site(&cut))).unwrap();
    let other = plan(&model.inventory(), &site(&cut.replace("1 GB", "1.1 GB")));
    assert_eq!(lines(&other), [("BP-S028".into(), 10), ("BP-S028".into(), 10)]);
    let wrong = |from: &str, to: &str| lines(&found(&cut.replace(from, to), &[]));
    assert_eq!(wrong("\"1 GB\"", "\"1 MB\""), [("BP-S030".into(), 10)]);
    assert_eq!(wrong("/var/m/{serial}", "/srv/{serial}"), [("BP-S030".into(), 10)]);
}
