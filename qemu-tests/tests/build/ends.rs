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
use std::process::Stdio;
use std::time::{Duration, Instant};

/// How many builds are ended.
const ENDS: usize = 50;
/// No build runs longer than this before it is ended.
const LATEST: Duration = Duration::from_millis(2500);
/// What the components of the image are: those that are small, as each end costs time.
const COMPONENTS: [&str; 2] = ["cni", "pause"];

/// Fifty builds of one store are killed or interrupted by turns, each at a moment that chance chose. Before each, what
/// about half of the stages made is taken away, so that early and late ones are met. After all of them a build gives the
/// bytes of the one before them, which nobody disturbed.
pub fn at_fifty_random_moments() {
    let person = Person::new(None, 0o022);
    person.keep_components(&COMPONENTS);
    let done = person.build(&["env"], &[], "out", 0o022).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let expected = artifacts(&person.path("out"));
    fs::remove_dir_all(person.path("out")).unwrap();

    let seed = rand::random();
    println!("moments from the seed {seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    // What was going on when a build was ended, and how often.
    let mut met: BTreeMap<String, usize> = BTreeMap::new();
    while met.values().sum::<usize>() < ENDS {
        let number = met.values().sum::<usize>();
        let signal = if number.is_multiple_of(2) { Signal::SIGKILL } else { Signal::SIGINT };
        let log = person.path("build.log");
        person.forget_stages(|| chance.gen_bool(0.5));
        // A shell that runs this test in the background has interrupts ignored.
        let mut build = person.build(&["env", "--default-signal=INT"], &[], "out", 0o022);
        build.stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        let (mut build, began) = (build.spawn().unwrap(), Instant::now());
        let moment = LATEST.mul_f64(chance.gen_range(0.0..1.0));
        let early = loop {
            match build.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if began.elapsed() >= moment => break None,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let said = || fs::read_to_string(&log).unwrap();
        match early {
            Some(status) => {
                assert!(status.success(), "end {number}, seed {seed}: {status}\n{}", said());
                assert_eq!(artifacts(&person.path("out")), expected, "end {number}, seed {seed}");
                fs::remove_dir_all(person.path("out")).unwrap();
            }
            None => {
                let _ = kill(Pid::from_raw(build.id().try_into().unwrap()), signal);
                let status = build.wait().unwrap();
                // It may have come to its end in the same moment.
                if status.signal() != Some(signal as i32) {
                    assert!(status.success(), "end {number}, seed {seed}: {status}\n{}", said());
                }
                person.wait_for_quiet();
                let out = person.path("out");
                assert!(!out.exists() || artifacts(&out) == expected, "end {number}, seed {seed}: half a release");
                *met.entry(last_task(&said())).or_default() += 1;
            }
        }
    }
    println!("ended while: {met:?}");
    assert!(met.len() >= 3, "the moments are not spread over the stages: {met:?}");

    let done = person.build(&["env"], &[], "out", 0o022).output().unwrap();
    assert!(done.status.success(), "seed {seed}: {}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(artifacts(&person.path("out")), expected, "seed {seed}");
    assert_eq!(fs::read_dir(person.path("store/scratch")).unwrap().count(), 0, "what was left was not swept");
}

/// What the builder began last, from its lines `[ SECONDS] WHAT ...`.
fn last_task(said: &str) -> String {
    let mut tasks = said.lines().filter_map(|line| line.split_once("] ")?.1.strip_suffix(" ..."));
    tasks.next_back().unwrap_or("before the first step").to_owned()
}
