//! A visit to a source bucket as a pure function: what to read, confirm or apply next, by what was seen so far.

pub mod memory;
pub mod report;
pub mod seen;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use self::{
    memory::Memory,
    report::{Notice, Report},
    seen::{Progress, Seen},
};
use super::{
    Problem,
    accounts::Accounts,
    contention::Verdict,
    decision::{self, Decision, Disposition, Refusals, View, decide},
    names::{InstallationId, ObjectKey, OwnedBucket, fingerprint},
    object::Object,
    plan::Step,
    question::Question,
    requeue::Ending,
    status::Outcome,
    validate::{self, Valid},
};

/// A source bucket and all objects that name it, as one visit takes them.
#[derive(Clone, Debug)]
pub struct Visit {
    /// This installation.
    pub installation: InstallationId,
    /// All accounts.
    pub accounts: Arc<Accounts>,
    /// The source bucket.
    pub source: OwnedBucket,
    /// All objects that name it.
    pub objects: Vec<Object>,
    /// The periods of visits.
    pub times: Times,
    validated: BTreeMap<ObjectKey, Result<Valid, Vec<Problem>>>,
    inputs: String,
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

/// What a visit does next.
#[derive(Clone, Debug)]
pub enum Next {
    /// Ask AWS all of these, side by side.
    Ask(BTreeSet<Question>),
    /// Have the API server confirm the objects, and add the finalizer to those that act.
    Confirm(Arc<Prepared>),
    /// Apply the steps.
    Apply(Arc<Prepared>),
    /// The visit is over.
    End(Box<Report>),
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

/// Decisions that are about to be carried out.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// What was decided.
    pub decision: Decision,
    /// Whether the steps correct what another writer changed.
    pub drift: bool,
    /// What is remembered so far.
    memory: Memory,
    notices: Vec<Notice>,
    /// The steps that are needed, including those that wait because of contention.
    needed: Vec<Step>,
    /// Whether they correct something, so that contention is counted.
    reverts: bool,
    /// How long until a contended element is corrected again.
    contended: Option<Duration>,
}

impl Visit {
    /// A visit. Each object is validated once.
    #[must_use]
    pub fn new(
        installation: InstallationId,
        accounts: Arc<Accounts>,
        source: OwnedBucket,
        objects: Vec<Object>,
        times: Times,
    ) -> Self {
        let validated = objects
            .iter()
            .map(|object| (object.key.clone(), validate::validate(object, &accounts)))
            .collect();
        let inputs = inputs(&accounts, &objects);
        Self {
            installation,
            accounts,
            source,
            objects,
            times,
            validated,
            inputs,
        }
    }

    /// The visit as decisions take it.
    #[must_use]
    pub fn view<'a>(&'a self, refusals: &'a Refusals) -> View<'a> {
        View {
            installation: &self.installation,
            accounts: &self.accounts,
            source: &self.source,
            objects: &self.objects,
            validated: &self.validated,
            refusals,
        }
    }

    fn removes_all(&self) -> bool {
        self.objects.iter().all(Object::is_deleting)
    }

    fn ready(&self) -> BTreeSet<ObjectKey> {
        let ready = self.objects.iter().filter(|object| object.is_ready());
        ready.map(|object| object.key.clone()).collect()
    }
}

/// A fingerprint of all inputs other than AWS: if it changes, everything is read again.
fn inputs(accounts: &Accounts, objects: &[Object]) -> String {
    let of_object = |object: &Object| {
        let Object {
            uid,
            deleted,
            generation,
            namespace_labels,
            take_over,
            applied,
            ..
        } = object;
        format!(
            "{uid}/{generation:?}/{}/{namespace_labels:?}/{take_over:?}/{applied:?}",
            deleted.is_some()
        )
    };
    let named = objects.iter().flat_map(|object| {
        [
            object.spec.source.account_name.as_str(),
            object.spec.destination.account_name.as_str(),
        ]
    });
    let accounts = accounts.fingerprint(&named.collect());
    let parts: Vec<_> = objects.iter().map(of_object).chain([accounts]).collect();
    fingerprint(&parts.iter().map(String::as_str).collect::<Vec<_>>(), 64)
}

/// What to do next in a visit.
#[must_use]
pub fn next(visit: &Visit, seen: &Seen, now: Timestamp) -> Next {
    match &seen.progress {
        Progress::Reading => {
            let questions = seen.questions();
            if !questions.is_empty() {
                return Next::Ask(questions);
            }
            match prepare(visit, seen, now) {
                Ok(prepared) if prepared.writes(visit) => Next::Confirm(Arc::new(prepared)),
                Ok(prepared) => {
                    let outcome = Outcome::of(&prepared.decision.steps, prepared.drift);
                    Next::End(Box::new(report::of(visit, seen, &prepared, &outcome, now)))
                }
                Err(report) => Next::End(report),
            }
        }
        Progress::Confirmed(prepared) => Next::Apply(Arc::clone(prepared)),
        Progress::Stopped(report) => Next::End(report.clone()),
        Progress::Applied(prepared, outcome) => {
            Next::End(Box::new(report::of(visit, seen, prepared, outcome, now)))
        }
    }
}

impl Prepared {
    /// The objects that act, and so have to have the finalizer.
    #[must_use]
    pub fn acting(&self) -> BTreeSet<ObjectKey> {
        let acting = self
            .decision
            .dispositions
            .iter()
            .filter(|(_, disposition)| matches!(disposition, Disposition::Acting { .. }));
        acting.map(|(key, _)| key.clone()).collect()
    }

    /// Whether anything is written, to AWS or as a finalizer.
    fn writes(&self, visit: &Visit) -> bool {
        let acting = self.acting();
        let unheld = |object: &Object| !object.held && acting.contains(&object.key);
        self.decision
            .steps
            .iter()
            .any(|planned| planned.step != Step::Settle && !planned.waits)
            || visit.objects.iter().any(unheld)
    }
}

/// Decides by what was read. What is in doubt is only believed if two visits a grace period apart both show it.
fn prepare(visit: &Visit, seen: &Seen, now: Timestamp) -> Result<Prepared, Box<Report>> {
    let times = &visit.times;
    let mut memory = seen.memory.clone();
    let observed = &seen.observed;
    let mut notices = seen.notices.clone();
    notices.extend(
        memory
            .gone(observed, &visit.installation, times.grace, now)
            .into_iter()
            .map(Notice::ForeignRuleGone),
    );
    let mut refusals = seen.refusals.clone();
    let settled = |memory: &Memory, refusals: &Refusals| {
        decide(&visit.view(refusals), observed, &|key, need| {
            memory.settled(key, need, times.settle, now)
        })
    };
    let mut decision = settled(&memory, &refusals);
    // What follows from a change of the spec is not drift.
    let unchanged = memory.inputs == visit.inputs;
    let drift = (memory.inputs.is_empty() || unchanged) && decision.is_drift(&visit.ready());
    let lags = memory.lags(observed, &visit.installation, now) && !decision.steps.is_empty();
    let in_doubt = !seen.was_just_read() && (drift || decision.doubtful || lags);
    if !memory.confirms(&decision, in_doubt, times.grace, now) {
        let released = report::abandoned(visit).collect();
        return Err(Box::new(Report {
            released,
            notices,
            ..Report::unchanged(Ending::After(times.grace), memory)
        }));
    }
    let reverts = drift || memory.was_taken_away(&decision);
    let mut needed = decision.needed();
    let mut contended: Option<Duration> = None;
    // What follows from a change of the spec is not delayed.
    let verdict = |decision: &Decision| {
        let needed = decision.needed();
        unchanged.then(|| memory.contention.verdict(&needed, now))
    };
    while let Some(verdict) = verdict(&decision) {
        match verdict {
            Verdict::Correct => break,
            Verdict::Later(wait) => {
                return Err(Box::new(Report {
                    notices,
                    ..Report::unchanged(Ending::After(wait), memory)
                }));
            }
            Verdict::Contended { element, wait } => {
                contended = Some(contended.map_or(wait, |other| other.min(wait)));
                if refusals.contend(&decision, &element, &visit.source, observed) {
                    decision = settled(&memory, &refusals);
                    needed.extend(decision.needed());
                } else {
                    decision.contend(&element, &visit.source, observed);
                }
            }
        }
    }
    Ok(Prepared {
        decision,
        drift,
        memory,
        notices,
        needed,
        reverts,
        contended,
    })
}

impl Decision {
    fn needed(&self) -> Vec<Step> {
        let needed = self.steps.iter().filter(|planned| !planned.waits);
        needed.map(|planned| planned.step.clone()).collect()
    }
}

/// Whether nothing in AWS needs to be read for the visit.
fn is_at_rest(visit: &Visit) -> bool {
    decision::is_at_rest(&visit.view(&Refusals::default()))
}
