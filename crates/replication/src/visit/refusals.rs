//! What AWS refused in a visit, and what follows from it: the objects that caused it wait, and the others are planned again.

use std::collections::BTreeSet;

use api::condition::{ConditionType, Reason};

use crate::{
    Object, Problem, assess,
    names::ObjectKey,
    observed::{Failure, FailureKind, Observed},
    plan::{PlannedStep, Step},
    policy::Document,
    remedy::PolicyOf,
    visit::{
        disposition::Disposition,
        findings::of_failure,
        input::Visit,
        narrowing::{Cause, Facts},
        outcome::Outcome,
        prepared::Prepared,
        view::Refusals,
    },
};

/// What a refusal means that AWS reports in the same words for two causes: a principal that is not visible yet, and one that was deleted. IAM shows
/// the latter by its unique ID ("Principal" in the IAM User Guide), and then refuses any write of the policy.
pub(super) fn explained(step: &Step, failure: &Failure) -> Option<Failure> {
    if failure.kind != FailureKind::PrincipalNotVisible {
        return None;
    }
    let (of, document): (PolicyOf<'_>, &Document) =
        if let Step::PutBucketPolicy {
            bucket, document, ..
        } = step
        {
            (PolicyOf::Bucket(bucket), document)
        } else if let Step::PutKeyPolicy { key, document, .. } = step {
            (PolicyOf::Key(key), document)
        } else {
            return None;
        };
    let statements = document.statements();
    let (position, id) = statements
        .iter()
        .enumerate()
        .find_map(|(position, statement)| Some((position, statement.deleted_principal()?)))?;
    let name = match statements[position].sid() {
        Some(sid) if !sid.is_empty() => sid.to_owned(),
        _ => format!("number {}", position + 1),
    };
    let message = format!(
        "statement {name} of the {of} names {id}, a principal that was deleted, so that AWS refuses any write of the policy: have the owner of account {} remove it from the statement",
        of.account()
    );
    Some(Failure {
        kind: FailureKind::Invalid,
        message,
        ..failure.clone()
    })
}

impl Refusals {
    /// Adds the steps that AWS refused, with the objects that they are for. False if no others are left that could be served.
    pub(super) fn add(
        &mut self,
        prepared: &Prepared,
        outcome: &Outcome,
        visit: &Visit,
        observed: &Observed,
    ) -> bool {
        let is_rules = |planned: &PlannedStep| matches!(planned.step, Step::PutReplication { .. });
        let mut narrowed = false;
        // Without the rules that are left out, nothing may be left.
        let is_written = |planned: &PlannedStep| {
            is_rules(planned) || matches!(planned.step, Step::DeleteReplication { .. })
        };
        if outcome.done.iter().any(is_written) && self.narrowing.is_active() {
            let cause = self.narrowing.accepted();
            self.blame(cause, prepared, visit, observed);
            narrowed = true;
        }
        for (refused, failure) in &outcome.failed {
            let Suspects { gone, unread } = suspects(prepared, visit, observed);
            // Versioning that was enabled just now may not be visible yet.
            let enables =
                |planned: &PlannedStep| matches!(planned.step, Step::EnableVersioning { .. });
            let may_be_unread = !unread.is_empty() && !prepared.decision.steps.iter().any(enables);
            let is_gone = failure.kind == FailureKind::VersioningNotVisible
                && (!gone.is_empty() || may_be_unread);
            if is_rules(refused) && (is_gone || is_of_rules(failure, refused, prepared)) {
                let changed = by_age(&refused.concerns, visit);
                let facts = Facts {
                    existing: observed.configuration.present().is_some(),
                    suspects: &gone,
                    unread: &unread,
                    before: &prepared.memory.culprits.keys(),
                };
                self.refused_rules = Some(failure.clone());
                let cause = self.narrowing.refused(changed, &facts);
                narrowed |= self.blame(cause, prepared, visit, observed);
                self.steps.push(refused.step.clone());
                continue;
            }
            if !is_refusal(failure.kind) {
                continue;
            }
            let problem = assess::failed(refused.step.condition(&visit.source), failure);
            let before = self.problems.len();
            let concerned = refused.concerns.iter();
            self.problems
                .extend(concerned.map(|key| (key.clone(), problem.clone())));
            self.steps.push(refused.step.clone());
            // The planner leaves out steps on the same policy, so that the next round gets further.
            let of_no_object =
                refused.concerns.is_empty() && refused.step.is_on_same_document(&refused.step);
            narrowed |= self.problems.len() > before || of_no_object;
        }
        let acting = prepared.acting();
        let others = acting.iter().any(|key| !self.problems.contains_key(key));
        narrowed && (others || self.narrowing.is_active())
    }

    /// Adds what S3 said to the objects that caused it. Whether anything is known better now.
    fn blame(
        &mut self,
        cause: Cause,
        prepared: &Prepared,
        visit: &Visit,
        observed: &Observed,
    ) -> bool {
        let Some(failure) = self.refused_rules.clone() else {
            return false;
        };
        let condition = ConditionType::ReplicationConfigured;
        match cause {
            Cause::Unknown => {}
            Cause::Object(key) => {
                let problem = match prepared.decision.dispositions.get(&key) {
                    Some(Disposition::Acting { resolved, .. }) => {
                        of_failure(resolved, condition, &failure)
                    }
                    _ => assess::failed(condition, &failure),
                };
                self.problems.insert(key.clone(), problem);
                self.found.insert(key);
            }
            Cause::Existing(keys) => {
                let problem = existing_refused(&failure, visit, observed);
                for key in keys {
                    self.problems.insert(key.clone(), problem.clone());
                    self.found.insert(key);
                }
            }
        }
        true
    }
}

/// S3 refuses what exists, and nothing of it is the operator's to change.
fn existing_refused(failure: &Failure, visit: &Visit, observed: &Observed) -> Problem {
    let configuration = observed.configuration.present();
    let mut rules = configuration.into_iter().flat_map(|found| &found.rules);
    let condition = ConditionType::ReplicationConfigured;
    if !rules.any(|rule| rule.mark(&visit.installation).is_none()) {
        return assess::failed(condition, failure);
    }
    let message = format!(
        "S3 refuses the replication configuration of bucket {} as it is, without any change, so that no rule can be added: correct or remove the unmanaged rule that is invalid ({})",
        visit.source.name, failure.message
    );
    Problem::new(condition, Reason::ForeignRuleRefused, message)
}

/// Whether S3 refuses the rules, and not the call. Whether versioning is enabled in an account that can't be read, only S3 says.
fn is_of_rules(failure: &Failure, refused: &PlannedStep, prepared: &Prepared) -> bool {
    let is_external = |key: &ObjectKey| {
        let disposition = prepared.decision.dispositions.get(key);
        matches!(disposition, Some(Disposition::Acting { resolved, .. }) if resolved.destination_region.is_none())
    };
    match failure.kind {
        FailureKind::Invalid => true,
        FailureKind::VersioningNotVisible => refused.concerns.iter().any(is_external),
        _ => false,
    }
}

fn by_age(keys: &BTreeSet<ObjectKey>, visit: &Visit) -> Vec<ObjectKey> {
    let mut objects: Vec<&Object> = visit
        .objects
        .iter()
        .filter(|object| keys.contains(&object.key))
        .collect();
    objects.sort_by_key(|object| (object.created, object.key.clone()));
    objects
        .into_iter()
        .map(|object| object.key.clone())
        .collect()
}

/// The objects that have rules, and may be why S3 refuses what exists.
struct Suspects {
    /// Those whose destination is gone or has no versioning.
    gone: BTreeSet<ObjectKey>,
    /// Those whose destination can't be read.
    unread: BTreeSet<ObjectKey>,
}

fn suspects(prepared: &Prepared, visit: &Visit, observed: &Observed) -> Suspects {
    let configuration = observed.configuration.present();
    let rules = configuration.into_iter().flat_map(|found| &found.rules);
    let with_rules: BTreeSet<_> = rules
        .filter_map(|rule| Some(rule.mark(&visit.installation)?.object))
        .collect();
    let is_gone = |problem: &Problem| {
        problem.condition == ConditionType::DestinationReady
            && matches!(
                problem.reason,
                Reason::BucketNotFound | Reason::VersioningNotEnabled
            )
    };
    let (mut gone, mut unread) = (BTreeSet::new(), BTreeSet::new());
    for key in with_rules {
        match prepared.decision.dispositions.get(&key) {
            Some(Disposition::Refused { problems, .. }) if problems.iter().any(is_gone) => {
                gone.insert(key);
            }
            Some(Disposition::Acting { resolved, .. }) if resolved.destination_region.is_none() => {
                unread.insert(key);
            }
            _ => {}
        }
    }
    Suspects { gone, unread }
}

fn is_refusal(kind: FailureKind) -> bool {
    match kind {
        FailureKind::Denied
        | FailureKind::DeniedByOrganization
        | FailureKind::Invalid
        | FailureKind::NotFound
        | FailureKind::PrincipalNotVisible => true,
        FailureKind::Throttled
        | FailureKind::Conflict
        | FailureKind::InUse
        | FailureKind::VersioningNotVisible
        | FailureKind::NoCredentials
        | FailureKind::Transient
        | FailureKind::Outdated => false,
    }
}
