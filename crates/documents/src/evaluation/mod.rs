//! Whether policies allow a request, in three values: yes, no, or unknown with its cause. Certain answers are right whatever is not known; each
//! cause of an unknown answer is in the closed list of [`Cause`].
//!
//! "Policy evaluation logic" and the "IAM JSON policy element reference" in the IAM User Guide say how AWS evaluates policies.

mod access;
mod caller;
mod condition;
mod context;
mod denial;
mod operator;
mod pattern;
mod resource;
mod statement;
mod truth;

pub use access::{Access, Policies, PolicyKind, ResourcePolicy, access};
pub use caller::{Caller, Session};
pub use context::{Context, Possible};
pub use denial::{Denial, DenyingStatement};
pub use resource::Resource;
pub use truth::{Cause, Truth};

/// A request that policies are evaluated for.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Who calls. Policies of IAM name no principals, and are evaluated for whom they are attached to.
    pub caller: &'a Caller,
    /// The action, such as `s3:ReplicateObject`.
    pub action: &'a str,
    /// What is asked for.
    pub resource: &'a Resource,
    /// The values of condition keys.
    pub context: &'a Context,
}
