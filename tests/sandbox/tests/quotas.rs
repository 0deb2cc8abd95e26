//! Quotas and limits: what a namespace may use, and what a container must ask for.

use revshift_sandbox::{Sandbox, fixtures};
use serde_json::{Value, json};

use crate::{run, sandbox, send};

fn with(kind: &str, spec: &Value) -> Sandbox {
    let sandbox = sandbox();
    sandbox.apply(fixtures::namespace("plain", &[]));
    sandbox.apply(json!({
        "apiVersion": "v1", "kind": kind,
        "metadata": { "name": "rule", "namespace": "plain" }, "spec": spec,
    }));
    sandbox
}

async fn create(sandbox: &Sandbox, plural: &str, object: &Value) -> (u16, Value) {
    let uri = format!("/api/v1/namespaces/plain/{plural}");
    send(sandbox, "POST", &uri, "application/json", object).await
}

/// A pod whose container asks for these resources.
fn pod(name: &str, resources: &Value) -> Value {
    let mut pod = fixtures::pod("plain", name);
    pod["spec"]["containers"][0]["resources"] = resources.clone();
    pod
}

#[tokio::test(start_paused = true)]
async fn a_quota_refuses_what_exceeds_it() {
    let small = json!({ "requests": { "cpu": "300m", "memory": "64Mi" } });
    // The limits, what each pod asks for, how many fit, and what the next one hears.
    for (hard, resources, fit, why) in [
        (
            json!({ "pods": "2" }),
            json!({}),
            2,
            "exceeded quota: rule, requested: pods=1, used: pods=2, limited: pods=2",
        ),
        (
            json!({ "count/pods": 1 }),
            json!({}),
            1,
            "requested: count/pods=1, used: count/pods=1, limited: count/pods=1",
        ),
        (
            json!({ "requests.cpu": "1" }),
            small.clone(),
            3,
            "requested: requests.cpu=300m, used: requests.cpu=900m, limited: requests.cpu=1",
        ),
        (
            json!({ "cpu": "1", "memory": "100Mi" }),
            small.clone(),
            1,
            "requested: memory=64Mi, used: memory=64Mi, limited: memory=100Mi",
        ),
        (
            json!({ "limits.cpu": "1", "pods": "5" }),
            small,
            0,
            "failed quota: rule: must specify limits.cpu for: app",
        ),
    ] {
        let sandbox = with("ResourceQuota", &json!({ "hard": hard }));
        for number in 0..=fit {
            let made = pod(&format!("p{number}"), &resources);
            let (code, answer) = create(&sandbox, "pods", &made).await;
            assert_eq!(code, if number < fit { 201 } else { 403 }, "{hard} {answer:#}");
            if number == fit {
                let message = answer["message"].as_str().unwrap();
                assert!(message.ends_with(why), "{message}");
            }
        }
        run(&sandbox, 2).await;
        let rule = sandbox.object("/api/v1/namespaces/plain/resourcequotas/rule").unwrap();
        let used = rule["status"]["used"].as_object().unwrap();
        assert_eq!(used.len(), hard.as_object().unwrap().len(), "{rule:#}");
    }
}

#[tokio::test(start_paused = true)]
async fn other_objects_are_counted_too() {
    let sandbox =
        with("ResourceQuota", &json!({ "hard": { "count/configmaps": "1", "services": "0" } }));
    let map = json!({ "metadata": { "name": "a" } });
    assert_eq!(create(&sandbox, "configmaps", &map).await.0, 201);
    let map = json!({ "metadata": { "name": "b" } });
    let (code, answer) = create(&sandbox, "configmaps", &map).await;
    assert_eq!((code, &answer["reason"]), (403, &json!("Forbidden")));
    assert_eq!(create(&sandbox, "services", &fixtures::service("plain", "web")).await.0, 403);
}

#[tokio::test(start_paused = true)]
async fn limits_fill_in_and_refuse() {
    let limits = json!([{
        "type": "Container",
        "max": { "cpu": "1" }, "min": { "cpu": "100m" }, "defaultRequest": { "cpu": "200m" },
    }]);
    for (asked, got) in [
        (json!({}), Ok(("200m", "1"))),
        (json!({ "requests": { "cpu": "500m" } }), Ok(("500m", "1"))),
        (
            json!({ "requests": { "cpu": "50m" } }),
            Err("minimum cpu usage per Container is 100m, but request is 50m"),
        ),
        (
            json!({ "limits": { "cpu": "2" } }),
            Err("maximum cpu usage per Container is 1, but limit is 2"),
        ),
    ] {
        let sandbox = with("LimitRange", &json!({ "limits": limits }));
        let (code, answer) = create(&sandbox, "pods", &pod("p", &asked)).await;
        match got {
            Ok((request, limit)) => {
                assert_eq!(code, 201, "{answer:#}");
                let resources = &answer["spec"]["containers"][0]["resources"];
                assert_eq!(
                    (&resources["requests"]["cpu"], &resources["limits"]["cpu"]),
                    (&json!(request), &json!(limit))
                );
            }
            Err(why) => {
                let message = format!("pods \"p\" is forbidden: {why}");
                assert_eq!((code, &answer["message"]), (403, &json!(message)));
            }
        }
    }
}
