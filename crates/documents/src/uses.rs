//! Which source buckets use which statements of shared policies, as far as this process knows.
//!
//! A statement at a destination or a key is for all source buckets of an account, and goes with the last one that needs it. The policy of a
//! bucket's role names a place before a statement is added there, and until the bucket no longer needs it; so what a role's policy names is a use,
//! and what this process wrote counts before a read shows it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

use crate::{
    arns::RoleArn,
    grantee::OwnRoles,
    names::{AccountId, RoleName},
    policy::Document,
    shared_policy::{REMEMBERED, SharedPolicy, SourceRole},
};

/// The Sids that a source bucket uses, by the policy that has them.
pub type Used = BTreeMap<SharedPolicy, BTreeSet<String>>;

/// A moment between two removals, in their order. No clock decides it, so that none that is set back can hide a removal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// Which source buckets use which statements of shared policies.
#[derive(Debug, Default)]
pub struct Uses {
    accounts: BTreeMap<AccountId, OfAccount>,
    removals: BTreeMap<(SharedPolicy, String), Removal>,
    /// That of the last removal.
    last: Moment,
    /// How many removals were left when old ones were last dropped.
    left: usize,
    /// What several source buckets use, once: those of an account with the same destination and keys use the same.
    shared: Shared,
}

/// One copy of each value.
#[derive(Debug, Default)]
struct Shared {
    copies: BTreeSet<Arc<Used>>,
    /// How many were left when those that nothing uses were last dropped.
    left: usize,
}

impl Shared {
    fn copy_of(&mut self, used: Used) -> Arc<Used> {
        if let Some(copy) = self.copies.get(&used) {
            return Arc::clone(copy);
        }
        if self.copies.len() >= FEW.max(2 * self.left) {
            self.copies.retain(|copy| Arc::strong_count(copy) > 1);
            self.left = self.copies.len();
        }
        let copy = Arc::new(used);
        self.copies.insert(Arc::clone(&copy));
        copy
    }
}

/// What the source buckets of an account use.
#[derive(Debug, Default)]
struct OfAccount {
    roles: BTreeMap<RoleName, (Arc<Used>, Timestamp)>,
    /// The paths under which all roles that existed are known.
    complete: BTreeSet<String>,
}

/// A statement that was removed, or is being removed right now.
#[derive(Debug)]
struct Removal {
    by: SourceRole,
    at: Timestamp,
    moment: Moment,
}

/// Up to this many removals are kept without looking for old ones.
const FEW: usize = 64;

impl Uses {
    /// Forgets the roles of all accounts but those that `exists` knows: what is not known is read again before anything is removed.
    pub fn keep_only(&mut self, exists: &dyn Fn(&AccountId) -> bool) {
        self.accounts.retain(|account, _| exists(account));
    }

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

    /// Adds what the policy of a role names. What this process has noted in the last hour is newer.
    pub fn learn(&mut self, role: &SourceRole, used: Used, now: Timestamp) {
        let used = self.shared.copy_of(used);
        let known = self.accounts.entry(role.account.clone()).or_default();
        let noted = known.roles.entry(role.name.clone());
        let noted = noted.or_insert_with(|| (Arc::clone(&used), now));
        if !is_recent(noted.1, now) {
            *noted = (used, now);
        }
    }

    /// A role other than `role` that counts as a user of one of the statements `released`, if what is known of all its users is more than an hour
    /// old. It may be gone by now, since the source bucket of an object that was abandoned is not visited.
    #[must_use]
    pub fn doubtful(
        &self,
        policy: &SharedPolicy,
        role: &SourceRole,
        released: &BTreeMap<String, OwnRoles>,
        now: Timestamp,
    ) -> Option<RoleArn> {
        let roles = &self.accounts.get(&role.account)?.roles;
        released.iter().find_map(|(sid, all)| {
            let mut users = roles.iter().filter(|(name, (used, _))| {
                let sids = used.get(policy);
                **name != role.name && sids.is_some_and(|sids| sids.contains(sid))
            });
            let is_doubtful = users.clone().all(|(_, (_, at))| !is_recent(*at, now));
            let first = users.next().filter(|_| is_doubtful);
            first.map(|(name, _)| all.role(name.clone()))
        })
    }

    /// Every role that exists under `path` is known now.
    pub fn complete(&mut self, account: &AccountId, path: &str) {
        let known = self.accounts.entry(account.clone()).or_default();
        known.complete.insert(path.to_owned());
    }

    /// The moment after every removal so far.
    #[must_use]
    pub fn moment(&self) -> Moment {
        self.last
    }

    /// Notes what a source bucket uses after a visit that began at `since`. False if another source bucket removed some of it meanwhile, so that
    /// the visit rests on what is gone.
    pub fn note(&mut self, role: &SourceRole, used: Used, since: Moment, now: Timestamp) -> bool {
        let is_gone = |policy: &SharedPolicy, sid: &String| {
            let removal = self.removals.get(&(policy.clone(), sid.clone()));
            removal.is_some_and(|removal| removal.by != *role && removal.moment > since)
        };
        let gone = used
            .iter()
            .any(|(policy, sids)| sids.iter().any(|sid| is_gone(policy, sid)));
        let used = self.shared.copy_of(used);
        let known = self.accounts.entry(role.account.clone()).or_default();
        // A role that uses nothing is remembered for a while: a read of AWS may still show what its policy was.
        let is_kept =
            |(used, noted): &(Arc<Used>, Timestamp)| !used.is_empty() || is_recent(*noted, now);
        if used.is_empty() {
            known.roles.retain(|_, known| is_kept(known));
        }
        known.roles.insert(role.name.clone(), (used, now));
        !gone
    }

    /// Whether source buckets other than that of `role` use all of the statements `released`, so that none is removed now.
    #[must_use]
    pub fn are_used_by_others(
        &self,
        policy: &SharedPolicy,
        role: &SourceRole,
        mut released: impl Iterator<Item = String>,
    ) -> bool {
        let Some(known) = self.accounts.get(&role.account) else {
            return false;
        };
        released.all(|sid| {
            let mut others = known.roles.iter().filter(|(name, _)| **name != role.name);
            others.any(|(_, (used, _))| used.get(policy).is_some_and(|sids| sids.contains(&sid)))
        })
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
        let (noted_use, noted) = own.or_insert_with(|| (Arc::default(), now));
        *noted = now;
        let mut used = Used::clone(noted_use);
        let sids = used.entry(policy.clone()).or_default();
        sids.retain(|sid| !released.contains(sid));
        for sid in added {
            self.removals.remove(&(policy.clone(), sid.clone()));
            sids.insert(sid);
        }
        if sids.is_empty() {
            used.remove(policy);
        }
        *noted_use = self.shared.copy_of(used);
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
            self.last.0 += 1;
            let removal = Removal {
                by: role.clone(),
                at: now,
                moment: self.last,
            };
            self.removals.insert((policy.clone(), sid.clone()), removal);
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
            removal.is_some_and(|removal| removal.by != *role && is_recent(removal.at, now))
        };
        let mut sids = read.statements().into_iter();
        if !sids.any(|statement| statement.sid().is_some_and(is_gone)) {
            return read;
        }
        read.merged(&[], |statement| statement.sid().is_some_and(is_gone))
    }

    /// Drops old removals, whenever their number has doubled.
    fn tidy(&mut self, now: Timestamp) {
        if self.removals.len() < FEW.max(2 * self.left) {
            return;
        }
        self.removals
            .retain(|_, removal| is_recent(removal.at, now));
        self.left = self.removals.len();
    }
}

fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at) < REMEMBERED
}
