//! One look at a namespace in full: itself, its pods and its warning events, none of it from a cache.

use crate::kube::{inspect, observe};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;
use kube::{Client, Error};
use revshift_core::cluster::{NamespaceMeta, Object};
use revshift_core::explain::{Labelled, Look};
use revshift_core::label;
use std::time::Duration;

/// The field that the API server adds to a namespace when it is created.
const CREATED: &str = "f:kubernetes.io/metadata.name";

/// Looks at `namespace`, as of `elapsed` and `now`; none where there is no such namespace.
pub async fn look(
    client: &Client,
    namespace: &str,
    elapsed: Duration,
    now: Timestamp,
) -> Result<Option<(NamespaceMeta, Look)>, Error> {
    let Some(found) = Api::<Namespace>::all(client.clone()).get_opt(namespace).await? else {
        return Ok(None);
    };
    let labelled = labelled(&found);
    let Object::Namespace(meta) = observe::namespace(&found) else {
        return Ok(None);
    };
    let (inspection, details) = inspect::in_full(client, namespace, elapsed).await?;
    Ok(Some((meta, Look { inspection, details, labelled, now })))
}

/// When somebody wrote the labels that decide on injection last. Who wrote the label of the namespace's name,
/// too, has created it; that a label was removed is told by nothing.
fn labelled(namespace: &Namespace) -> Labelled {
    let keys = [label::REVISION, label::INJECTION].map(|key| format!("f:{key}"));
    let entries = namespace.metadata.managed_fields.iter().flatten();
    let writing: Vec<_> = entries
        .filter_map(|entry| {
            let labels = entry.fields_v1.as_ref()?.0.get("f:metadata")?.get("f:labels")?;
            keys.iter().any(|key| labels.get(key).is_some()).then_some(())?;
            Some((entry.time.as_ref()?.0, labels.get(CREATED).is_some()))
        })
        .collect();
    let created = namespace.metadata.creation_timestamp.as_ref().map(|time| time.0);
    match writing.as_slice() {
        [] => Labelled::Unknown,
        [(at, true)] if Some(*at) == created => Labelled::AtCreation,
        several => several.iter().map(|(at, _)| *at).max().map_or(Labelled::Unknown, Labelled::At),
    }
}
