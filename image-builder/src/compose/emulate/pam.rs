//! `/etc/pam.d/common-*`, as pam-auth-update(8) writes them from `/usr/share/pam-configs`.
//!
//! Profiles that are on by default take part, by descending priority, then by name. In `[success=end ...]`,
//! `end` becomes the number of modules left in the block.

use super::{put_file, text};
use crate::compose::tree::Tree;
use anyhow::Result;
use std::collections::BTreeMap;

const STACKS: [&str; 5] = ["account", "auth", "password", "session", "session-noninteractive"];

/// A file of `/usr/share/pam-configs`: fields by lower-case name.
#[derive(Debug, Default)]
struct Profile {
    name: String,
    fields: BTreeMap<String, String>,
}

/// Writes the five stacks where their templates are there.
///
/// # Errors
/// When a profile can't be read.
pub fn apply(tree: &mut Tree) -> Result<()> {
    let paths: Vec<String> = tree.below("/usr/share/pam-configs").map(|(at, _)| at.to_string()).collect();
    let mut profiles = Vec::new();
    for at in paths {
        let name = at.rsplit('/').next().unwrap_or(&at);
        profiles.push(profile(name, &text(tree, &at)?.unwrap_or_default()));
    }
    profiles.retain(|p| p.field("default") == Some("yes"));
    let priority = |p: &Profile| p.field("priority").and_then(|n| n.trim().parse::<i64>().ok()).unwrap_or(0);
    profiles.sort_by(|a, b| (priority(b), &a.name).cmp(&(priority(a), &b.name)));
    for stack in STACKS {
        if let Some(template) = text(tree, &format!("/usr/share/pam/common-{stack}"))? {
            let made = fill(&template, stack, &profiles);
            put_file(tree, &format!("/etc/pam.d/common-{stack}"), made, 0o644, "pam")?;
        }
    }
    Ok(())
}

impl Profile {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// A field of a stack; the one for non-interactive sessions is the one for sessions, unless the profile
    /// is for interactive ones only.
    fn of_stack(&self, stack: &str, suffix: &str) -> Option<&str> {
        let base = match stack {
            "session-noninteractive" if self.field("session-interactive-only") == Some("yes") => return None,
            "session-noninteractive" => "session",
            other => other,
        };
        self.field(&format!("{base}{suffix}"))
    }
}

fn profile(name: &str, text: &str) -> Profile {
    let mut profile = Profile { name: name.into(), ..Profile::default() };
    let mut last = String::new();
    for line in text.lines() {
        match line.split_once(':').filter(|_| !line.starts_with([' ', '\t'])) {
            Some((key, value)) => {
                last = key.trim().to_lowercase();
                profile.fields.insert(last.clone(), value.trim().into());
            }
            None if !line.trim().is_empty() => {
                let field = profile.fields.entry(last.clone()).or_default();
                if !field.is_empty() {
                    field.push('\n');
                }
                field.push_str(line.trim());
            }
            None => {}
        }
    }
    profile
}

fn fill(template: &str, stack: &str, profiles: &[Profile]) -> String {
    let kind = stack.split('-').next().unwrap_or(stack);
    let mut out = String::new();
    let mut inside = false;
    for line in template.lines() {
        let ends = line.starts_with("# here's the fallback") || line.starts_with("# end of pam-auth-update config");
        if inside && !ends {
            continue;
        }
        inside = false;
        out.push_str(line);
        out.push('\n');
        let block = ["Primary", "Additional"].into_iter().find(|b| line.contains(&format!("(the \"{b}\" block)")));
        if let Some(block) = block {
            inside = true;
            for module in modules(stack, block, profiles) {
                out.push_str(&format!("{kind}\t{module}\n"));
            }
        }
    }
    out
}

fn modules(stack: &str, block: &str, profiles: &[Profile]) -> Vec<String> {
    let taking_part = profiles.iter().filter(|p| p.of_stack(stack, "-type") == Some(block));
    let lines: Vec<&str> = taking_part
        .enumerate()
        .flat_map(|(n, p)| {
            let initial = if n == 0 { p.of_stack(stack, "-initial") } else { None };
            initial.or_else(|| p.of_stack(stack, "")).unwrap_or_default().lines()
        })
        .collect();
    if lines.is_empty() && block == "Primary" {
        return vec!["[default=1]\t\t\tpam_permit.so".into()];
    }
    let count = lines.len() - usize::from(block == "Additional" && !lines.is_empty());
    let jump = |n: usize| count.saturating_sub(n).to_string();
    lines
        .iter()
        .enumerate()
        .map(|(n, line)| {
            // Only the control field has an `end` to replace.
            let at = line.find(']').map_or(0, |at| at + 1);
            let (control, rest) = line.split_at(at);
            control.replace("end", &jump(n)) + &with_options(rest, if at == 0 { 2 } else { 1 })
        })
        .collect()
}

/// A line whose first words stand as they are and whose others are options, to the byte as pam-auth-update(8) writes
/// it: a blank before each, and one where there is none.
fn with_options(line: &str, words: usize) -> String {
    let mut end = 0;
    for _ in 0..words {
        end = line.len() - line[end..].trim_start().len();
        end += line[end..].find(char::is_whitespace).unwrap_or(line.len() - end);
    }
    let options: Vec<&str> = line[end..].split_whitespace().collect();
    format!("{} {}", &line[..end], options.join(" "))
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    const TEMPLATE: &str = "# here are the per-package modules (the \"Primary\" block)\n$session_primary\n\
        # here's the fallback if no module succeeds\nx\n\
        # and here are more per-package modules (the \"Additional\" block)\n$additional\n\
        # end of pam-auth-update config\n";
    const UNIX: &str = "Name: Unix\nDefault: yes\nPriority: 256\nAuth-Type: Primary\nAuth:\n\t[success=end default=ignore]\tpam_unix.so try\n\
        Auth-Initial:\n\t[success=end default=ignore]\tpam_unix.so\nSession-Type: Additional\nSession:\n\trequired\tpam_unix.so a  b\n";
    const OTHER: &str = "Name: Other\nDefault: yes\nPriority: 300\nAuth-Type: Primary\nAuth:\n\t[success=end default=ignore]\tpam_other.so end\n\
        Session-Type: Additional\nSession-Interactive-Only: yes\nSession:\n\toptional\tpam_other.so\n";
    const OFF: &str = "Name: Off\nDefault: no\nPriority: 999\nAuth-Type: Primary\nAuth:\n\trequired\tpam_off.so\n";

    #[test]
    fn stacks_are_filled_by_priority() {
        let mut tree = tree(&[
            ("/usr/share/pam/common-auth", TEMPLATE),
            ("/usr/share/pam/common-session", TEMPLATE),
            ("/usr/share/pam/common-session-noninteractive", TEMPLATE),
            ("/usr/share/pam-configs/unix", UNIX),
            ("/usr/share/pam-configs/other", OTHER),
            ("/usr/share/pam-configs/off", OFF),
        ]);
        apply(&mut tree).unwrap();
        let stack = |name| text(&tree, &format!("/etc/pam.d/common-{name}")).unwrap().unwrap();
        let auth = stack("auth");
        assert!(auth.contains("\nauth\t[success=2 default=ignore]\tpam_other.so end\nauth\t[success=1 default=ignore]\tpam_unix.so try\n# here's"), "{auth}");
        let session = stack("session");
        assert!(session.contains("block)\nsession\t[default=1]\t\t\tpam_permit.so\n# here's"), "{session}");
        assert!(
            session.contains("session\toptional\tpam_other.so \nsession\trequired\tpam_unix.so a b\n# end"),
            "{session}"
        );
        let quiet = stack("session-noninteractive");
        assert!(quiet.contains("block)\nsession\trequired\tpam_unix.so a b\n# end"), "{quiet}");
        assert!(!auth.contains('$') && !auth.contains("pam_off"));
    }
}
