//! Which packages are needed, and in which versions.
//!
//! Pure and deterministic: equal indexes and wishes give equal packages. The highest version of the best suite
//! is preferred; `Recommends` are not followed. The search itself is resolvo's (conflict-driven clause
//! learning), so an answer is found whenever there is one.

use super::explain;
use super::index::Index;
use super::relation::Term;
use resolvo::utils::{Pool, VersionSet};
use resolvo::{
    Candidates, Condition, ConditionId, ConditionalRequirement, Dependencies, DependencyProvider,
    HintDependenciesAvailable, Interner, KnownDependencies, NameId, Problem, SolvableId, Solver, SolverCache, StringId,
    UnsolvableOrCancelled, VersionSetId, VersionSetUnionId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};

/// What is wanted.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Packages that must be in, each with who wants it (`the recipe`).
    pub install: Vec<(Term, String)>,
    /// Names that count as there without a package.
    pub provided: BTreeSet<String>,
    /// How much each suite is preferred, by its number: higher first. A suite that is not named is not used.
    pub preference: BTreeMap<usize, i32>,
    /// Candidates that may not be in, each with the reason (`the recipe pins x to 1.*`).
    pub barred: BTreeMap<usize, String>,
    /// Candidates that are in only if nothing else will do.
    pub last_resort: BTreeSet<usize>,
}

/// A package that is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Its number in the index.
    pub number: usize,
    /// Why: names of packages that depend on it, or who wants it.
    pub wanted_by: Vec<String>,
}

/// Finds the packages.
///
/// # Errors
/// One sentence with the chain of wishes that can't be met.
pub fn solve(index: &Index, request: &Request) -> Result<Vec<Chosen>, explain::Unsolvable> {
    let debian = Debian { index, request, pool: Pool::new() };
    let mut requirements = Vec::new();
    for (term, _) in request.install.iter().filter(|(term, _)| !request.provided.contains(&term.name)) {
        match debian.requirement(std::slice::from_ref(term)) {
            Some(requirement) => requirements.push(requirement),
            None => return Err(explain::explain(index, request, None)),
        }
    }
    let mut solver = Solver::new(debian);
    let problem = Problem::new().requirements(requirements);
    let chosen = match solver.solve(problem) {
        Ok(chosen) => chosen,
        Err(UnsolvableOrCancelled::Unsolvable(conflict)) => {
            let clash = conflict.graph(&solver);
            return Err(explain::explain(index, request, explain::clash(&clash, |s| solver.provider().number(s))));
        }
        Err(UnsolvableOrCancelled::Cancelled(_)) => return Err(explain::explain(index, request, None)),
    };
    let numbers: BTreeSet<usize> = chosen.into_iter().map(|s| solver.provider().number(s)).collect();
    Ok(with_reasons(index, request, &numbers))
}

/// Whether a candidate may be in at all.
pub(super) fn usable(index: &Index, request: &Request, number: usize) -> bool {
    request.preference.contains_key(&index.get(number).suite) && !request.barred.contains_key(&number)
}

/// Best first: no last resort, preferred suite, higher version, earlier suite.
pub(super) fn sort(index: &Index, request: &Request, numbers: &mut [usize]) {
    numbers.sort_by(|a, b| {
        let resort = |number| request.last_resort.contains(number);
        let resorts = resort(a).cmp(&resort(b));
        let (a, b) = (index.get(*a), index.get(*b));
        let preference = |suite| request.preference.get(&suite).copied().unwrap_or(i32::MIN);
        resorts
            .then_with(|| preference(b.suite).cmp(&preference(a.suite)))
            .then_with(|| b.version.cmp(&a.version))
            .then_with(|| a.suite.cmp(&b.suite))
            .then_with(|| a.sha256.cmp(&b.sha256))
    });
}

/// The chosen packages by name, each with the chosen packages that need it. What nothing needs any more (the
/// search may have tried it) is left out.
fn with_reasons(index: &Index, request: &Request, numbers: &BTreeSet<usize>) -> Vec<Chosen> {
    let mut reasons: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    let mut open: Vec<usize> = Vec::new();
    let mut want = |terms: &[Term], who: &str, open: &mut Vec<usize>| {
        if terms.iter().any(|t| request.provided.contains(&t.name)) {
            return;
        }
        let met: BTreeSet<usize> = terms
            .iter()
            .flat_map(|term| {
                let (own, provided) = index.matching(term);
                own.into_iter().chain(provided)
            })
            .filter(|n| numbers.contains(n))
            .collect();
        for number in met {
            let known = reasons.contains_key(&number);
            reasons.entry(number).or_default().insert(who.to_owned());
            if !known {
                open.push(number);
            }
        }
    };
    for (term, who) in &request.install {
        want(std::slice::from_ref(term), who, &mut open);
    }
    while let Some(number) = open.pop() {
        let candidate = index.get(number);
        for terms in &candidate.depends {
            want(terms, &candidate.name, &mut open);
        }
    }
    let mut chosen: Vec<Chosen> = reasons
        .into_iter()
        .map(|(number, why)| Chosen {
            number,
            wanted_by: why.into_iter().filter(|w| *w != index.get(number).name).collect(),
        })
        .collect();
    chosen.sort_by(|a, b| index.get(a.number).name.cmp(&index.get(b.number).name));
    chosen
}

/// Candidates of one name that meet a term, by number.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Numbers(Vec<usize>);

/// A candidate's number.
#[derive(Debug, Clone, Copy)]
struct Number(usize);

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl VersionSet for Numbers {
    type V = Number;
}

/// The index as resolvo asks for it. Every relation is turned into sets of candidates under their own names, so
/// that provided names need no packages of their own.
struct Debian<'a> {
    index: &'a Index,
    request: &'a Request,
    pool: Pool<Numbers>,
}

impl Debian<'_> {
    fn number(&self, solvable: SolvableId) -> usize {
        self.pool.resolve_solvable(solvable).record.0
    }

    /// Sets of candidates by name, in the order of the names given.
    fn sets(&self, numbers: impl Iterator<Item = usize>) -> Vec<(String, Vec<usize>)> {
        let mut sets: Vec<(String, Vec<usize>)> = Vec::new();
        for number in numbers {
            let name = &self.index.get(number).name;
            match sets.iter_mut().find(|(known, _)| known == name) {
                Some((_, set)) => set.push(number),
                None => sets.push((name.clone(), vec![number])),
            }
        }
        sets
    }

    fn version_set(&self, name: &str, mut numbers: Vec<usize>) -> VersionSetId {
        numbers.sort_unstable();
        let name = self.pool.intern_package_name(name);
        self.pool.intern_version_set(name, Numbers(numbers))
    }

    /// What has to be met for one of these terms; none if nothing can.
    fn requirement(&self, terms: &[Term]) -> Option<ConditionalRequirement> {
        let mut numbers = Vec::new();
        for term in terms {
            let (own, mut provided) = self.index.matching(term);
            // Which of several providers: by preference, then by name, so that the answer is always the same.
            sort(self.index, self.request, &mut provided);
            provided.sort_by(|a, b| self.index.get(*a).name.cmp(&self.index.get(*b).name));
            numbers.extend(own.into_iter().chain(provided).filter(|n| usable(self.index, self.request, *n)));
        }
        let sets: Vec<VersionSetId> =
            self.sets(numbers.into_iter()).into_iter().map(|(name, set)| self.version_set(&name, set)).collect();
        let (first, others) = sets.split_first()?;
        Some(if others.is_empty() {
            (*first).into()
        } else {
            self.pool.intern_version_set_union(*first, others.iter().copied()).into()
        })
    }
}

impl Interner for Debian<'_> {
    type NameId = NameId;
    type SolvableId = SolvableId;

    fn display_solvable(&self, solvable: SolvableId) -> impl Display + '_ {
        let candidate = self.index.get(self.number(solvable));
        format!("{} {}", candidate.name, candidate.version_text)
    }
    fn display_name(&self, name: NameId) -> impl Display + '_ {
        self.pool.resolve_package_name(name).clone()
    }
    fn display_version_set(&self, version_set: VersionSetId) -> impl Display + '_ {
        format!("{:?}", self.pool.resolve_version_set(version_set).0)
    }
    fn display_string(&self, string: StringId) -> impl Display + '_ {
        self.pool.resolve_string(string).to_owned()
    }
    fn version_set_name(&self, version_set: VersionSetId) -> NameId {
        self.pool.resolve_version_set_package_name(version_set)
    }
    fn solvable_name(&self, solvable: SolvableId) -> NameId {
        self.pool.resolve_solvable(solvable).name
    }
    fn version_sets_in_union(&self, union: VersionSetUnionId) -> impl Iterator<Item = VersionSetId> {
        self.pool.resolve_version_set_union(union)
    }
    fn resolve_condition(&self, condition: ConditionId) -> Condition {
        self.pool.resolve_condition(condition).clone()
    }
}

impl DependencyProvider for Debian<'_> {
    async fn filter_candidates(&self, candidates: &[SolvableId], set: VersionSetId, inverse: bool) -> Vec<SolvableId> {
        let set = &self.pool.resolve_version_set(set).0;
        candidates.iter().copied().filter(|s| set.contains(&self.number(*s)) != inverse).collect()
    }

    async fn get_candidates(&self, name: NameId) -> Option<Candidates> {
        let text = self.pool.resolve_package_name(name);
        let candidates = self
            .index
            .versions(text)
            .iter()
            .filter(|n| usable(self.index, self.request, **n))
            .map(|n| self.pool.intern_solvable(name, Number(*n)))
            .collect();
        Some(Candidates {
            candidates,
            hint_dependencies_available: HintDependenciesAvailable::None,
            ..Candidates::default()
        })
    }

    async fn sort_candidates(&self, _solver: &SolverCache<Self>, solvables: &mut [SolvableId]) {
        let mut numbers: Vec<usize> = solvables.iter().map(|s| self.number(*s)).collect();
        sort(self.index, self.request, &mut numbers);
        solvables.sort_by_key(|s| numbers.iter().position(|n| *n == self.number(*s)));
    }

    async fn get_dependencies(&self, solvable: SolvableId) -> Dependencies {
        let candidate = self.index.get(self.number(solvable));
        let mut known = KnownDependencies::default();
        for terms in &candidate.depends {
            if terms.iter().any(|t| self.request.provided.contains(&t.name)) {
                continue;
            }
            match self.requirement(terms) {
                Some(requirement) => known.requirements.push(requirement),
                None => {
                    let why = format!("{} needs what nothing offers", candidate.name);
                    return Dependencies::Unknown(self.pool.intern_string(why));
                }
            }
        }
        for term in &candidate.conflicts {
            let (own, provided) = self.index.matching(term);
            // A package may conflict with a name that it provides itself: "only one of us" (Debian Policy, 7.4).
            let others = own.into_iter().chain(provided).filter(|n| self.index.get(*n).name != candidate.name);
            for (name, excluded) in self.sets(others) {
                let allowed = self.index.versions(&name).iter().copied().filter(|n| !excluded.contains(n)).collect();
                known.constrains.push(self.version_set(&name, allowed));
            }
        }
        Dependencies::Known(known)
    }
}

#[cfg(test)]
mod tests;
