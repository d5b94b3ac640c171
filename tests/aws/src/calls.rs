//! What calls are named, and the log of them.

use serde_json::{Value, json};

use crate::{
    cloudwatch,
    message::{Request, fields},
    query::Form,
};

/// A call, as it is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The access key that signed it.
    pub key: String,
    /// The Region that it was signed for.
    pub region: String,
    /// The operation, such as `s3:PutBucketReplication`.
    pub operation: String,
    /// The path, for S3.
    pub path: String,
    /// The HTTP status of the answer; `None` if the connection was dropped.
    pub status: Option<u16>,
    /// When it came, in milliseconds since the start.
    pub began: u64,
    /// Milliseconds until its answer.
    pub took: u64,
}

impl Call {
    /// The call that a request is.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        let (key, region, service) = request.signature().unwrap_or(("", "us-east-1", "s3"));
        let operation = match service {
            "iam" | "sts" => Form::read(&request.body).action().to_owned(),
            "kms" => {
                let target = request.header("x-amz-target").unwrap_or_default();
                target.rsplit('.').next().unwrap_or_default().to_owned()
            }
            "monitoring" => cloudwatch::operation(request).to_owned(),
            _ => of_s3(request),
        };
        Self {
            key: key.to_owned(),
            region: region.to_owned(),
            operation: format!("{service}:{operation}"),
            path: request.path.clone(),
            status: None,
            began: 0,
            took: 0,
        }
    }

    /// Whether it changes nothing.
    fn reads(&self) -> bool {
        let operation = self.operation.split(':').nth(1).unwrap_or_default();
        ["Get", "Head", "List", "Describe"]
            .iter()
            .any(|verb| operation.starts_with(verb))
    }

    /// Whether it changes what reads show: a session of a role is not among that.
    #[must_use]
    pub fn writes(&self) -> bool {
        !self.reads() && !self.operation.starts_with("sts:")
    }

    /// Whether it changed something.
    #[must_use]
    pub fn wrote(&self) -> bool {
        self.writes() && self.status.is_some_and(|status| status < 300)
    }

    /// Whether it is a read that may lag: not of objects, nor of who one is ("Amazon S3 data consistency model" in the S3 User Guide, "Changes that
    /// I make are not always immediately visible" in the IAM User Guide).
    #[must_use]
    pub fn may_lag(&self) -> bool {
        self.reads()
            && !self.operation.contains("Object")
            && self.operation != "sts:GetCallerIdentity"
    }

    /// The call as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({"accessKey": self.key, "region": self.region, "operation": self.operation, "path": self.path, "status": self.status})
    }
}

/// Sub-resources of buckets, and what their operations are named.
const SUB_RESOURCES: &[(&str, &str)] = &[
    ("location", "BucketLocation"),
    ("policy", "BucketPolicy"),
    ("replication", "BucketReplication"),
    ("versioning", "BucketVersioning"),
    ("encryption", "BucketEncryption"),
    ("object-lock", "BucketLockConfiguration"),
    ("requestPayment", "BucketRequestPayment"),
    ("ownershipControls", "BucketOwnershipControls"),
    ("tagging", "BucketTagging"),
    ("versions", "ObjectVersions"),
    ("delete", "Objects"),
];

fn of_s3(request: &Request) -> String {
    let method = request.method.as_str();
    let verb = match method {
        "GET" => "Get",
        "HEAD" => "Head",
        "DELETE" => "Delete",
        _ => "Put",
    };
    let path = request.path.trim_start_matches('/');
    if path.split_once('/').is_some_and(|(_, key)| !key.is_empty()) {
        return format!("{verb}Object");
    }
    let query = fields(&request.query);
    let sub_resource = SUB_RESOURCES
        .iter()
        .find(|(name, _)| query.contains_key(*name));
    format!(
        "{verb}{}",
        sub_resource.map_or("Bucket", |(_, named)| named)
    )
}
