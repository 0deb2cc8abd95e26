//! What the program is when it was started by itself, and how it starts itself. One build suffices, and
//! all measure the same code.
//!
//! The first argument says so, and then the process leaves when whoever started it does; or the name by
//! which it was called, for a bed that starts revshift's own programs.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Parser as _;
use revshift_server::args::Args;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinSet;

use crate::{output, pipe, reflector, steps};

/// revshift's server, as its own `main` makes it.
pub(crate) const SERVER: &str = "revshift-server";
/// revshift's command line, as its own `main` makes it.
pub(crate) const CLI: &str = "revshift";
/// A bare watch that is handed on as a stream.
pub(crate) const PIPE: &str = "bare-pipe";
/// A reflector of pods.
pub(crate) const REFLECTOR: &str = "pod-reflector";
/// The engine with so many changes.
pub(crate) const STEPS: &str = "engine-steps";

/// Plays the role that `name` calls for; none when it is no role.
pub(crate) fn play(name: &str, args: Vec<OsString>) -> Option<ExitCode> {
    let result = match name {
        SERVER => attended(async { revshift_server::process::run(Args::parse_from(args)).await }),
        PIPE => attended(pipe::serve(path(&args))),
        REFLECTOR => attended(reflector::run(path(&args))),
        STEPS => steps::play(&path(&args), args.get(2)),
        _ => return None,
    };
    Some(served(result))
}

/// This program under the name of another one, in a folder.
pub(crate) fn named(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    std::fs::copy(std::env::current_exe()?, &path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}

/// Is the program that it was called by; none when that is its own name.
pub(crate) fn masquerade(called: &Path, args: Vec<OsString>) -> Option<ExitCode> {
    match called.file_name()?.to_str()? {
        SERVER => Some(served(started(revshift_server::process::run(Args::parse_from(args))))),
        CLI => Some(command_line(args)),
        _ => None,
    }
}

fn served(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn command_line(args: Vec<OsString>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return ExitCode::FAILURE };
    let status = runtime.block_on(async {
        let (mut io, settings) = (revshift::Io::process(), revshift::Settings::process());
        let never = std::future::pending();
        revshift::run(args, settings, &mut io, revshift::Connector::tcp(), never).await
    });
    // A read of stdin that nobody waits for any more must not hold the process.
    runtime.shutdown_background();
    status.into()
}

/// The first argument after the role's name.
fn path(args: &[OsString]) -> PathBuf {
    args.get(1).map(PathBuf::from).unwrap_or_default()
}

/// Runs until the story ends, or whoever started this is gone.
fn attended(story: impl Future<Output = Result<()>>) -> Result<()> {
    started(async {
        tokio::select! {
            result = story => result,
            () = abandoned() => Ok(()),
        }
    })
}

fn started(story: impl Future<Output = Result<()>>) -> Result<()> {
    // Fails only if there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let filter = tracing_subscriber::EnvFilter::try_from_env("REVSHIFT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let runtime = tokio::runtime::Runtime::new()?;
    let result = runtime.block_on(story);
    runtime.shutdown_background();
    result
}

/// Resolves when the pipe from whoever started this closes, which even kill -9 does.
async fn abandoned() {
    let mut bytes = [0; 64];
    while matches!(tokio::io::stdin().read(&mut bytes).await, Ok(1..)) {}
}

/// This program in a role, until it is dropped.
#[derive(Debug)]
pub(crate) struct Player {
    /// Where it listens.
    pub(crate) address: String,
    child: Child,
    _pipe: ChildStdin,
    _log: JoinSet<()>,
}

impl Player {
    /// Starts it and waits until it says where it listens.
    pub(crate) async fn start(role: &str, args: &[&str]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(role)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {role}"))?;
        let stderr = child.stderr.take().context("no stderr")?;
        let pipe = child.stdin.take().context("no stdin")?;
        let mut lines = BufReader::new(stderr).lines();
        let mut said = Vec::new();
        let address = loop {
            let Some(line) = lines.next_line().await? else {
                bail!("{role} ended:\n{}", said.join("\n"));
            };
            match line.strip_prefix("listening on ") {
                Some(address) => break address.to_owned(),
                None => said.push(line),
            }
        };
        let mut log = JoinSet::new();
        log.spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                output::line(&line);
            }
        });
        Ok(Self { address, child, _pipe: pipe, _log: log })
    }

    /// A line of its status in /proc that counts kilobytes, such as `VmHWM`, in MiB.
    pub(crate) fn memory(&self, name: &str) -> Result<f64> {
        let id = self.child.id().context("the process has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let line = line.with_context(|| format!("no {name} in /proc/{id}/status"))?;
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes / 1024.0)
    }
}
