//! WatchMigration: a migration's records and live counts, as they change.
//!
//! A message is made only when there is room for it, from what is published then: a slow client
//! gets fewer and larger steps, and slows only itself.

pub(crate) mod cursor;
pub(crate) mod sight;

use super::Face;
use super::status::{behind, draining, status};
use cursor::{Cursor, Step};
use futures::{Stream, stream};
use revshift_core::refusal::Refusal;
use revshift_proto::v1 as proto;
use sight::Sight;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

pub(crate) use sight::Sights;

/// How long a client waits for a replica that does not hold yet what it has seen elsewhere.
const PATIENCE: Duration = Duration::from_secs(5);

/// One client's watch of a migration that exists.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) face: Face,
    pub(crate) id: String,
    pub(crate) cursor: Cursor,
    /// The version of what is published.
    pub(crate) changes: watch::Receiver<u64>,
    /// What was looked at last; none before this replica held the migration.
    pub(crate) seen: Option<Arc<Sight>>,
    /// Until when this replica may catch up, while it has to.
    pub(crate) behind: Option<Instant>,
}

impl Watch {
    /// The messages, up to the end of the migration.
    pub(crate) fn stream(
        self,
    ) -> impl Stream<Item = Result<proto::WatchMigrationResponse, Status>> + Send {
        stream::unfold(Some(self), |watch| async {
            let mut watch = watch?;
            match watch.next().await.transpose()? {
                Ok(message) => Some((Ok(message), Some(watch))),
                Err(status) => Some((Err(status), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<Option<proto::WatchMigrationResponse>, Status> {
        let shutdown = self.face.shutdown.clone();
        loop {
            if shutdown.is_cancelled() {
                return Err(draining());
            }
            match self.step()? {
                Step::Send(message) => return Ok(Some(*message)),
                Step::End => return Ok(None),
                Step::Idle => self.behind = None,
                Step::Behind => {
                    self.behind.get_or_insert_with(|| Instant::now() + PATIENCE);
                }
            }
            let late = async {
                match self.behind {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Err(draining()),
                changed = self.changes.changed() => changed.map_err(|_| draining())?,
                () = late => return Err(behind()),
            }
        }
    }

    fn step(&mut self) -> Result<Step, Status> {
        let version = *self.changes.borrow_and_update();
        let published = self.face.control.published();
        match self.face.sights.look(published, version, &self.id) {
            Some(sight) => {
                let step = self.cursor.step(&sight);
                self.seen = Some(sight);
                if !matches!(step, Step::Behind) {
                    self.behind = None;
                }
                Ok(step)
            }
            // It was read live, and its first change is still on the way.
            None if self.seen.is_none() => Ok(Step::Behind),
            None => Err(status(Refusal::MigrationNotFound(self.id.clone()).into())),
        }
    }
}
