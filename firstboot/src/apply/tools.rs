//! The programs that apply drives, found and asked for their versions before anything is written.

use crate::tool_limit::tool_limit;
use run_tool::{Tool, ToolError};
use std::path::Path;
use storage_plan::layer::lvm::Shape;
use storage_plan::{Action, Plan};

/// mdadm, cryptsetup, systemd-cryptenroll, lvm, mkfs.xfs and mkfs.ext4, as far as a plan needs them.
#[derive(Debug, Default)]
pub struct Tools {
    mdadm: Option<Tool>,
    cryptsetup: Option<Tool>,
    cryptenroll: Option<Tool>,
    lvm: Option<Tool>,
    mkfs_xfs: Option<Tool>,
    mkfs_ext4: Option<Tool>,
    grow_xfs: Option<Tool>,
    grow_ext4: Option<Tool>,
}

const FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/bin"];

impl Tools {
    /// Finds what `plan` needs.
    ///
    /// # Errors
    /// Every tool that is missing or too old, at once.
    pub fn find(plan: &Plan) -> Result<Tools, Vec<ToolError>> {
        use machine_config::schema::{Encrypt, Format};
        let needs = |want: fn(&Action) -> bool| plan.graph.steps.iter().any(|s| want(&s.action));
        let limit = tool_limit();
        let mut errors = Vec::new();
        let mut find = |needed: bool, name: &str, version: Option<(&str, &[u32])>| {
            let found = needed.then(|| {
                let folders = FOLDERS.map(Path::new);
                let tool = Tool::find(name, &folders)?.within(limit);
                if let Some((argument, least)) = version {
                    tool.require_version(argument, least)?;
                }
                Ok(tool)
            });
            found.transpose().unwrap_or_else(|error| {
                errors.push(error);
                None
            })
        };
        let of_arrays =
            |a: &Action| matches!(a, Action::CreateArray { .. } | Action::AssembleArray { .. }) || a.changes_array();
        let md = needs(of_arrays);
        let xfs = needs(|a| matches!(a, Action::MakeFilesystem { format: Format::Xfs, .. }));
        let ext4 = needs(|a| matches!(a, Action::MakeFilesystem { format: Format::Ext4, .. }));
        let luks = needs(|a| matches!(a, Action::Encrypt { .. } | Action::Seal { .. } | Action::Open { .. }));
        let tpm = needs(|a| matches!(a, Action::Encrypt { by: Encrypt::Tpm, .. } | Action::Seal { .. }));
        let of_groups = |a: &Action| {
            let of_volume = matches!(a, Action::CreateLogical { .. } | Action::FinishLogical { .. });
            of_volume || matches!(a, Action::CreateGroup { .. } | Action::GrowLogical { .. } | Action::Activate { .. })
        };
        let groups = needs(of_groups);
        // LVM has it look at a pool whenever that is activated.
        let thin = needs(|a| matches!(a, Action::CreateLogical { shape: Shape::Pool(_), .. }));
        find(thin, "thin_check", Some(("-V", &[0, 9])));
        let grows = |a: &Action| match a {
            Action::GrowLogical { holds, .. } => holds.as_ref().map(|(format, _)| *format),
            Action::GrowFilesystem { format, .. } => Some(*format),
            _ => None,
        };
        let grown: Vec<Format> = plan.graph.steps.iter().filter_map(|s| grows(&s.action)).collect();
        let tools = Tools {
            mdadm: find(md, "mdadm", Some(("--version", &[4, 4]))),
            cryptsetup: find(luks, "cryptsetup", Some(("--version", &[2, 7]))),
            cryptenroll: find(tpm, "systemd-cryptenroll", Some(("--version", &[257]))),
            lvm: find(groups, "lvm", Some(("version", &[2, 3, 16]))),
            mkfs_xfs: find(xfs, "mkfs.xfs", Some(("-V", &[6, 13]))),
            mkfs_ext4: find(ext4, "mkfs.ext4", Some(("-V", &[1, 47]))),
            grow_xfs: find(grown.contains(&Format::Xfs), "xfs_growfs", Some(("-V", &[6, 13]))),
            // It tells its version in its usage alone, and comes with mkfs.ext4.
            grow_ext4: find(grown.contains(&Format::Ext4), "resize2fs", None),
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

    pub(super) fn lvm(&self) -> anyhow::Result<&Tool> {
        self.lvm.as_ref().ok_or_else(|| anyhow::anyhow!("lvm was not looked for"))
    }

    /// What makes a mounted file system as large as its place.
    pub(super) fn grow(&self, format: machine_config::schema::Format) -> anyhow::Result<&Tool> {
        let tool = match format {
            machine_config::schema::Format::Xfs => &self.grow_xfs,
            machine_config::schema::Format::Ext4 => &self.grow_ext4,
        };
        tool.as_ref().ok_or_else(|| anyhow::anyhow!("what grows a file system was not looked for"))
    }

    pub(super) fn mkfs(&self, format: machine_config::schema::Format) -> anyhow::Result<&Tool> {
        let tool = match format {
            machine_config::schema::Format::Xfs => &self.mkfs_xfs,
            machine_config::schema::Format::Ext4 => &self.mkfs_ext4,
        };
        tool.as_ref().ok_or_else(|| anyhow::anyhow!("mkfs was not looked for"))
    }
}
