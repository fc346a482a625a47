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
    texts: Vec<String>,
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
        Ok(Exclude { globs: set.build()?, texts: globs.to_vec() })
    }

    /// The first glob by which a package's path is left out; none if it stays. A folder that is needed for
    /// something below it comes back as a plain one.
    pub fn excludes(&self, path: &TreePath, kind: &Kind) -> Option<&str> {
        let glob = *self.globs.matches(path.as_str()).first()?;
        if let Some(rest) = path.as_str().strip_prefix("/usr/share/doc/") {
            let licence = rest.split_once('/').is_some_and(|(_, name)| name == "copyright");
            let shared = !rest.contains('/') && matches!(kind, Kind::Symlink(_));
            if licence || shared {
                return None;
            }
        }
        self.texts.get(glob).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_stay_and_the_rest_goes() {
        let exclude = Exclude::new(&["/usr/share/doc/**".into(), "/usr/share/man/*".into()]).unwrap();
        let out = |path: &str, kind: Kind| exclude.excludes(&TreePath::new(path).unwrap(), &kind);
        assert_eq!(out("/usr/share/doc/bash/README", Kind::Fifo), Some("/usr/share/doc/**"));
        assert_eq!(out("/usr/share/doc/bash/examples/copyright", Kind::Fifo), Some("/usr/share/doc/**"));
        assert_eq!(out("/usr/share/doc/bash/copyright", Kind::Fifo), None);
        assert_eq!(out("/usr/share/doc/libc6", Kind::Symlink("libc-bin".into())), None);
        assert_eq!(out("/usr/share/man/man1", Kind::Directory), Some("/usr/share/man/*"));
        assert_eq!(out("/usr/share/man/man1/x", Kind::Fifo), None);
        assert!(Exclude::new(&["[".into()]).unwrap_err().to_string().contains("packages.exclude"));
    }
}
