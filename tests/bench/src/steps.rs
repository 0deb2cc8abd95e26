//! P8: what the engine does for one change of the cluster, in instructions and allocations, as callgrind
//! counts them, against a committed baseline.
//!
//! A simulated migration is stopped half way, and its cluster handed to an engine in a process of its
//! own, which takes in so many changes, one at a time. Two runs with different numbers of changes
//! differ only by those changes.

mod callgrind;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::DynamicObject;
use kube::core::PartialObjectMeta;
use revshift_core::budget::Budgets;
use revshift_core::cluster::{Change, Key, Kind, Object};
use revshift_core::plane::Source;
use revshift_core::workload::WorkloadKind;
use revshift_proto::v1 as proto;
use revshift_proto::v1::r#move::State as MoveState;
use revshift_sandbox::{Options, fixtures};
use revshift_server::clock::Clock;
use revshift_server::config::Config;
use revshift_server::definitions::Definitions;
use revshift_server::engine::{Engine, Parts};
use revshift_server::kube::announcer::announcer;
use revshift_server::kube::call::Caller;
use revshift_server::kube::census::Counter;
use revshift_server::kube::crd::{Migration, MigrationShard};
use revshift_server::kube::lease::{Eligibility, Holder, Leadership};
use revshift_server::kube::observe;
use revshift_server::kube::retirements::Retirements;
use revshift_server::kube::store::Store;
use revshift_server::kube::watch::{Observed, Records, WATCHED};
use revshift_server::prober::Prober;
use revshift_server::proxies::Proxies;
use revshift_server::published::Published;
use revshift_server::web;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::measure::figure;
use crate::migration::{self, Client, in_one_wave, seconds};
use crate::report::{Goal, Row, short};
use crate::simulation::{NEW, OLD, Simulation, cluster, config, in_virtual_time};
use callgrind::Counts;

/// Namespaces of the migration.
const NAMESPACES: usize = 200;
/// Of them, under way at once.
const UNDER_WAY: u32 = 32;
/// Changes of the shorter run, and of the longer one.
const CHANGES: [u64; 2] = [40, 240];

/// What the cluster holds, by the paths of its collections.
type Fixture = BTreeMap<String, Vec<Value>>;

/// What a step took when the baseline was made.
#[derive(Debug, Deserialize, Serialize)]
struct Baseline {
    instructions: f64,
    allocations: f64,
}

/// Where the baseline is in the sources.
fn baseline() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("baseline.json")
}

/// Instructions and allocations over those of the baseline; `renew` makes them the baseline.
pub(crate) fn run(renew: bool, told: &mut dyn FnMut(&str)) -> Result<Vec<Row>> {
    let fixture = in_virtual_time(stopped())??;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("cluster.json");
    std::fs::write(&path, serde_json::to_string(&fixture)?)?;
    let mut counts = Vec::new();
    for changes in CHANGES {
        counts.push(callgrind::count(&path, changes, folder.path())?);
    }
    let changes = figure(CHANGES[1] - CHANGES[0]);
    let per_change =
        |of: fn(&Counts) -> u64| figure(of(&counts[1]).saturating_sub(of(&counts[0]))) / changes;
    let now = Baseline {
        instructions: per_change(|counts| counts.instructions),
        allocations: per_change(|counts| counts.allocations),
    };
    told(&format!("P8 {now:?}"));
    if renew {
        std::fs::write(baseline(), serde_json::to_string_pretty(&now)? + "\n")?;
    }
    let text = std::fs::read_to_string(baseline()).context("no baseline")?;
    let before: Baseline = serde_json::from_str(&text).context("the baseline is malformed")?;
    let row = |what: &str, now: f64, before: f64| {
        let what = format!("{what} of an engine step ÷ baseline ({})", short(now));
        Row::new("P8", what, now / before, "")
            .beside(format!("baseline {}", short(before)))
            .goal(Goal::Within(0.02))
    };
    Ok(vec![
        row("instructions", now.instructions, before.instructions),
        row("allocations", now.allocations, before.allocations),
    ])
}

const PATHS: [&str; 7] = [
    "/api/v1/namespaces",
    "/api/v1/pods",
    "/apis/apps/v1/deployments",
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
    "/apis/servicemesh.cisco.com/v1alpha1/istiocontrolplanes",
    "/apis/revshift.dev/v1alpha1/migrations",
    "/apis/revshift.dev/v1alpha1/migrationshards",
];

/// A cluster whose migration stands still: what is under way never becomes ready.
async fn stopped() -> Result<Fixture> {
    let simulation = Simulation::start(cluster(Options::default()));
    let names: Vec<String> = (0..NAMESPACES).map(|index| format!("n-{index:03}")).collect();
    for name in &names {
        simulation.sandbox.apply(fixtures::namespace(name, &[("istio.io/rev", OLD)]));
    }
    sleep(Duration::from_secs(1)).await;
    for name in &names {
        for workload in ["web", "api"] {
            let mut object = fixtures::deployment(name, workload, 2);
            let labels = &mut object["spec"]["template"]["metadata"]["labels"];
            labels["bed.revshift.dev/fails"] = json!("never-ready");
            labels["bed.revshift.dev/fails-on"] = json!(NEW);
            simulation.sandbox.apply(object);
        }
    }
    sleep(Duration::from_secs(10)).await;
    let server = simulation.serve(&budgets()).await?;
    let mut client = Client::new(server.connect().await?);
    let spec =
        proto::MigrationSpec { rollout_timeout: Some(seconds(24 * 3600)), ..in_one_wave(names) };
    let id = migration::start(&mut client, &spec).await?;
    let held = |end: &migration::End| {
        end.count(MoveState::Restarting) == usize::try_from(UNDER_WAY).unwrap_or(usize::MAX)
    };
    migration::follow(&mut client, &id, held).await?;
    sleep(Duration::from_secs(30)).await;
    Ok(PATHS.map(|path| (path.to_owned(), simulation.sandbox.objects(path))).into())
}

fn budgets() -> Budgets {
    Budgets { namespaces: UNDER_WAY, pods_per_second: Some(1000), ..Budgets::default() }
}

/// The engine's part: takes in as many changes of the cluster in the file as `changes` says.
pub(crate) fn play(path: &Path, changes: Option<&OsString>) -> Result<()> {
    let fixture: Fixture = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let changes = changes.and_then(|text| text.to_str()?.parse().ok()).context("how many?")?;
    in_virtual_time(drive(&fixture, changes))?
}

async fn drive(fixture: &Fixture, count: usize) -> Result<()> {
    let published = Arc::new(Published::default());
    let mut version = published.subscribe();
    let (sender, observed) = mpsc::channel(16);
    let shards: Vec<MigrationShard> = all(fixture, PATHS[6])?;
    let epoch = shards.iter().filter_map(|shard| shard.status.as_ref()).map(|one| one.epoch).max();
    let far = Instant::now() + Duration::from_hours(1);
    let leadership = Leadership {
        epoch: epoch.context("no shard was stored")?,
        valid_until: far,
        lease_until: far,
    };
    let (_leading, leadership) = watch::channel(Some(leadership));
    let (_holder, holder) = watch::channel(Holder(Some("bench".to_owned())));
    let (eligible, _candidate) = watch::channel(Eligibility::default());
    let (_config, configured): (_, watch::Receiver<Config>) = watch::channel(config(&budgets()));
    // Nothing is to be called for, and nothing would be answered.
    let silent = tower::service_fn(|_: http::Request<kube::client::Body>| {
        std::future::pending::<Result<http::Response<kube::client::Body>, tower::BoxError>>()
    });
    let client = kube::Client::new(silent, "default");
    let web = web::nowhere();
    let proxies = Proxies::new(web.clone(), client.clone(), configured.clone());
    let engine = Engine::new(Parts {
        published: Arc::clone(&published),
        observed,
        leadership,
        holder,
        eligible,
        caller: Caller::new(client.clone()),
        announcer: announcer(client.clone()).0,
        prober: Prober::new(
            web,
            client.clone(),
            "revshift-system",
            proxies.clone(),
            Arc::clone(&published),
        ),
        proxies,
        store: Store::new(&client),
        retirements: Retirements::new(&client),
        counter: Counter::new(client),
        config: configured,
        clock: Clock::starting_at(Timestamp::UNIX_EPOCH),
    });
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(engine.run(shutdown.clone()));
    for first in beginning(fixture, shards)? {
        sender.send(first).await?;
    }
    while !published.read().ready {
        version.changed().await?;
    }
    let changes = changes(fixture)?;
    for round in 0..count {
        version.mark_unchanged();
        sender.send(changes(round)?).await?;
        version.changed().await?;
    }
    shutdown.cancel();
    running.await.context("the engine panicked")
}

/// Everything that is known at first.
fn beginning(fixture: &Fixture, shards: Vec<MigrationShard>) -> Result<Vec<Observed>> {
    let held = [
        (Kind::Namespace, converted::<Namespace>(fixture, PATHS[0], observe::namespace)?),
        (Kind::Pod, converted::<PartialObjectMeta<Pod>>(fixture, PATHS[1], observe::pod)?),
        (
            Kind::Workload(WorkloadKind::Deployment),
            converted::<Deployment>(fixture, PATHS[2], observe::deployment)?,
        ),
        (
            Kind::Injector,
            converted::<MutatingWebhookConfiguration>(fixture, PATHS[3], observe::injectors)?,
        ),
        (
            Kind::Plane(Source::Calisti),
            converted::<DynamicObject>(fixture, PATHS[4], observe::calisti_plane)?,
        ),
    ];
    // The engine does nothing before it has heard of every kind.
    let mut objects = BTreeMap::from(WATCHED.map(|kind| (kind, Vec::new())));
    objects.extend(held);
    let listed = |(kind, objects)| Observed::Cluster(Change::Listed(kind, objects));
    let mut all: Vec<Observed> = objects.into_iter().map(listed).collect();
    all.push(Observed::Definitions(Definitions::Current));
    all.push(Observed::Migrations(Records::Listed(self::all::<Migration>(fixture, PATHS[5])?)));
    all.push(Observed::Shards(Records::Listed(shards)));
    all.push(Observed::Retirements(Records::Listed(Vec::new())));
    Ok(all)
}

/// The changes: by turns the status of a workload that rolls, and one of its pods.
fn changes(fixture: &Fixture) -> Result<impl Fn(usize) -> Result<Observed>> {
    let rolling = |object: &&Value| {
        !object["spec"]["template"]["metadata"]["annotations"]["revshift.dev/restart"].is_null()
    };
    let workloads: Vec<Value> = of(fixture, PATHS[2]).iter().filter(rolling).cloned().collect();
    let made =
        |object: &&Value| !object["metadata"]["annotations"]["revshift.dev/restart"].is_null();
    let pods: Vec<Value> = of(fixture, PATHS[1]).iter().filter(made).cloned().collect();
    ensure!(!workloads.is_empty() && !pods.is_empty(), "nothing is under way");
    Ok(move |round: usize| {
        let version = json!((1_000_000 + round).to_string());
        let place = round / 2;
        Ok(Observed::Cluster(if round.is_multiple_of(2) {
            let mut object = workloads[place % workloads.len()].clone();
            object["metadata"]["resourceVersion"] = version;
            object["status"]["availableReplicas"] = json!(place / workloads.len() % 2);
            let object: Deployment = serde_json::from_value(object)?;
            let kind = Kind::Workload(WorkloadKind::Deployment);
            Change::Set(kind, observe::key(&object), observe::deployment(&object))
        } else {
            let mut object = pods[place % pods.len()].clone();
            object["metadata"]["resourceVersion"] = version;
            let object: PartialObjectMeta<Pod> = serde_json::from_value(object)?;
            Change::Set(Kind::Pod, observe::key(&object), observe::pod(&object))
        }))
    })
}

fn of<'a>(fixture: &'a Fixture, path: &str) -> &'a [Value] {
    fixture.get(path).map_or(&[], Vec::as_slice)
}

fn all<K: DeserializeOwned>(fixture: &Fixture, path: &str) -> Result<Vec<K>> {
    let objects = of(fixture, path).iter().cloned().map(serde_json::from_value);
    objects.collect::<Result<_, _>>().with_context(|| format!("an object of {path}"))
}

fn converted<K: kube::Resource + DeserializeOwned>(
    fixture: &Fixture,
    path: &str,
    convert: fn(&K) -> Object,
) -> Result<Vec<(Key, Object)>> {
    let objects: Vec<K> = all(fixture, path)?;
    Ok(objects.iter().map(|object| (observe::key(object), convert(object))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_takes_its_steps() {
        in_virtual_time(async {
            let fixture = stopped().await.unwrap();
            tokio::time::timeout(Duration::from_mins(1), drive(&fixture, 4))
                .await
                .unwrap()
                .unwrap();
        })
        .unwrap();
    }
}
