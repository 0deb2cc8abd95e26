//! A migration as its stream tells it, folded from messages.
//!
//! Pure: applies what the API's watch protocol says and reports what changed.

use std::collections::{BTreeMap, BTreeSet};

use revshift_proto::v1::{self as proto, migration, r#move};

/// What was received so far.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    /// The migration as it stands; absent until it was sent.
    pub(crate) migration: Option<proto::Migration>,
    /// Moves by namespace.
    pub(crate) moves: BTreeMap<String, proto::Move>,
    /// Live counts by namespace.
    pub(crate) live: BTreeMap<String, proto::MoveProgress>,
    /// Where to resume.
    pub(crate) resume_token: String,
    /// Whether the last message closed a gap.
    pub(crate) synced: bool,
}

/// What a message changed.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Changed {
    /// Whether the migration itself changed.
    pub(crate) migration: bool,
    /// Namespaces whose move or live counts changed, in the order of the plan.
    pub(crate) namespaces: Vec<String>,
}

impl Followed {
    /// Applies one message.
    pub(crate) fn apply(&mut self, message: proto::WatchMigrationResponse) -> Changed {
        if message.resync {
            *self = Self::default();
        }
        let mut touched = BTreeSet::new();
        for it in message.moves {
            touched.insert(it.namespace.clone());
            self.moves.insert(it.namespace.clone(), it);
        }
        for live in message.progress {
            touched.insert(live.namespace.clone());
            self.live.insert(live.namespace.clone(), live);
        }
        let changed = message.migration.is_some();
        if changed {
            self.migration = message.migration;
        }
        if !message.resume_token.is_empty() {
            self.resume_token = message.resume_token;
        }
        self.synced = message.synced;
        let mut namespaces: Vec<_> = touched.into_iter().collect();
        namespaces.sort_by_key(|name| self.moves.get(name).map(|it| it.index));
        Changed { migration: changed, namespaces }
    }

    /// Revision of the plane that the migration moves to.
    pub(crate) fn target(&self) -> &str {
        self.migration.as_ref().map_or("the target", |migration| &migration.target)
    }

    /// Where the migration stands, once it was sent.
    pub(crate) fn state(&self) -> Option<migration::State> {
        self.migration.as_ref().map(proto::Migration::state)
    }

    /// Moves in the order of the plan.
    pub(crate) fn ordered(&self) -> Vec<&proto::Move> {
        let mut moves: Vec<_> = self.moves.values().collect();
        moves.sort_by_key(|it| it.index);
        moves
    }
}

/// Whether a state is final.
pub(crate) fn is_final(state: migration::State) -> bool {
    use migration::State;
    match state {
        State::Succeeded | State::CompletedWithExceptions | State::Cancelled => true,
        State::Unspecified
        | State::Pending
        | State::Running
        | State::Paused
        | State::WaitingApproval
        | State::Cancelling => false,
    }
}

/// Whether nothing goes on until somebody says so.
pub(crate) fn needs_somebody(state: migration::State) -> bool {
    matches!(state, migration::State::Paused | migration::State::WaitingApproval)
}

/// Whether a move is between its start and its end.
pub(crate) fn is_active(state: r#move::State) -> bool {
    use r#move::State;
    matches!(
        state,
        State::Checking
            | State::Relabeling
            | State::AwaitingLabel
            | State::Restarting
            | State::Verifying
    )
}

/// Whether a move waits to be tried again.
pub(crate) fn is_stuck(it: &proto::Move) -> bool {
    matches!(it.state(), r#move::State::Failed | r#move::State::Blocked)
}
