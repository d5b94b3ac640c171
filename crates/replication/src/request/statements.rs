//! What the role needs for one object: to read the source objects, to write the replicas, and to use the keys for that alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    assess::Resolved,
    names::{InstallationId, OwnedBucket, Prefix, Region, via_services},
    policy::{Conditions, Purpose, Statement},
    validate::Valid,
};

/// The role's statements for one object, and for the source bucket.
pub(crate) fn role_statements(
    installation: &InstallationId,
    resolved: &Resolved,
) -> Vec<Statement> {
    let of_bucket = source_statement(installation, &resolved.valid.source);
    let of_object = object_statements(installation, resolved);
    std::iter::once(of_bucket).chain(of_object).collect()
}

/// The role's statement for the source bucket, which all objects on it share.
pub(crate) fn source_statement(installation: &InstallationId, source: &OwnedBucket) -> Statement {
    Statement::allow(
        installation,
        Purpose::SourceBucket,
        source.name.as_str(),
        None,
        ACTIONS_ON_SOURCE_BUCKET,
        &[source.arn().to_string()],
        &vec![],
    )
}

/// The role's statements for one object: to read the source objects, to write the replicas, and to use the keys for that alone.
pub(crate) fn object_statements(
    installation: &InstallationId,
    resolved: &Resolved,
) -> Vec<Statement> {
    let (valid, owner) = (&resolved.valid, resolved.valid.key.to_string());
    let allow = |purpose, actions: &[&str], resources: &[String], conditions: &Conditions| {
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
    let mut statements = vec![allow(
        Purpose::SourceObjects,
        &actions_on_source_objects(resolved.object_lock),
        &objects_under(valid, &valid.source),
        &vec![],
    )];
    let rules = valid.rules.iter().map(|rule| {
        let actions = replica_actions(rule.delete_markers, valid.owner_override);
        (actions, rule.prefix.clone())
    });
    for (actions, prefixes) in by_actions(rules) {
        let resources = prefixes
            .iter()
            .map(|prefix| valid.destination.objects(prefix));
        // Without it, a bucket that another account creates under the name of a deleted destination would receive the data.
        let account = (
            "StringEqualsIfExists",
            "aws:ResourceAccount".to_owned(),
            vec![valid.destination.account.to_string()],
        );
        statements.push(allow(
            Purpose::Replicas,
            &actions,
            &resources.collect::<Vec<_>>(),
            &vec![account],
        ));
    }
    if let Some(keys) = &resolved.keys {
        let source: Vec<_> = keys.source.iter().map(ToString::to_string).collect();
        statements.push(allow(
            Purpose::SourceKeys,
            SOURCE_KEY_ACTIONS,
            &source,
            &key_conditions(valid, &valid.source, &resolved.source_region),
        ));
        statements.push(allow(
            Purpose::ReplicaKey,
            REPLICA_KEY_ACTIONS,
            &[keys.replica.to_string()],
            &key_conditions(valid, &valid.destination, &keys.replica.region),
        ));
    }
    statements
}

/// The objects of `bucket` under the object's prefixes.
pub(crate) fn objects_under(valid: &Valid, bucket: &OwnedBucket) -> Vec<String> {
    let prefixes = widest(valid.rules.iter().map(|rule| rule.prefix.clone()));
    prefixes
        .iter()
        .map(|prefix| bucket.objects(prefix))
        .collect()
}

/// A key is used by S3 alone, for the objects of `bucket`. With an S3 Bucket Key the encryption context is the bucket's ARN, otherwise the object's.
/// Each object has its own setting, so both forms are needed ("Replicating encrypted objects" in the S3 User Guide).
fn key_conditions(valid: &Valid, bucket: &OwnedBucket, region: &Region) -> Conditions {
    let mut context = vec![bucket.arn().to_string()];
    context.extend(objects_under(valid, bucket));
    let (service, arn) = ("kms:ViaService", "kms:EncryptionContext:aws:s3:arn");
    vec![
        ("StringEquals", service.to_owned(), via_services(region)),
        ("StringLike", arn.to_owned(), context),
    ]
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

pub(crate) const ACTIONS_ON_SOURCE_BUCKET: &[&str] =
    &["s3:GetReplicationConfiguration", "s3:ListBucket"];
pub(crate) const SOURCE_KEY_ACTIONS: &[&str] = &["kms:Decrypt"];
/// `Encrypt` for every replica; `GenerateDataKey` and `Decrypt` if a bucket key is used ("Replicating encrypted objects" and "Receiving
/// replication failure events" in the S3 User Guide).
pub(crate) const REPLICA_KEY_ACTIONS: &[&str] =
    &["kms:Encrypt", "kms:GenerateDataKey", "kms:Decrypt"];

/// Needed to replicate delete markers.
pub(crate) const REPLICATE_DELETE: &str = "s3:ReplicateDelete";
/// Needed to make the destination's account the owner of replicas.
pub(crate) const OWNER_OVERRIDE: &str = "s3:ObjectOwnerOverrideToBucketOwner";

pub(crate) fn replica_actions(delete_markers: bool, owner_override: bool) -> Vec<&'static str> {
    let mut actions = vec!["s3:ReplicateObject", "s3:ReplicateTags"];
    if delete_markers {
        actions.push(REPLICATE_DELETE);
    }
    if owner_override {
        actions.push(OWNER_OVERRIDE);
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
