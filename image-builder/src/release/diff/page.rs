//! Differences as text for a terminal, and as Markdown for a release note. Pure.

use super::{Change, ChangeKind, Diff, FileChange, Side, Step};
use crate::release::words::{self, count, grown};
use std::collections::BTreeMap;

/// One heading and what is below it.
struct Section {
    title: String,
    rows: Vec<Row>,
}

#[derive(Default)]
struct Row {
    /// `upgraded`, `added` ...
    change: &'static str,
    what: String,
    from: String,
    to: String,
    note: String,
}

/// For a terminal. `all_files` lists every path, not only those that nothing else explains.
pub fn text(diff: &Diff, all_files: bool) -> String {
    let mut out = format!("{}\n  -> {}\n", side(&diff.from), side(&diff.to));
    for note in &diff.notes {
        out.push_str(&format!("\n! {note}\n"));
    }
    for Section { title, rows } in sections(diff, all_files) {
        out.push_str(&format!("\n{title}\n"));
        let width = |of: fn(&Row) -> &str| rows.iter().map(|row| of(row).chars().count()).max().unwrap_or(0);
        let (change, what) = (width(|r| r.change), width(|r| &r.what).min(60));
        for row in &rows {
            let line = format!("  {:change$}  {:what$}  {}", row.change, row.what, values(row, " -> "));
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
    format!("{out}\n{}\n", end(diff))
}

/// For a release note: headings of the second level, a table below each.
pub fn markdown(diff: &Diff, all_files: bool) -> String {
    let mut out = format!("# {}\n\nSince {}.\n", side(&diff.to), side(&diff.from));
    for note in &diff.notes {
        out.push_str(&format!("\n> **Mind:** {note}\n"));
    }
    let cell = |text: &str| text.replace('|', "\\|");
    for Section { title, rows } in sections(diff, all_files) {
        out.push_str(&format!("\n## {title}\n"));
        if !rows.is_empty() {
            out.push_str("\n| | what | from | to | |\n|---|---|---|---|---|\n");
        }
        for Row { change, what, from, to, note } in &rows {
            let cells = [change, what.as_str(), from, to, note].map(cell);
            out.push_str(&format!("| {} |\n", cells.join(" | ")));
        }
    }
    format!("{out}\n{}\n", end(diff))
}

fn side(side: &Side) -> String {
    let date = side.snapshot.split('T').next().unwrap_or_default();
    match &side.release {
        Some(release) => format!("{release} ({}, archives of {date})", side.path),
        None => format!("{} (a lock, archives of {date})", side.path),
    }
}

fn values(row: &Row, arrow: &str) -> String {
    let value = match (row.from.as_str(), row.to.as_str()) {
        ("", one) | (one, "") => one.to_owned(),
        (from, to) => format!("{from}{arrow}{to}"),
    };
    let note = if row.note.is_empty() { String::new() } else { format!("  ({})", row.note) };
    value + &note
}

/// What holds of all of it is said once.
fn end(diff: &Diff) -> &'static str {
    match (diff.same_image, diff.is_empty()) {
        (true, _) => "Both boot the same bytes: root and UKI are equal before they are signed.",
        (false, true) => "Nothing differs.",
        (false, false) => {
            "All of it takes effect at once, and only when a node boots the new image: kernel, command line and root are \
             sealed together and nothing of them changes on a running node. What lies below /var stays."
        }
    }
}

fn sections(diff: &Diff, all_files: bool) -> Vec<Section> {
    let mut sections = Vec::new();
    let mut add = |title: String, rows: Vec<Row>| {
        if !rows.is_empty() {
            sections.push(Section { title, rows });
        }
    };
    let kernel = diff.kernel.iter().map(|Step { from, to }| Row {
        change: word_of(ChangeKind::Changed),
        what: "kernel".into(),
        from: from.clone(),
        to: to.clone(),
        ..Row::default()
    });
    let word = |change, word: &String| Row { change, what: word.clone(), ..Row::default() };
    let words = diff.command_line.added.iter().map(|w| word("added", w));
    let words = words.chain(diff.command_line.removed.iter().map(|w| word("removed", w)));
    add("Kernel and command line".into(), kernel.chain(words).collect());
    add(titled("Packages", kinds(&diff.packages)), diff.packages.iter().map(changed).collect());
    add("Components".into(), components(diff));
    add(titled("Container images", kinds(&diff.images)), diff.images.iter().map(changed).collect());
    add("Users and groups".into(), diff.ids.iter().map(changed).collect());
    add(titled("Files", kinds_of_files(&diff.files)), by_input(&diff.files));
    let (title, shown): (_, fn(&&FileChange) -> bool) = match all_files {
        true => ("Every file", |_| true),
        false => ("Files whose owner, mode or origin changed, or whose input did not", surprising),
    };
    add(title.into(), diff.files.iter().filter(shown).map(file).collect());
    // Where both lists of files are known they say more than this.
    if diff.files.is_empty() {
        let local = diff.local.iter().map(|c| Row { change: word_of(c.kind), what: c.name.clone(), ..Row::default() });
        add("Overlays and the agent".into(), local.collect());
    }
    add(titled("Tools that the image is made with", kinds(&diff.tools)), diff.tools.iter().map(changed).collect());
    add("Sizes".into(), diff.sizes.iter().map(size).collect());
    sections
}

fn titled(title: &str, counts: String) -> String {
    format!("{title}: {counts}")
}

fn kinds(changes: &[Change]) -> String {
    tally(changes.iter().map(|change| change.kind))
}

fn kinds_of_files(files: &[FileChange]) -> String {
    tally(files.iter().map(|file| file.kind))
}

/// `3 upgraded, 1 added`.
fn tally(kinds: impl Iterator<Item = ChangeKind>) -> String {
    let mut counts: BTreeMap<ChangeKind, usize> = BTreeMap::new();
    for kind in kinds {
        *counts.entry(kind).or_default() += 1;
    }
    counts.iter().map(|(kind, n)| format!("{n} {}", word_of(*kind))).collect::<Vec<_>>().join(", ")
}

fn word_of(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Upgraded => "upgraded",
        ChangeKind::Downgraded => "downgraded",
        ChangeKind::Changed => "changed",
        ChangeKind::Added => "added",
        ChangeKind::Removed => "removed",
    }
}

fn changed(change: &Change) -> Row {
    Row {
        change: word_of(change.kind),
        what: change.name.clone(),
        from: change.from.clone().unwrap_or_default(),
        to: change.to.clone().unwrap_or_default(),
        note: match (change.kind, &change.suite) {
            (ChangeKind::Changed, Some(_)) => "the same version, other bytes".into(),
            (_, suite) => suite.clone().unwrap_or_default(),
        },
    }
}

fn components(diff: &Diff) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, component) in &diff.components {
        let of = |change: &Change| Row { what: format!("{name}: {}", change.name), ..changed(change) };
        if component.versions.is_empty() {
            let note = match (component.modules.is_empty(), component.sources) {
                (false, _) => count(component.modules.len(), "Go module"),
                (true, true) => "its sources differ".into(),
                (true, false) => String::new(),
            };
            rows.push(Row { change: word_of(component.kind), what: name.clone(), note, ..Row::default() });
        }
        rows.extend(component.versions.iter().map(of));
        if component.kind == ChangeKind::Changed {
            rows.extend(component.modules.iter().map(of));
        }
    }
    rows
}

/// How many paths of each input differ, most first.
fn by_input(files: &[FileChange]) -> Vec<Row> {
    let mut inputs: BTreeMap<&str, Vec<&FileChange>> = BTreeMap::new();
    for file in files {
        inputs.entry(&file.input).or_default().push(file);
    }
    let mut inputs: Vec<_> = inputs.into_iter().collect();
    inputs.sort_by_key(|(_, files)| std::cmp::Reverse(files.len()));
    let row = |(input, files): (&str, Vec<&FileChange>)| Row {
        what: input.to_owned(),
        to: tally(files.iter().map(|file| file.kind)),
        note: grown(files.iter().map(|file| file.grew).sum()),
        ..Row::default()
    };
    inputs.into_iter().map(row).collect()
}

/// What a new version of an input does not explain, and what runs with others' rights.
fn surprising(file: &&FileChange) -> bool {
    !file.expected || file.privileged || file.what.keys().any(|what| !["content", "target"].contains(what))
}

fn file(file: &FileChange) -> Row {
    let values = |of: fn(&Step<String>) -> &String| {
        let told = file.what.iter().filter(|(what, step)| **what != "content" && !of(step).is_empty());
        told.map(|(what, step)| format!("{what} {}", of(step))).collect::<Vec<_>>().join(", ")
    };
    let mut notes = vec![file.input.clone()];
    if file.what.contains_key("content") {
        notes.insert(0, "content".into());
    }
    if file.privileged {
        notes.push("runs with others' rights".into());
    }
    notes.extend(Some(grown(file.grew)).filter(|grown| !grown.is_empty()));
    Row {
        change: word_of(file.kind),
        what: file.path.clone(),
        from: values(|step| &step.from),
        to: values(|step| &step.to),
        note: notes.join(", "),
    }
}

fn size((what, step): (&String, &Step<u64>)) -> Row {
    let counted = what.starts_with("paths");
    let show = |value: u64| if counted { value.to_string() } else { words::size(value) };
    let by = i64::try_from(step.to).unwrap_or(i64::MAX).saturating_sub_unsigned(step.from);
    let note = if counted { format!("{by:+}") } else { grown(by) };
    Row { what: what.clone(), from: show(step.from), to: show(step.to), note, ..Row::default() }
}
