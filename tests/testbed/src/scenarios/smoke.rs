//! Whether the bed itself is what the other scenarios take it for: Kubernetes works, both planes
//! inject, the simulated failures happen, and kubectl prints what Calisti's users know.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt as _;
use k8s_openapi::api::core::v1 as core_v1;
use kube::{Api, ResourceExt as _, api::ListParams};
use revshift_testbed::{Plane, PlaneStatus, RealBed, until};
use serde_json::{Value, json};

use super::Scenario;

const OLD: &str = "cp-v113x.istio-system";
const NEW: &str = "cp-v115x.istio-system";
/// What a condition on an idle bed may take on a slow machine.
const SOON: Duration = Duration::from_mins(1);

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "smoke/nodes_are_ready", run: |bed| nodes(bed).boxed_local() },
    Scenario { name: "smoke/both_planes_inject", run: |bed| planes(bed).boxed_local() },
    Scenario { name: "smoke/planes_print_as_documented", run: |bed| table(bed).boxed_local() },
    Scenario { name: "smoke/a_failed_plane_says_why", run: |bed| failed_plane(bed).boxed_local() },
    Scenario { name: "smoke/bookinfo_moves", run: |bed| bookinfo(bed).boxed_local() },
    Scenario { name: "smoke/labels_choose_failures", run: |bed| failures(bed).boxed_local() },
    Scenario { name: "smoke/readiness_waits", run: |bed| delay(bed).boxed_local() },
    Scenario { name: "smoke/jobs_complete", run: |bed| job(bed).boxed_local() },
    Scenario { name: "smoke/a_stopped_istiod_refuses_pods", run: |bed| outage(bed).boxed_local() },
    Scenario {
        name: "smoke/an_upstream_plane_comes_and_goes",
        run: |bed| upstream(bed).boxed_local(),
    },
    Scenario { name: "smoke/requests_are_audited", run: |bed| audit(bed).boxed_local() },
];

async fn nodes(bed: &RealBed) -> Result<()> {
    let nodes = Api::<core_v1::Node>::all(bed.client()).list(&ListParams::default()).await?;
    ensure!(!nodes.items.is_empty(), "no node");
    for node in nodes {
        let conditions = node.status.unwrap_or_default().conditions.unwrap_or_default();
        ensure!(conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True"));
    }
    Ok(())
}

async fn planes(bed: &RealBed) -> Result<()> {
    for (namespace, revision) in [("smoke-old", OLD), ("smoke-new", NEW)] {
        bed.namespace(namespace, &[("istio.io/rev", revision)]).await?;
        deploy(bed, namespace, "app", json!({})).await?;
        injected_by(&pod_that(bed, namespace, "app", "is ready", is_ready).await?, revision)?;
    }
    Ok(())
}

async fn table(bed: &RealBed) -> Result<()> {
    let table = bed.kubectl(&["get", "istiocontrolplanes", "-n", "istio-system"]).await?;
    let header = table.lines().next().unwrap_or_default();
    // Columns are parted by three blanks, and some names have blanks themselves.
    let columns = header.split("   ").map(str::trim).filter(|it| !it.is_empty());
    let expected =
        ["NAME", "MODE", "NETWORK", "STATUS", "MESH EXPANSION", "EXPANSION GW IPS", "ERROR", "AGE"];
    ensure!(columns.eq(expected), "{header}");
    let addresses = r#"["3.122.28.53","3.122.43.249"]"#;
    for part in ["cp-v113x   ACTIVE   network1   Available   true", addresses] {
        ensure!(table.contains(part), "{table}");
    }
    Ok(())
}

async fn failed_plane(bed: &RealBed) -> Result<()> {
    let failed = PlaneStatus::ReconcileFailed("no such image".into());
    bed.set_plane_status("cp-v115x", &failed).await?;
    let row = bed.kubectl(&["get", "icp", "cp-v115x", "-n", "istio-system"]).await;
    bed.set_plane_status("cp-v115x", &PlaneStatus::Available).await?;
    let row = row?;
    ensure!(row.contains("ReconcileFailed") && row.contains("no such image"), "{row}");
    Ok(())
}

/// Calisti's procedure by hand, and back.
async fn bookinfo(bed: &RealBed) -> Result<()> {
    let namespace = "smoke-bookinfo";
    bed.namespace(namespace, &[("istio.io/rev", OLD)]).await?;
    bed.deploy_bookinfo(namespace).await?;
    let place = format!("--namespace={namespace}");
    for revision in [OLD, NEW, OLD] {
        let label = format!("istio.io/rev={revision}");
        bed.kubectl(&["label", "namespace", namespace, &label, "--overwrite"]).await?;
        // kubectl refuses a second restart within the same second.
        until("a restart", SOON, async || {
            bed.kubectl(&["rollout", "restart", "deployment", &place]).await
        })
        .await?;
        bed.kubectl(&["rollout", "status", "deployment", &place]).await?;
        let pods = Api::<core_v1::Pod>::namespaced(bed.client(), namespace);
        until("six pods of the revision", SOON, async || {
            let pods = pods.list(&ListParams::default()).await?.items;
            ensure!(pods.len() == 6, "{} pods", pods.len());
            pods.iter().try_for_each(|pod| injected_by(pod, revision))
        })
        .await?;
        for istiod in [OLD, NEW] {
            let expected = if istiod == revision { 6 } else { 0 };
            until(&format!("{expected} proxies at {istiod}"), SOON, async || {
                let proxies = bed.istiod(istiod)?.proxies().await?;
                let ours = proxies.iter().filter(|it| it.ends_with(namespace)).count();
                ensure!(ours == expected, "{ours} of {proxies:?}");
                Ok(())
            })
            .await?;
        }
    }
    Ok(())
}

async fn failures(bed: &RealBed) -> Result<()> {
    let namespace = "smoke-failures";
    bed.namespace(namespace, &[("istio.io/rev", NEW)]).await?;
    let label = "bed.revshift.dev/fails";
    for failure in ["image-pull", "never-ready", "crash-loop"] {
        deploy(bed, namespace, failure, json!({label: failure})).await?;
        let elsewhere = format!("{failure}-elsewhere");
        let labels = json!({label: failure, "bed.revshift.dev/fails-on": OLD});
        deploy(bed, namespace, &elsewhere, labels).await?;
    }
    for (failure, phase, reason) in [
        ("image-pull", "Pending", Some("ImagePullBackOff")),
        ("never-ready", "Running", None),
        ("crash-loop", "Running", Some("CrashLoopBackOff")),
    ] {
        let pod = pod_that(bed, namespace, failure, "fails", |pod| {
            let status = pod.status.clone().unwrap_or_default();
            let containers = status.container_statuses.unwrap_or_default();
            let own = containers.into_iter().find(|it| it.name == failure);
            let waiting = own.and_then(|it| it.state).and_then(|it| it.waiting);
            status.pod_ip.is_some()
                && status.phase.as_deref() == Some(phase)
                && waiting.and_then(|it| it.reason).as_deref() == reason
        })
        .await?;
        ensure!(!is_ready(&pod), "{failure}: ready");
        let elsewhere = format!("{failure}-elsewhere");
        pod_that(bed, namespace, &elsewhere, "is ready", is_ready).await?;
    }
    // A failure that is taken away heals.
    let healed = format!("{label}-");
    let selector = "--selector=app in (image-pull, never-ready, crash-loop)";
    let place = format!("--namespace={namespace}");
    bed.kubectl(&["label", "pod", selector, &healed, &place]).await?;
    for failure in ["image-pull", "never-ready", "crash-loop"] {
        pod_that(bed, namespace, failure, "is ready", is_ready).await?;
    }
    Ok(())
}

async fn delay(bed: &RealBed) -> Result<()> {
    let namespace = "smoke-delay";
    bed.namespace(namespace, &[]).await?;
    deploy(bed, namespace, "slow", json!({"bed.revshift.dev/ready-after": "2"})).await?;
    let running = |pod: &core_v1::Pod| {
        pod.status.as_ref().and_then(|it| it.phase.as_deref()) == Some("Running")
    };
    let pod = pod_that(bed, namespace, "slow", "runs", running).await?;
    ensure!(!is_ready(&pod), "ready at once");
    pod_that(bed, namespace, "slow", "is ready", is_ready).await?;
    Ok(())
}

async fn job(bed: &RealBed) -> Result<()> {
    let namespace = "smoke-job";
    bed.namespace(namespace, &[]).await?;
    let job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "once"},
        "spec": {"template": {"spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "once", "image": "example/once:1"}],
        }}},
    });
    bed.apply(&serde_json::to_string(&job)?, namespace).await?;
    let place = format!("--namespace={namespace}");
    bed.kubectl(&["wait", "job/once", "--for=condition=Complete", "--timeout=60s", &place]).await?;
    bed.kubectl(&["delete", "job/once", "--cascade=foreground", "--timeout=60s", &place]).await?;
    Ok(())
}

async fn outage(bed: &RealBed) -> Result<()> {
    let namespace = "smoke-outage";
    bed.namespace(namespace, &[("istio.io/rev", NEW)]).await?;
    bed.stop_istiod(NEW)?;
    let place = format!("--namespace={namespace}");
    let run = ["run", "app", "--image=example/app:1", "--labels=app=app", &place];
    let refused = bed.kubectl(&run).await;
    bed.start_istiod(NEW).await?;
    let error = refused.err().context("the pod was admitted")?.to_string();
    ensure!(error.contains("failed calling webhook"), "{error}");
    bed.kubectl(&run).await?;
    injected_by(&pod_that(bed, namespace, "app", "is ready", is_ready).await?, NEW)
}

async fn upstream(bed: &RealBed) -> Result<()> {
    let namespace = "smoke-upstream";
    let plane = Plane::upstream("1-30");
    bed.install_plane(&plane).await?;
    bed.namespace(namespace, &[("istio.io/rev", &plane.revision())]).await?;
    deploy(bed, namespace, "app", json!({})).await?;
    injected_by(&pod_that(bed, namespace, "app", "is ready", is_ready).await?, "1-30")?;
    // Without its webhook, a labelled namespace silently loses its sidecars.
    bed.uninstall_plane("1-30").await?;
    deploy(bed, namespace, "late", json!({})).await?;
    let late = pod_that(bed, namespace, "late", "is ready", is_ready).await?;
    ensure!(!late.annotations().contains_key("sidecar.istio.io/status"), "still injected");
    Ok(())
}

async fn audit(bed: &RealBed) -> Result<()> {
    bed.kubectl(&["get", "namespace", "default"]).await?;
    let log = std::fs::read_to_string(bed.audit_log())?;
    let requests = log.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let seen = |path: &str, agent: &str| {
        let starts =
            |value: &Value, with: &str| value.as_str().is_some_and(|it| it.starts_with(with));
        requests.iter().any(|it| starts(&it["requestURI"], path) && starts(&it["userAgent"], agent))
    };
    ensure!(seen("/api/v1/namespaces/default", "kubectl/v1."), "kubectl's request is missing");
    ensure!(seen("/api/v1/nodes", "revshift-testbed"), "the harness' request is missing");
    Ok(())
}

/// Deploys one container whose pods have these labels beside `app`.
async fn deploy(bed: &RealBed, namespace: &str, app: &str, labels: Value) -> Result<()> {
    let mut labels = labels;
    labels["app"] = json!(app);
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": app},
        "spec": {
            "selector": {"matchLabels": {"app": app}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": app, "image": "example/app:1"}]},
            },
        },
    });
    bed.apply(&serde_json::to_string(&deployment)?, namespace).await
}

async fn pod_that(
    bed: &RealBed,
    namespace: &str,
    app: &str,
    what: &str,
    holds: impl Fn(&core_v1::Pod) -> bool,
) -> Result<core_v1::Pod> {
    let pods = Api::<core_v1::Pod>::namespaced(bed.client(), namespace);
    let selector = ListParams::default().labels(&format!("app={app}"));
    until(&format!("a pod of {namespace}/{app} that {what}"), SOON, async || {
        let pods = pods.list(&selector).await?;
        let status = pods.items.first().map(|pod| pod.status.clone().unwrap_or_default());
        pods.items.into_iter().find(&holds).with_context(|| format!("{status:?}"))
    })
    .await
}

fn injected_by(pod: &core_v1::Pod, revision: &str) -> Result<()> {
    let record = pod.annotations().get("sidecar.istio.io/status").context("not injected")?;
    let record: Value = serde_json::from_str(record)?;
    ensure!(record["revision"] == revision, "{}: {record}", pod.name_any());
    ensure!(pod.annotations().get("istio.io/rev").is_some_and(|rev| rev == revision));
    Ok(())
}

fn is_ready(pod: &core_v1::Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True")
}
