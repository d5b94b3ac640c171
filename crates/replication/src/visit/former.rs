//! What objects used before their last edit, where no policy of the operator's own role says so. If others create the role, their statuses name the
//! policies of destinations and keys that may have statements for it; and they say since when an unmanaged role has permissions of former rules.

use std::collections::{BTreeMap, BTreeSet};

use api::bucket_replication::{BucketReplicationStatus, DrainingBucket, DrainingStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    Object,
    names::{ObjectKey, OwnedBucket, Partition},
    shared_policy::SharedPolicy,
    visit::outcome::Outcome,
};

/// The permissions that stay for an object after its rules no longer need them.
#[derive(Clone, Debug, PartialEq)]
pub struct Former {
    /// Since when.
    pub since: Timestamp,
    /// The policies of destinations and keys that have them, or may have; none if the operator's policy on the role names these.
    pub policies: BTreeSet<SharedPolicy>,
    /// Whether they stayed for long enough.
    pub(super) over: bool,
    /// Whether one of the policies could not be read.
    pub(super) unread: bool,
}

impl Former {
    /// Permissions that the operator's policy on the role has since then.
    pub(super) fn of_role(since: Timestamp) -> Self {
        Self {
            since,
            policies: BTreeSet::new(),
            over: false,
            unread: false,
        }
    }

    /// As the status has it.
    fn of_status(status: &DrainingStatus, partition: Partition) -> Self {
        let buckets = status.buckets.iter();
        let buckets =
            buckets.filter_map(|named| bucket(partition, &named.account_id, &named.bucket));
        let keys = status.kms_key_arns.iter();
        let keys = keys.filter_map(|key| Some(SharedPolicy::OfKey(key.parse().ok()?)));
        Self {
            policies: buckets.chain(keys).collect(),
            ..Self::of_role(status.start_time.0)
        }
    }

    pub(super) fn status(&self) -> DrainingStatus {
        let (mut buckets, mut kms_key_arns) = (vec![], vec![]);
        for policy in &self.policies {
            match policy {
                SharedPolicy::OfBucket(bucket) => buckets.push(DrainingBucket {
                    bucket: bucket.name.to_string(),
                    account_id: bucket.account.to_string(),
                }),
                SharedPolicy::OfKey(key) => kms_key_arns.push(key.to_string()),
            }
        }
        DrainingStatus {
            start_time: Time(self.since),
            buckets,
            kms_key_arns,
        }
    }

    /// Whether any may be left after the visit.
    pub(super) fn remains(&self, outcome: &Outcome) -> bool {
        !self.over || self.unread || outcome.open().next().is_some()
    }
}

/// The policy of the bucket that a status names so.
fn bucket(partition: Partition, account: &str, name: &str) -> Option<SharedPolicy> {
    Some(SharedPolicy::OfBucket(OwnedBucket {
        partition,
        account: account.parse().ok()?,
        name: name.parse().ok()?,
    }))
}

/// What stays for an object by what this process remembers, or else by its status.
pub(super) fn known(
    object: &Object,
    remembered: Option<&BTreeMap<ObjectKey, Former>>,
    partition: Partition,
) -> Option<Former> {
    let remembered = remembered.and_then(|former| former.get(&object.key));
    let by_status = || {
        let draining = object.status.draining.as_ref()?;
        Some(Former::of_status(draining, partition))
    };
    remembered.cloned().or_else(by_status)
}

/// The policies that the status names: of the destination and the keys, and of those before.
pub(super) fn named_by(
    status: &BucketReplicationStatus,
    partition: Partition,
) -> BTreeSet<SharedPolicy> {
    let destination = status.destination.as_ref();
    let bucket = destination.and_then(|destination| {
        bucket(
            partition,
            &destination.account_id,
            destination.bucket.as_deref()?,
        )
    });
    let replica_key = destination.and_then(|destination| destination.kms_key_arn.as_ref());
    let source_keys = status.source.iter().flat_map(|source| &source.kms_key_arns);
    let keys = source_keys.chain(replica_key);
    let keys = keys.filter_map(|key| Some(SharedPolicy::OfKey(key.parse().ok()?)));
    let draining = status.draining.as_ref();
    let former = draining.map(|draining| Former::of_status(draining, partition).policies);
    let mut named: BTreeSet<_> = bucket.into_iter().collect();
    named.extend(keys.chain(former.into_iter().flatten()));
    named
}
