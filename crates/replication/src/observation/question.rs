//! The questions to AWS, each of which is one call, and the answers, which say what they are about.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    arns::{ManagedPolicyArn, PolicyArn, RoleArn},
    configuration::Configuration,
    keys::{KeyArn, KeyReference},
    names::{AccountId, OwnedBucket, Region, RoleName},
    observed::{
        Encryption, Facet, Failure, KeyDescription, KeyQuery, PolicyVersions, Role, UnknownElement,
    },
    policy::Document,
};

/// One read of AWS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr)]
pub enum Question {
    /// `GetBucketLocation`.
    Region(OwnedBucket),
    /// `GetBucketVersioning`.
    Versioning(OwnedBucket, Region),
    /// `GetBucketEncryption`.
    Encryption(OwnedBucket, Region),
    /// `GetObjectLockConfiguration`.
    ObjectLock(OwnedBucket, Region),
    /// `GetBucketRequestPayment`.
    RequesterPays(OwnedBucket, Region),
    /// `GetBucketOwnershipControls`.
    OwnerEnforced(OwnedBucket, Region),
    /// `GetBucketPolicy`.
    BucketPolicy(OwnedBucket, Region),
    /// `GetBucketReplication`.
    Configuration(OwnedBucket, Region),
    /// `GetBucketTagging`.
    Tags(OwnedBucket, Region),
    /// `DescribeKey`.
    Key {
        /// How the key was named.
        query: KeyQuery,
        /// The same with the account and Region to ask in.
        reference: KeyReference,
        /// The account.
        account: AccountId,
        /// The Region.
        region: Region,
    },
    /// `GetKeyPolicy`.
    KeyPolicy(KeyArn),
    /// `GetRole`.
    Role(AccountId, RoleName),
    /// `GetRolePolicy`.
    InlinePolicy {
        /// The role.
        role: RoleArn,
        /// The policy's name.
        policy: RoleName,
    },
    /// `ListAttachedRolePolicies`.
    AttachedPolicies(AccountId, RoleName),
    /// `ListPolicyVersions`.
    PolicyVersions(PolicyArn),
    /// `GetRole`, of a role that the operator does not manage.
    ForeignRole(RoleArn),
    /// `ListRolePolicies`, of such a role.
    InlinePolicyNames(RoleArn),
    /// `GetRolePolicy`, of such a role.
    ForeignInlinePolicy {
        /// The role.
        role: RoleArn,
        /// The policy's name.
        policy: String,
    },
    /// `ListAttachedRolePolicies`, of such a role.
    ForeignAttachedPolicies(RoleArn),
    /// `GetPolicy`, for the version that is the default, of a policy that the operator does not write.
    ManagedVersion(AccountId, ManagedPolicyArn),
    /// `GetPolicyVersion`, of such a policy.
    ManagedDocument {
        /// The account to ask in: AWS's own policies are in none.
        account: AccountId,
        /// The policy.
        policy: ManagedPolicyArn,
        /// The version.
        version: String,
    },
    /// `GetPolicyVersion`, of a policy of the operator's role.
    PolicyDocument {
        /// The policy.
        policy: PolicyArn,
        /// The version.
        version: String,
    },
}

/// What AWS answered to a question, with what the question is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The Region of a bucket.
    Region(OwnedBucket, Facet<Region>),
    /// Whether versioning is enabled on a bucket.
    Versioning(OwnedBucket, Facet<bool>),
    /// The encryption configuration of a bucket.
    Encryption(OwnedBucket, Facet<Encryption>),
    /// Whether Object Lock is enabled on a bucket.
    ObjectLock(OwnedBucket, Facet<bool>),
    /// Whether a bucket is a Requester Pays bucket.
    RequesterPays(OwnedBucket, Facet<bool>),
    /// Whether a bucket's owner owns every object in it.
    OwnerEnforced(OwnedBucket, Facet<bool>),
    /// The policy of a bucket.
    BucketPolicy(OwnedBucket, Facet<Document>),
    /// The replication configuration of a bucket, and its elements that the types do not support.
    Configuration(OwnedBucket, Facet<(Configuration, Vec<UnknownElement>)>),
    /// The tags of a bucket.
    Tags(OwnedBucket, Facet<BTreeMap<String, String>>),
    /// A key.
    Key(KeyQuery, Facet<KeyDescription>),
    /// The policy of a key.
    KeyPolicy(KeyArn, Facet<Document>),
    /// The role of the source bucket.
    Role(Facet<Role>),
    /// The operator's inline policy on the role with that ARN.
    InlinePolicy(RoleArn, Facet<Document>),
    /// The ARNs of the managed policies of the source bucket's role.
    AttachedPolicies(Facet<BTreeSet<PolicyArn>>),
    /// The versions of the managed policy with that ARN.
    PolicyVersions(PolicyArn, Facet<PolicyVersions>),
    /// A role that the operator does not manage.
    ForeignRole(RoleArn, Facet<Role>),
    /// The names of the inline policies of such a role.
    InlinePolicyNames(RoleArn, Facet<BTreeSet<String>>),
    /// An inline policy of such a role.
    ForeignInlinePolicy(RoleArn, String, Facet<Document>),
    /// The ARNs of the managed policies of such a role.
    ForeignAttachedPolicies(RoleArn, Facet<BTreeSet<ManagedPolicyArn>>),
    /// The default version of a policy that the operator does not write.
    ManagedVersion(ManagedPolicyArn, Facet<String>),
    /// The document of such a policy.
    ManagedDocument(ManagedPolicyArn, Facet<Document>),
    /// The document of the managed policy with that ARN.
    PolicyDocument(PolicyArn, Facet<Document>),
}

impl Answer {
    /// Why there is none.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Versioning(_, read)
            | Self::ObjectLock(_, read)
            | Self::RequesterPays(_, read)
            | Self::OwnerEnforced(_, read) => read.failure(),
            Self::BucketPolicy(_, read)
            | Self::KeyPolicy(_, read)
            | Self::InlinePolicy(_, read)
            | Self::ForeignInlinePolicy(.., read)
            | Self::ManagedDocument(_, read)
            | Self::PolicyDocument(_, read) => read.failure(),
            Self::Role(read) | Self::ForeignRole(_, read) => read.failure(),
            Self::Region(_, read) => read.failure(),
            Self::Encryption(_, read) => read.failure(),
            Self::Configuration(_, read) => read.failure(),
            Self::Tags(_, read) => read.failure(),
            Self::Key(_, read) => read.failure(),
            Self::AttachedPolicies(read) => read.failure(),
            Self::PolicyVersions(_, read) => read.failure(),
            Self::InlinePolicyNames(_, read) => read.failure(),
            Self::ForeignAttachedPolicies(_, read) => read.failure(),
            Self::ManagedVersion(_, read) => read.failure(),
        }
    }
}
