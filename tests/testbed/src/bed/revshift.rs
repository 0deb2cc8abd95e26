//! The bed as revshift's scenarios see it: servers as processes that end with the bed, the CLI run
//! to its end, and outages of a plane's webhooks.

use std::{fmt::Write as _, fs::File, io::Write as _, path::PathBuf, process, time::Duration};

use anyhow::{Context as _, Result};
use futures::{FutureExt as _, future::LocalBoxFuture};
use kube::Client;
use revshift_tests::{Bed, Output, Replica};
use tokio::time::timeout;

use super::{RealBed, output};
use crate::{cluster, process::Process, product::Product, replica::RealReplica};

/// As short as the server allows, since every kill waits for it.
const SERVE: [&str; 2] = ["--install-crds", "--lease-seconds=6"];
/// A server that cannot start says so at once.
const REFUSAL: Duration = Duration::from_secs(30);

impl RealBed {
    /// Starts a server on the bed's cluster with these options beside the kubeconfig, and waits
    /// until it says where it listens.
    pub async fn launch(&self, options: &[&str]) -> Result<RealReplica> {
        let mut command = process::Command::new(&self.product()?.server);
        self.prepare(&mut command, options);
        let name = format!("server-{}", self.product_logs().len());
        let process = Process::start(name, &mut command, self.run_dir(), &self.watchdog)?;
        self.product_logs().push(process.log().to_owned());
        RealReplica::of(process).await
    }

    /// Starts a server as every scenario does, which listens on `address`, and waits until it
    /// serves.
    pub async fn serve(&self, address: &str) -> Result<RealReplica> {
        let listen = format!("--listen={address}");
        self.launch(&[&SERVE[..], &[&listen]].concat()).await?.ready().await
    }

    /// Runs a server that is to end by itself.
    pub async fn refused_server(&self, options: &[&str]) -> Result<Output> {
        let mut command = process::Command::new(&self.product()?.server);
        self.prepare(&mut command, options);
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true);
        timeout(REFUSAL, output(&mut command)).await.context("the server went on")?
    }

    fn prepare(&self, command: &mut process::Command, options: &[&str]) {
        cluster::bare(command, self.run_dir());
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(options);
    }

    fn product(&self) -> Result<&Product> {
        self.product.as_ref().context("the bed was started without revshift's programs")
    }

    /// Keeps what a run of the CLI gave, among the logs.
    fn note(&self, args: &[String], output: &Output) -> Result<()> {
        let log = self.run_dir().join("revshift.log");
        let mut text = format!("$ revshift {}\n{}{}", args.join(" "), output.stdout, output.stderr);
        writeln!(text, "exit status: {}", output.status)?;
        File::options().create(true).append(true).open(&log)?.write_all(text.as_bytes())?;
        // It is the latest of the logs now.
        let mut logs = self.product_logs();
        logs.retain(|other: &PathBuf| *other != log);
        logs.push(log);
        Ok(())
    }
}

impl Bed for RealBed {
    fn client(&self) -> Client {
        self.client()
    }

    fn start(&self) -> LocalBoxFuture<'_, Result<Box<dyn Replica>>> {
        async { Ok(Box::new(self.serve("127.0.0.1:0").await?) as Box<dyn Replica>) }.boxed_local()
    }

    fn revshift(&self, args: Vec<String>) -> LocalBoxFuture<'_, Result<Output>> {
        async move {
            let mut command = process::Command::new(&self.product()?.client);
            cluster::bare(&mut command, self.run_dir());
            let mut command = tokio::process::Command::from(command);
            command.args(&args).kill_on_drop(true);
            let output = output(&mut command).await.context("revshift")?;
            self.note(&args, &output)?;
            Ok(output)
        }
        .boxed_local()
    }

    fn set_injector_down(&self, revision: &str, down: bool) -> LocalBoxFuture<'_, Result<()>> {
        let revision = revision.to_owned();
        async move {
            if down { self.stop_istiod(&revision) } else { self.start_istiod(&revision).await }
        }
        .boxed_local()
    }

    fn patience(&self) -> Duration {
        Duration::from_mins(1)
    }
}
