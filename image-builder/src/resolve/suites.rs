//! What the recipe's suites offer, fetched and believed only as far as it is signed.

use super::Options;
use super::index::Index;
use super::release::{self, Release, show_moment};
use super::signature::Keyring;
use super::solve::Chosen;
use super::wishes::Rank;
use crate::digest::Sha256;
use crate::fetch::http::{self, Client};
use crate::fetch::mirror::Mirror;
use crate::lock::{self, Lock};
use crate::progress::{Progress, Unit};
use crate::recipe::Recipe;
use crate::store::{Fetched, Store};
use anyhow::{Context, Result, anyhow};
use std::io::Read;
use std::path::Path;

/// No `InRelease` is larger.
const LARGEST_RELEASE: u64 = 32 << 20;

/// Every suite of a recipe, opened.
pub(crate) struct Suites {
    /// What each suite's `Release` was; positions are the numbers used in the index.
    pub(crate) suites: Vec<lock::Suite>,
    /// How each stands to the others.
    pub(crate) ranks: Vec<Rank>,
    /// What they offer.
    pub(crate) index: Index,
}

impl Suites {
    /// The lock's entry of a package that was picked.
    pub(crate) fn package(&self, chosen: Chosen) -> lock::Package {
        let candidate = self.index.get(chosen.number);
        let suite = &self.suites[candidate.suite];
        lock::Package {
            name: candidate.name.clone(),
            version: candidate.version_text.clone(),
            archive: suite.archive.clone(),
            suite: suite.suite.clone(),
            path: candidate.path.clone(),
            size: candidate.size,
            sha256: candidate.sha256,
            wanted_by: chosen.wanted_by,
        }
    }
}

/// Fetches, verifies and reads the indexes of all suites of the recipe. `folder` is the recipe's; `former` the lock
/// that was there.
pub(crate) fn open(
    recipe: &Recipe,
    folder: &Path,
    former: Option<&Lock>,
    store: &Store,
    progress: &Progress,
    options: &Options,
) -> Result<Suites> {
    let Options { network, now, .. } = options;
    let mut opened = Suites { suites: Vec::new(), ranks: Vec::new(), index: Index::default() };
    let architecture = recipe.image.arch.debian();
    let mut texts = Vec::new();
    for (name, archive) in &recipe.archive {
        for suite in &archive.suites {
            let place = Place { archive: name, suite, mirror: network.mirror(recipe, name, suite, folder)? };
            let client = &network.client;
            let (release, entry) = place.release(client, store, progress, *now)?;
            place.not_older(&entry, former, options.accept_older, progress)?;
            let number = opened.suites.len();
            for component in &archive.components {
                let architectures = if release.separate_all { vec![architecture, "all"] } else { vec![architecture] };
                for (i, of) in architectures.iter().enumerate() {
                    let Some((path, digest, size)) = release.packages(component, of) else {
                        // An index for `all` may be promised and not be there for a component.
                        if i > 0 {
                            continue;
                        }
                        return Err(release::Error::NoIndex {
                            archive: name.clone(),
                            suite: suite.clone(),
                            index: format!("{component}/binary-{of}/Packages"),
                            components: release.components(of).join(", "),
                        }
                        .into());
                    };
                    let index = place.index(client, store, progress, &path, digest, size, release.by_hash)?;
                    let text = unpack(&index, &path).with_context(|| format!("can't unpack {}", place.show(&path)))?;
                    texts.push((number, text, place.show(&path)));
                }
            }
            opened.suites.push(entry);
            opened.ranks.push(Rank { tools_only: archive.tools_only, priority: archive.priority });
        }
    }
    // A file that several suites have counts as the best one's.
    texts.sort_by_key(|(number, ..)| (-opened.ranks[*number].preference(), *number));
    for (number, text, what) in texts {
        opened.index.add(&text, number, architecture).map_err(|why| anyhow!("{what} can't be read: {why}"))?;
    }
    Ok(opened)
}

struct Place<'a> {
    archive: &'a str,
    suite: &'a str,
    mirror: Mirror,
}

impl Place<'_> {
    fn url(&self, path: &str) -> String {
        // A suite that ends in `/` is a flat repository: everything is in that folder (sources.list(5)).
        match self.suite.strip_suffix('/') {
            Some(flat) => format!("{}/{flat}/{path}", self.mirror.url),
            None => format!("{}/dists/{}/{path}", self.mirror.url, self.suite),
        }
    }

    fn show(&self, path: &str) -> String {
        format!("{path} of suite {} of archive {:?}", self.suite, self.archive)
    }

    fn release(&self, client: &Client, store: &Store, progress: &Progress, now: i64) -> Result<(Release, lock::Suite)> {
        let keyring = &self.mirror.keyring;
        let ring = std::fs::read(keyring).map_err(|e| e.to_string()).and_then(|bytes| Keyring::parse(&bytes)).map_err(
            |why| {
                anyhow!(
                    "can't read the keyring {} for archive {:?} ({why}); name one with keyring = \"...\" below [archive.{}]",
                    keyring.display(),
                    self.archive,
                    self.archive
                )
            },
        )?;
        let (what, url) = (self.show("InRelease"), self.url("InRelease"));
        let bytes = client.retry(|| {
            let mut bytes = Vec::new();
            client.open(&url, &what)?.take(LARGEST_RELEASE).read_to_end(&mut bytes)?;
            Ok(bytes)
        })?;
        let text = std::str::from_utf8(&bytes).map_err(|_| anyhow!("{what} from {url} is no text"))?;
        let signed = ring
            .verify(text, now)
            .map_err(|e| anyhow!("the signature of {what} {e} (keyring {})", keyring.display()))?;
        let release = Release::parse(&signed.text).map_err(|why| release::Error::Format {
            archive: self.archive.into(),
            suite: self.suite.into(),
            why,
        })?;
        if !release.is_of(self.suite) {
            let found = release.own_name();
            return Err(release::Error::Suite { archive: self.archive.into(), suite: self.suite.into(), found }.into());
        }
        if let Some(until) = release.valid_until.filter(|until| *until < now) {
            if self.mirror.check_valid_until {
                let (archive, suite, until) = (self.archive.into(), self.suite.into(), show_moment(until));
                return Err(release::Error::Expired { archive, suite, until }.into());
            }
            progress.say(format!("{what} expired at {}; taken all the same, as configured", show_moment(until)));
        }
        let entry = lock::Suite {
            archive: self.archive.into(),
            suite: self.suite.into(),
            in_release: store.put_bytes(&bytes, &what)?.digest(),
            date: release.date,
            signed_by: signed.fingerprint,
        };
        Ok((release, entry))
    }

    /// A `Release` stays signed for ever: one that was good last month hides what was mended since. Its date must not
    /// go back from one lock to the next.
    fn not_older(&self, entry: &lock::Suite, former: Option<&Lock>, accept: bool, progress: &Progress) -> Result<()> {
        let is_it = |s: &&lock::Suite| (&s.archive, &s.suite) == (&entry.archive, &entry.suite);
        let Some(former) = former.and_then(|lock| lock.suite.iter().find(is_it)) else { return Ok(()) };
        if entry.date >= former.date {
            return Ok(());
        }
        let (found, former) = (show_moment(entry.date), show_moment(former.date));
        if !accept {
            let (archive, suite) = (self.archive.into(), self.suite.into());
            return Err(release::Error::Older { archive, suite, found, former }.into());
        }
        progress.say(format!(
            "{} is of {found}, older than {former} in the lock; taken all the same, as asked",
            self.show("InRelease")
        ));
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "one file: where from, where to, what it must be")]
    fn index(
        &self,
        client: &Client,
        store: &Store,
        progress: &Progress,
        path: &str,
        digest: Sha256,
        size: u64,
        by_hash: bool,
    ) -> Result<Fetched> {
        if let Some(known) = store.blob(&digest) {
            return Ok(known);
        }
        let what = self.show(path);
        let by_path = self.url(path);
        let mut urls = vec![by_path];
        if by_hash && let Some((folder, _)) = path.rsplit_once('/') {
            // By its digest it stays right while the mirror is being updated.
            urls.insert(0, self.url(&format!("{folder}/by-hash/SHA256/{digest}")));
        }
        let task = progress.task(format!("fetch {} {path}", self.suite), size, Unit::Bytes);
        let mut last = None;
        for url in &urls {
            match client.fetch(url, &what, &digest, Some(size), store, &task) {
                Err(e) if matches!(http::find(&e), Some(http::Error::NotFound { .. })) => last = Some(e),
                done => return done,
            }
        }
        Err(last.unwrap_or_else(|| anyhow!("{what} has no address")))
    }
}

fn unpack(index: &Fetched, path: &str) -> Result<String> {
    let file = index.open()?;
    let mut text = String::new();
    match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("xz") => liblzma::read::XzDecoder::new_multi_decoder(file).read_to_string(&mut text)?,
        Some("gz") => flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text)?,
        _ => std::io::BufReader::new(file).read_to_string(&mut text)?,
    };
    Ok(text)
}
