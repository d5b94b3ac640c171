//! How fast the operator may call AWS in an account. The doc comments are what `kubectl explain` prints.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Calls a second to a service, at most.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RequestsPerSecond {
    /// To IAM, whose quotas AWS does not document. All programs in the account share them. Example: 5
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000), extend("format" = "int32"))]
    pub iam: Option<u32>,
    /// To S3, for configurations and policies of buckets. Example: 20
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000), extend("format" = "int32"))]
    pub s3: Option<u32>,
    /// To KMS. Whatever it says, the operator writes at most 15 key policies in a second, which is AWS's default quota. Example: 10
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000), extend("format" = "int32"))]
    pub kms: Option<u32>,
}
