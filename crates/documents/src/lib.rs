//! Names, policies and replication configurations of AWS: values that know nothing of Kubernetes, of a client or of the operator's decisions.

pub mod arns;
mod canonical;
pub mod configuration;
pub mod edit;
pub mod evaluation;
pub mod grantee;
pub mod keys;
pub mod names;
mod partition;
pub mod policy;
mod rule_mark;
pub mod shared_policy;
pub mod uses;
