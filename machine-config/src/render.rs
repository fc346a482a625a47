//! A site file and one machine's secrets become that machine's bundle.

use crate::Diagnostic;
use crate::check;
use crate::delivered::{self, BUNDLE_FORMAT};
use crate::document;
use crate::schema::{Bundle, Join};
use crate::site::SiteFile;

/// The bundle of one machine: the site file's text unchanged, and the credentials of a file of their own (the
/// keys of [`Join`] at its top). The result is not signed yet.
///
/// # Errors
/// Every fault of the site file, of this machine's configuration and of the credentials.
pub fn bundle(site: (&str, &str), machine: &str, credentials: (&str, &str)) -> Result<String, Vec<Diagnostic>> {
    let (site_text, site_file) = site;
    let (credentials_text, credentials_file) = credentials;
    let mut faults = Vec::new();
    match SiteFile::read(site_text, site_file) {
        Ok(file) => faults.extend(check::machine(&file, machine).err().unwrap_or_default()),
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
    if !faults.is_empty() {
        return Err(faults);
    }
    let bundle = Bundle { bundle: BUNDLE_FORMAT, machine: machine.into(), site: site_text.into(), join };
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
