//! The statements for all roles of the source account that the source bucket no longer needs. Whether another bucket does is known when they are
//! removed.

use crate::{
    composition::statements::used,
    observation::ledger::ledger,
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
        let own = basis.observed.role.present();
        let before = own.map(|role| used(installation, &role.arn, &existing));
        let after = basis.desired.uses(installation);
        let wanted = basis.desired.role.as_ref();
        let wanted = wanted.map(|role| role.policy.statements());
        let configuration = basis.observed.configuration.present();
        let (mut buckets, mut keys) = ledger(installation, source, configuration, &existing);
        let kept = ledger(installation, source, None, &wanted.unwrap_or_default());
        buckets.retain(|bucket| !kept.0.contains(bucket));
        keys.retain(|key| !kept.1.contains(key));
        Self {
            basis,
            before: before.unwrap_or_default(),
            after,
            left: (buckets, keys),
        }
    }

    /// The statements of `existing`, the policy, that the source bucket no longer needs.
    pub(super) fn from(&self, policy: &SharedPolicy, existing: &Document) -> Vec<Statement> {
        let has = |used: &Used, sid: &str| used.get(policy).is_some_and(|sids| sids.contains(sid));
        let is_left = contains(&self.left, policy);
        let is_released = |statement: &Statement| {
            let (roles, sid) = (
                statement.own_roles(self.basis.installation),
                statement.sid().unwrap_or_default(),
            );
            roles.is_some_and(|roles| roles.account == self.basis.source.account)
                && !has(&self.after, sid)
                && (is_left || has(&self.before, sid))
        };
        let mut statements = existing.statements();
        statements.retain(is_released);
        statements
    }
}

/// The Sids that the source bucket no longer uses, by what its role's policies named.
#[must_use]
pub fn unused(basis: &Basis<'_>) -> Used {
    let Releases { before, after, .. } = Releases::of(basis);
    let mut unused = before;
    for (policy, sids) in &mut unused {
        let kept = after.get(policy);
        sids.retain(|sid| !kept.is_some_and(|kept| kept.contains(sid)));
    }
    unused
}

/// The statements that the source bucket no longer needs, in all policies that were read.
#[must_use]
pub fn unneeded(basis: &Basis<'_>) -> Vec<(SharedPolicy, Statement)> {
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
    buckets
        .chain(keys)
        .flat_map(|(policy, existing)| {
            let statements = releases.from(&policy, existing).into_iter();
            statements.map(move |statement| (policy.clone(), statement))
        })
        .collect()
}
