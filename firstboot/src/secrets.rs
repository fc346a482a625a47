//! What opens this node's encrypted volumes, as far as it is at hand.

use crate::boot_record::BootRecord;
use machine_config::schema::{Passphrase, recovery_file};
use std::path::Path;
use storage_plan::inventory::Keys;

/// The TPM, as the kernel shares it among programs.
pub const TPM: &str = "/dev/tpmrm0";
/// The policy of the release that runs, signed for the TPM, and the public key of who signed it; stage 1 puts both there.
pub const POLICY: &str = "/run/systemd/tpm2-pcr-signature.json";
/// As [`POLICY`].
pub const POLICY_KEY: &str = "/run/systemd/tpm2-pcr-public-key.pem";

/// Keys, and what the TPM may be relied on for.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    /// The passphrase of the bundle.
    pub passphrase: Option<Passphrase>,
    /// The recovery key, while a person has it plugged in.
    pub recovery: Option<Passphrase>,
    /// The file in which it is found.
    pub recovery_file: String,
    /// Whether there is a TPM.
    pub tpm: bool,
    /// Whether the firmware checked what was started, and that carries a signed policy. Otherwise whoever has the machine could
    /// start what he likes, and have the TPM open volumes for it.
    pub is_sealed: bool,
}

impl Secrets {
    /// With what the machine itself has.
    #[must_use]
    pub fn gather(
        boot: Option<&BootRecord>,
        machine: &str,
        passphrase: Option<Passphrase>,
        recovery: Option<Passphrase>,
    ) -> Secrets {
        let has = |path: &str| Path::new(path).exists();
        let is_checked = boot.is_some_and(|boot| boot.secure_boot == Some(true));
        Secrets {
            passphrase,
            recovery,
            recovery_file: recovery_file(machine),
            tpm: has(TPM),
            is_sealed: is_checked && has(POLICY) && has(POLICY_KEY),
        }
    }

    /// What a plan may count on.
    #[must_use]
    pub fn at_hand(&self) -> Keys {
        let Secrets { passphrase, recovery, tpm, is_sealed, .. } = self;
        Keys { passphrase: passphrase.is_some(), recovery: recovery.is_some(), tpm: *tpm, is_sealed: *is_sealed }
    }
}
