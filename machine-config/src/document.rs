//! Strict TOML: text to a typed value, or every fault of the text in one run.
//!
//! The parser recovers from faults of syntax, the tables are held against the JSON schema of the type (so the
//! type is the one source of truth), and only then serde makes the value. A fault says where it stands (line and
//! column), what was expected there and how to mend it. Nothing here panics, whatever the text.

mod formats;
mod walk;

use crate::{Diagnostic, Place};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(crate) use walk::{Fault, dotted, nearest};

/// Reads a strict TOML text. `file` is the name that diagnostics give.
///
/// # Errors
/// Every fault found in one run: syntax, unknown keys, missing keys, wrong types, values not allowed.
pub fn parse<T: DeserializeOwned + JsonSchema>(text: &str, file: &str) -> Result<T, Vec<Diagnostic>> {
    let reading = read::<T>(text, file);
    match reading.value {
        Some(value) if reading.faults.is_empty() => Ok(value),
        _ => Err(sorted(reading.faults.into_iter().map(|fault| fault.diagnostic).collect())),
    }
}

/// The text of a file's bytes.
///
/// # Errors
/// `BP-C006` at the first byte that is not UTF-8.
pub fn text<'a>(bytes: &'a [u8], file: &str) -> Result<&'a str, Diagnostic> {
    std::str::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        Diagnostic {
            code: "BP-C006".into(),
            what: format!("{file} is not text in UTF-8"),
            place: Some(Source::new(&good, file).place(good.len())),
            why: "TOML is UTF-8 by its specification, and the byte at this place starts no character of it.".into(),
            mend: "Save the file as UTF-8.".into(),
        }
    })
}

/// The JSON schema of a type, as it is published: without `null`, which TOML does not have.
pub fn schema<T: JsonSchema>() -> Value {
    let generator = schemars::generate::SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<T>().to_value();
    without_null(&mut schema);
    // Whatever features other crates of a build give serde_json, the published text is the same.
    schema.sort_all_objects();
    schema
}

/// A text with the name of its file, and where its lines begin.
#[derive(Debug, Clone)]
pub struct Source {
    file: String,
    text: String,
    lines: Vec<usize>,
}

impl Source {
    /// A text and the name that diagnostics give its file.
    pub fn new(text: &str, file: &str) -> Source {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Source { file: file.into(), text: text.into(), lines: std::iter::once(0).chain(starts).collect() }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Line and column of a byte offset; an offset beyond the end is the end.
    pub fn place(&self, offset: usize) -> Place {
        let offset = offset.min(self.text.len());
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines[line - 1];
        let column = 1 + self.text[start..].char_indices().take_while(|(at, _)| start + at < offset).count();
        Place { file: self.file.clone(), line, column }
    }
}

/// What came of reading a text: the value as far as there is one, and every fault.
pub(crate) struct Reading<'t, T> {
    /// The value, made without the keys that have faults; `None` if nothing could be made of the rest.
    pub value: Option<T>,
    /// The tables of the text, without the keys that have faults.
    pub table: DeTable<'t>,
    /// The text.
    pub source: Source,
    /// Faults, each with the path of the key it is about.
    pub faults: Vec<Fault>,
}

/// Reads a text as far as it goes, so that later checks can still report what they find.
pub(crate) fn read<'t, T: DeserializeOwned + JsonSchema>(text: &'t str, file: &str) -> Reading<'t, T> {
    let source = Source::new(text, file);
    let (table, errors) = DeTable::parse_recoverable(text);
    let table = table.into_inner();
    let mut faults: Vec<Fault> = errors.iter().map(|error| syntax_fault(error, &source)).collect();
    let broken: Vec<usize> = faults.iter().filter_map(|f| f.diagnostic.place.as_ref().map(|p| p.line)).collect();
    let schema = schema::<T>();
    let found = walk::walk(&schema, &table, &source, 0..0);
    if broken.is_empty() {
        faults.extend(found);
    } else {
        // The parser's recovery guesses at what stands on a broken line, and a key that is missing may be the
        // one that is broken: only what is wrong by itself, elsewhere, is told.
        faults.extend(found.into_iter().filter(|fault| {
            fault.diagnostic.code != walk::MISSING
                && fault.diagnostic.place.as_ref().is_none_or(|place| !broken.contains(&place.line))
        }));
    }
    let mut rest = table;
    for fault in &mut faults {
        fault.path = remove(&mut rest, &fault.path);
    }
    let value = if broken.is_empty() {
        match from_table::<T>(rest.clone(), 0..text.len(), &source) {
            Ok(value) => Some(value),
            Err(fault) => {
                if faults.is_empty() {
                    faults.push(fault);
                }
                None
            }
        }
    } else {
        None
    };
    Reading { value, table: rest, source, faults }
}

/// Every fault of a table that was put together from parts of one text, or its value.
pub(crate) fn typed<T: DeserializeOwned + JsonSchema>(
    table: &DeTable<'_>,
    source: &Source,
    at: Range<usize>,
) -> Result<T, Vec<Fault>> {
    let faults = walk::walk(&schema::<T>(), table, source, at.clone());
    if faults.is_empty() { from_table(table.clone(), at, source).map_err(|fault| vec![fault]) } else { Err(faults) }
}

/// The value at a path of keys.
pub(crate) fn value_at<'a, 't>(table: &'a DeTable<'t>, path: &[&str]) -> Option<&'a Spanned<DeValue<'t>>> {
    let (first, rest) = path.split_first()?;
    let mut value = table.get(*first)?;
    for step in rest {
        value = match value.get_ref() {
            DeValue::Table(table) => table.get(*step)?,
            DeValue::Array(array) => array.get(step.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(value)
}

/// Offset of the value at a path, or of the nearest key above it that the table has.
pub(crate) fn offset_at(table: &DeTable<'_>, path: &[&str]) -> usize {
    for length in (1..=path.len()).rev() {
        let Some(value) = value_at(table, &path[..length]) else { continue };
        // A table's place is its key: its span is the header's or, for one given piecewise, arbitrary.
        if matches!(value.get_ref(), DeValue::Table(_)) {
            return key_at(table, &path[..length]).unwrap_or_else(|| value.span().start);
        }
        return value.span().start;
    }
    0
}

/// Offset of the key at the end of a path.
pub(crate) fn key_at(table: &DeTable<'_>, path: &[&str]) -> Option<usize> {
    let (last, above) = path.split_last()?;
    let holder = match value_at(table, above).map(Spanned::get_ref) {
        Some(DeValue::Table(holder)) => holder,
        Some(_) => return None,
        None if above.is_empty() => table,
        None => return None,
    };
    holder.get_key_value(*last).map(|(key, _)| key.span().start)
}

/// Diagnostics in the order of their places, each told once.
pub(crate) fn sorted(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    diagnostics.sort_by(|a, b| (&a.place, &a.code, &a.what).cmp(&(&b.place, &b.code, &b.what)));
    diagnostics.dedup_by(|a, b| (&a.place, &a.code, &a.what) == (&b.place, &b.code, &b.what));
    diagnostics
}

fn from_table<T: DeserializeOwned>(table: DeTable<'_>, span: Range<usize>, source: &Source) -> Result<T, Fault> {
    let start = span.start;
    T::deserialize(toml::de::Deserializer::from(Spanned::new(span, table))).map_err(|error| {
        let at = error.span().map_or(start, |span| span.start);
        Fault {
            path: Vec::new(),
            diagnostic: Diagnostic {
                code: walk::VALUE.into(),
                what: sentence(error.message()),
                place: Some(source.place(at)),
                why: String::new(),
                mend: "Change the value at this place.".into(),
            },
        }
    })
}

fn syntax_fault(error: &toml::de::Error, source: &Source) -> Fault {
    let at = error.span().map_or(0, |span| span.start);
    let duplicate = error.message().starts_with("duplicate key");
    Fault {
        path: Vec::new(),
        diagnostic: Diagnostic {
            code: walk::SYNTAX.into(),
            what: format!("this is not TOML: {}", error.message()),
            place: Some(source.place(at)),
            why: if duplicate {
                "A key may be given once; which of two values holds would be a guess.".into()
            } else {
                "The file is TOML 1.0 (https://toml.io/en/v1.0.0), and nothing is guessed about a broken line.".into()
            },
            mend: if duplicate { "Keep one of the two.".into() } else { "Mend the text at this place.".into() },
        },
    }
}

fn sentence(message: &str) -> String {
    message.trim_end_matches('\n').replace('\n', "; ")
}

/// Takes out the key at a path, and gives the path of what was taken: a list goes whole, since an element can't
/// be taken out without renumbering the others.
pub(crate) fn remove(table: &mut DeTable<'_>, path: &[String]) -> Vec<String> {
    let Some((first, rest)) = path.split_first() else { return Vec::new() };
    let mut taken = vec![first.clone()];
    match table.get_mut(first.as_str()).map(Spanned::get_mut) {
        Some(DeValue::Table(inner)) if !rest.is_empty() => taken.extend(remove(inner, rest)),
        _ => drop(table.remove(first.as_str())),
    }
    taken
}

fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".into(), only);
                }
            }
            if let Some(Value::Array(choices)) = object.get_mut("enum") {
                choices.retain(|choice| !choice.is_null());
            }
            if object.get("default").is_some_and(Value::is_null) {
                object.remove("default");
            }
            for word in ["anyOf", "oneOf"] {
                if let Some(Value::Array(schemas)) = object.get_mut(word) {
                    schemas.retain(|inner| inner.get("type").is_none_or(|name| name != "null"));
                    if let [Value::Object(only)] = schemas.as_slice() {
                        let only = only.clone();
                        object.remove(word);
                        for (key, value) in only {
                            object.entry(key).or_insert(value);
                        }
                    }
                }
            }
            object.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
