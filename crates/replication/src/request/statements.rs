//! What the role needs for one object: to read the source objects, to write the replicas, and to use the keys for that alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    assess::Resolved,
    names::{InstallationId, OwnedBucket, Prefix, Region, via_service},
    policy::{Purpose, Statement},
    validate::Valid,
};

/// The role's statements for one object: to read the source objects, to write the replicas, and to use the keys for that alone.
pub(crate) fn object_statements(
    installation: &InstallationId,
    resolved: &Resolved,
) -> Vec<Statement> {
    let valid = &resolved.valid;
    let owner = valid.key.to_string();
    let allow = |purpose,
                 actions: &[&str],
                 resources: &[String],
                 conditions: &crate::policy::Conditions| {
        Statement::allow(
            installation,
            purpose,
            &owner,
            None,
            actions,
            resources,
            conditions,
        )
    };
    let prefixes = widest(valid.rules.iter().map(|rule| rule.prefix.clone()));
    let under = |bucket: &OwnedBucket| {
        prefixes
            .iter()
            .map(|prefix| bucket.objects(prefix))
            .collect::<Vec<_>>()
    };
    let mut statements = vec![allow(
        Purpose::SourceObjects,
        &actions_on_source_objects(resolved.object_lock),
        &under(&valid.source),
        &vec![],
    )];
    for (actions, prefixes) in by_actions(valid.rules.iter().map(|rule| {
        (
            replica_actions(rule.delete_markers, valid.owner_override),
            rule.prefix.clone(),
        )
    })) {
        let resources: Vec<_> = prefixes
            .iter()
            .map(|prefix| valid.destination.objects(prefix))
            .collect();
        // Without it, a bucket that another account creates under the name of a deleted destination would receive the data.
        let account = (
            "StringEqualsIfExists",
            "aws:ResourceAccount".to_owned(),
            vec![valid.destination.account.to_string()],
        );
        statements.push(allow(
            Purpose::Replicas,
            &actions,
            &resources,
            &vec![account],
        ));
    }
    if let Some(keys) = &resolved.keys {
        // With an S3 Bucket Key the encryption context is the bucket's ARN, otherwise the object's. Each object has its own setting,
        // so both forms are needed ("Replicating encrypted objects" in the S3 User Guide).
        let context = |bucket: &OwnedBucket| {
            std::iter::once(bucket.arn())
                .chain(under(bucket))
                .collect::<Vec<_>>()
        };
        let conditions = |bucket: &OwnedBucket, region: &Region| {
            vec![
                (
                    "StringEquals",
                    "kms:ViaService".to_owned(),
                    vec![via_service(region)],
                ),
                (
                    "StringLike",
                    "kms:EncryptionContext:aws:s3:arn".to_owned(),
                    context(bucket),
                ),
            ]
        };
        let source: Vec<_> = keys.source.iter().map(ToString::to_string).collect();
        statements.push(allow(
            Purpose::SourceKeys,
            SOURCE_KEY_ACTIONS,
            &source,
            &conditions(&valid.source, &resolved.source_region),
        ));
        statements.push(allow(
            Purpose::ReplicaKey,
            REPLICA_KEY_ACTIONS,
            &[keys.replica.to_string()],
            &conditions(&valid.destination, &keys.replica.region),
        ));
    }
    statements
}

/// What the role does with source objects; with Object Lock, it reads their settings too ("Setting up permissions for live replication" in the
/// S3 User Guide).
pub(crate) fn actions_on_source_objects(object_lock: bool) -> Vec<&'static str> {
    let mut actions = vec![
        "s3:GetObjectVersionForReplication",
        "s3:GetObjectVersionAcl",
        "s3:GetObjectVersionTagging",
    ];
    if object_lock {
        actions.extend(["s3:GetObjectRetention", "s3:GetObjectLegalHold"]);
    }
    actions
}

/// What the role does at the destination for any rule of an object.
pub(crate) fn actions_on_replicas(valid: &Valid) -> Vec<&'static str> {
    replica_actions(
        valid.rules.iter().any(|rule| rule.delete_markers),
        valid.owner_override,
    )
}

pub(crate) const ACTIONS_ON_SOURCE_BUCKET: &[&str] =
    &["s3:GetReplicationConfiguration", "s3:ListBucket"];
pub(crate) const SOURCE_KEY_ACTIONS: &[&str] = &["kms:Decrypt"];
/// `Encrypt` for every replica; `GenerateDataKey` and `Decrypt` if a bucket key is used ("Replicating encrypted objects" and "Receiving
/// replication failure events" in the S3 User Guide).
pub(crate) const REPLICA_KEY_ACTIONS: &[&str] =
    &["kms:Encrypt", "kms:GenerateDataKey", "kms:Decrypt"];

pub(crate) fn replica_actions(delete_markers: bool, owner_override: bool) -> Vec<&'static str> {
    let mut actions = vec!["s3:ReplicateObject", "s3:ReplicateTags"];
    if delete_markers {
        actions.push("s3:ReplicateDelete");
    }
    if owner_override {
        actions.push("s3:ObjectOwnerOverrideToBucketOwner");
    }
    actions
}

pub(crate) fn by_actions(
    rules: impl Iterator<Item = (Vec<&'static str>, Prefix)>,
) -> BTreeMap<Vec<&'static str>, Vec<Prefix>> {
    let mut groups: BTreeMap<_, Vec<Prefix>> = BTreeMap::new();
    for (actions, prefix) in rules {
        groups.entry(actions).or_default().push(prefix);
    }
    groups
        .into_iter()
        .map(|(actions, prefixes)| (actions, widest(prefixes.into_iter())))
        .collect()
}

/// The prefixes without those that another one covers, in order.
pub(crate) fn widest(prefixes: impl Iterator<Item = Prefix>) -> Vec<Prefix> {
    let mut widest: Vec<Prefix> = vec![];
    for prefix in prefixes.collect::<BTreeSet<_>>() {
        if !widest.iter().any(|wider| wider.covers(&prefix)) {
            widest.push(prefix);
        }
    }
    widest
}
