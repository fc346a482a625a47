//! An export, and what can happen to it in the years until it is wanted.

use super::mirror::Key;
use super::{GOOD, Place, mask_digests};
use image_builder::inputs::export::{Export, export};
use image_builder::inputs::import::import;
use image_builder::inputs::{SUMS, Told};
use image_builder::progress::Progress;
use image_builder::store::Store;
use std::path::{Path, PathBuf};

impl Place {
    fn export(&self, name: &str) -> anyhow::Result<Told> {
        let (recipe, agent, out) = (self.path("recipe.toml"), self.path("agent"), self.path(name));
        export(&Export { recipe, agent, out, offline: true }, &self.store(), &Progress::silent())
    }

    /// Imports an export into a new store.
    fn import(&self, name: &str, store: &str) -> Result<(Store, Told), String> {
        let store = Store::open(&self.path(store)).unwrap();
        let told = import(&self.path(name), &store, &Progress::silent()).map_err(|error| self.sentence(&error))?;
        Ok((store, told))
    }
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[test]
fn an_export_is_all_that_a_build_fetches() {
    let place = Place::new();
    let lock = place.lock().unwrap();
    let told = place.export("export").unwrap();
    // The same lock gives the same export.
    assert_eq!(place.export("again").unwrap(), told);
    // The archive is gone, and so is the store.
    place.mirror.publish(&Key::new(), GOOD, &[]);
    std::fs::remove_dir_all(place.path("store")).unwrap();
    assert!(place.fetch(&lock, true).is_err());
    let (store, imported) = place.import("export", "store").unwrap();
    assert_eq!(imported, told);
    let fetched = place.fetch(&lock, true).unwrap();
    assert_eq!(fetched.package["hello"].read().unwrap(), place.package("hello").1);
    assert!(store.blob(&lock.suite[0].in_release).is_some());
    place.store_is_good();
    // Twice does no harm; into a folder that is not empty nothing is written.
    place.import("export", "store").unwrap();
    let error = place.export("export").unwrap_err();
    assert_eq!(
        place.sentence(&error),
        "FOLDER/export is there already; an export is written into a new or empty folder"
    );
}

#[test]
fn every_altered_file_of_an_export_is_named() {
    let place = Place::new();
    place.lock().unwrap();
    place.export("export").unwrap();
    let folder = place.path("export");
    let all = files(&folder);
    assert!(all.len() > 30, "{all:?}");
    for (i, path) in all.iter().enumerate() {
        let good = std::fs::read(path).unwrap();
        let mut bad = good.clone();
        let at = bad.len() / 2;
        bad[at] ^= 1;
        std::fs::write(path, bad).unwrap();
        let error = place.import("export", &format!("store-{i}")).unwrap_err();
        let name = path.strip_prefix(&folder).unwrap().to_str().unwrap();
        // An altered list is at odds with what it lists, or is no list. Digests are masked in names, too.
        assert!(error.contains(&mask_digests(name)) || name == SUMS, "{name}: {error}");
        std::fs::write(path, good).unwrap();
    }
    place.import("export", "store-good").unwrap();
}

#[test]
fn an_export_with_more_or_less_in_it_is_refused() {
    let place = Place::new();
    let lock = place.lock().unwrap();
    place.export("export").unwrap();
    let extra = place.path("export/local/overlay");
    std::fs::create_dir_all(&extra).unwrap();
    std::fs::write(extra.join("more"), "").unwrap();
    insta::assert_snapshot!("more_in_an_export", place.import("export", "one").unwrap_err());
    std::fs::remove_dir_all(extra).unwrap();
    let package = lock.package.iter().find(|p| p.name == "hello").unwrap();
    let file = place.path("export/package/test").join(&package.path);
    let kept = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let error = place.import("export", "two").unwrap_err();
    assert!(error.contains("is in the list of FOLDER/export and not in the folder"), "{error}");
    // A list that knows nothing of it does not help.
    let sums = place.path("export").join(SUMS);
    let text = std::fs::read_to_string(&sums).unwrap();
    let without: String = text.lines().filter(|l| !l.contains(&package.path)).map(|l| format!("{l}\n")).collect();
    std::fs::write(&sums, without).unwrap();
    let error = place.import("export", "three").unwrap_err();
    assert!(error.ends_with("is not in the export, and the lock wants it"), "{error}");
    // Nor does one that fits another file.
    std::fs::write(&sums, text).unwrap();
    std::fs::write(&file, kept).unwrap();
    place.import("export", "four").unwrap();
}
