//! The ordered steps from what exists to what should exist. All rules of order are here.
//!
//! Permissions come before the rule that needs them, because S3 never retries objects that fail in between. For removal the order is reversed,
//! and the role's policy shrinks last: it names the buckets and keys that still have statements of the operator.

use std::collections::BTreeSet;

use api::condition::ConditionType;

use crate::{
    names::ObjectKey,
    observed::{Facet, Failure, Observed},
    plan::{
        basis::{Basis, Draft, Settling, Steps},
        planner::{Places, Planner, used_by},
        releases::Releases,
        role_change::{RoleChange, Spreads},
        step::{PlannedStep, Step},
    },
    policy::Document,
    shared_policy::SharedPolicy,
};

/// The ordered steps from what exists to what should exist, each with what it requires.
#[must_use]
pub fn plan(basis: &Basis<'_>) -> Vec<PlannedStep> {
    let keeping = basis.waiting.union(basis.draining).cloned().collect();
    let mut used = used_by(basis.installation, basis.source, basis.observed, &keeping);
    let kept = basis.kept;
    used.0
        .extend(kept.iter().filter_map(SharedPolicy::bucket).cloned());
    used.1
        .extend(kept.iter().filter_map(SharedPolicy::key).cloned());
    let planner = Planner::of(basis, used);
    let configuration = planner.configuration();
    let transition = configuration.is_some();
    let RoleChange {
        role,
        grown: role_grown,
        shrunk: role_shrunk,
    } = planner.role_change(transition);
    let releases = Releases::of(basis);
    let (mut places_grown, mut places_shrunk) = planner.bucket_policies(transition, &releases);
    let (keys_grown, keys_shrunk) = planner.key_policies(transition, &releases);
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
