//! Validates specs: what passes has a form that AWS accepts, and its namespace is allowed to ask for it.

use std::collections::BTreeSet;

use crate::{
    Object, Problem,
    accounts::{Account, Accounts},
    keys::KeyReference,
    names::{BucketName, ObjectKey, OwnedBucket},
    observed::KeyQuery,
    request::{
        problem::{invalid, keep, named},
        valid_rule::rules,
    },
};
use api::{
    aws_account::{Access, Permission},
    bucket_replication::{
        BucketReplicationSpec, DeletionPolicy, ExistingConfiguration, Mode, Owner,
        ReplicaModifications, SseKmsObjects, StorageClass, Switch, Versioning,
    },
    condition::{ConditionType, Reason},
};

pub use crate::request::valid_rule::ValidRule;

/// A valid object.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the spec of its own"
)]
#[derive(Clone, Debug, PartialEq)]
pub struct Valid {
    /// Namespace and name.
    pub key: ObjectKey,
    /// The labels of its namespace, for the grants of keys that have yet to be looked up.
    pub namespace_labels: crate::accounts::Labels,
    /// The bucket to replicate from.
    pub source: OwnedBucket,
    /// The bucket to replicate to.
    pub destination: OwnedBucket,
    /// What happens with SSE-KMS objects.
    pub encryption: Encryption,
    /// The storage class of replicas.
    pub storage_class: Option<StorageClass>,
    /// Whether the destination's owner is to own the replicas.
    pub owner_override: bool,
    /// Whether the source object's owner is to own the replicas.
    pub keeps_owner: bool,
    /// The rules, at least one.
    pub rules: Vec<ValidRule>,
    /// Whether changes on replicas are replicated back.
    pub sync_replica_modifications: bool,
    /// Whether Replication Time Control is on.
    pub time_control: bool,
    /// Whether metrics are on.
    pub metrics: bool,
    /// Whether versioning may be switched on.
    pub enable_versioning: bool,
    /// Whether its rules may be added to a configuration with an unmanaged role.
    pub merge: bool,
    /// IDs of unmanaged rules that its rules take over.
    pub take_over: BTreeSet<String>,
    /// Whether the object only shows what would be done.
    pub observe: bool,
}

impl Valid {
    /// Whether source and destination are in different accounts.
    #[must_use]
    pub fn is_across_accounts(&self) -> bool {
        self.source.account != self.destination.account
    }
}

/// What happens with SSE-KMS objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// They are replicated.
    Replicate {
        /// The keys of the source objects; `None`: the key of the bucket's default encryption.
        source_keys: Option<Vec<KeyQuery>>,
        /// The key of the replicas.
        replica_key: KeyQuery,
    },
    /// They are not replicated, as the user asks.
    Skip,
    /// The user named no key, which is right as long as the source bucket does not encrypt with KMS by default.
    NoKey,
}

impl Encryption {
    /// Where the replica key, or else a source key, is named.
    #[must_use]
    pub fn names_key_in(&self, replica: bool) -> &'static str {
        match self {
            Self::Replicate { .. } if replica => "spec.destination.kmsKey",
            Self::Replicate {
                source_keys: Some(_),
                ..
            } => "spec.source.kmsKeys",
            Self::Replicate { .. } | Self::NoKey | Self::Skip => {
                "the default encryption of the source bucket"
            }
        }
    }
}

/// Reads the object's source bucket, which says what visit the object belongs to.
///
/// # Errors
/// When the source account can't be used or the bucket is none.
pub fn source_of(
    spec: &BucketReplicationSpec,
    accounts: &Accounts,
) -> Result<OwnedBucket, Problem> {
    let account = accounts.by_name(&spec.source.account_name)?;
    if account.access == Access::External {
        let message = format!(
            "AWSAccount {} has access: External, so it can own only destinations: name another source account, or {} for access",
            account.name,
            account.whom_to_ask()
        );
        return Err(Problem::new(
            ConditionType::Accepted,
            Reason::AccountNotReady,
            message,
        ));
    }
    owned(account, &spec.source.bucket, "spec.source.bucket")
}

/// Checks an object against the rules of AWS and the grants of its namespace.
///
/// # Errors
/// All that is wrong with it.
pub fn validate(object: &Object, accounts: &Accounts) -> Result<Valid, Vec<Problem>> {
    #[cfg(test)]
    crate::counts::count(&crate::counts::VALIDATED);
    let mut problems = vec![];
    let ends = ends(object, accounts, &mut problems);
    let rules = rules(&object.spec, &mut problems);
    let keys = keys(&object.spec, &mut problems);
    let Some(ends) = ends else {
        return Err(problems);
    };
    partitions(&ends, &keys, &mut problems);
    if let (Keys::Replicate(_, replica), true) = (&keys, ends.are_across())
        && replica.to_string().ends_with("alias/aws/s3")
    {
        problems.push(invalid(
            "spec.destination.kmsKey",
            "it is alias/aws/s3, which can't be used across accounts: name a customer managed key",
        ));
    }
    problems.extend(grants(object, &ends, &rules));
    if problems.is_empty() {
        Ok(valid(object, ends, rules, keys))
    } else {
        Err(problems)
    }
}

/// The buckets of an object, each with the account that it is in.
struct Ends<'a> {
    source_account: &'a Account,
    source: OwnedBucket,
    destination_account: &'a Account,
    destination: OwnedBucket,
}

impl Ends<'_> {
    fn are_across(&self) -> bool {
        self.source.account != self.destination.account
    }
}

fn ends<'a>(
    object: &Object,
    accounts: &'a Accounts,
    problems: &mut Vec<Problem>,
) -> Option<Ends<'a>> {
    let spec = &object.spec;
    let source_account = keep(accounts.by_name(&spec.source.account_name), problems);
    if source_account.is_some_and(|account| account.access == Access::External) {
        problems.extend(source_of(spec, accounts).err());
    }
    let destination_account = keep(accounts.by_name(&spec.destination.account_name), problems);
    let bucket = |name: &str, field| named(name.parse::<BucketName>(), field);
    let source = keep(bucket(&spec.source.bucket, "spec.source.bucket"), problems);
    let destination = bucket(&spec.destination.bucket, "spec.destination.bucket");
    let destination = keep(destination, problems);
    if object.key.name.len() > 63 {
        problems.push(invalid("metadata.name", "it has more than 63 characters"));
    }
    if spec.source.bucket == spec.destination.bucket {
        problems.push(invalid(
            "spec.destination.bucket",
            "it is the source bucket: replicate to another bucket",
        ));
    }
    if spec.replication_time_control == Switch::Enabled && spec.metrics == Switch::Disabled {
        problems.push(invalid(
            "spec.replicationTimeControl",
            "it needs spec.metrics: Enabled",
        ));
    }
    let (source_account, destination_account) = (source_account?, destination_account?);
    if source_account.partition != destination_account.partition {
        problems.push(invalid(
            "spec.destination.accountName",
            "it is not in the source account's partition: S3 does not replicate between partitions",
        ));
    }
    let owned = |account: &Account, name: BucketName| OwnedBucket {
        partition: account.partition,
        account: account.id.clone(),
        name,
    };
    Some(Ends {
        source: owned(source_account, source?),
        destination: owned(destination_account, destination?),
        source_account,
        destination_account,
    })
}

fn valid(object: &Object, ends: Ends<'_>, rules: Vec<ValidRule>, keys: Keys) -> Valid {
    let (spec, source, destination) = (&object.spec, ends.source, ends.destination);
    let query = |reference: KeyReference, beside: &OwnedBucket| KeyQuery {
        reference,
        beside: beside.clone(),
    };
    let encryption = match keys {
        Keys::Skip => Encryption::Skip,
        Keys::NoKey => Encryption::NoKey,
        Keys::Replicate(source_keys, replica) => Encryption::Replicate {
            source_keys: source_keys
                .map(|keys| keys.into_iter().map(|key| query(key, &source)).collect()),
            replica_key: query(replica, &destination),
        },
    };
    Valid {
        key: object.key.clone(),
        namespace_labels: object.namespace_labels.clone(),
        source,
        destination,
        encryption,
        storage_class: spec.destination.storage_class,
        owner_override: spec.destination.owner == Some(Owner::Destination),
        keeps_owner: spec.destination.owner == Some(Owner::Source),
        rules,
        sync_replica_modifications: spec.replica_modifications == ReplicaModifications::Sync,
        time_control: spec.replication_time_control == Switch::Enabled,
        metrics: spec.metrics == Switch::Enabled,
        enable_versioning: spec.versioning == Versioning::Enable,
        merge: spec.existing_configuration == ExistingConfiguration::Merge,
        take_over: object.take_over.clone(),
        observe: spec.mode == Mode::Observe,
    }
}

enum Keys {
    Replicate(Option<Vec<KeyReference>>, KeyReference),
    Skip,
    NoKey,
}

/// The most keys that the schema allows, which also holds for files that no API server has seen.
const MOST_KEYS: usize = 20;

fn keys(spec: &BucketReplicationSpec, problems: &mut Vec<Problem>) -> Keys {
    let replica = spec.destination.kms_key.as_ref().map(|key| {
        keep(
            named(key.parse::<KeyReference>(), "spec.destination.kmsKey"),
            problems,
        )
    });
    let source = spec.source.kms_keys.as_ref().map(|keys| {
        let parsed = keys.iter().enumerate();
        parsed
            .filter_map(|(index, key)| {
                keep(
                    named(key.parse(), &format!("spec.source.kmsKeys[{index}]")),
                    problems,
                )
            })
            .collect()
    });
    let named = spec.source.kms_keys.as_ref().map(Vec::len);
    if let Some(named) = named.filter(|named| !(1..=MOST_KEYS).contains(named)) {
        let what = format!(
            "there are {named} of them: list 1 to {MOST_KEYS} keys, or leave it out for the bucket's default key"
        );
        problems.push(invalid("spec.source.kmsKeys", &what));
    }
    match (spec.source.sse_kms_objects, replica) {
        (SseKmsObjects::Skip, Some(_)) => {
            problems.push(invalid(
                "spec.destination.kmsKey",
                "it can't be used if spec.source.sseKMSObjects is Skip: remove one of them",
            ));
            Keys::Skip
        }
        (SseKmsObjects::Skip, None) => Keys::Skip,
        (SseKmsObjects::Replicate, Some(Some(replica))) => Keys::Replicate(source, replica),
        (SseKmsObjects::Replicate, Some(None)) => Keys::NoKey,
        (SseKmsObjects::Replicate, None) => {
            if source.is_some() {
                problems.push(invalid(
                    "spec.source.kmsKeys",
                    "it needs spec.destination.kmsKey, the key that encrypts the replicas",
                ));
            }
            Keys::NoKey
        }
    }
}

/// S3 uses keys of the bucket's own partition and Region.
fn partitions(ends: &Ends<'_>, keys: &Keys, problems: &mut Vec<Problem>) {
    let Keys::Replicate(source, replica) = keys else {
        return;
    };
    let source = source.iter().flatten().enumerate();
    let source = source.map(|(index, key)| {
        (
            format!("spec.source.kmsKeys[{index}]"),
            key,
            ends.source_account,
        )
    });
    let replica = (
        "spec.destination.kmsKey".to_owned(),
        replica,
        ends.destination_account,
    );
    for (field, key, account) in source.clone().chain([replica]) {
        if key
            .partition()
            .is_some_and(|partition| partition != account.partition)
        {
            let message = format!(
                "{key} is not in partition {} of AWSAccount {}: correct the key, or the AWSAccount's partition",
                account.partition, account.name
            );
            problems.push(invalid(&field, &message));
        }
    }
    let mut regions = source.filter_map(|(field, key, _)| Some((field, key.region()?)));
    if let Some((_, first)) = regions.next()
        && let Some((field, other)) = regions.find(|(_, region)| *region != first)
    {
        let message = format!(
            "it is in {other}, and another key in {first}: S3 uses only keys of the bucket's own Region"
        );
        problems.push(invalid(&field, &message));
    }
}

fn grants(object: &Object, ends: &Ends<'_>, rules: &[ValidRule]) -> Vec<Problem> {
    let (source_account, destination_account) = (ends.source_account, ends.destination_account);
    let (source, destination) = (&ends.source, &ends.destination);
    let labels = &object.namespace_labels;
    let prefixes: Vec<_> = rules.iter().map(|rule| &rule.prefix).collect();
    let mut answers = vec![
        source_account.allow_source(labels, &source.name, &prefixes, destination_account),
        destination_account.allow_destination(labels, &destination.name),
    ];
    if object.spec.versioning == Versioning::Enable {
        answers.push(source_account.allow(labels, Permission::EnableVersioning));
        answers.push(destination_account.allow(labels, Permission::EnableVersioning));
    }
    if object.spec.existing_configuration == ExistingConfiguration::Merge
        || !object.take_over.is_empty()
    {
        answers.push(source_account.allow(labels, Permission::MergeConfiguration));
    }
    if object.spec.deletion_policy == DeletionPolicy::Retain {
        answers.push(source_account.allow(labels, Permission::Retain));
    }
    answers.into_iter().filter_map(Result::err).collect()
}

fn owned(account: &Account, bucket: &str, field: &str) -> Result<OwnedBucket, Problem> {
    Ok(OwnedBucket {
        partition: account.partition,
        account: account.id.clone(),
        name: named(bucket.parse(), field)?,
    })
}
