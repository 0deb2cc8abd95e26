//! What is run on a real bed: named scenarios, one after another, each with a deadline. First
//! whether the bed is what the others take it for; then what needs a cluster that revshift has not
//! seen; then the scenarios that every bed runs; then what only a real cluster can show. A failed
//! one shows its error, the ends of the logs and what revshift stored; the next still runs.

mod cli;
mod crash;
mod grpcurl;
mod procedure;
mod smoke;
mod startup;
mod workloads;

use std::{collections::BTreeSet, panic::AssertUnwindSafe, time::Duration};

use anyhow::{Result, anyhow};
use futures::{FutureExt as _, future::LocalBoxFuture};
use revshift_testbed::RealBed;
use tokio::time::{Instant, timeout};

use crate::output;

/// The deadline of a scenario that every bed runs.
const SHARED_LIMIT: Duration = Duration::from_mins(3);
/// The kinds in which revshift stores what it does.
const RECORDS: &str = "migrations,migrationshards";
/// What putting the bed in order after a failure may take.
const REPAIR_LIMIT: Duration = Duration::from_mins(1);

/// A scenario on a bed with the two planes of Calisti's procedure.
pub(crate) struct Scenario {
    name: &'static str,
    limit: Duration,
    run: fn(&RealBed) -> LocalBoxFuture<'_, Result<()>>,
}

/// A scenario of either kind.
#[derive(Clone, Copy)]
enum Story {
    Real(&'static Scenario),
    Shared(&'static revshift_tests::Scenario),
}

impl Story {
    fn all() -> impl Iterator<Item = Self> {
        let first = smoke::SCENARIOS.iter().chain(startup::SCENARIOS).map(Self::Real);
        let shared = revshift_tests::SCENARIOS.iter().map(Self::Shared);
        let last = procedure::SCENARIOS.iter().chain(grpcurl::SCENARIOS).chain(crash::SCENARIOS);
        first.chain(shared).chain(last.map(Self::Real))
    }

    fn name(self) -> String {
        match self {
            Self::Real(scenario) => scenario.name.to_owned(),
            Self::Shared(scenario) => format!("shared/{}", scenario.name),
        }
    }

    async fn tell(self, bed: &RealBed) -> Result<()> {
        let (limit, story) = match self {
            Self::Real(scenario) => (scenario.limit, (scenario.run)(bed)),
            Self::Shared(scenario) => (SHARED_LIMIT, (scenario.run)(bed)),
        };
        // A scenario that panics fails like any other, and the bed still ends in good order.
        match timeout(limit, AssertUnwindSafe(story).catch_unwind()).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(anyhow!("panicked, see above")),
            Err(_) => Err(anyhow!("not within {limit:?}")),
        }
    }
}

/// Runs the scenarios whose name contains `filter`; true when there are some and all passed.
pub(crate) async fn run(bed: &RealBed, filter: &str) -> bool {
    let (mut passed, mut failed) = (0, 0);
    for story in Story::all().filter(|story| story.name().contains(filter)) {
        let before = records(bed).await;
        let start = Instant::now();
        // The servers of a story end with it, whatever becomes of it.
        let result = story.tell(bed).await;
        output::scenario(&story.name(), start.elapsed(), &result);
        if result.is_ok() {
            passed += 1;
        } else {
            failed += 1;
            output::logs(&bed.log_tails());
            output::stored(&stored(bed, &before).await);
            repair(bed).await;
        }
    }
    output::summary(passed, failed);
    failed == 0 && passed > 0
}

/// What revshift has stored, by name; nothing where there is no room for it yet.
async fn records(bed: &RealBed) -> BTreeSet<String> {
    let names = bed.kubectl(&["get", RECORDS, "--output=name"]).await.unwrap_or_default();
    names.lines().map(str::to_owned).collect()
}

/// What a failed scenario left, for its report.
async fn stored(bed: &RealBed, before: &BTreeSet<String>) -> Result<String> {
    let new = records(bed).await;
    let new = new.difference(before).map(String::as_str).collect::<Vec<_>>();
    if new.is_empty() {
        return Ok("none".to_owned());
    }
    bed.kubectl(&[&["get", "--output=yaml"], &new[..]].concat()).await
}

/// Gives the next scenario the bed that it expects.
async fn repair(bed: &RealBed) {
    let repaired = timeout(REPAIR_LIMIT, bed.start_istiods()).await;
    if let Err(error) = repaired.map_err(anyhow::Error::from).flatten() {
        output::error(&error.context("the bed is out of order"));
    }
}
