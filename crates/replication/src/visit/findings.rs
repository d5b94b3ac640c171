//! The conditions of an object but the summary, from what was decided and the outcome of the steps.

use std::collections::{BTreeMap, BTreeSet};

use api::{
    condition::{ConditionType, Reason},
    finding::Finding,
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    Object, Problem,
    assess::{self, Resolved, ResolvedKeys},
    names::{InstallationId, ObjectKey, OwnedBucket, Region},
    observed::{Depth, Failure, FailureKind},
    plan::PlannedStep,
    visit::{
        decision::Decision,
        disposition::{Disposition, External},
        outcome::Outcome,
    },
};

/// What a status is derived from.
#[derive(Clone, Copy, Debug)]
pub struct Grounds<'a> {
    /// This installation.
    pub installation: &'a InstallationId,
    /// The source bucket.
    pub source: &'a OwnedBucket,
    /// What was decided.
    pub decision: &'a Decision,
    /// The outcome.
    pub outcome: &'a Outcome,
    /// Now.
    pub now: Timestamp,
}

/// Each condition but the summary.
pub(super) fn findings(
    object: &Object,
    disposition: &Disposition,
    grounds: &Grounds<'_>,
) -> BTreeMap<ConditionType, Finding> {
    let key = &object.key;
    let parts = &ConditionType::PERSISTENT[..ConditionType::PERSISTENT.len() - 1];
    let all = |finding: &Finding| {
        parts
            .iter()
            .map(|kind| (*kind, finding.clone()))
            .collect::<BTreeMap<_, _>>()
    };
    let accepted = Finding::yes(Reason::Accepted, "the object is valid and allowed");
    match disposition {
        Disposition::Paused => {
            let mut findings = all(&Finding::unknown(
                Reason::Paused,
                "spec.mode is Paused: nothing is read or written for this object",
            ));
            findings.insert(ConditionType::Accepted, accepted);
            findings
        }
        Disposition::Leaving | Disposition::Abandoned => all(&leaving(object, grounds)),
        Disposition::Refused {
            problems, resolved, ..
        } => {
            let seen = resolved
                .as_ref()
                .map(|resolved| right(resolved, grounds))
                .unwrap_or_default();
            let depth = grounds.decision.depth;
            let known = seen.into_iter().filter(|(kind, _)| is_known(*kind, depth));
            refusal(problems, known.collect())
        }
        Disposition::Observing { resolved, problems } => {
            let mut findings = all(&Finding::unknown(
                Reason::PlanPending,
                "spec.mode is Observe: see status.plan",
            ));
            findings.insert(ConditionType::Accepted, accepted);
            if grounds.decision.pending.get(key).is_none_or(Vec::is_empty) {
                findings.extend(right(resolved, grounds));
            }
            insert_problems(&mut findings, problems);
            findings
        }
        Disposition::Acting {
            resolved,
            problems,
            external,
        } => acting(key, resolved, problems, external.as_deref(), grounds),
    }
}

/// What every condition of an object that is being deleted says.
fn leaving(object: &Object, grounds: &Grounds<'_>) -> Finding {
    let blocker = grounds.decision.blockers.first().cloned();
    let failed = || {
        let (_, failure) = grounds.outcome.failed.first()?;
        Some(assess::failed(ConditionType::Ready, failure))
    };
    match blocker.or_else(failed) {
        Some(problem) => not_removed(&problem, object.deleted, grounds.now),
        None => Finding::unknown(
            Reason::Deleting,
            "the operator is removing this object's resources from AWS",
        ),
    }
}

/// The findings of an object that acts.
fn acting(
    key: &ObjectKey,
    resolved: &Resolved,
    problems: &[Problem],
    external: Option<&External>,
    grounds: &Grounds<'_>,
) -> BTreeMap<ConditionType, Finding> {
    let mut findings = right(resolved, grounds);
    if let Some(external) = external {
        if external.of_keys {
            let finding = Finding::unknown(
                Reason::NotObservable,
                "the key's account can't be read: have its owner apply status.requiredActions",
            );
            findings.insert(ConditionType::KeysReady, finding);
        }
        if !external.attested {
            let waits = Finding::unknown(Reason::NotAttested, attest(key, external));
            findings.insert(ConditionType::ReplicationConfigured, waits);
        }
    }
    let concerned = |planned: &PlannedStep| planned.concerns.contains(key);
    for planned in grounds
        .outcome
        .open()
        .filter(|planned| concerned(planned))
        .rev()
    {
        let text = format!("not yet done: {}", planned.step);
        findings.insert(
            planned.step.condition(grounds.source),
            Finding::unknown(Reason::Progressing, text),
        );
    }
    let failed = grounds.outcome.failed.iter();
    let failed: Vec<_> = failed
        .filter(|(planned, _)| concerned(planned))
        .map(|(planned, failure)| {
            of_failure(resolved, planned.step.condition(grounds.source), failure)
        })
        .collect();
    insert_problems(&mut findings, &failed);
    if !problems.is_empty() {
        let waits = "the rules wait until the problems that the other conditions report are solved";
        findings.insert(
            ConditionType::ReplicationConfigured,
            Finding::unknown(Reason::Waiting, waits),
        );
    }
    insert_problems(&mut findings, problems);
    findings
}

/// What the failure of a step means for an object. Whether versioning is enabled in an account that can't be read, only S3 says.
pub(super) fn of_failure(
    resolved: &Resolved,
    condition: ConditionType,
    failure: &Failure,
) -> Problem {
    let destination = &resolved.valid.destination;
    if failure.kind != FailureKind::VersioningNotVisible || resolved.destination_region.is_some() {
        return assess::failed(condition, failure);
    }
    let message = format!(
        "destination bucket {name} does not have versioning enabled, which S3 replication requires: have the owner of account {} run aws s3api put-bucket-versioning --bucket {name} --versioning-configuration Status=Enabled",
        destination.account,
        name = destination.name,
    );
    Problem::new(
        ConditionType::DestinationReady,
        Reason::VersioningNotEnabled,
        message,
    )
}

fn insert_problems(findings: &mut BTreeMap<ConditionType, Finding>, problems: &[Problem]) {
    for kind in ConditionType::PERSISTENT {
        let mine: Vec<_> = problems
            .iter()
            .filter(|problem| problem.condition == kind)
            .collect();
        if let Some(first) = mine.first() {
            let mut messages: Vec<_> = mine
                .iter()
                .map(|problem| problem.message.as_str())
                .collect();
            messages.dedup();
            let message = messages.join("; ");
            findings.insert(kind, Finding::no(first.reason, shortened(message)));
        }
    }
}

/// A condition's message may have 32,768 characters by its schema; no one reads that many.
fn shortened(mut message: String) -> String {
    const MOST: usize = 1024;
    if message.len() > MOST {
        let end = (0..=MOST)
            .rev()
            .find(|end| message.is_char_boundary(*end))
            .unwrap_or_default();
        message.truncate(end);
        message.push('…');
    }
    message
}

/// The findings if everything is as it should be.
fn right(resolved: &Resolved, grounds: &Grounds<'_>) -> BTreeMap<ConditionType, Finding> {
    let valid = &resolved.valid;
    let role = grounds.decision.desired.role.as_ref();
    let role = role.map_or_else(String::new, |role| role.arn.to_string());
    let destination = resolved.destination_region.as_ref().map_or_else(
        || {
            Finding::unknown(
                Reason::NotObservable,
                "the account can't be read: have its owner apply status.requiredActions",
            )
        },
        |region| bucket_ready(&valid.destination, region),
    );
    let mut findings: BTreeMap<_, _> = [
        (
            ConditionType::Accepted,
            Finding::yes(Reason::Accepted, "the object is valid and allowed"),
        ),
        (
            ConditionType::SourceReady,
            bucket_ready(&valid.source, &resolved.source_region),
        ),
        (ConditionType::DestinationReady, destination),
        (ConditionType::KeysReady, keys_ready(resolved.keys.as_ref())),
        (
            ConditionType::RoleReady,
            Finding::yes(
                Reason::RoleReady,
                format!("role {role} exists with its permissions"),
            ),
        ),
        (
            ConditionType::ReplicationConfigured,
            Finding::yes(
                Reason::RulesConfigured,
                "the replication configuration contains the rules",
            ),
        ),
    ]
    .into();
    for (kind, note) in &resolved.notes {
        if let Some(finding) = findings.get_mut(kind) {
            finding.message = shortened(format!("{}; {note}", finding.message));
        }
    }
    findings
}

fn bucket_ready(bucket: &OwnedBucket, region: &Region) -> Finding {
    let message = format!(
        "bucket {} is in {region} and has versioning enabled",
        bucket.name
    );
    Finding::yes(Reason::BucketReady, message)
}

fn keys_ready(keys: Option<&ResolvedKeys>) -> Finding {
    match keys {
        None => Finding::yes(
            Reason::NoKeysNeeded,
            "SSE-KMS objects are not replicated: no key is needed",
        ),
        Some(keys) => Finding::yes(
            Reason::KeysReady,
            format!(
                "replicas of SSE-KMS objects are encrypted with {}",
                keys.replica
            ),
        ),
    }
}

/// What a deletion reports that `problem` blocks. A failure that a retry can solve is only reported as blocked once it has lasted for minutes.
pub(super) fn not_removed(
    problem: &Problem,
    deleted: Option<Timestamp>,
    now: Timestamp,
) -> Finding {
    let for_minutes = deleted.is_none_or(|since| now.duration_since(since) >= BLOCKED_AFTER);
    let is_retried = matches!(
        problem.reason,
        Reason::AwsUnavailable | Reason::InternalError
    );
    if is_retried && !for_minutes {
        return Finding::unknown(
            Reason::Deleting,
            format!(
                "the operator is removing this object's resources from AWS; {}",
                problem.message
            ),
        );
    }
    Finding::no(
        Reason::DeletionBlocked,
        format!("{}; {LET_GO}", problem.message),
    )
}

/// A deletion that has failed for this long is reported as blocked, whatever the failure, so that it can be abandoned.
const BLOCKED_AFTER: SignedDuration = SignedDuration::from_mins(3);

/// What to do about a deletion that stays blocked.
pub(super) const LET_GO: &str = "to release the object and leave the rest in AWS, set the annotation bucketops.dev/abandon=true";

/// Whether everything that a condition is about was read.
fn is_known(kind: ConditionType, depth: Depth) -> bool {
    match kind {
        ConditionType::SourceReady => depth >= Depth::Traits,
        ConditionType::KeysReady => depth >= Depth::Policies,
        ConditionType::DestinationReady => depth >= Depth::Everything,
        _ => false,
    }
}

/// The conditions of an object that can't get what it asks for, of which some are `known`.
pub(super) fn refusal(
    problems: &[Problem],
    known: BTreeMap<ConditionType, Finding>,
) -> BTreeMap<ConditionType, Finding> {
    let waiting = Finding::unknown(
        Reason::Waiting,
        "waits for another condition: see the conditions that are False or Unknown",
    );
    let parts = &ConditionType::PERSISTENT[..ConditionType::PERSISTENT.len() - 1];
    let mut findings: BTreeMap<_, _> = parts.iter().map(|kind| (*kind, waiting.clone())).collect();
    findings.extend(known);
    if problems
        .iter()
        .all(|problem| problem.condition != ConditionType::Accepted)
    {
        findings.insert(
            ConditionType::Accepted,
            Finding::yes(Reason::Accepted, "the object is valid and allowed"),
        );
    }
    insert_problems(&mut findings, problems);
    findings
}

pub(super) fn attest(key: &ObjectKey, external: &External) -> String {
    let accounts: BTreeSet<_> = external
        .actions
        .iter()
        .map(|action| action.account_id.as_str())
        .collect();
    let accounts: Vec<_> = accounts.into_iter().collect();
    format!(
        "have the owner of account {} apply status.requiredActions, then attest that they are applied: kubectl annotate --overwrite bucketreplication {} -n {} {}={}",
        accounts.join(" and "),
        key.name,
        key.namespace,
        api::APPLIED,
        external.fingerprint
    )
}
