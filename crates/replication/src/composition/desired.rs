//! The state of AWS that a visit wants to reach.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    arns::{ManagedPolicyArn, RoleArn},
    configuration::Configuration,
    keys::KeyArn,
    names::{ObjectKey, OwnedBucket, Region},
    policy::{Document, Statement},
};

/// The state of AWS that serves all objects on a source bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// `None`: the bucket has no replication configuration.
    pub configuration: Option<Configuration>,
    /// `None`: the bucket needs no role.
    pub role: Option<DesiredRole>,
    /// The operator's statements in bucket policies.
    pub bucket_statements: BTreeMap<OwnedBucket, Vec<PlaceStatement>>,
    /// The operator's statements in key policies.
    pub key_statements: BTreeMap<KeyArn, Vec<PlaceStatement>>,
    /// Buckets on which versioning is enabled.
    pub versioning: BTreeMap<OwnedBucket, Region>,
    /// The objects whose former rules had permissions that stay for a while.
    pub draining: BTreeSet<ObjectKey>,
    /// Since when they stay.
    pub draining_since: Option<Timestamp>,
    /// Whether such permissions stayed for long enough.
    pub drained: bool,
}

/// A statement of a destination or a key, and the part of it that the rules need.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaceStatement {
    /// The statement. One for all roles of the operator in an account is about the whole bucket, so that it is the same for all.
    pub statement: Statement,
    /// What the rules need of it: an owner may allow as little as that.
    pub needed: Statement,
}

/// What of a role the operator writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleOwnership {
    /// All of it.
    Own,
    /// An inline policy: the role of unmanaged rules. Its path, trust policy, tags and boundary do not change.
    Merged,
    /// Nothing: others create it.
    Checked,
}

/// The role of a source bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredRole {
    /// Its ARN.
    pub arn: RoleArn,
    /// What of it the operator writes.
    pub ownership: RoleOwnership,
    /// Who may assume it.
    pub trust: Document,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its permissions boundary.
    pub boundary: Option<ManagedPolicyArn>,
    /// What it may do.
    pub policy: Document,
}

/// Who may assume a replication role. It has no condition on `aws:SourceAccount` or `aws:SourceArn`: no page of AWS says that S3 sends these
/// keys for replication, and a condition on a key that is not sent is false.
#[must_use]
pub fn trust() -> Document {
    Document::parse(
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"s3.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#,
    )
    .unwrap_or_default()
}
