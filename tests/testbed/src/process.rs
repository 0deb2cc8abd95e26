//! Processes that cannot outlive the bed. Each has its own process group and log file, is killed
//! and reaped when dropped, and is known to a watchdog: a shell that reads the harness' pipe and
//! kills what is left once the pipe closes, which also happens when the harness itself is killed.

use std::{
    fmt,
    fs::{self, File},
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::deadline::{until, until_while};

/// How much of a log's end an error shows: lines, and characters of each.
const TAIL: (usize, usize) = (12, 300);

/// Generous for a loaded machine; a start takes seconds.
const START: Duration = Duration::from_mins(3);

/// Keeps the ids that come as `+ID` and `-ID` lines, and asks that of a `!ID` line to end. Its first
/// argument is a folder to remove when the harness ended before it could do so.
const WATCHDOG: &str = r#"
trap '' HUP INT TERM
ids=' '
while read -r line; do
  id=${line#?}
  case $line in
    +*) ids="$ids$id " ;;
    -*) ids="${ids%% $id *} ${ids#* $id }" ;;
    !*) kill -TERM "-$id" 2>/dev/null ;;
  esac
done
for id in $ids; do kill -KILL "-$id"; done 2>/dev/null
[ $# = 0 ] || rm -rf -- "$1"
"#;

/// The shell that ends the bed's processes when the harness cannot do so any more.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shell: Child,
    pipe: Mutex<Option<ChildStdin>>,
}

impl Watchdog {
    /// Starts the shell; `remove` is the folder that goes once all processes are gone.
    pub(crate) fn start(remove: Option<&Path>) -> Result<Arc<Self>> {
        let mut shell = Command::new("sh")
            .args(["-c", WATCHDOG, "testbed-watchdog"])
            .args(remove)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()
            .context("cannot start sh")?;
        let pipe = Mutex::new(shell.stdin.take());
        Ok(Arc::new(Self { shell, pipe }))
    }

    fn tell(&self, sign: char, id: u32) -> Result<()> {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        let pipe = pipe.as_mut().context("the watchdog has ended")?;
        writeln!(pipe, "{sign}{id}").context("the watchdog does not listen")
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // The end of its input is the shell's sign to kill and leave.
        drop(self.pipe.lock().unwrap_or_else(PoisonError::into_inner).take());
        let _ = self.shell.wait();
    }
}

/// Says which process ended that had to run, how, and how its log ends.
#[derive(Debug)]
struct Ended(String);

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Ended {}

/// Memory that a process holds.
#[derive(Clone, Debug)]
pub struct Usage {
    /// The process' name in the bed, which is also that of its log file.
    pub name: String,
    /// Resident memory in KiB.
    pub resident_kib: u64,
}

/// One running program of the bed.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    watchdog: Arc<Watchdog>,
}

impl Process {
    /// Starts `command` with nothing of the harness' environment but what it carries itself.
    pub(crate) fn start(
        name: impl Into<String>,
        command: &mut Command,
        run_dir: &Path,
        watchdog: &Arc<Watchdog>,
    ) -> Result<Self> {
        let name = name.into();
        let log = run_dir.join(format!("{name}.log"));
        // Appending keeps what an earlier run of the same process said.
        let file = File::options().create(true).append(true).open(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .current_dir(run_dir)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let process = Self { name, child, log, watchdog: Arc::clone(watchdog) };
        process.watchdog.tell('+', process.child.id())?;
        Ok(process)
    }

    /// Fails, with the end of its log, when the process has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let (name, tail) = (&self.name, tail(&self.log));
            let text = format!("{name} ended with {status}; its log ends with:\n{tail}");
            return Err(Ended(text).into());
        }
        Ok(())
    }

    /// Asks the process to end, and waits until it has; an end that is not a success is an error.
    pub(crate) async fn stop(mut self, limit: Duration) -> Result<()> {
        // The shell's own `kill`, as the standard library can only kill at once.
        self.watchdog.tell('!', self.child.id())?;
        let what = format!("the end of {}", self.name);
        let child = &mut self.child;
        let status =
            until(&what, limit, async || child.try_wait()?.context("it still runs")).await?;
        ensure!(status.success(), "{} ended with {status}:\n{}", self.name, tail(&self.log));
        Ok(())
    }

    /// The file that takes what the process prints.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// What the process holds now; nothing once it has ended.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let resident_kib = line.split_whitespace().next()?.parse().ok()?;
        Some(Usage { name: self.name.clone(), resident_kib })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // None of the programs starts others, so its own id is the whole group.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.watchdog.tell('-', self.child.id());
    }
}

/// Waits for a condition that running processes bring about. The error carries the end of the log
/// of one that ended, or else of the first, which is the one waited for.
pub(crate) async fn ready<T>(
    what: &str,
    processes: &mut [Process],
    attempt: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let check = || processes.iter_mut().try_for_each(Process::check);
    let result = until_while(what, START, check, attempt).await;
    match (result, processes.first()) {
        (Err(error), Some(first)) if !error.is::<Ended>() => {
            Err(error.context(format!("{}'s log ends with:\n{}\n", first.name, tail(&first.log))))
        }
        (result, _) => result,
    }
}

/// The ends of log files, each under its name.
pub(crate) fn tails(logs: &[PathBuf]) -> Vec<(String, String)> {
    let name = |log: &Path| log.file_name().unwrap_or_default().to_string_lossy().into_owned();
    logs.iter().map(|log| (name(log), tail(log))).collect()
}

/// The last lines of a log file.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let (lines, width) = TAIL;
    let cut = text.lines().map(|line| line.chars().take(width).collect::<String>());
    let all = cut.collect::<Vec<_>>();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(dir: &Path, watchdog: &Arc<Watchdog>) -> Process {
        Process::start("sleeper", Command::new("sleep").arg("600"), dir, watchdog).unwrap()
    }

    fn runs(id: u32) -> bool {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(" Z ")
    }

    #[test]
    fn a_dropped_process_is_gone_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let watchdog = Watchdog::start(None).unwrap();
        let process = sleeper(dir.path(), &watchdog);
        let id = process.child.id();
        assert!(runs(id));
        drop(process);
        assert!(!runs(id));
    }

    #[tokio::test]
    async fn the_watchdog_ends_what_the_harness_leaves_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join("left");
        fs::create_dir(&left).unwrap();
        let watchdog = Watchdog::start(Some(&left)).unwrap();
        drop(sleeper(dir.path(), &watchdog));
        let process = sleeper(dir.path(), &watchdog);
        // What a kill -9 of the harness does: the pipe closes and no destructor runs.
        watchdog.pipe.lock().unwrap().take();
        until("the watchdog", Duration::from_secs(5), async || {
            anyhow::ensure!(!runs(process.child.id()) && !left.exists());
            Ok(())
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn a_process_is_asked_to_end_and_may_say_how_it_did() {
        let dir = tempfile::tempdir().unwrap();
        let watchdog = Watchdog::start(None).unwrap();
        let limit = Duration::from_secs(5);
        let error = sleeper(dir.path(), &watchdog).stop(limit).await.unwrap_err().to_string();
        assert!(error.contains("SIGTERM"), "{error}");
        let mut polite = Command::new("sh");
        polite.args(["-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done"]);
        let process = Process::start("polite", &mut polite, dir.path(), &watchdog).unwrap();
        until("the trap", limit, async || {
            anyhow::ensure!(tail(process.log()) == "up");
            Ok(())
        })
        .await
        .unwrap();
        process.stop(limit).await.unwrap();
    }

    #[test]
    fn an_ended_process_shows_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let watchdog = Watchdog::start(None).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such luck; exit 3"]);
        let mut process = Process::start("unlucky", &mut command, dir.path(), &watchdog).unwrap();
        process.child.wait().unwrap();
        let error = process.check().unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("no such luck"), "{error}");
    }
}
