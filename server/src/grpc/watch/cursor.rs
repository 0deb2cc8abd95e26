//! Where a client stands in a migration's stream, and what it gets next. Pure.
//!
//! Snapshot and delta are one query: the records with a number above the last one sent. A resume
//! token carries that number, and the highest that any replica was seen to hold, so that a replica
//! that lags never shows less than another did.

use super::super::convert::migration::{movement, progress};
use super::super::token;
use super::sight::Sight;
use crate::published::Stored;
use revshift_core::progress::LiveProgress;
use revshift_core::refusal::Refusal;
use revshift_proto::v1 as proto;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Records in one message.
pub(crate) const MOST_RECORDS: usize = 500;
/// What resume tokens are for.
const PURPOSE: &str = "WatchMigration";

/// What one client has got.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    /// The uid of the migration that was sent; none at first.
    uid: Option<String>,
    /// Every record up to this number was sent.
    sent: u64,
    /// The highest number that a replica was seen to hold.
    held: u64,
    /// The migration as it was sent in this stream.
    summary: Option<Arc<proto::Migration>>,
    /// Live counts as they were sent in this stream.
    live: BTreeMap<String, LiveProgress>,
}

/// What a client gets next.
#[derive(Debug)]
pub(crate) enum Step {
    /// This message.
    Send(Box<proto::WatchMigrationResponse>),
    /// Nothing until something changes.
    Idle,
    /// Nothing: this replica holds less than another did.
    Behind,
    /// The end: the migration is final, and everything was sent.
    End,
}

impl Cursor {
    /// A cursor that goes on after the message with `token`; at the beginning when it is empty.
    pub(crate) fn resume(token: &str) -> Result<Self, Refusal> {
        if token.is_empty() {
            return Ok(Self::default());
        }
        Self::parse(token).ok_or(Refusal::ResumeToken)
    }

    fn parse(token: &str) -> Option<Self> {
        let content = token::open(PURPOSE, token)?;
        let (numbers, uid) = content.split_once('/')?;
        let (sent, held) = numbers.split_once('-')?;
        let (sent, held) = (sent.parse().ok()?, held.parse().ok()?);
        let uid = Some(uid.to_owned()).filter(|_| sent <= held);
        uid.map(|uid| Self { uid: Some(uid), sent, held, ..Self::default() })
    }

    fn token(&self) -> String {
        let uid = self.uid.as_deref().unwrap_or_default();
        token::seal(PURPOSE, &format!("{}-{}/{uid}", self.sent, self.held))
    }

    /// What the client gets next of what is held now.
    pub(crate) fn step(&mut self, sight: &Sight) -> Step {
        let Stored { uid, migration, .. } = &*sight.stored;
        let resync = self.uid.as_ref().is_some_and(|known| known != uid);
        if resync {
            *self = Self::default();
        }
        self.uid.get_or_insert_with(|| uid.clone());
        if sight.highest() < self.held {
            return Step::Behind;
        }
        self.held = sight.highest();
        let mut moves = Vec::new();
        for (number, place) in migration.moves.after(self.sent).take(MOST_RECORDS) {
            moves.extend(migration.moves.get(place).map(|m| movement(place, m)));
            self.sent = number;
        }
        let synced = self.sent == self.held;
        let ended = migration.ended.as_ref();
        let over = ended.is_some_and(|ended| synced && self.sent >= ended.sequence);
        let migration = self.summarize(sight);
        // Counts are of no use before the records that they belong to.
        let progress = if synced { self.count(sight) } else { Vec::new() };
        if !resync && migration.is_none() && moves.is_empty() && progress.is_empty() {
            return if over { Step::End } else { Step::Idle };
        }
        let resume_token = self.token();
        let message = proto::WatchMigrationResponse {
            resync,
            migration,
            moves,
            progress,
            resume_token,
            synced,
        };
        Step::Send(Box::new(message))
    }

    /// The migration, if it is not the one that was sent.
    fn summarize(&mut self, sight: &Sight) -> Option<proto::Migration> {
        let same = |known: &Arc<_>| Arc::ptr_eq(known, &sight.summary) || *known == sight.summary;
        if self.summary.as_ref().is_some_and(same) {
            return None;
        }
        self.summary = Some(Arc::clone(&sight.summary));
        Some(proto::Migration::clone(&sight.summary))
    }

    /// The live counts that are not those that were sent.
    fn count(&mut self, sight: &Sight) -> Vec<proto::MoveProgress> {
        let changed = sight.live.iter().filter(|(name, live)| self.live.get(*name) != Some(*live));
        let progress = changed.map(|(name, live)| progress(name, live)).collect();
        if self.live != sight.live {
            self.live.clone_from(&sight.live);
        }
        progress
    }
}

#[cfg(test)]
mod tests;
