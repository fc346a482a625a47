//! What a node is handed, by whatever way: a site file, or a bundle that holds one beside a machine's secrets.
//!
//! If the image carries config keys, the outermost text must be signed with one of them; that signature covers
//! everything inside. Of several, the highest revision wins, and never one below the last that was accepted.

use crate::document;
use crate::identity::{self, Facts};
use crate::merge;
use crate::schema::{Bundle, Join, MachineConfig, Passphrase};
use crate::signature::{self, PublicKey};
use crate::site::SiteFile;
use crate::{Diagnostic, check};
use std::fmt;
use toml::de::DeTable;

/// The format of the bundle that this version reads.
pub const BUNDLE_FORMAT: u32 = 1;

/// A configuration whose signature was checked and whose text is a good site file.
#[derive(Clone, PartialEq)]
pub struct Delivered {
    /// What diagnostics call the site file.
    pub file: String,
    /// The site file's text.
    pub site: String,
    /// Its revision.
    pub revision: u64,
    /// The machine a bundle is for; `None` for a bare site file.
    pub machine: Option<String>,
    /// The credentials of a bundle.
    pub join: Option<Join>,
    /// What a bundle brings to open encrypted volumes.
    pub passphrase: Option<Passphrase>,
    /// Name of the key that signed it; `None` if no key was asked for.
    pub signed_by: Option<String>,
}

/// A text that was found, and what to call it ("USB stick BEDPLATE").
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'t> {
    /// Where it was found, for people.
    pub name: &'t str,
    /// The text.
    pub text: &'t str,
}

/// What came of several candidates.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The one to use, with its index among the candidates.
    pub chosen: Option<(usize, Delivered)>,
    /// Why the others can't be used, by index. A good candidate of a lower or equal revision is not among them.
    pub refused: Vec<(usize, Vec<Diagnostic>)>,
}

/// Opens a site file or a bundle. With `keys`, it must be signed with one of them.
///
/// # Errors
/// Of the signature (`BP-C070` to `BP-C074`), else every fault of the text.
pub fn open(text: &str, file: &str, keys: &[PublicKey]) -> Result<Delivered, Vec<Diagnostic>> {
    let signed = signature::verify(text, file, keys).map_err(|fault| vec![fault])?;
    let signed_by = signed.by().map(str::to_owned);
    if !is_bundle(text) {
        let site = SiteFile::read(text, file)?;
        let revision = site.site.revision;
        let (file, site) = (file.into(), text.into());
        return Ok(Delivered { file, site, revision, machine: None, join: None, passphrase: None, signed_by });
    }
    let bundle: Bundle = document::parse(text, file)?;
    if bundle.bundle != BUNDLE_FORMAT {
        return Err(vec![fault(
            "BP-C007",
            format!("this bundle is of format {}", bundle.bundle),
            format!("This version reads format {BUNDLE_FORMAT}; what the keys of another one mean would be a guess."),
            "Render the bundle with the version of bedplate that made the image.",
        )]);
    }
    let inner = format!("{file}[site]");
    let site = SiteFile::read(&bundle.site, &inner)?;
    if !site.site.machine.contains_key(&bundle.machine) {
        return Err(vec![merge::unknown_machine(&site, &bundle.machine)]);
    }
    if let Some(join) = &bundle.join {
        credentials(join).map_err(|fault| vec![fault])?;
    }
    if let Some(passphrase) = &bundle.disk_passphrase {
        good(passphrase).map_err(|fault| vec![fault])?;
    }
    let revision = site.site.revision;
    let (machine, join, passphrase) = (Some(bundle.machine), bundle.join, bundle.disk_passphrase);
    Ok(Delivered { file: inner, site: bundle.site, revision, machine, join, passphrase, signed_by })
}

/// Whether a text means to be a bundle: a site file has no key `bundle`.
pub fn is_bundle(text: &str) -> bool {
    DeTable::parse_recoverable(text).0.get_ref().contains_key("bundle")
}

/// The highest validly signed revision, whatever its source, at or above `floor` (the last one accepted). Among
/// equal revisions one with credentials comes before one without, then the earlier candidate.
pub fn choose(candidates: &[Candidate<'_>], keys: &[PublicKey], floor: Option<u64>) -> Choice {
    let mut choice = Choice { chosen: None, refused: Vec::new() };
    for (index, candidate) in candidates.iter().enumerate() {
        match open(candidate.text, candidate.name, keys) {
            Err(faults) => choice.refused.push((index, faults)),
            Ok(delivered) => {
                if let Some(floor) = floor.filter(|floor| delivered.revision < *floor) {
                    let fault = fault(
                        "BP-C073",
                        format!("{} is revision {}, older than {floor}", candidate.name, delivered.revision),
                        format!(
                            "This node has accepted revision {floor}, and an old file may undo what a newer one mended."
                        ),
                        "Raise `revision` in the site file, and sign it again.",
                    );
                    choice.refused.push((index, vec![fault]));
                    continue;
                }
                let rank = |delivered: &Delivered| (delivered.revision, delivered.join.is_some());
                if choice.chosen.as_ref().is_none_or(|(_, best)| rank(&delivered) > rank(best)) {
                    choice.chosen = Some((index, delivered));
                }
            }
        }
    }
    choice
}

impl Delivered {
    /// The configuration of the machine that has these facts.
    ///
    /// # Errors
    /// `BP-C060` or `BP-C061` if the site does not say which machine it is, `BP-C062` if the bundle is for another,
    /// and every fault of this machine's configuration.
    pub fn machine_config(&self, facts: &Facts) -> Result<MachineConfig, Vec<Diagnostic>> {
        let site = SiteFile::read(&self.site, &self.file)?;
        let name = identity::name(&site, facts).map_err(|fault| vec![fault])?;
        if let Some(meant) = self.machine.as_ref().filter(|meant| **meant != name) {
            return Err(vec![fault(
                "BP-C062",
                format!("this bundle is for {meant}, and this machine is {name}"),
                format!("It is {}. A bundle carries the secrets of one machine.", facts.describe()),
                &format!("Hand this machine its own: bedplate config render SITE --machine {name} ..."),
            )]);
        }
        check::machine(&site, &name)
    }
}

impl fmt::Debug for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivered")
            .field("file", &self.file)
            .field("revision", &self.revision)
            .field("machine", &self.machine)
            .field("join", &self.join.as_ref().map(|_| "(secret)"))
            .field("passphrase", &self.passphrase)
            .field("signed_by", &self.signed_by)
            .finish_non_exhaustive()
    }
}

/// A passphrase that is worth one.
pub(crate) fn good(passphrase: &Passphrase) -> Result<(), Diagnostic> {
    if passphrase.is_good() {
        return Ok(());
    }
    Err(fault(
        "BP-C082",
        format!("the passphrase for disks has fewer than {} characters, or such as nobody sees", Passphrase::LEAST),
        "Whoever has a disk can try passphrases for as long as he likes, so it is best drawn at random.".into(),
        "Draw another, such as with: openssl rand -base64 32",
    ))
}

/// Certificate and key, or a token; never half of it.
pub(crate) fn credentials(join: &Join) -> Result<(), Diagnostic> {
    let refuse = |what: &str, mend: &str| {
        let why = "A node joins with a client certificate and its key, or with a bootstrap token.".to_owned();
        Err(fault("BP-C080", what.into(), why, mend))
    };
    if !join.ca.contains("-----BEGIN CERTIFICATE-----") {
        return refuse("`join.ca` holds no certificate", "Put the cluster's CA certificate there, as PEM.");
    }
    if join.proxy_certificate.is_some() != join.proxy_key.is_some() {
        return refuse("`proxy-certificate` and `proxy-key` come together", "Give both or neither.");
    }
    match (&join.certificate, &join.key, &join.token) {
        (Some(_), Some(_), None) => Ok(()),
        (None, None, Some(token)) if is_token(token) => Ok(()),
        (None, None, Some(_)) => {
            refuse("`join.token` is not a bootstrap token", "Expected the form \"abcdef.0123456789abcdef\".")
        }
        (None, None, None) => refuse("`join` has no credential", "Add `certificate` and `key`, or `token`."),
        (_, _, Some(_)) => refuse("`join` has a token beside a certificate or key", "Give one or the other."),
        _ => refuse("`certificate` and `key` come together", "Give both."),
    }
}

fn is_token(token: &str) -> bool {
    let plain = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    token.split_once('.').is_some_and(|(id, secret)| plain(id, 6) && plain(secret, 16))
}

fn fault(code: &str, what: String, why: String, mend: &str) -> Diagnostic {
    Diagnostic { code: code.into(), what, place: None, why, mend: mend.into() }
}

#[cfg(test)]
mod tests;
