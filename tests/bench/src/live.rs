//! A simulated cluster over loopback TCP on the real clock, with a migration that is held half way, so
//! that every change of a workload is something that whoever watches the migration is told.

use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use revshift_proto::v1::r#move::State as MoveState;
use revshift_proto::v1::{self as proto};
use revshift_sandbox::{Options, Sandbox, fixtures, kubeconfig};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Streaming};

use crate::migration::{self, Client, in_one_wave, seconds};
use crate::role::Player;
use crate::simulation::{NEW, OLD, Simulation, cluster};

/// Namespaces whose moves are under way.
const NAMESPACES: usize = 16;
/// Workloads have more pods than this only by a change; the number over it is the change's.
const BASE: u32 = 10;
/// What nothing takes here.
const PATIENCE: Duration = Duration::from_mins(1);

/// The cluster.
pub(crate) struct Live {
    simulation: Simulation,
    kubeconfig: NamedTempFile,
    objects: Vec<Value>,
    /// How many changes were made.
    changes: u32,
    _serving: JoinSet<()>,
}

/// A change that was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    namespace: usize,
    number: u32,
    at: Instant,
}

/// What a client was told.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    namespace: usize,
    number: u32,
    at: Instant,
}

impl Live {
    /// Starts it, with everything on the old plane and ready.
    pub(crate) async fn start() -> Result<Self> {
        // What the cluster itself takes would only hide what is measured.
        let options =
            Options { latency: Duration::ZERO, watch_lag: Duration::ZERO, ..<_>::default() };
        let simulation = Simulation::start(cluster(Options { history: Some(50_000), ..options }));
        let sandbox = &simulation.sandbox;
        for index in 0..NAMESPACES {
            sandbox.apply(fixtures::namespace(&name(index), &[("istio.io/rev", OLD)]));
        }
        sleep(Duration::from_secs(1)).await;
        for index in 0..NAMESPACES {
            let mut web = fixtures::deployment(&name(index), "web", 1);
            let labels = &mut web["spec"]["template"]["metadata"]["labels"];
            labels["bed.revshift.dev/fails"] = json!("never-ready");
            labels["bed.revshift.dev/fails-on"] = json!(NEW);
            sandbox.apply(web);
        }
        sleep(Duration::from_secs(3)).await;
        let (serving, kubeconfig) = serve(sandbox).await?;
        Ok(Self { simulation, kubeconfig, objects: Vec::new(), changes: 0, _serving: serving })
    }

    /// Where the kubeconfig is.
    pub(crate) fn kubeconfig(&self) -> Result<&str> {
        self.kubeconfig.path().to_str().context("a path that is no text")
    }

    /// Starts revshift's server and moves everything, which nothing can bring to its end; answers the
    /// migration's id.
    pub(crate) async fn hold(&self) -> Result<(Player, String)> {
        let args = ["--kubeconfig", self.kubeconfig()?, "--listen=127.0.0.1:0", "--install-crds"];
        let server = Player::start(crate::role::SERVER, &args).await?;
        let mut client = Client::new(connect(&server.address).await?);
        let spec = proto::MigrationSpec {
            rollout_timeout: Some(seconds(24 * 3600)),
            ..in_one_wave((0..NAMESPACES).map(name).collect())
        };
        let started = async {
            loop {
                match migration::start(&mut client, &spec).await {
                    Ok(id) => break id,
                    Err(_) => sleep(Duration::from_millis(200)).await,
                }
            }
        };
        let id = timeout(PATIENCE, started).await.context("no migration started")?;
        let held = |end: &migration::End| end.count(MoveState::Restarting) == NAMESPACES;
        timeout(PATIENCE, migration::follow(&mut client, &id, held))
            .await
            .context("the moves do not reach their restarts")??;
        // The last restarts are still being made.
        sleep(Duration::from_secs(3)).await;
        Ok((server, id))
    }

    /// Stops the controllers, so that only [`Self::change`] changes anything.
    pub(crate) fn freeze(&mut self) -> Result<()> {
        self.simulation.freeze();
        let path = |index| format!("/apis/apps/v1/namespaces/{}/deployments/web", name(index));
        let found = (0..NAMESPACES).map(|index| self.simulation.sandbox.object(&path(index)));
        self.objects = found.collect::<Option<_>>().context("a workload is missing")?;
        ensure!(self.objects.len() == NAMESPACES);
        Ok(())
    }

    /// Changes workloads at a steady rate for some time.
    pub(crate) async fn change(&mut self, per_second: u32, time: Duration) -> Vec<Change> {
        let mut changes = Vec::new();
        let begin = Instant::now();
        let step = Duration::from_secs(1) / per_second;
        loop {
            let due = begin + step * u32::try_from(changes.len()).unwrap_or(u32::MAX);
            if due - begin >= time {
                return changes;
            }
            sleep_until(due).await;
            self.changes += 1;
            let namespace = usize::try_from(self.changes).unwrap_or(0) % NAMESPACES;
            let object = &mut self.objects[namespace];
            object["spec"]["replicas"] = json!(BASE + self.changes);
            changes.push(Change { namespace, number: self.changes, at: Instant::now() });
            self.simulation.sandbox.apply(object.clone());
        }
    }
}

/// Serves a sandbox over TCP; answers a kubeconfig that leads there.
pub(crate) async fn serve(sandbox: &Sandbox) -> Result<(JoinSet<()>, NamedTempFile)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut file = NamedTempFile::new()?;
    file.write_all(kubeconfig(listener.local_addr()?).as_bytes())?;
    let served = sandbox.clone();
    let mut serving = JoinSet::new();
    serving.spawn(async move { served.serve(listener).await });
    Ok((serving, file))
}

/// A connection to a server.
pub(crate) async fn connect(address: &str) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
    endpoint.connect().await.with_context(|| format!("cannot connect to {address}"))
}

/// Opens the stream of a migration.
pub(crate) async fn watch(
    channel: Channel,
    id: &str,
) -> Result<Streaming<proto::WatchMigrationResponse>> {
    let request = proto::WatchMigrationRequest { id: id.to_owned(), ..<_>::default() };
    Ok(Client::new(channel).watch_migration(request).await.map(Response::into_inner)?)
}

fn name(index: usize) -> String {
    format!("live-{index:02}")
}

fn index(name: &str) -> Option<usize> {
    name.strip_prefix("live-")?.parse().ok()
}

/// A client that reads its stream as fast as it can, and notes what it is told, and when.
pub(crate) struct Watcher {
    told: Arc<Mutex<Vec<Arrival>>>,
    _reading: JoinSet<()>,
}

impl Watcher {
    /// Reads `stream` from now on.
    pub(crate) fn of(mut stream: Streaming<proto::WatchMigrationResponse>) -> Self {
        let told = Arc::<Mutex<Vec<Arrival>>>::default();
        let noted = Arc::clone(&told);
        let mut reading = JoinSet::new();
        reading.spawn(async move {
            while let Ok(Some(message)) = stream.message().await {
                let at = Instant::now();
                let arrivals = message.progress.iter().filter_map(|progress| {
                    let number = progress.pods_total.checked_sub(BASE)?;
                    Some(Arrival { namespace: index(&progress.namespace)?, number, at })
                });
                noted.lock().unwrap_or_else(PoisonError::into_inner).extend(arrivals);
            }
        });
        Self { told, _reading: reading }
    }

    /// Milliseconds from each change until it, or a later one of its namespace, was told.
    pub(crate) async fn latencies(&self, changes: &[Change]) -> Result<Vec<f64>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(latencies) = latencies(changes, &told) {
                return Ok(latencies);
            }
            ensure!(Instant::now() < deadline, "a change was never told");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Forgets what was told so far.
    pub(crate) fn forget(&self) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn latencies(changes: &[Change], told: &[Arrival]) -> Option<Vec<f64>> {
    let mut latencies = Vec::with_capacity(changes.len());
    for namespace in 0..NAMESPACES {
        let mut told = told.iter().filter(|one| one.namespace == namespace).peekable();
        for change in changes.iter().filter(|one| one.namespace == namespace) {
            while told.next_if(|one| one.number < change.number).is_some() {}
            let first = told.peek()?;
            latencies.push(first.at.saturating_duration_since(change.at).as_secs_f64() * 1e3);
        }
    }
    Some(latencies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_change_counts_as_told_with_the_first_message_that_holds_it_or_a_later_one() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let change = |number, millis| Change { namespace: 3, number, at: at(millis) };
        let arrival = |namespace, number, millis| Arrival { namespace, number, at: at(millis) };
        let changes = [change(1, 0), change(2, 10), change(3, 20)];
        let told = [arrival(3, 1, 4), arrival(5, 9, 5), arrival(3, 3, 30)];
        assert_eq!(latencies(&changes, &told), Some(vec![4.0, 20.0, 10.0]));
        assert_eq!(latencies(&changes, &told[..2]), None);
    }
}
