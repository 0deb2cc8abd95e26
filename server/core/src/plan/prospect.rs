//! What would become of a namespace's workloads, as they stand.

use super::{Method, PlannedWorkload};
use crate::cluster::Controller;
use crate::migration::Move;
use crate::problem::Code;
use crate::refusal::Violation;
use crate::rollout::{Goal, Verdict, Why};
use crate::workload::Workload;
use std::collections::BTreeMap;

/// Why a Rollout's pods are evicted, though not by revshift.
const IN_PLACE: &str = "its own controller evicts its pods";

/// What would become of each workload, or what forbids it. `m` has not begun.
pub(super) fn workloads(
    goal: &Goal<'_>,
    m: &Move,
    allow_downtime: bool,
) -> Result<Vec<PlannedWorkload>, Vec<Violation>> {
    let (mut planned, mut violations) = (Vec::new(), Vec::new());
    for (_, made) in each(goal, m, allow_downtime) {
        match made {
            Ok(workload) => planned.push(workload),
            Err(violation) => violations.push(violation),
        }
    }
    if violations.is_empty() { Ok(planned) } else { Err(violations) }
}

/// The same of each on its own, by `kind/name`.
pub(super) fn each(
    goal: &Goal<'_>,
    m: &Move,
    allow_downtime: bool,
) -> Vec<(String, Result<PlannedWorkload, Violation>)> {
    let mut found: Vec<_> = of_watched(goal, m, allow_downtime).collect();
    let mut pods: BTreeMap<Controller, u32> = BTreeMap::new();
    for pod in goal.namespace.pods.values().filter(|pod| !pod.terminating) {
        *pods.entry(goal.namespace.controller(pod)).or_default() += 1;
    }
    for (controller, verdict) in goal.strangers() {
        if let Controller::Other { kind, name, .. } = &controller {
            let replicas = pods.get(&controller).copied().unwrap_or_default();
            let off = goal.displaced_of(&controller).count();
            let made = unwatched(kind, name, replicas, count(off), verdict, allow_downtime);
            found.push(named(m, kind, name, made));
        }
    }
    found
}

/// The same of those that are watched alone.
pub(super) fn of_watched<'a>(
    goal: &'a Goal<'_>,
    m: &'a Move,
    allow_downtime: bool,
) -> impl Iterator<Item = (String, Result<PlannedWorkload, Violation>)> + 'a {
    goal.namespace.workloads.values().map(move |workload| {
        let verdict = goal.judge(workload, m, "", None);
        let made = watched(goal, workload, verdict, allow_downtime);
        named(m, workload.key.kind.as_str(), &workload.key.name, made)
    })
}

fn named(
    m: &Move,
    kind: &str,
    name: &str,
    made: Result<PlannedWorkload, (Code, String)>,
) -> (String, Result<PlannedWorkload, Violation>) {
    let subject = format!("{kind}/{}/{name}", m.namespace);
    let made = made.map_err(|(code, description)| Violation { code, subject, description });
    (format!("{kind}/{name}"), made)
}

fn watched(
    goal: &Goal<'_>,
    workload: &Workload,
    verdict: Verdict,
    allow_downtime: bool,
) -> Result<PlannedWorkload, (Code, String)> {
    let off = count(goal.pods_of(workload).filter(|pod| !goal.on_target(pod)).count());
    let mut planned = PlannedWorkload {
        kind: workload.key.kind.as_str().to_owned(),
        name: workload.key.name.clone(),
        replicas: workload.desired,
        pods_to_move: if verdict == Verdict::OptedOut { 0 } else { off },
        method: None,
        reason: String::new(),
        code: None,
    };
    let why = workload.obstacle.clone().map(Why::Obstacle);
    let spared = match (verdict, why) {
        (Verdict::Evict(why), _) | (Verdict::Rolling, Some(why)) if off > 0 => {
            if workload.desired < 2 && workload.available > 0 && !allow_downtime {
                return Err(needs_downtime(&why));
            }
            return Ok(evicted(planned, &why));
        }
        (Verdict::Restart | Verdict::Rolling, _) if off > 0 && workload.restarts_in_place() => {
            if workload.desired < 2 && workload.available > 0 && !allow_downtime {
                return Err((Code::WorkloadNeedsDowntime, needs_downtime_of(IN_PLACE)));
            }
            planned.method = Some(Method::Restart);
            IN_PLACE.clone_into(&mut planned.reason);
            return Ok(planned);
        }
        (Verdict::Restart, _) => "",
        (Verdict::Rolling, _) if off > 0 => "",
        (Verdict::Done | Verdict::Evict(_) | Verdict::Straggling, _) => {
            "its pods are already on the target"
        }
        (Verdict::Rolling, _) => "its pods are already on the target; its rollout is awaited",
        (Verdict::OptedOut, _) if workload.skipped() => "its owner wants it left alone",
        (Verdict::OptedOut, _) => "its pods are not injected",
        (Verdict::ScaledToZero, _) => "it has no replicas",
        (Verdict::Stuck(code, message), _) => return Err((code, message)),
    };
    if spared.is_empty() {
        planned.method = Some(Method::Roll);
    }
    spared.clone_into(&mut planned.reason);
    Ok(planned)
}

fn unwatched(
    kind: &str,
    name: &str,
    replicas: u32,
    pods_to_move: u32,
    verdict: Verdict,
    allow_downtime: bool,
) -> Result<PlannedWorkload, (Code, String)> {
    let why = match verdict {
        Verdict::Stuck(code, message) => return Err((code, message)),
        Verdict::Evict(why) => why,
        _ => Why::Unknown(kind.to_owned()),
    };
    if replicas < 2 && !allow_downtime {
        return Err(needs_downtime(&why));
    }
    let (kind, name, reason) = (kind.to_owned(), name.to_owned(), String::new());
    let code = None;
    Ok(evicted(
        PlannedWorkload { kind, name, replicas, pods_to_move, method: None, reason, code },
        &why,
    ))
}

fn evicted(planned: PlannedWorkload, why: &Why) -> PlannedWorkload {
    let method = Some(Method::Evict);
    PlannedWorkload { method, reason: why.tell(), code: Some(why.code()), ..planned }
}

fn needs_downtime(why: &Why) -> (Code, String) {
    (Code::WorkloadNeedsDowntime, needs_downtime_of(&why.tell()))
}

fn needs_downtime_of(why: &str) -> String {
    format!(
        "{why}, and evicting its only pod would interrupt it: scale it to two, or migrate with --allow-downtime"
    )
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
