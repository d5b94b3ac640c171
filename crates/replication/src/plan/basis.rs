//! What a plan is made from, and the steps of a plan with their numbers.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    composition::desired::Desired,
    keys::KeyArn,
    names::{InstallationId, ObjectKey, OwnedBucket},
    observed::Observed,
    plan::step::{PlannedStep, Step},
    shared_policy::SharedPolicy,
};

/// Which objects use what: needed to say which objects a step is for.
#[derive(Clone, Debug, Default)]
pub struct Users {
    /// All objects that act or leave.
    pub all: BTreeSet<ObjectKey>,
    /// By destination.
    pub buckets: BTreeMap<OwnedBucket, BTreeSet<ObjectKey>>,
    /// By key.
    pub keys: BTreeMap<KeyArn, BTreeSet<ObjectKey>>,
}

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Basis<'a> {
    /// This installation.
    pub installation: &'a InstallationId,
    /// The source bucket.
    pub source: &'a OwnedBucket,
    /// What should exist.
    pub desired: &'a Desired,
    /// What exists.
    pub observed: &'a Observed,
    /// Which objects use what.
    pub users: &'a Users,
    /// The objects whose rules wait. Policies that they use lose no statement, because their former rules may still exist.
    pub waiting: &'a BTreeSet<ObjectKey>,
    /// The objects whose former rules had permissions that stay: policies that they use lose no statement.
    pub draining: &'a BTreeSet<ObjectKey>,
    /// Further policies that lose no statement.
    pub kept: &'a BTreeSet<SharedPolicy>,
    /// The steps that AWS refused: their policies do not change.
    pub refused: &'a [Step],
    /// Whether the configuration is written even if it does not change, to see if S3 still accepts it.
    pub probes: bool,
    /// Where the plan waits for permissions to settle.
    pub settle: Settling<'a>,
}

/// Where a plan waits for permissions to settle, with the objects that it waits for.
#[derive(Clone, Copy, Debug)]
pub enum Settling<'a> {
    /// Nowhere.
    Nothing,
    /// Before the configuration, which moves all rules to another role.
    BeforeRules(&'a BTreeSet<ObjectKey>),
    /// At the end: the rules of these objects come with a later visit, or exist already.
    AtTheEnd(&'a BTreeSet<ObjectKey>),
}

/// A step that has no place in a plan yet.
pub(super) struct Draft {
    pub(super) step: Step,
    pub(super) concerns: BTreeSet<ObjectKey>,
}

/// Steps with their numbers, in an order in which each comes after what it requires.
#[derive(Default)]
pub(super) struct Steps(pub(super) Vec<PlannedStep>);

impl Steps {
    /// All numbers so far.
    pub(super) fn all(&self) -> BTreeSet<usize> {
        self.0.iter().map(|planned| planned.number).collect()
    }

    /// Adds steps that do not depend on each other.
    pub(super) fn side_by_side(&mut self, drafts: Vec<Draft>, requires: &BTreeSet<usize>) {
        for draft in drafts {
            let number = self.0.len();
            self.0.push(PlannedStep {
                number,
                step: draft.step,
                concerns: draft.concerns,
                requires: requires.clone(),
                waits: false,
            });
        }
    }

    /// Adds steps of which each requires those before it.
    pub(super) fn in_sequence(&mut self, drafts: Vec<Draft>, requires: &BTreeSet<usize>) {
        let mut requires = requires.clone();
        for draft in drafts {
            self.side_by_side(vec![draft], &requires);
            requires.insert(self.0.len() - 1);
        }
    }
}
