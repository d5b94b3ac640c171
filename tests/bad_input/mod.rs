//! What is refused at `kubectl apply`: one change to a good object each, and a part of the message. The same table is tried in process and on
//! the real API server.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use serde_json::{Value, json};

/// The name of a case, where it changes a good object, to what, and a part of the message.
pub type Case = (&'static str, &'static str, Value, &'static str);

/// Sets the value at a JSON pointer, or removes it where the value is null. Fields for the whole `/spec` go beside those that it has.
pub fn put(object: &mut Value, pointer: &str, value: Value) {
    if let ("/spec", Value::Object(fields)) = (pointer, &value) {
        for (field, value) in fields {
            object["spec"][field] = value.clone();
        }
        return;
    }
    let (parent, field) = pointer.rsplit_once('/').unwrap_or(("", pointer));
    let Some(parent) = object.pointer_mut(parent) else { return };
    match parent {
        Value::Array(items) => {
            if let Some(item) = field.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                *item = value;
            }
        }
        Value::Object(fields) if value.is_null() => {
            fields.remove(field);
        }
        other => other[field] = value,
    }
}

/// Bad `BucketReplication`s.
pub fn replications() -> Vec<Case> {
    let two = json!([{"name": "same", "prefix": "Tax/a"}, {"name": "same", "prefix": "Tax/b"}]);
    let same_bucket = json!({"source": {"account": "prod", "bucket": "records"}, "destination": {"account": "dr", "bucket": "records"}});
    vec![
        ("a name that is too long", "/metadata/name", json!("x".repeat(64)), "metadata.name has at most 63 characters"),
        ("a bucket in upper case", "/spec/destination/bucket", json!("Dest-Bucket"), "spec.destination.bucket"),
        ("an ARN for a bucket", "/spec/destination/bucket", json!("arn:aws:s3:::dest-bucket"), "spec.destination.bucket"),
        ("a bucket with a wildcard", "/spec/source/bucket", json!("source-*"), "spec.source.bucket"),
        ("a key id for a key", "/spec/destination/kmsKey", json!("1234abcd-12ab-34cd-56ef-1234567890ab"), "spec.destination.kmsKey"),
        ("a key ARN with a wildcard", "/spec/source/kmsKeys", json!(["arn:aws:kms:us-east-1:111111111111:key/*"]), "spec.source.kmsKeys"),
        ("a key ARN with no Region", "/spec/destination/kmsKey", json!("arn:aws:kms:Oregon:222222222222:key/a"), "spec.destination.kmsKey"),
        ("the source bucket as destination", "/spec", same_bucket, "is the source bucket"),
        ("a prefix with a star", "/spec/rules/0/prefix", json!("Tax*"), "holds a wildcard or policy variable"),
        ("a prefix with a question mark", "/spec/rules/0/prefix", json!("Tax?"), "holds a wildcard or policy variable"),
        ("a prefix with a policy variable", "/spec/rules/0/prefix", json!("${aws:username}"), "holds a wildcard or policy variable"),
        ("a prefix that is too long", "/spec/rules/0/prefix", json!("x".repeat(1025)), "spec.rules[0].prefix"),
        ("no rules", "/spec/rules", json!([]), "spec.rules"),
        ("two rules of one name", "/spec/rules", two, "uplicate"),
        ("a rule name with a slash", "/spec/rules/0/name", json!("a/b"), "spec.rules[0].name"),
        ("delete markers with tags", "/spec/rules/0/tags", json!({"class": "records"}), "deleteMarkers: Replicate can't be used with tags"),
        (
            "time control without metrics",
            "/spec",
            json!({"replicationTimeControl": "Enabled", "metrics": "Disabled"}),
            "replicationTimeControl needs metrics",
        ),
        ("source keys without a replica key", "/spec/destination/kmsKey", Value::Null, "source.kmsKeys need destination.kmsKey"),
        ("a replica key and Skip", "/spec/source/sseKmsObjects", json!("Skip"), "has no use with source.sseKmsObjects: Skip"),
        ("the managed key across accounts", "/spec/destination/kmsKey", json!("alias/aws/s3"), "can't be used across accounts"),
        ("a storage class that S3 does not know", "/spec/destination/storageClass", json!("COLD"), "spec.destination.storageClass"),
        ("a mode that is none", "/spec/mode", json!("Dream"), "spec.mode"),
        ("a priority below zero", "/spec/rules/0/priority", json!(-1), "spec.rules[0].priority"),
    ]
}

/// Bad `AwsAccount`s.
pub fn accounts() -> Vec<Case> {
    vec![
        ("an account id that is too short", "/spec/accountId", json!("1111"), "spec.accountId"),
        (
            "a role of another account",
            "/spec/assumeRole/roleArn",
            json!("arn:aws:iam::444444444444:role/x"),
            "is in another account than accountId",
        ),
        ("no external id", "/spec/assumeRole/externalId", Value::Null, "spec.assumeRole.externalId"),
        ("a grant to every namespace", "/spec/grants/0/namespaces", json!({}), "selects every namespace"),
        ("a path without slashes", "/spec/roles", json!({"path": "replication"}), "spec.roles.path"),
        ("a tag of ours", "/spec/roles", json!({"tags": {"bucketops.dev/installation": "x"}}), "are the operator's own"),
    ]
}
