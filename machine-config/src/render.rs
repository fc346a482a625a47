//! A site file and one machine's secrets become that machine's bundle.

use crate::Diagnostic;
use crate::check;
use crate::delivered::{self, BUNDLE_FORMAT};
use crate::document;
use crate::schema::{Bundle, Join, Passphrase};
use crate::site::SiteFile;

/// The bundle of one machine: the site file's text unchanged, and the credentials of a file of their own (the
/// keys of [`Join`] at its top), and what opens its encrypted volumes. The result is not signed yet.
///
/// # Errors
/// Every fault of the site file, of this machine's configuration, of the credentials and of the passphrase; `BP-C083` when
/// there is none and a volume wants one.
pub fn bundle(
    site: (&str, &str),
    machine: &str,
    credentials: (&str, &str),
    passphrase: Option<Passphrase>,
) -> Result<String, Vec<Diagnostic>> {
    let (site_text, site_file) = site;
    let (credentials_text, credentials_file) = credentials;
    let mut faults = Vec::new();
    match SiteFile::read(site_text, site_file) {
        Ok(file) => match check::machine(&file, machine) {
            Ok(config) if config.storage.wants_passphrase() && passphrase.is_none() => faults.push(lacks(machine)),
            Ok(_) => {}
            Err(found) => faults.extend(found),
        },
        Err(found) => faults.extend(found),
    }
    let join = match document::parse::<Join>(credentials_text, credentials_file) {
        Ok(join) => {
            faults.extend(delivered::credentials(&join).err());
            Some(join)
        }
        Err(found) => {
            faults.extend(found);
            None
        }
    };
    faults.extend(passphrase.as_ref().and_then(|passphrase| delivered::good(passphrase).err()));
    if !faults.is_empty() {
        return Err(faults);
    }
    let (machine, site) = (machine.into(), site_text.into());
    let bundle = Bundle { bundle: BUNDLE_FORMAT, machine, site, disk_passphrase: passphrase, join };
    toml::to_string_pretty(&bundle).map_err(|error| {
        vec![Diagnostic {
            code: "BP-C081".into(),
            what: format!("the bundle can't be written: {error}"),
            place: None,
            why: String::new(),
            mend: "Check the texts that go into it.".into(),
        }]
    })
}

/// A volume of this machine is encrypted, and nothing opens it.
fn lacks(machine: &str) -> Diagnostic {
    Diagnostic {
        code: "BP-C083".into(),
        what: format!("volumes of {machine} are encrypted, and no passphrase is given for them"),
        place: None,
        why: "The node makes and opens them with the passphrase that its bundle brings.".into(),
        mend: "Draw one with: openssl rand -base64 32; keep it where it outlives the machine, and give its file by \
               --disk-passphrase."
            .into(),
    }
}
