//! The outcome of the steps of a plan: what was applied, what failed, and what can be applied next.

use std::collections::BTreeSet;

use crate::{
    observed::{Failure, FailureKind},
    plan::{PlannedStep, Step},
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
    pub(crate) fn open(&self) -> impl DoubleEndedIterator<Item = &PlannedStep> {
        let failed = self.failed.iter().map(|(planned, _)| planned);
        failed.chain(&self.undone)
    }
}
