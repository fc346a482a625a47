//! What lies between a volume's place and what it holds: nothing, or a LUKS header and what it shows once it is open.

use super::{Context, Draft, Holds};
use crate::action::{Action, Target};
use crate::inventory::{Device, Opened, Signature, Uses};
use crate::layer::{filesystem, luks};
use crate::ownership::{Inside, inside};
use crate::refusal::{self, diagnostic};
use machine_config::Diagnostic;
use machine_config::schema::{Encrypt, recovery_file};

/// A volume's place as it was observed: a partition of ours, or an array that runs.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) signatures: &'a [Signature],
    pub(super) uses: &'a Uses,
}

/// What a finished volume turned out to be.
pub(super) struct Found {
    /// What is wrong with it.
    amiss: Option<Amiss>,
    /// Whether it is open, or needs not be.
    pub(super) is_open: bool,
    /// Whether programs find it where they should.
    pub(super) is_offered: bool,
    /// What else uses it, in words.
    pub(super) in_use: Option<String>,
}

enum Amiss {
    /// It holds something else, in words.
    Holds(String),
    /// It is encrypted, and is not to be.
    Encrypted,
    /// It is what it should be, but for not being encrypted.
    NotEncrypted,
}

impl Found {
    /// Why it is refused, if it is not what was made.
    pub(super) fn refusal(&self, device: &Device, volume: &str) -> Option<Diagnostic> {
        let other = |made: &str, asked: &str, mend: &str| {
            diagnostic(
                refusal::OTHER_ENCRYPTION,
                format!("\"{volume}\" was made {made}, and the configuration asks for it {asked}."),
                format!(
                    "It is on {}. What is there is never made into the other. Nothing was written.",
                    device.words()
                ),
                format!("{mend} `encrypt` for \"{volume}\", or raise its generation to make it anew."),
            )
        };
        Some(match self.amiss.as_ref()? {
            Amiss::Holds(holds) => super::changed_inside(device, holds, volume),
            Amiss::Encrypted => other("encrypted", "without that", "Write"),
            Amiss::NotEncrypted => other("without encryption", "encrypted", "Take out"),
        })
    }
}

impl Context<'_> {
    /// What shows what the encrypted volume in this place holds, if it is open.
    fn opened(&self, draft: &Draft, place: Place<'_>) -> Option<&Opened> {
        let is_it = |o: &&Opened| o.uuid == draft.luks && place.uses.holders.contains(&o.name);
        self.inventory.opened.iter().find(is_it)
    }

    /// Whether it is encrypted, and open.
    pub(super) fn is_open(&self, draft: &Draft, place: Place<'_>) -> bool {
        self.opened(draft, place).is_some()
    }

    /// What a finished volume turned out to be.
    pub(super) fn found(&self, draft: &Draft, wanted: &Holds<'_>, place: Place<'_>) -> Found {
        let (content, uuid, at) = (wanted.content, &draft.verdict.filesystem, &draft.verdict.mount);
        let is_header = || inside(place.signatures, luks::HEADER, &draft.luks) == Inside::Ours;
        if !wanted.is_encrypted() {
            let holds = filesystem::amiss(place.signatures, content, uuid);
            let amiss = holds.map(|holds| if is_header() { Amiss::Encrypted } else { Amiss::Holds(holds) });
            let in_use = place.uses.words();
            return Found { amiss, is_open: true, is_offered: place.uses.is_at(at), in_use };
        }
        let opened = self.opened(draft, place);
        let is_plain = || filesystem::is_made(place.signatures, content, uuid);
        let amiss = match inside(place.signatures, luks::HEADER, &draft.luks) {
            Inside::Ours => opened.and_then(|o| filesystem::amiss(&o.signatures, content, uuid)).map(Amiss::Holds),
            Inside::Other(_) if is_plain() => Some(Amiss::NotEncrypted),
            Inside::Other(holds) => Some(Amiss::Holds(holds)),
            Inside::Nothing => Some(Amiss::Holds("no LUKS header".into())),
        };
        Found {
            amiss,
            is_open: opened.is_some(),
            is_offered: opened.is_some_and(|o| o.uses.is_at(at)),
            in_use: in_use(place, opened),
        }
    }

    /// What keeps a volume from being made anew in this place: what else than an interrupted run's it holds, and what uses it.
    /// Both in words.
    pub(super) fn in_the_way(
        &self,
        draft: &Draft,
        wanted: &Holds<'_>,
        place: Place<'_>,
    ) -> (Option<String>, Option<String>) {
        if !wanted.is_encrypted() {
            let holds = filesystem::in_the_way(place.signatures, wanted.content, &draft.verdict.filesystem);
            return (holds, place.uses.words());
        }
        let holds = match inside(place.signatures, luks::HEADER, &draft.luks) {
            Inside::Ours | Inside::Nothing => None,
            Inside::Other(holds) => Some(holds),
        };
        // One that was left open is closed before it is made anew.
        let opened = self.opened(draft, place);
        (holds, in_use(place, opened))
    }

    /// Why an encrypted volume can't be opened.
    pub(super) fn closed(&self, wanted: &Holds<'_>, volume: &str) -> Option<Diagnostic> {
        let (keys, file) = (&self.inventory.keys, recovery_file(&self.config.name));
        let lacks = |what: &str, why: &str, mend: &str| {
            let what = format!("\"{volume}\" is encrypted, and this node has no {what}.");
            Some(diagnostic(refusal::NO_KEY, what, format!("{why} Nothing was written."), mend.into()))
        };
        match wanted.encrypt? {
            Encrypt::Passphrase if !keys.passphrase => lacks(
                "passphrase for it",
                "The configuration that it found is a site file, or a bundle without `disk-passphrase`.",
                "Hand it a bundle that was rendered with --disk-passphrase, and restart the node.",
            ),
            Encrypt::Tpm if !keys.tpm && !keys.recovery => lacks(
                "TPM and no recovery key for it",
                "The firmware shows no TPM 2.0.",
                &format!("Switch the TPM on, or bring {file} on a volume labelled BEDPLATE."),
            ),
            Encrypt::Passphrase | Encrypt::Tpm => None,
        }
    }

    /// Why a volume can't be made encrypted.
    pub(super) fn not_encrypted(&self, wanted: &Holds<'_>, volume: &str) -> Option<Diagnostic> {
        let (keys, file) = (&self.inventory.keys, recovery_file(&self.config.name));
        if wanted.encrypt? != Encrypt::Tpm {
            return self.closed(wanted, volume);
        }
        if !keys.tpm || !keys.is_sealed {
            let lacks = if keys.tpm {
                "was started without Secure Boot, or from an image without a `pcr` key"
            } else {
                "has no TPM"
            };
            return Some(diagnostic(
                refusal::NOT_SEALED,
                format!("\"{volume}\" is to open with the TPM, and this node {lacks}."),
                "Whoever has the machine could start another system, which the TPM would open it for. Nothing was written.".into(),
                "Switch TPM and Secure Boot on in the firmware, or write encrypt = \"passphrase\".".into(),
            ));
        }
        (!keys.recovery).then(|| {
            diagnostic(
                refusal::NO_KEY,
                format!("\"{volume}\" is to open with the TPM, and there is no recovery key to make it with."),
                "Without one it is lost with the mainboard, or when the firmware's keys change. Nothing was written.".into(),
                format!(
                    "Draw one with: openssl rand -base64 32; keep it where it outlives the machine, bring it as {file} on a \
                     volume labelled BEDPLATE, and take that out again when the volume is made."
                ),
            )
        })
    }
}

/// What uses an encrypted volume in this place, or what it shows, in words.
fn in_use(place: Place<'_>, opened: Option<&Opened>) -> Option<String> {
    let mut uses = place.uses.clone();
    uses.holders.retain(|holder| opened.is_none_or(|o| o.name != *holder));
    uses.words().or_else(|| opened.and_then(|o| o.uses.words()))
}

impl Draft {
    /// Opens what is encrypted, where it is; gives where what it holds is, and the last step.
    pub(super) fn open(&mut self, on: Target, wanted: &Holds<'_>, after: &[usize]) -> (Target, Vec<usize>) {
        let Some(by) = wanted.encrypt else { return (on, after.to_vec()) };
        let (uuid, read_only) = (self.luks, self.verdict.read_only);
        (Target::Opened(uuid), vec![self.add(Action::Open { on, uuid, read_only, by }, after)])
    }

    /// Lets programs use what is made, and opens it before unless it is open. Where the recovery key is at hand the TPM is to
    /// open it from then on. Gives the last step.
    pub(super) fn open_and_offer(
        &mut self,
        context: &Context<'_>,
        on: Target,
        wanted: &Holds<'_>,
        is_open: bool,
        after: &[usize],
    ) -> usize {
        let (shown, after) = match is_open && wanted.is_encrypted() {
            true => (Target::Opened(self.luks), after.to_vec()),
            false => self.open(on.clone(), wanted, after),
        };
        let keys = &context.inventory.keys;
        let seals = wanted.encrypt == Some(Encrypt::Tpm) && keys.recovery && keys.tpm && keys.is_sealed;
        if seals && !is_open && !self.verdict.read_only {
            self.add(Action::Seal { on, uuid: self.luks }, &after);
        }
        self.offer(shown, wanted, &after)
    }

    /// Makes the LUKS header of a volume that is to be encrypted, and opens it.
    pub(super) fn encrypt(&mut self, on: Target, wanted: &Holds<'_>, after: &[usize]) -> (Target, Vec<usize>) {
        let Some(by) = wanted.encrypt else { return (on, after.to_vec()) };
        let made = self.add(Action::Encrypt { on: on.clone(), uuid: self.luks, by }, after);
        self.open(on, wanted, &[made])
    }
}
