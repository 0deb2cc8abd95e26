//! A scenario's hold on its bed: commands with expectations, and conditions with a deadline.

use crate::api::MoveState;
use crate::bed::{Bed, Output, Replica};
use crate::cluster::{delete_namespace, release};
use anyhow::{Context, Result, bail, ensure};
use revshift_proto::v1 as proto;
use revshift_proto::v1::migration_service_client::MigrationServiceClient;
use std::fmt::Display;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

/// A bed with one server running on it.
pub(crate) struct Session<'a> {
    pub(crate) bed: &'a dyn Bed,
    pub(crate) replica: Box<dyn Replica>,
    config: String,
}

impl<'a> Session<'a> {
    /// Starts a server on `bed`.
    pub(crate) async fn start(bed: &'a dyn Bed) -> Result<Self> {
        Self::start_with(bed, "").await
    }

    /// Starts a server with a configuration on `bed`.
    pub(crate) async fn start_with(bed: &'a dyn Bed, config: &str) -> Result<Self> {
        let replica = bed.start_with(config).await?;
        Ok(Self { bed, replica, config: config.to_owned() })
    }

    /// Clears namespaces away and ends the server gracefully.
    pub(crate) async fn end_with(self, namespaces: &[&str]) -> Result<()> {
        for namespace in namespaces {
            delete_namespace(&self.bed.client(), namespace).await?;
        }
        self.end().await
    }

    /// Ends the server gracefully.
    pub(crate) async fn end(self) -> Result<()> {
        self.replica.stop().await
    }

    /// Kills the server and starts another.
    pub(crate) async fn kill_and_restart(&mut self) -> Result<()> {
        let next = self.bed.start_with(&self.config);
        let killed = std::mem::replace(&mut self.replica, Box::new(Nobody));
        killed.kill().await?;
        self.replica = next.await?;
        Ok(())
    }

    /// Runs the CLI against the server.
    pub(crate) async fn run(&self, args: &[&str]) -> Result<Output> {
        let server = ["--server".to_owned(), self.replica.address()];
        let args = args.iter().map(|arg| (*arg).to_owned());
        self.bed.revshift(server.into_iter().chain(args).collect()).await
    }

    /// Runs the CLI and requires that it is done; answers what it printed as data.
    pub(crate) async fn done(&self, args: &[&str]) -> Result<String> {
        let output = self.run(args).await?;
        ensure!(
            output.status == 0,
            "`revshift {}` ended with {}\n{}{}",
            args.join(" "),
            output.status,
            output.stdout,
            output.stderr
        );
        Ok(output.stdout)
    }

    /// Runs the CLI and requires that it ends with `status` and says each of `words` on stderr.
    pub(crate) async fn refused(&self, args: &[&str], status: i32, words: &[&str]) -> Result<()> {
        let output = self.run(args).await?;
        let command = args.join(" ");
        ensure!(
            output.status == status,
            "`revshift {command}` ended with {}, not {status}\n{}{}",
            output.status,
            output.stdout,
            output.stderr
        );
        for word in words {
            let said = output.stderr.contains(word);
            ensure!(said, "`revshift {command}` does not say `{word}`:\n{}", output.stderr);
        }
        Ok(())
    }

    /// Starts a migration of `namespaces` from the old plane to the new; answers its id.
    pub(crate) async fn detach(&self, namespaces: &[&str], extra: &[&str]) -> Result<String> {
        let mut args =
            vec!["migrate", "--from", "cp-v113x", "--to", "cp-v115x", "--yes", "--detach"];
        args.extend(namespaces.iter().flat_map(|namespace| ["-n", namespace]));
        args.extend(extra);
        Ok(self.done(&args).await?.trim().to_owned())
    }

    /// Moves `namespaces` to the new plane and waits until they are there.
    pub(crate) async fn migrate(&self, namespaces: &[&str]) -> Result<()> {
        let mut args = vec!["migrate", "--from", "cp-v113x", "--to", "cp-v115x", "--yes"];
        args.extend(namespaces.iter().flat_map(|namespace| ["-n", namespace]));
        self.done(&args).await.map(|_| ())
    }

    /// Moves `namespaces` with a short rollout timeout, and requires that the CLI ends with 1 and
    /// says each of `words`; answers the migration's id.
    pub(crate) async fn migrate_in_vain(
        &self,
        namespaces: &[&str],
        words: &[&str],
    ) -> Result<String> {
        let mut args = vec!["migrate", "--from", "cp-v113x", "--to", "cp-v115x", "--yes"];
        args.extend(namespaces.iter().flat_map(|namespace| ["-n", namespace]));
        // What is healthy makes progress within it even on a slow machine.
        args.extend(["--rollout-timeout", "10s"]);
        let output = self.run(&args).await?;
        let said = &output.stderr;
        ensure!(output.status == 1, "it ended with {}:\n{said}", output.status);
        for word in words {
            ensure!(said.contains(word), "it does not say `{word}`:\n{said}");
        }
        let id = said.lines().find_map(|line| {
            line.strip_prefix("migration ").and_then(|rest| rest.strip_suffix(" was accepted"))
        });
        id.map(str::to_owned).with_context(|| format!("no migration was accepted:\n{said}"))
    }

    /// A gRPC client of the server's migrations.
    pub(crate) async fn migrations(&self) -> Result<MigrationServiceClient<Channel>> {
        Ok(MigrationServiceClient::new(self.replica.channel().await?))
    }

    /// How many migrations the server knows.
    pub(crate) async fn count_migrations(&self) -> Result<usize> {
        Ok(self.done(&["migrations", "-o", "name"]).await?.lines().count())
    }

    /// A migration as gRPC shows it.
    pub(crate) async fn migration(&self, id: &str) -> Result<proto::Migration> {
        let request = proto::GetMigrationRequest { id: id.to_owned() };
        let answer = self.migrations().await?.get_migration(request).await?.into_inner();
        answer.migration.context("no migration was answered")
    }

    /// All moves of a migration, in the order of its plan.
    pub(crate) async fn moves(&self, id: &str) -> Result<Vec<proto::Move>> {
        let request = proto::ListMovesRequest { migration_id: id.to_owned(), ..<_>::default() };
        Ok(self.migrations().await?.list_moves(request).await?.into_inner().moves)
    }

    /// One move of a migration.
    pub(crate) async fn a_move(&self, id: &str, namespace: &str) -> Result<proto::Move> {
        let mut moves = self.moves(id).await?.into_iter();
        let found = moves.find(|m| m.namespace == namespace);
        found.with_context(|| format!("migration {id} has no move of {namespace}"))
    }

    /// Waits until a move is in `state`.
    pub(crate) async fn until_move(
        &self,
        id: &str,
        namespace: &str,
        state: MoveState,
    ) -> Result<proto::Move> {
        until(self.bed, format!("{namespace} is {state:?} in migration {id}"), async || {
            let m = self.a_move(id, namespace).await?;
            ensure!(m.state() == state, "it is {:?}: {:?}", m.state(), m.problem);
            Ok(m)
        })
        .await
    }

    /// Releases a held application, and waits until it has moved.
    pub(crate) async fn release(&self, id: &str, namespace: &str) -> Result<proto::Move> {
        release(self.bed, namespace, async || {
            let m = self.a_move(id, namespace).await?;
            ensure!(m.state() == MoveState::Moved, "it is {:?}: {:?}", m.state(), m.problem);
            Ok(m)
        })
        .await
    }

    /// Waits until a move has `state` and a problem of that code.
    pub(crate) async fn until_problem(
        &self,
        id: &str,
        namespace: &str,
        state: MoveState,
        code: &str,
    ) -> Result<proto::Problem> {
        let m = self.until_move(id, namespace, state).await?;
        let problem = m.problem.with_context(|| format!("{namespace} has no problem"))?;
        ensure!(problem.code == code, "{namespace} has not {code} but {problem:?}");
        ensure!(!problem.message.is_empty() && !problem.remedy.is_empty(), "{problem:?}");
        Ok(problem)
    }

    /// Waits until `revshift status` shows the migration in `state`.
    pub(crate) async fn until_state(&self, id: &str, state: &str) -> Result<String> {
        until(self.bed, format!("migration {id} is {state}"), async || {
            // Asking is cheaper than running the CLI, which has the last word.
            let now = self.migration(id).await?;
            let name = now.state().as_str_name();
            ensure!(name.strip_prefix("STATE_") == Some(state), "{now:?}");
            let shown = self.done(&["status", id]).await?;
            let is =
                shown.lines().any(|found| found.split_whitespace().take(2).eq(["State:", state]));
            if is { Ok(shown) } else { bail!("{shown}") }
        })
        .await
    }
}

/// Waits until `check` succeeds, at most as long as the bed allows.
pub(crate) async fn until<T>(
    bed: &dyn Bed,
    what: impl Display,
    check: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    until_within(bed.patience(), what, check).await
}

/// Waits until `check` succeeds, at most so long.
pub(crate) async fn until_within<T>(
    patience: Duration,
    what: impl Display,
    mut check: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        match check().await {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= deadline => {
                return Err(error).with_context(|| format!("waited in vain until {what}"));
            }
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Stands where a replica was.
struct Nobody;

impl Replica for Nobody {
    fn address(&self) -> String {
        String::new()
    }

    fn channel(&self) -> futures::future::LocalBoxFuture<'_, Result<Channel>> {
        Box::pin(async { bail!("no server runs") })
    }

    fn kill(self: Box<Self>) -> futures::future::LocalBoxFuture<'static, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn stop(self: Box<Self>) -> futures::future::LocalBoxFuture<'static, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}
