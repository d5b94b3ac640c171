//! What steps change, as text before and after, for people who want to see it before it happens.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    observed::{Facet, Observed},
    plan::{PlannedStep, Step},
    policy::Document,
};

/// A document before and after a step, as JSON for people. Empty if there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Before.
    pub before: String,
    /// After.
    pub after: String,
}

/// The change of each step, in order; `None` if a step writes no document.
#[must_use]
pub fn changes(steps: &[PlannedStep], observed: &Observed) -> Vec<Option<Change>> {
    // A policy that is written twice changes from what the first step wrote.
    let mut latest: BTreeMap<String, String> = BTreeMap::new();
    let change = |planned: &PlannedStep| {
        let (existing, written) = documents(&planned.step, observed)?;
        let element = planned.step.element()?;
        let before = latest
            .get(&element)
            .cloned()
            .unwrap_or_else(|| pretty(existing.as_ref()));
        let after = pretty(written.as_ref());
        latest.insert(element, after.clone());
        (before != after).then_some(Change { before, after })
    };
    steps.iter().map(change).collect()
}

fn pretty(document: Option<&Value>) -> String {
    document
        .map(|document| format!("{document:#}\n"))
        .unwrap_or_default()
}

fn policy(read: Option<&Facet<Document>>) -> Option<Value> {
    read?.present().map(Document::json)
}

/// What exists and what the step writes.
fn documents(step: &Step, observed: &Observed) -> Option<(Option<Value>, Option<Value>)> {
    let bucket_policy = |bucket| policy(observed.buckets.get(bucket).map(|read| &read.policy));
    let inline = |role: &str, own: &str| {
        if role == own {
            return observed
                .role_policies
                .present()
                .and_then(|policies| policies.inline.as_ref())
                .map(Document::json);
        }
        let theirs = observed
            .merged
            .iter()
            .find(|(arn, _)| arn.rsplit('/').next() == Some(role));
        policy(theirs.map(|(_, read)| read))
    };
    let managed = |name: &str| {
        let number = name
            .rsplit('-')
            .next()
            .and_then(|number| number.parse().ok())?;
        observed
            .role_policies
            .present()?
            .managed
            .get(&number)
            .map(|policy| policy.document.json())
    };
    Some(match step {
        Step::CreateRole(role) => (None, Some(role.trust.json())),
        Step::UpdateTrustPolicy(role) => (
            observed.role.present().map(|role| role.trust.json()),
            Some(role.trust.json()),
        ),
        Step::PutRolePolicy {
            role,
            policy,
            document,
            ..
        } => (
            inline(role.as_str(), policy.as_str()),
            Some(document.json()),
        ),
        Step::DeleteRolePolicy { role, policy, .. } => {
            (inline(role.as_str(), policy.as_str()), None)
        }
        Step::PutBucketPolicy {
            bucket, document, ..
        } => (bucket_policy(bucket), Some(document.json())),
        Step::DeleteBucketPolicy { bucket, .. } => (bucket_policy(bucket), None),
        Step::PutKeyPolicy { key, document, .. } => (
            policy(observed.key_policies.get(key)),
            Some(document.json()),
        ),
        Step::PutReplication { configuration, .. } => (
            observed.configuration.present().map(|c| json!(c)),
            Some(json!(configuration)),
        ),
        Step::DeleteReplication { .. } => {
            (observed.configuration.present().map(|c| json!(c)), None)
        }
        Step::CreateManagedPolicy { document, .. } => (None, Some(document.json())),
        Step::CreateManagedPolicyVersion { policy, document } => {
            (managed(&policy.name), Some(document.json()))
        }
        Step::DeleteManagedPolicy { policy } => (managed(&policy.name), None),
        Step::EnableVersioning { .. }
        | Step::TagRole(_)
        | Step::PutRolePermissionsBoundary { .. }
        | Step::Settle
        | Step::AttachManagedPolicy { .. }
        | Step::DeleteManagedPolicyVersion { .. }
        | Step::DetachManagedPolicy { .. }
        | Step::DeleteRole { .. } => return None,
    })
}
