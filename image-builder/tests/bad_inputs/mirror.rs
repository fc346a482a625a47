//! A signed archive of our own, served from the loopback interface, that can be made to misbehave.

use image_builder::digest::Sha256;
use pgp::composed::{CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedPublicKey, SignedSecretKey};
use pgp::ser::Serialize;
use pgp::types::Password;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The moment the tests run at.
pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// A key that signs.
pub struct Key(SignedSecretKey);

impl Key {
    pub fn new() -> Key {
        let parameters = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .primary_user_id("test archive <archive@example.org>".into())
            .build()
            .unwrap();
        Key(parameters.generate(rand::thread_rng()).unwrap())
    }

    pub fn public(&self) -> Vec<u8> {
        SignedPublicKey::from(self.0.clone()).to_bytes().unwrap()
    }

    fn sign(&self, text: &str) -> Vec<u8> {
        let signed =
            CleartextSignedMessage::sign(rand::thread_rng(), text, &self.0.primary_key, &Password::empty()).unwrap();
        signed.to_armored_bytes(Default::default()).unwrap()
    }
}

/// A package with one file of its own in it.
pub fn deb(name: &str, version: &str, relations: &str) -> (String, Vec<u8>) {
    deb_with(name, version, relations, &format!("./usr/share/{name}/file"))
}

/// A package with one file in it, at this path.
pub fn deb_with(name: &str, version: &str, relations: &str, path: &str) -> (String, Vec<u8>) {
    deb_of(name, version, relations, path, &[])
}

/// A package with these maintainer scripts.
pub fn deb_of(name: &str, version: &str, relations: &str, path: &str, scripts: &[(&str, &str)]) -> (String, Vec<u8>) {
    let control = format!("Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: test\n{relations}");
    let tar = |members: &[(&str, &[u8])]| {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, bytes) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(0);
            header.set_uid(0);
            header.set_gid(0);
            tar.append_data(&mut header, path, *bytes).unwrap();
        }
        let mut packed = liblzma::write::XzEncoder::new(Vec::new(), 0);
        packed.write_all(&tar.into_inner().unwrap()).unwrap();
        packed.finish().unwrap()
    };
    let data = tar(&[(path, format!("{name} {version}\n").as_bytes())]);
    let mut members = vec![("./control", control.as_bytes())];
    members.extend(scripts.iter().map(|(name, text)| (*name, text.as_bytes())));
    let mut archive = ar::Builder::new(Vec::new());
    for (member, bytes) in
        [("debian-binary", b"2.0\n".to_vec()), ("control.tar.xz", tar(&members)), ("data.tar.xz", data)]
    {
        let header = ar::Header::new(member.as_bytes().to_vec(), bytes.len() as u64);
        archive.append(&header, bytes.as_slice()).unwrap();
    }
    (control, archive.into_inner().unwrap())
}

/// What a `Release` file is to say.
#[derive(Clone, Copy)]
pub struct Release {
    pub codename: &'static str,
    pub valid_until: Option<i64>,
    pub date: i64,
    /// Whether the index comes packed, as `Packages.gz` alone.
    pub packed: bool,
}

/// A running server. It ends with the test program.
pub struct Mirror {
    pub address: String,
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    /// Paths whose connection is cut half-way.
    cut: Arc<Mutex<Vec<String>>>,
    held: Arc<Held>,
}

/// Paths that are served half, and for the rest on a word.
#[derive(Default)]
struct Held {
    paths: Mutex<Vec<String>>,
    waiting: AtomicUsize,
}

impl Mirror {
    pub fn start() -> Mirror {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let mirror = Mirror { address, files: Arc::default(), cut: Arc::default(), held: Arc::default() };
        let (files, cut, held) = (mirror.files.clone(), mirror.cut.clone(), mirror.held.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (files, cut, held) = (files.clone(), cut.clone(), held.clone());
                std::thread::spawn(move || serve(stream, &files, &cut, &held));
            }
        });
        mirror
    }

    /// Publishes these packages as suite `trixie`, in place of what was there.
    pub fn publish(&self, key: &Key, release: Release, packages: &[(String, Vec<u8>)]) {
        let mut files = BTreeMap::new();
        let mut index = String::new();
        for (control, bytes) in packages {
            let path = format!("pool/{}.deb", Sha256::of(bytes));
            index += &format!(
                "{}\nFilename: {path}\nSize: {}\nSHA256: {}\n\n",
                control.trim_end(),
                bytes.len(),
                Sha256::of(bytes)
            );
            files.insert(format!("/{path}"), bytes.clone());
        }
        let moment = |seconds: i64| {
            jiff::Timestamp::from_second(seconds).unwrap().strftime("%a, %d %b %Y %H:%M:%S UTC").to_string()
        };
        let mut text = format!(
            "Origin: Example\nSuite: stable\nCodename: {}\nDate: {}\nArchitectures: amd64\nComponents: main\n",
            release.codename,
            moment(release.date)
        );
        if let Some(until) = release.valid_until {
            text += &format!("Valid-Until: {}\n", moment(until));
        }
        let (name, index) = match release.packed {
            true => {
                // Of two members, as some tools write it.
                let packed = [&index[..100], &index[100..]].map(|part| {
                    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                    encoder.write_all(part.as_bytes()).unwrap();
                    encoder.finish().unwrap()
                });
                ("main/binary-amd64/Packages.gz", packed.concat())
            }
            false => ("main/binary-amd64/Packages", index.into_bytes()),
        };
        text += &format!("SHA256:\n {} {} {name}\n", Sha256::of(&index), index.len());
        files.insert("/dists/trixie/InRelease".into(), key.sign(&text));
        files.insert(format!("/dists/trixie/{name}"), index);
        *self.files.lock().unwrap() = files;
        self.cut.lock().unwrap().clear();
    }

    /// Changes one file that is served.
    pub fn change(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.files.lock().unwrap().get_mut(path).unwrap());
    }

    /// Serves this file no more.
    pub fn remove(&self, path: &str) {
        self.files.lock().unwrap().remove(path).unwrap();
    }

    /// Cuts the connection half-way through this file.
    pub fn cut(&self, path: &str) {
        self.cut.lock().unwrap().push(path.to_owned());
    }

    /// Serves only half of this file until [`Mirror::release`].
    pub fn hold(&self, path: &str) {
        self.held.paths.lock().unwrap().push(path.to_owned());
    }

    /// Waits until this many have asked for what is held.
    pub fn wait_for(&self, readers: usize) {
        for _ in 0..3000 {
            if self.held.waiting.load(Ordering::SeqCst) >= readers {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("nobody asked for {:?} in 30 s", self.held.paths.lock().unwrap());
    }

    /// Serves the rest.
    pub fn release(&self) {
        self.held.paths.lock().unwrap().clear();
    }
}

/// Where a package's file is served.
pub fn path_of(package: &(String, Vec<u8>)) -> String {
    format!("/pool/{}.deb", Sha256::of(&package.1))
}

fn serve(mut stream: TcpStream, files: &Mutex<BTreeMap<String, Vec<u8>>>, cut: &Mutex<Vec<String>>, held: &Held) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let path = request.split(' ').nth(1).unwrap_or("").to_owned();
        let body = files.lock().unwrap().get(&path).cloned();
        let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
        let body = body.unwrap_or_default();
        let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        if cut.lock().unwrap().contains(&path) {
            let _ = stream.write_all(&body[..body.len() / 2]);
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return;
        }
        let is_held = || held.paths.lock().unwrap().contains(&path);
        let mut rest = &body[..];
        if is_held() {
            let _ = stream.write_all(&body[..body.len() / 2]);
            rest = &body[body.len() / 2..];
            held.waiting.fetch_add(1, Ordering::SeqCst);
            while is_held() {
                std::thread::sleep(Duration::from_millis(10));
            }
            held.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        if stream.write_all(rest).is_err() {
            return;
        }
    }
}
