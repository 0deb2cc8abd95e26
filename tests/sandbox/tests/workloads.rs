//! Rollouts of every kind of workload.

use revshift_sandbox::{ChangeKind, fixtures};
use serde_json::json;

use crate::{condition, merge, pods, restart, run, sandbox};

const WEB: &str = "/apis/apps/v1/namespaces/shop/deployments/web";
const DB: &str = "/apis/apps/v1/namespaces/shop/statefulsets/db";
const AGENT: &str = "/apis/apps/v1/namespaces/shop/daemonsets/agent";

#[tokio::test(start_paused = true)]
async fn deployment_rolls_within_its_bounds() {
    let sandbox = sandbox();
    sandbox.apply(fixtures::deployment("shop", "web", 4));
    run(&sandbox, 20).await;
    let web = sandbox.object(WEB).unwrap();
    assert_eq!(web["status"]["readyReplicas"], 4, "{web:#}");
    assert_eq!(condition(&web, "Progressing")["reason"], "NewReplicaSetAvailable");
    let before: Vec<_> =
        pods(&sandbox, "shop").iter().map(|p| p["metadata"]["uid"].clone()).collect();
    let version = sandbox.version();

    let (code, patched) = merge(&sandbox, WEB, &restart("1")).await;
    assert_eq!((code, &patched["metadata"]["generation"]), (200, &json!(2)));
    run(&sandbox, 60).await;
    let web = sandbox.object(WEB).unwrap();
    assert_eq!(web["status"]["observedGeneration"], 2);
    assert_eq!(web["status"]["updatedReplicas"], 4, "{web:#}");
    assert_eq!(web["status"]["replicas"], 4);
    assert_eq!(web["status"]["availableReplicas"], 4);
    let after = pods(&sandbox, "shop");
    assert_eq!(after.len(), 4);
    assert!(after.iter().all(|pod| !before.contains(&pod["metadata"]["uid"])));

    let mut live = before.len();
    for change in sandbox.changes_after(version) {
        if change.reference.resource == "pods" {
            match change.change {
                ChangeKind::Added => live += 1,
                ChangeKind::Deleted => live -= 1,
                ChangeKind::Modified => {}
            }
            // One surge pod, and those that are still terminating.
            assert!((3..=7).contains(&live), "{live} pods at {}", change.time);
        }
    }
    for ready in sandbox.changes_after(version) {
        if ready.reference.resource == "deployments.apps" && ready.object["status"].is_object() {
            assert!(ready.object["status"]["availableReplicas"].as_i64().unwrap() >= 3);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn deployment_returns_to_a_template_that_it_had() {
    let sandbox = sandbox();
    sandbox.apply(fixtures::deployment("shop", "web", 2));
    run(&sandbox, 20).await;
    merge(&sandbox, WEB, &restart("1")).await;
    run(&sandbox, 20).await;
    let undo = json!({ "spec": { "template": { "metadata": { "annotations": null } } } });
    merge(&sandbox, WEB, &undo).await;
    run(&sandbox, 20).await;
    let sets = sandbox.objects("/apis/apps/v1/namespaces/shop/replicasets");
    assert_eq!(sets.len(), 2);
    let web = sandbox.object(WEB).unwrap();
    assert_eq!(web["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "3");
    assert_eq!(web["status"]["updatedReplicas"], 2);
}

#[tokio::test(start_paused = true)]
async fn recreate_leaves_no_pod_before_it_makes_one() {
    let sandbox = sandbox();
    let mut web = fixtures::deployment("shop", "web", 3);
    web["spec"]["strategy"] = json!({ "type": "Recreate" });
    sandbox.apply(web);
    run(&sandbox, 10).await;
    let version = sandbox.version();
    merge(&sandbox, WEB, &restart("1")).await;
    run(&sandbox, 20).await;
    assert_eq!(sandbox.object(WEB).unwrap()["status"]["updatedReplicas"], 3);
    let mut live = 3;
    for change in sandbox.changes_after(version) {
        match (change.reference.resource.as_str(), change.change) {
            ("pods", ChangeKind::Deleted) => live -= 1,
            ("pods", ChangeKind::Added) => {
                live += 1;
                assert!(live <= 3);
            }
            _ => {}
        }
    }
    assert_eq!(live, 3);
}

#[tokio::test(start_paused = true)]
async fn paused_deployment_does_not_roll() {
    let sandbox = sandbox();
    let mut web = fixtures::deployment("shop", "web", 2);
    sandbox.apply(web.clone());
    run(&sandbox, 10).await;
    merge(&sandbox, WEB, &json!({ "spec": { "paused": true } })).await;
    merge(&sandbox, WEB, &restart("1")).await;
    run(&sandbox, 10).await;
    assert_eq!(sandbox.objects("/apis/apps/v1/replicasets").len(), 3);
    web = sandbox.object(WEB).unwrap();
    assert_eq!(condition(&web, "Progressing")["reason"], "DeploymentPaused");
    assert_eq!(web["status"]["observedGeneration"], 3);
    merge(&sandbox, WEB, &json!({ "spec": { "paused": null } })).await;
    run(&sandbox, 10).await;
    web = sandbox.object(WEB).unwrap();
    assert_eq!(web["status"]["updatedReplicas"], 2);
    assert_eq!(condition(&web, "Progressing")["reason"], "NewReplicaSetAvailable");
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_fails_keeps_old_pods_and_exceeds_its_deadline() {
    let sandbox = sandbox();
    let mut web = fixtures::deployment("shop", "web", 4);
    web["spec"]["progressDeadlineSeconds"] = json!(60);
    sandbox.apply(web);
    run(&sandbox, 10).await;
    let mut patch = restart("1");
    patch["spec"]["template"]["metadata"]["labels"] =
        json!({ "bed.revshift.dev/fails": "image-pull" });
    merge(&sandbox, WEB, &patch).await;
    run(&sandbox, 30).await;
    let web = sandbox.object(WEB).unwrap();
    assert_eq!(condition(&web, "Progressing")["status"], "True");
    run(&sandbox, 60).await;
    let web = sandbox.object(WEB).unwrap();
    assert_eq!(condition(&web, "Progressing")["reason"], "ProgressDeadlineExceeded", "{web:#}");
    assert_eq!(condition(&web, "Progressing")["status"], "False");
    assert_eq!(condition(&web, "Available")["status"], "True");
    assert_eq!(web["status"]["availableReplicas"], 3);
    let waiting = pods(&sandbox, "shop")
        .iter()
        .filter(|pod| {
            let state = &pod["status"]["containerStatuses"][0]["state"];
            state["waiting"]["reason"] == "ImagePullBackOff"
        })
        .count();
    assert_eq!(waiting, 2);

    merge(&sandbox, WEB, &json!({ "spec": { "template": { "metadata": { "labels": { "bed.revshift.dev/fails": null } } } } })).await;
    run(&sandbox, 30).await;
    let web = sandbox.object(WEB).unwrap();
    assert_eq!(condition(&web, "Progressing")["reason"], "NewReplicaSetAvailable");
    assert_eq!(web["status"]["updatedReplicas"], 4);
}

#[tokio::test(start_paused = true)]
async fn stateful_set_rolls_from_the_highest_ordinal() {
    let sandbox = sandbox();
    sandbox.apply(fixtures::stateful_set("shop", "db", 3));
    run(&sandbox, 20).await;
    let db = sandbox.object(DB).unwrap();
    assert_eq!(db["status"]["readyReplicas"], 3, "{db:#}");
    assert_eq!(db["status"]["currentRevision"], db["status"]["updateRevision"]);
    let version = sandbox.version();
    merge(&sandbox, DB, &restart("1")).await;
    run(&sandbox, 30).await;
    let db = sandbox.object(DB).unwrap();
    assert_eq!(db["status"]["updatedReplicas"], 3, "{db:#}");
    assert_eq!(db["status"]["currentRevision"], db["status"]["updateRevision"]);
    let deleted: Vec<_> = sandbox
        .changes_after(version)
        .into_iter()
        .filter(|change| {
            change.reference.resource == "pods" && change.change == ChangeKind::Deleted
        })
        .map(|change| change.reference.name)
        .collect();
    assert_eq!(deleted, ["db-2", "db-1", "db-0"]);
}

#[tokio::test(start_paused = true)]
async fn stateful_set_respects_partition_and_on_delete() {
    let sandbox = sandbox();
    let mut db = fixtures::stateful_set("shop", "db", 3);
    db["spec"]["updateStrategy"] =
        json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 2 } });
    sandbox.apply(db);
    let mut cache = fixtures::stateful_set("shop", "cache", 2);
    cache["spec"]["updateStrategy"] = json!({ "type": "OnDelete" });
    cache["spec"]["podManagementPolicy"] = json!("Parallel");
    sandbox.apply(cache);
    run(&sandbox, 20).await;
    let cache = "/apis/apps/v1/namespaces/shop/statefulsets/cache";
    merge(&sandbox, DB, &restart("1")).await;
    merge(&sandbox, cache, &restart("1")).await;
    run(&sandbox, 20).await;
    assert_eq!(sandbox.object(DB).unwrap()["status"]["updatedReplicas"], 1);
    assert_eq!(sandbox.object(DB).unwrap()["status"]["currentReplicas"], 2);
    assert_eq!(sandbox.object(cache).unwrap()["status"]["updatedReplicas"], json!(null));
    let (code, _) = crate::send(
        &sandbox,
        "DELETE",
        "/api/v1/namespaces/shop/pods/cache-0",
        "application/json",
        &json!({}),
    )
    .await;
    assert_eq!(code, 200);
    run(&sandbox, 10).await;
    assert_eq!(sandbox.object(cache).unwrap()["status"]["updatedReplicas"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_broken_pod_holds_an_ordered_stateful_set_for_good() {
    let sandbox = sandbox();
    sandbox.apply(fixtures::stateful_set("shop", "db", 2));
    run(&sandbox, 10).await;
    let fails = |kind| json!({ "spec": { "template": { "metadata": { "labels": { "bed.revshift.dev/fails": kind } } } } });
    merge(&sandbox, DB, &fails(json!("crash-loop"))).await;
    run(&sandbox, 60).await;
    let pod = sandbox.object("/api/v1/namespaces/shop/pods/db-1").unwrap();
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!(status["state"]["waiting"]["reason"], "CrashLoopBackOff");
    assert!(status["restartCount"].as_i64().unwrap() >= 2, "{status:#}");
    merge(&sandbox, DB, &fails(json!(null))).await;
    run(&sandbox, 60).await;
    let same = sandbox.object("/api/v1/namespaces/shop/pods/db-1").unwrap();
    assert_eq!(same["metadata"]["uid"], pod["metadata"]["uid"]);
}

#[tokio::test(start_paused = true)]
async fn daemon_set_replaces_node_by_node() {
    let options = revshift_sandbox::Options {
        nodes: vec!["a".into(), "b".into(), "c".into()],
        ..Default::default()
    };
    let sandbox = revshift_sandbox::Sandbox::new(options);
    sandbox.apply(fixtures::namespace("shop", &[]));
    sandbox.apply(fixtures::daemon_set("shop", "agent"));
    run(&sandbox, 10).await;
    let agent = sandbox.object(AGENT).unwrap();
    assert_eq!(agent["status"]["numberReady"], 3, "{agent:#}");
    let version = sandbox.version();
    merge(&sandbox, AGENT, &restart("1")).await;
    run(&sandbox, 30).await;
    let agent = sandbox.object(AGENT).unwrap();
    assert_eq!(agent["status"]["updatedNumberScheduled"], 3, "{agent:#}");
    assert_eq!(agent["status"]["numberAvailable"], 3);
    for change in sandbox.changes_after(version) {
        if change.reference.resource == "daemonsets.apps" {
            assert!(change.object["status"]["numberUnavailable"].as_i64().unwrap_or(0) <= 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn job_completes_and_keeps_its_pod() {
    let sandbox = sandbox();
    sandbox.apply(fixtures::namespace("batch", &[]));
    sandbox.apply(fixtures::job("batch", "import", 7));
    run(&sandbox, 5).await;
    let path = "/apis/batch/v1/namespaces/batch/jobs/import";
    assert_eq!(sandbox.object(path).unwrap()["status"]["active"], 1);
    run(&sandbox, 5).await;
    let job = sandbox.object(path).unwrap();
    assert_eq!(condition(&job, "Complete")["status"], "True", "{job:#}");
    assert_eq!(pods(&sandbox, "batch")[0]["status"]["phase"], "Succeeded");
}

#[tokio::test(start_paused = true)]
async fn readiness_can_be_late_or_never_come() {
    let sandbox = sandbox();
    sandbox.apply(fixtures::with_pod_label(
        fixtures::pod("shop", "late"),
        "bed.revshift.dev/ready-after",
        "30",
    ));
    sandbox.apply(fixtures::with_pod_label(
        fixtures::pod("shop", "never"),
        "bed.revshift.dev/fails",
        "never-ready",
    ));
    run(&sandbox, 10).await;
    for pod in pods(&sandbox, "shop") {
        assert_eq!(pod["status"]["phase"], "Running");
        assert_eq!(condition(&pod, "Ready")["status"], "False");
    }
    run(&sandbox, 30).await;
    let late = sandbox.object("/api/v1/namespaces/shop/pods/late").unwrap();
    assert_eq!(condition(&late, "Ready")["status"], "True");
}

#[tokio::test(start_paused = true)]
async fn parallel_stateful_set_mends_a_broken_pod() {
    let sandbox = sandbox();
    let mut db = fixtures::stateful_set("shop", "db", 3);
    db["spec"]["podManagementPolicy"] = json!("Parallel");
    sandbox.apply(fixtures::with_pod_label(db, "bed.revshift.dev/fails", "never-ready"));
    run(&sandbox, 10).await;
    assert_eq!(pods(&sandbox, "shop").len(), 3);
    let mend = json!({ "spec": { "template": { "metadata": {
        "labels": { "bed.revshift.dev/fails": null },
    } } } });
    merge(&sandbox, DB, &mend).await;
    run(&sandbox, 30).await;
    let db = sandbox.object(DB).unwrap();
    assert_eq!(db["status"]["readyReplicas"], 3, "{db:#}");
    assert_eq!(db["status"]["currentRevision"], db["status"]["updateRevision"]);
}

#[tokio::test(start_paused = true)]
async fn daemon_set_on_delete_waits_for_the_deletion() {
    let sandbox = sandbox();
    let mut agent = fixtures::daemon_set("shop", "agent");
    agent["spec"]["updateStrategy"] = json!({ "type": "OnDelete" });
    sandbox.apply(agent);
    run(&sandbox, 10).await;
    merge(&sandbox, AGENT, &restart("1")).await;
    run(&sandbox, 10).await;
    let status = |field: &str| sandbox.object(AGENT).unwrap()["status"][field].clone();
    assert_eq!(
        (status("observedGeneration"), status("updatedNumberScheduled")),
        (json!(2), json!(null))
    );
    let name = pods(&sandbox, "shop")[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let uri = format!("/api/v1/namespaces/shop/pods/{name}");
    crate::send(&sandbox, "DELETE", &uri, "application/json", &json!({})).await;
    run(&sandbox, 10).await;
    assert_eq!(status("updatedNumberScheduled"), 1);
}

#[tokio::test(start_paused = true)]
async fn availability_waits_for_min_ready_seconds() {
    let sandbox = sandbox();
    let mut web = fixtures::deployment("shop", "web", 2);
    web["spec"]["minReadySeconds"] = json!(20);
    sandbox.apply(web);
    run(&sandbox, 10).await;
    let status = |field: &str| sandbox.object(WEB).unwrap()["status"][field].clone();
    assert_eq!((status("readyReplicas"), status("availableReplicas")), (json!(2), json!(null)));
    run(&sandbox, 20).await;
    assert_eq!(status("availableReplicas"), 2);
    assert_eq!(
        condition(&sandbox.object(WEB).unwrap(), "Progressing")["reason"],
        "NewReplicaSetAvailable"
    );
}

#[tokio::test(start_paused = true)]
async fn controllers_go_on_after_a_stop() {
    let sandbox = sandbox();
    sandbox.apply(fixtures::deployment("shop", "web", 3));
    for _ in 0..200 {
        // Stopped again and again in the middle of its work.
        let slice = std::time::Duration::from_millis(37);
        let _ = tokio::time::timeout(slice, sandbox.run()).await;
        tokio::time::sleep(slice).await;
    }
    assert_eq!(sandbox.object(WEB).unwrap()["status"]["readyReplicas"], 3);
    assert_eq!(pods(&sandbox, "shop").len(), 3);
}
