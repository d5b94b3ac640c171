//! Whether a policy allows or denies a request, as far as that can be said for certain.

use std::{collections::BTreeMap, fmt};

use serde_json::{Value, json};
use wildmatch::WildMatch;

use crate::policy::{Document, Statement, strings};

/// A request that a policy is evaluated for: the caller, the actions, and the condition keys.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The forms of the caller as a principal: its ARN, its account's root ARN, its account ID. None for a policy without principals, such as those
    /// of IAM.
    pub principals: Vec<String>,
    /// All of these have to be allowed.
    pub actions: &'a [&'a str],
    /// The resource asked for.
    pub resource: String,
    /// Condition keys that are known for the request, in lower case.
    pub context: BTreeMap<&'static str, String>,
}

/// Whether a document denies something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// No statement does.
    No,
    /// A statement may: it has conditions that can't be evaluated, or covers a part of the resources.
    Perhaps(DenyingStatement),
    /// A statement does.
    Yes(DenyingStatement),
}

/// Which statement denies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DenyingStatement {
    /// Its Sid, if it has one.
    pub sid: Option<String>,
    /// How many statements come before it.
    pub position: usize,
}

impl fmt::Display for DenyingStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sid {
            Some(sid) => f.write_str(sid),
            None => write!(f, "number {} (no Sid)", self.position + 1),
        }
    }
}

impl Document {
    /// Whether statements outside of `ignored` allow all that `request` asks for. If true, that is certain: a statement with a condition that can't
    /// be evaluated does not count.
    #[must_use]
    pub fn allows(&self, request: &Request<'_>, ignored: impl Fn(&Statement) -> bool) -> bool {
        let statements = self.statements();
        request.actions.iter().all(|action| {
            statements.iter().any(|statement| {
                !ignored(statement)
                    && statement.json().get("Effect") == Some(&json!("Allow"))
                    && names_principal(statement, &request.principals)
                    && statement.strings("Action").iter().any(|pattern| {
                        matches(&pattern.to_ascii_lowercase(), &action.to_ascii_lowercase())
                    })
                    && statement
                        .strings("Resource")
                        .iter()
                        .any(|pattern| matches(pattern, &request.resource))
                    && holds(statement, &request.context)
            })
        })
    }

    /// Whether a statement outside of `ignored` denies any of what `request` asks for. `context` has all that is known about such requests.
    #[must_use]
    pub fn denies(&self, request: &Request<'_>, ignored: impl Fn(&Statement) -> bool) -> Denial {
        let mut perhaps = Denial::No;
        let denies = |statement: &Statement| {
            !ignored(statement) && statement.json().get("Effect") == Some(&json!("Deny"))
        };
        for (position, statement) in self
            .statements()
            .iter()
            .enumerate()
            .filter(|(_, statement)| denies(statement))
        {
            let parts = [
                Some(hits_principal(statement, &request.principals)),
                hits(statement, "Action", &|pattern| {
                    let matched = |action: &&str| {
                        matches(&pattern.to_ascii_lowercase(), &action.to_ascii_lowercase())
                    };
                    Some(request.actions.iter().any(matched))
                }),
                hits(statement, "Resource", &|pattern| {
                    covers(pattern, &request.resource)
                }),
                condition_holds(statement, &request.context),
            ];
            let denying = DenyingStatement {
                sid: statement
                    .sid()
                    .filter(|sid| !sid.is_empty())
                    .map(ToOwned::to_owned),
                position,
            };
            if parts.iter().all(|part| *part == Some(true)) {
                return Denial::Yes(denying);
            }
            if !parts.contains(&Some(false)) && perhaps == Denial::No {
                perhaps = Denial::Perhaps(denying);
            }
        }
        perhaps
    }
}

fn hits_principal(statement: &Statement, principals: &[String]) -> bool {
    let named = |value: &Value| match value {
        Value::String(anyone) => anyone == "*",
        Value::Object(kinds) => strings(kinds.get("AWS").unwrap_or(&Value::Null))
            .iter()
            .any(|named| *named == "*" || principals.iter().any(|p| p == named)),
        _ => false,
    };
    match (
        statement.json().get("Principal"),
        statement.json().get("NotPrincipal"),
    ) {
        (Some(principal), _) => named(principal),
        (None, Some(spared)) => !named(spared),
        (None, None) => true,
    }
}

/// Whether the element, or the one that begins with `Not`, matches by `test` of its patterns.
fn hits(statement: &Statement, element: &str, test: &dyn Fn(&str) -> Option<bool>) -> Option<bool> {
    let any = |patterns: Vec<&str>| {
        let answers: Vec<_> = patterns.into_iter().map(test).collect();
        if answers.contains(&Some(true)) {
            Some(true)
        } else if answers.contains(&None) {
            None
        } else {
            Some(false)
        }
    };
    let not = format!("Not{element}");
    if statement.json().get(&not).is_some() {
        any(statement.strings(&not)).map(|hit| !hit)
    } else {
        any(statement.strings(element))
    }
}

/// Whether `pattern` covers everything that `resource`, also a pattern, matches; `None` if it covers a part.
fn covers(pattern: &str, resource: &str) -> Option<bool> {
    if matches(pattern, resource) {
        return Some(true);
    }
    let fixed = |text: &str| {
        text.split(['*', '?', '$'])
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let (theirs, ours) = (fixed(pattern), fixed(resource));
    let overlap = if theirs == pattern {
        matches(resource, pattern)
    } else {
        theirs.starts_with(&ours) || ours.starts_with(&theirs)
    };
    if overlap && ours != resource {
        None
    } else {
        Some(false)
    }
}

/// Whether the statement's conditions are met; `None` if that is not known.
fn condition_holds(
    statement: &Statement,
    context: &BTreeMap<&'static str, String>,
) -> Option<bool> {
    let Some(block) = statement.json().get("Condition") else {
        return Some(true);
    };
    let operators = block.as_object()?;
    let mut all = Some(true);
    for (operator, keys) in operators {
        for (key, values) in keys.as_object().into_iter().flatten() {
            let expected = strings(values);
            let held = context
                .get(key.to_ascii_lowercase().as_str())
                .and_then(|actual| {
                    let equal = || expected.iter().any(|expected| expected == actual);
                    let like = || expected.iter().any(|expected| matches(expected, actual));
                    match operator.trim_end_matches("IfExists") {
                        "StringEquals" | "Bool" => Some(
                            equal()
                                || values
                                    .as_bool()
                                    .is_some_and(|value| value.to_string() == *actual),
                        ),
                        "StringNotEquals" => Some(!equal()),
                        "StringLike" | "ArnLike" | "ArnEquals" => Some(like()),
                        "StringNotLike" | "ArnNotLike" | "ArnNotEquals" => Some(!like()),
                        _ => None,
                    }
                });
            all = match (all, held) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (None, _) | (_, None) => None,
                _ => Some(true),
            };
        }
    }
    all
}

fn names_principal(statement: &Statement, principals: &[String]) -> bool {
    match statement.json().get("Principal") {
        None => principals.is_empty(),
        Some(Value::String(anyone)) => anyone == "*",
        Some(Value::Object(kinds)) => strings(kinds.get("AWS").unwrap_or(&Value::Null))
            .iter()
            .any(|named| *named == "*" || principals.iter().any(|p| p == named)),
        _ => false,
    }
}

fn holds(statement: &Statement, context: &BTreeMap<&'static str, String>) -> bool {
    let Some(block) = statement.json().get("Condition") else {
        return true;
    };
    let Some(operators) = block.as_object() else {
        return false;
    };
    operators.iter().all(|(operator, keys)| {
        keys.as_object().is_some_and(|keys| {
            keys.iter().all(|(key, values)| {
                let Some(actual) = context.get(key.to_ascii_lowercase().as_str()) else {
                    return false;
                };
                strings(values)
                    .iter()
                    .any(|expected| match operator.as_str() {
                        "StringEquals" | "StringEqualsIfExists" => expected == actual,
                        "StringLike" | "StringLikeIfExists" | "ArnLike" | "ArnEquals" => {
                            matches(expected, actual)
                        }
                        _ => false,
                    })
            })
        })
    })
}

fn matches(pattern: &str, text: &str) -> bool {
    WildMatch::new(pattern).matches(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_policy(statement: &str) -> bool {
        let request = Request {
            principals: vec![
                "arn:aws:iam::1:root".into(),
                "arn:aws:iam::1:role/r".into(),
                "1".into(),
            ],
            actions: &["kms:Encrypt", "kms:Decrypt"],
            resource: "arn:aws:kms:us-east-1:2:key/k".into(),
            context: [("kms:viaservice", "s3.us-east-1.amazonaws.com".to_owned())].into(),
        };
        Document::parse(&format!(r#"{{"Statement":[{statement}]}}"#))
            .expect("json")
            .allows(&request, |_| false)
    }

    fn stop() -> DenyingStatement {
        DenyingStatement {
            sid: Some("S".into()),
            position: 0,
        }
    }

    fn denial(statement: &str) -> Denial {
        let request = Request {
            principals: vec![
                "arn:aws:iam::1:role/r".into(),
                "arn:aws:iam::1:root".into(),
                "1".into(),
            ],
            actions: &["s3:ReplicateObject", "s3:ReplicateTags"],
            resource: "arn:aws:s3:::dest/Tax*".into(),
            context: [
                ("aws:securetransport", "true".to_owned()),
                ("aws:principalaccount", "1".to_owned()),
            ]
            .into(),
        };
        let all = r#""Sid":"S","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::dest/*""#;
        let text = format!(r#"{{"Statement":[{{{}}}]}}"#, statement.replace("ALL", all));
        Document::parse(&text)
            .expect("json")
            .denies(&request, |_| false)
    }

    #[test]
    fn a_policy_is_asked_what_it_denies() {
        for statement in [
            "ALL",
            r#""Sid":"S","Effect":"Deny","Principal":{"AWS":"1"},"Action":"s3:replicate*","Resource":["arn:aws:s3:::dest/Ta*"]"#,
            r#""Sid":"S","Effect":"Deny","NotPrincipal":{"AWS":["2"]},"NotAction":"s3:Get*","NotResource":"arn:aws:s3:::dest/Legal/*""#,
            r#"ALL,"Condition":{"StringNotEquals":{"aws:PrincipalAccount":["2"]}}"#,
            r#"ALL,"Condition":{"Bool":{"aws:SecureTransport":true}}"#,
        ] {
            assert_eq!(denial(statement), Denial::Yes(stop()), "{statement}");
        }
        for statement in [
            r#"ALL,"Condition":{"StringNotEquals":{"aws:PrincipalOrgID":"o-1"}}"#,
            r#""Sid":"S","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::dest/Tax/secret/*""#,
            r#""Sid":"S","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::dest/*.tmp""#,
        ] {
            assert_eq!(denial(statement), Denial::Perhaps(stop()), "{statement}");
        }
        for statement in [
            r#"ALL,"Condition":{"Bool":{"aws:SecureTransport":"false"}}"#,
            r#"ALL,"Condition":{"Bool":{"aws:SecureTransport":"false"},"StringNotEquals":{"aws:PrincipalOrgID":"o-1"}}"#,
            r#""Sid":"S","Effect":"Deny","Principal":{"AWS":"2"},"Action":"s3:*","Resource":"*""#,
            r#""Sid":"S","Effect":"Deny","NotPrincipal":{"AWS":["1"]},"Action":"s3:*","Resource":"*""#,
            r#""Sid":"S","Effect":"Deny","Principal":"*","Action":"s3:DeleteBucket","Resource":"*""#,
            r#""Sid":"S","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::dest""#,
            r#""Sid":"S","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::dest/Legal/*""#,
            r#""Sid":"S","Effect":"Deny","Principal":"*","Action":"s3:*","NotResource":"arn:aws:s3:::dest/*""#,
            r#""Sid":"S","Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*""#,
        ] {
            assert_eq!(denial(statement), Denial::No, "{statement}");
        }
    }

    #[test]
    fn a_key_policy_is_asked_what_it_allows_already() {
        assert!(key_policy(
            r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::1:root"},"Action":"kms:*","Resource":"*"}"#
        ));
        assert!(key_policy(
            r#"{"Effect":"Allow","Principal":{"AWS":["1"]},"Action":["kms:Enc*","kms:decrypt"],"Resource":"*","Condition":{"StringLike":{"kms:ViaService":"s3.*.amazonaws.com"}}}"#
        ));
        for not_enough in [
            r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::2:root"},"Action":"kms:*","Resource":"*"}"#,
            r#"{"Effect":"Allow","Principal":{"AWS":"1"},"Action":"kms:Encrypt","Resource":"*"}"#,
            r#"{"Effect":"Allow","Principal":{"AWS":"1"},"NotAction":"kms:Put*","Resource":"*"}"#,
            r#"{"Effect":"Allow","Principal":{"AWS":"1"},"Action":"kms:*","Resource":"*","Condition":{"StringEquals":{"kms:ViaService":"ec2.us-east-1.amazonaws.com"}}}"#,
            r#"{"Effect":"Allow","Principal":{"AWS":"1"},"Action":"kms:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"true"}}}"#,
            r#"{"Effect":"Allow","NotPrincipal":{"AWS":"9"},"Action":"kms:*","Resource":"*"}"#,
        ] {
            assert!(!key_policy(not_enough), "{not_enough}");
        }
    }
}
