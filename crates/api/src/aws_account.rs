//! `AWSAccount`: how an account is reached, and which namespaces may replicate what in it. It belongs to the platform team.
#![allow(
    clippy::doc_markdown,
    clippy::doc_link_with_quotes,
    reason = "the comments are what `kubectl explain` prints"
)]
#![allow(clippy::duplicated_attributes, reason = "columns share their type")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{
    CustomResource, KubeSchema,
    core::{Selector, SelectorExt},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::quarter_of_an_hour;

pub use crate::account_status::{AwsAccountStatus, Replication};
pub use crate::requests_per_second::RequestsPerSecond;

/// An AWS account, and what namespaces may do in it.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "bucketops.dev",
    version = "v1alpha1",
    kind = "AWSAccount",
    root = "AwsAccount",
    plural = "awsaccounts",
    singular = "awsaccount",
    category = "aws",
    status = "AwsAccountStatus",
    derive = "PartialEq",
    doc = "An AWS account: how the operator reaches it, and which namespaces may replicate what in it. Anything that no grant lists is denied.",
    printcolumn(name = "Account", type_ = "string", json_path = ".spec.accountID"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "Replications",
        type_ = "integer",
        json_path = ".status.replicationCount"
    ),
    printcolumn(
        name = "Orphaned-Roles",
        type_ = "integer",
        json_path = ".status.orphanedRoleCount",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Identity",
        type_ = "string",
        json_path = ".status.identityARN",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!has(self.assumeRole) || self.assumeRole.roleARN.contains(':' + self.accountID + ':')", "assumeRole.roleARN is not in the account accountID"),
    validation = ("!has(self.access) || self.access != 'External' || !has(self.assumeRole)", "assumeRole can't be used with access: External: remove one of them"),
    validation = ("!has(self.roles) || !has(self.roles.mergeableRoleARNs) || self.roles.mergeableRoleARNs.all(role, role.contains(':' + self.accountID + ':'))", "roles.mergeableRoleARNs names a role that is not in the account accountID"),
    validation = ("!has(self.roles) || !has(self.roles.named) || self.roles.named.all(named, named.roleARN.contains(':' + self.accountID + ':'))", "roles.named names a role that is not in the account accountID"),
    validation = ("!has(self.roles) || !has(self.roles.named) || size(self.roles.named) == 0 || (has(self.roles.management) && self.roles.management == 'Check')", "roles.named needs roles.management: Check: with Manage, the operator creates the roles"),
    validation = ("!has(self.roles) || !has(self.roles.mergeableRoleARNs) || !has(self.assumeRole) || !(self.assumeRole.roleARN in self.roles.mergeableRoleARNs)", "roles.mergeableRoleARNs names the operator's own role, which could then change its own permissions: remove it from the list")
)]
pub struct AwsAccountSpec {
    /// The 12 digits of the account, in quotes. It can't be changed. Example: "111111111111"
    #[schemars(length(max = 12), regex(pattern = r"^[0-9]{12}$"))]
    #[x_kube(validation = ("self == oldSelf", "accountID can't be changed: create another AWSAccount"))]
    #[serde(rename = "accountID")]
    pub account_id: String,
    /// The partition of the account. It can't be changed.
    #[serde(default)]
    #[x_kube(validation = ("self == oldSelf", "partition can't be changed: create another AWSAccount"))]
    pub partition: AwsPartition,
    /// The Region in which the operator calls STS for the account, and asks where a bucket is. It has to be enabled in the account; by default, the operator's own Region. Example: eu-central-1
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^[a-z]{2,}(-[a-z]{2,})+-[0-9]$"))]
    pub region: Option<String>,
    /// The ID of the organization that the account is in, or None if it is in no organization. With it, policies that name an organization (aws:PrincipalOrgID, aws:ResourceOrgID) can be evaluated; without it, the operator only reports them. Example: o-a1b2c3d4e5
    #[serde(
        rename = "organizationID",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(max = 34), regex(pattern = r"^(o-[a-z0-9]{10,32}|None)$"))]
    pub organization_id: Option<String>,
    /// The role that the operator assumes in the account. By default, it uses its own identity, which then has to be in that account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume_role: Option<AssumeRole>,
    /// Managed: the operator has credentials in the account. External: it has none and makes no calls there; such an account can only own destination buckets, and keys that are named by ARN, and status.requiredActions of each object shows what its owner has to apply.
    #[serde(default)]
    pub access: Access,
    /// Whether the operator manages the policies of destination buckets and KMS keys, or only checks them.
    #[serde(default)]
    pub policies: Policies,
    /// The replication roles that the operator creates in the account.
    #[serde(default)]
    pub roles: Roles,
    /// How many calls the operator makes to a service in the account in a second, in each Region, at most. By default, as many as it needs; after AWS throttles calls, it makes fewer and slowly raises the number again. Example: {"iam": 5}
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<RequestsPerSecond>,
    /// If set, the operator reads S3's replication metrics of the account's source buckets from CloudWatch, for objects with metrics: Enabled, which CloudWatch charges for. By default, it does not call CloudWatch. Example: {"period": "15m"}
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_metrics: Option<ReplicationMetrics>,
    /// Whom a tenant should ask for a grant. Example: "#platform-storage"
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub contact: Option<String>,
    /// Which namespaces may replicate what from and to the account. Anything that no grant lists is denied. Example: [{"namespaces": {"matchLabels": {"team": "finance"}}, "sources": [{"bucket": "finance-*"}], "kmsKeys": ["*"]}]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub grants: Vec<Grant>,
}

/// How often replication metrics are read.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("duration(self.period) >= duration('5m') && duration(self.period) <= duration('1h')", "period is not between 5m and 1h"))]
pub struct ReplicationMetrics {
    /// The time between two reads, 5m to 1h. Each read costs as many metrics as the account's rules have, four for each. Example: 30m
    #[serde(default = "quarter_of_an_hour")]
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]{1,4}[hms]){1,3}$"))]
    pub period: String,
}

/// A role that the operator assumes. Its trust policy has to require the external ID.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AssumeRole {
    /// ARN of the role. Example: arn:aws:iam::111111111111:role/bucket-replication-operator
    #[schemars(
        length(max = 640),
        regex(pattern = r"^arn:aws(-cn|-us-gov)?:iam::[0-9]{12}:role/[\w+=,.@/-]+$")
    )]
    #[serde(rename = "roleARN")]
    pub role_arn: String,
    /// Sent as sts:ExternalId with every AssumeRole; the role's trust policy requires it. It is no secret. Example: bucketops-finance-prod
    #[schemars(length(min = 2, max = 1224), regex(pattern = r"^[\w+=,.@:/-]+$"))]
    #[serde(rename = "externalID")]
    pub external_id: String,
}

/// Whether the operator has credentials in the account.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
#[allow(missing_docs, reason = "the field says what the values mean")]
pub enum Access {
    #[default]
    Managed,
    External,
}

/// Whether the operator manages a kind of policy, or only checks it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Policies {
    /// Policies of destination buckets. Manage: the operator adds its statements, and removes them when they are no longer needed. Check: it only reads them, and reports what is missing in status.requiredActions.
    #[serde(default)]
    pub bucket_policy: PolicyMode,
    /// Policies of KMS keys. Manage: the operator adds its statements, unless the policy already allows what is needed, and removes them when they are no longer needed. Check: it only reads them, and reports what is missing in status.requiredActions.
    #[serde(default)]
    pub key_policy: PolicyMode,
}

/// Whether the operator manages a kind of policy or the roles, or only checks them.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
#[allow(missing_docs, reason = "the fields say what the values mean")]
pub enum PolicyMode {
    #[default]
    Manage,
    Check,
}

/// The replication roles that the operator creates.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Roles {
    /// Manage: the operator creates a role for each source bucket, with a policy and a trust policy, and deletes it when it is no longer needed. Check: others create the roles; the operator writes nothing in IAM, only checks the role in roles.named, and reports what it lacks in status.requiredActions.
    #[serde(default)]
    pub management: PolicyMode,
    /// With management: Check, the role that S3 assumes for each source bucket. Example: [{"bucket": "finance-records", "roleARN": "arn:aws:iam::111111111111:role/finance-replication"}]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["bucket".into()]))]
    pub named: Vec<NamedRole>,
    /// IAM path of the roles, beginning and ending with a slash. It can't be changed. Example: /replication/
    #[serde(default = "root_path")]
    #[schemars(length(max = 512), regex(pattern = r"^/([!-.0-~]+/)*$"))]
    #[x_kube(validation = ("self == oldSelf", "roles.path can't be changed: existing roles keep their path"))]
    pub path: String,
    /// ARN of a managed policy that is the permissions boundary of every role. Example: arn:aws:iam::111111111111:policy/replication-boundary
    #[serde(
        rename = "permissionsBoundaryARN",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(regex(
        pattern = r"^arn:aws(-cn|-us-gov)?:iam::([0-9]{12}|aws):policy/[\w+=,.@/-]+$"
    ))]
    pub permissions_boundary: Option<String>,
    /// Tags of every role, in addition to the operator's own. Example: {"team": "storage"}
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 40))]
    #[x_kube(validation = ("self.all(key, !key.startsWith('bucketops.dev/'))", "tags that begin with bucketops.dev/ are reserved for the operator"))]
    pub tags: BTreeMap<String, String>,
    /// ARNs of unmanaged roles in the account to which the operator may add an inline policy: for objects with existingConfiguration: Merge on a bucket whose replication configuration has such a role. Example: ["arn:aws:iam::111111111111:role/s3-replication"]
    #[serde(
        rename = "mergeableRoleARNs",
        default,
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(
        length(max = 20),
        inner(
            length(max = 640),
            regex(pattern = r"^arn:aws(-cn|-us-gov)?:iam::[0-9]{12}:role/[\w+=,.@/-]+$")
        )
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub mergeable_role_arns: Vec<String>,
}

impl Default for Roles {
    fn default() -> Self {
        Self {
            management: PolicyMode::Manage,
            named: vec![],
            path: root_path(),
            permissions_boundary: None,
            tags: BTreeMap::new(),
            mergeable_role_arns: vec![],
        }
    }
}

/// The role that S3 assumes to replicate a bucket, which others create.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NamedRole {
    /// Name of the source bucket. Example: finance-records
    #[schemars(
        length(min = 3, max = 63),
        regex(pattern = r"^[a-z0-9][a-z0-9.-]+[a-z0-9]$")
    )]
    pub bucket: String,
    /// ARN of the role. Example: arn:aws:iam::111111111111:role/finance-replication
    #[schemars(
        length(max = 640),
        regex(pattern = r"^arn:aws(-cn|-us-gov)?:iam::[0-9]{12}:role/[\w+=,.@/-]+$")
    )]
    #[serde(rename = "roleARN")]
    pub role_arn: String,
}

fn root_path() -> String {
    "/".into()
}

/// The partition of an account.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(inline)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "they are AWS's own names")]
pub enum AwsPartition {
    #[default]
    Aws,
    AwsCn,
    AwsUsGov,
}

/// What the selected namespaces may do.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// A label selector of namespaces, which can't be empty. Use kubernetes.io/metadata.name, or labels that tenants can't change. Example: {"matchLabels": {"kubernetes.io/metadata.name": "finance"}}
    #[x_kube(validation = ("(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)", "namespaces is empty and selects every namespace: set matchLabels or matchExpressions"))]
    pub namespaces: LabelSelector,
    /// What may be replicated from the account. Example: [{"bucket": "finance-*", "prefixes": ["Tax"]}]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub sources: Vec<SourceGrant>,
    /// What may be replicated into the account. Example: [{"bucket": "finance-dr-*"}]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub destinations: Vec<DestinationGrant>,
    /// Globs of ARNs of the account's KMS keys that may be used. They are checked against the resolved key, even if it is a bucket's default key. Example: arn:aws:kms:*:111111111111:key/*
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 100),
        inner(length(max = 256), regex(pattern = r"^[A-Za-z0-9:/_*?-]+$"))
    )]
    pub kms_keys: Vec<String>,
    /// What else the namespaces may use. EnableVersioning: spec.versioning: Enable. MergeConfiguration: spec.existingConfiguration: Merge. Retain: spec.deletionPolicy: Retain. Canary: spec.verification.canary, with which the operator writes and removes objects of its own in the buckets. Example: ["EnableVersioning"]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub allow: Vec<Permission>,
}

impl Grant {
    /// Whether the grant is for namespaces with these labels: as Kubernetes evaluates a label selector, except that an empty one selects nothing, as
    /// does one that is not valid. Anything that no grant lists is denied.
    #[must_use]
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let selector = Selector::try_from(self.namespaces.clone());
        selector.is_ok_and(|selector| !selector.selects_all() && selector.matches(labels))
    }
}

/// Buckets that may be sources.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SourceGrant {
    /// A glob over whole bucket names: * matches any characters, ? matches one. Example: finance-*
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9.*?-]+$"))]
    pub bucket: String,
    /// The prefix that every rule has to begin with; by default, any prefix is allowed, including the whole bucket. Example: ["Tax"]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub prefixes: Option<Vec<String>>,
    /// Names of the AWSAccounts that may own the destination; by default, only the account itself. Example: ["finance-dr"]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub destination_account_names: Option<Vec<String>>,
}

/// Buckets that may be destinations.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DestinationGrant {
    /// A glob over whole bucket names: * matches any characters, ? matches one. Example: finance-dr-*
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9.*?-]+$"))]
    pub bucket: String,
}

/// What a grant can allow in addition to replication.
#[derive(
    Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr,
)]
#[schemars(inline)]
#[allow(
    missing_docs,
    reason = "the fields of BucketReplication say what they ask for"
)]
pub enum Permission {
    EnableVersioning,
    MergeConfiguration,
    Retain,
    Canary,
}
