//! What to read from AWS, and what was read, as plain data.

use std::collections::BTreeMap;

use crate::{
    arns::{ManagedPolicyArn, RoleArn},
    configuration::{Configuration, RuleMark},
    keys::{KeyArn, KeyReference},
    names::{InstallationId, OwnedBucket, Region},
    observation::role_read::RoleRead,
    policy::{Document, Statement},
    role_policies::RolePolicies,
    shared_policy::SharedPolicy,
};

pub use crate::observation::{
    facet::{Facet, Failure, FailureKind},
    key_query::KeyQuery,
    role_read::{ForeignRole, ManagedRead, PolicyRead, PolicyVersions, Role},
    scope::{Depth, Scope},
};

/// What exists in AWS.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// How deep was read.
    pub depth: Depth,
    /// The source bucket and all destinations.
    pub buckets: BTreeMap<OwnedBucket, Bucket>,
    /// The keys, by how they were named.
    pub keys: BTreeMap<KeyQuery, Facet<KeyDescription>>,
    /// The policies of the keys.
    pub key_policies: BTreeMap<KeyArn, Facet<Document>>,
    /// The default encryption of the source bucket.
    pub default_encryption: Facet<DefaultEncryption>,
    /// The replication configuration of the source bucket.
    pub configuration: Facet<Configuration>,
    /// The elements of the existing configuration that the types do not support.
    pub unknown_elements: Vec<UnknownElement>,
    /// Whether the source bucket had versioning enabled under a replication configuration. S3 refuses to change that as long as there is one
    /// (`InvalidBucketState`), so that it need not be read again.
    pub was_versioned: bool,
    /// The ARN that the role had, so that its inline policy is read along with it.
    pub known_role: Option<RoleArn>,
    /// The role of the source bucket.
    pub role: Facet<Role>,
    /// The operator's policies on that role, once all of them were read.
    pub role_policies: Facet<RolePolicies>,
    /// What was read of them.
    pub role_read: RoleRead,
    /// Managed policies that the operator does not write: permissions boundaries, and policies of roles that others create.
    pub managed: BTreeMap<ManagedPolicyArn, ManagedRead>,
    /// Roles that the operator does not manage.
    pub foreign_roles: BTreeMap<RoleArn, ForeignRole>,
    /// The operator's inline policy on unmanaged roles, by their ARN.
    pub merged: BTreeMap<RoleArn, Facet<Document>>,
}

impl Observed {
    /// The policy of a bucket or key, if it is among those that are read.
    #[must_use]
    pub fn policy(&self, policy: &SharedPolicy) -> Option<&Facet<Document>> {
        match policy {
            SharedPolicy::OfBucket(bucket) => self.buckets.get(bucket).map(|read| &read.policy),
            SharedPolicy::OfKey(key) => self.key_policies.get(key),
        }
    }

    /// Whether versioning was read as enabled.
    #[must_use]
    pub fn is_versioned(&self, bucket: &OwnedBucket) -> bool {
        let read = self.buckets.get(bucket);
        read.is_some_and(|read| read.versioning == Facet::Present(true))
    }

    /// All statements in the operator's policies, on whatever role: the ledger of what may have to be cleaned up.
    #[must_use]
    pub fn role_statements(&self) -> Vec<Statement> {
        let own = self
            .role_policies
            .present()
            .map(RolePolicies::statements)
            .unwrap_or_default();
        let merged = self
            .merged
            .values()
            .filter_map(Facet::present)
            .flat_map(Document::statements);
        own.into_iter().chain(merged).collect()
    }

    /// A managed policy that the operator does not write.
    #[must_use]
    pub fn managed_policy(&self, arn: &ManagedPolicyArn) -> Facet<Document> {
        self.managed
            .get(arn)
            .map(ManagedRead::policy)
            .unwrap_or_default()
    }

    /// The bucket's Region, if it was read.
    #[must_use]
    pub fn region(&self, bucket: &OwnedBucket) -> Option<&Region> {
        self.buckets.get(bucket)?.region.present()
    }
}

/// An element of the existing configuration that can't be written back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownElement {
    /// The ID of its rule; `None` if the rule has none, or the element is outside of the rules.
    pub rule: Option<String>,
    /// The names of the elements that lead to it.
    pub path: String,
}

impl UnknownElement {
    /// Whether it is not in a rule of `installation`, which replaces its own rules as a whole.
    #[must_use]
    pub fn is_foreign(&self, installation: &InstallationId) -> bool {
        self.rule
            .as_ref()
            .is_none_or(|id| RuleMark::parse(id, installation).is_none())
    }
}

/// A bucket.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bucket {
    /// Absent if the account has no such bucket.
    pub region: Facet<Region>,
    /// Whether versioning is enabled.
    pub versioning: Facet<bool>,
    /// The bucket policy; read for destinations in another account.
    pub policy: Facet<Document>,
    /// The bucket's tags.
    pub tags: Facet<BTreeMap<String, String>>,
    /// What decides whether it can be replicated from or to.
    pub traits: Traits,
}

/// What of a bucket decides whether it can be replicated from or to, and seldom changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traits {
    /// Whether it is a Requester Pays bucket; read for destinations in another account.
    pub requester_pays: Facet<bool>,
    /// Whether the bucket's owner owns every object in it; read if objects set the owner of replicas.
    pub owner_enforced: Facet<bool>,
    /// Whether objects with SSE-C are refused; read for sources, and for destinations if the source takes them.
    pub blocks_sse_c: Facet<bool>,
    /// Whether Object Lock is enabled; read for sources, and for destinations if it is enabled on the source.
    pub object_lock: Facet<bool>,
    /// Whether the bucket has a rule to the source that replicates changes on replicas; read if an object asks for that.
    pub syncs_back: Facet<bool>,
    /// The policy of a bucket whose policy the operator does not write, because it can deny: read for sources, and for destinations in the same
    /// account.
    pub policy: Facet<Document>,
}

impl Traits {
    /// Why one of them could not be read.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        let switches = [
            &self.requester_pays,
            &self.owner_enforced,
            &self.blocks_sse_c,
            &self.object_lock,
            &self.syncs_back,
        ];
        switches
            .into_iter()
            .find_map(Facet::failure)
            .or(self.policy.failure())
    }
}

/// The encryption configuration of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encryption {
    /// How new objects are encrypted by default.
    pub default: DefaultEncryption,
    /// Whether S3 refuses objects that are encrypted with keys of the customer (`BlockedEncryptionTypes` in the S3 API Reference).
    pub blocks_sse_c: bool,
}

/// The default encryption of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DefaultEncryption {
    /// S3's own keys.
    S3,
    /// A KMS key.
    Kms(KeyReference),
}

/// A KMS key (`DescribeKey` in the KMS API Reference).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDescription {
    /// The key's ARN.
    pub arn: KeyArn,
    /// `Enabled` if it can be used.
    pub state: String,
    /// Whether it is a symmetric encryption key, the only kind that S3 uses.
    pub symmetric: bool,
    /// Whether AWS manages it.
    pub managed_by_aws: bool,
}
