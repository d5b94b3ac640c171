//! What to read for a visit, and how deep.

use std::collections::BTreeSet;

use crate::{
    arns::{ManagedPolicyArn, RoleArn},
    names::{AccountId, InstallationId, OwnedBucket, RoleName},
    observation::key_query::KeyQuery,
    shared_policy::SharedPolicy,
};

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
    pub installation: InstallationId,
    /// Destinations that objects name.
    pub destinations: BTreeSet<OwnedBucket>,
    /// Keys that objects name.
    pub keys: BTreeSet<KeyQuery>,
    /// Destinations of objects that set the owner of replicas.
    pub ownership: BTreeSet<OwnedBucket>,
    /// Destinations whose setting decides the owner of replicas.
    pub acls: BTreeSet<OwnedBucket>,
    /// Destinations of objects that ask for changes on replicas to be replicated back.
    pub synced: BTreeSet<OwnedBucket>,
    /// ARN of the permissions boundary that the account's roles have to have.
    pub boundary: Option<ManagedPolicyArn>,
    /// Whether the operator creates the role, and not others.
    pub writes_roles: bool,
    /// The role that others created for the source bucket.
    pub named_role: Option<RoleArn>,
    /// Policies that may have statements of the operator by what statuses say; without a role of the operator's, no policy names them.
    pub former: BTreeSet<SharedPolicy>,
    /// Unmanaged roles that may get an inline policy.
    pub mergeable: BTreeSet<RoleArn>,
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
