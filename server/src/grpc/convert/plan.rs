//! Plans on the wire.

use super::check::allowed;
use super::migration::{hold, leftover, migration, on_failure};
use super::verification::verification;
use super::{duration, gate, tag};
use crate::control::Planned;
use crate::published::Stored;
use revshift_core::estimate;
use revshift_core::plan::{Entry, Finding, Method, Plan, PlannedWorkload, Severity};
use revshift_proto::v1 as proto;
use revshift_proto::v1::plan_migration_response::Part;

/// The parts of a plan in the order in which they are sent.
pub(crate) fn parts(planned: Planned) -> impl Iterator<Item = proto::PlanMigrationResponse> {
    let header = header(&planned);
    let Plan { entries, findings, .. } = planned.plan;
    std::iter::once(Part::Header(header))
        .chain(findings.into_iter().map(|found| Part::Finding(finding(found))))
        .chain(entries.into_iter().map(|one| Part::Entry(entry(one))))
        .map(|part| proto::PlanMigrationResponse { part: Some(part) })
}

/// A rollback that was only planned.
pub(crate) fn rollback(planned: Planned) -> proto::RollbackMigrationResponse {
    let header = header(&planned);
    let Plan { entries, findings, .. } = planned.plan;
    proto::RollbackMigrationResponse {
        migration: None,
        plan: Some(header),
        entries: entries.into_iter().map(entry).collect(),
        findings: findings.into_iter().map(finding).collect(),
    }
}

/// An extension that was only planned.
pub(crate) fn extension(planned: Planned) -> proto::ExtendMigrationResponse {
    let header = header(&planned);
    let Plan { entries, findings, .. } = planned.plan;
    proto::ExtendMigrationResponse {
        migration: None,
        plan: Some(header),
        findings: findings.into_iter().map(finding).collect(),
        entries: entries.into_iter().map(entry).collect(),
    }
}

/// A rollback that was made, with its plan as stored: workloads are not part of it.
pub(crate) fn stored_rollback(stored: &Stored) -> proto::RollbackMigrationResponse {
    let migration = migration(stored);
    let plan = proto::PlanHeader {
        plan_hash: migration.plan_hash.clone(),
        source: migration.source.clone(),
        target: migration.target.clone(),
        rollout_timeout: migration.rollout_timeout,
        entries: migration.moves_total,
        waits_for: migration.waiting_for.clone(),
        waves: migration.waves_total,
        approval_waves: migration.approval_waves.clone(),
        failure_budget: migration.failure_budget,
        allow_downtime: migration.allow_downtime,
        force: migration.force,
        on_failure: migration.on_failure,
        verification: migration.verification,
        budgets: None,
        estimate: None,
        windows: migration.windows.clone(),
        gates: migration.gates.clone(),
        allowed_findings: migration.allowed_findings.clone(),
        tags: migration.tags.clone(),
        extends: String::new(),
        hold: None,
    };
    let entries = stored.migration.moves.iter().map(|m| proto::PlanEntry {
        namespace: m.namespace.clone(),
        namespace_uid: m.uid.clone(),
        labels_before: m.before.entries().into_iter().collect(),
        labels_after: m.after.entries().into_iter().collect(),
        workloads: Vec::new(),
        leftovers: Vec::new(),
        wave: m.wave,
        label_owner: String::new(),
    });
    let entries = entries.collect();
    proto::RollbackMigrationResponse {
        migration: Some(migration),
        plan: Some(plan),
        entries,
        findings: Vec::new(),
    }
}

fn header(planned: &Planned) -> proto::PlanHeader {
    let Planned { plan, waits_for, budgets, rate: (rate, rule), hold: held } = planned;
    let estimate = estimate::estimate(plan, budgets, *rate);
    proto::PlanHeader {
        plan_hash: plan.hash(),
        source: plan.source.to_string(),
        target: plan.target.to_string(),
        rollout_timeout: Some(duration(plan.rollout_timeout)),
        entries: u32::try_from(plan.entries.len()).unwrap_or(u32::MAX),
        waits_for: waits_for.iter().cloned().collect(),
        waves: plan.entries.iter().map(|entry| entry.wave + 1).max().unwrap_or_default(),
        approval_waves: plan.approvals.iter().copied().collect(),
        failure_budget: plan.failure_budget,
        allow_downtime: plan.allow_downtime,
        force: plan.force,
        on_failure: on_failure(plan.on_failure).into(),
        verification: verification(plan.verification).into(),
        budgets: Some(proto::Budgets {
            namespaces: budgets.namespaces,
            workloads: budgets.workloads,
            pods: budgets.pods,
            pods_per_second: *rate,
            pods_per_second_rule: rule.clone(),
        }),
        estimate: Some(proto::Estimate {
            expected: Some(duration(estimate.expected)),
            lower_bound: Some(duration(estimate.lower_bound)),
            assumptions: estimate.assumptions,
        }),
        windows: plan.windows.iter().map(ToString::to_string).collect(),
        gates: plan.gates.iter().map(gate::gate).collect(),
        allowed_findings: plan.allowances.iter().map(allowed).collect(),
        tags: Some(tag::tags(&plan.tags, None)),
        extends: plan.extends.clone().unwrap_or_default(),
        hold: held.as_ref().map(|held| hold(held, &plan.windows)),
    }
}

fn entry(entry: Entry) -> proto::PlanEntry {
    proto::PlanEntry {
        labels_before: entry.before.entries().into_iter().collect(),
        labels_after: entry.after.entries().into_iter().collect(),
        namespace: entry.namespace,
        namespace_uid: entry.uid,
        workloads: entry.workloads.into_iter().map(workload).collect(),
        leftovers: entry.leftovers.iter().map(leftover).collect(),
        wave: entry.wave,
        label_owner: entry.label_owner.unwrap_or_default(),
    }
}

fn workload(workload: PlannedWorkload) -> proto::PlanWorkload {
    let action = match workload.method {
        Some(Method::Roll) => proto::plan_workload::Action::Roll,
        Some(Method::Evict) => proto::plan_workload::Action::Evict,
        Some(Method::Restart) => proto::plan_workload::Action::Restart,
        None => proto::plan_workload::Action::None,
    };
    proto::PlanWorkload {
        kind: workload.kind,
        name: workload.name,
        replicas: workload.replicas,
        pods_to_move: workload.pods_to_move,
        action: action.into(),
        reason: workload.reason,
    }
}

pub(crate) fn finding(found: Finding) -> proto::Finding {
    proto::Finding {
        code: found.code.as_str().to_owned(),
        severity: match found.severity {
            Severity::Info => proto::finding::Severity::Info,
            Severity::Warning => proto::finding::Severity::Warning,
            Severity::Error => proto::finding::Severity::Error,
        }
        .into(),
        object: found.object,
        message: found.message,
        remedy: found.code.remedy().to_owned(),
    }
}
