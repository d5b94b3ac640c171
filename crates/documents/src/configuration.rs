//! The replication configuration of a source bucket, in the shape of `aws s3api put-bucket-replication --replication-configuration`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::arns::{BucketArn, RoleArn};

pub use crate::rule_mark::RuleMark;

/// `ReplicationConfiguration` of the S3 API: a bucket has one, and a PUT replaces all of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Configuration {
    /// ARN of the role that S3 assumes, one for all rules.
    pub role: String,
    /// At most 1,000 rules.
    pub rules: Vec<ReplicationRule>,
}

/// `ReplicationRule` of the S3 API. Every element is kept, so that an unmanaged rule is written back as it was read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReplicationRule {
    /// At most 255 characters, unique in the configuration.
    #[serde(rename = "ID", default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Of rules with the same destination bucket, the one with the higher number wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Only in rules of the earlier schema, V1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// In every rule of the schema V2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// Whether the rule is enabled.
    pub status: Status,
    /// What else is selected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_selection_criteria: Option<SourceSelectionCriteria>,
    /// No longer accepted by S3, but found in earlier configurations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing_object_replication: Option<Setting>,
    /// The destination.
    pub destination: RuleDestination,
    /// Whether delete markers are replicated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_marker_replication: Option<Setting>,
}

/// `Enabled` or `Disabled`.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumString,
)]
#[allow(missing_docs, reason = "they are AWS's own words")]
pub enum Status {
    #[default]
    Enabled,
    Disabled,
}

impl From<bool> for Status {
    fn from(enabled: bool) -> Self {
        if enabled {
            Self::Enabled
        } else {
            Self::Disabled
        }
    }
}

/// An element that holds only a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Setting {
    /// Whether it is enabled.
    pub status: Status,
}

impl Setting {
    /// Enabled or disabled.
    #[must_use]
    pub fn new(enabled: bool) -> Self {
        Self {
            status: enabled.into(),
        }
    }
}

/// `ReplicationRuleFilter`: nothing, a prefix, a tag, or several of them in `And`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Filter {
    /// The prefix of the object keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// One tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
    /// A prefix and tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub and: Option<And>,
}

impl Filter {
    /// The filter for a prefix and tags, in the form that S3 accepts for them.
    #[must_use]
    pub fn new(prefix: &str, tags: Vec<Tag>) -> Self {
        let prefix = Some(prefix.to_owned());
        match (tags.len(), prefix.as_deref()) {
            (0, _) => Self {
                prefix,
                ..Self::default()
            },
            (1, Some("")) => Self {
                tag: tags.into_iter().next(),
                ..Self::default()
            },
            (_, Some("")) => Self {
                and: Some(And { prefix: None, tags }),
                ..Self::default()
            },
            _ => Self {
                and: Some(And { prefix, tags }),
                ..Self::default()
            },
        }
    }

    /// The prefix, in either form; empty if there is none.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.prefix
            .as_deref()
            .or(self.and.as_ref().and_then(|and| and.prefix.as_deref()))
            .unwrap_or_default()
    }

    /// The tags, in either form, sorted.
    #[must_use]
    pub fn tags(&self) -> Vec<&Tag> {
        let mut tags: Vec<_> = self
            .tag
            .iter()
            .chain(self.and.iter().flat_map(|and| &and.tags))
            .collect();
        tags.sort();
        tags
    }
}

/// Several conditions of a filter, all of which have to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct And {
    /// The prefix of the object keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The tags.
    #[serde(default)]
    pub tags: Vec<Tag>,
}

/// A tag of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// What is selected in addition to the filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SourceSelectionCriteria {
    /// Whether SSE-KMS (and DSSE-KMS) objects are replicated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sse_kms_encrypted_objects: Option<Setting>,
    /// Whether changes on replicas are replicated back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica_modifications: Option<Setting>,
}

/// `Destination` of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RuleDestination {
    /// ARN of the bucket.
    pub bucket: String,
    /// The account that owns the bucket. S3 refuses a bucket of that name in another account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The storage class of replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// Who owns the replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_control_translation: Option<AccessControlTranslation>,
    /// What encrypts the replicas of SSE-KMS objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption_configuration: Option<EncryptionConfiguration>,
    /// Replication Time Control.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_time: Option<ReplicationTime>,
    /// Metrics and failure events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
}

/// Who owns the replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AccessControlTranslation {
    /// `Destination`, the only value that S3 accepts.
    pub owner: String,
}

/// What encrypts the replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct EncryptionConfiguration {
    /// ARN of the key.
    #[serde(
        rename = "ReplicaKmsKeyID",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub replica_kms_key_id: Option<String>,
}

/// Replication Time Control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReplicationTime {
    /// Whether it is enabled.
    pub status: Status,
    /// 15 minutes, the only value that S3 accepts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Minutes>,
}

/// Metrics and failure events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Metrics {
    /// Whether they are on.
    pub status: Status,
    /// 15 minutes with Replication Time Control, otherwise absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_threshold: Option<Minutes>,
}

/// A time in minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Minutes {
    /// How many.
    pub minutes: i32,
}

impl Configuration {
    /// The bytes of the configuration as XML, which is how it is sent.
    #[must_use]
    pub fn length(&self) -> usize {
        xml_length("ReplicationConfiguration", &serde_json::json!(self))
    }

    /// The role, if that is the ARN of one: S3 accepts others too.
    #[must_use]
    pub fn role_arn(&self) -> Option<RoleArn> {
        self.role.parse().ok()
    }

    /// Whether an enabled rule replicates changes on replicas to the bucket with that ARN.
    #[must_use]
    pub fn syncs_to(&self, bucket: &BucketArn) -> bool {
        let bucket = bucket.to_string();
        let syncs = |rule: &ReplicationRule| {
            let modifications = rule
                .source_selection_criteria
                .as_ref()
                .and_then(|criteria| criteria.replica_modifications);
            rule.status == Status::Enabled && modifications == Some(Setting::new(true))
        };
        self.rules
            .iter()
            .any(|rule| rule.destination.bucket == bucket && syncs(rule))
    }

    /// Whether both mean the same, whatever the order of their rules.
    #[must_use]
    pub fn means(&self, other: &Self) -> bool {
        self.role == other.role
            && self.rules.len() == other.rules.len()
            && self
                .rules
                .iter()
                .all(|rule| other.rules.iter().any(|candidate| rule.means(candidate)))
            && other
                .rules
                .iter()
                .all(|rule| self.rules.iter().any(|candidate| rule.means(candidate)))
    }
}

fn xml_length(name: &str, value: &Value) -> usize {
    let within = |length: usize| "<></>".len() + 2 * name.len() + length;
    match value {
        Value::Object(fields) => within(
            fields
                .iter()
                .map(|(name, value)| xml_length(name, value))
                .sum(),
        ),
        // A list is a sequence of elements with the same name.
        Value::Array(items) => items
            .iter()
            .map(|item| xml_length(name.strip_suffix('s').unwrap_or(name), item))
            .sum(),
        Value::String(text) => within(text.chars().map(escaped_length).sum()),
        other => within(other.to_string().len()),
    }
}

fn escaped_length(character: char) -> usize {
    match character {
        '&' => "&amp;".len(),
        '<' | '>' => "&lt;".len(),
        '"' | '\'' => "&quot;".len(),
        other => other.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{InstallationId, ObjectKey};

    fn id() -> InstallationId {
        "prod".parse().expect("an id")
    }

    fn rule(prefix: &str, tags: &[(&str, &str)]) -> ReplicationRule {
        let tags = tags
            .iter()
            .map(|(key, value)| Tag {
                key: (*key).into(),
                value: (*value).into(),
            })
            .collect();
        ReplicationRule {
            filter: Some(Filter::new(prefix, tags)),
            ..ReplicationRule::default()
        }
    }

    #[test]
    fn a_rule_id_says_whose_it_is() {
        for retained in [false, true] {
            let mark = RuleMark {
                object: ObjectKey {
                    namespace: "finance".into(),
                    name: "tax".into(),
                },
                rule: "all".into(),
                retained,
            };
            let named = ReplicationRule {
                id: Some(mark.id(&id())),
                ..ReplicationRule::default()
            };
            assert_eq!(named.mark(&id()), Some(mark));
        }
        for foreign in [
            "",
            "tax",
            "other/finance/tax/all",
            "prod/a/b",
            "prod/a/b/c/d",
            "retained/x",
        ] {
            assert_eq!(
                ReplicationRule {
                    id: Some(foreign.into()),
                    ..ReplicationRule::default()
                }
                .mark(&id()),
                None,
                "{foreign}"
            );
        }
    }

    #[test]
    fn a_filter_takes_the_form_that_s3_wants() {
        let json = |rule: ReplicationRule| serde_json::to_string(&rule.filter).expect("json");
        assert_eq!(json(rule("", &[])), r#"{"Prefix":""}"#);
        assert_eq!(json(rule("Tax", &[])), r#"{"Prefix":"Tax"}"#);
        assert_eq!(
            json(rule("", &[("a", "1")])),
            r#"{"Tag":{"Key":"a","Value":"1"}}"#
        );
        assert_eq!(
            json(rule("Tax", &[("a", "1")])),
            r#"{"And":{"Prefix":"Tax","Tags":[{"Key":"a","Value":"1"}]}}"#
        );
    }

    #[test]
    fn empty_filter_and_empty_prefix_mean_the_same_but_no_filter_is_another_schema() {
        let empty = ReplicationRule {
            filter: Some(Filter::default()),
            ..ReplicationRule::default()
        };
        assert!(empty.means(&rule("", &[])));
        assert!(!ReplicationRule::default().means(&empty));
    }

    #[test]
    fn length_is_that_of_the_xml() {
        let configuration = Configuration {
            role: "r&r".into(),
            rules: vec![rule("é", &[("a", "1"), ("b", "")])],
        };
        let xml = "<ReplicationConfiguration><Role>r&amp;r</Role><Rule><Filter><And><Prefix>é</Prefix><Tag><Key>a</Key><Value>1</Value></Tag><Tag><Key>b</Key><Value></Value></Tag></And></Filter><Status>Enabled</Status><Destination><Bucket></Bucket></Destination></Rule></ReplicationConfiguration>";
        assert_eq!(configuration.length(), xml.len());
    }

    #[test]
    fn overlap() {
        assert!(rule("Tax", &[]).overlaps(&rule("", &[])));
        assert!(rule("Tax/2024", &[]).overlaps(&rule("Tax", &[("a", "1")])));
        assert!(!rule("Tax", &[]).overlaps(&rule("Legal", &[])));
        assert!(!rule("", &[("a", "1")]).overlaps(&rule("", &[("a", "2")])));
    }
}
