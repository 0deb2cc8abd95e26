//! Replicas of different versions beside each other.

use crate::simulated::{self, SimulatedBed};
use revshift_proto::v1::GetServerRequest;
use revshift_proto::v1::server_service_client::ServerServiceClient;
use revshift_tests::Replica;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

const LEASE: &str =
    "/apis/coordination.k8s.io/v1/namespaces/revshift-system/leases/revshift-server";

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
