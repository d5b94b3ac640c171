//! Every precondition of replication, broken on the strict AWS before the first write and after the object was ready: `Ready` is True if and only if
//! the objects replicate, or says what is not known. `docs/reference/preconditions.md` is made from this table.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on has failed"
)]

#[path = "judged/mod.rs"]
mod ground;
mod support;
#[path = "preconditions/table.rs"]
mod table;

use std::fmt::Write;

use ground::Judged;

use serde_json::json;
use support::{
    cluster::{DR, PROD, key, object_key},
    golden::compare,
};
use table::{Outcome, Precondition, preconditions};

/// Uploads one object of each kind, and a delete marker. What was not replicated, with the reason.
fn upload(judged: &Judged) -> Vec<String> {
    let source_key = key(PROD, "us-east-1", "src").to_string();
    let tags = ("x-amz-tagging", "class=records");
    let kms = ("x-amz-server-side-encryption", "aws:kms");
    let id = (
        "x-amz-server-side-encryption-aws-kms-key-id",
        source_key.as_str(),
    );
    let mut failed = vec![];
    let mut note = |kind: &str, (status, reason): (Option<&str>, Option<String>)| {
        if status != Some("COMPLETED") {
            failed.push(format!("{kind}: {status:?} {reason:?}"));
        }
    };
    note("SSE-S3", judged.upload("Tax/a", &[tags]));
    // A key that can't be used for an upload can't be used for its replication.
    let usable = judged.aws.with(|state| {
        let found = state.keys.get(&source_key);
        found.is_some_and(|key| key.state == "Enabled")
    });
    if usable {
        note("SSE-KMS", judged.upload("Tax/b", &[tags, kms, id]));
    } else {
        note("SSE-KMS", (None, Some("the key can't be used".to_owned())));
    }
    let versioned = judged
        .aws
        .with(|state| state.buckets["source"].versioning == Some(true));
    if versioned {
        judged.call("DELETE", "/source/Tax/a", "", &[]);
        note("a delete marker", judged.status("Tax/a"));
    }
    failed
}

/// Says what the object reports, and checks it against what S3 does.
async fn observe(
    precondition: &Precondition,
    judged: &mut Judged,
    when: &str,
) -> Result<String, String> {
    judged.settle().await;
    let (status, reason) = judged.cluster.condition("tax", "Ready");
    let what = format!("{}, {when}", precondition.what);
    let says: String = ["SourceReady", "DestinationReady", "KeysReady", "RoleReady"]
        .map(|kind| judged.cluster.message("tax", kind))
        .join("\n");
    let is_there = judged
        .aws
        .with(|state| state.buckets.contains_key("source"));
    let failed = if is_there {
        upload(judged)
    } else {
        vec!["no bucket".to_owned()]
    };
    let (right, column) = match precondition.outcome {
        Outcome::Refused(expected) => (
            status == "False" && reason == expected && !failed.is_empty(),
            format!("`{expected}`"),
        ),
        Outcome::Corrected if when == "after" => (
            reason == "Ready" && failed.is_empty(),
            "`Ready`, once corrected".to_owned(),
        ),
        Outcome::Corrected | Outcome::Harmless => {
            (reason == "Ready" && failed.is_empty(), "`Ready`".to_owned())
        }
        Outcome::Noted(note) => (
            reason == "Ready" && says.contains(note),
            "`Ready`, with a note".to_owned(),
        ),
    };
    if right {
        Ok(column)
    } else {
        let expected = precondition.outcome;
        Err(format!(
            "{what}: expected {expected:?}, and Ready is {status} {reason}; not replicated: {failed:?}\n{says}"
        ))
    }
}

async fn check(precondition: &Precondition) -> Result<String, String> {
    let mut columns = vec![];
    let set_up = || {
        let mut judged = Judged::with_roles(&precondition.roles);
        judged.cluster.edit_account("dr", |spec| {
            spec["policies"] = precondition.policies.clone();
        });
        (precondition.before)(&judged);
        judged
    };
    if precondition.when.0 {
        let mut judged = set_up();
        (precondition.breaks)(&judged);
        let mut spec = table::object();
        (precondition.edit)(&mut spec);
        judged.cluster.apply("tax", &spec);
        columns.push(observe(precondition, &mut judged, "before").await?);
    } else {
        columns.push("–".to_owned());
    }
    if precondition.when.1 {
        let mut judged = set_up();
        judged.cluster.apply("tax", &table::object());
        judged.settle().await;
        table::own(&judged, &precondition.policies);
        judged.settle().await;
        let ready = judged.cluster.condition("tax", "Ready");
        let said = judged.cluster.message("tax", "Ready");
        assert_eq!(ready.1, "Ready", "{}: {said}", precondition.what);
        (precondition.breaks)(&judged);
        let mut spec = table::object();
        (precondition.edit)(&mut spec);
        if spec != table::object() {
            judged.cluster.apply("tax", &spec);
        }
        judged.cluster.pass(7_200);
        columns.push(observe(precondition, &mut judged, "after").await?);
    } else {
        columns.push("–".to_owned());
    }
    Ok(columns.join(" | "))
}

#[tokio::test]
async fn ready_is_true_if_and_only_if_objects_replicate() {
    let mut text = String::from(
        "<!-- Made from the code by `make update`: don't edit. -->\n\n# Preconditions\n\nWhat S3 replication depends on, what S3 does if it is broken, and what a `BucketReplication` then says: before anything\nis written, and after it was ready (within `--preflight-period`, an hour by default). A test breaks each of them on an AWS\nthat evaluates all policies and replicates under the role's permissions alone, and uploads objects with SSE-S3 and SSE-KMS,\nwith tags, and a delete marker: `Ready` is True if and only if all of them replicate. With a note, the message of a condition\nthat is True names what is not known and why. *To be confirmed on AWS* marks what no page of AWS says.\n",
    );
    let all = preconditions();
    assert!(all.len() >= 60, "{}", all.len());
    let (mut group, mut wrong) = ("", vec![]);
    for precondition in &all {
        if precondition.group != group {
            group = precondition.group;
            write!(text, "\n## {group}\n\n| Broken | What S3 does | Page | Before | After |\n|---|---|---|---|---|\n").unwrap();
        }
        let Precondition { what, s3, page, .. } = precondition;
        match check(precondition).await {
            Ok(columns) => writeln!(text, "| {what} | {s3} | {page} | {columns} |").unwrap(),
            Err(error) => wrong.push(error),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    compare("docs/reference/preconditions.md", &text);
}

/// New objects need another key at once, so that a changed default key or alias is not remembered for a preflight period.
#[tokio::test]
async fn a_changed_default_key_or_alias_is_seen_at_the_next_check() {
    let set_default = |judged: &Judged, id: &str| {
        let arn = key(PROD, "us-east-1", id).to_string();
        judged.aws.with(|state| {
            state.buckets.get_mut("source").unwrap().encryption = json!({"Rules": [{
                "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": arn}, "BucketKeyEnabled": false,
            }]});
        });
    };
    for listed in [false, true] {
        let mut judged = Judged::new();
        set_default(&judged, "src");
        let mut object = table::object();
        object["destination"]["kmsKey"] = json!("alias/replicas");
        if !listed {
            object["source"].as_object_mut().unwrap().remove("kmsKeys");
        }
        judged.cluster.apply("tax", &object);
        assert!(judged.settle().await);
        assert_eq!(judged.cluster.condition("tax", "Ready").1, "Ready");

        set_default(&judged, "bkp");
        judged.cluster.pass(600);
        judged.settle().await;
        let ready = judged.cluster.condition("tax", "Ready").1;
        if listed {
            assert_eq!(ready, "DefaultKeyNotListed");
            continue;
        }
        assert_eq!(ready, "Ready");
        assert_eq!(judged.upload("Tax/new", &[]).0, Some("COMPLETED"));

        let alias = format!("arn:aws:kms:us-west-2:{DR}:alias/replicas");
        let next = key(DR, "us-west-2", "next").to_string();
        judged.aws.with(|state| {
            let mut made = state.keys[&key(DR, "us-west-2", "dst").to_string()].clone();
            let root = format!("arn:aws:iam::{DR}:root");
            made.policy = support::in_process::document(json!({"Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Principal": {"AWS": root}, "Action": "kms:*", "Resource": "*",
            }]}));
            state.keys.insert(next.clone(), made);
            state.aliases.insert(alias, next.clone());
        });
        judged.cluster.pass(600);
        judged.settle().await;
        let status = &judged.cluster.objects[&object_key("tax")].2;
        let replica = status.destination.as_ref().unwrap().kms_key_arn.clone();
        assert_eq!(replica, Some(next));
        assert_eq!(judged.upload("Tax/newer", &[]).0, Some("COMPLETED"));
    }
}
