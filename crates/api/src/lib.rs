//! The API that users write: the group `bucketops.dev`, version `v1alpha1`.

mod account_status;
pub mod aws_account;
pub mod bucket_replication;
pub mod condition;
pub mod duration;
pub mod event;
pub mod finding;
mod intended;
mod reason;
mod replication_status;
mod requests_per_second;
pub mod verification;

pub use aws_account::AwsAccount;
pub use bucket_replication::BucketReplication;

/// Keeps an object until what it created in AWS is removed.
pub const FINALIZER: &str = "bucketops.dev/replication";

/// With `"true"`, an object whose deletion is blocked is released, and what it created in AWS stays there.
pub const ABANDON: &str = "bucketops.dev/abandon";

/// The fingerprint of the `status.requiredActions` that are applied in an account that the operator can't read.
pub const APPLIED: &str = "bucketops.dev/applied";

/// IDs of unmanaged rules, separated by commas, that the object takes over if one of its rules is equal.
pub const TAKE_OVER: &str = "bucketops.dev/take-over";

/// The field manager of what the operator writes about S3's metrics.
pub const HEALTH_FIELD_MANAGER: &str = "bucket-replication-operator-health";

/// Any new value asks for canaries at once, if the object has canaries at all.
pub const VERIFY: &str = "bucketops.dev/verify";

/// The field manager of everything that the operator writes to the API server.
pub const FIELD_MANAGER: &str = "bucket-replication-operator";

/// The field manager of what the operator writes about canaries, so that this and other parts of a status do not overwrite each other.
pub const VERIFICATION_FIELD_MANAGER: &str = "bucket-replication-operator-verification";
