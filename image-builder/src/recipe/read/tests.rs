use super::*;

const GOOD: &str = include_str!("../../../../examples/node/recipe.toml");

fn faults(text: &str) -> String {
    match Recipe::parse(text, "recipe.toml", |path| !path.starts_with("missing")) {
        Ok(_) => panic!("no fault was found"),
        Err(faults) => faults.to_string(),
    }
}

#[test]
fn the_example_is_good() {
    let recipe = Recipe::parse(GOOD, "recipe.toml", |_| true).unwrap();
    assert!(recipe.archive["backports"].tools_only);
    assert_eq!(recipe.component["kube"].version["kubernetes"], "1.37.2");
}

#[test]
fn every_fault_is_told_with_its_place() {
    let text = r#"format = 1
image = { name = "a b", version = "1" }
overlay = ["here", "missing"]

[archive.debian]
url = "ftp://mirror.example.org/debian"
suites = []
keyring = "missing.gpg"

[packages]
install = ["systemd", "Sys temd"]
pin = { systemd = ">= 257" }
hold = [""]

[kernel]
package = "linux-image-amd64"
arguments = ["quiet splash", "roothash=00"]

[component.kube]
modules = "kubernetes"

[component.tool]
files = [{ sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", install = "bin/x", mode = "rwx" }]

[keys]
folder = "keys"
db = "pkcs11:object=db?pin-value=1234"

[output]
esp = "much"
compression = "gzip"
"#;
    insta::assert_snapshot!(faults(text));
}

#[test]
fn unknown_keys_and_wrong_types_are_told_with_their_place() {
    let text =
        GOOD.replace("[kernel]\n", "[kernel]\nflavour = \"rt\"\n").replace("tools-only = true", "tools-only = \"yes\"");
    insta::assert_snapshot!(faults(&text));
}

#[test]
fn a_newer_format_is_refused() {
    insta::assert_snapshot!(faults(&GOOD.replace("format = 1", "format = 2")));
}

#[test]
fn a_container_image_needs_full_names_and_places() {
    let image =
        "\n[[container-image]]\nnames = [\"localhost/a/b:1\"]\nfiles = { \"/coredns\" = \"/usr/bin/coredns\" }\n";
    let good = format!("{GOOD}{image}");
    Recipe::parse(&good, "recipe.toml", |_| true).unwrap();
    for (from, to, said) in [
        ("localhost/a/b:1", "coredns:1", "\"coredns:1\" is no image's full name"),
        ("localhost/a/b:1", "a.b/c", "\"a.b/c\" is no image's full name"),
        ("localhost/a/b:1", "a.b/C:1", "\"a.b/C:1\" is no image's full name"),
        ("[\"localhost/a/b:1\"]", "[]", "has no name"),
        ("localhost/a/b:1", "localhost/bedplate/coredns:1.14.7", "two container images are called"),
        ("\"/coredns\" =", "\"coredns\" =", "\"coredns\" is no file's place"),
        ("\"/usr/bin/coredns\"", "\"/usr/../coredns\"", "\"/usr/../coredns\" is no file's place"),
    ] {
        let told = faults(&good.replace(from, to));
        assert!(told.contains("BP-R017") && told.contains(said), "{said}: {told}");
    }
}

#[test]
fn a_ready_container_image_has_one_source_and_its_digest() {
    let sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let of = |source: &str| format!("{GOOD}\n[[container-image]]\nnames = [\"localhost/a/b:1\"]\n{source}\n");
    let parsed = |source: &str| Recipe::parse(&of(source), "recipe.toml", |_| true).unwrap();
    let file = format!("path = \"b.tar\"\nsha256 = \"{sha256}\"");
    let folder = format!("path = \"b\"\ndigest = \"sha256:{sha256}\"");
    let fetched = format!("url = \"https://example.org/b.tar\"\nsha256 = \"{sha256}\"");
    let [one, other] = [parsed(&file), parsed(&folder)].map(|recipe| recipe.lock_digest());
    assert_ne!(one, other);
    assert_ne!(one, Recipe::parse(GOOD, "recipe.toml", |_| true).unwrap().lock_digest());
    // Where it is served does not matter.
    assert_eq!(one, parsed(&fetched).lock_digest());
    for (source, said) in [
        (String::new(), "a container image has no source"),
        (format!("sha256 = \"{sha256}\"\nfiles = {{ \"/a\" = \"/b\" }}"), "a container image has no source"),
        (format!("{file}\nurl = \"https://example.org/b.tar\""), "has two sources"),
        ("path = \"b.tar\"".to_owned(), "has no digest"),
        (format!("url = \"https://example.org/b\"\ndigest = \"sha256:{sha256}\""), "has no digest"),
        (format!("{file}\nuser = \"1\""), "taken ready and composed at once"),
        (file.replace("b.tar", "missing/b.tar"), "missing/b.tar"),
        (folder.replace("sha256:", "sha512:"), "is not a digest of an image"),
    ] {
        let told = faults(&of(&source));
        assert!(told.contains(said), "{said}: {told}");
    }
}

#[test]
fn only_what_decides_the_lock_changes_its_digest() {
    let digest = |text: &str| Recipe::parse(text, "recipe.toml", |_| true).unwrap().lock_digest();
    let good = digest(GOOD);
    assert_eq!(good, digest(&GOOD.replace("console=tty0", "quiet")));
    assert_eq!(good, digest(&GOOD.replace("folder = \"keys\"", "folder = \"other\"")));
    let token = "folder = \"keys\"\ndb = \"pkcs11:object=db?module-path=/lib.so\"";
    assert_eq!(good, digest(&GOOD.replace("folder = \"keys\"", token)));
    assert_eq!(good, digest(&GOOD.replace("../../overlays/", "overlays/")));
    assert_ne!(good, digest(&GOOD.replace("../../overlays/boot", "../../overlays/boat")));
    assert_ne!(good, digest(&GOOD.replace("\"dbus\"", "\"dbus-broker\"")));
    assert_ne!(good, digest(&GOOD.replace("1.37.2", "1.37.1")));
    for choice in ["pin = { systemd = \"257.*\" }", "hold = [\"systemd\"]"] {
        assert_ne!(good, digest(&GOOD.replace("[packages]\n", &format!("[packages]\n{choice}\n"))));
    }
    assert_ne!(good, digest(&GOOD.replace("[archive.security]\n", "[archive.security]\npriority = 5\n")));
    assert_eq!(good, digest(&GOOD.replace("[archive.security]\n", "[archive.security]\npriority = 0\n")));
}

#[test]
fn a_kernel_is_from_a_package_or_compiled_from_fragments() {
    let with = |kernel: &str| GOOD.replace("package = \"linux-image-amd64\"", kernel);
    let good = "source = \"linux-source-6.12\"\nconfig = [\"a/base.config\", \"site.config\"]";
    let recipe = Recipe::parse(&with(good), "recipe.toml", |_| true).unwrap();
    assert_eq!(recipe.compiled(), ["agent", "kernel"]);
    for (kernel, said) in [
        ("", "names no kernel"),
        (&format!("package = \"linux-image-amd64\"\n{good}"), "names more than one kernel"),
        ("source = \"linux-source-6.12\"", "nothing says how"),
        ("package = \"linux-image-amd64\"\nconfig = [\"a.config\"]", "is configured already"),
        (&good.replace("site.config", "b/base.config"), "two fragments are called \"base.config\""),
    ] {
        let told = faults(&with(kernel));
        assert!(told.contains("BP-R022") && told.contains(said), "{said}: {told}");
    }
    assert!(faults(&with(&good.replace("site", "missing/site"))).contains("missing/site.config"));
    let digest = |kernel: &str| Recipe::parse(&with(kernel), "recipe.toml", |_| true).unwrap().lock_digest();
    assert_eq!(digest(good), digest(&good.replace("a/base", "b/base")));
    assert_ne!(digest(good), digest(&good.replace("6.12", "6.13")));
    assert_ne!(digest(good), digest(&good.replace("site", "other")));
}
