//! Units are started through systemd's D-Bus interface (org.freedesktop.systemd1), on its own socket: that one is
//! there before the bus is.

use anyhow::{Context, Result};
use std::os::unix::net::UnixStream;
use zbus::blocking::Connection;
use zbus::blocking::connection::Builder;
use zbus::zvariant::{OwnedObjectPath, OwnedValue};

const SYSTEMD: &str = "org.freedesktop.systemd1";

/// A connection to systemd.
#[derive(Debug)]
pub struct Units {
    connection: Connection,
}

impl Units {
    /// Connects to systemd itself, or over the bus when it does not take that.
    ///
    /// # Errors
    /// When neither answers.
    pub fn connect() -> Result<Units> {
        let private = || -> zbus::Result<Connection> {
            let stream = UnixStream::connect("/run/systemd/private")?;
            Builder::async_io_unix_stream(stream).p2p().build()
        };
        let connection = private().or_else(|_| Connection::system()).context("systemd does not answer over D-Bus")?;
        Ok(Units { connection })
    }

    /// Asks for a unit to be started. Whether it came up is told by [`Units::state`].
    ///
    /// # Errors
    /// When systemd refuses.
    pub fn start(&self, unit: &str) -> Result<()> {
        let manager = Some("org.freedesktop.systemd1.Manager");
        self.connection
            .call_method(Some(SYSTEMD), "/org/freedesktop/systemd1", manager, "StartUnit", &(unit, "replace"))
            .with_context(|| format!("systemd does not start {unit}"))?;
        Ok(())
    }

    /// Its state in systemd's words: `active`, `activating`, `failed` ...
    ///
    /// # Errors
    /// When systemd does not answer.
    pub fn state(&self, unit: &str) -> Result<String> {
        let manager = Some("org.freedesktop.systemd1.Manager");
        let answer =
            self.connection.call_method(Some(SYSTEMD), "/org/freedesktop/systemd1", manager, "LoadUnit", &(unit,))?;
        let path: OwnedObjectPath = answer.body().deserialize()?;
        let answer = self.connection.call_method(
            Some(SYSTEMD),
            &path,
            Some("org.freedesktop.DBus.Properties"),
            "Get",
            &("org.freedesktop.systemd1.Unit", "ActiveState"),
        )?;
        let value: OwnedValue = answer.body().deserialize()?;
        Ok(String::try_from(value)?)
    }
}
