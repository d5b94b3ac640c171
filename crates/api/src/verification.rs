//! How replication is verified, and what was found. The doc comments are what `kubectl explain` prints.
#![allow(
    clippy::doc_markdown,
    clippy::doc_link_with_quotes,
    reason = "the comments are what `kubectl explain` prints"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    bucket_replication::BucketReplicationStatus, condition::ConditionType,
    duration::quarter_of_an_hour,
};

/// How the operator verifies that S3 replicates.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// Small objects that the operator uploads to the source bucket, under the prefix of each rule, finds in the destination bucket, and removes from both. A grant of both AWSAccounts has to allow Canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// The replication latency from which on the condition Healthy is False, 1m to 168h; by default, latency is only shown. It needs metrics: Enabled, and an AWSAccount of the source with replicationMetrics. Example: 1h
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]{1,4}[hms]){1,3}$"))]
    #[x_kube(validation = ("duration(self) >= duration('1m') && duration(self) <= duration('168h')", "maxLatency is not between 1m and 168h"))]
    pub max_latency: Option<String>,
}

/// When canaries are uploaded, and how long they may take.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("duration(self.interval) >= duration('5m') && duration(self.interval) <= duration('168h')", "interval is not between 5m and 168h"),
    validation = ("duration(self.timeout) >= duration('1m') && duration(self.timeout) <= duration(self.interval)", "timeout is not between 1m and the interval")
)]
pub struct Canary {
    /// The time between two canaries of a rule, 5m to 168h. Example: 6h
    #[serde(default = "hourly")]
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]{1,4}[hms]){1,3}$"))]
    pub interval: String,
    /// The time after which a canary that S3 has not replicated is reported, 1m to the interval. S3 replicates most objects within 15 minutes. Example: 30m
    #[serde(default = "quarter_of_an_hour")]
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]{1,4}[hms]){1,3}$"))]
    pub timeout: String,
}

fn hourly() -> String {
    "1h".into()
}

/// What canaries found.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VerificationStatus {
    /// When the last canaries were uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_canary_time: Option<Time>,
    /// The generation of the spec for which they were uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_generation: Option<i64>,
    /// When S3 was last found to have replicated the canary of every rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_verified_time: Option<Time>,
    /// How long S3 took for the slowest of them, by the operator's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<String>,
    /// The value of the annotation bucketops.dev/verify for which canaries were last uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_request: Option<String>,
    /// The canaries that may exist in the buckets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub canaries: Vec<CanaryStatus>,
}

/// A canary that may exist in the buckets.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CanaryStatus {
    /// The name of the rule.
    pub rule: String,
    /// The key of the object.
    pub key_name: String,
    /// The source bucket's Region.
    pub source_region: String,
    /// The name of the destination bucket.
    pub destination_bucket: String,
    /// The account id of the destination bucket.
    #[serde(rename = "destinationAccountID")]
    pub destination_account_id: String,
    /// The destination bucket's Region.
    pub destination_region: String,
}

/// The part of a status that verification writes, as a field manager of its own.
#[derive(Serialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// The condition `Verified`, if there is one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// What canaries found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<VerificationStatus>,
}

impl Verified {
    /// The condition.
    #[must_use]
    pub fn condition(&self) -> Option<&Condition> {
        self.conditions.first()
    }

    /// The canaries that may exist.
    #[must_use]
    pub fn canaries(&self) -> &[CanaryStatus] {
        let verification = self.verification.as_ref();
        verification.map_or(&[], |verification| &verification.canaries)
    }

    /// Whether a status has such a part.
    #[must_use]
    pub fn is_part_of(status: &BucketReplicationStatus) -> bool {
        status.verification.is_some() || status.conditions.iter().any(is_verified)
    }

    /// Takes its part out of a status, and drops that of metrics: what is left is the part that visits write.
    pub fn take(status: &mut BucketReplicationStatus) -> Self {
        let (own, mut others): (_, Vec<_>) = std::mem::take(&mut status.conditions)
            .into_iter()
            .partition(is_verified);
        others.retain(|condition| !is_healthy(condition));
        status.conditions = others;
        Self {
            conditions: own,
            verification: status.verification.take(),
        }
    }
}

/// The part of a status that is written by what S3's metrics say, as a field manager of its own.
#[derive(Serialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// The condition `Healthy`, if there is one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl Health {
    /// That of a status.
    #[must_use]
    pub fn of(status: &BucketReplicationStatus) -> Self {
        let conditions = status.conditions.iter();
        Self {
            conditions: conditions
                .filter(|condition| is_healthy(condition))
                .cloned()
                .collect(),
        }
    }

    /// The condition.
    #[must_use]
    pub fn condition(&self) -> Option<&Condition> {
        self.conditions.first()
    }
}

fn is_healthy(condition: &Condition) -> bool {
    condition.type_ == ConditionType::Healthy.as_str()
}

fn is_verified(condition: &Condition) -> bool {
    condition.type_ == ConditionType::Verified.as_str()
}
