//! The scenarios on the simulated cluster, and what only a simulated cluster can show.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that panics fails, and says where; what it prints is its report"
)]

mod exchanges;
mod explorer;
mod remains;
mod rights;
mod rollouts;
mod simulated;
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
    let lacking: Vec<_> = used.difference(&granted).collect();
    assert!(lacking.is_empty(), "deploy/rbac.yaml does not grant {lacking:?}");
    let unused: Vec<_> =
        granted.difference(&used).filter(|right| !RARE.contains(&right.0.as_str())).collect();
    assert!(unused.is_empty(), "deploy/rbac.yaml grants {unused:?}, which nothing uses");
}

/// Verbs that only faults lead to: a read after a lost reply, the removal of what was never sealed.
const RARE: [&str; 2] = ["get", "delete"];

/// One fault at every request of a migration: at every request that writes, each kind of fault; at
/// those that read, a sample, or all with `REVSHIFT_EXPLORE=all`.
#[test]
fn no_single_fault_changes_the_end() {
    use explorer::Fault;
    let calm = explorer::run(None).expect("without faults the migration succeeds");
    let all = std::env::var("REVSHIFT_EXPLORE").is_ok_and(|what| what == "all");
    let mut schedules = Vec::new();
    for (at, writes) in calm.requests.iter().enumerate() {
        let faults = if *writes { &Fault::WRITING[..] } else { &Fault::READING[..] };
        let chosen = faults
            .iter()
            .enumerate()
            .filter(|(index, _)| all || *writes || (at + index) % faults.len() == 0);
        schedules.extend(chosen.map(|(_, fault)| (at, *fault)));
    }
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let failed: Vec<String> = std::thread::scope(|scope| {
        let (schedules, calm) = (&schedules, &calm);
        let explorers: Vec<_> = (0..threads)
            .map(|offset| {
                scope.spawn(move || {
                    let mine = schedules.iter().skip(offset).step_by(threads);
                    mine.filter_map(|schedule| explorer::defect(*schedule, calm))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        explorers.into_iter().flat_map(|explorer| explorer.join().unwrap()).collect()
    });
    println!("{} schedules explored over {} requests", schedules.len(), calm.requests.len());
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}
