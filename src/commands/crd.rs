//! `crd`: the custom resource definitions, generated from the types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::api::{AwsAccount, BucketReplication};

/// The definitions, each with its file name.
#[must_use]
pub fn definitions() -> [(&'static str, CustomResourceDefinition); 2] {
    [("awsaccounts.bucketops.dev.yaml", AwsAccount::crd()), ("bucketreplications.bucketops.dev.yaml", BucketReplication::crd())]
}

/// All definitions as YAML documents.
///
/// # Errors
/// When one can't be written as YAML.
pub fn run() -> anyhow::Result<String> {
    let mut text = String::new();
    for (_, definition) in definitions() {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(&definition)?);
    }
    Ok(text)
}
