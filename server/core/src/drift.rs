//! Leads of stored plans that lead elsewhere by now.

use crate::cluster::Cluster;
use crate::injection::Injection;
use crate::migration::Migration;
use crate::refusal::Refusal;
use crate::rollout;
use crate::tag::{self, Drift, Lead};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// The first lead of an unfinished migration that leads elsewhere by now, while something still rests on
/// it; those to the target come first, as everything that is restarted follows them.
pub fn of(cluster: &Cluster, migration: &Migration, now: Timestamp) -> Option<Drift> {
    if migration.ended.is_some() {
        return None;
    }
    let leads = migration.spec.tags.leads.iter();
    let (target, others): (Vec<&Lead>, Vec<&Lead>) =
        leads.partition(|lead| lead.plane == migration.spec.target);
    target.into_iter().chain(others).find_map(|lead| {
        let injection = tag::destination(cluster, &lead.labels);
        let astray = injection != Injection::By(lead.plane.clone()) && rests_on(migration, lead);
        let found = match injection {
            Injection::By(plane) => format!("it leads to `{plane}`"),
            other => format!("new pods would be {}", rollout::describe(&other)),
        };
        let run = migration.control.drifts;
        astray.then(|| Drift { run, lead: lead.clone(), found, at: now })
    })
}

/// Whether it matters where a lead leads: always for the labels that are written, for those that are
/// replaced as long as a namespace has them. What a rollback leaves may be gone: it may be made for that.
fn rests_on(migration: &Migration, lead: &Lead) -> bool {
    if lead.plane == migration.spec.target {
        return true;
    }
    let moves = &migration.moves;
    let mut left = moves.pending().chain(moves.active()).chain(moves.failed()).map(|(_, m)| m);
    migration.spec.rollback_of.is_none() && left.any(|m| !m.relabelled && m.before == lead.labels)
}

/// Refuses to go on after a drift while the plan's labels still lead elsewhere: its pods would land on
/// another plane than it says.
pub fn resumable(cluster: &Cluster, migration: &Migration) -> Result<(), Refusal> {
    let Some(known) = migration.drifted() else {
        return Ok(());
    };
    let Some(drift) = of(cluster, migration, known.at) else {
        return Ok(());
    };
    let why = format!(
        "{}; lead it back to `{}` first, or cancel and plan again",
        drift.problem().message,
        drift.lead.plane
    );
    let state = migration.state(&BTreeSet::new());
    Err(Refusal::State { migration: migration.id.clone(), state: state.as_str().to_owned(), why })
}

/// The drifts of all unfinished migrations, by id. What was found before keeps its time.
pub fn all(
    cluster: &Cluster,
    migrations: &BTreeMap<String, Migration>,
    before: &BTreeMap<String, Drift>,
    now: Timestamp,
) -> BTreeMap<String, Drift> {
    let found = migrations.values().filter_map(|migration| {
        let id = &migration.id;
        let known = before.get(id).or_else(|| migration.drifted());
        let since = |drift: &Drift| {
            known.filter(|it| {
                (it.run, &it.lead, &it.found) == (drift.run, &drift.lead, &drift.found)
            })
        };
        let drift = of(cluster, migration, now)?;
        let at = since(&drift).map_or(drift.at, |known| known.at);
        Some((id.clone(), Drift { at, ..drift }))
    });
    found.collect()
}
