//! What an archive can do wrong, against the real line from recipe to lock and fetched packages: each ends in
//! one clear sentence naming the thing, the store stays good, and the next run works.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write their own archive and recipe")]

mod choice;
mod inputs;
mod mirror;
mod program;
mod scripts;

use image_builder::digest::Sha256;
use image_builder::fetch::http::Client;
use image_builder::fetch::{self, Network};
use image_builder::lock::Lock;
use image_builder::progress::Progress;
use image_builder::recipe::Recipe;
use image_builder::resolve::{self, Options};
use image_builder::store::Store;
use mirror::{Key, Mirror, Release, deb, now, path_of};
use std::path::PathBuf;
use std::time::Duration;

const GOOD: Release = Release { codename: "trixie", valid_until: None, date: 1_000_000_000, packed: false };

/// A recipe, a mirror that serves what it wants, and a store.
struct Place {
    folder: tempfile::TempDir,
    mirror: Mirror,
    key: Key,
    packages: Vec<(String, Vec<u8>)>,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let (mirror, key) = (Mirror::start(), Key::new());
        // The tools tree is locked and unpacked with everything else.
        let tools: toml::Table = toml::from_str(include_str!("../../tools.toml")).unwrap();
        let names = tools["install"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
        let mut packages: Vec<_> = names.map(|name| deb(name, "1.0", "")).collect();
        packages.push(deb("linux-image-amd64", "6.12", ""));
        packages.push(deb("hello", "2.10", "Depends: greeting (>= 1)\n"));
        packages.push(deb("greeting", "1.5", ""));
        let place = Place { folder, mirror, key, packages };
        std::fs::create_dir(place.path("agent")).unwrap();
        std::fs::write(place.path("agent/firstboot"), "f").unwrap();
        std::fs::write(place.path("agent/stage1"), "s").unwrap();
        std::fs::write(place.path("keyring.gpg"), place.key.public()).unwrap();
        place.recipe("\"hello\"");
        place.publish();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn recipe(&self, install: &str) {
        let text = format!(
            "format = 1\nimage = {{ name = \"test\", version = \"1\" }}\n\n[archive.test]\nurl = \"{}\"\nsuites = [\"trixie\"]\n\
             keyring = \"keyring.gpg\"\n\n[packages]\ninstall = [{install}]\n\n[kernel]\npackage = \"linux-image-amd64\"\n\n\
             [keys]\nfolder = \"keys\"\n",
            self.mirror.address
        );
        std::fs::write(self.path("recipe.toml"), text).unwrap();
    }

    fn publish(&self) {
        self.mirror.publish(&self.key, GOOD, &self.packages);
    }

    fn package(&self, name: &str) -> &(String, Vec<u8>) {
        self.packages.iter().find(|(control, _)| control.starts_with(&format!("Package: {name}\n"))).unwrap()
    }

    fn store(&self) -> Store {
        Store::open(&self.path("store")).unwrap()
    }

    fn lock(&self) -> anyhow::Result<Lock> {
        self.lock_with(self.options())
    }

    fn lock_with(&self, options: Options) -> anyhow::Result<Lock> {
        resolve::lock(&self.path("recipe.toml"), &self.store(), &Progress::silent(), &options)
    }

    fn options(&self) -> Options {
        let client = Client::with_pauses(vec![Duration::from_millis(1)]);
        let network = Network { host: Default::default(), client };
        Options { local_only: false, accept_older: false, agent: self.path("agent"), network, now: now() }
    }

    fn fetch(&self, lock: &Lock, offline: bool) -> anyhow::Result<fetch::Inputs> {
        let recipe = Recipe::read(&self.path("recipe.toml"))?;
        fetch::all(lock, &recipe, self.folder.path(), &self.store(), &Progress::silent(), offline)
    }

    /// The sentence a failure ends in, without what differs between runs.
    fn sentence(&self, error: &anyhow::Error) -> String {
        let text = format!("{error:#}").replace(&self.mirror.address, "http://MIRROR");
        let text = text.replace(self.mirror.address.trim_start_matches("http://"), "MIRROR");
        let text = text.replace(&self.folder.path().display().to_string(), "FOLDER");
        mask_digests(&text)
    }

    /// Fails as the archive is now, with the store as good as before; works when the archive is good again.
    fn fails(&self) -> String {
        let error = self.lock().unwrap_err();
        self.store_is_good();
        self.publish();
        std::fs::write(self.path("keyring.gpg"), self.key.public()).unwrap();
        self.recipe("\"hello\"");
        let lock = self.lock().unwrap_or_else(|error| panic!("the next run does not work: {error:#}"));
        assert_eq!(lock.package.len(), 3);
        self.fetch(&lock, true).unwrap();
        self.sentence(&error)
    }

    /// Every blob has the digest that its name says, and no work is left lying.
    fn store_is_good(&self) {
        let store = self.path("store");
        for folder in std::fs::read_dir(store.join("blob")).unwrap() {
            for blob in std::fs::read_dir(folder.unwrap().path()).unwrap() {
                let path = blob.unwrap().path();
                let digest = Sha256::of(std::fs::read(&path).unwrap()).to_string();
                assert!(path.ends_with(&digest), "{} has the digest {digest}", path.display());
            }
        }
        assert_eq!(std::fs::read_dir(store.join("scratch")).unwrap().count(), 0);
    }
}

/// Runs of 40 or more hexadecimal digits become `...`.
fn mask_digests(text: &str) -> String {
    let mut masked = String::new();
    for word in text.split_inclusive(|c: char| !c.is_ascii_hexdigit()) {
        let digits = word.trim_end_matches(|c: char| !c.is_ascii_hexdigit());
        masked.push_str(&if digits.len() >= 40 { word.replace(digits, "...") } else { word.to_owned() });
    }
    masked
}

#[test]
fn a_good_archive_is_locked_and_fetched_and_then_needs_no_network() {
    let place = Place::new();
    let lock = place.lock().unwrap();
    let names: Vec<_> = lock.package.iter().map(|p| (p.name.as_str(), p.wanted_by.join(", "))).collect();
    assert_eq!(
        names,
        [
            ("greeting", "hello".to_owned()),
            ("hello", "the recipe".to_owned()),
            ("linux-image-amd64", "the recipe".to_owned())
        ]
    );
    assert_eq!(lock.snapshot, 1_000_000_000);
    assert_eq!(lock.local.len(), 2);
    assert_eq!(Lock::read(&place.path("bedplate.lock")).unwrap().unwrap(), lock);
    // The same archive gives the same bytes.
    let text = std::fs::read(place.path("bedplate.lock")).unwrap();
    place.lock().unwrap();
    assert_eq!(std::fs::read(place.path("bedplate.lock")).unwrap(), text);
    let fetched = place.fetch(&lock, true).unwrap();
    assert_eq!(fetched.package["hello"].read().unwrap(), place.package("hello").1);
    place.store_is_good();
}

#[test]
fn a_lock_is_refused_when_recipe_or_local_inputs_differ() {
    let place = Place::new();
    let recipe = |place: &Place| Recipe::read(&place.path("recipe.toml")).unwrap();
    let current = |place: &Place| {
        let (file, agent) = (place.path("recipe.toml"), place.path("agent"));
        resolve::current(&file, &recipe(place), &agent, &place.store(), &Progress::silent(), true)
            .map(|current| current.lock)
            .map_err(|error| place.sentence(&error))
    };
    insta::assert_snapshot!("no_lock", current(&place).unwrap_err());
    let lock = place.lock().unwrap();
    assert_eq!(current(&place).as_ref(), Ok(&lock));
    std::fs::write(place.path("agent/stage1"), "t").unwrap();
    insta::assert_snapshot!("other_local_inputs", current(&place).unwrap_err());
    // Without a network: the mirror has nothing any more.
    place.mirror.publish(&Key::new(), GOOD, &[]);
    place.lock_with(Options { local_only: true, ..place.options() }).unwrap();
    assert_eq!(current(&place).unwrap().package, lock.package);
    place.recipe("\"greeting\"");
    insta::assert_snapshot!("other_recipe", current(&place).unwrap_err());
}

#[test]
fn a_bad_signature() {
    let place = Place::new();
    place.mirror.change("/dists/trixie/InRelease", |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        *bytes = text.replace("Origin: Example", "Origin: Exampel").into_bytes();
    });
    insta::assert_snapshot!(place.fails());
}

#[test]
fn an_unknown_key() {
    let place = Place::new();
    place.mirror.publish(&Key::new(), GOOD, &place.packages);
    insta::assert_snapshot!(place.fails());
}

#[test]
fn no_signature_at_all() {
    let place = Place::new();
    place.mirror.change("/dists/trixie/InRelease", |bytes| *bytes = b"Origin: Example\n".to_vec());
    insta::assert_snapshot!(place.fails());
}

#[test]
fn an_expired_release() {
    let place = Place::new();
    place.mirror.publish(&place.key, Release { valid_until: Some(1_000_086_400), ..GOOD }, &place.packages);
    insta::assert_snapshot!(place.fails());
}

#[test]
fn a_release_older_than_the_locked_one() {
    let place = Place::new();
    let lock = place.lock().unwrap();
    let older = Release { date: GOOD.date - 86_400, ..GOOD };
    place.mirror.publish(&place.key, older, &place.packages);
    let error = place.lock().unwrap_err();
    assert_eq!(Lock::read(&place.path("bedplate.lock")).unwrap().unwrap(), lock, "the former lock was touched");
    // Who asks for it gets it; from then on that age counts.
    let lock = place.lock_with(Options { accept_older: true, ..place.options() }).unwrap();
    assert_eq!((lock.suite[0].date, lock.snapshot), (older.date, older.date));
    place.lock().unwrap();
    insta::assert_snapshot!(place.sentence(&error));
}

#[test]
fn a_packed_index_is_read() {
    let place = Place::new();
    place.mirror.publish(&place.key, Release { packed: true, ..GOOD }, &place.packages);
    assert_eq!(place.lock().unwrap().package.len(), 3);
}

#[test]
fn another_suite() {
    let place = Place::new();
    place.mirror.publish(&place.key, Release { codename: "bookworm", ..GOOD }, &place.packages);
    insta::assert_snapshot!(place.fails());
}

#[test]
fn an_altered_index() {
    let place = Place::new();
    place.mirror.change("/dists/trixie/main/binary-amd64/Packages", |bytes| *bytes.last_mut().unwrap() = b'x');
    // The size goes with how many tools there are.
    let sentence = place.fails();
    let start = "main/binary-amd64/Packages of suite trixie of archive \"test\" is altered: its ";
    assert!(sentence.starts_with(start) && sentence.ends_with(" have SHA-256 ..., where ... is right"), "{sentence}");
}

#[test]
fn an_unknown_package() {
    let place = Place::new();
    place.recipe("\"hello\", \"greetings\"");
    insta::assert_snapshot!(place.fails());
}

#[test]
fn a_truncated_package() {
    let place = Place::new();
    place.mirror.change(&path_of(place.package("greeting")), |bytes| bytes.truncate(100));
    insta::assert_snapshot!(place.fails());
}

#[test]
fn a_package_that_is_too_long() {
    let place = Place::new();
    place.mirror.change(&path_of(place.package("greeting")), |bytes| bytes.push(0));
    let sentence = place.fails();
    assert!(
        sentence.starts_with("package greeting 1.5 from http://MIRROR/pool/") && sentence.contains("is too long"),
        "{sentence}"
    );
}

#[test]
fn an_altered_package() {
    let place = Place::new();
    place.mirror.change(&path_of(place.package("greeting")), |bytes| bytes[90] ^= 1);
    insta::assert_snapshot!(place.fails());
}

#[test]
fn a_connection_that_is_cut() {
    let place = Place::new();
    place.mirror.cut(&path_of(place.package("greeting")));
    let sentence = place.fails();
    assert!(sentence.starts_with("can't reach MIRROR for package greeting 1.5 ("), "{sentence}");
}

#[test]
fn a_dropped_package() {
    let place = Place::new();
    place.mirror.remove(&path_of(place.package("greeting")));
    insta::assert_snapshot!(place.fails());
}

#[test]
fn no_network() {
    let place = Place::new();
    let recipe = std::fs::read_to_string(place.path("recipe.toml")).unwrap();
    // Nobody listens there: port 1 of the loopback interface.
    std::fs::write(place.path("recipe.toml"), recipe.replace(&place.mirror.address, "http://127.0.0.1:1")).unwrap();
    let sentence = place.fails();
    assert!(sentence.starts_with("can't reach 127.0.0.1:1 for InRelease of suite trixie"), "{sentence}");
    assert!(sentence.ends_with("check the network, or use --offline if all was fetched before"), "{sentence}");
}

#[test]
fn offline_names_what_is_missing() {
    let place = Place::new();
    let mut lock = place.lock().unwrap();
    lock.package[0].sha256 = Sha256::of("something else");
    insta::assert_snapshot!(place.sentence(&place.fetch(&lock, true).unwrap_err()));
}

#[test]
fn no_keyring() {
    let place = Place::new();
    std::fs::write(place.path("keyring.gpg"), "nothing").unwrap();
    let sentence = place.fails();
    assert!(sentence.starts_with("can't read the keyring FOLDER/keyring.gpg for archive \"test\" ("), "{sentence}");
}

#[test]
fn two_builds_at_once() {
    let place = Place::new();
    let locks: Vec<Lock> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(|| place.lock().unwrap())).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert!(locks.iter().all(|lock| *lock == locks[0]));
    place.store_is_good();
    place.fetch(&locks[0], true).unwrap();
}
