//! The ordered steps from what exists to what should exist. All rules of order are here.
//!
//! Permissions come before the rule that needs them, because S3 never retries objects that fail in between. For removal the order is reversed,
//! and the role's policy shrinks last: it names the buckets and keys that still have statements of the operator.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    composition::{
        desired::{Desired, DesiredRole},
        spread::Spread,
    },
    configuration::Configuration,
    edit::StatementEdit,
    names::{
        InstallationId, KeyArn, ObjectKey, OwnedBucket, Region, RoleName, path_of_role, role_name,
    },
    observation::ledger::{TAG_INSTALLATION, TAG_POLICIES, TAG_SOURCE_BUCKET, ledger},
    observed::{Facet, Failure, Observed},
    plan::{
        role_steps::{self, removal},
        step::{PlannedStep, Step},
    },
    policy::{Document, Mark, Statement},
    role_policies::{PolicyOwner, RolePolicies},
};
use api::condition::ConditionType;

/// A step that has no place in a plan yet.
struct Draft {
    step: Step,
    concerns: BTreeSet<ObjectKey>,
}

/// Steps with their numbers, in an order in which each comes after what it requires.
#[derive(Default)]
struct Steps(Vec<PlannedStep>);

impl Steps {
    /// All numbers so far.
    fn all(&self) -> BTreeSet<usize> {
        self.0.iter().map(|planned| planned.number).collect()
    }

    /// Adds steps that do not depend on each other.
    fn side_by_side(&mut self, drafts: Vec<Draft>, requires: &BTreeSet<usize>) {
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
    fn in_sequence(&mut self, drafts: Vec<Draft>, requires: &BTreeSet<usize>) {
        let mut requires = requires.clone();
        for draft in drafts {
            self.side_by_side(vec![draft], &requires);
            requires.insert(self.0.len() - 1);
        }
    }
}

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
    /// The steps that AWS refused: their policies do not change.
    pub refused: &'a [Step],
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

/// The ordered steps from what exists to what should exist, each with what it requires.
#[must_use]
pub fn plan(basis: &Basis<'_>) -> Vec<PlannedStep> {
    let used = used_by(
        basis.installation,
        basis.source,
        basis.observed,
        basis.waiting,
    );
    let planner = Planner::of(basis, used);
    let configuration = planner.configuration();
    let transition = configuration.is_some();
    let RoleChange {
        role,
        grown: role_grown,
        shrunk: role_shrunk,
    } = planner.role_change(transition);
    let (mut places_grown, mut places_shrunk) = planner.bucket_policies(transition);
    let (keys_grown, keys_shrunk) = planner.key_policies(transition);
    places_grown.extend(keys_grown);
    places_shrunk.extend(keys_shrunk);
    let mut steps = Steps::default();
    steps.side_by_side(planner.versioning(), &BTreeSet::new());
    let versioning = steps.all();
    steps.in_sequence(role, &BTreeSet::new());
    let of_role = steps.all().difference(&versioning).copied().collect();
    steps.in_sequence(role_grown, &of_role);
    // The role's policy names a place before the place has a statement.
    let of_role = steps.all().difference(&versioning).copied().collect();
    steps.side_by_side(places_grown, &of_role);
    if let Settling::BeforeRules(settling) = basis.settle {
        steps.in_sequence(vec![wait(settling)], &steps.all());
    }
    steps.in_sequence(configuration.into_iter().collect(), &steps.all());
    steps.side_by_side(places_shrunk, &steps.all());
    // The role's policy names every place that has statements of the operator: if one of them can't be read or written, it does not shrink.
    if unreached(basis.observed).is_empty() && basis.refused.is_empty() {
        steps.in_sequence(role_shrunk, &steps.all());
        steps.in_sequence(planner.role_removal(), &steps.all());
    }
    if let Settling::AtTheEnd(settling) = basis.settle {
        steps.side_by_side(vec![wait(settling)], &BTreeSet::new());
    }
    let mut steps = steps.0;
    steps.retain(|planned| {
        let is_refused = |refused: &Step| refused.is_on_same_document(&planned.step);
        !basis.refused.iter().any(is_refused)
    });
    steps
}

fn wait(settling: &BTreeSet<ObjectKey>) -> Draft {
    Draft {
        step: Step::Settle,
        concerns: settling.clone(),
    }
}

/// The policies of destinations and keys that could not be read.
#[must_use]
pub fn unreached(observed: &Observed) -> Vec<(ConditionType, &Failure)> {
    let destination = |bucket| (ConditionType::DestinationReady, bucket);
    let buckets = observed
        .buckets
        .values()
        .filter_map(|bucket| bucket.region.failure().or(bucket.policy.failure()))
        .map(destination);
    let keys = observed
        .key_policies
        .values()
        .filter_map(Facet::failure)
        .map(|failure| (ConditionType::KeysReady, failure));
    buckets.chain(keys).collect()
}

/// Whether IAM takes the role's policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// On the way, and in the end.
    Fits,
    /// In the end, but not while the role has the former and the new permissions.
    NotYet,
    /// Not even in the end.
    Never,
}

/// Whether IAM takes the role's policies, on the way and in the end.
#[must_use]
pub fn permissions_fit(basis: &Basis<'_>) -> Fit {
    let planner = Planner::of(basis, Places::default());
    let Some(role) = &basis.desired.role else {
        return Fit::Fits;
    };
    let Spreads { grown, last } = planner.spreads(role, planner.configuration().is_some());
    match (grown.fits(), last.fits()) {
        (true, true) => Fit::Fits,
        (false, true) => Fit::NotYet,
        (_, false) => Fit::Never,
    }
}

/// The objects whose rules or permissions are not yet as they should be.
#[must_use]
pub fn changing(basis: &Basis<'_>) -> BTreeSet<ObjectKey> {
    let planner = Planner::of(basis, Places::default());
    let (desired, observed) = (basis.desired, basis.observed);
    let policy = desired
        .role
        .as_ref()
        .map(|role| role.policy.clone())
        .unwrap_or_default();
    let mut changing = planner.owners(&Document::of(observed.role_statements()), &policy);
    changing.extend(planner.changed_owners(
        observed.configuration.present(),
        desired.configuration.as_ref(),
    ));
    changing
}

/// The objects whose rules are not yet as they should be.
#[must_use]
pub fn changing_rules(basis: &Basis<'_>) -> BTreeSet<ObjectKey> {
    let planner = Planner::of(basis, Places::default());
    let (desired, observed) = (basis.desired, basis.observed);
    if planner.configuration().is_none() {
        return BTreeSet::new();
    }
    planner.changed_owners(
        observed.configuration.present(),
        desired.configuration.as_ref(),
    )
}

/// The steps for a role, those that add permissions, and those that remove some.
#[derive(Default)]
struct RoleChange {
    role: Vec<Draft>,
    grown: Vec<Draft>,
    shrunk: Vec<Draft>,
}

struct Spreads {
    grown: Spread,
    last: Spread,
}

struct Planner<'a> {
    installation: &'a InstallationId,
    source: &'a OwnedBucket,
    desired: &'a Desired,
    observed: &'a Observed,
    users: &'a Users,
    /// The policies that lose no statement now.
    used: Places,
}

impl<'a> Planner<'a> {
    fn of(basis: &Basis<'a>, used: Places) -> Self {
        Self {
            installation: basis.installation,
            source: basis.source,
            desired: basis.desired,
            observed: basis.observed,
            users: basis.users,
            used,
        }
    }
}

/// The buckets and keys that may have statements of the operator.
type Places = (BTreeSet<OwnedBucket>, BTreeSet<KeyArn>);

/// What `objects` use by the role's existing policies, which name a place before any statement is added there and until the last is removed.
fn used_by(
    installation: &InstallationId,
    source: &OwnedBucket,
    observed: &Observed,
    objects: &BTreeSet<ObjectKey>,
) -> Places {
    let owners: BTreeSet<_> = objects
        .iter()
        .map(|object| Mark::owner(&object.to_string()))
        .collect();
    let mut statements = observed.role_statements();
    statements.retain(|statement| {
        statement
            .mark_of(installation)
            .is_some_and(|mark| owners.contains(&mark.owner))
    });
    ledger(installation, source, None, &statements)
}

/// When a policy may lose statements.
#[derive(Clone, Copy)]
struct Timing {
    /// A new configuration is about to be written.
    transition: bool,
    /// Rules that are not written now may use what it would lose.
    used: bool,
}

/// A policy's two changes: to the former and new statements together, then to the new ones alone.
type Change = (Option<Edited>, Option<Edited>);

/// An edit of a policy, and what the policy becomes by it if no one changed it since it was read.
struct Edited {
    edit: StatementEdit,
    document: Document,
}

impl Planner<'_> {
    fn versioning(&self) -> Vec<Draft> {
        let enable = |(bucket, region): (&OwnedBucket, &Region)| {
            let concerns = self
                .users
                .buckets
                .get(bucket)
                .unwrap_or(&self.users.all)
                .clone();
            Draft {
                step: Step::EnableVersioning {
                    bucket: bucket.clone(),
                    region: region.clone(),
                },
                concerns,
            }
        };
        self.desired.versioning.iter().map(enable).collect()
    }

    fn role(&self, wanted: &DesiredRole) -> Vec<Draft> {
        let Some(existing) = self.observed.role.present() else {
            return vec![self.for_all(Step::CreateRole(Box::new(wanted.clone())))];
        };
        let mut steps = vec![];
        if !existing.trust.means(&wanted.trust) {
            steps.push(Step::UpdateTrustPolicy(Box::new(wanted.clone())));
        }
        if wanted
            .tags
            .iter()
            .any(|(key, value)| existing.tags.get(key) != Some(value))
        {
            steps.push(Step::TagRole(Box::new(wanted.clone())));
        }
        if let Some(boundary) = wanted
            .boundary
            .clone()
            .filter(|boundary| existing.boundary.as_ref() != Some(boundary))
        {
            steps.push(Step::PutRolePermissionsBoundary {
                role: Box::new(wanted.clone()),
                boundary,
            });
        }
        steps.into_iter().map(|step| self.for_all(step)).collect()
    }

    /// The role and its policies. The tag that counts the managed policies grows before and shrinks after them, so that all of them are found.
    fn role_change(&self, transition: bool) -> RoleChange {
        let Some(wanted) = &self.desired.role else {
            return RoleChange::default();
        };
        let (existing, name) = (
            self.existing_policies(wanted),
            RoleName::of(self.installation, self.source),
        );
        let spreads = self.spreads(wanted, transition);
        let path = path_of_role(&wanted.arn);
        let owner = PolicyOwner {
            role: &wanted.name,
            ..PolicyOwner::of(self.source, &path, &name)
        };
        let existing_count = existing
            .managed
            .keys()
            .next_back()
            .copied()
            .unwrap_or_default();
        let tagged = |last: u32| {
            let mut tagged = wanted.clone();
            let counted = self
                .observed
                .role
                .present()
                .is_some_and(|role| role.tags.contains_key(TAG_POLICIES));
            if last > 0 || counted {
                tagged.tags.insert(TAG_POLICIES.into(), last.to_string());
            }
            tagged
        };
        let planned = |before: &RolePolicies, spread: &Spread| -> Vec<Draft> {
            let concerns = self.concerned(&before.document(), &spread.all());
            role_steps::steps(spread, before, &owner)
                .into_iter()
                .map(|step| Draft {
                    step,
                    concerns: concerns.clone(),
                })
                .collect()
        };
        let (grown, last) = (&spreads.grown, &spreads.last);
        let most = existing_count.max(grown.last());
        let between = grown.applied_to(&existing);
        let mut shrunk = planned(&between, last);
        if last.last() < most {
            shrunk.push(self.for_all(Step::TagRole(Box::new(tagged(last.last())))));
        }
        let role = if wanted.merged {
            vec![]
        } else {
            self.role(&tagged(most))
        };
        RoleChange {
            role,
            grown: planned(&existing, grown),
            shrunk,
        }
    }

    /// The operator's existing policies on the wanted role.
    fn existing_policies(&self, wanted: &DesiredRole) -> RolePolicies {
        if wanted.merged {
            let inline = self
                .observed
                .merged
                .get(&wanted.arn)
                .and_then(Facet::present)
                .cloned();
            return RolePolicies {
                inline,
                ..RolePolicies::default()
            };
        }
        self.observed
            .role_policies
            .present()
            .cloned()
            .unwrap_or_default()
    }

    /// What the role's policies contain before the configuration is written, and after.
    fn spreads(&self, wanted: &DesiredRole, transition: bool) -> Spreads {
        let existing = self.existing_policies(wanted);
        let places =
            |statements: &[Statement]| ledger(self.installation, self.source, None, statements);
        let statements = wanted.policy.statements();
        let ((buckets, keys), (wanted_buckets, wanted_keys)) = (
            places(&self.observed.role_statements()),
            places(&statements),
        );
        // A place that the policies stop naming has to be cleaned up first, also if an earlier visit was interrupted.
        let forgets = !buckets.is_subset(&wanted_buckets) || !keys.is_subset(&wanted_keys);
        let document = existing.document();
        let last = document.merged(&statements, |statement| {
            statement.mark_of(self.installation).is_some()
        });
        let grown = if transition || forgets {
            document.merged(&statements, |_| false)
        } else {
            last.clone()
        };
        if wanted.merged {
            return Spreads {
                grown: Spread::inline(grown),
                last: Spread::inline(last),
            };
        }
        let grown = Spread::of(&existing, &grown.statements());
        let last = Spread::of(&grown.applied_to(&existing), &last.statements());
        Spreads { grown, last }
    }

    fn bucket_policies(&self, transition: bool) -> (Vec<Draft>, Vec<Draft>) {
        let (mut grown, mut shrunk) = (vec![], vec![]);
        for (bucket, read) in &self.observed.buckets {
            let (Some(region), nothing) = (read.region.present(), Document::default()) else {
                continue;
            };
            let existing = match &read.policy {
                Facet::Present(policy) => policy,
                Facet::Absent => &nothing,
                Facet::Unread | Facet::Failed(_) => continue,
            };
            let wanted = self
                .desired
                .bucket_statements
                .get(bucket)
                .map(Vec::as_slice)
                .unwrap_or_default();
            let timing = Timing {
                transition,
                used: self.used.0.contains(bucket),
            };
            let (growth, shrinkage) = self.change(existing, wanted, timing);
            let step = |Edited { edit, document }: Edited| {
                let concerns = self.users_of(
                    self.users.buckets.get(bucket),
                    &format!("{}/", bucket.arn()),
                );
                let (bucket, region) = (bucket.clone(), region.clone());
                let step = if document.is_empty() {
                    Step::DeleteBucketPolicy {
                        bucket,
                        region,
                        edit,
                    }
                } else {
                    Step::PutBucketPolicy {
                        bucket,
                        region,
                        edit,
                        document,
                    }
                };
                Draft { step, concerns }
            };
            grown.extend(growth.map(step));
            shrunk.extend(shrinkage.map(step));
        }
        (grown, shrunk)
    }

    fn key_policies(&self, transition: bool) -> (Vec<Draft>, Vec<Draft>) {
        let (mut grown, mut shrunk) = (vec![], vec![]);
        for (key, read) in &self.observed.key_policies {
            let Some(existing) = read.present() else {
                continue;
            };
            let wanted = self
                .desired
                .key_statements
                .get(key)
                .map(Vec::as_slice)
                .unwrap_or_default();
            let timing = Timing {
                transition,
                used: self.used.1.contains(key),
            };
            let (growth, shrinkage) = self.change(existing, wanted, timing);
            let step = |Edited { edit, document }: Edited| {
                let concerns = self.users_of(self.users.keys.get(key), &key.to_string());
                Draft {
                    step: Step::PutKeyPolicy {
                        key: key.clone(),
                        edit,
                        document,
                    },
                    concerns,
                }
            };
            grown.extend(growth.map(step));
            shrunk.extend(shrinkage.map(step));
        }
        (grown, shrunk)
    }

    /// The objects that use a policy, and those that did: the role's existing policy has statements that serve them on `resource`. Empty if only an object
    /// that no longer exists used it.
    fn users_of(&self, now: Option<&BTreeSet<ObjectKey>>, resource: &str) -> BTreeSet<ObjectKey> {
        let mut existing = self.observed.role_statements();
        existing.retain(|statement| statement.mark_of(self.installation).is_some());
        let named = existing.iter().filter(|statement| {
            statement
                .strings("Resource")
                .iter()
                .any(|named| named.starts_with(resource))
        });
        let owners: BTreeSet<_> = named
            .filter_map(|statement| Some(statement.mark()?.owner))
            .collect();
        let before = self
            .users
            .all
            .iter()
            .filter(|object| owners.contains(&Mark::owner(&object.to_string())));
        now.into_iter().flatten().chain(before).cloned().collect()
    }

    /// If a new configuration is about to be written, former statements stay until it is; otherwise the policy gets its final state at once. A
    /// policy that is in use only grows.
    fn change(&self, existing: &Document, wanted: &[Statement], timing: Timing) -> Change {
        let is_ours = |statement: &Statement| {
            statement.mark_of(self.installation).is_some() && self.is_role_statement(statement)
        };
        let last = existing.merged(wanted, is_ours);
        let differs = |document: &Document, from: &Document| !document.means(from);
        let (installation, owner) = (self.installation, self.role_owner());
        let replace = |document: Document| {
            let edit = StatementEdit::replacing(&document, installation, &owner);
            Edited { edit, document }
        };
        if !timing.transition && !timing.used {
            return (differs(&last, existing).then(|| replace(last)), None);
        }
        let grown = existing.merged(wanted, |_| false);
        let shrinks = !timing.used && differs(&last, &grown);
        let growth = differs(&grown, existing).then(|| Edited {
            edit: StatementEdit::adding(&grown, installation, &owner),
            document: grown,
        });
        (growth, shrinks.then(|| replace(last)))
    }

    fn is_role_statement(&self, statement: &Statement) -> bool {
        statement
            .mark()
            .is_some_and(|mark| mark.owner == self.role_owner())
    }

    /// The mark of this source bucket's statements in policies that it shares with others.
    fn role_owner(&self) -> String {
        Mark::owner(RoleName::of(self.installation, self.source).as_str())
    }

    fn configuration(&self) -> Option<Draft> {
        let bucket = self.source.clone();
        let region = self.observed.region(&bucket)?.clone();
        let existing = match &self.observed.configuration {
            Facet::Present(existing) => Some(existing),
            Facet::Absent => None,
            Facet::Unread | Facet::Failed(_) => return None,
        };
        let step = match (existing, &self.desired.configuration) {
            (None, None) => return None,
            (Some(existing), Some(wanted)) if existing.means(wanted) => return None,
            (existing, Some(wanted)) => Step::PutReplication {
                bucket,
                region,
                existing: existing.cloned(),
                configuration: wanted.clone(),
            },
            (Some(existing), None) => Step::DeleteReplication {
                bucket,
                region,
                existing: existing.clone(),
            },
        };
        let concerns = self.changed_owners(existing, self.desired.configuration.as_ref());
        Some(Draft {
            step,
            concerns: if concerns.is_empty() {
                self.users.all.clone()
            } else {
                concerns
            },
        })
    }

    /// What roles that are not wanted lose: the operator's role is deleted, unmanaged roles only lose the operator's policy.
    fn role_removal(&self) -> Vec<Draft> {
        let wanted = self.desired.role.as_ref();
        let (account, policy) = (
            self.source.account.clone(),
            RoleName::of(self.installation, self.source),
        );
        let with_policy = |(arn, read): (&String, &Facet<Document>)| {
            read.present()
                .and(role_name(arn))
                .filter(|_| wanted.is_none_or(|wanted| wanted.arn != *arn))
        };
        let unmanaged = self.observed.merged.iter().filter_map(with_policy);
        let mut steps: Vec<_> = unmanaged
            .map(|role| Step::DeleteRolePolicy {
                account: account.clone(),
                role,
                policy: policy.clone(),
            })
            .collect();
        if wanted.is_none_or(|wanted| wanted.merged) {
            steps.extend(self.own_role_removal());
        }
        steps.into_iter().map(|step| self.for_all(step)).collect()
    }

    fn own_role_removal(&self) -> Vec<Step> {
        let Some(role) = self
            .observed
            .role
            .present()
            .filter(|role| is_ours(role, self.installation, self.source))
        else {
            return vec![];
        };
        let (account, name) = (
            self.source.account.clone(),
            RoleName::of(self.installation, self.source),
        );
        let mut steps = vec![];
        if let Some(policies) = self.observed.role_policies.present() {
            let path = path_of_role(&role.arn);
            let owner = PolicyOwner::of(self.source, &path, &name);
            steps.extend(
                policies
                    .managed
                    .iter()
                    .flat_map(|(number, policy)| removal(policy, &name, owner.policy(*number))),
            );
            if policies.inline.is_some() {
                steps.push(Step::DeleteRolePolicy {
                    account: account.clone(),
                    role: name.clone(),
                    policy: name.clone(),
                });
            }
        }
        steps.push(Step::DeleteRole {
            account,
            role: name,
        });
        steps
    }

    fn for_all(&self, step: Step) -> Draft {
        Draft {
            step,
            concerns: self.users.all.clone(),
        }
    }

    /// The objects whose rules differ between the two configurations.
    fn changed_owners(
        &self,
        before: Option<&Configuration>,
        after: Option<&Configuration>,
    ) -> BTreeSet<ObjectKey> {
        let rules = |configuration: Option<&Configuration>| {
            configuration.map(|c| c.rules.clone()).unwrap_or_default()
        };
        let (before, after) = (rules(before), rules(after));
        let only_in = |some: &[_],
                       others: &[crate::configuration::ReplicationRule]|
         -> Vec<crate::configuration::ReplicationRule> {
            some.iter()
                .filter(|rule: &&crate::configuration::ReplicationRule| {
                    !others.iter().any(|other| rule.means(other))
                })
                .cloned()
                .collect()
        };
        let changed = only_in(&before, &after)
            .into_iter()
            .chain(only_in(&after, &before));
        changed
            .filter_map(|rule| Some(rule.mark(self.installation)?.object))
            .collect()
    }

    /// The objects whose statements differ between the two policies. Statements for the bucket as a whole concern all objects; those of an object
    /// that no longer exists concern none.
    fn concerned(&self, before: &Document, after: &Document) -> BTreeSet<ObjectKey> {
        let owners = self.owners(before, after);
        let bucket = Mark::owner(self.source.name.as_str());
        let of_bucket = |document: &Document| -> Vec<_> {
            let ours = document.ours(self.installation).into_iter();
            ours.filter(|statement| statement.mark().is_some_and(|mark| mark.owner == bucket))
                .map(|statement| statement.canonical())
                .collect()
        };
        let foreign = |document: &Document| -> Vec<_> {
            document
                .statements()
                .iter()
                .filter(|statement| statement.mark_of(self.installation).is_none())
                .map(Statement::canonical)
                .collect()
        };
        let for_all = of_bucket(before) != of_bucket(after) || foreign(before) != foreign(after);
        if owners.is_empty() && for_all {
            self.users.all.clone()
        } else {
            owners
        }
    }

    /// The objects whose statements differ between the two policies.
    fn owners(&self, before: &Document, after: &Document) -> BTreeSet<ObjectKey> {
        let canonical = |document: &Document| {
            document
                .ours(self.installation)
                .iter()
                .map(|s| (s.canonical().to_string(), s.mark()))
                .collect::<Vec<_>>()
        };
        let (before, after) = (canonical(before), canonical(after));
        let changed: BTreeSet<_> = before
            .iter()
            .filter(|s| !after.contains(s))
            .chain(after.iter().filter(|s| !before.contains(s)))
            .filter_map(|(_, mark)| Some(mark.as_ref()?.owner.clone()))
            .collect();
        self.users
            .all
            .iter()
            .filter(|object| changed.contains(&Mark::owner(&object.to_string())))
            .cloned()
            .collect()
    }
}

/// Whether an existing role with the operator's name for it was created by the operator. An unmanaged role of the same name is never changed.
#[must_use]
pub fn is_ours(
    role: &crate::observed::Role,
    installation: &InstallationId,
    source: &OwnedBucket,
) -> bool {
    role.tags.get(TAG_INSTALLATION).map(String::as_str) == Some(installation.as_str())
        && role.tags.get(TAG_SOURCE_BUCKET).map(String::as_str) == Some(source.name.as_str())
}
