//! Builds that end at random moments: whatever was going on, the store serves the next build.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "edge: starts builders and ends them")]

use crate::person::{Person, artifacts};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::time::Duration;

/// How many builds are ended, unless the variable [`MORE`] says otherwise.
const ENDS: usize = 16;
/// Names how many builds are ended, for who has the time.
const MORE: &str = "BEDPLATE_ENDS";
/// What the image is made of: little, as each end costs time and writes what it has.
const COMPONENTS: [&str; 2] = ["cni", "pause"];
const LEFT_OUT: [&str; 3] = [
    "/usr/lib/firmware/**",
    "/usr/lib/modules/*/kernel/drivers/infiniband/**",
    "/usr/lib/modules/*/kernel/drivers/net/**",
];
/// No build is ended later in a step than this: on a busy machine one takes as long as it takes.
const LATEST: Duration = Duration::from_secs(2);

/// One step of a build, as its lines tell: `[ SECONDS] WHAT ...`.
struct Step {
    name: String,
    long: Duration,
}

/// Builds of one store are killed or interrupted by turns: in each step of a build in turn, at a moment of it that
/// chance chooses. Before each, what about half of the stages made is taken away, so that it has to be made anew. After
/// all of them a build gives the bytes of the one before them, which nobody disturbed.
pub fn at_random_moments() {
    let ends = std::env::var(MORE).map_or(ENDS, |text| text.parse().unwrap());
    let person = Person::new(None, 0o022);
    person.keep_little(&COMPONENTS, &LEFT_OUT);
    let done = person.build(&["env"], &[], "out", 0o022).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{said}");
    let expected = artifacts(&person.path("out"));
    let steps = steps(&said);
    let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
    assert!(names.len() >= 4, "{names:?}");

    let seed = rand::random();
    println!("steps {names:?}, moments from the seed {seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    let (mut ended, mut through) = (BTreeMap::new(), 0);
    while ended.values().sum::<usize>() < ends {
        let number = ended.values().sum::<usize>();
        let step = &steps[(number + through) % steps.len()];
        let signal = if number.is_multiple_of(2) { Signal::SIGKILL } else { Signal::SIGINT };
        person.forget_stages(|| chance.gen_bool(0.5));
        let _ = fs::remove_dir_all(person.path("out"));
        let log = person.path("build.log");
        // A shell that runs this test in the background has interrupts ignored.
        let mut build = person.build(&["env", "--default-signal=INT"], &[], "out", 0o022);
        build.stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        let mut build = build.spawn().unwrap();
        let said = || fs::read_to_string(&log).unwrap();
        wait_for(&mut build, || said().contains(&format!("] {} ...", step.name)));
        std::thread::sleep(step.long.min(LATEST).mul_f64(chance.gen_range(0.0..1.0)));
        let _ = kill(Pid::from_raw(build.id().try_into().unwrap()), signal);
        let status = build.wait().unwrap();
        person.wait_for_quiet();
        if status.signal() == Some(signal as i32) {
            *ended.entry(step.name.as_str()).or_default() += 1;
        } else {
            // What this step makes was there, or the build came to its end in the same moment.
            assert!(status.success(), "end {number} in {}, seed {seed}: {status}\n{}", step.name, said());
            through += 1;
            assert!(through < 2 * ends, "most builds were through before they could be ended: {ended:?}, seed {seed}");
        }
        let out = person.path("out");
        assert!(
            !out.exists() || artifacts(&out) == expected,
            "end {number} in {}, seed {seed}: half a release",
            step.name
        );
    }
    println!("ended {ended:?}, through {through}");
    assert!(ended.len() >= 4, "the ends are not spread over the steps: {ended:?}, seed {seed}");

    let _ = fs::remove_dir_all(person.path("out"));
    let done = person.build(&["env"], &[], "out", 0o022).output().unwrap();
    assert!(done.status.success(), "seed {seed}: {}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(artifacts(&person.path("out")), expected, "seed {seed}");
    assert_eq!(fs::read_dir(person.path("store/scratch")).unwrap().count(), 0, "what was left was not swept");
}

/// Waits until something is so or the build has ended.
fn wait_for(build: &mut Child, mut so: impl FnMut() -> bool) {
    while !so() && build.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The steps of a build that was not disturbed, each until the next one began.
fn steps(said: &str) -> Vec<Step> {
    let lines = said.lines().filter_map(|line| {
        let (time, what) = line.strip_prefix('[')?.split_once("] ")?;
        Some((time.trim().parse::<f64>().ok()?, what))
    });
    let lines: Vec<(f64, &str)> = lines.collect();
    let end = lines.last().map_or(0.0, |(time, _)| *time);
    let began: Vec<(f64, &str)> =
        lines.into_iter().filter_map(|(at, what)| Some((at, what.strip_suffix(" ...")?))).collect();
    let ends = began.iter().skip(1).map(|(at, _)| *at).chain([end]);
    began
        .iter()
        .zip(ends)
        .map(|((at, name), end)| Step { name: (*name).to_owned(), long: Duration::from_secs_f64((end - at).max(0.05)) })
        .collect()
}
