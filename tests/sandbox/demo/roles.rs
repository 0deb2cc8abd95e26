//! What the program is when it was started by itself: revshift's server or its command line, each
//! as its own `main` makes it.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use revshift::{Connector, Io, Settings};
use revshift_server::args::Args;
use tokio::io::AsyncReadExt as _;
use tracing_subscriber::EnvFilter;

use crate::output;

/// The first argument that makes this the server.
pub(crate) const SERVER: &str = "revshift-server";
/// The first argument that makes this the command line.
pub(crate) const CLI: &str = "revshift";

/// The server, until it is told to end or whoever started it is gone.
pub(crate) fn server(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args = Args::parse_from(args);
    let filter = EnvFilter::try_from_env("REVSHIFT_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,kube=warn,hyper=warn,tower=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    // Fails only if there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let Ok(runtime) = tokio::runtime::Runtime::new() else { return ExitCode::FAILURE };
    let result = runtime.block_on(async {
        tokio::select! {
            result = revshift_server::process::run(args) => result,
            () = abandoned() => Ok(()),
        }
    });
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}

/// The command line.
pub(crate) fn cli(args: impl Iterator<Item = OsString>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return ExitCode::FAILURE };
    let status = runtime.block_on(async {
        let (mut io, settings) = (Io::process(), Settings::process());
        revshift::run(args, settings, &mut io, Connector::tcp(), interrupt()).await
    });
    // A read of stdin that nobody waits for any more must not hold the process.
    runtime.shutdown_background();
    status.into()
}

/// Resolves when the pipe from whoever started this closes, which even kill -9 does.
async fn abandoned() {
    let mut bytes = [0; 64];
    while matches!(tokio::io::stdin().read(&mut bytes).await, Ok(1..)) {}
}

async fn interrupt() {
    if tokio::signal::ctrl_c().await.is_err() {
        // Without a handler the signal ends the process by itself.
        std::future::pending::<()>().await;
    }
}
