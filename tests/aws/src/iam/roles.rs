//! Roles, with their trust policies, inline policies, boundaries and tags.

use std::{collections::BTreeMap, fmt::Write};

use documents::{arns::RoleArn, evaluation::Context};

use super::{MOST_INLINE, MOST_TRUST, length, malformed, may, no_such_entity, policy, within};
use crate::{
    judge::Who,
    message::{Refusal, Response, encoded},
    principals::Invalid,
    query::{Form, answer, members},
    state::{Role, State},
    xml::escaped,
};

/// Whether the caller may do it with a role that exists. Its name is the same in upper and lower case.
fn on_role(state: &State, who: &Who, form: &Form, context: Context) -> Result<String, Refusal> {
    let name = form.required("RoleName")?;
    let mut roles = state.roles.values();
    let found = roles.find(|role| {
        role.arn.account == who.account && role.arn.name.as_str().eq_ignore_ascii_case(name)
    });
    let context = match found.and_then(|role| role.boundary.clone()) {
        Some(boundary) if form.action() != "PutRolePermissionsBoundary" => {
            context.with("iam:PermissionsBoundary", boundary)
        }
        _ => context,
    };
    let arn = found.map_or_else(
        || format!("arn:aws:iam::{}:role/{name}", who.account),
        |role| role.arn.to_string(),
    );
    may(who, form, arn, context)?;
    let found = found.ok_or_else(|| no_such_entity("role", name))?;
    Ok(found.arn.name.to_string())
}

fn role<'a>(state: &'a mut State, who: &Who, name: &str) -> Result<&'a mut Role, Refusal> {
    state
        .roles
        .get_mut(&(who.account.clone(), name.to_owned()))
        .ok_or_else(|| no_such_entity("role", name))
}

fn trust(state: &State, form: &Form, field: &str) -> Result<documents::policy::Document, Refusal> {
    let trust = policy(form, field, true)?;
    within(&trust, MOST_TRUST, "ACLSizePerRole")?;
    state.kept(&trust).map_err(|Invalid(name)| {
        malformed(format!("Invalid principal in policy: \"AWS\":\"{name}\""))
    })
}

pub(super) fn create(state: &mut State, who: &Who, form: &Form) -> Result<Response, Refusal> {
    let name = form.required("RoleName")?;
    let path = form.get("Path").unwrap_or("/");
    let arn: RoleArn = format!("arn:aws:iam::{}:role{path}{name}", who.account)
        .parse()
        .map_err(|error| Refusal::new(400, "ValidationError", format!("{error}")))?;
    let boundary = form.get("PermissionsBoundary").map(ToOwned::to_owned);
    let mut context = Context::complete();
    if let Some(boundary) = &boundary {
        context = context.with("iam:PermissionsBoundary", boundary.clone());
    }
    may(who, form, arn.to_string(), context)?;
    let tags = form.pairs("Tags");
    if !tags.is_empty() {
        let tagging = Form::read(b"Action=TagRole");
        may(who, &tagging, arn.to_string(), Context::complete())?;
    }
    if boundary
        .as_deref()
        .is_some_and(|boundary| state.managed(boundary).is_none())
    {
        return Err(no_such_entity(
            "policy",
            boundary.as_deref().unwrap_or_default(),
        ));
    }
    let taken = state.roles.values().any(|role| {
        role.arn.account == who.account && role.arn.name.as_str().eq_ignore_ascii_case(name)
    });
    if taken {
        let message = format!("Role with name {name} already exists.");
        return Err(Refusal::new(409, "EntityAlreadyExists", message));
    }
    let made = Role {
        trust: trust(state, form, "AssumeRolePolicyDocument")?,
        id: state.unique_id("AROA"),
        arn,
        inline: BTreeMap::new(),
        attached: vec![],
        boundary,
        tags,
        description: form.get("Description").unwrap_or_default().to_owned(),
        created: state.now,
    };
    let body = element(state, &made);
    state
        .roles
        .insert((who.account.clone(), name.to_owned()), made);
    Ok(answer("CreateRole", &body))
}

/// A role, as IAM shows it: policy documents are encoded (RFC 3986).
fn element(state: &State, role: &Role) -> String {
    let mut text = format!(
        "<Role><Path>{}</Path><RoleName>{}</RoleName><RoleId>{}</RoleId><Arn>{}</Arn><CreateDate>2026-01-01T00:00:00Z</CreateDate><AssumeRolePolicyDocument>{}</AssumeRolePolicyDocument><Description>{}</Description><MaxSessionDuration>3600</MaxSessionDuration>",
        escaped(&role.arn.path),
        role.arn.name,
        role.id,
        role.arn,
        encoded(&state.shown(&role.trust).compact()),
        escaped(&role.description),
    );
    if let Some(boundary) = &role.boundary {
        let _ = write!(
            text,
            "<PermissionsBoundary><PermissionsBoundaryType>Policy</PermissionsBoundaryType><PermissionsBoundaryArn>{boundary}</PermissionsBoundaryArn></PermissionsBoundary>"
        );
    }
    text += "<Tags>";
    for (key, value) in &role.tags {
        let (key, value) = (escaped(key), escaped(value));
        let _ = write!(
            text,
            "<member><Key>{key}</Key><Value>{value}</Value></member>"
        );
    }
    text + "</Tags></Role>"
}

pub(super) fn get(state: &mut State, who: &Who, form: &Form) -> Result<Response, Refusal> {
    let name = on_role(state, who, form, Context::complete())?;
    let role = role(state, who, &name)?.clone();
    Ok(answer("GetRole", &element(state, &role)))
}

pub(super) fn list(state: &mut State, who: &Who, form: &Form) -> Result<Response, Refusal> {
    let prefix = form.get("PathPrefix").unwrap_or("/");
    may(
        who,
        form,
        format!("arn:aws:iam::{}:role/", who.account),
        Context::complete(),
    )?;
    let roles = state.roles.values();
    let roles =
        roles.filter(|role| role.arn.account == who.account && role.arn.path.starts_with(prefix));
    // ListRoles shows neither tags nor boundaries.
    let members = members(roles.map(|role| {
        let plain = Role {
            tags: BTreeMap::new(),
            boundary: None,
            ..role.clone()
        };
        let element = element(state, &plain);
        element["<Role>".len()..element.len() - "</Role>".len()].to_owned()
    }));
    Ok(answer(
        "ListRoles",
        &format!("<Roles>{members}</Roles><IsTruncated>false</IsTruncated>"),
    ))
}

pub(super) fn delete(state: &mut State, who: &Who, form: &Form) -> Result<Response, Refusal> {
    let name = on_role(state, who, form, Context::complete())?;
    let found = role(state, who, &name)?;
    if !found.inline.is_empty() || !found.attached.is_empty() {
        let what = if found.inline.is_empty() {
            "detach all policies"
        } else {
            "delete policies"
        };
        return Err(Refusal::new(
            409,
            "DeleteConflict",
            format!("Cannot delete entity, must {what} first."),
        ));
    }
    state.roles.remove(&(who.account.clone(), name));
    Ok(answer("DeleteRole", ""))
}

pub(super) fn tag(state: &mut State, who: &Who, form: &Form) -> Result<Response, Refusal> {
    let name = on_role(state, who, form, Context::complete())?;
    let tags = form.pairs("Tags");
    let found = role(state, who, &name)?;
    let mut all = found.tags.clone();
    all.extend(tags);
    if all.len() > 50 {
        return Err(Refusal::new(
            409,
            "LimitExceeded",
            "The number of tags has reached the maximum limit.",
        ));
    }
    found.tags = all;
    Ok(answer("TagRole", ""))
}

pub(super) fn set_trust(state: &mut State, who: &Who, form: &Form) -> Result<Response, Refusal> {
    let name = on_role(state, who, form, Context::complete())?;
    let trust = trust(state, form, "PolicyDocument")?;
    role(state, who, &name)?.trust = trust;
    Ok(answer("UpdateAssumeRolePolicy", ""))
}

pub(super) fn set_boundary(state: &mut State, who: &Who, form: &Form) -> Result<Response, Refusal> {
    let boundary = form.required("PermissionsBoundary")?.to_owned();
    let context = Context::complete().with("iam:PermissionsBoundary", boundary.clone());
    let name = on_role(state, who, form, context)?;
    if state.managed(&boundary).is_none() {
        return Err(no_such_entity("policy", &boundary));
    }
    role(state, who, &name)?.boundary = Some(boundary);
    Ok(answer("PutRolePermissionsBoundary", ""))
}

pub(super) fn put_policy(state: &mut State, who: &Who, form: &Form) -> Result<Response, Refusal> {
    let name = on_role(state, who, form, Context::complete())?;
    let policy_name = form.required("PolicyName")?.to_owned();
    let document = policy(form, "PolicyDocument", false)?;
    let found = role(state, who, &name)?;
    let others: usize = found
        .inline
        .iter()
        .filter(|(other, _)| **other != policy_name)
        .map(|(_, other)| length(other))
        .sum();
    if others + length(&document) > MOST_INLINE {
        let message =
            format!("Maximum policy size of {MOST_INLINE} bytes exceeded for role {name}");
        return Err(Refusal::new(409, "LimitExceeded", message));
    }
    found.inline.insert(policy_name, document);
    Ok(answer("PutRolePolicy", ""))
}

pub(super) fn get_policy(state: &mut State, who: &Who, form: &Form) -> Result<Response, Refusal> {
    let name = on_role(state, who, form, Context::complete())?;
    let policy_name = form.required("PolicyName")?.to_owned();
    let found = role(state, who, &name)?;
    let document = found
        .inline
        .get(&policy_name)
        .ok_or_else(|| no_such_entity("role policy", &policy_name))?;
    let body = format!(
        "<RoleName>{name}</RoleName><PolicyName>{policy_name}</PolicyName><PolicyDocument>{}</PolicyDocument>",
        encoded(&document.compact())
    );
    Ok(answer("GetRolePolicy", &body))
}

pub(super) fn list_policies(
    state: &mut State,
    who: &Who,
    form: &Form,
) -> Result<Response, Refusal> {
    let name = on_role(state, who, form, Context::complete())?;
    let names = role(state, who, &name)?.inline.keys();
    let members = members(names.cloned());
    Ok(answer(
        "ListRolePolicies",
        &format!("<PolicyNames>{members}</PolicyNames><IsTruncated>false</IsTruncated>"),
    ))
}

pub(super) fn delete_policy(
    state: &mut State,
    who: &Who,
    form: &Form,
) -> Result<Response, Refusal> {
    let name = on_role(state, who, form, Context::complete())?;
    let policy_name = form.required("PolicyName")?.to_owned();
    let removed = role(state, who, &name)?.inline.remove(&policy_name);
    removed.ok_or_else(|| no_such_entity("role policy", &policy_name))?;
    Ok(answer("DeleteRolePolicy", ""))
}
