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
const MANAGER: &str = "/org/freedesktop/systemd1";

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

    /// Asks for a unit to be started. Whether it came up is told by [`Units::is_active`].
    ///
    /// # Errors
    /// When systemd refuses.
    pub fn start(&self, name: &str) -> Result<Unit> {
        let failed = || format!("systemd does not start {name}");
        let manager = Some("org.freedesktop.systemd1.Manager");
        self.connection
            .call_method(Some(SYSTEMD), MANAGER, manager, "StartUnit", &(name, "replace"))
            .with_context(failed)?;
        let unit =
            self.connection.call_method(Some(SYSTEMD), MANAGER, manager, "GetUnit", &(name,)).with_context(failed)?;
        let path = unit.body().deserialize().with_context(failed)?;
        Ok(Unit { path })
    }

    /// Whether it runs and has said that it is ready.
    ///
    /// # Errors
    /// When systemd does not answer.
    pub fn is_active(&self, unit: &Unit) -> Result<bool> {
        let answer = self.connection.call_method(
            Some(SYSTEMD),
            &unit.path,
            Some("org.freedesktop.DBus.Properties"),
            "Get",
            &("org.freedesktop.systemd1.Unit", "ActiveState"),
        )?;
        let value: OwnedValue = answer.body().deserialize()?;
        Ok(String::try_from(value)? == "active")
    }
}

/// A unit that was started.
#[derive(Debug)]
pub struct Unit {
    path: OwnedObjectPath,
}
