//! How a restart is told from others: by migration and attempt.

/// The value of `revshift.dev/restart` for an attempt of a migration.
pub fn restart_id(migration: &str, attempt: u32) -> String {
    format!("{migration}.{attempt}")
}

/// The migration and attempt in a restart id; none when it is not one.
pub fn parse_restart_id(id: &str) -> Option<(&str, u32)> {
    let (migration, attempt) = id.rsplit_once('.')?;
    Some((migration, attempt.parse().ok()?))
}
