//! Many namespaces, moved by the real server in virtual time while every stored change is judged.
//!
//! `cargo test` moves a thousand of two pods; `REVSHIFT_SCALE=NAMESPACES,PODS` moves as many as it says,
//! each with a Deployment of so many pods, and prints what that took.

mod judge;

use crate::simulated::{self, SimulatedBed};
use judge::{Judge, Limits};
use revshift_sandbox::{Options, fixtures};
use revshift_server::config::{BudgetsConfig, Config};
use revshift_tests::{Bed, NEW, OLD};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What is moved where nothing else was asked for: namespaces, and pods in each.
const USUAL: (usize, usize) = (1_000, 2);
/// Namespaces that stay.
const BYSTANDERS: usize = 10;
/// What may be under way at once.
const LIMITS: Limits = Limits { namespaces: 250, workloads: 200, pods: 1_500, rate: 500 };
/// How often the changes are judged; the sandbox keeps those of a longer time.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// So many changes are kept.
const HISTORY: usize = 50_000;

fn asked() -> Option<(usize, usize)> {
    let text = std::env::var("REVSHIFT_SCALE").ok()?;
    let (namespaces, pods) = text.split_once(',')?;
    Some((namespaces.parse().ok()?, pods.parse().ok()?))
}

#[test]
fn many_namespaces_move_within_their_budgets() {
    let (namespaces, pods) = asked().unwrap_or(USUAL);
    simulated::in_virtual_time(moved(namespaces, pods));
}

fn name(index: usize) -> String {
    format!("n-{index:05}")
}

/// A bed whose first namespaces are on the old plane and all of whose pods are ready.
async fn populated(namespaces: usize, pods: usize) -> SimulatedBed {
    let bed = SimulatedBed::with(Options { history: Some(HISTORY), ..Options::default() });
    let all = || (0..namespaces + BYSTANDERS).map(name);
    for (index, name) in all().enumerate() {
        let labels = [("istio.io/rev", OLD)];
        let labels = if index < namespaces { &labels[..] } else { &[] };
        bed.sandbox.apply(fixtures::namespace(&name, labels));
    }
    sleep(Duration::from_secs(1)).await;
    for name in all() {
        let mut web = fixtures::deployment(&name, "web", 1);
        web["spec"]["replicas"] = pods.into();
        bed.sandbox.apply(web);
        // Whole clusters do not start at once either.
        sleep(Duration::from_millis(2)).await;
    }
    sleep(Duration::from_secs(30)).await;
    bed
}

async fn moved(namespaces: usize, pods: usize) {
    let began = std::time::SystemTime::UNIX_EPOCH.elapsed();
    let bed = populated(namespaces, pods).await;
    let mut judge = Judge::new(&bed.sandbox, LIMITS, namespaces, pods);
    bed.config.send_replace(Config {
        budgets: BudgetsConfig {
            namespaces: Some(LIMITS.namespaces),
            workloads: Some(LIMITS.workloads),
            pods: Some(LIMITS.pods),
            pods_per_second: Some(LIMITS.rate),
        },
        ..Config::default()
    });
    let server = bed.start().await.unwrap();
    let start = Instant::now();
    let address = server.address();
    let args = ["--server", &address, "migrate", "--from", OLD, "--to", NEW, "--all"];
    let args = args.into_iter().chain(["--approve-all", "--yes", "--detach"]);
    let output = bed.revshift(args.map(str::to_owned).collect()).await.unwrap();
    assert_eq!(output.status, 0, "{output:?}");
    while !judge.look(&bed.sandbox) {
        assert!(start.elapsed() < Duration::from_hours(12), "no end: {judge:?}");
        sleep(LOOK_EVERY).await;
    }
    let makespan = start.elapsed();
    judge.end(&bed.sandbox);
    server.stop().await.unwrap();
    let ended = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let took = ended.saturating_sub(began.unwrap());
    println!(
        "moved {namespaces} namespaces with {} pods in {} s of virtual time and {:.1} s of wall time: \
         {judge}",
        namespaces * pods,
        makespan.as_secs(),
        took.as_secs_f64(),
    );
}
