//! Whose image this is, and whose machine it is not: os-release(5), machine-id(5), localtime(5).
//!
//! `/etc/machine-id` is an empty file, over which stage 1 binds the machine's own. The time zone is UTC.

use super::{put_file, put_link, text};
use crate::compose::tree::Tree;
use crate::recipe::Image;
use anyhow::Result;

/// Writes the three.
///
/// # Errors
/// When os-release can't be read.
pub fn apply(tree: &mut Tree, image: &Image) -> Result<()> {
    if let Some(release) = text(tree, "/usr/lib/os-release")? {
        put_file(tree, "/usr/lib/os-release", os_release(&release, image), 0o644, "identity")?;
    }
    put_file(tree, "/etc/machine-id", "", 0o444, "machine-id")?;
    if tree.file("/usr/share/zoneinfo/Etc/UTC").is_some() {
        put_link(tree, "/etc/localtime", "/usr/share/zoneinfo/Etc/UTC", "localtime")?;
    }
    Ok(())
}

fn os_release(release: &str, image: &Image) -> String {
    let kept = release.lines().filter(|l| !l.starts_with("IMAGE_ID=") && !l.starts_with("IMAGE_VERSION="));
    let mut out: String = kept.flat_map(|l| [l, "\n"]).collect();
    out.push_str(&format!("IMAGE_ID={}\nIMAGE_VERSION={}\n", quoted(&image.name), quoted(&image.version)));
    out
}

/// A value as os-release(5) wants it.
fn quoted(value: &str) -> String {
    let escaped: String =
        value.chars().flat_map(|c| "\"\\$`".contains(c).then_some('\\').into_iter().chain([c])).collect();
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_named_once() {
        let image = Image { name: "no\"de".into(), version: "1.0".into(), arch: Default::default() };
        let once = os_release("ID=debian\nIMAGE_ID=old\n", &image);
        assert_eq!(once, "ID=debian\nIMAGE_ID=\"no\\\"de\"\nIMAGE_VERSION=\"1.0\"\n");
        assert_eq!(os_release(&once, &image), once);
    }
}
