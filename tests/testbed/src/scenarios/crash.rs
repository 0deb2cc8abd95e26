//! kill -9 of servers at many points of one migration, followed by a client that is never told.
//! The judge is the API server's audit log: whatever died when, nothing was done twice.

use std::{collections::BTreeMap, pin::pin};

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt as _;
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use revshift_testbed::{Audit, RealBed, RealReplica, Request, until};
use revshift_tests::Replica as _;

use super::{
    Scenario,
    cli::Cli,
    workloads::{NEW, OLD, PATIENCE, arrive, deployment, generation, labels, on_plane, put},
};

const NAMESPACES: [&str; 6] = ["twice-a", "twice-b", "twice-c", "twice-d", "twice-e", "twice-f"];
const WORKLOADS: [&str; 2] = ["web", "api"];
/// Two replicas of each workload.
const PODS: usize = 4;
const KILLS: usize = 8;
/// At most so many writes of the server lie between two kills.
const MOST_WRITES: usize = 7;
/// Chosen once; what it leads to still differs from run to run, as the cluster's pace does.
const SEED: u64 = 0x5eed;

pub(crate) const SCENARIOS: &[Scenario] =
    &[Scenario { name: "crash/nothing_is_done_twice", run: |bed| story(bed).boxed_local() }];

async fn story(bed: &RealBed) -> Result<()> {
    for namespace in NAMESPACES {
        bed.namespace(namespace, &[("istio.io/rev", OLD)]).await?;
        put(bed, namespace, &WORKLOADS.map(deployment)).await?;
    }
    let mut generations = BTreeMap::new();
    for namespace in NAMESPACES {
        arrive(bed, namespace, OLD, PODS).await?;
        for name in WORKLOADS {
            generations.insert((namespace, name), generation(bed, namespace, name).await?);
        }
    }
    let audit = bed.audit()?;
    let mut pair = vec![bed.serve("127.0.0.1:0").await?, bed.serve("127.0.0.1:0").await?];
    let cli = Cli::new(bed, format!("{},{}", pair[0].address(), pair[1].address()));
    let selection = NAMESPACES.map(|namespace| format!("--namespace={namespace}"));
    let mut migrate = vec!["migrate", "--from=cp-v113x", "--to=cp-v115x"];
    migrate.extend(selection.iter().map(String::as_str));

    let mut kills = 0;
    let id = {
        // The client loses its stream time and again, and must still see the end.
        let mut following = pin!(cli.carried_out(&migrate));
        let followed = tokio::select! {
            followed = &mut following => followed,
            killed = kill(bed, &audit, &mut pair, &mut kills) => match killed {
                Ok(()) => following.await,
                Err(error) => Err(error),
            },
        };
        followed.with_context(|| format!("after {kills} kills"))?
    };
    ensure!(kills == KILLS, "the migration ended after {kills} kills");
    let status = cli.done(&["status", &id]).await?;
    ensure!(status.contains("SUCCEEDED"), "{status}");

    for namespace in NAMESPACES {
        on_plane(bed, namespace, NEW, PODS).await?;
        let label = labels(bed, namespace).await?.get("istio.io/rev").cloned();
        ensure!(label.as_deref() == Some(NEW), "{namespace}: {label:?}");
        let created = audit.pods_created(namespace)?;
        ensure!(created == PODS, "{namespace}: {created} pods were created for {PODS}");
        for name in WORKLOADS {
            let (before, now) =
                (generations[&(namespace, name)], generation(bed, namespace, name).await?);
            ensure!(now == before + 1, "{namespace}/{name}: generation {before}, then {now}");
        }
    }
    judge(&audit.requests()?)?;
    for replica in pair {
        Box::new(replica).stop().await?;
    }
    Ok(())
}

/// Kills one of the pair after each handful of the server's writes, mostly the one that acts, and
/// starts another in its place.
async fn kill(
    bed: &RealBed,
    audit: &Audit,
    pair: &mut Vec<RealReplica>,
    kills: &mut usize,
) -> Result<()> {
    let mut random = SmallRng::seed_from_u64(SEED);
    while *kills < KILLS {
        let goal = writes(audit)?.max(1) + random.random_range(1..=MOST_WRITES);
        until(&format!("write {goal} of the server"), PATIENCE, async || {
            let writes = writes(audit)?;
            ensure!(writes >= goal, "{writes}");
            Ok(())
        })
        .await?;
        let mut victim = random.random_range(0..pair.len());
        if random.random_bool(0.75) {
            let leads = async |replica: &RealReplica| -> Result<bool> {
                let state = replica.state().await?;
                Ok(state.identity == state.leader)
            };
            victim = usize::from(!leads(&pair[0]).await?);
        }
        let victim = pair.swap_remove(victim);
        let address = victim.address();
        Box::new(victim).kill().await?;
        *kills += 1;
        // The same port, so that the client's list of servers stays true.
        pair.push(bed.serve(&address).await?);
    }
    Ok(())
}

/// How often revshift wrote something for a migration, which its lease and its kinds are not for.
fn writes(audit: &Audit) -> Result<usize> {
    let reads = ["get", "list", "watch"];
    let is_write = |it: &Request| {
        let resource = it.object.resource.as_str();
        let ours = resource != "leases" && resource != "customresourcedefinitions";
        it.is_revshifts() && ours && !reads.contains(&it.verb.as_str())
    };
    Ok(audit.requests()?.iter().filter(|it| is_write(it)).count())
}

/// No namespace was relabelled twice, and no workload's template changed twice. That each was
/// changed at all is told by labels and generations: a request whose client was killed before the
/// answer is carried out all the same, and logged without success.
fn judge(requests: &[Request]) -> Result<()> {
    let mut relabelled = BTreeMap::<&str, usize>::new();
    let mut restarted = BTreeMap::<(&str, &str), Vec<String>>::new();
    for request in requests.iter().filter(|request| request.is_revshifts()) {
        let object = &request.object;
        if request.is("patch", "namespaces") {
            *relabelled.entry(&object.name).or_default() += 1;
        } else if request.is("patch", "deployments") {
            let annotations = &request.body["spec"]["template"]["metadata"]["annotations"];
            restarted
                .entry((&object.namespace, &object.name))
                .or_default()
                .push(annotations.to_string());
        }
    }
    ensure!(relabelled.values().all(|count| *count == 1), "relabelled: {relabelled:?}");
    ensure!(restarted.values().all(|ids| ids.len() == 1), "restarted: {restarted:?}");
    Ok(())
}
