//! The usual way to know all pods: a reflector with a store of their metadata, without what nobody looks
//! at.

use std::path::PathBuf;

use anyhow::Result;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Api, ResourceExt as _};
use revshift_server::kube::client;

use crate::output;

/// Keeps the pods of a kubeconfig's cluster for ever.
pub(crate) async fn run(kubeconfig: PathBuf) -> Result<()> {
    let client = client::connect(Some(&kubeconfig), None).await?;
    let api = Api::<PartialObjectMeta<Pod>>::all(client);
    let (store, writer) = reflector::store();
    let events = watcher(api, watcher::Config::default()).default_backoff();
    let events = events.modify(|pod| pod.managed_fields_mut().clear());
    let mut events = reflector(writer, events).boxed();
    output::line("listening on nothing");
    while events.next().await.is_some() {}
    drop(store);
    Ok(())
}
