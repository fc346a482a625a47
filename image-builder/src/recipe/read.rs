//! Text to recipe.

use super::Recipe;
use crate::digest::Sha256;
use anyhow::{Context, Result, anyhow};
use std::path::Path;

impl Recipe {
    /// Reads and checks a recipe file.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with file, line and column.
    pub fn read(path: &Path) -> Result<Recipe> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("can't read the recipe {file}; name another with --recipe"))?;
        toml::from_str(&text).map_err(|e| anyhow!("{file}: {e}"))
    }

    /// Digest of what decides the lock: a recipe that differs only in the rest (command line, keys, sizes of
    /// outputs, where archives are served) keeps its lock.
    pub fn lock_digest(&self) -> Sha256 {
        let archives: Vec<_> =
            self.archive.iter().map(|(name, a)| (name, &a.suites, &a.components, a.tools_only)).collect();
        let decides = (
            self.image.arch,
            archives,
            (&self.packages.install, &self.packages.provided, &self.kernel.package),
            &self.component,
            &self.overlay,
            &self.tools,
            &self.script,
        );
        // JSON of plain data can't fail; were it to, the digest of the message would still differ from any other.
        Sha256::of(serde_json::to_string(&decides).unwrap_or_else(|e| e.to_string()))
    }
}
