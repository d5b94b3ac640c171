//! One replica follows another in the middle of its work: what is being written ends, and nothing is written twice.

use std::time::Duration;

use anyhow::{Context, ensure};
use testbed::{
    proxy::Fault,
    stage::{Stage, until},
};

use crate::{
    Ground,
    leader::{another, change, edit, holder, prefixes, written},
};

/// A stage with two replicas that have a lease of their own, which no Role of the chart names.
async fn two_replicas<'a>(ground: &'a Ground, name: &'a str) -> anyhow::Result<Stage<'a>> {
    let flags = [
        ("LEADER_ELECTION", "true"),
        ("RELEASE_NAME", name),
        ("SETTLE_DELAY", "0s"),
        ("DRAIN_PERIOD", "0s"),
        ("DRIFT_GRACE", "500ms"),
    ];
    let mut stage = ground.stage_with(name, &flags).await?;
    stage.use_kubeconfig(ground.environment.kubeconfig());
    stage.start().await?;
    stage.start_another().await?;
    Ok(stage)
}

fn writes(stage: &Stage<'_>) -> Vec<String> {
    let calls = stage.proxy.calls().into_iter();
    calls
        .filter(testbed::proxy::Call::writes)
        .map(|call| call.action)
        .collect()
}

/// The reads of one that is told to end are dropped, a write under way ends, and the other replica acts at once.
pub async fn one_that_is_told_to_end_only_waits_for_its_write(
    ground: &Ground,
) -> anyhow::Result<()> {
    const SOON: Duration = Duration::from_secs(5);
    const SLOW: Duration = Duration::from_secs(4);
    let mut stage = two_replicas(ground, "handover").await?;
    change(&stage, "Tax/1").await?;
    let first = holder(&stage, "handover").await?;

    let put = "s3:PutReplicationConfiguration";
    stage.proxy.set_fault(put, Some(Fault::Delay(SLOW)));
    let before = writes(&stage).len();
    edit(&stage, "Tax/2").await?;
    tokio::time::sleep(SLOW / 2).await;
    ensure!(prefixes(&stage).await? == ["Tax/1"], "it is not slow");
    stage.signal(0, "TERM").await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    ensure!(stage.has_ended(0)?.is_none(), "its write was dropped");
    let ended = until(SOON, async || stage.has_ended(0)).await?;
    ended.context("it does not end")?;
    ensure!(
        prefixes(&stage).await? == ["Tax/2"],
        "its write was dropped"
    );
    stage.proxy.set_fault(put, None);
    let second = another(&stage, "handover", &first).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let written_once = writes(&stage).split_off(before);
    let puts = written_once.iter().filter(|action| *action == put).count();
    ensure!(puts == 1, "{written_once:?}");

    // Reads that are not answered keep nobody.
    stage.start_another().await?;
    let read = "s3:GetReplicationConfiguration";
    let hang = Fault::Delay(Duration::from_secs(25));
    stage.proxy.set_fault(read, Some(hang));
    edit(&stage, "Tax/3").await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    stage.signal(1, "TERM").await?;
    let ended = until(SOON, async || stage.has_ended(1)).await?;
    ended.context("it waits for a read")?;
    stage.proxy.set_fault(read, None);
    another(&stage, "handover", &second).await?;
    written(&stage, "Tax/3", SOON)
        .await?
        .context("the next one does not act")?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    stage.delete("tax").await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}

/// One that sleeps for a minute in the middle of an edit makes at most one late write, which changes nothing.
pub async fn one_that_sleeps_amid_an_edit_changes_nothing_when_it_wakes(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = two_replicas(ground, "asleep").await?;
    let first = another(&stage, "asleep", "").await?;
    let put = "s3:PutBucketPolicy";
    let slow = Duration::from_secs(4);
    stage.proxy.set_fault(put, Some(Fault::Delay(slow)));
    stage.apply(&stage.replication()).await?;
    tokio::time::sleep(slow / 2).await;
    ensure!(prefixes(&stage).await?.is_empty(), "it is not slow");
    stage.signal(0, "STOP").await?;
    let asleep = tokio::time::Instant::now();
    stage.proxy.set_fault(put, None);
    let second = until(Duration::from_mins(1), async || {
        let now = holder(&stage, "asleep").await?;
        Ok((!now.is_empty() && now != first).then_some(now))
    });
    let second = second.await?.context("nobody takes the lease")?;
    change(&stage, "Tax/2").await?;
    tokio::time::sleep_until(asleep + Duration::from_mins(1)).await;
    let before = writes(&stage).len();
    stage.signal(0, "CONT").await?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let late = writes(&stage).split_off(before);
    ensure!(late.len() <= 1, "{late:?}");
    ensure!(stage.has_ended(0)?.is_none(), "it ended");
    ensure!(prefixes(&stage).await? == ["Tax/2"] && holder(&stage, "asleep").await? == second);
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    stage.delete("tax").await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}
