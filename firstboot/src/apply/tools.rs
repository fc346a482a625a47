//! The programs that apply drives, found and asked for their versions before anything is written.

use run_tool::{Tool, ToolError};
use std::path::Path;
use std::time::Duration;
use storage_plan::{Action, Plan};

/// mdadm, cryptsetup, systemd-cryptenroll, mkfs.xfs and mkfs.ext4, as far as a plan needs them.
#[derive(Debug, Default)]
pub struct Tools {
    mdadm: Option<Tool>,
    cryptsetup: Option<Tool>,
    cryptenroll: Option<Tool>,
    mkfs_xfs: Option<Tool>,
    mkfs_ext4: Option<Tool>,
}

/// How long a program may take that makes an array or a file system: none of them waits for a sync or writes more than
/// metadata. One that takes longer waits for a disk that does not answer.
const LIMIT: Duration = Duration::from_secs(600);
/// Another limit, in seconds.
const LIMIT_VARIABLE: &str = "BEDPLATE_TOOL_LIMIT";

const FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/bin"];

impl Tools {
    /// Finds what `plan` needs.
    ///
    /// # Errors
    /// Every tool that is missing or too old, at once.
    pub fn find(plan: &Plan) -> Result<Tools, Vec<ToolError>> {
        use machine_config::schema::{Encrypt, Format};
        let needs = |want: fn(&Action) -> bool| plan.graph.steps.iter().any(|s| want(&s.action));
        let limit = limit();
        let mut errors = Vec::new();
        let mut find = |needed: bool, name: &str, argument: &str, least: &[u32]| {
            let found = needed.then(|| {
                let folders = FOLDERS.map(Path::new);
                let tool = Tool::find(name, &folders)?.within(limit);
                tool.require_version(argument, least)?;
                Ok(tool)
            });
            found.transpose().unwrap_or_else(|error| {
                errors.push(error);
                None
            })
        };
        let of_arrays =
            |a: &Action| matches!(a, Action::CreateArray { .. } | Action::AssembleArray { .. }) || a.changes_members();
        let md = needs(of_arrays);
        let xfs = needs(|a| matches!(a, Action::MakeFilesystem { format: Format::Xfs, .. }));
        let ext4 = needs(|a| matches!(a, Action::MakeFilesystem { format: Format::Ext4, .. }));
        let luks = needs(|a| matches!(a, Action::Encrypt { .. } | Action::Seal { .. } | Action::Open { .. }));
        let tpm = needs(|a| matches!(a, Action::Encrypt { by: Encrypt::Tpm, .. } | Action::Seal { .. }));
        let tools = Tools {
            mdadm: find(md, "mdadm", "--version", &[4, 4]),
            cryptsetup: find(luks, "cryptsetup", "--version", &[2, 7]),
            cryptenroll: find(tpm, "systemd-cryptenroll", "--version", &[257]),
            mkfs_xfs: find(xfs, "mkfs.xfs", "-V", &[6, 13]),
            mkfs_ext4: find(ext4, "mkfs.ext4", "-V", &[1, 47]),
        };
        if errors.is_empty() { Ok(tools) } else { Err(errors) }
    }

    pub(super) fn mdadm(&self) -> anyhow::Result<&Tool> {
        self.mdadm.as_ref().ok_or_else(|| anyhow::anyhow!("mdadm was not looked for"))
    }

    pub(super) fn cryptsetup(&self) -> anyhow::Result<&Tool> {
        self.cryptsetup.as_ref().ok_or_else(|| anyhow::anyhow!("cryptsetup was not looked for"))
    }

    pub(super) fn cryptenroll(&self) -> anyhow::Result<&Tool> {
        self.cryptenroll.as_ref().ok_or_else(|| anyhow::anyhow!("systemd-cryptenroll was not looked for"))
    }

    pub(super) fn mkfs(&self, format: machine_config::schema::Format) -> anyhow::Result<&Tool> {
        let tool = match format {
            machine_config::schema::Format::Xfs => &self.mkfs_xfs,
            machine_config::schema::Format::Ext4 => &self.mkfs_ext4,
        };
        tool.as_ref().ok_or_else(|| anyhow::anyhow!("mkfs was not looked for"))
    }
}

fn limit() -> Duration {
    let told = std::env::var(LIMIT_VARIABLE).ok().and_then(|seconds| seconds.parse().ok());
    told.map_or(LIMIT, Duration::from_secs)
}
