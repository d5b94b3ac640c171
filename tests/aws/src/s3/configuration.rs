//! The small configurations of a bucket: versioning, encryption, Object Lock, who pays, ownership, tags.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Call;
use crate::{
    message::{Refusal, Response},
    state::{Bucket, State},
    xml,
};

pub(super) fn call(state: &mut State, call: &Call<'_>) -> Result<Response, Refusal> {
    let reads = call.request.method == "GET";
    match (call.sub_resource(), reads) {
        (Some("versioning"), true) => get_versioning(state, call),
        (Some("versioning"), false) => put_versioning(state, call),
        (Some("encryption"), true) => {
            let bucket = call.bucket(state, "s3:GetEncryptionConfiguration")?;
            Ok(answer(
                "ServerSideEncryptionConfiguration",
                &bucket.encryption.clone(),
            ))
        }
        (Some("encryption"), false) => put_encryption(state, call),
        (Some("object-lock"), true) => get_object_lock(state, call),
        (Some("object-lock"), false) => put_object_lock(state, call),
        (Some("requestPayment"), true) => {
            let bucket = call.bucket(state, "s3:GetBucketRequestPayment")?;
            Ok(answer(
                "RequestPaymentConfiguration",
                &json!({"Payer": bucket.payer}),
            ))
        }
        (Some("requestPayment"), false) => {
            let payer = text(&call.body()?, "Payer")?;
            call.bucket(state, "s3:PutBucketRequestPayment")?.payer = payer;
            Ok(Response::empty(200))
        }
        (Some("ownershipControls"), true) => {
            let bucket = call.bucket(state, "s3:GetBucketOwnershipControls")?;
            Ok(answer(
                "OwnershipControls",
                &json!({"Rules": [{"ObjectOwnership": bucket.ownership}]}),
            ))
        }
        (Some("ownershipControls"), false) => {
            let ownership = text(&call.body()?["Rules"][0], "ObjectOwnership")?;
            call.bucket(state, "s3:PutBucketOwnershipControls")?
                .ownership = ownership;
            Ok(Response::empty(200))
        }
        (Some("tagging"), true) => get_tagging(state, call),
        (Some("tagging"), false) => put_tagging(state, call),
        _ => Err(Refusal::new(
            405,
            "MethodNotAllowed",
            "The specified method is not allowed against this resource.",
        )),
    }
}

fn answer(name: &str, value: &Value) -> Response {
    Response::xml(xml::element(name, value))
}

fn text(value: &Value, field: &str) -> Result<String, Refusal> {
    let text = value[field].as_str().map(ToOwned::to_owned);
    text.ok_or_else(|| Refusal::new(400, "MalformedXML", format!("{field} is missing")))
}

fn get_versioning(state: &mut State, call: &Call<'_>) -> Result<Response, Refusal> {
    let status = call.bucket(state, "s3:GetBucketVersioning")?.versioning;
    let status = status.map(|enabled| if enabled { "Enabled" } else { "Suspended" });
    let value = status.map_or(json!({}), |status| json!({"Status": status}));
    Ok(answer("VersioningConfiguration", &value))
}

/// Versioning can't be suspended with Object Lock, nor with replication ("`PutBucketVersioning`" and "Requirements and considerations for
/// replication" in the S3 User Guide).
fn put_versioning(state: &mut State, call: &Call<'_>) -> Result<Response, Refusal> {
    let enabled = text(&call.body()?, "Status")? == "Enabled";
    let bucket = call.bucket(state, "s3:PutBucketVersioning")?;
    if !enabled && (bucket.replication.is_some() || bucket.object_lock) {
        let message = "A replication configuration is present on this bucket, so the versioning state cannot be changed.";
        return Err(Refusal::new(409, "InvalidBucketState", message));
    }
    bucket.versioning = Some(enabled);
    Ok(Response::empty(200))
}

fn put_encryption(state: &mut State, call: &Call<'_>) -> Result<Response, Refusal> {
    let default = if call.request.method == "DELETE" {
        Bucket::default_encryption()
    } else {
        let mut default = call.body()?;
        // An element with the text of a switch.
        let enabled = default["Rules"][0]["BucketKeyEnabled"] == json!("true");
        default["Rules"][0]["BucketKeyEnabled"] = json!(enabled);
        default
    };
    let bucket = call.bucket(state, "s3:PutEncryptionConfiguration")?;
    let blocked = bucket.encryption["Rules"][0]["BlockedEncryptionTypes"].take();
    bucket.encryption = default;
    // Not documented: what the request does not name stays as it was.
    if bucket.encryption["Rules"][0]["BlockedEncryptionTypes"].is_null() {
        bucket.encryption["Rules"][0]["BlockedEncryptionTypes"] = blocked;
    }
    Ok(Response::empty(200))
}

fn get_object_lock(state: &mut State, call: &Call<'_>) -> Result<Response, Refusal> {
    let bucket = call.bucket(state, "s3:GetBucketObjectLockConfiguration")?;
    if bucket.object_lock {
        let mut lock = json!({"ObjectLockEnabled": "Enabled"});
        if let Some(rule) = &bucket.retention {
            lock["Rule"] = rule.clone();
        }
        return Ok(answer("ObjectLockConfiguration", &lock));
    }
    let message = "Object Lock configuration does not exist for this bucket";
    Err(Refusal::new(
        404,
        "ObjectLockConfigurationNotFoundError",
        message,
    ))
}

fn put_object_lock(state: &mut State, call: &Call<'_>) -> Result<Response, Refusal> {
    let rule = call.body()?["Rule"].clone();
    let bucket = call.bucket(state, "s3:PutBucketObjectLockConfiguration")?;
    if bucket.versioning != Some(true) {
        let message =
            "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration";
        return Err(Refusal::new(409, "InvalidBucketState", message));
    }
    bucket.object_lock = true;
    bucket.retention = rule.is_object().then_some(rule);
    Ok(Response::empty(200))
}

fn get_tagging(state: &mut State, call: &Call<'_>) -> Result<Response, Refusal> {
    let tags = &call.bucket(state, "s3:GetBucketTagging")?.tags;
    if tags.is_empty() {
        return Err(Refusal::new(
            404,
            "NoSuchTagSet",
            "The TagSet does not exist",
        ));
    }
    let tags: Vec<_> = tags
        .iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect();
    Ok(answer("Tagging", &json!({"TagSet": {"Tag": tags}})))
}

fn put_tagging(state: &mut State, call: &Call<'_>) -> Result<Response, Refusal> {
    let tags = if call.request.method == "DELETE" {
        BTreeMap::new()
    } else {
        super::objects::tag_set(&call.body()?)
    };
    call.bucket(state, "s3:PutBucketTagging")?.tags = tags;
    Ok(Response::empty(if call.request.method == "DELETE" {
        204
    } else {
        200
    }))
}
