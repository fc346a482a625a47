//! File systems, by their own mkfs; never told to overwrite anything.

use super::{Tools, locked_device};
use anyhow::{Context, bail};
use machine_config::schema::Format;
use std::path::Path;
use storage_plan::layer::filesystem::kind;
use storage_plan::ownership::{Inside, inside};
use uuid::Uuid;

/// Makes a file system on a device of ours that is being provisioned, and looks at it from the medium.
///
/// What an interrupted run left of the very same file system is wiped first; anything else recognised there stops it.
pub(super) fn make(tools: &Tools, node: &Path, format: Format, uuid: &Uuid, label: &str) -> anyhow::Result<()> {
    let look = || -> anyhow::Result<Inside> { Ok(inside(&crate::observe::signatures(node)?, kind(format), uuid)) };
    match look()? {
        Inside::Nothing => {}
        Inside::Ours => locked_device::wipe(node, size(node)?)?,
        Inside::Other(holds) => bail!("{} holds {holds}, which this node did not make", node.display()),
    }
    let command = tools.mkfs(format)?.command();
    let command = match format {
        // Without -f mkfs.xfs looks once more by itself and refuses to overwrite what it knows.
        Format::Xfs => command.args(["-q", "-K", "-L", label]).arg("-m").arg(format!("uuid={uuid}")),
        Format::Ext4 => command.args(["-q", "-E", "nodiscard", "-L", label]).arg("-U").arg(uuid.to_string()),
    };
    command.arg(node).run()?;
    std::fs::File::open(node).and_then(|f| f.sync_all()).with_context(|| format!("cannot flush {}", node.display()))?;
    locked_device::read_back(node, 0, 4096)?;
    match look()? {
        Inside::Ours => Ok(()),
        _ => bail!("{} does not hold the {} that was made there", node.display(), kind(format)),
    }
}

fn size(node: &Path) -> anyhow::Result<u64> {
    use std::io::{Seek, SeekFrom};
    let mut file = std::fs::File::open(node).with_context(|| format!("cannot open {}", node.display()))?;
    file.seek(SeekFrom::End(0)).with_context(|| format!("cannot tell the size of {}", node.display()))
}
