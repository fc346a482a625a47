//! Units are started through systemd's D-Bus interface (org.freedesktop.systemd1), over the system bus: on its own
//! socket systemd names itself in a way that zbus refuses.

use anyhow::{Context, Result, bail};
use std::thread::sleep;
use std::time::Duration;
use zbus::blocking::Connection;
use zbus::blocking::connection::Builder;
use zbus::zvariant::{OwnedObjectPath, OwnedValue};

/// Not by way of /var/run, which is made while this runs.
const BUS: &str = "unix:path=/run/dbus/system_bus_socket";
const SYSTEMD: &str = "org.freedesktop.systemd1";

/// How often, and every how many milliseconds, it is asked whether systemd has come to the bus.
const PATIENCE: (u32, u64) = (300, 100);

/// A connection to systemd.
#[derive(Debug)]
pub struct Units {
    connection: Connection,
}

impl Units {
    /// Connects to the bus, which starts it, and waits until systemd has joined it too.
    ///
    /// # Errors
    /// When the bus does not answer, or systemd does not come to it within half a minute.
    pub fn connect() -> Result<Units> {
        let connection = Builder::address(BUS).and_then(Builder::build).context("the system bus does not answer")?;
        for _ in 0..PATIENCE.0 {
            let bus = Some("org.freedesktop.DBus");
            let answer = connection
                .call_method(bus, "/org/freedesktop/DBus", bus, "NameHasOwner", &(SYSTEMD,))
                .context("the system bus does not answer")?;
            if answer.body().deserialize::<bool>()? {
                return Ok(Units { connection });
            }
            sleep(Duration::from_millis(PATIENCE.1));
        }
        bail!("systemd has not come to the system bus")
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
