//! The steps from what exists to what should exist, in order.

pub mod change;
pub mod planner;
pub mod role_steps;
pub mod step;
pub mod target;

pub use planner::{
    Basis, Fit, Settling, Users, changing, changing_rules, is_ours, permissions_fit, plan,
    unreached,
};
pub use step::{PlannedStep, Step};
pub use target::Target;
