//! What is verified: an object's canaries, and where they go, or why there are none.

use std::time::Duration;

use api::{
    bucket_replication::{BucketReplicationStatus, Mode},
    condition::Reason,
    duration::duration,
    finding::Finding,
    verification,
};

use crate::{
    Object, Problem,
    accounts::Accounts,
    keys::KeyArn,
    names::{InstallationId, OwnedBucket, Region},
    request::canary_grants::CanaryBucket,
    validate::{Encryption, Valid},
    verification::canary::{Canary, LONGEST_KEY},
};

/// What an object asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// No verification.
    Nothing,
    /// What was found earlier stays: the object is paused or being deleted.
    Rest,
    /// Verification that is not possible, or not yet, and why.
    Waiting(Finding),
    /// Canaries.
    Canaries(Box<Subject>),
}

/// What is verified.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// The object.
    pub key: crate::names::ObjectKey,
    /// The generation of its spec.
    pub generation: Option<i64>,
    /// This installation.
    pub installation: InstallationId,
    /// The source bucket.
    pub source: OwnedBucket,
    /// Its Region.
    pub source_region: Region,
    /// The destination bucket.
    pub destination: OwnedBucket,
    /// Its Region.
    pub destination_region: Region,
    /// The canaries, at least one.
    pub canaries: Vec<Canary>,
    /// The key of the replicas, if canaries are encrypted with KMS keys.
    pub replica_key: Option<String>,
    /// Whether the destination's owner has to own the replicas.
    pub changes_owner: bool,
    /// The time between two canaries of a rule.
    pub interval: Duration,
    /// The time after which a canary that was not replicated is reported.
    pub timeout: Duration,
}

/// What `object` asks for. The Regions and keys are those of its status.
#[must_use]
pub fn wanted(
    object: &Object,
    valid: Result<&Valid, &[Problem]>,
    installation: &InstallationId,
    accounts: &Accounts,
) -> Wanted {
    let asked = object.spec.verification.as_ref();
    let Some(canary) = asked.and_then(|verification| verification.canary.as_ref()) else {
        return Wanted::Nothing;
    };
    if object.is_deleting() || object.spec.mode != Mode::Enforce {
        return Wanted::Rest;
    }
    // The object's other conditions say what is wrong with it.
    let Ok(valid) = valid else {
        return Wanted::Waiting(waiting());
    };
    if let Some(finding) = refused(valid, accounts) {
        return Wanted::Waiting(finding);
    }
    match subject(object, valid, canary, installation) {
        Ok(subject) => Wanted::Canaries(Box::new(subject)),
        Err(finding) => Wanted::Waiting(finding),
    }
}

fn waiting() -> Finding {
    Finding::unknown(
        Reason::Verifying,
        "canaries are uploaded once the object is ready",
    )
}

/// What of grants and accounts does not allow canaries.
fn refused(valid: &Valid, accounts: &Accounts) -> Option<Finding> {
    let (source, destination) = (&valid.source, &valid.destination);
    let ends = [
        (&source.account, CanaryBucket::Source(&source.name)),
        (
            &destination.account,
            CanaryBucket::Destination(&destination.name),
        ),
    ];
    for (id, bucket) in ends {
        let account = accounts.by_id(id)?;
        if let Err(problem) = account.allow_canaries(&valid.namespace_labels, bucket) {
            return Some(Finding::unknown(problem.reason, problem.message));
        }
        if accounts.managed(id).is_none() {
            let message = format!(
                "AWSAccount {} has access: External, so that canaries can't be found and removed there: remove spec.verification.canary",
                account.name
            );
            return Some(Finding::unknown(Reason::NotObservable, message));
        }
    }
    None
}

fn subject(
    object: &Object,
    valid: &Valid,
    canary: &verification::Canary,
    installation: &InstallationId,
) -> Result<Subject, Finding> {
    // Once canaries of a generation were uploaded, they are also if it ceases to be ready. Before, the rules in S3 may be of another one.
    let status = &object.status;
    let found = object.verified.verification.as_ref();
    let was_uploaded = found.is_some_and(|found| {
        found.canary_generation.is_some() && found.canary_generation == object.generation
    });
    if !object.is_ready() && !was_uploaded {
        return Err(waiting());
    }
    let (source_region, destination_region) = regions(status).ok_or_else(waiting)?;
    let rules: Vec<_> = valid.rules.iter().filter(|rule| rule.enabled).collect();
    if rules.is_empty() {
        let message = "no rule of the object is enabled, so that S3 replicates nothing: enable one, or remove spec.verification.canary";
        return Err(Finding::unknown(Reason::InvalidSpec, message));
    }
    let encrypted = matches!(valid.encryption, Encryption::Replicate { .. });
    let keys = if encrypted { keys(status) } else { vec![] };
    let canaries = Canary::all(installation, &object.key, &rules, &keys);
    if let Some(long) = canaries
        .iter()
        .find(|canary| canary.key.len() > LONGEST_KEY)
    {
        let message = format!(
            "the canary of rule {} would have a key of {} bytes, and S3 allows {LONGEST_KEY}: shorten the rule's prefix, or remove spec.verification.canary",
            long.rule,
            long.key.len()
        );
        return Err(Finding::unknown(Reason::InvalidSpec, message));
    }
    let destination = status.destination.as_ref();
    Ok(Subject {
        key: object.key.clone(),
        generation: object.generation,
        installation: installation.clone(),
        source: valid.source.clone(),
        source_region,
        destination: valid.destination.clone(),
        destination_region,
        canaries,
        replica_key: destination
            .filter(|_| encrypted)
            .and_then(|destination| destination.kms_key_arn.clone()),
        changes_owner: valid.owner_override && valid.is_across_accounts(),
        interval: period("interval", &canary.interval)?,
        timeout: period("timeout", &canary.timeout)?,
    })
}

fn regions(status: &BucketReplicationStatus) -> Option<(Region, Region)> {
    let source = status.source.as_ref()?.region.parse().ok()?;
    let destination = status.destination.as_ref()?.region.as_ref()?;
    Some((source, destination.parse().ok()?))
}

fn keys(status: &BucketReplicationStatus) -> Vec<KeyArn> {
    let named = status.source.iter().flat_map(|source| &source.kms_key_arns);
    named.filter_map(|key| key.parse().ok()).collect()
}

fn period(field: &str, text: &str) -> Result<Duration, Finding> {
    duration(text).ok_or_else(|| {
        let message = format!(
            "spec.verification.canary.{field}: {text} is no duration: use hours, minutes and seconds, as in 1h30m"
        );
        Finding::unknown(Reason::InvalidSpec, message)
    })
}
