//! Which source buckets use which statements of shared policies, as far as this process knows.
//!
//! A statement at a destination or a key is for all source buckets of an account, and goes with the last one that needs it. The policy of a
//! bucket's role names a place before a statement is added there, and until the bucket no longer needs it; so what a role's policy names is a use,
//! and what this process wrote counts before a read shows it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    names::{AccountId, RoleName},
    policy::Document,
    shared_policy::{REMEMBERED, SharedPolicy, SourceRole},
};

/// The Sids that a source bucket uses, by the policy that has them.
pub type Used = BTreeMap<SharedPolicy, BTreeSet<String>>;

/// Which source buckets use which statements of shared policies.
#[derive(Debug, Default)]
pub struct Uses {
    accounts: BTreeMap<AccountId, OfAccount>,
    removals: BTreeMap<(SharedPolicy, String), Removal>,
    /// How many removals were left when old ones were last dropped.
    left: usize,
}

/// What the source buckets of an account use.
#[derive(Debug, Default)]
struct OfAccount {
    roles: BTreeMap<RoleName, (Used, Timestamp)>,
    /// The paths under which all roles that existed are known.
    complete: BTreeSet<String>,
}

/// A statement that was removed, or is being removed right now.
#[derive(Debug)]
struct Removal {
    by: SourceRole,
    at: Timestamp,
}

/// Up to this many removals are kept without looking for old ones.
const FEW: usize = 64;

impl Uses {
    /// Whether all roles of the account under `path` are known: those that existed by [`Uses::complete`], and later ones by what this process did.
    #[must_use]
    pub fn is_complete(&self, account: &AccountId, path: &str) -> bool {
        let known = self.accounts.get(account);
        known.is_some_and(|known| known.complete.contains(path))
    }

    /// Whether it is known what the role's source bucket uses.
    #[must_use]
    pub fn knows(&self, role: &SourceRole) -> bool {
        let known = self.accounts.get(&role.account);
        known.is_some_and(|known| known.roles.contains_key(&role.name))
    }

    /// Adds what the policy of a role names. What this process knows already is newer.
    pub fn learn(&mut self, role: &SourceRole, used: Used, now: Timestamp) {
        let known = self.accounts.entry(role.account.clone()).or_default();
        let roles = &mut known.roles;
        roles.entry(role.name.clone()).or_insert((used, now));
    }

    /// Every role that exists under `path` is known now.
    pub fn complete(&mut self, account: &AccountId, path: &str) {
        let known = self.accounts.entry(account.clone()).or_default();
        known.complete.insert(path.to_owned());
    }

    /// Notes what a source bucket uses after a visit that began at `since`. False if another source bucket removed some of it meanwhile, so that
    /// the visit rests on what is gone.
    pub fn note(
        &mut self,
        role: &SourceRole,
        used: Used,
        since: Timestamp,
        now: Timestamp,
    ) -> bool {
        let is_gone = |policy: &SharedPolicy, sid: &String| {
            let removal = self.removals.get(&(policy.clone(), sid.clone()));
            removal.is_some_and(|removal| removal.by != *role && removal.at >= since)
        };
        let gone = used
            .iter()
            .any(|(policy, sids)| sids.iter().any(|sid| is_gone(policy, sid)));
        let known = self.accounts.entry(role.account.clone()).or_default();
        // A role that uses nothing is remembered for a while: a read of AWS may still show what its policy was.
        let is_kept = |(used, noted): &(Used, Timestamp)| {
            !used.is_empty() || now.duration_since(*noted) < REMEMBERED
        };
        if used.is_empty() {
            known.roles.retain(|_, known| is_kept(known));
        }
        known.roles.insert(role.name.clone(), (used, now));
        !gone
    }

    /// Notes that an edit for `role` begins, which adds the statements `added` and no longer needs those `released`. Returns those of the latter
    /// that no other source bucket of the account uses: the edit removes them.
    pub fn begin(
        &mut self,
        policy: &SharedPolicy,
        role: &SourceRole,
        added: impl Iterator<Item = String>,
        released: &BTreeSet<String>,
        now: Timestamp,
    ) -> BTreeSet<String> {
        let known = self.accounts.entry(role.account.clone()).or_default();
        let own = known.roles.entry(role.name.clone());
        let (used, noted) = own.or_insert_with(|| (Used::new(), now));
        *noted = now;
        let sids = used.entry(policy.clone()).or_default();
        sids.retain(|sid| !released.contains(sid));
        for sid in added {
            self.removals.remove(&(policy.clone(), sid.clone()));
            sids.insert(sid);
        }
        if sids.is_empty() {
            used.remove(policy);
        }
        let is_used = |sid: &String| {
            let mut all = known.roles.values().map(|(used, _)| used);
            all.any(|used| used.get(policy).is_some_and(|sids| sids.contains(sid)))
        };
        let unused: BTreeSet<_> = released
            .iter()
            .filter(|sid| !is_used(sid))
            .cloned()
            .collect();
        for sid in &unused {
            let by = role.clone();
            let place = (policy.clone(), sid.clone());
            self.removals.insert(place, Removal { by, at: now });
        }
        self.tidy(now);
        unused
    }

    /// `read` without the statements that were removed lately by others than `role`: a read may lag behind the removal, and a removal that is not
    /// over yet counts already.
    #[must_use]
    pub fn seen(
        &self,
        policy: &SharedPolicy,
        role: &SourceRole,
        read: Document,
        now: Timestamp,
    ) -> Document {
        let is_gone = |sid: &str| {
            let removal = self.removals.get(&(policy.clone(), sid.to_owned()));
            removal.is_some_and(|removal| {
                removal.by != *role && now.duration_since(removal.at) < REMEMBERED
            })
        };
        let mut sids = read.statements().into_iter();
        if !sids.any(|statement| statement.sid().is_some_and(is_gone)) {
            return read;
        }
        read.merged(&[], |statement| statement.sid().is_some_and(is_gone))
    }

    /// Drops old removals, whenever their number has doubled.
    fn tidy(&mut self, now: Timestamp) {
        let is_recent = |at: Timestamp| now.duration_since(at) < REMEMBERED;
        if self.removals.len() < FEW.max(2 * self.left) {
            return;
        }
        self.removals.retain(|_, removal| is_recent(removal.at));
        self.left = self.removals.len();
    }
}
