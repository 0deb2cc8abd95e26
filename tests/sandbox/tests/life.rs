//! How objects end: finalizers, owners, namespaces; and quotas, which keep some from starting.

use revshift_sandbox::fixtures;
use serde_json::{Value, json};

use crate::{condition, merge, pods, restart, run, sandbox, send};

const JSON: &str = "application/json";
const WEB: &str = "/apis/apps/v1/namespaces/shop/deployments/web";

#[tokio::test(start_paused = true)]
async fn a_finalizer_holds_an_object_until_it_is_taken_away() {
    let sandbox = sandbox();
    let plane =
        "/apis/servicemesh.cisco.com/v1alpha1/namespaces/istio-system/istiocontrolplanes/cp-v115x";
    let hold = json!({ "metadata": { "finalizers": ["example.com/hold"] } });
    merge(&sandbox, plane, &hold).await;
    let (code, marked) = send(&sandbox, "DELETE", plane, JSON, &json!({})).await;
    assert_eq!(code, 200);
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    run(&sandbox, 5).await;
    assert!(sandbox.object(plane).is_some());
    let (code, _) = merge(&sandbox, plane, &json!({ "metadata": { "finalizers": null } })).await;
    assert_eq!(code, 200);
    assert!(sandbox.object(plane).is_none());
}

#[tokio::test(start_paused = true)]
async fn dependents_go_after_or_before_their_owner() {
    for policy in ["Background", "Foreground"] {
        let sandbox = sandbox();
        sandbox.apply(fixtures::deployment("shop", "web", 2));
        run(&sandbox, 10).await;
        let options = json!({ "propagationPolicy": policy });
        send(&sandbox, "DELETE", WEB, JSON, &options).await;
        assert_eq!(sandbox.object(WEB).is_some(), policy == "Foreground");
        run(&sandbox, 10).await;
        assert!(pods(&sandbox, "shop").is_empty(), "{policy}");
        assert!(sandbox.objects("/apis/apps/v1/namespaces/shop/replicasets").is_empty());
        assert!(sandbox.object(WEB).is_none(), "{policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn orphans_stay() {
    let sandbox = sandbox();
    sandbox.apply(fixtures::deployment("shop", "web", 1));
    run(&sandbox, 10).await;
    send(&sandbox, "DELETE", WEB, JSON, &json!({ "propagationPolicy": "Orphan" })).await;
    run(&sandbox, 10).await;
    assert!(sandbox.object(WEB).is_none());
    assert_eq!(pods(&sandbox, "shop").len(), 1);
    let set = sandbox.objects("/apis/apps/v1/namespaces/shop/replicasets").remove(0);
    assert_eq!(set["metadata"]["ownerReferences"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_namespace_takes_its_contents_along() {
    let sandbox = sandbox();
    sandbox.apply(fixtures::deployment("shop", "web", 2));
    sandbox.apply(fixtures::job("shop", "job", 3));
    run(&sandbox, 10).await;
    let shop = "/api/v1/namespaces/shop";
    let (code, marked) = send(&sandbox, "DELETE", shop, JSON, &json!({})).await;
    assert_eq!((code, &marked["status"]["phase"]), (200, &json!("Terminating")));
    let uri = format!("{shop}/configmaps");
    let (code, status) =
        send(&sandbox, "POST", &uri, JSON, &json!({ "metadata": { "name": "a" } })).await;
    assert_eq!(code, 403);
    assert_eq!(status["details"]["causes"][0]["reason"], "NamespaceTerminating");
    run(&sandbox, 30).await;
    assert_eq!(sandbox.object(shop), None);
    assert!(pods(&sandbox, "shop").is_empty());
    let (code, _) =
        send(&sandbox, "POST", &uri, JSON, &json!({ "metadata": { "name": "a" } })).await;
    assert_eq!(code, 404);
}

#[tokio::test(start_paused = true)]
async fn a_pod_terminates_with_grace() {
    let sandbox = sandbox();
    sandbox.apply(fixtures::pod("shop", "one"));
    run(&sandbox, 5).await;
    let one = "/api/v1/namespaces/shop/pods/one";
    let (_, marked) = send(&sandbox, "DELETE", one, JSON, &json!({})).await;
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    assert!(sandbox.object(one).is_some());
    run(&sandbox, 2).await;
    assert_eq!(sandbox.object(one), None);
}

#[tokio::test(start_paused = true)]
async fn a_quota_stops_the_surge_of_a_rollout() {
    let sandbox = sandbox();
    let mut web = fixtures::deployment("shop", "web", 2);
    web["spec"]["strategy"] =
        json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } });
    sandbox.apply(web);
    sandbox.apply(fixtures::pod_quota("shop", "pods", 2));
    run(&sandbox, 10).await;
    let quota = sandbox.object("/api/v1/namespaces/shop/resourcequotas/pods").unwrap();
    assert_eq!(quota["status"]["used"]["pods"], "2", "{quota:#}");
    merge(&sandbox, WEB, &restart("1")).await;
    run(&sandbox, 20).await;
    let web = sandbox.object(WEB).unwrap();
    let message = condition(&web, "ReplicaFailure")["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("exceeded quota: pods, requested: pods=1, used: pods=2, limited: pods=2"),
        "{message}"
    );
    assert_eq!(web["status"]["updatedReplicas"], Value::Null);

    merge(
        &sandbox,
        "/api/v1/namespaces/shop/resourcequotas/pods",
        &json!({ "spec": { "hard": { "pods": "3" } } }),
    )
    .await;
    run(&sandbox, 120).await;
    assert_eq!(sandbox.object(WEB).unwrap()["status"]["updatedReplicas"], 2);
}
