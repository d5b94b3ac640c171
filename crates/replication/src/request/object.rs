//! A `BucketReplication`, reduced to what decisions depend on. It is built here alone, for the operator and for `plan`.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::{accounts::Labels, names::ObjectKey};
use api::{
    APPLIED, BucketReplication, VERIFY,
    bucket_replication::{BucketReplicationSpec, BucketReplicationStatus},
    condition::Reason,
    verification::Verified,
};

/// A `BucketReplication`, reduced to what decisions depend on.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Distinguishes it from a later object of the same name.
    pub uid: String,
    /// When it was created. If two objects conflict, the older one wins.
    pub created: Option<Timestamp>,
    /// The generation of its spec.
    pub generation: Option<i64>,
    /// The spec.
    pub spec: BucketReplicationSpec,
    /// The status that it has, as far as visits write it.
    pub status: BucketReplicationStatus,
    /// The rest of its status: what canaries found.
    pub verified: Verified,
    /// IDs of unmanaged rules that its rules take over.
    pub take_over: BTreeSet<String>,
    /// What its annotation says that asks for canaries at once.
    pub verify: Option<String>,
    /// The fingerprint of the required actions that are attested as applied.
    pub applied: Option<String>,
    /// Since when it is being deleted.
    pub deleted: Option<Timestamp>,
    /// Whether its deletion is blocked, and it is to be released all the same.
    pub abandoned: bool,
    /// Whether it has the operator's finalizer, which it needs before anything is written for it.
    pub held: bool,
    /// The labels of its namespace.
    pub namespace_labels: Labels,
}

impl Object {
    /// Reduces `object`, whose namespace has these labels.
    #[must_use]
    pub fn of(object: &BucketReplication, namespace_labels: Labels) -> Self {
        let metadata = &object.metadata;
        let annotation = |name: &str| metadata.annotations.as_ref()?.get(name);
        let deleted = metadata.deletion_timestamp.as_ref().map(|time| time.0);
        let mut status = object.status.clone().unwrap_or_default();
        let verified = Verified::take(&mut status);
        let mut reduced = Self {
            key: ObjectKey {
                namespace: metadata.namespace.clone().unwrap_or_default(),
                name: metadata.name.clone().unwrap_or_default(),
            },
            uid: metadata.uid.clone().unwrap_or_default(),
            created: metadata.creation_timestamp.as_ref().map(|time| time.0),
            generation: metadata.generation,
            spec: object.spec.clone(),
            status,
            verified,
            take_over: object.take_over(),
            verify: annotation(VERIFY).cloned(),
            applied: annotation(APPLIED).cloned(),
            deleted,
            abandoned: false,
            held: object.is_held(),
            namespace_labels,
        };
        let ready = reduced.status.ready();
        let blocked = ready.is_some_and(|ready| ready.reason == Reason::DeletionBlocked.as_str());
        reduced.abandoned = deleted.is_some() && object.asks_to_abandon() && blocked;
        reduced
    }

    /// Whether it is being deleted.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        self.deleted.is_some()
    }

    /// Whether resources that were created for it may exist in AWS: it has the finalizer, or its status lists rules, and the finalizer was removed
    /// since.
    #[must_use]
    pub fn may_have_resources(&self) -> bool {
        self.held || !self.status.rules.is_empty()
    }

    /// Whether its status says that it is ready, at the generation of its spec.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status.ready().is_some_and(|ready| {
            ready.status == "True" && ready.observed_generation == self.generation
        })
    }
}
