//! Faults between client and cluster, and the log of requests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use revshift_sandbox::Verdict;
use serde_json::json;

use crate::{client, sandbox, send};

mod cluster;
mod named;
mod watching;

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": name }, "data": { "a": "1" } })).unwrap()
}

#[tokio::test(start_paused = true)]
async fn verdicts_decide_what_is_applied_and_answered() {
    let sandbox = sandbox();
    let api: Api<ConfigMap> = Api::namespaced(client(&sandbox), "shop");
    let cases = [
        (Verdict::Pass, Some(201), true),
        (
            Verdict::Refuse { code: 403, reason: "Forbidden", message: "no".into() },
            Some(403),
            false,
        ),
        (Verdict::LoseReply, Some(504), true),
        (Verdict::HangBefore, None, false),
        (Verdict::HangAfter, None, true),
        (Verdict::Delay(Duration::from_secs(5)), Some(201), true),
    ];
    for (number, (verdict, answered, applied)) in cases.into_iter().enumerate() {
        let name = format!("case-{number}");
        let given = verdict.clone();
        sandbox.intercept(move |_| given.clone());
        let (parameters, map) = (PostParams::default(), config_map(&name));
        let created = api.create(&parameters, &map);
        let reply = tokio::time::timeout(Duration::from_mins(1), created).await;
        assert_eq!(reply.is_ok(), answered.is_some(), "{verdict:?}");
        let path = format!("/api/v1/namespaces/shop/configmaps/{name}");
        assert_eq!(sandbox.object(&path).is_some(), applied, "{verdict:?}");
        let last = sandbox.requests().pop().unwrap();
        assert_eq!((last.verb, last.status), ("create", answered), "{verdict:?}");
        if let Ok(Err(kube::Error::Api(status))) = reply {
            assert_eq!(Some(status.code), answered);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_can_die_before_or_after_any_request() {
    for after in [false, true] {
        let sandbox = sandbox();
        let api: Api<ConfigMap> = Api::namespaced(client(&sandbox), "shop");
        let (kill, mut killed) = tokio::sync::mpsc::unbounded_channel();
        sandbox.intercept(move |exchange| {
            if exchange.verb != "patch" {
                return Verdict::Pass;
            }
            kill.send(exchange.number).unwrap();
            if after { Verdict::HangAfter } else { Verdict::HangBefore }
        });
        let server = async {
            api.create(&PostParams::default(), &config_map("one")).await.unwrap();
            let patch = Patch::Merge(json!({ "data": { "a": "2" } }));
            let _ = api.patch("one", &PatchParams::default(), &patch).await;
            unreachable!("it is dead");
        };
        tokio::select! {
            () = server => {}
            number = killed.recv() => assert_eq!(number, Some(2)),
        }
        // Nothing of the dead client is left that could still write.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let stored = sandbox.object("/api/v1/namespaces/shop/configmaps/one").unwrap();
        let expected = if after { "2" } else { "1" };
        assert_eq!(stored["data"]["a"], expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_request_is_given_up_by_the_server_when_the_client_says_so() {
    let sandbox = sandbox();
    sandbox.intercept(|_| Verdict::Delay(Duration::from_secs(20)));
    let uri = "/api/v1/namespaces/shop/configmaps?timeout=3s";
    let map = json!({ "metadata": { "name": "one" } });
    let (code, status) = send(&sandbox, "POST", uri, "application/json", &map).await;
    assert_eq!((code, &status["reason"]), (504, &json!("Timeout")));
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(sandbox.object("/api/v1/namespaces/shop/configmaps/one").is_none());
}

#[tokio::test(start_paused = true)]
async fn requests_are_logged_in_order() {
    let sandbox = sandbox();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    sandbox.intercept(move |exchange| {
        log.lock().unwrap().push(exchange.verb);
        Verdict::Pass
    });
    let api: Api<ConfigMap> = Api::namespaced(client(&sandbox), "shop");
    api.create(&PostParams::default(), &config_map("one")).await.unwrap();
    api.list(&ListParams::default()).await.unwrap();
    sandbox.clear_intercept();
    assert!(api.get("none").await.is_err());
    assert_eq!(*seen.lock().unwrap(), ["create", "list"]);
    let all: Vec<_> =
        sandbox.requests().iter().map(|one| (one.number, one.verb, one.status)).collect();
    assert_eq!(all, [(1, "create", Some(201)), (2, "list", Some(200)), (3, "get", Some(404))]);
}
