//! `revshift planes`: every source, and what is attached.

use crate::bed::Bed;
use crate::cluster::{
    NEW, OLD, application, create, delete_namespace, injected_by, namespace, pod_template,
};
use crate::mesh;
use crate::session::{Session, until};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

/// The counts are those of the cluster, in every format.
pub(crate) async fn planes_count_what_is_really_attached(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    application(bed, "planes-full").await?;
    namespace(&client, "planes-empty", &[("istio.io/rev", OLD)]).await?;
    let session = Session::start(bed).await?;
    for revision in [OLD, NEW] {
        until(bed, format!("the counts of {revision} are right"), async || {
            let plane = plane(&session, revision).await?.context("it is missing")?;
            let counted = [&plane["namespaces"], &plane["pods"]].map(|n| n.as_u64().unwrap_or(0));
            let real = attached(&client, revision).await?;
            ensure!(counted == real, "{revision} has {real:?}, and {counted:?} are shown");
            ensure!(plane["source"] == "SOURCE_CALISTI" && plane["available"] == true, "{plane}");
            Ok(())
        })
        .await?;
    }
    let names = session.done(&["planes", "-o", "name"]).await?;
    ensure!(names.lines().any(|line| line == OLD) && names.lines().any(|line| line == NEW));
    let table = session.done(&["planes"]).await?;
    let wide = session.done(&["planes", "-o", "wide"]).await?;
    ensure!(!table.contains("SOURCE") && wide.contains("SOURCE"), "{table}{wide}");
    let row = wide.lines().find(|line| line.contains(OLD)).context("no row of the old plane")?;
    for word in ["cp-v113x", "ACTIVE", "network1", "Available", "CALISTI", "istio-system"] {
        ensure!(row.contains(word), "no {word} in {row}");
    }
    let bare = session.done(&["planes", "--no-headers"]).await?;
    ensure!(!bare.contains("NAME") && bare.contains(OLD), "{bare}");
    session.end_with(&["planes-full", "planes-empty"]).await
}

/// A kind of plane that is installed, used and removed while the server runs.
pub(crate) async fn a_sail_plane_comes_and_goes_without_a_restart(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    let session = Session::start(bed).await?;
    ensure!(plane(&session, "sail-27").await?.is_none());
    mesh::define_sail(&client).await?;
    until(bed, "an IstioRevision can be created", async || {
        mesh::create_sail_plane(&client, "sail-27").await
    })
    .await?;
    mesh::set_sail_status(&client, "sail-27", "Healthy", true).await?;
    let is = |status: &'static str, available: bool| {
        let session = &session;
        until(bed, format!("the plane is {status}"), async move || {
            let plane = plane(session, "sail-27").await?.context("it is missing")?;
            let shown = plane["available"].as_bool().unwrap_or_default();
            ensure!(plane["status"] == status && shown == available, "{plane}");
            Ok(plane)
        })
    };
    let healthy = is("Healthy", true).await?;
    ensure!(healthy["source"] == "SOURCE_SAIL" && healthy["version"] == "1.27.0", "{healthy}");
    mesh::set_sail_status(&client, "sail-27", "IstiodNotReady", false).await?;
    let broken = is("IstiodNotReady", false).await?;
    ensure!(broken["error"] == "istiod is not ready", "{broken}");
    mesh::delete::<CustomResourceDefinition>(&client, mesh::SAIL).await?;
    until(bed, "the plane is gone with its definition", async || {
        ensure!(plane(&session, "sail-27").await?.is_none());
        Ok(())
    })
    .await?;
    // The others are still there, and the definition may come again.
    ensure!(plane(&session, OLD).await?.is_some());
    session.end().await
}

/// A plane without a resource of its own is found by istiod and webhook; it goes when both have.
pub(crate) async fn a_plain_istiod_is_found_by_its_revision_label(bed: &dyn Bed) -> Result<()> {
    let (client, home, revision) = (bed.client(), "plain-istiod", "plain-1-30");
    let session = Session::start(bed).await?;
    namespace(&client, home, &[]).await?;
    mesh::create_injector(&client, (home, "plain-1-30"), revision, revision, &[]).await?;
    let is = |status: &'static str| {
        let session = &session;
        until(bed, format!("the plane is {status}"), async move || {
            let plane = plane(session, revision).await?.context("it is missing")?;
            ensure!(plane["source"] == "SOURCE_ISTIO" && plane["status"] == status, "{plane}");
            Ok(plane)
        })
    };
    // Nobody vouches for a webhook that nothing answers.
    let remote = is("NoCABundle").await?;
    ensure!(remote["available"] != true, "{remote}");
    create::<Deployment>(&client, istiod(home, revision)).await?;
    let local = is("Available").await?;
    let found = [&local["version"], &local["namespace"], &local["name"]];
    ensure!(found == ["1.30.1", home, "istiod-plain"], "{local}");
    let istiods = Api::<Deployment>::namespaced(client.clone(), home);
    istiods.delete("istiod-plain", &DeleteParams::background()).await?;
    is("NoCABundle").await?;
    mesh::delete::<MutatingWebhookConfiguration>(&client, "plain-1-30").await?;
    until(bed, "the plane is gone", async || {
        ensure!(plane(&session, revision).await?.is_none());
        Ok(())
    })
    .await?;
    delete_namespace(&client, home).await?;
    session.end().await
}

/// A plane as `-o json` shows it.
async fn plane(session: &Session<'_>, revision: &str) -> Result<Option<Value>> {
    let list: Value = serde_json::from_str(&session.done(&["planes", "-o", "json"]).await?)?;
    let items = list["items"].as_array().context("no items")?;
    Ok(items.iter().find(|plane| plane["revision"] == revision).cloned())
}

/// Namespaces whose label leads to a plane, and pods that it injected.
async fn attached(client: &Client, revision: &str) -> Result<[u64; 2]> {
    let all = ListParams::default();
    let namespaces = Api::<Namespace>::all(client.clone()).list(&all).await?;
    let labelled = namespaces.iter().filter(|namespace| {
        namespace.labels().get("istio.io/rev").map(String::as_str) == Some(revision)
            && !namespace.labels().contains_key("istio-injection")
    });
    let mut pods = 0;
    for pod in Api::<Pod>::all(client.clone()).list(&all).await? {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let counts = pod.metadata.deletion_timestamp.is_none()
            && !matches!(phase, Some("Succeeded" | "Failed"));
        pods += u64::from(counts && injected_by(&pod)? == revision);
    }
    Ok([u64::try_from(labelled.count())?, pods])
}

fn istiod(namespace: &str, revision: &str) -> Value {
    let labels = json!({ "app": "istiod", "istio.io/rev": revision });
    let mut template = pod_template("istiod");
    template["metadata"]["labels"] = labels.clone();
    template["metadata"]["labels"]["sidecar.istio.io/inject"] = json!("false");
    template["spec"]["containers"][0]["image"] = json!("docker.io/istio/pilot:1.30.1-distroless");
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "istiod-plain", "namespace": namespace, "labels": labels },
        "spec": { "replicas": 1, "selector": { "matchLabels": labels }, "template": template },
    })
}
