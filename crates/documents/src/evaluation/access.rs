//! What all policies together say of a request ("Policy evaluation logic" and "Cross-account policy evaluation logic" in the IAM User Guide;
//! "Default key policy" in the KMS Developer Guide). Policies of an organization are not known here.

use std::fmt;

use super::{Caller, Cause, Denial, DenyingStatement, Request, Truth, caller::Named};
use crate::{names::AccountId, policy::Document};

/// The policies that decide on a request.
#[derive(Clone, Copy, Debug)]
pub struct Policies<'a> {
    /// The policies of the role that calls. The root user needs none.
    pub identity: &'a [Document],
    /// The role's permissions boundary.
    pub boundary: Option<&'a Document>,
    /// The policy of what is asked for.
    pub resource: ResourcePolicy<'a>,
    /// The account that owns it.
    pub owner: &'a AccountId,
}

/// The policy of a resource.
#[derive(Clone, Copy, Debug)]
pub enum ResourcePolicy<'a> {
    /// The resource is of a kind that has none.
    None,
    /// A bucket's, if it has one.
    Bucket(Option<&'a Document>),
    /// A key's. Without a statement for the account, no policy of IAM allows anything.
    Key(&'a Document),
    /// A role's trust policy: only those that it names may assume the role.
    Trust(&'a Document),
}

/// Which of the policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind {
    /// The caller's.
    Identity,
    /// The permissions boundary.
    Boundary,
    /// The resource's.
    Resource,
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identity => "identity policy",
            Self::Boundary => "permissions boundary",
            Self::Resource => "resource policy",
        })
    }
}

/// Whether a request is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// It certainly is.
    Allowed,
    /// A statement certainly denies it.
    Denied(PolicyKind, DenyingStatement),
    /// It certainly is not allowed: the policy has no statement that does.
    NotAllowed(PolicyKind),
    /// What is known does not decide it.
    Unknown(Cause),
}

impl Access {
    /// Whether it certainly is allowed.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        *self == Self::Allowed
    }
}

/// S3 lets an account's root user change the policy of its bucket also if that policy denies it (`PutBucketPolicy` in the S3 API Reference).
const ROOT_MAY_ALWAYS: [&str; 3] = [
    "s3:GetBucketPolicy",
    "s3:PutBucketPolicy",
    "s3:DeleteBucketPolicy",
];

/// Whether the policies allow the request.
#[must_use]
pub fn access(request: &Request<'_>, policies: &Policies<'_>) -> Access {
    let mut perhaps = None;
    for (kind, denial) in denials(request, policies) {
        match denial {
            Denial::Yes(statement) => return Access::Denied(kind, statement),
            Denial::Perhaps(_, cause) => perhaps = perhaps.or(Some(cause)),
            Denial::No => {}
        }
    }
    match (allowed(request, policies), perhaps) {
        (Truth::Yes, None) => Access::Allowed,
        (Truth::No, _) => Access::NotAllowed(lacking(request, policies)),
        (Truth::Yes, Some(cause)) | (Truth::Unknown(cause), _) => Access::Unknown(cause),
    }
}

fn denials(request: &Request<'_>, policies: &Policies<'_>) -> Vec<(PolicyKind, Denial)> {
    let identity = policies.identity.iter();
    let mut denials: Vec<_> = identity
        .map(|policy| (PolicyKind::Identity, policy.forbids(request)))
        .collect();
    let boundary = policies.boundary.map(|policy| policy.forbids(request));
    denials.extend(boundary.map(|denial| (PolicyKind::Boundary, denial)));
    let own_root = matches!(request.caller, Caller::Root(_, account) if account == policies.owner);
    let always = own_root && ROOT_MAY_ALWAYS.contains(&request.action);
    let resource = policies.resource.document().filter(|_| !always);
    denials.extend(resource.map(|policy| (PolicyKind::Resource, policy.denies(request))));
    denials
}

impl<'a> ResourcePolicy<'a> {
    fn document(self) -> Option<&'a Document> {
        match self {
            Self::None => None,
            Self::Bucket(policy) => policy,
            Self::Key(policy) | Self::Trust(policy) => Some(policy),
        }
    }

    /// Whether policies of IAM in the resource's own account allow without it.
    fn is_optional(self) -> bool {
        matches!(self, Self::None | Self::Bucket(_))
    }
}

/// What each side allows.
struct Sides {
    identity: Truth,
    boundary: Truth,
    account: Truth,
    role: Truth,
    caller: Truth,
}

impl Sides {
    fn of(request: &Request<'_>, policies: &Policies<'_>) -> Self {
        let resource = |how| {
            let policy = policies.resource.document();
            policy.map_or(Truth::No, |policy| {
                policy.grants_to(request, how, |_| false)
            })
        };
        let identity = match request.caller {
            Caller::Root(..) => Truth::Yes,
            Caller::Session(_) | Caller::User(..) => Truth::any(
                policies
                    .identity
                    .iter()
                    .map(|policy| policy.allows(request)),
            ),
            Caller::Service(_) => Truth::No,
        };
        Self {
            identity,
            boundary: policies
                .boundary
                .map_or(Truth::Yes, |boundary| boundary.allows(request)),
            account: resource(Named::Account),
            role: resource(Named::Role),
            caller: resource(Named::Caller),
        }
    }

    fn resource(&self) -> Truth {
        Truth::any([self.caller.clone(), self.role.clone(), self.account.clone()])
    }

    fn own(&self) -> Truth {
        self.identity.clone().and(self.boundary.clone())
    }
}

fn allowed(request: &Request<'_>, policies: &Policies<'_>) -> Truth {
    let sides = Sides::of(request, policies);
    if is_foreign(request, policies) {
        return sides.resource().and(sides.own());
    }
    let delegated = if policies.resource.is_optional() {
        sides.own()
    } else {
        sides.account.clone().and(sides.own())
    };
    let to_role = sides.role.clone().and(sides.boundary.clone());
    Truth::any([delegated, to_role, sides.caller])
}

fn is_foreign(request: &Request<'_>, policies: &Policies<'_>) -> bool {
    request
        .caller
        .account()
        .is_some_and(|account| account != policies.owner)
}

/// The policy to which a statement has to be added first.
fn lacking(request: &Request<'_>, policies: &Policies<'_>) -> PolicyKind {
    let sides = Sides::of(request, policies);
    let needs_resource = is_foreign(request, policies) || !policies.resource.is_optional();
    if needs_resource && sides.resource().is_no() {
        PolicyKind::Resource
    } else if sides.identity.is_no() {
        PolicyKind::Identity
    } else if sides.boundary.is_no() {
        PolicyKind::Boundary
    } else {
        PolicyKind::Resource
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::evaluation::{Context, Resource, Session};

    const ROLE: &str = "arn:aws:iam::111111111111:role/r";
    const SESSION: &str = "arn:aws:sts::111111111111:assumed-role/r/s3-replication";
    const ROOT: &str = "arn:aws:iam::111111111111:root";

    fn document(statements: &Value) -> Document {
        let text = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        Document::parse(&text).expect("a policy")
    }

    fn all(effect: &str, principal: &Value) -> Document {
        document(
            &json!([{"Effect": effect, "Principal": principal, "Action": "*", "Resource": "*"}]),
        )
    }

    /// Whether a policy of the resource with that principal allows the session: within the account and across, with and without a policy of its
    /// own, and with a boundary that allows nothing.
    fn allows(principal: &Value, kind: fn(&Document) -> ResourcePolicy<'_>) -> [bool; 5] {
        let session = |bounded| {
            Caller::Session(Session {
                role: ROLE.parse().expect("a role"),
                role_id: None,
                name: "s3-replication".into(),
                bounded: Some(bounded),
            })
        };
        let policy = all("Allow", principal);
        let identity = [document(
            &json!([{"Effect": "Allow", "Action": "*", "Resource": "*"}]),
        )];
        let nothing = document(&json!([]));
        let try_ = |owner: &str, identity: &[Document], boundary: Option<&Document>| {
            let caller = session(boundary.is_some());
            let (resource, context) = (Resource::one("arn:aws:s3:::b/k"), Context::complete());
            let request = Request {
                caller: &caller,
                action: "s3:ReplicateObject",
                resource: &resource,
                context: &context,
            };
            let policies = Policies {
                identity,
                boundary,
                resource: kind(&policy),
                owner: &owner.parse().expect("an account"),
            };
            access(&request, &policies).is_allowed()
        };
        [
            try_("111111111111", &[], None),
            try_("111111111111", &identity, None),
            try_("111111111111", &[], Some(&nothing)),
            try_("222222222222", &[], None),
            try_("222222222222", &identity, None),
        ]
    }

    #[test]
    fn who_is_limited_by_what() {
        let bucket: fn(&Document) -> ResourcePolicy<'_> =
            |policy| ResourcePolicy::Bucket(Some(policy));
        let key: fn(&Document) -> ResourcePolicy<'_> = |policy| ResourcePolicy::Key(policy);
        for (principal, kind, expected) in [
            (
                json!({"AWS": ROLE}),
                bucket,
                [true, true, false, false, true],
            ),
            (
                json!({"AWS": SESSION}),
                bucket,
                [true, true, true, false, true],
            ),
            (json!("*"), bucket, [true, true, true, false, true]),
            (
                json!({"AWS": ROOT}),
                bucket,
                [false, true, false, false, true],
            ),
            (
                json!({"AWS": "333333333333"}),
                bucket,
                [false, true, false, false, false],
            ),
            (json!({"AWS": ROLE}), key, [true, true, false, false, true]),
            (json!({"AWS": ROOT}), key, [false, true, false, false, true]),
            (
                json!({"AWS": "333333333333"}),
                key,
                [false, false, false, false, false],
            ),
        ] {
            assert_eq!(allows(&principal, kind), expected, "{principal}");
        }
    }

    #[test]
    fn root_may_always_change_the_policy_of_its_bucket() {
        let owner: AccountId = "111111111111".parse().expect("an account");
        let caller = Caller::Root(crate::names::Partition::Aws, owner.clone());
        let policy = all("Deny", &json!("*"));
        let (resource, context) = (Resource::one("arn:aws:s3:::b"), Context::complete());
        let asked = |action: &'static str| {
            let request = Request {
                caller: &caller,
                action,
                resource: &resource,
                context: &context,
            };
            let policies = Policies {
                identity: &[],
                boundary: None,
                resource: ResourcePolicy::Bucket(Some(&policy)),
                owner: &owner,
            };
            access(&request, &policies)
        };
        assert_eq!(asked("s3:PutBucketPolicy"), Access::Allowed);
        assert!(matches!(
            asked("s3:ListBucket"),
            Access::Denied(PolicyKind::Resource, _)
        ));
    }
}
