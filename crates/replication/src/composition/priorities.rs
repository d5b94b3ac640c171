//! All rules of a configuration with their priorities: unmanaged rules first, then the operator's in the order of their objects.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    assess::Resolved,
    composition::claims::{Carry, Claims},
    configuration::{ReplicationRule, RuleMark},
    merge,
    request::rules::replication_rule,
    validate::ValidRule,
};

pub(crate) fn existing_rules(claims: &Claims<'_>) -> Vec<ReplicationRule> {
    claims
        .observed
        .configuration
        .present()
        .map(|configuration| configuration.rules.clone())
        .unwrap_or_default()
}

/// All rules that should exist: unmanaged rules first and unchanged, then the operator's in the order of their objects.
pub(crate) fn rules(claims: &Claims<'_>) -> Vec<ReplicationRule> {
    let existing = existing_rules(claims);
    let replaced = taken_over(claims);
    let mut kept: Vec<_> = existing
        .iter()
        .filter_map(|rule| kept_rule(claims, rule, &replaced))
        .collect();
    // An existing priority is kept, so that adding or removing an object changes no other object's rules. So is that of a rule that is taken over.
    let held = |id: &str| {
        let before = |rule: &&ReplicationRule| {
            let theirs = rule.id.as_deref().unwrap_or_default();
            theirs == id || replaced.get(theirs).is_some_and(|ours| ours == id)
        };
        existing.iter().find(before).and_then(|rule| rule.priority)
    };
    let made: Vec<_> = claims
        .acting
        .iter()
        .filter(|resolved| !claims.withheld.contains(&resolved.valid.key))
        .flat_map(|resolved| rules_with_id(claims, resolved))
        .collect();
    let made = with_priorities(made, &kept, held);
    kept.extend(made);
    kept
}

/// An existing rule that stays, and how. `None`: it is replaced or removed.
fn kept_rule(
    claims: &Claims<'_>,
    rule: &ReplicationRule,
    replaced: &BTreeMap<String, String>,
) -> Option<ReplicationRule> {
    let mut rule = rule.clone();
    let Some(mark) = rule.mark(claims.installation) else {
        let is_replaced = rule.id.as_ref().is_some_and(|id| replaced.contains_key(id));
        return (!is_replaced).then_some(rule);
    };
    if mark.retained {
        return Some(rule);
    }
    let withheld = claims.withheld.contains(&mark.object);
    let withheld = withheld.then_some(&Carry::Unchanged);
    match claims.carried.get(&mark.object).or(withheld)? {
        Carry::Unchanged => {}
        Carry::Dropped => return None,
        Carry::Disabled => rule.status = false.into(),
        Carry::Retained => {
            let retained = RuleMark {
                retained: true,
                ..mark
            };
            rule.id = Some(retained.id(claims.installation));
        }
    }
    Some(rule)
}

/// Gives each rule a priority above its rivals': the one that it has, if that still fits, or else the lowest one that is free.
fn with_priorities(
    mut made: Vec<(Option<i32>, ReplicationRule)>,
    kept: &[ReplicationRule],
    held: impl Fn(&str) -> Option<i32>,
) -> Vec<ReplicationRule> {
    let mut taken: BTreeSet<i32> = kept.iter().filter_map(|rule| rule.priority).collect();
    let mut reserved: BTreeSet<i32> = made
        .iter()
        .filter_map(|(_, rule)| held(rule.id.as_deref()?))
        .collect();
    for place in 0..made.len() {
        let (hint, rule) = &made[place];
        let rivals = kept
            .iter()
            .chain(made[..place].iter().map(|(_, rule)| rule))
            .filter(|other| rule.rivals(other));
        let least = rivals
            .filter_map(|rival| rival.priority)
            .max()
            .map_or(1, |priority| priority.saturating_add(1));
        let held = rule.id.as_deref().and_then(&held);
        let stays = held.filter(|held| {
            *held >= least && hint.is_none_or(|hint| hint == *held) && !taken.contains(held)
        });
        reserved.retain(|reserved| Some(*reserved) != held);
        let free = || {
            (hint.unwrap_or(1).max(least)..=i32::MAX)
                .find(|priority| !taken.contains(priority) && !reserved.contains(priority))
        };
        let priority = stays.or_else(free);
        taken.extend(priority);
        made[place].1.priority = priority;
    }
    made.into_iter().map(|(_, rule)| rule).collect()
}

/// The rules of one object with their priority hints. If two overlap, the later one wins: that with the higher hint, then that with the longer
/// prefix.
pub(crate) fn rules_with_id(
    claims: &Claims<'_>,
    resolved: &Resolved,
) -> Vec<(Option<i32>, ReplicationRule)> {
    let mut rules: Vec<_> = resolved.valid.rules.iter().collect();
    rules.sort_by_key(|rule| (rule.priority, rule.prefix.as_str().len(), &rule.name));
    let id = |rule: &ValidRule| {
        RuleMark {
            object: resolved.valid.key.clone(),
            rule: rule.name.clone(),
            retained: false,
        }
        .id(claims.installation)
    };
    rules
        .into_iter()
        .map(|rule| {
            (
                rule.priority,
                replication_rule(resolved, rule, id(rule), None),
            )
        })
        .collect()
}

/// The unmanaged rules that are taken over now, each with the ID of the rule that replaces it.
pub(crate) fn taken_over(claims: &Claims<'_>) -> BTreeMap<String, String> {
    let free = claims
        .acting
        .iter()
        .filter(|resolved| !claims.withheld.contains(&resolved.valid.key));
    free.flat_map(|resolved| {
        let object = &resolved.valid.key;
        let id = |rule: String| {
            RuleMark {
                object: object.clone(),
                rule,
                retained: false,
            }
            .id(claims.installation)
        };
        let taken = merge::taken_over(
            resolved,
            claims.observed.configuration.present(),
            claims.installation,
        )
        .unwrap_or_default();
        taken
            .into_iter()
            .map(move |(theirs, rule)| (theirs, id(rule)))
            .collect::<Vec<_>>()
    })
    .collect()
}
