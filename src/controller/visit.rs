//! One visit to a source bucket: read, decide, write, report. It knows AWS only as [`Cloud`] and Kubernetes only as [`Gate`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    time::Duration,
};

use futures::future::join_all;
use jiff::Timestamp;
use strum::VariantArray;

use super::memory::Memory;
use crate::{
    api::{
        bucket_replication::{BucketReplicationStatus, Mode},
        condition::{ConditionType, Reason},
        event::EventReason,
    },
    cloud::Cloud,
    replication::{
        Object, Problem,
        accounts::Accounts,
        assess,
        contention::Verdict,
        decision::{self, Decision, Disposition, Refusals, Visit, decide},
        names::{InstallationId, ObjectKey, OwnedBucket, fingerprint},
        observed::{Depth, FailureKind, Observed, Scope},
        plan::{PlannedStep, Step},
        question::questions,
        requeue::Ending,
        status::{self, Grounds, Outcome, status},
    },
};

/// What has to be true in Kubernetes before anything is written to AWS.
pub trait Gate: Send + Sync {
    /// Whether the objects are still as the visit took them, by a consistent read, and those of `acting` have the operator's finalizer.
    fn open(&self, acting: &BTreeSet<ObjectKey>) -> impl Future<Output = Opened> + Send;
}

/// What the API server says before anything is written to AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// The objects are as the visit took them, and those that act have the finalizer.
    Open,
    /// They changed, so that the visit has to begin again.
    Changed,
    /// It did not answer: its error.
    Unanswered(String),
    /// It refuses to add the finalizer to some objects: its error for each.
    Refused(BTreeMap<ObjectKey, String>),
}

/// What a visit is about.
#[derive(Clone, Debug)]
pub struct Subject {
    /// This installation.
    pub installation: InstallationId,
    /// All accounts.
    pub accounts: std::sync::Arc<Accounts>,
    /// The source bucket.
    pub source: OwnedBucket,
    /// All objects that name it, with the generation of their spec and the status that they have.
    pub objects: Vec<(Object, Option<i64>, BucketReplicationStatus)>,
}

/// The periods of visits.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The time between two reads of everything.
    pub preflight: Duration,
    /// Two reads this far apart that both differ from the desired state are drift.
    pub grace: Duration,
    /// How long a new permission settles.
    pub settle: Duration,
    /// The time between two searches for orphaned roles.
    pub sweep: Duration,
}

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
}

/// What people should know about a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// An unmanaged rule that was in the configuration that the operator wrote no longer exists: its ID.
    ForeignRuleGone(String),
    /// The role can't be deleted, because another writer added something to it: AWS's error.
    RoleLeft(String),
}

impl Notice {
    /// The reason of the Event that reports it.
    #[must_use]
    pub fn reason(&self) -> EventReason {
        match self {
            Self::ForeignRuleGone(_) => EventReason::ForeignRuleGone,
            Self::RoleLeft(_) => EventReason::RoleLeft,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForeignRuleGone(id) => write!(
                f,
                "the unmanaged rule {id} was in the configuration that the operator wrote and no longer exists. If no one removed it on purpose, the operator and another writer overwrote each other: add the rule again"
            ),
            Self::RoleLeft(message) => {
                write!(
                    f,
                    "the operator removed its policies from the role but can't delete the role, because another writer added something to the role: {message}"
                )
            }
        }
    }
}

/// Objects that changed meanwhile are taken from the store again after this time.
const CHANGED: Duration = Duration::from_millis(200);
/// What is read again because it changed meanwhile is read again no sooner.
const SOONEST: Duration = Duration::from_secs(1);
/// Timers and clocks differ by a little, and a visit that comes too early would have to be repeated.
const MARGIN: Duration = Duration::from_millis(50);

/// Visits a bucket.
pub async fn visit<C: Cloud, G: Gate>(
    cloud: &C,
    gate: &G,
    subject: &Subject,
    memory: &mut Memory,
    times: &Times,
    clock: impl Fn() -> Timestamp,
) -> Report {
    let objects: Vec<_> = subject
        .objects
        .iter()
        .map(|(object, ..)| object.clone())
        .collect();
    let ready: BTreeSet<_> = objects
        .iter()
        .filter(|object| object.ready)
        .map(|object| object.key.clone())
        .collect();
    let inputs = inputs(subject);
    let mut refusals = Refusals::default();
    let (mut done, mut notices) = (vec![], vec![]);
    loop {
        let view = Visit {
            installation: &subject.installation,
            accounts: &subject.accounts,
            source: &subject.source,
            objects: &objects,
            refusals: &refusals,
        };
        let removing = objects.iter().all(Object::is_deleting);
        let unchanged_and_ready = memory.inputs == inputs && ready.len() == objects.len();
        let read_just_now = !refusals.steps.is_empty();
        let believes =
            removing || unchanged_and_ready || read_just_now || memory.was_settling(&inputs);
        let known = memory.known(times.preflight, clock()).filter(|_| believes);
        let scope = Scope {
            tags: memory.contention.is_on(),
            ..decision::scope(&view)
        };
        let observed = if decision::is_at_rest(&view) {
            Observed::default()
        } else {
            look(cloud, &view, scope, known).await
        };
        let now = clock();
        notices.extend(
            memory
                .gone(&observed, &subject.installation, times.grace, now)
                .into_iter()
                .map(Notice::ForeignRuleGone),
        );
        let mut decision = decide(&view, &observed, &|key, need| {
            memory.settled(key, need, times.settle, now)
        });
        // What follows from a change of the spec is not drift.
        let drift =
            (memory.inputs.is_empty() || memory.inputs == inputs) && decision.is_drift(&ready);
        let lags = memory.lags(&observed, &subject.installation, now) && !decision.steps.is_empty();
        let in_doubt = !read_just_now && (drift || decision.doubtful || lags);
        if !memory.confirms(&decision, in_doubt, times.grace, now) {
            return Report {
                notices,
                released: subject.abandoned().collect(),
                ..Report::unchanged(Ending::After(times.grace))
            };
        }
        let reverted = drift || memory.was_taken_away(&decision);
        let needed: Vec<_> = decision
            .steps
            .iter()
            .map(|planned| planned.step.clone())
            .collect();
        if memory.inputs == inputs {
            match memory.contention.verdict(&needed, now) {
                Verdict::Correct => {}
                Verdict::Later(wait) => {
                    return Report {
                        notices,
                        ..Report::unchanged(Ending::After(wait))
                    };
                }
                Verdict::Contended { element, wait } => {
                    memory.contention.note(&needed, &[], reverted, now);
                    let outcome = Outcome {
                        undone: decision.contend(&element, &subject.source, &observed),
                        ..Outcome::default()
                    };
                    let report = subject.report(&decision, &observed, &outcome, done, now);
                    return Report {
                        ending: Ending::After(wait),
                        notices,
                        ..report
                    };
                }
            }
        }
        let acting: BTreeSet<_> = decision
            .dispositions
            .iter()
            .filter(|(_, disposition)| matches!(disposition, Disposition::Acting { .. }))
            .map(|(key, _)| key.clone())
            .collect();
        let unheld = objects
            .iter()
            .any(|object| !object.held && acting.contains(&object.key));
        let writes = decision
            .steps
            .iter()
            .any(|planned| planned.step != Step::Settle);
        if writes || unheld {
            match gate.open(&acting).await {
                Opened::Open => {}
                Opened::Changed => {
                    return Report {
                        notices,
                        ..Report::unchanged(Ending::After(CHANGED))
                    };
                }
                Opened::Unanswered(error) => {
                    return Report {
                        notices,
                        ..subject.unconfirmed(&error, now)
                    };
                }
                Opened::Refused(errors) => {
                    refusals.finalizers.extend(errors);
                    continue;
                }
            }
        }
        let mut outcome = apply(cloud, &decision, drift).await;
        done.extend(outcome.done.iter().map(|planned| planned.step.clone()));
        memory.note(
            &decision,
            &observed,
            &outcome,
            &inputs,
            &subject.installation,
            clock(),
        );
        let just_done: Vec<_> = outcome
            .done
            .iter()
            .map(|planned| planned.step.clone())
            .collect();
        memory.contention.note(&needed, &just_done, reverted, now);
        if let Some((refused, problem)) = refusal(&outcome, &subject.source) {
            let others = acting
                .iter()
                .any(|key| !refused.concerns.contains(key) && !refusals.problems.contains_key(key));
            let before = refusals.problems.len();
            refusals.problems.extend(
                refused
                    .concerns
                    .iter()
                    .map(|key| (key.clone(), problem.clone())),
            );
            refusals.steps.push(refused.step.clone());
            // The planner leaves out steps on the same policy, so that the next round gets further.
            let nobodys =
                refused.concerns.is_empty() && refused.step.is_on_same_document(&refused.step);
            if others && (refusals.problems.len() > before || nobodys) {
                continue;
            }
        }
        outcome.drift = drift;
        notices.extend(role_left(&outcome).map(Notice::RoleLeft));
        let mut report = subject.report(&decision, &observed, &outcome, done, clock());
        if outcome
            .failure
            .as_ref()
            .is_some_and(|failure| failure.kind == FailureKind::Outdated)
        {
            let ending = Ending::After(times.grace.max(SOONEST));
            return Report {
                notices,
                ending,
                ..subject.without_findings(report)
            };
        }
        if report.ending == Ending::Done && memory.is_in_doubt() {
            report.ending = Ending::After(times.grace);
        }
        if let Some(wait) = memory.settles_in(&decision.settling, times.settle, clock()) {
            report.ending = Ending::After(wait + MARGIN);
        }
        return Report { notices, ..report };
    }
}

/// Reads everything at once if all objects were ready, and otherwise depth by depth, so that an object that can't succeed costs few calls.
async fn look<C: Cloud>(
    cloud: &C,
    visit: &Visit<'_>,
    scope: Scope,
    known: Option<Observed>,
) -> Observed {
    let at_once = known.is_some() || scope.removing;
    let mut observed = known.unwrap_or_default();
    for depth in Depth::VARIANTS {
        let depth = if at_once { Depth::Everything } else { *depth };
        let scope = Scope {
            depth,
            ..scope.clone()
        };
        read(cloud, &scope, &mut observed).await;
        if depth == Depth::Everything || !decision::is_worth_reading_deeper(visit, &observed) {
            break;
        }
    }
    observed
}

/// Asks all that `scope` asks for, side by side as far as no question depends on another answer.
pub async fn read<C: Cloud>(cloud: &C, scope: &Scope, observed: &mut Observed) {
    loop {
        let questions = questions(scope, observed);
        if questions.is_empty() {
            observed.depth = scope.depth;
            return;
        }
        for answer in join_all(questions.iter().map(|question| cloud.ask(question))).await {
            observed.fold(scope, answer);
        }
    }
}

/// A fingerprint of all inputs other than AWS: if it changes, everything is read again.
fn inputs(subject: &Subject) -> String {
    let objects = subject.objects.iter().map(|(object, generation, _)| {
        let Object {
            uid,
            deleted,
            namespace_labels,
            take_over,
            applied,
            ..
        } = object;
        format!(
            "{uid}/{generation:?}/{}/{namespace_labels:?}/{take_over:?}/{applied:?}",
            deleted.is_some()
        )
    });
    let named = subject.objects.iter().flat_map(|(object, ..)| {
        [
            &object.spec.source.account_name,
            &object.spec.destination.account_name,
        ]
    });
    let accounts = subject
        .accounts
        .fingerprint(&named.map(String::as_str).collect());
    let parts: Vec<_> = objects.chain([accounts]).collect();
    fingerprint(&parts.iter().map(String::as_str).collect::<Vec<_>>(), 64)
}

/// Applies the steps in order, up to the first that fails or has to wait for permissions to settle.
async fn apply<C: Cloud>(cloud: &C, decision: &Decision, drift: bool) -> Outcome {
    let mut outcome = Outcome {
        drift,
        ..Outcome::default()
    };
    for planned in &decision.steps {
        if planned.step == Step::Settle || !outcome.undone.is_empty() {
            outcome.undone.push(planned.clone());
            continue;
        }
        tracing::info!(step = %planned.step, drift, "applying step");
        match cloud.apply(&planned.step).await {
            Ok(()) => outcome.done.push(planned.clone()),
            Err(failure) => {
                tracing::warn!(step = %planned.step, error = %failure, "step failed");
                outcome.failure = Some(failure);
                outcome.undone.push(planned.clone());
            }
        }
    }
    outcome
}

/// A failure that concerns only the objects that the step was for, so that others are served.
fn refusal<'a>(outcome: &'a Outcome, source: &OwnedBucket) -> Option<(&'a PlannedStep, Problem)> {
    let failure = outcome.failure.as_ref().filter(|failure| {
        matches!(
            failure.kind,
            FailureKind::Denied
                | FailureKind::DeniedByOrganization
                | FailureKind::Invalid
                | FailureKind::NotFound
                | FailureKind::PrincipalNotVisible
        )
    })?;
    let refused = outcome.undone.first()?;
    Some((
        refused,
        assess::failed(refused.step.condition(source), failure),
    ))
}

impl Report {
    fn unchanged(ending: Ending) -> Self {
        Self {
            statuses: BTreeMap::new(),
            released: BTreeSet::new(),
            corrections: vec![],
            done: vec![],
            notices: vec![],
            ending,
        }
    }
}

impl Subject {
    /// The report of a visit that did not end within `limit`. Paused objects are not read, so their status does not change.
    #[must_use]
    pub fn unended(&self, limit: Duration, now: Timestamp) -> Report {
        let bucket = &self.source.name;
        let message = format!(
            "AWS did not answer all calls for bucket {bucket} within {} minutes; the operator retries",
            limit.as_secs() / 60
        );
        let problem = Problem::new(
            ConditionType::ReplicationConfigured,
            Reason::AwsUnavailable,
            message,
        );
        let read = self
            .objects
            .iter()
            .filter(|(object, ..)| object.is_deleting() || object.spec.mode != Mode::Paused);
        let statuses = read.map(|(object, generation, previous)| {
            (
                object.key.clone(),
                status::unended(object, *generation, previous, &problem, now),
            )
        });
        Report {
            statuses: statuses.collect(),
            released: self.abandoned().collect(),
            ..Report::unchanged(Ending::Retry)
        }
    }

    /// The report if the API server did not confirm the objects. Only deletions report it: others are as they were.
    fn unconfirmed(&self, error: &str, now: Timestamp) -> Report {
        let message = format!(
            "the API server did not confirm the objects on bucket {}: {error}; the operator retries",
            self.source.name
        );
        let problem = Problem::new(ConditionType::Accepted, Reason::AwsUnavailable, message);
        let deleting = self
            .objects
            .iter()
            .filter(|(object, ..)| object.is_deleting());
        let statuses = deleting.map(|(object, generation, previous)| {
            (
                object.key.clone(),
                status::unended(object, *generation, previous, &problem, now),
            )
        });
        Report {
            statuses: statuses.collect(),
            released: self.abandoned().collect(),
            ..Report::unchanged(Ending::Retry)
        }
    }

    /// The objects that are released whatever becomes of what they created.
    fn abandoned(&self) -> impl Iterator<Item = ObjectKey> {
        let abandoned = self.objects.iter().filter(|(object, ..)| object.abandoned);
        abandoned.map(|(object, ..)| object.key.clone())
    }

    /// The report if what was read is outdated: only corrections are reported.
    fn without_findings(&self, report: Report) -> Report {
        let mut statuses = BTreeMap::new();
        for (object, _, previous) in &self.objects {
            let drift = report
                .statuses
                .get(&object.key)
                .and_then(|status| status.drift.clone());
            statuses.insert(
                object.key.clone(),
                BucketReplicationStatus {
                    drift: drift.or(previous.drift.clone()),
                    ..previous.clone()
                },
            );
        }
        Report {
            statuses,
            released: BTreeSet::new(),
            ..report
        }
    }

    fn report(
        &self,
        decision: &Decision,
        observed: &Observed,
        outcome: &Outcome,
        done: Vec<Step>,
        now: Timestamp,
    ) -> Report {
        let grounds = Grounds {
            installation: &self.installation,
            source: &self.source,
            decision,
            outcome,
            now,
        };
        let statuses: BTreeMap<_, _> = self
            .objects
            .iter()
            .map(|(object, generation, previous)| {
                (
                    object.key.clone(),
                    status(object, *generation, previous, &grounds),
                )
            })
            .collect();
        let leaving = decision
            .dispositions
            .iter()
            .filter(|(_, disposition)| **disposition == Disposition::Leaving)
            .map(|(key, _)| key.clone());
        let mut released: BTreeSet<_> = if decision.blockers.is_empty() && all_removed(outcome) {
            leaving.collect()
        } else {
            BTreeSet::new()
        };
        released.extend(self.abandoned());
        let corrections = outcome
            .done
            .iter()
            .filter(|_| outcome.drift)
            .flat_map(|planned| {
                planned
                    .concerns
                    .iter()
                    .map(|key| (key.clone(), planned.step.clone()))
            })
            .collect();
        let ending = ending(&statuses, decision, observed, outcome);
        Report {
            released,
            corrections,
            done,
            notices: vec![],
            ending,
            statuses,
        }
    }
}

/// A role with something unmanaged in it can't be deleted; without the operator's policy, it is no longer the operator's.
fn all_removed(outcome: &Outcome) -> bool {
    outcome
        .undone
        .iter()
        .all(|planned| planned.step == Step::Settle)
        || role_left(outcome).is_some()
}

/// Why only the role could not be removed.
fn role_left(outcome: &Outcome) -> Option<String> {
    let only_role = matches!(outcome.undone.as_slice(), [planned] if matches!(planned.step, Step::DeleteRole { .. }));
    let conflict = outcome
        .failure
        .as_ref()
        .filter(|failure| failure.kind == FailureKind::Conflict)?;
    only_role.then(|| conflict.message.clone())
}

fn ending(
    statuses: &BTreeMap<ObjectKey, BucketReplicationStatus>,
    decision: &Decision,
    observed: &Observed,
    outcome: &Outcome,
) -> Ending {
    let unavailable = |problem: &Problem| problem.reason == Reason::AwsUnavailable;
    let problems = decision
        .dispositions
        .values()
        .flat_map(|disposition| match disposition {
            Disposition::Refused { problems, .. } | Disposition::Acting { problems, .. } => {
                problems.as_slice()
            }
            _ => &[],
        });
    let problems: Vec<_> = problems.chain(&decision.blockers).collect();
    let failed = outcome.failure.as_ref().map(|failure| failure.kind);
    let again = matches!(
        failed,
        Some(
            FailureKind::Throttled
                | FailureKind::Transient
                | FailureKind::Conflict
                | FailureKind::PrincipalNotVisible
        )
    );
    if again || problems.iter().any(|problem| unavailable(problem)) {
        return Ending::Retry;
    }
    let not_found = observed.configuration.failure().is_some();
    if failed.is_some() || !problems.is_empty() || not_found || statuses.is_empty() {
        return Ending::Blocked;
    }
    Ending::Done
}
