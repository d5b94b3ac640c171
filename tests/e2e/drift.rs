//! Somebody else changes what an object made.

use std::time::Duration;

use anyhow::{Context, ensure};
use testbed::{
    proxy::Call,
    stage::{DESTINATION_REGION, SOURCE_REGION, Stage, until},
};

use crate::{
    Ground,
    budgets::{CHECK, CREATE, DELETE},
};

/// `Ground::stage` sets the drift period to three seconds; the rest is for a machine that does other things as well.
const PERIOD: Duration = Duration::from_secs(15);

async fn corrections(stage: &Stage<'_>) -> anyhow::Result<usize> {
    Ok(stage
        .events()
        .await?
        .iter()
        .filter(|(reason, _)| reason == "DriftCorrected")
        .count())
}

pub async fn what_somebody_removes_is_put_back_with_one_event_each(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("drift").await?;
    stage.start().await?;
    stage.apply(&stage.replication()).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let role = stage
        .source
        .replication_roles()
        .await?
        .pop()
        .context("no role")?;

    stage
        .source
        .s3(SOURCE_REGION)
        .delete_bucket_replication()
        .bucket(&stage.source_bucket)
        .send()
        .await?;
    let back = until(PERIOD, async || {
        stage
            .source
            .replication(SOURCE_REGION, &stage.source_bucket)
            .await
    })
    .await?;
    ensure!(
        back.is_some_and(|configuration| configuration.rules().len() == 1),
        "the rule is not put back"
    );

    stage
        .source
        .iam()
        .delete_role_policy()
        .role_name(&role)
        .policy_name(&role)
        .send()
        .await?;
    let policy = async || {
        Ok(stage
            .source
            .iam()
            .get_role_policy()
            .role_name(&role)
            .policy_name(&role)
            .send()
            .await
            .ok())
    };
    until(PERIOD, policy)
        .await?
        .context("the role's policy is not put back")?;

    stage
        .destination
        .s3(DESTINATION_REGION)
        .delete_bucket_policy()
        .bucket(&stage.destination_bucket)
        .send()
        .await?;
    let policy = async || {
        stage
            .destination
            .bucket_policy(DESTINATION_REGION, &stage.destination_bucket)
            .await
    };
    until(PERIOD, policy)
        .await?
        .context("the bucket policy's statement is not put back")?;

    until(PERIOD, async || {
        Ok((corrections(&stage).await? >= 3).then_some(()))
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let events = stage.events().await?;
    ensure!(corrections(&stage).await? == 3, "{events:#?}");
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    ensure!(!stage.get("tax").await?["status"]["drift"]["correction"].is_null());
    Ok(())
}

pub async fn drift_checks_read_only(ground: &Ground) -> anyhow::Result<()> {
    let flags = [
        ("DRIFT_PERIOD", "5s"),
        ("DRIFT_GRACE", "500ms"),
        ("SETTLE_DELAY", "0s"),
        ("DRAIN_PERIOD", "0s"),
    ];
    let mut stage = ground.stage_with("steady", &flags).await?;
    stage.start().await?;
    stage.apply(&stage.replication()).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let version = stage.get("tax").await?["metadata"]["resourceVersion"].clone();
    let all = || {
        stage
            .proxy
            .calls()
            .into_iter()
            .filter(|call| call.service != "sts")
            .collect::<Vec<_>>()
    };
    let looks = |calls: &[Call]| {
        calls
            .iter()
            .filter(|call| call.action == "s3:GetReplicationConfiguration")
            .count()
    };
    until(Duration::from_secs(20), async || {
        Ok((looks(&all()) == 4).then_some(()))
    })
    .await?
    .context("it is not looked at")?;
    // Creating reads the configuration once more, right before it is written. The rest of the third look; the fourth comes three and a half seconds after it at the earliest.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let calls = all();
    let created = calls
        .iter()
        .rposition(Call::writes)
        .map_or(0, |last| last + 1);
    ensure!(
        created == CREATE,
        "creating takes {CREATE} calls, not {created}: {calls:?}"
    );
    ensure!(
        calls.len() == created + 2 * CHECK,
        "two looks for drift take twice {CHECK} calls, not {}: {calls:?}",
        calls.len() - created
    );
    ensure!(
        stage.get("tax").await?["metadata"]["resourceVersion"] == version,
        "a drift check changed the object"
    );
    let _ = stage.proxy.take();
    stage.delete("tax").await?;
    let mut deleted = stage.proxy.take();
    // Once for each process and account.
    let lists = deleted.len();
    deleted.retain(|call| call.action != "iam:ListRoles");
    ensure!(lists - deleted.len() == 1, "{deleted:?}");
    ensure!(
        deleted.len() == DELETE,
        "deleting takes {DELETE} calls, not {}: {deleted:?}",
        deleted.len()
    );
    Ok(())
}
