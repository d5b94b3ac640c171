//! Validates specs: what passes has a form that AWS accepts, and its namespace is allowed to ask for it.

use std::collections::BTreeSet;

use crate::{
    Object, Problem,
    accounts::{Account, Accounts},
    configuration::Tag,
    keys::KeyReference,
    names::{BucketName, InvalidName, ObjectKey, OwnedBucket, Prefix},
    observed::KeyQuery,
};
use api::{
    aws_account::{Access, Permission},
    bucket_replication::{
        BucketReplicationSpec, DeleteMarkers, DeletionPolicy, ExistingConfiguration, Mode, Owner,
        ReplicaModifications, SseKmsObjects, StorageClass, Switch, Versioning,
    },
    condition::{ConditionType, Reason},
};

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

/// A valid rule.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidRule {
    /// The name in the object.
    pub name: String,
    /// The prefix of the object keys.
    pub prefix: Prefix,
    /// Tags that an object must have.
    pub tags: Vec<Tag>,
    /// Whether delete markers are replicated.
    pub delete_markers: bool,
    /// The priority that the user hints at.
    pub priority: Option<i32>,
    /// Whether the rule acts.
    pub enabled: bool,
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

fn rules(spec: &BucketReplicationSpec, problems: &mut Vec<Problem>) -> Vec<ValidRule> {
    if spec.rules.is_empty() {
        problems.push(invalid(
            "spec.rules",
            "it is empty: leave it out to replicate the whole bucket",
        ));
    }
    let mut rules: Vec<ValidRule> = vec![];
    for (index, rule) in spec.rules.iter().enumerate() {
        let field = |name: &str| format!("spec.rules[{index}].{name}");
        if rules.iter().any(|other| other.name == rule.name) {
            problems.push(invalid(&field("name"), "another rule has the same name"));
        }
        if rule.name.is_empty()
            || rule.name.len() > 63
            || !rule
                .name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        {
            problems.push(invalid(
                &field("name"),
                "use 1 to 63 lowercase letters, digits and hyphens",
            ));
        }
        if !rule.tags.is_empty() && rule.delete_markers == DeleteMarkers::Replicate {
            problems.push(invalid(
                &field("deleteMarkers"),
                "S3 does not replicate delete markers for rules that filter by tag",
            ));
        }
        if let Some(prefix) = keep(named(rule.prefix.parse(), &field("prefix")), problems) {
            rules.push(ValidRule {
                name: rule.name.clone(),
                prefix,
                tags: rule
                    .tags
                    .iter()
                    .map(|(key, value)| Tag {
                        key: key.clone(),
                        value: value.clone(),
                    })
                    .collect(),
                delete_markers: rule.delete_markers == DeleteMarkers::Replicate,
                priority: rule.priority,
                enabled: rule.state == Switch::Enabled,
            });
        }
    }
    rules
}

enum Keys {
    Replicate(Option<Vec<KeyReference>>, KeyReference),
    Skip,
    NoKey,
}

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

fn invalid(field: &str, what: &str) -> Problem {
    Problem::new(
        ConditionType::Accepted,
        Reason::InvalidSpec,
        format!("{field}: {what}"),
    )
}

fn named<T>(parsed: Result<T, InvalidName>, field: &str) -> Result<T, Problem> {
    parsed.map_err(|error| invalid(field, &error.to_string()))
}

fn keep<T>(result: Result<T, Problem>, problems: &mut Vec<Problem>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}
