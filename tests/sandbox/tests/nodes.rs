//! Nodes: where pods go, and what keeps them from going anywhere; endpoints and streams of those
//! that run; and the speed of the controllers.

use std::time::Duration;

use revshift_sandbox::{ControllerRate, Options, Sandbox, fixtures};
use serde_json::json;

use crate::{OLD, condition, merge, pods, restart, run, send};

const AGENT: &str = "/apis/apps/v1/namespaces/shop/daemonsets/agent";

fn cluster(nodes: &[&str]) -> Sandbox {
    let nodes = nodes.iter().map(|&name| name.to_owned()).collect();
    let sandbox = Sandbox::new(Options { nodes, ..Options::default() });
    sandbox.apply(fixtures::namespace("shop", &[]));
    sandbox
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_until_a_node_has_room() {
    // What the one node is like, and what the scheduler says.
    let mut cordoned = fixtures::node("a", &[], 10);
    cordoned["spec"]["unschedulable"] = json!(true);
    for (node, selector, why, mend) in [
        (
            fixtures::node("a", &[], 1),
            json!({}),
            "1 Too many pods",
            json!({ "status": { "allocatable": { "pods": "2" } } }),
        ),
        (
            cordoned,
            json!({}),
            "1 node(s) were unschedulable",
            json!({ "spec": { "unschedulable": null } }),
        ),
        (
            fixtures::node("a", &[], 10),
            json!({ "disk": "ssd" }),
            "1 node(s) didn't match Pod's node affinity/selector",
            json!({ "metadata": { "labels": { "disk": "ssd" } } }),
        ),
    ] {
        let sandbox = cluster(&[]);
        let mut first = fixtures::pod("shop", "first");
        first["spec"]["nodeName"] = json!("a");
        sandbox.apply(first);
        run(&sandbox, 3).await;
        sandbox.apply(node);
        let mut pod = fixtures::pod("shop", "second");
        pod["spec"]["nodeSelector"] = selector;
        sandbox.apply(pod);
        run(&sandbox, 5).await;
        let path = "/api/v1/namespaces/shop/pods/second";
        let pod = sandbox.object(path).unwrap();
        let scheduled = condition(&pod, "PodScheduled");
        assert_eq!(
            (&scheduled["status"], &scheduled["reason"]),
            (&json!("False"), &json!("Unschedulable"))
        );
        let message = scheduled["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("0/1 nodes are available: {why}.")), "{message}");
        assert_eq!(pod["status"]["phase"], "Pending");
        let events = sandbox.objects("/api/v1/namespaces/shop/events");
        assert!(events.iter().any(|event| event["reason"] == "FailedScheduling"));
        let uri =
            if mend.get("status").is_some() { "/api/v1/nodes/a/status" } else { "/api/v1/nodes/a" };
        assert_eq!(merge(&sandbox, uri, &mend).await.0, 200);
        run(&sandbox, 5).await;
        let pod = sandbox.object(path).unwrap();
        assert_eq!(condition(&pod, "Ready")["status"], "True", "{pod:#}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_daemon_set_keeps_to_its_nodes() {
    let sandbox = cluster(&[]);
    for (name, disk) in [("a", "ssd"), ("b", "ssd"), ("c", "hdd")] {
        sandbox.apply(fixtures::node(name, &[("disk", disk)], 10));
    }
    let mut agent = fixtures::daemon_set("shop", "agent");
    agent["spec"]["template"]["spec"]["nodeSelector"] = json!({ "disk": "ssd" });
    sandbox.apply(agent);
    run(&sandbox, 5).await;
    let count = |field: &str| sandbox.object(AGENT).unwrap()["status"][field].as_i64();
    assert_eq!((count("desiredNumberScheduled"), count("numberReady")), (Some(2), Some(2)));
    // A cordoned node keeps its daemon; one that stops fitting loses it.
    merge(&sandbox, "/api/v1/nodes/a", &json!({ "spec": { "unschedulable": true } })).await;
    merge(&sandbox, "/api/v1/nodes/b", &json!({ "metadata": { "labels": { "disk": "hdd" } } }))
        .await;
    run(&sandbox, 5).await;
    assert_eq!((count("desiredNumberScheduled"), count("numberMisscheduled")), (Some(1), Some(0)));
    assert_eq!(pods(&sandbox, "shop").len(), 1);
    assert_eq!(pods(&sandbox, "shop")[0]["spec"]["nodeName"], "a");
}

#[tokio::test(start_paused = true)]
async fn a_daemon_set_updates_within_its_slack() {
    // Strategy; the least available and the most pods that were seen.
    for (strategy, least, most) in [
        (json!({ "maxUnavailable": 1 }), 3, 4),
        (json!({ "maxUnavailable": "50%" }), 2, 4),
        (json!({ "maxUnavailable": 0, "maxSurge": 1 }), 4, 5),
        (json!({ "maxUnavailable": 0, "maxSurge": "50%" }), 4, 6),
    ] {
        let sandbox = cluster(&["a", "b", "c", "d"]);
        let mut agent = fixtures::daemon_set("shop", "agent");
        agent["spec"]["updateStrategy"] =
            json!({ "type": "RollingUpdate", "rollingUpdate": strategy });
        sandbox.apply(agent);
        run(&sandbox, 5).await;
        merge(&sandbox, AGENT, &restart("1")).await;
        let (mut available, mut total) = (i64::MAX, 0);
        for _ in 0..300 {
            let _ = tokio::time::timeout(Duration::from_millis(50), sandbox.run()).await;
            let all = pods(&sandbox, "shop");
            let live = all.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
            let live: Vec<_> = live.collect();
            total = total.max(live.len());
            let ready = live.iter().filter(|pod| {
                pod["status"]["conditions"].is_array()
                    && condition(pod, "Ready")["status"] == "True"
            });
            available = available.min(i64::try_from(ready.count()).unwrap());
        }
        let agent = sandbox.object(AGENT).unwrap();
        assert_eq!(agent["status"]["updatedNumberScheduled"], 4, "{strategy} {agent:#}");
        assert_eq!(agent["status"]["numberAvailable"], 4, "{strategy}");
        assert_eq!((available, total), (least, most), "{strategy}");
    }
}

#[tokio::test(start_paused = true)]
async fn endpoint_slices_tell_which_pods_are_ready() {
    let sandbox = cluster(&["a"]);
    sandbox.apply(fixtures::service("shop", "web"));
    sandbox.apply(fixtures::deployment("shop", "web", 120));
    run(&sandbox, 20).await;
    let slices = || sandbox.objects("/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices");
    let ready = || -> usize {
        let all = slices();
        let endpoints = all.iter().flat_map(|slice| slice["endpoints"].as_array().unwrap());
        endpoints.filter(|one| one["conditions"]["ready"] == true).count()
    };
    assert_eq!((slices().len(), ready()), (2, 120));
    assert_eq!(slices()[0]["metadata"]["labels"]["kubernetes.io/service-name"], "web");
    assert_eq!(slices()[0]["ports"][0]["port"], 8080);
    let scale = json!({ "spec": { "replicas": 3 } });
    merge(&sandbox, "/apis/apps/v1/namespaces/shop/deployments/web", &scale).await;
    run(&sandbox, 10).await;
    assert_eq!((slices().len(), ready()), (1, 3));
    let uri = "/api/v1/namespaces/shop/services/web";
    send(&sandbox, "DELETE", uri, "application/json", &json!({})).await;
    run(&sandbox, 5).await;
    assert!(slices().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_plane_with_a_limit_delays_readiness_and_counts_its_refusals() {
    let limited = Options { streams_per_second: Some(5.0), ..Options::default() };
    let sandbox = Sandbox::new(limited);
    for object in
        [fixtures::istio_control_plane_definition(), fixtures::namespace("istio-system", &[])]
    {
        sandbox.apply(object);
    }
    for object in fixtures::calisti_plane("cp-v115x", "istio-system", "1.15.7") {
        sandbox.apply(object);
    }
    sandbox.apply(fixtures::namespace("shop", &[("istio.io/rev", OLD)]));
    sandbox.apply(fixtures::deployment("shop", "web", 40));
    let ready = || {
        let web = sandbox.object("/apis/apps/v1/namespaces/shop/deployments/web").unwrap();
        web["status"]["readyReplicas"].as_i64().unwrap_or_default()
    };
    run(&sandbox, 5).await;
    assert!((5..=25).contains(&ready()), "{}", ready());
    run(&sandbox, 120).await;
    assert_eq!(ready(), 40);
    assert!(sandbox.rejected_streams(OLD) >= 30);
    assert_eq!(sandbox.rejected_streams("none"), 0);
}

#[tokio::test(start_paused = true)]
async fn controllers_can_be_as_slow_as_the_real_ones() {
    let mut took = Vec::new();
    for controller_rate in [None, Some(ControllerRate::KUBERNETES)] {
        let sandbox = Sandbox::new(Options { controller_rate, ..Options::default() });
        let start = sandbox.now();
        for number in 0..50 {
            let name = format!("n{number}");
            sandbox.apply(fixtures::namespace(&name, &[]));
            sandbox.apply(fixtures::deployment(&name, "web", 2));
        }
        while sandbox
            .objects("/apis/apps/v1/deployments")
            .iter()
            .any(|one| one["status"]["readyReplicas"] != json!(2))
        {
            run(&sandbox, 1).await;
            assert!(sandbox.now().duration_since(start).as_secs() < 300);
        }
        took.push(sandbox.now().duration_since(start).as_secs());
    }
    // 50 ReplicaSets with their pods, statuses and events at 20 a second.
    assert!(took[0] <= 3, "{took:?}");
    assert!(took[1] >= 10, "{took:?}");
}
