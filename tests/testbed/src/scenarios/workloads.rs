//! What the scenarios of the real bed put into namespaces, and what they look at there.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{apps::v1 as apps_v1, core::v1 as core_v1};
use kube::{Api, ResourceExt as _, api::ListParams};
use revshift_testbed::{RealBed, until};
use serde_json::{Value, json};

pub(crate) const OLD: &str = "cp-v113x.istio-system";
pub(crate) const NEW: &str = "cp-v115x.istio-system";
/// What a condition on a busy bed may take.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// A workload of the group apps with one container.
pub(crate) fn workload(kind: &str, name: &str, mut spec: Value) -> Value {
    let labels = json!({"app": name});
    spec["selector"] = json!({"matchLabels": labels});
    spec["template"] = json!({
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "app", "image": "example/app:1"}]},
    });
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// A Deployment of two replicas.
pub(crate) fn deployment(name: &str) -> Value {
    workload("Deployment", name, json!({"replicas": 2}))
}

/// Puts objects into a namespace.
pub(crate) async fn put(bed: &RealBed, namespace: &str, objects: &[Value]) -> Result<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    bed.apply(&list.to_string(), namespace).await
}

/// The pods of a namespace that are not terminating.
pub(crate) async fn pods(bed: &RealBed, namespace: &str) -> Result<Vec<core_v1::Pod>> {
    let pods = Api::<core_v1::Pod>::namespaced(bed.client(), namespace);
    let pods = pods.list(&ListParams::default()).await?.items;
    Ok(pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect())
}

/// Fails unless the namespace has exactly `count` pods, each ready and injected by the plane, by
/// its record and by its annotation.
pub(crate) async fn on_plane(
    bed: &RealBed,
    namespace: &str,
    revision: &str,
    count: usize,
) -> Result<()> {
    let pods = pods(bed, namespace).await?;
    ensure!(pods.len() == count, "{} pods in {namespace}, not {count}", pods.len());
    for pod in &pods {
        let name = pod.name_any();
        let record = pod.annotations().get("sidecar.istio.io/status").context("not injected")?;
        let record: Value = serde_json::from_str(record)?;
        ensure!(record["revision"] == revision, "{name}: {record}");
        let noted = pod.annotations().get("istio.io/rev");
        ensure!(noted.is_some_and(|rev| rev == revision), "{name}: {noted:?}");
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        let mut conditions = conditions.into_iter().flatten();
        let ready = conditions.any(|it| it.type_ == "Ready" && it.status == "True");
        ensure!(ready, "{name} is not ready");
    }
    Ok(())
}

/// Waits until [`on_plane`] holds.
pub(crate) async fn arrive(
    bed: &RealBed,
    namespace: &str,
    revision: &str,
    count: usize,
) -> Result<()> {
    let what = format!("{count} pods of {namespace} on {revision}");
    until(&what, PATIENCE, async || on_plane(bed, namespace, revision, count).await).await
}

/// Waits until the proxies of exactly the namespace's pods hold a stream to one istiod, and none
/// to the other.
pub(crate) async fn connected(
    bed: &RealBed,
    namespace: &str,
    to: &str,
    not_to: &str,
) -> Result<()> {
    let expected = pods(bed, namespace).await?;
    let expected = expected
        .iter()
        .map(|pod| format!("{}.{namespace}", pod.name_any()))
        .collect::<BTreeSet<_>>();
    until(&format!("the proxies of {namespace} at {to}"), PATIENCE, async || {
        for (revision, expected) in [(to, &expected), (not_to, &BTreeSet::new())] {
            let suffix = format!(".{namespace}");
            let proxies = bed.istiod(revision)?.proxies().await?;
            let found = proxies.into_iter().filter(|it| it.ends_with(&suffix));
            let found = found.collect::<BTreeSet<_>>();
            ensure!(found == *expected, "at {revision}: {found:?}");
        }
        Ok(())
    })
    .await
}

/// The labels of a namespace.
pub(crate) async fn labels(
    bed: &RealBed,
    namespace: &str,
) -> Result<std::collections::BTreeMap<String, String>> {
    let namespaces = Api::<core_v1::Namespace>::all(bed.client());
    Ok(namespaces.get(namespace).await?.labels().clone())
}

/// How often the specification of a Deployment was changed.
pub(crate) async fn generation(bed: &RealBed, namespace: &str, name: &str) -> Result<i64> {
    let deployments = Api::<apps_v1::Deployment>::namespaced(bed.client(), namespace);
    deployments.get(name).await?.metadata.generation.context("no generation")
}
