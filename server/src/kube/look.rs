//! One look at a namespace in full: itself, its pods and its warning events, none of it from a cache.

use crate::kube::{inspect, observe};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;
use kube::{Client, Error};
use revshift_core::cluster::{NamespaceMeta, Object};
use revshift_core::explain::{Labelled, Look};
use revshift_core::label;
use std::time::Duration;

/// Looks at `namespace`, as of `elapsed`; none where there is no such namespace.
pub async fn look(
    client: &Client,
    namespace: &str,
    elapsed: Duration,
) -> Result<Option<(NamespaceMeta, Look)>, Error> {
    let Some(found) = Api::<Namespace>::all(client.clone()).get_opt(namespace).await? else {
        return Ok(None);
    };
    let labelled = labelled(&found);
    let Object::Namespace(meta) = observe::namespace(&found) else {
        return Ok(None);
    };
    let (inspection, details) = inspect::in_full(client, namespace, elapsed).await?;
    Ok(Some((meta, Look { inspection, details, labelled })))
}

/// When somebody wrote the labels that decide on injection last.
fn labelled(namespace: &Namespace) -> Labelled {
    let keys = [label::REVISION, label::INJECTION].map(|key| format!("f:{key}"));
    let entries = namespace.metadata.managed_fields.iter().flatten();
    let writing = entries.filter(|entry| {
        let labels = entry.fields_v1.as_ref().and_then(|fields| fields.0.get("f:metadata"));
        let labels = labels.and_then(|meta| meta.get("f:labels"));
        labels.is_some_and(|labels| keys.iter().any(|key| labels.get(key).is_some()))
    });
    let Some(last) = writing.filter_map(|entry| entry.time.as_ref().map(|time| time.0)).max()
    else {
        return Labelled::Unknown;
    };
    let created = namespace.metadata.creation_timestamp.as_ref().map(|time| time.0);
    if created.is_some_and(|created| last <= created) {
        Labelled::AtCreation
    } else {
        Labelled::At(last)
    }
}
