//! Replicas of different versions beside each other.

use crate::operator::applications;
use crate::simulated::{self, SimulatedBed};
use revshift_core::plan::PLAN_VERSION;
use revshift_proto::v1::GetServerRequest;
use revshift_proto::v1::server_service_client::ServerServiceClient;
use revshift_tests::{Bed, NEW, OLD, Output, Replica};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

const LEASE: &str =
    "/apis/coordination.k8s.io/v1/namespaces/revshift-system/leases/revshift-server";

const MIGRATIONS: &str = "/apis/revshift.dev/v1alpha1/migrations";
const SHARDS: &str = "/apis/revshift.dev/v1alpha1/migrationshards";
const DEFINITION: &str =
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/migrations.revshift.dev";

/// What version 3 of the plans had in the specification of a migration.
const SPEC_3: &[&str] = &[
    "source",
    "target",
    "moves",
    "shards",
    "rolloutTimeoutMs",
    "failureBudget",
    "approvalWaves",
    "allowDowntime",
    "force",
    "onFailure",
    "rollbackOf",
    "rule",
    "requester",
    "reason",
    "planHash",
    "planVersion",
    "created",
    "sealed",
    "control",
];
/// What it had in the status of a migration.
const STATUS_3: &[&str] = &[
    "state",
    "waitingFor",
    "moved",
    "failed",
    "ended",
    "endTime",
    "finalSequence",
    "observedGeneration",
    "conditions",
];
/// What it had in the record of a move.
const MOVE_3: &[&str] = &[
    "state",
    "attempt",
    "sequence",
    "since",
    "started",
    "relabelled",
    "headcount",
    "restarts",
    "evictions",
    "cleared",
    "takenBack",
    "leftovers",
    "labelOwner",
    "skipReason",
    "problem",
];

/// An object's fields without those that are not listed.
fn keep(object: &mut Value, fields: &[&str]) {
    if let Some(object) = object.as_object_mut() {
        object.retain(|field, _| fields.contains(&field.as_str()));
    }
}

/// Leaves of everything that is stored what version 3 of the plans would have stored.
fn as_of_version_3(bed: &SimulatedBed) {
    for mut migration in bed.sandbox.objects(MIGRATIONS) {
        keep(&mut migration["spec"], SPEC_3);
        keep(&mut migration["status"], STATUS_3);
        migration["spec"]["planVersion"] = 3.into();
        bed.sandbox.apply(migration);
    }
    for mut shard in bed.sandbox.objects(SHARDS) {
        for m in shard["status"]["moves"].as_array_mut().into_iter().flatten() {
            keep(m, MOVE_3);
        }
        bed.sandbox.apply(shard);
    }
}

/// What the definition of migrations says of the plans that it can store.
fn told(bed: &SimulatedBed) -> Value {
    let definition = bed.sandbox.object(DEFINITION).unwrap();
    definition["metadata"]["annotations"]["revshift.dev/plan-version"].clone()
}

fn tell(bed: &SimulatedBed, version: u32) {
    let mut definition = bed.sandbox.object(DEFINITION).unwrap();
    definition["metadata"]["annotations"]["revshift.dev/plan-version"] = version.to_string().into();
    bed.sandbox.apply(definition);
}

async fn revshift(bed: &SimulatedBed, at: &dyn Replica, args: &[&str]) -> Output {
    let address = at.address();
    let server = ["--server", &address];
    let args = server.iter().chain(args).map(|arg| (*arg).to_owned()).collect();
    bed.revshift(args).await.unwrap()
}

/// When the lease was renewed last.
fn renewed(bed: &SimulatedBed) -> Value {
    bed.sandbox.object(LEASE).map_or(Value::Null, |lease| lease["spec"]["renewTime"].clone())
}

/// A migration that a newer version has stored, by rules that this one does not know.
fn newer(ended: bool) -> Value {
    json!({
        "apiVersion": "revshift.dev/v1alpha1",
        "kind": "Migration",
        "metadata": { "name": "m-0123456789" },
        "spec": {
            "source": "a", "target": "b", "moves": 0, "shards": 0, "rolloutTimeoutMs": 1000,
            "requester": "newer", "reason": "", "planHash": "", "planVersion": 1000,
            "created": "2026-01-01T00:00:00Z", "sealed": true, "control": {},
        },
        "status": {
            "state": if ended { "SUCCEEDED" } else { "RUNNING" },
            "moved": 0, "failed": 0, "ended": ended, "finalSequence": 0,
        },
    })
}

#[test]
fn a_replica_that_does_not_know_an_unfinished_plan_does_not_lead() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        let replica = bed.launch();
        replica.ready().await.unwrap();
        sleep(Duration::from_secs(5)).await;
        assert!(renewed(&bed).is_string());
        bed.sandbox.apply(newer(false));
        sleep(Duration::from_secs(5)).await;
        let before = renewed(&bed);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(renewed(&bed), before, "it goes on leading");
        // It still answers.
        let mut server = ServerServiceClient::new(bed.connect(&replica.address()).await.unwrap());
        assert!(server.get_server(GetServerRequest {}).await.unwrap().into_inner().ready);
        bed.sandbox.apply(newer(true));
        sleep(Duration::from_secs(5)).await;
        assert_ne!(renewed(&bed), before, "it does not lead again");
    });
}

#[test]
fn a_newer_plan_is_not_changed_by_an_older_replica() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        let replica = bed.launch();
        replica.ready().await.unwrap();
        bed.sandbox.apply(newer(false));
        sleep(Duration::from_secs(5)).await;
        let path = format!("{MIGRATIONS}/m-0123456789");
        let before = bed.sandbox.object(&path);
        for args in [
            &["pause", "m-0123456789"][..],
            &["cancel", "m-0123456789", "--yes"],
            &["rollback", "m-0123456789", "--reason", "it hurts", "--yes"],
        ] {
            let output = revshift(&bed, &replica, args).await;
            assert_eq!(output.status, 1, "{output:?}");
            assert!(output.stderr.contains("accepted by a newer revshift"), "{output:?}");
            assert!(
                output.stderr.contains("hint: name a replica of the newer version"),
                "{output:?}"
            );
        }
        assert_eq!(bed.sandbox.object(&path), before);
        // What there is to see is shown.
        let output = revshift(&bed, &replica, &["status", "m-0123456789"]).await;
        assert_eq!(output.status, 0, "{output:?}");
    });
}

#[test]
fn definitions_of_a_newer_version_are_left() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        bed.launch().ready().await.unwrap();
        assert_eq!(told(&bed), PLAN_VERSION.to_string());
        tell(&bed, 1000);
        bed.launch().ready().await.unwrap();
        assert_eq!(told(&bed), "1000");
        tell(&bed, 1);
        bed.launch().ready().await.unwrap();
        assert_eq!(told(&bed), PLAN_VERSION.to_string());
    });
}

#[test]
fn definitions_that_would_drop_something_are_stored_nothing_in() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        applications(&bed, &["a"]).await;
        let replica = bed.launch();
        replica.ready().await.unwrap();
        sleep(Duration::from_secs(5)).await;
        assert!(renewed(&bed).is_string());
        tell(&bed, 1);
        sleep(Duration::from_secs(5)).await;
        let before = renewed(&bed);
        let migrate = ["migrate", "--from", OLD, "--to", NEW, "-n", "a", "--yes", "--detach"];
        let output = revshift(&bed, &replica, &migrate).await;
        assert_eq!(output.status, 1, "{output:?}");
        assert!(output.stderr.contains("can store plans up to version 1 only"), "{output:?}");
        assert!(bed.sandbox.objects(MIGRATIONS).is_empty());
        sleep(Duration::from_secs(30)).await;
        assert_eq!(renewed(&bed), before, "it goes on leading");
        tell(&bed, PLAN_VERSION);
        sleep(Duration::from_secs(5)).await;
        let output = revshift(&bed, &replica, &migrate).await;
        assert_eq!(output.status, 0, "{output:?}");
    });
}

#[test]
fn a_migration_that_an_older_version_began_is_finished() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        let names = ["a", "b", "c", "d"];
        applications(&bed, &names).await;
        let old = bed.launch();
        old.ready().await.unwrap();
        let args = ["migrate", "--from", OLD, "--to", NEW, "--all", "--approve-all", "--yes"];
        let output = revshift(&bed, &old, &[&args[..], &["--detach"]].concat()).await;
        assert_eq!(output.status, 0, "{output:?}");
        let id = output.stdout.trim().to_owned();
        let states = || -> Vec<Value> {
            let shards = bed.sandbox.objects(SHARDS);
            let moves = shards.iter().filter_map(|shard| shard["status"]["moves"].as_array());
            moves.flatten().map(|m| m["state"].clone()).collect()
        };
        // One has moved, and the others are under way.
        while states().first().is_none_or(|first| first != "MOVED")
            || !states().contains(&"RESTARTING".into())
        {
            sleep(Duration::from_millis(50)).await;
        }
        drop(old);
        as_of_version_3(&bed);
        let new = bed.launch();
        new.ready().await.unwrap();
        let output = revshift(&bed, &new, &["watch", &id]).await;
        assert_eq!(output.status, 0, "{output:?}");
        assert_eq!(states(), vec![Value::from("MOVED"); names.len()]);
        for name in names {
            let path = format!("/apis/apps/v1/namespaces/{name}/deployments/web");
            let web = bed.sandbox.object(&path).unwrap();
            // Created, and restarted once.
            assert_eq!(web["metadata"]["generation"], 2, "{name}");
        }
    });
}

/// A move in a state that this version does not know: nobody touches its namespace until whoever knows
/// the state has brought it out of there; everything else goes on.
#[test]
fn records_that_cannot_be_read_are_left_alone() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        applications(&bed, &["a", "b"]).await;
        let first = bed.launch();
        first.ready().await.unwrap();
        let migrate = ["migrate", "--from", OLD, "--to", NEW, "--yes", "--detach", "-n"];
        let output = revshift(&bed, &first, &[&migrate[..], &["a"]].concat()).await;
        let id = output.stdout.trim().to_owned();
        let restarted = |namespace: &str| {
            let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/web");
            let web = bed.sandbox.object(&path).unwrap();
            web["spec"]["template"]["metadata"]["annotations"]["revshift.dev/restart"].clone()
        };
        while restarted("a").is_null() {
            sleep(Duration::from_millis(50)).await;
        }
        Box::new(first).kill().await.unwrap();
        let path = format!("{SHARDS}/{id}-0");
        let mut shard = bed.sandbox.object(&path).unwrap();
        let state = std::mem::replace(&mut shard["status"]["moves"][0]["state"], "SOAKING".into());
        bed.sandbox.apply(shard);

        let second = bed.launch();
        second.ready().await.unwrap();
        sleep(Duration::from_secs(20)).await;
        let output = revshift(&bed, &second, &[&migrate[..], &["b"]].concat()).await;
        assert_eq!(output.status, 0, "{output:?}");
        let other = output.stdout.trim().to_owned();
        sleep(Duration::from_mins(2)).await;
        let output = revshift(&bed, &second, &["status", &other]).await;
        assert!(output.stdout.contains("SUCCEEDED"), "{output:?}");
        // Who else wants the namespace writes nothing to it, as it is locked.
        let locked = bed.sandbox.object("/api/v1/namespaces/a").unwrap();
        let output = revshift(&bed, &second, &[&migrate[..], &["a"]].concat()).await;
        assert_eq!(output.status, 0, "{output:?}");
        sleep(Duration::from_mins(2)).await;
        assert_eq!(bed.sandbox.object("/api/v1/namespaces/a").unwrap(), locked);
        let stored = bed.sandbox.object(&path).unwrap();
        assert_eq!(stored["status"]["moves"][0]["state"], "SOAKING");
        assert_eq!(restarted("a"), format!("{id}.1"));

        let mut shard = stored;
        shard["status"]["moves"][0]["state"] = state;
        bed.sandbox.apply(shard);
        sleep(Duration::from_mins(2)).await;
        let output = revshift(&bed, &second, &["status", &id]).await;
        assert!(output.stdout.contains("SUCCEEDED"), "{output:?}");
    });
}
