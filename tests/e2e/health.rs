//! S3's replication metrics: an object says whether operations fail, for as long as its account asks for them.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use testbed::stage::{DESTINATION_REGION, SOURCE_REGION, Stage, until};

use crate::Ground;

/// Applies the source's `AWSAccount` with other words for whom to ask, at which metrics are read at once.
async fn read_now(stage: &Stage<'_>, metrics: Option<Value>, contact: &str) -> anyhow::Result<()> {
    let mut account = stage.source_account();
    account["spec"]["contact"] = json!(contact);
    if let Some(metrics) = metrics {
        account["spec"]["replicationMetrics"] = metrics;
    }
    let policy = stage.printed_policy(&account).await?;
    stage.source.set_operator_policy(&policy).await?;
    stage.environment.apply(&account.to_string()).await?;
    Ok(())
}

async fn upload(stage: &Stage<'_>, object: &str) -> anyhow::Result<String> {
    let (bucket, key) = (&stage.source_bucket, &stage.source_key);
    let upload = stage.source.upload(SOURCE_REGION, bucket, object, key);
    upload.await?.context("no replication status")
}

fn reads(stage: &Stage<'_>) -> usize {
    let calls = stage.proxy.calls();
    let reads = calls.iter().filter(|call| call.service == "monitoring");
    reads.count()
}

pub async fn an_object_says_what_s3_reports_of_its_own_replication(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("health").await?;
    stage.start().await?;
    let mut object = stage.replication();
    object["spec"]["metrics"] = json!("Enabled");
    stage.apply(&object).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    ensure!(upload(&stage, "Tax/1").await? == "COMPLETED");
    read_now(&stage, None, "#not-yet").await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(
        reads(&stage) == 0,
        "CloudWatch is called and no account asks for it"
    );

    let metrics = || Some(json!({"period": "5m"}));
    read_now(&stage, metrics(), "#a").await?;
    stage.wait_for("tax", "Healthy", "True", "Healthy").await?;
    ensure!(reads(&stage) == 2, "{} reads of two Regions", reads(&stage));
    let shown = stage
        .environment
        .kubectl(&["get", "brepl", "-n", &stage.name, "-o", "wide"])
        .await?;
    ensure!(shown.contains("HEALTHY"), "{shown}");

    stage
        .destination
        .set_versioning(DESTINATION_REGION, &stage.destination_bucket, false)
        .await?;
    ensure!(upload(&stage, "Tax/2").await? == "FAILED");
    read_now(&stage, metrics(), "#b").await?;
    let failed = until(Duration::from_secs(20), async || {
        let conditions = stage.get("tax").await?["status"]["conditions"].to_string();
        let events = stage.events().await?;
        let told = events
            .iter()
            .any(|(reason, note)| reason == "OperationsFailed" && note.contains("rule tax"));
        Ok((told && conditions.contains("OperationsFailed")).then_some(()))
    });
    failed
        .await?
        .context("an operation that failed is not reported")?;
    stage
        .destination
        .set_versioning(DESTINATION_REGION, &stage.destination_bucket, true)
        .await?;

    // Without metrics, nothing is said of them.
    read_now(&stage, None, "#c").await?;
    let gone = until(Duration::from_secs(20), async || {
        let conditions = stage.get("tax").await?["status"]["conditions"].to_string();
        Ok((!conditions.contains("Healthy")).then_some(()))
    });
    gone.await?.context("the condition Healthy stays")?;
    stage.delete("tax").await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}
