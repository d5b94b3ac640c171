//! What a visit reports: the status of each object, whom to release, what people should know, and when to visit again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    Problem,
    names::ObjectKey,
    object::Object,
    observed::{FailureKind, Observed},
    plan::Step,
    requeue::Ending,
    status::{self, status},
    uses::Used,
    visit::{
        decision::Decision,
        disposition::Disposition,
        findings::Grounds,
        in_use::in_use_after,
        input::Visit,
        memory::{CHANGED, Memory},
        notice::Notice,
        outcome::Outcome,
        prepared::Prepared,
    },
};
use api::{
    bucket_replication::{BucketReplicationStatus, Mode},
    condition::{ConditionType, Reason},
};

/// What is read again because it changed meanwhile is read again no sooner.
const SOONEST: Duration = Duration::from_secs(1);
/// Timers and clocks differ by a little, and a visit that comes too early would have to be repeated.
const MARGIN: Duration = Duration::from_millis(50);

/// The outcome of a visit.
#[derive(Clone, Debug)]
pub struct Report {
    /// The status that each object should have.
    pub statuses: BTreeMap<ObjectKey, BucketReplicationStatus>,
    /// Deleted objects whose part in AWS is removed.
    pub released: BTreeSet<ObjectKey>,
    /// The steps that corrected drift, for each object.
    pub corrections: Vec<(ObjectKey, Step)>,
    /// The steps that were applied.
    pub done: Vec<Step>,
    /// What people should know in addition to the statuses.
    pub notices: Vec<Notice>,
    /// When to visit again.
    pub ending: Ending,
    /// What to remember until then.
    pub memory: Memory,
    /// What was decided, if everything that is needed was read.
    pub prepared: Option<Arc<Prepared>>,
    /// What the source bucket uses at destinations and keys, if that is known.
    pub uses: Option<Used>,
}

impl Report {
    /// Nothing was found out.
    #[must_use]
    pub fn unchanged(ending: Ending, memory: Memory) -> Self {
        Self {
            statuses: BTreeMap::new(),
            released: BTreeSet::new(),
            corrections: vec![],
            done: vec![],
            notices: vec![],
            ending,
            memory,
            prepared: None,
            uses: None,
        }
    }

    /// Nothing was found out, because what was read was removed meanwhile: the visit begins again soon.
    #[must_use]
    pub fn begin_again(visit: &Visit, prepared: &Prepared) -> Self {
        Self {
            released: abandoned(visit).collect(),
            notices: prepared.notices.clone(),
            ..Self::unchanged(Ending::After(CHANGED), prepared.memory.clone())
        }
    }

    /// This report without findings, because what they rest on was removed meanwhile: the visit begins again soon.
    #[must_use]
    pub fn outdated(self, visit: &Visit) -> Self {
        Self {
            ending: Ending::After(CHANGED),
            ..without_findings(visit, self)
        }
    }
}

/// The report after the steps were applied.
pub(super) fn of(
    visit: &Visit,
    observed: &Observed,
    done_before: &[Step],
    prepared: &Arc<Prepared>,
    outcome: &Outcome,
    now: Timestamp,
) -> Report {
    let decision = &prepared.decision;
    let memory = prepared.remember(visit, observed, outcome, now);
    let grounds = Grounds {
        installation: &visit.installation,
        source: &visit.source,
        decision,
        outcome,
        now,
    };
    let statuses: BTreeMap<_, _> = visit
        .objects
        .iter()
        .map(|object| (object.key.clone(), status(object, &grounds)))
        .collect();
    let mut notices = prepared.notices.clone();
    notices.extend(role_left(outcome).map(Notice::RoleLeft));
    let released = released(visit, decision, outcome);
    if !released.is_empty() {
        let left = decision.left.iter().cloned();
        notices.extend(left.map(Notice::StatementsLeft));
    }
    let done = outcome.done.iter().map(|planned| planned.step.clone());
    let report = Report {
        released,
        corrections: corrections(outcome),
        done: done_before.iter().cloned().chain(done).collect(),
        notices,
        ending: ending(&statuses, decision, observed, outcome),
        statuses,
        memory,
        prepared: Some(Arc::clone(prepared)),
        uses: in_use_after(visit, decision, observed, done_before, outcome),
    };
    if outcome.has_failed(FailureKind::Outdated) {
        let ending = Ending::After(visit.times.grace.max(SOONEST));
        return Report {
            ending,
            ..without_findings(visit, report)
        };
    }
    Report {
        ending: sooner(visit, prepared, &report, now),
        ..report
    }
}

/// When to visit again, if something is due before the drift period ends.
fn sooner(visit: &Visit, prepared: &Prepared, report: &Report, now: Timestamp) -> Ending {
    let (memory, times) = (&report.memory, &visit.times);
    let settling = memory.settles_in(&prepared.decision.settling, times.settle, now);
    let doubt = (report.ending == Ending::Done && memory.is_in_doubt()).then_some(times.grace);
    let settling = settling.map(|wait| wait + MARGIN);
    let (_, refused) = memory.culprits.waiting(&visit.objects, times.retry, now);
    let refused = refused
        .filter(|_| report.ending == Ending::Blocked)
        .map(|wait| wait + MARGIN);
    // Other objects may be blocked for a reason of their own, and are checked again sooner.
    let contended = prepared.contended.filter(|_| report.ending == Ending::Done);
    let waits = [settling, doubt, contended, refused];
    let first = waits.into_iter().flatten().min();
    first.map_or(report.ending, Ending::After)
}

fn released(visit: &Visit, decision: &Decision, outcome: &Outcome) -> BTreeSet<ObjectKey> {
    let leaving = decision
        .dispositions
        .iter()
        .filter(|(_, disposition)| **disposition == Disposition::Leaving)
        .map(|(key, _)| key.clone());
    let removed = decision.blockers.is_empty() && all_removed(outcome);
    leaving
        .filter(|_| removed)
        .chain(abandoned(visit))
        .collect()
}

fn corrections(outcome: &Outcome) -> Vec<(ObjectKey, Step)> {
    let corrected = outcome.done.iter().filter(|_| outcome.drift);
    corrected
        .flat_map(|planned| {
            let concerned = planned.concerns.iter();
            concerned.map(|key| (key.clone(), planned.step.clone()))
        })
        .collect()
}

/// The objects that are released whatever becomes of what they created.
pub(super) fn abandoned(visit: &Visit) -> impl Iterator<Item = ObjectKey> {
    let abandoned = visit.objects.iter().filter(|object| object.abandoned);
    abandoned.map(|object| object.key.clone())
}

/// The report of a visit that did not end within `limit`. Paused objects are not read, so their status does not change.
#[must_use]
pub fn unended(visit: &Visit, limit: Duration, memory: Memory, now: Timestamp) -> Report {
    let message = format!(
        "AWS did not answer all calls for bucket {} within {} minutes; the operator retries",
        visit.source.name,
        limit.as_secs() / 60
    );
    interrupted(visit, Reason::AwsUnavailable, message, memory, now)
}

/// The report of a visit that panicked. Paused objects are not read, so their status does not change.
#[must_use]
pub fn panicked(visit: &Visit, memory: Memory, now: Timestamp) -> Report {
    let message = format!(
        "the operator failed while it visited bucket {}, by a fault of its own that its log has; the operator retries",
        visit.source.name
    );
    interrupted(visit, Reason::InternalError, message, memory, now)
}

fn interrupted(
    visit: &Visit,
    reason: Reason,
    message: String,
    memory: Memory,
    now: Timestamp,
) -> Report {
    let problem = Problem::new(ConditionType::ReplicationConfigured, reason, message);
    let is_read = |object: &Object| object.is_deleting() || object.spec.mode != Mode::Paused;
    unanswered(visit, &problem, is_read, memory, now)
}

/// The report if the API server did not confirm the objects. Only deletions report it: others are as they were.
pub(super) fn unconfirmed(visit: &Visit, error: &str, memory: Memory, now: Timestamp) -> Report {
    let message = format!(
        "the API server did not confirm the objects on bucket {}: {error}; the operator retries",
        visit.source.name
    );
    let problem = Problem::new(ConditionType::Accepted, Reason::AwsUnavailable, message);
    unanswered(visit, &problem, Object::is_deleting, memory, now)
}

fn unanswered(
    visit: &Visit,
    problem: &Problem,
    reports: impl Fn(&Object) -> bool,
    memory: Memory,
    now: Timestamp,
) -> Report {
    let reporting = visit.objects.iter().filter(|object| reports(object));
    let statuses =
        reporting.map(|object| (object.key.clone(), status::unended(object, problem, now)));
    Report {
        statuses: statuses.collect(),
        released: abandoned(visit).collect(),
        ..Report::unchanged(Ending::Retry, memory)
    }
}

/// The report if what was read is outdated: only corrections are reported.
fn without_findings(visit: &Visit, report: Report) -> Report {
    let mut statuses = BTreeMap::new();
    for object in &visit.objects {
        let previous = &object.status;
        let drift = report
            .statuses
            .get(&object.key)
            .and_then(|status| status.drift.clone());
        let status = BucketReplicationStatus {
            drift: drift.or(previous.drift.clone()),
            ..previous.clone()
        };
        statuses.insert(object.key.clone(), status);
    }
    Report {
        statuses,
        released: BTreeSet::new(),
        ..report
    }
}

/// A role with something unmanaged in it can't be deleted; without the operator's policy, it is no longer the operator's.
fn all_removed(outcome: &Outcome) -> bool {
    let waits_only = outcome
        .undone
        .iter()
        .all(|planned| planned.step == Step::Settle);
    waits_only && (outcome.failed.is_empty() || role_left(outcome).is_some())
}

/// Why only the role could not be removed.
fn role_left(outcome: &Outcome) -> Option<String> {
    match outcome.failed.as_slice() {
        [(planned, failure)]
            if matches!(planned.step, Step::DeleteRole { .. })
                && failure.kind == FailureKind::InUse
                && outcome.undone.is_empty() =>
        {
            Some(failure.message.clone())
        }
        _ => None,
    }
}

fn ending(
    statuses: &BTreeMap<ObjectKey, BucketReplicationStatus>,
    decision: &Decision,
    observed: &Observed,
    outcome: &Outcome,
) -> Ending {
    let problems = decision
        .dispositions
        .values()
        .flat_map(|disposition| match disposition {
            Disposition::Refused { problems, .. }
            | Disposition::Acting { problems, .. }
            | Disposition::Observing { problems, .. } => problems.as_slice(),
            Disposition::Paused | Disposition::Leaving | Disposition::Abandoned => &[],
        });
    let problems: Vec<_> = problems.chain(&decision.blockers).collect();
    let retried = [
        FailureKind::Throttled,
        FailureKind::Transient,
        FailureKind::Conflict,
        FailureKind::InUse,
        FailureKind::PrincipalNotVisible,
        FailureKind::VersioningNotVisible,
        FailureKind::NoCredentials,
    ];
    let unavailable = |problem: &&Problem| {
        matches!(
            problem.reason,
            Reason::AwsUnavailable | Reason::NoCredentials
        )
    };
    if retried.into_iter().any(|kind| outcome.has_failed(kind)) || problems.iter().any(unavailable)
    {
        return Ending::Retry;
    }
    let not_found = observed.configuration.failure().is_some();
    if !outcome.failed.is_empty() || !problems.is_empty() || not_found || statuses.is_empty() {
        return Ending::Blocked;
    }
    Ending::Done
}
