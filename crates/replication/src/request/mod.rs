//! What users ask for: objects and accounts, validated, resolved against what was observed, and checked for what S3 would not replicate.

pub mod account;
pub mod accounts;
pub mod assess;
mod bucket_checks;
pub mod canary_grants;
pub mod facts;
mod foreign_role;
pub mod lacking;
pub mod merge;
pub mod object;
mod policy_checks;
pub mod preflight;
pub mod problem;
pub mod remedy;
pub mod rules;
pub mod s3_requests;
pub mod statements;
mod valid_rule;
pub mod validate;
