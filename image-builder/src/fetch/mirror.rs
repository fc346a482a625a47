//! Where each suite is served: the recipe's word, else the host's apt configuration. No address is written in
//! the builder.

use super::sources::{self, Source};
use crate::recipe::Archive;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// Debian's keyring on a Debian host.
const HOST_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where one suite is served and what signs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Address, without a `/` at the end; `dists/` and `pool/` are below it.
    pub url: String,
    /// Keyring file.
    pub keyring: PathBuf,
    /// Whether a `Release` past its `Valid-Until` is refused. On, unless the recipe, or the host's apt
    /// configuration where the address comes from it, says otherwise.
    pub check_valid_until: bool,
}

/// The host's apt configuration, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    sources: Vec<Source>,
    check_valid_until: Option<bool>,
}

impl Host {
    /// Reads the configuration below `etc_apt` (`/etc/apt`). What is not there counts as empty.
    ///
    /// # Errors
    /// When a file is there and can't be read.
    pub fn read(etc_apt: &Path) -> Result<Host> {
        let mut host = Host::default();
        if let Some(text) = read_if_there(&etc_apt.join("sources.list"))? {
            host.sources.extend(sources::parse_list(&text));
        }
        for path in folder(&etc_apt.join("sources.list.d"))? {
            let parse = match path.extension().and_then(|e| e.to_str()) {
                Some("list") => sources::parse_list,
                Some("sources") => sources::parse_deb822,
                _ => continue,
            };
            host.sources.extend(read_if_there(&path)?.map(|text| parse(&text)).unwrap_or_default());
        }
        let mut configuration = String::new();
        for path in folder(&etc_apt.join("apt.conf.d"))? {
            // apt reads names without a dot and those ending in .conf (apt.conf(5)).
            if path.extension().is_none_or(|e| e == "conf") {
                configuration.push_str(&read_if_there(&path)?.unwrap_or_default());
                configuration.push('\n');
            }
        }
        configuration.push_str(&read_if_there(&etc_apt.join("apt.conf"))?.unwrap_or_default());
        host.check_valid_until = sources::check_valid_until(&configuration);
        Ok(host)
    }
}

fn folder(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).with_context(|| format!("can't read {}", path.display())),
    };
    let mut paths = entries
        .map(|e| Ok(e?.path()))
        .collect::<Result<Vec<_>>>()
        .with_context(|| format!("can't read {}", path.display()))?;
    paths.sort();
    Ok(paths)
}

fn read_if_there(path: &Path) -> Result<Option<String>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("can't read {}", path.display())),
    }
}

/// Where `suite` of the recipe's archive `name` is served. `folder` is the recipe's, for its keyring.
///
/// # Errors
/// When neither the recipe nor the host says where.
pub fn locate(name: &str, archive: &Archive, suite: &str, host: &Host, folder: &Path) -> Result<Mirror> {
    let keyring = archive.keyring.as_ref().map(|k| folder.join(k));
    if let Some(url) = &archive.url {
        return Ok(Mirror {
            url: url.trim_end_matches('/').to_owned(),
            keyring: keyring.unwrap_or_else(|| HOST_KEYRING.into()),
            check_valid_until: archive.check_valid_until.unwrap_or(true),
        });
    }
    let Some((source, url)) = sources::find(&host.sources, suite) else {
        bail!(
            "the recipe gives no url for archive {name:?}, and this machine's apt sources name no server of Debian for \
             suite {suite:?}; write url = \"...\" below [archive.{name}]"
        );
    };
    Ok(Mirror {
        url: url.to_owned(),
        keyring: keyring
            .or_else(|| source.signed_by.as_ref().map(PathBuf::from))
            .unwrap_or_else(|| HOST_KEYRING.into()),
        check_valid_until: archive
            .check_valid_until
            .or(source.check_valid_until)
            .or(host.check_valid_until)
            .unwrap_or(true),
    })
}
