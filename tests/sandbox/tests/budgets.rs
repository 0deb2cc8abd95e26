//! Evictions, and the budgets that refuse them.

use revshift_sandbox::{Sandbox, fixtures};
use serde_json::{Value, json};

use crate::{condition, merge, pods, run, sandbox, send};

const JSON: &str = "application/json";
const BUDGET: &str = "/apis/policy/v1/namespaces/shop/poddisruptionbudgets/web";

/// Four pods of a Deployment under a budget.
async fn covered(rule: Value) -> Sandbox {
    let sandbox = sandbox();
    sandbox.apply(fixtures::deployment("shop", "web", 4));
    sandbox.apply(fixtures::disruption_budget("shop", "web", "web", &rule));
    run(&sandbox, 10).await;
    sandbox
}

async fn evict(sandbox: &Sandbox, pod: &str, options: Value) -> (u16, Value) {
    let uri = format!("/api/v1/namespaces/shop/pods/{pod}/eviction");
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": { "name": pod }, "deleteOptions": options,
    });
    send(sandbox, "POST", &uri, JSON, &eviction).await
}

fn names(sandbox: &Sandbox) -> Vec<String> {
    let all = pods(sandbox, "shop");
    all.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_budget_counts_and_refuses() {
    // The rule; expected, healthy and desired pods; how many evictions pass at once.
    let cases = [
        (json!({ "minAvailable": 3 }), 4, 3, 1),
        (json!({ "minAvailable": 4 }), 4, 4, 0),
        (json!({ "minAvailable": 9 }), 4, 9, 0),
        (json!({ "minAvailable": "50%" }), 4, 2, 2),
        (json!({ "minAvailable": "60%" }), 4, 3, 1),
        (json!({ "maxUnavailable": 1 }), 4, 3, 1),
        (json!({ "maxUnavailable": 0 }), 4, 4, 0),
        (json!({ "maxUnavailable": "30%" }), 4, 2, 2),
        (json!({ "maxUnavailable": 7 }), 4, 0, 4),
    ];
    for (rule, expected, desired, allowed) in cases {
        let sandbox = covered(rule.clone()).await;
        let budget = sandbox.object(BUDGET).unwrap();
        let status = &budget["status"];
        assert_eq!(status["expectedPods"], expected, "{rule} {status:#}");
        assert_eq!(status["currentHealthy"], 4, "{rule} {status:#}");
        assert_eq!(status["desiredHealthy"], desired, "{rule} {status:#}");
        assert_eq!(status["disruptionsAllowed"], allowed, "{rule} {status:#}");
        assert_eq!(status["observedGeneration"], 1, "{rule}");
        let reason = if allowed > 0 { "SufficientPods" } else { "InsufficientPods" };
        assert_eq!(condition(&budget, "DisruptionAllowed")["reason"], reason, "{rule}");
        let mut passed = 0;
        for name in names(&sandbox) {
            let (code, answer) = evict(&sandbox, &name, json!({})).await;
            if code == 201 {
                passed += 1;
                continue;
            }
            assert_eq!((code, &answer["reason"]), (429, &json!("TooManyRequests")), "{rule}");
            let cause = &answer["details"]["causes"][0];
            assert_eq!(cause["reason"], "DisruptionBudget", "{answer:#}");
            assert_eq!(
                answer["message"],
                "Cannot evict pod as it would violate the pod's disruption budget."
            );
            if passed == 0 {
                let why = format!(
                    "The disruption budget web needs {desired} healthy pods and has 4 currently"
                );
                assert_eq!(cause["message"], why);
            }
        }
        assert_eq!(passed, allowed, "{rule}");
        run(&sandbox, 10).await;
        assert_eq!(sandbox.object(BUDGET).unwrap()["status"]["disruptionsAllowed"], allowed);
        assert_eq!(pods(&sandbox, "shop").len(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn an_eviction_leaves_its_mark_and_keeps_preconditions() {
    let sandbox = covered(json!({ "minAvailable": 1 })).await;
    let name = names(&sandbox).remove(0);
    let path = format!("/api/v1/namespaces/shop/pods/{name}");
    let version = sandbox.version();
    for (precondition, message) in [
        ("uid", "the UID in the precondition (x) does not match the UID in record"),
        ("resourceVersion", "the ResourceVersion in the precondition (x) does not match"),
    ] {
        let options = json!({ "preconditions": { precondition: "x" } });
        let (code, answer) = evict(&sandbox, &name, options).await;
        assert_eq!((code, &answer["reason"]), (409, &json!("Conflict")));
        assert!(answer["message"].as_str().unwrap().contains(message), "{answer:#}");
    }
    let (code, _) = evict(&sandbox, &name, json!({ "dryRun": ["All"] })).await;
    assert_eq!(code, 201);
    let touched = |change: &revshift_sandbox::Change| change.reference.resource == "pods";
    assert!(!sandbox.changes_after(version).iter().any(touched));

    let pod = sandbox.object(&path).unwrap();
    let options = json!({ "preconditions": {
        "uid": pod["metadata"]["uid"], "resourceVersion": pod["metadata"]["resourceVersion"],
    } });
    let (code, answer) = evict(&sandbox, &name, options).await;
    assert_eq!((code, &answer["status"]), (201, &json!("Success")), "{answer:#}");
    let pod = sandbox.object(&path).unwrap();
    assert_eq!(condition(&pod, "DisruptionTarget")["reason"], "EvictionByEvictionAPI");
    assert!(pod["metadata"]["deletionTimestamp"].is_string());
    let (code, _) = evict(&sandbox, "nobody", json!({})).await;
    assert_eq!(code, 404);
}

#[tokio::test(start_paused = true)]
async fn two_budgets_for_a_pod_are_not_supported() {
    let sandbox = covered(json!({ "minAvailable": 1 })).await;
    let other = json!({ "minAvailable": 1 });
    sandbox.apply(fixtures::disruption_budget("shop", "other", "web", &other));
    run(&sandbox, 2).await;
    let (code, answer) = evict(&sandbox, &names(&sandbox)[0], json!({})).await;
    assert_eq!(code, 500);
    let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource \
                   does not support.";
    assert_eq!((&answer["message"], &answer["reason"]), (&json!(message), &Value::Null));
}

#[tokio::test(start_paused = true)]
async fn unhealthy_pods_go_as_their_policy_says() {
    // Policy, healthy pods wanted, whether the pod that is not ready may go.
    for (policy, min_available, passes) in [
        (Value::Null, 3, true),
        (Value::Null, 4, false),
        (json!("IfHealthyBudget"), 4, false),
        (json!("AlwaysAllow"), 4, true),
    ] {
        let rule = json!({ "minAvailable": min_available, "unhealthyPodEvictionPolicy": policy });
        let sandbox = covered(rule).await;
        let mut sick = fixtures::pod("shop", "sick");
        sick["metadata"]["labels"]["bed.revshift.dev/fails"] = json!("never-ready");
        sick["metadata"]["labels"]["app"] = json!("web");
        sandbox.apply(sick);
        let healthy = names(&sandbox).into_iter().find(|name| name != "sick").unwrap();
        run(&sandbox, 5).await;
        if !passes || policy == "AlwaysAllow" {
            let uri = format!("/api/v1/namespaces/shop/pods/{healthy}");
            let now = json!({ "gracePeriodSeconds": 0 });
            send(&sandbox, "DELETE", &uri, JSON, &now).await;
            run(&sandbox, 0).await;
            tokio::time::timeout(std::time::Duration::from_millis(200), sandbox.run())
                .await
                .unwrap_err();
        }
        let (code, answer) = evict(&sandbox, "sick", json!({})).await;
        assert_eq!(code == 201, passes, "{policy} {min_available}: {answer:#}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_of_what_has_no_size_fails_to_sync() {
    let sandbox = sandbox();
    sandbox.apply(fixtures::daemon_set("shop", "web"));
    let rule = json!({ "maxUnavailable": 1 });
    sandbox.apply(fixtures::disruption_budget("shop", "web", "web", &rule));
    run(&sandbox, 5).await;
    let budget = sandbox.object(BUDGET).unwrap();
    assert_eq!(condition(&budget, "DisruptionAllowed")["reason"], "SyncFailed", "{budget:#}");
    let (code, answer) = evict(&sandbox, &names(&sandbox)[0], json!({})).await;
    assert_eq!(code, 429, "{answer:#}");
}

#[tokio::test(start_paused = true)]
async fn a_changed_budget_refuses_until_it_is_counted() {
    let sandbox = covered(json!({ "minAvailable": 1 })).await;
    merge(&sandbox, BUDGET, &json!({ "spec": { "minAvailable": 2 } })).await;
    let (code, answer) = evict(&sandbox, &names(&sandbox)[0], json!({})).await;
    assert_eq!((code, &answer["details"]["retryAfterSeconds"]), (429, &json!(10)));
    let why = "The disruption budget web is still being processed by the server.";
    assert_eq!(answer["details"]["causes"][0]["message"], why);
}
