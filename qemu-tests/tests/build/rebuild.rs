//! `bedplate verify --rebuild` as somebody does it who has the recipe, the release and its public key, and no other.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "edge: starts the builder as a stranger would")]

use image_builder::package::name;
use image_builder::resolve::local::AGENT_FOLDER;
use qemu_tests::bench::{release_of_example, repository};
use qemu_tests::tiers::{agent_folder, target_folder};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A folder with the recipe, its overlays and the key that the release is to be signed with.
struct Stranger {
    folder: tempfile::TempDir,
}

impl Stranger {
    fn new() -> Stranger {
        let stranger = Stranger { folder: tempfile::tempdir().unwrap() };
        fs::create_dir_all(stranger.path("examples/node")).unwrap();
        let overlays = Command::new("cp").arg("-a").arg(repository().join("overlays")).arg(stranger.path("")).status();
        assert!(overlays.unwrap().success());
        let example = repository().join("examples/node");
        fs::copy(example.join("recipe.toml"), stranger.path("examples/node/recipe.toml")).unwrap();
        fs::copy(example.join("keys/release.pub"), stranger.path("release.pub")).unwrap();
        stranger
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn bedplate(&self, words: &[&str]) -> Output {
        let mut command = Command::new(target_folder().join("debug/bedplate"));
        command.args(words).env(AGENT_FOLDER, agent_folder()).current_dir(self.folder.path()).output().unwrap()
    }

    /// Gives what was said on standard error if it failed.
    fn rebuild(&self, more: &[&str]) -> Result<(), String> {
        let release = release_of_example().display().to_string();
        let words = ["verify", &release, "--key", "release.pub", "--rebuild", "--offline", "--recipe"];
        let done = self.bedplate(&[&words[..], &["examples/node/recipe.toml"], more].concat());
        match done.status.success() {
            true => {
                let said = String::from_utf8_lossy(&done.stdout).into_owned();
                assert!(said.contains("verified, and rebuilt to the same bytes"), "{said}");
                Ok(())
            }
            false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
        }
    }

    fn change(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(file)).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        fs::write(self.path(file), text.replacen(from, to, 1)).unwrap();
    }
}

/// From its recipe a release comes out again byte for byte, signed parts too; from another recipe what differs is named,
/// and what does not is not.
pub fn by_a_stranger() {
    let stranger = Stranger::new();
    stranger.rebuild(&[]).unwrap();

    let preset = "overlays/boot/usr/lib/systemd/system-preset/00-bedplate.preset";
    let text = fs::read_to_string(stranger.path(preset)).unwrap();
    fs::write(stranger.path(preset), format!("{text}# more\n")).unwrap();
    let said = stranger.rebuild(&[]).unwrap_err();
    let named = "overlay/boot/usr/lib/systemd/system-preset/00-bedplate.preset (changed): is not what";
    assert!(said.contains(named) && !said.contains(name::UKI), "{said}");
    fs::write(stranger.path(preset), text).unwrap();

    // Neither of these is in the lock.
    let recipe = "examples/node/recipe.toml";
    stranger.change(recipe, "\"console=tty0\"", "\"console=tty1\"");
    stranger.change(recipe, "exclude = [", "exclude = [\n    \"/usr/sbin/conntrack\",");
    let said = stranger.rebuild(&["--keep", "again"]).unwrap_err();
    let lines: Vec<&str> = said.lines().map(|line| line.strip_prefix("bedplate: ").unwrap_or(line)).collect();
    let told = |start: &str| lines.iter().any(|line| line.starts_with(start));
    for what in ["command-line", "root-hash", "root-image", "unsigned-uki"] {
        assert!(told(&format!("{what}: is ")), "{what}: {said}");
    }
    for file in [name::UKI, name::DISK, name::FILES, name::LEFT_OUT, name::SBOM] {
        assert!(told(&format!("{file}: is ")), "{file}: {said}");
    }
    assert!(told("uki.efi: what differs is .cmdline, .initrd"), "{said}");
    assert!(told("/usr/sbin/conntrack: does not come of this recipe"), "{said}");
    for same in [name::LOCK, name::CONFIG_PUBLIC, "secure-boot/", "kernel", "snapshot", "components"] {
        assert!(!told(&format!("{same}:")) && !told(&format!("{same}db")), "{same}: {said}");
    }
    let (release, again) = (release_of_example().display().to_string(), stranger.path("again").display().to_string());
    let diff = stranger.bedplate(&["diff", &release, &again, "--all-files"]);
    let told = String::from_utf8_lossy(&diff.stdout).into_owned();
    assert!(told.contains("/usr/sbin/conntrack") && told.contains("console=tty1"), "{told}");
    assert!(!stranger.path("again").join(name::SIGNATURE).exists(), "nobody here can sign");

    let said = stranger.rebuild(&["--keep", &release]).unwrap_err();
    assert!(said.contains("is the release itself"), "{said}");
}
