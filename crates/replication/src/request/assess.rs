//! Resolves what an object asks for against what exists in AWS: its Regions and keys, or what is missing.

use std::collections::BTreeSet;

use crate::{
    Problem,
    accounts::Accounts,
    keys::{KeyArn, KeyReference},
    names::Region,
    observed::{
        DefaultEncryption, Facet, Failure, FailureKind, KeyDescription, KeyQuery, Observed,
    },
    validate::{Encryption, Valid},
};
use api::{
    aws_account::Access,
    condition::{ConditionType, Reason},
};

/// An object for which everything that it depends on was read and found correct.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// What was asked for.
    pub valid: Valid,
    /// The source bucket's Region.
    pub source_region: Region,
    /// The destination bucket's Region, where it can be read.
    pub destination_region: Option<Region>,
    /// The keys, if SSE-KMS objects are replicated.
    pub keys: Option<ResolvedKeys>,
    /// Whether Object Lock is enabled on the source bucket, whose settings the role then has to read.
    pub object_lock: bool,
    /// What people should know in addition to the conditions, which are True.
    pub notes: Vec<(ConditionType, String)>,
}

/// The keys of an object by ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedKeys {
    /// The keys of the source objects.
    pub source: BTreeSet<KeyArn>,
    /// The key of the replicas.
    pub replica: KeyArn,
}

/// The keys to look up for an object, as far as they are known before its default key is.
#[must_use]
pub fn keys_of(valid: &Valid) -> Vec<KeyQuery> {
    match &valid.encryption {
        Encryption::Replicate {
            source_keys,
            replica_key,
        } => source_keys
            .iter()
            .flatten()
            .chain([replica_key])
            .cloned()
            .collect(),
        Encryption::Skip | Encryption::NoKey => vec![],
    }
}

/// Whether the source bucket's default encryption says something about the object.
#[must_use]
pub fn needs_default_encryption(valid: &Valid) -> bool {
    valid.encryption != Encryption::Skip
}

/// Checks what the object depends on.
///
/// # Errors
/// All that is missing.
pub fn assess(
    valid: &Valid,
    observed: &Observed,
    accounts: &Accounts,
) -> Result<Resolved, Vec<Problem>> {
    #[cfg(test)]
    crate::counts::count(&crate::counts::ASSESSED);
    let mut problems = vec![];
    let source_region = bucket(valid, observed, ConditionType::SourceReady, &mut problems);
    let external = accounts.managed(&valid.destination.account).is_none();
    let destination_region = if external {
        None
    } else {
        bucket(
            valid,
            observed,
            ConditionType::DestinationReady,
            &mut problems,
        )
    };
    let keys = match (&source_region, &destination_region) {
        (Some(source), Some(destination)) => keys(
            valid,
            observed,
            accounts,
            source,
            Some(destination),
            &mut problems,
        ),
        (Some(source), None) if external => {
            keys(valid, observed, accounts, source, None, &mut problems)
        }
        _ => None,
    };
    match (source_region, destination_region) {
        (Some(source_region), destination_region) if problems.is_empty() => {
            let object_lock = observed
                .buckets
                .get(&valid.source)
                .is_some_and(|read| read.traits.object_lock == Facet::Present(true));
            Ok(Resolved {
                valid: valid.clone(),
                source_region,
                destination_region,
                keys,
                object_lock,
                notes: vec![],
            })
        }
        _ => Err(problems),
    }
}

fn bucket(
    valid: &Valid,
    observed: &Observed,
    condition: ConditionType,
    problems: &mut Vec<Problem>,
) -> Option<Region> {
    let (bucket, side) = if condition == ConditionType::SourceReady {
        (&valid.source, "source")
    } else {
        (&valid.destination, "destination")
    };
    let read = observed.buckets.get(bucket);
    let region = match read.map(|read| &read.region) {
        Some(Facet::Present(region)) => region.clone(),
        Some(Facet::Failed(failure)) => {
            problems.push(failed(condition, failure));
            return None;
        }
        _ => {
            let message = format!(
                "{side} bucket {} does not exist in account {}: create it, or correct spec.{side}",
                bucket.name, bucket.account
            );
            problems.push(Problem::new(condition, Reason::BucketNotFound, message));
            return None;
        }
    };
    match read.map(|read| &read.versioning) {
        Some(Facet::Present(true)) => {}
        Some(Facet::Failed(failure)) => problems.push(failed(condition, failure)),
        _ if valid.enable_versioning => {}
        _ => {
            let message = format!(
                "{side} bucket {} does not have versioning enabled, which S3 replication requires: run aws s3api put-bucket-versioning --bucket {} --versioning-configuration Status=Enabled, or set spec.versioning to Enable",
                bucket.name, bucket.name
            );
            problems.push(Problem::new(
                condition,
                Reason::VersioningNotEnabled,
                message,
            ));
        }
    }
    if condition == ConditionType::DestinationReady
        && let Some(failure) = read.and_then(|read| read.policy.failure())
    {
        problems.push(failed(condition, failure));
    }
    Some(region)
}

fn keys(
    valid: &Valid,
    observed: &Observed,
    accounts: &Accounts,
    source_region: &Region,
    destination_region: Option<&Region>,
    problems: &mut Vec<Problem>,
) -> Option<ResolvedKeys> {
    let (source_keys, replica_key) = match &valid.encryption {
        Encryption::Skip => return None,
        Encryption::NoKey => {
            match default_key(valid, observed) {
                Ok(Some(key)) => problems.push(missing(
                    Reason::ReplicaKeyMissing,
                    format!(
                        "source bucket {} encrypts objects with {key} by default, and S3 replicates them only if a key for the replicas is set: set spec.destination.kmsKey, or set spec.source.sseKMSObjects to Skip",
                        valid.source.name
                    ),
                )),
                Ok(None) => {}
                Err(problem) => problems.push(problem),
            }
            return None;
        }
        Encryption::Replicate {
            source_keys: Some(keys),
            replica_key,
        } => (keys.clone(), replica_key),
        Encryption::Replicate {
            source_keys: None,
            replica_key,
        } => match known_default_key(valid, observed) {
            Ok(key) => (vec![key], replica_key),
            Err(problem) => {
                problems.push(problem);
                return None;
            }
        },
    };
    let mut resolve = |query: &KeyQuery, region: Option<&Region>, replica: bool| {
        let resolved = key(valid, query, region, replica, observed, accounts);
        resolved.map_err(|problem| problems.push(problem)).ok()
    };
    let source: BTreeSet<_> = source_keys
        .iter()
        .filter_map(|query| resolve(query, Some(source_region), false))
        .collect();
    let replica = resolve(replica_key, destination_region, true);
    if problems.is_empty()
        && let Err(problem) = lists_default_key(valid, &source, observed)
    {
        problems.push(problem);
    }
    Some(ResolvedKeys {
        source,
        replica: replica?,
    })
}

fn missing(reason: Reason, message: String) -> Problem {
    Problem::new(ConditionType::KeysReady, reason, message)
}

/// The key of the source bucket's default encryption, if that is a KMS key.
fn default_key(valid: &Valid, observed: &Observed) -> Result<Option<KeyQuery>, Problem> {
    match &observed.default_encryption {
        Facet::Present(DefaultEncryption::Kms(key)) => Ok(Some(KeyQuery {
            reference: key.clone(),
            beside: valid.source.clone(),
        })),
        Facet::Failed(failure) => Err(failed(ConditionType::KeysReady, failure)),
        Facet::Present(DefaultEncryption::S3) | Facet::Absent | Facet::Unread => Ok(None),
    }
}

/// S3 replicates an object only if the role may decrypt it: the keys that the user lists have to include that of new objects.
fn lists_default_key(
    valid: &Valid,
    listed: &BTreeSet<KeyArn>,
    observed: &Observed,
) -> Result<(), Problem> {
    let Some(query) = default_key(valid, observed)? else {
        return Ok(());
    };
    let described = observed.keys.get(&query).and_then(Facet::present);
    let is_listed = match (described, &query.reference) {
        (Some(description), _) => listed.contains(&description.arn),
        (None, KeyReference::Key(arn)) => listed.contains(arn),
        (None, KeyReference::AliasArn { .. } | KeyReference::Alias(_)) => false,
    };
    if is_listed {
        return Ok(());
    }
    let name = &valid.source.name;
    let message = format!(
        "source bucket {name} encrypts new objects with {query} by default, which spec.source.kmsKeys does not list, so S3 would not replicate them: add the key"
    );
    Err(missing(Reason::DefaultKeyNotListed, message))
}

fn known_default_key(valid: &Valid, observed: &Observed) -> Result<KeyQuery, Problem> {
    default_key(valid, observed)?.ok_or_else(|| {
        missing(
            Reason::SourceKeysMissing,
            format!(
                "source bucket {} does not encrypt with KMS by default, so the keys of its SSE-KMS objects are not known: set spec.source.kmsKeys",
                valid.source.name
            ),
        )
    })
}

fn key(
    valid: &Valid,
    query: &KeyQuery,
    region: Option<&Region>,
    replica: bool,
    observed: &Observed,
    accounts: &Accounts,
) -> Result<KeyArn, Problem> {
    is_in_region(query, region)?;
    let owner = query.reference.account().unwrap_or(&query.beside.account);
    let Some(account) = accounts.by_id(owner) else {
        return Err(missing(
            Reason::KeyAccountUnknown,
            format!(
                "key {query} belongs to account {owner}, which has no AWSAccount: ask the platform team for it"
            ),
        ));
    };
    if account.access == Access::External {
        let KeyReference::Key(arn) = &query.reference else {
            let message =
                format!("key {query} is in an account that can't be read: name it by its key ARN");
            return Err(missing(Reason::KeyNotFound, message));
        };
        account.allow_key(&valid.namespace_labels, arn)?;
        return Ok(arn.clone());
    }
    let described_in = region.map_or_else(String::new, |region| format!(" in {region}"));
    let description: &KeyDescription = match observed.keys.get(query) {
        Some(Facet::Present(description)) => description,
        Some(Facet::Failed(failure)) => return Err(failed(ConditionType::KeysReady, failure)),
        _ => {
            return Err(missing(
                Reason::KeyNotFound,
                format!(
                    "key {query} does not exist in account {owner}{described_in}: correct {}",
                    valid.encryption.names_key_in(replica)
                ),
            ));
        }
    };
    is_usable(description)?;
    if replica && description.managed_by_aws && valid.source.account != valid.destination.account {
        return Err(missing(
            Reason::KeyManagedByAws,
            format!(
                "key {} is an AWS managed key, which can't be used across accounts: name a customer managed key",
                description.arn
            ),
        ));
    }
    account.allow_key(&valid.namespace_labels, &description.arn)?;
    if let Some(Facet::Failed(failure)) = observed.key_policies.get(&description.arn) {
        return Err(failed(ConditionType::KeysReady, failure));
    }
    Ok(description.arn.clone())
}

/// S3 uses a key only in the bucket's own Region.
fn is_in_region(query: &KeyQuery, region: Option<&Region>) -> Result<(), Problem> {
    match (query.reference.region(), region) {
        (Some(other), Some(region)) if other != region => {
            let message = format!(
                "key {query} is in {other}, but bucket {} is in {region}: name a key in {region}",
                query.beside.name
            );
            Err(missing(Reason::KeyInOtherRegion, message))
        }
        _ => Ok(()),
    }
}

fn is_usable(description: &KeyDescription) -> Result<(), Problem> {
    let state = match description.state.as_str() {
        _ if !description.symmetric => "it is not for symmetric encryption".to_owned(),
        // "Updating" is the primary key of multi-Region keys changing: it can be used ("Key states of AWS KMS keys" in the KMS Developer Guide).
        "Enabled" | "Updating" => return Ok(()),
        state => format!("its state is {state}"),
    };
    let message = format!(
        "key {} can't be used: {state}. Name an enabled symmetric encryption key, or enable this one",
        description.arn
    );
    Err(missing(Reason::KeyNotUsable, message))
}

/// The problem that a failed read or write makes.
#[must_use]
pub fn failed(condition: ConditionType, failure: &Failure) -> Problem {
    let reason = match failure.kind {
        FailureKind::Denied => Reason::AccessDenied,
        FailureKind::DeniedByOrganization => Reason::DeniedByOrganization,
        FailureKind::Throttled
        | FailureKind::Transient
        | FailureKind::PrincipalNotVisible
        | FailureKind::VersioningNotVisible
        | FailureKind::Outdated => Reason::AwsUnavailable,
        FailureKind::NoCredentials => Reason::NoCredentials,
        FailureKind::NotFound
        | FailureKind::Conflict
        | FailureKind::InUse
        | FailureKind::Invalid => Reason::RefusedByAws,
    };
    Problem::new(condition, reason, failure.message.clone())
}
