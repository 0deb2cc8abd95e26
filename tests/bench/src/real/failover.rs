//! P5: three replicas, of which the acting one is killed or told to end: how long until another acts,
//! and whether a pod is replaced twice. Judged by the audit log.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use revshift_testbed::{Audit, RealBed, RealReplica, Request, until};
use revshift_tests::Replica as _;
use tokio::time::sleep;

use super::{PATIENCE, PODS, arrived, populate, revshift};
use crate::measure::{figure, quantile};
use crate::report::{Goal, Row, short};
use crate::simulation::NEW;

const GROUP: &str = "failover";
const REPLICAS: usize = 3;
const LEASE: u32 = 15;
/// A new leader is let act for so long before it goes, too.
const RESPITE: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Killed,
    Told,
}

/// The worst of several ends of each kind.
pub(crate) async fn run(
    bed: &RealBed,
    quick: bool,
    told: &mut dyn FnMut(&str),
) -> Result<Vec<Row>> {
    let (count, times) = if quick { (8, 1) } else { (40, 3) };
    let names = populate(bed, GROUP, count).await?;
    let mut replicas = Vec::new();
    for _ in 0..REPLICAS {
        replicas.push(start(bed).await?);
    }
    let audit = bed.audit()?;
    let migrate = ["migrate", "--from=cp-v113x", "--to=cp-v115x", "--yes", "--detach"];
    let selection: Vec<&str> = names.iter().flat_map(|name| ["-n", name.as_str()]).collect();
    let args = [&migrate[..], &selection].concat();
    revshift(bed, &replicas[0].address(), &args).await?;
    next(&audit, Timestamp::UNIX_EPOCH, End::Killed).await?;

    let mut gaps: BTreeMap<End, Vec<f64>> = BTreeMap::new();
    for _ in 0..times {
        for end in [End::Killed, End::Told] {
            sleep(RESPITE).await;
            let leader = leader(&replicas).await?;
            let leader = Box::new(replicas.swap_remove(leader));
            let at = now();
            match end {
                End::Killed => leader.kill().await?,
                End::Told => leader.stop().await?,
            }
            // What a killed process had sent may still arrive, but not later than this.
            let from = if end == End::Killed { now() } else { at };
            let action = next(&audit, from, end).await?;
            let gap = action.duration_since(at).as_secs_f64();
            told(&format!("P5 {end:?}: {gap:.2} s until the next action"));
            gaps.entry(end).or_default().push(gap);
            if times > 1 {
                replicas.push(start(bed).await?);
            }
        }
    }
    arrived(bed, GROUP, count, NEW).await?;
    let mut twice = 0;
    for name in &names {
        twice += audit.pods_created(name)?.saturating_sub(PODS);
    }
    for replica in replicas {
        Box::new(replica).stop().await?;
    }
    let mut worst = |end| quantile(gaps.entry(end).or_default(), 1.0);
    let (killed, told) = (worst(End::Killed), worst(End::Told));
    let lease = f64::from(LEASE);
    Ok(vec![
        Row::new(
            "P5",
            format!("kill -9 of the leader → next action, worst of {times}"),
            killed,
            "s",
        )
        .limit(format!("lease {} s", short(lease)))
        .goal(Goal::AtMost(lease + 2.0)),
        Row::new("P5", format!("SIGTERM → next action, worst of {times}"), told, "s")
            .limit("0 s")
            .goal(Goal::AtMost(2.0)),
        Row::new("P5", "pods replaced twice", figure(u64::try_from(twice)?), "")
            .limit("0")
            .goal(Goal::AtMost(0.0)),
    ])
}

async fn start(bed: &RealBed) -> Result<RealReplica> {
    let lease = format!("--lease-seconds={LEASE}");
    bed.launch(&["--install-crds", "--listen=127.0.0.1:0", &lease]).await?.ready().await
}

/// Which of them leads.
async fn leader(replicas: &[RealReplica]) -> Result<usize> {
    until("a leader", PATIENCE, async || {
        for (index, replica) in replicas.iter().enumerate() {
            let state = replica.state().await?;
            if state.leader == state.identity {
                return Ok(index);
            }
        }
        anyhow::bail!("nobody leads")
    })
    .await
}

/// When revshift wrote something again after `from`. One that was told to end may still write until it
/// gives its lease back, which is the first write to the lease.
async fn next(audit: &Audit, from: Timestamp, end: End) -> Result<Timestamp> {
    until("the next action", PATIENCE, async || {
        let mut released = end == End::Killed;
        let requests = audit.requests()?;
        for request in requests.iter().filter(|one| one.is_revshifts() && one.writes()) {
            let at = received(request)?;
            if at < from {
                continue;
            }
            match request.object.resource.as_str() {
                "leases" => released = true,
                "namespaces" | "customresourcedefinitions" if is_setup(request) => {}
                _ if released => return Ok(at),
                _ => {}
            }
        }
        anyhow::bail!("nobody acts")
    })
    .await
}

/// What every server does when it starts.
fn is_setup(request: &Request) -> bool {
    request.object.resource == "customresourcedefinitions"
        || request.object.name == "revshift-system"
}

fn received(request: &Request) -> Result<Timestamp> {
    request.received.parse().with_context(|| format!("no time: {:?}", request.received))
}

#[expect(clippy::disallowed_methods, reason = "the audit log has wall time")]
fn now() -> Timestamp {
    Timestamp::now()
}
