//! KMS: keys, their policies and aliases. Codes are those of the KMS API Reference.

use documents::{
    evaluation::{Caller, Context, Resource, ResourcePolicy},
    names::account_root,
    policy::Document,
};
use serde_json::{Value, json};

use crate::{
    judge::{self, Asked, Who},
    message::{Refusal, Response},
    principals::Invalid,
    state::{Key, State},
};

/// The most bytes of a key policy ("Resource quotas" in the KMS Developer Guide).
const MOST_POLICY: usize = 32_768;

/// A call of KMS in a Region.
///
/// # Errors
/// As AWS refuses it.
pub fn call(
    state: &mut State,
    who: &Who,
    region: &str,
    action: &str,
    body: &[u8],
) -> Result<Response, Refusal> {
    let asked: Value = serde_json::from_slice(body)
        .map_err(|_| refusal("SerializationException", "the body is not JSON"))?;
    let answer = match action {
        "CreateKey" => create(state, who, region, &asked)?,
        "CreateAlias" => create_alias(state, who, region, &asked)?,
        "DescribeKey" => describe(state, who, region, &asked)?,
        "GetKeyPolicy" => get_policy(state, who, region, &asked)?,
        "PutKeyPolicy" => put_policy(state, who, region, &asked)?,
        "EnableKey" => set_state(state, who, region, action, &asked, "Enabled")?,
        "DisableKey" | "CancelKeyDeletion" => {
            set_state(state, who, region, action, &asked, "Disabled")?
        }
        "ScheduleKeyDeletion" => set_state(state, who, region, action, &asked, "PendingDeletion")?,
        other => return Err(refusal("UnknownOperationException", other)),
    };
    Ok(Response::of(
        "application/x-amz-json-1.1",
        answer.to_string(),
    ))
}

fn refusal(code: &str, message: impl Into<String>) -> Refusal {
    Refusal::new(400, code, message)
}

fn default_policy(who: &Who) -> Document {
    let root = account_root(State::PARTITION, &who.account);
    let text = json!({"Version": "2012-10-17", "Id": "key-default-1", "Statement": [
        {"Sid": "Enable IAM User Permissions", "Effect": "Allow", "Principal": {"AWS": root}, "Action": "kms:*", "Resource": "*"},
    ]});
    Document::parse(&text.to_string()).unwrap_or_default()
}

fn create(state: &mut State, who: &Who, region: &str, asked: &Value) -> Result<Value, Refusal> {
    who.may(&Asked {
        action: "kms:CreateKey",
        resource: format!("arn:aws:kms:{region}:{}:key/*", who.account),
        owner: &who.account,
        policy: ResourcePolicy::None,
        context: Context::complete(),
    })?;
    let policy = match asked["Policy"].as_str() {
        Some(text) => checked(state, who, text, asked)?,
        None => default_policy(who),
    };
    let number = state.number();
    let multi = asked["MultiRegion"] == json!(true);
    let id = if multi {
        format!("mrk-{number:032x}")
    } else {
        format!("{number:08x}-0000-4000-8000-{number:012x}")
    };
    let arn = format!("arn:aws:kms:{region}:{}:key/{id}", who.account);
    let text = |field: &str, default: &str| asked[field].as_str().unwrap_or(default).to_owned();
    let key = Key {
        owner: who.account.clone(),
        region: region.to_owned(),
        state: "Enabled".to_owned(),
        policy,
        spec: text("KeySpec", "SYMMETRIC_DEFAULT"),
        managed_by_aws: false,
        description: text("Description", ""),
    };
    let answer = json!({"KeyMetadata": metadata(&arn, &key)});
    state.keys.insert(arn, key);
    Ok(answer)
}

fn metadata(arn: &str, key: &Key) -> Value {
    let id = arn.rsplit('/').next().unwrap_or_default();
    json!({
        "Arn": arn, "KeyId": id, "AWSAccountId": key.owner.as_str(), "KeyState": key.state, "Enabled": key.state == "Enabled",
        "KeySpec": key.spec, "CustomerMasterKeySpec": key.spec, "KeyUsage": "ENCRYPT_DECRYPT", "Origin": "AWS_KMS",
        "KeyManager": if key.managed_by_aws { "AWS" } else { "CUSTOMER" }, "MultiRegion": id.starts_with("mrk-"),
        "Description": key.description, "CreationDate": 1_767_225_600,
    })
}

/// The ARN of the key that a request names, by ID, ARN, alias or alias ARN.
fn find(state: &State, who: &Who, region: &str, asked: &Value) -> Result<String, Refusal> {
    let name = asked["KeyId"].as_str().unwrap_or_default();
    let arn = if name.starts_with("arn:") {
        name.to_owned()
    } else if name.starts_with("alias/") {
        format!("arn:aws:kms:{region}:{}:{name}", who.account)
    } else {
        format!("arn:aws:kms:{region}:{}:key/{name}", who.account)
    };
    let arn = state.aliases.get(&arn).cloned().unwrap_or(arn);
    let found = state.keys.get(&arn).filter(|key| key.region == region);
    found.map(|_| arn.clone()).ok_or_else(|| {
        let what = if arn.contains(":alias/") {
            "Alias"
        } else {
            "Key"
        };
        refusal(
            "NotFoundException",
            format!("{what} '{arn}' does not exist"),
        )
    })
}

fn on_key<'a>(
    state: &'a mut State,
    who: &Who,
    region: &str,
    action: &str,
    asked: &Value,
) -> Result<(String, &'a mut Key), Refusal> {
    let arn = find(state, who, region, asked)?;
    if let Some(key) = state.keys.get(&arn) {
        let allowed = who.may(&Asked {
            action: &format!("kms:{action}"),
            resource: arn.clone(),
            owner: &key.owner,
            policy: ResourcePolicy::Key(&key.policy),
            context: Context::complete().with("kms:CallerAccount", who.account.as_str()),
        });
        allowed.map_err(|refused| match refused.code.as_str() {
            "AccessDenied" => refusal("AccessDeniedException", refused.message),
            _ => refused,
        })?;
    }
    let key = state.keys.get_mut(&arn);
    let key = key.ok_or_else(|| refusal("NotFoundException", arn.clone()))?;
    Ok((arn, key))
}

fn create_alias(
    state: &mut State,
    who: &Who,
    region: &str,
    asked: &Value,
) -> Result<Value, Refusal> {
    let target = json!({"KeyId": asked["TargetKeyId"]});
    let (arn, _) = on_key(state, who, region, "CreateAlias", &target)?;
    let name = asked["AliasName"].as_str().unwrap_or_default();
    let alias = format!("arn:aws:kms:{region}:{}:{name}", who.account);
    if state.aliases.contains_key(&alias) {
        return Err(refusal(
            "AlreadyExistsException",
            format!("An alias with the name {alias} already exists"),
        ));
    }
    state.aliases.insert(alias, arn);
    Ok(json!({}))
}

fn describe(state: &mut State, who: &Who, region: &str, asked: &Value) -> Result<Value, Refusal> {
    let (arn, key) = on_key(state, who, region, "DescribeKey", asked)?;
    Ok(json!({"KeyMetadata": metadata(&arn, key)}))
}

fn get_policy(state: &mut State, who: &Who, region: &str, asked: &Value) -> Result<Value, Refusal> {
    let (_, key) = on_key(state, who, region, "GetKeyPolicy", asked)?;
    let policy = key.policy.clone();
    Ok(json!({"Policy": state.shown(&policy).pretty(), "PolicyName": "default"}))
}

/// A key policy that KMS takes: its principals exist, and the caller can still change it ("`PutKeyPolicy`" in the KMS API Reference).
fn checked(state: &State, who: &Who, text: &str, asked: &Value) -> Result<Document, Refusal> {
    let malformed = |message: String| refusal("MalformedPolicyDocumentException", message);
    if text.len() > MOST_POLICY {
        return Err(refusal(
            "LimitExceededException",
            "The policy is too large.",
        ));
    }
    let policy = judge::document(text, true).map_err(malformed)?;
    let policy = state.kept(&policy).map_err(|Invalid(_)| {
        malformed("Policy contains a statement with one or more invalid principals.".to_owned())
    })?;
    let may_change = {
        let resource = Resource::one("arn:aws:kms:us-east-1:000000000000:key/a");
        let context = Context::complete();
        // Also if the caller is a session: it is the account that must not be locked out.
        let root = Caller::Root(State::PARTITION, who.account.clone());
        [&who.caller, &root].into_iter().any(|caller| {
            let request = documents::evaluation::Request {
                caller,
                action: "kms:PutKeyPolicy",
                resource: &resource,
                context: &context,
            };
            policy.grants(&request, |_| false).is_yes()
        })
    };
    if !may_change && asked["BypassPolicyLockoutSafetyCheck"] != json!(true) {
        return Err(malformed(
            "The new key policy will not allow you to update the key policy in the future."
                .to_owned(),
        ));
    }
    Ok(policy)
}

fn put_policy(state: &mut State, who: &Who, region: &str, asked: &Value) -> Result<Value, Refusal> {
    on_key(state, who, region, "PutKeyPolicy", asked)?;
    let policy = checked(
        state,
        who,
        asked["Policy"].as_str().unwrap_or_default(),
        asked,
    )?;
    let (_, key) = on_key(state, who, region, "PutKeyPolicy", asked)?;
    key.policy = policy;
    Ok(json!({}))
}

fn set_state(
    state: &mut State,
    who: &Who,
    region: &str,
    action: &str,
    asked: &Value,
    to: &str,
) -> Result<Value, Refusal> {
    let (arn, key) = on_key(state, who, region, action, asked)?;
    to.clone_into(&mut key.state);
    Ok(json!({"KeyId": arn}))
}
