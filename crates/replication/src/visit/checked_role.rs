//! What objects used before their last edit, if others create the role: no policy of the operator's names it.

use std::collections::{BTreeMap, BTreeSet};

use api::bucket_replication::DeletionPolicy;

use crate::{
    Object,
    assess::Resolved,
    composition::{desired::Desired, drain::Drain},
    configuration::Configuration,
    names::{ObjectKey, RoleName},
    observation::ledger::ledger,
    observed::Facet,
    policy::{Mark, Statement},
    remedy::PolicyOf,
    shared_policy::SharedPolicy,
    visit::{
        disposition::{Disposition, Dispositions},
        former::Former,
        stage::Stage,
    },
};

/// With more than so many former policies, a status does not wait for them: they lose their statements at once.
const MOST: usize = 50;

/// A composition, for which the policies are looked for that its objects used before.
pub(super) struct CheckedRole<'a> {
    /// What the composition is made from.
    pub(super) stage: &'a Stage<'a>,
    /// What it wants.
    pub(super) desired: &'a Desired,
    /// The objects whose new rules wait.
    pub(super) withheld: &'a BTreeSet<ObjectKey>,
    /// The objects whose rules change.
    pub(super) changing: BTreeSet<ObjectKey>,
    /// How long permissions of former rules stay, if they do.
    pub(super) drain: Option<Drain>,
    /// Whether there is room for them.
    pub(super) drains: bool,
    /// The policies that the existing rules of each object need.
    pub(super) existing: ByObject,
}

/// The policies that the rules of each object need.
pub(super) type ByObject = BTreeMap<ObjectKey, BTreeSet<SharedPolicy>>;

/// The policies that the rules of `configuration` need, by object.
pub(super) fn by_object(stage: &Stage<'_>, configuration: Option<&Configuration>) -> ByObject {
    let (installation, source) = (stage.view.installation, stage.view.source);
    let mut by_object = ByObject::new();
    for rule in configuration.into_iter().flat_map(|read| &read.rules) {
        let Some(mark) = rule.mark(installation) else {
            continue;
        };
        let alone = Configuration {
            role: String::new(),
            rules: vec![rule.clone()],
        };
        let (buckets, keys) = ledger(installation, source, Some(&alone), &[]);
        let needed = by_object.entry(mark.object).or_default();
        needed.extend(buckets.into_iter().map(SharedPolicy::OfBucket));
        needed.extend(keys.into_iter().map(SharedPolicy::OfKey));
    }
    by_object
}

impl CheckedRole<'_> {
    /// What stays for each object, and the policies that lose no statement now.
    pub(super) fn former(
        &self,
        dispositions: &Dispositions,
    ) -> (BTreeMap<ObjectKey, Former>, BTreeSet<SharedPolicy>) {
        let (mut former, mut kept) = (BTreeMap::new(), BTreeSet::new());
        let mut acting = BTreeSet::new();
        for object in &self.stage.objects {
            let before = self.before(object);
            match dispositions.get(&object.key) {
                Some(Disposition::Acting { resolved, .. }) => {
                    let found = self.of_object(object, &before, resolved);
                    if self.withheld.contains(&object.key) {
                        // Its existing rules use them.
                        kept.extend(before);
                    } else {
                        acting.insert(&object.key);
                        let staying = found.iter().filter(|former| !former.over);
                        kept.extend(staying.flat_map(|former| former.policies.clone()));
                    }
                    former.extend(found.map(|found| (object.key.clone(), found)));
                }
                Some(Disposition::Leaving)
                    if object.spec.deletion_policy == DeletionPolicy::Delete => {}
                _ => kept.extend(before),
            }
        }
        let wanted = by_object(self.stage, self.desired.configuration.as_ref()).into_iter();
        let of_others = wanted.filter(|(object, _)| !acting.contains(object));
        kept.extend(of_others.flat_map(|(_, policies)| policies));
        (former, kept)
    }

    /// The policies that may have statements for what the object was before: by its status, by what is remembered, and by its existing rules, which
    /// a status may not name yet.
    fn before(&self, object: &Object) -> BTreeSet<SharedPolicy> {
        let stage = self.stage;
        let mut before = stage.view.used_before(object);
        let existing = self.existing.get(&object.key);
        before.extend(existing.into_iter().flatten().cloned());
        // In the account of the role, bucket policies need no statement.
        before.retain(|policy| match policy {
            SharedPolicy::OfBucket(bucket) => bucket.account != stage.view.source.account,
            SharedPolicy::OfKey(_) => true,
        });
        before
    }

    /// What stays for an object that acts.
    fn of_object(
        &self,
        object: &Object,
        before: &BTreeSet<SharedPolicy>,
        resolved: &Resolved,
    ) -> Option<Former> {
        let view = self.stage.view;
        let known = view.former(object);
        let changes = self.changing.contains(&object.key);
        let used = used_by(resolved);
        let stays = |policy: &&SharedPolicy| {
            !used.contains(policy)
                || ((changes || known.is_some()) && self.has_former_statement(policy))
        };
        let policies: BTreeSet<_> = before.iter().filter(stays).cloned().collect();
        if policies.is_empty() {
            return None;
        }
        let grows = known
            .as_ref()
            .is_none_or(|known| !policies.is_subset(&known.policies));
        let since = known.map(|known| known.since);
        let drain = self.drain;
        let since = drain.map_or(view.now, |drain| drain.begun(since, changes || grows));
        let stayed = drain.is_none_or(|drain| drain.is_over(Some(since)));
        let is_crowded = !self.drains || policies.len() > MOST;
        Some(Former {
            since,
            over: (stayed || is_crowded) && !self.withheld.contains(&object.key),
            unread: policies.iter().any(|policy| self.is_unread(policy)),
            policies,
        })
    }

    /// Whether the policy has a statement for the role of this source bucket that nothing needs now.
    fn has_former_statement(&self, policy: &SharedPolicy) -> bool {
        let (stage, desired) = (self.stage, self.desired);
        let wanted = match policy {
            SharedPolicy::OfBucket(bucket) => desired.bucket_statements.get(bucket),
            SharedPolicy::OfKey(key) => desired.key_statements.get(key),
        };
        let is_wanted = |statement: &Statement| {
            let mut wanted = wanted.into_iter().flatten();
            wanted.any(|wanted| wanted.statement.sid() == statement.sid())
        };
        let owner = RoleName::of(stage.view.installation, stage.view.source);
        let owner = Mark::owner(owner.as_str());
        let is_of_role = |statement: &Statement| {
            let mark = statement.mark_of(stage.view.installation);
            mark.is_some_and(|mark| mark.owner == owner)
        };
        let existing = stage.observed.policy(policy).and_then(Facet::present);
        existing.is_some_and(|existing| {
            let statements = existing.statements();
            let mut former = statements.iter().filter(|statement| is_of_role(statement));
            former.any(|statement| !is_wanted(statement))
        })
    }

    /// Whether the operator writes the policy, and does not know it.
    fn is_unread(&self, policy: &SharedPolicy) -> bool {
        let stage = self.stage;
        let read = stage.observed.policy(policy);
        let is_known = matches!(read, Some(Facet::Present(_) | Facet::Absent));
        PolicyOf::from(policy).is_written(stage.view.accounts) && !is_known
    }
}

/// The policies that the object's rules need now.
fn used_by(resolved: &Resolved) -> BTreeSet<SharedPolicy> {
    let keys = resolved.keys.iter();
    let keys = keys.flat_map(|keys| keys.source.iter().chain([&keys.replica]));
    let keys = keys.cloned().map(SharedPolicy::OfKey);
    let destination = SharedPolicy::OfBucket(resolved.valid.destination.clone());
    keys.chain([destination]).collect()
}
