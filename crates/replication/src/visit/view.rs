//! A visit as decisions take it, what was refused in it, and what it reads.

use std::collections::{BTreeMap, BTreeSet};

use api::{
    aws_account::Access,
    bucket_replication::{ExistingConfiguration, Mode},
};

use jiff::Timestamp;

use crate::{
    Object, Problem,
    accounts::Accounts,
    assess,
    composition::drain::Drain,
    names::{AccountId, BucketName, InstallationId, ObjectKey, OwnedBucket, RoleName},
    observed::{Depth, Failure, KeyQuery, Scope},
    plan::Step,
    shared_policy::SharedPolicy,
    validate::Valid,
    visit::{
        former::{self, Former},
        narrowing::Narrowing,
        times::Times,
        watched::Watched,
    },
};

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
    /// Source buckets of other objects that replicate into the source bucket.
    pub upstream: &'a BTreeSet<BucketName>,
    /// The periods of visits.
    pub times: &'a Times,
    /// When the visit began.
    pub now: Timestamp,
    /// The namespaces that the operator watches.
    pub watched: &'a Watched,
    /// What AWS refused in this visit.
    pub refusals: &'a Refusals,
    /// The permissions of former rules that this process knows to stay, which the objects' statuses also say.
    pub remembered: Option<&'a BTreeMap<ObjectKey, Former>>,
}

impl<'a> View<'a> {
    /// How long permissions of former rules stay, if they do.
    pub(crate) fn drain(&self) -> Option<Drain> {
        let (period, now) = (self.times.drain, self.now);
        let known = self.objects.iter().filter_map(|object| self.former(object));
        let remembered = known.map(|former| former.since).max();
        (!period.is_zero()).then_some(Drain {
            period,
            now,
            remembered,
        })
    }

    /// What stays for the object since its last edits.
    pub(crate) fn former(&self, object: &Object) -> Option<Former> {
        former::known(object, self.remembered, self.source.partition)
    }

    /// The policies that may have statements for what the object was before, by its status and by what is remembered.
    pub(crate) fn used_before(&self, object: &Object) -> BTreeSet<SharedPolicy> {
        let mut used = former::named_by(&object.status, self.source.partition);
        let known = self.former(object);
        used.extend(known.into_iter().flat_map(|former| former.policies));
        used
    }

    pub(crate) fn valid(&self, object: &Object) -> Result<&'a Valid, &'a [Problem]> {
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
    /// Which rules S3 refuses in the configuration.
    pub narrowing: Narrowing,
    /// What S3 said of it.
    pub refused_rules: Option<Failure>,
    /// The objects that turned out to be the cause of it, until they are remembered.
    pub found: BTreeSet<ObjectKey>,
    /// The objects to which the API server refuses to add the finalizer, with its error. Nothing is written for them.
    pub finalizers: BTreeMap<ObjectKey, String>,
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

/// What to read for the visit: everything.
#[must_use]
pub fn scope(visit: &View<'_>) -> Scope {
    let account = visit.accounts.by_id(&visit.source.account);
    let mut scope = Scope {
        source: visit.source.clone(),
        role: RoleName::of(visit.installation, visit.source),
        installation: visit.installation.clone(),
        destinations: BTreeSet::new(),
        keys: BTreeSet::new(),
        ownership: BTreeSet::new(),
        acls: BTreeSet::new(),
        writes_roles: account.is_none_or(|account| !account.roles.are_checked()),
        named_role: account
            .and_then(|account| account.roles.named.get(&visit.source.name).cloned()),
        former: BTreeSet::new(),
        synced: BTreeSet::new(),
        boundary: visit
            .accounts
            .by_id(&visit.source.account)
            .and_then(|account| account.roles.boundary.clone()),
        mergeable: visit
            .accounts
            .by_id(&visit.source.account)
            .map(|account| account.roles.mergeable.clone())
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
        if let Ok(valid) = visit.valid(object) {
            add(&mut scope, visit, object, valid);
        }
        if !scope.writes_roles {
            scope.former.extend(visit.used_before(object));
        }
    }
    scope
}

/// Adds what one object needs.
fn add(scope: &mut Scope, visit: &View<'_>, object: &Object, valid: &Valid) {
    let managed = |account: &AccountId| visit.accounts.managed(account).is_some();
    let of_key = |query: &KeyQuery| {
        query
            .reference
            .account()
            .unwrap_or(&query.beside.account)
            .clone()
    };
    let keys = assess::keys_of(valid)
        .into_iter()
        .filter(|query| visit.accounts.by_id(&of_key(query)).is_none() || managed(&of_key(query)));
    scope.keys.extend(keys);
    scope.default_encryption |= !object.is_deleting() && assess::needs_default_encryption(valid);
    if !managed(&valid.destination.account) {
        return;
    }
    scope.destinations.insert(valid.destination.clone());
    if valid.keeps_owner {
        scope.ownership.insert(valid.destination.clone());
    } else if valid.is_across_accounts() && !valid.owner_override {
        scope.acls.insert(valid.destination.clone());
    }
    if valid.sync_replica_modifications {
        scope.synced.insert(valid.destination.clone());
    }
}
