//! The limits of AWS that a composition may exceed: the youngest object that crosses one is refused.

use std::collections::BTreeSet;

use api::condition::{ConditionType, Reason};

use crate::{
    Object, Problem,
    composition::spread::{MOST_INLINE, MOST_MANAGED},
    configuration::Configuration,
    plan::{self, Fit, PlannedStep, Settling, Step},
    policy::Document,
    role_policies::MOST_POLICIES,
    shared_policy::SharedPolicy,
    visit::{
        disposition::{Disposition, Dispositions},
        round::Round,
        stage::Stage,
    },
};

/// Rules of one configuration ("Amazon S3 endpoints and quotas" in the AWS General Reference).
const MOST_RULES: usize = 1000;
/// Bytes of one configuration ("Replication configuration file elements" in the S3 User Guide).
const MOST_CONFIGURATION: usize = 2 * 1024 * 1024;
/// Destinations of one configuration, the default of an adjustable quota (same page).
const MOST_DESTINATIONS: usize = 28;
/// Bytes of a bucket policy ("Amazon S3 endpoints and quotas").
const MOST_BUCKET_POLICY: usize = 20 * 1024;
/// Bytes of a key policy ("Key policies in AWS KMS" in the KMS Developer Guide).
const MOST_KEY_POLICY: usize = 32 * 1024;

/// Refuses objects until all others fit, those that only show what would be done included, and returns the composition of those that act. An object
/// that already has what it asks for exceeds no limit.
pub(super) fn refuse<'a>(
    stage: &'a Stage<'a>,
    mut dispositions: Dispositions,
) -> (Dispositions, Round<'a>) {
    let composed = fit(stage, &mut dispositions, false);
    let is_observing =
        |disposition: &Disposition| matches!(disposition, Disposition::Observing { .. });
    if dispositions.values().any(is_observing) {
        fit(stage, &mut dispositions, true);
    }
    (dispositions, composed)
}

/// Refuses objects that act, or with `observing` those that only show what would be done, until the composition fits, and returns it.
fn fit<'a>(stage: &'a Stage<'a>, dispositions: &mut Dispositions, observing: bool) -> Round<'a> {
    let is_candidate = |disposition: &Disposition| match disposition {
        Disposition::Acting { .. } => !observing,
        Disposition::Observing { .. } => observing,
        Disposition::Refused { .. }
        | Disposition::Paused
        | Disposition::Leaving
        | Disposition::Abandoned => false,
    };
    loop {
        let make = |drains| Round::new(stage, dispositions, &BTreeSet::new(), observing, drains);
        let mut round = make(true);
        // Former permissions do not forbid an edit, nor the next one.
        if round.is_draining() && (is_crowded(&round) || exceeded(&round, stage).is_some()) {
            round = make(false);
        }
        let mut candidates =
            stage.objects.iter().rev().filter(|object: &&&Object| {
                dispositions.get(&object.key).is_some_and(is_candidate)
            });
        let Some(first) = candidates.clone().next() else {
            return round;
        };
        let Some(problem) = exceeded(&round, stage) else {
            return round;
        };
        let changing = plan::changing(&round.basis());
        let crossing = candidates.find(|object| changing.contains(&object.key));
        let last = crossing.unwrap_or(first);
        if let Some(disposition) = dispositions.get_mut(&last.key) {
            disposition.refuse(problem);
        }
    }
}

/// Bytes of all policies of a role.
const MOST_PERMISSIONS: usize = MOST_INLINE + MOST_MANAGED * MOST_POLICIES as usize;

/// Whether permissions of former rules leave less than half of a policy for what comes next.
fn is_crowded(round: &Round<'_>) -> bool {
    let length = |document: &Document| document.compact().len();
    let role = round.desired.role.as_ref();
    let of_role = role.map_or(0, |role| length(&role.policy));
    let steps = round.steps(Settling::Nothing);
    let is_half_full = |policy: &SharedPolicy, document: &Document| match policy {
        SharedPolicy::OfBucket(_) => length(document) > MOST_BUCKET_POLICY / 2,
        SharedPolicy::OfKey(_) => length(document) > MOST_KEY_POLICY / 2,
    };
    let fills_half = |planned: &PlannedStep| {
        let (Step::PutBucketPolicy { document, .. } | Step::PutKeyPolicy { document, .. }) =
            &planned.step
        else {
            return false;
        };
        let shared = planned.step.shared();
        shared.is_some_and(|(policy, _)| is_half_full(&policy, document))
    };
    let mut former = round.former_policies();
    of_role > MOST_PERMISSIONS / 2
        || steps.iter().any(fills_half)
        || former.any(|(policy, document)| is_half_full(policy, document))
}

fn problem(condition: ConditionType, what: &str, size: usize, most: usize) -> Problem {
    let message = format!(
        "with this object, {what} would be {size}, but AWS allows at most {most}: use fewer rules or shorter prefixes on this bucket"
    );
    Problem::new(condition, Reason::LimitExceeded, message)
}

/// The first limit of AWS that the composition exceeds.
fn exceeded(round: &Round<'_>, stage: &Stage<'_>) -> Option<Problem> {
    // If unmanaged rules already exceed a limit, for example because AWS raised it, no object is to blame.
    let wanted = sizes(round.desired.configuration.as_ref());
    let existing = sizes(stage.observed.configuration.present());
    let crossed = wanted
        .into_iter()
        .zip(existing)
        .find(|((_, size, most), (_, existing, _))| size > most && size > existing);
    if let Some(((what, size, most), _)) = crossed {
        return Some(problem(
            ConditionType::ReplicationConfigured,
            what,
            size,
            most,
        ));
    }
    permissions(round).or_else(|| policies(round))
}

fn permissions(round: &Round<'_>) -> Option<Problem> {
    let message = match plan::permissions_fit(&round.basis()) {
        Fit::Fits => return None,
        Fit::NotYet => {
            "the role's policies can't hold both the old and the new permissions of all BucketReplications that are changing on this bucket, so this one waits for the others. If it keeps waiting, change fewer rules at once"
        }
        Fit::Never => {
            "with this object, the role's permissions do not fit into one inline policy and ten managed policies: use fewer rules or shorter prefixes on this bucket"
        }
    };
    Some(Problem::new(
        ConditionType::RoleReady,
        Reason::LimitExceeded,
        message,
    ))
}

fn policies(round: &Round<'_>) -> Option<Problem> {
    let length = |document: &Document| document.compact().len();
    let steps = round.steps(Settling::Nothing);
    steps.iter().find_map(|planned| {
        if let Step::PutBucketPolicy {
            bucket, document, ..
        } = &planned.step
        {
            let what = format!("the size in bytes of the policy of bucket {}", bucket.name);
            let (condition, size) = (ConditionType::DestinationReady, length(document));
            return (size > MOST_BUCKET_POLICY)
                .then(|| problem(condition, &what, size, MOST_BUCKET_POLICY));
        }
        if let Step::PutKeyPolicy { key, document, .. } = &planned.step {
            let what = format!("the size in bytes of the policy of key {key}");
            let (condition, size) = (ConditionType::KeysReady, length(document));
            return (size > MOST_KEY_POLICY)
                .then(|| problem(condition, &what, size, MOST_KEY_POLICY));
        }
        None
    })
}

/// What AWS limits in a configuration, how much of it there is, and the limit.
fn sizes(configuration: Option<&Configuration>) -> [(&'static str, usize, usize); 3] {
    let rules = configuration
        .map(|configuration| configuration.rules.as_slice())
        .unwrap_or_default();
    let destinations: BTreeSet<_> = rules.iter().map(|rule| &rule.destination.bucket).collect();
    [
        ("the number of rules on the bucket", rules.len(), MOST_RULES),
        (
            "the number of destinations of the bucket",
            destinations.len(),
            MOST_DESTINATIONS,
        ),
        (
            "the size in bytes of the bucket's replication configuration",
            configuration.map(Configuration::length).unwrap_or_default(),
            MOST_CONFIGURATION,
        ),
    ]
}
