//! One change in AWS: what it changes, for whom, and how it is shown.

use std::{collections::BTreeSet, fmt};

use crate::{
    arns::{ManagedPolicyArn, PolicyArn},
    composition::desired::DesiredRole,
    configuration::Configuration,
    edit::StatementEdit,
    keys::KeyArn,
    names::{AccountId, ObjectKey, OwnedBucket, Region, RoleName},
    policy::Document,
};

/// One change in AWS. Each is one call, but for `Settle`, which is none.
#[derive(Clone, Debug, PartialEq, strum::IntoStaticStr)]
pub enum Step {
    /// Enable versioning.
    EnableVersioning {
        /// The bucket.
        bucket: OwnedBucket,
        /// Its Region.
        region: Region,
    },
    /// Create the role.
    CreateRole(Box<DesiredRole>),
    /// Correct the role's trust policy.
    UpdateTrustPolicy(Box<DesiredRole>),
    /// Correct the role's tags.
    TagRole(Box<DesiredRole>),
    /// Correct the role's permissions boundary.
    PutRolePermissionsBoundary {
        /// The role.
        role: Box<DesiredRole>,
        /// ARN of the boundary.
        boundary: ManagedPolicyArn,
    },
    /// Write the role's inline policy.
    PutRolePolicy {
        /// The account.
        account: AccountId,
        /// The role.
        role: RoleName,
        /// The policy's name: that of the operator's role for the bucket, whichever role has the policy.
        policy: RoleName,
        /// What it says.
        document: Document,
    },
    /// Edit a bucket policy.
    PutBucketPolicy {
        /// The bucket.
        bucket: OwnedBucket,
        /// Its Region.
        region: Region,
        /// What is changed.
        edit: StatementEdit,
        /// What the policy becomes if no one changed it since it was read.
        document: Document,
    },
    /// Edit a bucket policy that has only statements of the operator, which deletes it.
    DeleteBucketPolicy {
        /// The bucket.
        bucket: OwnedBucket,
        /// Its Region.
        region: Region,
        /// What is changed.
        edit: StatementEdit,
    },
    /// Edit a key policy.
    PutKeyPolicy {
        /// The key.
        key: KeyArn,
        /// What is changed.
        edit: StatementEdit,
        /// What the policy becomes if no one changed it since it was read.
        document: Document,
    },
    /// Wait until new permissions settle: the visit ends, and the next one continues.
    Settle,
    /// Write the replication configuration.
    PutReplication {
        /// The source bucket.
        bucket: OwnedBucket,
        /// Its Region.
        region: Region,
        /// The configuration when this step was planned. If it changed since, nothing is written.
        existing: Option<Configuration>,
        /// The configuration.
        configuration: Configuration,
    },
    /// Delete the replication configuration.
    DeleteReplication {
        /// The source bucket.
        bucket: OwnedBucket,
        /// Its Region.
        region: Region,
        /// The configuration when this step was planned. If it changed since, nothing is deleted.
        existing: Configuration,
    },
    /// Create a managed policy for statements that the inline policy has no room for.
    CreateManagedPolicy {
        /// The policy.
        policy: PolicyArn,
        /// What it says.
        document: Document,
    },
    /// Attach a managed policy to the role.
    AttachManagedPolicy {
        /// The role.
        role: RoleName,
        /// The policy.
        policy: PolicyArn,
    },
    /// Create a version of a managed policy and make it the default.
    CreateManagedPolicyVersion {
        /// The policy.
        policy: PolicyArn,
        /// What it says.
        document: Document,
    },
    /// Delete a version that is no longer the default.
    DeleteManagedPolicyVersion {
        /// The policy.
        policy: PolicyArn,
        /// The version.
        version: String,
    },
    /// Detach a managed policy from the role.
    DetachManagedPolicy {
        /// The role.
        role: RoleName,
        /// The policy.
        policy: PolicyArn,
    },
    /// Delete a managed policy.
    DeleteManagedPolicy {
        /// The policy.
        policy: PolicyArn,
    },
    /// Delete the role's inline policy.
    DeleteRolePolicy {
        /// The account.
        account: AccountId,
        /// The role.
        role: RoleName,
        /// The policy's name.
        policy: RoleName,
    },
    /// Delete the role.
    DeleteRole {
        /// The account.
        account: AccountId,
        /// The role.
        role: RoleName,
    },
}

impl Step {
    /// How the step changes AWS, as in Terraform's plans: `+` creates, `~` changes, `-` deletes, a space changes nothing.
    #[must_use]
    pub fn sign(&self) -> char {
        match self {
            Self::CreateRole(_)
            | Self::EnableVersioning { .. }
            | Self::CreateManagedPolicy { .. }
            | Self::AttachManagedPolicy { .. } => '+',
            Self::Settle => ' ',
            Self::DeleteBucketPolicy { .. }
            | Self::DeleteReplication { .. }
            | Self::DeleteRolePolicy { .. }
            | Self::DeleteRole { .. }
            | Self::DetachManagedPolicy { .. }
            | Self::DeleteManagedPolicyVersion { .. }
            | Self::DeleteManagedPolicy { .. } => '-',
            Self::UpdateTrustPolicy(_)
            | Self::TagRole(_)
            | Self::PutRolePermissionsBoundary { .. }
            | Self::PutRolePolicy { .. }
            | Self::PutBucketPolicy { .. }
            | Self::PutKeyPolicy { .. }
            | Self::PutReplication { .. }
            | Self::CreateManagedPolicyVersion { .. } => '~',
        }
    }

    /// The edit of a policy that several source buckets share.
    #[must_use]
    pub fn edit(&self) -> Option<&StatementEdit> {
        if let Self::PutBucketPolicy { edit, .. }
        | Self::DeleteBucketPolicy { edit, .. }
        | Self::PutKeyPolicy { edit, .. } = self
        {
            return Some(edit);
        }
        None
    }

    /// The same edit of a policy, with what the policy becomes by it now. Other steps do not change.
    #[must_use]
    pub fn with_policy(&self, document: Document) -> Self {
        let mut changed = self.clone();
        if let Self::PutKeyPolicy {
            document: becomes, ..
        } = &mut changed
        {
            *becomes = document;
        } else if let Self::PutBucketPolicy {
            bucket,
            region,
            edit,
            ..
        }
        | Self::DeleteBucketPolicy {
            bucket,
            region,
            edit,
        } = changed
        {
            return if document.is_empty() {
                Self::DeleteBucketPolicy {
                    bucket,
                    region,
                    edit,
                }
            } else {
                Self::PutBucketPolicy {
                    bucket,
                    region,
                    edit,
                    document,
                }
            };
        }
        changed
    }

    /// What the step changes, in a form that is equal for equal changes: of a policy that others share only the edit.
    #[must_use]
    pub fn change(&self) -> String {
        self.edit().map_or_else(
            || self.to_string(),
            |edit| format!("{}: {edit:?}", self.element().unwrap_or_default()),
        )
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EnableVersioning { bucket, .. } => {
                write!(f, "enable versioning on bucket {bucket}")
            }
            Self::CreateRole(role) => write!(f, "create role {}", role.arn),
            Self::UpdateTrustPolicy(role) => {
                write!(f, "correct the trust policy of role {}", role.arn.name)
            }
            Self::TagRole(role) => write!(f, "correct the tags of role {}", role.arn.name),
            Self::PutRolePermissionsBoundary { role, boundary } => write!(
                f,
                "set permissions boundary {boundary} on role {}",
                role.arn.name
            ),
            Self::PutRolePolicy {
                role,
                policy,
                document,
                ..
            } => {
                write!(
                    f,
                    "write {}: {}",
                    inline(role, policy),
                    count(document.statements().len(), "statement")
                )
            }
            Self::PutBucketPolicy {
                bucket,
                document,
                edit,
                ..
            } => {
                write!(
                    f,
                    "write the policy of bucket {bucket}: {}{}",
                    count(document.statements().len(), "statement"),
                    unless_used(edit)
                )
            }
            Self::DeleteBucketPolicy { bucket, edit, .. } => write!(
                f,
                "delete the policy of bucket {bucket}, which contains only the operator's statements{}",
                unless_used(edit)
            ),
            Self::PutKeyPolicy {
                key,
                document,
                edit,
            } => {
                write!(
                    f,
                    "write the policy of key {key}: {}{}",
                    count(document.statements().len(), "statement"),
                    unless_used(edit)
                )
            }
            Self::Settle => write!(f, "wait for the new permissions to settle"),
            Self::PutReplication {
                bucket,
                configuration,
                ..
            } => {
                write!(
                    f,
                    "write the replication configuration of bucket {bucket}: {}",
                    count(configuration.rules.len(), "rule")
                )
            }
            Self::DeleteReplication { bucket, .. } => {
                write!(f, "delete the replication configuration of bucket {bucket}")
            }
            Self::CreateManagedPolicy { policy, document } => {
                write!(
                    f,
                    "create managed policy {policy}: {}",
                    count(document.statements().len(), "statement")
                )
            }
            Self::AttachManagedPolicy { role, policy } => {
                write!(f, "attach managed policy {policy} to role {role}")
            }
            Self::CreateManagedPolicyVersion { policy, document } => {
                write!(
                    f,
                    "write managed policy {policy}: {}",
                    count(document.statements().len(), "statement")
                )
            }
            Self::DeleteManagedPolicyVersion { policy, version } => {
                write!(f, "delete version {version} of managed policy {policy}")
            }
            Self::DetachManagedPolicy { role, policy } => {
                write!(f, "detach managed policy {policy} from role {role}")
            }
            Self::DeleteManagedPolicy { policy } => write!(f, "delete managed policy {policy}"),
            Self::DeleteRolePolicy { role, policy, .. } => {
                write!(f, "delete {}", inline(role, policy))
            }
            Self::DeleteRole { role, .. } => write!(f, "delete role {role}"),
        }
    }
}

fn inline(role: &RoleName, policy: &RoleName) -> String {
    if role == policy {
        format!("the inline policy of role {role}")
    } else {
        format!("inline policy {policy} of role {role}")
    }
}

/// What is only removed if it is known that no one else needs it.
fn unless_used(edit: &StatementEdit) -> &'static str {
    if edit.other_users().is_empty() {
        ""
    } else {
        ", unless other source buckets use what is removed"
    }
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// A step, the objects that it is for, and what has to be done before.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedStep {
    /// Its number in the plan.
    pub number: usize,
    /// The step.
    pub step: Step,
    /// The objects whose part in AWS it changes.
    pub concerns: BTreeSet<ObjectKey>,
    /// The numbers of the steps that have to be applied before.
    pub requires: BTreeSet<usize>,
    /// Whether it is not applied now, because another writer keeps changing what it corrects.
    pub waits: bool,
}
