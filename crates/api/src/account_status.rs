//! The status of an `AWSAccount`. The doc comments are what `kubectl explain` prints.
#![allow(
    clippy::doc_markdown,
    clippy::doc_link_with_quotes,
    reason = "the comments are what `kubectl explain` prints"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The observed state of the account.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AwsAccountStatus {
    /// The generation of the spec that the status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready: the account can be reached, and it is the one in the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// ARN of the identity that the operator has in the account.
    #[serde(
        rename = "identityARN",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub identity_arn: Option<String>,
    /// How many BucketReplications name the account as source or destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_count: Option<i64>,
    /// Those BucketReplications, the first 100 by namespace and name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replications: Vec<Replication>,
    /// The shortest drift period that spec.requestsPerSecond allows for these BucketReplications, if it is set: drift checks take that long if it is longer
    /// than the operator's --drift-period. Example: 20m
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortest_drift_period: Option<String>,
    /// How many roles the operator created in the account for buckets that no BucketReplication names any longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orphaned_role_count: Option<i64>,
    /// ARNs of those roles, the first 100. The operator never deletes them.
    #[serde(
        rename = "orphanedRoleARNs",
        default,
        skip_serializing_if = "Vec::is_empty"
    )]
    pub orphaned_role_arns: Vec<String>,
}

/// A BucketReplication that names the account.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Replication {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its source bucket, if that is in the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_bucket: Option<String>,
    /// Its destination bucket, if that is in the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_bucket: Option<String>,
}
