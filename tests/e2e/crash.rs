//! The operator is killed by AWS itself, right before and right after each of its writes.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;
use testbed::{
    demo::post,
    environment::Emulator,
    stage::{DESTINATION_REGION, Stage, until},
};

use crate::Ground;

/// Who makes a call: the operator in the source's account, or in the destination's.
#[derive(Clone, Copy)]
enum End {
    Source,
    Destination,
}

/// The writes of an object's life.
const WRITES: [(&str, End); 9] = [
    ("iam:CreateRole", End::Source),
    ("iam:PutRolePolicy", End::Source),
    ("s3:PutBucketPolicy", End::Destination),
    ("kms:PutKeyPolicy", End::Destination),
    ("s3:PutBucketReplication", End::Source),
    ("s3:DeleteBucketReplication", End::Source),
    ("s3:DeleteBucketPolicy", End::Destination),
    ("iam:DeleteRolePolicy", End::Source),
    ("iam:DeleteRole", End::Source),
];

/// Waits until `holds`, and starts the operator again if it is killed meanwhile; whether it was.
async fn through(
    stage: &mut Stage<'_>,
    holds: impl AsyncFn(&Stage<'_>) -> anyhow::Result<bool>,
) -> anyhow::Result<bool> {
    let mut killed = false;
    let end = tokio::time::Instant::now() + Duration::from_mins(1);
    loop {
        if stage.has_ended(0)?.is_some() {
            ensure!(!killed, "it ended twice");
            killed = true;
            stage.start().await?;
        }
        if holds(stage).await? {
            return Ok(killed);
        }
        ensure!(
            tokio::time::Instant::now() < end,
            "it does not come to rest"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn is_ready(stage: &Stage<'_>) -> anyhow::Result<bool> {
    let object = stage.get("tax").await?;
    let conditions = object["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    Ok(conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True"))
}

async fn is_gone(stage: &Stage<'_>) -> anyhow::Result<bool> {
    Ok(stage.get("tax").await?.is_null())
}

pub async fn a_kill_before_or_after_any_write_changes_nothing_in_the_end(
    ground: &Ground,
) -> anyhow::Result<()> {
    if Emulator::chosen() != Emulator::Strict {
        return Ok(());
    }
    let control = format!("http://{}/_control", ground.environment.emulator);
    let mut stage = ground.stage("killed").await?;
    let before = stage
        .destination
        .key_policy(DESTINATION_REGION, &stage.replica_key)
        .await?;
    for (operation, end) in WRITES {
        for kind in ["killBefore", "killAfter"] {
            let case = format!("{kind} {operation}");
            stage.start().await?;
            let process = *stage.process_ids().first().context("no process")?;
            let account = match end {
                End::Source => &stage.source.id,
                End::Destination => &stage.destination.id,
            };
            let fault = json!({"operation": operation, "account": account, "kind": kind, "process": process});
            post(&control, &json!({"faults": [fault]})).await?;
            stage.apply(&stage.replication()).await?;
            let created = through(&mut stage, is_ready).await.context(case.clone())?;
            stage.begin_deletion("tax").await?;
            let deleted = through(&mut stage, is_gone).await.context(case.clone())?;
            ensure!(created != deleted, "{case}: killed {created} and {deleted}");
            let tidy = until(Duration::from_secs(10), async || {
                Ok(stage.is_tidy().await?.ok())
            });
            tidy.await?
                .with_context(|| format!("{case}: something is left"))?;
            let after = stage
                .destination
                .key_policy(DESTINATION_REGION, &stage.replica_key)
                .await?;
            ensure!(after == before, "{case}: {after:#}");
        }
    }
    post(&control, &json!({"faults": []})).await
}
