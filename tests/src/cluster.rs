//! What scenarios put into a cluster and look at in it, through any Kubernetes client.

use crate::bed::{Bed, Power, require};
use crate::session::until;
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Debug;

/// The plane that scenarios start from.
pub const OLD: &str = "cp-v113x.istio-system";
/// The plane that they move to.
pub const NEW: &str = "cp-v115x.istio-system";

/// How a pod fails.
pub(crate) const FAILS: &str = "bed.revshift.dev/fails";
/// The revision whose pods alone fail.
pub(crate) const FAILS_ON: &str = "bed.revshift.dev/fails-on";

/// Creates a namespace with these labels.
pub(crate) async fn namespace(client: &Client, name: &str, labels: &[(&str, &str)]) -> Result<()> {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels.collect()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    Api::all(client.clone())
        .create(&PostParams::default(), &namespace)
        .await
        .with_context(|| format!("cannot create namespace {name}"))?;
    Ok(())
}

/// A namespace on the old plane with one Deployment `web` of two replicas, all ready.
pub(crate) async fn application(bed: &dyn Bed, name: &str) -> Result<()> {
    let client = bed.client();
    namespace(&client, name, &[("istio.io/rev", OLD)]).await?;
    create::<Deployment>(&client, deployment(name, "web", 2)).await?;
    ready(bed, name, 2).await
}

/// A namespace with these labels, which lead to `plane`, and one Deployment `web` of two replicas, all ready.
pub(crate) async fn application_on(
    bed: &dyn Bed,
    name: &str,
    labels: &[(&str, &str)],
    plane: &str,
) -> Result<()> {
    let client = bed.client();
    namespace(&client, name, labels).await?;
    // Admission sees a new webhook a little later than other readers.
    until_injecting(bed, name, plane).await?;
    create::<Deployment>(&client, deployment(name, "web", 2)).await?;
    until_injected(bed, name, plane, 2).await
}

/// A namespace on the old plane with one Deployment `web` of two replicas whose pods carry these
/// labels; all ready.
pub(crate) async fn application_with(
    bed: &dyn Bed,
    name: &str,
    pod_labels: &[(&str, &str)],
) -> Result<()> {
    let client = bed.client();
    namespace(&client, name, &[("istio.io/rev", OLD)]).await?;
    let web = pod_labels
        .iter()
        .fold(deployment(name, "web", 2), |web, (key, value)| with_pod_label(web, key, value));
    create::<Deployment>(&client, web).await?;
    ready(bed, name, 2).await
}

/// An application whose pods are held back on the new plane: they are not ready before [`release`],
/// so that its move is met half way however slow the machine is.
pub(crate) async fn held_application(bed: &dyn Bed, name: &str) -> Result<()> {
    failing_application(bed, name, "never-ready").await
}

/// Lets the pods of a held application become ready, each when it appears, until `check` succeeds.
/// Its pod template stays as it is, so no rollout begins.
pub(crate) async fn release<T>(
    bed: &dyn Bed,
    namespace: &str,
    mut check: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let api = Api::<Pod>::namespaced(bed.client(), namespace);
    let free = json!({ "metadata": { "labels": { FAILS: null } } });
    until(bed, format!("{namespace} is released"), async || {
        for pod in api.list(&ListParams::default().labels(FAILS)).await? {
            api.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&free)).await?;
        }
        check().await
    })
    .await
}

/// An application whose pods fail in that way on the new plane, and only there.
pub(crate) async fn failing_application(bed: &dyn Bed, name: &str, how: &str) -> Result<()> {
    require(bed, Power::FailingPods)?;
    application_with(bed, name, &[(FAILS, how), (FAILS_ON, NEW)]).await
}

/// Mends the pods of a Deployment that fails, as its owner would.
pub(crate) async fn mend(client: &Client, namespace: &str, name: &str) -> Result<()> {
    let template = json!({ "metadata": { "labels": { FAILS: null, FAILS_ON: null } } });
    let patch = json!({ "spec": { "template": template } });
    edit::<Deployment>(client, namespace, name, patch).await.map(|_| ())
}

/// Requires the value of a namespace's `istio.io/rev`.
pub(crate) async fn expect_label(client: &Client, name: &str, revision: &str) -> Result<()> {
    let found = label(client, name, "istio.io/rev").await?;
    ensure!(found.as_deref() == Some(revision), "{name} is labelled {found:?}, not {revision}");
    Ok(())
}

/// Waits until `pods` pods of a namespace are ready, and all of them injected by `revision`.
pub(crate) async fn until_injected(
    bed: &dyn Bed,
    namespace: &str,
    revision: &str,
    pods: usize,
) -> Result<()> {
    let client = bed.client();
    until(bed, format!("{namespace} is on {revision}"), async || {
        expect_injected(&client, namespace, &[(revision, pods)]).await
    })
    .await?;
    ready(bed, namespace, pods).await
}

/// Waits until a pod created now in a namespace would be injected by `revision`: admission sees
/// changes of labels a little later than other readers.
pub(crate) async fn until_injecting(bed: &dyn Bed, namespace: &str, revision: &str) -> Result<()> {
    let mut probe = pod_template("probe");
    probe["metadata"]["name"] = json!("probe");
    let probe: Pod = serde_json::from_value(probe)?;
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let api = Api::<Pod>::namespaced(bed.client(), namespace);
    until(bed, format!("pods of {namespace} are injected by {revision}"), async || {
        let found = injected_by(&api.create(&params, &probe).await?)?;
        ensure!(found == revision, "`{found}` would inject it");
        Ok(())
    })
    .await
}

/// Waits until exactly `pods` pods are ready in a namespace, and none is terminating.
pub(crate) async fn ready(bed: &dyn Bed, namespace: &str, pods: usize) -> Result<()> {
    let client = bed.client();
    until(bed, format!("{pods} pods are ready in {namespace}"), async || {
        let found = self::pods(&client, namespace).await?;
        let ready = found.iter().filter(|pod| is_ready(pod)).count();
        ensure!(found.len() == pods && ready == pods, "{ready} of {} are ready", found.len());
        Ok(())
    })
    .await
}

/// Creates an object from its JSON.
pub(crate) async fn create<K>(client: &Client, object: Value) -> Result<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let object: K = serde_json::from_value(object)?;
    let namespace = object.namespace().unwrap_or_default();
    let api = Api::<K>::namespaced(client.clone(), &namespace);
    let name = object.name_any();
    api.create(&PostParams::default(), &object)
        .await
        .with_context(|| format!("cannot create {}/{namespace}/{name}", K::kind(&())))
}

/// Deletes a namespace without waiting for its end.
pub(crate) async fn delete_namespace(client: &Client, name: &str) -> Result<()> {
    let api = Api::<Namespace>::all(client.clone());
    api.delete(name, &DeleteParams::background()).await?;
    Ok(())
}

/// The value of a namespace's label.
pub(crate) async fn label(client: &Client, name: &str, key: &str) -> Result<Option<String>> {
    let namespace = Api::<Namespace>::all(client.clone()).get(name).await?;
    Ok(namespace.labels().get(key).cloned())
}

/// Sets a namespace's label, as `kubectl label --overwrite` does.
pub(crate) async fn set_label(
    client: &Client,
    name: &str,
    key: &str,
    value: Option<&str>,
) -> Result<()> {
    set_label_as(client, "kubectl-label", name, key, value).await
}

/// Sets a namespace's label on behalf of a field manager.
pub(crate) async fn set_label_as(
    client: &Client,
    manager: &str,
    name: &str,
    key: &str,
    value: Option<&str>,
) -> Result<()> {
    let patch = json!({ "metadata": { "labels": { key: value } } });
    let params = PatchParams { field_manager: Some(manager.to_owned()), ..<_>::default() };
    Api::<Namespace>::all(client.clone()).patch(name, &params, &Patch::Merge(&patch)).await?;
    Ok(())
}

/// The pods of a namespace that are not terminating.
pub(crate) async fn pods(client: &Client, namespace: &str) -> Result<Vec<Pod>> {
    let list =
        Api::<Pod>::namespaced(client.clone(), namespace).list(&ListParams::default()).await?;
    Ok(list.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect())
}

/// How many pods each plane injected, by the pods' own injection records; those without one under
/// the empty name.
pub(crate) async fn injected(client: &Client, namespace: &str) -> Result<BTreeMap<String, usize>> {
    let mut counts = BTreeMap::new();
    for pod in pods(client, namespace).await? {
        *counts.entry(injected_by(&pod)?).or_default() += 1;
    }
    Ok(counts)
}

/// The plane that injected a pod, by the pod's own record; empty without one.
pub(crate) fn injected_by(pod: &Pod) -> Result<String> {
    let record = pod.annotations().get("sidecar.istio.io/status");
    let record: Value =
        record.map(|text| serde_json::from_str(text)).transpose()?.unwrap_or_default();
    Ok(record["revision"].as_str().unwrap_or_default().to_owned())
}

/// Requires that the pods of a namespace were injected so.
pub(crate) async fn expect_injected(
    client: &Client,
    namespace: &str,
    expected: &[(&str, usize)],
) -> Result<()> {
    let found = injected(client, namespace).await?;
    let expected: BTreeMap<String, usize> =
        expected.iter().map(|(revision, pods)| ((*revision).to_owned(), *pods)).collect();
    ensure!(found == expected, "pods of {namespace} are injected by {found:?}, not {expected:?}");
    Ok(())
}

/// Uids of the pods of a namespace that are not terminating.
pub(crate) async fn uids(client: &Client, namespace: &str) -> Result<Vec<String>> {
    let mut uids: Vec<String> =
        pods(client, namespace).await?.iter().filter_map(ResourceExt::uid).collect();
    uids.sort();
    Ok(uids)
}

/// Whether a pod is ready.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// A Deployment.
pub(crate) fn deployment(namespace: &str, name: &str, replicas: u32) -> Value {
    workload("Deployment", namespace, name, json!({ "replicas": replicas }))
}

/// A StatefulSet.
pub(crate) fn stateful_set(namespace: &str, name: &str, replicas: u32) -> Value {
    workload("StatefulSet", namespace, name, json!({ "replicas": replicas, "serviceName": name }))
}

/// A DaemonSet.
pub(crate) fn daemon_set(namespace: &str, name: &str) -> Value {
    workload("DaemonSet", namespace, name, json!({}))
}

/// Creates the autoscaler of a Deployment that has its most replicas already.
pub(crate) async fn full_autoscaler(
    client: &Client,
    namespace: &str,
    name: &str,
    replicas: u32,
) -> Result<()> {
    let object = json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "minReplicas": 1, "maxReplicas": replicas,
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": name },
        },
    });
    create::<HorizontalPodAutoscaler>(client, object).await?;
    let full = json!({ "status": { "currentReplicas": replicas, "desiredReplicas": replicas } });
    Api::<HorizontalPodAutoscaler>::namespaced(client.clone(), namespace)
        .patch_status(name, &PatchParams::default(), &Patch::Merge(&full))
        .await?;
    Ok(())
}

/// `object` whose pods carry this label.
pub(crate) fn with_pod_label(mut object: Value, key: &str, value: &str) -> Value {
    object["spec"]["template"]["metadata"]["labels"][key] = json!(value);
    object
}

/// Changes an object as a user would.
pub(crate) async fn edit<K>(client: &Client, namespace: &str, name: &str, patch: Value) -> Result<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned,
{
    let api = Api::<K>::namespaced(client.clone(), namespace);
    let params = PatchParams { field_manager: Some("kubectl-edit".into()), ..<_>::default() };
    Ok(api.patch(name, &params, &Patch::Merge(&patch)).await?)
}

/// The three kinds of workload in one namespace on the old plane: `web`, `db`, `agent`.
pub(crate) async fn mixed_application(bed: &dyn Bed, name: &str) -> Result<()> {
    let client = bed.client();
    namespace(&client, name, &[("istio.io/rev", OLD)]).await?;
    create::<Deployment>(&client, deployment(name, "web", 2)).await?;
    create::<StatefulSet>(&client, stateful_set(name, "db", 2)).await?;
    create::<DaemonSet>(&client, daemon_set(name, "agent")).await?;
    ready(bed, name, 5).await
}

fn workload(kind: &str, namespace: &str, name: &str, mut spec: Value) -> Value {
    spec["selector"] = json!({ "matchLabels": { "app": name } });
    spec["template"] = pod_template(name);
    json!({
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": { "name": name, "namespace": namespace },
        "spec": spec,
    })
}

/// A pod template of one container.
pub(crate) fn pod_template(app: &str) -> Value {
    json!({
        "metadata": { "labels": { "app": app } },
        "spec": { "containers": [{ "name": "app", "image": "registry.k8s.io/pause:3.10" }] },
    })
}
