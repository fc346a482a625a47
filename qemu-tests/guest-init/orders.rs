//! Runs the storage unit when the host says so, as often as it does, on disks that change in between.

use crate::{cases, lay};
use firstboot::storage::StorageOutcome;
use machine_config::schema::MachineConfig;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use qemu_tests::torture::scenario;
use qemu_tests::torture::talk::{self, Order, PORT, Ran, Said};
use std::fs::{File, OpenOptions};
use std::io::BufReader;
use std::panic::catch_unwind;

/// Listens until the power is cut.
pub fn serve() -> ! {
    let port = OpenOptions::new().read(true).write(true).open(PORT).unwrap();
    // Nothing is echoed, and no character means anything.
    let mut attributes = tcgetattr(&port).unwrap();
    cfmakeraw(&mut attributes);
    tcsetattr(&port, SetArg::TCSANOW, &attributes).unwrap();
    let mut from = BufReader::new(port.try_clone().unwrap());
    scenario::exports().iter().for_each(|export| lay::wait_for(&export.serial));
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
        Order::Run(name) => {
            let scenario = scenario::of(name).unwrap_or_else(|| panic!("there is no scenario {name:?}"));
            read_disks_anew();
            let (outcome, _) = cases::run_watched(&scenario.config);
            Said::Ran(ran(outcome, &scenario.config))
        }
        Order::LetGo => {
            cases::stop_all();
            read_disks_anew();
            Said::LetGo
        }
    }
}

fn ran(outcome: StorageOutcome, config: &MachineConfig) -> Ran {
    let again = storage_plan::plan(&firstboot::observe::read(Some(&cases::boot())).unwrap(), config);
    Ran {
        status: outcome.status,
        refusals: outcome.refusals.iter().map(ToString::to_string).collect(),
        volumes: outcome.volumes.into_iter().map(|v| (v.volume, v.verdict, v.available)).collect(),
        again: again.volumes.iter().map(|v| (v.volume.clone(), v.verdict)).collect(),
        steps_left: again.graph.steps.len(),
    }
}

fn read_disks_anew() {
    scenario::exports().iter().for_each(|export| lay::read_anew(&export.serial));
}
