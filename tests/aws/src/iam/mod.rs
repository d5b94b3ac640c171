//! IAM: roles, their policies, managed policies, and the users of the tests. Codes are those of the IAM API Reference.

mod policies;
mod roles;
mod users;

use documents::{
    evaluation::{Context, ResourcePolicy},
    policy::Document,
};

use crate::{
    judge::{self, Asked, Who},
    message::{Refusal, Response},
    query::Form,
    state::State,
};

/// The most that all inline policies of a role have, without white space ("IAM and AWS STS quotas" in the IAM User Guide).
pub(crate) const MOST_INLINE: usize = 10_240;
/// The most that a managed policy has, likewise.
const MOST_MANAGED: usize = 6_144;
/// The most that a trust policy has, likewise.
const MOST_TRUST: usize = 2_048;

/// A call of IAM.
///
/// # Errors
/// As AWS refuses it.
pub fn call(state: &mut State, who: &Who, form: &Form) -> Result<Response, Refusal> {
    match form.action() {
        "CreateRole" => roles::create(state, who, form),
        "GetRole" => roles::get(state, who, form),
        "ListRoles" => roles::list(state, who, form),
        "DeleteRole" => roles::delete(state, who, form),
        "TagRole" => roles::tag(state, who, form),
        "UpdateAssumeRolePolicy" => roles::set_trust(state, who, form),
        "PutRolePermissionsBoundary" => roles::set_boundary(state, who, form),
        "PutRolePolicy" => roles::put_policy(state, who, form),
        "GetRolePolicy" => roles::get_policy(state, who, form),
        "ListRolePolicies" => roles::list_policies(state, who, form),
        "DeleteRolePolicy" => roles::delete_policy(state, who, form),
        "ListAttachedRolePolicies" => policies::list_attached(state, who, form),
        "AttachRolePolicy" => policies::attach(state, who, form),
        "DetachRolePolicy" => policies::detach(state, who, form),
        "CreatePolicy" => policies::create(state, who, form),
        "GetPolicy" => policies::get(state, who, form),
        "ListPolicies" => policies::list(state, who, form),
        "DeletePolicy" => policies::delete(state, who, form),
        "CreatePolicyVersion" => policies::create_version(state, who, form),
        "GetPolicyVersion" => policies::get_version(state, who, form),
        "ListPolicyVersions" => policies::list_versions(state, who, form),
        "DeletePolicyVersion" => policies::delete_version(state, who, form),
        "CreateUser" => users::create(state, who, form),
        "PutUserPolicy" => users::put_policy(state, who, form),
        "CreateAccessKey" => users::create_access_key(state, who, form),
        other => Err(Refusal::new(
            400,
            "InvalidAction",
            format!("{other} is not known here"),
        )),
    }
}

/// Whether the caller may do the action of the form on that resource of its own account.
fn may(who: &Who, form: &Form, resource: String, context: Context) -> Result<(), Refusal> {
    who.may(&Asked {
        action: &format!("iam:{}", form.action()),
        resource,
        owner: &who.account,
        policy: ResourcePolicy::None,
        context,
    })
}

fn no_such_entity(kind: &str, name: &str) -> Refusal {
    let message = format!("The {kind} with name {name} cannot be found.");
    Refusal::new(404, "NoSuchEntity", message)
}

fn malformed(message: impl Into<String>) -> Refusal {
    Refusal::new(400, "MalformedPolicyDocument", message)
}

/// The policy in a field of the form: of an identity, or with principals.
fn policy(form: &Form, field: &str, has_principals: bool) -> Result<Document, Refusal> {
    judge::document(form.required(field)?, has_principals).map_err(malformed)
}

/// Quotas count characters without white space.
fn length(document: &Document) -> usize {
    let text = document.compact();
    text.chars()
        .filter(|character| !character.is_whitespace())
        .count()
}

fn within(document: &Document, most: usize, what: &str) -> Result<(), Refusal> {
    if length(document) > most {
        return Err(Refusal::new(
            409,
            "LimitExceeded",
            format!("Cannot exceed quota for {what}: {most}"),
        ));
    }
    Ok(())
}
