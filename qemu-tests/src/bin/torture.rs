//! `make torture`: the storage unit started again after a power cut at every write, and beside every write that fails.

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use image_builder::progress::Progress;
use qemu_tests::guest::kit::Kit;
use qemu_tests::torture::run::{self, Choice};
use std::num::NonZeroUsize;
use std::process::ExitCode;

/// Cuts the power at every write of the storage unit, and starts it again from what each cut leaves.
#[derive(Debug, Parser)]
#[command(
    after_help = "Examples:\n  torture                  # every point\n  torture --points 200     # a sample\n  \
                        torture --scenario mirror --point \"is killed\"\n  torture --json > torture.json"
)]
struct Torture {
    /// Try so many points, spread over all.
    #[arg(long)]
    points: Option<usize>,
    /// Try the points of scenarios with this in their name.
    #[arg(long, default_value = "")]
    scenario: String,
    /// Try the points with this in what goes wrong.
    #[arg(long, default_value = "")]
    point: String,
    /// Guests side by side, of one processor each.
    #[arg(long, default_value = "2")]
    guests: NonZeroUsize,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let (torture, progress) = (Torture::parse(), Progress::stderr());
    match torture.run(&progress) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress.say(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

impl Torture {
    fn run(&self, progress: &Progress) -> Result<()> {
        let init = std::env::current_exe()?.with_file_name("guest-init");
        ensure!(init.exists(), "{} is not there; cargo build --workspace --bins makes it", init.display());
        let kit = Kit::make(&init, progress)?;
        let (scenario, point) = (self.scenario.clone(), self.point.clone());
        let choice = Choice { points: self.points, scenario, point };
        let report = run::run(&kit, &choice, self.guests.get(), progress)?;
        for hung in &report.hung {
            progress.say(format!("a guest did not answer, and another did: {hung}"));
        }
        let total = report.total();
        for why in total.neither.iter().chain(&total.refused) {
            progress.say(format!("not converged: {why}"));
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report).context("the report can't be told")?);
        } else {
            println!(
                "{}of {} points; the write of {} more was not made",
                report.table(),
                report.points,
                report.passed_over
            );
        }
        if let Some(why) = report.cut_short {
            bail!("only these points were tried: {why}");
        }
        ensure!(total.neither.is_empty(), "{} points did not converge", total.neither.len());
        ensure!(
            total.refused.is_empty(),
            "the node stopped at {} points, and all it needed was its own",
            total.refused.len()
        );
        ensure!(total.foreign_bytes == 0, "{} bytes of somebody else's were written to", total.foreign_bytes);
        Ok(())
    }
}
