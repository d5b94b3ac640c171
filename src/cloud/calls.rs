//! Every call that the operator makes, by its IAM action and resource: the table from which the operator's own policy is printed.

use std::collections::BTreeSet;

use crate::{
    api::aws_account::{Permission, PolicyMode},
    replication::accounts::Account,
};

/// The actions as IAM names them ("Service Authorization Reference").
#[allow(missing_docs, reason = "they are AWS's own names")]
pub mod action {
    pub const ASSUME_ROLE: &str = "sts:AssumeRole";
    pub const GET_CALLER_IDENTITY: &str = "sts:GetCallerIdentity";
    pub const GET_BUCKET_LOCATION: &str = "s3:GetBucketLocation";
    pub const GET_BUCKET_VERSIONING: &str = "s3:GetBucketVersioning";
    pub const PUT_BUCKET_VERSIONING: &str = "s3:PutBucketVersioning";
    pub const GET_ENCRYPTION_CONFIGURATION: &str = "s3:GetEncryptionConfiguration";
    pub const GET_REPLICATION_CONFIGURATION: &str = "s3:GetReplicationConfiguration";
    /// Deleting the configuration needs the same action.
    pub const PUT_REPLICATION_CONFIGURATION: &str = "s3:PutReplicationConfiguration";
    pub const GET_BUCKET_REQUEST_PAYMENT: &str = "s3:GetBucketRequestPayment";
    pub const GET_BUCKET_OWNERSHIP_CONTROLS: &str = "s3:GetBucketOwnershipControls";
    pub const GET_BUCKET_OBJECT_LOCK_CONFIGURATION: &str = "s3:GetBucketObjectLockConfiguration";
    pub const GET_BUCKET_TAGGING: &str = "s3:GetBucketTagging";
    pub const GET_BUCKET_POLICY: &str = "s3:GetBucketPolicy";
    pub const PUT_BUCKET_POLICY: &str = "s3:PutBucketPolicy";
    pub const DELETE_BUCKET_POLICY: &str = "s3:DeleteBucketPolicy";
    pub const PUT_OBJECT: &str = "s3:PutObject";
    /// Uploading an object with tags needs it too.
    pub const PUT_OBJECT_TAGGING: &str = "s3:PutObjectTagging";
    pub const GET_OBJECT_VERSION: &str = "s3:GetObjectVersion";
    pub const DELETE_OBJECT_VERSION: &str = "s3:DeleteObjectVersion";
    pub const LIST_BUCKET_VERSIONS: &str = "s3:ListBucketVersions";
    /// No call of its own: uploading an SSE-KMS object needs it.
    pub const GENERATE_DATA_KEY: &str = "kms:GenerateDataKey";
    /// IAM has no resource for it.
    pub const GET_METRIC_DATA: &str = "cloudwatch:GetMetricData";
    pub const DESCRIBE_KEY: &str = "kms:DescribeKey";
    pub const GET_KEY_POLICY: &str = "kms:GetKeyPolicy";
    pub const PUT_KEY_POLICY: &str = "kms:PutKeyPolicy";
    pub const LIST_ROLES: &str = "iam:ListRoles";
    pub const GET_ROLE: &str = "iam:GetRole";
    pub const GET_ROLE_POLICY: &str = "iam:GetRolePolicy";
    pub const CREATE_ROLE: &str = "iam:CreateRole";
    /// Creating a role with tags needs it too.
    pub const TAG_ROLE: &str = "iam:TagRole";
    pub const UPDATE_ASSUME_ROLE_POLICY: &str = "iam:UpdateAssumeRolePolicy";
    pub const PUT_ROLE_POLICY: &str = "iam:PutRolePolicy";
    pub const PUT_ROLE_PERMISSIONS_BOUNDARY: &str = "iam:PutRolePermissionsBoundary";
    pub const DELETE_ROLE_POLICY: &str = "iam:DeleteRolePolicy";
    pub const DELETE_ROLE: &str = "iam:DeleteRole";
    pub const LIST_ROLE_POLICIES: &str = "iam:ListRolePolicies";
    pub const LIST_ATTACHED_ROLE_POLICIES: &str = "iam:ListAttachedRolePolicies";
    pub const ATTACH_ROLE_POLICY: &str = "iam:AttachRolePolicy";
    pub const DETACH_ROLE_POLICY: &str = "iam:DetachRolePolicy";
    pub const LIST_POLICY_VERSIONS: &str = "iam:ListPolicyVersions";
    pub const GET_POLICY: &str = "iam:GetPolicy";
    pub const GET_POLICY_VERSION: &str = "iam:GetPolicyVersion";
    pub const CREATE_POLICY: &str = "iam:CreatePolicy";
    pub const CREATE_POLICY_VERSION: &str = "iam:CreatePolicyVersion";
    pub const DELETE_POLICY_VERSION: &str = "iam:DeletePolicyVersion";
    pub const DELETE_POLICY: &str = "iam:DeletePolicy";
    /// No call of its own: writing a replication configuration needs it.
    pub const PASS_ROLE: &str = "iam:PassRole";
}

use action::{
    ATTACH_ROLE_POLICY, CREATE_POLICY, CREATE_POLICY_VERSION, CREATE_ROLE, DELETE_BUCKET_POLICY,
    DELETE_OBJECT_VERSION, DELETE_POLICY, DELETE_POLICY_VERSION, DELETE_ROLE, DELETE_ROLE_POLICY,
    DESCRIBE_KEY, DETACH_ROLE_POLICY, GENERATE_DATA_KEY, GET_BUCKET_LOCATION,
    GET_BUCKET_OBJECT_LOCK_CONFIGURATION, GET_BUCKET_OWNERSHIP_CONTROLS, GET_BUCKET_POLICY,
    GET_BUCKET_REQUEST_PAYMENT, GET_BUCKET_TAGGING, GET_BUCKET_VERSIONING,
    GET_ENCRYPTION_CONFIGURATION, GET_KEY_POLICY, GET_METRIC_DATA, GET_OBJECT_VERSION, GET_POLICY,
    GET_POLICY_VERSION, GET_REPLICATION_CONFIGURATION, GET_ROLE, GET_ROLE_POLICY,
    LIST_ATTACHED_ROLE_POLICIES, LIST_BUCKET_VERSIONS, LIST_POLICY_VERSIONS, LIST_ROLE_POLICIES,
    LIST_ROLES, PASS_ROLE, PUT_BUCKET_POLICY, PUT_BUCKET_VERSIONING, PUT_KEY_POLICY, PUT_OBJECT,
    PUT_OBJECT_TAGGING, PUT_REPLICATION_CONFIGURATION, PUT_ROLE_PERMISSIONS_BOUNDARY,
    PUT_ROLE_POLICY, TAG_ROLE, UPDATE_ASSUME_ROLE_POLICY,
};

/// The resource of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    /// Source buckets that grants name.
    Sources,
    /// Destination buckets that grants name.
    Destinations,
    /// Keys that grants name.
    Keys,
    /// Replication roles.
    Roles,
    /// Managed policies of replication roles.
    Policies,
    /// The permissions boundary of replication roles.
    Boundary,
    /// The account: IAM has no resource for the action.
    Account,
    /// Unmanaged roles that may get an inline policy, if a grant allows `MergeConfiguration`.
    MergeableRoles,
    /// Roles that others create.
    NamedRoles,
    /// Managed policies of both, and their permissions boundaries.
    ForeignPolicies,
    /// Canaries in source buckets.
    SourceCanaries,
    /// Replicas of canaries in destination buckets.
    DestinationCanaries,
    /// Buckets of either kind, for the keys of canaries.
    CanaryBuckets,
    /// Keys that encrypt canaries.
    CanaryKeys,
    /// Metrics: IAM has no resource for them.
    Metrics,
}

/// When a call is made at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Always,
    /// If a grant allows `EnableVersioning`.
    Versioning,
    /// If `policies.bucketPolicy` is Manage.
    BucketPolicies,
    /// If `policies.keyPolicy` is Manage.
    KeyPolicies,
    /// If `roles.permissionsBoundaryARN` is set.
    Boundary,
    /// If a grant allows `Canary`.
    Canaries,
    /// If `replicationMetrics` is set.
    Metrics,
}

const CALLS: &[(On, When, &str)] = &[
    (On::Sources, When::Always, GET_BUCKET_LOCATION),
    (On::Sources, When::Always, GET_BUCKET_VERSIONING),
    (On::Sources, When::Always, GET_ENCRYPTION_CONFIGURATION),
    (On::Sources, When::Always, GET_BUCKET_POLICY),
    (
        On::Sources,
        When::Always,
        GET_BUCKET_OBJECT_LOCK_CONFIGURATION,
    ),
    (On::Sources, When::Always, GET_BUCKET_TAGGING),
    (On::Sources, When::Always, GET_REPLICATION_CONFIGURATION),
    (On::Sources, When::Always, PUT_REPLICATION_CONFIGURATION),
    (On::Sources, When::Versioning, PUT_BUCKET_VERSIONING),
    (On::Destinations, When::Always, GET_BUCKET_LOCATION),
    (On::Destinations, When::Always, GET_BUCKET_VERSIONING),
    (On::Destinations, When::Always, GET_ENCRYPTION_CONFIGURATION),
    (
        On::Destinations,
        When::Always,
        GET_REPLICATION_CONFIGURATION,
    ),
    (On::Destinations, When::Always, GET_BUCKET_REQUEST_PAYMENT),
    (
        On::Destinations,
        When::Always,
        GET_BUCKET_OWNERSHIP_CONTROLS,
    ),
    (
        On::Destinations,
        When::Always,
        GET_BUCKET_OBJECT_LOCK_CONFIGURATION,
    ),
    (On::Destinations, When::Always, GET_BUCKET_TAGGING),
    (On::Destinations, When::Always, GET_BUCKET_POLICY),
    (On::Destinations, When::BucketPolicies, PUT_BUCKET_POLICY),
    (On::Destinations, When::BucketPolicies, DELETE_BUCKET_POLICY),
    (On::Destinations, When::Versioning, PUT_BUCKET_VERSIONING),
    (On::Keys, When::Always, DESCRIBE_KEY),
    (On::Keys, When::Always, GET_KEY_POLICY),
    (On::Keys, When::KeyPolicies, PUT_KEY_POLICY),
    (On::Roles, When::Always, GET_ROLE),
    (On::Roles, When::Always, GET_ROLE_POLICY),
    (On::Roles, When::Always, CREATE_ROLE),
    (On::Roles, When::Always, TAG_ROLE),
    (On::Roles, When::Always, UPDATE_ASSUME_ROLE_POLICY),
    (On::Roles, When::Always, PUT_ROLE_POLICY),
    (On::Roles, When::Boundary, PUT_ROLE_PERMISSIONS_BOUNDARY),
    (On::Roles, When::Always, DELETE_ROLE_POLICY),
    (On::Roles, When::Always, DELETE_ROLE),
    (On::Roles, When::Always, LIST_ATTACHED_ROLE_POLICIES),
    (On::Roles, When::Always, ATTACH_ROLE_POLICY),
    (On::Roles, When::Always, DETACH_ROLE_POLICY),
    (On::Policies, When::Always, LIST_POLICY_VERSIONS),
    (On::Policies, When::Always, GET_POLICY_VERSION),
    (On::Policies, When::Always, CREATE_POLICY),
    (On::Policies, When::Always, CREATE_POLICY_VERSION),
    (On::Policies, When::Always, DELETE_POLICY_VERSION),
    (On::Policies, When::Always, DELETE_POLICY),
    (On::Boundary, When::Always, GET_POLICY),
    (On::Boundary, When::Always, GET_POLICY_VERSION),
    (On::Roles, When::Always, PASS_ROLE),
    (On::Account, When::Always, LIST_ROLES),
    (On::MergeableRoles, When::Always, GET_ROLE),
    (On::MergeableRoles, When::Always, LIST_ROLE_POLICIES),
    (
        On::MergeableRoles,
        When::Always,
        LIST_ATTACHED_ROLE_POLICIES,
    ),
    (On::MergeableRoles, When::Always, GET_ROLE_POLICY),
    (On::MergeableRoles, When::Always, PUT_ROLE_POLICY),
    (On::MergeableRoles, When::Always, DELETE_ROLE_POLICY),
    (On::MergeableRoles, When::Always, PASS_ROLE),
    (On::NamedRoles, When::Always, GET_ROLE),
    (On::NamedRoles, When::Always, LIST_ROLE_POLICIES),
    (On::NamedRoles, When::Always, LIST_ATTACHED_ROLE_POLICIES),
    (On::NamedRoles, When::Always, GET_ROLE_POLICY),
    (On::NamedRoles, When::Always, PASS_ROLE),
    (On::ForeignPolicies, When::Always, GET_POLICY),
    (On::ForeignPolicies, When::Always, GET_POLICY_VERSION),
    (On::SourceCanaries, When::Canaries, PUT_OBJECT),
    (On::SourceCanaries, When::Canaries, PUT_OBJECT_TAGGING),
    (On::SourceCanaries, When::Canaries, GET_OBJECT_VERSION),
    (On::SourceCanaries, When::Canaries, DELETE_OBJECT_VERSION),
    (On::DestinationCanaries, When::Canaries, GET_OBJECT_VERSION),
    (
        On::DestinationCanaries,
        When::Canaries,
        DELETE_OBJECT_VERSION,
    ),
    (On::CanaryBuckets, When::Canaries, LIST_BUCKET_VERSIONS),
    (On::CanaryKeys, When::Canaries, GENERATE_DATA_KEY),
    (On::Metrics, When::Metrics, GET_METRIC_DATA),
];

/// The actions that IAM can bind to a permissions boundary ("Permissions boundaries for IAM entities" in the IAM User Guide).
pub(super) const BOUND: &[&str] = &[CREATE_ROLE, PUT_ROLE_POLICY, PUT_ROLE_PERMISSIONS_BOUNDARY];

/// Those that name a policy.
pub(super) const ATTACHING: &[&str] = &[ATTACH_ROLE_POLICY, DETACH_ROLE_POLICY];

/// Every action that a policy of the operator can allow.
#[must_use]
pub fn actions() -> BTreeSet<&'static str> {
    CALLS.iter().map(|(_, _, action)| *action).collect()
}

/// The actions of the table on `on` that apply to the account and are kept.
pub(super) fn allowed(account: &Account, on: On, keep: &dyn Fn(&str) -> bool) -> Vec<&'static str> {
    let wanted = CALLS
        .iter()
        .filter(|(table, when, action)| *table == on && applies(account, *when) && keep(action));
    wanted.map(|(_, _, action)| *action).collect()
}

fn applies(account: &Account, when: When) -> bool {
    match when {
        When::Always => true,
        When::Versioning => account.grants_to_anyone(Permission::EnableVersioning),
        When::BucketPolicies => account.policies.bucket_policy == PolicyMode::Manage,
        When::KeyPolicies => account.policies.key_policy == PolicyMode::Manage,
        When::Boundary => account.roles.boundary.is_some(),
        When::Canaries => account.grants_to_anyone(Permission::Canary),
        When::Metrics => account.metrics_period.is_some(),
    }
}
