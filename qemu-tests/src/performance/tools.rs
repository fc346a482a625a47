//! Tools that only a measurement uses: a tree of their own, locked and fetched like any other.
#![allow(clippy::disallowed_methods, reason = "edge: writes the recipe of the tools")]

use super::builds::Builder;
use super::measured;
use anyhow::{Context, Result};
use image_builder::progress::Progress;
use image_builder::recipe::{Recipe, Tools as Asked};
use image_builder::store::Store;
use image_builder::tools::Tools;
use std::fs;
use std::path::Path;

/// Their recipe, seen from the folder that they are opened for; its lock lies beside it.
pub(super) const RECIPE: &str = "tools/recipe.toml";

/// The example's recipe with these tools, and without anything that is not locked by packages.
pub(super) fn recipe(example: &Recipe, install: &[&str], provided: &[&str]) -> Recipe {
    let mut recipe = example.clone();
    recipe.component.clear();
    recipe.overlay.clear();
    let [install, provided] = [install, provided].map(|names| names.iter().map(|n| (*n).to_owned()).collect());
    recipe.tools = Asked { install, provided };
    recipe
}

/// The tools of such a recipe. What they are locked by lies in `folder`.
///
/// # Errors
/// When they can't be locked or fetched.
pub(super) fn open(
    builder: &Builder,
    recipe: &Recipe,
    folder: &Path,
    store: &Store,
    progress: &Progress,
) -> Result<Tools> {
    fs::create_dir(folder.join("tools"))?;
    let file = folder.join(RECIPE);
    fs::write(&file, toml::to_string(recipe).context("the recipe of the tools can't be written")?)?;
    let arguments = ["lock".as_ref(), "--recipe".as_ref(), file.as_os_str()];
    measured::run(&builder.bedplate, &builder.agent, &arguments)?;
    Tools::of_recipe(&file, store, progress)
}
