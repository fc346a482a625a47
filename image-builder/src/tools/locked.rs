//! The tools tree that belongs to a recipe.

use super::Tools;
use crate::fetch;
use crate::lock::Lock;
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::store::Store;
use anyhow::{Context, Result};
use std::path::Path;

impl Tools {
    /// The tools of the lock beside this recipe, brought into the store if they are not there.
    ///
    /// # Errors
    /// When there is no lock, or a package can't be had or unpacked.
    pub fn of_recipe(recipe_file: &Path, store: &Store, progress: &Progress) -> Result<Tools> {
        let recipe = Recipe::read(recipe_file)?;
        let path = Lock::path_for(recipe_file);
        let lock = Lock::read(&path)?.with_context(|| {
            format!("{} is not there, and it says which QEMU to use; make it with `bedplate lock`", path.display())
        })?;
        let folder = recipe_file.parent().unwrap_or(Path::new("."));
        let inputs = fetch::tree(&lock.tool, &recipe, folder, store, progress, false)?;
        Tools::open(store, recipe.image.arch, &inputs, progress)
    }
}
