//! What AWS said, as plain data: which things to read, and for each whether it is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    configuration::{Configuration, RuleMark},
    names::{KeyArn, KeyReference, OwnedBucket, Region, RoleName},
    policy::{Document, Statement},
    role_policies::RolePolicies,
};

/// One thing in AWS. A refusal is not an absence: what may not be read may not be overwritten either.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Facet<T> {
    /// It was not asked for.
    #[default]
    Unread,
    /// AWS says that it is not there.
    Absent,
    /// It is there.
    Present(T),
    /// It could not be read.
    Failed(Failure),
}

impl<T> From<Result<Option<T>, Failure>> for Facet<T> {
    fn from(read: Result<Option<T>, Failure>) -> Self {
        match read {
            Ok(Some(thing)) => Self::Present(thing),
            Ok(None) => Self::Absent,
            Err(failure) => Self::Failed(failure),
        }
    }
}

impl<T> Facet<T> {
    /// The same of a part of the thing.
    #[must_use]
    pub fn map<U>(self, part: impl FnOnce(T) -> U) -> Facet<U> {
        match self {
            Self::Unread => Facet::Unread,
            Self::Absent => Facet::Absent,
            Self::Present(thing) => Facet::Present(part(thing)),
            Self::Failed(failure) => Facet::Failed(failure),
        }
    }

    /// The same where the thing is there; unread where it is not, so that it is read again.
    #[must_use]
    fn lasting(&self) -> Self
    where
        T: Clone,
    {
        self.present().cloned().map_or(Self::Unread, Self::Present)
    }

    /// The thing, where it is there.
    #[must_use]
    pub fn present(&self) -> Option<&T> {
        match self {
            Self::Present(thing) => Some(thing),
            _ => None,
        }
    }

    /// Why it could not be read.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            _ => None,
        }
    }
}

/// A call that AWS did not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What can be done about it.
    pub kind: FailureKind,
    /// The action as IAM names it, such as `s3:PutReplicationConfiguration`.
    pub action: String,
    /// Which call on what, as whom, and AWS's words; without request ids.
    pub message: String,
}

/// The kinds of failure, by what can be done about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr)]
pub enum FailureKind {
    /// A permission is missing.
    Denied,
    /// A policy of the organization denies it.
    DeniedByOrganization,
    /// What the call is about does not exist.
    NotFound,
    /// AWS asked to slow down.
    Throttled,
    /// Something else stands in the way.
    Conflict,
    /// A role that was just made is not known everywhere yet (`Principal` in the IAM User Guide).
    PrincipalNotVisible,
    /// A fault of the network or of AWS, or no answer in time.
    Transient,
    /// AWS did not take what was sent.
    Invalid,
    /// What this rests on was read before it changed: it has to be looked at anew.
    Outdated,
}

/// A key to look up: how it was named, and the bucket beside which an alias is looked up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyQuery {
    /// How it was named.
    pub reference: KeyReference,
    /// The bucket that it is for.
    pub beside: OwnedBucket,
}

/// How deep to look. Where what is less deep forbids everything, what is deeper does not matter, and is not asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, strum::VariantArray)]
pub enum Depth {
    /// Whether buckets and keys are there and can be used.
    #[default]
    Foundation,
    /// What decides whether buckets can be replicated from or to, and what the permissions boundary allows; but for Requester Pays.
    Traits,
    /// The policies of destinations and keys.
    Policies,
    /// The replication configuration and the role as well.
    Everything,
}

/// What to read for a visit.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a reason of its own to read something or not"
)]
#[derive(Clone, Debug, PartialEq)]
pub struct Scope {
    /// The bucket that is visited.
    pub source: OwnedBucket,
    /// The role of the bucket, and the name of our inline policy on it.
    pub role: RoleName,
    /// The installation whose statements in the role's policy tell which buckets and keys carry statements of ours.
    pub installation: super::names::InstallationId,
    /// Destinations that objects name.
    pub destinations: BTreeSet<OwnedBucket>,
    /// Keys that objects name.
    pub keys: BTreeSet<KeyQuery>,
    /// Destinations of objects that say who is to own replicas.
    pub ownership: BTreeSet<OwnedBucket>,
    /// Destinations of objects that ask for changes on replicas to be replicated back.
    pub synced: BTreeSet<OwnedBucket>,
    /// ARN of the permissions boundary that the account's roles have to have.
    pub boundary: Option<String>,
    /// Roles of others that may get an inline policy of ours.
    pub mergeable: BTreeSet<String>,
    /// Whether an object asks to merge, so that each of them may have one.
    pub merges: bool,
    /// Whether the source bucket's default encryption matters.
    pub default_encryption: bool,
    /// Whether the tags of the buckets matter, which tell of another writer.
    pub tags: bool,
    /// Whether all objects are leaving, so that only what may have to be removed is read.
    pub removing: bool,
    /// How deep to look.
    pub depth: Depth,
}

/// What stands in AWS.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// How deep was looked.
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
    /// What the standing configuration holds beyond our types.
    pub unknown_elements: Vec<UnknownElement>,
    /// The role of the source bucket.
    pub role: Facet<Role>,
    /// Our policies on that role.
    pub role_policies: Facet<RolePolicies>,
    /// The permissions boundary that the account's roles have to have.
    pub boundary: Facet<Document>,
    /// Our inline policy on roles of others, by their ARN.
    pub merged: BTreeMap<String, Facet<Document>>,
}

impl Observed {
    /// What changes so rarely that a drift check does not read it again; the rest is unread.
    #[must_use]
    pub fn facts(&self) -> Self {
        let of_bucket = |read: &Bucket| {
            let traits = if read.traits.failure().is_none() {
                read.traits.clone()
            } else {
                Traits::default()
            };
            Bucket {
                region: read.region.lasting(),
                traits,
                ..Bucket::default()
            }
        };
        Self {
            buckets: self
                .buckets
                .iter()
                .map(|(bucket, read)| (bucket.clone(), of_bucket(read)))
                .collect(),
            boundary: self.boundary.lasting(),
            default_encryption: self.default_encryption.lasting(),
            keys: self
                .keys
                .iter()
                .map(|(query, read)| (query.clone(), read.lasting()))
                .collect(),
            ..Self::default()
        }
    }

    /// All statements in our policies, on whatever role they stand: the ledger of what may have to be cleaned up.
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

    /// The bucket's Region, where it was read.
    #[must_use]
    pub fn region(&self, bucket: &OwnedBucket) -> Option<&Region> {
        self.buckets.get(bucket)?.region.present()
    }
}

/// An element of the standing configuration that our types can't write back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownElement {
    /// The ID of its rule; `None` where the rule has none, or the element stands beside the rules.
    pub rule: Option<String>,
    /// The names of the elements that lead to it.
    pub path: String,
}

impl UnknownElement {
    /// Whether it is not in a rule of `installation`, which replaces its own rules as a whole.
    #[must_use]
    pub fn is_foreign(&self, installation: &super::names::InstallationId) -> bool {
        self.rule
            .as_ref()
            .is_none_or(|id| RuleMark::parse(id, installation).is_none())
    }
}

/// A bucket.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bucket {
    /// Absent where there is no such bucket in that account.
    pub region: Facet<Region>,
    /// Whether versioning is on.
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
    /// Whether who asks for objects pays; read for destinations in another account.
    pub requester_pays: Facet<bool>,
    /// Whether the bucket's owner owns every object in it; read where objects say who is to own replicas.
    pub owner_enforced: Facet<bool>,
    /// Whether Object Lock is on; read for sources, and for destinations where it is on for the source.
    pub object_lock: Facet<bool>,
    /// Whether the bucket has a rule toward the source that replicates changes on replicas; read where an object asks for that.
    pub syncs_back: Facet<bool>,
    /// The bucket's policy where we write none, since it can deny: read for sources, and for destinations in the same account.
    pub policy: Facet<Document>,
}

impl Traits {
    /// Why one of them could not be read.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        let switches = [
            &self.requester_pays,
            &self.owner_enforced,
            &self.object_lock,
            &self.syncs_back,
        ];
        switches
            .into_iter()
            .find_map(Facet::failure)
            .or(self.policy.failure())
    }
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
    /// `Enabled` where it can be used.
    pub state: String,
    /// Whether it encrypts symmetrically, the only kind that S3 uses.
    pub symmetric: bool,
    /// Whether AWS manages it.
    pub managed_by_aws: bool,
}

/// The role of a source bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Role {
    /// Its ARN.
    pub arn: String,
    /// Who may assume it.
    pub trust: Document,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// ARN of its permissions boundary.
    pub boundary: Option<String>,
}

impl fmt::Display for KeyQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reference.fmt(f)
    }
}
