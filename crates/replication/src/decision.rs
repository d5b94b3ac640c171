//! All decisions of one visit to a source bucket: the disposition of each object, and the steps that follow.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Object, Problem,
    accounts::{Account, Accounts},
    assess::{self, Resolved},
    compose::{self, Carry, Claims, Desired},
    configuration::{Configuration, ReplicationRule, RuleMark},
    contention, merge,
    names::{AccountId, InstallationId, KeyArn, ObjectKey, OwnedBucket, RoleName, fingerprint},
    observed::{Depth, Facet, KeyQuery, Observed, Scope},
    plan::{self, Basis, Fit, PlannedStep, Settling, Step, Users},
    policy::{Document, Mark, Statement},
    preflight,
    remedy::PolicyOf,
    settle::{self, Need},
    validate::Valid,
};
use api::{
    aws_account::{Access, PolicyMode},
    bucket_replication::{DeletionPolicy, ExistingConfiguration, Mode, RequiredAction},
    condition::{ConditionType, Reason},
};

/// Rules of one configuration ("Amazon S3 endpoints and quotas" in the AWS General Reference).
const MOST_RULES: usize = 1000;
/// Bytes of one configuration ("Replication configuration file elements" in the S3 User Guide).
const MOST_CONFIGURATION: usize = 2 * 1024 * 1024;
/// Destinations of one configuration, the default of an adjustable quota (same page).
const MOST_DESTINATIONS: usize = 28;
/// Bytes of a bucket policy ("Amazon S3 endpoints and quotas").
const MOST_BUCKET_POLICY: usize = 20 * 1024;
/// Bytes of a key policy ("Key policies in AWS KMS" in the KMS Developer Guide).
const MOST_KEY_POLICY: usize = 32 * 1024;

/// A visit as decisions take it: a source bucket and all objects that name it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// This installation.
    pub installation: &'a InstallationId,
    /// All accounts.
    pub accounts: &'a Accounts,
    /// The source bucket.
    pub source: &'a OwnedBucket,
    /// All objects that name the bucket, in any order.
    pub objects: &'a [Object],
    /// Each of them, validated.
    pub validated: &'a BTreeMap<ObjectKey, Result<Valid, Vec<Problem>>>,
    /// What AWS refused in this visit.
    pub refusals: &'a Refusals,
}

impl<'a> View<'a> {
    fn valid(&self, object: &Object) -> Result<&'a Valid, &'a [Problem]> {
        match self.validated.get(&object.key) {
            Some(Ok(valid)) => Ok(valid),
            Some(Err(problems)) => Err(problems),
            None => Err(&[]),
        }
    }
}

/// What AWS or the API server refused. The rules of the objects concerned wait, and do not block the rules of others.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    /// The objects concerned.
    pub problems: BTreeMap<ObjectKey, Problem>,
    /// The steps, which are not tried again in this visit.
    pub steps: Vec<Step>,
    /// The objects to which the API server refuses to add the finalizer, with its error. Nothing is written for them.
    pub finalizers: BTreeMap<ObjectKey, String>,
}

/// What a visit does for an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Disposition {
    /// It can't get what it asks for; what it has does not change.
    Refused {
        /// Why.
        problems: Vec<Problem>,
        /// What it asks for, if its buckets and keys were found.
        resolved: Option<Box<Resolved>>,
        /// Whether only something else on the bucket blocks it, so that its status shows the plan.
        planned: bool,
    },
    /// It gets what it asks for. If someone has to act first, its new rules wait, and its existing rules do not change.
    Acting {
        /// What it gets.
        resolved: Box<Resolved>,
        /// What someone has to do first.
        problems: Vec<Problem>,
        /// What the owner of an account that can't be read has to apply, and whether that is attested.
        external: Option<Box<External>>,
    },
    /// It only shows what would be done.
    Observing(Box<Resolved>),
    /// It does not change.
    Paused,
    /// It is being deleted.
    Leaving,
    /// It is released, and what it created stays in AWS.
    Abandoned,
}

/// What the owner of an account that can't be read has to apply.
#[derive(Clone, Debug, PartialEq)]
pub struct External {
    /// All of it.
    pub actions: Vec<RequiredAction>,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Whether the object's annotation says that it is applied.
    pub attested: bool,
}

/// What follows from a visit.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What the visit does for each object.
    pub dispositions: BTreeMap<ObjectKey, Disposition>,
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
    /// What blocks the removal of what leaving objects created.
    pub blockers: Vec<Problem>,
    /// How deep was read.
    pub depth: Depth,
    /// Whether the replication configuration is known.
    pub rules_known: bool,
}

impl Disposition {
    fn refused(problems: Vec<Problem>) -> Self {
        Self::Refused {
            problems,
            resolved: None,
            planned: false,
        }
    }

    /// The same object, which can't have what it asks for.
    fn refuse(&mut self, problem: Problem) {
        let resolved = match std::mem::replace(self, Self::Paused) {
            Self::Acting { resolved, .. } | Self::Observing(resolved) => Some(resolved),
            Self::Refused { resolved, .. } => resolved,
            Self::Paused | Self::Leaving | Self::Abandoned => None,
        };
        *self = Self::Refused {
            problems: vec![problem],
            resolved,
            planned: false,
        };
    }
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
        steps.peek().is_some()
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

/// Whether every object on the bucket is paused or abandoned, so that nothing in AWS needs to be read.
#[must_use]
pub fn is_at_rest(visit: &View<'_>) -> bool {
    let paused = |object: &Object| {
        !object.is_deleting() && object.spec.mode == Mode::Paused && visit.valid(object).is_ok()
    };
    // An object that was never allowed has nothing in AWS, and what it names may be another tenant's: that is not even read.
    let never_allowed =
        |object: &Object| !object.may_have_resources() && visit.valid(object).is_err();
    visit
        .objects
        .iter()
        .all(|object| object.abandoned || paused(object) || never_allowed(object))
}

/// Whether an object can get what it asks for, as far as was read, or something has to be removed. Only then is a deeper read worth its calls.
#[must_use]
pub fn is_worth_reading_deeper(visit: &View<'_>, observed: &Observed) -> bool {
    let Some(account) = visit.accounts.by_id(&visit.source.account) else {
        return false;
    };
    let unreadable = unreadable(visit, observed);
    visit.objects.iter().any(|object| {
        match disposition(object, visit, account, observed, &unreadable) {
            Disposition::Refused { problems, .. } => {
                object.may_have_resources()
                    && problems
                        .iter()
                        .any(|problem| problem.reason == Reason::NotGranted)
            }
            Disposition::Acting { .. } | Disposition::Observing(_) | Disposition::Leaving => true,
            Disposition::Paused | Disposition::Abandoned => false,
        }
    })
}

/// What to read for the visit: everything.
#[must_use]
pub fn scope(visit: &View<'_>) -> Scope {
    let mut scope = Scope {
        source: visit.source.clone(),
        role: RoleName::of(visit.installation, visit.source),
        installation: visit.installation.clone(),
        destinations: BTreeSet::new(),
        keys: BTreeSet::new(),
        ownership: BTreeSet::new(),
        synced: BTreeSet::new(),
        boundary: visit
            .accounts
            .by_id(&visit.source.account)
            .and_then(|account| account.roles.permissions_boundary.clone()),
        mergeable: visit
            .accounts
            .by_id(&visit.source.account)
            .map(|account| account.roles.mergeable_role_arns.iter().cloned().collect())
            .unwrap_or_default(),
        merges: visit
            .objects
            .iter()
            .any(|object| object.spec.existing_configuration == ExistingConfiguration::Merge),
        default_encryption: false,
        managed: visit
            .accounts
            .all()
            .filter(|account| account.access == Access::Managed)
            .map(|account| account.id.clone())
            .collect(),
        tags: false,
        removing: visit.objects.iter().all(Object::is_deleting),
        depth: Depth::Everything,
    };
    for object in visit.objects {
        let Ok(valid) = visit.valid(object) else {
            continue;
        };
        let managed = |account: &AccountId| visit.accounts.managed(account).is_some();
        let of_key = |query: &KeyQuery| {
            query
                .reference
                .account()
                .unwrap_or(&query.beside.account)
                .clone()
        };
        let keys = assess::keys_of(valid).into_iter().filter(|query| {
            visit.accounts.by_id(&of_key(query)).is_none() || managed(&of_key(query))
        });
        scope.keys.extend(keys);
        scope.default_encryption |=
            !object.is_deleting() && assess::needs_default_encryption(valid);
        if !managed(&valid.destination.account) {
            continue;
        }
        scope.destinations.insert(valid.destination.clone());
        if object.spec.destination.owner.is_some() {
            scope.ownership.insert(valid.destination.clone());
        }
        if valid.sync_replica_modifications {
            scope.synced.insert(valid.destination.clone());
        }
    }
    scope
}

/// Decides. `settled` says whether the permissions that the rules of an object need have settled.
#[must_use]
pub fn decide(
    visit: &View<'_>,
    observed: &Observed,
    settled: &dyn Fn(&ObjectKey, &Need) -> bool,
) -> Decision {
    let mut objects: Vec<_> = visit.objects.iter().collect();
    objects.sort_by_key(|object| (object.created, object.key.clone()));
    let Some(account) = visit.accounts.by_id(&visit.source.account) else {
        return nothing(visit, observed);
    };
    let unreadable = unreadable(visit, observed);
    let mut dispositions: BTreeMap<_, _> = objects
        .iter()
        .map(|object| {
            (
                object.key.clone(),
                disposition(object, visit, account, observed, &unreadable),
            )
        })
        .collect();
    refuse_overlaps(&objects, &mut dispositions, visit, observed);
    let nobody = BTreeSet::new();
    let round = |dispositions: &BTreeMap<ObjectKey, Disposition>, observing: bool| {
        Round::new(
            visit,
            account,
            observed,
            &objects,
            dispositions,
            &nobody,
            observing,
        )
    };
    await_owners(visit, observed, &mut dispositions, &round);
    let mut now = round(&dispositions, false);
    while let Some(problem) = now.exceeded(visit, observed) {
        // An object that already has what it asks for exceeds no limit.
        let changing = plan::changing(&now.basis(visit, observed));
        let acting = |object: &&&Object| {
            matches!(
                dispositions.get(&object.key),
                Some(Disposition::Acting { .. })
            )
        };
        let crossing = objects
            .iter()
            .rev()
            .filter(acting)
            .find(|object| changing.contains(&object.key));
        let Some(last) = crossing.or_else(|| objects.iter().rev().find(acting)) else {
            break;
        };
        dispositions
            .entry(last.key.clone())
            .and_modify(|disposition| disposition.refuse(problem));
        now = round(&dispositions, false);
    }
    let moves_role = moves_role(
        observed.configuration.present(),
        now.desired.configuration.as_ref(),
    );
    let changing = if moves_role {
        now.users.all.clone()
    } else {
        plan::changing_rules(&now.basis(visit, observed))
    };
    let needs = now.needs(visit, account, observed);
    let mut unsettled: BTreeMap<_, _> = needs
        .iter()
        .filter(|(key, need)| !settled(key, need))
        .collect();
    let waiting: BTreeSet<_> = unsettled
        .keys()
        .filter(|key| changing.contains(**key))
        .map(|key| (*key).clone())
        .collect();
    // Existing rules stay while their permissions settle, but that they replicate is only reported afterwards.
    let ready: BTreeSet<_> = objects
        .iter()
        .filter(|object| object.is_ready())
        .map(|object| &object.key)
        .collect();
    unsettled.retain(|key, need| waiting.contains(*key) || !need.granted || !ready.contains(*key));
    let settling: BTreeSet<_> = unsettled.into_keys().cloned().collect();
    // The configuration has one role, so that a move concerns all rules on the bucket.
    if !waiting.is_empty() && !moves_role {
        now = Round::new(
            visit,
            account,
            observed,
            &objects,
            &dispositions,
            &waiting,
            false,
        );
    }
    let settle = if settling.is_empty() {
        Settling::Nothing
    } else if moves_role && !waiting.is_empty() {
        Settling::BeforeRules(&settling)
    } else {
        Settling::AtTheEnd(&settling)
    };
    let mut steps = now.steps(visit, observed, settle);
    // What was not read can't be changed.
    let seen = observed.depth == Depth::Everything;
    if !seen || !unreadable.is_empty() || !now.has_work(&dispositions) {
        steps.clear();
    }
    let pending = pending(visit, observed, &dispositions, &round);
    let unreached = plan::unreached(observed)
        .into_iter()
        .map(|(condition, failure)| assess::failed(condition, failure));
    let refused = visit
        .refusals
        .problems
        .iter()
        .filter(|(key, _)| dispositions.get(*key) == Some(&Disposition::Leaving));
    let blockers = unreadable
        .into_iter()
        .chain(unreached)
        .chain(refused.map(|(_, problem)| problem.clone()))
        .collect();
    let doubtful = dispositions.iter().any(|(key, disposition)| {
        *disposition == Disposition::Leaving && is_doubtful(key, visit, observed)
    }) || now.forgets_unseen(visit, observed);
    Decision {
        dispositions,
        desired: now.desired,
        steps,
        pending,
        needs,
        settling,
        doubtful,
        blockers,
        depth: observed.depth,
        rules_known: rules_known(observed),
    }
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

fn is_doubtful(key: &ObjectKey, visit: &View<'_>, observed: &Observed) -> bool {
    let owner = Mark::owner(&key.to_string());
    let mut rules = observed
        .configuration
        .present()
        .into_iter()
        .flat_map(|configuration| &configuration.rules);
    let permitted = observed.role_statements().iter().any(|statement| {
        statement
            .mark_of(visit.installation)
            .is_some_and(|mark| mark.owner == owner)
    });
    permitted
        && !rules.any(|rule| {
            rule.mark(visit.installation)
                .is_some_and(|mark| mark.object == *key)
        })
}

fn nothing(visit: &View<'_>, observed: &Observed) -> Decision {
    let desired = Desired {
        configuration: observed.configuration.present().cloned(),
        role: None,
        bucket_statements: BTreeMap::new(),
        key_statements: BTreeMap::new(),
        versioning: BTreeMap::new(),
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
        needs: BTreeMap::new(),
        settling: BTreeSet::new(),
        doubtful: false,
        blockers: vec![],
        depth: observed.depth,
        rules_known: rules_known(observed),
    }
}

/// What every object on the bucket depends on and could not be read, so that nothing may be overwritten.
fn unreadable(visit: &View<'_>, observed: &Observed) -> Vec<Problem> {
    let region = observed
        .buckets
        .get(visit.source)
        .and_then(|bucket| bucket.region.failure());
    let own = [
        (ConditionType::SourceReady, region),
        (
            ConditionType::ReplicationConfigured,
            observed.configuration.failure(),
        ),
        (ConditionType::RoleReady, observed.role.failure()),
        (ConditionType::RoleReady, observed.role_policies.failure()),
    ];
    let merged = observed
        .merged
        .values()
        .map(|policy| (ConditionType::RoleReady, policy.failure()));
    let failed = own
        .into_iter()
        .chain(merged)
        .filter_map(|(condition, failure)| Some(assess::failed(condition, failure?)));
    failed.chain(not_preservable(visit, observed)).collect()
}

/// A PUT replaces the whole configuration, so an element that can't be written back forbids it.
fn not_preservable(visit: &View<'_>, observed: &Observed) -> Option<Problem> {
    let unknown = observed
        .unknown_elements
        .iter()
        .find(|unknown| unknown.is_foreign(visit.installation))?;
    let of = unknown
        .rule
        .as_ref()
        .map_or_else(|| "the configuration".to_owned(), |id| format!("rule {id}"));
    let message = format!(
        "{of} on bucket {} has the element {}, which this version of the operator does not support and would remove with any write. Upgrade the operator, or remove the element",
        visit.source.name, unknown.path
    );
    Some(Problem::new(
        ConditionType::ReplicationConfigured,
        Reason::ForeignRuleNotPreservable,
        message,
    ))
}

/// What exists on the bucket and is not the operator's to change.
fn obstacles(
    resolved: &Resolved,
    visit: &View<'_>,
    account: &Account,
    observed: &Observed,
) -> Vec<Problem> {
    let foreign_role = observed
        .role
        .present()
        .filter(|role| !plan::is_ours(role, visit.installation, visit.source))
        .map(|role| {
            let message = format!(
                "role {} already exists without the operator's tags: delete it if it is not needed",
                role.arn
            );
            Problem::new(ConditionType::RoleReady, Reason::RoleNotOurs, message)
        });
    let configuration = observed.configuration.present();
    let blockers = configuration.and_then(|configuration| {
        merge::obstacle(resolved, configuration, visit.installation, account)
    });
    foreign_role.into_iter().chain(blockers).collect()
}

fn disposition(
    object: &Object,
    visit: &View<'_>,
    account: &Account,
    observed: &Observed,
    unreadable: &[Problem],
) -> Disposition {
    if object.abandoned {
        return Disposition::Abandoned;
    }
    if object.is_deleting() {
        return Disposition::Leaving;
    }
    let valid = match visit.valid(object) {
        Ok(valid) => valid,
        Err(problems) => return Disposition::refused(problems.to_vec()),
    };
    if object.spec.mode == Mode::Paused {
        return Disposition::Paused;
    }
    if let Some(error) = visit.refusals.finalizers.get(&object.key) {
        let message = format!(
            "the API server refused to add the operator's finalizer to the object: {error}. Allow the operator to change the object's finalizers"
        );
        return Disposition::refused(vec![Problem::new(
            ConditionType::Accepted,
            Reason::FinalizerRefused,
            message,
        )]);
    }
    let resolved = match assess::assess(valid, observed, visit.accounts) {
        Ok(resolved) if unreadable.is_empty() => Box::new(resolved),
        Ok(_) => return Disposition::refused(unreadable.to_vec()),
        Err(problems) => {
            return Disposition::refused(
                problems
                    .into_iter()
                    .chain(unreadable.iter().cloned())
                    .collect(),
            );
        }
    };
    let problems = obstacles(&resolved, visit, account, observed);
    let role = compose::role_arn_of(
        visit.installation,
        account,
        visit.source,
        observed,
        &problems,
    );
    let found = preflight::preflight(&resolved, observed, visit.installation, account, &role);
    if !found.problems.is_empty() {
        let problems = problems.into_iter().chain(found.problems).collect();
        return Disposition::Refused {
            problems,
            resolved: Some(resolved),
            planned: false,
        };
    }
    let resolved = Box::new(Resolved {
        notes: found.notes,
        ..*resolved
    });
    if !problems.is_empty() {
        let can_change = |problem: &Problem| {
            matches!(
                problem.reason,
                Reason::ForeignConfiguration
                    | Reason::RoleNotMergeable
                    | Reason::ForeignVersion1Rules
            )
        };
        let planned = problems.iter().all(can_change);
        return Disposition::Refused {
            problems,
            resolved: Some(resolved),
            planned,
        };
    }
    if valid.observe {
        return Disposition::Observing(resolved);
    }
    let problems = visit
        .refusals
        .problems
        .get(&object.key)
        .cloned()
        .into_iter()
        .collect();
    Disposition::Acting {
        resolved,
        problems,
        external: None,
    }
}

/// If two rules would treat an S3 object differently on its way to the same bucket, the first in order wins: unmanaged rules, then retained
/// rules, then the rules of objects by their age.
fn refuse_overlaps(
    objects: &[&Object],
    dispositions: &mut BTreeMap<ObjectKey, Disposition>,
    visit: &View<'_>,
    observed: &Observed,
) {
    let existing: Vec<_> = observed
        .configuration
        .present()
        .into_iter()
        .flat_map(|configuration| &configuration.rules)
        .collect();
    let of = |rule: &ReplicationRule| {
        rule.mark(visit.installation)
            .filter(|mark| !mark.retained)
            .map(|mark| mark.object)
    };
    let mut first: Vec<ReplicationRule> = existing
        .iter()
        .filter(|rule| of(rule).is_none())
        .map(|rule| rule.as_version_2())
        .collect();
    for object in objects {
        let Some(Disposition::Acting { resolved, .. }) = dispositions.get(&object.key) else {
            first.extend(
                existing
                    .iter()
                    .filter(|rule| !object.is_deleting() && of(rule).as_ref() == Some(&object.key))
                    .map(|rule| (*rule).clone()),
            );
            continue;
        };
        let taken = merge::taken_over(
            resolved,
            observed.configuration.present(),
            visit.installation,
        )
        .unwrap_or_default();
        let is_taken =
            |rule: &ReplicationRule| rule.id.as_ref().is_some_and(|id| taken.contains_key(id));
        let rules = compose::rules_of(resolved);
        let clash = rules.iter().find_map(|rule| {
            Some((
                rule,
                first
                    .iter()
                    .find(|other| !is_taken(other) && rule.rivals(other))?,
            ))
        });
        if let Some((rule, other)) = clash {
            // The ID of one of the operator's rules names the namespace of its object, which another tenant must not see.
            let foreign = other
                .id
                .as_ref()
                .filter(|_| other.mark(visit.installation).is_none());
            let other = foreign.map_or_else(
                || "an older object on this bucket".to_owned(),
                |id| format!("the unmanaged rule {id}"),
            );
            let message = format!(
                "prefix \"{}\" overlaps with {other}, which replicates to bucket {} with other settings: narrow the prefix or tags, or use the same settings",
                rule.selected_prefix(),
                resolved.valid.destination.name
            );
            let problem = Problem::new(
                ConditionType::ReplicationConfigured,
                Reason::OverlappingRules,
                message,
            );
            dispositions
                .entry(object.key.clone())
                .and_modify(|disposition| disposition.refuse(problem));
            first.extend(
                existing
                    .iter()
                    .filter(|rule| of(rule).as_ref() == Some(&object.key))
                    .map(|rule| (*rule).clone()),
            );
        } else {
            let mut rules = rules;
            let id = |name: &str| {
                RuleMark {
                    object: object.key.clone(),
                    rule: name.to_owned(),
                    retained: false,
                }
                .id(visit.installation)
            };
            rules
                .iter_mut()
                .zip(&resolved.valid.rules)
                .for_each(|(rule, valid)| rule.id = Some(id(&valid.name)));
            first.extend(rules);
        }
    }
}

/// One composition, and who uses what in it.
struct Round {
    desired: Desired,
    users: Users,
    acting: Vec<Resolved>,
    /// Those whose new rules wait for permissions to settle.
    waiting: BTreeSet<ObjectKey>,
    /// Those whose new rules wait, for whatever reason.
    withheld: BTreeSet<ObjectKey>,
    disabled: bool,
}

impl Round {
    fn new(
        visit: &View<'_>,
        account: &Account,
        observed: &Observed,
        objects: &[&Object],
        dispositions: &BTreeMap<ObjectKey, Disposition>,
        waiting: &BTreeSet<ObjectKey>,
        observing: bool,
    ) -> Self {
        let mut acting = vec![];
        let mut carried = BTreeMap::new();
        let mut withheld = waiting.clone();
        let mut users = Users::default();
        for object in objects {
            let key = &object.key;
            match dispositions.get(key) {
                Some(Disposition::Acting {
                    resolved,
                    problems,
                    external,
                }) => {
                    if !problems.is_empty()
                        || external.as_ref().is_some_and(|external| !external.attested)
                    {
                        withheld.insert(key.clone());
                    }
                    acting.push((**resolved).clone());
                }
                Some(
                    Disposition::Observing(resolved)
                    | Disposition::Refused {
                        resolved: Some(resolved),
                        planned: true,
                        ..
                    },
                ) if observing => {
                    acting.push((**resolved).clone());
                }
                Some(Disposition::Refused { problems, .. })
                    if object.may_have_resources()
                        && problems
                            .iter()
                            .any(|problem| problem.reason == Reason::NotGranted) =>
                {
                    carried.insert(key.clone(), Carry::Disabled);
                    users.all.insert(key.clone());
                }
                Some(Disposition::Leaving) => {
                    users.all.insert(key.clone());
                    if object.spec.deletion_policy == DeletionPolicy::Retain {
                        carried.insert(key.clone(), Carry::Retained);
                    }
                }
                _ => {
                    carried.insert(key.clone(), Carry::Unchanged);
                }
            }
        }
        for resolved in &acting {
            let key = resolved.valid.key.clone();
            users.all.insert(key.clone());
            users
                .buckets
                .entry(resolved.valid.destination.clone())
                .or_default()
                .insert(key.clone());
            for arn in resolved
                .keys
                .iter()
                .flat_map(|keys| keys.source.iter().chain([&keys.replica]))
            {
                users
                    .keys
                    .entry(arn.clone())
                    .or_default()
                    .insert(key.clone());
            }
        }
        let desired = compose::compose(&Claims {
            installation: visit.installation,
            accounts: visit.accounts,
            account,
            source: visit.source,
            observed,
            acting: &acting,
            withheld: &withheld,
            carried: &carried,
        });
        let disabled = carried.values().any(|carry| *carry == Carry::Disabled);
        Self {
            desired,
            users,
            acting,
            waiting: waiting.clone(),
            withheld,
            disabled,
        }
    }

    /// What the rules of each acting object need; nothing, where no role is wanted.
    fn needs(
        &self,
        visit: &View<'_>,
        account: &Account,
        observed: &Observed,
    ) -> BTreeMap<ObjectKey, Need> {
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
            carried: &BTreeMap::new(),
        };
        settle::needs(&claims, role)
    }

    /// Whether the role's policies would stop naming a place that should have statements of the operator and was read without any.
    fn forgets_unseen(&self, visit: &View<'_>, observed: &Observed) -> bool {
        let places = |statements: &[Statement]| {
            compose::ledger(visit.installation, visit.source, None, statements)
        };
        let wanted = self.desired.role.as_ref();
        let wanted = wanted.map(|role| role.policy.statements());
        let (buckets, keys) = places(&observed.role_statements());
        let (wanted_buckets, wanted_keys) = places(&wanted.unwrap_or_default());
        let owner = Mark::owner(RoleName::of(visit.installation, visit.source).as_str());
        let lacks = |policy: &Facet<Document>| match policy {
            Facet::Absent => true,
            Facet::Present(policy) => policy
                .ours(visit.installation)
                .iter()
                .all(|statement| statement.mark().is_none_or(|mark| mark.owner != owner)),
            Facet::Unread | Facet::Failed(_) => false,
        };
        let across = |account: &AccountId| *account != visit.source.account;
        let mut buckets = buckets.difference(&wanted_buckets).filter(|bucket| {
            across(&bucket.account) && writes_bucket_policies(visit.accounts, bucket)
        });
        let mut keys = keys
            .difference(&wanted_keys)
            .filter(|key| across(&key.account) && writes_key_policies(visit.accounts, key));
        buckets.any(|bucket| {
            observed
                .buckets
                .get(bucket)
                .is_some_and(|read| lacks(&read.policy))
        }) || keys.any(|key| observed.key_policies.get(key).is_some_and(lacks))
    }

    fn basis<'a>(&'a self, visit: &View<'a>, observed: &'a Observed) -> Basis<'a> {
        Basis {
            installation: visit.installation,
            source: visit.source,
            desired: &self.desired,
            observed,
            users: &self.users,
            waiting: &self.waiting,
            refused: &visit.refusals.steps,
            settle: Settling::Nothing,
        }
    }

    /// The steps, without those on policies that the `AWSAccount` says are only checked.
    fn steps(
        &self,
        visit: &View<'_>,
        observed: &Observed,
        settle: Settling<'_>,
    ) -> Vec<PlannedStep> {
        let basis = Basis {
            settle,
            ..self.basis(visit, observed)
        };
        let mut steps = plan::plan(&basis);
        steps.retain(|planned| match &planned.step {
            Step::PutBucketPolicy { bucket, .. } | Step::DeleteBucketPolicy { bucket, .. } => {
                writes_bucket_policies(visit.accounts, bucket)
            }
            Step::PutKeyPolicy { key, .. } => writes_key_policies(visit.accounts, key),
            _ => true,
        });
        steps
    }

    fn has_work(&self, dispositions: &BTreeMap<ObjectKey, Disposition>) -> bool {
        self.disabled
            || dispositions.values().any(|disposition| {
                matches!(
                    disposition,
                    Disposition::Acting { .. } | Disposition::Leaving
                )
            })
    }

    /// The first limit of AWS that the composition exceeds.
    fn exceeded(&self, visit: &View<'_>, observed: &Observed) -> Option<Problem> {
        let problem = |condition, what: &str, size: usize, most: usize| {
            let message = format!(
                "with this object, {what} would be {size}, but AWS allows at most {most}: use fewer rules or shorter prefixes on this bucket"
            );
            Some(Problem::new(condition, Reason::LimitExceeded, message))
        };
        // If unmanaged rules already exceed a limit, for example because AWS raised it, no object is to blame.
        let (wanted, existing) = (
            sizes(self.desired.configuration.as_ref()),
            sizes(observed.configuration.present()),
        );
        let crossed = wanted
            .into_iter()
            .zip(existing)
            .find(|((_, size, most), (_, existing, _))| size > most && size > existing);
        if let Some(((what, size, most), _)) = crossed {
            return problem(ConditionType::ReplicationConfigured, what, size, most);
        }
        let message = match plan::permissions_fit(&self.basis(visit, observed)) {
            Fit::Fits => None,
            Fit::NotYet => Some(
                "the role's policies can't hold both the old and the new permissions of all BucketReplications that are changing on this bucket, so this one waits for the others. If it keeps waiting, change fewer rules at once",
            ),
            Fit::Never => Some(
                "with this object, the role's permissions do not fit into one inline policy and ten managed policies: use fewer rules or shorter prefixes on this bucket",
            ),
        };
        if let Some(message) = message {
            return Some(Problem::new(
                ConditionType::RoleReady,
                Reason::LimitExceeded,
                message,
            ));
        }
        let length = |document: &Document| document.compact().len();
        self.steps(visit, observed, Settling::Nothing)
            .iter()
            .find_map(|planned| match &planned.step {
                Step::PutBucketPolicy {
                    bucket, document, ..
                } if length(document) > MOST_BUCKET_POLICY => problem(
                    ConditionType::DestinationReady,
                    &format!("the size in bytes of the policy of bucket {}", bucket.name),
                    length(document),
                    MOST_BUCKET_POLICY,
                ),
                Step::PutKeyPolicy { key, document, .. } if length(document) > MOST_KEY_POLICY => {
                    problem(
                        ConditionType::KeysReady,
                        &format!("the size in bytes of the policy of key {key}"),
                        length(document),
                        MOST_KEY_POLICY,
                    )
                }
                _ => None,
            })
    }
}

/// What AWS limits in a configuration, how much of it there is, and the limit.
fn sizes(configuration: Option<&Configuration>) -> [(&'static str, usize, usize); 3] {
    let rules = configuration
        .map(|configuration| configuration.rules.as_slice())
        .unwrap_or_default();
    let destinations: BTreeSet<_> = rules.iter().map(|rule| &rule.destination.bucket).collect();
    [
        ("the number of rules on the bucket", rules.len(), MOST_RULES),
        (
            "the number of destinations of the bucket",
            destinations.len(),
            MOST_DESTINATIONS,
        ),
        (
            "the size in bytes of the bucket's replication configuration",
            configuration.map(Configuration::length).unwrap_or_default(),
            MOST_CONFIGURATION,
        ),
    ]
}

fn writes_bucket_policies(accounts: &Accounts, bucket: &OwnedBucket) -> bool {
    accounts
        .managed(&bucket.account)
        .is_some_and(|account| account.policies.bucket_policy == PolicyMode::Manage)
}

fn writes_key_policies(accounts: &Accounts, key: &KeyArn) -> bool {
    accounts
        .managed(&key.account)
        .is_some_and(|account| account.policies.key_policy == PolicyMode::Manage)
}

/// If a policy is only checked and lacks what an object needs, the object's rules wait, and its status says what has to be applied.
fn await_owners(
    visit: &View<'_>,
    observed: &Observed,
    dispositions: &mut BTreeMap<ObjectKey, Disposition>,
    round: &dyn Fn(&BTreeMap<ObjectKey, Disposition>, bool) -> Round,
) {
    let first = round(dispositions, false);
    let Some(role) = &first.desired.role else {
        return;
    };
    let mut waiting: BTreeMap<ObjectKey, Vec<Problem>> = BTreeMap::new();
    let mut externally: BTreeMap<ObjectKey, Vec<RequiredAction>> = BTreeMap::new();
    let mut wait = |users: Option<&BTreeSet<ObjectKey>>, problem: &Problem, external: bool| {
        for user in users.into_iter().flatten() {
            match &problem.action {
                Some(action) if external => externally
                    .entry(user.clone())
                    .or_default()
                    .push((**action).clone()),
                _ => waiting
                    .entry(user.clone())
                    .or_default()
                    .push(problem.clone()),
            }
        }
    };
    for (bucket, statements) in first
        .desired
        .bucket_statements
        .iter()
        .filter(|(bucket, _)| !writes_bucket_policies(visit.accounts, bucket))
    {
        let policy = observed
            .buckets
            .get(bucket)
            .and_then(|read| read.policy.present());
        for statement in statements
            .iter()
            .filter(|statement| !compose::allows_already(policy, statement, &role.arn))
        {
            let name = &bucket.name;
            let message = format!(
                "the policy of bucket {name} does not allow {} to replicate into it: have the owner of account {} apply the statement in status.requiredActions",
                role.arn, bucket.account
            );
            let problem = Problem {
                action: Some(Box::new(PolicyOf::Bucket(bucket).add(statement))),
                ..Problem::new(
                    ConditionType::DestinationReady,
                    Reason::BucketPolicyNeeded,
                    message,
                )
            };
            wait(
                first.users.buckets.get(bucket),
                &problem,
                visit.accounts.managed(&bucket.account).is_none(),
            );
        }
    }
    for (key, statements) in first
        .desired
        .key_statements
        .iter()
        .filter(|(key, _)| !writes_key_policies(visit.accounts, key))
    {
        let policy = observed.key_policies.get(key).and_then(Facet::present);
        for statement in statements
            .iter()
            .filter(|statement| !compose::allows_already(policy, statement, &role.arn))
        {
            let message = format!(
                "the policy of key {key} does not allow {} to use it: have the owner of account {} apply the statement in status.requiredActions",
                role.arn, key.account
            );
            let problem = Problem {
                action: Some(Box::new(PolicyOf::Key(key).add(statement))),
                ..Problem::new(ConditionType::KeysReady, Reason::KeyPolicyNeeded, message)
            };
            wait(
                first.users.keys.get(key),
                &problem,
                visit.accounts.managed(&key.account).is_none(),
            );
        }
    }
    for (key, waits) in waiting {
        if let Some(Disposition::Acting { problems, .. }) = dispositions.get_mut(&key) {
            problems.extend(waits);
        }
    }
    for object in visit.objects {
        let Some(Disposition::Acting { external, .. }) = dispositions.get_mut(&object.key) else {
            continue;
        };
        *external = externally.remove(&object.key).map(|actions| {
            let texts: Vec<_> = actions
                .iter()
                .flat_map(|action| [action.document.as_str(), action.statement.as_str()])
                .collect();
            let fingerprint = fingerprint(&texts, 16);
            Box::new(External {
                attested: object.applied.as_ref() == Some(&fingerprint),
                actions,
                fingerprint,
            })
        });
    }
}

/// What would be done for the objects that only show it, and for those that are blocked.
fn pending(
    visit: &View<'_>,
    observed: &Observed,
    dispositions: &BTreeMap<ObjectKey, Disposition>,
    round: &dyn Fn(&BTreeMap<ObjectKey, Disposition>, bool) -> Round,
) -> BTreeMap<ObjectKey, Vec<String>> {
    let shows_plan = |disposition: &Disposition| {
        matches!(
            disposition,
            Disposition::Observing(_) | Disposition::Refused { planned: true, .. }
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
    let steps = round(dispositions, true).steps(visit, observed, Settling::Nothing);
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
