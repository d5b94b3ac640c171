//! What a visit takes: a source bucket, all objects that name it, and what they were validated to.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use api::BucketReplication;
use jiff::Timestamp;

use crate::{
    Object, Problem,
    accounts::Accounts,
    names::{BucketName, InstallationId, ObjectKey, OwnedBucket, fingerprint},
    shared_policy::SourceRole,
    validate::{self, Valid},
    visit::{
        times::Times,
        view::{Refusals, View},
        watched::Watched,
    },
};

/// A source bucket and all objects that name it, as one visit takes them.
#[derive(Clone, Debug)]
pub struct Visit {
    /// This installation.
    pub installation: InstallationId,
    /// All accounts.
    pub accounts: Arc<Accounts>,
    /// The source bucket.
    pub source: OwnedBucket,
    /// All objects that name it.
    pub objects: Vec<Object>,
    /// Source buckets of other objects that replicate into the source bucket.
    pub upstream: BTreeSet<BucketName>,
    /// The periods of visits.
    pub times: Times,
    /// When the visit began.
    pub now: Timestamp,
    /// The namespaces that the operator watches.
    pub(super) watched: Watched,
    validated: BTreeMap<ObjectKey, Result<Valid, Vec<Problem>>>,
    pub(super) inputs: String,
}

impl Visit {
    /// A visit. Each object is validated once.
    #[must_use]
    pub fn new(
        installation: InstallationId,
        accounts: Arc<Accounts>,
        source: OwnedBucket,
        objects: Vec<Object>,
        upstream: BTreeSet<BucketName>,
        times: Times,
        now: Timestamp,
    ) -> Self {
        let validated = objects
            .iter()
            .map(|object| (object.key.clone(), validate::validate(object, &accounts)))
            .collect();
        let inputs = inputs(&accounts, &objects);
        Self {
            installation,
            accounts,
            source,
            objects,
            upstream,
            times,
            now,
            watched: Watched::default(),
            validated,
            inputs,
        }
    }

    /// The same, by an operator that only watches these namespaces; all, if there are none.
    #[must_use]
    pub fn watching(self, namespaces: impl IntoIterator<Item = String>) -> Self {
        Self {
            watched: Watched(namespaces.into_iter().collect()),
            ..self
        }
    }

    /// The role by which the source bucket is known in policies that it shares with others.
    #[must_use]
    pub fn role(&self) -> SourceRole {
        SourceRole::of(&self.installation, &self.source)
    }

    /// The visit as decisions take it.
    #[must_use]
    pub fn view<'a>(&'a self, refusals: &'a Refusals) -> View<'a> {
        View {
            installation: &self.installation,
            accounts: &self.accounts,
            source: &self.source,
            objects: &self.objects,
            validated: &self.validated,
            upstream: &self.upstream,
            times: &self.times,
            now: self.now,
            watched: &self.watched,
            refusals,
            remembered: None,
        }
    }

    pub(super) fn removes_all(&self) -> bool {
        self.objects.iter().all(Object::is_deleting)
    }

    pub(super) fn ready(&self) -> BTreeSet<ObjectKey> {
        let ready = self.objects.iter().filter(|object| object.is_ready());
        ready.map(|object| object.key.clone()).collect()
    }
}

/// The source buckets of those of `objects` whose rules replicate into `bucket`.
pub fn upstream_of<'a>(
    bucket: &OwnedBucket,
    objects: impl IntoIterator<Item = &'a BucketReplication>,
) -> BTreeSet<BucketName> {
    let has_rules = |object: &BucketReplication| {
        let status = object.status.as_ref();
        status.is_some_and(|status| !status.rules.is_empty())
    };
    let into = objects.into_iter().filter(|object| {
        object.spec.destination.bucket == bucket.name.as_str() && has_rules(object)
    });
    into.filter_map(|object| object.spec.source.bucket.parse().ok())
        .collect()
}

/// A fingerprint of all inputs other than AWS: if it changes, everything is read again.
fn inputs(accounts: &Accounts, objects: &[Object]) -> String {
    let of_object = |object: &Object| {
        let Object {
            uid,
            deleted,
            generation,
            namespace_labels,
            take_over,
            applied,
            ..
        } = object;
        format!(
            "{uid}/{generation:?}/{}/{namespace_labels:?}/{take_over:?}/{applied:?}",
            deleted.is_some()
        )
    };
    let named = objects.iter().flat_map(|object| {
        [
            object.spec.source.account_name.as_str(),
            object.spec.destination.account_name.as_str(),
        ]
    });
    let accounts = accounts.fingerprint(&named.collect());
    let parts: Vec<_> = objects.iter().map(of_object).chain([accounts]).collect();
    fingerprint(&parts.iter().map(String::as_str).collect::<Vec<_>>(), 64)
}
