//! How often faults strike.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;

use super::{Malformed, compact};

/// How often: `[TIMES | always | for DURATION] [after N] [1 in N]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub most: Most,
    /// So many that the place selects are spared first.
    pub after: u64,
    /// One in so many is struck, as the seed has it.
    pub one_in: u32,
}

/// How many times at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Most {
    Times(u64),
    Always,
    /// All, for so long after the first.
    For(Duration),
}

impl Default for Count {
    fn default() -> Self {
        Self { most: Most::Times(1), after: 0, one_in: 1 }
    }
}

impl FromStr for Count {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let wrong = || {
            let usage = "[TIMES | always | for DURATION] [after N] [1 in N]";
            Malformed::new(format!("`{text}` is no count: {usage}"))
        };
        let words: Vec<_> = text.split_whitespace().collect();
        let mut count = Self::default();
        let mut rest = words.as_slice();
        loop {
            rest = match rest {
                [] => return Ok(count),
                ["1", "in", number, rest @ ..] => {
                    count.one_in = number.parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?;
                    rest
                }
                ["after", number, rest @ ..] => {
                    count.after = number.parse().map_err(|_| wrong())?;
                    rest
                }
                ["always", rest @ ..] => {
                    count.most = Most::Always;
                    rest
                }
                ["for", time, rest @ ..] => {
                    let time = time.parse::<SignedDuration>().map_err(|_| wrong())?;
                    count.most = Most::For(Duration::try_from(time).map_err(|_| wrong())?);
                    rest
                }
                [times, rest @ ..] => {
                    count.most = Most::Times(times.parse().map_err(|_| wrong())?);
                    rest
                }
            };
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.most {
            Most::Times(times) => write!(f, "{times}")?,
            Most::Always => f.write_str("always")?,
            Most::For(time) => {
                let time = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
                write!(f, "for {}", compact(time))?;
            }
        }
        if self.after > 0 {
            write!(f, " after {}", self.after)?;
        }
        if self.one_in > 1 {
            write!(f, " 1 in {}", self.one_in)?;
        }
        Ok(())
    }
}
