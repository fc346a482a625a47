//! Rules over mount points: below `/var`, one volume each, none inside another.

use super::Rules;

/// Where the node keeps its own things, or where `/var` holds a link elsewhere.
const RESERVED: [&str; 4] = ["/var/lib/bedplate", "/var/lib/systemd", "/var/run", "/var/lock"];

/// What stands for a disk's own part of a mount point.
const PLACEHOLDERS: [&str; 2] = ["{serial}", "{slot}"];

pub(super) fn check(rules: &mut Rules<'_>) {
    let storage = &rules.config().storage;
    let mut mounts: Vec<(Vec<&str>, String, &str)> = Vec::new();
    for (owner, holds) in storage.volumes() {
        let Some(mount) = holds.mount else { continue };
        let (named, path) = (owner.join("."), [&owner[..], &["mount"]].concat());
        let each = storage.each.get(owner[1]).filter(|_| owner[0] == "each");
        let telling = PLACEHOLDERS.iter().any(|placeholder| mount.contains(placeholder));
        if !telling && each.is_some_and(|each| each.disks.how_many() != Some(1)) {
            rules.fault(
                "BP-C033",
                &path,
                format!("`{named}` would mount several disks on {mount}"),
                "Each disk needs a mount point of its own.",
                "Put `{serial}` or `{slot}` into it, such as \"/var/lib/volumes/object-{serial}\".",
            );
        }
        placeholders(rules, &path, mount, if each.is_some() { &PLACEHOLDERS } else { &[] });
        mounts.push((path, named, mount));
    }
    for (path, named, mount) in &mounts {
        let inside =
            |above: &str| mount.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if !mount.starts_with("/var/") {
            rules.fault(
                "BP-C031",
                path,
                format!("`{named}` can't be mounted on {mount}"),
                "On a node only what lies below /var can be written; /var itself is the state partition.",
                "Choose a path below /var, such as \"/var/lib/volumes/NAME\".",
            );
        } else if let Some(reserved) = RESERVED.iter().find(|reserved| inside(reserved)) {
            rules.fault(
                "BP-C031",
                path,
                format!("`{named}` can't be mounted on {mount}"),
                &format!("{reserved} belongs to the node itself."),
                "Choose another path below /var, such as \"/var/lib/volumes/NAME\".",
            );
        }
    }
    // What is mounted outside /var has been refused; that it meets others there is no more news.
    mounts.retain(|(_, _, mount)| mount.starts_with("/var/"));
    for (index, (path, named, mount)) in mounts.iter().enumerate() {
        for (_, other, earlier) in &mounts[..index] {
            match overlap(mount, earlier) {
                Overlap::None => {}
                Overlap::Same => rules.fault(
                    "BP-C030",
                    path,
                    format!("`{other}` and `{named}` are both mounted on {mount}"),
                    "One would hide the other.",
                    "Give each a mount point of its own.",
                ),
                Overlap::Inside => rules.fault(
                    "BP-C032",
                    path,
                    format!("of `{other}` ({earlier}) and `{named}` ({mount}) one is mounted inside the other"),
                    "Without the outer one, what is written to the inner one's place would land elsewhere.",
                    "Put them side by side.",
                ),
            }
        }
    }
}

fn placeholders(rules: &mut Rules<'_>, path: &[&str], mount: &str, known: &[&str]) {
    let mut rest = mount.to_owned();
    for placeholder in known {
        rest = rest.replace(placeholder, "");
    }
    if rest.contains(['{', '}']) {
        let (why, mend) = if known.is_empty() {
            (
                "The volume of an array or group is no single disk: nothing is put in for braces there.",
                "Leave the braces out.",
            )
        } else {
            ("Known are `{serial}` and `{slot}`.", "Use one of these, or leave the braces out.")
        };
        rules.fault("BP-C033", path, format!("{mount:?} has a placeholder that is not known here"), why, mend);
    }
}

enum Overlap {
    None,
    Same,
    Inside,
}

/// Whether two mount points meet; a part with a placeholder may become anything.
fn overlap(a: &str, b: &str) -> Overlap {
    let free = |part: &str| PLACEHOLDERS.iter().any(|placeholder| part.contains(placeholder));
    let (a, b): (Vec<&str>, Vec<&str>) = (a.split('/').collect(), b.split('/').collect());
    if !a.iter().zip(&b).all(|(x, y)| x == y || meet(x, y, free(x), free(y))) {
        Overlap::None
    } else if a.len() == b.len() {
        Overlap::Same
    } else {
        Overlap::Inside
    }
}

/// Whether two parts of a path can become the same, looking at what stands before and after the placeholders.
fn meet(a: &str, b: &str, a_free: bool, b_free: bool) -> bool {
    let ends = |part: &str| {
        let start = part.find('{').unwrap_or(part.len());
        let end = part.rfind('}').map_or(0, |at| at + 1);
        (part[..start].to_owned(), part[end..].to_owned())
    };
    let agree = |x: &str, y: &str, f: fn(&str, &str) -> bool| f(x, y) || f(y, x);
    match (a_free, b_free) {
        (false, false) => false,
        (true, false) => {
            let (start, end) = ends(a);
            b.len() > start.len() + end.len() && b.starts_with(&start) && b.ends_with(&end)
        }
        (false, true) => meet(b, a, true, false),
        (true, true) => {
            let ((a_start, a_end), (b_start, b_end)) = (ends(a), ends(b));
            agree(&a_start, &b_start, |x, y| x.starts_with(y)) && agree(&a_end, &b_end, |x, y| x.ends_with(y))
        }
    }
}
