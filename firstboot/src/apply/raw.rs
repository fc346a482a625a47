//! Raw volumes: block devices for programs that keep their own on them, found by a path.
//!
//! Guarantees: what is finished is never written to here, whatever it holds.
#![allow(clippy::disallowed_methods, reason = "edge: makes and removes links below /dev/bedplate")]

use super::locked_device;
use crate::observe;
use anyhow::{Context, bail};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Zeroes both ends of a device of ours that is being provisioned, so that nothing is recognised there.
///
/// # Errors
/// When something is recognised there already, or the device fails.
pub(super) fn clear(node: &Path) -> anyhow::Result<()> {
    let nothing = || -> anyhow::Result<()> {
        match &observe::signatures(node)?[..] {
            [] => Ok(()),
            [found, ..] => bail!("{} holds {}, which this node did not make", node.display(), found.words()),
        }
    };
    nothing()?;
    locked_device::wipe(node)?;
    nothing()
}

/// Lets the path `at` lead to `node`; one that led elsewhere is replaced at once.
pub(super) fn link(node: &Path, at: &str) -> anyhow::Result<()> {
    let at = Path::new(at);
    let folder = at.parent().with_context(|| format!("{} is no path for a device", at.display()))?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    if at.symlink_metadata().is_ok_and(|there| !there.is_symlink()) {
        bail!("{} is there, and no link that this node made", at.display());
    }
    let new = at.with_added_extension("new");
    let _ = fs::remove_file(&new);
    let made = symlink(node, &new).and_then(|()| fs::rename(&new, at));
    made.with_context(|| format!("cannot let {} lead to {}", at.display(), node.display()))
}

/// Takes away paths that lead to raw volumes no more, and all that lead nowhere.
///
/// # Errors
/// When one can't be removed.
pub fn unlink(wrong: &[String]) -> anyhow::Result<()> {
    for at in observe::dangling_links()?.iter().chain(wrong) {
        if let Err(e) = fs::remove_file(at)
            && e.kind() != io::ErrorKind::NotFound
        {
            return Err(e).with_context(|| format!("cannot take away {at}, which leads to no volume any more"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_the_last_device_and_replaces_nothing_but_links() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        for node in ["/dev/null", "/dev/zero"] {
            link(Path::new(node), &at("object/A1")).unwrap();
            assert_eq!(fs::read_link(at("object/A1")).unwrap(), Path::new(node));
        }
        assert_eq!(fs::read_dir(at("object")).unwrap().count(), 1);
        fs::write(at("file"), "somebody's").unwrap();
        assert!(link(Path::new("/dev/null"), &at("file")).unwrap_err().to_string().contains("is there"));
        assert_eq!(fs::read_to_string(at("file")).unwrap(), "somebody's");
    }
}
