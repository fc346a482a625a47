//! One run of a tool.
#![allow(clippy::disallowed_methods, reason = "edge: this is where programs are started")]

use crate::Tool;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// How long a program may take to end after it was killed. One that waits for a disk can't be.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// A run to be made. Standard input is empty unless given; the environment is the tool's, not the caller's.
#[derive(Debug, Clone)]
pub struct Command {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    /// How many of `args` the tool itself brought: a loader's options, which say nothing to a person.
    brought: usize,
    env: Vec<(OsString, OsString)>,
    stdin: Vec<u8>,
    folder: Option<PathBuf>,
    accepted: Vec<i32>,
    ends_with_starter: bool,
    limit: Option<Duration>,
}

/// What a run gave.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Exit code; one of the accepted ones.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Finished {
    /// Standard output as text.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
    /// Standard error as text.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// A run that is going on. Dropping it ends the program.
#[derive(Debug)]
pub struct Running {
    /// The process, for its streams and its exit status.
    pub child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A run that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It did not start.
    #[error("{command} could not be started: {source}")]
    Start {
        /// Program and arguments.
        command: String,
        /// Why.
        source: std::io::Error,
    },
    /// It ended with a code that is not accepted, or by a signal.
    #[error("{command} failed ({status}){}{stderr}", if stderr.is_empty() { "" } else { ":\n" })]
    Failed {
        /// Program and arguments.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The last 2 KiB of its standard error.
        stderr: String,
    },
    /// It did not end in time, and was killed.
    #[error("{command} did not end within {} s and was killed{}", limit.as_secs_f64(), if *killed { "" } else {
        ", which it did not heed: it waits for a disk that does not answer"
    })]
    TooLong {
        /// Program and arguments.
        command: String,
        /// How long it might have taken.
        limit: Duration,
        /// Whether it ended then.
        killed: bool,
    },
    /// Its output is not what was expected.
    #[error("{command} printed something unexpected: {why}")]
    Output {
        /// Program and arguments.
        command: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Command {
    pub(crate) fn new(tool: &Tool) -> Command {
        let mut env: Vec<(OsString, OsString)> = vec![
            ("PATH".into(), "/nonexistent".into()),
            ("LC_ALL".into(), "C.UTF-8".into()),
            ("TZ".into(), "UTC".into()),
        ];
        env.extend(tool.environment.iter().cloned());
        Command {
            name: tool.name.clone(),
            program: tool.program.clone(),
            args: tool.prefix.clone(),
            brought: tool.prefix.len(),
            env,
            stdin: Vec::new(),
            folder: None,
            accepted: vec![0],
            ends_with_starter: false,
            limit: tool.limit,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().into()));
        self
    }

    /// Sets a variable; a later one with the same name wins.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().into(), value.as_ref().into()));
        self
    }

    /// Gives these bytes on standard input.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Runs in this folder.
    #[must_use]
    pub fn current_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Exit codes that count as success, in place of 0 alone (`blkid -p` ends with 2 on a blank device).
    #[must_use]
    pub fn accept(mut self, codes: &[i32]) -> Self {
        self.accepted = codes.to_vec();
        self
    }

    /// Makes the kernel kill the program when the thread that starts it ends, however it ends, `kill -9` too.
    ///
    /// Start such a program from a thread that lives as long as it is wanted.
    #[must_use]
    pub fn ends_with_starter(mut self) -> Self {
        self.ends_with_starter = true;
        self
    }

    /// Kills the program when it has not ended after `limit`; [`Command::run`] alone looks at this.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The program's folder, for messages and tests.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The arguments, for messages and tests.
    pub fn arguments(&self) -> &[OsString] {
        &self.args
    }

    fn prepared(&self) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.args).env_clear().envs(self.env.iter().map(|(k, v)| (k, v)));
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        if self.ends_with_starter {
            kill_with_starter(&mut command);
        }
        command
    }

    /// Runs to the end, with both streams captured.
    ///
    /// # Errors
    /// When it does not start, does not end within its limit, or ends with a code that is not accepted.
    pub fn run(&self) -> Result<Finished, Error> {
        if let Some(limit) = self.limit {
            return self.run_within(limit);
        }
        let bytes = self.stdin.clone();
        self.run_with(move |stdin| stdin.write_all(&bytes))
    }

    fn run_within(&self, limit: Duration) -> Result<Finished, Error> {
        let until = Instant::now() + limit;
        tracing::debug!(command = %self, "run");
        let start = |source| Error::Start { command: self.to_string(), source };
        let piped = Stdio::piped;
        // Not as something that waits for the end when it is dropped: there may be none.
        let mut child = self.prepared().stdin(piped()).stdout(piped()).stderr(piped()).spawn().map_err(start)?;
        if let Some(mut stdin) = child.stdin.take() {
            let bytes = self.stdin.clone();
            // A program that stops reading early is judged by its exit code.
            std::thread::spawn(move || drop(stdin.write_all(&bytes)));
        }
        let (stdout, stderr) = (read_apart(child.stdout.take()), read_apart(child.stderr.take()));
        let read = |from: &Receiver<Vec<u8>>| from.recv_timeout(until.saturating_duration_since(Instant::now()));
        let streams = read(&stdout).and_then(|stdout| Ok((stdout, read(&stderr)?)));
        let status = ended(&mut child, until);
        match (streams, status) {
            (Ok((stdout, stderr)), Some(status)) => self.judge(status, stdout, stderr),
            _ => {
                let _ = child.kill();
                let killed = ended(&mut child, Instant::now() + LAST_PATIENCE).is_some();
                Err(Error::TooLong { command: self.to_string(), limit, killed })
            }
        }
    }

    /// Runs to the end while `feed` writes its standard input on a thread of its own.
    ///
    /// A tool that stops reading early is judged by its exit code; any other failure of `feed` is an error.
    ///
    /// # Errors
    /// As [`Command::run`], and when `feed` fails.
    pub fn run_with(&self, feed: impl FnOnce(&mut dyn Write) -> std::io::Result<()> + Send) -> Result<Finished, Error> {
        tracing::debug!(command = %self, "run");
        let start = |source| Error::Start { command: self.to_string(), source };
        let mut child = self
            .prepared()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(start)?;
        let stdin = child.stdin.take();
        let (output, fed) = std::thread::scope(|scope| {
            let feeder = scope.spawn(move || match stdin {
                Some(mut stdin) => feed(&mut stdin),
                None => Ok(()),
            });
            let output = child.wait_with_output();
            (output, feeder.join().unwrap_or_else(|_| Err(std::io::Error::other("the writer panicked"))))
        });
        let output = output.map_err(start)?;
        // A feed that failed is the cause of whatever the program says about its cut input.
        if let Err(source) = fed
            && source.kind() != std::io::ErrorKind::BrokenPipe
        {
            return Err(start(source));
        }
        self.judge(output.status, output.stdout, output.stderr)
    }

    /// Runs to the end and hands on each line of its standard error as it comes, for progress.
    ///
    /// # Errors
    /// As [`Command::run`].
    pub fn run_watched(&self, mut on_line: impl FnMut(&str)) -> Result<Finished, Error> {
        tracing::debug!(command = %self, "run");
        let start = |source| Error::Start { command: self.to_string(), source };
        let mut running = self.start(Stdio::null(), Stdio::piped(), Stdio::piped())?;
        let (stdout, stderr) = (running.child.stdout.take(), running.child.stderr.take());
        let mut kept = Vec::new();
        let stdout = std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let mut bytes = Vec::new();
                stdout.map_or(Ok(0), |mut stdout| stdout.read_to_end(&mut bytes)).map(|_| bytes)
            });
            if let Some(stderr) = stderr {
                let mut stderr = BufReader::new(stderr);
                let mut line = Vec::new();
                while stderr.read_until(b'\n', &mut line)? > 0 {
                    on_line(String::from_utf8_lossy(&line).trim_end());
                    kept.append(&mut line);
                }
            }
            reader.join().unwrap_or_else(|_| Err(std::io::Error::other("the reader panicked")))
        });
        let stdout = stdout.map_err(start)?;
        let status = running.child.wait().map_err(start)?;
        self.judge(status, stdout, kept)
    }

    /// Runs and reads its standard output as JSON.
    ///
    /// # Errors
    /// As [`Command::run`], and when the output is not the JSON that was asked for.
    pub fn run_json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        let finished = self.run()?;
        serde_json::from_slice(&finished.stdout)
            .map_err(|e| Error::Output { command: self.to_string(), why: e.to_string() })
    }

    /// Starts the program with these streams and leaves it running.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&self, stdin: Stdio, stdout: Stdio, stderr: Stdio) -> Result<Running, Error> {
        tracing::debug!(command = %self, "start");
        self.prepared()
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .map(|child| Running { child })
            .map_err(|source| Error::Start { command: self.to_string(), source })
    }

    fn judge(&self, status: ExitStatus, stdout: Vec<u8>, stderr: Vec<u8>) -> Result<Finished, Error> {
        match status.code() {
            Some(code) if self.accepted.contains(&code) => Ok(Finished { code, stdout, stderr }),
            _ => {
                let from = stderr.len().saturating_sub(2048);
                let stderr = String::from_utf8_lossy(&stderr[from..]).trim_end().to_owned();
                Err(Error::Failed { command: self.to_string(), status, stderr })
            }
        }
    }
}

/// Reads a stream to its end on a thread that nobody waits for: whoever the program started may hold it open.
fn read_apart(stream: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        let _ = send.send(bytes);
    });
    receive
}

/// How the program ended, if it did by `until`. Its streams are at their end, so it ends at once or not at all.
fn ended(child: &mut Child, until: Instant) -> Option<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
            Ok(status) => return status,
            Err(_) => return None,
        }
    }
}

#[allow(unsafe_code)]
fn kill_with_starter(command: &mut std::process::Command) {
    use nix::sys::{prctl, signal::Signal};
    use std::os::unix::process::CommandExt;
    let starter = nix::unistd::getpid();
    let ask = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The starter may have ended before the kernel was asked.
        if nix::unistd::getppid() == starter { Ok(()) } else { Err(nix::errno::Errno::ESRCH.into()) }
    };
    // SAFETY: between fork and exec this makes two plain system calls; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(ask) };
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.name)?;
        for arg in self.args.iter().skip(self.brought) {
            write!(f, " {}", arg.to_string_lossy())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        Tool::at("/bin/sh").command().arg("-c").arg(script)
    }

    #[test]
    fn a_failure_carries_command_status_and_stderr() {
        let error = sh("echo broken >&2; exit 3").run().unwrap_err().to_string();
        assert!(error.contains("sh -c") && error.contains("exit status: 3") && error.contains("broken"), "{error}");
    }

    #[test]
    fn accepted_codes_are_no_failure() {
        assert_eq!(sh("exit 2").accept(&[0, 2]).run().unwrap().code, 2);
    }

    #[test]
    fn standard_input_reaches_the_program() {
        let tool = Tool::at("/bin/cat");
        assert_eq!(tool.command().stdin("abc").run().unwrap().stdout, b"abc");
    }

    #[test]
    fn a_feed_that_fails_is_an_error() {
        let error = Tool::at("/bin/cat").command().run_with(|_| Err(std::io::Error::other("no more"))).unwrap_err();
        assert!(error.to_string().contains("no more"));
        let error = sh("cat; exit 1").run_with(|_| Err(std::io::Error::other("no more"))).unwrap_err();
        assert!(error.to_string().contains("no more"), "{error}");
    }

    #[test]
    fn lines_of_standard_error_come_one_by_one_and_stay_in_the_error() {
        let mut lines = Vec::new();
        let done = sh("echo out; printf 'one\\ntwo' >&2").run_watched(|l| lines.push(l.to_owned())).unwrap();
        assert_eq!((lines, done.stdout), (vec!["one".to_owned(), "two".into()], b"out\n".to_vec()));
        let error = sh("echo broken >&2; exit 1").run_watched(|_| ()).unwrap_err().to_string();
        assert!(error.contains("broken"), "{error}");
    }

    #[test]
    fn a_program_that_hangs_is_killed_and_named() {
        let within = |script: &str, limit: u64| sh(script).within(Duration::from_millis(limit)).run();
        let error = within("echo a; exec /bin/sleep 60", 200).unwrap_err().to_string();
        assert!(error.contains("sh -c echo a") && error.contains("within 0.2 s and was killed"), "{error}");
        // One that lets go of its streams, and one whose child does not.
        assert!(within("exec >&- 2>&-; exec /bin/sleep 60", 200).is_err());
        assert!(within("/bin/sleep 5 & exit 0", 200).is_err());
        let done =
            sh("/bin/cat; echo b >&2; exit 2").accept(&[2]).stdin("a").within(Duration::from_secs(60)).run().unwrap();
        assert_eq!((done.code, done.stdout, done.stderr), (2, b"a".to_vec(), b"b\n".to_vec()));
    }

    #[test]
    fn a_program_ends_with_the_thread_that_started_it() {
        let start = || sh("exec /bin/sleep 60").ends_with_starter().start(Stdio::null(), Stdio::null(), Stdio::null());
        let mut running = std::thread::spawn(start).join().unwrap().unwrap();
        let status = running.child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }

    #[test]
    fn the_environment_is_not_inherited() {
        assert_eq!(sh("echo $HOME$USER").run().unwrap().stdout_text().trim(), "");
    }
}
