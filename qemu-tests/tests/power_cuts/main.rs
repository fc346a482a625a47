//! Tier *power_cuts*: a sample of what `make torture` tries in full. The storage unit is started again after power cuts
//! and failing writes, spread over all there are.

use anyhow::{Result, bail, ensure};
use image_builder::progress::Progress;
use qemu_tests::guest::kit::Kit;
use qemu_tests::tiers::{self, Shared};
use qemu_tests::torture::report::{Kind, Report};
use qemu_tests::torture::run::{self, Choice};
use qemu_tests::torture::scenario;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// The guest's first program, built by cargo together with this test.
const INIT: &str = env!("CARGO_BIN_EXE_guest-init");
/// How many guests, of one processor each, try them: another tier runs beside this one.
const GUESTS: usize = 1;
/// How many points are tried.
const POINTS: usize = 100;
/// How many guests may break down at a point where another then does not: in software emulation few of a hundred kernels
/// do so by themselves, and each guest here serves many points.
const BREAKDOWNS: usize = 3;

fn main() -> ExitCode {
    let shared: Arc<Shared<Report>> = Arc::default();
    let test = |name: &str, check: fn(&Report) -> Result<()>| {
        let shared = shared.clone();
        tiers::case(name, move || check(shared.get(tried)?))
    };
    let trials = vec![
        test("invariant 4: a start after each of 100 power cuts and failing writes converges in one run", converges),
        test("invariant 2: not a byte of somebody else's is written to at any of them", nothing_foreign),
        test("invariant 2: a node that needs what is somebody else's stops without a write", stops),
        test("there are over a thousand points to try", over_a_thousand),
        test("guests don't break down", no_breakdowns),
    ];
    tiers::run("power_cuts", trials)
}

fn tried() -> Result<Report> {
    let progress = Progress::stderr();
    let choice = Choice { points: Some(POINTS), ..Choice::default() };
    let report = run::run(&Kit::make(Path::new(INIT), &progress)?, &choice, GUESTS, &progress)?;
    match &report.cut_short {
        Some(why) => bail!("the points were not all tried: {why}"),
        None => Ok(report),
    }
}

fn converges(report: &Report) -> Result<()> {
    let total = report.total();
    ensure!(total.neither.is_empty(), "{} of {} did not:\n{}", total.neither.len(), total.tried, {
        total.neither.join("\n")
    });
    ensure!(total.refused.is_empty(), "{} stopped:\n{}", total.refused.len(), total.refused.join("\n"));
    let points = |hole: bool| {
        let has_hole = |name: &str| scenario::of(name).is_some_and(|scenario| scenario.has_write_hole());
        let rows = report.rows.iter().filter(move |((name, kind), _)| *kind != Kind::Foreign && has_hole(name) == hole);
        rows.fold((0, 0), |(cut, stopped), (_, row)| (cut + row.converged, stopped + row.stopped))
    };
    let ((open, open_stopped), (closed, closed_stopped)) = (points(true), points(false));
    let done = open + open_stopped + closed + closed_stopped;
    ensure!(done + report.passed_over >= POINTS, "only {done} came out:\n{}", report.table());
    // An array that has lost a member, and another refuses a write.
    ensure!(closed_stopped <= POINTS / 10, "{closed_stopped} points stopped the node:\n{}", report.table());
    // An array that lacks a member and was being written to; it is at rest for some of the time.
    ensure!(open_stopped <= 3 * open, "only {open} started with a write hole:\n{}", report.table());
    // The write that should fail is not made at every point, but at most.
    ensure!(report.passed_over <= POINTS / 10, "{} points were passed over", report.passed_over);
    Ok(())
}

fn nothing_foreign(report: &Report) -> Result<()> {
    let bytes = report.total().foreign_bytes;
    ensure!(bytes == 0, "{bytes} bytes were:\n{}", report.table());
    Ok(())
}

fn stops(report: &Report) -> Result<()> {
    let rows: Vec<_> = report.rows.iter().filter(|((_, kind), _)| *kind == Kind::Foreign).collect();
    ensure!(rows.len() == 7, "only {} scenarios should stop", rows.len());
    for ((scenario, _), row) in rows {
        ensure!(row.stopped == row.tried, "{scenario}: {}", row.neither.join("\n"));
    }
    Ok(())
}

fn over_a_thousand(report: &Report) -> Result<()> {
    ensure!(report.points > 1000, "there are {}", report.points);
    Ok(())
}

fn no_breakdowns(report: &Report) -> Result<()> {
    ensure!(report.hung.len() <= BREAKDOWNS, "{} did:\n{}", report.hung.len(), report.hung.join("\n"));
    Ok(())
}
