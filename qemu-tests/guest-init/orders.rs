//! Runs the storage unit when the host says so, as often as it does, on disks that change in between.

use crate::{cases, lay, saboteur};
use firstboot::observe;
use firstboot::storage::{self, Status, StorageOutcome};
use machine_config::schema::MachineConfig;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use qemu_tests::torture::scenario;
use qemu_tests::torture::talk::{self, Compared, FILE, Order, PORT, Ran, Said};
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Write};
use std::panic::catch_unwind;
use std::time::{Duration, Instant};
use storage_plan::Verdict;
use storage_plan::inventory::RunningArray;

/// How long arrays may take until they are at rest.
const REST: Duration = Duration::from_secs(60);
/// A member that the kernel has not begun to fill by then stays as it is: what it would be filled from has failed. Where nothing
/// fails it is filled, however late a busy machine begins.
const BEGINS: Duration = Duration::from_secs(10);
/// So many files are written to a volume while its array is rebuilt.
const SMALL_FILES: usize = 4;

/// Listens until the power is cut.
pub fn serve() -> ! {
    let port = OpenOptions::new().read(true).write(true).open(PORT).unwrap();
    // Nothing is echoed, and no character means anything.
    let mut attributes = tcgetattr(&port).unwrap();
    cfmakeraw(&mut attributes);
    tcsetattr(&port, SetArg::TCSANOW, &attributes).unwrap();
    let mut from = BufReader::new(port.try_clone().unwrap());
    scenario::exports().iter().for_each(|export| lay::wait_for(&export.serial));
    saboteur::lie_in_wait();
    say(&port, &Said::Ready);
    loop {
        let order: Order = talk::hear(&mut from).unwrap();
        println!("\norder {order:?}");
        let done = catch_unwind(|| obey(&order));
        let said = done.unwrap_or_else(|panic| Said::Stuck(crate::words(panic.as_ref())));
        say(&port, &said);
    }
}

fn say(mut port: &File, said: &Said) {
    talk::say(&mut port, said).unwrap();
}

fn obey(order: &Order) -> Said {
    match order {
        Order::Run(run) => {
            let scenario = scenario::of(&run.scenario).unwrap_or_else(|| panic!("there is no scenario {run:?}"));
            read_disks_anew();
            saboteur::prepare(run.sabotage.as_ref());
            let (outcome, _) = cases::run_watched(&scenario.config);
            let calls = saboteur::calls();
            saboteur::prepare(None);
            let mut ran = ran(outcome, calls, &scenario.config);
            if run.fill {
                mounts().iter().for_each(|at| write(&format!("{at}/{FILE}"), &talk::contents()));
            }
            if run.settle {
                settle(run.fill, if run.fill { REST } else { BEGINS });
                if scenario.grows() && ran.status != Status::Stopped {
                    // The kernel has told the watch that the array is at rest.
                    storage::keep_up(&scenario.config, Some(&cases::boot()), None, &|step| println!("  {step}"))
                        .unwrap();
                    (ran.again, ran.steps_left) = again(&scenario.config);
                }
            }
            Said::Ran(ran)
        }
        Order::Compare => Said::Compared(compare()),
        Order::LetGo => {
            cases::stop_all();
            waiting_arrays()
                .iter()
                .for_each(|name| crate::tool("/usr/sbin/mdadm", &["--stop", &format!("/dev/{name}")]));
            read_disks_anew();
            Said::LetGo
        }
    }
}

fn ran(outcome: StorageOutcome, calls: Vec<String>, config: &MachineConfig) -> Ran {
    let (again, steps_left) = again(config);
    Ran {
        status: outcome.status,
        refusals: outcome.refusals.iter().map(ToString::to_string).collect(),
        volumes: outcome.volumes.into_iter().map(|v| (v.volume, v.verdict, v.available)).collect(),
        again,
        steps_left,
        waiting: waiting_arrays(),
        calls,
    }
}

/// What another run would make of each volume, and in how many steps.
fn again(config: &MachineConfig) -> (Vec<(String, Verdict)>, usize) {
    let again = storage_plan::plan(&observe::read(Some(&cases::boot())).unwrap(), config);
    (again.volumes.iter().map(|v| (v.volume.clone(), v.verdict)).collect(), again.graph.steps.len())
}

/// Arrays that have members and do not run, by the kernel's names.
fn waiting_arrays() -> Vec<String> {
    let state = |name: &str| fs::read_to_string(format!("/sys/block/{name}/md/array_state")).unwrap_or_default();
    let names = fs::read_dir("/sys/block").unwrap().flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    names.filter(|name| state(name).trim() == "inactive").collect()
}

/// Where volumes are mounted.
fn mounts() -> Vec<String> {
    observe::places().unwrap().into_iter().filter(|at| at.starts_with("/var")).collect()
}

/// As a program does that wants it on the medium. It may fail, where a disk does.
fn write(path: &str, bytes: &[u8]) {
    let written = File::create(path).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    if let Err(error) = written {
        println!("{path} was not written: {error}");
    }
}

/// Waits until arrays are at rest, a spare as long as `begins_within` for its turn, and writes to their volumes meanwhile unless
/// `quietly`: what a node does does not stop for a rebuild.
fn settle(quietly: bool, begins_within: Duration) {
    let clock = Instant::now();
    firstboot::apply::release_syncs(&[]);
    // One that lacks a member and has a spare is about to fill it, also while the kernel has not begun to.
    let lacks = |array: &RunningArray| (array.members.len() as u64) < u64::from(array.wanted);
    let begins = |array: &RunningArray| lacks(array) && !array.spares.is_empty() && clock.elapsed() < begins_within;
    let busy = || observe::arrays().unwrap().iter().any(|array| array.sync_action != "idle" || begins(array));
    let mut files = 0..SMALL_FILES;
    while busy() {
        assert!(clock.elapsed() < REST, "{}", fs::read_to_string("/proc/mdstat").unwrap());
        match files.next().filter(|_| !quietly) {
            Some(file) => mounts().iter().for_each(|at| write(&format!("{at}/small-{file}"), &[7; 6000])),
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Holds what is mounted against what it should be, and the members of each array against each other.
fn compare() -> Compared {
    let wanted = talk::contents();
    let holds = |at: &String| fs::read(format!("{at}/{FILE}")).is_ok_and(|found| found == wanted);
    let (intact, changed) = mounts().into_iter().partition(holds);
    let mut compared = Compared { intact, changed, ..Compared::default() };
    for array in observe::arrays().unwrap() {
        if (array.members.len() as u64) < u64::from(array.wanted) {
            compared.lacking.push(array.name.clone());
        }
        let file = |name: &str| format!("/sys/block/{}/md/{name}", array.name);
        fs::write(file("sync_action"), "check").unwrap();
        settle(true, BEGINS);
        compared.mismatches += fs::read_to_string(file("mismatch_cnt")).unwrap().trim().parse::<u64>().unwrap();
    }
    compared
}

fn read_disks_anew() {
    scenario::exports().iter().for_each(|export| lay::read_anew(&export.serial));
}
