//! One run of the builder, with its time and memory.
#![allow(clippy::disallowed_methods, reason = "edge: starts the builder as a person would and asks what it took")]

use super::figures::{Run, Step, hundredths};
use anyhow::{Context, Result, bail};
use nix::libc;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Runs `bedplate` to its end.
///
/// # Errors
/// When it can't be started or fails; the error has what it said.
pub(super) fn run(bedplate: &Path, agent: &Path, arguments: &[&std::ffi::OsStr]) -> Result<Run> {
    let began = Instant::now();
    let mut child = Command::new(bedplate)
        .args(arguments)
        .env(image_builder::resolve::local::AGENT_FOLDER, agent)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} can't be started; `make build` makes it", bedplate.display()))?;
    let mut said = String::new();
    child.stderr.take().context("it has no standard error")?.read_to_string(&mut said)?;
    let (status, usage) = wait(&child)?;
    let seconds = hundredths(began.elapsed().as_secs_f64());
    if status != 0 {
        let words: Vec<_> = arguments.iter().map(|a| a.to_string_lossy()).collect();
        bail!("bedplate {} failed:\n{said}", words.join(" "));
    }
    Ok(taken(seconds, &usage, steps(&said)))
}

/// Runs a tool to its end. Of steps that it tells nothing is understood here.
///
/// # Errors
/// As [`run`].
pub(super) fn run_tool(command: &run_tool::Command) -> Result<Run> {
    let began = Instant::now();
    let mut running = command.start(Stdio::null(), Stdio::null(), Stdio::piped())?;
    let mut said = String::new();
    running.child.stderr.take().context("it has no standard error")?.read_to_string(&mut said)?;
    let (status, usage) = wait(&running.child)?;
    let seconds = hundredths(began.elapsed().as_secs_f64());
    if status != 0 {
        let end: Vec<&str> = said.lines().rev().take(40).collect();
        bail!("{command} failed; it ended with:\n{}", end.into_iter().rev().collect::<Vec<_>>().join("\n"));
    }
    Ok(taken(seconds, &usage, Vec::new()))
}

fn taken(seconds: f64, usage: &libc::rusage, steps: Vec<Step>) -> Run {
    let time = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    let processor = hundredths(time(usage.ru_utime) + time(usage.ru_stime));
    Run { seconds, processor, peak_kib: u64::try_from(usage.ru_maxrss).unwrap_or_default(), steps }
}

/// Waits for a child. Gives its wait status, and what it and the children that it waited for took (getrusage(2)): the
/// sum of their processor time, and the peak resident set, in KiB, of the largest.
fn wait(child: &Child) -> Result<(i32, libc::rusage)> {
    let id = libc::pid_t::try_from(child.id()).context("the process has no number")?;
    let mut status = 0;
    // SAFETY: all bits zero is a valid value of this struct of integers.
    #[allow(unsafe_code, reason = "wait4 has no safe wrapper in nix")]
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to living values of the types that wait4(2) fills.
        #[allow(unsafe_code, reason = "wait4 has no safe wrapper in nix")]
        let ended = unsafe { libc::wait4(id, &raw mut status, 0, &raw mut usage) };
        if ended == id {
            return Ok((status, usage));
        }
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(error).context("the builder can't be waited for");
        }
    }
}

/// The steps it told of: `[  12.3] WHAT: AMOUNT in 4.5 s`.
fn steps(said: &str) -> Vec<Step> {
    let step = |line: &str| {
        let (_, line) = line.split_once("] ")?;
        let (rest, seconds) = line.strip_suffix(" s")?.rsplit_once(" in ")?;
        Some(Step { name: rest.rsplit_once(": ")?.0.into(), seconds: seconds.parse().ok()? })
    };
    said.lines().filter_map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_what_ended() {
        let said = "[   0.1] sealing the root ...\n[  10.0] sealing the root: 300 MiB\n\
                    [  14.2] sealing the root: 500 MiB of 500 MiB in 14.1 s\n[  14.3] out: bedplate-node 0.1.0\n";
        assert_eq!(steps(said), [Step { name: "sealing the root".into(), seconds: 14.1 }]);
    }

    #[test]
    fn time_and_memory_are_the_childs() {
        let script =
            "head -c 64M /dev/zero | tail -c 64M > /dev/null; sleep 0.2; echo '[ 0.1] x: 1 of 1 y in 0.2 s' >&2";
        let run = run(Path::new("/bin/sh"), Path::new("/"), &["-c".as_ref(), script.as_ref()]).unwrap();
        assert!(run.seconds >= 0.2 && run.seconds < 20.0, "{run:?}");
        assert!(run.processor > 0.0 && run.processor < 10.0, "{run:?}");
        // tail keeps all of it.
        assert!((64 << 10..400 << 10).contains(&run.peak_kib), "{run:?}");
        assert_eq!(run.steps.len(), 1);
    }

    #[test]
    fn a_failure_says_what_was_said() {
        let error = run(Path::new("/bin/sh"), Path::new("/"), &["-c".as_ref(), "echo why >&2; exit 1".as_ref()]);
        assert!(error.unwrap_err().to_string().contains("why"));
    }
}
