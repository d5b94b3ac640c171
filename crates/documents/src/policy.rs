//! Policy documents of IAM, S3 and KMS: read, compared by meaning, and merged, so that unmanaged statements never change.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::{Map, Value, json};
use wildmatch::WildMatch;

use crate::names::{InstallationId, fingerprint};

/// Digits of each of the two fingerprints in a Sid: 40 bits, so that the 1,000 objects that a bucket can have do not collide by chance.
const DIGITS: usize = 10;

/// What one of the operator's statements is for. It is part of the Sid.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr, strum::EnumString,
)]
pub enum Purpose {
    /// The role may read the replication configuration and list the source bucket.
    SourceBucket,
    /// The role may read the source objects.
    SourceObjects,
    /// The role may decrypt with the source keys.
    SourceKeys,
    /// The role may write replicas: in its own policy, and in that of the destination bucket.
    Replicas,
    /// The role may encrypt with the replica key: in its own policy.
    ReplicaKey,
    /// The role may use the key: in the key's own policy.
    KeyUse,
}

/// The content of the Sid of one of the operator's statements: `Brepl<id><Purpose><owner><content>`, letters and digits only, as IAM requires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The installation that wrote the statement.
    pub installation: String,
    /// What the statement is for.
    pub purpose: Purpose,
    /// The fingerprint of the object or role that the statement is for.
    pub owner: String,
}

impl Mark {
    /// The content of `sid`, if it is the operator's.
    #[must_use]
    pub fn parse(sid: &str) -> Option<Self> {
        let rest = sid.strip_prefix("Brepl")?;
        let (rest, hashes) = rest.split_at_checked(rest.len().checked_sub(2 * DIGITS)?)?;
        let (installation, purpose) = rest.split_at(rest.find(|c: char| c.is_ascii_uppercase())?);
        let hexadecimal = hashes.bytes().all(|b| b.is_ascii_hexdigit());
        let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        if !hexadecimal || installation.is_empty() || !installation.bytes().all(lower) {
            return None;
        }
        Some(Self {
            installation: installation.into(),
            purpose: purpose.parse().ok()?,
            owner: hashes[..DIGITS].into(),
        })
    }

    /// The fingerprint that marks statements for `owner`.
    #[must_use]
    pub fn owner(owner: &str) -> String {
        fingerprint(&[owner], DIGITS)
    }
}

/// A statement, as the JSON object that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement(Value);

/// A condition block: operator, key, values.
pub type Conditions = Vec<(&'static str, String, Vec<String>)>;

impl Statement {
    /// One of the operator's statements that allows `actions`. The Sid includes a fingerprint of the content, so that the statements before and
    /// after an edit can both exist until the former one is no longer needed.
    #[must_use]
    pub fn allow(
        installation: &InstallationId,
        purpose: Purpose,
        owner: &str,
        principal: Option<&str>,
        actions: &[&str],
        resources: &[String],
        conditions: &Conditions,
    ) -> Self {
        let mut body = Map::new();
        body.insert("Effect".into(), json!("Allow"));
        if let Some(principal) = principal {
            body.insert("Principal".into(), json!({ "AWS": principal }));
        }
        body.insert("Action".into(), one_or_list(actions));
        body.insert("Resource".into(), one_or_list(resources));
        if !conditions.is_empty() {
            let mut block = Map::new();
            for (operator, key, values) in conditions {
                let keys = block.entry(*operator).or_insert_with(|| json!({}));
                keys[key] = one_or_list(values);
            }
            body.insert("Condition".into(), Value::Object(block));
        }
        let content = fingerprint(&[&Value::Object(body.clone()).to_string()], DIGITS);
        let purpose: &str = purpose.into();
        let mut statement = Map::new();
        statement.insert(
            "Sid".into(),
            json!(format!(
                "Brepl{installation}{purpose}{}{content}",
                Mark::owner(owner)
            )),
        );
        statement.extend(body);
        Self(Value::Object(statement))
    }

    /// The Sid, if there is one.
    #[must_use]
    pub fn sid(&self) -> Option<&str> {
        self.0.get("Sid")?.as_str()
    }

    /// The content of the Sid, if it is the operator's.
    #[must_use]
    pub fn mark(&self) -> Option<Mark> {
        self.sid().and_then(Mark::parse)
    }

    /// The content of the Sid, if it is of `installation`.
    #[must_use]
    pub fn mark_of(&self, installation: &InstallationId) -> Option<Mark> {
        self.mark()
            .filter(|mark| mark.installation == installation.as_str())
    }

    /// The statement as JSON.
    #[must_use]
    pub fn json(&self) -> &Value {
        &self.0
    }

    /// The strings of an element that may be a string or a list, such as `Action`.
    #[must_use]
    pub fn strings(&self, element: &str) -> Vec<&str> {
        strings(self.0.get(element).unwrap_or(&Value::Null))
    }

    /// The values of the condition `operator` on `key`.
    #[must_use]
    pub fn condition(&self, operator: &str, key: &str) -> Vec<&str> {
        self.0
            .get("Condition")
            .and_then(|c| c.get(operator))
            .and_then(|c| c.get(key))
            .map(strings)
            .unwrap_or_default()
    }

    /// The statement in a form that is equal for equal meanings: lists sorted, single strings as lists, actions in lower case.
    #[must_use]
    pub fn canonical(&self) -> Value {
        let Value::Object(statement) = &self.0 else {
            return self.0.clone();
        };
        let sorted: BTreeMap<_, _> = statement
            .iter()
            .map(|(element, value)| (element.clone(), canonical_element(element, value)))
            .collect();
        json!(sorted)
    }
}

fn one_or_list<T: AsRef<str>>(values: &[T]) -> Value {
    match values {
        [one] => json!(one.as_ref()),
        many => json!(many.iter().map(AsRef::as_ref).collect::<Vec<_>>()),
    }
}

fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    }
}

fn canonical_element(element: &str, value: &Value) -> Value {
    match element {
        "Action" | "NotAction" => sorted_list(value, str::to_ascii_lowercase),
        "Resource" | "NotResource" => sorted_list(value, ToOwned::to_owned),
        "Principal" | "NotPrincipal" => match value {
            Value::Object(kinds) => {
                let kinds: BTreeMap<_, _> = kinds
                    .iter()
                    .map(|(kind, who)| (kind, sorted_list(who, ToOwned::to_owned)))
                    .collect();
                json!(kinds)
            }
            other => other.clone(),
        },
        "Condition" => match value {
            Value::Object(operators) => {
                let operators: BTreeMap<_, _> = operators
                    .iter()
                    .map(|(operator, keys)| {
                        let keys: BTreeMap<_, _> = keys
                            .as_object()
                            .into_iter()
                            .flatten()
                            .map(|(key, values)| {
                                (
                                    key.to_ascii_lowercase(),
                                    sorted_list(values, ToOwned::to_owned),
                                )
                            })
                            .collect();
                        (operator, keys)
                    })
                    .collect();
                json!(operators)
            }
            other => other.clone(),
        },
        _ => value.clone(),
    }
}

fn sorted_list(value: &Value, normal: impl Fn(&str) -> String) -> Value {
    let items = match value {
        Value::Array(items) => items.clone(),
        one => vec![one.clone()],
    };
    let texts: BTreeSet<_> = items
        .iter()
        .map(|item| item.as_str().map_or_else(|| item.to_string(), &normal))
        .collect();
    json!(texts)
}

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

/// A policy document. Unmanaged statements are kept as they were read.
#[derive(Clone, Debug, PartialEq)]
pub struct Document(Map<String, Value>);

impl Default for Document {
    fn default() -> Self {
        let mut document = Map::new();
        document.insert("Version".into(), json!("2012-10-17"));
        document.insert("Statement".into(), json!([]));
        Self(document)
    }
}

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// When `text` is no JSON object.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text).map(Self)
    }

    /// A document of these statements.
    #[must_use]
    pub fn of(statements: impl IntoIterator<Item = Statement>) -> Self {
        let mut document = Self::default();
        document.0["Statement"] = statements
            .into_iter()
            .map(|statement| statement.0)
            .collect();
        document
    }

    /// The statements, in order.
    #[must_use]
    pub fn statements(&self) -> Vec<Statement> {
        match self.0.get("Statement") {
            Some(Value::Array(statements)) => statements.iter().cloned().map(Statement).collect(),
            Some(one) => vec![Statement(one.clone())],
            None => vec![],
        }
    }

    /// The statements that `installation` marked.
    #[must_use]
    pub fn ours(&self, installation: &InstallationId) -> Vec<Statement> {
        self.statements()
            .into_iter()
            .filter(|statement| statement.mark_of(installation).is_some())
            .collect()
    }

    /// This document with `wanted` in place of the statements for which `replaced` is true. Unmanaged statements keep their order and form; a
    /// wanted statement that already exists keeps its place, so that merging it again changes nothing.
    #[must_use]
    pub fn merged(&self, wanted: &[Statement], replaced: impl Fn(&Statement) -> bool) -> Self {
        let mut missing: Vec<&Statement> = wanted.iter().collect();
        let mut statements = vec![];
        for statement in self.statements() {
            if let Some(place) = missing
                .iter()
                .position(|wanted| wanted.sid() == statement.sid() && statement.sid().is_some())
            {
                let wanted = missing.remove(place);
                statements.push(if wanted.canonical() == statement.canonical() {
                    statement
                } else {
                    wanted.clone()
                });
            } else if !replaced(&statement) {
                statements.push(statement);
            }
        }
        statements.extend(missing.into_iter().cloned());
        let mut document = self.clone();
        document.0.insert(
            "Statement".into(),
            statements
                .into_iter()
                .map(|statement| statement.0)
                .collect(),
        );
        document
    }

    /// Whether the document has no statement.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.statements().is_empty()
    }

    /// Whether both mean the same, whatever the order and form of their statements.
    #[must_use]
    pub fn means(&self, other: &Self) -> bool {
        let canonical = |document: &Self| {
            let mut statements: Vec<_> = document
                .statements()
                .iter()
                .map(|statement| statement.canonical().to_string())
                .collect();
            statements.sort();
            statements
        };
        self.0.get("Version") == other.0.get("Version") && canonical(self) == canonical(other)
    }

    /// The document without white space, as it is sent and as AWS counts its length.
    #[must_use]
    pub fn compact(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }

    /// The document for people.
    #[must_use]
    pub fn pretty(&self) -> String {
        format!("{:#}", Value::Object(self.0.clone()))
    }

    /// The document as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// Whether statements outside of `ignored` allow all that `request` asks for. If true, that is certain: a statement with a condition that can't
    /// be evaluated does not count.
    #[must_use]
    pub fn allows(&self, request: &Request<'_>, ignored: impl Fn(&Statement) -> bool) -> bool {
        let statements = self.statements();
        request.actions.iter().all(|action| {
            statements.iter().any(|statement| {
                !ignored(statement)
                    && statement.0.get("Effect") == Some(&json!("Allow"))
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
    /// Whether a statement outside of `ignored` denies any of what `request` asks for. `context` has all that is known about such requests.
    #[must_use]
    pub fn denies(&self, request: &Request<'_>, ignored: impl Fn(&Statement) -> bool) -> Denial {
        let mut perhaps = Denial::No;
        let denies = |statement: &Statement| {
            !ignored(statement) && statement.0.get("Effect") == Some(&json!("Deny"))
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
        statement.0.get("Principal"),
        statement.0.get("NotPrincipal"),
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
    if statement.0.get(&not).is_some() {
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
    let Some(block) = statement.0.get("Condition") else {
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
    match statement.0.get("Principal") {
        None => principals.is_empty(),
        Some(Value::String(anyone)) => anyone == "*",
        Some(Value::Object(kinds)) => strings(kinds.get("AWS").unwrap_or(&Value::Null))
            .iter()
            .any(|named| *named == "*" || principals.iter().any(|p| p == named)),
        _ => false,
    }
}

fn holds(statement: &Statement, context: &BTreeMap<&'static str, String>) -> bool {
    let Some(block) = statement.0.get("Condition") else {
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

    fn id() -> InstallationId {
        "prod".parse().expect("an id")
    }

    fn ours(owner: &str, resource: &str) -> Statement {
        Statement::allow(
            &id(),
            Purpose::Replicas,
            owner,
            None,
            &["s3:ReplicateObject"],
            &[resource.to_owned()],
            &vec![],
        )
    }

    #[test]
    fn a_mark_is_read_back_from_the_sid() {
        let mark = ours("a/b", "*").mark().expect("a mark");
        assert_eq!(
            (mark.installation.as_str(), mark.purpose, mark.owner),
            ("prod", Purpose::Replicas, Mark::owner("a/b"))
        );
    }

    #[test]
    fn foreign_sids_are_no_marks() {
        for sid in [
            "",
            "Brepl",
            "AllowReplication",
            "Breplprod",
            "BreplprodReplicas",
            "BreplprodElsewhere0123456789abcdef0123",
            "BreplReplicas0123456789abcdef0123",
        ] {
            assert_eq!(Mark::parse(sid), None, "{sid}");
        }
    }

    #[test]
    fn one_installation_is_not_taken_for_another_whose_id_begins_alike() {
        let longer: InstallationId = "prod2".parse().expect("an id");
        assert!(ours("a/b", "*").mark_of(&longer).is_none());
    }

    #[test]
    fn meaning_ignores_order_lists_and_case_of_actions() {
        let a = Document::parse(
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:b","S3:A"],"Resource":"x","Condition":{"StringLike":{"K":["1","2"]}}}]}"#,
        );
        let b = Document::parse(
            r#"{"Version":"2012-10-17","Statement":{"Condition":{"StringLike":{"k":["2","1"]}},"Resource":["x"],"Action":["s3:a","s3:B"],"Effect":"Allow"}}"#,
        );
        assert!(a.expect("json").means(&b.expect("json")));
    }

    #[test]
    fn meaning_tells_resources_and_effects_apart() {
        let document = |effect: &str, resource: &str| {
            Document::parse(&format!(
                r#"{{"Statement":[{{"Effect":"{effect}","Action":"a","Resource":"{resource}"}}]}}"#
            ))
            .expect("json")
        };
        assert!(!document("Allow", "x").means(&document("Allow", "X")));
        assert!(!document("Allow", "x").means(&document("Deny", "x")));
    }

    #[test]
    fn merging_keeps_what_is_foreign_as_it_was() {
        let foreign = r#"{"Version":"2008-10-17","Id":"theirs","Statement":[{"Sid":"A","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"x"}]}"#;
        let existing = Document::parse(foreign).expect("json");
        let merged = existing.merged(&[ours("a/b", "y")], |_| false);
        assert_eq!(merged.statements().len(), 2);
        let back = merged.merged(&[], |statement| statement.mark_of(&id()).is_some());
        assert_eq!(back.compact(), foreign);
    }

    #[test]
    fn merging_what_stands_changes_nothing_and_what_was_altered_is_put_right() {
        let wanted = [ours("a/b", "y")];
        let existing = Document::default().merged(&wanted, |_| false);
        assert_eq!(existing.merged(&wanted, |_| true), existing);
        let altered = Document::parse(&existing.compact().replace("s3:ReplicateObject", "s3:*"))
            .expect("json");
        assert!(altered.merged(&wanted, |_| true).means(&existing));
    }

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
