//! P9: what an API server that admits only so many requests a second, and takes ten times as long for
//! each, gets done. Counted at the API server, on the virtual clock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::client::retry::RetryPolicy;
use revshift_core::budget::Budgets;
use revshift_core::step::SETTLE;
use revshift_proto::v1::r#move::State as MoveState;
use revshift_sandbox::{Exchange, Options, Verdict, fixtures};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tower::{BoxError, Layer as _, Service as _, retry::RetryLayer};

use crate::measure::figure;
use crate::migration::{self, Client, in_one_wave};
use crate::report::{Goal, Row, short};
use crate::simulation::{NEW, OLD, Simulation, cluster, in_virtual_time};

/// Requests that the API server admits in a second, and at once.
const CAPACITY: f64 = 20.0;
/// Ten times what a request takes otherwise.
const LATENCY: Duration = Duration::from_millis(20);
const WORKLOADS: [&str; 2] = ["web", "api"];
/// Of what has to be written, so much is written while there is more to do than may be done.
const LOADED: f64 = 0.9;

/// revshift beside a program that leaves everything to kube's retries.
pub(crate) fn run(quick: bool, told: &mut dyn FnMut(&str)) -> Result<Vec<Row>> {
    let size = if quick { 100 } else { 400 };
    let ours = in_virtual_time(ours(size))??;
    told(&format!("P9 revshift: {ours:?}"));
    let theirs = in_virtual_time(theirs(size))??;
    told(&format!("P9 kube's retries: {theirs:?}"));
    let what = format!(
        "goodput ÷ capacity of {CAPACITY} requests/s under 429s and 10 × latency, {size} namespaces"
    );
    let beside = |figure: f64| format!("kube's default retry {}", short(figure));
    Ok(vec![
        Row::new("P9", what, ours.goodput(), "")
            .beside(beside(theirs.goodput()))
            .limit("1")
            .goal(Goal::AtLeast(0.9)),
        Row::new("P9", "requests ÷ requests that were admitted", ours.tries(), "")
            .beside(beside(theirs.tries()))
            .limit("1")
            .goal(Goal::AtMost(1.2)),
        Row::new("P9", "until 90 % of the relabels and restarts were made", ours.seconds(), "s")
            .beside(format!("kube's default retry {} s", short(theirs.seconds()))),
    ])
}

/// What the API server counted until most of the work was done.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    admitted: u64,
    refused: u64,
    took: Duration,
}

impl Count {
    fn goodput(&self) -> f64 {
        // The first second's worth was there at once.
        figure(self.admitted) / (CAPACITY * (1.0 + self.took.as_secs_f64()))
    }

    fn tries(&self) -> f64 {
        figure(self.admitted + self.refused) / figure(self.admitted)
    }

    fn seconds(&self) -> f64 {
        self.took.as_secs_f64()
    }
}

/// Admits requests as long as there is room for them.
#[derive(Debug)]
struct Gate {
    tokens: f64,
    filled: Instant,
    began: Instant,
    /// Relabels and restarts that are still to be made before the count ends.
    left: usize,
    count: Count,
}

impl Gate {
    fn new(left: usize) -> Self {
        let now = Instant::now();
        // As much as fits into a second: nothing was asked before.
        Self { tokens: CAPACITY, filled: now, began: now, left, count: Count::default() }
    }

    fn judge(&mut self, exchange: &Exchange) -> Verdict {
        // The Lease has seats of its own, and watches are admitted once and for all.
        if exchange.path.contains("/leases/") || exchange.verb == "watch" {
            return Verdict::Pass;
        }
        let now = Instant::now();
        let since = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.tokens = (self.tokens + since * CAPACITY).min(CAPACITY);
        let counted = self.left > 0;
        if self.tokens < 1.0 {
            self.count.refused += u64::from(counted);
            return Verdict::Throttle { retry_after: Some(1) };
        }
        self.tokens -= 1.0;
        if counted {
            self.count.admitted += 1;
            let ours = ["/api/v1/namespaces/", "/apis/apps/v1/"];
            let work = ours.iter().any(|prefix| exchange.path.starts_with(prefix));
            if exchange.verb == "patch" && work {
                self.left -= 1;
                self.count.took = now - self.began;
            }
        }
        Verdict::Delay(LATENCY)
    }
}

async fn populated(size: usize) -> (Simulation, Vec<String>) {
    let simulation =
        Simulation::start(cluster(Options { history: Some(20_000), ..<_>::default() }));
    let names: Vec<String> = (0..size).map(|index| format!("n-{index:04}")).collect();
    for name in &names {
        simulation.sandbox.apply(fixtures::namespace(name, &[("istio.io/rev", OLD)]));
    }
    sleep(Duration::from_secs(1)).await;
    for name in &names {
        for workload in WORKLOADS {
            simulation.sandbox.apply(fixtures::deployment(name, workload, 2));
        }
    }
    sleep(Duration::from_secs(30)).await;
    (simulation, names)
}

/// Narrows the API server from now on.
fn narrow(simulation: &Simulation, namespaces: usize) -> Arc<Mutex<Gate>> {
    let work = namespaces * (1 + WORKLOADS.len());
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a few thousands"
    )]
    let gate = Arc::new(Mutex::new(Gate::new((work as f64 * LOADED) as usize)));
    let judge = Arc::clone(&gate);
    simulation.sandbox.intercept(move |exchange| {
        judge.lock().unwrap_or_else(PoisonError::into_inner).judge(exchange)
    });
    gate
}

fn counted(gate: &Mutex<Gate>) -> Result<Count> {
    let gate = gate.lock().unwrap_or_else(PoisonError::into_inner);
    ensure!(gate.left == 0, "{} writes were never made", gate.left);
    ensure!(gate.count.refused > 0, "nothing was refused, so nothing was overloaded");
    Ok(gate.count)
}

async fn ours(size: usize) -> Result<Count> {
    let (simulation, names) = populated(size).await;
    // Nothing but the API server is to limit.
    let budgets = Budgets {
        namespaces: 200,
        workloads: 10_000,
        pods: 100_000,
        pods_per_second: Some(10_000),
    };
    let server = simulation.serve(&budgets).await?;
    sleep(Duration::from_secs(5)).await;
    let mut client = Client::new(server.connect().await?);
    let id = migration::start(&mut client, &in_one_wave(names)).await?;
    let gate = narrow(&simulation, size);
    let end = migration::follow(&mut client, &id, |end| end.count(MoveState::Failed) > 0).await?;
    let moved = end.count(MoveState::Moved);
    ensure!(moved == size, "{moved} of {size} moved");
    let count = counted(&gate)?;
    server.stop().await?;
    Ok(count)
}

async fn theirs(size: usize) -> Result<Count> {
    let (simulation, names) = populated(size).await;
    let gate = narrow(&simulation, size);
    let api = simulation.sandbox.service("peer");
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let answered = api.clone().call(request);
        async move { answered.await.map_err(BoxError::from) }
    });
    let service = RetryLayer::new(RetryPolicy::default()).layer(service);
    let client = kube::Client::new(service, "default");
    let moves = futures::stream::iter(&names).map(|name| by_hand(client.clone(), name));
    let moves: Vec<Result<()>> = moves.buffer_unordered(200).collect().await;
    moves.into_iter().collect::<Result<Vec<()>>>()?;
    counted(&gate)
}

/// The same calls, each again and again until it is done.
async fn by_hand(client: kube::Client, name: &str) -> Result<()> {
    let namespaces = Api::<Namespace>::all(client.clone());
    let label = json!({ "metadata": { "labels": { "istio.io/rev": NEW } } });
    insist(async || patch(&namespaces, name, &label).await).await?;
    sleep(SETTLE).await;
    let deployments = Api::<Deployment>::namespaced(client.clone(), name);
    let annotations = json!({ "kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z" });
    let restart = json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } });
    for workload in WORKLOADS {
        insist(async || patch(&deployments, workload, &restart).await).await?;
    }
    let pods = Api::<Pod>::namespaced(client, name);
    insist(async || pods.list(&ListParams::default()).await.map(drop)).await
}

async fn patch<K>(api: &Api<K>, name: &str, patch: &Value) -> kube::Result<()>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
}

async fn insist(mut call: impl AsyncFnMut() -> kube::Result<()>) -> Result<()> {
    loop {
        match call().await {
            Ok(()) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 429 => {}
            Err(error) => return Err(error).context("the peer's call failed"),
        }
    }
}
