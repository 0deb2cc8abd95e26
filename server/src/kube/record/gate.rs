//! Gates to stored resources and back.

use crate::kube::crd::{
    ApprovalRecord, BaselineRecord, ControlRecord, GateRecord, MigrationStatus, RerunRecord,
    VerdictRecord,
};
use revshift_core::gate::{Baseline, Check, Gate, Outcome, Verdict};
use revshift_core::migration::{Approval, Control, Rerun};
use std::collections::BTreeMap;
use std::time::Duration;

/// The gates of a migration.
pub(super) fn gates(records: &[GateRecord]) -> Vec<Gate> {
    let gate = |record: &GateRecord| Gate {
        waves: record.waves.clone(),
        soak: Duration::from_millis(record.soak_ms),
        checks: record.checks.clone(),
    };
    records.iter().map(gate).collect()
}

/// The records of gates.
pub fn gate_records(gates: &[Gate]) -> Vec<GateRecord> {
    let record = |gate: &Gate| GateRecord {
        waves: gate.waves.clone(),
        soak_ms: u64::try_from(gate.soak.as_millis()).unwrap_or(u64::MAX),
        checks: gate.checks.clone(),
    };
    gates.iter().map(record).collect()
}

pub(super) fn reruns(record: &ControlRecord) -> BTreeMap<u32, Rerun> {
    let rerun = |it: &RerunRecord| (it.wave, Rerun { run: it.run, at: it.at });
    record.reruns.iter().map(rerun).collect()
}

pub(super) fn rerun_records(control: &Control) -> Vec<RerunRecord> {
    let record =
        |(wave, rerun): (&u32, &Rerun)| RerunRecord { wave: *wave, run: rerun.run, at: rerun.at };
    control.reruns.iter().map(record).collect()
}

/// Approvals by wave.
pub(super) fn approvals(records: &[ApprovalRecord]) -> BTreeMap<u32, Approval> {
    records.iter().map(|it| (it.wave, Approval { by: it.by.clone(), at: it.at })).collect()
}

/// The records of approvals.
pub(super) fn approval_records(approvals: &BTreeMap<u32, Approval>) -> Vec<ApprovalRecord> {
    let approvals = approvals.iter();
    approvals
        .map(|(wave, it)| ApprovalRecord { wave: *wave, by: it.by.clone(), at: it.at })
        .collect()
}

/// What has come of checks. A result that only a newer version knows is not one here: the check is
/// made again.
pub(super) fn verdicts(status: Option<&MigrationStatus>) -> BTreeMap<(u32, Check), Verdict> {
    let verdict = |record: &VerdictRecord| {
        let check = record.check.clone().map_or(Check::Soak, Check::Named);
        let outcome = Outcome::parse(&record.outcome)?;
        let (run, at, message) = (record.run, record.at, record.message.clone());
        Some(((record.wave, check), Verdict { run, outcome, at, message }))
    };
    status.into_iter().flat_map(|status| &status.verdicts).filter_map(verdict).collect()
}

/// The records of what has come of checks.
pub fn verdict_records(verdicts: &BTreeMap<(u32, Check), Verdict>) -> Vec<VerdictRecord> {
    let record = |((wave, check), verdict): (&(u32, Check), &Verdict)| VerdictRecord {
        wave: *wave,
        check: match check {
            Check::Soak => None,
            Check::Named(name) => Some(name.clone()),
        },
        run: verdict.run,
        outcome: verdict.outcome.as_str().to_owned(),
        at: verdict.at,
        message: verdict.message.clone(),
    };
    verdicts.iter().map(record).collect()
}

pub(super) fn baselines(status: Option<&MigrationStatus>) -> BTreeMap<(u32, String), Baseline> {
    let baseline = |record: &BaselineRecord| {
        let BaselineRecord { wave, check, question, value, at, message } = record.clone();
        ((wave, check), Baseline { question, value, at, message })
    };
    status.into_iter().flat_map(|status| &status.baselines).map(baseline).collect()
}

/// The records of what checks have measured before waves.
pub fn baseline_records(baselines: &BTreeMap<(u32, String), Baseline>) -> Vec<BaselineRecord> {
    let record = |((wave, check), baseline): (&(u32, String), &Baseline)| BaselineRecord {
        wave: *wave,
        check: check.clone(),
        question: baseline.question.clone(),
        value: baseline.value.clone(),
        at: baseline.at,
        message: baseline.message.clone(),
    };
    baselines.iter().map(record).collect()
}
