//! `revshift completions`: a script that completes commands and options in a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{ExitStatus, args::Cli, output::Io};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

impl Args {
    /// Needs no server, and so no context.
    pub(crate) fn run(self, io: &mut Io) -> ExitStatus {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "revshift", &mut script);
        let printed = io.stdout.print(&String::from_utf8_lossy(&script));
        printed.map_or_else(|failure| failure.report(io), |()| ExitStatus::Done)
    }
}
