//! Policy documents of IAM, S3 and KMS: read, compared by meaning, and merged, so that unmanaged statements never change.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::canonical::canonical_element;
use crate::grantee::{Grantee, LIKE, OwnRoles, PRINCIPAL};
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
        grantee: Option<&Grantee>,
        actions: &[&str],
        resources: &[String],
        conditions: &Conditions,
    ) -> Self {
        let mut body = Map::new();
        body.insert("Effect".into(), json!("Allow"));
        if let Some(grantee) = grantee {
            body.insert("Principal".into(), json!({ "AWS": grantee.principal() }));
        }
        body.insert("Action".into(), one_or_list(actions));
        body.insert("Resource".into(), one_or_list(resources));
        let of_grantee = grantee.and_then(Grantee::condition);
        let mut block = Map::new();
        for (operator, key, values) in of_grantee.iter().chain(conditions) {
            let keys = block.entry(*operator).or_insert_with(|| json!({}));
            keys[key] = one_or_list(values);
        }
        if !block.is_empty() {
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

    /// The unique ID of a principal that was deleted: a policy shows it in place of the ARN ("Principal" in the IAM User Guide).
    #[must_use]
    pub fn deleted_principal(&self) -> Option<String> {
        let named = ["Principal", "NotPrincipal"].into_iter();
        let mut named = named.filter_map(|element| self.0.get(element)?.get("AWS"));
        let is_id = |name: &&str| {
            name.len() >= 16
                && ["AROA", "AIDA"]
                    .iter()
                    .any(|prefix| name.starts_with(prefix))
                && name
                    .bytes()
                    .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        };
        named.find_map(|names| {
            let several = names.as_array().into_iter().flatten();
            let mut all = several.chain([names]).filter_map(Value::as_str);
            all.find(is_id).map(ToOwned::to_owned)
        })
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

    /// The roles that the statement is for, if `installation` wrote it for all of its roles in an account.
    #[must_use]
    pub fn own_roles(&self, installation: &InstallationId) -> Option<OwnRoles> {
        self.mark_of(installation)?;
        match self.condition(LIKE, PRINCIPAL)[..] {
            [pattern] => OwnRoles::of_pattern(pattern, installation),
            _ => None,
        }
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

pub(crate) fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    }
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

    /// The version of the policy language, if the document has one.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.0.get("Version")?.as_str()
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
        self.version() == other.version() && self.canonical() == other.canonical()
    }

    /// The statements in one form and order, equal for those that mean the same.
    #[must_use]
    pub fn canonical(&self) -> Vec<String> {
        let statements = self.statements();
        let mut texts: Vec<_> = statements
            .iter()
            .map(|statement| statement.canonical().to_string())
            .collect();
        texts.sort();
        texts
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arns::RoleArn;

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
    fn the_roles_that_a_statement_is_for_are_read_back_from_it() {
        let role: RoleArn = "arn:aws:iam::111111111111:role/teams/brepl-prod-bucket-0123abcd"
            .parse()
            .expect("a role");
        let statement = |grantee: &Grantee| {
            let (actions, resources) = (["s3:ReplicateObject"], ["*".to_owned()]);
            let (purpose, owner) = (Purpose::Replicas, "111111111111");
            Statement::allow(
                &id(),
                purpose,
                owner,
                Some(grantee),
                &actions,
                &resources,
                &vec![],
            )
        };
        let roles = OwnRoles::with(&role, &id());
        let of_account = statement(&Grantee::Roles(roles.clone()));
        assert_eq!(
            (
                &of_account.json()["Principal"]["AWS"],
                &of_account.json()["Condition"]["ArnLike"]["aws:PrincipalArn"]
            ),
            (
                &json!("arn:aws:iam::111111111111:root"),
                &json!("arn:aws:iam::111111111111:role/teams/brepl-prod-*")
            )
        );
        assert_eq!(of_account.own_roles(&id()), Some(roles));
        let other = "prod2".parse().expect("an id");
        assert_eq!(of_account.own_roles(&other), None);
        assert_eq!(statement(&Grantee::Role(role)).own_roles(&id()), None);
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
}
