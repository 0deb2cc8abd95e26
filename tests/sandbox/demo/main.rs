//! `revshift-sandbox`: shows an upgrade of Istio with revshift on a simulated cluster, or keeps such
//! a cluster up for revshift and kubectl.
//!
//! Server and command line are the real ones: the program starts itself again as each of them, so
//! that one build suffices.

mod application;
mod bed;
mod commands;
mod output;
mod roles;
mod server;
mod story;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::bed::Bed;
use crate::server::Server;

/// Shows an upgrade of Istio with revshift on a simulated Kubernetes cluster.
///
/// Without a command: the whole procedure in a minute, with a namespace that fails on the new
/// control plane and is rolled back. Nothing leaves this machine, and nothing stays.
#[derive(Debug, Parser)]
#[command(name = "revshift-sandbox", version)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep cluster and server up until Ctrl-C, for revshift and kubectl in other terminals
    Up {
        /// This many small namespaces instead of the dozen of the show
        #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=10_000))]
        namespaces: Option<u32>,
    },
}

fn main() -> ExitCode {
    // What the program starts itself as is told by the first argument, as by the name of a
    // program: all that follows is that program's.
    let mut args = std::env::args_os().skip(1).peekable();
    match args.peek().and_then(|name| name.to_str()) {
        Some(roles::SERVER) => return roles::server(args),
        Some(roles::CLI) => return roles::cli(args),
        _ => {}
    }
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = runtime.context("cannot start").and_then(|runtime| {
        // Leaving this block, and not the process, is what ends everything that was started.
        runtime.block_on(async {
            tokio::select! {
                result = run(args.command) => result,
                result = interrupted() => result,
            }
        })
    });
    result.unwrap_or_else(|error| {
        output::error(&error);
        ExitCode::FAILURE
    })
}

async fn run(command: Option<Command>) -> Result<ExitCode> {
    match command {
        None => story::tell().await,
        Some(Command::Up { namespaces }) => up(namespaces).await,
    }
}

async fn up(namespaces: Option<u32>) -> Result<ExitCode> {
    let objects = match namespaces {
        Some(count) => application::many(count),
        None => application::dozen(),
    };
    let bed = Bed::start(objects).await?;
    bed.settled(output::filling).await?;
    let mut server = Server::start(&bed).await?;
    output::up(&bed, &server, namespaces.is_some())?;
    Err(server.ended().await)
}

async fn interrupted() -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    output::interrupted();
    Ok(ExitCode::from(130))
}
