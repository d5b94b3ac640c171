//! What people should know about a bucket in addition to the statuses.

use std::fmt;

use api::event::EventReason;

use crate::remedy::Left;

/// What people should know about a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// An unmanaged rule that was in the configuration that the operator wrote no longer exists: its ID.
    ForeignRuleGone(String),
    /// The role can't be deleted, because another writer added something to it: AWS's error.
    RoleLeft(String),
    /// No object on the bucket needs a statement any longer, and only the owner of the policy can remove it: how.
    StatementsLeft(Left),
}

impl Notice {
    /// The reason of the Event that reports it.
    #[must_use]
    pub fn reason(&self) -> EventReason {
        match self {
            Self::ForeignRuleGone(_) => EventReason::ForeignRuleGone,
            Self::RoleLeft(_) => EventReason::RoleLeft,
            Self::StatementsLeft(_) => EventReason::StatementsLeft,
        }
    }
}

impl Notice {
    /// The action of the Event: Events with the same one are counted as a series, and only the first one's note is shown.
    #[must_use]
    pub fn action(&self) -> Option<String> {
        match self {
            Self::StatementsLeft(left) => Some(format!("Remove{}", left.sid)),
            Self::ForeignRuleGone(_) | Self::RoleLeft(_) => None,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForeignRuleGone(id) => write!(
                f,
                "the unmanaged rule {id} was in the configuration that the operator wrote and no longer exists. If no one removed it on purpose, the operator and another writer overwrote each other: add the rule again"
            ),
            Self::StatementsLeft(left) => write!(
                f,
                "statement {} stays in the {} (account {}), which the operator does not write. If no other source bucket uses it, have the owner remove it: {}",
                left.sid, left.document, left.account, left.command
            ),
            Self::RoleLeft(message) => {
                write!(
                    f,
                    "the operator removed its policies from the role but can't delete the role, because another writer added something to the role: {message}"
                )
            }
        }
    }
}
