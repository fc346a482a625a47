//! Signing by keys on a token: SoftHSM's, which keeps its keys in files and speaks PKCS#11 like any other.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "edge: makes a token and starts the builder")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use image_builder::digest::Sha256;
use qemu_tests::bench::{release_of_example, repository};
use qemu_tests::tiers::{agent_folder, target_folder};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where Debian has the module, which `make setup` installs with the token's tool.
const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "9876";
/// What comes before the seed of an Ed25519 key in PKCS#8 (RFC 8410, 7).
const PKCS8_ED25519: &[u8] = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";

/// A site whose private keys are on a token and nowhere else.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Site {
        let site = Site { folder: tempfile::tempdir().unwrap() };
        let example = repository().join("examples/node");
        fs::create_dir_all(site.path("examples/node/keys")).unwrap();
        fs::create_dir(site.path("tokens")).unwrap();
        let overlays = Command::new("cp").arg("-a").arg(repository().join("overlays")).arg(site.path("")).status();
        assert!(overlays.unwrap().success());
        for entry in fs::read_dir(example.join("keys")).unwrap() {
            let from = entry.unwrap().path();
            let name = from.file_name().unwrap().to_str().unwrap();
            if !name.ends_with(".key") {
                fs::copy(&from, site.path("examples/node/keys").join(name)).unwrap();
            }
        }
        fs::copy(example.join("bedplate.lock"), site.path("examples/node/bedplate.lock")).unwrap();
        let config = format!("directories.tokendir = {}\nlog.level = ERROR\n", site.path("tokens").display());
        fs::write(site.path("softhsm2.conf"), config).unwrap();
        fs::write(site.path("pin"), format!("{PIN}\n")).unwrap();

        site.softhsm(&["--init-token", "--free", "--label", "signing", "--so-pin", "12345678", "--pin", PIN]);
        let keys = example.join("keys");
        site.import(&keys.join("db.key"), "db", "01");
        site.import(&keys.join("KEK.key"), "stranger", "02");
        site.import(&site.first_form(&keys.join("release.key")), "release", "03");
        // The example's keys may be of a version that had none.
        if keys.join("pcr.key").exists() {
            site.import(&keys.join("pcr.key"), "pcr", "04");
        }
        site.recipe("db", "release");
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn softhsm(&self, words: &[&str]) {
        let done = Command::new("softhsm2-util").args(words).env("SOFTHSM2_CONF", self.path("softhsm2.conf")).output();
        let done = done.expect("softhsm2-util is installed by `make setup`");
        assert!(done.status.success(), "{done:?}");
    }

    fn import(&self, key: &Path, label: &str, id: &str) {
        let file = key.to_str().unwrap();
        self.softhsm(&["--import", file, "--token", "signing", "--label", label, "--id", id, "--pin", PIN]);
    }

    /// The key without its public half, which SoftHSM's OpenSSL can't read.
    fn first_form(&self, key: &Path) -> PathBuf {
        let pem = fs::read_to_string(key).unwrap();
        let der = BASE64.decode(pem.lines().filter(|l| !l.starts_with('-')).collect::<String>()).unwrap();
        let seed = der.windows(2).position(|w| w == [0x04, 0x20]).unwrap() + 2;
        let der = [PKCS8_ED25519, &der[seed..seed + 32]].concat();
        let file = self.path("release.key");
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64.encode(der));
        fs::write(&file, pem).unwrap();
        file
    }

    /// The example's recipe with these keys of the token.
    fn recipe(&self, db: &str, release: &str) {
        let text = fs::read_to_string(repository().join("examples/node/recipe.toml")).unwrap();
        let (before, after) = text.split_once("folder = \"keys\"\n").expect("the example names its keys");
        let uri = |label: &str| {
            format!(
                "pkcs11:token=signing;object={label}?module-path={MODULE}&pin-source={}",
                self.path("pin").display()
            )
        };
        let mut keys = format!("folder = \"keys\"\ndb = {:?}\nrelease = {:?}\n", uri(db), uri(release));
        if self.path("examples/node/keys/pcr.crt").exists() {
            keys.push_str(&format!("pcr = {:?}\n", uri("pcr")));
        }
        fs::write(self.path("examples/node/recipe.toml"), format!("{before}{keys}{after}")).unwrap();
    }

    fn build(&self) -> Output {
        let mut command = Command::new(target_folder().join("debug/bedplate"));
        command.args(["build", "--offline", "--recipe"]).arg(self.path("examples/node/recipe.toml"));
        command.arg("--out").arg(self.path("out")).env("BEDPLATE_AGENT_DIR", agent_folder());
        command.env("SOFTHSM2_CONF", self.path("softhsm2.conf")).output().unwrap()
    }

    fn refused(&self, why: &str) {
        let done = self.build();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.code() == Some(1) && said.contains(why), "{why}: {said}");
        assert!(!self.path("out").exists());
    }
}

/// With no private key on the disk, a build gives the very bytes that it gives with the keys in files.
pub fn token_signs_the_same() {
    let site = Site::new();
    site.recipe("nobody", "release");
    site.refused("the token has no such private key");
    site.recipe("stranger", "release");
    site.refused("does not belong to the certificate CN=Bedplate Secure Boot db");
    site.recipe("db", "stranger");
    site.refused("does not sign");
    site.recipe("db", "release");
    fs::write(site.path("pin"), "0000").unwrap();
    site.refused("the token does not take this PIN");
    fs::remove_file(site.path("pin")).unwrap();
    site.refused("can't be read");

    fs::write(site.path("pin"), PIN).unwrap();
    let done = site.build();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let digest = |folder: &Path, name: &str| Sha256::of(fs::read(folder.join(name)).unwrap());
    for name in ["uki.efi", "manifest.json", "manifest.json.sig", "SHA256SUMS"] {
        assert_eq!(digest(&site.path("out"), name), digest(&release_of_example(), name), "{name}");
    }
}
