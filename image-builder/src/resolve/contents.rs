//! What the lock takes from inside packages and overlays: where users and groups come from, and maintainer
//! scripts.

use super::ids::Sources;
use super::script_gate::{Before, PackageScripts, Table, Unreviewed, UnreviewedScript, normal_name, normal_text};
use crate::compose::deb::{Deb, MemberKind};
use crate::compose::overlay::Overlay;
use crate::compose::tree::Kind;
use crate::lock::{Lock, Package, Script};
use crate::recipe::Recipe;
use anyhow::{Context, Result};
use std::path::Path;

const PASSWD: &str = "/usr/share/base-passwd/passwd.master";
const GROUP: &str = "/usr/share/base-passwd/group.master";
const SYSUSERS: [&str; 2] = ["/etc/sysusers.d/", "/usr/lib/sysusers.d/"];

/// Whether users or groups come from a file of this path.
pub(super) fn names_users(path: &str) -> bool {
    SYSUSERS.iter().any(|folder| path.strip_prefix(folder).is_some_and(|n| n.ends_with(".conf") && !n.contains('/')))
}

/// Where users and groups come from, in these packages and in the recipe's overlays. `folder` is the recipe's.
pub(super) fn sources(packages: &[(Package, Deb)], recipe: &Recipe, folder: &Path) -> Result<Sources> {
    let mut sources = Sources::default();
    for (package, deb) in packages {
        for member in deb.members() {
            // A package that is not merged-/usr yet may still say /lib.
            let path = match member.path.strip_prefix("/lib/") {
                Some(rest) => format!("/usr/lib/{rest}"),
                None => member.path.clone(),
            };
            let wanted = path == PASSWD || path == GROUP || names_users(&path);
            let MemberKind::File(offset, size, digest) = member.kind else { continue };
            if !wanted {
                continue;
            }
            let text = text(&deb.content(offset, size, digest).read()?)
                .with_context(|| format!("{path} of package {}", package.name))?;
            match path.as_str() {
                PASSWD => sources.passwd = text,
                GROUP => sources.group = text,
                _ => sources.sysusers.push((path, text)),
            }
        }
    }
    for named in &recipe.overlay {
        for (path, entry) in Overlay::at(&folder.join(named)).layer()?.entries {
            if let (Kind::File(content), true) = (&entry.kind, names_users(path.as_str())) {
                let path = path.as_str().to_owned();
                let text = text(&content.read()?).with_context(|| format!("{path} of {}", entry.origin))?;
                // A later input's file of the same path replaces an earlier one's, as in the tree.
                sources.sysusers.retain(|(known, _)| *known != path);
                sources.sysusers.push((path, text));
            }
        }
    }
    sources.sysusers.sort();
    Ok(sources)
}

/// The reviewed verdict on every maintainer script of these packages. An error shows what differs from the scripts of
/// the former lock, whose packages `open` brings, as far as it can.
pub(super) fn scripts(
    packages: &[(Package, Deb)],
    recipe: &Recipe,
    former: Option<&Lock>,
    open: impl Fn(&Package) -> Option<Deb>,
) -> Result<Vec<Script>> {
    let scripts: Vec<PackageScripts<'_>> = packages
        .iter()
        .map(|(package, deb)| PackageScripts { name: &package.name, version: &package.version, scripts: deb.scripts() })
        .collect();
    let checked: Result<Vec<Script>, Unreviewed> = Table::new(&recipe.script)?.check(&scripts);
    Ok(checked.map_err(|Unreviewed(mut scripts)| {
        for script in &mut scripts {
            script.before = former.and_then(|lock| before(script, lock, &open));
        }
        Unreviewed(scripts)
    })?)
}

/// The script that the former lock has in place of this one; none if it had none.
fn before(script: &UnreviewedScript, former: &Lock, open: &impl Fn(&Package) -> Option<Deb>) -> Option<Before> {
    let is_it = |s: &&Script| normal_name(&s.package) == script.package && s.script == script.script;
    let reviewed = former.script.iter().find(is_it)?;
    let package = former.package.iter().find(|p| p.name == reviewed.package)?;
    let names: Vec<&str> = former.package.iter().map(|p| p.name.as_str()).collect();
    let text = open(package).and_then(|deb| {
        let text = deb.scripts().get(&script.script)?;
        Some(normal_text(&script.script, text, &package.version, &names))
    });
    Some(Before { version: package.version.clone(), text })
}

fn text(bytes: &[u8]) -> Result<String> {
    Ok(std::str::from_utf8(bytes).context("it is not text in UTF-8")?.to_owned())
}
