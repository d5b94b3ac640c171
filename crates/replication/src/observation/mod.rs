//! What AWS was asked and answered: the questions, and what was observed.

pub mod asking;
mod bucket_questions;
mod facet;
mod fold;
mod inquiry;
mod key_query;
pub mod known;
pub mod ledger;
pub mod observed;
pub mod question;
pub mod role_policies;
mod role_questions;
mod role_read;
mod scope;
