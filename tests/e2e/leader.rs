//! Two replicas: one writes, and the other takes over.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use testbed::stage::{SOURCE_REGION, Stage, until};

use crate::Ground;

async fn holder(stage: &Stage<'_>) -> anyhow::Result<String> {
    let words = ["get", "lease", "bucket-replication-operator", "-n", "bucket-replication", "-o", "json", "--ignore-not-found"];
    let text = stage.environment.kubectl(&words).await?;
    let lease: Value = serde_json::from_str(if text.trim().is_empty() { "null" } else { &text })?;
    Ok(lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned())
}

/// Waits until somebody else than `before` holds the lease.
async fn another(stage: &Stage<'_>, before: &str) -> anyhow::Result<String> {
    let found = until(Duration::from_secs(20), async || Ok(Some(holder(stage).await?).filter(|now| !now.is_empty() && now != before)));
    found.await?.context("nobody takes the lease")
}

async fn prefixes(stage: &Stage<'_>) -> anyhow::Result<Vec<String>> {
    let standing = stage.source.replication(SOURCE_REGION, &stage.source_bucket).await?;
    let rules = standing.iter().flat_map(aws_sdk_s3::types::ReplicationConfiguration::rules);
    Ok(rules.filter_map(|rule| rule.filter()?.prefix().map(ToOwned::to_owned)).collect())
}

async fn change(stage: &Stage<'_>, prefix: &str) -> anyhow::Result<()> {
    let mut object = stage.replication();
    object["spec"]["rules"] = json!([{"name": "tax", "prefix": prefix}]);
    stage.apply(&object).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    ensure!(prefixes(stage).await? == [prefix], "{:?}", prefixes(stage).await?);
    Ok(())
}

pub async fn one_of_two_writes_and_the_other_takes_over(ground: &Ground) -> anyhow::Result<()> {
    let flags =
        [("LEADER_ELECTION", "true"), ("LEASE_DURATION", "3s"), ("SETTLE_DELAY", "0s"), ("DRIFT_PERIOD", "3s"), ("DRIFT_GRACE", "500ms")];
    let mut stage = ground.stage_with("leader", &flags).await?;
    stage.start().await?;
    let first = another(&stage, "").await?;
    stage.start_another().await?;
    change(&stage, "Tax/1").await?;
    ensure!(holder(&stage).await? == first, "the second took the lease of the first");

    // The first sleeps for longer than its lease; when it wakes up, it ends, and writes nothing more.
    stage.signal(0, "STOP").await?;
    let second = another(&stage, &first).await?;
    change(&stage, "Tax/2").await?;
    stage.signal(0, "CONT").await?;
    let ended = until(Duration::from_secs(20), async || stage.has_ended(0)).await?;
    ended.context("the first does not end, although it lost its lease")?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    ensure!(prefixes(&stage).await? == ["Tax/2"] && holder(&stage).await? == second);

    // One that is told to end gives its lease back, so that nobody waits for it.
    stage.start_another().await?;
    stage.signal(1, "TERM").await?;
    let third = another(&stage, &second).await?;
    ensure!(third != first);
    change(&stage, "Tax/3").await?;

    // One that is killed does not.
    stage.start_another().await?;
    stage.signal(2, "KILL").await?;
    another(&stage, &third).await?;
    change(&stage, "Tax/4").await?;
    stage.delete("tax").await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}
