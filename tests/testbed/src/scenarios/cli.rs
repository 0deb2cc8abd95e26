//! revshift's command line against some servers, with expectations.

use anyhow::{Context as _, Result, ensure};
use revshift_testbed::RealBed;
use revshift_tests::{Bed as _, Output};

/// The CLI with the servers that it asks.
#[derive(Debug)]
pub(crate) struct Cli<'a> {
    bed: &'a RealBed,
    servers: String,
}

impl<'a> Cli<'a> {
    /// `servers` is what `--server` takes.
    pub(crate) fn new(bed: &'a RealBed, servers: impl Into<String>) -> Self {
        Self { bed, servers: servers.into() }
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, args: &[&str]) -> Result<Output> {
        let all = ["--server", &self.servers].into_iter().chain(args.iter().copied());
        self.bed.revshift(all.map(str::to_owned).collect()).await
    }

    /// Runs a command that must succeed; answers its data.
    pub(crate) async fn done(&self, args: &[&str]) -> Result<String> {
        let Output { status, stdout, stderr } = self.run(args).await?;
        let command = args.join(" ");
        ensure!(status == 0, "`revshift {command}` ended with {status}\n{stdout}{stderr}");
        Ok(stdout)
    }

    /// Runs a command that must fail with exit status 1 and say all of `words`.
    pub(crate) async fn refused(&self, args: &[&str], words: &[&str]) -> Result<()> {
        let Output { status, stdout, stderr } = self.run(args).await?;
        let command = args.join(" ");
        ensure!(status == 1, "`revshift {command}` ended with {status}\n{stdout}{stderr}");
        for word in words {
            ensure!(stderr.contains(word), "`revshift {command}` lacks `{word}`:\n{stderr}");
        }
        Ok(())
    }

    /// Runs `migrate` or `rollback` to the migration's end; answers its id.
    pub(crate) async fn carried_out(&self, args: &[&str]) -> Result<String> {
        let named = self.done(&[args, &["--yes", "--output=name"]].concat()).await?;
        let name = named.lines().next().with_context(|| format!("no name in {named:?}"))?;
        Ok(name.rsplit('/').next().unwrap_or(name).to_owned())
    }
}
