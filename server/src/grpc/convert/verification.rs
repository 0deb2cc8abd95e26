//! Levels of verification on the wire.

use revshift_core::migration::Verification;
use revshift_proto::v1 as proto;

/// The level that is asked for, or what is wrong with it.
pub(crate) fn read(value: i32) -> Result<Verification, String> {
    match proto::Verification::try_from(value) {
        Ok(proto::Verification::Unspecified | proto::Verification::Injected) => {
            Ok(Verification::Injected)
        }
        Ok(proto::Verification::Connected) => Ok(Verification::Connected),
        Err(_) => Err(format!("{value} is nothing that is known")),
    }
}

/// A level.
pub(crate) fn verification(verification: Verification) -> proto::Verification {
    match verification {
        Verification::Injected => proto::Verification::Injected,
        Verification::Connected => proto::Verification::Connected,
    }
}
