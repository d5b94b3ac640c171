//! What users ask for: objects and accounts, validated, resolved against what was observed, and checked for what S3 would not replicate.

pub mod accounts;
pub mod assess;
pub mod merge;
pub mod object;
pub mod preflight;
pub mod problem;
pub mod remedy;
pub mod rules;
pub mod s3_requests;
pub mod statements;
pub mod validate;
