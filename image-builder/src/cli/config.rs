//! `bedplate config`: check, sign, show and render site files.
//!
//! Every fault goes to standard error as `file:line:column: CODE: what`, with why and how to mend it; with
//! `--json` the same faults are a list on standard output. Files are replaced whole or not at all.

#![allow(clippy::disallowed_methods, reason = "edge: reads the files it is given and writes the one it makes")]

use super::Console;
use crate::sign::keys::public_key;
use anyhow::{Context, Result};
use clap::Subcommand;
use machine_config::schema::Passphrase;
use machine_config::signature::{self, PrivateKey};
use machine_config::site::SiteFile;
use machine_config::{Diagnostic, check, delivered, document, merge, render, schema};
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Check, sign, show and render site files.
#[derive(Debug, Clone, Subcommand)]
pub enum Config {
    /// Tell everything that is wrong with a site file or a bundle.
    #[command(after_help = "Examples:
  bedplate config check site.toml
  bedplate config check site.toml --machine n1
  bedplate config check site.toml --json

Exit codes: 0 nothing is wrong, 1 something is, 2 wrong usage.")]
    Check {
        /// The site file or bundle.
        file: PathBuf,
        /// Look only at this machine, and at what all machines share.
        #[arg(long, value_name = "NAME")]
        machine: Option<String>,
    },
    /// Print the JSON schema of the site file.
    #[command(after_help = "Example:
  bedplate config schema > site.schema.json")]
    Schema,
    /// Sign a site file or a bundle; a signature that is there is replaced.
    #[command(after_help = "Examples:
  bedplate config sign site.toml --key keys/config.key
  bedplate config sign site.toml --key keys/config.key --out site.signed.toml")]
    Sign {
        /// The site file or bundle; it is checked first.
        file: PathBuf,
        /// The private config key that `bedplate keys new` made. Its file name, without the ending, is its name.
        #[arg(long, value_name = "KEY")]
        key: PathBuf,
        /// Write the signed text here and leave FILE as it is.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Print what one machine's configuration comes to.
    #[command(after_help = "Examples:
  bedplate config show n1 site.toml
  bedplate config show n1 site.toml --origin")]
    Show {
        /// The machine.
        name: String,
        /// The site file.
        file: PathBuf,
        /// Print each value that was written, with the line it came from.
        #[arg(long)]
        origin: bool,
    },
    /// Put the site file and one machine's secrets into that machine's bundle.
    #[command(after_help = "Example:
  bedplate config render site.toml --machine n1 --credentials n1.credentials.toml \\
    --key keys/config.key --out n1.bundle.toml

With volumes that are encrypted:
  openssl rand -base64 32 > n1.passphrase
  bedplate config render site.toml --machine n1 --credentials n1.credentials.toml \\
    --disk-passphrase n1.passphrase --key keys/config.key --out n1.bundle.toml")]
    Render {
        /// The site file.
        site: PathBuf,
        /// The machine the bundle is for.
        #[arg(long, value_name = "NAME")]
        machine: String,
        /// Its secrets: TOML with `ca`, and `certificate` and `key` or `token` (docs/site-file.md).
        #[arg(long, value_name = "FILE")]
        credentials: PathBuf,
        /// What opens its encrypted volumes: a file with a passphrase of at least 16 characters.
        #[arg(long, value_name = "FILE")]
        disk_passphrase: Option<PathBuf>,
        /// Sign the bundle with this private config key.
        #[arg(long, value_name = "KEY")]
        key: Option<PathBuf>,
        /// The bundle; its owner alone may read it.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// What a verb comes to, before any of it is printed or written.
#[derive(Debug, Default)]
struct Outcome {
    stdout: String,
    stderr: String,
    file: Option<NewFile>,
    failed: bool,
}

#[derive(Debug)]
pub(super) struct NewFile {
    pub path: PathBuf,
    pub text: String,
    /// Readable by its owner alone.
    pub private: bool,
}

impl Config {
    /// Runs the verb.
    ///
    /// # Errors
    /// If a file can't be read or written. What is wrong inside a file is printed and gives exit code 1.
    pub(super) fn run(&self, console: &Console) -> Result<ExitCode> {
        let outcome = self.outcome(console.json)?;
        if let Some(file) = &outcome.file {
            replace(file)?;
        }
        eprint!("{}", outcome.stderr);
        let printed = super::print(&outcome.stdout)?;
        Ok(if outcome.failed { ExitCode::FAILURE } else { printed })
    }

    fn outcome(&self, json: bool) -> Result<Outcome> {
        match self {
            Config::Check { file, machine } => check_file(file, machine.as_deref(), json),
            Config::Schema => {
                let schema = document::schema::<schema::Site>();
                Ok(Outcome { stdout: format!("{schema:#}\n"), ..Outcome::default() })
            }
            Config::Sign { file, key, out } => sign(file, key, out.as_deref()),
            Config::Show { name, file, origin } => show(name, file, *origin),
            Config::Render { site, machine, credentials, disk_passphrase, key, out } => {
                let secrets = Secrets { credentials, passphrase: disk_passphrase.as_deref() };
                bundle(site, machine, &secrets, key.as_deref(), out)
            }
        }
    }
}

fn check_file(path: &Path, machine: Option<&str>, json: bool) -> Result<Outcome> {
    let faults = match read(path)? {
        Ok(text) => faults_of(&text, &name(path), machine),
        Err(fault) => vec![fault],
    };
    if json {
        let stdout = format!("{}\n", serde_json::to_string_pretty(&faults)?);
        return Ok(Outcome { stdout, failed: !faults.is_empty(), ..Outcome::default() });
    }
    if faults.is_empty() {
        let about = machine.map_or_else(String::new, |machine| format!(" for {machine}"));
        return Ok(Outcome { stderr: format!("{}: nothing is wrong{about}\n", path.display()), ..Outcome::default() });
    }
    Ok(refused(&faults))
}

fn sign(path: &Path, key: &Path, out: Option<&Path>) -> Result<Outcome> {
    let key = private_key(key)?;
    let text = match read(path)? {
        Ok(text) => text,
        Err(fault) => return Ok(refused(&[fault])),
    };
    let faults = faults_of(&text, &name(path), None);
    if !faults.is_empty() {
        return Ok(refused(&faults));
    }
    let out = out.unwrap_or(path).to_owned();
    let file = NewFile { path: out.clone(), text: signature::sign(&text, &key), private: delivered::is_bundle(&text) };
    let stderr = format!("{}: signed with {}\n", out.display(), key.public().name());
    Ok(Outcome { file: Some(file), stderr, ..Outcome::default() })
}

fn show(machine: &str, path: &Path, origin: bool) -> Result<Outcome> {
    let text = match read(path)? {
        Ok(text) => text,
        Err(fault) => return Ok(refused(&[fault])),
    };
    let resolved = match SiteFile::read(&text, &name(path)).and_then(|site| merge::resolve(&site, machine)) {
        Ok(resolved) => resolved,
        Err(faults) => return Ok(refused(&faults)),
    };
    let mut stdout = String::new();
    if origin {
        let origins = resolved.origins();
        let width = |part: fn(&merge::Origin) -> usize| origins.iter().map(part).max().unwrap_or(0);
        let (path_width, value_width) = (width(|o| o.path.chars().count()), width(|o| o.value.chars().count()).min(48));
        for origin in &origins {
            writeln!(stdout, "{:path_width$} = {:value_width$}  # {}", origin.path, origin.value, origin.place)?;
        }
    } else {
        stdout = toml::to_string_pretty(&resolved.config).context("write the configuration as TOML")?;
    }
    Ok(Outcome { stdout, ..Outcome::default() })
}

/// Files with what only one machine may know.
struct Secrets<'a> {
    credentials: &'a Path,
    passphrase: Option<&'a Path>,
}

fn bundle(site: &Path, machine: &str, secrets: &Secrets<'_>, key: Option<&Path>, out: &Path) -> Result<Outcome> {
    let key = key.map(private_key).transpose()?;
    let Secrets { credentials, passphrase } = secrets;
    let passphrase = passphrase.map(read).transpose()?.transpose();
    let (site_text, credentials_text, passphrase) = match (read(site)?, read(credentials)?, passphrase) {
        (Ok(site), Ok(credentials), Ok(passphrase)) => (site, credentials, passphrase),
        (site, credentials, passphrase) => {
            let faults = [site.err(), credentials.err(), passphrase.err()];
            return Ok(refused(&faults.into_iter().flatten().collect::<Vec<_>>()));
        }
    };
    let passphrase = passphrase.map(|written| Passphrase::new(&written));
    let parts = ((site_text.as_str(), &*name(site)), (credentials_text.as_str(), &*name(credentials)));
    match render::bundle(parts.0, machine, parts.1, passphrase) {
        Err(faults) => Ok(refused(&faults)),
        Ok(text) => {
            let text = key.as_ref().map_or_else(|| text.clone(), |key| signature::sign(&text, key));
            let signed = if key.is_some() { "signed" } else { "not signed" };
            let stderr = format!("{}: the bundle of {machine}, {signed}; it carries secrets\n", out.display());
            let file = Some(NewFile { path: out.to_owned(), text, private: true });
            Ok(Outcome { file, stderr, ..Outcome::default() })
        }
    }
}

/// Faults of a site file, or of a bundle and the site file in it.
fn faults_of(text: &str, name: &str, machine: Option<&str>) -> Vec<Diagnostic> {
    if !delivered::is_bundle(text) {
        return check::file(text, name, machine);
    }
    match delivered::open(text, name, &[]) {
        Err(faults) => faults,
        Ok(delivered) => {
            let machine = machine.map(str::to_owned).or(delivered.machine);
            check::file(&delivered.site, &delivered.file, machine.as_deref())
        }
    }
}

fn refused(faults: &[Diagnostic]) -> Outcome {
    let mut stderr = String::new();
    for fault in faults {
        stderr.push_str(&format!("{fault}\n"));
    }
    stderr.push_str(&match faults.len() {
        1 => "1 fault\n".to_owned(),
        many => format!("{many} faults\n"),
    });
    Outcome { stderr, failed: true, ..Outcome::default() }
}

fn read(path: &Path) -> Result<Result<String, Diagnostic>> {
    let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    Ok(document::text(&bytes, &name(path)).map(str::to_owned))
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

pub(super) fn private_key(path: &Path) -> Result<PrivateKey> {
    let pem = std::fs::read_to_string(path).with_context(|| format!("read the key {}", path.display()))?;
    // The public key beside it has the name that images know it by.
    let beside = std::fs::read_to_string(path.with_extension("pub")).ok().and_then(|text| public_key(&text).ok());
    let name = match beside {
        Some(public) => public.name().to_owned(),
        None => path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(),
    };
    PrivateKey::from_pem(&pem, &name).with_context(|| format!("use the key {}", path.display()))
}

/// Writes beside the file and renames, so that a full disk or a power cut leaves the old one.
pub(super) fn replace(new: &NewFile) -> Result<()> {
    let folder = new.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let writing = || format!("write {}", new.path.display());
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(writing)?;
    file.write_all(new.text.as_bytes()).with_context(writing)?;
    let mode = if new.private {
        0o600
    } else {
        std::fs::metadata(&new.path).map_or(0o644, |found| found.permissions().mode() & 0o777)
    };
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).with_context(writing)?;
    file.as_file().sync_all().with_context(writing)?;
    file.persist(&new.path).map_err(|error| error.error).with_context(writing)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Progress;

    fn silent() -> Console {
        Console { progress: Progress::silent(), json: false }
    }

    const SITE: &str = include_str!("../../../examples/site/rack.toml");

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Folder {
            Folder(tempfile::tempdir().expect("a folder"))
        }

        fn file(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.path().join(name);
            std::fs::write(&path, text).expect("writes");
            path
        }

        fn keys(&self, seed: u8) -> (PathBuf, signature::PublicKey) {
            let key = PrivateKey::from_seed(&[seed; 32], "config").expect("a key");
            (self.file("config.key", &key.to_pem().expect("PEM")), key.public())
        }
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("is there").permissions().mode() & 0o777
    }

    #[test]
    fn a_broken_file_fails_with_every_fault_in_order() {
        let folder = Folder::new();
        let file = folder.file("site.toml", &SITE.replace("level = 1", "levl = 1").replace("\"object\"]", "\"obj\"]"));
        let outcome = Config::Check { file: file.clone(), machine: None }.outcome(false).expect("reads");
        assert!(outcome.failed && outcome.stdout.is_empty());
        let place = format!("{}:", file.display());
        assert_eq!(outcome.stderr.lines().filter(|line| line.starts_with(&place)).count(), 4, "{}", outcome.stderr);
        assert!(outcome.stderr.ends_with("4 faults\n"), "{}", outcome.stderr);

        let json = Config::Check { file, machine: None }.outcome(true).expect("reads");
        let faults: Vec<Diagnostic> = serde_json::from_str(&json.stdout).expect("JSON");
        assert!(json.failed && json.stderr.is_empty() && faults.len() == 4);
    }

    #[test]
    fn a_file_that_is_not_text_is_a_fault() {
        let folder = Folder::new();
        let file = folder.0.path().join("site.toml");
        std::fs::write(&file, b"format = 1\n\xff").expect("writes");
        let outcome = Config::Check { file, machine: None }.outcome(false).expect("reads");
        assert!(outcome.failed && outcome.stderr.contains("site.toml:2:1: BP-C006"), "{}", outcome.stderr);
    }

    #[test]
    fn signing_replaces_the_file_and_keeps_its_mode() {
        let folder = Folder::new();
        let (key, public) = folder.keys(1);
        let file = folder.file("site.toml", SITE);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("chmod");
        let sign = Config::Sign { file: file.clone(), key, out: None };
        sign.run(&silent()).expect("signs");
        sign.run(&silent()).expect("signs again");
        let text = std::fs::read_to_string(&file).expect("reads");
        assert_eq!(signature::verify(&text, "f", &[public]).expect("verifies").by(), Some("config"));
        assert_eq!(text.matches("bedplate-signature").count(), 1);
        assert_eq!(mode(&file), 0o640);
    }

    #[test]
    fn a_signature_has_the_name_of_the_public_key_beside_the_private_one() {
        let folder = Folder::new();
        let (key, _) = folder.keys(1);
        let named = PrivateKey::from_seed(&[1; 32], "config-7").expect("a key").public();
        folder.file("config.pub", &format!("{named}\n"));
        let outcome = sign(&folder.file("site.toml", SITE), &key, None).expect("signs");
        assert!(outcome.stderr.ends_with("signed with config-7\n"), "{}", outcome.stderr);
    }

    #[test]
    fn a_broken_file_is_not_signed() {
        let folder = Folder::new();
        let (key, _) = folder.keys(1);
        let file = folder.file("site.toml", "format = 1\n");
        let outcome = Config::Sign { file, key, out: None }.outcome(false).expect("reads");
        assert!(outcome.failed && outcome.file.is_none());
    }

    #[test]
    fn a_bundle_is_private_and_signed_as_a_whole() {
        let folder = Folder::new();
        let (key, public) = folder.keys(1);
        let credentials = folder.file(
            "n1.toml",
            "ca = \"-----BEGIN CERTIFICATE-----\\n-----END CERTIFICATE-----\\n\"\ntoken = \"abcdef.0123456789abcdef\"\n",
        );
        let out = folder.0.path().join("n1.bundle.toml");
        let site = folder.file("site.toml", SITE);
        let (machine, disk_passphrase) =
            ("n1".to_owned(), Some(folder.file("n1.passphrase", "drawn at random, mostly\n")));
        let render = Config::Render { site, machine, credentials, disk_passphrase, key: Some(key), out: out.clone() };
        render.run(&silent()).expect("renders");
        assert_eq!(mode(&out), 0o600);
        let text = std::fs::read_to_string(&out).expect("reads");
        let opened = delivered::open(&text, "f", &[public]).expect("opens");
        assert_eq!((opened.machine.as_deref(), opened.site.as_str()), (Some("n1"), SITE));
        assert_eq!(opened.passphrase.expect("one").bytes(), b"drawn at random, mostly", "without the line's end");
        let check = Config::Check { file: out, machine: None }.outcome(false).expect("reads");
        assert!(!check.failed, "{}", check.stderr);
    }

    #[test]
    fn showing_a_machine() {
        let folder = Folder::new();
        let file = folder.file("site.toml", SITE);
        let show = |origin| {
            Config::Show { name: "n3".into(), file: file.clone(), origin }.outcome(false).expect("reads").stdout
        };
        assert!(show(false).contains("count = 11"));
        let origins = show(true);
        let line = origins.lines().find(|line| line.starts_with("each.object.disks.count")).expect("a line");
        assert!(line.contains("= 11") && line.ends_with("site.toml:37:27"), "{line}");
    }
}
