//! Stage 1: the initrd's only program, from the kernel's start to systemd.
//!
//! It starts nothing that is not covered by the UKI's signature: the running command line is the signed one,
//! the root is the one whose hash stands on it, `/etc` is made anew. Whatever goes wrong ends in a page on
//! every console that stays there: no shell, no restart.

pub mod addons;
pub mod command_line;
pub mod dm;
pub mod embedded;
pub mod enrol;
pub mod find;
pub mod loop_device;
pub mod machine_id;
pub mod modules;
pub mod mounts;
pub mod root;
pub mod uevent;
pub mod verity;
pub mod warden;

mod edge;

pub use edge::run;

use crate::report::page::{Page, Title};
use machine_config::Diagnostic;

fn refuse(code: &str, what: &str, why: &str, mend: &str) -> Diagnostic {
    Diagnostic { code: code.into(), what: what.into(), place: None, why: why.into(), mend: mend.into() }
}

fn page(title: Title, refusals: Vec<Diagnostic>) -> Page {
    let serial = std::fs::read_to_string("/sys/class/dmi/id/product_serial").unwrap_or_default();
    Page {
        title,
        at: "boot".into(),
        product: format!("Bedplate {}", env!("CARGO_PKG_VERSION")),
        machine: None,
        chassis: Some(serial.trim().to_owned()).filter(|s| !s.is_empty()),
        time: std::time::UNIX_EPOCH.elapsed().ok().map(|t| t.as_secs()),
        config: None,
        refusals,
        next: "The node stays here. Switch it off and on when this is mended.".into(),
    }
}
