//! What depmod(8) computes of the kernel's modules: dependencies, aliases, symbols, as text and as the
//! indexes that libkmod reads.
//!
//! The tools tree's own depmod runs over the modules in a work folder, as a stage of its own: one kernel and
//! one set of modules is computed once.
#![allow(clippy::disallowed_methods, reason = "edge: writes the stage's work folder")]

use super::put;
use crate::compose::tree::{Content, Kind, Tree, TreePath};
use crate::digest::Sha256;
use crate::stage::StageKey;
use crate::store::Store;
use crate::tools::Tools;
use anyhow::{Context, Result};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

const REVISION: u32 = 1;
pub(super) const MODULES: &str = "/usr/lib/modules";

/// Adds the `modules.*` files of every kernel in the tree.
///
/// # Errors
/// When depmod fails or is not among the tools.
pub fn apply(tree: &mut Tree, store: &Store, tools: &Tools) -> Result<()> {
    let below = MODULES.len() + 1;
    let kernels: BTreeSet<String> = tree
        .below(MODULES)
        .filter_map(|(at, _)| at.as_str().get(below..)?.split('/').next().map(str::to_owned))
        .collect();
    for kernel in kernels {
        let folder = format!("{MODULES}/{kernel}");
        let files: Vec<(TreePath, Content)> = tree
            .below(&folder)
            .filter_map(|(at, entry)| match &entry.kind {
                Kind::File(content) => Some((at.clone(), content.clone())),
                _ => None,
            })
            .collect();
        // One without modules has a list of what is built in, which modprobe(8) asks for, too.
        if !files.iter().any(|(at, _)| at.name().contains(".ko") || at.name() == "modules.builtin") {
            continue;
        }
        let listed: String = files.iter().map(|(at, content)| format!("{at} {}\n", content.digest())).collect();
        let key = StageKey::new("depmod", REVISION)
            .with("kernel", &kernel)
            .with("modules", Sha256::of(listed))
            .with("tools", tools.digest());
        let made = store.output(&key, |output| run(output, &kernel, &files, tools))?;
        let mut names: Vec<String> = Vec::new();
        for entry in std::fs::read_dir(made.folder())? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        for name in names {
            let content = Content::of_file(&made.file(&name))?;
            put(tree, &format!("{folder}/{name}"), Kind::File(content), 0o644, "depmod")?;
        }
    }
    Ok(())
}

fn run(output: &Path, kernel: &str, files: &[(TreePath, Content)], tools: &Tools) -> Result<()> {
    let depmod = tools.tool("depmod")?;
    let root = output.join("work");
    files.par_iter().try_for_each(|(at, content)| {
        let to = root.join(at.as_str().trim_start_matches('/'));
        let failed = || format!("can't write {}", to.display());
        std::fs::create_dir_all(to.parent().unwrap_or(&root)).with_context(failed)?;
        let mut file = File::create(&to).with_context(failed)?;
        std::io::copy(&mut content.reader()?, &mut file).with_context(failed).map(drop)
    })?;
    // Whichever of the two the tool was built for.
    std::os::unix::fs::symlink("usr/lib", root.join("lib"))?;
    depmod.command().arg("-b").arg(&root).arg(kernel).run()?;
    let had: BTreeSet<&str> = files.iter().map(|(at, _)| at.name()).collect();
    for entry in std::fs::read_dir(root.join("usr/lib/modules").join(kernel))? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_file() && !had.contains(&*name.to_string_lossy()) {
            std::fs::rename(entry.path(), output.join(&name))?;
        }
    }
    std::fs::remove_dir_all(&root)?;
    Ok(())
}
