//! What it takes to reach the archives from this machine.

use super::http::Client;
use super::mirror::{self, Host, Mirror};
use crate::recipe::Recipe;
use anyhow::{Context, Result};
use std::path::Path;

/// The host's apt configuration.
const ETC_APT: &str = "/etc/apt";

/// The host's word on where archives are, and a client to reach them.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// The host's apt configuration.
    pub host: Host,
    /// The client.
    pub client: Client,
}

impl Network {
    /// This machine's.
    ///
    /// # Errors
    /// When its apt configuration can't be read.
    pub fn of_host() -> Result<Network> {
        Ok(Network { host: Host::read(Path::new(ETC_APT))?, client: Client::default() })
    }

    /// Where a suite of the recipe's archive is served. `folder` is the recipe's.
    ///
    /// # Errors
    /// When the recipe does not have the archive, or nobody says where it is.
    pub fn mirror(&self, recipe: &Recipe, archive: &str, suite: &str, folder: &Path) -> Result<Mirror> {
        let found = recipe.archive.get(archive).with_context(|| format!("the recipe has no archive {archive:?}"))?;
        mirror::locate(archive, found, suite, &self.host, folder)
    }
}
