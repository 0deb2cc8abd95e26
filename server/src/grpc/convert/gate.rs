//! Gates and what has come of them on the wire.

use super::{duration, timestamp};
use revshift_core::gate::{Check, Gate, Outcome};
use revshift_core::migration::Migration;
use revshift_proto::v1 as proto;

/// What has to hold after waves.
pub(crate) fn gate(gate: &Gate) -> proto::Gate {
    proto::Gate {
        waves: gate.waves.iter().copied().collect(),
        soak: (!gate.soak.is_zero()).then(|| duration(gate.soak)),
        checks: gate.checks.clone(),
    }
}

/// What has come of checks so far.
pub(crate) fn results(migration: &Migration) -> Vec<proto::GateResult> {
    let results = migration.verdicts.iter().map(|((wave, check), verdict)| proto::GateResult {
        wave: *wave,
        check: match check {
            Check::Soak => String::new(),
            Check::Named(name) => name.clone(),
        },
        outcome: match verdict.outcome {
            Outcome::Pass => proto::gate_result::Outcome::Pass,
            Outcome::Fail => proto::gate_result::Outcome::Fail,
            Outcome::Inconclusive => proto::gate_result::Outcome::Inconclusive,
        }
        .into(),
        time: Some(timestamp(verdict.at)),
        message: verdict.message.clone(),
        run: verdict.run,
    });
    results.collect()
}
