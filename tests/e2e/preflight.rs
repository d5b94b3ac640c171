//! Preconditions on the wire: broken after the object was ready, told, and mended. `tests/preflight.rs` has the whole table.

use anyhow::ensure;
use aws_sdk_s3::types::{ObjectLockConfiguration, ObjectLockEnabled};
use serde_json::json;
use testbed::stage::{DESTINATION_REGION, SOURCE_REGION, Stage};

use crate::Ground;

async fn told(stage: &Stage<'_>, reason: &str, words: &str) -> anyhow::Result<()> {
    let message = stage.wait_for("tax", "Ready", "False", reason).await?;
    ensure!(message.contains(words), "{message}");
    Ok(())
}

pub async fn what_s3_lets_pass_is_told_and_can_be_mended(ground: &Ground) -> anyhow::Result<()> {
    let mut stage = ground.stage("before").await?;
    stage.apply(&stage.replication()).await?;
    ensure!(
        stage.kstatus("tax").await? == "InProgress",
        "nobody has looked yet"
    );
    stage.start().await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    ensure!(stage.kstatus("tax").await? == "Current", "it is ready");
    let _ = stage.proxy.take();
    let source = stage.source.s3(SOURCE_REGION);

    let policy = |bucket: &str| {
        let deny = json!({"Sid": "Stop", "Effect": "Deny", "Principal": "*", "Action": "s3:GetObject*", "Resource": format!("arn:aws:s3:::{bucket}/*")});
        json!({"Version": "2012-10-17", "Statement": [deny]}).to_string()
    };
    source
        .put_bucket_policy()
        .bucket(&stage.source_bucket)
        .policy(policy(&stage.source_bucket))
        .send()
        .await?;
    told(&stage, "DeniedByBucketPolicy", "statement Stop").await?;
    // The printed line takes our role out of what is denied, and nothing else.
    let actions = stage.get("tax").await?["status"]["requiredActions"].clone();
    stage
        .source
        .run(actions[0]["command"].as_str().unwrap_or_default())
        .await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let mended = stage
        .source
        .bucket_policy(SOURCE_REGION, &stage.source_bucket)
        .await?
        .unwrap_or_default();
    ensure!(
        mended["Statement"][0]["Sid"] == "Stop"
            && mended["Statement"][0]["Action"] == "s3:GetObject*",
        "{mended}"
    );
    source
        .delete_bucket_policy()
        .bucket(&stage.source_bucket)
        .send()
        .await?;

    let key = stage.destination.kms(DESTINATION_REGION);
    key.disable_key().key_id(&stage.replica_key).send().await?;
    told(&stage, "KeyNotUsable", "Disabled").await?;
    ensure!(
        stage.kstatus("tax").await? == "Failed",
        "it waits for somebody"
    );
    key.enable_key().key_id(&stage.replica_key).send().await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;

    let lock = ObjectLockConfiguration::builder()
        .object_lock_enabled(ObjectLockEnabled::Enabled)
        .build();
    source
        .put_object_lock_configuration()
        .bucket(&stage.source_bucket)
        .object_lock_configuration(lock)
        .send()
        .await?;
    told(&stage, "ObjectLockMissing", "put-object-lock-configuration").await?;
    let writes: Vec<_> = stage
        .proxy
        .calls()
        .into_iter()
        .filter(testbed::proxy::Call::writes)
        .collect();
    ensure!(writes.is_empty(), "{writes:?}");
    Ok(())
}

pub async fn an_object_that_can_t_succeed_costs_few_calls(ground: &Ground) -> anyhow::Result<()> {
    let mut stage = ground.stage_with("hopeless", &[]).await?;
    stage.start().await?;
    let mut object = stage.replication();
    let key = stage
        .replica_key
        .rsplit_once('/')
        .map(|(key, _)| format!("{key}/00000000-0000-0000-0000-000000000000"));
    object["spec"]["destination"]["kmsKey"] = json!(key);
    let _ = stage.proxy.take();
    stage.apply(&object).await?;
    told(
        &stage,
        "KeyNotFound",
        "00000000-0000-0000-0000-000000000000",
    )
    .await?;
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    let calls: Vec<_> = stage
        .proxy
        .take()
        .into_iter()
        .filter(|call| call.action != "sts:AssumeRole")
        .collect();
    let told: Vec<_> = calls
        .iter()
        .map(|call| format!("{} {}", call.action, call.resource))
        .collect();
    ensure!(
        calls.len() <= 12 && !calls.iter().any(testbed::proxy::Call::writes),
        "{told:#?}"
    );
    Ok(())
}
