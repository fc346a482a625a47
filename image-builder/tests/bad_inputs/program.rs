//! The same through the program `bedplate`, as a person meets it: exit code 1 (2 for wrong usage), nothing on
//! standard output, one sentence on standard error, a store that is good, and a next run that works.

use super::mirror::{Key, deb_with, path_of};
use super::{GOOD, Place, Release, mask_digests};
use std::io::Write;
use std::process::{Child, Command, Output, Stdio};

impl Place {
    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedplate"));
        command.arg(verb).arg("--recipe").arg(self.path("recipe.toml")).arg("--store").arg(self.path("store"));
        command.env("BEDPLATE_AGENT_DIR", self.path("agent")).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn start(&self, verb: &str) -> Child {
        self.command(verb).spawn().unwrap()
    }

    /// The words of a run that failed, without what differs between runs.
    fn words(&self, run: &Output) -> String {
        assert_eq!((run.status.code(), run.stdout.as_slice()), (Some(1), &b""[..]), "{run:?}");
        let text = String::from_utf8(run.stderr.clone()).unwrap();
        let said: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("bedplate: ")).collect();
        let text = said.join("\n").replace(&self.mirror.address, "http://MIRROR");
        let text = text.replace(self.mirror.address.trim_start_matches("http://"), "MIRROR");
        let text = text.replace(&self.folder.path().display().to_string(), "FOLDER");
        assert!(text.starts_with("bedplate: "), "{run:?}");
        mask_digests(&text)
    }

    /// Runs the verb as things are now; gives the words it fails with.
    fn refuses(&self, verb: &str) -> String {
        let words = self.words(&self.command(verb).output().unwrap());
        self.store_is_good();
        words
    }

    /// Makes everything good again and locks.
    fn next_run_works(&self) {
        self.publish();
        self.recipe("\"hello\"");
        let run = self.command("lock").output().unwrap();
        assert!(run.status.success(), "{run:?}");
        assert_eq!(String::from_utf8_lossy(&run.stdout).trim(), self.path("bedplate.lock").display().to_string());
        self.store_is_good();
    }
}

fn usage(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bedplate")).args(arguments).output().unwrap()
}

#[test]
fn wrong_usage_is_told_apart_from_failure() {
    let both = ["diff", "a", "b", "--json", "--markdown"];
    for arguments in [&[][..], &["bake"], &["build", "--fast"], &["lock", "--recipe"], &["why"], &["diff", "a"], &both]
    {
        let run = usage(arguments);
        assert_eq!((run.status.code(), run.stdout.len()), (Some(2), 0), "{run:?}");
        assert!(String::from_utf8_lossy(&run.stderr).contains("--help"), "{run:?}");
    }
    for verb in ["build", "why", "diff"] {
        let run = usage(&[verb, "--help"]);
        assert!(run.status.success() && String::from_utf8_lossy(&run.stdout).contains("Examples:"), "{run:?}");
    }
}

/// With `--json` every line that comes out is JSON, also of a failure; `--quiet` leaves only the failure.
#[test]
fn programs_are_spoken_to_in_json() {
    let place = Place::new();
    let lines = |bytes: &[u8]| -> Vec<serde_json::Value> {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    };
    place.recipe("\"no-such-package\"");
    let run = place.command("lock").arg("--json").output().unwrap();
    assert_eq!(run.status.code(), Some(1), "the recipe wants what is not there: {run:?}");
    let events = lines(&run.stderr);
    assert!(run.stdout.is_empty() && events.iter().all(|event| event["at"].is_f64()), "{events:?}");
    assert!(events.iter().any(|event| event["event"] == "begin") && events.last().unwrap()["event"] == "failed");
    let run = place.command("lock").arg("--quiet").output().unwrap();
    assert!(run.stderr.starts_with(b"bedplate: "), "{run:?}");

    place.next_run_works();
    let run = place.command("lock").arg("--json").output().unwrap();
    assert_eq!(lines(&run.stdout), [serde_json::json!({ "lock": place.path("bedplate.lock") })], "{run:?}");
    assert!(lines(&run.stderr).iter().all(|event| event["event"] != "failed"));
    let run = place.command("lock").arg("--quiet").output().unwrap();
    assert!(run.status.success() && run.stderr.is_empty() && !run.stdout.is_empty(), "{run:?}");
}

/// A manual page for each verb, and completions that a shell can read.
#[test]
fn pages_and_completions_know_every_verb() {
    let place = Place::new();
    let folder = place.path("man").display().to_string();
    assert!(usage(&["man", &folder]).status.success());
    let help = usage(&["--help"]).stdout;
    let help = String::from_utf8(help).unwrap();
    let verbs = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A description may go on in the next line, further in.
    let verbs = verbs.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let verbs: Vec<&str> = verbs.filter(|verb| !["", "help"].contains(verb)).collect();
    assert!(verbs.contains(&"build") && verbs.contains(&"diff"), "{help}");
    let completions = usage(&["completions", "bash"]).stdout;
    for verb in verbs {
        let page = std::fs::read_to_string(place.path("man").join(format!("bedplate-{verb}.1"))).unwrap();
        assert!(page.contains(".SH NAME") && String::from_utf8_lossy(&completions).contains(verb), "{verb}");
    }
    let mut shell = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(&completions).unwrap();
    assert!(shell.wait().unwrap().success());
}

/// What can't be read is named; whether two sides differ is no failure.
#[test]
fn a_release_that_is_none() {
    let place = Place::new();
    let [folder, lock, none] = ["", "bedplate.lock", "none"].map(|name| place.path(name).display().to_string());
    let refused = |arguments: &[&str]| place.words(&usage(arguments));
    assert!(refused(&["why", "/etc", "--release", &none]).contains("no release or lock FOLDER/none"));
    assert!(refused(&["why", "/etc", "--release", &folder]).contains("has no bedplate.lock: it is no release"));
    place.next_run_works();
    assert!(refused(&["why", "/etc", "--release", &folder]).contains("has no files.json"));
    assert!(refused(&["diff", &lock, &none]).contains("no release or lock FOLDER/none"));
    let run = usage(&["diff", &lock, &folder]);
    assert!(run.status.success() && String::from_utf8_lossy(&run.stdout).ends_with("\nNothing differs.\n"), "{run:?}");
    std::fs::write(place.path("files.json"), "[").unwrap();
    assert!(refused(&["diff", &lock, &folder]).contains("can't read FOLDER/files.json"));
}

#[test]
fn a_recipe_that_is_not_there() {
    let place = Place::new();
    std::fs::remove_file(place.path("recipe.toml")).unwrap();
    for verb in ["lock", "build"] {
        let words = place.refuses(verb);
        assert!(words.contains("FOLDER/recipe.toml"), "{words}");
    }
    place.next_run_works();
}

/// An unknown key, a wrong type and a missing file, each with its line and column, in one run.
#[test]
fn a_recipe_with_faults() {
    let place = Place::new();
    let good = std::fs::read_to_string(place.path("recipe.toml")).unwrap();
    let text = good
        .replace("[kernel]\n", "[kernel]\nflavour = \"rt\"\n")
        .replace("[packages]\n", "[packages]\nprovided = \"perl\"\n")
        .replace("[archive.test]", "overlay = [\"missing\"]\n\n[archive.test]");
    std::fs::write(place.path("recipe.toml"), text).unwrap();
    insta::assert_snapshot!(place.refuses("lock"));
    // A fault of reading hides what is decided later: the missing file alone.
    let text = good.replace("[archive.test]", "overlay = [\"missing\"]\n\n[archive.test]");
    std::fs::write(place.path("recipe.toml"), text).unwrap();
    insta::assert_snapshot!("a_recipe_with_a_missing_file", place.refuses("lock"));
    place.next_run_works();
}

#[test]
fn an_unknown_package() {
    let place = Place::new();
    place.recipe("\"hello\", \"greetings\"");
    insta::assert_snapshot!(place.refuses("lock"));
    place.next_run_works();
}

/// Every way an archive lies or breaks ends the program the same way; the sentences are held in `main.rs`.
#[test]
fn a_mirror_that_misbehaves() {
    let place = Place::new();
    place.mirror.publish(&Key::new(), GOOD, &place.packages);
    let words = place.refuses("lock");
    assert!(words.contains("InRelease") && words.contains("trixie"), "{words}");
    place.next_run_works();

    place.mirror.publish(&place.key, Release { valid_until: Some(1_000_086_400), ..GOOD }, &place.packages);
    let words = place.refuses("lock");
    assert!(words.contains("trixie") && words.contains("expired"), "{words}");
    place.next_run_works();
}

/// A machine that has the lock alone: `build` fetches, and holds every byte against the lock.
#[test]
fn a_package_that_is_not_the_locked_one() {
    let place = Place::new();
    let greeting = path_of(place.package("greeting"));
    place.next_run_works();
    std::fs::remove_dir_all(place.path("store")).unwrap();
    assert!(
        Command::new(env!("CARGO_BIN_EXE_bedplate"))
            .args(["keys", "new"])
            .arg(place.path("keys"))
            .output()
            .unwrap()
            .status
            .success()
    );
    place.mirror.change(&greeting, |bytes| bytes[90] ^= 1);
    insta::assert_snapshot!("an_altered_package_in_a_build", place.refuses("build"));
    place.publish();
    place.mirror.change(&greeting, |bytes| bytes.truncate(100));
    insta::assert_snapshot!("a_truncated_package_in_a_build", place.refuses("build"));
    place.next_run_works();
}

#[test]
fn two_packages_that_own_one_path() {
    let mut place = Place::new();
    for (name, relations) in [("hello", "Depends: greeting (>= 1)\n"), ("greeting", "")] {
        let at = place.packages.iter().position(|(c, _)| c.starts_with(&format!("Package: {name}\n"))).unwrap();
        place.packages[at] = deb_with(name, "2.0", relations, "./usr/share/words");
    }
    place.next_run_works();
    assert!(
        Command::new(env!("CARGO_BIN_EXE_bedplate"))
            .args(["keys", "new"])
            .arg(place.path("keys"))
            .output()
            .unwrap()
            .status
            .success()
    );
    insta::assert_snapshot!(place.refuses("build"));
    place.next_run_works();
}

#[test]
fn no_network() {
    let place = Place::new();
    let recipe = std::fs::read_to_string(place.path("recipe.toml")).unwrap();
    // Nobody listens there: port 1 of the loopback interface.
    std::fs::write(place.path("recipe.toml"), recipe.replace(&place.mirror.address, "http://127.0.0.1:1")).unwrap();
    let words = place.refuses("lock");
    assert!(words.contains("can't reach 127.0.0.1:1 for InRelease of suite trixie"), "{words}");
    place.next_run_works();
}

/// A file system of its own would need mounts; a limit on the size of files stops writes in the same place.
#[test]
fn a_full_disk() {
    let place = Place::new();
    let lock = place.command("lock");
    let mut limited = Command::new("/bin/sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\""]).arg(lock.get_program()).args(lock.get_args());
    limited.env("BEDPLATE_AGENT_DIR", place.path("agent"));
    let words = place.words(&limited.output().unwrap());
    assert!(words.contains("can't write") && words.contains("to the store at FOLDER/store"), "{words}");
    place.store_is_good();
    place.next_run_works();
}

#[test]
fn a_killed_run() {
    let place = Place::new();
    place.mirror.hold(&path_of(place.package("greeting")));
    let mut run = place.start("lock");
    place.mirror.wait_for(1);
    let work = || std::fs::read_dir(place.path("store/scratch")).unwrap().count();
    for _ in 0..1000 {
        if work() > 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    run.kill().unwrap();
    assert!(!run.wait().unwrap().success());
    assert!(!place.path("bedplate.lock").exists());
    assert!(work() > 0, "it was killed in the middle of nothing");
    place.mirror.release();
    place.next_run_works();
}

#[test]
fn two_runs_at_once() {
    let place = Place::new();
    place.mirror.hold("/dists/trixie/main/binary-amd64/Packages");
    let runs = [place.start("lock"), place.start("lock")];
    place.mirror.wait_for(1);
    std::thread::sleep(std::time::Duration::from_millis(300));
    place.mirror.release();
    for run in runs {
        let done = run.wait_with_output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    place.store_is_good();
    let lock = std::fs::read_to_string(place.path("bedplate.lock")).unwrap();
    assert!(place.command("lock").output().unwrap().status.success());
    assert!(std::fs::read_to_string(place.path("bedplate.lock")).unwrap() == lock, "alone it gives another lock");
    place.next_run_works();
}
