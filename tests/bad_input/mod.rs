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
    let Some(parent) = object.pointer_mut(parent) else {
        return;
    };
    match parent {
        Value::Array(items) => {
            if let Some(item) = field
                .parse::<usize>()
                .ok()
                .and_then(|index| items.get_mut(index))
            {
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
    let same_bucket = json!({"source": {"accountName": "prod", "bucket": "records"}, "destination": {"accountName": "dr", "bucket": "records"}});
    vec![
        (
            "a name that is too long",
            "/metadata/name",
            json!("x".repeat(64)),
            "metadata.name has at most 63 characters",
        ),
        (
            "a bucket in upper case",
            "/spec/destination/bucket",
            json!("Dest-Bucket"),
            "spec.destination.bucket",
        ),
        (
            "an ARN for a bucket",
            "/spec/destination/bucket",
            json!("arn:aws:s3:::dest-bucket"),
            "spec.destination.bucket",
        ),
        (
            "a bucket with a wildcard",
            "/spec/source/bucket",
            json!("source-*"),
            "spec.source.bucket",
        ),
        (
            "a key id for a key",
            "/spec/destination/kmsKey",
            json!("1234abcd-12ab-34cd-56ef-1234567890ab"),
            "spec.destination.kmsKey",
        ),
        (
            "a key ARN with a wildcard",
            "/spec/source/kmsKeys",
            json!(["arn:aws:kms:us-east-1:111111111111:key/*"]),
            "spec.source.kmsKeys",
        ),
        (
            "a key ARN with no Region",
            "/spec/destination/kmsKey",
            json!("arn:aws:kms:Oregon:222222222222:key/a"),
            "spec.destination.kmsKey",
        ),
        (
            "the source bucket as destination",
            "/spec",
            same_bucket,
            "is the source bucket",
        ),
        (
            "a prefix with a star",
            "/spec/rules/0/prefix",
            json!("Tax*"),
            "holds a wildcard or policy variable",
        ),
        (
            "a prefix with a question mark",
            "/spec/rules/0/prefix",
            json!("Tax?"),
            "holds a wildcard or policy variable",
        ),
        (
            "a prefix with a policy variable",
            "/spec/rules/0/prefix",
            json!("${aws:username}"),
            "holds a wildcard or policy variable",
        ),
        (
            "a prefix that is too long",
            "/spec/rules/0/prefix",
            json!("x".repeat(1025)),
            "spec.rules[0].prefix",
        ),
        (
            "more rules than an object may have",
            "/spec/rules",
            json!(vec![json!({"name": "r", "prefix": "x".repeat(1000)}); 1400]),
            "spec.rules",
        ),
        ("no rules", "/spec/rules", json!([]), "spec.rules"),
        ("two rules of one name", "/spec/rules", two, "uplicate"),
        (
            "a rule name with a slash",
            "/spec/rules/0/name",
            json!("a/b"),
            "spec.rules[0].name",
        ),
        (
            "delete markers with tags",
            "/spec/rules/0/tags",
            json!({"class": "records"}),
            "deleteMarkers: Replicate can't be used with tags",
        ),
        (
            "a tag that AWS reserves",
            "/spec/rules",
            json!([{"name": "a", "tags": {"aws:a": "b"}}]),
            "a tag key has 1 to 128 characters",
        ),
        (
            "a tag with an emoji",
            "/spec/rules",
            json!([{"name": "a", "tags": {"a": "📦"}}]),
            "tags have letters, digits, spaces and",
        ),
        (
            "a tag whose value is too long",
            "/spec/rules",
            json!([{"name": "a", "tags": {"a": "b".repeat(257)}}]),
            "spec.rules[0].tags",
        ),
        (
            "source keys of two Regions",
            "/spec/source/kmsKeys",
            json!([
                "arn:aws:kms:us-east-1:111111111111:key/a",
                "arn:aws:kms:eu-west-1:111111111111:key/b"
            ]),
            "source.kmsKeys are in different Regions",
        ),
        (
            "time control without metrics",
            "/spec",
            json!({"replicationTimeControl": "Enabled", "metrics": "Disabled"}),
            "replicationTimeControl needs metrics",
        ),
        (
            "source keys without a replica key",
            "/spec/destination/kmsKey",
            Value::Null,
            "source.kmsKeys need destination.kmsKey",
        ),
        (
            "a replica key and Skip",
            "/spec/source/sseKMSObjects",
            json!("Skip"),
            "has no use if source.sseKMSObjects is Skip",
        ),
        (
            "the managed key across accounts",
            "/spec/destination/kmsKey",
            json!("alias/aws/s3"),
            "can't be used across accounts",
        ),
        (
            "a storage class that S3 does not know",
            "/spec/destination/storageClass",
            json!("COLD"),
            "spec.destination.storageClass",
        ),
        (
            "a mode that is none",
            "/spec/mode",
            json!("Dream"),
            "spec.mode",
        ),
        (
            "a priority below zero",
            "/spec/rules/0/priority",
            json!(-1),
            "spec.rules[0].priority",
        ),
    ]
}

/// Bad `AWSAccount`s.
pub fn accounts() -> Vec<Case> {
    vec![
        (
            "an account id that is too short",
            "/spec/accountID",
            json!("1111"),
            "spec.accountID",
        ),
        (
            "a role of another account",
            "/spec/assumeRole/roleARN",
            json!("arn:aws:iam::444444444444:role/x"),
            "is not in the account accountID",
        ),
        (
            "no external id",
            "/spec/assumeRole/externalID",
            Value::Null,
            "spec.assumeRole.externalID",
        ),
        (
            "a grant to every namespace",
            "/spec/grants/0/namespaces",
            json!({}),
            "selects every namespace",
        ),
        (
            "a path without slashes",
            "/spec/roles",
            json!({"path": "replication"}),
            "spec.roles.path",
        ),
        (
            "a Region that is none",
            "/spec/region",
            json!("Oregon"),
            "spec.region",
        ),
        (
            "an organization that is none",
            "/spec/organizationID",
            json!("acme"),
            "spec.organizationID",
        ),
        (
            "a tag of ours",
            "/spec/roles",
            json!({"tags": {"bucketops.dev/installation": "x"}}),
            "are reserved for the operator",
        ),
    ]
}

/// Where the nth object of a kind differs from a good one, and in what.
type Kind = fn(usize) -> (&'static str, Value);

/// `count` objects made of a good one by one bad attribute each.
pub fn generated(good: &Value, count: usize) -> Vec<Value> {
    let kinds: [Kind; 31] = [
        // What AWS or IAM would read as a pattern, or not take.
        |n| {
            (
                "/spec/rules/0/prefix",
                json!(format!(
                    "Tax{}{}",
                    "/x".repeat(n % 7),
                    ["*", "?", "${aws:username}"][n % 3]
                )),
            )
        },
        |n| ("/spec/rules/0/prefix", json!("x".repeat(1025 + n))),
        |n| {
            (
                "/spec/rules/0/prefix",
                json!(["Other", "tax", " Tax", "/Tax", "T", ""][n % 6]),
            )
        },
        |n| {
            (
                "/spec/source/bucket",
                json!(format!(
                    "{}{n}",
                    ["Upper", "under_score", "-dash", "star*", "sl/ash", "a..b*"][n % 6]
                )),
            )
        },
        |n| {
            (
                "/spec/destination/bucket",
                json!(format!("arn:aws:s3:::bucket-{n}")),
            )
        },
        |n| {
            (
                "/spec/destination/bucket",
                json!(format!(
                    "arn:aws:s3:us-east-1:111111111111:accesspoint/p{n}"
                )),
            )
        },
        |n| {
            (
                "/spec/destination/bucket",
                json!(format!("bucket-{n}--usw2-az1--x-s3*")),
            )
        },
        // Other people's things.
        |n| ("/spec/source/bucket", json!(format!("payroll-{n}"))),
        |n| ("/spec/destination/bucket", json!(format!("attacker-{n}"))),
        |n| ("/spec/source/accountName", json!(format!("nobody-{n}"))),
        |n| {
            (
                "/spec/destination/accountName",
                json!(format!("nobody-{n}")),
            )
        },
        |n| {
            (
                "/spec/destination/kmsKey",
                json!(format!(
                    "arn:aws:kms:us-west-2:{:012}:key/k",
                    800_000_000_000 + n
                )),
            )
        },
        |n| {
            (
                "/spec/source/kmsKeys",
                json!([format!(
                    "arn:aws:kms:us-east-1:{:012}:key/k",
                    800_000_000_000 + n
                )]),
            )
        },
        |n| {
            (
                "/spec/destination/kmsKey",
                json!(
                    [
                        "1234abcd",
                        "*",
                        "arn:aws:kms:*:*:key/*",
                        "alias/",
                        "key/a b"
                    ][n % 5]
                ),
            )
        },
        |n| ("/spec/source/kmsKeys", json!(vec!["alias/a"; 21 + n % 9])),
        // What no field takes.
        |n| {
            (
                "/spec/rules/0/name",
                json!(["", "UPPER", "a b", "a/b", "é", "a.b"][n % 6]),
            )
        },
        |n| ("/spec/rules/0/name", json!("n".repeat(64 + n))),
        |n| {
            (
                "/spec/rules/0/priority",
                json!([-1, 1_000_001, i64::MAX, i64::MIN][n % 4]),
            )
        },
        |n| ("/spec/rules/0/tags", json!({"class": n.to_string()})),
        |n| {
            (
                "/spec/rules",
                json!(vec![json!({"name": "same", "prefix": "Tax"}); 2 + n % 9]),
            )
        },
        |n| ("/spec/destination/owner", json!(format!("Owner{n}"))),
        |n| {
            (
                "/spec/destination/storageClass",
                json!(format!("CLASS_{n}")),
            )
        },
        |n| {
            (
                "/spec/mode",
                json!([json!("Dream"), json!(n), json!(null), json!(["Enforce"])][n % 2]),
            )
        },
        |n| {
            (
                "/spec/deletionPolicy",
                json!(["Retain", "Orphan", "delete", ""][n % 4]),
            )
        },
        |n| {
            (
                "/spec/versioning",
                json!(["Enable", "Suspend", "require"][n % 3]),
            )
        },
        |n| {
            (
                "/spec/existingConfiguration",
                json!(["Merge", "Replace", "merge"][n % 3]),
            )
        },
        // A role to pass, credentials, another namespace: fields that are not there.
        |n| {
            (
                "/spec/role",
                json!(format!("arn:aws:iam::111111111111:role/admin{n}")),
            )
        },
        |n| {
            (
                "/spec/source/roleARN",
                json!(format!("arn:aws:iam::111111111111:role/admin{n}")),
            )
        },
        |n| ("/spec/source/namespace", json!(format!("other-{n}"))),
        |n| ("/spec/credentials", json!({"secretName": n.to_string()})),
        |n| {
            (
                "/metadata/name",
                json!(format!("long-{n}-{}", "x".repeat(60))),
            )
        },
    ];
    let make = |number: usize| {
        let (pointer, value) = kinds[number % kinds.len()](number / kinds.len());
        let mut object = good.clone();
        object["metadata"]["name"] = json!(format!("bad-{number}"));
        put(&mut object, pointer, value);
        object
    };
    (0..count).map(make).collect()
}
