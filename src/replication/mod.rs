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
pub mod configuration;
pub mod contention;
pub mod decision;
pub mod edit;
pub mod merge;
pub mod names;
pub mod observed;
pub mod plan;
pub mod policy;
pub mod preflight;
pub mod question;
pub mod remedy;
pub mod requeue;
pub mod role_policies;
pub mod settle;
pub mod status;
pub mod validate;

use std::collections::BTreeSet;

use crate::api::{
    bucket_replication::{BucketReplicationSpec, RequiredAction},
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

/// A `BucketReplication`, reduced to what decisions depend on.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, in any combination"
)]
pub struct Object {
    /// Namespace and name.
    pub key: names::ObjectKey,
    /// Distinguishes it from a later object of the same name.
    pub uid: String,
    /// When it was created. If two objects conflict, the older one wins.
    pub created: Option<jiff::Timestamp>,
    /// The spec.
    pub spec: BucketReplicationSpec,
    /// IDs of unmanaged rules that its rules take over.
    pub take_over: BTreeSet<String>,
    /// The fingerprint of the required actions that are attested as applied.
    pub applied: Option<String>,
    /// Since when it is being deleted.
    pub deleted: Option<jiff::Timestamp>,
    /// Whether its deletion is blocked, and it is to be released all the same.
    pub abandoned: bool,
    /// Whether it has the operator's finalizer, which it needs before anything is written for it.
    pub held: bool,
    /// Whether its status lists rules: the finalizer may have been removed since.
    pub configured: bool,
    /// Whether its status says that it is ready, at the generation of its spec.
    pub ready: bool,
    /// The labels of its namespace.
    pub namespace_labels: accounts::Labels,
}

impl Object {
    /// Whether it is being deleted.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        self.deleted.is_some()
    }

    /// Whether resources that were created for it may exist in AWS.
    #[must_use]
    pub fn may_have_resources(&self) -> bool {
        self.held || self.configured
    }
}
