//! Which buckets and keys may have statements of the operator, by the role's policy and the operator's rules.

use std::collections::BTreeSet;

use crate::{
    arns::BucketArn,
    configuration::{Configuration, ReplicationRule},
    keys::KeyArn,
    names::{AccountId, InstallationId, OwnedBucket, Partition},
    policy::{Purpose, Statement},
};

/// The role's tag that names the installation that created it.
pub const TAG_INSTALLATION: &str = "bucketops.dev/installation";
/// The role's tag with the number of managed policies to read; without it, none.
pub const TAG_POLICIES: &str = "bucketops.dev/managed-policies";
/// The role's tag that names its source bucket.
pub const TAG_SOURCE_BUCKET: &str = "bucketops.dev/source-bucket";

/// The destination bucket of one of the operator's rules. Without an account, it is in the source's account.
#[must_use]
pub fn destination_of(rule: &ReplicationRule, source: &OwnedBucket) -> Option<OwnedBucket> {
    let name = rule.destination.bucket.parse::<BucketArn>().ok()?.name;
    let account = match &rule.destination.account {
        Some(account) => account.parse().ok()?,
        None => source.account.clone(),
    };
    Some(OwnedBucket {
        partition: source.partition,
        account,
        name,
    })
}

/// The buckets and keys whose policies may have statements of the operator, by the role's policy and the operator's rules: they are read in
/// addition to what objects name now. Only those in this partition count.
#[must_use]
pub fn ledger(
    installation: &InstallationId,
    source: &OwnedBucket,
    configuration: Option<&Configuration>,
    role_statements: &[Statement],
) -> (BTreeSet<OwnedBucket>, BTreeSet<KeyArn>) {
    let mut buckets = BTreeSet::new();
    let mut keys = BTreeSet::new();
    let rules = configuration
        .iter()
        .flat_map(|configuration| &configuration.rules);
    for rule in rules.filter(|rule| rule.mark(installation).is_some()) {
        buckets.extend(destination_of(rule, source));
        let encryption = rule.destination.encryption_configuration.as_ref();
        let key = encryption.and_then(|encryption| encryption.replica_kms_key_id.as_deref());
        keys.extend(key.and_then(|key| key.parse::<KeyArn>().ok()));
    }
    for statement in role_statements {
        match statement.mark_of(installation).map(|mark| mark.purpose) {
            Some(Purpose::Replicas) => buckets.extend(destinations_of(statement, source.partition)),
            Some(Purpose::SourceKeys | Purpose::ReplicaKey) => {
                let named = statement.strings("Resource").into_iter();
                keys.extend(named.filter_map(|arn| arn.parse::<KeyArn>().ok()));
            }
            Some(Purpose::SourceBucket | Purpose::SourceObjects | Purpose::KeyUse) | None => {}
        }
    }
    buckets.retain(|bucket| bucket != source);
    (buckets, keys)
}

/// The destinations that a statement of the role names, with the account that its condition names.
pub(crate) fn destinations_of(statement: &Statement, partition: Partition) -> Vec<OwnedBucket> {
    let accounts = statement.condition("StringEqualsIfExists", "aws:ResourceAccount");
    let account = accounts.first().and_then(|account| account.parse().ok());
    let Some(account): Option<AccountId> = account else {
        return vec![];
    };
    let name = |resource: &str| Some(BucketArn::of_objects(resource).ok()?.name);
    let names = statement.strings("Resource").into_iter().filter_map(name);
    names
        .map(|name| OwnedBucket {
            partition,
            account: account.clone(),
            name,
        })
        .collect()
}
