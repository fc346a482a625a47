//! File systems, by their own mkfs; never told to overwrite anything.

use super::{Tools, locked_device};
use anyhow::{Context, bail};
use machine_config::schema::{Format, Mkfs};
use std::path::Path;
use storage_plan::layer::filesystem::kind;
use storage_plan::ownership::{Inside, inside};
use uuid::Uuid;

/// Makes a file system on a device of ours that is being provisioned, and looks at it from the medium.
///
/// What an interrupted run left of the very same file system is wiped first; anything else recognised there stops it.
pub(super) fn make(
    tools: &Tools,
    node: &Path,
    format: Format,
    uuid: &Uuid,
    label: &str,
    mkfs: &Mkfs,
) -> anyhow::Result<()> {
    let look = || -> anyhow::Result<Inside> { Ok(inside(&crate::observe::signatures(node)?, kind(format), uuid)) };
    match look()? {
        Inside::Nothing => {}
        Inside::Ours => locked_device::wipe(node)?,
        Inside::Other(holds) => bail!("{} holds {holds}, which this node did not make", node.display()),
    }
    tools.mkfs(format)?.command().args(words(format, uuid, label, mkfs)).arg(node).run()?;
    std::fs::File::open(node).and_then(|f| f.sync_all()).with_context(|| format!("cannot flush {}", node.display()))?;
    locked_device::read_back(node, 0, 4096)?;
    match look()? {
        Inside::Ours => Ok(()),
        _ => bail!("{} does not hold the {} that was made there", node.display(), kind(format)),
    }
}

/// Makes a file system that is mounted at `at` as large as `node`, which it is on. Where it is so already nothing is done.
pub(super) fn grow(tools: &Tools, node: &Path, format: Format, at: &str) -> anyhow::Result<()> {
    let command = tools.grow(format)?.command();
    match format {
        Format::Xfs => command.arg("-d").arg(at).run()?,
        Format::Ext4 => command.arg(node).run()?,
    };
    Ok(())
}

/// What mkfs.xfs(8) or mke2fs(8) is told beside the device.
fn words(format: Format, uuid: &Uuid, label: &str, mkfs: &Mkfs) -> Vec<String> {
    let mut words: Vec<String> = ["-q", "-L", label].map(str::to_owned).into();
    match format {
        // Without -f mkfs.xfs looks once more by itself and refuses to overwrite what it knows.
        Format::Xfs => {
            let reflink = mkfs.reflink.map_or_else(String::new, |yes| format!(",reflink={}", u8::from(yes)));
            words.extend(["-K".to_owned(), "-m".to_owned(), format!("uuid={uuid}{reflink}")]);
        }
        Format::Ext4 => {
            words.extend(["-E".to_owned(), "nodiscard".to_owned(), "-U".to_owned(), uuid.to_string()]);
            words.extend(mkfs.reserved_percent.iter().flat_map(|percent| ["-m".to_owned(), percent.to_string()]));
            words.extend(mkfs.bytes_per_inode.iter().flat_map(|bytes| ["-i".to_owned(), bytes.to_string()]));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mkfs_is_told_what_the_configuration_says_and_nothing_that_overwrites() {
        let said = |format, mkfs: &Mkfs| words(format, &Uuid::nil(), "db", mkfs).join(" ");
        let nil = Uuid::nil();
        assert_eq!(said(Format::Xfs, &Mkfs::default()), format!("-q -L db -K -m uuid={nil}"));
        assert_eq!(said(Format::Ext4, &Mkfs::default()), format!("-q -L db -E nodiscard -U {nil}"));
        let of_xfs = Mkfs { reflink: Some(false), ..Mkfs::default() };
        assert_eq!(said(Format::Xfs, &of_xfs), format!("-q -L db -K -m uuid={nil},reflink=0"));
        let of_ext4 = Mkfs { reserved_percent: Some(0), bytes_per_inode: Some(1 << 20), reflink: None };
        assert_eq!(said(Format::Ext4, &of_ext4), format!("-q -L db -E nodiscard -U {nil} -m 0 -i 1048576"));
    }
}
