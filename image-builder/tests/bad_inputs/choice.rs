//! Which of the packages that are offered become an image: priorities, pins and holds.

use super::mirror::deb;
use super::{GOOD, Place};
use image_builder::lock::Lock;
use std::io::Write;

impl Place {
    /// Serves these in place of the packages of the same names.
    pub(super) fn publish_with(&self, newer: &[(String, Vec<u8>)]) {
        let name = |p: &(String, Vec<u8>)| p.0.lines().next().unwrap().to_owned();
        let kept = self.packages.iter().filter(|p| !newer.iter().any(|n| name(n) == name(p))).cloned();
        self.mirror.publish(&self.key, GOOD, &kept.chain(newer.iter().cloned()).collect::<Vec<_>>());
    }

    /// Appends to the recipe.
    pub(super) fn also(&self, text: &str) {
        std::fs::OpenOptions::new()
            .append(true)
            .open(self.path("recipe.toml"))
            .and_then(|mut recipe| recipe.write_all(text.as_bytes()))
            .unwrap();
    }

    pub(super) fn fails_with(&self) -> String {
        let error = self.lock().unwrap_err();
        self.sentence(&error)
    }
}

fn versions(lock: &Lock) -> Vec<String> {
    lock.package.iter().map(|p| format!("{} {}", p.name, p.version)).collect()
}

#[test]
fn what_is_held_stays_and_comes_from_the_store_when_the_archive_has_dropped_it() {
    let place = Place::new();
    let former = place.lock().unwrap();
    let newer = [deb("hello", "3.0", "Depends: greeting (>= 2)\n"), deb("greeting", "2.0", "")];
    place.publish_with(&newer);
    place.recipe("\"hello\"]\nhold = [\"hel*\"");
    let lock = place.lock().unwrap();
    assert_eq!(versions(&lock), ["greeting 2.0", "hello 2.10", "linux-image-amd64 6.12"]);
    assert_eq!(lock.package[1], former.package[1]);
    // What only a held package needs comes with it.
    let exact = [deb("hello", "3.5", "Depends: greeting (= 2.1)\n"), deb("greeting", "2.1", "")];
    place.recipe("\"hello\"");
    place.publish_with(&exact);
    place.lock().unwrap();
    place.recipe("\"hello\"]\nhold = [\"hello\"");
    place.publish_with(&[deb("hello", "4.0", ""), deb("greeting", "4.0", "")]);
    assert_eq!(versions(&place.lock().unwrap()), ["greeting 2.1", "hello 3.5", "linux-image-amd64 6.12"]);
    // Neither here nor there.
    std::fs::remove_dir_all(place.path("store/blob")).unwrap();
    insta::assert_snapshot!(place.fails_with());
}

#[test]
fn a_pin_that_leaves_nothing_is_named() {
    let place = Place::new();
    place.recipe("\"hello\"]\npin = { greeting = \"1.*\" }\nexclude = [");
    assert_eq!(versions(&place.lock().unwrap())[0], "greeting 1.5");
    place.publish_with(&[deb("greeting", "2.0", "")]);
    insta::assert_snapshot!("nothing_for_a_pin", place.fails_with());
    place.recipe("\"hello\"]\npin = { gretting = \"1.*\" }\nexclude = [");
    insta::assert_snapshot!("no_such_pin", place.fails_with());
    place.recipe("\"hello\"]\nhold = [\"hallo\"");
    insta::assert_snapshot!("no_such_hold", place.fails_with());
}

#[test]
fn a_higher_priority_counts_more_than_a_higher_version() {
    let place = Place::new();
    place.publish_with(&[deb("greeting", "2.0", ""), deb("hello", "2.10", "Depends: greeting (>= 1)\n")]);
    let other = Place::new();
    let site = |priority: i16| {
        place.recipe("\"hello\"");
        std::fs::copy(other.path("keyring.gpg"), place.path("other.gpg")).unwrap();
        place.also(&format!(
            "\n[archive.site]\nurl = \"{}\"\nsuites = [\"trixie\"]\nkeyring = \"other.gpg\"\npriority = {priority}\n",
            other.mirror.address
        ));
        let lock = place.lock().unwrap();
        (versions(&lock)[0].clone(), lock.package[0].archive.clone(), lock.package[2].archive.clone())
    };
    assert_eq!(site(0), ("greeting 2.0".into(), "test".into(), "site".into()));
    assert_eq!(site(-1), ("greeting 2.0".into(), "test".into(), "test".into()), "one file in both archives");
    assert_eq!(site(5), ("greeting 1.5".into(), "site".into(), "site".into()));
}
