use super::*;
use crate::render;
use crate::signature::{PrivateKey, sign};
use proptest::prelude::*;

const SITE: &str = include_str!("../../../examples/site/rack.toml");
const CREDENTIALS: &str =
    "ca = \"-----BEGIN CERTIFICATE-----\\n-----END CERTIFICATE-----\\n\"\ntoken = \"abcdef.0123456789abcdef\"\n";

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(&[seed; 32], "config").expect("a key")
}

fn facts(serial: &str) -> Facts {
    Facts { serial: Some(serial.into()), ..Facts::default() }
}

fn codes<T: fmt::Debug>(result: Result<T, Vec<Diagnostic>>) -> Vec<String> {
    result.expect_err("refused").into_iter().map(|fault| fault.code).collect()
}

fn bundle(machine: &str) -> String {
    render::bundle((SITE, "rack.toml"), machine, (CREDENTIALS, "n1.credentials.toml"), None).expect("renders")
}

#[test]
fn a_site_file_or_a_bundle() {
    let site = open(SITE, "rack.toml", &[]).expect("opens");
    assert_eq!((site.revision, &site.machine, site.join.is_none()), (42, &None, true));
    assert_eq!(site.machine_config(&facts("J7K2X03")).expect("n1").name, "n1");

    let bundle = open(&bundle("n1"), "n1.bundle", &[]).expect("opens");
    assert_eq!(bundle.site, SITE, "the site file's text is carried unchanged");
    assert_eq!(bundle.machine_config(&facts("J7K2X03")).expect("n1").name, "n1");
    assert_eq!(codes(bundle.machine_config(&facts("J7K2X04"))), ["BP-C062"]);
    assert_eq!(codes(bundle.machine_config(&facts("NEW1"))), ["BP-C060"]);
    assert!(!format!("{bundle:?}").contains("0123456789abcdef"), "a debug print leaks no secret");
    assert!(!format!("{:?}", bundle.join).contains("0123456789abcdef"), "a debug print leaks no secret");
}

#[test]
fn with_keys_only_what_they_signed_counts() {
    let keys = [key(1).public()];
    for text in [SITE.to_owned(), bundle("n1")] {
        assert_eq!(codes(open(&text, "f", &keys)), ["BP-C070"]);
        assert_eq!(codes(open(&sign(&text, &key(2)), "f", &keys)), ["BP-C072"]);
        let signed = sign(&text, &key(1));
        assert_eq!(open(&signed, "f", &keys).expect("opens").signed_by.as_deref(), Some("config"));
        assert_eq!(codes(open(&signed.replace("J7K2X04", "J7K2X05"), "f", &keys)), ["BP-C072"]);
    }
    // A signed site file inside a bundle does not sign the bundle: its secrets would be anybody's.
    let inner = sign(SITE, &key(1));
    let outer = render::bundle((&inner, "rack.toml"), "n1", (CREDENTIALS, "c"), None).expect("renders");
    assert_eq!(codes(open(&outer, "f", &keys)), ["BP-C070"]);
    assert_eq!(open(&sign(&outer, &key(1)), "f", &keys).expect("opens").site, inner);
}

#[test]
fn the_highest_validly_signed_revision_wins() {
    let revision = |n: u64| SITE.replace("revision = 42 ", &format!("revision = {n} "));
    let keys = [key(1).public()];
    let (old, new) = (sign(&revision(41), &key(1)), sign(&revision(43), &key(1)));
    let (forged, unsigned) = (sign(&revision(99), &key(2)), revision(98));
    let texts = [old.as_str(), &forged, &new, &unsigned];
    let candidates = texts.map(|text| Candidate { name: "stick", text });
    let choice = choose(&candidates, &keys, Some(43));
    assert_eq!(choice.chosen.map(|(index, delivered)| (index, delivered.revision)), Some((2, 43)));
    let refused: Vec<(usize, &str)> =
        choice.refused.iter().map(|(index, faults)| (*index, faults[0].code.as_str())).collect();
    assert_eq!(refused, [(0, "BP-C073"), (1, "BP-C072"), (3, "BP-C070")]);

    assert_eq!(choose(&candidates, &keys, Some(44)).chosen, None, "never older than the last accepted");
    assert_eq!(choose(&candidates, &keys, None).chosen.map(|(index, _)| index), Some(2));
    assert_eq!(choose(&[], &keys, None).chosen, None);
}

#[test]
fn among_equal_revisions_credentials_win_then_the_earlier() {
    let bundle = bundle("n1");
    let texts = [SITE, &bundle, SITE, &bundle];
    let candidates = texts.map(|text| Candidate { name: "f", text });
    assert_eq!(choose(&candidates, &[], None).chosen.map(|(index, _)| index), Some(1));
}

#[test]
fn half_a_credential_is_refused() {
    let pem = "ca = \"-----BEGIN CERTIFICATE-----\"\n";
    for (rest, good) in [
        ("", false),
        ("certificate = \"c\"\n", false),
        ("key = \"k\"\n", false),
        ("certificate = \"c\"\nkey = \"k\"\n", true),
        ("certificate = \"c\"\nkey = \"k\"\ntoken = \"abcdef.0123456789abcdef\"\n", false),
        ("token = \"abcdef.0123456789abcdef\"\n", true),
        ("token = \"abcdef\"\n", false),
        ("token = \"abcdef.0123456789abcdef\"\nproxy-key = \"k\"\n", false),
    ] {
        let text = format!("{pem}{rest}");
        let result = render::bundle((SITE, "f"), "n1", (&text, "c"), None);
        assert_eq!(result.is_ok(), good, "{rest:?}");
    }
    assert_eq!(codes(render::bundle((SITE, "f"), "n1", ("ca = \"x\"\n", "c"), None)), ["BP-C080"]);
    assert_eq!(codes(render::bundle((SITE, "f"), "n9", (CREDENTIALS, "c"), None)), ["BP-C014"]);
}

#[test]
fn a_bundle_brings_the_passphrase_of_encrypted_volumes_and_is_not_made_without() {
    let site = SITE.replace("class = \"object-hdd\"\n", "class = \"object-hdd\"\nencrypt = \"passphrase\"\n");
    assert_ne!(site, SITE);
    let rendered = |site: &str, written: Option<&str>| {
        render::bundle((site, "f"), "n1", (CREDENTIALS, "c"), written.map(Passphrase::new))
    };
    assert_eq!(codes(rendered(&site, None)), ["BP-C083"]);
    assert!(rendered(&site.replace("\"passphrase\"", "\"tpm\""), None).is_ok(), "the TPM needs none");
    for poor in ["too short", "fifteen letters", "with a \u{7} bell in it"] {
        assert_eq!(codes(rendered(&site, Some(poor))), ["BP-C082"], "{poor}");
    }
    let text = rendered(&site, Some("drawn at random, mostly\n")).expect("renders");
    let bundle = open(&text, "f", &[]).expect("opens");
    assert!(!format!("{bundle:?}").contains("drawn"), "a debug print leaks no secret");
    assert_eq!(bundle.passphrase.expect("one").bytes(), b"drawn at random, mostly");
    let altered = text.replace("drawn at random, mostly", "short");
    assert_eq!(codes(open(&altered, "f", &[])), ["BP-C082"]);
    assert!(open(SITE, "f", &[]).expect("opens").passphrase.is_none());
}

proptest! {
    #[test]
    fn a_bundle_carries_any_comment_of_the_site_unchanged(comment in "[^\\p{Cc}]*", crlf: bool) {
        let newline = if crlf { "\r\n" } else { "\n" };
        let site = format!("{SITE}# {comment} ''' \"\"\" \\{newline}");
        let bundle = render::bundle((&site, "f"), "n1", (CREDENTIALS, "c"), None).expect("renders");
        prop_assert_eq!(open(&bundle, "f", &[]).expect("opens").site, site);
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = open(&text, "f", &[]);
        let _ = open(&format!("bundle = 1\nmachine = \"n1\"\nsite = {}\n", toml::Value::String(text)), "f", &[key(1).public()]);
    }
}
