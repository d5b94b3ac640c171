//! What S3 refuses for one object, on the strict AWS: that object is told, and its neighbors on the bucket are served at once.
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

use ground::Judged;
use serde_json::{Value, json};
use strict_aws::weather::{Fault, FaultKind, Weather};
use support::{
    cluster::{DR, KEYS, PROD, object_key, spec},
    golden::compare,
    in_process::document,
};

/// Permissions settle at once, so that one visit does everything.
fn judged() -> Judged {
    let mut judged = Judged::new();
    judged.cluster.times.settle = Duration::ZERO;
    judged
}

/// An object that replicates a prefix.
fn object(bucket: &str, prefix: &str) -> Value {
    let account = if bucket == "backup" { "prod" } else { "dr" };
    spec(
        (account, bucket),
        None,
        &json!({"rules": [{"name": "all", "prefix": prefix}]}),
    )
}

/// S3 refuses a configuration that has all of these texts.
fn refuse(judged: &Judged, texts: &[&str]) {
    let texts = texts.iter().map(|text| (*text).to_owned()).collect();
    judged.aws.with(|state| state.refused.push(texts));
}

fn reason(judged: &Judged, name: &str) -> String {
    judged.cluster.condition(name, "Ready").1
}

/// The replication configurations that S3 was sent: those that it accepted, and those that it refused.
fn writes(judged: &Judged) -> [usize; 2] {
    let calls = judged.aws.calls();
    let sent = calls
        .iter()
        .filter(|call| call.operation == "s3:PutBucketReplication");
    let (accepted, refused): (Vec<_>, Vec<_>) = sent.partition(|call| call.status == Some(200));
    [accepted.len(), refused.len()]
}

fn has_rule(judged: &Judged, text: &str) -> bool {
    judged.aws.with(|state| {
        json!(state.buckets["source"].replication)
            .to_string()
            .contains(text)
    })
}

/// versity/versitygw#1232 with a good object of another team on the same bucket.
#[tokio::test]
async fn of_two_new_objects_the_good_one_is_ready_at_the_first_visit() {
    for (first, second) in [("good", "bad"), ("bad", "good")] {
        let mut judged = judged();
        refuse(&judged, &["bad/"]);
        for name in [first, second] {
            judged
                .cluster
                .apply(name, &object("dest", &format!("{name}/")));
        }
        judged.visit().await;
        assert_eq!(reason(&judged, "good"), "Ready");
        assert_eq!(reason(&judged, "bad"), "RefusedByAWS");
        assert_eq!(judged.cluster.condition("bad", "Stalled").0, "True");
        let said = judged.cluster.message("bad", "ReplicationConfigured");
        assert!(said.contains("a rule is not accepted"), "{said}");
        assert!(has_rule(&judged, "good/") && !has_rule(&judged, "bad/"));
    }
}

#[tokio::test]
async fn of_two_edited_objects_the_good_one_is_changed() {
    let mut judged = judged();
    for name in ["good", "bad"] {
        judged
            .cluster
            .apply(name, &object("dest", &format!("{name}/")));
    }
    judged.visit().await;
    refuse(&judged, &["bad/new/"]);
    for name in ["good", "bad"] {
        judged
            .cluster
            .apply(name, &object("dest", &format!("{name}/new/")));
    }
    judged.visit().await;
    assert_eq!(reason(&judged, "good"), "Ready");
    assert_eq!(reason(&judged, "bad"), "RefusedByAWS");
    assert!(has_rule(&judged, "good/new/"));
    assert!(
        has_rule(&judged, "bad/") && !has_rule(&judged, "bad/new/"),
        "its former rule stays"
    );
}

/// A visit that ends before all were tried says of no object that it is ready whose rules are not written.
#[tokio::test]
async fn what_was_not_tried_yet_is_not_ready() {
    for after in 1..6 {
        let mut judged = judged();
        for number in 0..6 {
            judged.cluster.apply(
                &format!("o{number}"),
                &object("backup", &format!("p{number}/")),
            );
        }
        refuse(&judged, &["p4/"]);
        judged.aws.set_weather(Weather {
            faults: vec![Fault {
                operation: "s3:PutBucketReplication".to_owned(),
                after,
                times: 3,
                kind: FaultKind::Error(503, "SlowDown".to_owned()),
                ..Fault::default()
            }],
            ..Weather::default()
        });
        judged.visit().await;
        for number in 0..6 {
            let (name, prefix) = (format!("o{number}"), format!("p{number}/"));
            let is_ready = reason(&judged, &name) == "Ready";
            assert!(
                !is_ready || has_rule(&judged, &prefix),
                "{name} after {after}"
            );
        }
        judged.aws.set_weather(Weather::default());
        judged.cluster.pass(600);
        judged.settle().await;
        for number in 0..6 {
            let expected = if number == 4 { "RefusedByAWS" } else { "Ready" };
            assert_eq!(reason(&judged, &format!("o{number}")), expected, "{number}");
        }
    }
}

#[tokio::test]
async fn five_bad_ones_among_fifty() {
    let mut judged = judged();
    for number in 0..50 {
        let name = format!("o{number:02}");
        judged
            .cluster
            .apply(&name, &object("backup", &format!("p{number:02}/")));
    }
    let bad = [3, 11, 12, 27, 49];
    for number in bad {
        refuse(&judged, &[&format!("p{number:02}/")]);
    }
    judged.visit().await;
    for number in 0..50 {
        let expected = if bad.contains(&number) {
            "RefusedByAWS"
        } else {
            "Ready"
        };
        let name = format!("o{number:02}");
        let said = judged.cluster.message(&name, "Ready");
        assert_eq!(reason(&judged, &name), expected, "{number}: {said}");
    }
    let [accepted, refused] = writes(&judged);
    assert!(accepted + refused <= 50, "{accepted} and {refused}");
}

/// Rules that S3 refuses together, but not each by itself.
#[tokio::test]
async fn of_a_combination_the_older_object_is_accepted() {
    let mut judged = judged();
    refuse(&judged, &["older/", "younger/"]);
    judged.cluster.apply("z", &object("dest", "older/"));
    judged.cluster.apply("a", &object("dest", "younger/"));
    judged.visit().await;
    assert_eq!(reason(&judged, "z"), "Ready");
    assert_eq!(reason(&judged, "a"), "RefusedByAWS");
}

/// The destination of an object that was ready is deleted or suspended: S3 refuses every configuration that names it.
#[tokio::test]
async fn a_new_object_is_served_beside_one_whose_destination_is_gone() {
    for (gone, expected) in [(true, "BucketNotFound"), (false, "VersioningNotEnabled")] {
        let mut judged = judged();
        judged.cluster.apply("old", &object("backup", "old/"));
        judged.visit().await;
        assert_eq!(reason(&judged, "old"), "Ready");
        judged.aws.with(|state| {
            if gone {
                state.buckets.remove("backup");
            } else {
                state.buckets.get_mut("backup").unwrap().versioning = Some(false);
            }
        });
        judged.cluster.apply("new", &object("dest", "new/"));
        judged.visit().await;
        let said = judged.cluster.message("new", "Ready");
        assert_eq!(reason(&judged, "new"), "Ready", "{expected}: {said}");
        assert_eq!(reason(&judged, "old"), expected);
        assert!(has_rule(&judged, "new/") && !has_rule(&judged, "old/"));
        // It comes back with its destination.
        judged.aws.with(|state| {
            let backup = support::in_process::bucket(PROD, "us-east-1");
            state.buckets.insert("backup".to_owned(), backup);
        });
        judged.cluster.pass(600);
        assert!(judged.settle().await);
        assert_eq!(reason(&judged, "old"), "Ready");
        assert!(has_rule(&judged, "old/") && has_rule(&judged, "new/"));
    }
}

#[tokio::test]
async fn an_unmanaged_rule_that_s3_no_longer_takes_is_named_as_the_cause() {
    let mut judged = judged();
    judged.cluster.apply("old", &object("backup", "old/"));
    judged.visit().await;
    judged.aws.with(|state| {
        let configuration = state.buckets.get_mut("source").unwrap().replication.as_mut();
        let theirs = json!({
            "ID": "theirs", "Priority": 7, "Status": "Enabled", "Filter": {"Prefix": "theirs/"},
            "DeleteMarkerReplication": {"Status": "Disabled"}, "Destination": {"Bucket": "arn:aws:s3:::backup"},
        });
        configuration.unwrap().rules.push(serde_json::from_value(theirs).unwrap());
    });
    refuse(&judged, &["theirs/"]);
    judged.cluster.apply("new", &object("dest", "new/"));
    judged.visit().await;
    assert_eq!(reason(&judged, "new"), "ForeignRuleRefused");
    assert_eq!(reason(&judged, "old"), "Ready");
    assert!(has_rule(&judged, "theirs/"), "it stays as it was");
    let said = judged.cluster.message("new", "Ready");
    let text = format!(
        "# What an object says of rules that S3 refuses.\n\n== an unmanaged rule\nReady=False ForeignRuleRefused: {said}\n"
    );
    compare("tests/golden/refusals.txt", &text);
    judged.aws.with(|state| state.refused.clear());
    judged.cluster.pass(600);
    assert!(judged.settle().await);
    assert_eq!(reason(&judged, "new"), "Ready");
}

#[tokio::test]
async fn a_refusal_is_tried_again_once_in_a_longest_retry() {
    let mut judged = judged();
    judged.cluster.apply("good", &object("dest", "good/"));
    judged.visit().await;
    refuse(&judged, &["bad/"]);
    judged.cluster.apply("bad", &object("dest", "bad/"));
    judged.visit().await;
    let before = writes(&judged);
    // Neighbors are edited all the time, so that the bucket is visited.
    for minute in 0..60 {
        judged.cluster.pass(60);
        judged
            .cluster
            .apply("good", &object("dest", &format!("good/{minute}/")));
        judged.visit().await;
        assert_eq!(reason(&judged, "good"), "Ready");
        assert_eq!(reason(&judged, "bad"), "RefusedByAWS");
    }
    let refused = writes(&judged)[1] - before[1];
    assert!((10..=15).contains(&refused), "{refused} in an hour");
}

/// Case: a tenant that edits a bad object in a loop.
#[tokio::test]
async fn an_edit_is_tried_soon_and_each_further_one_later() {
    let mut judged = judged();
    refuse(&judged, &[r#""Prefix":"bad/"#]);
    judged.cluster.apply("bad", &object("dest", "bad/"));
    judged.visit().await;
    // The first correction is tried after seconds.
    judged.cluster.apply("bad", &object("dest", "better/"));
    judged.cluster.pass(10);
    judged.visit().await;
    assert_eq!(reason(&judged, "bad"), "Ready");
    let before = writes(&judged);
    for edit in 0..100 {
        judged
            .cluster
            .apply("bad", &object("dest", &format!("bad/{edit}/")));
        judged.cluster.pass(6);
        judged.visit().await;
    }
    let refused = writes(&judged)[1] - before[1];
    assert!(refused <= 5, "{refused} in ten minutes");
}

/// An object that is made again is another one, whatever S3 said of the first.
#[tokio::test]
async fn one_that_is_made_again_is_tried_at_once() {
    let mut judged = judged();
    judged.cluster.apply("good", &object("dest", "good/"));
    refuse(&judged, &["bad/"]);
    judged.cluster.apply("tax", &object("dest", "bad/"));
    judged.visit().await;
    assert_eq!(reason(&judged, "tax"), "RefusedByAWS");
    judged.cluster.delete("tax");
    while judged.cluster.objects.contains_key(&object_key("tax")) {
        judged.visit().await;
        judged.cluster.pass(5);
    }
    judged.cluster.apply("tax", &object("dest", "corrected/"));
    judged.visit().await;
    let said = judged.cluster.message("tax", "Ready");
    assert_eq!(reason(&judged, "tax"), "Ready", "{said}");
}

/// Nothing of the destination can be read: S3 alone says that its versioning is suspended, for all rules at once.
#[tokio::test]
async fn a_new_object_is_served_beside_one_whose_unread_destination_is_gone() {
    for suspended in [true, false] {
        let mut judged = judged();
        judged.cluster.edit_account("keys", |spec| {
            spec["access"] = json!("External");
            spec.as_object_mut().unwrap().remove("assumeRole");
        });
        judged.cluster.edit_account("prod", |spec| {
            spec["grants"][0]["sources"][0]["destinationAccountNames"] = json!(["dr", "keys"]);
        });
        judged.aws.with(|state| {
            for (bucket, role) in [("theirs", "one"), ("others", "two")] {
                let mut made = support::in_process::bucket(KEYS, "us-west-2");
                // Its owner lets anyone in, so that nothing has to be applied.
                made.policy = Some(document(json!({"Version": "2012-10-17", "Statement": [{
                    "Sid": role, "Effect": "Allow", "Principal": {"AWS": PROD}, "Action": "s3:*",
                    "Resource": [format!("arn:aws:s3:::{bucket}"), format!("arn:aws:s3:::{bucket}/*")],
                }]})));
                state.buckets.insert(bucket.to_owned(), made);
            }
        });
        for bucket in ["theirs", "others"] {
            let external = spec(
                ("keys", bucket),
                None,
                &json!({"rules": [{"name": "all", "prefix": format!("{bucket}/")}]}),
            );
            judged.cluster.apply(bucket, &external);
        }
        judged.visit().await;
        for bucket in ["theirs", "others"] {
            judged.cluster.attest(bucket);
        }
        judged.cluster.pass(60);
        judged.visit().await;
        for bucket in ["theirs", "others"] {
            assert_eq!(reason(&judged, bucket), "Attested");
        }
        judged.aws.with(|state| {
            if suspended {
                state.buckets.get_mut("theirs").unwrap().versioning = Some(false);
            } else {
                state.buckets.remove("theirs");
            }
        });
        judged.cluster.apply("new", &object("dest", "new/"));
        judged.visit().await;
        let said = judged.cluster.message("new", "Ready");
        assert_eq!(reason(&judged, "new"), "Ready", "{suspended}: {said}");
        assert_eq!(reason(&judged, "others"), "Attested");
        assert_ne!(judged.cluster.condition("theirs", "Ready").0, "True");
        assert!(has_rule(&judged, "new/") && has_rule(&judged, "others/"));
        assert!(!has_rule(&judged, "theirs/"), "{suspended}");
        // It comes back with its destination.
        judged.aws.with(|state| {
            let back = support::in_process::bucket(KEYS, "us-west-2");
            state.buckets.insert("theirs".to_owned(), back);
        });
        judged.cluster.pass(600);
        judged.settle().await;
        assert_eq!(reason(&judged, "theirs"), "Attested");
        assert!(has_rule(&judged, "theirs/"));
    }
}

/// ministryofjustice/analytical-platform#4932: a policy that names a deleted role can't be written at all.
#[tokio::test]
async fn a_policy_with_a_deleted_principal_is_named_and_others_are_served() {
    let mut judged = judged();
    judged.aws.with(|state| {
        let dead = json!({"Version": "2012-10-17", "Statement": [{
            "Sid": "Old", "Effect": "Allow", "Principal": {"AWS": "AROAEXAMPLEOFADELETEDROLE"},
            "Action": "s3:GetObject", "Resource": "arn:aws:s3:::dest/*",
        }]});
        state.buckets.get_mut("dest").unwrap().policy = Some(document(dead));
    });
    judged.cluster.apply("across", &object("dest", "across/"));
    judged.cluster.apply("within", &object("backup", "within/"));
    judged.visit().await;
    assert_eq!(reason(&judged, "within"), "Ready");
    assert_eq!(reason(&judged, "across"), "RefusedByAWS");
    assert_eq!(judged.cluster.condition("across", "Stalled").0, "True");
    let said = judged.cluster.message("across", "DestinationReady");
    for part in ["statement Old", "AROAEXAMPLEOFADELETEDROLE", DR] {
        assert!(said.contains(part), "no {part} in {said}");
    }
    judged
        .aws
        .with(|state| state.buckets.get_mut("dest").unwrap().policy = None);
    judged.cluster.pass(600);
    assert!(judged.settle().await);
    assert_eq!(reason(&judged, "across"), "Ready");
    assert!(judged.cluster.objects.contains_key(&object_key("across")));
}
