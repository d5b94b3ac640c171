//! What is missing for S3 to replicate what an object asks for, by what was read of everything that it depends on.

use api::condition::Reason;

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

/// What is missing, one sentence each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diagnosis {
    /// What certainly prevents replication.
    pub certain: Vec<String>,
    /// What may prevent it, or could not be read.
    pub possible: Vec<String>,
}

/// What is missing, as far as it was read.
#[must_use]
pub fn diagnosis(
    visit: &Visit,
    decision: &Decision,
    observed: &Observed,
    object: &ObjectKey,
) -> Diagnosis {
    let (resolved, problems) = match decision.dispositions.get(object) {
        Some(Disposition::Acting {
            resolved, problems, ..
        }) => (Some(resolved), problems),
        Some(Disposition::Refused {
            resolved, problems, ..
        }) => (resolved.as_ref(), problems),
        _ => return Diagnosis::default(),
    };
    let mut missing = Diagnosis::default();
    for problem in problems {
        let list = if is_certain(problem.reason) {
            &mut missing.certain
        } else {
            &mut missing.possible
        };
        list.push(problem.message.clone());
    }
    let Some(resolved) = resolved else {
        return missing;
    };
    missing.certain.extend(versioning(resolved, observed));
    missing
        .certain
        .extend(configuration(visit, observed, decision, resolved));
    if let Some(account) = visit.accounts.by_id(&visit.source.account) {
        let role = observed
            .configuration
            .present()
            .and_then(crate::configuration::Configuration::role_arn)
            .unwrap_or_else(|| {
                compose::role_arn_of(&visit.installation, account, &visit.source, observed, &[])
            });
        let (denied, unknown) = lacking(&Facts::new(
            resolved,
            observed,
            &visit.installation,
            &visit.accounts,
            account,
            &role,
            &visit.upstream,
        ));
        missing.certain.extend(denied);
        missing.possible.extend(unknown);
    }
    missing
}

/// Whether a problem is one of S3's, and not of what the operator itself may read or write.
fn is_certain(reason: Reason) -> bool {
    !matches!(
        reason,
        Reason::AwsUnavailable
            | Reason::NoCredentials
            | Reason::AccessDenied
            | Reason::DeniedByOrganization
            | Reason::RefusedByAws
            | Reason::FinalizerRefused
            | Reason::Contended
    )
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
