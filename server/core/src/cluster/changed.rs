//! What has changed, on a counter of changes: whoever remembers how far he has looked asks for what
//! came after, and misses nothing by asking late.

use super::Cluster;
use std::collections::BTreeMap;

/// So many namespaces are told apart; whoever is further behind looks at everything.
const KEPT: usize = 4096;

/// When what has changed last.
#[derive(Clone, Debug, Default)]
pub(super) struct Changed {
    /// Counts all changes.
    number: u64,
    /// Up to this change, anything may have changed.
    everything: u64,
    by_number: BTreeMap<u64, String>,
    by_name: BTreeMap<String, u64>,
}

impl Changed {
    /// A namespace, or something in it.
    pub(super) fn namespace(&mut self, name: &str) {
        self.number += 1;
        if let Some(known) = self.by_name.get_mut(name) {
            let name = self.by_number.remove(known).unwrap_or_else(|| name.to_owned());
            *known = self.number;
            self.by_number.insert(self.number, name);
            return;
        }
        self.by_name.insert(name.to_owned(), self.number);
        self.by_number.insert(self.number, name.to_owned());
        if self.by_number.len() > KEPT
            && let Some((oldest, name)) = self.by_number.pop_first()
        {
            self.by_name.remove(&name);
            self.everything = self.everything.max(oldest);
        }
    }

    /// What may concern every namespace.
    pub(super) fn everything(&mut self) {
        self.number += 1;
        self.everything = self.number;
        self.by_number.clear();
        self.by_name.clear();
    }
}

impl Cluster {
    /// The number of the last change.
    pub fn number(&self) -> u64 {
        self.changed.number
    }

    /// The number of the last change that may concern every namespace, such as that of an injector.
    pub fn wide_number(&self) -> u64 {
        self.changed.everything
    }

    /// The namespaces that changed, or whose content did, after the change of a number; none where
    /// anything may have changed.
    pub fn changed_after(&self, number: u64) -> Option<impl Iterator<Item = &str>> {
        let known = number >= self.changed.everything;
        let after = number.saturating_add(1)..;
        known.then(|| self.changed.by_number.range(after).map(|(_, name)| name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(cluster: &Cluster, number: u64) -> Option<Vec<&str>> {
        cluster.changed_after(number).map(Iterator::collect)
    }

    #[test]
    fn each_namespace_is_told_once_to_whoever_asks() {
        let mut cluster = Cluster::default();
        assert_eq!(after(&cluster, 0), Some(vec![]));
        for name in ["a", "b", "a"] {
            cluster.changed.namespace(name);
        }
        assert_eq!(after(&cluster, 0), Some(vec!["b", "a"]));
        assert_eq!(after(&cluster, 2), Some(vec!["a"]));
        assert_eq!(after(&cluster, cluster.number()), Some(vec![]));
        cluster.changed.everything();
        cluster.changed.namespace("c");
        assert_eq!(after(&cluster, 3), None);
        assert_eq!(after(&cluster, 4), Some(vec!["c"]));
    }

    #[test]
    fn who_is_too_far_behind_looks_at_everything() {
        let mut cluster = Cluster::default();
        for number in 0..=KEPT {
            cluster.changed.namespace(&format!("n-{number}"));
        }
        assert_eq!(after(&cluster, 0), None);
        assert_eq!(after(&cluster, 1).map(|names| names.len()), Some(KEPT));
        assert_eq!(cluster.changed.by_name.len(), KEPT);
    }
}
