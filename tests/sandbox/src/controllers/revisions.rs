//! ControllerRevisions: the templates that StatefulSets and DaemonSets had.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::cluster::{Author, Cluster};
use crate::kind;
use crate::object;
use crate::refusal::Refusal;
use crate::store::Reference;

pub(super) const HASH: &str = "controller-revision-hash";
const MANAGER: &str = "kube-controller-manager";

/// The revision of the owner's present template, created or renewed if need be.
pub(super) fn current(cluster: &mut Cluster, owner: &Value) -> Result<Arc<Value>, Refusal> {
    let template = object::at(owner, "/spec/template").cloned().unwrap_or_default();
    let all = cluster.store.controlled(kind::REVISIONS, object::uid(owner));
    let number = |one: &Value| object::integer(one, "/revision").unwrap_or_default();
    let newest = all.iter().map(|one| number(one)).max().unwrap_or_default();
    let same = |one: &&Arc<Value>| object::at(one, "/data/spec/template") == Some(&template);
    if let Some(found) = all.iter().find(same) {
        if number(found) < newest {
            // A template that comes back becomes the newest revision again.
            let reference =
                Reference::new(kind::REVISIONS, object::namespace(found), object::name(found));
            cluster.update_main(&reference, MANAGER, |one| {
                object::set(one, "/revision", newest + 1);
            });
        }
        return Ok(found.clone());
    }
    let hash = object::hash(&template);
    let mut labels =
        object::at(&template, "/metadata/labels").cloned().unwrap_or_else(|| json!({}));
    labels[HASH] = json!(hash);
    let revision = json!({
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": format!("{}-{hash}", object::name(owner)),
            "namespace": object::namespace(owner),
            "labels": labels,
            "ownerReferences": object::controlled_by(owner),
        },
        "data": { "spec": { "template": template } },
        "revision": newest + 1,
    });
    let kind = cluster
        .store
        .kind(kind::REVISIONS)
        .ok_or_else(|| Refusal::internal("no controller revisions"))?;
    cluster.create(&kind, object::namespace(owner), revision, Author::controller(MANAGER))
}

/// The template of a revision by name.
pub(super) fn template(cluster: &Cluster, namespace: &str, name: &str) -> Option<Value> {
    let revision = cluster.store.find(kind::REVISIONS, namespace, name)?;
    object::at(revision, "/data/spec/template").cloned()
}

/// The short hash by which DaemonSets label their pods.
pub(super) fn hash(revision: &Value) -> &str {
    object::label(revision, HASH).unwrap_or_default()
}
