//! What istiods' monitoring ports answer: which proxies are connected, and what those make of their
//! configuration.
//!
//! A proxy is connected a second after its pod has become ready. A pod's label
//! `bed.revshift.dev/proxy` is `absent` where its proxy never connects, `rejects` where it rejects its
//! listeners, or `silent` where it never acknowledges them; `bed.revshift.dev/proxy-at` names the plane
//! that it connects to instead of the one that has injected it.

use http::header::AUTHORIZATION;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

use crate::api::ISTIO_TOKEN;
use crate::cluster::{Cluster, injected_by};
use crate::{Sandbox, kind, object};

/// The port of istiod's metrics.
const PORT: u16 = 15014;
const PROXY: &str = "bed.revshift.dev/proxy";
const PROXY_AT: &str = "bed.revshift.dev/proxy-at";
/// How soon a proxy is connected once its pod is ready.
const CONNECTED_AFTER: Duration = Duration::from_secs(1);
/// What a proxy says that rejects its listeners.
const REJECTION: &str = "Error adding/updating listener(s) 0.0.0.0_8080: unknown filter";

impl Sandbox {
    /// What answers a request to the monitoring port of an istiod's pod, by its address; none where the
    /// request is for nobody of that kind. `/debug/syncz` wants a token of audience `istio-ca`.
    pub fn monitoring(
        &self,
        request: &Request<String>,
    ) -> Option<Result<(StatusCode, String), String>> {
        let uri = request.uri();
        let host = uri.host().filter(|_| uri.port_u16() == Some(PORT))?;
        let cluster = self.cluster();
        let Some(revision) = cluster.istiod_at(host) else {
            return Some(Err("tcp connect error: no route to host".to_owned()));
        };
        if cluster.istiods_silent.contains(&revision) {
            return Some(Err("tcp connect error: connection refused".to_owned()));
        }
        let token = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let known = token.and_then(|token| token.strip_prefix("Bearer ")) == Some(ISTIO_TOKEN);
        Some(Ok(match uri.path() {
            "/metrics" => (StatusCode::OK, cluster.metrics(&revision)),
            "/debug/syncz" if known => (StatusCode::OK, cluster.syncz(&revision).to_string()),
            "/debug/syncz" => (StatusCode::UNAUTHORIZED, String::new()),
            _ => (StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
        }))
    }

    /// Makes the monitoring port of a plane's istiods unreachable, or reachable again. Their webhooks
    /// go on.
    pub fn set_istiod_silent(&self, revision: &str, silent: bool) {
        let mut cluster = self.cluster();
        if silent {
            cluster.istiods_silent.insert(revision.to_owned());
        } else {
            cluster.istiods_silent.remove(revision);
        }
    }
}

impl Cluster {
    /// The revision of the istiod whose pod has an address.
    fn istiod_at(&self, address: &str) -> Option<String> {
        let mut pods = self.store.list(kind::PODS, None);
        let pod = pods.find(|pod| {
            object::label(pod, "app") == Some("istiod")
                && object::text(pod, "/status/podIP") == address
        })?;
        object::label(pod, "istio.io/rev").map(str::to_owned)
    }

    fn syncz(&self, revision: &str) -> Value {
        let told = self.connected(revision).map(|pod| {
            let (acked, listeners) = match object::label(pod, PROXY) {
                Some("rejects") => ("", json!({ "sent": "l1", "lastError": REJECTION })),
                Some("silent") => ("", json!({ "sent": "l1" })),
                _ => ("l1", json!({ "sent": "l1", "acked": "l1" })),
            };
            let mut proxy = json!({
                "cluster_id": "Kubernetes",
                "proxy": format!("{}.{}", object::name(pod), object::namespace(pod)),
                "proxy_type": "sidecar",
                "cluster_sent": "c1", "cluster_acked": "c1",
                "listener_sent": "l1",
                "resources": {
                    "type.googleapis.com/envoy.config.cluster.v3.Cluster":
                        { "sent": "c1", "acked": "c1" },
                    "type.googleapis.com/envoy.config.listener.v3.Listener": listeners,
                },
            });
            // What is empty is not told.
            if !acked.is_empty() {
                proxy["listener_acked"] = json!(acked);
            }
            proxy
        });
        Value::Array(told.collect())
    }

    fn metrics(&self, revision: &str) -> String {
        let connected = self.connected(revision).count();
        let rejecting =
            self.connected(revision).filter(|pod| object::label(pod, PROXY) == Some("rejects"));
        let rejects = rejecting.count();
        // As in istiod, what has counted nothing is not there.
        let rejects = match rejects {
            0 => String::new(),
            some => format!(
                "# TYPE pilot_total_xds_rejects counter\n\
                 pilot_total_xds_rejects{{type=\"lds\"}} {some}\n"
            ),
        };
        format!(
            "# TYPE pilot_info gauge\npilot_info{{version=\"sandbox\"}} 1\n\
             # TYPE pilot_xds gauge\npilot_xds{{version=\"sandbox\"}} {connected}\n{rejects}"
        )
    }

    /// The pods whose proxies are connected to a plane.
    fn connected<'a>(&'a self, revision: &'a str) -> impl Iterator<Item = &'a Value> {
        let pods = self.store.list(kind::PODS, None).map(AsRef::as_ref);
        pods.filter(move |pod| {
            let ready = object::condition(pod, "Ready").filter(|_| !object::deleting(pod));
            let ready = ready.filter(|_| object::condition_holds(pod, "Ready"));
            let since = ready.map(|ready| object::text(ready, "/lastTransitionTime"));
            let settled = since.and_then(|since| self.since(since));
            let at = object::label(pod, PROXY_AT).map(str::to_owned);
            let injected = injected_by(pod);
            injected.map(|plane| at.unwrap_or(plane)).as_deref() == Some(revision)
                && object::label(pod, PROXY) != Some("absent")
                && settled.is_some_and(|settled| settled >= CONNECTED_AFTER)
        })
    }
}
