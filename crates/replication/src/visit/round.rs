//! One composition of a visit: who takes part in it and how, what it would change, and what its rules need.

use std::collections::{BTreeMap, BTreeSet};

use api::{bucket_replication::DeletionPolicy, condition::Reason};

use crate::{
    Object,
    assess::Resolved,
    compose,
    composition::claims::{Carry, Claims},
    composition::desired::Desired,
    names::{ObjectKey, RoleName},
    observed::Facet,
    plan::{self, Basis, PlannedStep, Settling, Users},
    policy::{Document, Mark, Statement},
    remedy::{Left, PolicyOf},
    settle::{self, Need},
    shared_policy::SharedPolicy,
    visit::{
        checked_role::{CheckedRole, by_object},
        disposition::{Disposition, Dispositions, External},
        former::Former,
        stage::Stage,
    },
};

/// One composition, and who uses what in it.
pub(super) struct Round<'a> {
    stage: &'a Stage<'a>,
    pub(super) desired: Desired,
    pub(super) users: Users,
    acting: Vec<Resolved>,
    /// Those whose new rules wait for permissions to settle.
    waiting: BTreeSet<ObjectKey>,
    /// Those whose new rules wait, for whatever reason.
    withheld: BTreeSet<ObjectKey>,
    disabled: bool,
    /// Whether permissions of former rules stay for a while.
    pub(super) drains: bool,
    /// What stays for each object.
    pub(super) former: BTreeMap<ObjectKey, Former>,
    /// The policies that lose no statement now, if others create the role.
    kept: BTreeSet<SharedPolicy>,
}

impl<'a> Round<'a> {
    /// Composes what the objects that act ask for, without the new rules of those that wait. With `observing`, those that only show what would be
    /// done act as well.
    pub(super) fn new(
        stage: &'a Stage<'a>,
        dispositions: &Dispositions,
        waiting: &BTreeSet<ObjectKey>,
        observing: bool,
        drains: bool,
    ) -> Self {
        let mut parts = Parts {
            withheld: waiting.clone(),
            ..Parts::default()
        };
        for object in &stage.objects {
            parts.add(object, dispositions.get(&object.key), observing);
        }
        parts.carry_unwatched(stage);
        parts.drop_refused(stage);
        let Parts {
            acting,
            carried,
            withheld,
            mut users,
        } = parts;
        for resolved in &acting {
            add_user(&mut users, resolved);
        }
        let desired = compose::compose(&Claims {
            installation: stage.view.installation,
            accounts: stage.view.accounts,
            account: stage.account,
            source: stage.view.source,
            observed: stage.observed,
            acting: &acting,
            withheld: &withheld,
            drain: stage.view.drain().filter(|_| drains),
            carried: &carried,
        });
        let mut round = Self {
            drains,
            stage,
            desired,
            users,
            acting,
            waiting: waiting.clone(),
            withheld,
            disabled: carried.values().any(|carry| *carry == Carry::Disabled),
            former: BTreeMap::new(),
            kept: BTreeSet::new(),
        };
        round.add_former(dispositions);
        round
    }

    /// Adds what stays for former rules.
    fn add_former(&mut self, dispositions: &Dispositions) {
        if self.stage.account.roles.are_checked() {
            let (former, kept) = CheckedRole {
                stage: self.stage,
                desired: &self.desired,
                withheld: &self.withheld,
                changing: plan::changing_rules(&self.basis()),
                drain: self.stage.view.drain(),
                drains: self.drains,
                existing: by_object(self.stage, self.stage.observed.configuration.present()),
            }
            .former(dispositions);
            self.desired.drained |= former.values().any(|former| former.over);
            (self.former, self.kept) = (former, kept);
        } else if let Some(since) = self.desired.draining_since {
            let draining = self.desired.draining.iter().cloned();
            self.former = draining.map(|key| (key, Former::of_role(since))).collect();
        }
    }

    /// Whether permissions of former rules stay for any object.
    pub(super) fn is_draining(&self) -> bool {
        self.former.values().any(|former| !former.over)
    }
}

/// The part that each object has in a composition.
#[derive(Default)]
struct Parts {
    acting: Vec<Resolved>,
    carried: BTreeMap<ObjectKey, Carry>,
    withheld: BTreeSet<ObjectKey>,
    users: Users,
}

impl Parts {
    fn add(&mut self, object: &Object, disposition: Option<&Disposition>, observing: bool) {
        let key = &object.key;
        match disposition {
            Some(Disposition::Acting {
                resolved,
                problems,
                external,
            }) => {
                let unattested = |external: &External| !external.attested;
                if !problems.is_empty() || external.as_deref().is_some_and(unattested) {
                    self.withheld.insert(key.clone());
                }
                self.acting.push((**resolved).clone());
            }
            Some(
                Disposition::Observing { resolved, .. }
                | Disposition::Refused {
                    resolved: Some(resolved),
                    planned: true,
                    ..
                },
            ) if observing => self.acting.push((**resolved).clone()),
            Some(Disposition::Refused { problems, .. })
                if object.may_have_resources()
                    && problems
                        .iter()
                        .any(|problem| problem.reason == Reason::NotGranted) =>
            {
                self.carried.insert(key.clone(), Carry::Disabled);
                self.users.all.insert(key.clone());
            }
            Some(Disposition::Leaving) => {
                self.users.all.insert(key.clone());
                if object.spec.deletion_policy == DeletionPolicy::Retain {
                    self.carried.insert(key.clone(), Carry::Retained);
                }
            }
            _ => {
                self.carried.insert(key.clone(), Carry::Unchanged);
            }
        }
    }

    /// It is not known whether the objects of rules exist whose namespace is not watched.
    fn carry_unwatched(&mut self, stage: &Stage<'_>) {
        let existing = stage.observed.configuration.present();
        let rules = existing.into_iter().flat_map(|existing| &existing.rules);
        for mark in rules.filter_map(|rule| rule.mark(stage.view.installation)) {
            if !stage.view.watched.includes(&mark.object) {
                self.carried.insert(mark.object, Carry::Unchanged);
            }
        }
    }

    /// Leaves out the rules that may be why S3 refuses what exists.
    fn drop_refused(&mut self, stage: &Stage<'_>) {
        for dropped in stage.view.refusals.narrowing.dropped() {
            let is_dropped = |resolved: &Resolved| resolved.valid.key == *dropped;
            if let Some(carry @ Carry::Unchanged) = self.carried.get_mut(dropped) {
                *carry = Carry::Dropped;
            } else if self.acting.iter().any(is_dropped) {
                self.carried.insert(dropped.clone(), Carry::Dropped);
                self.withheld.insert(dropped.clone());
            }
        }
    }
}

fn add_user(users: &mut Users, resolved: &Resolved) {
    let key = &resolved.valid.key;
    users.all.insert(key.clone());
    let destination = resolved.valid.destination.clone();
    users
        .buckets
        .entry(destination)
        .or_default()
        .insert(key.clone());
    let keys = resolved.keys.iter();
    for arn in keys.flat_map(|keys| keys.source.iter().chain([&keys.replica])) {
        users
            .keys
            .entry(arn.clone())
            .or_default()
            .insert(key.clone());
    }
}

impl Round<'_> {
    /// The existing policies that have statements of former rules.
    pub(super) fn former_policies(&self) -> impl Iterator<Item = (&SharedPolicy, &Document)> {
        let policies = self.former.values().flat_map(|former| &former.policies);
        policies.filter_map(|policy| {
            let read = self.stage.observed.policy(policy)?.present()?;
            Some((policy, read))
        })
    }

    /// What the rules of each acting object need; nothing, where no role is wanted.
    pub(super) fn needs(&self) -> BTreeMap<ObjectKey, Need> {
        let (visit, account, observed) = (self.stage.view, self.stage.account, self.stage.observed);
        let Some(role) = &self.desired.role else {
            return BTreeMap::new();
        };
        let claims = Claims {
            installation: visit.installation,
            accounts: visit.accounts,
            account,
            source: visit.source,
            observed,
            acting: &self.acting,
            withheld: &self.withheld,
            drain: None,
            carried: &BTreeMap::new(),
        };
        settle::needs(&claims, role)
    }

    /// Whether the role's policies would stop naming a statement of another account that was not read.
    pub(super) fn forgets_unseen(&self) -> bool {
        let (visit, observed) = (self.stage.view, self.stage.observed);
        let alone = Mark::owner(RoleName::of(visit.installation, visit.source).as_str());
        // Earlier versions wrote a statement for each role.
        let is_former = |statement: &Statement| {
            let mark = statement.mark_of(visit.installation);
            mark.is_some_and(|mark| mark.owner == alone)
        };
        let lacks = |policy: &Facet<Document>, sids: &BTreeSet<String>| match policy {
            Facet::Absent => true,
            Facet::Present(policy) => {
                let statements = policy.statements();
                let shown: BTreeSet<_> = statements.iter().filter_map(Statement::sid).collect();
                !statements.iter().any(is_former)
                    && sids.iter().any(|sid| !shown.contains(sid.as_str()))
            }
            Facet::Unread | Facet::Failed(_) => false,
        };
        let unused = plan::unused(&self.basis());
        unused.iter().any(|(policy, sids)| {
            *policy.account() != visit.source.account
                && PolicyOf::from(policy).is_written(visit.accounts)
                && observed
                    .policy(policy)
                    .is_some_and(|read| lacks(read, sids))
        })
    }

    /// What only owners can remove of what the source bucket no longer needs: how, for each policy. Where no `AWSAccount` names the account any
    /// longer, that is what the role's policies named.
    pub(super) fn left(&self) -> Vec<Left> {
        let accounts = self.stage.view.accounts;
        let basis = self.basis();
        let mut left = vec![];
        let mut add = |policy: PolicyOf<'_>, sids: &BTreeSet<String>| {
            left.extend(sids.iter().map(|sid| policy.left(sid)));
        };
        for (policy, sids) in &plan::unneeded(&basis) {
            if !PolicyOf::from(policy).is_written(accounts) {
                add(policy.into(), sids);
            }
        }
        for (policy, sids) in &plan::unused(&basis) {
            if accounts.by_id(policy.account()).is_none() {
                add(policy.into(), sids);
            }
        }
        left
    }

    pub(super) fn basis(&self) -> Basis<'_> {
        let (visit, observed) = (self.stage.view, self.stage.observed);
        Basis {
            installation: visit.installation,
            source: visit.source,
            desired: &self.desired,
            observed,
            users: &self.users,
            waiting: &self.waiting,
            draining: &self.desired.draining,
            kept: &self.kept,
            refused: &visit.refusals.steps,
            probes: visit.refusals.narrowing.probes(),
            settle: Settling::Nothing,
        }
    }

    /// The steps, without those on policies that the `AWSAccount` says are only checked.
    pub(super) fn steps(&self, settle: Settling<'_>) -> Vec<PlannedStep> {
        let accounts = self.stage.view.accounts;
        let basis = Basis {
            settle,
            ..self.basis()
        };
        let mut steps = plan::plan(&basis);
        steps.retain(|planned| {
            let shared = planned.step.shared();
            shared.is_none_or(|(policy, _)| PolicyOf::from(&policy).is_written(accounts))
        });
        steps
    }

    pub(super) fn has_work(&self, dispositions: &Dispositions) -> bool {
        self.disabled
            || dispositions.values().any(|disposition| {
                matches!(
                    disposition,
                    Disposition::Acting { .. } | Disposition::Leaving
                )
            })
    }
}
