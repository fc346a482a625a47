use super::*;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A text with most of the shapes that our files have.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Shop {
    /// Format of this file.
    format: u32,
    /// Name over the door.
    name: Option<String>,
    #[serde(default)]
    shelf: BTreeMap<String, Shelf>,
    #[serde(default)]
    open: bool,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Shelf {
    /// How high.
    height: u8,
    /// What it is made of.
    #[serde(default)]
    material: Material,
    depth_range: Option<crate::schema::SizeRange>,
    address: Option<std::net::IpAddr>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Material {
    /// From trees.
    #[default]
    Wood,
    SolidSteel,
}

fn told(text: &str) -> String {
    match parse::<Shop>(text, "shop.toml") {
        Ok(shop) => format!("{shop:?}"),
        Err(all) => all.iter().map(|one| one.to_string()).collect::<Vec<_>>().join("\n"),
    }
}

#[test]
fn a_good_text_is_read() {
    insta::assert_snapshot!(told(
        "format = 1\nopen = true\n[shelf.a]\nheight = 0xff\nmaterial = \"solid-steel\"\naddress = \"::1\"\ndepth-range = \"1 GB ..\"\n"
    ), @r#"Shop { format: 1, name: None, shelf: {"a": Shelf { height: 255, material: SolidSteel, depth_range: Some(SizeRange { min: Some(1000000000), max: None }), address: Some(::1) }}, open: true, tags: [] }"#);
}

#[test]
fn every_fault_is_told_in_one_run() {
    insta::assert_snapshot!(told(
        "format = \"1\"\nnam = 3\ntags = \"a\"\nopen = \"true\"\n\n[shelf.a]\nheight = 256\nmaterial = \"steel\"\n[shelf.ü]\nhöhe = 1\naddress = \"300.1.1.1\"\ndepth_range = \"1 GB\"\n"
    ));
}

#[test]
fn a_broken_line_does_not_hide_the_faults_of_others() {
    insta::assert_snapshot!(told("format = 1\nname = \"half\nopen = 3\n[shelf.a\nheight = 1\n[shelf.b]\nheigt = 2\n"));
}

#[test]
fn a_key_given_twice() {
    insta::assert_snapshot!(told("format = 1\nformat = 2\n"));
}

#[test]
fn an_empty_text() {
    insta::assert_snapshot!(told(""));
}

#[test]
fn bytes_that_are_not_text() {
    let fault = text(b"a = 1\nb = \"\xff\"\n", "site.toml").expect_err("not UTF-8");
    assert_eq!(fault.place.map(|place| (place.line, place.column)), Some((2, 6)));
    assert_eq!(text("ä".as_bytes(), "x"), Ok("ä"));
}

#[test]
fn columns_count_characters() {
    let source = Source::new("ab\r\näö\"x\n", "f");
    let place = |offset| {
        let place = source.place(offset);
        (place.line, place.column)
    };
    assert_eq!(
        [place(0), place(2), place(4), place(6), place(8), place(10), place(999)],
        [(1, 1), (1, 3), (2, 1), (2, 2), (2, 3), (2, 5), (3, 1)]
    );
}

fn fragments() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("format = 1\n".to_owned()),
        Just("[shelf.a]\n".to_owned()),
        Just("height = 3\n".to_owned()),
        Just("[[shelf]]\n".to_owned()),
        Just("tags = [1, \"a\", {".to_owned()),
        Just("depth-range = \"1 TB ..\"\n".to_owned()),
        Just("'''".to_owned()),
        Just("shelf.\"ü\".material = ".to_owned()),
        Just("1979-05-27\n".to_owned()),
        any::<String>(),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_and_places_are_inside(text in fragments()) {
        if let Err(all) = parse::<Shop>(&text, "f") {
            prop_assert!(!all.is_empty());
            let lines: Vec<&str> = text.split('\n').collect();
            for one in all {
                let place = one.place.expect("a place");
                prop_assert!(place.line >= 1 && place.line <= lines.len(), "{place}");
                prop_assert!(place.column <= lines[place.line - 1].chars().count() + 1, "{place}");
            }
        }
    }

    #[test]
    fn what_is_written_is_read(format: u32, name: Option<String>, heights in prop::collection::btree_map(any::<String>(), any::<u8>(), 0..4), open: bool, tags: Vec<String>) {
        let shelf = heights.into_iter().map(|(key, height)| (key, Shelf { height, material: Material::Wood, depth_range: None, address: None })).collect();
        let shop = Shop { format, name, shelf, open, tags };
        let text = toml::to_string(&shop).expect("writes");
        prop_assert_eq!(parse::<Shop>(&text, "f"), Ok(shop));
    }
}
