//! Runs programs whose root is the tools tree: compilers find their own headers, libraries and helpers, and
//! nothing of the host.
//!
//! Works for root and for an ordinary user alike, with what the kernel offers (namespaces(7)): a user
//! namespace in which the caller counts as root, a mount namespace with a root of its own, a process namespace
//! that ends everything in it when its first program ends, and a network namespace without a network. The tree
//! is mounted read-only; the program sees, beside it, only the folders it is given, an empty `/tmp`, and the
//! devices `null`, `zero`, `full`, `random` and `urandom`.
//!
//! A process that has threads can't enter a user namespace, so this program starts itself again: `main` calls
//! [`enter_if_asked`] before anything else.
#![allow(clippy::disallowed_methods, reason = "edge: enters namespaces and starts what runs in them")]

use super::Tools;
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{getegid, geteuid, pivot_root};
use run_tool::Tool;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A room to run programs in. It exists only while one of them runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// The tools tree.
    tree: PathBuf,
    /// An empty folder of the host, where the room's root is mounted. The host never sees the mount.
    site: PathBuf,
    binds: Vec<Bind>,
    /// Where programs start.
    folder: PathBuf,
    /// Whether the host's ids, devices and network are there, too.
    of_root: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Bind {
    host: PathBuf,
    inside: PathBuf,
    writable: bool,
}

/// Arguments that say which half of the way in this process is to do.
const OUTER: &str = "--enter-tools-tree";
const INNER: &str = "--run-in-tools-tree";
/// The variable that carries the [`Namespace`].
const DESCRIPTION: &str = "BEDPLATE_TOOLS_TREE";
/// Exit status when the program was not even started.
const NOT_STARTED: i32 = 125;

impl Namespace {
    /// A room with the tree of `tools` as its root, mounted at the empty folder `site`.
    pub fn new(tools: &Tools, site: &Path) -> Namespace {
        Namespace {
            tree: tools.root().into(),
            site: site.into(),
            binds: Vec::new(),
            folder: "/".into(),
            of_root: false,
        }
    }

    /// For root alone: every id, the host's devices and its network are there, and the folders of a whole system. For
    /// programs that install systems, which no build does.
    #[must_use]
    pub fn of_root(mut self) -> Namespace {
        self.of_root = true;
        self
    }

    /// Shows a folder of the host at an absolute path inside, to be read only.
    #[must_use]
    pub fn read(mut self, host: &Path, inside: &str) -> Namespace {
        self.binds.push(Bind { host: host.into(), inside: inside.into(), writable: false });
        self
    }

    /// Shows a folder of the host at an absolute path inside, to be written to.
    #[must_use]
    pub fn write(mut self, host: &Path, inside: &str) -> Namespace {
        self.binds.push(Bind { host: host.into(), inside: inside.into(), writable: true });
        self
    }

    /// Starts programs in this folder of the inside.
    #[must_use]
    pub fn folder(mut self, inside: &str) -> Namespace {
        self.folder = inside.into();
        self
    }

    /// A program by its absolute path inside.
    ///
    /// # Errors
    /// When a path of the host is not UTF-8.
    pub fn tool(&self, program: &str) -> Result<Tool> {
        let description = serde_json::to_string(self).context("a path of the store is not UTF-8; choose another")?;
        let mut tool = Tool::at(program).with_env(DESCRIPTION, description).with_env("PATH", "/usr/bin:/usr/sbin");
        tool.prefix = vec![OUTER.into(), program.into()];
        // Not `current_exe`: that one is gone when the program was replaced while it runs.
        tool.program = "/proc/self/exe".into();
        Ok(tool)
    }
}

/// Becomes a program inside a [`Namespace`] if this process was started for that; does nothing otherwise.
///
/// Must be called while the process has one thread.
pub fn enter_if_asked() {
    let mut args = std::env::args_os().skip(1);
    let half = match args.next() {
        Some(arg) if arg == OUTER => outer,
        Some(arg) if arg == INNER => inner,
        _ => return,
    };
    let Some(description) = std::env::var_os(DESCRIPTION) else { return };
    let code = serde_json::from_slice(description.as_encoded_bytes())
        .context("the description of the tools tree's room can't be read")
        .and_then(|room| half(&room, args.collect()))
        .unwrap_or_else(|error| {
            eprintln!("{error:#}");
            NOT_STARTED
        });
    std::process::exit(code);
}

/// Makes the namespaces and waits for the first process in them.
fn outer(room: &Namespace, command: Vec<OsString>) -> Result<i32> {
    // When the builder is killed, everything it started goes too.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    let (uid, gid) = (geteuid(), getegid());
    let own = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    let others = own | CloneFlags::CLONE_NEWNET;
    match unshare(if room.of_root { own } else { CloneFlags::CLONE_NEWUSER | others }) {
        Ok(()) if room.of_root => {}
        Ok(()) => {
            // One id each is all that an ordinary user may map (user_namespaces(7)).
            let map = |file: &str, text: String| {
                fs::write(file, &text).with_context(|| format!("{HINT}\n(can't write {text:?} to {file})"))
            };
            map("/proc/self/setgroups", "deny".into())?;
            map("/proc/self/uid_map", format!("0 {uid} 1"))?;
            map("/proc/self/gid_map", format!("0 {gid} 1"))?;
        }
        // Root needs no user namespace where the host allows none.
        Err(_) if uid.is_root() => unshare(others).context(HINT)?,
        Err(error) => return Err(error).context(HINT),
    }
    let status = Command::new("/proc/self/exe")
        .arg(INNER)
        .args(command)
        .status()
        .context("can't start the first process of the namespace")?;
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}

const HINT: &str = "this host lets you make no namespaces, which compiling needs; allow them \
    (sysctl user.max_user_namespaces=15000, and where the host has them \
    kernel.unprivileged_userns_clone=1 and kernel.apparmor_restrict_unprivileged_userns=0), run as root, or take \
    from elsewhere what is compiled: a component from files or packages, the agent by BEDPLATE_AGENT_DIR, the kernel from \
    a package";

/// Builds the root, enters it and becomes the program.
fn inner(room: &Namespace, command: Vec<OsString>) -> Result<i32> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    build_root(room)?;
    // pivot_root(2): with the same folder twice the old root lies over the new one and can be taken away.
    std::env::set_current_dir(&room.site)?;
    pivot_root(".", ".").context("can't enter the tools tree")?;
    umount2(".", MntFlags::MNT_DETACH).context("can't leave the host's root")?;
    std::env::set_current_dir(&room.folder)
        .with_context(|| format!("the room has no folder {}", room.folder.display()))?;
    let Some((program, args)) = command.split_first() else { bail!("no program was named") };
    let error = Command::new(program).args(args).env_remove(DESCRIPTION).exec();
    Err(error).with_context(|| format!("can't start {} of the tools tree", program.to_string_lossy()))
}

const NONE: Option<&str> = None;

fn build_root(room: &Namespace) -> Result<()> {
    let site = &room.site;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).context(HINT)?;
    mount(Some("tmpfs"), site, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=0755"))
        .with_context(|| format!("can't mount an empty root at {}; {HINT}", site.display()))?;
    let entries =
        fs::read_dir(&room.tree).with_context(|| format!("can't read the tools tree {}", room.tree.display()))?;
    for entry in entries {
        let entry = entry?;
        let inside = site.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, inside)?;
        } else if kind.is_dir() && !OWN.contains(&&*entry.file_name().to_string_lossy()) {
            bind(&entry.path(), &inside, false)?;
        }
    }
    for folder in OWN {
        fs::create_dir(site.join(folder))?;
    }
    // Programs name their loader by `/lib64`; a tree without the package that makes these links is merged too.
    for merged in ["bin", "lib", "lib64", "sbin"] {
        if site.join(merged).symlink_metadata().is_err() {
            std::os::unix::fs::symlink(format!("usr/{merged}"), site.join(merged))?;
        }
    }
    if room.of_root {
        for folder in SYSTEM {
            fs::create_dir_all(site.join(folder))?;
        }
        for folder in ["dev", "sys"] {
            mount(
                Some(&Path::new("/").join(folder)),
                &site.join(folder),
                NONE,
                MsFlags::MS_BIND | MsFlags::MS_REC,
                NONE,
            )
            .with_context(|| format!("can't show /{folder} in the tools tree"))?;
        }
    }
    let devices: &[&str] = if room.of_root { &[] } else { &["null", "zero", "full", "random", "urandom"] };
    for device in devices {
        let inside = site.join("dev").join(device);
        fs::write(&inside, "")?;
        let host = Path::new("/dev").join(device);
        mount(Some(&host), &inside, NONE, MsFlags::MS_BIND, NONE)
            .with_context(|| format!("can't show {} in the tools tree", host.display()))?;
    }
    // A host that hides parts of its own /proc (a container) allows no new one; compilers do without.
    let _ = mount(Some("proc"), &site.join("proc"), Some("proc"), MsFlags::MS_NOSUID, NONE);
    for Bind { host, inside, writable } in &room.binds {
        let inside = site.join(inside.strip_prefix("/").unwrap_or(inside));
        bind(host, &inside, *writable)?;
    }
    Ok(())
}

/// Folders of the room itself, whatever the tree has of that name.
const OWN: [&str; 5] = ["dev", "proc", "run", "sys", "tmp"];
/// Folders that programs which install systems expect.
const SYSTEM: [&str; 7] = ["boot", "home", "media", "mnt", "opt", "root", "srv"];

fn bind(host: &Path, inside: &Path, writable: bool) -> Result<()> {
    let failed = || format!("can't show {} in the tools tree", host.display());
    fs::create_dir_all(inside).with_context(failed)?;
    // With what is mounted below: a user namespace may not uncover what lies under a mount.
    mount(Some(host), inside, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE).with_context(failed)?;
    if !writable {
        // A remount replaces the flags, and a user namespace may not drop those the mount has.
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | kept(inside).with_context(failed)?;
        mount(NONE, inside, NONE, flags, NONE).with_context(failed)?;
    }
    Ok(())
}

fn kept(mounted: &Path) -> Result<MsFlags, Errno> {
    let found = statvfs(mounted)?.flags();
    let pairs = [
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    Ok(pairs.into_iter().filter(|(has, _)| found.contains(*has)).fold(MsFlags::empty(), |all, (_, keep)| all | keep))
}
