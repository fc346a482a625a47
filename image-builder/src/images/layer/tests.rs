use super::*;
use crate::compose::deb::Member;
use crate::digest::Sha256;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// `f PATH`, `d PATH MODE`, `h PATH TARGET` or `s PATH TARGET`, one a line. A file's digest is that of its line's number.
fn members(text: &str) -> Members {
    let member = |(number, line): (usize, &str)| {
        let parts: Vec<&str> = line.split_whitespace().collect();
        let kind = match parts[0] {
            "f" => MemberKind::File(0, 1, Sha256::of(number.to_string())),
            "d" => MemberKind::Directory,
            "h" => MemberKind::HardLink(parts[2].into()),
            "s" => MemberKind::Symlink(parts[2].into()),
            other => panic!("{other}"),
        };
        let mode = if parts[0] == "d" { u32::from_str_radix(parts[2], 8).unwrap() } else { 0o644 };
        let (user, group, xattrs) = (String::new(), String::new(), BTreeMap::new());
        Member { path: parts[1].into(), kind, mode, uid: 1, gid: 2, user, group, xattrs }
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Members { list: lines.enumerate().map(member).collect(), data: Arc::new(PathBuf::new()) }
}

fn made(text: &str, below: &[Layer]) -> Result<Layer> {
    layer(&members(text), below, &Origin::Overlay("test".into()))
}

/// `PATH KIND`, with the number of a file's line.
fn told(layer: &Layer) -> Vec<String> {
    let number = |digest: Sha256| (0..20).find(|n| Sha256::of(n.to_string()) == digest).unwrap();
    let told = layer.entries.iter().map(|(path, entry)| {
        let what = match &entry.kind {
            Kind::File(content) => format!("f{}", number(content.digest())),
            Kind::Directory if entry.xattrs.contains_key(OPAQUE_XATTR) => format!("d{:o}!", entry.mode),
            Kind::Directory => format!("d{:o}", entry.mode),
            Kind::HardLink(target) => format!("={target}"),
            Kind::Symlink(target) => format!(">{target}"),
            Kind::CharDevice(0, 0) => "hidden".into(),
            other => format!("{other:?}"),
        };
        format!("{path} {what}")
    });
    told.collect()
}

#[test]
fn what_a_layer_says_is_what_overlayfs_is_told() {
    let below = made("d / 700\nd a 750\nd a/b 711\nf a/x\nd gone 755", &[]).unwrap();
    let cases: &[(&str, &[&str])] = &[
        // Implied folders are as below.
        ("f a/b/y\nf n/y", &["/ d700", "/a d750", "/a/b d711", "/a/b/y f0", "/n d755", "/n/y f1"]),
        ("d a 701\nf a/.wh.x", &["/ d700", "/a d701", "/a/x hidden"]),
        ("f a/.wh..wh..opq", &["/ d700", "/a d750!"]),
        ("f .wh..wh..opq", &["/ d700!"]),
        // Of a name that is hidden and there again, the new one counts; a folder does not let the former show through.
        ("f .wh.a\nf a/z", &["/ d700", "/a d750!", "/a/z f1"]),
        ("f .wh.a\nf a", &["/ d700", "/a f1"]),
        ("f .wh.a\nd a 755\nf a/z", &["/ d700", "/a d755!", "/a/z f2"]),
        ("f .wh..wh.plnk\nf x", &["/ d700", "/x f1"]),
        // The later of two counts, and takes what lay in it away; a folder keeps it.
        ("f x\nf x", &["/ d700", "/x f1"]),
        ("d x 755\nf x/y\nf x", &["/ d700", "/x f2"]),
        ("d x 755\nf x/y\nd x 700", &["/ d700", "/x d700", "/x/y f1"]),
        // Hard links, to each other and to what is replaced later.
        ("f x\nh y x\nh z ./y", &["/ d700", "/x f0", "/y =/x", "/z =/x"]),
        ("f x\nh y x\nh z x\nf x", &["/ d700", "/x f3", "/y f0", "/z =/y"]),
        ("s x a\nh y x", &["/ d700", "/x >a", "/y >a"]),
        ("f x\nh x x", &["/ d700", "/x f0"]),
    ];
    for (text, expected) in cases {
        assert_eq!(told(&made(text, std::slice::from_ref(&below)).unwrap()), *expected, "{text}");
    }
}

#[test]
fn what_can_not_be_is_named() {
    let cases = [
        ("f a/../../x", r#""a/../../x" in it leads out of it"#),
        ("f a/.wh...", "/a/.wh... in it hides no name"),
        ("f a/.wh.", "/a/.wh. in it hides no name"),
        ("f x\nh y z", "/y in it is a hard link to /z, which is not in it before"),
        ("d x 755\nh y x", "/y in it is a hard link to the folder /x"),
        ("f x\nf x/y", "/x/y in it lies below /x, which is no folder there"),
        ("f /", "its root is no folder"),
        ("f x\nf x/.wh..wh..opq", "/x in it is to be a folder, and is none"),
    ];
    for (text, expected) in cases {
        assert_eq!(format!("{:#}", made(text, &[]).unwrap_err()), expected, "{text}");
    }
    let mut led = members("d x 755");
    led.list[0].xattrs.insert("trusted.overlay.redirect".into(), b"/y".to_vec());
    let error = layer(&led, &[], &Origin::Overlay("test".into())).unwrap_err().to_string();
    assert!(error.starts_with("/x in it has the attribute trusted.overlay.redirect"), "{error}");
}
