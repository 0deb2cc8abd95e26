//! Who acts: the rules of the Lease, on locally observed time only.
//!
//! After client-go's leader election: another holder's clock is never compared with ours; a lease
//! counts as expired when it has not changed for its duration since *we* first saw it so.

use crate::cluster::older;
use std::time::Duration;

/// The times of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long others wait after the last renewal that they saw.
    pub lease: Duration,
    /// How long the holder acts after its last successful renewal; shorter than `lease`.
    pub renew: Duration,
    /// How long between two tries.
    pub retry: Duration,
}

impl Terms {
    /// The terms for a lease duration, in the proportions of Kubernetes' own components.
    pub fn of(lease: Duration) -> Self {
        Self { lease, renew: lease * 2 / 3, retry: lease * 2 / 15 }
    }
}

/// The stored Lease, as read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Who holds it; empty when nobody does.
    pub holder: String,
    /// How often it changed hands: the epoch of its holder.
    pub transitions: u32,
    /// Changes with every write.
    pub resource_version: String,
}

/// What a candidate has seen of the Lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    last: Option<(LeaseRecord, Duration)>,
    /// The newest version.
    newest: String,
    /// The highest epoch.
    epoch: u32,
    /// Lower epochs were given before etcd was restored.
    least: u32,
}

/// What a candidate does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidacy {
    /// Write the lease as its holder, with this many transitions.
    Take {
        /// The new epoch.
        transitions: u32,
    },
    /// Write the lease again: it is ours.
    Renew {
        /// The present epoch.
        transitions: u32,
    },
    /// Somebody else holds it: look again after this time.
    Wait(Duration),
}

impl Observation {
    /// Takes in a version of the Lease; whether versions have gone back, as they do only where etcd was
    /// restored from a backup. What was an epoch before is none again: its leader has numbered records
    /// that are not stored any more.
    pub fn has_gone_back(&mut self, record: &LeaseRecord) -> bool {
        let gone_back = older(&record.resource_version, &self.newest);
        if gone_back {
            self.least = self.epoch.saturating_add(1);
        }
        self.newest.clone_from(&record.resource_version);
        self.epoch = self.epoch.max(record.transitions);
        gone_back
    }

    /// The epoch of a new leader where `epoch` would be the next.
    pub fn next(&self, epoch: u32) -> u32 {
        epoch.max(self.least)
    }

    /// Takes in the Lease as it was read at `now`, and says what `identity` does.
    pub fn observe(
        &mut self,
        record: &LeaseRecord,
        identity: &str,
        terms: Terms,
        now: Duration,
    ) -> Candidacy {
        let since = match &self.last {
            Some((last, since)) if last == record => *since,
            _ => now,
        };
        self.last = Some((record.clone(), since));
        let ours = record.holder == identity;
        if ours && record.transitions >= self.least {
            return Candidacy::Renew { transitions: record.transitions };
        }
        if ours || record.holder.is_empty() || now >= since + terms.lease {
            return Candidacy::Take {
                transitions: self.next(record.transitions.saturating_add(1)),
            };
        }
        Candidacy::Wait(terms.retry.min((since + terms.lease).saturating_sub(now)))
    }
}
