//! What is missing for S3 to replicate what an object asks for, by what was read of everything that it depends on.

use crate::{
    assess::Resolved,
    compose,
    configuration::{RuleMark, Status},
    names::ObjectKey,
    observed::{Facet, Observed},
    plan::Step,
    preflight::Facts,
    request::lacking::lacking,
    visit::{Visit, decision::Decision, disposition::Disposition},
};

/// What is missing, one sentence each. Empty: nothing, as far as it was read.
#[must_use]
pub fn diagnosis(
    visit: &Visit,
    decision: &Decision,
    observed: &Observed,
    object: &ObjectKey,
) -> Vec<String> {
    let (resolved, problems) = match decision.dispositions.get(object) {
        Some(Disposition::Acting {
            resolved, problems, ..
        }) => (Some(resolved), problems),
        Some(Disposition::Refused {
            resolved, problems, ..
        }) => (resolved.as_ref(), problems),
        _ => return vec![],
    };
    let mut missing: Vec<_> = problems
        .iter()
        .map(|problem| problem.message.clone())
        .collect();
    let Some(resolved) = resolved else {
        return missing;
    };
    missing.extend(versioning(resolved, observed));
    missing.extend(configuration(visit, observed, decision, resolved));
    if let Some(account) = visit.accounts.by_id(&visit.source.account) {
        let role = observed
            .configuration
            .present()
            .and_then(crate::configuration::Configuration::role_arn)
            .unwrap_or_else(|| {
                compose::role_arn_of(&visit.installation, account, &visit.source, observed, &[])
            });
        missing.extend(lacking(&Facts::new(
            resolved,
            observed,
            &visit.installation,
            &visit.accounts,
            account,
            &role,
            &visit.upstream,
        )));
    }
    missing
}

/// Versioning that the operator would enable.
fn versioning(resolved: &Resolved, observed: &Observed) -> Vec<String> {
    let valid = &resolved.valid;
    let buckets = [&valid.source, &valid.destination].into_iter();
    buckets
        .filter(|bucket| {
            let read = observed.buckets.get(*bucket);
            read.is_some_and(|read| read.versioning.present() == Some(&false))
        })
        .map(|bucket| format!("bucket {} does not have versioning enabled", bucket.name))
        .collect()
}

/// Rules that are not in the replication configuration, or are not as the object asks for.
fn configuration(
    visit: &Visit,
    observed: &Observed,
    decision: &Decision,
    resolved: &Resolved,
) -> Vec<String> {
    let bucket = &visit.source.name;
    let existing = match &observed.configuration {
        Facet::Present(existing) => existing,
        Facet::Absent => return vec![format!("bucket {bucket} has no replication configuration")],
        // What certainly prevents replication was found before it was read.
        Facet::Unread | Facet::Failed(_) => return vec![],
    };
    let rules = resolved.valid.rules.iter().filter(|rule| rule.enabled);
    let id = |name: &str| {
        let mark = RuleMark {
            object: resolved.valid.key.clone(),
            rule: name.to_owned(),
            retained: false,
        };
        mark.id(&visit.installation)
    };
    let mut missing: Vec<_> = rules
        .map(|rule| id(&rule.name))
        .filter(|id| {
            let mut rules = existing.rules.iter();
            !rules.any(|rule| rule.id.as_ref() == Some(id) && rule.status == Status::Enabled)
        })
        .map(|id| {
            format!("the replication configuration of bucket {bucket} has no enabled rule {id}")
        })
        .collect();
    let rewrites = |step: &Step| matches!(step, Step::PutReplication { .. });
    let mut steps = decision.steps.iter();
    if missing.is_empty() && steps.any(|planned| rewrites(&planned.step)) {
        missing.push(format!(
            "another writer changed the replication configuration of bucket {bucket}"
        ));
    }
    missing
}
