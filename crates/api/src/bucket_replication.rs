//! `BucketReplication`: one source bucket replicated to one destination bucket. The doc comments are what `kubectl explain` prints.
#![allow(
    clippy::doc_markdown,
    clippy::doc_link_with_quotes,
    reason = "the comments are what `kubectl explain` prints"
)]

use std::collections::{BTreeMap, BTreeSet};

use kube::{CustomResource, KubeSchema, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::replication_status::{
    BucketReplicationStatus, DestinationStatus, DrainingBucket, DrainingStatus, Drift,
    RequiredAction, RuleStatus, SourceStatus,
};
use crate::verification::Verification;

/// What S3 replicates.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "bucketops.dev",
    version = "v1alpha1",
    kind = "BucketReplication",
    plural = "bucketreplications",
    singular = "bucketreplication",
    shortname = "brepl",
    category = "aws",
    namespaced,
    status = "BucketReplicationStatus",
    derive = "PartialEq",
    doc = "Makes Amazon S3 replicate a bucket to another one, SSE-KMS objects included, within one AWS account or across two.",
    selectable = ".spec.source.bucket",
    validation = ("size(self.metadata.name) <= 63", "metadata.name has at most 63 characters"),
    printcolumn(name = "Source", type_ = "string", json_path = ".spec.source.bucket"),
    printcolumn(name = "Destination", type_ = "string", json_path = ".spec.destination.bucket"),
    printcolumn(name = "Rules", type_ = "integer", json_path = ".status.ruleCount"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Role", type_ = "string", json_path = ".status.roleARN", priority = 1),
    printcolumn(name = "Key", type_ = "string", json_path = ".status.destination.kmsKeyARN", priority = 1),
    printcolumn(name = "Verified", type_ = "string", json_path = ".status.conditions[?(@.type==\"Verified\")].status", priority = 1),
    printcolumn(name = "Lag", type_ = "string", json_path = ".status.verification.lag", priority = 1),
    printcolumn(name = "Healthy", type_ = "string", json_path = ".status.conditions[?(@.type==\"Healthy\")].status", priority = 1),
    printcolumn(name = "Last-Drift", type_ = "date", json_path = ".status.drift.lastSeenTime", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("self.source.bucket != self.destination.bucket", "destination.bucket is the source bucket: replicate to another bucket"),
    validation = ("!has(self.replicationTimeControl) || self.replicationTimeControl != 'Enabled' || !has(self.metrics) || self.metrics == 'Enabled'", "replicationTimeControl needs metrics: Enabled"),
    validation = ("!has(self.destination.kmsKey) || !has(self.source.sseKMSObjects) || self.source.sseKMSObjects != 'Skip'", "destination.kmsKey has no use if source.sseKMSObjects is Skip: remove one of them"),
    validation = ("!has(self.source.kmsKeys) || self.source.kmsKeys.all(key, !key.startsWith('arn:') || self.source.kmsKeys.all(other, !other.startsWith('arn:') || key.split(':')[3] == other.split(':')[3]))", "source.kmsKeys are in different Regions: S3 uses only keys of the bucket's own Region"),
    validation = ("!has(self.source.kmsKeys) || has(self.destination.kmsKey)", "source.kmsKeys need destination.kmsKey, the key that encrypts the replicas"),
    validation = ("self.source.accountName == self.destination.accountName || !has(self.destination.kmsKey) || !self.destination.kmsKey.endsWith('alias/aws/s3')", "destination.kmsKey is alias/aws/s3, which can't be used across accounts: name a customer managed key")
)]
pub struct BucketReplicationSpec {
    /// The bucket to replicate from.
    pub source: Source,
    /// The bucket to replicate to.
    pub destination: Destination,
    /// Which objects are replicated; by default, all of them. A rule selects objects by prefix and tags. Example: [{"name": "tax", "prefix": "Tax"}]
    #[serde(default = "whole_bucket")]
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub rules: Vec<RuleSpec>,
    /// Sync: changes to tags, ACLs and Object Lock settings that are made on replicas are replicated back. Ignore: they are not. For two-way replication, set Sync on both sides.
    #[serde(default)]
    pub replica_modifications: ReplicaModifications,
    /// Enabled: adds S3 Replication Time Control, which replicates within 15 minutes under an SLA of AWS, at a price. It needs metrics: Enabled. Disabled: replicates without it.
    #[serde(default = "disabled")]
    pub replication_time_control: Switch,
    /// Enabled: S3 publishes replication metrics and failure events of the rules, which are billed as CloudWatch custom metrics. Disabled: it does not.
    #[serde(default)]
    pub metrics: Switch,
    /// Require: both buckets must already have versioning enabled. Enable: the operator enables it if grants of both accounts allow EnableVersioning. Versioning can't be disabled again, only suspended.
    #[serde(default)]
    pub versioning: Versioning,
    /// What to do if the source bucket already has a replication configuration with a role that the operator does not manage. Refuse: change nothing and report it. Merge: keep that role and its rules, and add the object's rules to the configuration and their permissions to the role; the source's AWSAccount has to list the role in roles.mergeableRoleARNs, and a grant has to allow MergeConfiguration.
    #[serde(default)]
    pub existing_configuration: ExistingConfiguration,
    /// Enforce: apply the spec. Observe: write nothing, and show in status.plan what would be done. Paused: read and write nothing. Deletion works in every mode.
    #[serde(default)]
    pub mode: Mode,
    /// How the operator verifies that S3 replicates. By default, it does not, and reads and writes no objects. Example: {"canary": {"interval": "1h"}}
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// What happens to rules, role and statements when the object is deleted. Delete: they are removed. Retain: they stay in effect; a grant of the source's AWSAccount has to allow Retain.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

impl BucketReplication {
    /// IDs of unmanaged rules that the object takes over, from its annotation: separated by commas, or a JSON array, in which an ID may have commas
    /// and spaces at its ends as S3 allows them.
    #[must_use]
    pub fn take_over(&self) -> BTreeSet<String> {
        let Some(named) = self.annotations().get(super::TAKE_OVER) else {
            return BTreeSet::new();
        };
        if let Ok(ids) = serde_json::from_str(named) {
            return ids;
        }
        let ids = named.split(',').map(str::trim);
        ids.filter(|id| !id.is_empty())
            .map(ToOwned::to_owned)
            .collect()
    }

    /// Whether its annotation asks to release it although its resources can't be removed.
    #[must_use]
    pub fn asks_to_abandon(&self) -> bool {
        let asked = self.annotations().get(super::ABANDON);
        asked.is_some_and(|value| value == "true")
    }

    /// Whether it has the operator's finalizer.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let mut finalizers = self.finalizers().iter();
        finalizers.any(|finalizer| finalizer == super::FINALIZER)
    }
}

/// The bucket to replicate from.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Name of the AWSAccount that owns the bucket. It can't be changed. Example: finance-prod
    #[x_kube(validation = ("self == oldSelf", "source.accountName can't be changed: create another object"))]
    #[schemars(length(min = 1, max = 253))]
    pub account_name: String,
    /// Name of a general purpose bucket. It can't be changed. Example: finance-records
    #[x_kube(validation = ("self == oldSelf", "source.bucket can't be changed: create another object"))]
    #[schemars(
        length(min = 3, max = 63),
        regex(pattern = r"^[a-z0-9][a-z0-9.-]+[a-z0-9]$")
    )]
    pub bucket: String,
    /// The KMS keys that encrypt objects of the bucket, as key ARN, alias ARN, or alias/NAME in the bucket's account and Region; by default, the key of the bucket's default encryption. Example: ["arn:aws:kms:us-east-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab"]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 20),
        inner(
            length(max = 320),
            regex(
                pattern = r"^(arn:aws(-cn|-us-gov)?:kms:[a-z]{2,}(-[a-z]{2,})+-[0-9]:[0-9]{12}:(key/[A-Za-z0-9-]+|alias/[A-Za-z0-9/_-]+)|alias/[A-Za-z0-9/_-]+)$"
            )
        )
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub kms_keys: Option<Vec<String>>,
    /// Replicate: SSE-KMS objects are replicated, which needs destination.kmsKey. Skip: they are not replicated.
    #[serde(rename = "sseKMSObjects", default)]
    pub sse_kms_objects: SseKmsObjects,
}

/// The bucket to replicate to.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// Name of the AWSAccount that owns the bucket. It can be the source's. Example: finance-dr
    #[schemars(length(min = 1, max = 253))]
    pub account_name: String,
    /// Name of a general purpose bucket in any Region. Example: finance-records-dr
    #[schemars(
        length(min = 3, max = 63),
        regex(pattern = r"^[a-z0-9][a-z0-9.-]+[a-z0-9]$")
    )]
    pub bucket: String,
    /// The KMS key that encrypts the replicas, as key ARN, alias ARN, or alias/NAME in the bucket's account and Region. It must be in the bucket's Region. It is required to replicate SSE-KMS objects. Example: arn:aws:kms:us-west-2:222222222222:key/1234abcd-12ab-34cd-56ef-1234567890ab
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 320),
        regex(
            pattern = r"^(arn:aws(-cn|-us-gov)?:kms:[a-z]{2,}(-[a-z]{2,})+-[0-9]:[0-9]{12}:(key/[A-Za-z0-9-]+|alias/[A-Za-z0-9/_-]+)|alias/[A-Za-z0-9/_-]+)$"
        )
    )]
    pub kms_key: Option<String>,
    /// The storage class of the replicas; by default, the class of the source object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<StorageClass>,
    /// Who owns the replicas. Destination: the destination bucket's owner. Source: the source object's owner. If it is not set, the Object Ownership setting of the destination bucket decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
}

/// Which objects are replicated, and how.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.tags) || size(self.tags) == 0 || !has(self.deleteMarkers) || self.deleteMarkers != 'Replicate'", "deleteMarkers: Replicate can't be used with tags: S3 does not replicate delete markers for rules that filter by tag"))]
pub struct RuleSpec {
    /// Name of the rule, unique in the object: lowercase letters, digits and hyphens. Example: tax
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    )]
    pub name: String,
    /// The prefix of the object keys, without wildcards, at most 1024 bytes. An empty prefix selects all objects. Example: Tax/
    #[serde(default)]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = ("!self.contains('*') && !self.contains('?') && !self.contains('${')", "prefix holds a wildcard or policy variable (*, ? or ${): use the literal beginning of the object keys"))]
    pub prefix: String,
    /// Tags that an object must have, all of them, when it is written. Example: {"class": "records"}
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 10, "additionalProperties" = {"type": "string", "maxLength": 256}))]
    #[x_kube(validation = ("self.all(key, size(key) > 0 && size(key) <= 128 && !key.startsWith('aws:'))", "a tag key has 1 to 128 characters and does not begin with aws:"))]
    #[x_kube(validation = ("self.all(key, (key + self[key]).matches(r'^[\\p{L}\\p{N}\\p{Z}_.:/=+@-]*$'))", "tags have letters, digits, spaces and _ . : / = + - @ only"))]
    pub tags: BTreeMap<String, String>,
    /// Replicate: delete markers that users create are replicated. Ignore: they are not. Deletions of single versions and by lifecycle rules never are.
    #[serde(default)]
    pub delete_markers: DeleteMarkers,
    /// A hint for overlapping rules: of two rules with the same destination bucket, the one with the higher number wins. By default, the lowest free number is used. Of overlapping rules of one object without hints, the one with the longer prefix wins. Example: 10
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub priority: Option<i32>,
    /// Enabled: the rule is in effect. Disabled: the rule is kept in the configuration without effect.
    #[serde(default)]
    pub state: Switch,
}

fn whole_bucket() -> Vec<RuleSpec> {
    vec![RuleSpec {
        name: "all".into(),
        prefix: String::new(),
        tags: BTreeMap::new(),
        delete_markers: DeleteMarkers::Ignore,
        priority: None,
        state: Switch::Enabled,
    }]
}

fn disabled() -> Switch {
    Switch::Disabled
}

/// Enabled or disabled.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
#[allow(missing_docs, reason = "the fields that use it say what it switches")]
pub enum Switch {
    #[default]
    Enabled,
    Disabled,
}

/// Whether SSE-KMS objects are replicated.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
#[allow(missing_docs, reason = "the field says what the values mean")]
pub enum SseKmsObjects {
    #[default]
    Replicate,
    Skip,
}

/// Who owns the replicas.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[schemars(inline)]
#[allow(missing_docs, reason = "the field says what the values mean")]
pub enum Owner {
    Source,
    Destination,
}

/// Whether delete markers are replicated.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
#[allow(missing_docs, reason = "the field says what the values mean")]
pub enum DeleteMarkers {
    #[default]
    Ignore,
    Replicate,
}

/// Whether changes made on replicas are replicated back.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
#[allow(missing_docs, reason = "the field says what the values mean")]
pub enum ReplicaModifications {
    #[default]
    Ignore,
    Sync,
}

/// Whether the operator may switch versioning on.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
#[allow(missing_docs, reason = "the field says what the values mean")]
pub enum Versioning {
    #[default]
    Require,
    Enable,
}

/// What to do with an unmanaged configuration.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
#[allow(missing_docs, reason = "the field says what the values mean")]
pub enum ExistingConfiguration {
    #[default]
    Refuse,
    Merge,
}

/// What the operator does about the object.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
#[allow(missing_docs, reason = "the field says what the values mean")]
pub enum Mode {
    #[default]
    Enforce,
    Observe,
    Paused,
}

/// What happens to the resources in AWS when the object is deleted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
#[allow(missing_docs, reason = "the field says what the values mean")]
pub enum DeletionPolicy {
    #[default]
    Delete,
    Retain,
}

/// A storage class that S3 accepts for replicas (`Destination` in the S3 API Reference).
#[derive(
    Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr,
)]
#[schemars(inline)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "they are AWS's own names")]
pub enum StorageClass {
    Standard,
    ReducedRedundancy,
    StandardIa,
    OnezoneIa,
    IntelligentTiering,
    Glacier,
    GlacierIr,
    DeepArchive,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_of_s3_can_be_taken_over() {
        let ids = |annotation: &str| {
            let object = serde_json::json!({
                "apiVersion": "bucketops.dev/v1alpha1", "kind": "BucketReplication",
                "metadata": {"annotations": {crate::TAKE_OVER: annotation}},
                "spec": {"source": {"accountName": "a", "bucket": "b"}, "destination": {"accountName": "a", "bucket": "c"}},
            });
            let object: BucketReplication = serde_json::from_value(object).expect("an object");
            object.take_over().into_iter().collect::<Vec<_>>()
        };
        assert_eq!(ids("all, tax ,"), ["all", "tax"]);
        assert_eq!(ids(r#"["a, b", " c "]"#), [" c ", "a, b"]);
        assert_eq!(ids("[1]"), ["[1]"], "it is an ID as good as any other");
    }
}
