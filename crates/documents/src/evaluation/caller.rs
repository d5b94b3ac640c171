//! Who calls, and which principals of a policy mean the caller ("AWS JSON policy elements: Principal" and "`NotPrincipal`" in the IAM User Guide).

use serde_json::Value;

use super::{Cause, Truth};
use crate::{
    arns::RoleArn,
    names::{AccountId, Partition, account_root},
    policy::strings,
};

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The root user of an account.
    Root(Partition, AccountId),
    /// A session of a role.
    Session(Session),
    /// A user of IAM, with its path, which begins with a slash, and its name.
    User(Partition, AccountId, String),
    /// A service of AWS by itself, such as `s3.amazonaws.com` when it assumes a role.
    Service(String),
}

/// A session of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The role.
    pub role: RoleArn,
    /// The role's unique ID (`AROA…`), if it is known.
    pub role_id: Option<String>,
    /// The name of the session.
    pub name: String,
    /// Whether the role has a permissions boundary, if that is known.
    pub bounded: Option<bool>,
}

/// Whom a principal of a policy means: what limits the permission depends on it ("Policy evaluation logic" in the IAM User Guide).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Named {
    /// The account, which delegates to its own policies.
    Account,
    /// The role itself.
    Role,
    /// The session, the root user, the service, or anyone: nothing else limits it.
    Caller,
}

impl Session {
    fn arn(&self) -> String {
        let RoleArn {
            partition,
            account,
            name,
            ..
        } = &self.role;
        format!(
            "arn:{partition}:sts::{account}:assumed-role/{name}/{}",
            self.name
        )
    }
}

impl Caller {
    /// The account of the caller. A service has none.
    #[must_use]
    pub fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Root(_, account) | Self::User(_, account, _) => Some(account),
            Self::Session(session) => Some(&session.role.account),
            Self::Service(_) => None,
        }
    }

    fn partition(&self) -> Partition {
        match self {
            Self::Root(partition, _) | Self::User(partition, ..) => *partition,
            Self::Session(session) => session.role.partition,
            Self::Service(_) => Partition::Aws,
        }
    }

    /// Whether an element `Principal` names the caller in that way.
    pub(super) fn is_named(&self, principal: &Value, how: Named) -> Truth {
        match principal {
            Value::String(anyone) => (anyone == "*" && how == Named::Caller).into(),
            Value::Object(kinds) => Truth::any(kinds.iter().flat_map(|(kind, names)| {
                strings(names)
                    .into_iter()
                    .map(|name| self.is_one_named(kind, name, how))
                    .collect::<Vec<_>>()
            })),
            _ => Truth::No,
        }
    }

    fn is_one_named(&self, kind: &str, name: &str, how: Named) -> Truth {
        match (kind, self) {
            ("AWS", _) if name == "*" => (how == Named::Caller).into(),
            ("AWS", Self::Root(..)) => (how == Named::Caller && self.is_account(name)).into(),
            ("AWS", Self::Session(session)) => match how {
                Named::Account => self.is_account(name).into(),
                Named::Role => {
                    let by_id = session.role_id.as_deref() == Some(name);
                    (by_id || name == session.role.to_string()).into()
                }
                Named::Caller => (name == session.arn()).into(),
            },
            ("AWS", Self::User(partition, account, user)) => match how {
                Named::Account => self.is_account(name).into(),
                Named::Role => Truth::No,
                Named::Caller => {
                    (name == format!("arn:{partition}:iam::{account}:user{user}")).into()
                }
            },
            ("Service", Self::Service(service)) => (how == Named::Caller && name == service).into(),
            ("CanonicalUser", Self::Root(..)) if how == Named::Caller => {
                Truth::Unknown(Cause::CanonicalUser)
            }
            ("CanonicalUser", Self::Session(_) | Self::User(..)) if how == Named::Account => {
                Truth::Unknown(Cause::CanonicalUser)
            }
            _ => Truth::No,
        }
    }

    fn is_account(&self, name: &str) -> bool {
        self.account().is_some_and(|account| {
            name == account.as_str() || name == account_root(self.partition(), account)
        })
    }

    /// Whether a statement that denies with `NotPrincipal` is about the caller. A role is spared if its account, itself and its session are listed,
    /// and never if it has a permissions boundary.
    pub(super) fn is_not_spared(&self, spared: &Value) -> Truth {
        let listed = |how| self.is_named(spared, how);
        let Self::Session(session) = self else {
            return !listed(Named::Caller);
        };
        if session.bounded == Some(true) {
            return Truth::Yes;
        }
        let anyone = Truth::from(is_anyone(spared));
        let all = Truth::all([
            listed(Named::Account),
            listed(Named::Role),
            listed(Named::Caller),
        ]);
        let both = Truth::all([listed(Named::Account), listed(Named::Role)]);
        match (anyone.or(all), both, session.bounded) {
            (Truth::Yes, _, Some(false)) => Truth::No,
            (Truth::No, Truth::No, _) => Truth::Yes,
            (Truth::Unknown(cause), ..) | (_, Truth::Unknown(cause), _) => Truth::Unknown(cause),
            _ => Truth::Unknown(Cause::NotPrincipal),
        }
    }
}

fn is_anyone(principal: &Value) -> bool {
    match principal {
        Value::String(anyone) => anyone == "*",
        Value::Object(kinds) => kinds
            .get("AWS")
            .is_some_and(|names| strings(names).contains(&"*")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ROOT: &str = "arn:aws:iam::111111111111:root";
    const ROLE: &str = "arn:aws:iam::111111111111:role/path/r";
    const SESSION: &str = "arn:aws:sts::111111111111:assumed-role/r/s3-replication";

    fn session(bounded: Option<bool>) -> Caller {
        Caller::Session(Session {
            role: ROLE.parse().expect("a role"),
            role_id: Some("AROA1".into()),
            name: "s3-replication".into(),
            bounded,
        })
    }

    #[test]
    fn principals_name_a_session_in_three_ways() {
        let caller = session(Some(false));
        for (principal, how) in [
            (json!("*"), Some(Named::Caller)),
            (json!({"AWS": "*"}), Some(Named::Caller)),
            (
                json!({"AWS": ["222222222222", SESSION]}),
                Some(Named::Caller),
            ),
            (json!({"AWS": ROLE}), Some(Named::Role)),
            (json!({"AWS": "AROA1"}), Some(Named::Role)),
            (json!({"AWS": ROOT}), Some(Named::Account)),
            (json!({"AWS": "111111111111"}), Some(Named::Account)),
            (json!({"AWS": "arn:aws:iam::111111111111:role/r"}), None),
            (
                json!({"AWS": "arn:aws:iam::111111111111:role/path/*"}),
                None,
            ),
            (json!({"AWS": "AROA2"}), None),
            (json!({"Service": "s3.amazonaws.com"}), None),
            (json!({"Federated": "*"}), None),
        ] {
            for named in [Named::Account, Named::Role, Named::Caller] {
                let truth = Truth::from(how == Some(named));
                assert_eq!(
                    caller.is_named(&principal, named),
                    truth,
                    "{principal} {named:?}"
                );
            }
        }
        let canonical = json!({"CanonicalUser": "79a5"});
        assert_eq!(
            caller.is_named(&canonical, Named::Account),
            Truth::Unknown(Cause::CanonicalUser)
        );
    }

    #[test]
    fn root_and_services_are_named_themselves() {
        let root = Caller::Root(Partition::Aws, "111111111111".parse().expect("an account"));
        let service = Caller::Service("s3.amazonaws.com".into());
        let names = json!({"AWS": ROOT, "Service": ["ec2.amazonaws.com", "s3.amazonaws.com"]});
        for caller in [root, service] {
            assert_eq!(caller.is_named(&names, Named::Caller), Truth::Yes);
            assert_eq!(caller.is_not_spared(&names), Truth::No);
            let others = json!({"AWS": "222222222222", "Service": "ec2.amazonaws.com"});
            assert_eq!(caller.is_named(&others, Named::Caller), Truth::No);
            assert_eq!(caller.is_not_spared(&others), Truth::Yes);
        }
    }

    #[test]
    fn not_principal_spares_only_who_is_listed_whole() {
        let unknown = Truth::Unknown(Cause::NotPrincipal);
        for (listed, denied) in [
            (json!({"AWS": [ROOT, ROLE, SESSION]}), Truth::No),
            (json!("*"), Truth::No),
            (json!({"AWS": [ROOT, ROLE]}), unknown),
            (json!({"AWS": ROLE}), Truth::Yes),
            (json!({"AWS": [ROLE, SESSION]}), Truth::Yes),
            (json!({"AWS": ROOT}), Truth::Yes),
            (
                json!({"AWS": [ROOT, "arn:aws:iam::111111111111:role/other"]}),
                Truth::Yes,
            ),
        ] {
            assert_eq!(
                session(Some(false)).is_not_spared(&listed),
                denied,
                "{listed}"
            );
            assert_eq!(
                session(Some(true)).is_not_spared(&listed),
                Truth::Yes,
                "{listed}"
            );
        }
        let whole = json!({"AWS": [ROOT, ROLE, SESSION]});
        assert_eq!(
            session(None).is_not_spared(&whole),
            Truth::Unknown(Cause::NotPrincipal)
        );
    }
}
