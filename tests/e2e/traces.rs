//! Traces: one span for each visit, and in it one for each call to AWS, as a collector gets them.

use std::time::Duration;

use anyhow::{Context, ensure};
use testbed::{collector::Collector, stage::until};

use crate::Ground;

pub async fn a_visit_and_each_call_in_it_are_spans(ground: &Ground) -> anyhow::Result<()> {
    let collector = Collector::start().await?;
    let long = [
        ("DRIFT_PERIOD", "10m"),
        ("SETTLE_DELAY", "0s"),
        ("DRAIN_PERIOD", "0s"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
    ];
    let mut stage = ground.stage_with("traces", &long).await?;
    stage.start().await?;
    stage.apply(&stage.replication()).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    // What is not exported yet when it ends must not be lost.
    stage.signal(0, "TERM").await?;
    until(Duration::from_secs(20), async || stage.has_ended(0))
        .await?
        .context("it does not end")?;

    let spans = collector.spans();
    let calls: Vec<_> = spans
        .iter()
        .filter(|span| {
            span.attributes
                .get("rpc.system")
                .is_some_and(|system| system == "aws-api")
        })
        .collect();
    let made = stage.proxy.calls();
    ensure!(
        calls.len() == made.len(),
        "{} spans of {} calls: {calls:#?}",
        calls.len(),
        made.len()
    );
    let put = calls
        .iter()
        .find(|span| span.name == "S3.PutBucketReplication")
        .context("no span of the last write")?;
    ensure!(
        put.attributes
            .get("http.response.status_code")
            .is_some_and(|status| status == "200"),
        "{put:?}"
    );
    ensure!(
        put.attributes
            .get("aws.request_id")
            .is_some_and(|id| !id.is_empty()),
        "{put:?}"
    );
    let visit = spans
        .iter()
        .find(|span| span.id == put.parent)
        .context("the call is in no visit")?;
    ensure!(
        visit.name == "visit" && visit.attributes.get("bucket") == Some(&stage.source_bucket),
        "{visit:?}"
    );
    ensure!(
        visit
            .attributes
            .get("steps")
            .is_some_and(|steps| steps.parse::<u32>().is_ok_and(|steps| steps >= 4)),
        "{visit:?}"
    );
    ensure!(
        visit
            .resource
            .get("service.name")
            .is_some_and(|name| name == "bucket-replication-operator"),
        "{visit:?}"
    );
    ensure!(
        visit
            .resource
            .get("bucketops.installation")
            .is_some_and(|id| id == "traces"),
        "{visit:?}"
    );
    let outside = calls.iter().filter(|span| {
        !spans
            .iter()
            .any(|visit| visit.name == "visit" && visit.id == span.parent)
    });
    ensure!(outside.count() == 0, "calls outside of visits");
    stage.start().await?;
    stage.delete("tax").await
}
