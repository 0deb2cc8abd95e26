//! Two hundred namespaces, two servers, and the acting one killed twice. Whatever is said of it
//! afterwards, the API server's audit log alone says.

mod judge;

use std::{pin::pin, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::{apps::v1 as apps_v1, core::v1 as core_v1};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, PostParams},
    core::PartialObjectMeta,
};
use revshift_testbed::{RealBed, RealReplica, until};
use revshift_tests::Replica as _;
use serde_json::json;
use tokio::time::sleep;

use super::{
    Scenario,
    cli::Cli,
    workloads::{NEW, OLD, PATIENCE, deployment},
};
use judge::{Budgets, Expected};

const NAMESPACES: usize = 200;
const WORKLOAD: &str = "web";
/// A namespace that nobody asked to move.
const BYSTANDER: &str = "many-bystander";
/// Two replicas of the one workload.
const PODS: usize = 2;
/// The acting server is killed when so many namespaces carry the new label.
const KILLS: [usize; 2] = [30, 110];
/// Small enough to be reached all the time.
const BUDGETS: Budgets = Budgets { namespaces: 24, workloads: 16, pods: 32, pods_per_second: 12 };
/// Requests of the harness in flight.
const HANDS: usize = 8;

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "many/two_hundred_namespaces_survive_two_kills",
    run: |bed| story(bed).boxed_local(),
}];

async fn story(bed: &RealBed) -> Result<()> {
    let names: Vec<String> = (0..NAMESPACES).map(|index| format!("many-{index:03}")).collect();
    let all = names.iter().map(|name| (name.as_str(), "many"));
    populate(bed, all.chain([(BYSTANDER, "other")])).await?;
    let audit = bed.audit()?;
    let mut pair = vec![serve(bed, "deputy-0", 0).await?, serve(bed, "deputy-1", 0).await?];
    let cli = Cli::new(bed, format!("{},{}", pair[0].address(), pair[1].address()));
    let rule = ["migrate", "--from=cp-v113x", "--to=cp-v115x", "-l", "bed=many", "--approve-all"];
    {
        let mut following = pin!(cli.carried_out(&rule));
        tokio::select! {
            followed = &mut following => {
                followed?;
                anyhow::bail!("the migration ended before the kills");
            }
            killed = kill(bed, &mut pair) => killed?,
        }
        following.await.context("after the kills")?;
    }
    for replica in pair {
        Box::new(replica).stop().await?;
    }
    let expected = Expected { namespaces: &names, workload: WORKLOAD, pods: PODS, leaders: 3 };
    judge::judge(&audit.requests()?, &expected, BUDGETS)?;
    forget(bed, &names).await
}

/// Starts a server of its own name at the API server.
async fn serve(bed: &RealBed, deputy: &str, port: u16) -> Result<RealReplica> {
    let config = bed.run_dir().join("many.yaml");
    std::fs::write(&config, BUDGETS.config())?;
    let config = format!("--config={}", config.display());
    let listen = format!("--listen=127.0.0.1:{port}");
    let options = ["--install-crds", "--lease-seconds=6", &config, &listen];
    bed.launch_as(deputy, &options).await?.ready().await
}

/// Kills the acting one of the pair at each mark, and starts another in its place.
async fn kill(bed: &RealBed, pair: &mut Vec<RealReplica>) -> Result<()> {
    let namespaces = Api::<PartialObjectMeta<core_v1::Namespace>>::all(bed.client());
    let moved = ListParams::default().labels(&format!("bed=many,istio.io/rev={NEW}"));
    for (mark, heir) in KILLS.into_iter().zip(["deputy-2", "deputy-3"]) {
        until(&format!("{mark} namespaces on the new plane"), PATIENCE, async || {
            sleep(Duration::from_millis(200)).await;
            let moved = namespaces.list_metadata(&moved).await?.items.len();
            ensure!(moved >= mark, "{moved}");
            Ok(())
        })
        .await?;
        let leader = leader(pair).await?;
        let victim = pair.swap_remove(leader);
        let port = victim.address().rsplit(':').next().unwrap_or_default().parse()?;
        Box::new(victim).kill().await?;
        // The same port, so that the client's list of servers stays true.
        pair.push(serve(bed, heir, port).await?);
    }
    Ok(())
}

/// Which of them leads.
async fn leader(pair: &[RealReplica]) -> Result<usize> {
    until("a leader", PATIENCE, async || {
        for (index, replica) in pair.iter().enumerate() {
            let state = replica.state().await?;
            if state.leader == state.identity {
                return Ok(index);
            }
        }
        anyhow::bail!("nobody leads")
    })
    .await
}

/// Namespaces on the old plane, each with one workload, all ready.
async fn populate(bed: &RealBed, all: impl Iterator<Item = (&str, &str)>) -> Result<()> {
    let client = bed.client();
    futures::stream::iter(all)
        .map(async |(name, group)| {
            let labels = json!({"istio.io/rev": OLD, "bed": group});
            let namespace = json!({"metadata": {"name": name, "labels": labels}});
            let namespace: core_v1::Namespace = serde_json::from_value(namespace)?;
            Api::all(client.clone()).create(&PostParams::default(), &namespace).await?;
            let workload: apps_v1::Deployment = serde_json::from_value(deployment(WORKLOAD))?;
            let workloads = Api::namespaced(client.clone(), name);
            workloads.create(&PostParams::default(), &workload).await?;
            anyhow::Ok(())
        })
        .buffer_unordered(HANDS)
        .try_collect::<Vec<()>>()
        .await?;
    let workloads = Api::<apps_v1::Deployment>::all(client.clone());
    until("all workloads", PATIENCE, async || {
        sleep(Duration::from_millis(500)).await;
        let mut all = workloads.list(&ListParams::default()).await?.items;
        all.retain(|one| one.namespace().is_some_and(|name| name.starts_with("many-")));
        let ready = |one: &apps_v1::Deployment| {
            let status = one.status.as_ref();
            status.and_then(|status| status.ready_replicas) == i32::try_from(PODS).ok()
        };
        let ready = all.iter().filter(|one| ready(one)).count();
        ensure!(ready == NAMESPACES + 1, "{ready} are ready");
        Ok(())
    })
    .await
}

/// Takes the workloads away, whose pods would only cost others time.
async fn forget(bed: &RealBed, names: &[String]) -> Result<()> {
    let client = bed.client();
    let all = names.iter().map(String::as_str).chain([BYSTANDER]);
    futures::stream::iter(all)
        .map(async |name| {
            let namespaces = Api::<core_v1::Namespace>::all(client.clone());
            namespaces.delete(name, &<_>::default()).await.map(drop)
        })
        .buffer_unordered(HANDS)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}
