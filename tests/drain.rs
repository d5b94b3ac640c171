//! Permissions outlive the rules that used them, on the strict AWS: what is on its way when an object is edited is still replicated, and after the
//! drain period nothing of the former rules is left.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on has failed"
)]

#[path = "judged/mod.rs"]
mod ground;
mod support;

use std::time::Duration;

use bucket_replication_operator::replication::{
    evaluation::{Context, ResourcePolicy},
    names::via_services,
};
use ground::Judged;
use serde_json::{Value, json};
use strict_aws::judge::Asked;
use support::cluster::{DR, PROD, key, object_key, spec};

const DAY: Duration = Duration::from_hours(24);
const SECONDS: i64 = 24 * 3_600;

fn object() -> Value {
    let mut spec = spec(
        ("dr", "dest"),
        Some(&key(DR, "us-west-2", "dst")),
        &json!({"rules": [{"name": "tax", "prefix": "Tax/"}]}),
    );
    spec["source"]["kmsKeys"] = json!([key(PROD, "us-east-1", "src").to_string()]);
    spec
}

async fn ready() -> Judged {
    let mut judged = Judged::new();
    judged.cluster.times.drain = DAY;
    judged.aws.with(|state| {
        let archive = support::in_process::bucket(DR, "us-west-2");
        state.buckets.insert("archive".to_owned(), archive);
    });
    judged.cluster.apply("tax", &object());
    assert!(judged.settle().await);
    judged
}

/// Whether S3 may still replicate an object by the rules that were there before any edit: write the replica, and read and encrypt with the keys.
fn may_still(judged: &Judged) -> [bool; 3] {
    let context = |region: &str, bucket: &str| {
        let region = region.parse().unwrap();
        Context::complete()
            .with("kms:ViaService", via_services(&region).remove(0))
            .with(
                "kms:EncryptionContext:aws:s3:arn",
                format!("arn:aws:s3:::{bucket}/Tax/a"),
            )
    };
    let asks = [
        (
            "s3:ReplicateObject",
            "arn:aws:s3:::dest/Tax/a".to_owned(),
            DR,
            Context::complete(),
        ),
        (
            "kms:Decrypt",
            key(PROD, "us-east-1", "src").to_string(),
            PROD,
            context("us-east-1", "source"),
        ),
        (
            "kms:Encrypt",
            key(DR, "us-west-2", "dst").to_string(),
            DR,
            context("us-west-2", "dest"),
        ),
    ];
    judged.aws.with(|state| {
        let mut roles = state.roles.values();
        let role = roles.find(|role| role.arn.name.as_str().starts_with("brepl-"));
        asks.map(|(action, resource, owner, context)| {
            let policy = match state.keys.get(&resource) {
                Some(key) => ResourcePolicy::Key(&key.policy),
                None => ResourcePolicy::Bucket(state.buckets["dest"].policy.as_ref()),
            };
            let asked = Asked {
                action,
                resource: resource.clone(),
                owner: &owner.parse().unwrap(),
                policy,
                context,
            };
            role.is_some_and(|role| {
                state
                    .session(role, "s3-replication")
                    .access(&asked)
                    .is_allowed()
            })
        })
    })
}

fn writes(judged: &Judged) -> usize {
    let calls = judged.aws.calls();
    calls.iter().filter(|call| call.writes()).count()
}

fn since(judged: &Judged) -> Option<String> {
    judged.aws.with(|state| {
        let mut roles = state.roles.values();
        let role = roles.find(|role| role.arn.name.as_str().starts_with("brepl-"))?;
        role.tags.get("bucketops.dev/draining-since").cloned()
    })
}

async fn pass(judged: &mut Judged, seconds: i64) {
    judged.cluster.pass(seconds);
    assert!(judged.settle().await);
    assert_eq!(judged.cluster.condition("tax", "Ready").1, "Ready");
}

#[tokio::test]
async fn what_is_on_its_way_is_replicated_after_a_move() {
    type Edit = fn(&mut Value);
    let edits: [(&str, Edit, [bool; 3]); 3] = [
        (
            "another destination",
            |spec| spec["destination"]["bucket"] = json!("archive"),
            [false, true, false],
        ),
        (
            "a narrower prefix",
            |spec| spec["rules"][0]["prefix"] = json!("Tax/2026/"),
            [false, false, false],
        ),
        (
            "another source key",
            |spec| spec["source"]["kmsKeys"] = json!([key(PROD, "us-east-1", "bkp").to_string()]),
            [true, false, true],
        ),
    ];
    for (what, edit, after) in edits {
        let mut judged = ready().await;
        assert_eq!((may_still(&judged), since(&judged)), ([true; 3], None));
        let mut edited = object();
        edit(&mut edited);
        judged.cluster.apply("tax", &edited);
        pass(&mut judged, 60).await;
        assert_eq!(may_still(&judged), [true; 3], "{what}");
        assert!(
            since(&judged).is_some_and(|since| !since.is_empty()),
            "{what}"
        );

        // Nothing is written while it waits, also not by an operator that just started.
        let mut judged = judged.copy();
        judged.cluster.times.drain = DAY;
        pass(&mut judged, SECONDS / 2).await;
        assert_eq!(
            (may_still(&judged), writes(&judged)),
            ([true; 3], 0),
            "{what}"
        );

        pass(&mut judged, SECONDS / 2).await;
        assert_eq!(may_still(&judged), after, "{what}");
        assert_eq!(since(&judged).as_deref(), Some(""), "{what}");
        let status = &judged.cluster.objects[&object_key("tax")].2;
        assert_eq!(status.drift, None, "it is no drift: {what}");

        let before = writes(&judged);
        pass(&mut judged, SECONDS).await;
        assert_eq!(writes(&judged), before, "{what}");
        judged.cluster.delete("tax");
        assert!(judged.settle().await);
        let left = judged.aws.with(|state| {
            state.buckets["dest"].policy.is_some() || state.buckets["archive"].policy.is_some()
        });
        assert!(!left && since(&judged).is_none(), "{what}");
    }
}

#[tokio::test]
async fn a_deletion_does_not_wait() {
    let mut judged = ready().await;
    judged.cluster.delete("tax");
    assert!(judged.settle().await);
    assert_eq!(may_still(&judged), [false; 3]);
}

/// A second edit waits as long as the first one.
#[tokio::test]
async fn a_further_edit_begins_again() {
    let mut judged = ready().await;
    let mut first = object();
    first["rules"][0]["prefix"] = json!("Tax/2026/");
    judged.cluster.apply("tax", &first);
    pass(&mut judged, 60).await;
    pass(&mut judged, SECONDS * 3 / 4).await;
    let mut second = object();
    second["destination"]["bucket"] = json!("archive");
    judged.cluster.apply("tax", &second);
    pass(&mut judged, 60).await;
    pass(&mut judged, SECONDS / 2).await;
    assert_eq!(
        may_still(&judged),
        [true; 3],
        "18 hours after the second edit's first day"
    );
    pass(&mut judged, SECONDS * 3 / 4).await;
    assert_eq!(may_still(&judged), [false, true, false]);
}

/// What does not fit together with former permissions is served without these.
#[tokio::test]
async fn former_permissions_never_forbid_an_edit() {
    let mut judged = ready().await;
    judged.edit_forty_times(&object()).await;
}
