//! Stands in for systemd where a program only asks it whether a device is there: each unit that is started is up at once.
//!
//! The private socket of systemd, as go-systemd talks to it: two connections, on one of which jobs end (org.freedesktop.systemd1(5)).

use std::fs;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use zbus::blocking::Connection;
use zbus::blocking::connection::Builder;
use zbus::names::BusName;
use zbus::zvariant::OwnedObjectPath;
use zbus::{Guid, interface};

const SOCKET: &str = "/run/systemd/private";
const MANAGER: &str = "/org/freedesktop/systemd1";

/// Who is connected.
type Peers = Arc<Mutex<Vec<Connection>>>;

struct Manager {
    peers: Peers,
    jobs: Arc<AtomicU32>,
}

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    fn start_unit(&self, name: String, _mode: String) -> OwnedObjectPath {
        let id = self.jobs.fetch_add(1, Ordering::SeqCst);
        let job = OwnedObjectPath::try_from(format!("{MANAGER}/job/{id}")).unwrap();
        let (peers, told) = (Arc::clone(&self.peers), job.clone());
        std::thread::spawn(move || {
            let (to, interface) = (None::<BusName<'_>>, "org.freedesktop.systemd1.Manager");
            for peer in peers.lock().unwrap().iter() {
                peer.emit_signal(to.clone(), MANAGER, interface, "JobRemoved", &(id, &told, &name, "done")).unwrap();
            }
        });
        job
    }

    fn subscribe(&self) {}
}

/// What a bus would do.
struct Bus;

#[interface(name = "org.freedesktop.DBus")]
impl Bus {
    fn add_match(&self, _rule: String) {}
}

/// Listens until the guest is switched off.
pub fn stand_in() {
    fs::create_dir_all("/run/systemd").unwrap();
    let listener = UnixListener::bind(SOCKET).unwrap();
    let (peers, jobs) = (Peers::default(), Arc::new(AtomicU32::new(1)));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let manager = Manager { peers: Arc::clone(&peers), jobs: Arc::clone(&jobs) };
            let peer = Builder::async_io_unix_stream(stream.unwrap())
                .p2p()
                .server(Guid::generate())
                .and_then(|builder| builder.serve_at(MANAGER, manager))
                .and_then(|builder| builder.serve_at("/org/freedesktop/DBus", Bus))
                .and_then(Builder::build);
            peers.lock().unwrap().push(peer.unwrap());
        }
    });
}
