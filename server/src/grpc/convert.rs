//! Between the wire types and the core's values, and nothing else.
//!
//! Requests are parsed into values that need no further check, with everything that is wrong with
//! them in one answer.

pub(crate) mod check;
pub(crate) mod explain;
pub(crate) mod gate;
pub(crate) mod message;
pub(crate) mod migration;
pub(crate) mod namespace;
pub(crate) mod plan;
pub(crate) mod plane;
pub(crate) mod request;
pub(crate) mod retirement;
pub(crate) mod tag;
pub(crate) mod verification;

use jiff::Timestamp;
use pbjson_types as well_known;
use std::time::Duration;

const NANOS: i128 = 1_000_000_000;

/// A point in time.
pub(crate) fn timestamp(time: Timestamp) -> well_known::Timestamp {
    let nanos = time.as_nanosecond();
    // Its own text: seconds may be negative, nanoseconds never.
    well_known::Timestamp {
        seconds: i64::try_from(nanos.div_euclid(NANOS)).unwrap_or(i64::MAX),
        nanos: i32::try_from(nanos.rem_euclid(NANOS)).unwrap_or_default(),
    }
}

/// A span of time.
pub(crate) fn duration(span: Duration) -> well_known::Duration {
    well_known::Duration {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(span.subsec_nanos()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_are_never_negative() {
        for (text, seconds, nanos) in [
            ("1970-01-01T00:00:00Z", 0, 0),
            ("2026-07-01T12:00:00.25Z", 1_782_907_200, 250_000_000),
            ("1969-12-31T23:59:59.75Z", -1, 750_000_000),
        ] {
            let time = timestamp(text.parse().unwrap());
            assert_eq!((time.seconds, time.nanos), (seconds, nanos), "{text}");
        }
    }
}
