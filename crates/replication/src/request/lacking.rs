//! What the policies that exist do not allow of what S3 asks for, each request by itself.

use std::collections::BTreeMap;

use crate::{
    evaluation::{Access, Policies, PolicyKind, ResourcePolicy, access},
    observed::{Facet, Role},
    policy::Document,
    request::{
        facts::{Facts, Preflight},
        policy_checks::MAY_BE_DENIED,
        problem::first_of,
        s3_requests::{On, S3Request},
    },
};

/// What the role may not do, one sentence for each policy, and what it perhaps may not do. What only matters for tags is left out.
#[must_use]
pub fn lacking(facts: &Facts<'_>) -> (Vec<String>, Vec<String>) {
    let role = match existing(facts) {
        Facet::Present(role) => role,
        Facet::Absent => {
            let role = facts.role;
            let missing = format!("role {role}, which S3 has to assume, does not exist");
            return (vec![missing], vec![]);
        }
        // What certainly prevents replication was found before it was read.
        Facet::Unread | Facet::Failed(_) => return (vec![], vec![]),
    };
    let mut missing = vec![];
    let mut found = Preflight::default();
    facts.may_be_assumed(role, &mut found);
    if !found.problems.is_empty() {
        missing.push(format!(
            "the trust policy of role {} does not allow S3 to assume it",
            facts.role
        ));
    }
    let Some((identity, boundary)) = policies(facts, role) else {
        return (missing, vec![]);
    };
    let (denied, unknown) = answers(facts, &identity, boundary.as_ref());
    missing.extend(denied.into_iter().map(sentence));
    (missing, unknown.into_iter().take(1).collect())
}

/// Which policy does not allow what, and what is not known.
fn answers(
    facts: &Facts<'_>,
    identity: &[Document],
    boundary: Option<&Document>,
) -> (BTreeMap<String, Vec<String>>, Vec<String>) {
    let (mut denied, mut unknown) = (BTreeMap::<String, Vec<String>>::new(), vec![]);
    for asked in &facts.requests {
        if MAY_BE_DENIED.contains(&asked.action) {
            continue;
        }
        let Some((resource, owner)) = resource(facts, asked) else {
            continue;
        };
        let policies = Policies {
            identity,
            boundary,
            resource: policy(asked, resource.as_ref()),
            owner,
        };
        let what = format!("{} on {}", asked.action, asked.resource);
        match access(&asked.request(), &policies) {
            Access::Allowed => {}
            Access::Unknown(cause) => {
                unknown.push(format!(
                    "it is not known whether {what} is allowed: {cause}"
                ));
            }
            Access::NotAllowed(kind) => {
                let cause = format!("{} does not allow", named(facts, asked, kind));
                denied.entry(cause).or_default().push(what);
            }
            Access::Denied(kind, statement) => {
                let policy = named(facts, asked, kind);
                let cause = format!("statement {statement} of {policy} denies");
                denied.entry(cause).or_default().push(what);
            }
        }
    }
    (denied, unknown)
}

fn sentence((cause, what): (String, Vec<String>)) -> String {
    format!("{cause} {}", first_of(&what))
}

/// What was read of the role.
fn existing<'a>(facts: &Facts<'a>) -> &'a Facet<Role> {
    let observed = facts.observed;
    if facts.own {
        return &observed.role;
    }
    let foreign = observed.foreign_roles.get(facts.role);
    foreign.map_or(&Facet::Unread, |foreign| &foreign.role)
}

/// The role's policies and its boundary, if all of them were read.
fn policies(facts: &Facts<'_>, role: &Role) -> Option<(Vec<Document>, Option<Document>)> {
    let observed = facts.observed;
    if facts.own {
        let own = match &observed.role_policies {
            Facet::Present(policies) => policies.statements(),
            Facet::Absent => vec![],
            Facet::Unread | Facet::Failed(_) => return None,
        };
        let boundary = match role.boundary.as_ref() {
            Some(arn) => Some(observed.managed_policy(arn).present()?.clone()),
            None => None,
        };
        return Some((vec![Document::of(own)], boundary));
    }
    let foreign = observed.foreign_roles.get(facts.role)?;
    let (mut identity, boundary) = facts.policies(foreign, role).ok()?;
    let merged = observed.merged.get(facts.role).and_then(Facet::present);
    identity.extend(merged.cloned());
    Some((identity, boundary))
}

/// The policy of what is asked for, and the account that owns it, if that was read.
fn resource<'a>(
    facts: &'a Facts<'_>,
    asked: &'a S3Request<'_>,
) -> Option<(Option<Document>, &'a crate::names::AccountId)> {
    let valid = &facts.resolved.valid;
    let (read, owner) = match asked.on {
        On::Source => (facts.traits_of(&valid.source).policy, &valid.source.account),
        On::Destination => (facts.destination_policy(), &valid.destination.account),
        On::Key(key) => (facts.observed.key_policies.get(key)?.clone(), &key.account),
    };
    match read {
        Facet::Present(document) => Some((Some(document), owner)),
        Facet::Absent => Some((None, owner)),
        Facet::Unread | Facet::Failed(_) => None,
    }
}

fn policy<'a>(asked: &S3Request<'_>, document: Option<&'a Document>) -> ResourcePolicy<'a> {
    match (asked.on, document) {
        (On::Key(_), Some(policy)) => ResourcePolicy::Key(policy),
        (On::Key(_), None) => ResourcePolicy::None,
        (On::Source | On::Destination, policy) => ResourcePolicy::Bucket(policy),
    }
}

/// The policy of that kind, for the request.
fn named(facts: &Facts<'_>, asked: &S3Request<'_>, kind: PolicyKind) -> String {
    let valid = &facts.resolved.valid;
    match (kind, asked.on) {
        (PolicyKind::Identity, _) => format!("the policy of role {}", facts.role),
        (PolicyKind::Boundary, _) => {
            format!("the permissions boundary of role {}", facts.role)
        }
        (PolicyKind::Resource, On::Source) => format!("the policy of bucket {}", valid.source.name),
        (PolicyKind::Resource, On::Destination) => {
            format!("the policy of bucket {}", valid.destination.name)
        }
        (PolicyKind::Resource, On::Key(key)) => format!("the policy of key {key}"),
    }
}
