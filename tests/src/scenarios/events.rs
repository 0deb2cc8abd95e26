//! What Kubernetes itself is told, for people who look there first.

use crate::bed::Bed;
use crate::cluster::application;
use crate::session::{Session, until};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, ListParams};

/// The owners of a namespace find in it what was done to it, and each thing once.
pub(crate) async fn a_namespace_and_its_migration_tell_what_happened(bed: &dyn Bed) -> Result<()> {
    application(bed, "told").await?;
    let session = Session::start(bed).await?;
    let id = session.detach(&["told"], &[]).await?;
    session.until_state(&id, "SUCCEEDED").await?;
    let moved = until_told(bed, "told", "told", "Moved").await?;
    let message = moved.message.unwrap_or_default();
    ensure!(message.contains(&id) && message.contains("cp-v115x"), "{message}");
    let relabelled = until_told(bed, "told", "told", "Relabelled").await?;
    ensure!(relabelled.type_.as_deref() == Some("Normal"), "{relabelled:?}");
    let succeeded = until_told(bed, "default", &id, "Succeeded").await?;
    let message = succeeded.message.unwrap_or_default();
    ensure!(message == "1 of 1 namespaces moved", "{message}");
    let told = told(bed, "told", "told").await?;
    let reasons: Vec<_> = told.iter().filter_map(|event| event.reason.as_deref()).collect();
    ensure!(reasons.len() == 2, "{reasons:?}");
    session.end_with(&["told"]).await
}

/// Waits for the Event of that reason about an object, in a namespace.
pub(super) async fn until_told(
    bed: &dyn Bed,
    namespace: &str,
    object: &str,
    reason: &str,
) -> Result<Event> {
    until(bed, format!("the Event {reason} about {object}"), async || {
        let told = told(bed, namespace, object).await?;
        let found = told.into_iter().find(|event| event.reason.as_deref() == Some(reason));
        found.context("there is none")
    })
    .await
}

/// What revshift has told about an object.
async fn told(bed: &dyn Bed, namespace: &str, object: &str) -> Result<Vec<Event>> {
    let api = Api::<Event>::namespaced(bed.client(), namespace);
    let mut events = api.list(&ListParams::default()).await?.items;
    events.retain(|event| {
        let source = event.source.as_ref().and_then(|source| source.component.as_deref());
        source == Some("revshift") && event.involved_object.name.as_deref() == Some(object)
    });
    Ok(events)
}
