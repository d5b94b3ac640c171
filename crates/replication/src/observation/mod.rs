//! What AWS was asked and answered: the questions, and what was observed.

pub mod ledger;
pub mod observed;
pub mod question;
pub mod role_policies;
