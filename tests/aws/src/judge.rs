//! Who calls, and whether the policies allow it. A judgement that is unknown ends the test: the request was not told well enough.

use documents::{
    evaluation::{
        Access, Caller, Context, Policies, PolicyKind, Possible, Request, Resource, ResourcePolicy,
        Session, access,
    },
    names::AccountId,
    policy::Document,
};
use serde_json::{Map, Value, json};

use crate::{
    decisions::Decisions,
    message::{self, Refusal},
    state::{Identity, Role, State},
};

/// The caller with the policies that it has of its own.
#[derive(Clone, Debug)]
pub struct Who {
    /// The caller.
    pub caller: Caller,
    /// Its ARN, as messages name it.
    pub arn: String,
    /// Its account.
    pub account: AccountId,
    identity: Vec<Document>,
    boundary: Option<Document>,
    decisions: Decisions,
}

/// What is asked for, and whose it is.
pub struct Asked<'a> {
    /// The action.
    pub action: &'a str,
    /// The ARN of the resource.
    pub resource: String,
    /// The account that owns it.
    pub owner: &'a AccountId,
    /// Its policy.
    pub policy: ResourcePolicy<'a>,
    /// The condition keys of the action.
    pub context: Context,
}

impl State {
    /// Who signed a request: a 12-digit key is the root user of that account, others are of users and sessions.
    ///
    /// # Errors
    /// `InvalidClientTokenId`, if nobody has the key.
    pub fn who(&self, request: &message::Request) -> Result<Who, Refusal> {
        let invalid = || {
            Refusal::new(
                403,
                "InvalidClientTokenId",
                "The security token included in the request is invalid.",
            )
        };
        let (key, ..) = request.signature().ok_or_else(invalid)?;
        if let Ok(account) = key.parse::<AccountId>() {
            return Ok(Who {
                arn: format!("arn:aws:iam::{account}:root"),
                caller: Caller::Root(State::PARTITION, account.clone()),
                account,
                identity: vec![],
                boundary: None,
                decisions: self.decisions.clone(),
            });
        }
        match self.credentials.get(key).ok_or_else(invalid)? {
            Identity::User(account, name) => {
                let user = self
                    .users
                    .get(&(account.clone(), name.clone()))
                    .ok_or_else(invalid)?;
                Ok(Who {
                    arn: format!("arn:aws:iam::{account}:user/{name}"),
                    caller: Caller::User(State::PARTITION, account.clone(), format!("/{name}")),
                    account: account.clone(),
                    identity: user.inline.values().cloned().collect(),
                    boundary: None,
                    decisions: self.decisions.clone(),
                })
            }
            Identity::Session(role, name) => {
                let role = self.role(role).ok_or_else(invalid)?;
                Ok(self.session(role, name))
            }
        }
    }

    /// A session of a role, with all that limits it.
    #[must_use]
    pub fn session(&self, role: &Role, name: &str) -> Who {
        let (account, role_name) = (&role.arn.account, &role.arn.name);
        Who {
            arn: format!("arn:aws:sts::{account}:assumed-role/{role_name}/{name}"),
            caller: Caller::Session(Session {
                role: role.arn.clone(),
                role_id: Some(role.id.clone()),
                name: name.to_owned(),
                bounded: Some(role.boundary.is_some()),
            }),
            account: account.clone(),
            identity: self.policies_of(role),
            boundary: role
                .boundary
                .as_deref()
                .map(|arn| self.managed(arn).unwrap_or_default()),
            decisions: self.decisions.clone(),
        }
    }
}

impl Who {
    /// A service of AWS that calls by itself, for something of that account.
    #[must_use]
    pub fn service(name: &str, account: AccountId, decisions: Decisions) -> Self {
        Self {
            caller: Caller::Service(name.to_owned()),
            arn: name.to_owned(),
            account,
            identity: vec![],
            boundary: None,
            decisions,
        }
    }

    /// The keys that every request of the caller has ("AWS global condition context keys" in the IAM User Guide).
    fn global(&self, context: Context, owner: &AccountId) -> Context {
        let context = context
            .with("aws:PrincipalAccount", self.account.as_str())
            .with("aws:ResourceAccount", owner.as_str())
            .with("aws:PrincipalIsAWSService", "false")
            .with("aws:SecureTransport", "true");
        match &self.caller {
            Caller::Session(session) => context
                .with("aws:PrincipalArn", session.role.to_string())
                .with("aws:PrincipalType", "AssumedRole")
                .with(
                    "aws:userid",
                    format!(
                        "{}:{}",
                        session.role_id.as_deref().unwrap_or_default(),
                        session.name
                    ),
                ),
            Caller::Root(..) => context
                .with("aws:PrincipalArn", self.arn.clone())
                .with("aws:PrincipalType", "Account")
                .with("aws:userid", self.account.as_str()),
            Caller::User(_, _, name) => context
                .with("aws:PrincipalArn", self.arn.clone())
                .with("aws:PrincipalType", "User")
                .with("aws:username", name.trim_start_matches('/')),
            Caller::Service(_) => context,
        }
    }

    /// What the policies say.
    #[must_use]
    pub fn access(&self, asked: &Asked<'_>) -> Access {
        let context = self.global(asked.context.clone(), asked.owner);
        let resource = Resource::one(asked.resource.clone());
        let request = Request {
            caller: &self.caller,
            action: asked.action,
            resource: &resource,
            context: &context,
        };
        let policies = Policies {
            identity: &self.identity,
            boundary: self.boundary.as_ref(),
            resource: asked.policy,
            owner: asked.owner,
        };
        let access = access(&request, &policies);
        let decision = || self.decision(asked, &context);
        self.decisions.add(decision, access.is_allowed());
        access
    }

    /// The request with its policies, as JSON. The caller's role is in them by its ARN.
    fn decision(&self, asked: &Asked<'_>, context: &Context) -> Value {
        let keys = context
            .known()
            .filter_map(|(key, possible)| match possible {
                [Possible::One(value)] => Some((key.to_owned(), json!(value))),
                [Possible::Several(values)] => Some((key.to_owned(), json!(values))),
                _ => None,
            });
        let policy = match asked.policy {
            ResourcePolicy::None | ResourcePolicy::Bucket(None) => None,
            ResourcePolicy::Bucket(Some(policy))
            | ResourcePolicy::Key(policy)
            | ResourcePolicy::Trust(policy) => Some(policy.json()),
        };
        // The root user needs no policy: written as one that allows all.
        let all = r#"{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
        let of_root = matches!(self.caller, Caller::Root(..));
        let of_root = of_root.then(|| Document::parse(all).unwrap_or_default());
        let identity = self
            .identity
            .iter()
            .chain(&of_root)
            .flat_map(Document::statements);
        let decision = json!({
            "principal": self.arn, "action": asked.action, "resource": asked.resource, "account": asked.owner.as_str(),
            "context": keys.collect::<Map<_, _>>(), "identity": Document::of(identity).json(),
            "boundary": self.boundary.as_ref().map(Document::json), "policy": policy,
        });
        match &self.caller {
            Caller::Session(session) => {
                let id = session.role_id.as_deref().unwrap_or_default();
                let text = decision
                    .to_string()
                    .replace(&format!("\"{id}\""), &format!("\"{}\"", session.role));
                serde_json::from_str(&text).unwrap_or(decision)
            }
            Caller::Root(..) | Caller::User(..) | Caller::Service(_) => decision,
        }
    }

    /// Refuses what the policies do not allow, with the message that AWS gives ("Troubleshoot access denied error messages" in the IAM User Guide).
    ///
    /// # Errors
    /// `AccessDenied`.
    pub fn may(&self, asked: &Asked<'_>) -> Result<(), Refusal> {
        let why = match self.access(asked) {
            Access::Allowed => return Ok(()),
            Access::Denied(kind, _) => format!("with an explicit deny in {}", named(kind)),
            Access::NotAllowed(kind) => {
                let none = named(kind).split_once(' ').map_or("", |(_, rest)| rest);
                format!("because no {none} allows the {} action", asked.action)
            }
            Access::Unknown(cause) => {
                return Err(Refusal::new(500, "JudgementUnknown", cause.to_string()));
            }
        };
        let message = format!(
            "User: {} is not authorized to perform: {} on resource: {} {why}",
            self.arn, asked.action, asked.resource
        );
        Err(Refusal::new(403, "AccessDenied", message))
    }
}

fn named(kind: PolicyKind) -> &'static str {
    match kind {
        PolicyKind::Identity => "an identity-based policy",
        PolicyKind::Boundary => "a permissions boundary",
        PolicyKind::Resource => "a resource-based policy",
    }
}

/// Reads a policy document, as all services do: JSON, with statements that each have an effect and an action.
///
/// # Errors
/// With what is wrong.
pub fn document(text: &str, has_principals: bool) -> Result<Document, String> {
    let document =
        Document::parse(text).map_err(|_| "This policy contains invalid Json".to_owned())?;
    let statements = document.statements();
    let json = document.json();
    if json.get("Statement").is_none() {
        return Err("Missing required field Statement".to_owned());
    }
    if json
        .get("Version")
        .is_some_and(|version| version != "2012-10-17" && version != "2008-10-17")
    {
        return Err("The policy must contain a valid version string".to_owned());
    }
    for statement in &statements {
        let json = statement.json();
        let has = |name: &str| json.get(name).is_some();
        let effect = json.get("Effect").and_then(serde_json::Value::as_str);
        if !matches!(effect, Some("Allow" | "Deny")) {
            return Err("Missing required field Effect".to_owned());
        }
        if !has("Action") && !has("NotAction") {
            return Err("Missing required field Action".to_owned());
        }
        if has_principals != (has("Principal") || has("NotPrincipal")) {
            let wrong = if has_principals {
                "Missing required field"
            } else {
                "Policy document should not specify a"
            };
            return Err(format!("{wrong} Principal"));
        }
        let actions = statement.strings(if has("Action") { "Action" } else { "NotAction" });
        if actions
            .iter()
            .any(|action| *action != "*" && !action.contains(':'))
        {
            return Err(
                "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
                    .to_owned(),
            );
        }
    }
    Ok(document)
}
