//! `make bench`: measures builds, those of mkosi beside them, the image, provisioning and boots, and writes `docs/performance.md`.
//!
//! The figures of each run are kept in `docs/performance.json`; page and picture are made from them alone. A part that
//! is not asked for keeps its figures.
#![allow(clippy::disallowed_methods, reason = "edge: writes the page")]

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use image_builder::progress::Progress;
use image_builder::resolve::local::AGENT_FOLDER;
use image_builder::tools::namespace;
use qemu_tests::bench::{Bench, repository};
use qemu_tests::performance::builds::Builder;
use qemu_tests::performance::figures::Figures;
use qemu_tests::performance::{boots, image, mkosi, page, picture, provision};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Measures builds, those of mkosi beside them, and boots of the example, and writes the page about it.
#[derive(Debug, Parser)]
#[command(
    name = "bench",
    after_help = "Examples:\n  bench\n  bench --only boots --runs 1\n  bench --only page       # nothing is measured"
)]
struct Cli {
    /// Measure this part alone; the figures of the other are kept.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// How often each thing is measured; the page shows the median.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..))]
    runs: u8,
    /// Folder of the release.
    #[arg(long, value_name = "DIR", default_value_os_t = repository().join("out/node"))]
    release: PathBuf,
    /// The recipe that it was built from.
    #[arg(long, value_name = "FILE", default_value_os_t = repository().join("examples/node/recipe.toml"))]
    recipe: PathBuf,
    /// The builder [default: beside this program].
    #[arg(long, value_name = "FILE")]
    bedplate: Option<PathBuf>,
    /// Folder of the agent's programs [default: what BEDPLATE_AGENT_DIR says, else target/agent].
    #[arg(long, value_name = "DIR")]
    agent: Option<PathBuf>,
    /// Where page, picture and figures are.
    #[arg(long, value_name = "DIR", default_value_os_t = repository().join("docs"))]
    docs: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Builds: cold, warm, after a change.
    Builds,
    /// Builds of mkosi with the same things, to compare; as root.
    Mkosi,
    /// Volumes made on thirty disks.
    Provision,
    /// Boots to Ready.
    Boots,
    /// The page, from the figures that are there.
    Page,
}

fn main() -> ExitCode {
    namespace::enter_if_asked();
    let progress = Progress::stderr();
    match Cli::parse().run(&progress) {
        Ok(page) => println!("{}", page.display()),
        Err(error) => {
            progress.say(format!("error: {error:#}"));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

impl Cli {
    fn run(&self, progress: &Progress) -> Result<PathBuf> {
        let file = self.docs.join("performance.json");
        let mut figures = Figures::read(&file)?;
        let wanted = |part| self.only.is_none_or(|only| only == part);
        if self.only != Some(Part::Page) {
            figures.image = Some(image::measure(&self.release)?);
        }
        if wanted(Part::Builds) {
            figures.builds = Some(self.builder()?.measure(self.runs.into(), progress)?);
            // What took minutes is kept even if the rest fails.
            figures.write(&file)?;
        }
        if wanted(Part::Mkosi) {
            figures.mkosi = Some(mkosi::measure(&self.builder()?, &self.release, self.runs.into(), progress)?);
            figures.write(&file)?;
        }
        if wanted(Part::Provision) {
            let init = std::env::current_exe()?.with_file_name("guest-init");
            figures.provision = Some(provision::measure(&init, &self.builder()?, self.runs.into(), progress)?);
            figures.write(&file)?;
        }
        if wanted(Part::Boots) {
            let bench = Bench::open(&self.release, &self.recipe, progress)?;
            figures.boots = Some(boots::measure(&bench, self.runs.into(), progress)?);
        }
        figures.write(&file)?;
        // As whoever renders the page later reads them.
        let figures = Figures::read(&file)?;
        let page = self.docs.join("performance.md");
        write(&page, &page::markdown(&figures))?;
        write(&self.docs.join("boot.svg"), &picture::svg(&page::bars(&figures)))?;
        Ok(page)
    }

    fn builder(&self) -> Result<Builder> {
        let beside = || Ok::<_, anyhow::Error>(std::env::current_exe()?.with_file_name("bedplate"));
        let bedplate = self.bedplate.clone().map_or_else(beside, Ok)?;
        let told = || self.agent.clone().or_else(|| std::env::var_os(AGENT_FOLDER).map(PathBuf::from));
        let agent = told().unwrap_or_else(|| repository().join("target/agent"));
        let absolute = |path: &Path| {
            path.canonicalize().with_context(|| format!("{} is missing; `make build` makes it", path.display()))
        };
        Ok(Builder { bedplate: absolute(&bedplate)?, agent: absolute(&agent)?, recipe: absolute(&self.recipe)? })
    }
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("{} can't be written", file.display()))
}
