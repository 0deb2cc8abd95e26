//! What a scenario runs on.

use anyhow::Result;
use futures::future::LocalBoxFuture;
use std::time::Duration;
use tonic::transport::Channel;

/// A cluster with the two Calisti planes of the procedure, and a way to start revshift on it.
///
/// Its planes are `cp-v113x` and `cp-v115x` in `istio-system`, both Available. Pods obey the labels
/// `bed.revshift.dev/fails`, `…/fails-on`, `…/ready-after` and `…/proxy`.
pub trait Bed {
    /// A client with every right.
    fn client(&self) -> kube::Client;

    /// Starts a replica of the server without a configuration and waits until it serves.
    fn start(&self) -> LocalBoxFuture<'_, Result<Box<dyn Replica>>> {
        self.start_with("")
    }

    /// The same with this configuration, as a file has it.
    fn start_with<'a>(&'a self, config: &'a str) -> LocalBoxFuture<'a, Result<Box<dyn Replica>>>;

    /// Runs the CLI to its end.
    fn revshift(&self, args: Vec<String>) -> LocalBoxFuture<'_, Result<Output>>;

    /// Makes the injection webhooks of a revision unreachable, or reachable again.
    fn set_injector_down(&self, revision: &str, down: bool) -> LocalBoxFuture<'_, Result<()>>;

    /// How long a condition may take to hold. Only what hangs reaches it.
    fn patience(&self) -> Duration;

    /// Why this cluster gives a scenario no such power; nothing where it does.
    fn lacks(&self, _power: Power) -> Option<String> {
        None
    }
}

/// What a scenario can do only to a cluster that is there for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Power {
    /// Pods fail as their labels say.
    FailingPods,
    /// [`Bed::set_injector_down`].
    Outages,
    /// The status that the operator of a plane writes is the scenario's to write.
    PlaneStatus,
    /// Istiods can be asked who is connected to them, and the proxies of pods obey the label
    /// `bed.revshift.dev/proxy`: `absent`, `rejects` or `silent`, and `bed.revshift.dev/proxy-at`: a plane.
    Istiods,
    /// Argo's Rollouts controller runs, but their definition is not installed.
    Rollouts,
}

/// A scenario was not told, as the cluster lacks a power that it needs.
#[derive(Debug)]
pub struct Lacking(String);

impl Lacking {
    /// What is lacking, for people.
    pub fn new(reason: &str) -> Self {
        Self(reason.to_owned())
    }
}

impl std::fmt::Display for Lacking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Lacking {}

/// Ends a scenario, before it has done anything, on a cluster without this power.
pub(crate) fn require(bed: &dyn Bed, power: Power) -> Result<()> {
    bed.lacks(power).map_or(Ok(()), |reason| Err(Lacking(reason).into()))
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
