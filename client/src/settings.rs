//! What the program takes from its surroundings instead of its arguments.

use std::{env, fmt, sync::Arc};

use jiff::Timestamp;

/// Environment and clock. The default has an empty environment and stands at 1970.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `REVSHIFT_SERVER`: where the servers are when `--server` does not say.
    pub server: Option<String>,
    /// `NO_COLOR` is set and not empty.
    pub no_color: bool,
    /// `TERM` is `dumb`: neither colour nor moving the cursor.
    pub dumb: bool,
    /// What time it is; ages are counted from it.
    pub clock: Clock,
}

impl Settings {
    /// The process's environment and the system's clock.
    pub fn process() -> Self {
        Self {
            server: env::var("REVSHIFT_SERVER").ok().filter(|server| !server.is_empty()),
            no_color: env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
            dumb: env::var_os("TERM").is_some_and(|term| term == "dumb"),
            clock: Clock::system(),
        }
    }
}

/// Tells the time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock that the caller moves.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The system's clock.
    #[expect(clippy::disallowed_methods, reason = "the client's only clock, replaced in tests")]
    pub fn system() -> Self {
        Self::new(Timestamp::now)
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(|| Timestamp::UNIX_EPOCH)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}
