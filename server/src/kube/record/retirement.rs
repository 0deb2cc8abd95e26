//! Stored retirements to core records and back.

use crate::failure::Failure;
use crate::kube::crd::{
    self, AllowanceRecord, ApprovalRecord, Condition, FindingRecord, RetirementStatus, TargetRecord,
};
use jiff::Timestamp;
use revshift_core::migration::Approval;
use revshift_core::plane::{Revision, Source};
use revshift_core::problem::Code;
use revshift_core::retirement::{
    Allowance, Finding, Record, Resume, Retirement, RetirementSpec, RetirementState, Subject,
    Target, Terms,
};
use std::time::Duration;

/// The retirement that `stored` is. One that is being deleted counts as cancelled.
pub fn retirement(stored: &crd::Retirement) -> Result<Retirement, Failure> {
    let id = stored.metadata.name.clone().unwrap_or_default();
    let malformed = |why: String| Failure::Malformed { object: format!("retirement `{id}`"), why };
    let spec = &stored.spec;
    let source = source(&spec.source)
        .ok_or_else(|| malformed(format!("there is no source `{}`", spec.source)))?;
    let record = match &stored.status {
        Some(status) => record(status, spec.created).map_err(malformed)?,
        None => Record::new(spec.created),
    };
    let told = spec.cancelled.as_ref().map(|it| Approval { by: it.by.clone(), at: it.at });
    let deleted = stored.metadata.deletion_timestamp.as_ref();
    let deleted = deleted.map(|time| Approval { by: "its deletion".to_owned(), at: time.0 });
    Ok(Retirement {
        spec: RetirementSpec {
            plane: Subject {
                revision: Revision(spec.revision.clone()),
                source,
                name: spec.name.clone(),
                namespace: spec.namespace.clone(),
                uid: spec.uid.clone(),
            },
            terms: Terms {
                rollback_window: Duration::from_millis(spec.rollback_window_ms),
                allowed: spec.allowed.iter().filter_map(allowance).collect(),
            },
            requester: spec.requester.clone(),
            created: spec.created,
        },
        cancelled: told.or(deleted),
        record,
        id,
    })
}

/// What is stored of a new retirement.
pub fn spec_record(
    plane: &Subject,
    terms: &Terms,
    requester: &str,
    plan_hash: String,
    plan_version: u32,
    created: Timestamp,
) -> crd::RetirementSpec {
    crd::RetirementSpec {
        revision: plane.revision.0.clone(),
        source: source_name(plane.source).to_owned(),
        name: plane.name.clone(),
        namespace: plane.namespace.clone(),
        uid: plane.uid.clone(),
        rollback_window_ms: u64::try_from(terms.rollback_window.as_millis()).unwrap_or(u64::MAX),
        allowed: terms
            .allowed
            .iter()
            .map(|it| AllowanceRecord {
                code: it.code.as_str().to_owned(),
                reason: it.reason.clone(),
                by: it.by.clone(),
            })
            .collect(),
        requester: requester.to_owned(),
        plan_hash,
        plan_version,
        created,
        cancelled: None,
    }
}

/// A cancellation as stored.
pub fn approval_record(by: &str, at: Timestamp) -> ApprovalRecord {
    ApprovalRecord { wave: 0, by: by.to_owned(), at }
}

/// The status of a record; `before` keeps the times of conditions that stay as they are.
pub fn status(
    record: &Record,
    before: Option<&RetirementStatus>,
    now: Timestamp,
) -> RetirementStatus {
    RetirementStatus {
        state: record.state.as_str().to_owned(),
        resume: match record.state {
            RetirementState::Blocked(resume) => Some(resume_name(resume).to_owned()),
            _ => None,
        },
        since: Some(record.since),
        epoch: record.epoch,
        cordoned: record.cordoned,
        findings: record.findings.iter().map(finding_record).collect(),
        proofs: record.proofs.clone(),
        targets: record.targets.iter().map(target_record).collect(),
        ended: record.state.is_final(),
        conditions: conditions(record, before, now).into(),
    }
}

fn record(status: &RetirementStatus, created: Timestamp) -> Result<Record, String> {
    let resume = match status.resume.as_deref() {
        Some("DELETING") => Resume::Deleting,
        Some("VERIFYING") => Resume::Verifying,
        _ => Resume::Checking,
    };
    let state = match status.state.as_str() {
        "" | "CHECKING" => RetirementState::Checking,
        "CORDONING" => RetirementState::Cordoning,
        "PROVING" => RetirementState::Proving,
        "DELETING" => RetirementState::Deleting,
        "VERIFYING" => RetirementState::Verifying,
        "BLOCKED" => RetirementState::Blocked(resume),
        "RETIRED" => RetirementState::Retired,
        "CANCELLED" => RetirementState::Cancelled,
        other => return Err(format!("there is no state `{other}`")),
    };
    Ok(Record {
        state,
        since: status.since.unwrap_or(created),
        epoch: status.epoch,
        cordoned: status.cordoned,
        findings: status.findings.iter().filter_map(finding).collect(),
        proofs: status.proofs.clone(),
        targets: status.targets.iter().map(target).collect(),
    })
}

/// `Retired` sums up, `Progressing` tells why it does not go on.
fn conditions(
    record: &Record,
    before: Option<&RetirementStatus>,
    now: Timestamp,
) -> [Condition; 2] {
    let (retired, progressing, reason) = match record.state {
        RetirementState::Checking => ("Unknown", "True", "Checking"),
        RetirementState::Cordoning => ("Unknown", "True", "Cordoning"),
        RetirementState::Proving => ("Unknown", "True", "Proving"),
        RetirementState::Deleting => ("Unknown", "True", "Deleting"),
        RetirementState::Verifying => ("Unknown", "True", "Verifying"),
        RetirementState::Blocked(_) => ("Unknown", "False", "Blocked"),
        RetirementState::Retired => ("True", "False", "Retired"),
        RetirementState::Cancelled => ("False", "False", "Cancelled"),
    };
    let first = record.blockers().next();
    let message = first.map(|it| format!("{} {}: {}", it.code.as_str(), it.object, it.message));
    let condition = |kind: &str, status: &str, message: String| {
        let old = before.and_then(|it| it.conditions.iter().find(|one| one.kind == kind));
        let since = old.filter(|old| old.status == status).map(|old| old.last_transition_time);
        Condition {
            kind: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: since.unwrap_or(now),
            observed_generation: 0,
        }
    };
    [
        condition("Retired", retired, String::new()),
        condition("Progressing", progressing, message.unwrap_or_default()),
    ]
}

fn resume_name(resume: Resume) -> &'static str {
    match resume {
        Resume::Checking => "CHECKING",
        Resume::Deleting => "DELETING",
        Resume::Verifying => "VERIFYING",
    }
}

fn source_name(source: Source) -> &'static str {
    match source {
        Source::Calisti => "CALISTI",
        Source::Sail => "SAIL",
        Source::Istio => "ISTIO",
    }
}

fn source(name: &str) -> Option<Source> {
    [Source::Calisti, Source::Sail, Source::Istio].into_iter().find(|it| source_name(*it) == name)
}

fn allowance(stored: &AllowanceRecord) -> Option<Allowance> {
    let AllowanceRecord { code, reason, by } = stored;
    // What a newer version allows, this one does not know: it blocks here.
    let code = Code::parse(code)?;
    Some(Allowance { code, reason: reason.clone(), by: by.clone() })
}

fn finding(stored: &FindingRecord) -> Option<Finding> {
    let FindingRecord { code, object, message, remedy, blocks, allowed } = stored.clone();
    let code = Code::parse(&code)?;
    Some(Finding { code, object, message, remedy, blocks, allowed })
}

fn finding_record(finding: &Finding) -> FindingRecord {
    let Finding { code, object, message, remedy, blocks, allowed } = finding.clone();
    FindingRecord { code: code.as_str().to_owned(), object, message, remedy, blocks, allowed }
}

fn target(stored: &TargetRecord) -> Target {
    let TargetRecord { api, kind, namespace, name, uid } = stored.clone();
    Target { api, kind, namespace, name, uid }
}

fn target_record(target: &Target) -> TargetRecord {
    let Target { api, kind, namespace, name, uid } = target.clone();
    TargetRecord { api, kind, namespace, name, uid }
}
