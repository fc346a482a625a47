//! Generated files are what the types say: `docs/site.schema.json`, the reference in `docs/site-file.md` and the keys in
//! `docs/storage.md`.
//! And every code that a diagnostic can carry has its paragraph in `docs/diagnostics.md`.
//!
//! `BEDPLATE_REGENERATE=1 cargo test -p machine-config --test generated` writes them anew.

#![allow(clippy::disallowed_methods, reason = "edge: the generator of checked-in files")]

use machine_config::document::schema;
use machine_config::schema::{Bundle, Profile, Site};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Compares a file with what it should be, or writes it when asked to.
fn same(path: &str, wanted: &str) {
    let file = repository().join(path);
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    if found == wanted {
        return;
    }
    assert!(
        std::env::var_os("BEDPLATE_REGENERATE").is_some(),
        "{path} is not what the types say: run BEDPLATE_REGENERATE=1 cargo test -p machine-config --test generated"
    );
    std::fs::write(&file, wanted).expect("writes");
}

#[test]
fn the_schema_is_what_the_types_say() {
    same("docs/site.schema.json", &format!("{:#}\n", schema::<Site>()));
}

#[test]
fn the_reference_is_what_the_types_say() {
    same_between_marks("docs/site-file.md", &reference());
}

#[test]
fn the_keys_of_storage_are_what_the_types_say() {
    same_between_marks("docs/storage.md", &keys_of_storage());
}

#[test]
fn a_sentence_ends_where_another_begins() {
    for (text, first) in [
        ("Which disks.", "Which disks."),
        ("Below `/var`. `{serial}` becomes one.", "Below `/var`."),
        ("A range, `\"400 GB .. 1 TB\"`, of sizes. Either end.", "A range, `\"400 GB .. 1 TB\"`, of sizes."),
        ("One of\ntwo lines. More.", "One of two lines."),
    ] {
        assert_eq!(first_sentence(text), first);
    }
}

/// The part of a page that is generated.
fn same_between_marks(path: &str, wanted: &str) {
    let page = std::fs::read_to_string(repository().join(path)).expect("the page");
    let (begin, end) = ("<!-- generated from the types: begin -->\n", "<!-- generated from the types: end -->");
    let (head, rest) = page.split_once(begin).expect("the mark where it begins");
    let (_, tail) = rest.split_once(end).expect("the mark where it ends");
    same(path, &format!("{head}{begin}\n{wanted}{end}{tail}"));
}

#[test]
fn every_code_has_its_paragraph() {
    let page = std::fs::read_to_string(repository().join("docs/diagnostics.md")).expect("the page");
    let explained: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let mut used = BTreeSet::new();
    codes(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut used);
    assert!(used.len() > 40, "the search for codes found only {used:?}");
    let lacking: Vec<&String> =
        used.iter().filter(|code| !explained.iter().any(|title| title.starts_with(code.as_str()))).collect();
    assert!(lacking.is_empty(), "docs/diagnostics.md lacks a paragraph for {lacking:?}");
    let stale: Vec<&&str> = explained
        .iter()
        .filter(|title| title.starts_with("BP-C") && !used.iter().any(|code| title.starts_with(code.as_str())))
        .collect();
    assert!(stale.is_empty(), "docs/diagnostics.md explains codes that nothing gives: {stale:?}");
}

/// The codes in the sources, tests apart.
fn codes(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            codes(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs")
            && path.file_stem().is_some_and(|n| n != "tests")
        {
            let text = std::fs::read_to_string(&path).expect("reads");
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            for (at, _) in text.match_indices("\"BP-") {
                found.extend(text[at + 1..].split('"').next().map(str::to_owned));
            }
        }
    }
}

/// One section per table of the file, in the order a reader meets them.
fn reference() -> String {
    let (site, profile, bundle) = (schema::<Site>(), schema::<Profile>(), schema::<Bundle>());
    let mut out = String::new();
    let mut section = |title: &str, schema: &Value, root: &Value| {
        let object = resolve(schema, root);
        writeln!(out, "### {title}\n").expect("writes");
        if let Some(text) = object.get("description").and_then(Value::as_str) {
            writeln!(out, "{}\n", one_line(text)).expect("writes");
        }
        out.push_str(&table(&object, root, one_line));
    };
    let of = |root: &Value, name: &str| root["$defs"][name].clone();
    section("The site", &site, &site);
    section("Cluster", &of(&site, "Cluster"), &site);
    let mut machine = of(&site, "MachineEntry");
    let shared: Vec<String> = profile["properties"].as_object().expect("keys").keys().cloned().collect();
    if let Some(Value::Object(keys)) = machine.get_mut("properties") {
        keys.retain(|key, _| !shared.contains(key));
    }
    section("Machine", &machine, &site);
    section("Match", &of(&site, "Match"), &site);
    section("Profile", &profile, &profile);
    for name in [
        "Interface",
        "Member",
        "System",
        "Selector",
        "Each",
        "Partition",
        "Array",
        "Rebuild",
        "Volume",
        "Group",
        "Logical",
        "Pool",
        "Mkfs",
        "Node",
        "Taint",
        "Time",
    ] {
        section(name, &of(&profile, name), &profile);
    }
    section("Bundle", &bundle, &bundle);
    section("Join", &of(&bundle, "Join"), &bundle);
    out
}

/// The tables of the file that are about disks, from the whole to its parts, and where each stands.
fn keys_of_storage() -> String {
    let profile = schema::<Profile>();
    let mut out = String::new();
    for (name, place) in [
        ("System", "`system`"),
        ("Each", "`each.NAME`"),
        ("Partition", "`each.NAME.partition.NAME`"),
        ("Array", "`array.NAME`"),
        ("Volume", "`array.NAME.volume.NAME`"),
        ("Group", "`group.NAME`"),
        ("Logical", "`group.NAME.volume.NAME`"),
        ("Pool", "`group.NAME.pool.NAME`"),
        ("Selector", "`disks` of `system`, `each.NAME`, `array.NAME` and `group.NAME`"),
        ("Mkfs", "`mkfs` of `each.NAME`, of a partition and of a volume"),
        ("Rebuild", "`rebuild` of `array.NAME`"),
    ] {
        let object = resolve(&profile["$defs"][name], &profile);
        let text = object.get("description").and_then(Value::as_str).unwrap_or_default();
        writeln!(out, "### {name}\n\n{place}: {}\n", lower(&first_sentence(text))).expect("writes");
        out.push_str(&table(&object, &profile, first_sentence));
    }
    out
}

/// The keys of an object, a line each; `meaning` makes one line of what is said of a key.
fn table(object: &Map<String, Value>, root: &Value, meaning: fn(&str) -> String) -> String {
    let mut out = String::from("| key | value | default | |\n|---|---|---|---|\n");
    let required: Vec<&str> =
        object.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (key, value) in object.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let value = resolve_keeping_name(value, root);
        let default = match value.get("default") {
            _ if required.contains(&key.as_str()) => "**required**".to_owned(),
            Some(Value::Array(list)) if list.is_empty() => "none".to_owned(),
            Some(Value::Object(_)) | None => String::new(),
            Some(default) => format!("`{default}`"),
        };
        let text = meaning(value.get("description").and_then(Value::as_str).unwrap_or_default());
        writeln!(out, "| `{key}` | {} | {default} | {text} |", kind(&value, root)).expect("writes");
    }
    out + "\n"
}

fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}

/// Ends with the first full stop that a blank follows, and that is no part of a range.
fn first_sentence(text: &str) -> String {
    let text = one_line(text);
    let end = text.match_indices(". ").map(|(at, _)| at).find(|at| !text[..*at].ends_with('.'));
    end.map_or_else(|| text.clone(), |at| text[..=at].to_owned())
}

fn lower(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

fn resolve(schema: &Value, root: &Value) -> Map<String, Value> {
    let mut object = resolve_keeping_name(schema, root);
    object.remove("$name");
    object
}

fn resolve_keeping_name(schema: &Value, root: &Value) -> Map<String, Value> {
    let mut object = schema.as_object().cloned().unwrap_or_default();
    if let Some(reference) = object.remove("$ref").as_ref().and_then(Value::as_str) {
        let pointer = reference.trim_start_matches('#');
        let target = root.pointer(pointer).and_then(Value::as_object).cloned().unwrap_or_default();
        let name = pointer.rsplit('/').next().unwrap_or_default();
        object.insert("$name".into(), name.into());
        for (key, value) in target {
            object.entry(key).or_insert(value);
        }
    }
    object
}

/// What a value is, in words, with a link where it has a section of its own.
fn kind(schema: &Map<String, Value>, root: &Value) -> String {
    let inner = |key: &str| schema.get(key).map(|inner| kind(&resolve_keeping_name(inner, root), root));
    if let Some(choices) = choices(schema) {
        return choices.iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>().join(", ");
    }
    let name = schema.get("$name").and_then(Value::as_str);
    match schema.get("type").and_then(Value::as_str) {
        Some("object") if schema.get("additionalProperties").is_some_and(Value::is_object) => {
            format!("by name: {}", inner("additionalProperties").unwrap_or_default())
        }
        Some("object") => match name {
            Some("Part") => "[profile](#profile)".into(),
            Some("MachineEntry") => "[machine](#machine)".into(),
            Some(name) => format!("[{}](#{})", name.to_lowercase(), name.to_lowercase()),
            None => "table".into(),
        },
        Some("array") => format!("list of {}", inner("items").unwrap_or_default()),
        Some("integer") => match (schema.get("minimum"), schema.get("maximum")) {
            (Some(low), Some(high)) => format!("{low} to {high}"),
            (Some(low), None) => format!("number from {low}"),
            _ => "number".into(),
        },
        Some("boolean") => "`true`, `false`".into(),
        Some("string") => match schema.get("format").and_then(Value::as_str) {
            Some("uuid") => "UUID".into(),
            Some("ip") => "IP address".into(),
            Some("cidr") => "address/prefix length".into(),
            Some("mac") => "MAC address".into(),
            Some("pci") => "PCI address".into(),
            Some("dns-label") => "DNS label".into(),
            Some("dns-name") => "DNS name".into(),
            Some("https-endpoint") => "`https://host:port`".into(),
            Some("host") => "host name or address".into(),
            Some("size") => "size".into(),
            Some("scrub") => "days, or `\"never\"`".into(),
            Some("size-range") => "size range".into(),
            Some("mount-point") => "absolute path".into(),
            Some("label-key") => "label key".into(),
            Some("label-value") => "label value".into(),
            Some("interface-pattern") => "interface name".into(),
            Some(other) => other.into(),
            None => "text".into(),
        },
        _ => "value".into(),
    }
}

fn choices(schema: &Map<String, Value>) -> Option<Vec<Value>> {
    if let Some(one) = schema.get("const") {
        return Some(vec![one.clone()]);
    }
    if let Some(all) = schema.get("enum").and_then(Value::as_array) {
        return Some(all.clone());
    }
    let all = schema.get("oneOf")?.as_array()?;
    let inner: Option<Vec<Vec<Value>>> = all.iter().map(|one| choices(one.as_object()?)).collect();
    Some(inner?.concat())
}
