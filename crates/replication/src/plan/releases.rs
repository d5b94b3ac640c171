//! The statements for all roles of the source account that the source bucket no longer needs. Whether another bucket does is known when they are
//! removed.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    composition::{desired::Desired, statements::used},
    grantee::OwnRoles,
    names::InstallationId,
    observation::ledger::ledger,
    observed::Observed,
    plan::{
        basis::Basis,
        planner::{Places, contains},
    },
    policy::{Document, Statement},
    shared_policy::SharedPolicy,
    uses::Used,
};

/// What the source bucket used before and does not use afterwards.
pub(super) struct Releases<'a> {
    basis: &'a Basis<'a>,
    /// By the role's existing policies.
    before: Used,
    after: Used,
    /// The places that the role's policies named, or the rules, and no longer name.
    left: Places,
}

impl<'a> Releases<'a> {
    pub(super) fn of(basis: &'a Basis<'a>) -> Self {
        let (installation, source) = (basis.installation, basis.source);
        let existing = basis.observed.role_statements();
        let wanted = basis.desired.role.as_ref();
        let wanted = wanted.map(|role| role.policy.statements());
        let (before, after) = before_and_after(installation, basis.observed, basis.desired);
        let configuration = basis.observed.configuration.present();
        let (mut buckets, mut keys) = ledger(installation, source, configuration, &existing);
        if wanted.is_none() {
            // The role may be gone, so that no policy names what it used.
            buckets.extend(basis.observed.buckets.keys().cloned());
            keys.extend(basis.observed.key_policies.keys().cloned());
        }
        let kept = ledger(installation, source, None, &wanted.unwrap_or_default());
        buckets.retain(|bucket| !kept.0.contains(bucket));
        keys.retain(|key| !kept.1.contains(key));
        Self {
            basis,
            before,
            after,
            left: (buckets, keys),
        }
    }

    /// The statements that the source bucket no longer needs: those of `existing`, the policy, and those that a read may not show yet.
    pub(super) fn from(
        &self,
        policy: &SharedPolicy,
        existing: &Document,
    ) -> BTreeMap<String, OwnRoles> {
        let installation = self.basis.installation;
        let has = |used: &Used, sid: &str| used.get(policy).is_some_and(|sids| sids.contains(sid));
        let is_left = contains(&self.left, policy);
        let mut released = BTreeMap::new();
        for statement in existing.statements() {
            let (Some(sid), Some(roles)) = (statement.sid(), statement.own_roles(installation))
            else {
                continue;
            };
            if roles.account == self.basis.source.account
                && !has(&self.after, sid)
                && (is_left || has(&self.before, sid))
            {
                released.insert(sid.to_owned(), roles);
            }
        }
        let own = self.basis.observed.role.present();
        let own = own.map(|role| OwnRoles::with(&role.arn, installation));
        let before = self.before.get(policy).into_iter().flatten();
        for sid in before.filter(|sid| !has(&self.after, sid)) {
            if let Some(roles) = &own {
                released.entry(sid.clone()).or_insert_with(|| roles.clone());
            }
        }
        released
    }
}

/// What the source bucket uses by its role's existing policies, and by those that it should have; neither if these are the same, which is the usual
/// case.
fn before_and_after(
    installation: &InstallationId,
    observed: &Observed,
    desired: &Desired,
) -> (Used, Used) {
    let existing = observed.role_statements();
    let wanted = desired.role.as_ref();
    if wanted.is_some_and(|wanted| same(&wanted.policy.statements(), &existing)) {
        return (Used::new(), Used::new());
    }
    let own = observed.role.present();
    let before = own.map(|role| used(installation, &role.arn, &existing));
    (before.unwrap_or_default(), desired.uses(installation))
}

/// The Sids that the source bucket no longer uses, by what its role's policies name.
pub(super) fn unused_by(
    installation: &InstallationId,
    observed: &Observed,
    desired: &Desired,
) -> Used {
    let (mut unused, after) = before_and_after(installation, observed, desired);
    for (policy, sids) in &mut unused {
        let kept = after.get(policy);
        sids.retain(|sid| !kept.is_some_and(|kept| kept.contains(sid)));
    }
    unused.retain(|_, sids| !sids.is_empty());
    unused
}

/// Whether both are the same statements, by their Sids, which include their content.
fn same(wanted: &[Statement], existing: &[Statement]) -> bool {
    let sids = |statements: &[Statement]| {
        let sids = statements.iter().filter_map(Statement::sid);
        sids.map(ToOwned::to_owned).collect::<BTreeSet<_>>()
    };
    sids(wanted) == sids(existing)
}

/// The Sids that the source bucket no longer uses, by what its role's policies named.
#[must_use]
pub fn unused(basis: &Basis<'_>) -> Used {
    unused_by(basis.installation, basis.observed, basis.desired)
}

/// The Sids of statements that the source bucket no longer needs, in all policies that were read.
#[must_use]
pub fn unneeded(basis: &Basis<'_>) -> Used {
    let releases = Releases::of(basis);
    let observed = basis.observed;
    let buckets = observed.buckets.iter().filter_map(|(bucket, read)| {
        let policy = read.policy.present()?;
        Some((SharedPolicy::OfBucket(bucket.clone()), policy))
    });
    let keys = observed.key_policies.iter().filter_map(|(key, read)| {
        let policy = read.present()?;
        Some((SharedPolicy::OfKey(key.clone()), policy))
    });
    let existing = |policy: &SharedPolicy, document: &Document| {
        let unneeded = releases.from(policy, document);
        let shown = document.statements();
        let sids = shown.iter().filter_map(Statement::sid);
        let sids = sids.filter(|sid| unneeded.contains_key(*sid));
        sids.map(ToOwned::to_owned).collect()
    };
    buckets
        .chain(keys)
        .map(|(policy, document)| {
            let sids = existing(&policy, document);
            (policy, sids)
        })
        .collect()
}
