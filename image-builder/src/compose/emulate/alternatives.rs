//! The links of update-alternatives(1), from the calls in reviewed scripts.
//!
//! Each name has the choice of highest priority (of equal ones the first); choices and slaves whose file the
//! tree does not have are passed over, as the program does.

use super::{path, put_link};
use crate::compose::tree::Tree;
use anyhow::{Result, bail};
use std::collections::BTreeMap;

/// One `--install` of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Choice {
    link: String,
    name: String,
    target: String,
    priority: i32,
    /// Link, name, target.
    slaves: Vec<[String; 3]>,
}

/// Makes the links of all calls in these scripts: (package, text).
///
/// # Errors
/// When a call is not plain text, naming package and call.
pub fn apply<'a>(tree: &mut Tree, scripts: impl Iterator<Item = (&'a str, &'a str)>) -> Result<()> {
    let mut best: BTreeMap<String, Choice> = BTreeMap::new();
    for (package, text) in scripts {
        for choice in calls(package, text)? {
            if tree.resolve(&path(&choice.target)?).is_none() {
                continue;
            }
            match best.get(&choice.name) {
                Some(other) if other.priority >= choice.priority => {}
                _ => drop(best.insert(choice.name.clone(), choice)),
            }
        }
    }
    for Choice { link, name, target, slaves, .. } in best.into_values() {
        connect(tree, &link, &name, &target)?;
        for [link, name, target] in slaves {
            if tree.resolve(&path(&target)?).is_some() {
                connect(tree, &link, &name, &target)?;
            }
        }
    }
    Ok(())
}

fn connect(tree: &mut Tree, link: &str, name: &str, target: &str) -> Result<()> {
    let by = "alternatives";
    put_link(tree, &format!("/etc/alternatives/{name}"), target, by)?;
    let link = super::usrmerge::merged(&path(link)?);
    put_link(tree, link.as_str(), &format!("/etc/alternatives/{name}"), by)
}

fn calls(package: &str, text: &str) -> Result<Vec<Choice>> {
    let text = text.replace("\\\n", " ");
    let mut found = Vec::new();
    for line in text.lines().filter(|l| !l.trim_start().starts_with('#')) {
        let Some((_, call)) = line.split_once("update-alternatives") else { continue };
        let call = call.split("||").next().unwrap_or(call);
        let words: Vec<&str> = call.split_whitespace().collect();
        if words.first() != Some(&"--install") {
            continue;
        }
        let not_plain = words.iter().any(|w| w.contains(['$', '`', '"', '\'', ';', '&', '|']));
        let [_, link, name, target, priority, slaves @ ..] = words.as_slice() else {
            bail!("the call of update-alternatives{call} in a script of {package} is too short");
        };
        let Ok(priority) = priority.parse() else {
            bail!("the call of update-alternatives{call} in a script of {package} has no number as its priority");
        };
        let whole = slaves.chunks(4).all(|s| s.len() == 4 && s[0] == "--slave");
        if not_plain || !whole {
            bail!("the call of update-alternatives{call} in a script of {package} is not plain text");
        }
        found.push(Choice {
            link: (*link).into(),
            name: (*name).into(),
            target: (*target).into(),
            priority,
            slaves: slaves.chunks(4).map(|s| [s[1].into(), s[2].into(), s[3].into()]).collect(),
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{link, tree};
    use super::*;

    const SCRIPT: &str = "#!/bin/sh\n# update-alternatives --install $nonsense\n\
        update-alternatives \\\n  --install /usr/sbin/t t /usr/sbin/t-legacy 10 \\\n  --slave /usr/sbin/ts ts /usr/sbin/ts-legacy\n\
        \tupdate-alternatives --install /usr/sbin/t t /usr/sbin/t-nft 20 --slave /usr/sbin/ts ts /usr/sbin/ts-nft --slave /man man /gone || true\n\
        update-alternatives --install /bin/x x /usr/bin/gone 99\nupdate-alternatives --remove x /x\n";

    #[test]
    fn the_highest_priority_that_is_there_wins() {
        let mut tree = tree(&[("/usr/sbin/t-legacy", ""), ("/usr/sbin/t-nft", ""), ("/usr/sbin/ts-nft", "")]);
        apply(&mut tree, [("p", SCRIPT)].into_iter()).unwrap();
        assert_eq!(link(&tree, "/usr/sbin/t").as_deref(), Some("/etc/alternatives/t"));
        assert_eq!(link(&tree, "/etc/alternatives/t").as_deref(), Some("/usr/sbin/t-nft"));
        assert_eq!(link(&tree, "/etc/alternatives/ts").as_deref(), Some("/usr/sbin/ts-nft"));
        assert_eq!((link(&tree, "/man"), link(&tree, "/usr/bin/x")), (None, None));
    }

    #[test]
    fn a_call_with_variables_is_refused() {
        let error = calls("p", "update-alternatives --install $a b /c 1\n").unwrap_err().to_string();
        assert!(error.contains("script of p") && error.contains("plain text"), "{error}");
    }
}
