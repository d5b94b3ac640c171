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
    stage.start().await?;
    stage.apply(&stage.replication()).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let _ = stage.proxy.take();
    let source = stage.source.s3(SOURCE_REGION);

    let policy = |bucket: &str| {
        let deny = json!({"Sid": "Stop", "Effect": "Deny", "Principal": "*", "Action": "s3:GetObject*", "Resource": format!("arn:aws:s3:::{bucket}/*")});
        json!({"Version": "2012-10-17", "Statement": [deny]}).to_string()
    };
    source.put_bucket_policy().bucket(&stage.source_bucket).policy(policy(&stage.source_bucket)).send().await?;
    told(&stage, "DeniedByBucketPolicy", "statement Stop").await?;
    source.delete_bucket_policy().bucket(&stage.source_bucket).send().await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;

    let key = stage.destination.kms(DESTINATION_REGION);
    key.disable_key().key_id(&stage.replica_key).send().await?;
    told(&stage, "KeyNotUsable", "Disabled").await?;
    key.enable_key().key_id(&stage.replica_key).send().await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;

    let lock = ObjectLockConfiguration::builder().object_lock_enabled(ObjectLockEnabled::Enabled).build();
    source.put_object_lock_configuration().bucket(&stage.source_bucket).object_lock_configuration(lock).send().await?;
    told(&stage, "ObjectLockMissing", "put-object-lock-configuration").await?;
    let writes: Vec<_> = stage.proxy.calls().into_iter().filter(testbed::proxy::Call::writes).collect();
    ensure!(writes.is_empty(), "{writes:?}");
    Ok(())
}
