//! Reasons on which no one has to act.

use crate::condition::Reason;

impl Reason {
    /// Whether an object that is not ready for this reason is as its user wants it, or will be soon: no one has to act.
    #[must_use]
    pub fn is_intended(self) -> bool {
        matches!(
            self,
            Self::Paused | Self::PlanPending | Self::Deleting | Self::Progressing | Self::Pending
        )
    }
}
