//! What a scenario runs on.

use anyhow::Result;
use futures::future::LocalBoxFuture;
use std::time::Duration;
use tonic::transport::Channel;

/// A cluster with the two Calisti planes of the procedure, and a way to start revshift on it.
///
/// Its planes are `cp-v113x` and `cp-v115x` in `istio-system`, both Available. Pods obey the labels
/// `bed.revshift.dev/fails`, `…/fails-on` and `…/ready-after`.
pub trait Bed {
    /// A client with every right.
    fn client(&self) -> kube::Client;

    /// Starts a replica of the server and waits until it serves.
    fn start(&self) -> LocalBoxFuture<'_, Result<Box<dyn Replica>>>;

    /// Runs the CLI to its end.
    fn revshift(&self, args: Vec<String>) -> LocalBoxFuture<'_, Result<Output>>;

    /// Makes the injection webhooks of a revision unreachable, or reachable again.
    fn set_injector_down(&self, revision: &str, down: bool) -> LocalBoxFuture<'_, Result<()>>;

    /// How long a condition may take to hold.
    fn patience(&self) -> Duration;
}

/// A running server.
pub trait Replica {
    /// Where it listens, as `--server` takes it.
    fn address(&self) -> String;

    /// A connection to it.
    fn channel(&self) -> LocalBoxFuture<'_, Result<Channel>>;

    /// Ends it at once, as kill -9 does.
    fn kill(self: Box<Self>) -> LocalBoxFuture<'static, Result<()>>;

    /// Asks it to end, as SIGTERM does, and waits until it has.
    fn stop(self: Box<Self>) -> LocalBoxFuture<'static, Result<()>>;
}

/// What a run of the CLI gave.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// Its exit status.
    pub status: i32,
    /// Data.
    pub stdout: String,
    /// Everything else.
    pub stderr: String,
}
