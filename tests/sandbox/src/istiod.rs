//! What istiods answer themselves, past the API server: their webhooks, asked directly.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::Sandbox;
use crate::cluster::Cluster;

impl Sandbox {
    /// What answers a request to an istiod by the name of its Service, as
    /// `https://istiod-1-31.istio-system.svc/inject`; or why nothing does.
    ///
    /// # Errors
    /// No istiod has that Service, or its webhooks do not answer ([`Sandbox::set_injector_down`]).
    pub fn istiod(&self, request: &Request<String>) -> Result<(StatusCode, String), String> {
        let host = request.uri().host().unwrap_or_default();
        let cluster = self.cluster();
        let (service, rest) = host.split_once('.').unwrap_or((host, ""));
        let namespace = rest.strip_suffix(".svc").unwrap_or_default();
        let revision = cluster
            .revision_behind(service, namespace)
            .ok_or_else(|| format!("dns error: failed to look up {host}: no such host"))?;
        if cluster.injectors_down.contains(&revision) {
            return Err("tcp connect error: connection refused".to_owned());
        }
        let review: Value = serde_json::from_str(request.body()).unwrap_or_default();
        let answer = match request.uri().path() {
            "/inject" => cluster.injection(&revision, &review),
            "/validate" => validation(&review),
            _ => return Ok((StatusCode::NOT_FOUND, "404 page not found\n".to_owned())),
        };
        Ok((StatusCode::OK, answer.to_string()))
    }
}

impl Cluster {
    /// An AdmissionReview's answer: what the plane of `revision` would make of a pod. As istiod, it asks
    /// nobody whether a webhook selects the pod.
    fn injection(&self, revision: &str, review: &Value) -> Value {
        let request = &review["request"];
        let mut pod = request["object"].clone();
        if !pod["spec"]["containers"].is_array() {
            let why = "could not unmarshal raw object: it is no pod";
            return answer(request, json!({ "allowed": false, "status": { "message": why } }));
        }
        let before = pod.clone();
        if let Err(message) = self.inject_by(revision, &mut pod) {
            let refused = json!({ "allowed": false, "status": { "message": message } });
            return answer(request, refused);
        }
        if pod == before {
            return answer(request, json!({ "allowed": true }));
        }
        let patch: Vec<Value> = ["metadata", "spec"]
            .into_iter()
            .map(|field| json!({ "op": "add", "path": format!("/{field}"), "value": pod[field] }))
            .collect();
        let patch = BASE64_STANDARD.encode(json!(patch).to_string());
        answer(request, json!({ "allowed": true, "patchType": "JSONPatch", "patch": patch }))
    }
}

/// A review of one of Istio's resources. Of its rules one is kept for each outcome: a route without
/// destination is refused, and a route that matches all but is not the last is warned of.
fn validation(review: &Value) -> Value {
    let request = &review["request"];
    let routes = request["object"]["spec"]["http"].as_array().cloned().unwrap_or_default();
    let leads = |rule: &Value| !(rule["route"].is_null() && rule["redirect"].is_null());
    let matches_all = |rule: &Value| rule["match"].is_null();
    let response = if request["kind"]["kind"] != "VirtualService" {
        json!({ "allowed": true })
    } else if !routes.iter().all(leads) {
        let message =
            "configuration is invalid: HTTP route, redirect or direct_response is required";
        json!({ "allowed": false, "status": { "message": message } })
    } else if routes.iter().rev().skip(1).any(matches_all) {
        let warning = "virtualService rule #0 not used (only the last rule can have no matches)";
        json!({ "allowed": true, "warnings": [warning] })
    } else {
        json!({ "allowed": true })
    };
    answer(request, response)
}

fn answer(request: &Value, mut response: Value) -> Value {
    response["uid"] = request["uid"].clone();
    json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response })
}
