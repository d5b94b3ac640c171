//! All decisions of a visit, as phases: each object by itself, overlaps, owners, limits, what settles, and the steps.

use std::collections::{BTreeMap, BTreeSet};

use api::condition::Reason;

use crate::{
    Object, Problem, assess,
    composition::desired::Desired,
    configuration::Configuration,
    contention,
    names::{ObjectKey, OwnedBucket},
    observed::{Depth, Facet, Observed},
    plan::{self, PlannedStep, Settling, Step},
    remedy::Left,
    settle::Need,
    visit::{
        disposition::{self, Disposition, Dispositions},
        doubt::is_doubtful,
        former::Former,
        limits, overlaps, owners,
        round::Round,
        stage::Stage,
        view::{Refusals, View},
    },
};

/// What follows from a visit.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What the visit does for each object.
    pub dispositions: Dispositions,
    /// The state to reach.
    pub desired: Desired,
    /// The steps to it, in order.
    pub steps: Vec<PlannedStep>,
    /// What would be done for objects that only show it, or that are blocked.
    pub pending: BTreeMap<ObjectKey, Vec<String>>,
    /// What the rules of each acting object need.
    pub needs: BTreeMap<ObjectKey, Need>,
    /// The objects whose permissions have not settled: either their rules are not written yet, or what their existing rules need was granted just
    /// now.
    pub settling: BTreeSet<ObjectKey>,
    /// Whether what the role's policies name was not read where it should be: the read may lag, and what is to be removed may exist.
    pub doubtful: bool,
    /// The permissions of former rules that stay for each acting object.
    pub former: BTreeMap<ObjectKey, Former>,
    /// What blocks the removal of what leaving objects created.
    pub blockers: Vec<Problem>,
    /// What only the owners of policies can remove of what the source bucket no longer needs.
    pub left: Vec<Left>,
    /// How deep was read.
    pub depth: Depth,
    /// Whether the replication configuration is known.
    pub rules_known: bool,
    /// Whether everything was read that says what the source bucket uses.
    pub uses_known: bool,
}

impl Refusals {
    /// Adds the steps of `decision` on a policy, `element`, that another writer keeps changing: the objects that need them wait, and others are
    /// planned without them. False if it is no such policy, or already refused.
    pub fn contend(
        &mut self,
        decision: &Decision,
        element: &str,
        source: &OwnedBucket,
        observed: &Observed,
    ) -> bool {
        let mut changed = false;
        for planned in &decision.steps {
            let step = &planned.step;
            let is_new = || {
                !self
                    .steps
                    .iter()
                    .any(|refused| refused.is_on_same_document(step))
            };
            if step.element().as_deref() != Some(element)
                || !step.is_on_same_document(step)
                || !is_new()
            {
                continue;
            }
            let problem = contended(planned, element, source, observed);
            let concerned = planned.concerns.iter();
            self.problems
                .extend(concerned.map(|key| (key.clone(), problem.clone())));
            self.steps.push(step.clone());
            changed = true;
        }
        changed
    }
}

/// What a step whose element another writer keeps changing means for the objects that it is for.
fn contended(
    planned: &PlannedStep,
    element: &str,
    source: &OwnedBucket,
    observed: &Observed,
) -> Problem {
    let tags = planned
        .step
        .bucket()
        .and_then(|bucket| observed.buckets.get(bucket)?.tags.present());
    let message = tags.and_then(contention::writer).map_or_else(
        || format!("another writer changed {element} five times or more within an hour. Find that writer, and let only it or the operator manage {element}; until then, the operator corrects changes at most once an hour"),
        |writer| format!("another writer, probably {writer} (by the bucket's tags), changed {element} five times or more within an hour. Let only it or the operator manage {element}; until then, the operator corrects changes at most once an hour"),
    );
    Problem::new(planned.step.condition(source), Reason::Contended, message)
}

impl Decision {
    /// The steps that are needed and do not wait.
    pub(super) fn needed(&self) -> Vec<Step> {
        let needed = self.steps.iter().filter(|planned| !planned.waits);
        needed.map(|planned| planned.step.clone()).collect()
    }

    /// Whether all steps correct what another writer changed: each is for objects that were ready, and that still get what they ask for.
    #[must_use]
    pub fn is_drift(&self, ready: &BTreeSet<ObjectKey>) -> bool {
        let served = |key| {
            ready.contains(key)
                && matches!(self.dispositions.get(key), Some(Disposition::Acting { problems, .. }) if problems.is_empty())
        };
        let tidying =
            |step: &Step| matches!(step, Step::Settle | Step::DeleteManagedPolicyVersion { .. });
        let mut steps = self
            .steps
            .iter()
            .filter(|planned| !tidying(&planned.step))
            .peekable();
        // What former rules needed is removed in time.
        !self.desired.drained
            && steps.peek().is_some()
            && steps
                .all(|planned| !planned.concerns.is_empty() && planned.concerns.iter().all(served))
    }

    /// Leaves `element` as another writer keeps changing it, and reports that on the objects that it is for. What requires the steps waits, too.
    pub fn contend(&mut self, element: &str, source: &OwnedBucket, observed: &Observed) {
        let is_contended =
            |planned: &&mut PlannedStep| planned.step.element().as_deref() == Some(element);
        for planned in self.steps.iter_mut().filter(is_contended) {
            planned.waits = true;
            let problem = contended(planned, element, source, observed);
            for key in &planned.concerns {
                match self.dispositions.get_mut(key) {
                    Some(Disposition::Acting { problems, .. }) => problems.push(problem.clone()),
                    Some(Disposition::Leaving) if !self.blockers.contains(&problem) => {
                        self.blockers.push(problem.clone());
                    }
                    _ => {}
                }
            }
        }
    }

    /// What the steps change, to distinguish one drift from another.
    #[must_use]
    pub fn changes(&self) -> Vec<String> {
        self.steps
            .iter()
            .map(|planned| planned.step.change())
            .collect()
    }
}

/// Decides. `settled` says whether the permissions that the rules of an object need have settled.
#[must_use]
pub fn decide(
    visit: &View<'_>,
    observed: &Observed,
    settled: &dyn Fn(&ObjectKey, &Need) -> bool,
) -> Decision {
    let Some(stage) = Stage::new(visit, observed) else {
        return nothing(visit, observed);
    };
    let dispositions = disposition::all(&stage);
    let dispositions = overlaps::refuse(&stage, dispositions);
    let dispositions = owners::wait(&stage, dispositions);
    let (dispositions, composed) = limits::refuse(&stage, dispositions);
    let mut settlement = Settlement::of(&stage, &composed, settled);
    // Their rules are tried later in this visit. If it ends before, they are not ready.
    let untried = visit.refusals.narrowing.withheld();
    settlement.settling.extend(untried.iter().cloned());
    // The configuration has one role, so that a move concerns all rules on the bucket.
    let settles = !settlement.waiting.is_empty() && !settlement.moves_role;
    let narrowing = &visit.refusals.narrowing;
    let round = if settles || narrowing.is_active() {
        let mut waiting = untried;
        waiting.extend(settlement.waiting.iter().cloned());
        Round::new(&stage, &dispositions, &waiting, false, composed.drains)
    } else {
        composed
    };
    let mut steps = round.steps(settlement.place());
    // What was not read can't be changed.
    let seen = observed.depth == Depth::Everything;
    if !seen || !stage.unreadable.is_empty() || !round.has_work(&dispositions) {
        steps.clear();
    }
    let leaves = dispositions
        .values()
        .any(|disposition| *disposition == Disposition::Leaving);
    let doubtful = dispositions.iter().any(|(key, disposition)| {
        *disposition == Disposition::Leaving && is_doubtful(key, visit, observed)
    });
    Decision {
        steps,
        pending: pending(&stage, &dispositions),
        doubtful: doubtful || round.forgets_unseen(),
        blockers: blockers(&stage, &dispositions),
        left: if leaves { round.left() } else { vec![] },
        dispositions,
        former: round.former,
        desired: round.desired,
        needs: settlement.needs,
        settling: settlement.settling,
        depth: observed.depth,
        rules_known: rules_known(observed),
        uses_known: seen && stage.unreadable.is_empty() && rules_known(observed),
    }
}

/// Which objects wait for permissions to settle.
struct Settlement {
    needs: BTreeMap<ObjectKey, Need>,
    /// Whose rules are not written before.
    waiting: BTreeSet<ObjectKey>,
    /// Who is not ready before: these, and those whose existing rules need what was granted just now.
    settling: BTreeSet<ObjectKey>,
    /// Whether all rules move to another role.
    moves_role: bool,
}

impl Settlement {
    fn of(
        stage: &Stage<'_>,
        round: &Round<'_>,
        settled: &dyn Fn(&ObjectKey, &Need) -> bool,
    ) -> Self {
        let moves_role = moves_role(
            stage.observed.configuration.present(),
            round.desired.configuration.as_ref(),
        );
        let changing = if moves_role {
            round.users.all.clone()
        } else {
            plan::changing_rules(&round.basis())
        };
        let needs = round.needs();
        let unsettled: BTreeMap<_, _> = needs
            .iter()
            .filter(|(key, need)| !settled(key, need))
            .collect();
        let waiting: BTreeSet<_> = unsettled
            .keys()
            .filter(|key| changing.contains(**key))
            .map(|key| (*key).clone())
            .collect();
        // Existing rules stay while their permissions settle, but that they replicate is only reported afterwards.
        let was_ready = |key: &ObjectKey| {
            let mut objects = stage.objects.iter();
            objects.any(|object| object.key == *key && object.is_ready())
        };
        let settling = unsettled
            .into_iter()
            .filter(|(key, need)| waiting.contains(*key) || !need.granted || !was_ready(key))
            .map(|(key, _)| key.clone())
            .collect();
        Self {
            needs,
            waiting,
            settling,
            moves_role,
        }
    }

    /// Where the plan waits.
    fn place(&self) -> Settling<'_> {
        if self.settling.is_empty() {
            Settling::Nothing
        } else if self.moves_role && !self.waiting.is_empty() {
            Settling::BeforeRules(&self.settling)
        } else {
            Settling::AtTheEnd(&self.settling)
        }
    }
}

/// What blocks the removal of what leaving objects created.
fn blockers(stage: &Stage<'_>, dispositions: &Dispositions) -> Vec<Problem> {
    let unreached = plan::unreached(stage.observed)
        .into_iter()
        .map(|(condition, failure)| assess::failed(condition, failure));
    let refused = stage.view.refusals.problems.iter();
    let refused = refused
        .filter(|(key, _)| dispositions.get(*key) == Some(&Disposition::Leaving))
        .map(|(_, problem)| problem.clone());
    let unreadable = stage.unreadable.iter().cloned();
    unreadable.chain(unreached).chain(refused).collect()
}

/// Whether the rules move to another role.
fn moves_role(existing: Option<&Configuration>, wanted: Option<&Configuration>) -> bool {
    existing
        .zip(wanted)
        .is_some_and(|(existing, wanted)| existing.role != wanted.role)
}

fn rules_known(observed: &Observed) -> bool {
    matches!(observed.configuration, Facet::Present(_) | Facet::Absent)
}

fn nothing(visit: &View<'_>, observed: &Observed) -> Decision {
    let desired = Desired {
        configuration: observed.configuration.present().cloned(),
        role: None,
        bucket_statements: BTreeMap::new(),
        key_statements: BTreeMap::new(),
        versioning: BTreeMap::new(),
        draining: BTreeSet::new(),
        draining_since: None,
        drained: false,
    };
    let refused = |object: &Object| match visit.valid(object) {
        _ if object.abandoned => Disposition::Abandoned,
        _ if object.is_deleting() => Disposition::Leaving,
        Ok(_) => Disposition::refused(vec![]),
        Err(problems) => Disposition::refused(problems.to_vec()),
    };
    let dispositions = visit
        .objects
        .iter()
        .map(|object| (object.key.clone(), refused(object)))
        .collect();
    Decision {
        dispositions,
        desired,
        steps: vec![],
        pending: BTreeMap::new(),
        former: BTreeMap::new(),
        needs: BTreeMap::new(),
        settling: BTreeSet::new(),
        doubtful: false,
        blockers: vec![],
        left: vec![],
        depth: observed.depth,
        rules_known: rules_known(observed),
        uses_known: false,
    }
}

/// What would be done for the objects that only show it, and for those that are blocked.
fn pending(stage: &Stage<'_>, dispositions: &Dispositions) -> BTreeMap<ObjectKey, Vec<String>> {
    let shows_plan = |disposition: &Disposition| {
        matches!(
            disposition,
            Disposition::Observing { .. } | Disposition::Refused { planned: true, .. }
        )
    };
    let observing: Vec<_> = dispositions
        .iter()
        .filter(|(_, disposition)| shows_plan(disposition))
        .map(|(key, _)| key)
        .collect();
    if observing.is_empty() {
        return BTreeMap::new();
    }
    let steps =
        Round::new(stage, dispositions, &BTreeSet::new(), true, true).steps(Settling::Nothing);
    let texts = |key: &ObjectKey| {
        let concerned = steps
            .iter()
            .filter(|planned| planned.concerns.contains(key));
        concerned
            .map(|planned| format!("{} {}", planned.step.sign(), planned.step))
            .collect()
    };
    observing
        .into_iter()
        .map(|key| (key.clone(), texts(key)))
        .collect()
}
