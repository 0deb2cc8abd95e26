//! `revshift-testbed`: builds the real test bed, holds one up, or runs the scenarios on it.

mod output;
mod scenarios;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use revshift_testbed::{Binaries, ControlPlane, Options, Plane, Product, RealBed};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};

/// revshift's real test bed: Kubernetes, KWOK and istiods from pinned Go modules.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the programs of the bed; needs Go.
    Build,
    /// Start a bed with two planes and bookinfo, and hold it until Ctrl-C.
    Up,
    /// Build, start a bed, and run the scenarios on it.
    Test {
        /// Run only scenarios whose name contains this.
        filter: Option<String>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    // While something starts, every try to reach it is an error to kube's client.
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| "warn,kube_client=off".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let args = Args::parse();
    // Leaving this function, and not the process, is what ends the bed.
    let result = tokio::select! {
        result = run(args.command) => result,
        result = interrupted() => result.map(|()| ExitCode::from(130)),
    };
    result.unwrap_or_else(|error| {
        output::error(&error);
        ExitCode::FAILURE
    })
}

async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Build => build().await.map(|()| ExitCode::SUCCESS),
        Command::Up => up().await,
        Command::Test { filter } => test(filter.as_deref().unwrap_or_default()).await,
    }
}

async fn build() -> Result<()> {
    Binaries::default().build(output::built).await
}

/// Starts a bed as Calisti's upgrade procedure finds a cluster.
async fn start(product: Option<Product>) -> Result<RealBed> {
    let start = Instant::now();
    let bed = RealBed::start(&Options { product, ..Options::default() }).await?;
    output::step("cluster", start.elapsed());
    let start = Instant::now();
    bed.install_calisti(&ControlPlane::of_procedure()).await?;
    output::step("two planes", start.elapsed());
    Ok(bed)
}

async fn up() -> Result<ExitCode> {
    let bed = start(None).await?;
    let start = Instant::now();
    let old = Plane::calisti("cp-v113x", "1.13.5").revision();
    bed.namespace("smm-demo", &[("istio.io/rev", &old)]).await?;
    bed.deploy_bookinfo("smm-demo").await?;
    bed.kubectl(&["wait", "deployment", "--all", "-n=smm-demo", "--for=condition=Available"])
        .await?;
    output::step("bookinfo", start.elapsed());
    output::usage(&bed.usage());
    output::up(&bed);
    std::future::pending().await
}

async fn test(filter: &str) -> Result<ExitCode> {
    build().await?;
    let start = Instant::now();
    let product = Product::build().await?;
    output::step("build of revshift", start.elapsed());
    let bed = self::start(Some(product)).await?;
    if bed.is_kept() {
        output::kept(&bed);
    }
    let passed = scenarios::run(&bed, filter).await;
    output::usage(&bed.usage());
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn interrupted() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
