//! `revshift-testbed`: builds the real test bed, holds one up, or runs the scenarios on it.

mod output;
mod record;
mod scenarios;
mod stage;

use std::{env, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use revshift_testbed::{Binaries, ForeignCluster, Plane, Product, VARIABLE};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};

use crate::{scenarios::Story, stage::Outcome};

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
    /// Build, start beds, and run the scenarios on them; with REVSHIFT_TEST_KUBECONFIG, those that
    /// run on any cluster on the one that it names.
    Test {
        /// Run only scenarios whose name contains this.
        filter: Option<String>,
        /// How many beds share the scenarios.
        #[arg(long, default_value_t = 2)]
        beds: usize,
    },
    /// Record the exchanges in tests/exchanges anew, on a bed without planes.
    Record {
        /// Record only files whose path contains this.
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
        Command::Test { filter, beds } => test(filter.as_deref().unwrap_or_default(), beds).await,
        Command::Record { filter } => {
            build().await?;
            let recorded = record::record(filter.as_deref().unwrap_or_default()).await;
            recorded.map(|()| ExitCode::SUCCESS)
        }
    }
}

async fn build() -> Result<()> {
    Binaries::default().build(output::built).await
}

async fn up() -> Result<ExitCode> {
    let bed = stage::new_bed(None).await?;
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

async fn test(filter: &str, beds: usize) -> Result<ExitCode> {
    let start = Instant::now();
    let outcomes = if let Some(kubeconfig) = env::var_os(VARIABLE) {
        let cluster = ForeignCluster::connect(kubeconfig.into(), &product().await?).await?;
        stage::on_foreign(&cluster, Story::shared(filter)).await
    } else {
        build().await?;
        stage::on_beds(beds, &product().await?, Story::all(filter)).await?
    };
    output::summary(&outcomes);
    output::step("to the end", start.elapsed());
    let good = |outcome: &Outcome| !matches!(outcome, Outcome::Failed(_));
    let passed = !outcomes.is_empty() && outcomes.iter().all(|(_, outcome)| good(outcome));
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn product() -> Result<Product> {
    let start = Instant::now();
    let product = Product::build().await?;
    output::step("build of revshift", start.elapsed());
    Ok(product)
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
