//! An extension is made once and whole, or not at all, wherever the server dies meanwhile.

use crate::operator::{applications, migrate, moves, run, serving, stored};
use crate::simulated::{self, SimulatedBed, SimulatedReplica};
use revshift_proto::v1 as proto;
use revshift_proto::v1::migration_service_client::MigrationServiceClient;
use revshift_sandbox::{Exchange, Verdict, WatchFault};
use revshift_tests::{NEW, Replica};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::sleep;

const REQUEST: &str = "2f0f5d0e-98f5-4a54-a0a5-4f4c3a1b7c21";
/// Writes that an extension leads to: the shard, the migration, the leader's epoch in the shard, and the
/// migration's status.
const WRITES: usize = 4;
const SHARDS: &str = "/apis/revshift.dev/v1alpha1/migrationshards";

/// Asks for the plan of taking `c` in, or for doing so where a hash is given.
async fn extend(
    bed: &SimulatedBed,
    server: &SimulatedReplica,
    id: &str,
    plan_hash: &str,
) -> Result<proto::ExtendMigrationResponse, tonic::Status> {
    let mut client = MigrationServiceClient::new(bed.connect(&server.address()).await.unwrap());
    let request = proto::ExtendMigrationRequest {
        id: id.to_owned(),
        namespaces: vec!["c".to_owned()],
        request_id: REQUEST.to_owned(),
        plan_hash: plan_hash.to_owned(),
        validate_only: plan_hash.is_empty(),
    };
    client.extend_migration(request).await.map(tonic::Response::into_inner)
}

/// Counts writes to revshift's own objects, and lets one of them hang.
#[derive(Clone, Default)]
struct Death(Arc<AtomicUsize>);

impl Death {
    fn judge(&self, exchange: &Exchange, at: usize, applied: bool) -> Verdict {
        if !exchange.writes() || exchange.path.contains("leases") {
            return Verdict::Pass;
        }
        match self.0.fetch_add(1, Ordering::Relaxed) {
            before if before < at => Verdict::Pass,
            before if before == at && applied => Verdict::HangAfter,
            _ => Verdict::HangBefore,
        }
    }

    fn is_due(&self, at: usize) -> bool {
        self.0.load(Ordering::Relaxed) > at
    }

    /// Waits for it, though not for ever.
    async fn comes(&self, at: usize) {
        for _ in 0..600 {
            if self.is_due(at) {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The labels that a namespace had, each once.
fn labels(bed: &SimulatedBed, beginning: u64, namespace: &str) -> Vec<String> {
    let changes = bed.sandbox.changes_after(beginning).into_iter();
    let mine = changes.filter(|it| it.kind == "Namespace" && it.reference.name == namespace);
    let label =
        |object: &Value| object["metadata"]["labels"]["istio.io/rev"].as_str().map(str::to_owned);
    let mut labels: Vec<String> = mine.filter_map(|it| label(&it.object)).collect();
    labels.dedup();
    labels
}

#[test]
fn it_is_made_once_and_whole_wherever_the_server_dies() {
    let mut deaths = 0;
    for at in 0..WRITES {
        for applied in [false, true] {
            deaths += usize::from(simulated::in_virtual_time(die(at, applied)));
        }
    }
    assert_eq!(deaths, WRITES * 2, "it dies at each write");
}

async fn die(at: usize, applied: bool) -> bool {
    let what = format!("at write {at}, {}", if applied { "after it" } else { "before it" });
    let bed = SimulatedBed::new();
    applications(&bed, &["a", "b", "c"]).await;
    let server = serving(&bed).await;
    // It stays unfinished for long enough.
    let id = migrate(&bed, &server, &["a", "b"], &["--soak", "10m"]).await;
    sleep(Duration::from_mins(1)).await;
    let beginning = bed.sandbox.version();
    let planned = extend(&bed, &server, &id, "").await.unwrap();
    let hash = planned.plan.unwrap().plan_hash;
    let death = Death::default();
    let judge = death.clone();
    bed.sandbox.intercept(move |exchange| judge.judge(exchange, at, applied));
    tokio::select! {
        biased;
        () = death.comes(at) => {}
        answer = extend(&bed, &server, &id, &hash) => {
            assert!(answer.is_ok(), "{what}: {answer:?}");
            // What follows from it is written later.
            death.comes(at).await;
        }
    }
    let due = death.is_due(at);
    drop(server);
    bed.sandbox.clear_intercept();
    let server = serving(&bed).await;
    // Whoever has got no answer asks again.
    let again = extend(&bed, &server, &id, &hash).await;
    assert!(again.is_ok(), "{what}: {again:?}");
    let third = extend(&bed, &server, &id, &hash).await.unwrap().migration.unwrap();
    assert_eq!(third.moves_total, 3, "{what}");
    let other = extend(&bed, &server, &id, &"0".repeat(64)).await.unwrap_err();
    assert_eq!(other.code(), tonic::Code::AlreadyExists, "{what}: {other}");
    run(&bed, &server, &["watch", &id]).await;
    let over = stored(&bed, &id);
    assert_eq!(over["status"]["state"], "SUCCEEDED", "{what}");
    assert_eq!((&over["spec"]["moves"], &over["spec"]["shards"]), (&3.into(), &2.into()), "{what}");
    assert_eq!(over["spec"]["extensions"].as_array().unwrap().len(), 1, "{what}");
    let told = over["spec"]["control"]["commands"].as_array().unwrap();
    assert_eq!(told.iter().filter(|it| it["verb"] == "EXTEND").count(), 1, "{what}");
    assert_eq!(moves(&bed, &id).len(), 2, "{what}");
    assert_eq!(labels(&bed, beginning, "c"), [NEW], "{what}");
    assert_eq!(bed.sandbox.objects(SHARDS).len(), 2, "{what}");
    due
}

#[test]
fn what_was_begun_and_never_finished_is_removed_after_an_hour() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        applications(&bed, &["a", "c"]).await;
        let server = serving(&bed).await;
        let id = migrate(&bed, &server, &["a"], &["--soak", "3h"]).await;
        sleep(Duration::from_mins(1)).await;
        let hash = extend(&bed, &server, &id, "").await.unwrap().plan.unwrap().plan_hash;
        let death = Death::default();
        let judge = death.clone();
        bed.sandbox.intercept(move |exchange| judge.judge(exchange, 0, true));
        let asked = extend(&bed, &server, &id, &hash);
        let hangs = tokio::time::timeout(Duration::from_secs(1), asked).await;
        assert!(hangs.is_err() || hangs.unwrap().is_err());
        drop(server);
        bed.sandbox.clear_intercept();
        let server = serving(&bed).await;
        assert_eq!(bed.sandbox.objects(SHARDS).len(), 2);
        // It does not count meanwhile.
        let shown = run(&bed, &server, &["status", &id]).await.stdout;
        assert!(shown.contains("1 of 1 moved"), "{shown}");
        sleep(Duration::from_mins(50)).await;
        assert_eq!(bed.sandbox.objects(SHARDS).len(), 2);
        sleep(Duration::from_mins(15)).await;
        assert_eq!(bed.sandbox.objects(SHARDS).len(), 1);
        assert_eq!(labels(&bed, 0, "c").last().map(String::as_str), Some("cp-v113x.istio-system"));
        // It may be taken in after all.
        let taken = extend(&bed, &server, &id, &hash).await.unwrap().migration.unwrap();
        assert_eq!(taken.moves_total, 2);
    });
}

#[test]
fn a_leader_that_has_not_seen_all_of_it_ends_nothing() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        applications(&bed, &["a", "c"]).await;
        let server = serving(&bed).await;
        let id = migrate(&bed, &server, &["a"], &["--soak", "2m"]).await;
        sleep(Duration::from_mins(1)).await;
        let hash = extend(&bed, &server, &id, "").await.unwrap().plan.unwrap().plan_hash;
        // Of migrations it hears, of their shards it does not.
        bed.sandbox.intercept(|exchange| {
            if exchange.verb == "watch" && exchange.path.ends_with("/migrationshards") {
                return Verdict::Watch(WatchFault::Silent(None));
            }
            Verdict::Pass
        });
        bed.sandbox.drop_watches();
        sleep(Duration::from_secs(5)).await;
        extend(&bed, &server, &id, &hash).await.unwrap();
        sleep(Duration::from_secs(90)).await;
        // The soak of what it knew is over, and with that all that it knew.
        let status = stored(&bed, &id)["status"].clone();
        assert_eq!((&status["state"], &status["ended"]), (&"RUNNING".into(), &false.into()));
        bed.sandbox.clear_intercept();
        bed.sandbox.drop_watches();
        run(&bed, &server, &["watch", &id]).await;
        assert_eq!(labels(&bed, 0, "c").last().map(String::as_str), Some(NEW));
        // Whoever follows is told of all that was taken in: its numbers are this leader's.
        let taken = bed.sandbox.objects(SHARDS);
        let numbers = taken.iter().map(|shard| shard["status"]["moves"][0]["sequence"].as_u64());
        assert!(
            numbers.clone().all(|number| number > Some(1 << 32)),
            "{:?}",
            numbers.collect::<Vec<_>>()
        );
    });
}
