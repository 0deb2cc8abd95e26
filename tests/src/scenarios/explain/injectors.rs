//! What the webhooks of the day made of pods: there were none, they led elsewhere, or there are too many.

use super::until_reason;
use crate::bed::Bed;
use crate::cluster::{NEW, OLD, create, deployment, namespace, ready, until_injecting};
use crate::mesh;
use crate::session::Session;
use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;

/// Each reason that webhooks give: pods are younger than their labels, and yet not where those lead.
pub(crate) async fn the_webhooks_of_the_day_are_told(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    mesh::inject_for(&client, "why-moved", "why-moved", OLD).await?;
    for name in ["why-late", "why-moved", "why-both"] {
        namespace(&client, name, &[("istio.io/rev", name)]).await?;
    }
    until_injecting(bed, "why-moved", OLD).await?;
    for name in ["why-late", "why-moved", "why-both"] {
        create::<Deployment>(&client, deployment(name, "web", 1)).await?;
        ready(bed, name, 1).await?;
    }
    let session = Session::start(bed).await?;
    let late = until_reason(&session, "why-late", "workloads", "web", "REASON_DANGLING").await?;
    ensure!(late["podsAstray"] == 1, "{late}");

    mesh::inject_for(&client, "why-late", "why-late", OLD).await?;
    mesh::inject_for(&client, "why-moved", "why-moved", NEW).await?;
    mesh::inject_for(&client, "why-both-old", "why-both", OLD).await?;
    mesh::inject_for(&client, "why-both-new", "why-both", NEW).await?;
    for (name, reason) in [
        ("why-late", "REASON_WEBHOOK_DOWN"),
        ("why-moved", "REASON_INJECTED_BY_OTHER"),
        ("why-both", "REASON_CONFLICT"),
    ] {
        let told = until_reason(&session, name, "workloads", "web", reason).await?;
        ensure!(told["podsAstray"] == 1, "{told}");
    }
    let shown = session.done(&["explain", "why-both"]).await?;
    for words in ["CONFLICT", OLD, NEW] {
        ensure!(shown.contains(words), "it does not say `{words}`:\n{shown}");
    }
    for configuration in ["why-late", "why-moved", "why-both-old", "why-both-new"] {
        mesh::remove_injector(&client, configuration).await?;
    }
    session.end_with(&["why-late", "why-moved", "why-both"]).await
}
