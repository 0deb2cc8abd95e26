//! What broke off, or was removed in the middle, and is found later.

use crate::operator::applications;
use crate::simulated::{self, SimulatedBed};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind};
use revshift_proto::v1 as proto;
use revshift_proto::v1::migration_service_client::MigrationServiceClient;
use revshift_sandbox::{Options, fixtures};
use revshift_tests::{Bed, NEW, OLD};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

const REQUEST: &str = "7d3c0a52-6a53-4b35-9d0c-0b6f2f4d8a11";

async fn create(
    bed: &SimulatedBed,
    at: &str,
    namespaces: &[&str],
) -> Result<String, tonic::Status> {
    let mut client = MigrationServiceClient::new(bed.connect(at).await.unwrap());
    let spec = proto::MigrationSpec {
        source: OLD.to_owned(),
        target: NEW.to_owned(),
        namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
        ..proto::MigrationSpec::default()
    };
    let request = proto::PlanMigrationRequest { spec: Some(spec.clone()) };
    let mut plan = client.plan_migration(request).await?.into_inner();
    let mut plan_hash = String::new();
    while let Some(part) = plan.message().await? {
        if let Some(proto::plan_migration_response::Part::Header(header)) = part.part {
            plan_hash = header.plan_hash;
        }
    }
    let request_id = REQUEST.to_owned();
    let request = proto::CreateMigrationRequest { spec: Some(spec), plan_hash, request_id };
    Ok(client.create_migration(request).await?.into_inner().migration.unwrap().id)
}

fn migration(bed: &SimulatedBed, id: &str) -> Option<Value> {
    bed.sandbox.object(&format!("/apis/revshift.dev/v1alpha1/migrations/{id}"))
}

fn label(bed: &SimulatedBed, namespace: &str) -> Value {
    let object = bed.sandbox.object(&format!("/api/v1/namespaces/{namespace}")).unwrap();
    object["metadata"]["labels"]["istio.io/rev"].clone()
}

/// A migration that was not sealed.
fn unsealed(id: &str, created: &str) -> Value {
    json!({
        "apiVersion": "revshift.dev/v1alpha1",
        "kind": "Migration",
        "metadata": { "name": id, "finalizers": ["revshift.dev/finish"] },
        "spec": {
            "source": OLD, "target": NEW, "moves": 1, "shards": 1, "rolloutTimeoutMs": 600_000,
            "requester": "revshift-server", "reason": "", "planHash": "00", "planVersion": 1,
            "created": created, "sealed": false, "control": {},
        },
    })
}

#[test]
fn a_creation_never_takes_over_the_shards_of_another_plan() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        applications(&bed, &["a", "b"]).await;
        let replica = bed.start().await.unwrap();
        let id = revshift_core::plan::migration_id("revshift-server", REQUEST);
        bed.sandbox.apply(unsealed(&id, &bed.sandbox.now().to_string()));
        let uid = migration(&bed, &id).unwrap()["metadata"]["uid"].clone();
        let namespace = bed.sandbox.object("/api/v1/namespaces/a").unwrap();
        bed.sandbox.apply(json!({
            "apiVersion": "revshift.dev/v1alpha1",
            "kind": "MigrationShard",
            "metadata": {
                "name": format!("{id}-0"),
                "labels": { "revshift.dev/migration": id },
                "finalizers": ["revshift.dev/finish"],
                "ownerReferences": [{
                    "apiVersion": "revshift.dev/v1alpha1", "kind": "Migration", "name": id,
                    "uid": uid, "controller": true,
                }],
            },
            "spec": { "migration": id, "first": 0, "moves": [{
                "namespace": "a", "uid": namespace["metadata"]["uid"],
                "before": { "revision": OLD }, "after": { "revision": NEW },
            }]},
        }));
        assert_eq!(create(&bed, &replica.address(), &["b"]).await.unwrap(), id);
        sleep(Duration::from_mins(1)).await;
        assert_eq!(migration(&bed, &id).unwrap()["status"]["state"], "SUCCEEDED");
        assert_eq!((label(&bed, "a"), label(&bed, "b")), (OLD.into(), NEW.into()));
    });
}

#[test]
fn a_migration_deleted_in_the_foreground_still_ends_and_goes() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        applications(&bed, &["a", "b"]).await;
        let replica = bed.start().await.unwrap();
        let id = create(&bed, &replica.address(), &["a", "b"]).await.unwrap();
        sleep(Duration::from_secs(3)).await;
        let kind = GroupVersionKind::gvk("revshift.dev", "v1alpha1", "Migration");
        let resource = ApiResource::from_gvk(&kind);
        let api = Api::<DynamicObject>::all_with(bed.client(), &resource);
        api.delete(&id, &DeleteParams::foreground()).await.unwrap();
        sleep(Duration::from_mins(1)).await;
        assert_eq!(migration(&bed, &id), None);
        assert!(bed.sandbox.objects("/apis/revshift.dev/v1alpha1/migrationshards").is_empty());
        // What had begun was finished.
        assert_eq!((label(&bed, "a"), label(&bed, "b")), (NEW.into(), OLD.into()));
    });
}

#[test]
fn what_was_never_sealed_is_removed_once_however_late_the_watch_is() {
    simulated::in_virtual_time(async {
        let late = Options { watch_lag: Duration::from_secs(3), ..Options::default() };
        let bed = SimulatedBed::with(late);
        let _replica = bed.start().await.unwrap();
        bed.sandbox.apply(unsealed("m-0123456789", "2020-01-01T00:00:00Z"));
        sleep(Duration::from_mins(1)).await;
        assert_eq!(migration(&bed, "m-0123456789"), None);
        let path = "/migrations/m-0123456789";
        let requests = bed.sandbox.requests();
        let writes = requests.iter().filter(|e| e.writes() && e.path.ends_with(path)).count();
        assert!(writes <= 4, "{writes} writes");
    });
}

#[test]
fn a_kind_that_is_served_in_another_version_keeps_nothing_from_being_ready() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        let kind = ("sailoperator.io", "v1alpha1", "IstioRevision", "istiorevisions", "Cluster");
        let definition = fixtures::definition(kind.0, kind.1, kind.2, kind.3, kind.4, &[]);
        bed.sandbox.apply(definition);
        bed.launch().ready().await.unwrap();
    });
}
