//! The command line of revshift: a thin client of its gRPC API.
//!
//! [`run`] is the whole program without its process: arguments, settings, terminal, connections
//! and the interrupt come from the caller, so that tests drive it in memory on a paused clock.
//! It decides nothing about migrations: all that it shows comes from the API.

mod args;
mod command;
mod connect;
mod context;
mod failure;
mod follow;
mod output;
mod plan;
mod settings;
mod specification;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

use crate::{
    args::{Cli, Color, Command},
    connect::Servers,
    context::Context,
};

pub use crate::{
    connect::{ConnectError, Connector},
    output::{Io, Sink},
    settings::{Clock, Settings},
};

/// How the program ends. The numbers are part of its interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ExitStatus {
    /// Done; a followed migration SUCCEEDED.
    Done = 0,
    /// Failed or refused; a followed migration ended otherwise or waits for somebody.
    Failed = 1,
    /// The command was not understood, or needs `--yes`; nothing was done.
    Usage = 2,
    /// No server answered.
    Unreachable = 3,
    /// Interrupted; whatever runs in the cluster goes on.
    Interrupted = 130,
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status as u8)
    }
}

/// Runs one command. `args` begin with the program's name; `interrupt` is Ctrl-C.
pub async fn run(
    args: impl IntoIterator<Item = OsString>,
    settings: Settings,
    io: &mut Io,
    connector: Connector,
    interrupt: impl Future<Output = ()>,
) -> ExitStatus {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, &settings, io),
    };
    let color = cli.globals.color;
    io.stdout.color(decide(color, &settings, io.stdout.is_terminal()));
    io.stderr.color(decide(color, &settings, io.stderr.is_terminal()));
    let command = match cli.command {
        // A wrong address must not break a shell's start-up file.
        Command::Completions(completions) => return completions.run(io),
        command => command,
    };
    let listed = cli.globals.server.as_deref().or(settings.server.as_deref());
    let servers = match Servers::parse(listed.unwrap_or(connect::DEFAULT), connector) {
        Ok(servers) => servers,
        Err(failure) => return failure.report(io),
    };
    let mut context = Context::new(io, &cli.globals, servers, &settings);
    let end = tokio::select! {
        biased;
        () = interrupt => None,
        end = Box::pin(command.run(&mut context)) => Some(end),
    };
    match end {
        None => context.interrupted(),
        Some(Ok(status)) => status,
        Some(Err(failure)) => failure.report(context.io),
    }
}

fn decide(color: Color, settings: &Settings, terminal: bool) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => terminal && !settings.no_color && !settings.dumb,
    }
}

/// Prints what clap has to say: help and version are data, all else is an error.
fn usage(error: &clap::Error, settings: &Settings, io: &mut Io) -> ExitStatus {
    let sink = if error.use_stderr() { &io.stderr } else { &io.stdout };
    let text = error.render();
    let text = if decide(Color::Auto, settings, sink.is_terminal()) {
        text.ansi().to_string()
    } else {
        text.to_string()
    };
    if error.use_stderr() {
        io.stderr.say(text.trim_end());
        return ExitStatus::Usage;
    }
    io.stdout.print(&text).map_or_else(|failure| failure.report(io), |()| ExitStatus::Done)
}
