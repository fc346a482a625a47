//! Maintainer scripts that somebody has read, and those that changed since.

use super::mirror::deb_of;
use super::{Place, mask_digests};
use image_builder::digest::Sha256;

#[test]
fn a_changed_script_or_trigger_is_shown_beside_the_one_that_was_reviewed() {
    let place = Place::new();
    let greeting = |version: &str, postinst: &str, triggers: &str| {
        let scripts = [("./postinst", postinst), ("./triggers", triggers)];
        deb_of("greeting", version, "", "./usr/share/greeting/file", &scripts)
    };
    let (postinst, triggers) = ("#!/bin/sh\n# greeting 1.5\ntrue\n", "# by hand\ninterest /usr/share/greeting\n");
    let (normal_postinst, normal_triggers) =
        ("#!/bin/sh\n# greeting {version}\ntrue\n", "interest /usr/share/greeting\n");
    place.publish_with(&[greeting("1.5", postinst, triggers)]);
    for (script, text) in [("postinst", normal_postinst), ("triggers", normal_triggers)] {
        place.also(&format!(
            "\n[[script]]\npackage = \"greeting\"\nscript = \"{script}\"\nsha256 = \"{}\"\nverdict = \"ignore\"\nreason = \
             \"It does nothing.\"\n",
            Sha256::of(text)
        ));
    }
    let lock = place.lock().unwrap();
    assert_eq!(lock.script.len(), 2);
    // A version of its own is no change.
    place.publish_with(&[greeting("1.6", &postinst.replace("1.5", "1.6"), triggers)]);
    place.lock().unwrap();
    let diverts = "#!/bin/sh\n# greeting 1.7\ndpkg-divert --add --rename /bin/sh\ntrue\n";
    place.publish_with(&[greeting("1.7", diverts, "interest /usr/share/greeting\nactivate update-initramfs\n")]);
    insta::assert_snapshot!("a_changed_script", mask_digests(&place.fails_with()));
    // Without the former package there is nothing to compare with, and that is said.
    std::fs::remove_dir_all(place.path("store/blob")).unwrap();
    insta::assert_snapshot!("a_changed_script_of_a_lost_package", mask_digests(&place.fails_with()));
}
