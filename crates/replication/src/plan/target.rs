//! What a step changes: one resource or policy, and the condition that is about it.

use api::condition::ConditionType;

use crate::{
    arns::PolicyArn,
    edit::StatementEdit,
    keys::KeyArn,
    names::{OwnedBucket, RoleName},
    plan::step::Step,
    shared_policy::SharedPolicy,
};

/// What a step changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// The versioning of a bucket.
    Versioning(&'a OwnedBucket),
    /// The policy of a bucket.
    BucketPolicy(&'a OwnedBucket),
    /// The policy of a key.
    KeyPolicy(&'a KeyArn),
    /// The replication configuration of a bucket.
    Configuration(&'a OwnedBucket),
    /// A role, without its policies.
    Role(&'a RoleName),
    /// The operator's inline policy on a role.
    RolePolicy(&'a RoleName),
    /// A managed policy of a role.
    ManagedPolicy(&'a PolicyArn),
    /// A former version of a managed policy, which no longer has an effect.
    FormerVersion,
    /// Nothing: the plan waits.
    Time,
}

impl Step {
    /// What the step changes.
    #[must_use]
    pub fn target(&self) -> Target<'_> {
        match self {
            Self::EnableVersioning { bucket, .. } => Target::Versioning(bucket),
            Self::PutBucketPolicy { bucket, .. } | Self::DeleteBucketPolicy { bucket, .. } => {
                Target::BucketPolicy(bucket)
            }
            Self::PutKeyPolicy { key, .. } => Target::KeyPolicy(key),
            Self::PutReplication { bucket, .. } | Self::DeleteReplication { bucket, .. } => {
                Target::Configuration(bucket)
            }
            Self::CreateRole(role)
            | Self::UpdateTrustPolicy(role)
            | Self::TagRole(role)
            | Self::PutRolePermissionsBoundary { role, .. } => Target::Role(&role.arn.name),
            Self::DeleteRole { role, .. } => Target::Role(role),
            Self::PutRolePolicy { role, .. } | Self::DeleteRolePolicy { role, .. } => {
                Target::RolePolicy(role)
            }
            Self::CreateManagedPolicy { policy, .. }
            | Self::AttachManagedPolicy { policy, .. }
            | Self::CreateManagedPolicyVersion { policy, .. }
            | Self::DetachManagedPolicy { policy, .. }
            | Self::DeleteManagedPolicy { policy } => Target::ManagedPolicy(policy),
            Self::DeleteManagedPolicyVersion { .. } => Target::FormerVersion,
            Self::Settle => Target::Time,
        }
    }

    /// What the step changes, for messages: one resource or policy. `None` if that has no effect of its own.
    #[must_use]
    pub fn element(&self) -> Option<String> {
        Some(match self.target() {
            Target::Versioning(bucket) => format!("the versioning of bucket {}", bucket.name),
            Target::BucketPolicy(bucket) => format!("the policy of bucket {}", bucket.name),
            Target::KeyPolicy(key) => format!("the policy of key {key}"),
            Target::Configuration(bucket) => {
                format!("the replication configuration of bucket {}", bucket.name)
            }
            Target::Role(role) => format!("role {role}"),
            Target::RolePolicy(role) => format!("the policy of role {role}"),
            Target::ManagedPolicy(policy) => format!("policy {}", policy.name),
            Target::FormerVersion | Target::Time => return None,
        })
    }

    /// The bucket that the step changes.
    #[must_use]
    pub fn bucket(&self) -> Option<&OwnedBucket> {
        match self.target() {
            Target::Versioning(bucket)
            | Target::BucketPolicy(bucket)
            | Target::Configuration(bucket) => Some(bucket),
            Target::KeyPolicy(_)
            | Target::Role(_)
            | Target::RolePolicy(_)
            | Target::ManagedPolicy(_)
            | Target::FormerVersion
            | Target::Time => None,
        }
    }

    /// The policy that several source buckets share, and its edit.
    #[must_use]
    pub fn shared(&self) -> Option<(SharedPolicy, &StatementEdit)> {
        let policy = match self.target() {
            Target::BucketPolicy(bucket) => SharedPolicy::OfBucket(bucket.clone()),
            Target::KeyPolicy(key) => SharedPolicy::OfKey(key.clone()),
            Target::Versioning(_)
            | Target::Configuration(_)
            | Target::Role(_)
            | Target::RolePolicy(_)
            | Target::ManagedPolicy(_)
            | Target::FormerVersion
            | Target::Time => return None,
        };
        Some((policy, self.edit()?))
    }

    /// Whether both steps change the policy of the same bucket or key, or the versioning of the same bucket.
    #[must_use]
    pub fn is_on_same_document(&self, other: &Self) -> bool {
        let target = self.target();
        let is_document = matches!(
            target,
            Target::Versioning(_) | Target::BucketPolicy(_) | Target::KeyPolicy(_)
        );
        is_document && target == other.target()
    }

    /// The condition that is about what the step changes.
    #[must_use]
    pub fn condition(&self, source: &OwnedBucket) -> ConditionType {
        match self.target() {
            Target::Versioning(bucket) if bucket == source => ConditionType::SourceReady,
            Target::Versioning(_) | Target::BucketPolicy(_) => ConditionType::DestinationReady,
            Target::KeyPolicy(_) => ConditionType::KeysReady,
            Target::Configuration(_) | Target::Time => ConditionType::ReplicationConfigured,
            Target::Role(_)
            | Target::RolePolicy(_)
            | Target::ManagedPolicy(_)
            | Target::FormerVersion => ConditionType::RoleReady,
        }
    }
}
