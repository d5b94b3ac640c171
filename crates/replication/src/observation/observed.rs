//! What to read from AWS, and what was read, as plain data.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::RangeInclusive,
};

use crate::{
    configuration::{Configuration, RuleMark},
    names::{AccountId, KeyArn, KeyReference, OwnedBucket, Region, RoleName, path_of_role},
    observation::ledger::TAG_POLICIES,
    policy::{Document, Statement},
    role_policies::{MOST_POLICIES, ManagedPolicy, PolicyOwner, RolePolicies},
};

/// One read. A refusal is not an absence: what can't be read must not be overwritten either.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Facet<T> {
    /// It was not read.
    #[default]
    Unread,
    /// It does not exist.
    Absent,
    /// It exists.
    Present(T),
    /// It could not be read.
    Failed(Failure),
}

impl<T> From<Result<Option<T>, Failure>> for Facet<T> {
    fn from(read: Result<Option<T>, Failure>) -> Self {
        match read {
            Ok(read) => Self::from_option(read),
            Err(failure) => Self::Failed(failure),
        }
    }
}

impl<T> Facet<T> {
    /// What was read: the thing, or that it does not exist.
    #[must_use]
    pub fn from_option(read: Option<T>) -> Self {
        read.map_or(Self::Absent, Self::Present)
    }

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

    /// The same if it exists; otherwise unread, so that it is read again.
    #[must_use]
    fn lasting(&self) -> Self
    where
        T: Clone,
    {
        self.present().cloned().map_or(Self::Unread, Self::Present)
    }

    /// What was read, if it exists.
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

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What can be done about it.
    pub kind: FailureKind,
    /// The action as IAM names it, such as `s3:PutReplicationConfiguration`.
    pub action: String,
    /// Which call, on what, as whom, and AWS's error; without request IDs.
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
    /// AWS throttled the call.
    Throttled,
    /// Another change of the resource, or its state, conflicts with the call.
    Conflict,
    /// A role that was just created is not yet visible everywhere (`Principal` in the IAM User Guide).
    PrincipalNotVisible,
    /// A fault of the network or of AWS, or no answer in time.
    Transient,
    /// AWS refused the call as invalid.
    Invalid,
    /// What the call depends on changed since it was read: it has to be read again.
    Outdated,
}

/// A key to read: how it is named, and the bucket whose account and Region an alias is in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyQuery {
    /// How it was named.
    pub reference: KeyReference,
    /// The bucket that it is for.
    pub beside: OwnedBucket,
}

/// How deep to read. If what is less deep forbids everything, what is deeper does not matter and is not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, strum::VariantArray)]
pub enum Depth {
    /// Whether buckets and keys exist and can be used.
    #[default]
    Foundation,
    /// What decides whether buckets can be replicated from or to, except for Requester Pays, and what the permissions boundary allows.
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
    /// The role of the bucket, and the name of the operator's inline policy on it.
    pub role: RoleName,
    /// The installation whose statements in the role's policy name the buckets and keys that have statements of the operator.
    pub installation: crate::names::InstallationId,
    /// Destinations that objects name.
    pub destinations: BTreeSet<OwnedBucket>,
    /// Keys that objects name.
    pub keys: BTreeSet<KeyQuery>,
    /// Destinations of objects that set the owner of replicas.
    pub ownership: BTreeSet<OwnedBucket>,
    /// Destinations of objects that ask for changes on replicas to be replicated back.
    pub synced: BTreeSet<OwnedBucket>,
    /// ARN of the permissions boundary that the account's roles have to have.
    pub boundary: Option<String>,
    /// Unmanaged roles that may get an inline policy.
    pub mergeable: BTreeSet<String>,
    /// Whether an object asks to merge, so that each of them may have one.
    pub merges: bool,
    /// Whether the source bucket's default encryption matters.
    pub default_encryption: bool,
    /// Whether the tags of the buckets matter, which may name another writer.
    pub tags: bool,
    /// The accounts in which the operator may make calls.
    pub managed: BTreeSet<AccountId>,
    /// Whether all objects are being deleted, so that only what may have to be removed is read.
    pub removing: bool,
    /// How deep to read.
    pub depth: Depth,
}

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
    /// The role of the source bucket.
    pub role: Facet<Role>,
    /// The operator's policies on that role, once all of them were read.
    pub role_policies: Facet<RolePolicies>,
    /// What was read of them.
    pub role_read: RoleRead,
    /// The permissions boundary that the account's roles have to have.
    pub boundary: Facet<Document>,
    /// Its default version.
    pub boundary_version: Facet<String>,
    /// The operator's inline policy on unmanaged roles, by their ARN.
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
    pub fn is_foreign(&self, installation: &crate::names::InstallationId) -> bool {
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
    /// `Enabled` if it can be used.
    pub state: String,
    /// Whether it is a symmetric encryption key, the only kind that S3 uses.
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

impl Role {
    /// The path that the role is under.
    #[must_use]
    pub fn path(&self) -> String {
        path_of_role(&self.arn)
    }

    /// The numbers of the operator's managed policies on the role, as its tag says.
    #[must_use]
    pub fn managed_policies(&self) -> RangeInclusive<u32> {
        let last = self
            .tags
            .get(TAG_POLICIES)
            .and_then(|last| last.parse::<u32>().ok());
        1..=last.unwrap_or_default().min(MOST_POLICIES)
    }
}

/// The versions of a managed policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyVersions {
    /// The default version.
    pub default: String,
    /// The others.
    pub others: Vec<String>,
}

/// What was read of the operator's policies on its role.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoleRead {
    /// The inline policy.
    pub inline: Facet<Document>,
    /// The ARNs of the role's managed policies.
    pub attached: Facet<BTreeSet<String>>,
    /// The operator's managed policies, by ARN.
    pub managed: BTreeMap<String, PolicyRead>,
}

/// What was read of a managed policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyRead {
    /// Its versions.
    pub versions: Facet<PolicyVersions>,
    /// The document of the default version.
    pub document: Facet<Document>,
}

impl RoleRead {
    /// The policies on `role`, once all of them were read.
    #[must_use]
    pub fn policies(&self, scope: &Scope, role: &Facet<Role>) -> Facet<RolePolicies> {
        let role = match role {
            Facet::Present(role) => role,
            Facet::Absent => return Facet::Absent,
            Facet::Unread | Facet::Failed(_) => return Facet::Unread,
        };
        let inline = match &self.inline {
            Facet::Unread => return Facet::Unread,
            Facet::Failed(failure) => return Facet::Failed(failure.clone()),
            Facet::Absent => None,
            Facet::Present(document) => Some(document.clone()),
        };
        let numbers = role.managed_policies();
        let attached = match &self.attached {
            Facet::Unread if !numbers.is_empty() => return Facet::Unread,
            Facet::Failed(failure) => return Facet::Failed(failure.clone()),
            read => read.present().cloned().unwrap_or_default(),
        };
        let path = role.path();
        let owner = PolicyOwner::of(&scope.source, &path, &scope.role);
        let mut managed = BTreeMap::new();
        for number in numbers {
            let arn = owner.policy(number).to_string();
            let read = self.managed.get(&arn).cloned().unwrap_or_default();
            let attached = attached.contains(&arn);
            match (read.versions, read.document) {
                (Facet::Failed(failure), _) | (_, Facet::Failed(failure)) => {
                    return Facet::Failed(failure);
                }
                (Facet::Unread, _) | (Facet::Present(_), Facet::Unread) => return Facet::Unread,
                (Facet::Absent, _) | (_, Facet::Absent) => {}
                (Facet::Present(versions), Facet::Present(document)) => {
                    let policy = ManagedPolicy {
                        document,
                        version: versions.default,
                        stale_versions: versions.others,
                        attached,
                    };
                    managed.insert(number, policy);
                }
            }
        }
        if inline.is_none() && managed.is_empty() {
            return Facet::Absent;
        }
        Facet::Present(RolePolicies { inline, managed })
    }
}

impl fmt::Display for KeyQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reference.fmt(f)
    }
}
