//! The border to AWS: one trait with three methods, and what implements it on the SDK.

pub mod apply;
pub mod ask;
pub mod attempts;
pub mod aws;
pub mod bootstrap;
pub mod calls;
pub mod canary;
pub mod convert;
pub mod editor;
pub mod error;
pub mod known_uses;
mod metric_data;
pub mod own_policy;
pub mod pace;
mod raw;
mod read_iam;
mod read_s3;
pub mod session;
pub mod shared_reads;
mod write;

use std::future::Future;

use crate::replication::{
    observed::Failure,
    plan::Step,
    question::{Answer, Question},
    uses::Used,
};

/// AWS, as far as this operator uses it.
pub trait Cloud: Send + Sync {
    /// Asks one question, which changes nothing. What can't be read is a failed facet of the answer.
    fn ask(&self, question: &Question) -> impl Future<Output = Answer> + Send;

    /// Applies one step. Applying a step again changes nothing more.
    ///
    /// # Errors
    /// When AWS did not apply it, or it is not known whether it did.
    fn apply(&self, step: &Step) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Notes what the visit's source bucket uses at destinations and keys. False if some of it was removed for another source bucket since the visit
    /// began, so that it has to begin again.
    fn note(&self, uses: &Used) -> bool;
}
