//! How istiods are asked: paced, for all who wait at once, and again while they are out of reach.

use crate::simulated::{self, SimulatedBed};
use http::header::AUTHORIZATION;
use revshift_sandbox::fixtures;
use revshift_server::config::{BudgetsConfig, Config};
use revshift_server::web::{Answer, Web};
use revshift_tests::{Bed, NEW, OLD};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const NAMESPACES: usize = 31;
const MOVE: [&str; 9] =
    ["migrate", "--from", OLD, "--to", NEW, "--all", "--approve-all", "--verify", "connected"];

/// When an istiod has told who is connected to it.
type Asked = Arc<Mutex<Vec<Instant>>>;

async fn bed(namespaces: usize) -> (SimulatedBed, Asked) {
    let mut bed = SimulatedBed::new();
    for index in 0..namespaces {
        let name = format!("n-{index:02}");
        bed.sandbox.apply(fixtures::namespace(&name, &[("istio.io/rev", OLD)]));
    }
    sleep(Duration::from_secs(1)).await;
    for index in 0..namespaces {
        bed.sandbox.apply(fixtures::deployment(&format!("n-{index:02}"), "web", 2));
    }
    sleep(Duration::from_secs(30)).await;
    let budgets = BudgetsConfig {
        namespaces: Some(100),
        workloads: Some(1000),
        pods: Some(1000),
        pods_per_second: Some(1000),
    };
    bed.config.send_replace(Config { budgets, ..Config::default() });
    let asked = Asked::default();
    let (sandbox, log) = (bed.sandbox.clone(), Arc::clone(&asked));
    bed.web = Web::new(move |request| {
        if request.headers().contains_key(AUTHORIZATION) {
            log.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        }
        let answer = sandbox.monitoring(&request);
        let answer = answer.unwrap_or_else(|| Err("there is no network".to_owned()));
        async move { answer.map(|(status, body)| Answer { status, body: body.into() }) }
    });
    (bed, asked)
}

#[test]
fn one_question_serves_every_namespace_that_waits() {
    simulated::in_virtual_time(async {
        let (bed, asked) = bed(NAMESPACES).await;
        let server = bed.start().await.unwrap();
        let address = server.address();
        let args = ["--server", &address].into_iter().chain(MOVE).chain(["--yes"]);
        let args = args.map(str::to_owned);
        let output = bed.revshift(args.collect()).await.unwrap();
        assert_eq!(output.status, 0, "{output:?}");
        let asked = asked.lock().unwrap();
        assert!(asked.len() < NAMESPACES, "it was asked {} times", asked.len());
        let pace = asked.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
        assert!(pace >= Duration::from_secs(2), "twice within {pace:?}");
    });
}

#[test]
fn an_istiod_that_is_out_of_reach_for_a_while_is_waited_for() {
    simulated::in_virtual_time(async {
        let (bed, asked) = bed(1).await;
        bed.sandbox.set_istiod_silent(NEW, true);
        let server = bed.start().await.unwrap();
        let address = server.address();
        let revshift = async |args: &[&str]| {
            let args = ["--server", &address].into_iter().chain(args.iter().copied());
            bed.revshift(args.map(str::to_owned).collect()).await.unwrap()
        };
        let planned = revshift(&[&MOVE[..], &["--dry-run"]].concat()).await;
        assert!(planned.stdout.contains("WARNING RS3105"), "{planned:?}");
        let made = revshift(&[&MOVE[..], &["--yes", "--detach"]].concat()).await;
        assert_eq!(made.status, 0, "{made:?}");
        let id = made.stdout.trim();
        sleep(Duration::from_mins(5)).await;
        let shown = revshift(&["status", id]).await.stdout;
        assert!(shown.contains("VERIFYING") && shown.contains("RUNNING"), "{shown}");
        assert!(asked.lock().unwrap().is_empty());
        bed.sandbox.set_istiod_silent(NEW, false);
        sleep(Duration::from_secs(30)).await;
        let shown = revshift(&["status", id]).await.stdout;
        assert!(shown.contains("SUCCEEDED"), "{shown}");
    });
}
