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
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use revshift_sandbox::{Fault, Faults};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

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

    #[command(flatten)]
    trouble: Trouble,

    /// List the faults there are, with the places where they usually strike
    #[arg(long)]
    faults: bool,
}

/// What goes wrong in the cluster.
#[derive(Debug, clap::Args)]
pub(crate) struct Trouble {
    /// Let something go wrong once the server runs; may be given several times
    ///
    /// FAULT is KIND[=DURATION][:PLACE[:COUNT]], for example 'lost-reply:patch deployments:3',
    /// 'slow=2s:reads:always 1 in 3', 'unavailable:any:for 30s' or
    /// 'crash-loop:create pods catalog:1'. --faults lists the kinds.
    ///
    /// PLACE is VERB [RESOURCE [[NAMESPACE/]NAME]] [from CLIENT]: a verb of the API, reads, writes
    /// or any; * for whatever. Faults of pods strike at `create pods`, those of a namespace at the
    /// namespace that the request is about. A CLIENT is a program such as kubectl or
    /// revshift-server.
    ///
    /// COUNT is [TIMES | always | for DURATION] [after N] [1 in N], and 1 unless told otherwise.
    #[arg(long = "fault", value_name = "FAULT", global = true)]
    fault: Vec<Fault>,

    /// Choose by this number which requests faults with `1 in N` strike
    #[arg(long, value_name = "NUMBER", global = true, default_value_t = 0)]
    seed: u64,
}

impl Trouble {
    /// Arms the faults.
    pub(crate) fn inject(&self, bed: &Bed) -> Faults {
        let faults = Faults::new(self.seed, self.fault.iter().cloned());
        bed.sandbox.inject(&faults);
        faults
    }
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
    if args.faults {
        output::faults();
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = runtime.context("cannot start").and_then(|runtime| {
        // Leaving this block, and not the process, is what ends everything that was started.
        runtime.block_on(async {
            tokio::select! {
                result = run(args.command, &args.trouble) => result,
                result = interrupted() => result,
            }
        })
    });
    result.unwrap_or_else(|error| {
        output::error(&error);
        ExitCode::FAILURE
    })
}

async fn run(command: Option<Command>, trouble: &Trouble) -> Result<ExitCode> {
    match command {
        None => story::tell(trouble).await,
        Some(Command::Up { namespaces }) => up(namespaces, trouble).await,
    }
}

async fn up(namespaces: Option<u32>, trouble: &Trouble) -> Result<ExitCode> {
    let objects = match namespaces {
        Some(count) => application::many(count),
        None => application::dozen(),
    };
    let bed = Bed::start(objects).await?;
    bed.settled(output::filling).await?;
    let mut server = Server::start(&bed).await?;
    output::up(&bed, &server, namespaces.is_some())?;
    let faults = trouble.inject(&bed);
    tokio::select! {
        error = server.ended() => Err(error),
        never = tell_of(&faults) => never,
    }
}

/// Says of every strike of a fault, soon after.
async fn tell_of(faults: &Faults) -> Result<ExitCode> {
    let mut told: Vec<_> = faults.struck();
    output::armed(&told);
    loop {
        sleep(Duration::from_millis(250)).await;
        let struck = faults.struck();
        for (now, before) in struck.iter().zip(&told) {
            if now != before {
                output::struck(now);
            }
        }
        told = struck;
    }
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
