//! Encrypted volumes, by cryptsetup, and by systemd-cryptenroll where the TPM opens them.
//!
//! Guarantees: what is finished is never made anew here; a key that opens it is taken away only after another was added.

use super::{Tools, locked_device};
use crate::observe;
use crate::secrets::{POLICY, POLICY_KEY, Secrets, TPM};
use anyhow::{Context, bail};
use machine_config::schema::{Encrypt, Passphrase};
use run_tool::Command;
use std::fs::File;
use std::path::{Path, PathBuf};
use storage_plan::layer::luks;
use storage_plan::ownership::{Inside, inside};
use uuid::Uuid;

/// How a passphrase becomes a key: argon2id (RFC 9106) over 64 MiB, four times, on one processor. Said and not measured, so that
/// a machine under load does not make a weaker one, and a small one opens what a large one made.
const KEY_FROM_PASSPHRASE: [&str; 8] =
    ["--pbkdf", "argon2id", "--pbkdf-memory", "65536", "--pbkdf-force-iterations", "4", "--pbkdf-parallel", "1"];

/// Makes a LUKS2 header with a key drawn by the kernel on a device of ours that is being provisioned.
///
/// What an interrupted run left of the very same header is closed and wiped first; anything else recognised there stops it.
pub(super) fn format(tools: &Tools, node: &Path, uuid: &Uuid, by: Encrypt, secrets: &Secrets) -> anyhow::Result<()> {
    let look = || -> anyhow::Result<Inside> { Ok(inside(&observe::signatures(node)?, luks::HEADER, uuid)) };
    match look()? {
        Inside::Nothing => {}
        Inside::Ours => {
            close(tools, uuid)?;
            locked_device::wipe(node)?;
        }
        Inside::Other(holds) => bail!("{} holds {holds}, which this node did not make", node.display()),
    }
    let key = match by {
        Encrypt::Passphrase => passphrase(secrets)?,
        Encrypt::Tpm => recovery(secrets)?,
    };
    // --batch-mode only answers "Are you sure?", after our own look.
    let command = cryptsetup(tools)?.args(["luksFormat", "--batch-mode", "--type", "luks2", "--uuid"]);
    let command = command.arg(uuid.to_string()).args(["--cipher", "aes-xts-plain64", "--key-size", "512"]);
    with(command.args(KEY_FROM_PASSPHRASE), key).arg(node).run()?;
    if by == Encrypt::Tpm {
        enrol(tools, node, key)?;
    }
    File::open(node).and_then(|f| f.sync_all()).with_context(|| format!("cannot flush {}", node.display()))?;
    locked_device::read_back(node, 0, 4096)?;
    match look()? {
        Inside::Ours => Ok(()),
        _ => bail!("{} does not hold the LUKS header that was made there", node.display()),
    }
}

/// Opens the volume, after a look at whether its header is the one that belongs there.
pub(super) fn open(
    tools: &Tools,
    node: &Path,
    uuid: &Uuid,
    read_only: bool,
    by: Encrypt,
    secrets: &Secrets,
) -> anyhow::Result<()> {
    match inside(&observe::signatures(node)?, luks::HEADER, uuid) {
        Inside::Ours => {}
        Inside::Nothing => bail!("{} holds no LUKS header; it should hold {uuid}", node.display()),
        Inside::Other(holds) => bail!("{} holds {holds}; it should hold the LUKS header {uuid}", node.display()),
    }
    let command = || -> anyhow::Result<Command> {
        let command = cryptsetup(tools)?.args(["open", "--type", "luks2"]);
        let command = if read_only { command.arg("--readonly") } else { command };
        Ok(command.arg(node).arg(name(uuid)))
    };
    match by {
        Encrypt::Passphrase => {
            if !opens(&with(command()?, passphrase(secrets)?))? {
                bail!("the passphrase of the bundle does not open it; it was made with another");
            }
        }
        Encrypt::Tpm => match (by_tpm(command, secrets), &secrets.recovery) {
            (Ok(()), _) => {}
            (Err(_), Some(key)) => {
                if !opens(&with(command()?, key))? {
                    bail!("the recovery key does not open it; it was made with another");
                }
            }
            (Err(why), None) => bail!(
                "the TPM does not open it ({why:#}). It is another TPM or was cleared, the keys of the firmware changed, or the \
                 release that runs was signed with another `pcr` key; bring the recovery key as {} on a volume labelled \
                 BEDPLATE",
                secrets.recovery_file
            ),
        },
    }
    shown(uuid).map(|_| ())
}

/// Sees that the TPM opens the volume, which the recovery key does. A key for another TPM is taken away then.
pub(super) fn seal(tools: &Tools, node: &Path, secrets: &Secrets) -> anyhow::Result<()> {
    let tried = || Ok(cryptsetup(tools)?.args(["open", "--type", "luks2", "--test-passphrase"]).arg(node));
    if by_tpm(tried, secrets).is_ok() {
        return Ok(());
    }
    enrol(tools, node, recovery(secrets)?)?;
    by_tpm(tried, secrets).context("a key for the TPM was added, and does not open it")
}

/// The node that shows what an open volume holds.
pub(super) fn shown(uuid: &Uuid) -> anyhow::Result<PathBuf> {
    let opened = observe::opened()?;
    let found = opened.iter().find(|o| o.uuid == *uuid).context("the encrypted volume is not open")?;
    Ok(Path::new("/dev").join(&found.name))
}

/// Closes the volume, if it is open. The kernel refuses if anything uses it.
fn close(tools: &Tools, uuid: &Uuid) -> anyhow::Result<()> {
    if observe::opened()?.iter().any(|o| o.uuid == *uuid) {
        cryptsetup(tools)?.arg("close").arg(name(uuid)).run()?;
    }
    Ok(())
}

/// Adds a key that the TPM gives back while its PCR 7 is what it is now, and PCR 11 as `pcr.key` signed it. One that was there
/// for a TPM is removed after that.
fn enrol(tools: &Tools, node: &Path, key: &Passphrase) -> anyhow::Result<()> {
    let command = tools.cryptenroll()?.command().stdin(key.bytes()).arg("--unlock-key-file=/proc/self/fd/0");
    let command = command.arg(format!("--tpm2-device={TPM}")).args(["--tpm2-pcrs=7", "--tpm2-public-key-pcrs=11"]);
    let command = command.arg(format!("--tpm2-public-key={POLICY_KEY}")).arg(format!("--tpm2-signature={POLICY}"));
    // No policy of systemd-pcrlock, which nothing keeps here.
    command.args(["--tpm2-pcrlock=", "--wipe-slot=tpm2"]).arg(node).run()?;
    Ok(())
}

/// Runs `command` with what the TPM gives for the volume's token.
fn by_tpm(command: impl Fn() -> anyhow::Result<Command>, secrets: &Secrets) -> anyhow::Result<()> {
    if !secrets.tpm {
        bail!("there is none");
    }
    command()?.arg("--token-only").run()?;
    Ok(())
}

/// Whether the key was the right one. 2 is "no permission", for a passphrase that opens nothing (cryptsetup(8), RETURN CODES).
fn opens(command: &Command) -> anyhow::Result<bool> {
    Ok(command.clone().accept(&[0, 2]).run()?.code == 0)
}

/// The key is the program's standard input: no argument, no file and no log ever has it.
fn with(command: Command, key: &Passphrase) -> Command {
    command.stdin(key.bytes()).args(["--key-file", "-"])
}

/// Without udev, which leaves alone what we have locked, and for which device mapper's library would wait.
fn cryptsetup(tools: &Tools) -> anyhow::Result<Command> {
    Ok(tools.cryptsetup()?.command().env("DM_DISABLE_UDEV", "1"))
}

fn passphrase(secrets: &Secrets) -> anyhow::Result<&Passphrase> {
    secrets.passphrase.as_ref().context("there is no passphrase for encrypted volumes")
}

fn recovery(secrets: &Secrets) -> anyhow::Result<&Passphrase> {
    secrets.recovery.as_ref().context("there is no recovery key for encrypted volumes")
}

/// The name of the mapping, as systemd and others give it, too.
fn name(uuid: &Uuid) -> String {
    format!("luks-{uuid}")
}
