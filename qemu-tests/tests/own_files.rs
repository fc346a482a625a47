//! The agent's own files, with every system call that writes them failing in turn.
//!
//! This program calls itself: with `--write FILE TEXT` it writes the file as the agent does, and strace(1) makes one of its
//! system calls fail.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test starts programs and lays files")]

use firstboot::state_file;
use libtest_mimic::{Arguments, Trial};
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

/// What is called while a file is replaced, and what can become of it.
const CALLS: [&str; 6] = ["mkdir", "openat", "write", "fsync", "rename", "statx"];
const ERRORS: [&str; 2] = ["EIO", "ENOSPC"];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if let [_, word, file, text] = &words[..]
        && word == "--write"
    {
        return match state_file::replace(Path::new(file), text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let name = "an error in any system call leaves the old file or the new one, and the next write works";
    libtest_mimic::run(&Arguments::from_args(), vec![Trial::test(name, || Ok(every_call_fails()?))]).exit_code()
}

fn every_call_fails() -> Result<(), String> {
    let mut failed = 0;
    for call in CALLS {
        for error in ERRORS {
            for number in 1.. {
                let made = [None, Some("old")].map(|old| fails(call, error, number, old));
                let [new, replaced] =
                    made.map(|made| made.map_err(|e| format!("{call} {number} fails with {error}: {e}")));
                let (new, replaced) = (new?, replaced?);
                failed += [new, replaced].iter().filter(|made| **made == Made::Failed).count();
                // The call is not made so often.
                if new == Made::Undisturbed && replaced == Made::Undisturbed {
                    break;
                }
            }
        }
    }
    (failed > 20).then_some(()).ok_or_else(|| format!("only {failed} calls failed: strace does not work here"))
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    /// Nothing went wrong.
    Undisturbed,
    /// A call failed, and the file was written all the same.
    AllTheSame,
    /// It said that it failed.
    Failed,
}

/// Writes a file, in a folder of its own or over an `old` one, while one call fails. In words, what came of it and must not.
fn fails(call: &str, error: &str, number: usize, old: Option<&str>) -> Result<Made, String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let trace = folder.path().join("trace");
    let file = folder.path().join(if old.is_some() { "old/file" } else { "new/folder/file" });
    if let Some(old) = old {
        fs::create_dir(file.parent().unwrap()).unwrap();
        fs::write(&file, old).unwrap();
    }
    let mut strace = Command::new("strace");
    strace.args(["-e", &format!("trace={call}"), "-e", &format!("inject={call}:error={error}:when={number}"), "-o"]);
    let done = strace.arg(&trace).arg(std::env::current_exe().unwrap()).arg("--write").arg(&file).arg("new").output();
    let done = done.expect("strace starts; `make setup` installs it");
    let disturbed = fs::read_to_string(&trace).unwrap_or_default().contains("(INJECTED)");
    let found = fs::read_to_string(&file).ok();
    let words = || format!("{found:?} is in the file; {}", String::from_utf8_lossy(&done.stderr));
    let whole = found.as_deref() == old || found.as_deref() == Some("new");
    if !whole || (done.status.success() && found.as_deref() != Some("new")) {
        return Err(words());
    }
    let mut entries = fs::read_dir(file.parent().unwrap()).into_iter().flatten();
    if entries.any(|entry| entry.is_ok_and(|entry| entry.path() != file)) {
        return Err(format!("what was half written lies beside it; {}", words()));
    }
    let again = Command::new(std::env::current_exe().unwrap()).arg("--write").arg(&file).arg("new").status().unwrap();
    let beside = fs::read_dir(file.parent().unwrap()).unwrap().count();
    if !again.success() || fs::read_to_string(&file).unwrap() != "new" || beside != 1 {
        return Err(format!("the next write did not work; {}", words()));
    }
    Ok(match (disturbed, done.status.success()) {
        (false, _) => Made::Undisturbed,
        (true, true) => Made::AllTheSame,
        (true, false) => Made::Failed,
    })
}
