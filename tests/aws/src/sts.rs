//! STS: who one is, and sessions of roles.

use documents::{
    arns::RoleArn,
    evaluation::{Context, ResourcePolicy},
};

use crate::{
    judge::{Asked, Who},
    message::{Refusal, Response},
    query::{Form, answer},
    state::{Identity, State},
    xml::escaped,
};

/// A call of STS.
///
/// # Errors
/// As AWS refuses it.
pub fn call(state: &mut State, who: &Who, form: &Form) -> Result<Response, Refusal> {
    match form.action() {
        "GetCallerIdentity" => {
            let body = format!(
                "<Arn>{}</Arn><UserId>{}</UserId><Account>{}</Account>",
                who.arn, who.account, who.account
            );
            Ok(answer("GetCallerIdentity", &body))
        }
        "AssumeRole" => assume_role(state, who, form),
        other => Err(Refusal::new(
            400,
            "InvalidAction",
            format!("{other} is not known here"),
        )),
    }
}

/// "`AssumeRole`" in the STS API Reference. A role that does not exist is not told from one that may not be assumed.
fn assume_role(state: &mut State, who: &Who, form: &Form) -> Result<Response, Refusal> {
    let text = form.required("RoleArn")?;
    let denied = || {
        let message = format!(
            "User: {} is not authorized to perform: sts:AssumeRole on resource: {text}",
            who.arn
        );
        Refusal::new(403, "AccessDenied", message)
    };
    let arn: RoleArn = text.parse().map_err(|_| denied())?;
    let role = state.role(&arn).cloned().ok_or_else(denied)?;
    let name = form.required("RoleSessionName")?.to_owned();
    let mut context = Context::complete().with("sts:RoleSessionName", name.clone());
    if let Some(id) = form.get("ExternalId") {
        context = context.with("sts:ExternalId", id);
    }
    let asked = Asked {
        action: "sts:AssumeRole",
        resource: arn.to_string(),
        owner: &arn.account,
        policy: ResourcePolicy::Trust(&role.trust),
        context,
    };
    if let Err(refusal) = who.may(&asked) {
        return Err(if refusal.status == 403 {
            denied()
        } else {
            refusal
        });
    }
    let key = state.unique_id("ASIA");
    state
        .credentials
        .insert(key.clone(), Identity::Session(arn.clone(), name.clone()));
    let body = format!(
        "<Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token-{key}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser><AssumedRoleId>{}:{name}</AssumedRoleId><Arn>{}</Arn></AssumedRoleUser>",
        role.id,
        escaped(&format!(
            "arn:aws:sts::{}:assumed-role/{}/{name}",
            arn.account, arn.name
        )),
    );
    Ok(answer("AssumeRole", &body))
}
