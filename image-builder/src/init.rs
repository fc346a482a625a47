//! `bedplate init`: a folder to begin with, from which a first image can be built as it is.
//!
//! Recipe, site file and overlays are those of the repository's example, brought into the program by `build.rs`;
//! only what can't be the same for two sites is another: keys, the cluster's id, and where the overlays lie.
//!
//! Guarantees: nothing is overwritten; the folder appears under its name complete, or not at all.
#![allow(clippy::disallowed_methods, reason = "edge: writes the new folder")]

use crate::sign::keys;
use anyhow::{Context, Result, bail, ensure};
use std::fs::{File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use uuid::Uuid;

include!(concat!(env!("OUT_DIR"), "/example.rs"));

/// A file or link of an overlay.
#[derive(Debug, Clone, Copy)]
enum Laid {
    /// Bytes and mode.
    File(&'static [u8], u32),
    /// Target.
    Link(&'static str),
}

/// Where the example's recipe finds the overlays, and where a site's does.
const OVERLAYS_OF_EXAMPLE: &str = "\"../../overlays/";
const OVERLAYS_OF_SITE: &str = "\"overlays/";
/// Where the example has the agent compiled from: a site has the programs that came with the builder.
const AGENT_OF_EXAMPLE: &str =
    "# The agent, compiled by a locked compiler from locked crates: the same bytes on any host.
[agent]
source = \"../..\"

";

const SITE_HEAD: &str = "\
# What the machines of this site are. There is no secret in this file: it may lie in git.
#
#     bedplate config check site.toml
#
# The id below was made for this site. It is part of the identity of every disk that a node provisions: never change
# it, and never give it to a second cluster.
#
# The machine is the one of the quick start, to be replaced by yours. A node that finds no machine of its own here
# shows its serial numbers and disks, and waits.
";

const IGNORED: &str = "\
# Private keys, machines' secrets and what is built stay out of the repository. The lock belongs in it.
/keys/*.key
*.credentials.toml
*.bundle.toml
/out/
";

/// Makes `folder`, which must not exist or be empty.
///
/// # Errors
/// When there is something already, or it can't be written; nothing is left behind then.
pub fn init(folder: &Path) -> Result<()> {
    let refuse = || format!("{} exists; nothing is overwritten, so choose another folder", folder.display());
    match std::fs::read_dir(folder) {
        Ok(entries) => ensure!(entries.count() == 0, refuse()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(_) => bail!(refuse()),
    }
    let parent = match folder.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let failed = || format!("can't make {}", folder.display());
    std::fs::create_dir_all(parent).with_context(failed)?;
    let aside = tempfile::Builder::new().prefix(".bedplate-init-").tempdir_in(parent).with_context(failed)?;
    std::fs::set_permissions(aside.path(), Permissions::from_mode(0o755)).with_context(failed)?;
    fill(aside.path(), &Uuid::new_v4()).with_context(failed)?;
    // rename(2) takes the place of an empty folder and of nothing else.
    std::fs::rename(aside.path(), folder).with_context(refuse)?;
    // Its place is taken over: nothing is left to clean up.
    let _ = aside.keep();
    File::open(parent).and_then(|f| f.sync_all()).with_context(failed)
}

fn fill(folder: &Path, cluster: &Uuid) -> Result<()> {
    let put = |name: &str, bytes: &[u8], mode: u32| -> Result<()> {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(folder))?;
        std::fs::write(&path, bytes)?;
        Ok(std::fs::set_permissions(&path, Permissions::from_mode(mode))?)
    };
    put("recipe.toml", recipe().as_bytes(), 0o644)?;
    put("site.toml", site(cluster)?.as_bytes(), 0o644)?;
    put(".gitignore", IGNORED.as_bytes(), 0o644)?;
    for (name, laid) in OVERLAYS {
        match laid {
            Laid::File(bytes, mode) => put(name, bytes, *mode)?,
            Laid::Link(target) => {
                let path = folder.join(name);
                std::fs::create_dir_all(path.parent().unwrap_or(folder))?;
                symlink(target, path)?;
            }
        }
    }
    keys::new(&folder.join("keys"))
}

/// The example's recipe, with the overlays beside it.
fn recipe() -> String {
    RECIPE.replace(OVERLAYS_OF_EXAMPLE, OVERLAYS_OF_SITE).replace(AGENT_OF_EXAMPLE, "")
}

/// The example's site file under an id of its own.
fn site(cluster: &Uuid) -> Result<String> {
    let body = SITE.find("format = 1").map(|at| &SITE[at..]).context("the example's site file has no format")?;
    let ids: Vec<&str> = body.lines().filter(|line| line.starts_with("id = ")).collect();
    let [id] = ids[..] else { bail!("the example's site file has {} ids", ids.len()) };
    Ok(format!("{SITE_HEAD}\n{}", body.replacen(id, &format!("id = \"{cluster}\""), 1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;
    use crate::resolve::local;
    use machine_config::check;
    use std::path::PathBuf;

    fn example(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
    }

    /// A lock is a function of these: what a new site locks is what the example locks.
    #[test]
    fn its_inputs_are_the_examples() {
        let folder = tempfile::tempdir().unwrap();
        let (site, agent) = (folder.path().join("deep/site"), folder.path().join("agent"));
        init(&site).unwrap();
        std::fs::create_dir(&agent).unwrap();
        for name in local::AGENT {
            std::fs::write(agent.join(name), name).unwrap();
        }
        let inputs = |recipe: &Path| {
            let read = Recipe::read(recipe).unwrap();
            let local = local::digests(&read, recipe.parent().unwrap(), &agent).unwrap();
            (read.lock_digest(), local, read.keys.folder)
        };
        let own = inputs(&site.join("recipe.toml"));
        assert_eq!(own, inputs(&example("node/recipe.toml")));
        assert!(own.1.len() > 100 && own.1.keys().any(|name| name.starts_with("overlay/lockdown/")), "{:?}", own.1);
        let text = std::fs::read_to_string(site.join("recipe.toml")).unwrap();
        assert!(!text.contains(".."), "nothing lies outside of the folder: {text}");
    }

    #[test]
    fn its_site_file_is_good_and_of_a_cluster_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let ids = ["a", "b"].map(|name| {
            let site = folder.path().join(name);
            init(&site).unwrap();
            let text = std::fs::read_to_string(site.join("site.toml")).unwrap();
            let example = std::fs::read_to_string(example("site/one-node.toml")).unwrap();
            // But for the head and the id it is the example, comments too.
            let body = |text: &str| text[text.find("format = 1").unwrap()..].to_owned();
            let differing = |(a, b): &(&str, &str)| a != b;
            let (text_body, example) = (body(&text), body(&example));
            assert_eq!(text_body.lines().zip(example.lines()).filter(differing).count(), 1, "{text}");
            assert_eq!(check::file(&text, "site.toml", None), []);
            text_body.lines().find(|line| line.starts_with("id = ")).unwrap().to_owned()
        });
        assert_ne!(ids[0], ids[1]);
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let site = folder.path().join("site");
        std::fs::create_dir(&site).unwrap();
        init(&site).unwrap();
        assert_eq!(std::fs::metadata(&site).unwrap().permissions().mode() & 0o777, 0o755);
        let key = |name: &str| std::fs::read(site.join("keys").join(name)).unwrap();
        let before = key("db.key");
        std::fs::remove_file(site.join("site.toml")).unwrap();
        let error = init(&site).unwrap_err().to_string();
        assert!(error.contains("exists; nothing is overwritten"), "{error}");
        assert!(key("db.key") == before && !site.join("site.toml").exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let file = folder.path().join("file");
        std::fs::write(&file, "mine").unwrap();
        init(&file).unwrap_err();
        assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    }

    #[test]
    fn private_keys_stay_out_of_git() {
        let folder = tempfile::tempdir().unwrap();
        let site = folder.path().join("site");
        init(&site).unwrap();
        assert!(std::fs::read_to_string(site.join(".gitignore")).unwrap().contains("\n/keys/*.key\n"));
        let private = |entry: std::io::Result<std::fs::DirEntry>| {
            std::fs::read(entry.unwrap().path()).unwrap().starts_with(b"-----BEGIN PRIVATE KEY")
        };
        assert_eq!(std::fs::read_dir(site.join("keys")).unwrap().map(private).filter(|p| *p).count(), 6);
    }
}
