//! What a recipe leaves out of its packages: documentation, translations and the like.
//!
//! Licence texts (`/usr/share/doc/*/copyright`, and the links between such folders) stay, whatever a glob says.

use super::tree::{Kind, TreePath};
use anyhow::{Context, Result};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// The globs of `packages.exclude`: `*` and `?` stop at a slash, `**` does not.
#[derive(Debug, Clone)]
pub struct Exclude {
    globs: GlobSet,
}

impl Exclude {
    /// Reads the globs.
    ///
    /// # Errors
    /// When one is not a glob, naming it.
    pub fn new(globs: &[String]) -> Result<Exclude> {
        let mut set = GlobSetBuilder::new();
        for glob in globs {
            let wrong = || format!("packages.exclude has {glob:?}, which is no glob");
            set.add(GlobBuilder::new(glob).literal_separator(true).build().with_context(wrong)?);
        }
        Ok(Exclude { globs: set.build()? })
    }

    /// Whether a package's path is left out. A folder that is needed for something below it comes back as a
    /// plain one.
    pub fn excludes(&self, path: &TreePath, kind: &Kind) -> bool {
        if !self.globs.is_match(path.as_str()) {
            return false;
        }
        match path.as_str().strip_prefix("/usr/share/doc/") {
            Some(rest) => {
                let licence = rest.split_once('/').is_some_and(|(_, name)| name == "copyright");
                let shared = !rest.contains('/') && matches!(kind, Kind::Symlink(_));
                !licence && !shared
            }
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_stay_and_the_rest_goes() {
        let exclude = Exclude::new(&["/usr/share/doc/**".into(), "/usr/share/man/*".into()]).unwrap();
        let out = |path: &str, kind: Kind| exclude.excludes(&TreePath::new(path).unwrap(), &kind);
        assert!(out("/usr/share/doc/bash/README", Kind::Fifo));
        assert!(out("/usr/share/doc/bash/examples/copyright", Kind::Fifo));
        assert!(!out("/usr/share/doc/bash/copyright", Kind::Fifo));
        assert!(!out("/usr/share/doc/libc6", Kind::Symlink("libc-bin".into())));
        assert!(out("/usr/share/man/man1", Kind::Directory) && !out("/usr/share/man/man1/x", Kind::Fifo));
        assert!(Exclude::new(&["[".into()]).unwrap_err().to_string().contains("packages.exclude"));
    }
}
