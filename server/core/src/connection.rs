//! Live connections: what the istiods of a plane say of the proxies that they serve.

use std::collections::BTreeMap;
use std::time::Duration;

/// What all istiod replicas of a plane say together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// The proxies that are connected, each told of once, by namespace and pod.
    pub proxies: Vec<Proxy>,
    /// Why more may be connected than told: one text for each replica that could not be asked, or one
    /// where none is known. Empty: this is all.
    pub missing: Vec<String>,
}

/// A proxy that is connected to an istiod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Proxy {
    /// Namespace of its pod.
    pub namespace: String,
    /// Name of its pod.
    pub pod: String,
    /// What it makes of its configuration.
    pub stand: Stand,
}

/// What a proxy makes of the configuration that its istiod has for it; the better, the lower.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stand {
    /// It has acknowledged all that was sent.
    Synced,
    /// It has not acknowledged yet what was sent of these kinds, such as `listeners`.
    Stale(Vec<String>),
    /// Nothing was sent to it yet.
    NotSent,
    /// It has rejected what was sent of a kind, with what it says of it; empty where its istiod does
    /// not tell.
    Rejected(String, String),
}

/// What was asked for one namespace: the reply to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// When it was asked for, on the engine's clock.
    pub at: Duration,
    /// What the target says.
    pub target: Connections,
    /// What the source says, where that was asked, too.
    pub source: Option<Connections>,
}

impl Connections {
    /// Joins what replicas say. A proxy that changes from one to another may be told of by both for a
    /// moment: what its new connection has come to counts.
    pub fn join(
        told: impl IntoIterator<Item = Vec<Proxy>>,
        missing: impl IntoIterator<Item = String>,
    ) -> Self {
        let mut known: BTreeMap<(String, String), Stand> = BTreeMap::new();
        for Proxy { namespace, pod, stand } in told.into_iter().flatten() {
            let best = known.entry((namespace, pod)).or_insert_with(|| stand.clone());
            if stand < *best {
                *best = stand;
            }
        }
        let proxies = known.into_iter();
        let proxies = proxies.map(|((namespace, pod), stand)| Proxy { namespace, pod, stand });
        Self { proxies: proxies.collect(), missing: missing.into_iter().collect() }
    }

    /// What is said of the pods of one namespace.
    #[must_use]
    pub fn within(&self, namespace: &str) -> Self {
        let of = self.proxies.iter().filter(|proxy| proxy.namespace == namespace);
        Self { proxies: of.cloned().collect(), missing: self.missing.clone() }
    }

    /// The proxy of a pod, if it is connected.
    pub fn proxy(&self, namespace: &str, pod: &str) -> Option<&Proxy> {
        let place = (namespace, pod);
        let key = |proxy: &Proxy| (proxy.namespace.as_str(), proxy.pod.as_str()).cmp(&place);
        self.proxies.get(self.proxies.binary_search_by(key).ok()?)
    }

    /// Why what is not told of may be connected all the same; none where this is all.
    pub fn incomplete(&self) -> Option<String> {
        (!self.missing.is_empty()).then(|| self.missing.join("; "))
    }
}
