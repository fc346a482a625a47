use super::*;
use proptest::prelude::*;

/// A site with one machine `n1` that has nothing wrong with it but what is added.
fn with(rest: &str) -> String {
    format!(
        r#"format = 1
revision = 1
cluster = {{ id = "0d4f7c1e-8a52-4c0e-9b1f-2f6f0c7e5a11", name = "rack7", api = ["https://10.0.7.1:6443"] }}
[machine.n1]
match = {{ serial = "J7K2X03" }}
profiles = ["p"]
{rest}"#
    )
}

fn told(text: &str) -> String {
    file(text, "site.toml", None).iter().map(|one| one.to_string()).collect::<Vec<_>>().join("\n")
}

macro_rules! broken {
    ($($name:ident: $text:expr;)*) => {
        $(#[test] fn $name() { insta::assert_snapshot!(told(&with($text))); })*
    };
}

broken! {
    machines_that_collide: r#"
address = { lan = "10.0.7.11/24" }
network.lan = { name = "eno1" }
[machine.n2]
match = { serial = "J7K2X03" }
profiles = ["p", "p", "q"]
address = { lan = "10.0.7.11/24" }
network.lan = { name = "eno1" }
[machine.n3]
match = { serial = "To be filled by O.E.M." }
[machine.n4]
match = { }
[machine.N5]
match = { uuid = "ffffffff-ffff-ffff-ffff-ffffffffffff", mac = "5254.0012.3456" }
[profile.p]
"#;
    selectors_that_do_not_select: r#"
[profile.p.system]
disks = { count = 1 }
[profile.p.each.a]
disks = { media = "hdd" }
format = "xfs"
mount = "/var/lib/volumes/a-{serial}"
[profile.p.each.b]
disks = { serial = ["S1", "S2"], count = 3 }
format = "xfs"
mount = "/var/lib/volumes/b-{serial}"
[profile.p.array.c]
level = 1
disks = { serial = ["S2", "S3", "S3"] }
volume.v = { format = "ext4", mount = "/var/lib/volumes/c" }
"#;
    groups_that_do_not_hold_together: r#"
[profile.p.group.empty]
disks = { serial = ["E1"] }
volume = {}
[profile.p.group.data]
disks = { serial = ["S1", "S2"] }
pool.thin = { size = "100 GB" }
pool.db = { size = "100 GB" }
[profile.p.group.data.volume]
db = { size = "10 GB", format = "xfs", mount = "/var/lib/a" }
rest = { format = "xfs", mount = "/var/lib/b", layout = "striped" }
too = { format = "xfs", mount = "/var/lib/b", layout = "raid1", over = 3 }
line = { size = "1 GB", format = "raw", over = 2 }
one = { size = "1 GB", format = "raw", layout = "striped", over = 1 }
snapshots = { size = "1 GB", format = "raw" }
lost = { size = "1 GB", format = "raw", pool = "thick" }
odd = { format = "raw", pool = "thin", layout = "linear", over = 2, mount = "/var/{x}" }
[profile.p.group.single]
disks = { serial = ["S2"] }
volume.mirror = { format = "raw", layout = "raid1" }
"#;
    groups_that_hold_together: r#"
[profile.p.group.data]
disks = { serial = ["S1", "S2", "S3"] }
pool.thin = { size = "100 GB" }
[profile.p.group.data.volume]
db = { size = "10 GB", format = "xfs", mount = "/var/lib/a" }
rest = { format = "ext4", mount = "/var/lib/b", layout = "striped" }
two = { size = "10 GB", format = "raw", layout = "striped", over = 2 }
safe = { size = "10 GB", format = "raw", layout = "raid1" }
filled = { size = "1 TB", format = "xfs", mount = "/var/lib/c", pool = "thin" }
"#;
    disks_that_are_one_volume_and_several_or_none: r#"
[profile.p.each.none]
disks = { serial = ["S1"] }
[profile.p.each.both]
disks = { serial = ["S2", "S3"] }
format = "xfs"
mount = "/var/lib/a/{serial}"
class = "fast"
partition.meta = { size = "20 GB", format = "xfs", mount = "/var/lib/b/{serial}" }
partition.data = { format = "raw" }
[profile.p.each.rests]
disks = { serial = ["S4"] }
partition.a = { format = "raw" }
partition.b = { format = "raw" }
partition.c = { format = "raw", size = "1 GB" }
[profile.p.each.many]
disks = { serial = ["S5"] }
[profile.p.each.many.partition]
p01 = { size = "1 GB", format = "raw" }
p02 = { size = "1 GB", format = "raw" }
p03 = { size = "1 GB", format = "raw" }
p04 = { size = "1 GB", format = "raw" }
p05 = { size = "1 GB", format = "raw" }
p06 = { size = "1 GB", format = "raw" }
p07 = { size = "1 GB", format = "raw" }
p08 = { size = "1 GB", format = "raw" }
p09 = { size = "1 GB", format = "raw" }
p10 = { size = "1 GB", format = "raw" }
p11 = { size = "1 GB", format = "raw" }
p12 = { size = "1 GB", format = "raw" }
p13 = { size = "1 GB", format = "raw" }
p14 = { size = "1 GB", format = "raw" }
p15 = { size = "1 GB", format = "raw" }
p16 = { size = "1 GB", format = "raw" }
p17 = { size = "1 GB", format = "raw" }
"#;
    partitions_whose_keys_do_not_hold: r#"
[profile.p.each.a]
disks = { media = "hdd", count = 2 }
[profile.p.each.a.partition]
nowhere = { size = "1 GB", format = "xfs" }
blocks = { size = "1 GB", format = "raw", mount = "/var/lib/a/{serial}", mkfs.reflink = true }
one = { size = "1 GB", format = "ext4", mount = "/var/lib/b", mount-options = ["noload"] }
above = { size = "1 GB", format = "xfs", mount = "/var/lib/c/{serial}" }
below = { format = "xfs", mount = "/var/lib/c/{serial}/below", mkfs.reserved-percent = 1 }
"#;
    partitions_of_wrong_form: r#"
[profile.p.each.a]
disks = { media = "hdd", count = 2 }
[profile.p.each.a.partition]
"not.plain" = { size = "1 GB", format = "raw" }
large = { size = "1", format = "raw" }
odd = { format = "zfs", generation = 2 }
lacks = { size = "1 GB" }
"#;
    partitions_that_hold_together: r#"
[profile.p.each.object]
disks = { media = "hdd", size = "11 TB .. 13 TB", count = 12 }
[profile.p.each.object.partition]
meta = { size = "20 GB", format = "xfs", mount = "/var/lib/meta/{serial}", class = "meta" }
journal = { size = "20 GB", format = "ext4", mount = "/var/lib/journal-{slot}", encrypt = "passphrase" }
data = { format = "raw" }
"#;
    arrays_with_too_few_members: r#"
array.data.disks.serial = ["S1"]
[profile.p.array.data]
level = 1
volume.v = { format = "ext4", mount = "/var/lib/volumes/c" }
volume.w = { format = "ext4", mount = "/var/lib/volumes/d" }
[profile.p.array.other]
level = 5
disks = { media = "hdd", count = 0 }
volume = {}
"#;
    arrays_that_ask_for_what_their_level_has_not: r#"
[profile.p.array.stripes]
level = 0
spares = 1
chunk = "48 KiB"
disks = { serial = ["S1", "S2", "S3"] }
volume.v = { format = "ext4", mount = "/var/lib/volumes/a" }
[profile.p.array.mirror]
level = 1
chunk = "64 KiB"
disks = { serial = ["S4", "S5"] }
volume.v = { format = "ext4", mount = "/var/lib/volumes/b" }
[profile.p.array.parity]
level = 5
spares = 2
chunk = "64 KiB"
disks = { serial = ["S6", "S7", "S8", "S9"] }
volume.v = { format = "ext4", mount = "/var/lib/volumes/c" }
"#;
    journals_that_are_none: r#"
[profile.p.array.nowhere]
level = 6
write-hole = "journal"
disks = { serial = ["S1", "S2", "S3", "S4"] }
volume.v = { format = "ext4", mount = "/var/lib/volumes/a" }
[profile.p.array.unasked]
level = 5
journal = { serial = ["S8"] }
disks = { serial = ["S5", "S6", "S7"] }
volume.v = { format = "ext4", mount = "/var/lib/volumes/b" }
[profile.p.array.twice]
level = 5
write-hole = "journal"
journal = { serial = ["S12", "S1"] }
grow = true
disks = { serial = ["S9", "S10", "S11"] }
volume.v = { format = "ext4", mount = "/var/lib/volumes/c" }
[profile.p.array.uncounted]
level = 6
write-hole = "journal"
journal = { media = "nvme" }
disks = { serial = ["S13", "S14", "S15", "S16"] }
volume.v = { format = "ext4", mount = "/var/lib/volumes/d" }
[profile.p.array.mirror]
level = 1
write-hole = "journal"
journal = { serial = ["S19"] }
disks = { serial = ["S17", "S18"] }
volume.v = { format = "ext4", mount = "/var/lib/volumes/e" }
[profile.p.array.retiring]
level = 6
write-hole = "journal"
journal = { serial = ["S24"] }
retire = ["S24"]
disks = { serial = ["S20", "S21", "S22", "S23"] }
volume.v = { format = "ext4", mount = "/var/lib/volumes/f" }
[profile.p.array.sound]
level = 6
write-hole = "journal"
journal = { media = "nvme", size = "256 GB ..", count = 1 }
dirty-degraded = "start-read-only"
disks = { serial = ["S25", "S26", "S27", "S28"] }
volume.v = { format = "ext4", mount = "/var/lib/volumes/g" }
"#;
    write_holes_that_their_level_has_not: r#"
[profile.p.array.double]
level = 6
write-hole = "ppl"
disks = { serial = ["S1", "S2", "S3", "S4"] }
volume.v = { format = "ext4", mount = "/var/lib/volumes/a" }
[profile.p.array.mirror]
level = 1
write-hole = "bitmap"
dirty-degraded = "start-read-only"
disks = { serial = ["S5", "S6"] }
volume.v = { format = "ext4", mount = "/var/lib/volumes/b" }
[profile.p.array.single]
level = 5
write-hole = "bitmap"
dirty-degraded = "start-read-only"
disks = { serial = ["S7", "S8", "S9"] }
volume.v = { format = "ext4", mount = "/var/lib/volumes/c" }
"#;
    arrays_that_can_not_be_made_larger: r#"
[profile.p.array.stripes]
level = 0
grow = true
disks = { serial = ["S1", "S2"] }
volume.v = { format = "ext4", mount = "/var/lib/volumes/a" }
[profile.p.array.logged]
level = 5
grow = true
disks = { serial = ["S3", "S4", "S5"] }
volume.v = { format = "ext4", mount = "/var/lib/volumes/b" }
[profile.p.array.secret]
level = 1
grow = true
disks = { serial = ["S6", "S7"] }
volume.v = { format = "ext4", mount = "/var/lib/volumes/c", encrypt = "passphrase" }
[profile.p.array.single]
level = 5
write-hole = "bitmap"
grow = true
disks = { serial = ["S8", "S9", "S10"] }
volume.v = { format = "ext4", mount = "/var/lib/volumes/d" }
"#;
    rebuilds_at_speeds_that_are_none: r#"
[profile.p.array.stripes]
level = 0
rebuild.at-least = "50 MB"
disks = { serial = ["S1", "S2"] }
volume.v = { format = "ext4", mount = "/var/lib/volumes/a" }
[profile.p.array.slow]
level = 1
rebuild = { at-least = "10 kB", at-most = "200 GB" }
disks = { serial = ["S3", "S4"] }
volume.v = { format = "ext4", mount = "/var/lib/volumes/b" }
[profile.p.array.crossed]
level = 1
rebuild = { at-least = "60 MB", at-most = "50 MB" }
disks = { serial = ["S5", "S6"] }
volume.v = { format = "ext4", mount = "/var/lib/volumes/c" }
[profile.p.array.good]
level = 1
rebuild = { at-least = "50 MB", at-most = "50 MB" }
disks = { serial = ["S7", "S8"] }
volume.v = { format = "ext4", mount = "/var/lib/volumes/d" }
"#;
    disks_that_can_not_be_retired: r#"
[profile.p.array.stripes]
level = 0
retire = ["S9"]
disks = { serial = ["S1", "S2"] }
volume.v = { format = "ext4", mount = "/var/lib/volumes/a" }
[profile.p.array.mirror]
level = 1
retire = ["S3", "S2", "S8", "S8", " "]
disks = { serial = ["S3", "S4"] }
volume.v = { format = "ext4", mount = "/var/lib/volumes/b" }
"#;
    a_level_that_is_none: r#"
[profile.p.array.old]
level = 4
disks = { serial = ["S10", "S11", "S12"] }
volume.v = { format = "ext4", mount = "/var/lib/volumes/d" }
"#;
    half_of_an_array_is_nowhere: r#"
array.data.disks.serial = ["S1", "S2"]
[profile.p.array.data]
volume.v = { mount = "/var/lib/volumes/c" }
"#;
    mount_points: r#"
[profile.p.each.a]
disks = { media = "hdd", count = 2 }
format = "xfs"
mount = "/var/lib/volumes/a"
[profile.p.each.b]
disks = { media = "ssd", count = 2 }
format = "xfs"
mount = "/var/lib/volumes/b-{serial}"
[profile.p.each.c]
disks = { media = "nvme", count = 1 }
format = "xfs"
mount = "/var/lib/volumes/b-1/x"
[profile.p.each.d]
disks = { media = "nvme", count = 1 }
format = "xfs"
mount = "/srv/d"
[profile.p.each.e]
disks = { media = "nvme", count = 1 }
format = "xfs"
mount = "/var"
[profile.p.each.f]
disks = { media = "nvme", count = 1 }
format = "xfs"
mount = "/var/lib/bedplate/x-{wwn}"
[profile.p.array.g]
level = 1
disks = { serial = ["S1", "S2"] }
volume.v = { format = "xfs", mount = "/var/lib/volumes/a" }
[profile.p.array.h]
level = 1
disks = { serial = ["S3", "S4"] }
volume.v = { format = "xfs", mount = "/var/lib/../x" }
"#;
    replacing_of_a_single_system_disk: r#"
[profile.p.system]
disks = { serial = ["S1"] }
replace = "same-slot"
"#;
    options_of_file_systems: r#"
[profile.p.system]
format = "ext4"
mount-options = ["prjquota", "noexec", "lazytime"]
[profile.p.each.a]
disks = { serial = ["S1"] }
format = "xfs"
mount = "/var/lib/volumes/a"
mount-options = ["relatime", "nofail",
  "discard", "noatime", "logbsize=1m"]
mkfs = { reserved-percent = 0, reflink = false }
[profile.p.array.b]
level = 1
disks = { serial = ["S2", "S3"] }
[profile.p.array.b.volume.v]
format = "ext4"
mount = "/var/lib/volumes/b"
mount-options = ["commit=30", "commit=5"]
mkfs.bytes-per-inode = "1 KiB"
mkfs.reflink = true
"#;
    raw_volumes_with_a_file_system_and_file_systems_without_a_place: r#"
[profile.p.each.a]
disks = { serial = ["S1", "S2"] }
format = "raw"
[profile.p.each.b]
disks = { serial = ["S3"] }
format = "raw"
mount = "/var/lib/volumes/b"
mount-options = ["noatime"]
mkfs.reflink = false
[profile.p.each.c]
disks = { serial = ["S4"] }
format = "xfs"
[profile.p.array.d]
level = 1
disks = { serial = ["S5", "S6"] }
volume.v = { format = "raw", mount = "/var/lib/volumes/d" }
[profile.p.array.e]
level = 1
disks = { serial = ["S7", "S8"] }
volume.v = { format = "ext4" }
"#;
    the_state_is_never_raw: r#"
[profile.p.system]
format = "raw"
"#;
    options_of_file_systems_of_wrong_form: r#"
[profile.p.each.a]
disks = { serial = ["S1"] }
format = "ext4"
mount = "/var/lib/volumes/a"
mount-options = "noatime"
mkfs = { reserved-percent = 60, bytes-per-inode = 16384, reserved = 1 }
"#;
    interfaces_that_are_nothing_or_two_things: r#"
network.lan = { name = "en*" }
[profile.p.network]
lan = { mac = "52:54:00:12:34:56" }
none = { dhcp = true }
bad = { name = "a-name-that-is-too-long", mtu = 100 }
a = { pci = "3b:00.0" }
b = { pci = "3B:00.0" }
"#;
    vlans: r#"
[profile.p.network]
uplink = { name = "eno1" }
v1 = { vlan = 7, on = "uplnk" }
v2 = { vlan = 8 }
v3 = { vlan = 4095, on = "uplink" }
v4 = { name = "eno2", on = "uplink" }
v5 = { vlan = 9, on = "v6" }
v6 = { vlan = 10, on = "v5" }
v7 = { vlan = 11, on = "uplink", mtu = 9000 }
"#;
    vlans_of_sound_numbers: r#"
[profile.p.network]
uplink = { name = "eno1" }
v1 = { vlan = 7, on = "uplnk" }
v2 = { vlan = 8 }
v4 = { name = "eno2", on = "uplink" }
v5 = { vlan = 9, on = "v6" }
v6 = { vlan = 10, on = "v5" }
v7 = { vlan = 11, on = "uplink", mtu = 9000 }
a-name-much-too-long = { vlan = 12, on = "uplink" }
"#;
    bonds: r#"
[profile.p.network]
a = { bond = [{ name = "eno1" }] }
b = { bond = [{ name = "eno2", mac = "52:54:00:12:34:56" }, { }], mode = "802.3ad" }
c = { name = "eno3", mode = "active-backup" }
d = { bond = [{ name = "eno3" }, { name = "en*" }], mode = "active-backup" }
e = { bond = [{ name = "eno8" }, { name = "eno9" }], mode = "802.3AD" }
"#;
    bonds_of_known_modes: r#"
[profile.p.network]
a = { bond = [{ name = "eno1" }] }
b = { bond = [{ name = "eno2", mac = "52:54:00:12:34:56" }, { }], mode = "802.3ad" }
c = { name = "eno3", mode = "active-backup" }
d = { bond = [{ name = "eno3" }, { name = "en*" }], mode = "active-backup" }
"#;
    addresses_and_gateways: r#"
address = { lan = "10.0.7.11/24", wan = "10.0.8.0/24", nope = "10.0.9.1/24" }
[profile.p.network]
lan = { name = "eno1", gateway = "10.0.8.1", dhcp = true }
wan = { name = "eno2", gateway = "10.0.8.1" }
sun = { name = "eno3", gateway = "2001:db8::1" }
"#;
    addresses_that_are_none: r#"
address = { lan = "10.0.7.11", wan = "10.0.8.300/24" }
network.lan = { name = "eno1", gateway = "10.0.7", dns = ["dns.example.org"] }
[profile.p]
"#;
    labels_and_taints: r#"
[profile.p.node]
labels = { "node-role.kubernetes.io/worker" = "", "kubernetes.io/hostname" = "n1", "example.org/a" = "b" }
taints = [{ key = "a", effect = "NoSchedule" }, { key = "a", effect = "NoSchedule", value = "x" }]
pod-cidr = "10.244.1.1/24"
"#;
    labels_and_taints_of_wrong_form: r#"
[profile.p.node]
labels = { "-a" = "b", "a" = "b c", "c" = 3 }
taints = [{ key = "a", effect = "noschedule" }, { effect = "NoExecute" }]
pod-cidr = "10.244.1.0/33"
time = 3
[profile.p.time]
servers = ["ntp 1", "10.0.0.1"]
"#;
}

#[test]
fn the_head_of_the_file() {
    insta::assert_snapshot!(told(
        r#"
format = 1
revision = -1
[cluster]
id = "rack7"
name = "Rack 7"
api = ["http://10.0.7.1:6443", "https://10.0.7.1"]
control_plane = ["n1"]
domain = "cluster_local"
[machine.n1]
profile = ["p"]
"#
    ));
    insta::assert_snapshot!(told(
        "format = 2\nrevision = 1\ncluster = { id = \"0d4f7c1e-8a52-4c0e-9b1f-2f6f0c7e5a11\", name = \"a\", api = [\"https://a:1\"] }"
    ));
    insta::assert_snapshot!(told(
        "format = 1\nrevision = 1\ncluster = { id = \"00000000-0000-0000-0000-000000000000\", name = \"a\", api = [], control-plane = [\"n1\"] }"
    ));
    insta::assert_snapshot!(told(
        "format = 1\nrevision = 1\ncluster = { id = \"00000000-0000-0000-0000-000000000000\", name = \"a\", api = [\"https://a:1\"], control-plane = [\"n1\"] }"
    ));
}

#[test]
fn a_fault_of_one_key_does_not_hide_those_across_keys() {
    let codes = |text: &str| file(text, "f", None).into_iter().map(|one| one.code).collect::<Vec<_>>();
    let text = with(
        "nod = 1\n[machine.n2]\nmatch = { serial = \"X2\" }\nprofiles = [\"nope\"]\n[machine.n3]\nmatch = { serial = \"X3\" }\nprofiles = [\"p\"]\narray.a = { level = 1, disks = { serial = [\"S\"] }, volume.v = { format = \"xfs\", mount = \"/var/a\" } }\n[profile.p]\n",
    );
    assert_eq!(codes(&text), ["BP-C002", "BP-C010", "BP-C024"]);
    // Nor does a fault beside it, and nothing is said that only follows from a key that was told already.
    let text = with(
        "[profile.p]\nnetwork.a = { vlan = 5000, on = \"b\" }\nnetwork.c = { vlan = 5, on = \"d\" }\nnode.labels = { \"k8s.io/x\" = \"y\" }\neach.e = { disks = { medium = \"hdd\" }, format = \"xfs\", mount = \"/e-{serial}\" }\narray.f = { levl = 1, disks = { serial = [1] }, volume.v = { format = \"zfs\", mount = \"/var/v\" } }\n",
    );
    assert_eq!(codes(&text), ["BP-C005", "BP-C041", "BP-C090", "BP-C002", "BP-C031", "BP-C002", "BP-C004", "BP-C005"]);
}

#[test]
fn a_fault_of_a_profile_is_told_once() {
    let text = with(
        "[machine.n2]\nmatch = { serial = \"X2\" }\nprofiles = [\"p\"]\n[profile.p.network]\nlan = { dhcp = true }\n",
    );
    assert_eq!(file(&text, "f", None).len(), 1);
}

#[test]
fn one_machine_is_not_stopped_by_another() {
    let text = with("[machine.n2]\nmatch = { serial = \"X2\" }\nnetwork.lan = { dhcp = true }\n[profile.p]\n");
    let site = SiteFile::read(&text, "f").expect("a site");
    assert_eq!(machine(&site, "n1").expect("n1 is good").name, "n1");
    assert_eq!(machine(&site, "n2").expect_err("n2 is not")[0].code, "BP-C040");
    assert!(file(&text, "f", Some("n1")).is_empty());
    assert_eq!(file(&text, "f", Some("n2")).len(), 1);
    assert_eq!(file(&text, "f", Some("n9"))[0].code, "BP-C014");
}

#[test]
fn the_examples_are_good() {
    for text in [include_str!("../../../examples/site/rack.toml"), include_str!("../../../examples/site/one-node.toml")]
    {
        assert_eq!(told(text), "");
    }
}

#[test]
fn the_longest_way_through_the_schema_is_reported_where_it_stands() {
    // A fault deep in a profile is at its own line and column, not at the machine that takes the profile.
    let text = with(
        "[profile.p.array.a]\nlevel = 1\ndisks = { serial = [\"S1\",\n  3] }\nvolume.v = { format = \"xfs\", mount = \"/var/a\" }\n",
    );
    let found = file(&text, "f", None);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].place.as_ref().map(|place| (place.line, place.column)), Some((10, 3)), "{}", found[0]);
}

fn pieces() -> impl Strategy<Value = String> {
    let lines = [
        "[machine.n1]\n",
        "match = { serial = \"J7K2X03\" }\n",
        "match = {}\n",
        "profiles = [\"p\", \"q\"]\n",
        "[profile.p]\n",
        "[profile.p.network]\n",
        "lan = { vlan = 7, on = \"lan\" }\n",
        "lan = { bond = [{}], gateway = \"10.0.0.1\" }\n",
        "address = { lan = \"10.0.0.1/0\", x = \"::/128\" }\n",
        "array.a = { level = 1, disks = {}, volume.v = { format = \"xfs\", mount = \"/var/}{\" } }\n",
        "each.a = { disks = { count = 3 }, format = \"xfs\", mount = \"/var/{slot}\" }\n",
        "each.b = { disks = { count = 3 }, format = \"xfs\", mount = \"/var/}x{serial}\" }\n",
        "node.pod-cidr = \"1.2.3.4/0\"\n",
        "[[machine]]\n",
        "x = '''\n",
    ];
    let piece = prop_oneof![4 => prop::sample::select(lines.to_vec()).prop_map(str::to_owned), 1 => any::<String>()];
    prop::collection::vec(piece, 0..10).prop_map(|pieces| with(&pieces.concat()))
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_and_places_are_inside(text in pieces()) {
        let lines: Vec<&str> = text.split('\n').collect();
        for one in file(&text, "f", None) {
            let place = one.place.expect("a place");
            prop_assert!(place.line >= 1 && place.line <= lines.len(), "{place}");
            prop_assert!(place.column <= lines[place.line - 1].chars().count() + 1, "{place}");
        }
    }
}
