//! The scenarios on the simulated cluster, and what only a simulated cluster can show.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that panics fails, and says where; what it prints is its report"
)]

mod budgets;
mod calendar;
mod calisti;
mod checks;
mod connections;
mod dismantling;
mod exchanges;
mod explorer;
mod extension;
mod faults;
mod findings;
mod gate;
mod operator;
mod pressure;
mod recourse;
mod remains;
mod retirement;
mod rights;
mod rules;
mod scale;
mod shutdown;
mod simulated;
mod soak;
mod tidy;
mod versions;

use revshift_tests::SCENARIOS;
use simulated::SimulatedBed;
use std::collections::BTreeSet;

/// Every scenario on a cluster of its own, in virtual time.
#[test]
fn scenarios() {
    let mut failed = Vec::new();
    let mut used = BTreeSet::new();
    for scenario in SCENARIOS {
        let (result, exchanges) = simulated::in_virtual_time(async {
            let bed = SimulatedBed::new();
            ((scenario.run)(&bed).await, bed.sandbox.requests())
        });
        used.extend(rights::used(&exchanges));
        match result {
            Ok(()) => println!("{} ... ok", scenario.name),
            Err(error) => {
                println!("{} ... FAILED\n{error:?}", scenario.name);
                failed.push(scenario.name);
            }
        }
    }
    assert!(failed.is_empty(), "failed: {failed:?}");
    let granted = rights::granted();
    let covers = |right: &rights::Right, one: &rights::Right| {
        right.0 == one.0 && right.1 == one.1 && (right.2 == "*" || right.2 == one.2)
    };
    let lacking: Vec<_> =
        used.iter().filter(|one| !granted.iter().any(|right| covers(right, one))).collect();
    assert!(lacking.is_empty(), "deploy/rbac.yaml does not grant {lacking:?}");
    let unused: Vec<_> = granted
        .iter()
        .filter(|right| !used.iter().any(|one| covers(right, one)))
        .filter(|right| !RARE.contains(&right.0.as_str()) && !ABSENT.contains(&right.2.as_str()))
        .collect();
    assert!(unused.is_empty(), "deploy/rbac.yaml grants {unused:?}, which nothing uses");
}

/// Verbs that only faults lead to: a read after a lost reply, the removal of what was never sealed.
const RARE: [&str; 2] = ["get", "delete"];
/// Kinds that clusters of scenarios do not serve, as istiod would act on them; `findings` has them.
const ABSENT: [&str; 2] = ["gateways", "gatewayclasses"];
