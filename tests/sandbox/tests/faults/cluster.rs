//! What faults do to the cluster: etcd, clocks, other people, agents, and pods that fail.

use std::time::Duration;

use revshift_sandbox::{Sandbox, fixtures};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::named::inject;
use crate::{NEW, OLD, merge, pods, revision, run, sandbox, send};

const SHOP: &str = "/api/v1/namespaces/shop";
const WEB: &str = "/apis/apps/v1/namespaces/shop/deployments/web";

async fn label(sandbox: &Sandbox, value: &str) -> u16 {
    let patch = json!({ "metadata": { "labels": { "istio.io/rev": value } } });
    merge(sandbox, SHOP, &patch).await.0
}

fn labelled(sandbox: &Sandbox) -> Value {
    sandbox.object(SHOP).unwrap()["metadata"]["labels"]["istio.io/rev"].clone()
}

#[tokio::test(start_paused = true)]
async fn etcd_is_restored_from_a_backup() {
    for (fault, ahead) in [("restored=30s", false), ("restored-ahead=30s", true)] {
        let sandbox = sandbox();
        sandbox.apply(fixtures::deployment("shop", "web", 2));
        run(&sandbox, 60).await;
        let (backup, uids) = (sandbox.version(), uids(&sandbox));
        sleep(Duration::from_secs(40)).await;
        label(&sandbox, NEW).await;
        merge(&sandbox, WEB, &crate::restart("one")).await;
        run(&sandbox, 10).await;
        assert!(uids.iter().all(|uid| !self::uids(&sandbox).contains(uid)));
        let newest = sandbox.version();

        let faults = inject(&sandbox, 0, &[&format!("{fault}:get")]);
        let (_, shop) = send(&sandbox, "GET", SHOP, "", &Value::Null).await;
        assert_eq!(faults.struck()[0].1, 1);
        assert_eq!(shop["metadata"]["labels"]["istio.io/rev"], OLD);
        assert_eq!(sandbox.version() > newest, ahead);
        assert_eq!(sandbox.version() == backup, !ahead);
        assert_eq!(self::uids(&sandbox), uids);
        // The cluster lives on from there.
        merge(&sandbox, WEB, &crate::restart("two")).await;
        run(&sandbox, 60).await;
        let all = pods(&sandbox, "shop");
        assert_eq!(all.len(), 2, "{all:?}");
        assert!(all.iter().all(|pod| pod["metadata"]["annotations"]["restart"] == "two"));
    }
}

fn uids(sandbox: &Sandbox) -> Vec<Value> {
    let mut uids: Vec<_> =
        pods(sandbox, "shop").iter().map(|pod| pod["metadata"]["uid"].clone()).collect();
    uids.sort_by_key(ToString::to_string);
    uids
}

#[tokio::test(start_paused = true)]
async fn somebody_is_there_first() {
    let sandbox = sandbox();
    let version = sandbox.object(SHOP).unwrap()["metadata"]["resourceVersion"].clone();
    inject(&sandbox, 0, &["touched:patch namespaces"]);
    let guarded = json!({ "metadata": { "resourceVersion": version, "labels": { "a": "b" } } });
    assert_eq!(merge(&sandbox, SHOP, &guarded).await.0, 409);

    inject(&sandbox, 0, &["relabelled:get namespaces shop"]);
    send(&sandbox, "GET", SHOP, "", &Value::Null).await;
    assert_eq!(labelled(&sandbox), "elsewhere");

    let before = sandbox.now();
    inject(&sandbox, 0, &["clock-jump=-1h:get"]);
    send(&sandbox, "GET", SHOP, "", &Value::Null).await;
    assert!(sandbox.now() < before);

    let lease = "/apis/coordination.k8s.io/v1/namespaces/shop/leases/one";
    for (fault, holder) in [("lease-stolen", Some(json!("somebody-else"))), ("lease-deleted", None)]
    {
        sandbox.apply(json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": "one", "namespace": "shop" },
            "spec": { "holderIdentity": "me" },
        }));
        inject(&sandbox, 0, &[fault]);
        send(&sandbox, "GET", lease, "", &Value::Null).await;
        let found = sandbox.object(lease).map(|lease| lease["spec"]["holderIdentity"].clone());
        assert_eq!(found, holder, "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_namespace_is_deleted_or_recreated() {
    let sandbox = sandbox();
    sandbox.apply(fixtures::deployment("shop", "web", 1));
    run(&sandbox, 10).await;
    let uid = sandbox.object(SHOP).unwrap()["metadata"]["uid"].clone();
    inject(&sandbox, 0, &["namespace-recreated:get deployments"]);
    assert_eq!(send(&sandbox, "GET", WEB, "", &Value::Null).await.0, 404);
    assert_ne!(sandbox.object(SHOP).unwrap()["metadata"]["uid"], uid);
    assert_eq!(labelled(&sandbox), OLD);
    inject(&sandbox, 0, &["namespace-deleted:get namespaces"]);
    send(&sandbox, "GET", SHOP, "", &Value::Null).await;
    run(&sandbox, 10).await;
    assert!(sandbox.object(SHOP).is_none());
}

#[tokio::test(start_paused = true)]
async fn an_agent_resets_what_it_wants() {
    let sandbox = sandbox();
    sandbox.apply(fixtures::deployment("shop", "web", 1));
    inject(&sandbox, 0, &["gitops=30s:patch namespaces:2"]);
    // It starts before the label is written, and brings the former one back, twice.
    for round in 0..3 {
        label(&sandbox, NEW).await;
        merge(&sandbox, WEB, &crate::restart("one")).await;
        assert_eq!(labelled(&sandbox), NEW);
        sleep(Duration::from_secs(31)).await;
        let expected = if round < 2 { OLD } else { NEW };
        assert_eq!(labelled(&sandbox), expected, "round {round}");
        let web = sandbox.object(WEB).unwrap();
        let restart = &web["spec"]["template"]["metadata"]["annotations"]["restart"];
        assert_eq!(restart.is_null(), round < 2, "{restart}");
    }
    let managers: Vec<_> = sandbox.changes().into_iter().map(|change| change.manager).collect();
    assert_eq!(managers.iter().filter(|manager| *manager == "argocd-controller").count(), 4);
}

#[tokio::test(start_paused = true)]
async fn pods_are_refused_or_fail() {
    for (fault, words) in [
        ("quota-exceeded", "exceeded quota"),
        ("pod-security", "violates PodSecurity"),
        ("pod-denied", "denied the request"),
        ("injector-down", "failed calling webhook"),
    ] {
        let sandbox = sandbox();
        inject(&sandbox, 0, &[&format!("{fault}:create pods shop:always")]);
        sandbox.apply(fixtures::deployment("shop", "web", 1));
        run(&sandbox, 10).await;
        assert!(pods(&sandbox, "shop").is_empty(), "{fault}");
        let web = sandbox.object(WEB).unwrap();
        let told = crate::condition(&web, "ReplicaFailure")["message"].as_str().unwrap().to_owned();
        assert!(told.contains(words), "{fault}: {told}");
    }
    for (fault, reason) in [
        ("image-pull", "ImagePullBackOff"),
        ("crash-loop", "CrashLoopBackOff"),
        ("never-ready", ""),
        ("unschedulable", "0/1 nodes are available"),
    ] {
        let sandbox = sandbox();
        let faults = inject(&sandbox, 0, &[&format!("{fault}:create pods shop:1")]);
        sandbox.apply(fixtures::deployment("shop", "web", 2));
        run(&sandbox, 10).await;
        let ready = |pod: &&Value| crate::condition(pod, "Ready")["status"] == "True";
        let all = pods(&sandbox, "shop");
        assert_eq!((all.len(), all.iter().filter(ready).count()), (2, 1), "{fault}");
        let shown = json!(all).to_string();
        assert!(shown.contains(reason), "{fault}: {shown}");
        assert_eq!(faults.struck()[0].1, 1);
    }
    for (fault, by) in [("injector-ignored", None), ("wrong-injector", Some(NEW.to_owned()))] {
        let sandbox = sandbox();
        inject(&sandbox, 0, &[&format!("{fault}:create pods shop:always")]);
        sandbox.apply(fixtures::deployment("shop", "web", 1));
        run(&sandbox, 10).await;
        assert_eq!(revision(&pods(&sandbox, "shop")[0]), by, "{fault}");
    }
}
