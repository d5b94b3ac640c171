//! Two replicas: one writes, and the other takes over.

use std::time::Duration;

use anyhow::{Context, ensure};
use axum::http::StatusCode;
use serde_json::{Value, json};
use testbed::{
    relay::Relay,
    stage::{SOURCE_REGION, Stage, until},
};

use crate::{
    Ground,
    front::{Front, Trouble},
};

const RELEASE: &str = "bucket-replication-operator";

pub async fn holder(stage: &Stage<'_>, release: &str) -> anyhow::Result<String> {
    let words = [
        "get",
        "lease",
        release,
        "-n",
        "bucket-replication",
        "-o",
        "json",
        "--ignore-not-found",
    ];
    let text = stage.environment.kubectl(&words).await?;
    let lease: Value = serde_json::from_str(if text.trim().is_empty() {
        "null"
    } else {
        &text
    })?;
    Ok(lease["spec"]["holderIdentity"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

/// Waits until somebody else than `before` holds the lease.
pub async fn another(stage: &Stage<'_>, release: &str, before: &str) -> anyhow::Result<String> {
    let found = until(Duration::from_secs(20), async || {
        Ok(Some(holder(stage, release).await?).filter(|now| !now.is_empty() && now != before))
    });
    found.await?.context("nobody takes the lease")
}

pub async fn prefixes(stage: &Stage<'_>) -> anyhow::Result<Vec<String>> {
    let existing = stage
        .source
        .replication(SOURCE_REGION, &stage.source_bucket)
        .await?;
    let rules = existing
        .iter()
        .flat_map(aws_sdk_s3::types::ReplicationConfiguration::rules);
    Ok(rules
        .filter_map(|rule| rule.filter()?.prefix().map(ToOwned::to_owned))
        .collect())
}

pub async fn edit(stage: &Stage<'_>, prefix: &str) -> anyhow::Result<()> {
    let mut object = stage.replication();
    object["spec"]["rules"] = json!([{"name": "tax", "prefix": prefix}]);
    stage.apply(&object).await.map(drop)
}

pub async fn written(
    stage: &Stage<'_>,
    prefix: &str,
    most: Duration,
) -> anyhow::Result<Option<()>> {
    until(most, async || {
        Ok((prefixes(stage).await? == [prefix]).then_some(()))
    })
    .await
}

pub async fn change(stage: &Stage<'_>, prefix: &str) -> anyhow::Result<()> {
    edit(stage, prefix).await?;
    written(stage, prefix, Duration::from_secs(30))
        .await?
        .context("the edit is not written")?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    ensure!(
        prefixes(stage).await? == [prefix],
        "{:?}",
        prefixes(stage).await?
    );
    Ok(())
}

pub async fn one_of_two_writes_and_the_other_takes_over(ground: &Ground) -> anyhow::Result<()> {
    let flags = [
        ("LEADER_ELECTION", "true"),
        ("LEASE_DURATION", "3s"),
        ("SETTLE_DELAY", "0s"),
        ("DRAIN_PERIOD", "0s"),
        ("DRIFT_PERIOD", "3s"),
        ("DRIFT_GRACE", "500ms"),
    ];
    let mut stage = ground.stage_with("leader", &flags).await?;
    stage.start().await?;
    let first = another(&stage, RELEASE, "").await?;
    stage.start_another().await?;
    change(&stage, "Tax/1").await?;
    ensure!(
        holder(&stage, RELEASE).await? == first,
        "the second took the lease of the first"
    );

    // The first sleeps for longer than its lease; when it wakes up, it writes nothing more, and waits for its turn.
    stage.signal(0, "STOP").await?;
    let second = another(&stage, RELEASE, &first).await?;
    change(&stage, "Tax/2").await?;
    stage.signal(0, "CONT").await?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    ensure!(prefixes(&stage).await? == ["Tax/2"] && holder(&stage, RELEASE).await? == second);
    ensure!(
        stage.has_ended(0)?.is_none(),
        "the first ended when it lost its lease"
    );

    // One that is told to end gives its lease back, so that nobody waits for it.
    stage.signal(1, "TERM").await?;
    ensure!(
        another(&stage, RELEASE, &second).await? == first,
        "the first does not get its turn"
    );
    change(&stage, "Tax/3").await?;

    // One that is killed does not.
    stage.start_another().await?;
    stage.signal(0, "KILL").await?;
    another(&stage, RELEASE, &first).await?;
    change(&stage, "Tax/4").await?;
    stage.delete("tax").await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}

/// An API server that takes connections and never answers: nobody ends, and once it answers again, both replicas are of use.
pub async fn an_api_server_that_is_silent_for_a_minute_stops_nobody(
    ground: &Ground,
) -> anyhow::Result<()> {
    const SILENT: Duration = Duration::from_mins(1);
    let release = "silence";
    let flags = [
        ("LEADER_ELECTION", "true"),
        ("RELEASE_NAME", release),
        ("SETTLE_DELAY", "0s"),
        ("DRAIN_PERIOD", "0s"),
        ("DRIFT_GRACE", "500ms"),
    ];
    let mut stage = ground.stage_with("silence", &flags).await?;
    // Its own lease is none that the chart's Role names.
    let relay = Relay::start(
        &ground.environment,
        &ground.environment.kubeconfig(),
        "silence",
    )
    .await?;
    stage.use_kubeconfig(relay.kubeconfig.clone());
    stage.start().await?;
    stage.start_another().await?;
    change(&stage, "Tax/1").await?;

    relay.set_silent(true);
    edit(&stage, "Tax/2").await?;
    tokio::time::sleep(SILENT).await;
    ensure!(
        prefixes(&stage).await? == ["Tax/1"],
        "the relay is not silent"
    );
    relay.set_silent(false);
    written(&stage, "Tax/2", SILENT)
        .await?
        .context("the leader does not go on")?;
    ensure!(
        stage.has_ended(0)?.is_none() && stage.has_ended(1)?.is_none(),
        "a replica ended"
    );

    let leader = holder(&stage, release).await?;
    let number = stage
        .process_ids()
        .iter()
        .position(|id| leader.contains(&format!("_{id}_")))
        .context("nobody leads")?;
    stage.signal(number, "KILL").await?;
    edit(&stage, "Tax/3").await?;
    written(&stage, "Tax/3", SILENT)
        .await?
        .context("the standby does not take over")?;
    stage.delete("tax").await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}

/// Whatever the API server does for 20 seconds, or `TROUBLE_SECONDS`: the operator does not end, does not flood it, and goes on once it answers again.
pub async fn an_api_server_in_trouble_stops_nobody_for_long(ground: &Ground) -> anyhow::Result<()> {
    /// A watch that says nothing is given up after a minute, and opened again.
    const RECOVERY: Duration = Duration::from_secs(75);
    /// In a second, with two watches, a lease and one object.
    const MOST_REQUESTS: usize = 5;
    let seconds = std::env::var("TROUBLE_SECONDS").ok();
    let seconds = seconds.map_or(Ok(20), |seconds| seconds.parse())?;
    let trouble_lasts = Duration::from_secs(seconds);
    let flags = [
        ("LEADER_ELECTION", "true"),
        ("RELEASE_NAME", "trouble"),
        ("SETTLE_DELAY", "0s"),
        ("DRAIN_PERIOD", "0s"),
        ("DRIFT_GRACE", "500ms"),
    ];
    let mut stage = ground.stage_with("trouble", &flags).await?;
    let environment = &ground.environment;
    let file = environment.directory.join("kubeconfig-front");
    let mut front = Front::start(&environment.kubeconfig(), file).await?;
    stage.use_kubeconfig(front.kubeconfig.clone());
    stage.start().await?;
    // What a visit needs once is not what trouble costs.
    for prefix in ["Tax/a", "Tax/b", "Tax/c", "Tax/0"] {
        change(&stage, prefix).await?;
    }
    let id = stage.process_ids()[0];
    let memory = resident_kilobytes(id)?;
    let troubles = [
        Trouble::Answers(StatusCode::SERVICE_UNAVAILABLE),
        Trouble::Answers(StatusCode::TOO_MANY_REQUESTS),
        Trouble::Refuses,
        Trouble::FrozenWatches,
    ];
    for (number, trouble) in troubles.into_iter().enumerate() {
        let before = front.requests();
        front.set(trouble)?;
        let prefix = format!("Tax/{}", number + 1);
        edit(&stage, &prefix).await?;
        tokio::time::sleep(trouble_lasts).await;
        let asked = front.requests() - before;
        ensure!(
            asked <= MOST_REQUESTS * usize::try_from(seconds)?,
            "{trouble:?}: {asked} requests"
        );
        let seen = prefixes(&stage).await?;
        ensure!(
            seen == [format!("Tax/{number}")],
            "{trouble:?} is none: {seen:?}"
        );
        front.set(Trouble::None)?;
        written(&stage, &prefix, RECOVERY)
            .await?
            .with_context(|| format!("{trouble:?}: it does not go on"))?;
        ensure!(stage.has_ended(0)?.is_none(), "{trouble:?}: it ended");
    }
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let descriptors = std::fs::read_dir(format!("/proc/{id}/fd"))?.count();
    ensure!(descriptors <= 64, "{descriptors} descriptors");
    let grown = resident_kilobytes(id)?;
    ensure!(grown <= memory + memory / 10, "{memory} kB grew to {grown}");
    stage.delete("tax").await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}

fn resident_kilobytes(process: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kilobytes.context("no VmRSS")?.parse()?)
}

/// What waits for permissions to become known holds up nobody who is told to end.
pub async fn one_that_is_told_to_end_does_not_wait_for_permissions_to_settle(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground
        .stage_with("terminate", &[("SETTLE_DELAY", "5m")])
        .await?;
    stage.start().await?;
    stage.apply(&stage.replication()).await?;
    stage
        .wait_for("tax", "ReplicationConfigured", "Unknown", "Progressing")
        .await?;
    stage.signal(0, "TERM").await?;
    let ended = until(Duration::from_secs(5), async || stage.has_ended(0)).await?;
    ended.context("it waits")?;
    ensure!(prefixes(&stage).await?.is_empty());
    Ok(())
}
