//! The account of a migration: a row for each namespace, and under it one for each workload that was
//! restarted.

use std::collections::HashMap;

use jiff::Timestamp;
use pbjson_types::Timestamp as WireTimestamp;
use revshift_proto::v1::{self as proto, r#move, restart};

use super::{
    table::{Cell, Table},
    wording,
};

const COLUMNS: &[&str] = &[
    "NAMESPACE",
    "WORKLOAD",
    "FROM",
    "TO",
    "STATE",
    "ATTEMPT",
    "METHOD",
    "START",
    "END",
    "TOOK",
    "PROBLEM",
    "ROLLBACK",
];

/// The account of these moves; `undone` tells the rollback of a namespace, if there is one.
pub(crate) fn table(moves: &[proto::Move], undone: impl Fn(&str) -> Option<String>) -> Table {
    let mut table = Table::new(COLUMNS);
    for it in moves {
        let (state, tone) = wording::move_state(it.state);
        let start = it.start_time.as_ref();
        let end = it.state_time.as_ref().filter(|_| start.is_some() && is_over(it.state()));
        let took = start.zip(end).map(|(start, end)| pbjson_types::Duration {
            seconds: end.seconds.saturating_sub(start.seconds),
            nanos: 0,
        });
        let rollback = undone(&it.namespace).unwrap_or_else(|| it.rollback.clone());
        table.row(vec![
            Cell::new(&it.namespace),
            Cell::new(""),
            Cell::new(label(&it.labels_before)),
            Cell::new(label(&it.labels_after)),
            Cell::new(state).tone(tone),
            it.attempt.into(),
            Cell::new(""),
            Cell::new(moment(start)),
            Cell::new(moment(end)),
            Cell::new(took.map(|took| wording::duration(Some(&took))).unwrap_or_default()),
            Cell::new(it.problem.as_ref().map_or("", |problem| &problem.code)),
            Cell::new(rollback),
        ]);
        for restart in &it.restarts {
            let mut row = vec![Cell::new(""); COLUMNS.len()];
            row[1] = Cell::new(format!("{}/{}", restart.kind, restart.name));
            row[5] = restart.attempt.into();
            row[6] = Cell::new(method(restart.method()));
            table.row(row);
        }
    }
    table
}

/// The deciding label: `istio-injection` beats `istio.io/rev`.
fn label(labels: &HashMap<String, String>) -> String {
    match (labels.get("istio-injection"), labels.get("istio.io/rev")) {
        (Some(value), _) => format!("istio-injection={value}"),
        (None, Some(revision)) => revision.clone(),
        (None, None) => "(not set)".to_owned(),
    }
}

/// Whether nothing more becomes of a move by itself.
fn is_over(state: r#move::State) -> bool {
    use r#move::State;
    match state {
        State::Unspecified
        | State::Pending
        | State::Checking
        | State::Relabeling
        | State::AwaitingLabel
        | State::Restarting
        | State::Verifying => false,
        State::Moved
        | State::Blocked
        | State::Failed
        | State::Skipped
        | State::Cancelled
        | State::Gone
        | State::Superseded => true,
    }
}

fn method(method: restart::Method) -> &'static str {
    match method {
        restart::Method::Unspecified => "UNKNOWN",
        restart::Method::Roll => "ROLL",
        restart::Method::Evict => "EVICT",
        restart::Method::Delete => "DELETE",
        restart::Method::Restart => "RESTART",
    }
}

pub(crate) fn moment(time: Option<&WireTimestamp>) -> String {
    let time = time.and_then(|time| Timestamp::from_second(time.seconds).ok());
    time.map(|time| time.to_string()).unwrap_or_default()
}
