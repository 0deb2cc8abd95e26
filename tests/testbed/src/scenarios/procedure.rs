//! Calisti's procedure for upgrading business applications, from its first sentence to its last,
//! with revshift beside kubectl.

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt as _;
use k8s_openapi::api::core::v1 as core_v1;
use kube::{Api, ResourceExt as _};
use revshift_testbed::{RealBed, until};
use revshift_tests::Replica as _;
use serde_json::json;

use super::{
    Scenario,
    cli::Cli,
    workloads::{NEW, OLD, PATIENCE, arrive, connected, labels, on_plane, put, workload},
};

const NAMESPACE: &str = "smm-demo";
/// Six of bookinfo, two of the StatefulSet, and one of the DaemonSet on the only node.
const PODS: usize = 9;

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "procedure/smm_demo_moves_is_rolled_back_and_moves_again",
    run: |bed| procedure(bed).boxed_local(),
}];

async fn procedure(bed: &RealBed) -> Result<()> {
    let server = bed.serve("127.0.0.1:0").await?;
    let cli = Cli::new(bed, server.address());
    attach(bed).await?;
    planes(bed, &cli).await?;
    discovery(bed).await?;
    check(bed, &cli).await?;

    let before = labels(bed, NAMESPACE).await?;
    let migrate = ["migrate", "--from=cp-v113x", "--to=cp-v115x", "-n", NAMESPACE];
    let first = restarted_once(bed, async || cli.carried_out(&migrate).await).await?;
    attached(bed, &cli, NEW, OLD).await?;

    let reason = "productpage answers slowly";
    let rollback = ["rollback", &first, "--reason", reason];
    let back = restarted_once(bed, async || cli.carried_out(&rollback).await).await?;
    attached(bed, &cli, OLD, NEW).await?;
    let after = labels(bed, NAMESPACE).await?;
    ensure!(after == before, "the labels were {before:?} and are {after:?}");

    let again = restarted_once(bed, async || cli.carried_out(&migrate).await).await?;
    attached(bed, &cli, NEW, OLD).await?;
    records(bed, &[&first, &back, &again], reason).await?;

    by_hand(bed, &cli, OLD, NEW).await?;
    by_hand(bed, &cli, NEW, OLD).await?;
    Box::new(server).stop().await
}

/// The application on the old plane: bookinfo, with the kinds of controllers that it lacks.
async fn attach(bed: &RealBed) -> Result<()> {
    bed.namespace(NAMESPACE, &[("istio.io/rev", OLD), ("team", "demo")]).await?;
    bed.deploy_bookinfo(NAMESPACE).await?;
    let store = workload("StatefulSet", "store", json!({"replicas": 2, "serviceName": "store"}));
    put(bed, NAMESPACE, &[store, workload("DaemonSet", "agent", json!({}))]).await?;
    arrive(bed, NAMESPACE, OLD, PODS).await?;
    connected(bed, NAMESPACE, OLD, NEW).await?;
    let shown = bed.kubectl(&["get", "ns", NAMESPACE, "-o", "yaml"]).await?;
    ensure!(shown.contains(&format!("    istio.io/rev: {OLD}\n")), "{shown}");
    Ok(())
}

/// revshift lists the planes as kubectl does, and more.
async fn planes(bed: &RealBed, cli: &Cli<'_>) -> Result<()> {
    // The ages of two calls may differ by a second.
    until("the same cells in both lists", PATIENCE, async || {
        let theirs = bed.kubectl(&["get", "istiocontrolplanes", "-n", "istio-system"]).await?;
        let ours = cli.done(&["planes"]).await?;
        let columns = cells(&theirs).first().map_or(0, Vec::len);
        let cut = cells(&ours).into_iter().map(|row| row.into_iter().take(columns).collect());
        let cut: Vec<Vec<String>> = cut.collect();
        ensure!(columns == 8 && cells(&theirs) == cut, "{theirs}\n{ours}");
        Ok(())
    })
    .await?;
    let ours = cells(&cli.done(&["planes"]).await?);
    for (row, revision, version) in [(1, OLD, "1.13.5"), (2, NEW, "1.15.3")] {
        let more = &ours.get(row).context("a plane is missing")?[8..];
        ensure!(more[..2] == [revision, version], "{more:?}");
    }
    Ok(())
}

/// The cells of a table, by the places of its headers, of which some contain a single blank.
fn cells(table: &str) -> Vec<Vec<String>> {
    let header = table.lines().next().unwrap_or_default();
    let starts = header.char_indices().map(|(at, _)| at);
    let starts: Vec<usize> = starts
        .filter(|at| {
            let gap = header[..*at].is_empty() || header[..*at].ends_with("  ");
            gap && !header[*at..].starts_with(' ')
        })
        .collect();
    let row = |line: &str| {
        let ends = starts.iter().skip(1).copied().chain([usize::MAX]);
        let cells = starts.iter().zip(ends);
        cells
            .map(|(start, end)| {
                let cell = line.get(*start..end.min(line.len())).unwrap_or_default();
                cell.trim().to_owned()
            })
            .collect()
    };
    table.lines().map(row).collect()
}

/// Both planes know the services of every namespace, whichever injects there.
async fn discovery(bed: &RealBed) -> Result<()> {
    for revision in [OLD, NEW] {
        let services = bed.istiod(revision)?.get("/debug/registryz").await?;
        for host in ["productpage.smm-demo.svc.cluster.local", "kubernetes.default.svc"] {
            ensure!(services.contains(host), "{revision} does not know {host}");
        }
    }
    Ok(())
}

/// What would be done is shown, and nothing is touched.
async fn check(bed: &RealBed, cli: &Cli<'_>) -> Result<()> {
    let namespaces = Api::<core_v1::Namespace>::all(bed.client());
    let before = namespaces.get(NAMESPACE).await?.resource_version();
    let args = ["migrate", "--from=cp-v113x", "--to=cp-v115x", "-n", NAMESPACE, "--dry-run"];
    let plan = cli.done(&args).await?;
    for part in [NAMESPACE, "productpage-v1", "store", "agent"] {
        ensure!(plan.contains(part), "the plan lacks {part}:\n{plan}");
    }
    ensure!(namespaces.get(NAMESPACE).await?.resource_version() == before, "it was touched");
    on_plane(bed, NAMESPACE, OLD, PODS).await
}

/// Runs one move, during which every pod must be replaced once, whatever owns it.
async fn restarted_once<T>(bed: &RealBed, story: impl AsyncFnOnce() -> Result<T>) -> Result<T> {
    let audit = bed.audit()?;
    let result = story().await?;
    let created = audit.pods_created(NAMESPACE)?;
    ensure!(created == PODS, "{created} pods were created for {PODS}");
    Ok(result)
}

/// Everything is at one plane and nothing at the other, by everybody's account.
async fn attached(bed: &RealBed, cli: &Cli<'_>, to: &str, from: &str) -> Result<()> {
    // revshift ends when all pods are ready and injected, so there is nothing to wait for.
    on_plane(bed, NAMESPACE, to, PODS).await?;
    connected(bed, NAMESPACE, to, from).await?;
    let shown = bed.kubectl(&["get", "ns", NAMESPACE, "-L", "istio.io/rev"]).await?;
    ensure!(shown.contains(to), "{shown}");
    shows(cli, to, "ATTACHED").await
}

/// `revshift namespaces` shows the namespace so.
async fn shows(cli: &Cli<'_>, plane: &str, state: &str) -> Result<()> {
    until(&format!("{NAMESPACE} as {state} to {plane}"), PATIENCE, async || {
        let shown = cli.done(&["namespaces"]).await?;
        let rows = cells(&shown);
        let row = rows.iter().find(|row| row[0] == NAMESPACE).context("it is not listed")?;
        let label = format!("istio.io/rev={plane}");
        ensure!(row[1] == label && row[3] == plane && row[5] == state, "{row:?}");
        Ok(())
    })
    .await
}

/// kubectl alone tells what was done.
async fn records(bed: &RealBed, ids: &[&String], reason: &str) -> Result<()> {
    let args = ["get", "migrations", "--sort-by=.metadata.creationTimestamp", "-o", "wide"];
    let table = cells(&bed.kubectl(&args).await?);
    let header = ["NAME", "FROM", "TO", "STATE", "MOVED", "FAILED", "TOTAL", "HELD-BY", "UNTIL"];
    ensure!(table[0][..9] == header && table[0][9..] == ["REASON", "AGE"], "{:?}", table[0]);
    for (index, id) in ids.iter().enumerate() {
        let row = table.iter().find(|row| row[0] == **id).context("a migration is missing")?;
        let (from, to, reason) = if index == 1 { (NEW, OLD, reason) } else { (OLD, NEW, "") };
        ensure!(row[1..10] == [from, to, "SUCCEEDED", "1", "0", "1", "", "", reason], "{row:?}");
    }
    let shards = cells(&bed.kubectl(&["get", "migrationshards"]).await?);
    ensure!(shards[0] == ["NAME", "MIGRATION", "EPOCH", "AGE"], "{:?}", shards[0]);
    for id in ids {
        let row = shards.iter().find(|row| row[1] == **id).context("a shard is missing")?;
        ensure!(row[2].parse::<u32>().is_ok_and(|epoch| epoch > 0), "{row:?}");
    }
    Ok(())
}

/// The procedure's own commands work beside revshift, which sees what they do.
async fn by_hand(bed: &RealBed, cli: &Cli<'_>, to: &str, from: &str) -> Result<()> {
    let label = format!("istio.io/rev={to}");
    let said = bed.kubectl(&["label", "ns", NAMESPACE, &label, "--overwrite"]).await?;
    ensure!(said == format!("namespace/{NAMESPACE} labeled\n"), "{said}");
    shows(cli, to, "PENDING_RESTART").await?;
    let kinds = "deployment,statefulset,daemonset";
    // kubectl refuses a second restart within the same second.
    until("a restart", PATIENCE, async || {
        bed.kubectl(&["rollout", "restart", kinds, "-n", NAMESPACE]).await
    })
    .await?;
    bed.kubectl(&["rollout", "status", kinds, "-n", NAMESPACE]).await?;
    arrive(bed, NAMESPACE, to, PODS).await?;
    attached(bed, cli, to, from).await
}
