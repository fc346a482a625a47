//! Programs run inside a tree, with nothing of the host but what they are given. The host's own root stands in
//! for the tools tree, so that these need no network.
//!
//! Without the usual harness: the process that enters a namespace starts this very program again, and must do
//! so before it has threads.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test writes what it then looks for")]

use image_builder::digest::Sha256;
use image_builder::tools::{Tools, namespace};
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::Path;

fn main() {
    namespace::enter_if_asked();
    let trials = vec![
        Trial::test("a_program_counts_as_root_and_is_the_first_process", first_process),
        Trial::test("the_tree_is_read_only", read_only),
        Trial::test("folders_are_shown_as_they_were_given", folders),
        Trial::test("there_is_no_network", no_network),
        Trial::test("status_and_words_of_a_failure_come_back", failure),
        Trial::test("a_program_that_is_not_there_is_named", missing),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn host() -> Tools {
    Tools::unpacked("/", Sha256::of(""))
}

/// Standard output of a shell script run inside, or the error's text.
fn sh(script: &str, room: impl FnOnce(namespace::Namespace) -> namespace::Namespace) -> Result<String, String> {
    let site = tempfile::tempdir().map_err(|e| e.to_string())?;
    let room = room(namespace::Namespace::new(&host(), site.path()));
    let tool = room.tool("/bin/sh").map_err(|e| e.to_string())?;
    let done = tool.command().args(["-c", script]).run().map_err(|e| e.to_string())?;
    // The host sees nothing of the mounts.
    assert_eq!(std::fs::read_dir(site.path()).unwrap().count(), 0);
    Ok(done.stdout_text())
}

fn equal<T: PartialEq + std::fmt::Debug>(found: T, wanted: T) -> Result<(), Failed> {
    if found == wanted { Ok(()) } else { Err(format!("found {found:?}, wanted {wanted:?}").into()) }
}

fn contains(text: &str, wanted: &str) -> Result<(), Failed> {
    if text.contains(wanted) { Ok(()) } else { Err(format!("{wanted:?} is not in {text:?}").into()) }
}

fn first_process() -> Result<(), Failed> {
    equal(sh("echo $(id -u) $(id -g) $$", |room| room)?, "0 0 1\n".into())
}

fn read_only() -> Result<(), Failed> {
    let error = sh("echo x > /usr/bedplate-test", |room| room).err().unwrap_or_default();
    contains(&error, "Read-only")
}

fn folders() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let (given, kept) = (folder.path().join("given"), folder.path().join("kept"));
    std::fs::create_dir(&given)?;
    std::fs::create_dir(&kept)?;
    std::fs::write(given.join("in"), "seen")?;
    let script = "cat given/in > kept/out; echo x > given/in 2> /dev/null || echo refused; pwd";
    let said = sh(script, |room| room.read(&given, "/room/given").write(&kept, "/room/kept").folder("/room"))?;
    equal(said, "refused\n/room\n".into())?;
    equal(std::fs::read_to_string(kept.join("out"))?, "seen".into())?;
    equal(std::fs::read_to_string(given.join("in"))?, "seen".into())
}

fn no_network() -> Result<(), Failed> {
    // Two heading lines, then one line for each interface.
    if !Path::new("/proc/net/dev").exists() {
        return Err("this test reads /proc/net/dev".into());
    }
    equal(sh("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '", |room| room)?, "lo\n".into())
}

fn failure() -> Result<(), Failed> {
    let error = sh("echo broken >&2; exit 7", |room| room).err().unwrap_or_default();
    contains(&error, "exit status: 7")?;
    contains(&error, "broken")?;
    contains(&error, "sh -c")
}

fn missing() -> Result<(), Failed> {
    let site = tempfile::tempdir()?;
    let tool = namespace::Namespace::new(&host(), site.path()).tool("/usr/bin/no-such-program")?;
    let error = tool.command().run().unwrap_err().to_string();
    contains(&error, "can't start /usr/bin/no-such-program of the tools tree")
}
