//! What came of all points: a table for people, and JSON.

use super::judge::Outcome;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// What goes wrong at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// What the node needs is somebody else's.
    Foreign,
    /// A power cut.
    Cut,
    /// A power cut, and another during the start after it.
    CutAgain,
    /// A disk refuses a write.
    FailingWrite,
    /// A tool fails, is killed or hangs.
    FailingTool,
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Kind::Foreign => "no fault",
            Kind::Cut => "power cut",
            Kind::CutAgain => "cut twice",
            Kind::FailingWrite => "failing write",
            Kind::FailingTool => "failing tool",
        }
    }
}

/// All points of one scenario and kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Row {
    /// Points.
    pub tried: usize,
    /// Those after which every volume is there, and another run would do nothing.
    pub converged: usize,
    /// Those at which it stopped, said why, and wrote nothing, as it should.
    pub stopped: usize,
    /// Those at which it did so although all it needs is its own and there; in words.
    pub refused: Vec<String>,
    /// Bytes of somebody else's that were changed or written to.
    pub foreign_bytes: u64,
    /// Those at which neither was so, in words.
    pub neither: Vec<String>,
}

/// What came of them.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// How many points there are in all; of those, some or all were tried.
    pub points: usize,
    /// By scenario and kind.
    #[serde(serialize_with = "as_list")]
    pub rows: BTreeMap<(String, Kind), Row>,
    /// Points at which the write that should have failed was not made.
    pub passed_over: usize,
    /// Guests that did not answer at a point where another then did.
    pub hung: Vec<String>,
    /// Why not all points were tried that should have been.
    pub cut_short: Option<String>,
}

impl Report {
    /// Notes what came of one point: of each start that it had. The worst of them counts, and is given back in words
    /// unless all converged.
    pub(super) fn note(
        &mut self,
        scenario: &str,
        kind: Kind,
        point: &str,
        starts: &[(Outcome, u64)],
    ) -> Option<String> {
        if starts.is_empty() {
            self.passed_over += 1;
            return None;
        }
        let row = self.rows.entry((scenario.to_owned(), kind)).or_default();
        row.tried += 1;
        row.foreign_bytes += starts.iter().map(|(_, foreign)| foreign).sum::<u64>();
        let words = |what: &str, why: &str| Some(format!("{scenario}, {point}: {what}{why}"));
        let neither = starts.iter().find_map(|(outcome, _)| match outcome {
            Outcome::Neither(why) => words("", why),
            _ => None,
        });
        let refused = starts.iter().find_map(|(outcome, _)| match outcome {
            Outcome::Refused(why) => words("it stopped: ", why),
            _ => None,
        });
        match (&neither, &refused) {
            (Some(why), _) => row.neither.push(why.clone()),
            (None, Some(why)) => row.refused.push(why.clone()),
            (None, None) if starts.iter().any(|(outcome, _)| matches!(outcome, Outcome::Stopped(_))) => {
                row.stopped += 1
            }
            (None, None) => row.converged += 1,
        }
        neither.or(refused)
    }

    /// All rows as one.
    pub fn total(&self) -> Row {
        let mut total = Row::default();
        for row in self.rows.values() {
            total.tried += row.tried;
            total.converged += row.converged;
            total.stopped += row.stopped;
            total.refused.extend(row.refused.iter().cloned());
            total.foreign_bytes += row.foreign_bytes;
            total.neither.extend(row.neither.iter().cloned());
        }
        total
    }

    /// A line per row, and one of all.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:<36} {:<14} {:>6} {:>10} {:>8} {:>14} {:>14}\n",
            "scenario", "what goes wrong", "tried", "converged", "refused", "not converged", "foreign bytes"
        );
        let total = self.total();
        let all = ("all", "");
        let rows = self.rows.iter().map(|((scenario, kind), row)| ((scenario.as_str(), kind.words()), row));
        for ((scenario, what), row) in rows.chain([(all, &total)]) {
            let numbers =
                (row.tried, row.converged, row.stopped + row.refused.len(), row.neither.len(), row.foreign_bytes);
            let (tried, converged, refused, neither, foreign) = numbers;
            let _ = writeln!(
                text,
                "{scenario:<36} {what:<15} {tried:>6} {converged:>10} {refused:>8} {neither:>14} {foreign:>14}"
            );
        }
        text
    }
}

fn as_list<S: serde::Serializer>(rows: &BTreeMap<(String, Kind), Row>, to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Named<'a> {
        scenario: &'a str,
        kind: Kind,
        #[serde(flatten)]
        row: &'a Row,
    }
    to.collect_seq(rows.iter().map(|((scenario, kind), row)| Named { scenario, kind: *kind, row }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_counts_once_and_by_its_worst_start() {
        let (converged, refused) = (Outcome::Converged, Outcome::Refused("BP-S014".into()));
        let neither = Outcome::Neither("it hung".into());
        let mut report = Report::default();
        assert_eq!(report.note("a", Kind::Cut, "1", &[(converged.clone(), 0)]), None);
        report.note("a", Kind::CutAgain, "2", &[(converged.clone(), 0), (refused.clone(), 0)]);
        let said = report.note("a", Kind::CutAgain, "3", &[(neither, 0), (converged, 7)]);
        assert_eq!(said.as_deref(), Some("a, 3: it hung"));
        assert_eq!(report.note("b", Kind::Foreign, "4", &[(Outcome::Stopped("BP-S014".into()), 0)]), None);
        let total = report.total();
        assert_eq!((total.tried, total.converged, total.stopped, total.foreign_bytes), (4, 1, 1, 7));
        assert_eq!(total.neither, ["a, 3: it hung"]);
        assert_eq!(total.refused, ["a, 2: it stopped: BP-S014"]);
        assert_eq!(report.table().lines().count(), 1 + 3 + 1);
        assert!(serde_json::to_string(&report).unwrap().contains(r#""scenario":"b","kind":"foreign","tried":1"#));
    }
}
