//! What is in the cluster: two Calisti planes as the upgrade finds them, and a dozen namespaces of
//! the workloads that a real cluster mixes.

use jiff::{SignedDuration, Timestamp};
use revshift_sandbox::fixtures::{
    calisti_plane, calisti_revision, cron_job, daemon_set, deployment,
    istio_control_plane_definition, job, namespace, stateful_set, with_pod_label,
};
use serde_json::{Value, json};

pub(crate) const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];
pub(crate) const OLD: &str = "cp-v113x";
pub(crate) const NEW: &str = "cp-v115x";
/// The namespace that goes first: the demonstration application, which nobody depends on.
pub(crate) const FIRST: &str = "smm-demo";
/// The others, in the order in which they move.
pub(crate) const OTHERS: [&str; 8] =
    ["catalog", "orders", "payments", "logging", "messaging", "analytics", "identity", "web"];
/// The one whose application does not start beside the new plane's proxy.
pub(crate) const FAILING: &str = "payments";
/// What stays as it is, since it has no sidecars.
const OUTSIDE: &str = "legacy-billing";
/// What was created for the new plane in the first place.
const ALREADY: &str = "sandbox-team";

const SYSTEM: &str = "istio-system";

/// The revision of a plane, as namespaces carry it.
pub(crate) fn revision(plane: &str) -> String {
    calisti_revision(plane, SYSTEM)
}

/// Nodes and planes, as old as planes are some time after the new one was installed.
pub(crate) fn foundation(now: Timestamp) -> Vec<Value> {
    let ago = |minutes: i64| {
        let then = now.saturating_sub(SignedDuration::from_mins(minutes)).unwrap_or(now);
        json!(then.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
    };
    let mut all: Vec<_> = NODES.iter().map(|name| node(name, &ago(41 * 24 * 60))).collect();
    all.push(istio_control_plane_definition());
    all.push(namespace(SYSTEM, &[]));
    for (name, version, minutes, addresses) in [
        (OLD, "1.13.5", 87, ["3.122.28.53", "3.122.43.249"]),
        (NEW, "1.15.3", 66, ["3.122.31.252", "18.195.79.209"]),
    ] {
        for mut object in calisti_plane(name, SYSTEM, version) {
            object["metadata"]["creationTimestamp"] = ago(minutes);
            if object["kind"] == "IstioControlPlane" {
                object["spec"]["meshExpansion"] = json!({ "enabled": true });
                object["status"]["gatewayAddress"] = json!(addresses);
            }
            all.push(object);
        }
    }
    all
}

/// The namespaces of the show.
pub(crate) fn dozen() -> Vec<Value> {
    let old = revision(OLD);
    let mut all = vec![namespace(FIRST, &[("istio.io/rev", &old)])];
    all.extend(OTHERS.map(|name| namespace(name, &[("istio.io/rev", &old)])));
    all.push(namespace(OUTSIDE, &[]));
    all.push(namespace(ALREADY, &[("istio.io/rev", &revision(NEW))]));
    for name in ["details", "productpage", "ratings"] {
        all.push(deployment(FIRST, &format!("{name}-v1"), 1));
    }
    for version in 1..=3 {
        all.push(deployment(FIRST, &format!("reviews-v{version}"), 1));
    }
    all.extend([
        deployment("catalog", "api", 3),
        deployment("catalog", "images", 2),
        deployment("orders", "api", 2),
        stateful_set("orders", "db", 2),
        failing(deployment(FAILING, "gateway", 2)),
        deployment(FAILING, "ledger", 2),
        daemon_set("logging", "agent"),
        deployment("logging", "collector", 1),
        parallel(stateful_set("messaging", "broker", 3)),
        deployment("analytics", "dashboard", 1),
        cron_job("analytics", "nightly-report", "0 2 * * *"),
        job("analytics", "import-2026", 3600),
        deployment("identity", "login", 2),
        deployment("identity", "tokens", 2),
        budget("identity", "login", 1),
        deployment("web", "frontend", 4),
        deployment("web", "preview", 0),
        deployment(OUTSIDE, "billing", 2),
        deployment(ALREADY, "playground", 1),
    ]);
    all
}

/// A large cluster: every namespace with two small Deployments, all on the old plane.
pub(crate) fn many(count: u32) -> Vec<Value> {
    let old = revision(OLD);
    let mut all = Vec::new();
    for number in 1..=count {
        let name = format!("team-{number:04}");
        all.push(namespace(&name, &[("istio.io/rev", &old)]));
        all.push(deployment(&name, "api", 2));
        all.push(deployment(&name, "worker", 1));
    }
    all
}

/// Pods that crash where the new plane injected them, and a rollout that soon says so.
fn failing(workload: Value) -> Value {
    let workload = with_pod_label(workload, "bed.revshift.dev/fails", "crash-loop");
    let mut workload = with_pod_label(workload, "bed.revshift.dev/fails-on", &revision(NEW));
    workload["spec"]["progressDeadlineSeconds"] = json!(4);
    workload
}

fn parallel(mut set: Value) -> Value {
    set["spec"]["podManagementPolicy"] = json!("Parallel");
    set
}

fn budget(namespace: &str, app: &str, available: u32) -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": { "name": app, "namespace": namespace },
        "spec": { "minAvailable": available, "selector": { "matchLabels": { "app": app } } },
    })
}

fn node(name: &str, created: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": name, "creationTimestamp": created },
        "status": {
            "conditions": [{ "type": "Ready", "status": "True", "reason": "KubeletReady" }],
            "nodeInfo": { "kubeletVersion": "v1.36.0" },
        },
    })
}
