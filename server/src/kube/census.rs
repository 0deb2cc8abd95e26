//! A count of everything that may refer to a plane, by quorum reads: nothing here comes from a watch.
//!
//! Kinds that are not installed have no objects. What else cannot be read is named in the census.

mod deletion;
mod lists;
mod reader;
mod webhooks;

use crate::kube::crd;
use crate::kube::{external, observe};
use deletion::Dismantling;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DynamicObject, ListParams, PostParams};
use kube::{Client, Error, ResourceExt};
use reader::Reader;
use revshift_core::cluster::{Change, Kind, Object};
use revshift_core::plane::{Plane, Revision, Source};
use revshift_core::retirement::census::{Census, Cordon};
use revshift_core::retirement::{DeleteRefusal, Look, Subject, Target};
use serde_json::json;
use std::fmt::Debug;
use std::time::Duration;

/// A dry run of a namespace of this name shows whether new users of a plane are denied.
const PROBE: &str = "revshift-cordon-probe";

/// Which plane's users are counted, and what is known of them already.
#[derive(Clone, Debug)]
pub struct Question {
    /// The revision of the plane.
    pub revision: Revision,
    /// Where it was found.
    pub source: Source,
    /// Name of the resource that stands for it.
    pub name: String,
    /// Namespace of the plane.
    pub namespace: String,
    /// Whether to try if new users are kept away.
    pub cordon: bool,
}

impl Question {
    /// The question about a plane that was found.
    pub fn of(plane: &Plane) -> Self {
        Self {
            revision: plane.revision.clone(),
            source: plane.source,
            name: plane.name.clone(),
            namespace: plane.namespace.clone(),
            cordon: false,
        }
    }

    /// The question about the plane of a retirement.
    pub fn about(plane: &Subject, cordon: bool) -> Self {
        Self {
            revision: plane.revision.clone(),
            source: plane.source,
            name: plane.name.clone(),
            namespace: plane.namespace.clone(),
            cordon,
        }
    }
}

/// Counts users of planes, and deletes planes.
#[derive(Clone)]
pub struct Counter {
    client: Client,
}

impl Debug for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counter").finish_non_exhaustive()
    }
}

impl Counter {
    /// Reads and deletes through `client`.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Counts the users of a plane, the proxies aside that only its istiods know of.
    pub async fn census(&self, question: &Question) -> Census {
        census(&self.client, question).await
    }

    /// Tries whether a namespace that names the plane would be denied; nothing is created.
    pub async fn cordon(&self, revision: &Revision) -> Cordon {
        cordon(&self.client, revision).await
    }

    /// What is left of a plane.
    pub async fn look(&self, plane: &Subject, targets: &[Target], elapsed: Duration) -> Look {
        deletion::look(&self.client, plane, targets, elapsed).await
    }

    /// Deletes exactly this object, in exactly this version. Whether it was done is for the next look to
    /// tell; what repeating does not mend is told here.
    pub async fn delete(&self, target: &Target, version: String) -> Option<DeleteRefusal> {
        deletion::delete(&self.client, target, version).await
    }
}

async fn census(client: &Client, question: &Question) -> Census {
    let mut census = Census::default();
    let mut reader = Reader::new(client);
    // Migrations come last of what is listed: whatever is created after a retirement is durable is either
    // in this list, or finds the retirement.
    lists::cluster(&mut reader, &mut census, question).await;
    let called = webhooks::read(&mut reader, &mut census, question).await;
    lists::istio(&mut reader, &mut census, question).await;
    planes(&mut reader, &mut census, question).await;
    called.unanswered(&mut reader, &mut census).await;
    lists::retirements(&mut reader, &mut census).await;
    lists::migrations(&mut reader, &mut census).await;
    let dismantling = Dismantling { client, question };
    dismantling.targets(&mut reader, &mut census).await;
    dismantling.rights(&mut census).await;
    if question.cordon {
        census.cordon = Some(cordon(client, &question.revision).await);
    }
    census.unread = reader.unread;
    census
}

async fn cordon(client: &Client, revision: &Revision) -> Cordon {
    let probe = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": { "name": PROBE, "labels": { "istio.io/rev": revision.as_str() } },
    });
    let probe: Namespace = match serde_json::from_value(probe) {
        Ok(probe) => probe,
        Err(error) => return Cordon::Missing(error.to_string()),
    };
    let params = PostParams { dry_run: true, ..PostParams::default() };
    match Api::<Namespace>::all(client.clone()).create(&params, &probe).await {
        Ok(_) => Cordon::Missing("a namespace that names the plane is let in".to_owned()),
        Err(Error::Api(status)) if status.message.contains("revshift-retirement") => Cordon::Active,
        Err(Error::Api(status)) => {
            Cordon::Missing(format!("it cannot be tried: {}", status.message))
        }
        Err(error) => Cordon::Missing(format!("it cannot be tried: {error}")),
    }
}

/// The plane's own resource and its peers.
async fn planes(reader: &mut Reader<'_>, census: &mut Census, question: &Question) {
    for (source, resource, convert) in [
        (
            Source::Calisti,
            observe::calisti_planes(),
            observe::calisti_plane as fn(&DynamicObject) -> Object,
        ),
        (Source::Sail, observe::sail_planes(), observe::sail_plane),
    ] {
        let objects = reader.optional(&resource).await;
        if source == question.source {
            let mine = |it: &&DynamicObject| match source {
                Source::Calisti => {
                    it.name_any() == question.name
                        && it.namespace().as_deref() == Some(question.namespace.as_str())
                }
                Source::Sail | Source::Istio => it.name_any() == question.name,
            };
            if let Some(found) = objects.iter().find(mine) {
                census.deleting = found.metadata.deletion_timestamp.is_some();
                census.plane = Some(subject(question, found.uid().unwrap_or_default()));
                census.keeper = external::keeper(&found.metadata);
                lists::operator(census, found, source);
                if source == Source::Sail {
                    census.kept_by = lists::parent(reader, found).await;
                }
            }
        }
        let listed = objects.iter().map(|it| (observe::key(it), convert(it))).collect();
        census.cluster.apply(Change::Listed(Kind::Plane(source), listed));
    }
    let peers = reader.optional(&observe::peers()).await;
    let listed = peers.iter().map(|it| (observe::key(it), external::peer(it))).collect();
    census.cluster.apply(Change::Listed(Kind::Peer, listed));
}

fn subject(question: &Question, uid: String) -> Subject {
    Subject {
        revision: question.revision.clone(),
        source: question.source,
        name: question.name.clone(),
        namespace: question.namespace.clone(),
        uid,
    }
}

/// Everything that is stored of migrations.
async fn stored(client: &Client) -> Result<(Vec<crd::Migration>, Vec<crd::MigrationShard>), Error> {
    let (migrations, shards) = (Api::all(client.clone()), Api::all(client.clone()));
    let migrations = reader::all(&migrations, ListParams::default()).await?;
    Ok((migrations, reader::all(&shards, ListParams::default()).await?))
}
