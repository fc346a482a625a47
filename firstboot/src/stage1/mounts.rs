//! Mounts of stage 1: the kernel's file systems, the root, `/etc` over it, and the switch to it.
#![allow(clippy::disallowed_methods, reason = "edge: mounts and lays files")]

use super::refuse;
use machine_config::Diagnostic;
use std::ffi::CString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use sys_mount::{Mount, MountFlags};

/// Where the root is mounted before it becomes `/`.
pub const SYSROOT: &str = "/sysroot";
/// Where the agent finds what stage 1 leaves for it.
pub const HANDED_OVER: &str = "/run/bedplate";
const INIT: &str = "/usr/lib/systemd/systemd";

/// What process 1 and the agent are made of, read through dm-verity before they start: a damaged block in one
/// of them gives a page, where process 1 could only crash. They are read at every start anyway.
const READ_FIRST: &[&str] = &["/usr/lib/systemd", "/usr/lib/x86_64-linux-gnu/systemd", "/usr/lib/bedplate"];
const READ_FIRST_NAMES: &[&str] = &["systemd", "systemd-executor", "firstboot"];
const READ_FIRST_LIBRARIES: &[&str] = &["ld-linux-x86-64.so.2", "libc.so.6"];

fn mount(kind: &str, source: &str, target: &str, flags: MountFlags, data: &str) -> io::Result<()> {
    fs::create_dir_all(target)?;
    Mount::builder().fstype(kind).flags(flags).data(data).mount(source, target).map(drop)
}

fn failed(what: &str, why: &io::Error) -> Diagnostic {
    refuse("BP-B007", what, &format!("{why}."), "The image was not built soundly, or memory is failing.")
}

/// `/proc`, `/sys`, `/dev`, `/run`.
///
/// # Errors
/// BP-B007.
pub fn kernel_file_systems() -> Result<(), Diagnostic> {
    let safe = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    for (kind, target, flags, data) in [
        ("proc", "/proc", safe, ""),
        ("sysfs", "/sys", safe, ""),
        ("devtmpfs", "/dev", MountFlags::NOSUID | MountFlags::NOEXEC, "mode=0755"),
        ("tmpfs", "/run", MountFlags::NOSUID | MountFlags::NODEV, "mode=0755,size=20%"),
    ] {
        match mount(kind, kind, target, flags, data) {
            // The kernel may have mounted /dev itself (CONFIG_DEVTMPFS_MOUNT).
            Err(e) if e.raw_os_error() == Some(nix::libc::EBUSY) => {}
            other => other.map_err(|e| failed(&format!("{target} can't be mounted."), &e))?,
        }
    }
    fs::create_dir_all(HANDED_OVER).map_err(|e| failed("/run/bedplate can't be made.", &e))
}

/// The firmware's variables; a machine without UEFI has none.
pub fn efi_variables() {
    let safe = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    if Path::new("/sys/firmware/efi/efivars").exists() {
        let _ = Mount::builder().fstype("efivarfs").flags(safe).mount("efivarfs", "/sys/firmware/efi/efivars");
    }
}

/// Mounts the verified root read-only and reads what runs first.
///
/// # Errors
/// BP-B006 when something of it does not verify, BP-B007 when it is no EROFS.
pub fn root(device: &str) -> Result<(), Diagnostic> {
    mount("erofs", device, SYSROOT, MountFlags::RDONLY | MountFlags::NODEV, "")
        .map_err(|e| failed("The verified root can't be mounted.", &e))?;
    for path in first_files() {
        read_through(&path).map_err(|e| {
            refuse(
                "BP-B006",
                "The root partition is not what was signed: it is damaged or was changed.",
                &format!("{} can't be read through its hash tree ({e}).", path.display()),
                "Write the image to the disk again. If it happens again, the disk is failing: replace it.",
            )
        })?;
    }
    Ok(())
}

fn first_files() -> Vec<std::path::PathBuf> {
    let root = Path::new(SYSROOT);
    let mut files = Vec::new();
    for folder in READ_FIRST {
        for entry in fs::read_dir(root.join(&folder[1..])).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if READ_FIRST_NAMES.contains(&name.as_str()) || name.starts_with("libsystemd-") {
                files.push(entry.path());
            }
        }
    }
    files.extend(READ_FIRST_LIBRARIES.iter().map(|l| root.join("usr/lib/x86_64-linux-gnu").join(l)));
    files.retain(|f| f.is_file());
    files
}

fn read_through(path: &Path) -> io::Result<()> {
    let mut file = fs::File::open(path)?;
    let mut block = vec![0; 1 << 18];
    while file.read(&mut block)? > 0 {}
    Ok(())
}

/// A fresh `/etc`: the image's below, an empty memory file system above. What is written there is gone at the
/// next start.
///
/// # Errors
/// BP-B008.
pub fn etc(machine_id: &str) -> Result<(), Diagnostic> {
    let lay = || -> io::Result<()> {
        let etc = format!("{SYSROOT}/etc");
        for folder in ["upper", "work"] {
            fs::create_dir_all(format!("{HANDED_OVER}/etc/{folder}"))?;
        }
        let data = format!("lowerdir={etc},upperdir={HANDED_OVER}/etc/upper,workdir={HANDED_OVER}/etc/work");
        mount("overlay", "etc", &etc, MountFlags::NOSUID | MountFlags::NODEV, &data)?;
        let path = format!("{etc}/machine-id");
        fs::write(&path, format!("{machine_id}\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444))
    };
    lay().map_err(|e| {
        refuse(
            "BP-B008",
            "/etc can't be laid over the root.",
            &format!("{e}."),
            "The image was not built soundly: it needs the overlay module in its initrd.",
        )
    })
}

/// Copies the initrd's config keys to where the agent looks; without the file any config is taken.
///
/// # Errors
/// BP-B007: a node must not lose its keys and then take what nobody signed.
pub fn hand_over_keys() -> Result<(), Diagnostic> {
    match fs::read("/config-key") {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        read => read
            .and_then(|keys| fs::write(format!("{HANDED_OVER}/config-key"), keys))
            .map_err(|e| failed("The config keys of the initrd can't be handed over.", &e)),
    }
}

/// Copies what systemd-stub leaves of the UKI's PCR policy to where systemd's programs look for it.
///
/// # Errors
/// BP-B007.
pub fn hand_over_policy() -> Result<(), Diagnostic> {
    for name in ["tpm2-pcr-signature.json", "tpm2-pcr-public-key.pem"] {
        // A UKI without one leaves none.
        let Ok(bytes) = fs::read(format!("/.extra/{name}")) else { continue };
        let copy =
            || fs::create_dir_all("/run/systemd").and_then(|()| fs::write(format!("/run/systemd/{name}"), bytes));
        copy().map_err(|e| failed(&format!("{name} can't be handed over."), &e))?;
    }
    Ok(())
}

/// Moves the kernel's file systems, empties the initrd, makes the root `/` and becomes systemd.
///
/// # Errors
/// BP-B009; it does not return otherwise.
pub fn switch_root() -> Result<std::convert::Infallible, Diagnostic> {
    let switch = || -> io::Result<std::convert::Infallible> {
        // The kernel ignores the kind; without one, sys-mount would read /proc, which moves first.
        let moving = || Mount::builder().fstype("none").flags(MountFlags::MOVE);
        let move_to = |from: &str, to: &str| moving().mount(from, to).map(drop);
        for folder in ["/dev", "/proc", "/sys", "/run"] {
            move_to(folder, &format!("{SYSROOT}{folder}"))?;
        }
        empty_initrd();
        std::env::set_current_dir(SYSROOT)?;
        move_to(".", "/")?;
        nix::unistd::chroot(".")?;
        std::env::set_current_dir("/")?;
        let init = CString::new(INIT)?;
        // A clean environment: the kernel hands every word of its command line that it does not know to init.
        Ok(nix::unistd::execve(&init, &[&init], &[c"TERM=linux"])?)
    };
    switch().map_err(|e| {
        refuse(
            "BP-B009",
            "The verified root can't be started.",
            &format!("{INIT}: {e}."),
            "The image was not built soundly: build it again.",
        )
    })
}

/// Gives the initrd's memory back. Only what lies on its own file system is removed.
fn empty_initrd() {
    let Ok(own) = fs::metadata("/").map(|m| m.dev()) else { return };
    for entry in fs::read_dir("/").into_iter().flatten().flatten() {
        let path = entry.path();
        match fs::symlink_metadata(&path) {
            // The root is mounted on it, and the mount points are empty.
            Ok(m) if m.dev() != own || path == Path::new(SYSROOT) => {}
            Ok(m) if m.is_dir() => drop(fs::remove_dir_all(&path)),
            _ => drop(fs::remove_file(&path)),
        }
    }
}
