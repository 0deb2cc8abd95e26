//! What owns pods besides the workloads of the group apps: ReplicationControllers, Rollouts and
//! ReplicaSets of their own.

use revshift_sandbox::fixtures;
use serde_json::json;

use crate::{merge, pods, restart, run, sandbox};

const RC: &str = "/api/v1/namespaces/shop/replicationcontrollers/old";
const ROLLOUT: &str = "/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts/web";

#[tokio::test(start_paused = true)]
async fn bare_sets_scale_and_keep_their_pods_when_the_template_changes() {
    for (object, path, kind) in [
        (fixtures::replication_controller("shop", "old", 2), RC, "ReplicationController"),
        (
            fixtures::replica_set("shop", "old", 2),
            "/apis/apps/v1/namespaces/shop/replicasets/old",
            "ReplicaSet",
        ),
    ] {
        let sandbox = sandbox();
        sandbox.apply(object);
        run(&sandbox, 10).await;
        assert_eq!(sandbox.object(path).unwrap()["status"]["readyReplicas"], 2);
        let before = pods(&sandbox, "shop");
        assert_eq!(before[0]["metadata"]["ownerReferences"][0]["kind"], kind);
        merge(&sandbox, path, &restart("1")).await;
        run(&sandbox, 10).await;
        let uids = |all: &[serde_json::Value]| -> Vec<_> {
            all.iter().map(|pod| pod["metadata"]["uid"].clone()).collect()
        };
        assert_eq!(uids(&pods(&sandbox, "shop")), uids(&before));
        for size in [5, 1, 0] {
            let (code, _) =
                merge(&sandbox, &format!("{path}/scale"), &json!({ "spec": { "replicas": size } }))
                    .await;
            assert_eq!(code, 200);
            run(&sandbox, 10).await;
            assert_eq!(pods(&sandbox, "shop").len(), size, "{kind}");
            assert_eq!(sandbox.object(path).unwrap()["status"]["replicas"], size);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollout_restarts_its_pods_within_its_bounds() {
    let sandbox = sandbox();
    sandbox.apply(fixtures::rollout_definition());
    sandbox.apply(fixtures::rollout("shop", "web", 4));
    run(&sandbox, 10).await;
    let web = sandbox.object(ROLLOUT).unwrap();
    assert_eq!(
        (&web["status"]["phase"], &web["status"]["readyReplicas"]),
        (&json!("Healthy"), &json!(4))
    );
    let before: Vec<_> =
        pods(&sandbox, "shop").iter().map(|pod| pod["metadata"]["uid"].clone()).collect();
    let sets = sandbox.objects("/apis/apps/v1/namespaces/shop/replicasets");
    assert!(sets[0]["metadata"]["labels"]["rollouts-pod-template-hash"].is_string(), "{sets:#?}");
    let version = sandbox.version();
    let moment = sandbox.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    merge(&sandbox, ROLLOUT, &json!({ "spec": { "restartAt": moment } })).await;
    run(&sandbox, 150).await;
    let web = sandbox.object(ROLLOUT).unwrap();
    assert_eq!(web["status"]["restartedAt"], json!(moment), "{web:#}");
    let after = pods(&sandbox, "shop");
    assert_eq!(after.len(), 4);
    assert!(after.iter().all(|pod| !before.contains(&pod["metadata"]["uid"])));
    assert_eq!(sandbox.objects("/apis/apps/v1/namespaces/shop/replicasets").len(), 1);
    for change in sandbox.changes_after(version) {
        if change.reference.resource == "rollouts.argoproj.io" {
            let available = change.object["status"]["availableReplicas"].as_i64().unwrap();
            assert!(available >= 3, "{:#}", change.object);
        }
    }
    // A new template rolls as well.
    merge(&sandbox, ROLLOUT, &restart("1")).await;
    run(&sandbox, 60).await;
    let web = sandbox.object(ROLLOUT).unwrap();
    assert_eq!(web["status"]["updatedReplicas"], 4, "{web:#}");
    assert_eq!(web["metadata"]["annotations"]["rollout.argoproj.io/revision"], "2");
}

#[tokio::test(start_paused = true)]
async fn a_budget_holds_the_restart_of_a_rollout() {
    let sandbox = sandbox();
    sandbox.apply(fixtures::rollout_definition());
    sandbox.apply(fixtures::rollout("shop", "web", 2));
    let rule = json!({ "maxUnavailable": 0 });
    sandbox.apply(fixtures::disruption_budget("shop", "web", "web", &rule));
    run(&sandbox, 10).await;
    let moment = sandbox.now().to_string();
    merge(&sandbox, ROLLOUT, &json!({ "spec": { "restartAt": moment } })).await;
    run(&sandbox, 100).await;
    assert_eq!(sandbox.object(ROLLOUT).unwrap()["status"]["restartedAt"], json!(null));
    let budget = "/apis/policy/v1/namespaces/shop/poddisruptionbudgets/web";
    merge(&sandbox, budget, &json!({ "spec": { "maxUnavailable": 1 } })).await;
    run(&sandbox, 100).await;
    assert_eq!(sandbox.object(ROLLOUT).unwrap()["status"]["restartedAt"], json!(moment));
}
