//! Managed policies, their versions, and to which roles they are attached.

use std::collections::BTreeMap;

use documents::{arns::PolicyArn, evaluation::Context};

use super::{MOST_MANAGED, may, no_such_entity, policy, within};
use crate::{
    judge::Who,
    message::{Refusal, Response, encoded},
    query::{Form, answer, members},
    state::{ManagedPolicy, Role, State},
};

fn on_policy(who: &Who, form: &Form) -> Result<String, Refusal> {
    let arn = form.required("PolicyArn")?.to_owned();
    may(who, form, arn.clone(), Context::complete())?;
    Ok(arn)
}

fn managed<'a>(state: &'a mut State, arn: &str) -> Result<&'a mut ManagedPolicy, Refusal> {
    let missing = || {
        let message = format!("Policy {arn} does not exist or is not attachable.");
        Refusal::new(404, "NoSuchEntity", message)
    };
    state.policies.get_mut(arn).ok_or_else(missing)
}

fn attached_to(state: &State, arn: &str) -> usize {
    let roles = state.roles.values();
    roles
        .filter(|role| role.attached.iter().any(|attached| attached == arn))
        .count()
}

fn element(state: &State, policy: &ManagedPolicy) -> String {
    let arn = policy.arn.to_string();
    format!(
        "<PolicyName>{}</PolicyName><PolicyId>ANPA{}</PolicyId><Arn>{arn}</Arn><Path>{}</Path><DefaultVersionId>v{}</DefaultVersionId><AttachmentCount>{}</AttachmentCount>",
        policy.arn.name,
        policy.arn.name.len(),
        policy.arn.path,
        policy.default,
        attached_to(state, &arn),
    )
}

pub(super) fn create(state: &mut State, who: &Who, form: &Form) -> Result<Response, Refusal> {
    let (name, path) = (
        form.required("PolicyName")?,
        form.get("Path").unwrap_or("/"),
    );
    let arn: PolicyArn = format!("arn:aws:iam::{}:policy{path}{name}", who.account)
        .parse()
        .map_err(|error| Refusal::new(400, "ValidationError", format!("{error}")))?;
    may(who, form, arn.to_string(), Context::complete())?;
    let document = policy(form, "PolicyDocument", false)?;
    within(&document, MOST_MANAGED, "PolicySize")?;
    let taken = state.policies.values().any(|policy| {
        policy.arn.account == who.account && policy.arn.name.eq_ignore_ascii_case(name)
    });
    if taken {
        let message =
            format!("A policy called {name} already exists. Duplicate names are not allowed.");
        return Err(Refusal::new(409, "EntityAlreadyExists", message));
    }
    let made = ManagedPolicy {
        arn,
        versions: BTreeMap::from([(1, document)]),
        default: 1,
        next: 2,
    };
    let body = format!("<Policy>{}</Policy>", element(state, &made));
    state.policies.insert(made.arn.to_string(), made);
    Ok(answer("CreatePolicy", &body))
}

pub(super) fn get(state: &mut State, who: &Who, form: &Form) -> Result<Response, Refusal> {
    let arn = on_policy(who, form)?;
    if state.managed(&arn).is_some() && !state.policies.contains_key(&arn) {
        let body =
            format!("<Policy><Arn>{arn}</Arn><DefaultVersionId>v1</DefaultVersionId></Policy>");
        return Ok(answer("GetPolicy", &body));
    }
    let found = managed(state, &arn)?.clone();
    Ok(answer(
        "GetPolicy",
        &format!("<Policy>{}</Policy>", element(state, &found)),
    ))
}

pub(super) fn list(state: &mut State, who: &Who, form: &Form) -> Result<Response, Refusal> {
    may(
        who,
        form,
        format!("arn:aws:iam::{}:policy/", who.account),
        Context::complete(),
    )?;
    let policies = state.policies.values();
    let own = policies.filter(|policy| policy.arn.account == who.account);
    let members = members(own.map(|policy| element(state, policy)));
    Ok(answer(
        "ListPolicies",
        &format!("<Policies>{members}</Policies><IsTruncated>false</IsTruncated>"),
    ))
}

pub(super) fn delete(state: &mut State, who: &Who, form: &Form) -> Result<Response, Refusal> {
    let arn = on_policy(who, form)?;
    let (attached, versions) = (
        attached_to(state, &arn),
        managed(state, &arn)?.versions.len(),
    );
    if attached > 0 {
        let message = "Cannot delete a policy attached to entities.";
        return Err(Refusal::new(409, "DeleteConflict", message));
    }
    if versions > 1 {
        let message = "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.";
        return Err(Refusal::new(409, "DeleteConflict", message));
    }
    state.policies.remove(&arn);
    Ok(answer("DeletePolicy", ""))
}

pub(super) fn create_version(
    state: &mut State,
    who: &Who,
    form: &Form,
) -> Result<Response, Refusal> {
    let arn = on_policy(who, form)?;
    let document = policy(form, "PolicyDocument", false)?;
    within(&document, MOST_MANAGED, "PolicySize")?;
    let found = managed(state, &arn)?;
    if found.versions.len() >= 5 {
        let message = "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version.";
        return Err(Refusal::new(409, "LimitExceeded", message));
    }
    let number = found.next;
    found.next += 1;
    found.versions.insert(number, document);
    let default = form.get("SetAsDefault") == Some("true");
    if default {
        found.default = number;
    }
    let body = format!(
        "<PolicyVersion><VersionId>v{number}</VersionId><IsDefaultVersion>{default}</IsDefaultVersion></PolicyVersion>"
    );
    Ok(answer("CreatePolicyVersion", &body))
}

fn version(form: &Form) -> Result<u32, Refusal> {
    let text = form.required("VersionId")?;
    let number = text
        .strip_prefix('v')
        .and_then(|number| number.parse().ok());
    number.ok_or_else(|| no_such_version(text))
}

fn no_such_version(text: &str) -> Refusal {
    Refusal::new(
        404,
        "NoSuchEntity",
        format!("Policy version {text} does not exist."),
    )
}

pub(super) fn get_version(state: &mut State, who: &Who, form: &Form) -> Result<Response, Refusal> {
    let arn = on_policy(who, form)?;
    let number = version(form)?;
    let own = match state.policies.get(&arn) {
        Some(found) => found.versions.get(&number).cloned(),
        None => state.managed(&arn).filter(|_| number == 1),
    };
    let document = own.ok_or_else(|| no_such_version(&format!("v{number}")))?;
    let body = format!(
        "<PolicyVersion><Document>{}</Document><VersionId>v{number}</VersionId></PolicyVersion>",
        encoded(&document.compact())
    );
    Ok(answer("GetPolicyVersion", &body))
}

pub(super) fn list_versions(
    state: &mut State,
    who: &Who,
    form: &Form,
) -> Result<Response, Refusal> {
    let arn = on_policy(who, form)?;
    let found = managed(state, &arn)?;
    let members = members(found.versions.keys().map(|number| {
        let default = *number == found.default;
        format!("<VersionId>v{number}</VersionId><IsDefaultVersion>{default}</IsDefaultVersion>")
    }));
    Ok(answer(
        "ListPolicyVersions",
        &format!("<Versions>{members}</Versions><IsTruncated>false</IsTruncated>"),
    ))
}

pub(super) fn delete_version(
    state: &mut State,
    who: &Who,
    form: &Form,
) -> Result<Response, Refusal> {
    let arn = on_policy(who, form)?;
    let number = version(form)?;
    let found = managed(state, &arn)?;
    if found.default == number {
        let message = "Cannot delete the default version of a policy.";
        return Err(Refusal::new(409, "DeleteConflict", message));
    }
    let removed = found.versions.remove(&number);
    removed.ok_or_else(|| no_such_version(&format!("v{number}")))?;
    Ok(answer("DeletePolicyVersion", ""))
}

/// Whether the caller may attach or detach the policy, and the role.
fn on_attachment<'a>(
    state: &'a mut State,
    who: &Who,
    form: &Form,
) -> Result<(&'a mut Role, String), Refusal> {
    let (name, arn) = (
        form.required("RoleName")?,
        form.required("PolicyArn")?.to_owned(),
    );
    let key = (who.account.clone(), name.to_owned());
    let found = state.roles.get(&key);
    let resource = found.map_or_else(
        || format!("arn:aws:iam::{}:role/{name}", who.account),
        |role| role.arn.to_string(),
    );
    let mut context = Context::complete().with("iam:PolicyARN", arn.clone());
    if let Some(boundary) = found.and_then(|role| role.boundary.clone()) {
        context = context.with("iam:PermissionsBoundary", boundary);
    }
    may(who, form, resource, context)?;
    let role = state.roles.get_mut(&key);
    Ok((role.ok_or_else(|| no_such_entity("role", name))?, arn))
}

pub(super) fn attach(state: &mut State, who: &Who, form: &Form) -> Result<Response, Refusal> {
    let exists = form
        .get("PolicyArn")
        .is_some_and(|arn| state.managed(arn).is_some());
    let (role, arn) = on_attachment(state, who, form)?;
    if !exists {
        let message = format!("Policy {arn} does not exist or is not attachable.");
        return Err(Refusal::new(404, "NoSuchEntity", message));
    }
    if !role.attached.contains(&arn) {
        if role.attached.len() >= 10 {
            return Err(Refusal::new(
                409,
                "LimitExceeded",
                "Cannot exceed quota for PoliciesPerRole: 10",
            ));
        }
        role.attached.push(arn);
    }
    Ok(answer("AttachRolePolicy", ""))
}

pub(super) fn detach(state: &mut State, who: &Who, form: &Form) -> Result<Response, Refusal> {
    let (role, arn) = on_attachment(state, who, form)?;
    let before = role.attached.len();
    role.attached.retain(|attached| *attached != arn);
    if role.attached.len() == before {
        return Err(Refusal::new(
            404,
            "NoSuchEntity",
            format!("Policy {arn} was not found."),
        ));
    }
    Ok(answer("DetachRolePolicy", ""))
}

pub(super) fn list_attached(
    state: &mut State,
    who: &Who,
    form: &Form,
) -> Result<Response, Refusal> {
    let name = form.required("RoleName")?;
    let key = (who.account.clone(), name.to_owned());
    let found = state.roles.get(&key);
    let resource = found.map_or_else(
        || format!("arn:aws:iam::{}:role/{name}", who.account),
        |role| role.arn.to_string(),
    );
    may(who, form, resource, Context::complete())?;
    let role = found.ok_or_else(|| no_such_entity("role", name))?;
    let members = members(role.attached.iter().map(|arn| {
        let name = arn.rsplit('/').next().unwrap_or_default();
        format!("<PolicyName>{name}</PolicyName><PolicyArn>{arn}</PolicyArn>")
    }));
    Ok(answer(
        "ListAttachedRolePolicies",
        &format!("<AttachedPolicies>{members}</AttachedPolicies><IsTruncated>false</IsTruncated>"),
    ))
}
