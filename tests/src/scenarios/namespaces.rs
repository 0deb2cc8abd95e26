//! `revshift namespaces`: what the labels ask for against what the pods have.

use crate::bed::Bed;
use crate::cluster::{
    NEW, OLD, application, create, deployment, edit, namespace, ready, set_label, until_injecting,
};
use crate::session::{Session, until};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

/// Labels and pods that agree, that do not, that do in part, and labels that lead nowhere.
pub(crate) async fn a_namespace_shows_how_its_pods_fit_its_label(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    application(bed, "fits").await?;
    create::<Deployment>(&client, deployment("fits", "api", 1)).await?;
    ready(bed, "fits", 3).await?;
    let session = Session::start(bed).await?;
    shows(&session, "fits", "ATTACHED", OLD, &[(OLD, 3)]).await?;

    set_label(&client, "fits", "istio.io/rev", Some(NEW)).await?;
    shows(&session, "fits", "PENDING_RESTART", NEW, &[(OLD, 3)]).await?;

    until_injecting(bed, "fits", NEW).await?;
    let restart = json!({ "kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z" });
    let patch = json!({ "spec": { "template": { "metadata": { "annotations": restart } } } });
    edit::<Deployment>(&client, "fits", "api", patch).await?;
    shows(&session, "fits", "MIXED", NEW, &[(OLD, 2), (NEW, 1)]).await?;

    // It can be finished by a migration, which restarts only what is left.
    let plan = session
        .done(&["migrate", "--from", "cp-v113x", "--to", "cp-v115x", "-n", "fits", "--dry-run"])
        .await?;
    ensure!(plan.contains("labels stay as they are"), "{plan}");
    session.migrate(&["fits"]).await?;
    shows(&session, "fits", "ATTACHED", NEW, &[(NEW, 3)]).await?;
    session.end_with(&["fits"]).await
}

/// Labels by which new pods get no sidecar, knowingly or not.
pub(crate) async fn a_namespace_without_injection_says_why(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    namespace(&client, "dangles", &[("istio.io/rev", "nobody-serves-this")]).await?;
    namespace(&client, "plain", &[]).await?;
    namespace(&client, "vacant", &[("istio.io/rev", NEW)]).await?;
    for name in ["dangles", "plain"] {
        create::<Deployment>(&client, deployment(name, "web", 1)).await?;
        ready(bed, name, 1).await?;
    }
    let session = Session::start(bed).await?;
    let dangling = shows(&session, "dangles", "DANGLING", "", &[("", 1)]).await?;
    ensure!(dangling["label"] == "istio.io/rev=nobody-serves-this", "{dangling}");
    shows(&session, "plain", "NOT_INJECTED", "", &[("", 1)]).await?;
    shows(&session, "vacant", "ATTACHED", NEW, &[]).await?;

    for name in [NEW, "cp-v115x"] {
        let listed = session.done(&["namespaces", "--plane", name, "-o", "name"]).await?;
        let has = |wanted: &str| listed.lines().any(|line| line == wanted);
        ensure!(has("vacant") && !has("dangles") && !has("plain"), "{listed}");
    }
    let table = session.done(&["namespaces"]).await?;
    let row = table.lines().find(|line| line.starts_with("dangles ")).context("no row")?;
    ensure!(row.contains("DANGLING") && row.contains("-:1"), "{row}");
    session.refused(&["namespaces", "--plane", "nowhere"], 1, &["no control plane"]).await?;
    session.end_with(&["dangles", "plain", "vacant"]).await
}

/// Waits until a namespace is shown so.
async fn shows(
    session: &Session<'_>,
    name: &str,
    state: &str,
    plane: &str,
    injected: &[(&str, u64)],
) -> Result<Value> {
    until(session.bed, format!("{name} is {state}"), async || {
        let text = session.done(&["namespaces", "-o", "json"]).await?;
        let list: Value = serde_json::from_str(&text)?;
        let items = list["items"].as_array().context("no items")?;
        let found = items.iter().find(|one| one["name"] == name).context("it is missing")?;
        let pods: Vec<(&str, u64)> = found["injected"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|one| {
                let revision = one["revision"].as_str().unwrap_or_default();
                (revision, one["pods"].as_u64().unwrap_or_default())
            })
            .collect();
        ensure!(found["state"] == format!("STATE_{state}"), "{found}");
        ensure!(found["resolvedPlane"].as_str().unwrap_or_default() == plane, "{found}");
        ensure!(pods == injected, "{found}");
        Ok(found.clone())
    })
    .await
}
