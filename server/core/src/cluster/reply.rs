//! Replies to own calls beside what watches tell: neither may undo what the other has shown.

use super::{Change, Cluster, Key, Kind, Object, older};
use crate::workload::WorkloadKey;

/// So many deletions are remembered against late replies.
const BURIED: usize = 256;

impl Cluster {
    /// Takes in what the reply to an own call says of an object.
    pub fn apply_reply(&mut self, change: Change) {
        let Change::Set(kind, key, object) = change else {
            return self.apply(change);
        };
        let Some((uid, version)) = identity(&object) else {
            return;
        };
        if self.deleted.iter().any(|deleted| deleted == uid) {
            return;
        }
        self.replied.insert((kind, key.clone()), version.to_owned());
        self.set(kind, key, object);
    }

    /// Takes in that a pod is on its way out. A watch that does not know it yet may set that back:
    /// whoever counts pods takes a look of his own.
    pub fn evicted(&mut self, namespace: &str, name: &str, uid: &str) {
        let pods = self.namespaces.get_mut(namespace).map(|namespace| &mut namespace.pods);
        if let Some(pod) = pods.and_then(|pods| pods.get_mut(name)).filter(|pod| pod.uid == uid) {
            pod.terminating = true;
            self.changed.namespace(namespace);
        }
    }

    /// Forgets own replies and deletions, as they are of a time that a restored backup has undone. What
    /// else is known stays until it is listed anew.
    pub fn restored(&mut self) {
        self.replied.clear();
        self.deleted.clear();
    }

    /// Forgets a reply once a watch has shown as much.
    pub(super) fn passed(&mut self, kind: Kind, key: &Key, object: &Object) {
        let Some((_, version)) = identity(object) else {
            return;
        };
        let place = (kind, key.clone());
        if self.replied.get(&place).is_some_and(|replied| !older(version, replied)) {
            self.replied.remove(&place);
        }
    }

    /// Objects of a kind whose version from an own reply is newer than the listed one. Each is kept
    /// over one list only, so that a restored cluster is believed in the end.
    pub(super) fn replies_ahead(
        &mut self,
        kind: Kind,
        listed: &[(Key, Object)],
    ) -> Vec<(Key, Object)> {
        let mut kept = Vec::new();
        for (key, object) in listed {
            let Some(version) = self.replied.remove(&(kind, key.clone())) else {
                continue;
            };
            let ahead = match (object, kind) {
                (Object::Namespace(meta), _) if older(&meta.resource_version, &version) => self
                    .namespace(&key.name)
                    .filter(|(known, _)| known.uid == meta.uid)
                    .map(|(known, _)| Object::Namespace(known.clone())),
                (Object::Workload(workload, istiod), _)
                    if older(&workload.resource_version, &version) =>
                {
                    self.namespaces
                        .get(&key.namespace)
                        .and_then(|namespace| namespace.workloads.get(&workload.key))
                        .filter(|known| known.uid == workload.uid)
                        .map(|known| Object::Workload(Box::new(known.clone()), istiod.clone()))
                }
                _ => None,
            };
            kept.extend(ahead.map(|object| (key.clone(), object)));
        }
        self.replied.retain(|(of, _), _| *of != kind);
        kept
    }

    /// Remembers a deletion for as long as a reply may still be under way.
    pub(super) fn bury(&mut self, kind: Kind, key: &Key) {
        let Some(namespace) = self.namespaces.get(match kind {
            Kind::Namespace => &key.name,
            _ => &key.namespace,
        }) else {
            return;
        };
        let uid = match kind {
            Kind::Namespace => namespace.meta.as_ref().map(|meta| &meta.uid),
            Kind::Workload(kind) => {
                let workload = WorkloadKey { kind, name: key.name.clone() };
                namespace.workloads.get(&workload).map(|workload| &workload.uid)
            }
            Kind::Pod
            | Kind::Job
            | Kind::Slice
            | Kind::Injector
            | Kind::Plane(_)
            | Kind::Peer
            | Kind::DefaultValidator => None,
        };
        if let Some(uid) = uid.cloned() {
            if self.deleted.len() == BURIED {
                self.deleted.pop_front();
            }
            self.deleted.push_back(uid);
            self.replied.remove(&(kind, key.clone()));
        }
    }
}

/// Uid and version of an object that own calls change.
fn identity(object: &Object) -> Option<(&str, &str)> {
    match object {
        Object::Namespace(meta) => Some((&meta.uid, &meta.resource_version)),
        Object::Workload(workload, _) => Some((&workload.uid, &workload.resource_version)),
        Object::Pod(_)
        | Object::Job(_)
        | Object::Slice(_)
        | Object::Injectors(_)
        | Object::Plane(_)
        | Object::Peer(_)
        | Object::DefaultValidator(_) => None,
    }
}
