//! All decisions of one visit to a source bucket: where each object stands, and the steps that follow.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Object, Problem,
    accounts::{Account, Accounts},
    assess::{self, Resolved},
    compose::{self, Carry, Claims, Desired},
    configuration::{Configuration, RuleMark},
    names::{InstallationId, KeyArn, ObjectKey, OwnedBucket, RoleName, fingerprint},
    observed::{Facet, Facts, Observed, Scope},
    plan::{self, PlannedStep, Step, Users},
    policy::{Document, Mark, Request, Statement},
    validate::{self, Valid},
};
use crate::api::{
    aws_account::PolicyMode,
    bucket_replication::{DeletionPolicy, Mode, RequiredAction},
    condition::{ConditionType, Reason},
};

/// Rules of one configuration ("Amazon S3 endpoints and quotas" in the AWS General Reference).
const MOST_RULES: usize = 1000;
/// Destinations of one configuration, the default of an adjustable quota (same page).
const MOST_DESTINATIONS: usize = 28;
/// Bytes of a bucket policy ("Amazon S3 endpoints and quotas").
const MOST_BUCKET_POLICY: usize = 20 * 1024;
/// Bytes of a key policy ("Key policies in AWS KMS" in the KMS Developer Guide).
const MOST_KEY_POLICY: usize = 32 * 1024;

/// One visit: a source bucket and all objects that name it.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    /// This installation.
    pub installation: &'a InstallationId,
    /// All accounts.
    pub accounts: &'a Accounts,
    /// The source bucket.
    pub source: &'a OwnedBucket,
    /// All objects that name the bucket, in any order.
    pub objects: &'a [Object],
    /// What AWS refused in this visit.
    pub refusals: &'a Refusals,
}

/// What AWS refused: the rules of the objects concerned have to wait, so that they do not hold up others.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    /// The objects concerned.
    pub problems: BTreeMap<ObjectKey, Problem>,
    /// The steps, which are not tried again in this visit.
    pub steps: Vec<Step>,
}

/// Where an object stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Stand {
    /// It can't have what it asks for; what it has stays.
    Refused(Vec<Problem>),
    /// It gets what it asks for; where somebody else has to act first, its rules wait, and those that stand stay.
    Acting {
        /// What it gets.
        resolved: Box<Resolved>,
        /// What somebody else has to do.
        problems: Vec<Problem>,
    },
    /// It only wants to be told what would be done.
    Observing(Box<Resolved>),
    /// It is left as it stands.
    Paused,
    /// It is being deleted.
    Leaving,
    /// It goes, and leaves what it made in AWS.
    Abandoned,
}

/// What follows from a visit.
#[derive(Clone, Debug)]
pub struct Decision {
    /// Where each object stands.
    pub stands: BTreeMap<ObjectKey, Stand>,
    /// The state to reach.
    pub desired: Desired,
    /// The steps to it, in order.
    pub steps: Vec<PlannedStep>,
    /// What would be done for objects that only want to be told.
    pub pending: BTreeMap<ObjectKey, Vec<String>>,
    /// A fingerprint of all permissions: as long as it is the same, AWS has had time to make them known.
    pub permissions: String,
    /// Whether a leaving object has permissions, but no rule was read: the read may lag behind, and the rule stand.
    pub doubtful: bool,
    /// What stands in the way of removing all that leaving objects made.
    pub in_the_way: Vec<Problem>,
}

impl Decision {
    /// Whether all that is to be done puts right what somebody else changed: every step is for objects that were ready before, and still
    /// get what they ask for.
    #[must_use]
    pub fn is_drift(&self, ready: &BTreeSet<ObjectKey>) -> bool {
        let served =
            |key| ready.contains(key) && matches!(self.stands.get(key), Some(Stand::Acting { problems, .. }) if problems.is_empty());
        let tidying = |step: &Step| matches!(step, Step::Settle | Step::DeleteManagedPolicyVersion { .. });
        let mut steps = self.steps.iter().filter(|planned| !tidying(&planned.step)).peekable();
        steps.peek().is_some() && steps.all(|planned| !planned.concerns.is_empty() && planned.concerns.iter().all(served))
    }

    /// Leaves `element` as somebody else keeps changing it, and says so of the objects that it is for.
    pub fn contend(&mut self, element: &str, source: &OwnedBucket) {
        let message = format!(
            "somebody else changed {element} again, five times or more within an hour: find out who, and let one of you keep it; until then it is put right once an hour at most"
        );
        for planned in std::mem::take(&mut self.steps) {
            if planned.step.element().as_deref() != Some(element) {
                continue;
            }
            let condition = planned.step.condition(source);
            for key in &planned.concerns {
                if let Some(Stand::Acting { problems, .. }) = self.stands.get_mut(key) {
                    problems.push(Problem::new(condition, Reason::Contended, message.clone()));
                }
            }
        }
    }

    /// The steps as text, to tell one drift from another.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.steps.iter().map(|planned| planned.step.to_string()).collect()
    }
}

/// Whether every object on the bucket is paused or abandoned, so that nothing in AWS need be read.
#[must_use]
pub fn is_at_rest(visit: &Visit<'_>) -> bool {
    let paused =
        |object: &Object| !object.deleting && object.spec.mode == Mode::Paused && validate::validate(object, visit.accounts).is_ok();
    visit.objects.iter().all(|object| object.abandoned || paused(object))
}

/// What to read for the visit.
#[must_use]
pub fn scope(visit: &Visit<'_>, known: Option<Facts>) -> Scope {
    let mut scope = Scope {
        source: visit.source.clone(),
        role: RoleName::of(visit.installation, visit.source),
        installation: visit.installation.clone(),
        destinations: BTreeSet::new(),
        keys: BTreeSet::new(),
        default_encryption: false,
        removing: visit.objects.iter().all(|object| object.deleting),
        known,
    };
    for object in visit.objects {
        let Ok(valid) = validate::validate(object, visit.accounts) else { continue };
        scope.destinations.insert(valid.destination.clone());
        scope.keys.extend(assess::keys_of(&valid));
        scope.default_encryption |= !object.deleting && assess::needs_default_encryption(&valid);
    }
    scope
}

/// Decides. `settled` tells whether permissions of that fingerprint have stood long enough to be known everywhere.
#[must_use]
pub fn decide(visit: &Visit<'_>, observed: &Observed, settled: &dyn Fn(&str) -> bool) -> Decision {
    let mut objects: Vec<_> = visit.objects.iter().collect();
    objects.sort_by_key(|object| (object.created, object.key.clone()));
    let Some(account) = visit.accounts.by_id(&visit.source.account) else { return nothing(visit, observed) };
    let unreadable = unreadable(visit, observed);
    let obstacles = obstacles(visit, observed);
    let mut stands: BTreeMap<_, _> =
        objects.iter().map(|object| (object.key.clone(), stand(object, visit, observed, unreadable.iter().chain(&obstacles)))).collect();
    refuse_overlaps(&objects, &mut stands);
    let round = |stands: &BTreeMap<ObjectKey, Stand>, observing: bool| Round::new(visit, account, observed, &objects, stands, observing);
    await_owners(visit, observed, &mut stands, &round);
    let mut now = round(&stands, false);
    while let Some(problem) = now.exceeded(visit, observed) {
        let last = objects.iter().rev().find(|object| matches!(stands.get(&object.key), Some(Stand::Acting { .. })));
        let Some(last) = last else { break };
        stands.insert(last.key.clone(), Stand::Refused(vec![problem]));
        now = round(&stands, false);
    }
    let permissions = permissions(&now.desired);
    let mut steps = now.steps(visit, observed, settled(&permissions));
    if !unreadable.is_empty() || !now.has_work(&stands) {
        steps.clear();
    }
    let pending = pending(visit, observed, &stands, &round);
    let unreached = plan::unreached(observed).into_iter().map(|(condition, failure)| assess::failed(condition, failure));
    let refused = visit.refusals.problems.iter().filter(|(key, _)| stands.get(*key) == Some(&Stand::Leaving));
    let in_the_way = unreadable.into_iter().chain(unreached).chain(refused.map(|(_, problem)| problem.clone())).collect();
    let doubtful = stands.iter().any(|(key, stand)| *stand == Stand::Leaving && is_doubtful(key, visit, observed));
    Decision { stands, desired: now.desired, steps, pending, permissions, doubtful, in_the_way }
}

fn is_doubtful(key: &ObjectKey, visit: &Visit<'_>, observed: &Observed) -> bool {
    let owner = Mark::owner(&key.to_string());
    let mut rules = observed.configuration.present().into_iter().flat_map(|configuration| &configuration.rules);
    let statements = observed.role_policies.present().map(|policies| policies.ours(visit.installation)).unwrap_or_default();
    let permitted = statements.iter().any(|statement| statement.mark().is_some_and(|mark| mark.owner == owner));
    permitted && !rules.any(|rule| rule.mark(visit.installation).is_some_and(|mark| mark.object == *key))
}

fn nothing(visit: &Visit<'_>, observed: &Observed) -> Decision {
    let desired = Desired {
        configuration: observed.configuration.present().cloned(),
        role: None,
        bucket_statements: BTreeMap::new(),
        key_statements: BTreeMap::new(),
        versioning: BTreeMap::new(),
    };
    let refused = |object: &Object| match validate::validate(object, visit.accounts) {
        _ if object.abandoned => Stand::Abandoned,
        _ if object.deleting => Stand::Leaving,
        Ok(_) => Stand::Refused(vec![]),
        Err(problems) => Stand::Refused(problems),
    };
    let stands = visit.objects.iter().map(|object| (object.key.clone(), refused(object))).collect();
    Decision { stands, desired, steps: vec![], pending: BTreeMap::new(), permissions: String::new(), doubtful: false, in_the_way: vec![] }
}

/// What every object on the bucket depends on and could not be read, so that nothing may be written over it.
fn unreadable(visit: &Visit<'_>, observed: &Observed) -> Vec<Problem> {
    let region = observed.buckets.get(visit.source).and_then(|bucket| bucket.region.failure());
    let own = [
        (ConditionType::SourceReady, region),
        (ConditionType::ReplicationConfigured, observed.configuration.failure()),
        (ConditionType::RoleReady, observed.role.failure()),
        (ConditionType::RoleReady, observed.role_policies.failure()),
    ];
    let failed = own.into_iter().filter_map(|(condition, failure)| Some(assess::failed(condition, failure?)));
    failed.chain(not_preservable(visit, observed)).collect()
}

/// A PUT replaces the whole configuration, so that what can't be written back forbids it.
fn not_preservable(visit: &Visit<'_>, observed: &Observed) -> Option<Problem> {
    let is_ours = |id: &String| RuleMark::parse(id, visit.installation).is_some();
    let unknown = observed.unknown_elements.iter().find(|unknown| !unknown.rule.as_ref().is_some_and(is_ours))?;
    let of = unknown.rule.as_ref().map_or_else(|| "the configuration".to_owned(), |id| format!("rule {id}"));
    let message = format!(
        "{of} on bucket {} holds {}, which this version of the operator does not know and would lose with any write: upgrade it, or remove the element",
        visit.source.name, unknown.path
    );
    Some(Problem::new(ConditionType::ReplicationConfigured, Reason::ForeignRuleNotPreservable, message))
}

/// What stands on the bucket and is not ours to change.
fn obstacles(visit: &Visit<'_>, observed: &Observed) -> Vec<Problem> {
    let mut problems = vec![];
    let name = RoleName::of(visit.installation, visit.source);
    if let Some(role) = observed.role.present()
        && !plan::is_ours(role, visit.installation, visit.source)
    {
        let message = format!("role {} stands and does not carry our tags: delete or rename it, if nobody needs it", role.arn);
        problems.push(Problem::new(ConditionType::RoleReady, Reason::RoleNotOurs, message));
    }
    if let Some(configuration) = observed.configuration.present() {
        problems.extend(foreign_configuration(configuration, visit, &name));
    }
    problems
}

fn foreign_configuration(configuration: &Configuration, visit: &Visit<'_>, name: &RoleName) -> Option<Problem> {
    let problem = |reason, message| Some(Problem::new(ConditionType::ReplicationConfigured, reason, message));
    let bucket = &visit.source.name;
    let foreign: Vec<_> = configuration.rules.iter().filter(|rule| rule.mark(visit.installation).is_none()).collect();
    foreign.first()?;
    let role = configuration.role.rsplit('/').next().unwrap_or_default();
    if role != name.as_str() {
        if role.starts_with("brepl-") && role.ends_with(name.as_str().rsplit('-').next().unwrap_or_default()) {
            return problem(
                Reason::OtherInstallation,
                format!(
                    "another installation of this operator works on bucket {bucket}, with role {}: leave the bucket to one of them",
                    configuration.role
                ),
            );
        }
        return problem(
            Reason::ForeignConfiguration,
            format!(
                "bucket {bucket} has a replication configuration under role {}, which is not ours: remove it, or move its rules to BucketReplications",
                configuration.role
            ),
        );
    }
    if let Some(old) = foreign.iter().find(|rule| rule.filter.is_none()) {
        let id = old.id.as_deref().unwrap_or("without ID");
        return problem(
            Reason::ForeignVersion1Rules,
            format!("rule {id} on bucket {bucket} is of the old schema, which can't stand beside ours: write it anew with a Filter"),
        );
    }
    None
}

fn stand<'a>(object: &Object, visit: &Visit<'_>, observed: &Observed, everywhere: impl Iterator<Item = &'a Problem>) -> Stand {
    if object.abandoned {
        return Stand::Abandoned;
    }
    if object.deleting {
        return Stand::Leaving;
    }
    let valid: Valid = match validate::validate(object, visit.accounts) {
        Ok(valid) => valid,
        Err(problems) => return Stand::Refused(problems),
    };
    if object.spec.mode == Mode::Paused {
        return Stand::Paused;
    }
    let everywhere: Vec<_> = everywhere.cloned().collect();
    match assess::assess(&valid, observed, visit.accounts) {
        Err(mut problems) => {
            problems.extend(everywhere);
            Stand::Refused(problems)
        }
        Ok(_) if !everywhere.is_empty() => Stand::Refused(everywhere),
        Ok(resolved) if valid.observe => Stand::Observing(Box::new(resolved)),
        Ok(resolved) => {
            let problems = visit.refusals.problems.get(&object.key).cloned().into_iter().collect();
            Stand::Acting { resolved: Box::new(resolved), problems }
        }
    }
}

/// Of two objects that would treat one object of S3 differently on its way to the same bucket, the first in order wins.
fn refuse_overlaps(objects: &[&Object], stands: &mut BTreeMap<ObjectKey, Stand>) {
    let mut first: Vec<(ObjectKey, super::configuration::ReplicationRule)> = vec![];
    for object in objects {
        let Some(Stand::Acting { resolved, .. }) = stands.get(&object.key) else { continue };
        let rules = compose::rules_of(resolved);
        let clash = rules.iter().find(|rule| {
            first
                .iter()
                .any(|(_, other)| rule.destination.bucket == other.destination.bucket && rule.overlaps(other) && !rule.same_settings(other))
        });
        if let Some(rule) = clash {
            let message = format!(
                "prefix \"{}\" overlaps with another object on this bucket that came first and replicates to bucket {} with other settings: narrow the prefix or tags, or use the same settings",
                rule.selected_prefix(),
                resolved.valid.destination.name
            );
            let problem = Problem::new(ConditionType::ReplicationConfigured, Reason::OverlappingRules, message);
            stands.insert(object.key.clone(), Stand::Refused(vec![problem]));
        } else {
            first.extend(rules.into_iter().map(|rule| (object.key.clone(), rule)));
        }
    }
}

/// One composition, and who uses what in it.
struct Round {
    desired: Desired,
    users: Users,
    disabled: bool,
}

impl Round {
    fn new(
        visit: &Visit<'_>,
        account: &Account,
        observed: &Observed,
        objects: &[&Object],
        stands: &BTreeMap<ObjectKey, Stand>,
        observing: bool,
    ) -> Self {
        let mut acting = vec![];
        let mut carried = BTreeMap::new();
        let mut withheld = BTreeSet::new();
        let mut users = Users::default();
        for object in objects {
            let key = &object.key;
            match stands.get(key) {
                Some(Stand::Acting { resolved, problems }) => {
                    if !problems.is_empty() {
                        withheld.insert(key.clone());
                    }
                    acting.push((**resolved).clone());
                }
                Some(Stand::Observing(resolved)) if observing => acting.push((**resolved).clone()),
                Some(Stand::Refused(problems)) if problems.iter().any(|problem| problem.reason == Reason::NotGranted) => {
                    carried.insert(key.clone(), Carry::Disabled);
                    users.all.insert(key.clone());
                }
                Some(Stand::Leaving) => {
                    users.all.insert(key.clone());
                    if object.spec.deletion_policy == DeletionPolicy::Retain {
                        carried.insert(key.clone(), Carry::Retained);
                    }
                }
                _ => {
                    carried.insert(key.clone(), Carry::AsItStands);
                }
            }
        }
        for resolved in &acting {
            let key = resolved.valid.key.clone();
            users.all.insert(key.clone());
            users.buckets.entry(resolved.valid.destination.clone()).or_default().insert(key.clone());
            for arn in resolved.keys.iter().flat_map(|keys| keys.source.iter().chain([&keys.replica])) {
                users.keys.entry(arn.clone()).or_default().insert(key.clone());
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
        Self { desired, users, disabled }
    }

    /// The steps, without those onto documents that the platform team keeps for itself.
    fn steps(&self, visit: &Visit<'_>, observed: &Observed, settled: bool) -> Vec<PlannedStep> {
        let mut steps = plan::plan(visit.installation, visit.source, &self.desired, observed, &self.users, settled, &visit.refusals.steps);
        steps.retain(|planned| match &planned.step {
            Step::PutBucketPolicy { bucket, .. } | Step::DeleteBucketPolicy { bucket, .. } => {
                writes_bucket_policies(visit.accounts, bucket)
            }
            Step::PutKeyPolicy { key, .. } => writes_key_policies(visit.accounts, key),
            _ => true,
        });
        steps
    }

    fn has_work(&self, stands: &BTreeMap<ObjectKey, Stand>) -> bool {
        self.disabled || stands.values().any(|stand| matches!(stand, Stand::Acting { .. } | Stand::Leaving))
    }

    /// The first limit of AWS that the composition crosses.
    fn exceeded(&self, visit: &Visit<'_>, observed: &Observed) -> Option<Problem> {
        let problem = |condition, what: &str, size: usize, most: usize| {
            let message =
                format!("with this object, {what} would have {size} of at most {most}: use fewer rules or shorter prefixes on this bucket");
            Some(Problem::new(condition, Reason::LimitExceeded, message))
        };
        if let Some(configuration) = &self.desired.configuration {
            let destinations: BTreeSet<_> = configuration.rules.iter().map(|rule| &rule.destination.bucket).collect();
            if configuration.rules.len() > MOST_RULES {
                return problem(
                    ConditionType::ReplicationConfigured,
                    "the number of rules on the bucket",
                    configuration.rules.len(),
                    MOST_RULES,
                );
            }
            if destinations.len() > MOST_DESTINATIONS {
                return problem(
                    ConditionType::ReplicationConfigured,
                    "the number of destinations of the bucket",
                    destinations.len(),
                    MOST_DESTINATIONS,
                );
            }
        }
        if !plan::permissions_fit(visit.installation, visit.source, &self.desired, observed) {
            let message = "with this object, the role's permissions would not fit into its inline policy and ten managed ones: use fewer rules or shorter prefixes on this bucket";
            return Some(Problem::new(ConditionType::RoleReady, Reason::LimitExceeded, message));
        }
        let length = |document: &Document| document.compact().len();
        self.steps(visit, observed, true).iter().find_map(|planned| match &planned.step {
            Step::PutBucketPolicy { bucket, document, .. } if length(document) > MOST_BUCKET_POLICY => problem(
                ConditionType::DestinationReady,
                &format!("the bytes of the policy of bucket {}", bucket.name),
                length(document),
                MOST_BUCKET_POLICY,
            ),
            Step::PutKeyPolicy { key, document } if length(document) > MOST_KEY_POLICY => {
                problem(ConditionType::KeysReady, &format!("the bytes of the policy of key {key}"), length(document), MOST_KEY_POLICY)
            }
            _ => None,
        })
    }
}

fn writes_bucket_policies(accounts: &Accounts, bucket: &OwnedBucket) -> bool {
    accounts.by_id(&bucket.account).is_some_and(|account| account.policies.bucket_policy == PolicyMode::Manage)
}

fn writes_key_policies(accounts: &Accounts, key: &KeyArn) -> bool {
    accounts.by_id(&key.account).is_some_and(|account| account.policies.key_policy == PolicyMode::Manage)
}

/// Where a document is not ours to write and lacks what an object needs, its rules wait, and the object says what has to be applied.
fn await_owners(
    visit: &Visit<'_>,
    observed: &Observed,
    stands: &mut BTreeMap<ObjectKey, Stand>,
    round: &dyn Fn(&BTreeMap<ObjectKey, Stand>, bool) -> Round,
) {
    let first = round(stands, false);
    let Some(role) = &first.desired.role else { return };
    let mut waiting: BTreeMap<ObjectKey, Vec<Problem>> = BTreeMap::new();
    let mut wait = |users: Option<&BTreeSet<ObjectKey>>, problem: &Problem| {
        for user in users.into_iter().flatten() {
            waiting.entry(user.clone()).or_default().push(problem.clone());
        }
    };
    for (bucket, statements) in first.desired.bucket_statements.iter().filter(|(bucket, _)| !writes_bucket_policies(visit.accounts, bucket))
    {
        let policy = observed.buckets.get(bucket).and_then(|read| read.policy.present());
        for statement in statements.iter().filter(|statement| !stands_already(policy, statement, &role.arn)) {
            let name = &bucket.name;
            let action = RequiredAction {
                document: format!("policy of bucket {name}"),
                account_id: bucket.account.to_string(),
                statement: format!("{:#}", statement.json()),
                command: format!(
                    "aws s3api get-bucket-policy --bucket {name} --query Policy --output text > policy.json; add the statement to it; aws s3api put-bucket-policy --bucket {name} --policy file://policy.json"
                ),
            };
            let message = format!(
                "the policy of bucket {name} does not let {} replicate into it: have the owner of account {} apply the statement in status.requiredActions",
                role.arn, bucket.account
            );
            let problem = Problem {
                action: Some(Box::new(action)),
                ..Problem::new(ConditionType::DestinationReady, Reason::BucketPolicyNeeded, message)
            };
            wait(first.users.buckets.get(bucket), &problem);
        }
    }
    for (key, statements) in first.desired.key_statements.iter().filter(|(key, _)| !writes_key_policies(visit.accounts, key)) {
        let policy = observed.key_policies.get(key).and_then(Facet::present);
        for statement in statements.iter().filter(|statement| !stands_already(policy, statement, &role.arn)) {
            let action = RequiredAction {
                document: format!("policy of key {key}"),
                account_id: key.account.to_string(),
                statement: format!("{:#}", statement.json()),
                command: format!(
                    "aws kms get-key-policy --region {} --key-id {key} --policy-name default --query Policy --output text > policy.json; add the statement to it; aws kms put-key-policy --region {} --key-id {key} --policy-name default --policy file://policy.json",
                    key.region, key.region
                ),
            };
            let message = format!(
                "the policy of key {key} does not let {} use it: have the owner of account {} apply the statement in status.requiredActions",
                role.arn, key.account
            );
            let problem =
                Problem { action: Some(Box::new(action)), ..Problem::new(ConditionType::KeysReady, Reason::KeyPolicyNeeded, message) };
            wait(first.users.keys.get(key), &problem);
        }
    }
    for (key, waits) in waiting {
        if let Some(Stand::Acting { problems, .. }) = stands.get_mut(&key) {
            problems.extend(waits);
        }
    }
}

fn stands_already(policy: Option<&Document>, wanted: &Statement, role: &str) -> bool {
    let Some(policy) = policy else { return false };
    let same = policy.statements().iter().any(|statement| statement.canonical() == wanted.canonical());
    let via = wanted.condition("StringEquals", "kms:ViaService");
    let context = via.first().map(|service| ("kms:viaservice", (*service).to_owned())).into_iter().collect();
    let (actions, resources) = (wanted.strings("Action"), wanted.strings("Resource"));
    same || resources.iter().all(|resource| {
        let request = Request {
            principals: vec![role.to_owned()],
            actions: &actions,
            resource: (*resource).to_owned(),
            context: std::clone::Clone::clone(&context),
        };
        policy.allows(&request, |_| false)
    })
}

/// What would be done for the objects that only want to be told.
fn pending(
    visit: &Visit<'_>,
    observed: &Observed,
    stands: &BTreeMap<ObjectKey, Stand>,
    round: &dyn Fn(&BTreeMap<ObjectKey, Stand>, bool) -> Round,
) -> BTreeMap<ObjectKey, Vec<String>> {
    let observing: Vec<_> = stands.iter().filter(|(_, stand)| matches!(stand, Stand::Observing(_))).map(|(key, _)| key).collect();
    if observing.is_empty() {
        return BTreeMap::new();
    }
    let steps = round(stands, true).steps(visit, observed, true);
    let texts = |key: &ObjectKey| {
        let concerned = steps.iter().filter(|planned| planned.concerns.contains(key) && planned.step != Step::Settle);
        concerned.map(|planned| format!("{} {}", planned.step.sign(), planned.step)).collect()
    };
    observing.into_iter().map(|key| (key.clone(), texts(key))).collect()
}

fn permissions(desired: &Desired) -> String {
    let mut parts = vec![];
    parts.extend(desired.role.iter().map(|role| role.permissions.compact()));
    let buckets = desired.bucket_statements.iter().map(|(bucket, statements)| (bucket.to_string(), statements));
    let keys = desired.key_statements.iter().map(|(key, statements)| (key.to_string(), statements));
    for (document, statements) in buckets.chain(keys) {
        parts.push(document);
        parts.extend(statements.iter().map(|statement| statement.json().to_string()));
    }
    fingerprint(&parts.iter().map(String::as_str).collect::<Vec<_>>(), 64)
}
