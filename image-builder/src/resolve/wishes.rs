//! What a recipe wants of its suites: the request for the root and the one for the tools tree.

use super::relation::Term;
use super::solve::Request;
use crate::recipe::Recipe;
use anyhow::{Context, Result, anyhow};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The packages of the tools tree, as they ship with the builder.
const TOOLS: &str = include_str!("../../tools.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnTools {
    install: Vec<String>,
    provided: Vec<String>,
}

/// The packages of the root: the recipe's, its kernel's and its components'. `tools_only` says of each suite
/// whether it is kept from the root.
///
/// # Errors
/// When a name is no package name.
pub fn root(recipe: &Recipe, tools_only: &[bool]) -> Result<Request> {
    let components = recipe
        .component
        .iter()
        .flat_map(|(name, c)| c.packages.iter().map(move |p| (p.as_str(), format!("component {name}"))));
    let install = recipe
        .packages
        .install
        .iter()
        .chain([&recipe.kernel.package])
        .map(|p| (p.as_str(), "the recipe".to_owned()))
        .chain(components)
        .map(term)
        .collect::<Result<_>>()?;
    Ok(Request {
        install,
        provided: recipe.packages.provided.iter().cloned().collect(),
        preference: tools_only.iter().enumerate().filter(|(_, only)| !**only).map(|(suite, _)| (suite, 0)).collect(),
    })
}

/// The packages of the tools tree: the builder's own and the recipe's. A suite for tools only is used for what
/// no other suite has.
///
/// # Errors
/// When a name is no package name.
pub fn tools(recipe: &Recipe, tools_only: &[bool]) -> Result<Request> {
    let own: OwnTools = toml::from_str(TOOLS).context("the builder's own list of tools can't be read")?;
    let install = own
        .install
        .iter()
        .map(|p| (p.as_str(), "the builder".to_owned()))
        .chain(recipe.tools.install.iter().map(|p| (p.as_str(), "the recipe".to_owned())))
        .map(term)
        .collect::<Result<_>>()?;
    let preference: BTreeMap<usize, i32> =
        tools_only.iter().enumerate().map(|(suite, only)| (suite, if *only { -1 } else { 0 })).collect();
    Ok(Request { install, provided: own.provided.into_iter().collect(), preference })
}

fn term((package, who): (&str, String)) -> Result<(Term, String)> {
    Term::parse(package)
        .map(|term| (term, who.clone()))
        .map_err(|why| anyhow!("{who} wants a package that can't be: {why}"))
}
