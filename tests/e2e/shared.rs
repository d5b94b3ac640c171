//! A bucket that others use, too.

use anyhow::{Context, ensure};
use aws_sdk_s3::types::{
    DeleteMarkerReplication, DeleteMarkerReplicationStatus, Destination, ReplicationConfiguration, ReplicationRule, ReplicationRuleFilter,
    ReplicationRuleStatus,
};
use serde_json::json;
use testbed::{
    proxy::{Call, Fault},
    stage::{SOURCE_REGION, Stage},
};

use crate::Ground;

fn foreign_rule(stage: &Stage<'_>) -> anyhow::Result<ReplicationRule> {
    let destination = Destination::builder().bucket(format!("arn:aws:s3:::{}", stage.destination_bucket)).account(&stage.destination.id);
    let markers = DeleteMarkerReplication::builder().status(DeleteMarkerReplicationStatus::Disabled).build();
    let rule = ReplicationRule::builder().id("theirs").priority(7).status(ReplicationRuleStatus::Enabled);
    let rule = rule.filter(ReplicationRuleFilter::builder().prefix("Theirs/").build()).delete_marker_replication(markers);
    Ok(rule.destination(destination.build()?).build()?)
}

async fn standing(stage: &Stage<'_>) -> anyhow::Result<ReplicationConfiguration> {
    stage.source.replication(SOURCE_REGION, &stage.source_bucket).await?.context("no configuration")
}

async fn put(stage: &Stage<'_>, configuration: ReplicationConfiguration) -> anyhow::Result<()> {
    let s3 = stage.source.s3(SOURCE_REGION);
    s3.put_bucket_replication().bucket(&stage.source_bucket).replication_configuration(configuration).send().await?;
    Ok(())
}

pub async fn a_foreign_rule_stays_and_what_can_t_be_kept_forbids_every_write(ground: &Ground) -> anyhow::Result<()> {
    let mut stage = ground.stage("foreign").await?;
    stage.start().await?;
    stage.apply(&stage.replication()).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let ours = standing(&stage).await?;
    let both = ReplicationConfiguration::builder().role(ours.role()).set_rules(Some(ours.rules().to_vec())).rules(foreign_rule(&stage)?);
    put(&stage, both.build()?).await?;

    stage.proxy.set_fault(
        "s3:GetReplicationConfiguration",
        Some(Fault::Replace("<ID>theirs</ID>".into(), "<ID>theirs</ID><Pace>5</Pace>".into())),
    );
    let _ = stage.proxy.take();
    let mut edited = stage.replication();
    edited["spec"]["rules"] = json!([{"name": "legal", "prefix": "Legal"}]);
    stage.apply(&edited).await?;
    let message = stage.wait_for("tax", "Ready", "False", "ForeignRuleNotPreservable").await?;
    ensure!(message.contains("rule theirs on bucket foreign-source-bucket holds Pace"), "{message}");
    let writes: Vec<_> = stage.proxy.calls().into_iter().filter(Call::writes).collect();
    ensure!(writes.is_empty(), "{writes:?}");

    stage.proxy.set_fault("s3:GetReplicationConfiguration", None);
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let rules = standing(&stage).await?.rules().to_vec();
    ensure!(rules.len() == 2 && rules.contains(&foreign_rule(&stage)?), "{rules:?}");

    stage.delete("tax").await?;
    let left = standing(&stage).await?;
    ensure!(left.rules() == [foreign_rule(&stage)?] && left.role() == ours.role(), "{left:?}");
    ensure!(stage.source.replication_roles().await?.len() == 1, "the foreign rule's role is gone");
    Ok(())
}
