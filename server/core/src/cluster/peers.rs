//! Copies that Calisti keeps of planes in other clusters.

use super::{Cluster, Key};
use crate::plane::Revision;

/// A copy of a plane in another cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The plane here that it goes with.
    pub revision: Revision,
    /// The cluster that it is in.
    pub cluster: String,
    /// Whether labels of namespaces here are made to be those of that cluster: its annotation
    /// `namespace-injection-source`.
    pub source: bool,
}

impl Cluster {
    /// The cluster that decides on the labels of the namespaces of a plane; none when that is this one.
    /// The operator here puts back whatever else is written.
    pub fn label_source(&self, revision: &Revision) -> Option<&str> {
        let mut peers = self.peers.values();
        let found = peers.find(|peer| peer.source && peer.revision == *revision);
        found.map(|peer| peer.cluster.as_str())
    }

    pub(super) fn set_peer(&mut self, key: Key, peer: Peer) {
        let place = (key.namespace, key.name);
        if self.peers.insert(place, peer.clone()) != Some(peer) {
            self.changed.everything();
        }
    }

    pub(super) fn peer_gone(&mut self, key: &Key) {
        if self.peers.remove(&(key.namespace.clone(), key.name.clone())).is_some() {
            self.changed.everything();
        }
    }
}
