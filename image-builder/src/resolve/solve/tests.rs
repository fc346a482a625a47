use super::super::index::tests::{index, text};
use super::*;

fn request(install: &[&str], provided: &[&str]) -> Request {
    Request {
        install: install.iter().map(|t| (Term::parse(t).unwrap(), "the recipe".to_owned())).collect(),
        provided: provided.iter().map(|p| (*p).to_owned()).collect(),
        preference: BTreeMap::from([(0, 0)]),
        ..Request::default()
    }
}

fn show(index: &Index, chosen: &[Chosen]) -> Vec<String> {
    chosen
        .iter()
        .map(|c| {
            let candidate = index.get(c.number);
            format!("{} {} <- {}", candidate.name, candidate.version_text, c.wanted_by.join(", "))
        })
        .collect()
}

fn solved(lines: &str, install: &[&str]) -> Vec<String> {
    let index = index(lines);
    show(&index, &solve(&index, &request(install, &[])).unwrap())
}

fn refused(lines: &str, install: &[&str]) -> String {
    solve(&index(lines), &request(install, &[])).unwrap_err().to_string()
}

#[test]
fn dependencies_follow_in_their_highest_versions() {
    let found = solved("a 1 ; Depends: b\nb 1\nb 2 ; Pre-Depends: c\nc 1\nd 1", &["a"]);
    assert_eq!(found, ["a 1 <- the recipe", "b 2 <- a", "c 1 <- b"]);
}

#[test]
fn a_range_holds_a_version_back() {
    let found = solved("a 1 ; Depends: b (<< 2)\nb 1\nb 2", &["a"]);
    assert_eq!(found, ["a 1 <- the recipe", "b 1 <- a"]);
}

#[test]
fn the_first_alternative_is_preferred_unless_another_is_wanted_anyway() {
    let lines = "a 1 ; Depends: x | y\nx 1\ny 1\nb 1 ; Depends: y";
    assert_eq!(solved(lines, &["a"]), ["a 1 <- the recipe", "x 1 <- a"]);
    assert!(!solved(lines, &["a", "y"]).contains(&"x 1 <- a".to_owned()));
}

#[test]
fn provided_names_count() {
    let lines = "a 1 ; Depends: v (>= 2)\nnew 1 ; Provides: v (= 2)\nold 1 ; Provides: v (= 1)\nplain 1 ; Provides: v";
    assert_eq!(solved(lines, &["a"]), ["a 1 <- the recipe", "new 1 <- a"]);
}

#[test]
fn conflicts_and_breaks_lead_another_way() {
    let lines = "a 1 ; Depends: x | y\nx 1\ny 1\nb 1 ; Breaks: x (<< 2)\nc 1 ; Conflicts: v\nz 1 ; Provides: v";
    assert_eq!(solved(lines, &["a", "b"]), ["a 1 <- the recipe", "b 1 <- the recipe", "y 1 <- a"]);
    assert_eq!(
        refused(lines, &["c", "z"]),
        "c 1 and z 1 can't be installed together: c 1 conflicts with z 1; c 1 is in because the recipe installs it, and \
         z 1 is in because the recipe installs it"
    );
}

#[test]
fn a_package_may_conflict_with_what_it_provides_itself() {
    let lines = "a 1 ; Provides: mta ; Conflicts: mta\nb 1 ; Provides: mta ; Conflicts: mta";
    assert_eq!(solved(lines, &["a"]), ["a 1 <- the recipe"]);
    assert!(refused(lines, &["a", "b"]).contains("can't be installed together"));
}

#[test]
fn an_older_version_is_tried_when_the_newest_can_not_be() {
    let lines = "a 2 ; Depends: gone\na 1";
    assert_eq!(solved(lines, &["a"]), ["a 1 <- the recipe"]);
}

#[test]
fn what_the_builder_provides_needs_no_package() {
    let index = index("a 1 ; Depends: tool (>= 5) | other\nother 1");
    let found = solve(&index, &request(&["a"], &["tool"])).unwrap();
    assert_eq!(show(&index, &found), ["a 1 <- the recipe"]);
}

#[test]
fn circles_end() {
    assert_eq!(solved("a 1 ; Depends: b\nb 1 ; Depends: a", &["a"]), ["a 1 <- b, the recipe", "b 1 <- a"]);
}

#[test]
fn a_less_preferred_suite_is_used_only_where_needed() {
    let mut index = index("a 1\nb 1");
    index.add(&text("a 9\nb 9\nc 9 ; Depends: b (>= 9)"), 1, "amd64").unwrap();
    let mut wanted = request(&["a", "c"], &[]);
    wanted.preference = BTreeMap::from([(0, 0), (1, -1)]);
    assert_eq!(show(&index, &solve(&index, &wanted).unwrap()), ["a 1 <- the recipe", "b 9 <- c", "c 9 <- the recipe"]);
    wanted.preference.remove(&1);
    assert_eq!(
        solve(&index, &wanted).unwrap_err().to_string(),
        "nothing in the recipe's suites is c, which the recipe installs; c 9 is only in an archive that the recipe marks \
         tools-only"
    );
}

#[test]
fn a_last_resort_is_used_only_where_needed() {
    let index = index("a 1 ; Depends: b (<< 3), c\nb 2\nb 3\nc 1\nc 2");
    let mut wanted = request(&["a"], &[]);
    wanted.last_resort = ["b", "c"].iter().flat_map(|n| index.versions(n)).copied().collect();
    wanted.last_resort.remove(&index.versions("c")[0]);
    assert_eq!(show(&index, &solve(&index, &wanted).unwrap()), ["a 1 <- the recipe", "b 2 <- a", "c 1 <- a"]);
}

#[test]
fn an_unknown_package_is_named_with_its_chain() {
    assert_eq!(
        refused("systemd 1", &["sytemd"]),
        "no suite of the recipe has a package \"sytemd\", which the recipe installs; did you mean \"systemd\"?"
    );
    assert_eq!(
        refused("a 1 ; Depends: b\nb 1 ; Depends: zebra", &["a"]),
        "no suite of the recipe has a package \"zebra\", which b 1 needs; b is in because a needs it, a because the recipe \
         installs it"
    );
    assert_eq!(
        refused("a 1 ; Depends: b (>= 3)\nb 2", &["a"]),
        "nothing in the recipe's suites is b (>= 3), which a 1 needs; a is in because the recipe installs it; the best \
         there is is b 2"
    );
}

#[test]
fn the_order_of_an_index_does_not_matter() {
    let mut lines: Vec<&str> = vec!["a 1 ; Depends: v, x | y", "p 1 ; Provides: v", "q 1 ; Provides: v", "x 1", "y 1"];
    let first = solved(&lines.join("\n"), &["a"]);
    lines.reverse();
    assert_eq!(first, solved(&lines.join("\n"), &["a"]));
    assert_eq!(first, ["a 1 <- the recipe", "p 1 <- a", "x 1 <- a"]);
}
