//! The steps from what exists to what should exist, in order.

mod basis;
pub mod change;
mod concerns;
mod order;
mod places;
mod planner;
mod releases;
mod role_change;
mod role_steps;
mod step;
mod target;

pub use basis::{Basis, Settling, Users};
pub use order::{Fit, changing, changing_rules, permissions_fit, plan, unreached};
pub use releases::{unneeded, unused};
pub use role_change::is_ours;
pub use step::{PlannedStep, Step};
pub use target::Target;
