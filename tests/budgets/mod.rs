//! Calls to AWS for the walkthrough's object, across accounts with KMS and without a settle delay: counted of the core by `tests/visit.rs`, and on the
//! wire by the end-to-end tests.

/// To create everything.
pub const CREATE: usize = 24;
/// To check for drift if there is none.
pub const CHECK: usize = 8;
/// To remove everything.
pub const DELETE: usize = 14;
