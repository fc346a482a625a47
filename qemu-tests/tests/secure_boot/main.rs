//! Tier *secure_boot*: from firmware without keys to a node that starts nothing but what was signed.
//!
//! One image is made for it, with what the example has not: a vendor's certificate, the order to enrol, an addon for
//! this very machine. One machine is followed over its starts; what each start left is looked at by the tests.
#![allow(clippy::disallowed_methods, reason = "edge: makes a site of its own, starts the builder, alters disks")]

use anyhow::{Context, Result, bail, ensure};
use image_builder::assemble::pcr;
use image_builder::digest::Sha256;
use image_builder::qemu::release_disk::{ReleaseDisk, UKI};
use image_builder::resolve::local;
use image_builder::sign::authenticode;
use image_builder::sign::file_key::FileKey;
use image_builder::sign::keys;
use on_disk::efi_keys::{Trusted, entries};
use on_disk::efi_vars::{GLOBAL, IMAGE_SECURITY_DATABASE, VariableStore};
use on_disk::pe::{Image, NewSection};
use qemu_tests::bench::{Bench, repository};
use qemu_tests::machine::{BOOT, Machine};
use qemu_tests::tiers::{self, Shared, agent_folder, target_folder};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

/// What the addon for this machine says.
const ARGUMENTS: &str = "bedplate.addon=for-this-model";
/// Where addons count.
const EXTRA: &str = "EFI/BOOT/BOOTX64.EFI.extra.d";
/// GUID of the vendor.
const VENDOR: &str = "77fa9abd-0359-4d32-bd60-28f4e78f784b";

type Check = fn(&Tier) -> Result<()>;

const CHECKS: &[(&str, Check)] = &[
    ("a hand-made addon is refused where the firmware lets it pass", hand_made_addon),
    ("firmware in setup mode is given the keys of the image and starts it under secure boot", enrolled),
    ("db carries the own and the vendor's certificate", databases),
    ("pcr 11 is what the builder computed and signed", measured),
    ("the addon for this model counts from the next start on, one that others signed never", addons),
    ("an image that others signed is refused", foreign_image),
];

#[derive(Default)]
struct Tier {
    bench: Shared<Bench>,
    site: Shared<Site>,
    first: Shared<First>,
}

fn main() -> ExitCode {
    let tier = Arc::new(Tier::default());
    let trials = CHECKS.iter().map(|(name, check)| {
        let tier = tier.clone();
        tiers::case(name, move || check(&tier))
    });
    tiers::run("secure_boot", trials.collect())
}

/// A recipe of its own beside copies of the example's lock and keys, and the image made of it.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn new() -> Result<Site> {
        let site = Site { folder: tempfile::Builder::new().prefix("bedplate-site-").tempdir()? };
        let example = repository().join("examples/node");
        fs::create_dir_all(site.path("examples/node"))?;
        for (from, to) in [(repository().join("overlays"), "overlays"), (example.join("keys"), "examples/node/keys")] {
            let copied = Command::new("cp").arg("-a").arg(from).arg(site.path(to)).status()?;
            ensure!(copied.success(), "{to} can't be copied");
        }
        fs::copy(example.join("bedplate.lock"), site.path("examples/node/bedplate.lock"))?;
        let keys = site.path("examples/node/keys");
        keys::add(&keys)?;
        // Whoever signs option ROMs, and somebody who signs nothing of ours.
        keys::new(&site.path("others"))?;
        fs::copy(site.path("others/KEK.crt"), site.path("examples/node/vendor.pem"))?;
        let sha256 = Sha256::of(fs::read(site.path("examples/node/vendor.pem"))?);
        let text = fs::read_to_string(example.join("recipe.toml"))?;
        let (before, after) = text.split_once("folder = \"keys\"\n").context("the example names its keys")?;
        let more = format!(
            "\n[[keys.vendor]]\ncertificate = \"vendor.pem\"\n\
             sha256 = \"{sha256}\"\nowner = \"{VENDOR}\"\n\n[[addon]]\nname = \"guest\"\n\
             match = {{ vendor = \"Bedplate\", product = \"Gu*\" }}\narguments = [\"{ARGUMENTS}\"]\n\n\
             [[addon]]\nname = \"other\"\nmatch = {{ vendor = \"Somebody else\" }}\narguments = [\"bedplate.addon=other\"]\n"
        );
        fs::write(
            site.path("examples/node/recipe.toml"),
            format!("{before}folder = \"keys\"\nenrol = \"setup-mode\"\n{after}{more}"),
        )?;
        let refused = site.bedplate(&["build", "--offline", "--draft", "--out", "out"])?;
        ensure!(refused.contains("`bedplate keys vendors` puts them there"), "it was built: {refused}");
        let recipe = site.path("examples/node/recipe.toml");
        for verb in [&["keys", "vendors", "--recipe"][..], &["build", "--offline", "--out", "out", "--recipe"]] {
            let done = site.start(&[verb, &[recipe.to_str().context("a path is no text")?]].concat())?;
            ensure!(done.status.success(), "{verb:?}: {}", String::from_utf8_lossy(&done.stderr));
        }
        let public = fs::read_to_string(keys.join("release.pub"))?;
        image_builder::release::verify(&site.release(), &public)?;
        Ok(site)
    }

    fn release(&self) -> PathBuf {
        self.path("out")
    }

    /// What the builder said when it failed.
    fn bedplate(&self, words: &[&str]) -> Result<String> {
        let recipe = self.path("examples/node/recipe.toml");
        let done = self.start(&[words, &["--recipe", recipe.to_str().context("a path is no text")?]].concat())?;
        ensure!(!done.status.success(), "{words:?} was done");
        Ok(String::from_utf8_lossy(&done.stderr).into_owned())
    }

    fn start(&self, words: &[&str]) -> Result<std::process::Output> {
        let mut command = Command::new(target_folder().join("debug/bedplate"));
        command.args(words).current_dir(self.folder.path()).env(local::AGENT_FOLDER, agent_folder());
        Ok(command.output()?)
    }
}

/// What the first machine said from its first power-on until it had placed its addon.
struct First {
    folder: PathBuf,
    disk: PathBuf,
    log: String,
    page: String,
}

impl Tier {
    fn bench(&self) -> Result<&Bench> {
        self.bench.get(Bench::of_example)
    }

    fn site(&self) -> Result<&Site> {
        self.site.get(Site::new)
    }

    fn machine(&self, name: &str) -> Result<Machine<'_>> {
        let bench = self.bench()?;
        let mut machine = Machine::new(bench, name)?;
        machine.lab.release = self.site()?.release();
        machine.lab.tpm = true;
        // Firmware as it comes: no platform key, no others.
        let blank = bench.tools.root().join("usr/share/OVMF/OVMF_VARS_4M.fd");
        fs::copy(&blank, machine.folder().join("vars.fd")).with_context(|| format!("{}", blank.display()))?;
        Ok(machine)
    }

    fn first(&self) -> Result<&First> {
        self.first.get(|| {
            let mut machine = self.machine("enrolled")?;
            machine.power_on()?;
            let page = machine.wait("it says which keys it will enrol", BOOT, |log| {
                Ok(log.page().filter(|page| page.contains("BP-B013") && page.contains("then starts again")))
            })?;
            machine.wait("it started again and placed its addon", 2 * BOOT, |log| {
                if let Some(page) = log.page().filter(|page| page.contains("STOPPED")) {
                    bail!("it stopped:\n{page}");
                }
                Ok(log.text().contains("addons for this model placed: guest").then_some(()))
            })?;
            let log = machine.log().text().to_owned();
            machine.cut_power();
            let (folder, disk) = (machine.folder().to_owned(), machine.system_disk());
            Ok(First { folder, disk, log, page })
        })
    }
}

fn enrolled(tier: &Tier) -> Result<()> {
    let first = tier.first()?;
    let said: Vec<usize> = ["secure boot off", "enrolling the Secure Boot keys", "secure boot on"]
        .iter()
        .filter_map(|words| first.log.find(words))
        .collect();
    // The first start goes no further than the enrolment: it never says how it was checked.
    ensure!(said.len() == 2 && said.is_sorted(), "{}", first.log);
    let certificate = fs::read(tier.site()?.path("examples/node/keys/db.crt"))?;
    let digest = Sha256::of(der(&certificate)?).to_string();
    ensure!(first.page.contains(&digest), "the page does not show the certificate {digest}:\n{}", first.page);
    ensure!(first.page.contains("Bedplate Secure Boot PK"), "{}", first.page);
    let (before, _) = first.log.split_once("bedplate: secure boot on").context("it never started under Secure Boot")?;
    ensure!(!before.contains("phase stage1"), "something was started before Secure Boot was on:\n{before}");
    Ok(())
}

fn databases(tier: &Tier) -> Result<()> {
    let first = tier.first()?;
    let store = VariableStore::parse(&fs::read(first.folder.join("vars.fd"))?)?;
    let held = |vendor, name: &str| -> Result<Vec<Vec<u8>>> {
        let variable = store.get(vendor, name).with_context(|| format!("the firmware has no {name}"))?;
        let entries = entries(&variable.data)?.into_iter();
        let certificates = entries.filter_map(|entry| match entry.trusted {
            Trusted::Certificate(der) => Some(der),
            Trusted::Other(_) => None,
        });
        Ok(certificates.collect())
    };
    let keys = tier.site()?.path("examples/node/keys");
    let of = |path: &Path| -> Result<Vec<u8>> { der(&fs::read(path)?) };
    let vendor = of(&tier.site()?.path("examples/node/vendor.pem"))?;
    ensure!(held(IMAGE_SECURITY_DATABASE, "db")? == [of(&keys.join("db.crt"))?, vendor], "db holds other certificates");
    ensure!(held(GLOBAL, "KEK")? == [of(&keys.join("KEK.crt"))?], "KEK holds other certificates");
    ensure!(held(GLOBAL, "PK")? == [of(&keys.join("PK.crt"))?], "PK holds other certificates");
    Ok(())
}

fn measured(tier: &Tier) -> Result<()> {
    let first = tier.first()?;
    let uki = Image::parse(fs::read(tier.site()?.release().join("uki.efi"))?)?;
    let computed = hex::encode(pcr::measured(&uki));
    let values: Vec<&str> =
        first.log.lines().filter_map(|l| l.split_once("bedplate: pcr 11 ")).map(|l| l.1.trim()).collect();
    ensure!(values == [&computed[..]; 2], "the TPM says {values:?}, the builder {computed}");
    pcr::check(&uki)
}

/// The machine as the first start left it, and beside its addon one that somebody else signed.
fn addons(tier: &Tier) -> Result<()> {
    let (bench, first, site) = (tier.bench()?, tier.first()?, tier.site()?);
    let disk = ReleaseDisk::open(&first.disk)?;
    let placed = disk.read_esp(&bench.tools, &format!("{EXTRA}/guest.addon.efi"))?;
    ensure!(placed == fs::read(site.release().join("addons/guest.addon.efi"))?, "another addon was placed");
    let others = FileKey::open(&site.path("others"), "db")?;
    let foreign = authenticode::sign(&addon(bench, "bedplate.addon=foreign")?, &others)?;
    disk.write_esp(&bench.tools, &format!("{EXTRA}/foreign.addon.efi"), foreign.bytes())?;

    let mut machine = tier.machine("addon")?;
    fs::copy(first.folder.join("vars.fd"), machine.folder().join("vars.fd"))?;
    fs::rename(&first.disk, machine.system_disk())?;
    machine.power_on()?;
    let said = machine.wait("stage 1 takes the addon", BOOT, |log| {
        Ok(log.phases().iter().any(|p| p.name == "stage1").then(|| log.text().to_owned()))
    })?;
    ensure!(said.contains("bedplate: secure boot on"), "{said}");
    ensure!(said.contains("bedplate: with the arguments of the addons guest"), "{said}");
    // The kernel's own word for it.
    let line = said.lines().find(|line| line.contains("Command line: ")).context("the kernel said no command line")?;
    ensure!(line.trim_end().ends_with(&format!(" {ARGUMENTS}")), "{line}");
    Ok(())
}

/// Without Secure Boot the stub takes an addon that nobody signed; stage 1 must not, nor enrol under it.
fn hand_made_addon(tier: &Tier) -> Result<()> {
    let bench = tier.bench()?;
    let mut machine = tier.machine("hand-made")?;
    machine.make_disks()?;
    let disk = ReleaseDisk::open(&machine.system_disk())?;
    disk.make_folder(&bench.tools, EXTRA)?;
    let made = addon(bench, "bedplate.addon=hand-made")?;
    disk.write_esp(&bench.tools, &format!("{EXTRA}/guest.addon.efi"), made.bytes())?;
    machine.power_on()?;
    let page = machine.wait_for_page("STOPPED", BOOT)?;
    ensure!(page.contains("BP-B001") && page.contains("bedplate.addon=hand-made"), "{page}");
    machine.cut_power();
    let store = VariableStore::parse(&fs::read(machine.folder().join("vars.fd"))?)?;
    ensure!(store.get(GLOBAL, "PK").is_none(), "keys were enrolled");
    Ok(())
}

/// The same image, signed by somebody else, on a machine that was enrolled.
fn foreign_image(tier: &Tier) -> Result<()> {
    let (bench, first, site) = (tier.bench()?, tier.first()?, tier.site()?);
    let mut machine = tier.machine("foreign")?;
    fs::copy(first.folder.join("vars.fd"), machine.folder().join("vars.fd"))?;
    machine.make_disks()?;
    let uki = Image::parse(fs::read(site.release().join("uki.efi"))?)?.without_certificate();
    let others = FileKey::open(&site.path("others"), "db")?;
    let disk = ReleaseDisk::open(&machine.system_disk())?;
    disk.write_esp(&bench.tools, UKI, authenticode::sign(&uki, &others)?.bytes())?;
    machine.power_on()?;
    machine.wait("the firmware denies access", BOOT, |log| Ok(log.text().contains("Access Denied").then_some(())))?;
    std::thread::sleep(Duration::from_secs(10));
    ensure!(machine.log().kernels() == 0, "a kernel started:\n{}", machine.log().tail(20));
    Ok(())
}

/// An addon with these arguments that nobody has signed.
fn addon(bench: &Bench, arguments: &str) -> Result<Image> {
    let stub = Image::parse(fs::read(bench.tools.root().join(image_builder::assemble::addon::STUB))?)?;
    Ok(stub.with_sections(&[NewSection { name: ".cmdline", data: arguments.as_bytes(), code: false }])?)
}

fn der(pem: &[u8]) -> Result<Vec<u8>> {
    use base64::Engine;
    let text = std::str::from_utf8(pem)?;
    let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    Ok(base64::engine::general_purpose::STANDARD.decode(body)?)
}
