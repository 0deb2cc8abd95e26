//! How gates read: what has to hold after waves, and what has come of it.

use jiff::Timestamp;
use revshift_proto::v1::{self as proto, gate_result};

use super::{Tone, age, duration, one_line, word};
use crate::output::table::{Cell, Table};

/// What a gate wants, such as `after waves 0, 2: soak 10m, smoke`.
pub(crate) fn gate(gate: &proto::Gate) -> String {
    let waves: Vec<_> = gate.waves.iter().map(ToString::to_string).collect();
    let after = match waves.len() {
        0 => "after each wave".to_owned(),
        1 => format!("after wave {}", waves[0]),
        _ => format!("after waves {}", waves.join(", ")),
    };
    let soak = gate.soak.as_ref().map(|soak| format!("soak {}", duration(Some(soak))));
    let wanted: Vec<_> = soak.into_iter().chain(gate.checks.iter().cloned()).collect();
    one_line(&format!("{after}: {}", wanted.join(", ")))
}

/// What all gates want.
pub(crate) fn gates(migration: &proto::Migration) -> String {
    migration.gates.iter().map(gate).collect::<Vec<_>>().join("; ")
}

/// What is waited for at a gate; none while nothing is.
pub(crate) fn waited_for(migration: &proto::Migration) -> Option<String> {
    let waits = migration.waiting_for.iter().any(|it| it == "GATE");
    let wave = migration.gating_wave.filter(|_| waits)?;
    Some(format!("the gate after wave {wave}"))
}

/// What has come of checks, one a row.
pub(crate) fn results(migration: &proto::Migration, now: Timestamp) -> Table {
    let mut table = Table::new(&["WAVE", "CHECK", "OUTCOME", "AGE", "WHY"]);
    for it in &migration.gate_results {
        let known = gate_result::Outcome::try_from(it.outcome).ok();
        let outcome = word(known.map(|known| known.as_str_name()), "OUTCOME_", it.outcome);
        let tone = match known {
            Some(gate_result::Outcome::Pass) => Tone::Good,
            Some(gate_result::Outcome::Fail) => Tone::Bad,
            _ => Tone::Warn,
        };
        table.row(vec![
            it.wave.into(),
            Cell::new(if it.check.is_empty() { "(soak)" } else { &it.check }),
            Cell::new(outcome).tone(tone),
            Cell::new(age(it.time.as_ref(), now)),
            Cell::new(one_line(&it.message)),
        ]);
    }
    table
}
