//! The status of an object, from what was decided and the outcome of the steps.

use std::collections::BTreeMap;

use api::{
    bucket_replication::{
        BucketReplicationStatus, DestinationStatus, DrainingStatus, Drift, Mode, RequiredAction,
        RuleStatus, SourceStatus,
    },
    condition::{ConditionType, Reason},
    finding::Finding,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::{
    Object, Problem,
    assess::Resolved,
    composition::desired::Desired,
    names::{InstallationId, ObjectKey},
    visit::{
        disposition::Disposition,
        findings::{Grounds, LET_GO, attest, findings, not_removed, refusal},
    },
};

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
    findings.extend(kstatus(disposition, &ready));
    let conditions = conditions(&findings, generation, previous, grounds.now);
    let resolved = match disposition {
        Disposition::Acting { resolved, .. } | Disposition::Observing { resolved, .. } => {
            Some(resolved)
        }
        _ => None,
    };
    let kept = || (previous.source.clone(), previous.destination.clone());
    let (source, destination) = match resolved {
        Some(resolved) => ends(resolved),
        None => kept(),
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
            .map(|role| role.arn.to_string())
            .or_else(|| previous.role_arn.clone()),
        rule_count: i64::try_from(rules.len()).ok(),
        rules,
        plan: pending,
        required_actions: required_actions(disposition, previous),
        drift: drift(key, grounds).or_else(|| previous.drift.clone()),
        draining: draining(key, disposition, grounds, previous),
        verification: None,
    }
}

/// The permissions of former rules that stay. Of an object that does not act, nothing changes.
fn draining(
    key: &ObjectKey,
    disposition: &Disposition,
    grounds: &Grounds<'_>,
    previous: &BucketReplicationStatus,
) -> Option<DrainingStatus> {
    if !matches!(disposition, Disposition::Acting { .. }) {
        return previous.draining.clone();
    }
    let former = grounds.decision.former.get(key)?;
    former.remains(grounds.outcome).then(|| former.status())
}

fn conditions(
    findings: &BTreeMap<ConditionType, Finding>,
    generation: Option<i64>,
    previous: &BucketReplicationStatus,
    now: Timestamp,
) -> Vec<Condition> {
    let findings = findings.iter();
    findings
        .map(|(kind, finding)| finding.condition(*kind, generation, &previous.conditions, now))
        .collect()
}

/// What owners have to apply.
fn required_actions(
    disposition: &Disposition,
    previous: &BucketReplicationStatus,
) -> Vec<RequiredAction> {
    let (problems, external) = match disposition {
        Disposition::Acting {
            problems, external, ..
        } => (problems, external.as_deref()),
        Disposition::Refused { problems, .. } | Disposition::Observing { problems, .. } => {
            (problems, None)
        }
        // What the owner applied, only the owner can remove.
        Disposition::Leaving => return previous.required_actions.clone(),
        Disposition::Paused | Disposition::Abandoned => return vec![],
    };
    let actions = problems
        .iter()
        .filter_map(|problem| problem.action.as_deref());
    let external = external.into_iter().flat_map(|external| &external.actions);
    actions.chain(external).cloned().collect()
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
    BucketReplicationStatus {
        observed_generation: generation,
        conditions: conditions(&findings, generation, previous, now),
        required_actions: vec![],
        plan: vec![],
        ..previous.clone()
    }
}

/// The status of an object at a generation that no visit reported on yet: what is known of an earlier one does not hold for this one. `None`: the
/// status is about this generation, or the object is not acted on.
#[must_use]
pub fn begun(object: &Object, now: Timestamp) -> Option<BucketReplicationStatus> {
    let (generation, previous) = (object.generation, &object.status);
    let is_new = previous.observed_generation != generation;
    if !is_new || object.is_deleting() || object.spec.mode == Mode::Paused {
        return None;
    }
    let finding = Finding::unknown(
        Reason::Progressing,
        "the operator is checking what the object asks for",
    );
    let in_progress = ConditionType::PERSISTENT
        .iter()
        .chain([&ConditionType::Reconciling]);
    let findings = in_progress.map(|kind| match kind {
        ConditionType::Reconciling => {
            (*kind, Finding::yes(finding.reason, finding.message.clone()))
        }
        _ => (*kind, finding.clone()),
    });
    Some(BucketReplicationStatus {
        observed_generation: generation,
        conditions: conditions(&findings.collect(), generation, previous, now),
        ..previous.clone()
    })
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
    BucketReplicationStatus {
        observed_generation: generation,
        conditions: conditions(&findings, generation, previous, now),
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
        bucket: Some(valid.destination.name.to_string()),
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

fn ready(
    key: &ObjectKey,
    disposition: &Disposition,
    findings: &BTreeMap<ConditionType, Finding>,
    pending: &[String],
) -> Finding {
    let observes =
        matches!(disposition, Disposition::Observing { problems, .. } if problems.is_empty());
    if observes && !pending.is_empty() {
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
        (_, Some(true))
        | (Disposition::Paused, _)
        | (Disposition::Observing { .. }, Some(false)) => None,
        (_, None) if ready.reason == Reason::NotAttested => holds(ConditionType::Stalled),
        (_, Some(false))
            if !matches!(ready.reason, Reason::AwsUnavailable | Reason::InternalError) =>
        {
            holds(ConditionType::Stalled)
        }
        _ => holds(ConditionType::Reconciling),
    }
}
