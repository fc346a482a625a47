//! Progress as data: one JSON object per line, for pipelines. Pure.
//!
//! Format, stable: every object has `event` and `at`, seconds since the program began. Fields are added, never changed
//! or taken away.

use super::Unit;
use serde::Serialize;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub(super) enum Event<'a> {
    /// A task begins.
    Begin {
        /// Number of the task, from 1.
        task: u64,
        what: &'a str,
        #[serde(flatten)]
        count: Count,
    },
    /// A task goes on: at most once a second.
    Going {
        task: u64,
        #[serde(flatten)]
        count: Count,
    },
    /// A task has ended; the exit code says whether all went well.
    End {
        task: u64,
        what: &'a str,
        #[serde(flatten)]
        count: Count,
        /// How long it took.
        seconds: f64,
    },
    /// A sentence for a person.
    Note { text: &'a str },
    /// Why the verb failed: the last event. The sentence, then its causes.
    Failed { error: String, causes: Vec<String> },
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Count {
    /// `bytes`, or the name of the things that are counted.
    pub unit: &'static str,
    pub done: u64,
    /// None if it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

impl Count {
    pub(super) fn new(unit: Unit, done: u64, total: u64) -> Count {
        let unit = match unit {
            Unit::Bytes => "bytes",
            Unit::Count(name) => name,
        };
        Count { unit, done, total: (total > 0).then_some(total) }
    }
}

/// The line of an event, without its end.
pub(super) fn line(event: &Event, at: f64) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        #[serde(flatten)]
        event: &'a Event<'a>,
        at: f64,
    }
    let rounded = (at * 1000.0).round() / 1000.0;
    serde_json::to_string(&Line { event, at: rounded }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_documented() {
        let count = Count::new(Unit::Bytes, 0, 10);
        let lines = [
            line(&Event::Begin { task: 1, what: "sealing the root", count }, 0.25),
            line(&Event::Going { task: 1, count: Count { done: 5, ..count } }, 1.0),
            line(
                &Event::End {
                    task: 1,
                    what: "sealing the root",
                    count: Count::new(Unit::Count("packages"), 3, 0),
                    seconds: 1.5,
                },
                1.75,
            ),
            line(&Event::Note { text: "two\nlines" }, 2.00049),
            line(&Event::Failed { error: "no".into(), causes: vec!["it is so".into()] }, 2.0),
        ];
        insta::assert_snapshot!(lines.join("\n"), @r#"
        {"event":"begin","task":1,"what":"sealing the root","unit":"bytes","done":0,"total":10,"at":0.25}
        {"event":"going","task":1,"unit":"bytes","done":5,"total":10,"at":1.0}
        {"event":"end","task":1,"what":"sealing the root","unit":"packages","done":3,"seconds":1.5,"at":1.75}
        {"event":"note","text":"two\nlines","at":2.0}
        {"event":"failed","error":"no","causes":["it is so"],"at":2.0}
        "#);
    }
}
