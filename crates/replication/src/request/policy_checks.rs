//! What of policies makes S3 accept a configuration and then not replicate: statements that deny, and a boundary that does not allow.

use api::condition::{ConditionType, Reason};

use crate::{
    Problem,
    assess::failed,
    evaluation::{Denial, Truth},
    observed::Facet,
    policy::Document,
    remedy::PolicyOf,
    request::{
        facts::{Facts, Preflight},
        problem::first_of,
        s3_requests::On,
    },
};

/// "Troubleshooting replication" in the S3 User Guide says that objects with tags are not replicated without these, "Setting up permissions for live
/// replication" that they are, without their tags.
pub(super) const MAY_BE_DENIED: [&str; 2] = ["s3:ReplicateTags", "s3:GetObjectVersionTagging"];
pub(super) const WITHOUT_TAGS: &str =
    "objects with tags are replicated without them, or not at all";

/// A statement of the source's policy that denies reading.
pub(super) fn source_policy(facts: &Facts<'_>, found: &mut Preflight) {
    let source = &facts.resolved.valid.source;
    let policy = facts.traits_of(source).policy;
    facts.denials(On::Source, PolicyOf::Bucket(source), &policy, found);
}

/// A statement of the destination's policy that denies writing.
pub(super) fn destination_policy(facts: &Facts<'_>, found: &mut Preflight) {
    let destination = &facts.resolved.valid.destination;
    let policy = facts.destination_policy();
    facts.denials(
        On::Destination,
        PolicyOf::Bucket(destination),
        &policy,
        found,
    );
}

/// Statements of key policies that deny decrypting or encrypting.
pub(super) fn key_policies(facts: &Facts<'_>, found: &mut Preflight) {
    let Some(keys) = &facts.resolved.keys else {
        return;
    };
    let others = keys.source.iter().filter(|key| **key != keys.replica);
    for key in others.chain([&keys.replica]) {
        let policy = facts.observed.key_policies.get(key).cloned();
        let policy = policy.unwrap_or_default();
        facts.denials(On::Key(key), PolicyOf::Key(key), &policy, found);
    }
}

/// "Permissions boundaries for IAM entities" in the IAM User Guide.
pub(super) fn boundary(facts: &Facts<'_>, found: &mut Preflight) {
    let account = facts.account;
    // A role that others created has their boundary, or none.
    let Some(arn) = account.roles.boundary.as_ref().filter(|_| facts.own) else {
        return;
    };
    let narrow = |message: String| {
        Problem::new(ConditionType::RoleReady, Reason::BoundaryTooNarrow, message)
    };
    let whom = account.whom_to_ask();
    match &facts.observed.managed_policy(arn) {
        Facet::Unread => {}
        Facet::Failed(failure) => {
            found
                .problems
                .push(failed(ConditionType::RoleReady, failure));
        }
        Facet::Absent => found.problems.push(narrow(format!(
            "permissions boundary {arn} does not exist: {whom} to create it or to correct roles.permissionsBoundaryARN"
        ))),
        Facet::Present(document) => {
            let (missing, unknown) = facts.missing_in(document);
            if !missing.is_empty() {
                let lacking = first_of(&missing);
                found.problems.push(narrow(format!(
                    "permissions boundary {arn} does not allow {lacking}, which the role needs: {whom} to add the missing actions"
                )));
            } else if let Some((first, cause)) = unknown.first() {
                let note = format!(
                    "permissions boundary {arn} may not allow {first}, which the role needs: {cause}"
                );
                found.notes.push((ConditionType::RoleReady, note));
            }
        }
    }
}

impl Facts<'_> {
    /// What the role needs and `document` certainly does not allow, and what it may not allow, with the cause.
    pub(super) fn missing_in(&self, document: &Document) -> (Vec<String>, Vec<(String, String)>) {
        let (mut missing, mut unknown) = (vec![], vec![]);
        for asked in &self.requests {
            let needed = format!("{} on {}", asked.action, asked.resource);
            match document.permits(&asked.request()) {
                Truth::Yes => {}
                Truth::No if MAY_BE_DENIED.contains(&asked.action) => {
                    unknown.push((needed, WITHOUT_TAGS.to_owned()));
                }
                Truth::No => missing.push(needed),
                Truth::Unknown(cause) => unknown.push((needed, cause.to_string())),
            }
        }
        (missing, unknown)
    }

    /// Adds the first denial of a policy that is certain, or else the first that is possible.
    fn denials(
        &self,
        on: On<'_>,
        of: PolicyOf<'_>,
        policy: &Facet<Document>,
        found: &mut Preflight,
    ) {
        let Some(policy) = policy.present() else {
            return;
        };
        let (condition, reason) = match on {
            On::Source => (ConditionType::SourceReady, Reason::DeniedByBucketPolicy),
            On::Destination => (
                ConditionType::DestinationReady,
                Reason::DeniedByBucketPolicy,
            ),
            On::Key(_) => (ConditionType::KeysReady, Reason::DeniedByKeyPolicy),
        };
        let role = self.role;
        let mut possible = None;
        for asked in self.requests.iter().filter(|asked| asked.on == on) {
            match policy.denies(&asked.request()) {
                Denial::No => {}
                Denial::Perhaps(statement, cause) => {
                    possible.get_or_insert((statement, cause.to_string(), asked.action));
                }
                Denial::Yes(statement) if MAY_BE_DENIED.contains(&asked.action) => {
                    possible.get_or_insert((statement, String::from(WITHOUT_TAGS), asked.action));
                }
                Denial::Yes(statement) => {
                    let message = format!(
                        "statement {statement} of the {of} denies {}, which {role} needs: have the owner of account {} exempt the role, as status.requiredActions shows",
                        asked.action,
                        of.account()
                    );
                    found.problems.push(Problem {
                        action: Some(Box::new(of.except(&statement, role))),
                        ..Problem::new(condition, reason, message)
                    });
                    return;
                }
            }
        }
        if let Some((statement, cause, action)) = possible {
            let note = format!(
                "statement {statement} of the {of} may deny {action}, which {role} needs: {cause}"
            );
            found.notes.push((condition, note));
        }
    }
}
