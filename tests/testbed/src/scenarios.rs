//! What is run on a real bed: named stories, each with a deadline. First what needs a cluster that
//! revshift has not seen; then whether the bed is what the others take it for; then the scenarios
//! that every bed runs; then what only a real cluster can show.

mod checks;
mod cli;
mod crash;
mod grpcurl;
mod many;
mod procedure;
mod retirement;
mod smoke;
mod startup;
mod workloads;

use std::{panic::AssertUnwindSafe, time::Duration};

use anyhow::{Result, anyhow};
use futures::{FutureExt as _, future::LocalBoxFuture};
use revshift_testbed::RealBed;
use revshift_tests::{Bed, SCENARIOS};
use tokio::time::timeout;

/// A story that takes longer hangs: the longest takes a minute on a machine of two cores.
const LIMIT: Duration = Duration::from_mins(10);

/// A scenario on a bed with the two planes of Calisti's procedure.
pub(crate) struct Scenario {
    name: &'static str,
    run: fn(&RealBed) -> LocalBoxFuture<'_, Result<()>>,
}

/// A scenario of either kind.
#[derive(Clone, Copy)]
pub(crate) enum Story {
    Real(&'static Scenario),
    Shared(&'static revshift_tests::Scenario),
}

impl Story {
    /// All whose name contains `filter`.
    pub(crate) fn all(filter: &str) -> Vec<Self> {
        let first = startup::SCENARIOS.iter().chain(smoke::SCENARIOS).map(Self::Real);
        // The longest are begun first, so that no bed is left with one at the end.
        let last = many::SCENARIOS
            .iter()
            .chain(crash::SCENARIOS)
            .chain(procedure::SCENARIOS)
            .chain(checks::SCENARIOS)
            .chain(retirement::SCENARIOS)
            .chain(grpcurl::SCENARIOS);
        let all = first.chain(last.map(Self::Real)).chain(Self::shared(""));
        all.filter(|story| story.name().contains(filter)).collect()
    }

    /// Those that run on any cluster.
    pub(crate) fn shared(filter: &str) -> Vec<Self> {
        let shared = SCENARIOS.iter().map(Self::Shared);
        shared.filter(|story| story.name().contains(filter)).collect()
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::Real(scenario) => scenario.name.to_owned(),
            Self::Shared(scenario) => format!("shared/{}", scenario.name),
        }
    }

    /// Tells it on a bed of the harness' own.
    pub(crate) async fn tell(self, bed: &RealBed) -> Result<()> {
        match self {
            Self::Real(scenario) => to_its_end((scenario.run)(bed)).await,
            Self::Shared(_) => self.tell_anywhere(bed).await,
        }
    }

    /// Tells a shared one.
    pub(crate) async fn tell_anywhere(self, bed: &dyn Bed) -> Result<()> {
        match self {
            Self::Real(scenario) => Err(anyhow!("{} needs a bed of its own", scenario.name)),
            Self::Shared(scenario) => to_its_end((scenario.run)(bed)).await,
        }
    }
}

/// A story that panics fails like any other, and the bed still ends in good order.
async fn to_its_end(story: LocalBoxFuture<'_, Result<()>>) -> Result<()> {
    match timeout(LIMIT, AssertUnwindSafe(story).catch_unwind()).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(anyhow!("panicked, see above")),
        Err(_) => Err(anyhow!("not within {LIMIT:?}")),
    }
}
