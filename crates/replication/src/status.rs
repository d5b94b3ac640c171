//! The status of an object, from what was decided and the outcome of the steps.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    Problem,
    assess::{self, Resolved},
    compose::Desired,
    decision::{Decision, Disposition, External},
    names::{InstallationId, ObjectKey, OwnedBucket, Region},
    object::Object,
    observed::{Depth, Failure, FailureKind},
    plan::{PlannedStep, Step},
};
use api::{
    bucket_replication::{
        BucketReplicationStatus, DestinationStatus, Drift, RuleStatus, SourceStatus,
    },
    condition::{ConditionType, Finding, Reason},
};

/// The outcome of the steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The steps that were applied.
    pub done: Vec<PlannedStep>,
    /// The steps that failed, and why.
    pub failed: Vec<(PlannedStep, Failure)>,
    /// The steps that were not tried, because a step that they require was not applied.
    pub undone: Vec<PlannedStep>,
    /// Whether the applied steps corrected what another writer had changed.
    pub drift: bool,
}

impl Outcome {
    /// None of `steps` was applied.
    #[must_use]
    pub fn of(steps: &[PlannedStep], drift: bool) -> Self {
        Self {
            undone: steps.to_vec(),
            drift,
            ..Self::default()
        }
    }

    /// The steps whose requirements are met, and that were not tried. They can be applied side by side.
    #[must_use]
    pub fn ready(&self) -> Vec<PlannedStep> {
        let open: BTreeSet<_> = self.open().map(|planned| planned.number).collect();
        let is_ready = |planned: &&PlannedStep| {
            planned.step != Step::Settle && !planned.waits && planned.requires.is_disjoint(&open)
        };
        self.undone.iter().filter(is_ready).cloned().collect()
    }

    /// Adds that a step was applied, or why not.
    pub fn add(&mut self, planned: PlannedStep, result: Result<(), Failure>) {
        self.undone.retain(|undone| undone.number != planned.number);
        match result {
            Ok(()) => self.done.push(planned),
            Err(failure) => self.failed.push((planned, failure)),
        }
    }

    /// Whether a step failed in this way.
    #[must_use]
    pub fn has_failed(&self, kind: FailureKind) -> bool {
        self.failed.iter().any(|(_, failure)| failure.kind == kind)
    }

    /// The steps that were not applied, tried or not.
    fn open(&self) -> impl DoubleEndedIterator<Item = &PlannedStep> {
        let failed = self.failed.iter().map(|(planned, _)| planned);
        failed.chain(&self.undone)
    }
}

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

/// The status of an object at `generation`. It does not change if nothing changed in fact.
#[must_use]
pub fn status(object: &Object, grounds: &Grounds<'_>) -> BucketReplicationStatus {
    let (key, generation, previous) = (&object.key, object.generation, &object.status);
    let Some(disposition) = grounds
        .decision
        .dispositions
        .get(key)
        .filter(|disposition| **disposition != Disposition::Abandoned)
    else {
        return previous.clone();
    };
    let mut findings = findings(object, disposition, grounds);
    let pending = grounds
        .decision
        .pending
        .get(key)
        .cloned()
        .unwrap_or_default();
    let ready = ready(key, disposition, &findings, &pending);
    findings.insert(ConditionType::Ready, ready.clone());
    if let Some((kind, finding)) = kstatus(disposition, &ready) {
        findings.insert(kind, finding);
    }
    let conditions = findings
        .iter()
        .map(|(kind, finding)| {
            finding.condition(*kind, generation, &previous.conditions, grounds.now)
        })
        .collect();
    let resolved = match disposition {
        Disposition::Acting { resolved, .. } | Disposition::Observing(resolved) => Some(resolved),
        _ => None,
    };
    let kept = || (previous.source.clone(), previous.destination.clone());
    let (source, destination) = resolved.map_or_else(kept, |resolved| ends(resolved));
    let external = match disposition {
        Disposition::Acting {
            external: Some(external),
            ..
        } => external.actions.clone(),
        _ => vec![],
    };
    let actions: Vec<_> = match disposition {
        Disposition::Acting { problems, .. } | Disposition::Refused { problems, .. } => problems
            .iter()
            .filter_map(|problem| problem.action.as_deref().cloned())
            .collect(),
        // What the owner applied, only the owner can remove.
        Disposition::Leaving => previous.required_actions.clone(),
        _ => vec![],
    };
    let rules = if grounds.decision.rules_known {
        rules(key, &grounds.decision.desired, grounds.installation)
    } else {
        previous.rules.clone()
    };
    BucketReplicationStatus {
        observed_generation: generation,
        conditions,
        source,
        destination,
        role_arn: resolved
            .and(grounds.decision.desired.role.as_ref())
            .map(|role| role.arn.clone())
            .or_else(|| previous.role_arn.clone()),
        rule_count: i64::try_from(rules.len()).ok(),
        rules,
        plan: pending,
        required_actions: actions.into_iter().chain(external).collect(),
        drift: drift(key, grounds).or_else(|| previous.drift.clone()),
    }
}

/// The status of an object that belongs to no visit, because its source account can't be used.
#[must_use]
pub fn refused(
    generation: Option<i64>,
    previous: &BucketReplicationStatus,
    problems: &[Problem],
    now: Timestamp,
) -> BucketReplicationStatus {
    let disposition = Disposition::Refused {
        problems: problems.to_vec(),
        resolved: None,
        planned: false,
    };
    let mut findings = refusal(problems, BTreeMap::new());
    let ready = ready_of(&findings);
    findings.insert(ConditionType::Ready, ready.clone());
    findings.extend(kstatus(&disposition, &ready));
    let conditions = findings
        .iter()
        .map(|(kind, finding)| finding.condition(*kind, generation, &previous.conditions, now))
        .collect();
    BucketReplicationStatus {
        observed_generation: generation,
        conditions,
        required_actions: vec![],
        plan: vec![],
        ..previous.clone()
    }
}

/// What a deletion reports that `problem` blocks. A failure that a retry can solve is only reported as blocked once it has lasted for minutes.
fn not_removed(problem: &Problem, deleted: Option<Timestamp>, now: Timestamp) -> Finding {
    let for_minutes = deleted.is_none_or(|since| now.duration_since(since) >= BLOCKED_AFTER);
    if problem.reason == Reason::AwsUnavailable && !for_minutes {
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

/// The status of an object whose visit did not end in time.
#[must_use]
pub fn unended(object: &Object, problem: &Problem, now: Timestamp) -> BucketReplicationStatus {
    let (generation, previous) = (object.generation, &object.status);
    if !object.is_deleting() {
        return refused(generation, previous, std::slice::from_ref(problem), now);
    }
    let finding = not_removed(problem, object.deleted, now);
    let disposition = Disposition::Leaving;
    let mut findings: BTreeMap<_, _> = ConditionType::PERSISTENT
        .iter()
        .map(|kind| (*kind, finding.clone()))
        .collect();
    findings.extend(kstatus(&disposition, &finding));
    let conditions = findings
        .iter()
        .map(|(kind, finding)| finding.condition(*kind, generation, &previous.conditions, now))
        .collect();
    BucketReplicationStatus {
        observed_generation: generation,
        conditions,
        ..previous.clone()
    }
}

/// The status of an object that is being deleted and belongs to no visit, because its source account can't be used.
#[must_use]
pub fn blocked(
    generation: Option<i64>,
    previous: &BucketReplicationStatus,
    problems: &[Problem],
    now: Timestamp,
) -> BucketReplicationStatus {
    let blocked = |problem: &Problem| {
        Problem::new(
            problem.condition,
            Reason::DeletionBlocked,
            format!("{}; {LET_GO}", problem.message),
        )
    };
    refused(
        generation,
        previous,
        &problems.iter().map(blocked).collect::<Vec<_>>(),
        now,
    )
}

/// A deletion that has failed for this long is reported as blocked, whatever the failure, so that it can be abandoned.
const BLOCKED_AFTER: SignedDuration = SignedDuration::from_mins(3);

/// What to do about a deletion that stays blocked.
const LET_GO: &str = "to release the object and leave the rest in AWS, set the annotation bucketops.dev/abandon=true";

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
fn refusal(
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

fn ends(resolved: &Resolved) -> (Option<SourceStatus>, Option<DestinationStatus>) {
    let valid = &resolved.valid;
    let source = SourceStatus {
        account_id: valid.source.account.to_string(),
        region: resolved.source_region.to_string(),
        kms_key_arns: resolved
            .keys
            .iter()
            .flat_map(|keys| &keys.source)
            .map(ToString::to_string)
            .collect(),
    };
    let destination = DestinationStatus {
        account_id: valid.destination.account.to_string(),
        region: resolved
            .destination_region
            .as_ref()
            .map(ToString::to_string),
        kms_key_arn: resolved.keys.as_ref().map(|keys| keys.replica.to_string()),
    };
    (Some(source), Some(destination))
}

fn rules(key: &ObjectKey, desired: &Desired, installation: &InstallationId) -> Vec<RuleStatus> {
    let rules = desired
        .configuration
        .iter()
        .flat_map(|configuration| &configuration.rules);
    let mut rules: Vec<_> = rules
        .filter_map(|rule| {
            let mark = rule.mark(installation).filter(|mark| &mark.object == key)?;
            Some(RuleStatus {
                name: mark.rule,
                id: rule.id.clone()?,
                priority: rule.priority?,
            })
        })
        .collect();
    rules.sort_by(|a, b| a.name.cmp(&b.name));
    rules
}

fn drift(key: &ObjectKey, grounds: &Grounds<'_>) -> Option<Drift> {
    let mut mine = grounds
        .outcome
        .done
        .iter()
        .filter(|planned| grounds.outcome.drift && planned.concerns.contains(key))
        .peekable();
    mine.peek()?;
    let correction = mine
        .map(|planned| planned.step.to_string())
        .collect::<Vec<_>>()
        .join("; ");
    let now = Timestamp::from_second(grounds.now.as_second()).unwrap_or(grounds.now);
    Some(Drift {
        last_seen_time: Time(now),
        correction,
    })
}

fn attest(key: &ObjectKey, external: &External) -> String {
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

/// Each condition but the summary.
fn findings(
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
        Disposition::Leaving | Disposition::Abandoned => {
            let blockers = grounds.decision.blockers.first().cloned();
            let failed = || {
                let first = grounds.outcome.failed.first();
                first.map(|(_, failure)| assess::failed(ConditionType::Ready, failure))
            };
            let problem = blockers.or_else(failed);
            all(&problem.map_or_else(
                || {
                    Finding::unknown(
                        Reason::Deleting,
                        "the operator is removing this object's resources from AWS",
                    )
                },
                |problem| not_removed(&problem, object.deleted, grounds.now),
            ))
        }
        Disposition::Refused {
            problems, resolved, ..
        } => {
            let seen = resolved
                .as_ref()
                .map(|resolved| right(resolved, grounds))
                .unwrap_or_default();
            refusal(
                problems,
                seen.into_iter()
                    .filter(|(kind, _)| is_known(*kind, grounds.decision.depth))
                    .collect(),
            )
        }
        Disposition::Observing(resolved) => {
            let mut findings = all(&Finding::unknown(
                Reason::PlanPending,
                "spec.mode is Observe: see status.plan",
            ));
            findings.insert(ConditionType::Accepted, accepted);
            if grounds.decision.pending.get(key).is_none_or(Vec::is_empty) {
                findings.extend(right(resolved, grounds));
            }
            findings
        }
        Disposition::Acting {
            resolved,
            problems,
            external,
        } => {
            let mut findings = right(resolved, grounds);
            findings.insert(ConditionType::Accepted, accepted);
            if let Some(external) = external {
                if external
                    .actions
                    .iter()
                    .any(|action| action.document.starts_with("policy of key"))
                {
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
            let concerned = |planned: &&PlannedStep| planned.concerns.contains(key);
            for planned in grounds.outcome.open().filter(concerned).rev() {
                let text = format!("not yet done: {}", planned.step);
                findings.insert(
                    planned.step.condition(grounds.source),
                    Finding::unknown(Reason::Progressing, text),
                );
            }
            let failed = grounds.outcome.failed.iter();
            let failed: Vec<_> = failed
                .filter(|(planned, _)| concerned(&planned))
                .map(|(planned, failure)| {
                    assess::failed(planned.step.condition(grounds.source), failure)
                })
                .collect();
            insert_problems(&mut findings, &failed);
            if !problems.is_empty() {
                let waits =
                    "the rules wait until the problems that the other conditions report are solved";
                findings.insert(
                    ConditionType::ReplicationConfigured,
                    Finding::unknown(Reason::Waiting, waits),
                );
            }
            insert_problems(&mut findings, problems);
            findings
        }
    }
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
    let bucket = |bucket: &OwnedBucket, region: &Region| {
        Finding::yes(
            Reason::BucketReady,
            format!(
                "bucket {} is in {region} and has versioning enabled",
                bucket.name
            ),
        )
    };
    let not_observable = || {
        Finding::unknown(
            Reason::NotObservable,
            "the account can't be read: have its owner apply status.requiredActions",
        )
    };
    let keys = resolved.keys.as_ref().map_or_else(
        || {
            Finding::yes(
                Reason::NoKeysNeeded,
                "SSE-KMS objects are not replicated: no key is needed",
            )
        },
        |keys| {
            Finding::yes(
                Reason::KeysReady,
                format!(
                    "replicas of SSE-KMS objects are encrypted with {}",
                    keys.replica
                ),
            )
        },
    );
    let role = grounds
        .decision
        .desired
        .role
        .as_ref()
        .map_or_else(String::new, |role| role.arn.clone());
    let mut findings: BTreeMap<_, _> = [
        (
            ConditionType::Accepted,
            Finding::yes(Reason::Accepted, "the object is valid and allowed"),
        ),
        (
            ConditionType::SourceReady,
            bucket(&valid.source, &resolved.source_region),
        ),
        (
            ConditionType::DestinationReady,
            resolved
                .destination_region
                .as_ref()
                .map_or_else(not_observable, |region| bucket(&valid.destination, region)),
        ),
        (ConditionType::KeysReady, keys),
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

fn ready(
    key: &ObjectKey,
    disposition: &Disposition,
    findings: &BTreeMap<ConditionType, Finding>,
    pending: &[String],
) -> Finding {
    if matches!(disposition, Disposition::Observing(_)) && !pending.is_empty() {
        return Finding::no(
            Reason::PlanPending,
            "spec.mode is Observe, and status.plan lists steps: set spec.mode to Enforce to apply them",
        );
    }
    let mut parts = ConditionType::PERSISTENT
        .iter()
        .filter_map(|kind| findings.get(kind));
    let unseen =
        |finding: &Finding| matches!(finding.reason, Reason::NotObservable | Reason::NotAttested);
    match disposition {
        Disposition::Acting {
            external: Some(external),
            ..
        } if parts.all(|finding| finding.holds == Some(true) || unseen(finding)) => {
            let attested = "everything that can be read is correct, and the rest is attested by the annotation bucketops.dev/applied";
            if external.attested {
                Finding::yes(Reason::Attested, attested)
            } else {
                Finding::unknown(Reason::NotAttested, attest(key, external))
            }
        }
        _ => ready_of(findings),
    }
}

/// The summary: the first condition that is False, or else the first that is Unknown.
fn ready_of(findings: &BTreeMap<ConditionType, Finding>) -> Finding {
    let parts = || {
        ConditionType::PERSISTENT
            .iter()
            .filter_map(|kind| findings.get(kind))
    };
    let first = parts()
        .find(|finding| finding.holds == Some(false))
        .or_else(|| parts().find(|finding| finding.holds.is_none()));
    first.cloned().unwrap_or_else(|| {
        Finding::yes(
            Reason::Ready,
            "buckets, keys, role and replication configuration are set up as the object asks",
        )
    })
}

/// `Reconciling` and `Stalled` as kstatus reads them: in progress, or waiting for someone to act.
fn kstatus(disposition: &Disposition, ready: &Finding) -> Option<(ConditionType, Finding)> {
    let holds = |kind| Some((kind, Finding::yes(ready.reason, ready.message.clone())));
    match (disposition, ready.holds) {
        (_, Some(true)) | (Disposition::Paused, _) | (Disposition::Observing(_), Some(false)) => {
            None
        }
        (_, None) if ready.reason == Reason::NotAttested => holds(ConditionType::Stalled),
        (_, Some(false)) if ready.reason != Reason::AwsUnavailable => holds(ConditionType::Stalled),
        _ => holds(ConditionType::Reconciling),
    }
}
