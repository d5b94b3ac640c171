//! The status of a `BucketReplication`. The doc comments are what `kubectl explain` prints.
#![allow(
    clippy::doc_markdown,
    clippy::doc_link_with_quotes,
    reason = "the comments are what `kubectl explain` prints"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{condition::ConditionType, verification::VerificationStatus};

/// The observed state of the object. It never names another namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = pending()))]
pub struct BucketReplicationStatus {
    /// The generation of the spec that the status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What is True and what is not, with reason and message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The source bucket, as read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceStatus>,
    /// The destination bucket, as read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<DestinationStatus>,
    /// The role that S3 assumes.
    #[serde(rename = "roleARN", default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// How many rules of the object are in the replication configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_count: Option<i64>,
    /// The object's rules in the replication configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub rules: Vec<RuleStatus>,
    /// What would be done, one line for each step: in Observe mode, and if something on the bucket blocks the object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plan: Vec<String>,
    /// What owners of buckets and keys have to apply, ready to be copied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_actions: Vec<RequiredAction>,
    /// The last change by another writer that was corrected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
    /// The permissions that stay for a while after an edit, since S3 still replicates what was uploaded before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<DrainingStatus>,
    /// What canaries found, if spec.verification asks for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<VerificationStatus>,
}

impl BucketReplicationStatus {
    /// The condition `Ready`.
    #[must_use]
    pub fn ready(&self) -> Option<&Condition> {
        let mut conditions = self.conditions.iter();
        conditions.find(|condition| condition.type_ == ConditionType::Ready.as_str())
    }
}

/// The source bucket, as read.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// The account id.
    #[serde(rename = "accountID")]
    pub account_id: String,
    /// The bucket's Region.
    pub region: String,
    /// ARNs of the keys whose objects the role can read.
    #[serde(rename = "kmsKeyARNs", default, skip_serializing_if = "Vec::is_empty")]
    pub kms_key_arns: Vec<String>,
}

/// The destination bucket, as read.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DestinationStatus {
    /// The name of the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// The account id.
    #[serde(rename = "accountID")]
    pub account_id: String,
    /// The bucket's Region, if it can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// ARN of the key that encrypts the replicas.
    #[serde(rename = "kmsKeyARN", default, skip_serializing_if = "Option::is_none")]
    pub kms_key_arn: Option<String>,
}

/// A rule in the replication configuration.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RuleStatus {
    /// The name in the spec.
    pub name: String,
    /// The ID in S3.
    pub id: String,
    /// The priority in S3.
    pub priority: i32,
}

/// A statement that the owner of a bucket or key has to apply.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RequiredAction {
    /// The policy, such as "policy of bucket finance-records-dr".
    pub document: String,
    /// The account whose owner has to act.
    #[serde(rename = "accountID")]
    pub account_id: String,
    /// The statement, as JSON.
    pub statement: String,
    /// How to apply it with the AWS CLI.
    pub command: String,
}

/// A change by another writer that was corrected.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// When the change was last found.
    pub last_seen_time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time,
    /// The steps that corrected it.
    pub correction: String,
}

/// Permissions of former rules, which stay for the operator's drain period.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DrainingStatus {
    /// Since when no rule needs them.
    pub start_time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time,
    /// The former destinations. Only listed if others create the role, whose policies do not name them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<DrainingBucket>,
    /// ARNs of the former keys. Only listed if others create the role, whose policies do not name them.
    #[serde(rename = "kmsKeyARNs", default, skip_serializing_if = "Vec::is_empty")]
    pub kms_key_arns: Vec<String>,
}

/// A former destination.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DrainingBucket {
    /// The name of the bucket.
    pub bucket: String,
    /// The account id.
    #[serde(rename = "accountID")]
    pub account_id: String,
}

/// The status of an object that the operator has not read, because tools that follow kstatus take an object without status for ready.
fn pending() -> serde_json::Value {
    let conditions: Vec<_> = super::condition::ConditionType::PERSISTENT
        .iter()
        .map(|kind| {
            serde_json::json!({
                "type": kind.as_str(),
                "status": "Unknown",
                "reason": "Pending",
                "message": "the operator has not read the object yet",
                "lastTransitionTime": "1970-01-01T00:00:00Z",
            })
        })
        .collect();
    serde_json::json!({ "conditions": conditions })
}
