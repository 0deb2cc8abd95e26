//! What the cluster's CRDs of revshift can store.
//!
//! The API server drops, without a word, what a CRD does not describe. So each CRD tells the version of
//! plans that it was made for, and nothing is stored where a part of it would be lost.

use crate::failure::Failure;
use revshift_core::plan::PLAN_VERSION;

/// What the CRDs can store, of all of them together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Definitions {
    /// Nothing: they are not installed.
    #[default]
    Missing,
    /// Plans up to this version, which is lower than this server's.
    Outdated(u32),
    /// All that this server stores.
    Current,
}

impl Definitions {
    /// What CRDs can store that tell these versions.
    pub fn of(versions: impl IntoIterator<Item = u32>) -> Self {
        match versions.into_iter().min() {
            None => Self::Missing,
            Some(version) if version < PLAN_VERSION => Self::Outdated(version),
            Some(_) => Self::Current,
        }
    }

    /// Refuses where there can be no migrations.
    pub fn installed(self) -> Result<(), Failure> {
        match self {
            Self::Missing => Err(Failure::CrdsMissing),
            Self::Outdated(_) | Self::Current => Ok(()),
        }
    }

    /// Refuses where a migration could not be stored whole.
    pub fn storable(self) -> Result<(), Failure> {
        match self {
            Self::Missing => Err(Failure::CrdsMissing),
            Self::Outdated(version) => Err(Failure::CrdsOutdated(version)),
            Self::Current => Ok(()),
        }
    }
}
