//! Reads and writes: codes, bodies, versions, patches, lists.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{
    DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams, Preconditions,
};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, ResourceExt};
use revshift_sandbox::{Sandbox, fixtures};
use serde_json::{Value, json};

use crate::{client, merge, run, sandbox, send};

const SHOP: &str = "/api/v1/namespaces/shop";
const JSON: &str = "application/json";

fn planes(sandbox: &Sandbox) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("servicemesh.cisco.com", "v1alpha1", "IstioControlPlane");
    Api::namespaced_with(client(sandbox), "istio-system", &ApiResource::from_gvk(&kind))
}

fn refusal<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> (u16, String, String) {
    match result {
        Err(kube::Error::Api(status)) => {
            (status.code, status.reason.clone(), status.message.clone())
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn objects_get_what_the_server_adds() {
    let sandbox = sandbox();
    let api: Api<Deployment> = Api::namespaced(client(&sandbox), "shop");
    let web: Deployment = serde_json::from_value(fixtures::deployment("shop", "web", 1)).unwrap();
    let parameters = PostParams { field_manager: Some("me".into()), ..PostParams::default() };
    let created = api.create(&parameters, &web).await.unwrap();
    let created = serde_json::to_value(&created).unwrap();
    assert_eq!(created["metadata"]["generation"], 1);
    assert_eq!(created["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%");
    assert_eq!(created["spec"]["progressDeadlineSeconds"], 600);
    assert_eq!(created["metadata"]["managedFields"][0]["manager"], "me");
    assert_eq!(created["metadata"]["creationTimestamp"], "2026-01-01T00:00:00Z");

    let again = refusal(api.create(&PostParams::default(), &web).await);
    assert_eq!(again.0, 409);
    assert_eq!(again.1, "AlreadyExists");
    assert_eq!(again.2, "deployments.apps \"web\" already exists");
    let (code, reason, message) = refusal(api.get("none").await);
    assert_eq!((code, reason.as_str()), (404, "NotFound"));
    assert_eq!(message, "deployments.apps \"none\" not found");

    let shop = sandbox.object(SHOP).unwrap();
    assert_eq!(shop["metadata"]["labels"]["kubernetes.io/metadata.name"], "shop");
    assert_eq!(shop["status"]["phase"], "Active");
}

#[tokio::test(start_paused = true)]
async fn generate_name_makes_distinct_names() {
    let sandbox = sandbox();
    let api: Api<ConfigMap> = Api::namespaced(client(&sandbox), "shop");
    let mut map = ConfigMap::default();
    map.metadata.generate_name = Some("map-".into());
    let one = api.create(&PostParams::default(), &map).await.unwrap();
    let other = api.create(&PostParams::default(), &map).await.unwrap();
    assert!(one.name_any().starts_with("map-") && one.name_any().len() == 9);
    assert_ne!(one.name_any(), other.name_any());
}

#[tokio::test(start_paused = true)]
async fn a_guarded_merge_patch_fails_on_another_version_or_uid() {
    let sandbox = sandbox();
    let api: Api<Namespace> = Api::all(client(&sandbox));
    let before = api.get("shop").await.unwrap();
    let label = |version: &str, value: &str| {
        Patch::Merge(json!({
            "metadata": { "resourceVersion": version, "labels": { "a": value } },
        }))
    };
    let version = before.resource_version().unwrap();
    let parameters = PatchParams::apply("revshift");
    let parameters = PatchParams { field_manager: parameters.field_manager, ..Default::default() };
    let after = api.patch("shop", &parameters, &label(&version, "1")).await.unwrap();
    assert_ne!(after.resource_version(), before.resource_version());

    let stale = refusal(api.patch("shop", &parameters, &label(&version, "2")).await);
    assert_eq!((stale.0, stale.1.as_str()), (409, "Conflict"));
    assert!(stale.2.contains("the object has been modified"), "{}", stale.2);
    let (code, _) = merge(&sandbox, SHOP, &json!({ "metadata": { "uid": "other" } })).await;
    assert_eq!(code, 409);

    // Nothing changed: the version stays.
    let version = after.resource_version().unwrap();
    let same = api.patch("shop", &parameters, &label(&version, "1")).await.unwrap();
    assert_eq!(same.resource_version(), after.resource_version());
    let (code, _) = merge(&sandbox, "/api/v1/namespaces/none", &json!({})).await;
    assert_eq!(code, 404);
}

#[tokio::test(start_paused = true)]
async fn managed_fields_name_the_last_writer() {
    let sandbox = sandbox();
    let note = |value: &str| json!({ "metadata": { "annotations": { "note": value } } });
    merge(&sandbox, &format!("{SHOP}?fieldManager=revshift"), &note("1")).await;
    merge(&sandbox, &format!("{SHOP}?fieldManager=argocd"), &note("2")).await;
    let shop = sandbox.object(SHOP).unwrap();
    let owners: Vec<_> = shop["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| !entry["fieldsV1"]["f:metadata"]["f:annotations"]["f:note"].is_null())
        .map(|entry| entry["manager"].as_str().unwrap())
        .collect();
    assert_eq!(owners, ["argocd"]);
}

#[tokio::test(start_paused = true)]
async fn json_patches_test_before_they_write() {
    let sandbox = sandbox();
    let kind = "application/json-patch+json";
    let patch = |expected: &str| {
        json!([
            { "op": "test", "path": "/metadata/labels/istio.io~1rev", "value": expected },
            { "op": "replace", "path": "/metadata/labels/istio.io~1rev", "value": "new" },
            { "op": "add", "path": "/metadata/annotations", "value": { "a": "b" } },
        ])
    };
    let (code, status) = send(&sandbox, "PATCH", SHOP, kind, &patch("other")).await;
    assert_eq!((code, &status["reason"]), (422, &json!("Invalid")));
    let (code, _) = send(&sandbox, "PATCH", SHOP, kind, &patch(crate::OLD)).await;
    assert_eq!(code, 200);
    let shop = sandbox.object(SHOP).unwrap();
    assert_eq!(shop["metadata"]["labels"]["istio.io/rev"], "new");
    assert_eq!(shop["metadata"]["annotations"]["a"], "b");
}

#[tokio::test(start_paused = true)]
async fn strategic_and_apply_patches_merge_lists_by_key() {
    let sandbox = sandbox();
    sandbox.apply(fixtures::deployment("shop", "web", 1));
    let web = "/apis/apps/v1/namespaces/shop/deployments/web";
    let containers = |image: &str| {
        json!({ "spec": { "template": { "spec": { "containers": [
            { "name": "app", "image": image }, { "name": "extra", "image": "x" },
        ] } } } })
    };
    let kind = "application/strategic-merge-patch+json";
    let (code, patched) = send(&sandbox, "PATCH", web, kind, &containers("two")).await;
    assert_eq!(code, 200, "{patched:#}");
    let all = patched["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(
        (&all[0]["image"], &all[0]["imagePullPolicy"]),
        (&json!("two"), &json!("IfNotPresent"))
    );

    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "a": "1" } });
    let uri = "/api/v1/namespaces/shop/configmaps/new?fieldManager=me&force=true";
    let (code, _) = send(&sandbox, "PATCH", uri, "application/apply-patch+yaml", &map).await;
    assert_eq!(code, 201);
    let plane =
        "/apis/servicemesh.cisco.com/v1alpha1/namespaces/istio-system/istiocontrolplanes/cp-v115x";
    assert_eq!(send(&sandbox, "PATCH", plane, kind, &json!({})).await.0, 415);
}

#[tokio::test(start_paused = true)]
async fn put_needs_the_present_version() {
    let sandbox = sandbox();
    let api: Api<ConfigMap> = Api::namespaced(client(&sandbox), "shop");
    let mut map = ConfigMap::default();
    map.metadata.name = Some("one".into());
    let first = api.create(&PostParams::default(), &map).await.unwrap();
    let mut next = first.clone();
    next.data = Some([("a".to_owned(), "b".to_owned())].into());
    api.replace("one", &PostParams::default(), &next).await.unwrap();
    let stale = refusal(api.replace("one", &PostParams::default(), &next).await);
    assert_eq!((stale.0, stale.1.as_str()), (409, "Conflict"));
}

#[tokio::test(start_paused = true)]
async fn status_and_spec_are_written_apart() {
    let sandbox = sandbox();
    let planes = planes(&sandbox);
    let before = planes.get("cp-v115x").await.unwrap();
    let both = json!({ "spec": { "mode": "PASSIVE" }, "status": { "status": "Reconciling" } });
    let parameters = PatchParams::default();
    let spec = planes.patch("cp-v115x", &parameters, &Patch::Merge(&both)).await.unwrap();
    assert_eq!(spec.data["status"]["status"], "Available");
    assert_eq!(spec.data["spec"]["mode"], "PASSIVE");
    let generation = before.metadata.generation.unwrap();
    assert_eq!(spec.metadata.generation, Some(generation + 1));
    let both = json!({ "spec": { "mode": "ACTIVE" }, "status": { "status": "Reconciling" } });
    let status = planes.patch_status("cp-v115x", &parameters, &Patch::Merge(&both)).await.unwrap();
    assert_eq!(status.data["status"]["status"], "Reconciling");
    assert_eq!(status.data["spec"]["mode"], "PASSIVE");
    assert_eq!(status.metadata.generation, Some(generation + 1));
}

#[tokio::test(start_paused = true)]
async fn an_absent_definition_is_a_404_and_an_unknown_feature_a_501() {
    let sandbox = Sandbox::new(revshift_sandbox::Options::default());
    let (code, ..) = refusal(planes(&sandbox).list(&ListParams::default()).await);
    assert_eq!(code, 404);
    let definition = fixtures::istio_control_plane_definition();
    let uri = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let (code, created) = send(&sandbox, "POST", uri, JSON, &definition).await;
    assert_eq!(code, 201);
    assert_eq!(crate::condition(&created, "Established")["status"], "True");
    sandbox.apply(fixtures::namespace("istio-system", &[]));
    sandbox.apply(fixtures::istio_control_plane("cp", "istio-system", "1.17.8"));
    assert_eq!(planes(&sandbox).list(&ListParams::default()).await.unwrap().items.len(), 1);
    let uri = format!("{uri}/istiocontrolplanes.servicemesh.cisco.com");
    assert_eq!(send(&sandbox, "DELETE", &uri, JSON, &json!({})).await.0, 200);
    let (code, ..) = refusal(planes(&sandbox).list(&ListParams::default()).await);
    assert_eq!(code, 404);

    let (code, status) = send(&sandbox, "GET", "/api/v1/secrets", JSON, &Value::Null).await;
    assert_eq!(code, 501);
    assert_eq!(status["message"], "the sandbox does not simulate GET /api/v1/secrets");
}

#[tokio::test(start_paused = true)]
async fn lists_select_and_page_one_moment() {
    let sandbox = sandbox();
    for number in 0..7 {
        let pod = fixtures::pod("shop", &format!("p-{number}"));
        let parity = if number % 2 == 0 { "even" } else { "odd" };
        sandbox.apply(fixtures::with_pod_label(pod, "parity", parity));
    }
    let api: Api<Pod> = Api::all(client(&sandbox));
    for (labels, expected) in [
        ("parity=even", 4),
        ("parity!=even", 3),
        ("parity in (even,odd),app notin (p-0)", 6),
        ("!parity", 0),
        ("parity", 7),
    ] {
        let found = api.list(&ListParams::default().labels(labels)).await.unwrap();
        assert_eq!(found.items.len(), expected, "{labels}");
    }
    for (fields, expected) in [
        ("metadata.name=p-3", 1),
        ("status.phase!=Succeeded,status.phase!=Failed", 7),
        ("metadata.namespace=default", 0),
        ("status.phase=Pending,metadata.name!=p-0", 6),
    ] {
        let found = api.list(&ListParams::default().fields(fields)).await.unwrap();
        assert_eq!(found.items.len(), expected, "{fields}");
    }
    let unknown = refusal(api.list(&ListParams::default().fields("spec.foo=1")).await);
    assert_eq!(unknown.0, 400);

    let page = api.list(&ListParams::default().limit(3)).await.unwrap();
    assert_eq!(page.metadata.remaining_item_count, Some(4));
    sandbox.remove("/api/v1/namespaces/shop/pods/p-4");
    let token = page.metadata.continue_.clone().unwrap();
    let next = api.list(&ListParams::default().limit(3).continue_token(&token)).await.unwrap();
    let names: Vec<_> = next.items.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["p-3", "p-4", "p-5"]);
    assert_eq!(next.metadata.resource_version, page.metadata.resource_version);
    sandbox.compact();
    let gone = refusal(api.list(&ListParams::default().continue_token(&token)).await);
    assert_eq!((gone.0, gone.1.as_str()), (410, "Expired"));
}

#[tokio::test(start_paused = true)]
async fn metadata_can_be_had_alone() {
    let sandbox = sandbox();
    sandbox.apply(fixtures::pod("shop", "one"));
    let api: Api<Pod> = Api::namespaced(client(&sandbox), "shop");
    let list = api.list_metadata(&ListParams::default()).await.unwrap();
    assert_eq!(list.items[0].name_any(), "one");
    let one = api.get_metadata("one").await.unwrap();
    assert!(one.types.is_some_and(|types| types.kind == "PartialObjectMetadata"));
}

#[tokio::test(start_paused = true)]
async fn preconditions_guard_deletion_and_eviction() {
    let sandbox = sandbox();
    sandbox.apply(fixtures::deployment("shop", "web", 2));
    run(&sandbox, 10).await;
    let api: Api<Pod> = Api::namespaced(client(&sandbox), "shop");
    let pod = api.list(&ListParams::default()).await.unwrap().items.remove(0);
    let wrong = Preconditions { uid: Some("other".into()), resource_version: None };
    let parameters = DeleteParams::default().preconditions(wrong);
    assert_eq!(refusal(api.delete(&pod.name_any(), &parameters).await).0, 409);

    let budget = json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": { "name": "web", "namespace": "shop" },
        "spec": { "minAvailable": 2, "selector": { "matchLabels": { "app": "web" } } },
    });
    sandbox.apply(budget);
    let evicted = refusal(api.evict(&pod.name_any(), &EvictParams::default()).await);
    assert_eq!((evicted.0, evicted.1.as_str()), (429, "TooManyRequests"));
    sandbox.remove("/apis/policy/v1/namespaces/shop/poddisruptionbudgets/web");
    api.evict(&pod.name_any(), &EvictParams::default()).await.unwrap();
    run(&sandbox, 10).await;
    assert!(api.get_opt(&pod.name_any()).await.unwrap().is_none());
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn custom_objects_are_held_to_their_schema() {
    let sandbox = Sandbox::new(revshift_sandbox::Options::default());
    let mut definition =
        fixtures::definition("revshift.dev", "v1alpha1", "Migration", "migrations", "Cluster", &[]);
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!({
        "type": "object",
        "required": ["spec"],
        "properties": {
            "spec": {
                "type": "object",
                "required": ["source"],
                "properties": {
                    "source": { "type": "string", "minLength": 1 },
                    "mode": { "type": "string", "enum": ["Fast", "Slow"], "default": "Slow" },
                    "note": { "type": "string", "nullable": true },
                    "labels": { "type": "object", "additionalProperties": { "type": "string" } },
                },
            },
            "status": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
        },
    });
    sandbox.apply(definition);
    let uri = "/apis/revshift.dev/v1alpha1/migrations";
    for (number, (spec, expected)) in [
        (json!({ "source": "a", "labels": { "x": "y" }, "note": null, "other": 1 }), 201),
        (json!({}), 422),
        (json!({ "source": "" }), 422),
        (json!({ "source": 1 }), 422),
        (json!({ "source": "a", "mode": "Other" }), 422),
        (json!({ "source": "a", "labels": { "x": 1 } }), 422),
    ]
    .into_iter()
    .enumerate()
    {
        let object = json!({
            "apiVersion": "revshift.dev/v1alpha1",
            "kind": "Migration",
            "metadata": { "name": format!("m-{number}") },
            "spec": spec,
        });
        let (code, created) = send(&sandbox, "POST", uri, JSON, &object).await;
        assert_eq!(code, expected, "{created:#}");
        if code == 201 {
            let stored =
                json!({ "source": "a", "labels": { "x": "y" }, "note": null, "mode": "Slow" });
            assert_eq!(created["spec"], stored);
        }
    }
    let status = json!({ "status": { "any": { "thing": 1 } } });
    let (code, updated) = merge(&sandbox, &format!("{uri}/m-0/status"), &status).await;
    assert_eq!((code, &updated["status"]), (200, &json!({ "any": { "thing": 1 } })));
}

async fn decode<K>(sandbox: &Sandbox, expected: usize)
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let found = Api::<K>::all(client(sandbox)).list(&ListParams::default()).await.unwrap();
    assert!(found.items.len() >= expected, "{}: {}", K::kind(&()), found.items.len());
}

#[tokio::test(start_paused = true)]
async fn typed_clients_can_read_whatever_is_there() {
    use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
    use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, ReplicaSet, StatefulSet};
    use k8s_openapi::api::batch::v1::{CronJob, Job};
    use k8s_openapi::api::core::v1::{Event, ResourceQuota};
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

    let sandbox = sandbox();
    sandbox.apply(fixtures::deployment("shop", "web", 2));
    let bad = fixtures::deployment("shop", "bad", 1);
    sandbox.apply(fixtures::with_pod_label(bad, "bed.revshift.dev/fails", "crash-loop"));
    sandbox.apply(fixtures::stateful_set("shop", "db", 1));
    sandbox.apply(fixtures::daemon_set("shop", "agent"));
    sandbox.apply(fixtures::replica_set("shop", "bare", 1));
    sandbox.apply(fixtures::job("shop", "job", 5));
    sandbox.apply(fixtures::cron_job("shop", "nightly", "0 1 * * *"));
    sandbox.apply(fixtures::pod_quota("shop", "quota", 100));
    sandbox.apply(fixtures::istio_revision_definition());
    sandbox.apply(fixtures::istio_revision("default-v1-27-0", "istio-system", "v1.27.0"));
    run(&sandbox, 60).await;
    decode::<Namespace>(&sandbox, 5).await;
    decode::<Pod>(&sandbox, 8).await;
    decode::<Event>(&sandbox, 10).await;
    decode::<Deployment>(&sandbox, 4).await;
    decode::<ReplicaSet>(&sandbox, 5).await;
    decode::<StatefulSet>(&sandbox, 1).await;
    decode::<DaemonSet>(&sandbox, 1).await;
    decode::<ControllerRevision>(&sandbox, 2).await;
    decode::<Job>(&sandbox, 1).await;
    decode::<CronJob>(&sandbox, 1).await;
    decode::<ResourceQuota>(&sandbox, 1).await;
    decode::<MutatingWebhookConfiguration>(&sandbox, 2).await;
    decode::<CustomResourceDefinition>(&sandbox, 2).await;

    let discovery = kube::discovery::Discovery::new(client(&sandbox)).run().await.unwrap();
    assert!(discovery.groups().any(|group| group.name() == "servicemesh.cisco.com"));
}
