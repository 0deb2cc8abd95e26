//! Progress in plain lines: one for each change, none for what reads as before.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    follow::fold::{Changed, Followed},
    output::{style, wording},
};

/// Remembers what was said of each namespace, so that nothing is said twice.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    migration: String,
    moves: BTreeMap<String, String>,
}

impl Lines {
    /// The lines that a message gives.
    pub(crate) fn of(
        &mut self,
        followed: &Followed,
        changed: &Changed,
        now: Timestamp,
    ) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(line) = self.of_migration(followed, now) {
            lines.push(line);
        }
        for namespace in &changed.namespaces {
            lines.extend(self.of_move(followed, namespace));
        }
        lines
    }

    pub(crate) fn of_migration(&mut self, followed: &Followed, now: Timestamp) -> Option<String> {
        let migration = followed.migration.as_ref()?;
        let stand = wording::migration_stand(migration);
        let line = |now| match wording::waits_for(migration, now) {
            none if none.is_empty() => format!("migration {}: {stand}", migration.id),
            others => format!("migration {}: {stand}, waits for {others}", migration.id),
        };
        // Counts change with every move, which has a line of its own, and time goes on anyway.
        let timeless = line(None);
        if timeless == self.migration {
            return None;
        }
        self.migration = timeless;
        Some(style::one_line(&line(Some(now))))
    }

    pub(crate) fn of_move(&mut self, followed: &Followed, namespace: &str) -> Option<String> {
        let it = followed.moves.get(namespace)?;
        let text = wording::move_line(it, followed.live.get(namespace), followed.target())?;
        let line = format!("{namespace}: {text}");
        if self.moves.get(namespace) == Some(&line) {
            return None;
        }
        self.moves.insert(namespace.to_owned(), line.clone());
        Some(line)
    }
}
