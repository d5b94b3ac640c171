//! Decisions that are about to be carried out, and what to remember after that.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use crate::{
    Object,
    names::ObjectKey,
    observed::Observed,
    plan::Step,
    uses::Used,
    visit::{
        contention::Work, decision::Decision, disposition::Disposition, in_use::in_use,
        input::Visit, memory::Memory, notice::Notice, outcome::Outcome,
    },
};

/// Decisions that are about to be carried out.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// What was decided.
    pub decision: Decision,
    /// Whether the steps correct what another writer changed.
    pub drift: bool,
    /// What is remembered so far.
    pub(super) memory: Memory,
    pub(super) notices: Vec<Notice>,
    /// The steps that are needed, including those that wait because of contention.
    pub(super) needed: Vec<Step>,
    /// What they are, so that contention is counted.
    pub(super) work: Work,
    /// How long until a contended element is corrected again.
    pub(super) contended: Option<Duration>,
}

/// What the API server confirms before anything is written to AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// The objects that act, and so have to have the finalizer.
    pub acting: BTreeSet<ObjectKey>,
    /// Whether S3 has a rule of an object that the visit does not know, and that would be removed: then the visit has to know all that exist.
    pub all: bool,
}

impl Prepared {
    /// What the API server has to confirm.
    #[must_use]
    pub fn confirmation(&self, visit: &Visit, observed: &Observed) -> Confirmation {
        let rules = observed.configuration.present().map(|read| &read.rules);
        let marks = rules
            .into_iter()
            .flatten()
            .filter_map(|rule| rule.mark(&visit.installation));
        let is_known = |key: &ObjectKey| {
            !visit.watched.includes(key) || visit.objects.iter().any(|object| object.key == *key)
        };
        Confirmation {
            acting: self.acting(),
            all: marks
                .filter(|mark| !mark.retained)
                .any(|mark| !is_known(&mark.object)),
        }
    }

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

    /// What the source bucket uses at destinations and keys while the steps are applied. `None`: that is not known.
    #[must_use]
    pub fn uses(&self, visit: &Visit, observed: &Observed) -> Option<Used> {
        in_use(visit, &self.decision, observed, true)
    }

    /// Whether anything is written, to AWS or as a finalizer.
    pub(super) fn writes(&self, visit: &Visit) -> bool {
        let acting = self.acting();
        let unheld = |object: &Object| !object.held && acting.contains(&object.key);
        self.decision
            .steps
            .iter()
            .any(|planned| planned.step != Step::Settle && !planned.waits)
            || visit.objects.iter().any(unheld)
    }

    /// What to remember after the steps were applied.
    pub(super) fn remember(
        &self,
        visit: &Visit,
        observed: &Observed,
        outcome: &Outcome,
        now: Timestamp,
    ) -> Memory {
        let mut memory = self.memory.clone();
        memory.note(&self.decision, observed, outcome, visit, now);
        let done: Vec<_> = outcome
            .done
            .iter()
            .map(|planned| planned.step.clone())
            .collect();
        memory.contention.note(&self.needed, &done, self.work, now);
        memory
    }
}
