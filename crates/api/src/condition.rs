//! Conditions of a status, by their types.

use strum::{EnumIter, EnumMessage, IntoStaticStr};

pub use crate::reason::Reason;

/// What a condition of a `BucketReplication` is about. `Accepted` to `Ready` are present from the first visit, in this
/// order; `Reconciling` and `Stalled` only while they are True, as [kstatus](https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus) reads them.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumIter, EnumMessage, IntoStaticStr,
)]
pub enum ConditionType {
    /// The object is valid, and its namespace may do what it asks for.
    #[strum(message = "the object is valid and allowed")]
    Accepted,
    /// The source bucket exists and can be replicated from.
    #[strum(message = "the source bucket exists, can be read, and has versioning enabled")]
    SourceReady,
    /// The destination bucket exists and allows the role to write.
    #[strum(
        message = "the destination bucket exists, has versioning enabled, and its policy allows the role to write"
    )]
    DestinationReady,
    /// The KMS keys can be used, and their policies allow the role to use them.
    #[strum(message = "the KMS keys can be used, and their policies allow the role to use them")]
    KeysReady,
    /// The role that S3 assumes exists, with its permissions.
    #[strum(message = "the role that S3 assumes exists with its permissions")]
    RoleReady,
    /// The source bucket's replication configuration contains the rules.
    #[strum(message = "the source bucket's replication configuration contains the rules")]
    ReplicationConfigured,
    /// The summary of the others: everything is set up for S3 to replicate what the object asks for.
    #[strum(message = "all of the above are True")]
    Ready,
    /// S3 replicates: canaries were found in the destination bucket. Present if `spec.verification` asks for it.
    #[strum(
        message = "S3 replicated the last canaries; present if spec.verification asks for canaries"
    )]
    Verified,
    /// What S3 reports of its own replication: no operation failed, and the latency is within bounds. Present if metrics are read.
    #[strum(
        message = "no replication of S3 failed, and its latency is within verification.maxLatency; present if the source's AWSAccount has replicationMetrics and the object has metrics: Enabled"
    )]
    Healthy,
    /// The operator is reconciling the object.
    #[strum(message = "present while the operator reconciles the object")]
    Reconciling,
    /// The object waits for someone to act.
    #[strum(message = "present while the object waits for someone to act")]
    Stalled,
}

impl ConditionType {
    /// Those that are always present, in the order of `status.conditions`. The last one sums up the others.
    pub const PERSISTENT: [Self; 7] = [
        Self::Accepted,
        Self::SourceReady,
        Self::DestinationReady,
        Self::KeysReady,
        Self::RoleReady,
        Self::ReplicationConfigured,
        Self::Ready,
    ];

    /// The type as in `status.conditions`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
