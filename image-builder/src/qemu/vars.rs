//! The firmware of a guest under Secure Boot: OVMF's code, and a variable file in which our keys are enrolled.
#![allow(clippy::disallowed_methods, reason = "edge: writes the variable file")]

use super::Firmware;
use crate::tools::Tools;
use anyhow::{Context, Result};
use on_disk::efi_vars::{Time, Variable, VariableStore};
use std::path::Path;

/// When the keys were enrolled, as far as the firmware is concerned: fixed, so that the file is the same every time.
const ENROLLED: Time = Time { year: 2020, month: 1, day: 1, hour: 0, minute: 0, second: 0 };

/// The keys a guest trusts, as signature lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolledKeys {
    /// Platform key.
    pub pk: Vec<u8>,
    /// Key exchange keys.
    pub kek: Vec<u8>,
    /// What may boot.
    pub db: Vec<u8>,
}

impl EnrolledKeys {
    /// Reads `PK.esl`, `KEK.esl` and `db.esl` of a folder that `bedplate keys new` made, or of a release.
    ///
    /// # Errors
    /// When one is missing.
    pub fn read(folder: &Path) -> Result<EnrolledKeys> {
        let read = |name: &str| {
            let file = folder.join(name);
            std::fs::read(&file).with_context(|| {
                format!(
                    "{} can't be read; it is what the firmware is to trust, `bedplate keys new` makes it",
                    file.display()
                )
            })
        };
        Ok(EnrolledKeys { pk: read("PK.esl")?, kek: read("KEK.esl")?, db: read("db.esl")? })
    }

    /// `blank`, a variable file of OVMF, with these keys enrolled and Secure Boot on.
    ///
    /// # Errors
    /// When `blank` is not such a file.
    pub fn enrol(&self, blank: &[u8]) -> Result<Vec<u8>> {
        let mut store = VariableStore::parse(blank)?;
        for (name, list) in [("PK", &self.pk), ("KEK", &self.kek), ("db", &self.db)] {
            store.set(Variable::key_database(name, ENROLLED, list.clone()));
        }
        store.set(Variable::secure_boot_enable());
        Ok(store.to_bytes()?)
    }
}

/// Has the firmware try this URI first (HTTP boot), in a variable file that [`Firmware::secure_boot`] made.
///
/// # Errors
/// When the file is no such file, or can't be written.
pub fn boot_from(uri: &str, vars: &Path) -> Result<()> {
    /// A number that OVMF does not give to the entries it makes.
    const ENTRY: u16 = 0x99;
    let bytes = std::fs::read(vars).with_context(|| format!("{} can't be read", vars.display()))?;
    let mut store = VariableStore::parse(&bytes)?;
    store.set(Variable::boot_from_uri(ENTRY, "network", uri));
    store.set(Variable::boot_order(&[ENTRY]));
    std::fs::write(vars, store.to_bytes()?).with_context(|| format!("{} can't be written", vars.display()))
}

impl Firmware {
    /// OVMF of the tools tree with Secure Boot on and `keys` enrolled; its variables are kept in `vars`, which is
    /// made if it is not there.
    ///
    /// # Errors
    /// When the tools tree has no OVMF or `vars` can't be written.
    pub fn secure_boot(tools: &Tools, keys: &EnrolledKeys, vars: &Path) -> Result<Firmware> {
        let folder = tools.root().join("usr/share/OVMF");
        if !vars.exists() {
            let blank = folder.join("OVMF_VARS_4M.fd");
            let blank = std::fs::read(&blank).with_context(|| format!("{} can't be read", blank.display()))?;
            std::fs::write(vars, keys.enrol(&blank)?)
                .with_context(|| format!("{} can't be written", vars.display()))?;
        }
        Ok(Firmware { code: folder.join("OVMF_CODE_4M.secboot.fd"), vars: vars.into() })
    }
}
