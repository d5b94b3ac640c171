//! Users with access keys, for the operator's own identity in the tests.

use std::collections::BTreeMap;

use documents::evaluation::Context;

use super::{may, no_such_entity, policy};
use crate::{
    judge::Who,
    message::{Refusal, Response},
    query::{Form, answer},
    state::{Identity, State, User},
};

fn on_user(who: &Who, form: &Form) -> Result<String, Refusal> {
    let name = form.required("UserName")?.to_owned();
    may(
        who,
        form,
        format!("arn:aws:iam::{}:user/{name}", who.account),
        Context::complete(),
    )?;
    Ok(name)
}

pub(super) fn create(state: &mut State, who: &Who, form: &Form) -> Result<Response, Refusal> {
    let name = on_user(who, form)?;
    let id = state.unique_id("AIDA");
    let body = format!(
        "<User><Path>/</Path><UserName>{name}</UserName><UserId>{id}</UserId><Arn>arn:aws:iam::{}:user/{name}</Arn><CreateDate>2026-01-01T00:00:00Z</CreateDate></User>",
        who.account
    );
    let user = User {
        id,
        inline: BTreeMap::new(),
    };
    state.users.insert((who.account.clone(), name), user);
    Ok(answer("CreateUser", &body))
}

pub(super) fn put_policy(state: &mut State, who: &Who, form: &Form) -> Result<Response, Refusal> {
    let name = on_user(who, form)?;
    let document = policy(form, "PolicyDocument", false)?;
    let policy_name = form.required("PolicyName")?.to_owned();
    let user = state.users.get_mut(&(who.account.clone(), name.clone()));
    let user = user.ok_or_else(|| no_such_entity("user", &name))?;
    user.inline.insert(policy_name, document);
    Ok(answer("PutUserPolicy", ""))
}

pub(super) fn create_access_key(
    state: &mut State,
    who: &Who,
    form: &Form,
) -> Result<Response, Refusal> {
    let name = on_user(who, form)?;
    if !state
        .users
        .contains_key(&(who.account.clone(), name.clone()))
    {
        return Err(no_such_entity("user", &name));
    }
    let key = state.unique_id("AKIA");
    let identity = Identity::User(who.account.clone(), name.clone());
    state.credentials.insert(key.clone(), identity);
    let body = format!(
        "<AccessKey><UserName>{name}</UserName><AccessKeyId>{key}</AccessKeyId><Status>Active</Status><SecretAccessKey>secret</SecretAccessKey></AccessKey>"
    );
    Ok(answer("CreateAccessKey", &body))
}
