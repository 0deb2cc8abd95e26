//! The pods of a namespace, packed: there are far more of them than of anything else.

use crate::pod::Pod;
use std::sync::Arc;

/// Unfinished pods by name.
#[derive(Clone, Debug, Default)]
pub struct Pods(Vec<Entry>);

#[derive(Clone, Debug)]
struct Entry {
    pod: Pod,
    /// It was not seen since the list that is being read has begun.
    unseen: bool,
}

impl Pods {
    /// All of them, by name.
    pub fn values(&self) -> impl Iterator<Item = &Pod> + Clone {
        self.0.iter().map(|entry| &entry.pod)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Pod> {
        let place = self.place(name).ok()?;
        Some(&mut self.0[place].pod)
    }

    /// Takes a pod in; whether that changes anything.
    pub(super) fn insert(&mut self, mut pod: Pod) -> bool {
        let place = self.place(&pod.name);
        let (Ok(index) | Err(index)) = place;
        // Pods of one template are neighbours, as their names begin alike.
        let beside = [index.checked_sub(1), Some(index), Some(index + 1)];
        let mut others = beside.into_iter().flatten().filter_map(|index| self.0.get(index));
        if let Some(twin) = others.find(|other| other.pod.make == pod.make) {
            pod.make = Arc::clone(&twin.pod.make);
        }
        if let Ok(index) = place {
            let entry = &mut self.0[index];
            entry.unseen = false;
            let changes = entry.pod != pod;
            entry.pod = pod;
            return changes;
        }
        self.0.insert(index, Entry { pod, unseen: false });
        true
    }

    pub(super) fn remove(&mut self, name: &str) {
        if let Ok(place) = self.place(name) {
            self.0.remove(place);
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// A list begins.
    pub(super) fn doubt(&mut self) {
        for entry in &mut self.0 {
            entry.unseen = true;
        }
    }

    /// A list is complete: what it did not show is gone.
    pub(super) fn drop_unseen(&mut self) {
        self.0.retain(|entry| !entry.unseen);
        self.0.shrink_to_fit();
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|entry| entry.pod.name.as_str().cmp(name))
    }
}
