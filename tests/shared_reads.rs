//! Reads that several source buckets need, on the strict AWS: made once and shared for a short time, and never older than the operator's own writes.
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

use bucket_replication_operator::{
    cloud::Cloud,
    replication::{names::Region, question::Question},
};
use futures::future::join_all;
use ground::Judged;
use serde_json::{Value, json};
use strict_aws::weather::{Outage, OutageKind, Weather};
use support::cluster::{DR, bucket, key, spec};

const VALID: Duration = Duration::from_secs(2);

fn judged() -> Judged {
    let judged = Judged::new().sharing_reads(VALID);
    judged.aws.set_weather(Weather {
        latency: 50,
        ..Weather::default()
    });
    judged
}

/// How often each of these was called since the last time.
fn calls(judged: &Judged, operation: &str) -> usize {
    let calls = judged.aws.take_calls();
    let of = |call: &&strict_aws::calls::Call| call.operation == operation;
    calls.iter().filter(of).count()
}

fn policy_of_destination() -> Question {
    let region: Region = "us-west-2".parse().unwrap();
    Question::BucketPolicy(bucket(DR, "dest"), region)
}

fn wish() -> Value {
    spec(
        ("dr", "dest"),
        Some(&key(DR, "us-west-2", "dst")),
        &json!({}),
    )
}

#[tokio::test(start_paused = true)]
async fn what_several_ask_is_asked_once_and_again_later() {
    let judged = judged();
    let (cloud, question) = (judged.cloud(), policy_of_destination());
    let several = join_all((0..12).map(|_| cloud.ask(&question))).await;
    assert!(several.iter().all(|answer| *answer == several[0]));
    assert_eq!(calls(&judged, "s3:GetBucketPolicy"), 1);
    tokio::time::sleep(VALID / 2).await;
    cloud.ask(&question).await;
    assert_eq!(calls(&judged, "s3:GetBucketPolicy"), 0);
    tokio::time::sleep(VALID).await;
    cloud.ask(&question).await;
    assert_eq!(calls(&judged, "s3:GetBucketPolicy"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_read_is_shared_by_those_who_wait_for_it_alone() {
    let judged = judged();
    let (cloud, question) = (judged.cloud(), policy_of_destination());
    cloud.ask(&Question::Region(bucket(DR, "dest"))).await;
    judged.aws.set_weather(Weather {
        latency: 50,
        outages: vec![Outage {
            kind: OutageKind::Throttles,
            ..Outage::default()
        }],
        ..Weather::default()
    });
    let _ = judged.aws.take_calls();
    let several = join_all((0..12).map(|_| cloud.ask(&question))).await;
    assert!(several.iter().all(|answer| answer.failure().is_some()));
    let attempts = calls(&judged, "s3:GetBucketPolicy");
    assert!(attempts <= 3, "{attempts} attempts, and one call has three");
    judged.aws.set_weather(Weather::default());
    assert_eq!(cloud.ask(&question).await.failure(), None);
}

/// The visits of two source buckets right after each other: the second sees what the first wrote, and writes nothing to the destination.
#[tokio::test(start_paused = true)]
async fn a_read_is_never_older_than_the_operators_own_write() {
    let mut judged = judged();
    judged.cluster.times.settle = Duration::ZERO;
    judged.cluster.apply("o", &wish());
    let cloud = judged.cloud();
    let before = cloud.ask(&policy_of_destination()).await;
    judged.visit().await;
    assert_eq!(judged.cluster.condition("o", "Ready").0, "True");
    let after = cloud.ask(&policy_of_destination()).await;
    assert_ne!(before, after, "the statement is seen at once");
    // Less than a moment later it is removed, which is seen at once as well.
    judged.cluster.delete("o");
    judged.visit().await;
    assert!(judged.cluster.objects.is_empty());
    assert_eq!(cloud.ask(&policy_of_destination()).await, before);
}
