//! What a visit has seen so far: AWS's answers, what the API server confirmed, the outcome of steps, and what was refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use strum::VariantArray;

use crate::{
    names::ObjectKey,
    object::Object,
    observation::{asking::questions, known::Known},
    observed::{Depth, FailureKind, Observed, Scope},
    plan::{Step, Target},
    question::{Answer, Question},
    requeue::Ending,
    visit::{
        disposition,
        input::Visit,
        memory::Memory,
        notice::Notice,
        outcome::Outcome,
        prepared::Prepared,
        refusals,
        report::{self, Report},
        view::{self, Refusals, View},
    },
};

/// What a visit has seen so far.
#[derive(Clone, Debug)]
pub struct Seen {
    pub(super) memory: Memory,
    pub(super) observed: Observed,
    pub(super) refusals: Refusals,
    /// The steps that were applied before others were refused.
    pub(super) done: Vec<Step>,
    pub(super) notices: Vec<Notice>,
    pub(super) progress: Progress,
    /// What is read, and how deep. `None`: nothing needs to be read.
    scope: Option<Scope>,
    /// How often the configuration changed between a plan and its write.
    planned_again: usize,
}

/// A configuration that changes more often during a visit is left to the next one.
const MOST_CHANGES: usize = 3;

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

/// How far a visit has come.
#[derive(Clone, Debug)]
pub(super) enum Progress {
    /// AWS is read.
    Reading,
    /// The API server confirmed the objects.
    Confirmed(Arc<Prepared>),
    /// It did not, and the visit ends.
    Stopped(Box<Report>),
    /// The steps were applied.
    Applied(Arc<Prepared>, Outcome),
}

impl Seen {
    /// The visit as decisions take it, with what is remembered.
    pub(super) fn view<'a>(&'a self, visit: &'a Visit, refusals: &'a Refusals) -> View<'a> {
        View {
            remembered: Some(&self.memory.former),
            ..visit.view(refusals)
        }
    }

    /// Nothing yet, but what is remembered from earlier visits.
    #[must_use]
    pub fn new(visit: &Visit, memory: Memory, now: Timestamp) -> Self {
        let all_ready = visit.objects.iter().all(Object::is_ready);
        let believes = visit.removes_all()
            || (memory.inputs == visit.inputs && all_ready)
            || memory.was_settling(&visit.inputs);
        let known = memory
            .known(visit.times.preflight, now)
            .filter(|_| believes);
        let at_once = known.is_some() || visit.removes_all();
        let (problems, _) = memory
            .culprits
            .waiting(&visit.objects, visit.times.retry, now);
        let mut seen = Self {
            memory,
            observed: known.unwrap_or_default(),
            refusals: Refusals {
                problems,
                ..Refusals::default()
            },
            done: vec![],
            notices: vec![],
            progress: Progress::Reading,
            scope: None,
            planned_again: 0,
        };
        seen.begin(visit, at_once);
        seen
    }

    /// Begins to read: everything at once, or depth by depth, so that an object that can't succeed costs few calls.
    fn begin(&mut self, visit: &Visit, at_once: bool) {
        self.progress = Progress::Reading;
        self.observed.depth = if at_once {
            Depth::Everything
        } else {
            Depth::Foundation
        };
        self.scope = (!is_at_rest(visit)).then(|| Scope {
            tags: self.memory.contention.is_on(),
            depth: self.observed.depth,
            ..view::scope(&self.view(visit, &self.refusals))
        });
    }

    /// What AWS answered.
    #[must_use]
    pub fn observed(&self) -> &Observed {
        &self.observed
    }

    /// What to ask AWS now. Empty: everything that is needed was read.
    pub(super) fn questions(&self) -> BTreeSet<Question> {
        self.scope
            .as_ref()
            .map(|scope| questions(scope, &self.observed))
            .unwrap_or_default()
    }

    /// Whether this visit got further than reads, so that what it plans after a refusal is not in doubt: the steps before were believed.
    pub(super) fn is_believed(&self) -> bool {
        !self.refusals.steps.is_empty() || !self.refusals.finalizers.is_empty()
    }

    /// Adds AWS's answers, and reads deeper if that is worth it.
    pub fn answered(&mut self, visit: &Visit, answers: Vec<Answer>) {
        let Some(scope) = &mut self.scope else { return };
        for answer in answers {
            self.observed.fold(scope, answer);
        }
        let view = visit.view(&self.refusals);
        while questions(scope, &self.observed).is_empty() {
            let deeper = Depth::VARIANTS.iter().find(|depth| **depth > scope.depth);
            match deeper {
                Some(depth) if disposition::is_worth_reading_deeper(&view, &self.observed) => {
                    scope.depth = *depth;
                    self.observed.depth = *depth;
                }
                _ => return,
            }
        }
    }

    /// Adds what the API server said to the objects that act.
    pub fn opened(
        &mut self,
        visit: &Visit,
        prepared: Arc<Prepared>,
        opened: Opened,
        now: Timestamp,
    ) {
        let memory = || prepared.memory.clone();
        let stopped = match opened {
            Opened::Open => {
                self.progress = Progress::Confirmed(prepared);
                return;
            }
            // Nothing was written, so that what was read is still good.
            Opened::Refused(errors) => {
                self.refusals.finalizers.extend(errors);
                self.memory = memory();
                self.notices.clone_from(&prepared.notices);
                self.progress = Progress::Reading;
                return;
            }
            Opened::Changed => {
                let mut memory = memory();
                let wait = memory.behind();
                Report::unchanged(Ending::After(wait), memory)
            }
            Opened::Unanswered(error) => report::unconfirmed(visit, &error, memory(), now),
        };
        self.progress = Progress::Stopped(Box::new(Report {
            notices: prepared.notices.clone(),
            ..stopped
        }));
    }

    /// Adds the outcome of the steps. If AWS refused some of them, the objects that they are for wait, and the others are planned again.
    pub fn applied(
        &mut self,
        visit: &Visit,
        prepared: Arc<Prepared>,
        mut outcome: Outcome,
        now: Timestamp,
    ) {
        for (planned, failure) in &mut outcome.failed {
            if let Some(explained) = refusals::explained(&planned.step, failure) {
                *failure = explained;
            }
        }
        let mut memory = prepared.remember(visit, &self.observed, &outcome, now);
        let again = self
            .refusals
            .add(&prepared, &outcome, visit, &self.observed);
        for key in std::mem::take(&mut self.refusals.found) {
            let object = visit.objects.iter().find(|object| object.key == key);
            let problem = self.refusals.problems.get(&key).cloned();
            if let Some((object, problem)) = object.zip(problem) {
                memory.culprits.add(object, problem, now);
            }
        }
        // What another writer changed meanwhile is planned on again.
        let changed = outcome.failed.iter().any(|(planned, failure)| {
            failure.kind == FailureKind::Outdated
                && matches!(planned.step.target(), Target::Configuration(_))
        });
        let again = again || (changed && self.planned_again < MOST_CHANGES);
        self.planned_again += usize::from(changed);
        if !again {
            let culprits = memory.culprits;
            let mut prepared = Prepared::clone(&prepared);
            prepared.memory.culprits = culprits;
            self.progress = Progress::Applied(Arc::new(prepared), outcome);
            return;
        }
        self.memory = memory;
        self.notices.clone_from(&prepared.notices);
        self.done
            .extend(outcome.done.into_iter().map(|planned| planned.step));
        self.observed = Known::of(&self.observed, &visit.source).observed();
        self.begin(visit, true);
    }
}

/// Whether nothing in AWS needs to be read for the visit.
fn is_at_rest(visit: &Visit) -> bool {
    view::is_at_rest(&visit.view(&Refusals::default()))
}
