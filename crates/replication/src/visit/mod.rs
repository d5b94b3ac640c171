//! A visit to a source bucket as a pure function: [`next`] says what to read, confirm or apply, by what was seen so far.

pub mod check_period;
mod checked_role;
pub mod contention;
pub mod culprits;
pub mod decision;
pub mod disposition;
mod doubt;
mod findings;
pub mod former;
mod in_use;
mod input;
mod limits;
pub mod memory;
pub mod narrowing;
mod next;
pub mod notice;
pub mod outcome;
mod overlaps;
mod owners;
mod prepared;
mod refusals;
pub mod report;
pub mod requeue;
mod round;
pub mod seen;
pub mod settle;
mod stage;
pub mod status;
mod times;
pub mod view;
mod watched;

pub use input::{Visit, upstream_of};
pub use next::{Next, next};
pub use prepared::{Confirmation, Prepared};
pub use seen::Opened;
pub use times::Times;
