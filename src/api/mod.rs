//! The API that users write: the group `bucketops.dev`, version `v1alpha1`.

pub mod aws_account;
pub mod bucket_replication;
pub mod condition;
pub mod event;

pub use aws_account::AwsAccount;
pub use bucket_replication::BucketReplication;

/// Holds an object until what it made in AWS is gone.
pub const FINALIZER: &str = "bucketops.dev/replication";

/// With `"true"`, an object whose deletion AWS refuses is let go, and what it made in AWS stays there.
pub const ABANDON: &str = "bucketops.dev/abandon";

/// The fingerprint of `status.requiredActions` that somebody applied in an account which the operator can't read.
pub const APPLIED: &str = "bucketops.dev/applied";

/// IDs of foreign rules, separated by commas, that a rule of the object takes the place of where it says the same.
pub const TAKE_OVER: &str = "bucketops.dev/take-over";

/// The field manager of everything that the operator writes to the API server.
pub const FIELD_MANAGER: &str = "bucket-replication-operator";
