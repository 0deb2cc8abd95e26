//! Sidecars: which plane a new pod gets, and what happens when it cannot be asked.

use revshift_sandbox::fixtures;
use serde_json::{Value, json};

use crate::{NEW, OLD, condition, merge, pods, restart, revision, run, sandbox, send};

const SHOP: &str = "/api/v1/namespaces/shop";
const WEB: &str = "/apis/apps/v1/namespaces/shop/deployments/web";

async fn create_pod(sandbox: &revshift_sandbox::Sandbox, pod: Value) -> Value {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap().to_owned();
    let uri = format!("/api/v1/namespaces/{namespace}/pods");
    let (code, created) = send(sandbox, "POST", &uri, "application/json", &pod).await;
    assert_eq!(code, 201, "{created:#}");
    created
}

#[tokio::test(start_paused = true)]
async fn injection_follows_the_label_after_a_lag() {
    let sandbox = sandbox();
    sandbox.apply(fixtures::deployment("shop", "web", 2));
    run(&sandbox, 10).await;
    assert!(pods(&sandbox, "shop").iter().all(|pod| revision(pod).as_deref() == Some(OLD)));

    let (code, _) =
        merge(&sandbox, SHOP, &json!({ "metadata": { "labels": { "istio.io/rev": NEW } } })).await;
    assert_eq!(code, 200);
    let early = create_pod(&sandbox, fixtures::pod("shop", "early")).await;
    assert_eq!(revision(&early).as_deref(), Some(OLD));
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    let later = create_pod(&sandbox, fixtures::pod("shop", "later")).await;
    assert_eq!(revision(&later).as_deref(), Some(NEW));

    merge(&sandbox, WEB, &restart("1")).await;
    run(&sandbox, 20).await;
    let web: Vec<_> = pods(&sandbox, "shop")
        .into_iter()
        .filter(|pod| pod["metadata"]["labels"]["app"] == "web")
        .collect();
    assert_eq!(web.len(), 2);
    assert!(web.iter().all(|pod| revision(pod).as_deref() == Some(NEW)));
}

#[tokio::test(start_paused = true)]
async fn records_depend_on_the_version_of_istio() {
    let sandbox = sandbox();
    for object in fixtures::upstream_plane("1-27", "1.27.0") {
        sandbox.apply(object);
    }
    sandbox.apply(fixtures::tag_webhooks("prod", "1-27", "1.27.0"));
    sandbox.apply(fixtures::namespace("tagged", &[("istio.io/rev", "prod")]));
    let old = create_pod(&sandbox, fixtures::pod("shop", "old")).await;
    assert_eq!(old["metadata"]["annotations"]["istio.io/rev"], Value::Null);
    assert_eq!(old["metadata"]["labels"]["istio.io/rev"], OLD);
    let new = create_pod(&sandbox, fixtures::pod("tagged", "new")).await;
    assert_eq!(new["metadata"]["annotations"]["istio.io/rev"], "1-27");
    assert_eq!(new["metadata"]["labels"]["istio.io/rev"], Value::Null);
    assert_eq!(new["spec"]["containers"][1]["name"], "istio-proxy");
}

#[tokio::test(start_paused = true)]
async fn some_pods_are_not_injected() {
    let sandbox = sandbox();
    sandbox.apply(fixtures::namespace("plain", &[]));
    sandbox.apply(fixtures::namespace("dangling", &[("istio.io/rev", "gone")]));
    let mut host = fixtures::pod("shop", "host");
    host["spec"]["hostNetwork"] = json!(true);
    let opted_out =
        fixtures::with_pod_label(fixtures::pod("shop", "out"), "sidecar.istio.io/inject", "false");
    let opted_in = fixtures::with_pod_label(fixtures::pod("plain", "in"), "istio.io/rev", NEW);
    for (pod, expected) in [
        (host, None),
        (opted_out, None),
        (opted_in, Some(NEW)),
        (fixtures::pod("plain", "p"), None),
        (fixtures::pod("dangling", "p"), None),
    ] {
        let created = create_pod(&sandbox, pod).await;
        assert_eq!(revision(&created).as_deref(), expected, "{created:#}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_injector_stops_new_pods_until_it_is_back() {
    let sandbox = sandbox();
    sandbox.apply(fixtures::deployment("shop", "web", 2));
    sandbox.set_injector_down(OLD, true);
    run(&sandbox, 30).await;
    assert!(pods(&sandbox, "shop").is_empty());
    let web = sandbox.object(WEB).unwrap();
    let failure = condition(&web, "ReplicaFailure");
    assert_eq!(failure["status"], "True", "{web:#}");
    let message = failure["message"].as_str().unwrap();
    let expected = "failed calling webhook \"rev.namespace.sidecar-injector.istio.io\"";
    assert!(message.contains(expected), "{message}");
    let events = sandbox.objects("/api/v1/namespaces/shop/events");
    let event = events.iter().find(|event| event["reason"] == "FailedCreate").unwrap();
    assert!(event["count"].as_i64().unwrap() > 5);
    let (code, status) = send(
        &sandbox,
        "POST",
        "/api/v1/namespaces/shop/pods",
        "application/json",
        &fixtures::pod("shop", "p"),
    )
    .await;
    assert_eq!((code, &status["reason"]), (500, &json!("InternalError")));

    sandbox.set_injector_down(OLD, false);
    run(&sandbox, 60).await;
    let web = sandbox.object(WEB).unwrap();
    assert_eq!(web["status"]["readyReplicas"], 2);
    assert_eq!(*condition(&web, "ReplicaFailure"), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn pods_can_fail_on_one_revision_only() {
    let sandbox = sandbox();
    let web = fixtures::with_pod_label(
        fixtures::deployment("shop", "web", 1),
        "bed.revshift.dev/fails",
        "never-ready",
    );
    sandbox.apply(fixtures::with_pod_label(web, "bed.revshift.dev/fails-on", NEW));
    run(&sandbox, 10).await;
    assert_eq!(sandbox.object(WEB).unwrap()["status"]["readyReplicas"], 1);
    merge(&sandbox, SHOP, &json!({ "metadata": { "labels": { "istio.io/rev": NEW } } })).await;
    run(&sandbox, 1).await;
    merge(&sandbox, WEB, &restart("1")).await;
    run(&sandbox, 30).await;
    let all = pods(&sandbox, "shop");
    let new = all.iter().find(|pod| revision(pod).as_deref() == Some(NEW)).unwrap();
    assert_eq!(condition(new, "Ready")["status"], "False");
    assert_eq!(all.len(), 2);
}
