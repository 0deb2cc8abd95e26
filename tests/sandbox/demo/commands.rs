//! Running revshift's command line: on the user's terminal, as one would type it, or for the
//! program to read.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::output;
use crate::roles;
use crate::server::Server;

/// What a server takes at most from listening to answering, on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(1);

/// The command line at one server.
#[derive(Debug)]
pub(crate) struct Commands {
    server: String,
}

impl Commands {
    pub(crate) fn at(server: &Server) -> Self {
        Self { server: server.address.clone() }
    }

    /// Shows a command and starts it.
    pub(crate) fn start(&self, line: &str) -> Result<Child> {
        output::command(line);
        self.command(split(line))
            // Nobody is to answer questions in a show.
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start revshift {line}"))
    }

    /// Shows a command, runs it, and wants one of these statuses.
    pub(crate) async fn run(&self, line: &str, statuses: &[i32]) -> Result<()> {
        let status = self.start(line)?.wait().await?;
        expect(line, status, statuses)
    }

    /// What a command prints as JSON, unseen.
    pub(crate) async fn read(&self, line: &str) -> Result<Value> {
        let output = self
            .command(split(line).chain(["-o".to_owned(), "json".to_owned()]))
            .stdin(Stdio::null())
            // Ctrl-C is for what is seen.
            .process_group(0)
            .output()
            .await?;
        ensure!(
            output.status.success(),
            "revshift {line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Waits, unseen, until the server has taken in the cluster and answers of it.
    pub(crate) async fn until_answered(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.read("planes").await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Waits, unseen, until a migration has ended or is paused.
    pub(crate) async fn until_it_rests(&self, id: &str) -> Result<()> {
        self.command(["watch", id, "-o", "json"].map(str::to_owned).into_iter())
            .stdin(Stdio::null())
            // Ctrl-C is for what is seen.
            .process_group(0)
            .output()
            .await?;
        Ok(())
    }

    fn command(&self, args: impl Iterator<Item = String>) -> Command {
        // What this program is called does not matter, as it started itself before.
        let program = std::env::current_exe().unwrap_or_default();
        let mut command = Command::new(program);
        command.arg(roles::CLI).args(args).env("REVSHIFT_SERVER", &self.server).kill_on_drop(true);
        command
    }
}

/// Ends a command as Ctrl-C does, if it still runs.
pub(crate) async fn interrupt(mut child: Child, line: &str) -> Result<()> {
    if let (None, Some(id)) = (child.try_wait()?, child.id()) {
        output::control_c();
        let id = id.to_string();
        // The shell's own `kill`, as the standard library can only kill at once.
        let mut shell = Command::new("sh");
        shell.args(["-c", "kill -INT \"$1\"", "sh", &id]).stderr(Stdio::null());
        // It may have ended just now, which is as good.
        shell.status().await?;
    }
    expect(line, child.wait().await?, &[1, 130])
}

fn expect(line: &str, status: ExitStatus, statuses: &[i32]) -> Result<()> {
    match status.code() {
        Some(code) if statuses.contains(&code) => Ok(()),
        _ => bail!("revshift {line}: {status}"),
    }
}

/// The words of a line; single quotes hold words together.
fn split(line: &str) -> impl Iterator<Item = String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            '\\' | '\n' if !quoted => {}
            letter => words.last_mut().into_iter().for_each(|word| word.push(letter)),
        }
    }
    words.into_iter().filter(|word| !word.is_empty())
}
