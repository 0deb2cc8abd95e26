//! P1a: how long a whole migration takes, over what no scheduler can undercut, on the virtual clock.

mod bound;
mod mix;

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Namespace as NamespaceObject;
use kube::api::{Api, Patch, PatchParams};
use revshift_core::budget::Budgets;
use revshift_core::step::SETTLE;
use revshift_proto::v1 as proto;
use revshift_proto::v1::r#move::State as MoveState;
use revshift_sandbox::{Options, Sandbox};
use serde_json::json;
use tokio::time::{Instant, sleep};

use bound::Model;
use mix::{Kind, Mix, PATIENCE};

use crate::migration::{self, Client, in_automatic_waves, in_one_wave, seconds};
use crate::report::{Goal, Row, short};
use crate::simulation::{NEW, OLD, Simulation, cluster, in_virtual_time};

/// How many namespaces may move at once.
const CONCURRENCIES: [u32; 3] = [8, 32, 200];
/// istiod's own limit on 17 cores and more.
const STREAMS_PER_SECOND: u32 = 100;
/// How often the loop of the peer looks at a rollout.
const POLL: Duration = Duration::from_millis(250);

/// Every mix with every concurrency; the worst counts.
pub(crate) fn run(quick: bool, told: &mut dyn FnMut(&str)) -> Result<Vec<Row>> {
    let size = if quick { 200 } else { 1000 };
    let (mut rows, mut worst) = (Vec::new(), Worst::default());
    for mix in Mix::all(size) {
        let loops = in_virtual_time(one_by_one(&mix))??;
        told(&format!("P1a {} one by one: {} s", mix.name, loops.as_secs()));
        for concurrency in CONCURRENCIES {
            let bound = model(concurrency).bound(&mix).as_secs_f64();
            let spec = proto::MigrationSpec {
                failure_budget: u32::try_from(mix.failures())?,
                rollout_timeout: Some(seconds(PATIENCE.as_secs())),
                ..in_one_wave(mix.names())
            };
            let took = in_virtual_time(moved(&mix, concurrency, &spec))??.as_secs_f64();
            let what = format!("{}, C = {concurrency}", mix.name);
            told(&format!("P1a {what}: {took:.1} s, bound {bound:.1} s"));
            worst.see(took / bound, &what, loops.as_secs_f64() / bound);
            let peer = format!("one by one {}", short(loops.as_secs_f64() / bound));
            rows.push(Row::new("P1a", what, took / bound, "").beside(peer).limit("1"));
        }
    }
    let [uniform, ..] = &Mix::all(size);
    let bound = model(32).bound(uniform).as_secs_f64();
    let took = in_virtual_time(moved(uniform, 32, &in_automatic_waves()))??.as_secs_f64();
    let what = "uniform, C = 32, in the server's own waves";
    rows.push(Row::new("P1a", what, took / bound, "").limit("1"));
    let Worst { ratio, what, peer } = worst;
    let what = format!("makespan ÷ lower bound, worst: {what}, {size} namespaces");
    let headline = Row::new("P1a", what, ratio, "")
        .beside(format!("one by one {}", short(peer)))
        .limit("1")
        .goal(Goal::AtMost(1.05));
    rows.insert(0, headline);
    Ok(rows)
}

#[derive(Default)]
struct Worst {
    ratio: f64,
    what: String,
    peer: f64,
}

impl Worst {
    fn see(&mut self, ratio: f64, what: &str, peer: f64) {
        if ratio > self.ratio {
            *self = Self { ratio, what: what.to_owned(), peer };
        }
    }
}

fn options() -> Options {
    Options {
        streams_per_second: Some(STREAMS_PER_SECOND.into()),
        history: Some(20_000),
        ..Options::default()
    }
}

fn model(concurrency: u32) -> Model {
    Model {
        settle: SETTLE,
        termination: options().termination,
        patience: PATIENCE,
        concurrency: usize::try_from(concurrency).unwrap_or(usize::MAX),
        streams_per_second: STREAMS_PER_SECOND.into(),
    }
}

/// A cluster with the mix on the old plane, all ready that can be.
async fn populated(mix: &Mix) -> Result<Simulation> {
    let simulation = Simulation::start(cluster(options()));
    mix.create_namespaces(&simulation.sandbox);
    // Admission's view of namespaces lags.
    sleep(Duration::from_secs(1)).await;
    mix.create_workloads(&simulation.sandbox);
    let workloads = mix.namespaces.iter().flat_map(|one| &one.workloads);
    let expected: u32 = workloads.map(|one| one.replicas).sum();
    let expected = usize::try_from(expected)?;
    for _ in 0..60 {
        sleep(Duration::from_secs(30)).await;
        if ready_on(&simulation.sandbox, OLD) == expected {
            return Ok(simulation);
        }
    }
    bail!("{} does not become ready on the old plane", mix.name)
}

/// How long revshift takes, from the request to the end of the migration.
async fn moved(mix: &Mix, concurrency: u32, spec: &proto::MigrationSpec) -> Result<Duration> {
    let simulation = populated(mix).await?;
    let budgets = Budgets {
        namespaces: concurrency,
        // Only what the cluster itself limits is to limit.
        workloads: 100_000,
        pods: 1_000_000,
        pods_per_second: Some(STREAMS_PER_SECOND),
    };
    let server = simulation.serve(&budgets).await?;
    // Whoever starts a migration does so at a server that leads already.
    sleep(Duration::from_secs(5)).await;
    let mut client = Client::new(server.connect().await?);
    let begin = Instant::now();
    let id = migration::start(&mut client, spec).await?;
    let failures = mix.failures();
    // A migration with failures that nobody answers does not end, so its moves tell.
    let all = mix.namespaces.len();
    let over = |end: &migration::End| {
        end.count(MoveState::Moved) + end.count(MoveState::Failed) == all && failures > 0
    };
    let end = migration::follow(&mut client, &id, over).await?;
    let took = begin.elapsed();
    let (good, bad) = (end.count(MoveState::Moved), end.count(MoveState::Failed));
    ensure!(good == all - failures && bad == failures, "{good} moved, {bad} failed of {all}");
    on_target(&simulation.sandbox, mix)?;
    server.stop().await?;
    Ok(took)
}

/// The figure counts only if the end is the same.
fn on_target(sandbox: &Sandbox, mix: &Mix) -> Result<()> {
    let healthy = mix.namespaces.iter().flat_map(|one| &one.workloads).filter(|one| !one.fails);
    let expected: u32 = healthy.map(|one| one.replicas).sum();
    let good = ready_on(sandbox, NEW);
    ensure!(good == usize::try_from(expected)?, "{good} pods are ready on the target");
    Ok(())
}

/// How many pods are ready on a plane.
fn ready_on(sandbox: &Sandbox, plane: &str) -> usize {
    let pods = sandbox.objects("/api/v1/pods");
    let good = pods.iter().filter(|pod| {
        let ready = pod["status"]["conditions"].as_array().into_iter().flatten();
        let mut ready = ready.filter(|one| one["type"] == "Ready" && one["status"] == "True");
        let record = pod["metadata"]["annotations"]["sidecar.istio.io/status"].as_str();
        pod["metadata"]["deletionTimestamp"].is_null()
            && ready.next().is_some()
            && record.is_some_and(|record| record.contains(plane))
    });
    good.count()
}

/// How long a plain loop takes: relabel, restart, wait for the rollout, next.
async fn one_by_one(mix: &Mix) -> Result<Duration> {
    let simulation = populated(mix).await?;
    let client = kube::Client::new(simulation.sandbox.service("loop"), "default");
    let namespaces = Api::<NamespaceObject>::all(client.clone());
    let begin = Instant::now();
    for namespace in &mix.namespaces {
        let label = json!({ "metadata": { "labels": { "istio.io/rev": NEW } } });
        let params = PatchParams::default();
        namespaces.patch(&namespace.name, &params, &Patch::Merge(&label)).await?;
        // Whoever does not wait for admission restarts pods onto the old plane.
        sleep(SETTLE).await;
        for (index, workload) in namespace.workloads.iter().enumerate() {
            restart(&client, &namespace.name, &format!("app-{index}"), workload.kind).await?;
        }
        let since = Instant::now();
        while !rolled_out(&client, namespace).await? {
            if since.elapsed() >= PATIENCE && namespace.workloads.iter().any(|one| one.fails) {
                break;
            }
            sleep(POLL).await;
        }
    }
    let took = begin.elapsed();
    on_target(&simulation.sandbox, mix)?;
    Ok(took)
}

async fn restart(client: &kube::Client, namespace: &str, name: &str, kind: Kind) -> Result<()> {
    let annotations = json!({ "kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z" });
    let patch = json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } });
    let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
    match kind {
        Kind::Deployment => {
            let api = Api::<Deployment>::namespaced(client.clone(), namespace);
            api.patch(name, &params, &patch).await?;
        }
        Kind::StatefulSet => {
            let api = Api::<StatefulSet>::namespaced(client.clone(), namespace);
            api.patch(name, &params, &patch).await?;
        }
    }
    Ok(())
}

async fn rolled_out(client: &kube::Client, namespace: &mix::Namespace) -> Result<bool> {
    for (index, workload) in namespace.workloads.iter().enumerate() {
        let name = format!("app-{index}");
        let wanted = i32::try_from(workload.replicas)?;
        let (generation, observed, counts) = match workload.kind {
            Kind::Deployment => {
                let api = Api::<Deployment>::namespaced(client.clone(), &namespace.name);
                let found = api.get(&name).await?;
                let status = found.status.unwrap_or_default();
                let counts = [status.replicas, status.updated_replicas, status.available_replicas];
                (found.metadata.generation, status.observed_generation, counts)
            }
            Kind::StatefulSet => {
                let api = Api::<StatefulSet>::namespaced(client.clone(), &namespace.name);
                let found = api.get(&name).await?;
                let status = found.status.unwrap_or_default();
                let counts =
                    [Some(status.replicas), status.updated_replicas, status.available_replicas];
                (found.metadata.generation, status.observed_generation, counts)
            }
        };
        if generation != observed || counts.iter().any(|count| *count != Some(wanted)) {
            return Ok(false);
        }
    }
    Ok(true)
}
