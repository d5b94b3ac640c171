//! Principals of policies: they have to exist when a policy is written, and roles are kept by their unique IDs, so that a role of the same name that
//! is made later is another one ("AWS JSON policy elements: Principal" in the IAM User Guide).

use documents::{arns::RoleArn, names::AccountId, policy::Document};
use serde_json::Value;

use crate::state::State;

/// What a principal is not.
#[derive(Debug, PartialEq, Eq)]
pub struct Invalid(pub String);

impl State {
    /// The document as it is kept: roles by their unique IDs.
    ///
    /// # Errors
    /// When a principal does not exist. Accounts are taken to exist.
    pub fn kept(&self, document: &Document) -> Result<Document, Invalid> {
        let mut invalid = None;
        let kept = each_principal(document, &mut |name| match self.id_of(name) {
            Ok(id) => id,
            Err(Invalid(name)) => {
                invalid.get_or_insert(name.clone());
                name
            }
        });
        match invalid {
            Some(name) => Err(Invalid(name)),
            None => Ok(kept),
        }
    }

    /// The document as it is shown: roles that exist by their ARNs.
    #[must_use]
    pub fn shown(&self, document: &Document) -> Document {
        each_principal(document, &mut |name| {
            let role = self.roles.values().find(|role| role.id == name);
            role.map_or(name, |role| role.arn.to_string())
        })
    }

    fn id_of(&self, name: String) -> Result<String, Invalid> {
        if name == "*" || name.parse::<AccountId>().is_ok() || name.ends_with(":root") {
            return Ok(name);
        }
        if let Ok(arn) = name.parse::<RoleArn>() {
            // A new role is a principal only after a while ("Changes that I make are not always immediately visible" in the IAM User Guide).
            let known = self
                .role(&arn)
                .filter(|role| self.now >= role.created + self.propagation);
            return known.map(|role| role.id.clone()).ok_or(Invalid(name));
        }
        let account_and_user = name
            .strip_prefix("arn:aws:iam::")
            .and_then(|rest| rest.split_once(":user/"));
        if let Some((account, user)) = account_and_user {
            let user = user.rsplit('/').next().unwrap_or(user).to_owned();
            let exists = account
                .parse()
                .is_ok_and(|account| self.users.contains_key(&(account, user)));
            return if exists { Ok(name) } else { Err(Invalid(name)) };
        }
        // Sessions are taken to exist; an ID is one of a role that is still there.
        if name.contains(":assumed-role/") || self.roles.values().any(|role| role.id == name) {
            return Ok(name);
        }
        Err(Invalid(name))
    }
}

/// The document with each AWS principal replaced.
fn each_principal(document: &Document, replace: &mut dyn FnMut(String) -> String) -> Document {
    let mut json = document.json();
    if let Some(Value::Object(one)) = json.get("Statement").cloned() {
        json["Statement"] = Value::Array(vec![Value::Object(one)]);
    }
    let statements = json.get_mut("Statement").and_then(Value::as_array_mut);
    for statement in statements.into_iter().flatten() {
        for element in ["Principal", "NotPrincipal"] {
            match statement
                .get_mut(element)
                .and_then(|kinds| kinds.get_mut("AWS"))
            {
                Some(Value::String(name)) => *name = replace(std::mem::take(name)),
                Some(Value::Array(names)) => {
                    for name in names {
                        if let Value::String(name) = name {
                            *name = replace(std::mem::take(name));
                        }
                    }
                }
                _ => {}
            }
        }
    }
    Document::parse(&json.to_string()).unwrap_or_else(|_| document.clone())
}
