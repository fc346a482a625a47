//! Where the keys of one machine's configuration were written, so that what decides on it can name the line.

use crate::Place;
use crate::document::{self, Source};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Places by path of keys, from the top of the machine's configuration. Empty for a configuration that no text gave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Places(BTreeMap<String, Place>);

impl Places {
    /// Those of all keys of `table` below `path`, and of `path` itself.
    pub(crate) fn below(path: &[&str], table: &DeTable<'_>, source: &Source) -> Places {
        let mut places = Places::default();
        if let Some(value) = document::value_at(table, path) {
            let mut path: Vec<String> = path.iter().map(|key| (*key).to_owned()).collect();
            places.note(&mut path, value, table, source);
        }
        places
    }

    fn note(&mut self, path: &mut Vec<String>, value: &Spanned<DeValue<'_>>, table: &DeTable<'_>, source: &Source) {
        let keys: Vec<&str> = path.iter().map(String::as_str).collect();
        self.0.insert(document::dotted(path), source.place(document::offset_at(table, &keys)));
        if let DeValue::Table(inner) = value.get_ref() {
            for (key, value) in inner {
                path.push(key.get_ref().to_string());
                self.note(path, value, table, source);
                path.pop();
            }
        }
    }

    /// Both.
    #[must_use]
    pub(crate) fn and(mut self, other: Places) -> Places {
        self.0.extend(other.0);
        self
    }

    /// Where the key at `path` was written or, if it was not, the nearest above it that was.
    pub fn of(&self, path: &[&str]) -> Option<&Place> {
        let path: Vec<String> = path.iter().map(|key| (*key).to_owned()).collect();
        (1..=path.len()).rev().find_map(|length| self.0.get(&document::dotted(&path[..length])))
    }
}
