//! The border to AWS: one trait with two methods, and what implements it on the SDK.

pub mod apply;
pub mod attempts;
pub mod aws;
pub mod bootstrap;
pub mod calls;
pub mod convert;
pub mod editor;
pub mod error;
pub mod observe;
mod raw;
mod read;

use std::future::Future;

use crate::replication::{
    observed::{Failure, Observed, Scope},
    plan::Step,
};

/// AWS, as far as this operator uses it.
pub trait Cloud: Send + Sync {
    /// Reads what `scope` names, as deep as it says, and the buckets and keys that have statements of the operator by what was read. What `seen`
    /// contains is not read again. Changes nothing. What can't be read is a failed facet of the answer, so that one refusal does not hide the
    /// rest.
    fn observe(&self, scope: &Scope, seen: &Observed) -> impl Future<Output = Observed> + Send;

    /// Applies one step. Applying a step again changes nothing more.
    ///
    /// # Errors
    /// When AWS did not apply it, or it is not known whether it did.
    fn apply(&self, step: &Step) -> impl Future<Output = Result<(), Failure>> + Send;
}
