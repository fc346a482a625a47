//! Why a set of packages can't be had, in one sentence with the chain of wishes.

use super::index::Index;
use super::relation::{self, Term};
use super::solve::{Request, sort, usable};
use resolvo::SolvableId;
use resolvo::conflict::{ConflictCause, ConflictEdge, ConflictGraph, ConflictNode};
use std::collections::{BTreeMap, VecDeque};

/// Why there is no set of packages as wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsolvable {
    /// A name nobody has.
    #[error("no suite of the recipe has a package {name:?}{why}{}", hint.as_ref().map_or_else(String::new, |h| format!("; {h}")))]
    Unknown {
        /// The name.
        name: String,
        /// `, which ...`.
        why: String,
        /// What may help.
        hint: Option<String>,
    },
    /// A name that is there, in no version that is wanted.
    #[error("nothing in the recipe's suites is {relation}{why}; {offered}")]
    Version {
        /// The relation.
        relation: String,
        /// `, which ...`.
        why: String,
        /// What there is instead.
        offered: String,
    },
    /// Two packages that exclude each other.
    #[error(
        "{one} and {other} can't be installed together: {one} conflicts with {other}; {one}{why_one}, and {other}{why_other}"
    )]
    Clash {
        /// The one that says so.
        one: String,
        /// The other.
        other: String,
        /// ` is in because ...`.
        why_one: String,
        /// Likewise.
        why_other: String,
    },
    /// None of these.
    #[error("there is no set of packages that satisfies the recipe: {0}")]
    Other(String),
}

/// The two candidates that exclude each other in a conflict of the solver, by their numbers.
pub(super) fn clash(graph: &ConflictGraph, number: impl Fn(SolvableId) -> usize) -> Option<(usize, usize)> {
    let graph = &graph.graph;
    graph
        .edge_indices()
        .filter_map(|edge| {
            let ConflictEdge::Conflict(ConflictCause::Constrains(_) | ConflictCause::ForbidMultipleInstances) =
                graph.edge_weight(edge)?
            else {
                return None;
            };
            let (from, to) = graph.edge_endpoints(edge)?;
            match (graph.node_weight(from)?, graph.node_weight(to)?) {
                (ConflictNode::Solvable(from), ConflictNode::Solvable(to)) => Some((number(*from), number(*to))),
                _ => None,
            }
        })
        .min()
}

/// The sentence. `clash` is what the solver found, if it found two that exclude each other.
pub(super) fn explain(index: &Index, request: &Request, clash: Option<(usize, usize)>) -> Unsolvable {
    let ways = Ways::walk(index, request);
    if let Some((terms, from)) = &ways.dead_end {
        return missing(index, request, terms, &ways.which(*from));
    }
    if let Some((one, other)) = clash {
        let show = |n: usize| format!("{} {}", index.get(n).name, index.get(n).version_text);
        return Unsolvable::Clash {
            one: show(one),
            other: show(other),
            why_one: ways.because(one),
            why_other: ways.because(other),
        };
    }
    let wishes: Vec<String> = request.install.iter().map(|(term, _)| term.to_string()).collect();
    Unsolvable::Other(format!("no combination of versions fits {}", wishes.join(", ")))
}

fn missing(index: &Index, request: &Request, terms: &[Term], why: &str) -> Unsolvable {
    let relation = relation::show(terms);
    let known: Vec<usize> =
        terms.iter().flat_map(|t| index.versions(&t.name).iter().chain(index.providers(&t.name))).copied().collect();
    let (allowed, elsewhere): (Vec<usize>, Vec<usize>) = known.into_iter().partition(|n| usable(index, request, *n));
    let meets = |n: &usize| terms.iter().map(|t| index.matching(t)).any(|(own, by)| own.contains(n) || by.contains(n));
    let mut barred: Vec<usize> =
        elsewhere.iter().copied().filter(|n| request.barred.contains_key(n) && meets(n)).collect();
    sort(index, request, &mut barred);
    if let Some(first) = barred.first() {
        let candidate = index.get(*first);
        let offered = format!("{} {} would be, but {}", candidate.name, candidate.version_text, request.barred[first]);
        return Unsolvable::Version { relation, why: why.to_owned(), offered };
    }
    if let Some(best) = best(index, request, allowed) {
        return Unsolvable::Version { relation, why: why.to_owned(), offered: format!("the best there is is {best}") };
    }
    if let Some(best) = best(index, request, elsewhere) {
        let offered = format!("{best} is only in an archive that the recipe marks tools-only");
        return Unsolvable::Version { relation, why: why.to_owned(), offered };
    }
    let name = terms.first().map_or_else(String::new, |t| t.name.clone());
    let hint = nearest(index, &name).map(|n| format!("did you mean {n:?}?"));
    let name = if terms.len() == 1 { name } else { relation };
    Unsolvable::Unknown { name, why: why.to_owned(), hint }
}

fn best(index: &Index, request: &Request, mut numbers: Vec<usize>) -> Option<String> {
    sort(index, request, &mut numbers);
    numbers.first().map(|n| format!("{} {}", index.get(*n).name, index.get(*n).version_text))
}

/// The name that differs least, if it differs by little.
fn nearest<'a>(index: &'a Index, name: &str) -> Option<&'a str> {
    index
        .names()
        .filter(|n| n.len().abs_diff(name.len()) <= 2)
        .map(|n| (distance(n, name), n))
        .min()
        .filter(|(d, _)| *d <= 2 && *d * 3 <= name.len())
        .map(|(_, n)| n)
}

/// Levenshtein's distance in bytes; names of packages are ASCII.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// What asks for a package: another one, or a wish of the request.
#[derive(Debug, Clone, Copy)]
enum From {
    Package(usize),
    Wish(usize),
}

/// How each package that could be in came to be asked for, by the shortest chain.
struct Ways<'a> {
    index: &'a Index,
    request: &'a Request,
    asked_by: BTreeMap<usize, From>,
    /// The first relation, on the preferred way, that nothing meets.
    dead_end: Option<(Vec<Term>, From)>,
}

impl<'a> Ways<'a> {
    fn walk(index: &'a Index, request: &'a Request) -> Ways<'a> {
        let mut ways = Ways { index, request, asked_by: BTreeMap::new(), dead_end: None };
        // Twice: what is preferred decides where the dead end is; for a clash any way counts.
        ways.visit(true);
        if ways.dead_end.is_none() {
            ways.visit(false);
        }
        ways
    }

    fn visit(&mut self, only_preferred: bool) {
        let mut seen: BTreeMap<usize, ()> = BTreeMap::new();
        let mut open: VecDeque<(Vec<Term>, From)> =
            self.request.install.iter().enumerate().map(|(i, (term, _))| (vec![term.clone()], From::Wish(i))).collect();
        while let Some((terms, from)) = open.pop_front() {
            if terms.iter().any(|t| self.request.provided.contains(&t.name)) {
                continue;
            }
            let mut met = Vec::new();
            for term in &terms {
                let (mut own, mut provided) = self.index.matching(term);
                for numbers in [&mut own, &mut provided] {
                    numbers.retain(|n| usable(self.index, self.request, *n));
                    sort(self.index, self.request, numbers);
                    met.append(numbers);
                }
            }
            if met.is_empty() {
                if only_preferred && self.dead_end.is_none() {
                    self.dead_end = Some((terms, from));
                }
                continue;
            }
            if only_preferred {
                met.truncate(1);
            }
            for number in met {
                self.asked_by.entry(number).or_insert(from);
                if seen.insert(number, ()).is_none() {
                    for terms in &self.index.get(number).depends {
                        open.push_back((terms.clone(), From::Package(number)));
                    }
                }
            }
        }
    }

    /// `, which a 1 needs, because b depends on it, because the recipe installs b`.
    fn which(&self, from: From) -> String {
        match from {
            From::Wish(wish) => format!(", which {} installs", self.request.install[wish].1),
            From::Package(number) => {
                let candidate = self.index.get(number);
                format!(
                    ", which {} {} needs; {}{}",
                    candidate.name,
                    candidate.version_text,
                    candidate.name,
                    self.because(number)
                )
            }
        }
    }

    /// ` is in because b needs it, and b because the recipe installs it`.
    fn because(&self, number: usize) -> String {
        let mut parts = Vec::new();
        let mut at = number;
        let mut subject = String::new();
        while let Some(from) = self.asked_by.get(&at) {
            match from {
                From::Wish(wish) => {
                    parts.push(format!("{subject} because {} installs it", self.request.install[*wish].1));
                    break;
                }
                From::Package(by) => {
                    let name = &self.index.get(*by).name;
                    parts.push(format!("{subject} because {name} needs it"));
                    subject = format!(" {name}");
                    at = *by;
                }
            }
            if parts.len() > 20 {
                break;
            }
        }
        if parts.is_empty() { " is in".into() } else { format!(" is in{}", parts.join(",")) }
    }
}
