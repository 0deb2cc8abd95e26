//! revshift's server as a process of its own, on a free port.
//!
//! It holds the reading end of a pipe and leaves when that closes, so it cannot outlive the
//! program, however that ends. Its log goes into the bed's folder.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, anyhow};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};
use tokio::task::JoinSet;

use crate::bed::Bed;
use crate::commands::Commands;
use crate::roles;

/// How much of the log's end an error shows.
const TAIL: usize = 12;

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: String,
    /// What it says.
    pub(crate) log: PathBuf,
    child: Child,
    /// Closing it is what ends the server.
    _pipe: ChildStdin,
    _logger: JoinSet<()>,
}

impl Server {
    /// Starts it and waits until it answers.
    pub(crate) async fn start(bed: &Bed) -> Result<Self> {
        let log = bed.folder().join("server.log");
        let mut child = Command::new(std::env::current_exe()?)
            .arg(roles::SERVER)
            .arg("--kubeconfig")
            .arg(bed.kubeconfig())
            .args(["--listen", "127.0.0.1:0", "--install-crds"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C is for the program, which ends its server itself.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the server")?;
        let stderr = child.stderr.take().context("the server has no stderr")?;
        // Left to the child, it would be closed by waiting for its end.
        let pipe = child.stdin.take().context("the server has no stdin")?;
        let mut lines = BufReader::new(stderr).lines();
        let mut said = Vec::new();
        let address = loop {
            let Some(line) = lines.next_line().await? else {
                return Err(anyhow!("the server ended:\n{}", said.join("\n")));
            };
            if let Some(address) = line.strip_prefix("listening on ") {
                break address.to_owned();
            }
            said.push(line);
        };
        let mut logger = JoinSet::new();
        logger.spawn(keep(lines, log.clone()));
        let mut server = Self { address, log, child, _pipe: pipe, _logger: logger };
        let commands = Commands::at(&server);
        tokio::select! {
            answered = commands.until_answered() => answered?,
            error = server.ended() => return Err(error),
        }
        Ok(server)
    }

    /// Resolves when it ends by itself, which it should not, to the reason.
    pub(crate) async fn ended(&mut self) -> anyhow::Error {
        let status = match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let log = tokio::fs::read_to_string(&self.log).await.unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
        anyhow!("the server ended with {status}; its log ends with:\n{tail}")
    }
}

/// Writes down what the server says. A log that cannot be written is no reason to stop reading.
async fn keep(mut lines: Lines<BufReader<ChildStderr>>, path: PathBuf) {
    let mut file = tokio::fs::File::create(path).await.ok();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(file) = &mut file {
            let _ = file.write_all(format!("{line}\n").as_bytes()).await;
            let _ = file.flush().await;
        }
    }
}
