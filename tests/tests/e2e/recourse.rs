//! A rollback that a migration makes by itself is made once, wherever the server dies meanwhile.

use crate::simulated::{self, SimulatedBed};
use revshift_sandbox::{Exchange, Verdict, fixtures};
use revshift_tests::{Bed, NEW, OLD, Replica};
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::sleep;

/// Requests after the failure at which the server dies, each time before or after it is carried out.
const REQUESTS: usize = 10;

#[test]
fn a_failure_is_answered_once_wherever_the_server_dies() {
    for at in 0..REQUESTS {
        for applied in [false, true] {
            let died = simulated::in_virtual_time(run(at, applied));
            assert!(died, "nothing was sent after request {at}");
        }
    }
}

/// Kills the server at the write of that number after a move has failed; answers whether there was one.
async fn run(at: usize, applied: bool) -> bool {
    let what = format!("at request {at}, {}", if applied { "after it" } else { "before it" });
    let bed = SimulatedBed::new();
    for name in ["a", "b"] {
        bed.sandbox.apply(fixtures::namespace(name, &[("istio.io/rev", OLD)]));
    }
    sleep(Duration::from_secs(1)).await;
    let failing = fixtures::deployment("a", "web", 2);
    let failing = fixtures::with_pod_label(failing, "bed.revshift.dev/fails", "image-pull");
    bed.sandbox.apply(fixtures::with_pod_label(failing, "bed.revshift.dev/fails-on", NEW));
    bed.sandbox.apply(fixtures::deployment("b", "web", 2));
    sleep(Duration::from_secs(10)).await;
    let beginning = bed.sandbox.version();
    let replica = bed.start().await.unwrap();
    let server = replica.address();
    let args = ["--server", &server, "migrate", "--from", OLD, "--to", NEW, "-n", "a", "-n", "b"];
    let how = ["--failure-budget", "1", "--rollout-timeout", "5s", "--yes", "--detach"];
    let args = [&args[..], &how, &["--on-failure", "rollback-namespace"]].concat();
    let args = args.into_iter().map(str::to_owned).collect();
    let accepted = bed.revshift(args).await.unwrap();
    assert_eq!(accepted.status, 0, "{what}: {}", accepted.stderr);
    let id = accepted.stdout.trim().to_owned();

    let death = Death::default();
    let judge = death.clone();
    bed.sandbox.intercept(move |exchange| judge.judge(exchange, at, applied));
    let mut dying = Some(replica);
    let mut heir: Option<Box<dyn Replica>> = None;
    for _ in 0..1200 {
        sleep(Duration::from_millis(100)).await;
        if death.is_due()
            && let Some(dying) = dying.take()
        {
            dying.kill().await.unwrap();
            bed.sandbox.clear_intercept();
            heir = Some(bed.start().await.unwrap());
        }
        if heir.is_some() && state(&bed, &id) == "COMPLETED_WITH_EXCEPTIONS" {
            break;
        }
    }
    bed.sandbox.clear_intercept();
    sleep(Duration::from_secs(30)).await;
    let migrations = bed.sandbox.objects("/apis/revshift.dev/v1alpha1/migrations");
    let rollbacks: Vec<&Value> =
        migrations.iter().filter(|it| it["spec"]["rollbackOf"] == *id).collect();
    assert_eq!((migrations.len(), rollbacks.len()), (2, 1), "{what}");
    assert_eq!(rollbacks[0]["status"]["state"], "SUCCEEDED", "{what}");
    assert_eq!(state(&bed, &id), "COMPLETED_WITH_EXCEPTIONS", "{what}");
    for (name, revision) in [("a", OLD), ("b", NEW)] {
        let namespace = bed.sandbox.object(&format!("/api/v1/namespaces/{name}")).unwrap();
        assert_eq!(namespace["metadata"]["labels"]["istio.io/rev"], revision, "{what}");
    }
    // There and back, and never again.
    let mut labels: Vec<String> = Vec::new();
    for change in bed.sandbox.changes_after(beginning) {
        if change.kind == "Namespace" && change.reference.name == "a" {
            let label = change.object["metadata"]["labels"]["istio.io/rev"].as_str();
            labels.push(label.unwrap_or_default().to_owned());
        }
    }
    labels.dedup();
    assert_eq!(labels, [NEW, OLD], "{what}");
    death.is_due()
}

fn state(bed: &SimulatedBed, id: &str) -> String {
    let path = format!("/apis/revshift.dev/v1alpha1/migrations/{id}");
    let found = bed.sandbox.object(&path).unwrap_or_default();
    found["status"]["state"].as_str().unwrap_or_default().to_owned()
}

/// Counts writes once a move has failed, and says when the server is to die.
#[derive(Clone, Default)]
struct Death(Arc<Mutex<Option<usize>>>, Arc<AtomicUsize>);

impl Death {
    fn is_due(&self) -> bool {
        self.1.load(Ordering::Relaxed) > 0
    }

    fn judge(&self, exchange: &Exchange, at: usize, applied: bool) -> Verdict {
        if !exchange.writes() || exchange.path.contains("leases") {
            return Verdict::Pass;
        }
        if self.is_due() {
            return Verdict::HangBefore;
        }
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let body = String::from_utf8_lossy(&exchange.body);
        if count.is_none() && body.contains("\"FAILED\"") {
            *count = Some(0);
        }
        let Some(count) = count.as_mut() else { return Verdict::Pass };
        *count += 1;
        if *count <= at {
            return Verdict::Pass;
        }
        self.1.store(1, Ordering::Relaxed);
        if applied { Verdict::HangAfter } else { Verdict::HangBefore }
    }
}
