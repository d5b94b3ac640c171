//! Which objects a change of a policy or of the configuration is for.

use std::collections::BTreeSet;

use crate::{
    configuration::{Configuration, ReplicationRule},
    names::ObjectKey,
    plan::planner::Planner,
    policy::{Document, Mark, Statement},
};

impl Planner<'_> {
    /// The objects that use a policy, and those that did: the role's existing policy has statements that serve them on `resource`. Empty if only an object
    /// that no longer exists used it.
    pub(super) fn users_of(
        &self,
        now: Option<&BTreeSet<ObjectKey>>,
        resource: &str,
    ) -> BTreeSet<ObjectKey> {
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

    /// The objects whose rules differ between the two configurations.
    pub(super) fn changed_owners(
        &self,
        before: Option<&Configuration>,
        after: Option<&Configuration>,
    ) -> BTreeSet<ObjectKey> {
        let rules = |configuration: Option<&Configuration>| {
            configuration.map(|c| c.rules.clone()).unwrap_or_default()
        };
        let (before, after) = (rules(before), rules(after));
        let only_in = |some: &[_], others: &[ReplicationRule]| -> Vec<ReplicationRule> {
            some.iter()
                .filter(|rule: &&ReplicationRule| !others.iter().any(|other| rule.means(other)))
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
    pub(super) fn concerned(&self, before: &Document, after: &Document) -> BTreeSet<ObjectKey> {
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
    pub(super) fn owners(&self, before: &Document, after: &Document) -> BTreeSet<ObjectKey> {
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
