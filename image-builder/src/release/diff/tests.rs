use super::super::fixture::{lock, release};
use super::*;
use crate::release::Contents;

const OLD: &str = "
    base-files 13 trixie the recipe
    libold1 1.0 trixie base-files
    openssl 3.5.1-1 trixie the recipe
    rebuilt 1 trixie the recipe
    systemd 257.9 trixie-security the recipe
    util-linux 2.41-6 trixie systemd";
const NEW: &str = "
    base-files 13 trixie the recipe
    libnew2 2.0~rc1 trixie base-files
    openssl 3.5.1-1+deb13u1 trixie-security the recipe
    rebuilt 1 trixie the recipe
    systemd 257.9 trixie-security the recipe
    util-linux 2.41-5 trixie systemd";

fn rest(uid: u32, kubernetes: &str, api: &str) -> String {
    format!(
        r#"
        user = [{{ name = "etcd", uid = {uid}, gid = 9, comment = "", home = "/", shell = "/bin/sh", from = "x" }}]
        component = {{ kube = {{ version = {{ kubernetes = "{kubernetes}", etcd = "3.7.3" }}, modules = ["k8s.io/api@{api}", "example.org/same@v1.0.0"] }} }}"#
    )
}

const OLD_FILES: &str = r#"
    {"path":"/etc/motd","kind":"file","mode":"0644","uid":0,"gid":0,"size":5,"sha256":"AA","origin":"overlay site"}
    {"path":"/usr/bin/kube","kind":"file","mode":"0755","uid":0,"gid":0,"size":5,"sha256":"AA","origin":"component kube v1"}
    {"path":"/usr/bin/openssl","kind":"file","mode":"0755","uid":0,"gid":0,"size":1000000,"sha256":"AA","origin":"package openssl 3.5.1-1"}
    {"path":"/usr/bin/same","kind":"file","mode":"0755","uid":0,"gid":0,"size":5,"sha256":"AA","origin":"package openssl 3.5.1-1"}
    {"path":"/usr/bin/su","kind":"file","mode":"4755","uid":0,"gid":0,"size":5,"sha256":"AA","origin":"package util-linux 2.41-6"}
    {"path":"/usr/lib/libold.so","kind":"file","mode":"0644","uid":0,"gid":0,"size":3000000,"sha256":"AA","origin":"package libold1 1.0"}"#;
const NEW_FILES: &str = r#"
    {"path":"/etc/ld.so.cache","kind":"file","mode":"0644","uid":0,"gid":0,"size":5,"sha256":"BB","origin":"emulation ldconfig"}
    {"path":"/etc/motd","kind":"file","mode":"0644","uid":0,"gid":0,"size":7,"sha256":"BB","origin":"overlay site"}
    {"path":"/usr/bin/kube","kind":"file","mode":"0755","uid":0,"gid":0,"size":5,"sha256":"BB","origin":"component kube v2"}
    {"path":"/usr/bin/openssl","kind":"symlink","mode":"0777","uid":0,"gid":0,"target":"same","origin":"package openssl 3.5.1-1+deb13u1"}
    {"path":"/usr/bin/ping","kind":"file","mode":"0755","uid":0,"gid":0,"size":5,"sha256":"BB","xattrs":[["security.capability","01"]],"origin":"package libnew2 2.0~rc1"}
    {"path":"/usr/bin/same","kind":"file","mode":"0755","uid":0,"gid":0,"size":5,"sha256":"AA","origin":"package openssl 3.5.1-1+deb13u1"}
    {"path":"/usr/bin/su","kind":"file","mode":"0755","uid":0,"gid":42,"size":5,"sha256":"AA","origin":"package util-linux 2.41-5"}"#;

fn files(text: &str) -> String {
    text.replace("AA", &"a".repeat(64)).replace("BB", &"b".repeat(64))
}

fn old() -> Contents {
    release("1", lock(OLD, &rest(90, "1.36.1", "v0.36.1")), &files(OLD_FILES), "")
}

fn new() -> Contents {
    let mut new = release("2", lock(NEW, &rest(91, "1.38.0", "v0.38.0-rc.1")), &files(NEW_FILES), "");
    new.lock.package.iter_mut().filter(|p| p.name == "rebuilt").for_each(|p| p.sha256 = [7; 32].into());
    new.lock.snapshot += 86_400;
    let manifest = new.manifest.as_mut().unwrap();
    manifest.kernel = "6.12.2".into();
    manifest.command_line = manifest.command_line.replace("quiet", "iommu=pt");
    manifest.root_image.size += 2_500_000;
    manifest.files.get_mut("secure-boot/db.crt").unwrap().sha256 = [1; 32].into();
    new
}

#[test]
fn two_releases_on_a_terminal() {
    insta::assert_snapshot!(text(&compare(&old(), &new()), false));
}

#[test]
fn two_releases_in_a_release_note() {
    insta::assert_snapshot!(markdown(&compare(&old(), &new()), true));
}

#[test]
fn two_releases_as_data() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&compare(&old(), &new())).unwrap());
}

#[test]
fn a_lock_tells_what_it_can() {
    let mut bare = Contents { manifest: None, files: None, left_out: None, ..new() };
    bare.lock.local.insert("overlay/site/etc/motd".into(), [2; 32].into());
    insta::assert_snapshot!(text(&compare(&old(), &bare), false));
}

#[test]
fn container_images_come_go_and_change() {
    let with = |mut contents: Contents, images: &[(&str, u8)]| {
        let digests = images.iter().map(|(name, digest)| ((*name).to_owned(), [*digest; 32].into()));
        contents.manifest.as_mut().unwrap().container_images = digests.collect();
        // The one that both a lock and a release know.
        let sha256 = crate::digest::Sha256::from([images[0].1; 32]);
        let name = images[0].0.to_owned();
        contents.lock.container_image =
            vec![crate::lock::LockedImage { name, manifest: sha256, config: sha256, layers: vec![sha256] }];
        contents
    };
    let listed = r#"{"path":"/usr/share/bedplate/images/layers/x","kind":"file","mode":"0755","uid":0,"gid":0,"size":5,"sha256":"AA","origin":"image a.example/web:1 sha256:01"}"#;
    let side = |version: &str, listed: &str, images: &[(&str, u8)]| {
        with(release(version, lock("a 1 trixie the recipe", ""), &files(listed), ""), images)
    };
    let old = side("1", listed, &[("a.example/web:1", 1), ("a.example/gone:1", 2), ("a.example/same:1", 3)]);
    let listed = listed.replace("AA", "BB").replace("sha256:01", "sha256:04");
    let new = side("2", &listed, &[("a.example/web:1", 4), ("a.example/same:1", 3), ("a.example/new:1", 5)]);
    let diff = compare(&old, &new);
    assert!(!diff.is_empty());
    assert!(diff.files[0].expected && diff.files[0].input == "image a.example/web:1", "{:?}", diff.files);
    insta::assert_snapshot!(text(&diff, false));
    // A lock knows only what is taken ready.
    let images = compare(&old, &Contents { manifest: None, ..new }).images;
    assert_eq!(
        images.iter().map(|change| (change.name.as_str(), change.kind)).collect::<Vec<_>>(),
        [("a.example/web:1", ChangeKind::Changed)]
    );
}

#[test]
fn the_same_release_twice() {
    let diff = compare(&old(), &old());
    assert!(diff.is_empty() && diff.same_image && diff.notes.is_empty());
    assert!(text(&diff, true).ends_with("Both boot the same bytes: root and UKI are equal before they are signed.\n"));
    let locks = Contents { manifest: None, ..old() };
    assert!(text(&compare(&locks, &locks), true).ends_with("\n\nNothing differs.\n"));
}

#[test]
fn going_back_is_noted() {
    let mut older = old();
    older.lock.snapshot -= 1;
    let notes = compare(&new(), &older).notes.join("\n");
    for said in ["goes back a minor version", "Older than before: openssl, kubernetes", "The archives of the new one"] {
        assert!(notes.contains(said), "{said}: {notes}");
    }
}

#[test]
fn versions_of_modules_are_ordered() {
    let kind = |from: &str, to: &str| {
        let (a, b) = (rest(1, "1.0.0", from), rest(1, "1.0.0", to));
        let side = |rest: &str| Contents { manifest: None, files: None, ..release("1", lock("", rest), "", "") };
        compare(&side(&a), &side(&b)).components["kube"].modules[0].kind
    };
    assert_eq!(kind("v0.9.0", "v0.10.0"), ChangeKind::Upgraded);
    assert_eq!(kind("v1.0.0-rc.1", "v1.0.0"), ChangeKind::Upgraded);
    assert_eq!(kind("v0.0.0-20250102030405-abcdef", "v0.0.0-20240102030405-fedcba"), ChangeKind::Downgraded);
    assert_eq!(kind("v1.0.0", "v1.0.0+incompatible"), ChangeKind::Changed);
    assert_eq!(kind("main", "v1.0.0"), ChangeKind::Changed);
}
