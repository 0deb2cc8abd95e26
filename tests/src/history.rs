//! Every pod that a namespace ever had, so that a pod replaced twice is noticed however quickly it
//! went by.

use crate::bed::Bed;
use crate::cluster::uids;
use crate::session::until;
use anyhow::{Result, ensure};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinHandle;

type Seen = Arc<Mutex<BTreeSet<String>>>;

/// The uids of all pods that a namespace has had since this was made.
pub(crate) struct History {
    namespace: String,
    /// All that were there, those on their way out included.
    before: BTreeSet<String>,
    /// Those among them that were to stay.
    alive: BTreeSet<String>,
    seen: Seen,
    watch: JoinHandle<()>,
}

impl Drop for History {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl History {
    /// Begins to watch.
    pub(crate) async fn of(bed: &dyn Bed, namespace: &str) -> Result<Self> {
        let pods = Api::<Pod>::namespaced(bed.client(), namespace);
        let all = pods.list(&ListParams::default()).await?;
        let before = all.iter().filter_map(ResourceExt::uid).collect();
        let alive = all
            .iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .filter_map(ResourceExt::uid)
            .collect();
        let seen = Seen::default();
        let watch = tokio::spawn(watch(bed.client(), namespace.to_owned(), seen.clone()));
        let history = Self { namespace: namespace.to_owned(), before, alive, seen, watch };
        history.caught_up(bed).await?;
        Ok(history)
    }

    /// Requires that every pod from before was replaced, and each exactly once.
    pub(crate) async fn replaced_once(&self, bed: &dyn Bed) -> Result<()> {
        let now = self.caught_up(bed).await?;
        let created: BTreeSet<String> = &self.seen() - &self.before;
        let namespace = &self.namespace;
        ensure!(now.is_disjoint(&self.before), "old pods are left in {namespace}");
        ensure!(
            created == now,
            "{} pods were created in {namespace} to have {}",
            created.len(),
            now.len()
        );
        Ok(())
    }

    /// How many pods were created.
    pub(crate) async fn created(&self, bed: &dyn Bed) -> Result<usize> {
        self.caught_up(bed).await?;
        Ok((&self.seen() - &self.before).len())
    }

    /// Requires that no pod was created or deleted.
    pub(crate) async fn untouched(&self, bed: &dyn Bed) -> Result<()> {
        let now = self.caught_up(bed).await?;
        let created = &self.seen() - &self.before;
        ensure!(now == self.alive && created.is_empty(), "pods of {} changed", self.namespace);
        Ok(())
    }

    /// Waits until all present pods were seen; whatever was created before them was, too.
    async fn caught_up(&self, bed: &dyn Bed) -> Result<BTreeSet<String>> {
        let client = bed.client();
        until(bed, format!("the pods of {} were seen", self.namespace), async || {
            let now: BTreeSet<String> = uids(&client, &self.namespace).await?.into_iter().collect();
            ensure!(now.is_subset(&self.seen()), "some of {now:?} were not seen");
            Ok(now)
        })
        .await
    }

    fn seen(&self) -> BTreeSet<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn watch(client: Client, namespace: String, seen: Seen) {
    let pods = Api::<Pod>::namespaced(client, &namespace);
    let events = watcher(pods, watcher::Config::default()).default_backoff().applied_objects();
    let mut pods = pin!(events);
    while let Some(event) = pods.next().await {
        // A broken watch is taken up again by itself.
        if let Some(uid) = event.ok().and_then(|pod| pod.uid()) {
            seen.lock().unwrap_or_else(PoisonError::into_inner).insert(uid);
        }
    }
}
