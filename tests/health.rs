//! S3's replication metrics on the strict AWS: what is read says whether operations fail or are late, and who may not read them is told so.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on has failed"
)]

#[path = "judged/mod.rs"]
mod ground;
mod support;

use std::{fmt::Write, time::Duration};

use bucket_replication_operator::{
    api::{AwsAccount, BucketReplication, aws_account::ReplicationMetrics},
    cloud::own_policy,
    replication::{
        accounts::Accounts,
        observed::{Failure, FailureKind},
        verification::health::{Readings, batches, health, metered},
    },
};
use ground::Judged;
use serde_json::{Value, json};
use strict_aws::weather::{Outage, Weather};
use support::{
    cluster::{DR, key, object_key, spec},
    golden::compare,
};

const WINDOW: Duration = Duration::from_mins(25);

fn with_metrics(account: &mut AwsAccount) {
    account.spec.replication_metrics = Some(ReplicationMetrics {
        period: "15m".to_owned(),
    });
}

async fn ready(change: &dyn Fn(&mut AwsAccount)) -> Judged {
    let mut judged = Judged::with(&json!({}), change);
    let object = spec(
        ("dr", "dest"),
        Some(&key(DR, "us-west-2", "dst")),
        &json!({
            "rules": [{"name": "tax", "prefix": "Tax"}, {"name": "legal", "prefix": "Legal"}],
            "metrics": "Enabled",
            "verification": {"maxLatency": "10m"},
        }),
    );
    judged.cluster.apply("tax", &object);
    assert!(judged.settle().await);
    assert_eq!(judged.cluster.condition("tax", "Ready").1, "Ready");
    judged
}

/// The object as the API server has it.
fn object(judged: &Judged) -> BucketReplication {
    let (object, generation, status) = judged.cluster.objects[&object_key("tax")].clone();
    serde_json::from_value(json!({
        "apiVersion": "bucketops.dev/v1alpha1", "kind": "BucketReplication",
        "metadata": {"name": "tax", "namespace": object.key.namespace, "generation": generation},
        "spec": object.spec, "status": status,
    }))
    .unwrap()
}

/// Reads the metrics as the operator does: status, reason and message.
async fn read(judged: &Judged) -> Result<(Option<bool>, String), Failure> {
    let metered = metered(&object(judged)).unwrap();
    let accounts = Accounts::new(&judged.cluster.accounts);
    let account = accounts.by_name("prod").unwrap();
    let mut readings = Readings::new();
    for (region, queries) in batches([&metered]) {
        let data = judged.sdk().metric_data(account, &region, &queries, WINDOW);
        readings.extend(data.await?);
    }
    let found = health(&metered, &readings, WINDOW);
    Ok((
        found.holds,
        format!(
            "{} {}: {}",
            found.status(),
            found.reason.as_str(),
            found.message
        ),
    ))
}

const KMS: &[(&str, &str)] = &[("x-amz-server-side-encryption", "aws:kms")];

fn upload(judged: &Judged, object: &str) -> Option<&'static str> {
    let source = key(support::cluster::PROD, "us-east-1", "src").to_string();
    let id = (
        "x-amz-server-side-encryption-aws-kms-key-id",
        source.as_str(),
    );
    judged.upload(object, &[KMS[0], id]).0
}

#[tokio::test]
async fn failures_and_latency_are_read_where_s3_publishes_them() {
    let judged = ready(&with_metrics).await;
    let mut said = String::new();
    let mut note = |what: &str, found: &(Option<bool>, String)| {
        writeln!(said, "{what}: {}", found.1).unwrap();
    };
    let _ = judged.aws.take_calls();
    assert_eq!(upload(&judged, "Tax/a"), Some("COMPLETED"));
    let found = read(&judged).await.unwrap();
    note("an object is replicated", &found);
    assert_eq!(found.0, Some(true));
    let calls = judged.aws.take_calls();
    let reads = calls
        .iter()
        .filter(|call| call.operation == "monitoring:GetMetricData");
    let regions: Vec<_> = reads.map(|call| call.region.as_str()).collect();
    assert_eq!(
        regions,
        ["us-east-1", "us-west-2"],
        "one call for each Region: {calls:#?}"
    );

    let right = judged.aws.with(|state| state.clone());
    judged.aws.with(|state| {
        state.buckets.get_mut("dest").unwrap().versioning = Some(false);
    });
    assert_eq!(upload(&judged, "Legal/a"), Some("FAILED"));
    let found = read(&judged).await.unwrap();
    note("an object failed", &found);
    assert_eq!(found.0, Some(false));
    judged.aws.pass(WINDOW + Duration::from_mins(1));
    let operations = judged.aws.with(|state| state.operations.clone());
    judged.aws.with(|state| {
        *state = right;
        state.operations = operations;
    });
    let found = read(&judged).await.unwrap();
    note("long after that", &found);
    assert_eq!(found.0, Some(true));

    judged.aws.set_weather(Weather {
        outages: vec![Outage {
            region: Some("us-west-2".to_owned()),
            account: Some("s3".to_owned()),
            ..Outage::default()
        }],
        ..Weather::default()
    });
    assert_eq!(upload(&judged, "Tax/late"), Some("PENDING"));
    judged.aws.pass(Duration::from_mins(11));
    let found = read(&judged).await.unwrap();
    note("an object is pending for 11 minutes", &found);
    assert_eq!(found.0, Some(false));

    judged.aws.set_weather(Weather::default());
    judged.aws.with(|state| {
        for rule in &mut state
            .buckets
            .get_mut("source")
            .unwrap()
            .replication
            .as_mut()
            .unwrap()
            .rules
        {
            rule.destination.metrics = None;
        }
        state.operations.clear();
    });
    let found = read(&judged).await.unwrap();
    note("S3 publishes nothing", &found);
    assert_eq!(found.0, None);
    compare("tests/golden/canaries/metrics.txt", &said);
}

#[tokio::test]
async fn without_replication_metrics_the_operator_may_not_read_them() {
    let judged = ready(&|_| {}).await;
    let failure = read(&judged).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Denied);
    assert!(
        failure.message.contains("cloudwatch:GetMetricData"),
        "{}",
        failure.message
    );
    let policies = |judged: &Judged| -> Vec<String> {
        let accounts = Accounts::new(&judged.cluster.accounts);
        let all = accounts
            .all()
            .map(|account| own_policy::policy(account).unwrap().compact());
        all.collect()
    };
    assert!(
        policies(&judged)
            .iter()
            .all(|policy| !policy.contains("cloudwatch"))
    );
    let allowed: Value = serde_json::from_str(&policies(&ready(&with_metrics).await)[0]).unwrap();
    assert!(
        allowed.to_string().contains("cloudwatch:GetMetricData"),
        "{allowed:#}"
    );
}
