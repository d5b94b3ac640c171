//! All decisions, as pure functions: no client, clock, randomness or environment.
//!
//! The modules lie in wings, each of which uses only those before it:
//!
//! ```text
//!  observation ◀─ request ◀─ composition ◀─ plan ◀─ visit ◀─ verification
//! ```
//!
//! [`visit::next`] is where a visit is decided, and [`verification::next`] what is done about canaries; the other modules are what that is decided
//! with.

pub mod composition;
#[cfg(test)]
mod counts;
pub mod observation;
pub mod plan;
pub mod request;
pub mod verification;
pub mod visit;

pub use composition::{boundary, compose};
pub use documents::{
    arns, configuration, edit, evaluation, grantee, keys, names, policy, shared_policy, uses,
};
pub use observation::{observed, question, role_policies};
pub use plan::change;
pub use request::{
    accounts, assess, merge, object, object::Object, preflight, problem::Problem, remedy, validate,
};
pub use visit::{contention, decision, requeue, settle, status};
