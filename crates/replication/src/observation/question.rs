//! The questions to AWS, each of which is one call, and the answers, which say what they are about.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    configuration::Configuration,
    keys::{KeyArn, KeyReference},
    names::{AccountId, ManagedPolicyName, OwnedBucket, Region, RoleName},
    observed::{
        DefaultEncryption, Facet, KeyDescription, KeyQuery, PolicyVersions, Role, UnknownElement,
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
    DefaultEncryption(OwnedBucket, Region),
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
        /// The account.
        account: AccountId,
        /// The ARN of the role.
        role_arn: String,
        /// The role.
        role: RoleName,
        /// The policy's name.
        policy: RoleName,
    },
    /// `ListAttachedRolePolicies`.
    AttachedPolicies(AccountId, RoleName),
    /// `ListPolicyVersions`.
    PolicyVersions(ManagedPolicyName),
    /// `GetPolicy`, for the version that is the default.
    DefaultVersion {
        /// The account.
        account: AccountId,
        /// The policy's ARN; AWS's own policies have none of the account.
        policy_arn: String,
    },
    /// `GetPolicyVersion`.
    PolicyDocument {
        /// The account.
        account: AccountId,
        /// The policy's ARN.
        policy_arn: String,
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
    /// The default encryption of the source bucket.
    DefaultEncryption(Facet<DefaultEncryption>),
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
    InlinePolicy(String, Facet<Document>),
    /// The ARNs of the managed policies of the source bucket's role.
    AttachedPolicies(Facet<BTreeSet<String>>),
    /// The versions of the managed policy with that ARN.
    PolicyVersions(String, Facet<PolicyVersions>),
    /// The default version of the managed policy with that ARN.
    DefaultVersion(String, Facet<String>),
    /// The document of the managed policy with that ARN.
    PolicyDocument(String, Facet<Document>),
}
