//! Why an object can't get what it asks for.

use api::{
    bucket_replication::RequiredAction,
    condition::{ConditionType, Reason},
};

/// Why an object can't get what it asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The condition that it makes false.
    pub condition: ConditionType,
    /// The reason of that condition.
    pub reason: Reason,
    /// What is wrong, on which resource, and what to do.
    pub message: String,
    /// What the owner of the resource has to apply.
    pub action: Option<Box<RequiredAction>>,
}

impl Problem {
    /// A problem that no statement solves.
    #[must_use]
    pub fn new(condition: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            condition,
            reason,
            message: message.into(),
            action: None,
        }
    }
}
