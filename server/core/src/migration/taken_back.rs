//! Failures that a migration answers by a rollback of its own.

use crate::problem::Problem;

/// What becomes of a failed move where nobody has to be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Nothing: the migration pauses when it has more failures than its budget.
    #[default]
    Pause,
    /// Each namespace whose move failed is rolled back.
    RollBackNamespace,
    /// When the budget is exceeded, all that the wave has moved is rolled back.
    RollBackWave,
}

impl OnFailure {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "PAUSE",
            Self::RollBackNamespace => "ROLLBACK_NAMESPACE",
            Self::RollBackWave => "ROLLBACK_WAVE",
        }
    }

    /// The one of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pause, Self::RollBackNamespace, Self::RollBackWave]
            .into_iter()
            .find(|it| it.as_str() == text)
    }
}

/// The rollback that answers the failure of a move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenBack {
    /// The attempt that failed.
    pub attempt: u32,
    /// What was wrong with it.
    pub problem: Problem,
    /// Id of the rollback, a migration of its own.
    pub rollback: String,
    /// How far that has come.
    pub stage: Stage,
}

/// How far the rollback of a failure has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is to be made.
    Wanted,
    /// It was made, and is never made again.
    Made,
    /// It cannot be made, for this reason.
    Refused(String),
}
