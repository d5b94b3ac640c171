//! What steps change, as text before and after, for people who want to see it before it happens.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    names::{OwnedBucket, RoleName},
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

fn bucket_policy(bucket: &OwnedBucket, observed: &Observed) -> Option<Value> {
    policy(observed.buckets.get(bucket).map(|read| &read.policy))
}

/// The operator's inline policy, `own`, on `role`.
fn inline(role: &RoleName, own: &RoleName, observed: &Observed) -> Option<Value> {
    if role == own {
        let policies = observed.role_policies.present()?;
        return policies.inline.as_ref().map(Document::json);
    }
    let merged = observed.merged.iter().find(|(arn, _)| arn.name == *role);
    policy(merged.map(|(_, read)| read))
}

/// The operator's managed policy of that name, which ends in its number.
fn managed(name: &str, observed: &Observed) -> Option<Value> {
    let number = name.rsplit('-').next()?.parse().ok()?;
    let policies = observed.role_policies.present()?;
    Some(policies.managed.get(&number)?.document.json())
}

/// What exists and what the step writes.
fn documents(step: &Step, observed: &Observed) -> Option<(Option<Value>, Option<Value>)> {
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
        } => (inline(role, policy, observed), Some(document.json())),
        Step::DeleteRolePolicy { role, policy, .. } => (inline(role, policy, observed), None),
        Step::PutBucketPolicy {
            bucket, document, ..
        } => (bucket_policy(bucket, observed), Some(document.json())),
        Step::DeleteBucketPolicy { bucket, .. } => (bucket_policy(bucket, observed), None),
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
            (managed(&policy.name, observed), Some(document.json()))
        }
        Step::DeleteManagedPolicy { policy } => (managed(&policy.name, observed), None),
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
