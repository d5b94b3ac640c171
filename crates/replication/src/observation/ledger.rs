//! Which buckets and keys may have statements of the operator, by the role's policy and the operator's rules.

use std::collections::BTreeSet;

use crate::{
    configuration::{Configuration, ReplicationRule},
    names::{AccountId, BucketName, InstallationId, KeyArn, OwnedBucket},
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
    let name: BucketName = rule.destination.bucket.rsplit(':').next()?.parse().ok()?;
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
    for rule in configuration
        .iter()
        .flat_map(|configuration| &configuration.rules)
        .filter(|rule| rule.mark(installation).is_some())
    {
        buckets.extend(destination_of(rule, source));
        let key = rule
            .destination
            .encryption_configuration
            .as_ref()
            .and_then(|encryption| encryption.replica_kms_key_id.as_deref());
        keys.extend(key.and_then(|key| key.parse::<KeyArn>().ok()));
    }
    for statement in role_statements
        .iter()
        .filter(|statement| statement.mark_of(installation).is_some())
    {
        match statement.mark().map(|mark| mark.purpose) {
            Some(Purpose::Replicas) => {
                let accounts = statement.condition("StringEqualsIfExists", "aws:ResourceAccount");
                let Some(account) = accounts
                    .first()
                    .and_then(|account| account.parse::<AccountId>().ok())
                else {
                    continue;
                };
                for resource in statement.strings("Resource") {
                    let name = resource
                        .rsplit(':')
                        .next()
                        .and_then(|path| path.split('/').next())
                        .and_then(|name| name.parse().ok());
                    buckets.extend(name.map(|name| OwnedBucket {
                        partition: source.partition,
                        account: account.clone(),
                        name,
                    }));
                }
            }
            Some(Purpose::SourceKeys | Purpose::ReplicaKey) => {
                keys.extend(
                    statement
                        .strings("Resource")
                        .into_iter()
                        .filter_map(|arn| arn.parse::<KeyArn>().ok()),
                );
            }
            _ => {}
        }
    }
    buckets.retain(|bucket| bucket != source);
    (buckets, keys)
}
