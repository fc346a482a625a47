//! Records each scenario once, and starts it again from each point.

use super::bed::{Bed, Fault, Recorded};
use super::cut::{self, Cut};
use super::judge::{self, Outcome};
use super::report::{Kind, Report};
use super::scenario::{self, Begins, Scenario};
use super::talk::{How, Sabotage};
use crate::block_server::Event;
use crate::block_server::contents::Contents;
use crate::guest::disks::SYSTEM;
use crate::guest::kit::Kit;
use anyhow::{Context, Result, bail};
use image_builder::progress::{Progress, Unit};
use image_builder::qemu::Interrupt;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// Which of all points are tried.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// So many, evenly spread; all if this is none.
    pub points: Option<usize>,
    /// Those of scenarios with this in their name.
    pub scenario: String,
    /// Those with this in what goes wrong, in words.
    pub point: String,
}

/// Tries the points of `choice`, on this many guests side by side. The report says whether that came to its end.
///
/// # Errors
/// When a guest does not start, or a scenario does not come out as it should without any fault.
pub fn run(kit: &Kit, choice: &Choice, guests: usize, progress: &Progress) -> Result<Report> {
    let interrupt = Interrupt::catch()?;
    let mut report = Report::default();
    let jobs = jobs(kit, &mut report, progress)?;
    report.points = jobs.len();
    let is_meant =
        |job: &Job| job.recording.scenario.name.contains(&choice.scenario) && job.to_string().contains(&choice.point);
    let jobs: Vec<Job> = jobs.into_iter().filter(is_meant).collect();
    let jobs = cut::sample(&jobs, choice.points.unwrap_or(jobs.len()));
    let task = progress.task("power cuts and failing writes", jobs.len() as u64, Unit::Count("points"));
    let (queue, report) = (Mutex::new(VecDeque::from(jobs)), Mutex::new(report));
    let worked: Vec<Result<()>> = std::thread::scope(|scope| {
        let work = || -> Result<()> {
            let mut worker = Worker { kit, bed: None };
            loop {
                interrupt.check()?;
                let job = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some(job) = job else { return Ok(()) };
                let starts = worker.tried_twice(&job, &report)?;
                let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
                let name = &job.recording.scenario.name;
                if let Some(why) = report.note(name, job.point.kind(), &job.to_string(), &starts) {
                    progress.say(why);
                }
                task.add(1);
            }
        };
        let workers: Vec<_> = (0..guests).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|w| w.join().unwrap_or_else(|_| bail!("a worker panicked"))).collect()
    });
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.cut_short = worked.into_iter().find_map(Result::err).map(|error| format!("{error:#}"));
    Ok(report)
}

/// What a scenario wrote when nothing went wrong.
#[derive(Debug)]
struct Recording {
    scenario: Scenario,
    before: Vec<Contents>,
    events: Vec<Event>,
}

/// One start to be made, and judged.
#[derive(Debug, Clone)]
struct Job {
    recording: Arc<Recording>,
    point: Point,
}

/// What goes wrong.
#[derive(Debug, Clone)]
enum Point {
    /// The power is cut once.
    Cut(Cut),
    /// The power is cut, and again while the start after that goes on; where follows from the number.
    CutAgain(Cut, usize),
    /// A write fails, after so many good ones.
    FailingWrite(usize),
    /// A tool, with the name it is called by, fails.
    FailingTool(Sabotage, String),
}

impl Point {
    fn kind(&self) -> Kind {
        match self {
            Point::Cut(_) => Kind::Cut,
            Point::CutAgain(..) => Kind::CutAgain,
            Point::FailingWrite(_) => Kind::FailingWrite,
            Point::FailingTool(..) => Kind::FailingTool,
        }
    }
}

impl std::fmt::Display for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.point {
            Point::Cut(cut) => write!(f, "cut {cut}"),
            Point::CutAgain(cut, number) => write!(f, "cut {cut}, and again (number {number})"),
            Point::FailingWrite(good) => write!(f, "write {} fails", good + 1),
            Point::FailingTool(sabotage, tool) => {
                write!(f, "{tool}, call {} of a tool, {}", sabotage.call + 1, sabotage.how)
            }
        }
    }
}

/// Runs every scenario once, without a fault, and gives all points of those that write.
fn jobs(kit: &Kit, report: &mut Report, progress: &Progress) -> Result<Vec<Job>> {
    let mut bed = Bed::start(kit)?;
    let mut state = None;
    let mut made: BTreeMap<String, Vec<Contents>> = BTreeMap::new();
    let mut jobs = Vec::new();
    let system = scenario::exports().iter().position(|e| e.serial == SYSTEM).context("there is no system disk")?;
    for scenario in scenario::all() {
        let mut before = scenario.contents()?;
        match scenario.begins {
            Begins::Blank => {}
            Begins::State => {
                before[system] = Clone::clone(state.as_ref().context("the state partition is not made first")?);
            }
            Begins::Made(by) => {
                let made = made.get(by).with_context(|| format!("{by:?} does not come before {:?}", scenario.name))?;
                for at in scenario.common_disks(&scenario::of(by).context("there is no such scenario")?) {
                    before[at] = made[at].clone();
                }
            }
        }
        let recorded = bed.run(&scenario, before.clone(), &Fault::None)?;
        let (outcome, foreign) = judged(&scenario, &before, &recorded);
        if scenario.stops {
            report.note(&scenario.name, Kind::Foreign, "no fault", &[(outcome, foreign)]);
            continue;
        }
        if outcome != Outcome::Converged || foreign > 0 {
            bail!("{:?} does not come out without a fault: {outcome:?}, {foreign} foreign bytes", scenario.name);
        }
        match scenario.begins {
            Begins::Blank => drop(state.get_or_insert(recorded.after[system].clone())),
            Begins::State | Begins::Made(_) if scenario.is_begun_with() => {
                made.insert(scenario.name.clone(), bed.fill(&scenario, before.clone())?);
            }
            Begins::State | Begins::Made(_) => {}
        }
        let writes = recorded.events.iter().filter(|e| matches!(e, Event::Write { .. })).count();
        let cuts = cut::all(&recorded.events, before.len());
        let calls = &recorded.ran.calls;
        progress.say(format!(
            "{}: {writes} writes, {} cuts, {} calls of tools",
            scenario.name,
            cuts.len(),
            calls.len()
        ));
        let again = cuts.iter().enumerate().step_by(4).map(|(number, cut)| Point::CutAgain(cut.clone(), number));
        let points = cuts.iter().cloned().map(Point::Cut).chain(again).chain((0..writes).map(Point::FailingWrite));
        let points: Vec<Point> = points.chain(failing_tools(calls)).collect();
        let recording = Arc::new(Recording { scenario, before, events: recorded.events });
        jobs.extend(points.into_iter().map(|point| Job { recording: recording.clone(), point }));
    }
    Ok(jobs)
}

/// Everything that can become of each of these calls.
fn failing_tools(calls: &[String]) -> impl Iterator<Item = Point> {
    const HOW: [How; 6] = [How::Refuses, How::FailsLate, How::Killed(1), How::Killed(20), How::Killed(100), How::Hangs];
    let point = |(call, tool): (usize, &String), how| Point::FailingTool(Sabotage { call, how }, tool.clone());
    calls.iter().enumerate().flat_map(move |at| HOW.map(|how| point(at, how)))
}

fn judged(scenario: &Scenario, before: &[Contents], recorded: &Recorded) -> (Outcome, u64) {
    (judge::outcome_in_full(scenario, recorded), judge::foreign_bytes(scenario, before, recorded))
}

/// A thread with a guest of its own.
struct Worker<'a> {
    kit: &'a Kit,
    bed: Option<Bed>,
}

impl Worker<'_> {
    /// As [`Worker::tried`]. A guest that does not answer is switched off, and the job tried once more on another: few of
    /// a hundred kernels break down in software emulation by themselves. A second time it is what the job came to.
    fn tried_twice(&mut self, job: &Job, report: &Mutex<Report>) -> Result<Vec<(Outcome, u64)>> {
        for last in [false, true] {
            match self.tried(job) {
                Ok(starts) => return Ok(starts),
                Err(error) => {
                    self.bed = None;
                    if last {
                        return Ok(vec![(Outcome::Neither(format!("{error:#}")), 0)]);
                    }
                    report.lock().unwrap_or_else(PoisonError::into_inner).hung.push(format!("{job}: {error:#}"));
                }
            }
        }
        Ok(Vec::new())
    }

    /// What each start came to that the job is about; nothing if the write that should fail was never made: how often
    /// an array's members are written to depends on how long things take.
    fn tried(&mut self, job: &Job) -> Result<Vec<(Outcome, u64)>> {
        let Recording { scenario, before, events } = &*job.recording;
        let bed = match &mut self.bed {
            Some(bed) => bed,
            none => none.insert(Bed::start(self.kit)?),
        };
        let mut start = |contents: &[Contents], fault: &Fault| bed.run(scenario, contents.to_vec(), fault);
        match &job.point {
            Point::Cut(cut) => {
                let left = cut.leaves(before, events);
                let recorded = start(&left, &Fault::None)?;
                Ok(vec![judged(scenario, &left, &recorded)])
            }
            Point::CutAgain(cut, number) => {
                let left = cut.leaves(before, events);
                let first = start(&left, &Fault::None)?;
                let cuts = cut::all(&first.events, before.len());
                let again = &cuts[number % cuts.len()];
                let torn = again.leaves(&left, &first.events);
                let second = start(&torn, &Fault::None)?;
                Ok(vec![judged(scenario, &left, &first), judged(scenario, &torn, &second)])
            }
            Point::FailingWrite(good) => {
                let failing = start(before, &Fault::Write(*good))?;
                if failing.refused == 0 {
                    return Ok(Vec::new());
                }
                let foreign = judge::foreign_bytes(scenario, before, &failing);
                let next = start(&failing.after, &Fault::None)?;
                let outcome = judge::outcome_after_failing_write(scenario, &next);
                let outcome = judge::holding(&failing).unwrap_or(outcome);
                Ok(vec![(outcome, foreign + judge::foreign_bytes(scenario, &failing.after, &next))])
            }
            Point::FailingTool(sabotage, _) => {
                let failing = start(before, &Fault::Tool(sabotage.clone()))?;
                let foreign = judge::foreign_bytes(scenario, before, &failing);
                let next = start(&failing.after, &Fault::None)?;
                let (outcome, next_foreign) = judged(scenario, &failing.after, &next);
                let outcome = judge::holding(&failing).unwrap_or(outcome);
                Ok(vec![(outcome, foreign + next_foreign)])
            }
        }
    }
}
