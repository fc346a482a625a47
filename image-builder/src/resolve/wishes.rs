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
    compile: BTreeMap<String, OwnTree>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnTree {
    install: Vec<String>,
}

/// How a suite stands to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rank {
    /// Kept from the root; in the tools tree it is used for what no other suite has.
    pub tools_only: bool,
    /// Preferred over those with less, whatever the versions.
    pub priority: i16,
}

impl Rank {
    /// The larger, the better.
    pub fn preference(self) -> i32 {
        i32::from(self.priority) - if self.tools_only { 1 << 17 } else { 0 }
    }
}

/// The packages of the root: the recipe's, its kernel's and its components'. `ranks` are those of the suites.
///
/// # Errors
/// When a name is no package name.
pub fn root(recipe: &Recipe, ranks: &[Rank]) -> Result<Request> {
    let components = recipe
        .component
        .iter()
        .flat_map(|(name, c)| c.packages.iter().map(move |p| (p.as_str(), format!("component {name}"))));
    let install = recipe
        .packages
        .install
        .iter()
        .chain(&recipe.kernel.package)
        .map(|p| (p.as_str(), "the recipe".to_owned()))
        .chain(components)
        .map(term)
        .collect::<Result<_>>()?;
    Ok(Request {
        install,
        provided: recipe.packages.provided.iter().cloned().collect(),
        preference: preference(ranks, |rank| !rank.tools_only),
        ..Request::default()
    })
}

/// The packages of the tools tree: the builder's own and the recipe's. What the recipe asks for by name is really
/// there, even where the builder's own tools can do without it.
///
/// # Errors
/// When a name is no package name.
pub fn tools(recipe: &Recipe, ranks: &[Rank]) -> Result<Request> {
    let own = own_tools()?;
    let install: Vec<(Term, String)> = own
        .install
        .iter()
        .map(|p| by_builder(p))
        .chain(recipe.tools.install.iter().map(|p| (p.as_str(), "the recipe".to_owned())))
        .map(term)
        .collect::<Result<_>>()?;
    let own_provided = own.provided.into_iter().filter(|name| !install.iter().any(|(term, _)| term.name == *name));
    let provided = own_provided.chain(recipe.tools.provided.iter().cloned()).collect();
    Ok(Request { install, provided, preference: preference(ranks, |_| true), ..Request::default() })
}

/// The packages of the tree that compiles `thing` (`agent`, `kernel`): the builder's own, and what the recipe has compiled.
///
/// # Errors
/// When the builder has no such tree, or a name is no package name.
pub fn compile(thing: &str, recipe: &Recipe, ranks: &[Rank]) -> Result<Request> {
    let mut own = own_tools()?;
    let tree = own.compile.remove(thing).with_context(|| format!("the builder has no tree that compiles {thing}"))?;
    let source = recipe.kernel.source.iter().filter(|_| thing == crate::kernel::TREE);
    let source = source.map(|package| (package.as_str(), "the recipe".to_owned()));
    Ok(Request {
        install: tree.install.iter().map(|p| by_builder(p)).chain(source).map(term).collect::<Result<_>>()?,
        provided: own.provided.into_iter().collect(),
        preference: preference(ranks, |_| true),
        ..Request::default()
    })
}

fn own_tools() -> Result<OwnTools> {
    toml::from_str(TOOLS).context("the builder's own list of tools can't be read")
}

fn by_builder(package: &str) -> (&str, String) {
    (package, "the builder".to_owned())
}

fn preference(ranks: &[Rank], used: impl Fn(Rank) -> bool) -> BTreeMap<usize, i32> {
    let used = ranks.iter().enumerate().filter(|(_, rank)| used(**rank));
    used.map(|(suite, rank)| (suite, rank.preference())).collect()
}

fn term((package, who): (&str, String)) -> Result<(Term, String)> {
    Term::parse(package)
        .map(|term| (term, who.clone()))
        .map_err(|why| anyhow!("{who} wants a package that can't be: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Tools;

    #[test]
    fn a_tool_that_the_recipe_names_is_not_provided() {
        let own = own_tools().unwrap();
        let example = include_str!("../../../examples/node/recipe.toml");
        let mut recipe = Recipe::parse(example, "recipe.toml", |_| true).unwrap();
        assert!(own.provided.iter().all(|name| tools(&recipe, &[]).unwrap().provided.contains(name)));
        recipe.tools = Tools { install: vec!["dpkg (>= 1)".into(), "ucf".into()], provided: vec!["ucf".into()] };
        let provided = tools(&recipe, &[]).unwrap().provided;
        assert!(!provided.contains("dpkg"), "{provided:?}");
        assert!(provided.contains("ucf"), "the recipe's own word counts");
    }
}
