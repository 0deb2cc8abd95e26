//! Tells stories on beds side by side, which take them from one queue. One that fails shows its
//! error, the ends of the logs and what revshift stored; then it is told once more, on a new bed,
//! since nobody knows in which state the old one is. What passes only then is reported as flaky.

use std::{cell::RefCell, collections::BTreeSet, collections::VecDeque, time::Duration};

use anyhow::Result;
use revshift_testbed::{ControlPlane, ForeignCluster, Options, Product, RealBed};
use revshift_tests::Lacking;
use tokio::time::Instant;

use crate::{output, scenarios::Story};

/// The kinds in which revshift stores what it does.
const RECORDS: &str = "migrations,migrationshards,retirements";

/// How a story ended.
pub(crate) enum Outcome {
    Passed,
    /// The cluster lacks what it needs.
    Skipped,
    /// It failed, and passed on a new bed.
    Flaky {
        first: String,
        second: Duration,
    },
    Failed(String),
}

/// What has been told, in the order of completion.
pub(crate) type Outcomes = Vec<(String, Outcome)>;

/// Starts a bed as Calisti's upgrade procedure finds a cluster.
pub(crate) async fn new_bed(product: Option<Product>) -> Result<RealBed> {
    let start = Instant::now();
    let bed = RealBed::start(&Options { product, ..Options::default() }).await?;
    output::step("cluster", start.elapsed());
    let start = Instant::now();
    bed.install_calisti(&ControlPlane::of_procedure()).await?;
    output::step("two planes", start.elapsed());
    if bed.is_kept() {
        output::kept(&bed);
    }
    Ok(bed)
}

/// Tells stories on `beds` beds.
pub(crate) async fn on_beds(
    beds: usize,
    product: &Product,
    stories: Vec<Story>,
) -> Result<Outcomes> {
    let beds = beds.clamp(1, stories.len().max(1));
    let queue = RefCell::new(VecDeque::from(stories));
    let outcomes = RefCell::default();
    let tellers = (0..beds).map(|_| on_a_bed(product, &queue, &outcomes));
    futures::future::try_join_all(tellers).await?;
    Ok(outcomes.into_inner())
}

async fn on_a_bed(
    product: &Product,
    queue: &RefCell<VecDeque<Story>>,
    outcomes: &RefCell<Outcomes>,
) -> Result<()> {
    // What needs a bed that revshift has not seen is told first, by whoever begins first.
    let mut bed = new_bed(Some(product.clone())).await?;
    loop {
        let Some(story) = queue.borrow_mut().pop_front() else { break };
        let outcome = match tell(story, &bed).await {
            Ok(_) => Outcome::Passed,
            Err(lacking) if lacking.is::<Lacking>() => Outcome::Skipped,
            Err(first) => {
                // The old one ends before its heir takes room.
                drop(bed);
                bed = new_bed(Some(product.clone())).await?;
                match tell(story, &bed).await {
                    Ok(second) => Outcome::Flaky { first: format!("{first:#}"), second },
                    Err(second) => {
                        drop(bed);
                        bed = new_bed(Some(product.clone())).await?;
                        Outcome::Failed(format!("{first:#}; and again: {second:#}"))
                    }
                }
            }
        };
        outcomes.borrow_mut().push((story.name(), outcome));
    }
    output::usage(&bed.usage());
    Ok(())
}

/// Tells a story and says how it ended, with everything that helps to see why it failed.
async fn tell(story: Story, bed: &RealBed) -> Result<Duration> {
    let before = records(bed).await;
    let start = Instant::now();
    // The servers of a story end with it, whatever becomes of it.
    let result = story.tell(bed).await;
    let took = start.elapsed();
    let failed = result.as_ref().is_err_and(|error| !error.is::<Lacking>());
    let stored = if failed { stored(bed, &before).await } else { Ok(String::new()) };
    // One piece, as another bed speaks too.
    output::scenario(&story.name(), took, &result);
    if failed {
        output::logs(&bed.log_tails());
        output::stored(&stored);
    }
    result.map(|()| took)
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

/// Tells stories on a cluster that is not the harness': once each, as nothing puts it in order.
pub(crate) async fn on_foreign(cluster: &ForeignCluster, stories: Vec<Story>) -> Outcomes {
    let mut outcomes = Outcomes::new();
    for story in stories {
        let start = Instant::now();
        let result = story.tell_anywhere(cluster).await;
        output::scenario(&story.name(), start.elapsed(), &result);
        let outcome = match result {
            Ok(()) => Outcome::Passed,
            Err(lacking) if lacking.is::<Lacking>() => Outcome::Skipped,
            Err(error) => {
                output::logs(&cluster.log_tails());
                Outcome::Failed(format!("{error:#}"))
            }
        };
        outcomes.push((story.name(), outcome));
    }
    outcomes
}
