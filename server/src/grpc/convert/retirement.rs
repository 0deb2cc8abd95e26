//! Retirements on the wire.

use super::plane::source;
use super::{duration, timestamp};
use crate::control::RetirementPlan;
use revshift_core::retirement::{Allowance, Finding, Retirement, RetirementState, Target};
use revshift_proto::v1 as proto;

/// A retirement.
pub(crate) fn retirement(retirement: &Retirement) -> proto::Retirement {
    let Retirement { id, spec, cancelled, record } = retirement;
    proto::Retirement {
        id: id.clone(),
        revision: spec.plane.revision.to_string(),
        source: source(spec.plane.source).into(),
        name: spec.plane.name.clone(),
        namespace: spec.plane.namespace.clone(),
        state: state(record.state).into(),
        state_time: Some(timestamp(record.since)),
        findings: record.findings.iter().map(finding).collect(),
        proof_times: record.proofs.iter().copied().map(timestamp).collect(),
        targets: record.targets.iter().map(target).collect(),
        rollback_window: Some(duration(spec.terms.rollback_window)),
        allowed: spec.terms.allowed.iter().map(allowed).collect(),
        requester: spec.requester.clone(),
        create_time: Some(timestamp(spec.created)),
        cancelled_by: cancelled.as_ref().map(|it| it.by.clone()).unwrap_or_default(),
    }
}

/// A plan.
pub(crate) fn plan(plan: &RetirementPlan) -> proto::PlanRetirementResponse {
    proto::PlanRetirementResponse {
        revision: plan.plane.revision.to_string(),
        source: source(plan.plane.source).into(),
        name: plan.plane.name.clone(),
        namespace: plan.plane.namespace.clone(),
        findings: plan.findings.iter().map(finding).collect(),
        targets: plan.targets.iter().map(target).collect(),
        plan_hash: plan.hash(),
    }
}

fn state(state: RetirementState) -> proto::retirement::State {
    use proto::retirement::State;
    match state {
        RetirementState::Checking => State::Checking,
        RetirementState::Cordoning => State::Cordoning,
        RetirementState::Proving => State::Proving,
        RetirementState::Deleting => State::Deleting,
        RetirementState::Verifying => State::Verifying,
        RetirementState::Blocked(_) => State::Blocked,
        RetirementState::Retired => State::Retired,
        RetirementState::Cancelled => State::Cancelled,
    }
}

fn finding(finding: &Finding) -> proto::RetirementFinding {
    proto::RetirementFinding {
        code: finding.code.as_str().to_owned(),
        object: finding.object.clone(),
        message: finding.message.clone(),
        remedy: finding.remedy.clone(),
        blocks: finding.blocks,
        allowed: finding.allowed.clone().unwrap_or_default(),
    }
}

fn target(target: &Target) -> proto::DeletionTarget {
    proto::DeletionTarget {
        api_version: target.api.clone(),
        kind: target.kind.clone(),
        namespace: target.namespace.clone(),
        name: target.name.clone(),
    }
}

fn allowed(allowance: &Allowance) -> proto::AllowedFinding {
    proto::AllowedFinding {
        code: allowance.code.as_str().to_owned(),
        reason: allowance.reason.clone(),
        by: allowance.by.clone(),
    }
}
