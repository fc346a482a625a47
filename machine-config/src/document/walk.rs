//! A TOML table held against a JSON schema: every fault, with its place.
//!
//! It reads the part of JSON Schema that schemars makes for serde types: `$ref`, `type`, `properties`,
//! `required`, `additionalProperties`, `propertyNames`, `items`, `enum`, `const`, `oneOf`, `anyOf`, `minimum`,
//! `maximum`, `minItems` and `format`. What it does not know it lets pass: serde has the last word.

use super::{Source, formats};
use crate::Diagnostic;
use serde_json::{Map, Value};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(super) const SYNTAX: &str = "BP-C001";
pub(super) const UNKNOWN: &str = "BP-C002";
pub(super) const MISSING: &str = "BP-C003";
pub(super) const TYPE: &str = "BP-C004";
pub(super) const VALUE: &str = "BP-C005";

/// A fault and the path of the key it is about.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    /// Keys from the root of the table; empty if it is about the whole text.
    pub path: Vec<String>,
    /// What is told.
    pub diagnostic: Diagnostic,
}

/// Every fault of a table. `at` is where a key missing at its top is reported.
pub(super) fn walk(schema: &Value, table: &DeTable<'_>, source: &Source, at: Range<usize>) -> Vec<Fault> {
    let mut walk = Walk { root: schema, source, path: Vec::new(), faults: Vec::new() };
    if let Some(schema) = walk.resolve(schema) {
        walk.table(&schema, table, at);
    }
    walk.faults
}

struct Walk<'a> {
    root: &'a Value,
    source: &'a Source,
    path: Vec<String>,
    faults: Vec<Fault>,
}

impl<'a> Walk<'a> {
    /// The schema a reference leads to; keys beside `$ref` win over what it leads to.
    fn resolve(&self, schema: &Value) -> Option<Map<String, Value>> {
        let mut object = schema.as_object()?.clone();
        for _ in 0..16 {
            let Some(reference) = object.remove("$ref") else { return Some(object) };
            let pointer = reference.as_str()?.strip_prefix('#')?.to_owned();
            for (key, value) in self.root.pointer(&pointer)?.as_object()? {
                object.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        None
    }

    fn fault(&mut self, code: &str, at: usize, what: String, why: String, mend: String) {
        let place = Some(self.source.place(at));
        self.faults.push(Fault {
            path: self.path.clone(),
            diagnostic: Diagnostic { code: code.into(), what, place, why, mend },
        });
    }

    /// The path as a person writes it, `machine.n1.array`.
    fn name(&self) -> String {
        dotted(&self.path)
    }

    fn table(&mut self, schema: &Map<String, Value>, table: &DeTable<'_>, at: Range<usize>) {
        let empty = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let additional = schema.get("additionalProperties");
        let key_format = schema.get("propertyNames").and_then(|names| names.get("format")).and_then(Value::as_str);
        let mut meant: Vec<&str> = Vec::new();
        for (key, value) in table {
            let name: &str = key.get_ref();
            self.path.push(name.to_owned());
            match (properties.get(name), additional) {
                (Some(inner), _) => self.value(inner, value, key.span()),
                (None, Some(Value::Bool(false))) => {
                    let free: Vec<&str> =
                        properties.keys().map(String::as_str).filter(|known| !table.contains_key(*known)).collect();
                    let near = nearest(name, &free);
                    meant.extend(near);
                    self.unknown(name, key.span().start, near, properties);
                }
                (None, inner) => {
                    if let Some(Err(expected)) = key_format.map(|format| formats::check(format, name)) {
                        self.fault(
                            VALUE,
                            key.span().start,
                            format!("{name:?} can't be a name here"),
                            format!("Expected {expected}."),
                            "Choose another name.".into(),
                        );
                    } else if let Some(inner @ Value::Object(_)) = inner {
                        self.value(inner, value, key.span());
                    }
                }
            }
            self.path.pop();
        }
        for required in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            let Some(required) = required.as_str() else { continue };
            // A key that was misspelt has been told as unknown; telling it as missing too would be noise.
            if !table.contains_key(required) && !meant.contains(&required) {
                self.missing(required, properties.get(required), at.start);
            }
        }
    }

    fn unknown(&mut self, name: &str, at: usize, near: Option<&str>, properties: &Map<String, Value>) {
        let above = dotted(&self.path[..self.path.len() - 1]);
        let holder = if above.is_empty() { "at the top of the file".to_owned() } else { format!("in `{above}`") };
        let known: Vec<String> = properties.keys().map(|key| format!("`{key}`")).collect();
        let why = format!("Known keys {holder}: {}.", known.join(", "));
        let mend = match near {
            Some(near) => format!("Did you mean `{near}`?"),
            None => "Remove the key, or use one of the known ones.".to_owned(),
        };
        self.fault(UNKNOWN, at, format!("unknown key `{name}` {holder}"), why, mend);
    }

    fn missing(&mut self, key: &str, schema: Option<&Value>, at: usize) {
        let above = self.name();
        let holder = if above.is_empty() { "the file".to_owned() } else { format!("`{above}`") };
        let schema = schema.and_then(|schema| self.resolve(schema)).unwrap_or_default();
        let why = schema
            .get("description")
            .and_then(Value::as_str)
            .map_or_else(String::new, |text| format!("`{key}`: {}", text.replace('\n', " ")));
        let mend = format!("Add `{key} = ...`: {}.", self.kind(&schema));
        self.fault(MISSING, at, format!("{holder} lacks the key `{key}`"), why, mend);
    }

    fn value(&mut self, schema: &Value, value: &Spanned<DeValue<'_>>, key: Range<usize>) {
        let Some(schema) = self.resolve(schema) else { return };
        if let Some(choices) = choices(&schema) {
            let written = match value.get_ref() {
                DeValue::String(text) => Some(Value::from(text.as_ref())),
                DeValue::Integer(_) => integer(value.get_ref()).and_then(|n| i64::try_from(n).ok()).map(Value::from),
                _ => None,
            };
            match written {
                Some(written) if choices.contains(&written) => {}
                Some(written) => self.choice(&written, &choices, value.span().start),
                None => self.wrong_type(&schema, value),
            }
            return;
        }
        if let Some(alternatives) =
            schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array).filter(|all| !all.is_empty())
        {
            self.alternatives(&schema, alternatives, value, key);
            return;
        }
        if !fits(&schema, value.get_ref()) {
            self.wrong_type(&schema, value);
            return;
        }
        match value.get_ref() {
            DeValue::Table(table) => self.table(&schema, table, key),
            DeValue::Array(items) => {
                let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
                if (items.len() as u64) < least {
                    let what = format!("`{}` has {} entries", self.name(), items.len());
                    let why = format!("Expected at least {least}.");
                    self.fault(VALUE, value.span().start, what, why, "Add what is missing.".into());
                }
                let Some(inner) = schema.get("items") else { return };
                for (index, item) in items.iter().enumerate() {
                    self.path.push(index.to_string());
                    self.value(inner, item, item.span());
                    self.path.pop();
                }
            }
            DeValue::String(text) => {
                if let Some(Err(expected)) =
                    schema.get("format").and_then(Value::as_str).map(|format| formats::check(format, text))
                {
                    let what = format!("{text:?} is not allowed for `{}`", self.name());
                    self.fault(VALUE, value.span().start, what, format!("Expected {expected}."), mend_value(&schema));
                }
            }
            DeValue::Integer(_) => self.number(&schema, value),
            _ => {}
        }
    }

    /// Untagged alternatives: one of them must take the value whole.
    fn alternatives(
        &mut self,
        schema: &Map<String, Value>,
        all: &[Value],
        value: &Spanned<DeValue<'_>>,
        key: Range<usize>,
    ) {
        let mut closest: Option<Vec<Fault>> = None;
        for alternative in all {
            let Some(alternative) = self.resolve(alternative) else { return };
            if !fits(&alternative, value.get_ref()) {
                continue;
            }
            let before = self.faults.len();
            self.value(&Value::Object(alternative), value, key.clone());
            let found = self.faults.split_off(before);
            if found.is_empty() {
                return;
            }
            if closest.as_ref().is_none_or(|closest| found.len() < closest.len()) {
                closest = Some(found);
            }
        }
        match closest {
            Some(found) => self.faults.extend(found),
            None => self.wrong_type(schema, value),
        }
    }

    fn choice(&mut self, written: &Value, choices: &[Value], at: usize) {
        let all: Vec<&str> = choices.iter().filter_map(Value::as_str).collect();
        let mend = match written.as_str().and_then(|written| nearest(written, &all)) {
            Some(near) => format!("Did you mean {near:?}?"),
            None if choices.len() == 1 => "Use this.".into(),
            None => "Use one of these.".into(),
        };
        let what = format!("{written} is not allowed for `{}`", self.name());
        self.fault(VALUE, at, what, format!("Expected {}.", listed(choices)), mend);
    }

    fn number(&mut self, schema: &Map<String, Value>, value: &Spanned<DeValue<'_>>) {
        let (low, high) = bounds(schema);
        let number = integer(value.get_ref());
        if number.is_some_and(|number| (low..=high).contains(&number)) {
            return;
        }
        let written = number.map_or_else(|| "this number".to_owned(), |number| number.to_string());
        let what = format!("{written} is not allowed for `{}`", self.name());
        let why = if high == i128::from(i64::MAX) {
            format!("Expected a whole number from {low}.")
        } else {
            format!("Expected a whole number from {low} to {high}.")
        };
        self.fault(VALUE, value.span().start, what, why, mend_value(schema));
    }

    fn wrong_type(&mut self, schema: &Map<String, Value>, value: &Spanned<DeValue<'_>>) {
        let what = format!("`{}` is {}, expected {}", self.name(), found(value.get_ref()), self.kind(schema));
        let why =
            schema.get("description").and_then(Value::as_str).map_or_else(String::new, |text| text.replace('\n', " "));
        let quoted = match value.get_ref() {
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
                expects(schema, "string")
            }
            _ => false,
        };
        let mend = match value.get_ref() {
            _ if quoted => "Put the value in quotes.".to_owned(),
            DeValue::String(_) if expects(schema, "array") => "Put the value in brackets: `[\"...\"]`.".to_owned(),
            DeValue::String(_) if expects(schema, "integer") || expects(schema, "boolean") => {
                "Write the value without quotes.".to_owned()
            }
            _ => mend_value(schema),
        };
        self.fault(TYPE, value.span().start, what, why, mend);
    }

    /// What a schema expects, in words.
    fn kind(&self, schema: &Map<String, Value>) -> String {
        if let Some(choices) = choices(schema) {
            return listed(&choices);
        }
        if let Some(all) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
            let kinds: Vec<String> =
                all.iter().filter_map(|one| self.resolve(one)).map(|one| self.kind(&one)).collect();
            return joined(&kinds);
        }
        let kinds: Vec<String> = types(schema).map(|name| in_words(name).to_owned()).collect();
        if kinds.is_empty() { "another value".into() } else { joined(&kinds) }
    }
}

fn types(schema: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let (one, many) = match schema.get("type") {
        Some(Value::String(one)) => (Some(one.as_str()), None),
        Some(Value::Array(many)) => (None, Some(many)),
        _ => (None, None),
    };
    one.into_iter().chain(many.into_iter().flatten().filter_map(Value::as_str))
}

fn expects(schema: &Map<String, Value>, name: &str) -> bool {
    types(schema).any(|one| one == name)
}

fn fits(schema: &Map<String, Value>, value: &DeValue<'_>) -> bool {
    let mut some = false;
    for name in types(schema) {
        some = true;
        let fits = match value {
            DeValue::String(_) | DeValue::Datetime(_) if name == "string" => matches!(value, DeValue::String(_)),
            DeValue::Integer(_) => name == "integer" || name == "number",
            DeValue::Float(_) => name == "number",
            DeValue::Boolean(_) => name == "boolean",
            DeValue::Array(_) => name == "array",
            DeValue::Table(_) => name == "object",
            _ => false,
        };
        if fits {
            return true;
        }
    }
    !some
}

/// The values of an enumeration, in whichever of the ways a schema writes them.
fn choices(schema: &Map<String, Value>) -> Option<Vec<Value>> {
    if let Some(constant) = schema.get("const") {
        return Some(vec![constant.clone()]);
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return Some(values.clone());
    }
    let all = schema.get("oneOf")?.as_array()?;
    let inner: Option<Vec<Vec<Value>>> = all.iter().map(|one| choices(one.as_object()?)).collect();
    Some(inner?.concat())
}

fn listed(choices: &[Value]) -> String {
    joined(&choices.iter().map(Value::to_string).collect::<Vec<_>>())
}

fn integer(value: &DeValue<'_>) -> Option<i128> {
    let DeValue::Integer(integer) = value else { return None };
    i128::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// The range of an integer: what the schema says, its Rust type, and TOML's own 64 bits with sign.
fn bounds(schema: &Map<String, Value>) -> (i128, i128) {
    let bound = |word: &str| schema.get(word).and_then(Value::as_i64).map(i128::from);
    let (low, high) = match schema.get("format").and_then(Value::as_str) {
        Some("uint8") => (0, i128::from(u8::MAX)),
        Some("uint16") => (0, i128::from(u16::MAX)),
        Some("uint32") => (0, i128::from(u32::MAX)),
        Some("uint64" | "uint") => (0, i128::from(i64::MAX)),
        Some("int8") => (i128::from(i8::MIN), i128::from(i8::MAX)),
        Some("int16") => (i128::from(i16::MIN), i128::from(i16::MAX)),
        Some("int32") => (i128::from(i32::MIN), i128::from(i32::MAX)),
        _ => (i128::from(i64::MIN), i128::from(i64::MAX)),
    };
    (bound("minimum").unwrap_or(low).max(low), bound("maximum").unwrap_or(high).min(high))
}

fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn in_words(name: &str) -> &str {
    match name {
        "string" => "text in quotes",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a table",
        other => other,
    }
}

fn mend_value(schema: &Map<String, Value>) -> String {
    match schema.get("examples").and_then(Value::as_array).and_then(|examples| examples.first()) {
        Some(example) => format!("Change the value; an example is {example}."),
        None => "Change the value.".into(),
    }
}

fn joined(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

pub(crate) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let alike = |known: &str| strsim::jaro_winkler(&name.replace('_', "-").to_lowercase(), known);
    known.iter().copied().filter(|known| alike(known) > 0.8).max_by(|a, b| alike(a).total_cmp(&alike(b)))
}

/// A path of keys as TOML writes it, quoted where it must be.
pub(crate) fn dotted(path: &[String]) -> String {
    let bare =
        |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let parts: Vec<String> = path.iter().map(|key| if bare(key) { key.clone() } else { format!("{key:?}") }).collect();
    parts.join(".")
}
