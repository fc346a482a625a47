//! `bedplate why`: which input put a path into the image, whom it took the path from, and who wanted that input.
//! Pure.

use super::contents::Contents;
use super::words::{count, size};
use crate::compose::tree::{Origin, TreePath};
use crate::lock::{Lock, Package};
use crate::package::files::{Listed, ListedKind, Unlisted};
use anyhow::{Context, Result, anyhow};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Display};

/// How many names are told of a list that may be long.
const SHOWN: usize = 5;
/// Folders below `/etc` whose files are read instead of those of one name below `/usr/lib` (systemd.unit(5),
/// systemd.generator(7), tmpfiles.d(5), sysctl.d(5), modules-load.d(5), modprobe.d(5), udev(7)).
const BEFORE_USR: [&str; 10] = [
    "modprobe.d/",
    "modules-load.d/",
    "sysctl.d/",
    "systemd/network/",
    "systemd/system/",
    "systemd/system-generators/",
    "systemd/system-preset/",
    "sysusers.d/",
    "tmpfiles.d/",
    "udev/rules.d/",
];

/// What there is to say of a path.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Answer {
    asked: String,
    /// Where the path is, when folders on the way are links.
    path: String,
    /// Owner and group by name.
    owner: (String, String),
    finding: Finding,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Finding {
    /// It is in the image.
    There {
        listed: Box<Listed>,
        /// What a link leads to at last, and whose that is.
        leads_to: Option<(String, Option<Origin>)>,
        /// The path that is read instead of it, or instead of which it is read.
        rival: Option<Rival>,
        /// For a folder: how many paths are below it, by input.
        below: Vec<(Origin, usize)>,
        input: Input,
    },
    /// An input has it.
    LeftOut { gone: Unlisted, input: Input },
    /// No input has it, as far as the release can tell.
    Unknown { told: bool, same_name: Vec<String> },
}

/// A file of the same name and purpose in another folder.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Rival {
    path: String,
    origin: Origin,
    /// Whether it is the one that is read.
    wins: bool,
}

/// What is known of an input.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Input {
    Package {
        /// The suite and the archive it is from; none only if list and lock don't fit together.
        suite: Option<[String; 2]>,
        /// From who asked for it first to the package itself.
        chain: Vec<String>,
        /// Who else depends on it.
        others: Vec<String>,
    },
    /// A component and of how many Go modules it is compiled.
    Component(usize),
    Overlay,
    /// A container image and of how many layers it is.
    Image(usize),
    /// Packages and scripts that the emulation stands in for.
    Emulation(Vec<String>),
}

/// Looks a path up.
///
/// # Errors
/// When it is no path inside the root, or `contents` is no whole release.
pub fn why(contents: &Contents, asked: &str) -> Result<Answer> {
    let files = contents
        .files
        .as_ref()
        .with_context(|| format!("{} has no files.json: only a finished release can tell", contents.name))?;
    let path =
        TreePath::new(asked).map_err(|why| anyhow!("{why}; give it as it is on the node, as in /usr/bin/mount"))?;
    let link = |at: &TreePath| {
        let listed = files.get(at.as_str())?;
        Some((listed.kind == ListedKind::Symlink).then(|| listed.target.as_deref().unwrap_or_default()))
    };
    let place = match path.parent().map(|folder| folder.resolved(link)) {
        Some(Some(folder)) => TreePath::new(&format!("{folder}/{}", path.name())).map_err(anyhow::Error::msg)?,
        _ => path.clone(),
    };
    let at = place.as_str();
    let lock = &contents.lock;
    let mut owner = (String::new(), String::new());
    let finding = if let Some(listed) = files.get(at) {
        owner = owners(lock, listed);
        let leads_to = (listed.kind == ListedKind::Symlink).then(|| place.resolved(link)).flatten();
        Finding::There {
            leads_to: leads_to.map(|to| (to.to_string(), files.get(to.as_str()).map(|l| l.origin.clone()))),
            rival: rival(files, listed),
            below: below(files, listed),
            input: input(lock, &listed.origin),
            listed: Box::new(listed.clone()),
        }
    } else if let Some(gone) = contents.left_out.as_ref().and_then(|all| all.get(at)) {
        Finding::LeftOut { gone: gone.clone(), input: input(lock, &gone.origin) }
    } else {
        let named = |known: &&String| known.rsplit('/').next() == Some(path.name());
        let same_name = files.keys().filter(named).take(SHOWN).cloned().collect();
        Finding::Unknown { told: contents.left_out.is_some(), same_name }
    };
    Ok(Answer { asked: path.to_string(), path: at.to_owned(), owner, finding })
}

fn owners(lock: &Lock, listed: &Listed) -> (String, String) {
    let user = lock.user.iter().find(|u| u.uid == listed.uid).map(|u| u.name.clone());
    let group = lock.group.iter().find(|g| g.gid == listed.gid).map(|g| g.name.clone());
    (user.unwrap_or_else(|| listed.uid.to_string()), group.unwrap_or_else(|| listed.gid.to_string()))
}

fn rival(files: &BTreeMap<String, Listed>, listed: &Listed) -> Option<Rival> {
    let in_etc = listed.path.strip_prefix("/etc/");
    let name = in_etc.or_else(|| listed.path.strip_prefix("/usr/lib/"))?;
    if listed.kind == ListedKind::Directory || !BEFORE_USR.iter().any(|folder| name.starts_with(folder)) {
        return None;
    }
    let path = format!("{}{name}", if in_etc.is_some() { "/usr/lib/" } else { "/etc/" });
    let origin = files.get(&path)?.origin.clone();
    Some(Rival { path, origin, wins: in_etc.is_none() })
}

/// Most paths first.
fn below(files: &BTreeMap<String, Listed>, folder: &Listed) -> Vec<(Origin, usize)> {
    if folder.kind != ListedKind::Directory {
        return Vec::new();
    }
    let prefix = format!("{}/", folder.path.trim_end_matches('/'));
    let mut counts: BTreeMap<&Origin, usize> = BTreeMap::new();
    for (_, listed) in files.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix)) {
        *counts.entry(&listed.origin).or_default() += 1;
    }
    let mut counts: Vec<(Origin, usize)> = counts.into_iter().map(|(origin, n)| (origin.clone(), n)).collect();
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    counts
}

fn input(lock: &Lock, origin: &Origin) -> Input {
    match origin {
        Origin::Package(name, _) => {
            let chain = chain(lock, name);
            let locked = lock.package.iter().find(|p| p.name == *name);
            let via = chain.len().checked_sub(2).map(|at| chain[at].clone());
            let wanted_by = locked.into_iter().flat_map(|p| &p.wanted_by);
            let others = wanted_by.filter(|by| Some(*by) != via.as_ref()).cloned().collect();
            Input::Package { suite: locked.map(|p| [p.suite.clone(), p.archive.clone()]), chain, others }
        }
        Origin::Component(name, _) => Input::Component(lock.component.get(name).map_or(0, |c| c.modules.len())),
        Origin::Overlay(_) => Input::Overlay,
        Origin::Image(name, _) => {
            Input::Image(lock.container_image.iter().find(|i| i.name == *name).map_or(0, |i| i.layers.len()))
        }
        Origin::Emulation(name) => {
            let scripts = lock.script.iter().filter(|s| crate::compose::emulate::emulates(&s.verdict, name));
            Input::Emulation(scripts.map(|s| format!("{} ({})", s.package, s.script)).collect())
        }
    }
}

/// The shortest way from who asked to a package, both ends included; of equal ones the first by name. Only the
/// package itself if the lock does not know it.
pub fn chain(lock: &Lock, name: &str) -> Vec<String> {
    let packages: BTreeMap<&str, &Package> = lock.package.iter().map(|p| (p.name.as_str(), p)).collect();
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut seen = BTreeSet::from([name]);
    let mut open = VecDeque::from([name]);
    while let Some(at) = open.pop_front() {
        let Some(package) = packages.get(at) else {
            // Nobody's package: the recipe, or a component of it.
            let rest = std::iter::successors(came_from.get(at), |below| came_from.get(**below));
            return std::iter::once(at).chain(rest.copied()).map(str::to_owned).collect();
        };
        // Whoever asked in person before those who depend on it.
        let (packaged, asking): (Vec<&String>, Vec<&String>) =
            package.wanted_by.iter().partition(|by| packages.contains_key(by.as_str()));
        for by in asking.into_iter().chain(packaged) {
            if seen.insert(by) {
                came_from.insert(by, at);
                open.push_back(by);
            }
        }
    }
    vec![name.to_owned()]
}

impl Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Answer { asked, path, owner, finding } = self;
        if asked != path {
            writeln!(f, "{asked} is {path}, as a folder on the way is a link.")?;
        }
        match finding {
            Finding::There { listed, leads_to, rival, below, input } => {
                writeln!(f, "{path} is {}, mode {:04o}, of {}:{}.", what(listed), listed.mode, owner.0, owner.1)?;
                input.source(f, &listed.origin)?;
                for origin in &listed.replaced {
                    writeln!(f, "It replaces that of the {origin}.")?;
                }
                match rival {
                    Some(Rival { path, origin, wins: true }) => writeln!(f, "{path} of the {origin} is read instead.")?,
                    Some(Rival { path, origin, wins: false }) => {
                        writeln!(f, "It is read instead of {path} of the {origin}.")?;
                    }
                    None => {}
                }
                match leads_to {
                    Some((to, Some(origin))) => writeln!(f, "It leads to {to} of the {origin}.")?,
                    Some((to, None)) => writeln!(f, "It leads to {to}.")?,
                    None => {}
                }
                if !below.is_empty() {
                    let paths: usize = below.iter().map(|(_, n)| n).sum();
                    let inputs = below.iter().map(|(origin, n)| format!("{origin} ({n})")).collect::<Vec<_>>();
                    writeln!(f, "Below it are {}: {}.", count(paths, "path"), crate::lock::shorten(&inputs))?;
                }
                input.wishes(f)
            }
            Finding::LeftOut { gone, input } => {
                writeln!(f, "{path} is not in the image. The {} has it: {}.", gone.origin, gone.why)?;
                input.wishes(f)
            }
            Finding::Unknown { told, same_name } => {
                match told {
                    true => writeln!(f, "{path} is not in the image, and no input has it.")?,
                    false => writeln!(
                        f,
                        "{path} is not in the image. The release has no left-out.json to say whether an input has it."
                    )?,
                }
                match same_name.as_slice() {
                    [] => Ok(()),
                    names => writeln!(f, "Of that name there is {}.", names.join(", ")),
                }
            }
        }
    }
}

impl Input {
    fn source(&self, f: &mut fmt::Formatter<'_>, origin: &Origin) -> fmt::Result {
        match self {
            Input::Package { suite: Some([suite, archive]), .. } => {
                writeln!(f, "It comes from the {origin} (suite {suite} of the archive {archive}).")
            }
            Input::Component(modules @ 1..) => {
                writeln!(f, "It comes from the {origin}, compiled from {}.", count(*modules, "Go module"))
            }
            Input::Image(layers @ 1..) => writeln!(f, "It comes from the {origin}, of {}.", count(*layers, "layer")),
            Input::Emulation(scripts) if scripts.is_empty() => {
                writeln!(f, "The builder made it ({origin}).")
            }
            Input::Emulation(scripts) => {
                let scripts = crate::lock::shorten(scripts);
                writeln!(f, "The builder made it ({origin}), in place of maintainer scripts: {scripts}.")
            }
            Input::Package { .. } | Input::Component(_) | Input::Overlay | Input::Image(_) => {
                writeln!(f, "It comes from the {origin}.")
            }
        }
    }

    /// The chain as a tree, after an empty line.
    fn wishes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Input::Package { chain, others, .. } = self else { return Ok(()) };
        let [first, rest @ ..] = chain.as_slice() else { return Ok(()) };
        if rest.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n{first} wants")?;
        for (depth, package) in rest.iter().enumerate() {
            let needs = if depth + 1 < rest.len() { ", which depends on" } else { "" };
            writeln!(f, "{}└─ {package}{needs}", "   ".repeat(depth))?;
        }
        match others.as_slice() {
            [] => Ok(()),
            names => writeln!(f, "It is also wanted by {}.", crate::lock::shorten(names)),
        }
    }
}

fn what(listed: &Listed) -> String {
    let target = listed.target.as_deref().unwrap_or_default();
    match listed.kind {
        ListedKind::File => format!("a file of {}", size(listed.size.unwrap_or_default())),
        ListedKind::Directory => "a folder".into(),
        ListedKind::Symlink => format!("a symbolic link to {target}"),
        ListedKind::Hardlink => format!("another name of {target}"),
        ListedKind::CharacterDevice | ListedKind::BlockDevice => "a device".into(),
        ListedKind::Fifo => "a named pipe".into(),
        ListedKind::Socket => "a socket".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{lock, release};
    use super::*;

    const PACKAGES: &str = "
        base-files 13 trixie the recipe
        coreutils 9.7 trixie base-files
        libfdisk1 2.41 trixie util-linux, fdisk
        fdisk 2.41 trixie util-linux
        mawk 1.3 trixie base-files
        systemd 257 trixie-security the recipe
        util-linux 2.41 trixie systemd, the recipe
        kubelet 1.37 trixie component site";
    const REST: &str = r#"
        user = [{ name = "root", uid = 0, gid = 0, comment = "", home = "/", shell = "/bin/sh", from = "base-passwd" }]
        group = [{ name = "root", gid = 0, from = "base-passwd" }]
        script = [{ package = "mawk", script = "postinst", sha256 = "SHA", verdict = "emulate:alternatives+users" }]
        component = { kube = { modules = ["k8s.io/kubernetes@v1.37.2", "k8s.io/api@v0.37.2"] } }
        container-image = [{ name = "a.example/web:1", manifest = "SHA", config = "SHA", layers = ["SHA", "SHA"] }]"#;
    const FILES: &str = r#"
        {"path":"/","kind":"directory","mode":"0755","uid":0,"gid":0,"origin":"package base-files 13"}
        {"path":"/bin","kind":"symlink","mode":"0777","uid":0,"gid":0,"target":"usr/bin","origin":"package base-files 13"}
        {"path":"/etc","kind":"directory","mode":"0755","uid":0,"gid":0,"origin":"package base-files 13"}
        {"path":"/etc/awk","kind":"symlink","mode":"0777","uid":0,"gid":0,"target":"/usr/bin/mawk","origin":"emulation alternatives"}
        {"path":"/etc/getty.target","kind":"symlink","mode":"0777","uid":0,"gid":0,"target":"/dev/null","origin":"overlay lockdown","replaced":["package systemd 257"]}
        {"path":"/etc/systemd/system/getty.target","kind":"symlink","mode":"0777","uid":0,"gid":0,"target":"/dev/null","origin":"overlay lockdown"}
        {"path":"/etc/hosts","kind":"file","mode":"0640","uid":7,"gid":0,"size":12345,"origin":"emulation defaults"}
        {"path":"/usr/bin","kind":"directory","mode":"0755","uid":0,"gid":0,"origin":"package base-files 13"}
        {"path":"/usr/bin/kube","kind":"file","mode":"0755","uid":0,"gid":0,"size":98765432,"origin":"component kube kubernetes v1.37.2"}
        {"path":"/usr/bin/kubelet","kind":"file","mode":"0755","uid":0,"gid":0,"size":1,"origin":"package kubelet 1.37"}
        {"path":"/usr/bin/mawk","kind":"file","mode":"0755","uid":0,"gid":0,"size":7,"origin":"package mawk 1.3"}
        {"path":"/usr/lib/libfdisk.so.1","kind":"file","mode":"0644","uid":0,"gid":0,"size":500000,"origin":"package libfdisk1 2.41"}
        {"path":"/usr/share/bedplate/images/layers/x/bin/su","kind":"file","mode":"4755","uid":0,"gid":0,"size":7,"origin":"image a.example/web:1 sha256:ab"}
        {"path":"/usr/lib/systemd/system/getty.target","kind":"file","mode":"0644","uid":0,"gid":0,"size":50,"origin":"package systemd 257"}"#;
    const LEFT_OUT: &str = r#"
        {"path":"/usr/share/man/ls.1","origin":"package coreutils 9.7","why":"the recipe's packages.exclude has \"/usr/share/man/**\""}"#;

    fn contents() -> Contents {
        let lock = lock(PACKAGES, &REST.replace("SHA", &crate::digest::Sha256::of("").to_string()));
        release("1", lock, FILES, LEFT_OUT)
    }

    #[test]
    fn every_kind_of_path_is_explained() {
        let asked = [
            "/usr/lib/libfdisk.so.1",
            "/usr/share/bedplate/images/layers/x/bin/su",
            "/usr/bin/kubelet",
            "/usr/bin/kube",
            "/bin/mawk",
            "etc/awk",
            "/etc/getty.target",
            "/etc/systemd/system/getty.target",
            "/usr/lib/systemd/system/getty.target",
            "/etc/hosts",
            "/etc/",
            "/usr/share/man/ls.1",
            "/sbin/mawk",
        ];
        let told = asked.map(|path| format!("$ bedplate why {path}\n{}", why(&contents(), path).unwrap()));
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn a_release_without_a_list_of_what_was_left_out_says_so() {
        let old = Contents { left_out: None, ..contents() };
        let told = why(&old, "/usr/share/man/ls.1").unwrap().to_string();
        assert!(told.contains("has no left-out.json"), "{told}");
    }

    #[test]
    fn a_lock_and_a_path_out_of_the_root_are_refused() {
        let lock = Contents { files: None, ..contents() };
        assert!(why(&lock, "/etc").unwrap_err().to_string().contains("out-1 has no files.json"));
        assert!(why(&contents(), "/etc/../..").unwrap_err().to_string().contains("is not a path inside the root"));
    }

    #[test]
    fn the_shortest_chain_is_told() {
        let lock = contents().lock;
        assert_eq!(chain(&lock, "libfdisk1"), ["the recipe", "util-linux", "libfdisk1"]);
        assert_eq!(chain(&lock, "kubelet"), ["component site", "kubelet"]);
        assert_eq!(chain(&lock, "nobody"), ["nobody"]);
    }
}
