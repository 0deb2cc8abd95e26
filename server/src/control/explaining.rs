//! Explanations: what is published, and what was just read of one namespace.

use super::Control;
use crate::failure::Failure;
use crate::kube::look;
use crate::kube::store;
use crate::published::State;
use futures::future::join_all;
use revshift_core::attachment::{Attachment, attachment};
use revshift_core::cluster::NamespaceMeta;
use revshift_core::explain::{Explanation, Look, Subject};
use revshift_core::label::InjectionLabels;
use revshift_core::plane::Revision;
use revshift_core::refusal::Refusal;
use revshift_core::tag::{self, Tags};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long an explanation waits for the istiods of a plane.
const PATIENCE: Duration = Duration::from_secs(5);

/// A namespace, explained.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The namespace as it was just read.
    pub meta: NamespaceMeta,
    /// How its labels and the pods that are watched compare.
    pub attachment: Attachment,
    /// Why each pod is where it is.
    pub explanation: Explanation,
    /// The plane that was asked for, with the tag by which it was named and the labels that lead there.
    pub target: Option<Target>,
    /// The unfinished migration that holds it.
    pub migration: Option<String>,
    /// The planes that its pods are connected to, by pod, as far as istiods tell.
    pub connected: BTreeMap<String, Revision>,
    /// Why others may be connected all the same; none where that is all.
    pub unheard: Option<String>,
}

/// The plane that other labels would lead to.
#[derive(Clone, Debug)]
pub struct Target {
    /// The plane.
    pub revision: Revision,
    /// The tag by which it was named.
    pub tag: Option<String>,
    /// The labels that the namespace would have.
    pub labels: InjectionLabels,
}

impl Control {
    /// Explains namespace `name`; with the name of a plane, also what labels that lead there would make
    /// of it. The namespace and its pods are read for that, and not taken from a watch.
    pub async fn explain(&self, name: &str, target: &str) -> Result<Explained, Failure> {
        let planes = self.ready()?.cluster.planes().keys().cloned().collect();
        let client = self.store.client();
        let read = look::look(&client, name, self.clock.elapsed(), self.clock.now()).await;
        let read =
            read.map_err(|error| store::fail(format!("look at namespace `{name}`"), error))?;
        let Some((meta, look)) = read else {
            return Err(Refusal::NamespaceNotFound(name.to_owned()).into());
        };
        let (connected, unheard) = self.connected(name, &look, planes).await;
        let state = self.ready()?;
        let State { cluster, migrations, .. } = &*state;
        let Some((_, namespace)) = cluster.namespace(name) else {
            return Err(Failure::NotReady);
        };
        let target = target_of(&state, target)?;
        let subject = Subject { cluster, name, meta: &meta, namespace, look: &look };
        let to = target.as_ref().map(|target| (&target.revision, &target.labels));
        let explanation = subject.explain(to);
        let attachment = attachment(cluster, &meta, namespace);
        let holds = |migration: &&revshift_core::migration::Migration| {
            migration.ended.is_none() && migration.find(name).is_some()
        };
        let migration = migrations.values().find(holds).map(|migration| migration.id.clone());
        let meta = meta.clone();
        Ok(Explained { meta, attachment, explanation, target, migration, connected, unheard })
    }

    /// To which of `planes`, and of those that have injected some of them, the pods of a namespace are
    /// connected. That a plane cannot be asked which has injected none keeps nothing from being known.
    async fn connected(
        &self,
        name: &str,
        look: &Look,
        planes: BTreeSet<Revision>,
    ) -> (BTreeMap<String, Revision>, Option<String>) {
        let injected =
            look.inspection.pods.iter().filter_map(|pod| pod.pod.make.injected.revision());
        let injected: BTreeSet<&Revision> = injected.collect();
        let planes: BTreeSet<&Revision> = planes.iter().chain(injected.iter().copied()).collect();
        let (mut connected, mut missing) = (BTreeMap::new(), Vec::new());
        let asked = planes
            .into_iter()
            .map(async |plane| (plane, self.proxies.recent(plane, PATIENCE).await.within(name)));
        for (plane, told) in join_all(asked).await {
            let why = told.incomplete().filter(|_| injected.contains(plane));
            missing.extend(why.map(|why| format!("{plane}: {why}")));
            connected.extend(told.proxies.into_iter().map(|proxy| (proxy.pod, plane.clone())));
        }
        (connected, (!missing.is_empty()).then(|| missing.join("; ")))
    }
}

fn target_of(state: &State, name: &str) -> Result<Option<Target>, Failure> {
    if name.is_empty() {
        return Ok(None);
    }
    let named = tag::named(&state.cluster, name)?;
    let revision = named.plane.revision.clone();
    let tags = Tags { target: named.tag.clone(), ..Tags::default() };
    let labels = tags.labels_of(&revision);
    Ok(Some(Target { revision, tag: named.tag, labels }))
}
