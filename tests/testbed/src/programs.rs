//! revshift's own programs on some cluster: servers as processes that end with the harness, and the
//! CLI run to its end.

use std::{
    fmt::Write as _,
    fs::File,
    io::Write as _,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{self, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use revshift_tests::Output;
use tokio::time::timeout;

use crate::{
    cluster,
    process::{Process, Watchdog},
    product::Product,
    replica::RealReplica,
};

/// As short as the server allows, since every kill waits for it.
const SERVE: [&str; 2] = ["--install-crds", "--lease-seconds=6"];
/// A server that cannot start says so at once.
const REFUSAL: Duration = Duration::from_mins(2);
/// So many logs a failed test's report has room for.
const LAST: usize = 4;

/// The programs, with the cluster that they are to use.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) product: Option<Product>,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) run_dir: PathBuf,
    pub(crate) watchdog: Arc<Watchdog>,
    /// Whether they see the harness' environment, which a kubeconfig may need.
    pub(crate) environment: bool,
    /// Their logs, oldest first.
    pub(crate) logs: Mutex<Vec<PathBuf>>,
}

impl Programs {
    /// Starts a server with these options beside the kubeconfig, and waits until it says where it
    /// listens.
    pub(crate) async fn launch(&self, options: &[&str]) -> Result<RealReplica> {
        self.launch_with(&self.kubeconfig, options).await
    }

    /// The same with another kubeconfig.
    pub(crate) async fn launch_with(
        &self,
        kubeconfig: &Path,
        options: &[&str],
    ) -> Result<RealReplica> {
        let mut command = self.server(kubeconfig, options)?;
        let name = format!("server-{}", self.logs().len());
        let process = Process::start(name, &mut command, &self.run_dir, &self.watchdog)?;
        self.logs().push(process.log().to_owned());
        RealReplica::of(process).await
    }

    /// Starts a server as every scenario does, with this configuration and these options, and waits until it
    /// serves.
    pub(crate) async fn serve(
        &self,
        address: &str,
        config: &str,
        options: &[String],
    ) -> Result<RealReplica> {
        let listen = format!("--listen={address}");
        let path = self.run_dir.join(format!("revshift-{}.yaml", self.logs().len()));
        std::fs::write(&path, config).context("cannot write the configuration")?;
        let file = format!("--config={}", path.display());
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        self.launch(&[&SERVE[..], &[&listen, &file], &options].concat()).await?.ready().await
    }

    /// Runs a server that is to end by itself.
    pub(crate) async fn refused_server(&self, options: &[&str]) -> Result<Output> {
        let mut command = tokio::process::Command::from(self.server(&self.kubeconfig, options)?);
        command.kill_on_drop(true);
        timeout(REFUSAL, output(&mut command)).await.context("the server went on")?
    }

    /// Runs the CLI.
    pub(crate) async fn revshift(&self, args: &[String]) -> Result<Output> {
        let mut command = tokio::process::Command::from(self.command(&self.product()?.client));
        command.args(args).kill_on_drop(true);
        let output = output(&mut command).await.context("revshift")?;
        self.note(args, &output)?;
        Ok(output)
    }

    /// The latest logs.
    pub(crate) fn latest(&self) -> Vec<PathBuf> {
        let logs = self.logs();
        logs[logs.len().saturating_sub(LAST)..].to_vec()
    }

    fn server(&self, kubeconfig: &Path, options: &[&str]) -> Result<process::Command> {
        let mut command = self.command(&self.product()?.server);
        command.arg("--kubeconfig").arg(kubeconfig).args(options);
        Ok(command)
    }

    fn command(&self, program: &Path) -> process::Command {
        let mut command = process::Command::new(program);
        if !self.environment {
            cluster::bare(&mut command, &self.run_dir);
        }
        command
    }

    fn product(&self) -> Result<&Product> {
        self.product.as_ref().context("the bed was started without revshift's programs")
    }

    /// Keeps what a run of the CLI gave, among the logs.
    fn note(&self, args: &[String], output: &Output) -> Result<()> {
        let log = self.run_dir.join("revshift.log");
        let mut text = format!("$ revshift {}\n{}{}", args.join(" "), output.stdout, output.stderr);
        writeln!(text, "exit status: {}", output.status)?;
        File::options().create(true).append(true).open(&log)?.write_all(text.as_bytes())?;
        // It is the latest of the logs now.
        let mut logs = self.logs();
        logs.retain(|other: &PathBuf| *other != log);
        logs.push(log);
        Ok(())
    }

    fn logs(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a program to its end, without input.
pub(crate) async fn output(command: &mut tokio::process::Command) -> Result<Output> {
    let output = command.stdin(Stdio::null()).output().await?;
    // A signal is told as a shell tells it.
    let signal = output.status.signal().map(|signal| 128 + signal);
    Ok(Output {
        status: output.status.code().or(signal).context("it ended without a status")?,
        stdout: String::from_utf8(output.stdout).context("its output is no UTF-8")?,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
