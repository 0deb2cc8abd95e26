//! The sandbox against a real client, on paused time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use revshift_sandbox::{Options, Sandbox, fixtures};
use serde_json::{Value, json};

mod api;
mod budgets;
mod faults;
mod injection;
mod jobs;
mod life;
mod nodes;
mod owners;
mod program;
mod quotas;
mod scale;
mod tables;
mod tcp;
mod watches;
mod workloads;

/// Two Calisti planes and a namespace `shop` on the first.
const OLD: &str = "cp-v115x.istio-system";
const NEW: &str = "cp-v117x.istio-system";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new(Options::default());
    sandbox.apply(fixtures::istio_control_plane_definition());
    sandbox.apply(fixtures::namespace("istio-system", &[]));
    for (name, version) in [("cp-v115x", "1.15.7"), ("cp-v117x", "1.17.8")] {
        for object in fixtures::calisti_plane(name, "istio-system", version) {
            sandbox.apply(object);
        }
    }
    sandbox.apply(fixtures::namespace("shop", &[("istio.io/rev", OLD)]));
    sandbox
}

fn client(sandbox: &Sandbox) -> kube::Client {
    kube::Client::new(sandbox.service("test"), "default")
}

/// Runs the controllers for a while.
async fn run(sandbox: &Sandbox, seconds: u64) {
    let _ = tokio::time::timeout(Duration::from_secs(seconds), sandbox.run()).await;
}

/// Sends a request as bytes, for what the typed client cannot say; gives code and body.
async fn send(
    sandbox: &Sandbox,
    method: &str,
    uri: &str,
    content_type: &str,
    body: &Value,
) -> (u16, Value) {
    use http_body_util::BodyExt;
    use tower::ServiceExt;
    let request = http::Request::builder()
        .method(method)
        .uri(uri)
        .header("content-type", content_type)
        .header("user-agent", "tester/1.0")
        .body(http_body_util::Full::new(bytes::Bytes::from(body.to_string())))
        .unwrap();
    let response = sandbox.service("raw").oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// The patch that restarts a workload.
fn restart(id: &str) -> Value {
    json!({ "spec": { "template": { "metadata": { "annotations": { "restart": id } } } } })
}

async fn merge(sandbox: &Sandbox, uri: &str, patch: &Value) -> (u16, Value) {
    send(sandbox, "PATCH", uri, "application/merge-patch+json", patch).await
}

fn pods(sandbox: &Sandbox, namespace: &str) -> Vec<Value> {
    sandbox.objects(&format!("/api/v1/namespaces/{namespace}/pods"))
}

/// The revision that injected a pod.
fn revision(pod: &Value) -> Option<String> {
    let text = pod["metadata"]["annotations"]["sidecar.istio.io/status"].as_str()?;
    let status: Value = serde_json::from_str(text).unwrap();
    Some(status["revision"].as_str()?.to_owned())
}

fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let all = object["status"]["conditions"].as_array().expect("conditions");
    all.iter().find(|one| one["type"] == kind).unwrap_or(&Value::Null)
}
