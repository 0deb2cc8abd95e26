//! Rollbacks: the plan that restores exactly the labels that a migration replaced, unless they lead elsewhere
//! now: whoever goes back wants the plane, by whatever name.

use crate::cluster::Cluster;
use crate::label::InjectionLabels;
use crate::migration::{Migration, Move, OnFailure, Verification};
use crate::plan::{self, Entry, Finding, Place, Plan, Severity};
use crate::problem::Code;
use crate::refusal::{FieldViolation, Refusal, Violation};
use crate::tag::{TagPolicy, Tags};
use std::collections::{BTreeMap, BTreeSet};

/// What is to go back, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// These namespaces; none: all that were moved.
    pub namespaces: Vec<String>,
    /// Only those of this wave, instead of names.
    pub wave: Option<u32>,
    /// Why.
    pub reason: String,
    /// Whether a broken pod that a StatefulSet is stuck on is deleted instead of being evicted.
    pub force: bool,
}

/// What is malformed in `request`, whatever the migration holds.
pub fn check_fields(request: &Request) -> Vec<FieldViolation> {
    let mut violations = Vec::new();
    if request.reason.trim().is_empty() {
        violations.push(FieldViolation::new("reason", "must say why the rollback is made"));
    }
    if request.wave.is_some() && !request.namespaces.is_empty() {
        violations.push(FieldViolation::new("wave", "give either namespaces or a wave"));
    }
    violations
}

/// The plan that rolls back what is asked for of `migration`; all that it moved, last first, when
/// nothing is named. What is restored comes from the stored records, never from the cluster.
pub fn rollback(
    cluster: &Cluster,
    migration: &Migration,
    request: &Request,
) -> Result<Plan, Refusal> {
    let violations = check_fields(request);
    if !violations.is_empty() {
        return Err(Refusal::InvalidFields(violations));
    }
    let chosen = choose(migration, request)?;
    let target = plan::available(cluster, migration.spec.source.as_str())?;
    let (mut entries, mut findings) = (Vec::new(), Vec::new());
    let planes = [&migration.spec.source, &migration.spec.target];
    let mut violations: Vec<Violation> =
        planes.into_iter().filter_map(|plane| plan::kept(cluster, plane)).collect();
    for m in chosen {
        match check(cluster, migration, m) {
            Ok((meta, namespace)) => {
                let name = &m.namespace;
                let allow_downtime = migration.spec.allow_downtime;
                let place =
                    Place { cluster, name, meta, namespace, target: &target, allow_downtime };
                let (after, found) = restored(&place, m);
                findings.extend(found);
                match place.entry(m.after.clone(), after) {
                    Ok(entry) => entries.push(Entry { wave: m.wave, ..entry }),
                    Err(found) => violations.extend(found),
                }
            }
            Err(violation) => violations.push(violation),
        }
    }
    if !violations.is_empty() {
        return Err(Refusal::Rollback(violations));
    }
    last_first(&mut entries);
    // What is restored may be named by a tag.
    let tags = Tags { policy: TagPolicy::Rewrite, ..Tags::default() };
    Ok(Plan {
        source: migration.spec.target.clone(),
        target,
        rollout_timeout: migration.spec.rollout_timeout,
        failure_budget: 0,
        allow_downtime: migration.spec.allow_downtime,
        force: request.force,
        on_failure: OnFailure::Pause,
        // What cannot be asked must not stand in the way back.
        verification: Verification::Injected,
        rollback_of: Some(migration.id.clone()),
        extends: None,
        rule: None,
        // Whoever goes back wants to be back.
        windows: Vec::new(),
        gates: Vec::new(),
        allowances: Vec::new(),
        approvals: BTreeSet::new(),
        tags: tags.leading(cluster, plan::labels(&entries)),
        entries,
        findings,
    })
}

/// The labels that lead a namespace back: its former ones; where a tag of theirs was led elsewhere, those of
/// the plane itself, and a word about it.
fn restored(place: &Place<'_>, m: &Move) -> (InjectionLabels, Option<Finding>) {
    let direct = InjectionLabels::of_revision(place.target.as_str());
    if place.leads(&m.before) || m.before == direct || !place.leads(&direct) {
        return (m.before.clone(), None);
    }
    let former = m.before.deciding().unwrap_or_default();
    let found = Finding {
        severity: Severity::Warning,
        code: Code::RollbackByRevision,
        object: format!("Namespace/{}", m.namespace),
        message: format!(
            "its former label {former} does not lead to {0} any more; it gets istio.io/rev={0}",
            place.target
        ),
    };
    (direct, Some(found))
}

/// The waves of the migration in reverse, without those that have nothing to roll back.
fn last_first(entries: &mut [Entry]) {
    let waves: BTreeSet<u32> = entries.iter().map(|entry| entry.wave).collect();
    let number: BTreeMap<u32, u32> = waves.into_iter().rev().zip(0..).collect();
    for entry in entries.iter_mut() {
        entry.wave = number.get(&entry.wave).copied().unwrap_or_default();
    }
    entries.sort_by_key(|entry| entry.wave);
}

fn choose<'a>(migration: &'a Migration, request: &Request) -> Result<Vec<&'a Move>, Refusal> {
    let Request { namespaces, wave, .. } = request;
    if let Some(wave) = wave.filter(|wave| *wave >= migration.waves()) {
        let last = migration.waves().saturating_sub(1);
        let description = format!("there is no wave {wave}: the last one is {last}");
        return Err(Refusal::InvalidFields(vec![FieldViolation::new("wave", description)]));
    }
    if !namespaces.is_empty() {
        return namespaces
            .iter()
            .map(|namespace| {
                migration.find(namespace).ok_or_else(|| Refusal::MoveNotFound {
                    migration: migration.id.clone(),
                    namespace: namespace.clone(),
                })
            })
            .collect();
    }
    let among = || migration.moves.iter().filter(|m| wave.is_none_or(|wave| m.wave == wave));
    let moved: Vec<&Move> = among()
        .rev()
        .filter(|m| m.relabelled && m.before != m.after)
        .filter(|m| m.state != crate::migration::MoveState::Superseded)
        .collect();
    if moved.is_empty() {
        // Namespaces that it only restarted each say so themselves.
        let only_restarted = |m: &&Move| m.relabelled && m.before == m.after;
        let restarted: Vec<&Move> = among().filter(only_restarted).collect();
        if !restarted.is_empty() {
            return Ok(restarted);
        }
        return Err(Refusal::Rollback(vec![Violation {
            code: Code::RollbackNotMoved,
            subject: format!("Migration/{}", migration.id),
            description: match wave {
                Some(wave) => format!("its wave {wave} has moved no namespace"),
                None => "it has moved no namespace".to_owned(),
            },
        }]));
    }
    Ok(moved)
}

fn check<'a>(
    cluster: &'a Cluster,
    migration: &Migration,
    m: &Move,
) -> Result<(&'a crate::cluster::NamespaceMeta, &'a crate::cluster::Namespace), Violation> {
    let refuse = |code, description: &str| {
        let subject = format!("Namespace/{}", m.namespace);
        Err(Violation { code, subject, description: description.to_owned() })
    };
    let Some((meta, namespace)) = cluster.namespace(&m.namespace) else {
        return refuse(Code::NamespaceNotFound, "there is no such namespace any more");
    };
    if meta.uid != m.uid {
        return refuse(Code::RollbackChanged, "it was deleted and created anew");
    }
    if meta.terminating {
        return refuse(Code::NamespaceTerminating, "it is being deleted");
    }
    let locked_by = meta.lock.as_ref().map(|lock| lock.migration.as_str());
    if !m.relabelled && locked_by != Some(migration.id.as_str()) {
        return refuse(Code::RollbackNotMoved, "that migration did not move it");
    }
    if m.before == m.after {
        return refuse(Code::RollbackNothing, "its labels were the same before");
    }
    if InjectionLabels::among(&meta.labels) != m.after {
        return refuse(Code::RollbackChanged, "its label is not the one that the migration wrote");
    }
    // A lock that is gone proves nothing: GitOps may prune it.
    if locked_by.is_some_and(|by| by != migration.id) {
        return refuse(Code::RollbackChanged, "another migration has moved it since");
    }
    Ok((meta, namespace))
}
