//! All decisions, as pure functions: no client, clock, randomness or environment.
//!
//! ```text
//!  spec ─▶ validate ─▶ Valid ─▶ assess ─▶ compose ─▶ Desired ─┐
//!                        │                                    ├─▶ plan ─▶ steps
//!                        └────▶ Scope ─▶ (read) ─▶ Observed ──┘
//! ```
//!
//! [`decision::decide`] is this picture as code; [`status`] turns its outcome into what users read.

pub mod accounts;
pub mod assess;
pub mod boundary;
pub mod change;
pub mod compose;
pub mod contention;
pub mod decision;
pub mod merge;
pub mod object;
pub mod observed;
pub mod plan;
pub mod preflight;
pub mod question;
pub mod remedy;
pub mod requeue;
pub mod role_policies;
pub mod settle;
pub mod status;
pub mod validate;
pub mod visit;

use api::{
    bucket_replication::RequiredAction,
    condition::{ConditionType, Reason},
};
pub use documents::{configuration, edit, names, policy};
pub use object::Object;

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
