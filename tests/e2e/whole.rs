//! An operator that watches everything: what it tells of the accounts themselves. It comes after all other tests, since it visits their objects, too.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use testbed::{
    demo::get,
    environment::Emulator,
    stage::{Stage, until},
};

use crate::{Ground, decisions};

async fn account_status(stage: &Stage<'_>) -> anyhow::Result<Value> {
    let text = stage
        .environment
        .kubectl(&[
            "get",
            "awsaccount",
            &stage.source_account_name(),
            "-o",
            "json",
        ])
        .await?;
    Ok(serde_json::from_str::<Value>(&text)?["status"].clone())
}

/// Waits until the source account's status is as `expected` says.
async fn account_says(stage: &Stage<'_>, expected: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
    let mut last = Value::Null;
    let found = until(Duration::from_secs(30), async || {
        last = account_status(stage).await?;
        Ok(expected(&last).then_some(()))
    });
    found.await?.with_context(|| format!("{last:#}"))
}

/// All decisions of the suite, replayed. ministack makes none about roles and keys.
pub async fn an_independent_evaluator_agrees_with_every_decision(
    ground: &Ground,
) -> anyhow::Result<()> {
    if Emulator::chosen() != Emulator::Strict {
        return Ok(());
    }
    let url = format!("http://{}/_decisions", ground.environment.emulator);
    let made: Vec<(Value, bool)> = serde_json::from_str(&get(&url).await?)?;
    let replayed = tokio::task::spawn_blocking(move || decisions::replay(&made)).await?;
    ensure!(replayed > 1_000, "only {replayed} decisions");
    Ok(())
}

pub async fn an_account_tells_who_uses_it_and_which_roles_nobody_does(
    ground: &Ground,
) -> anyhow::Result<()> {
    let short = [
        ("DRIFT_PERIOD", "3s"),
        ("SETTLE_DELAY", "0s"),
        ("DRAIN_PERIOD", "0s"),
        ("SWEEP_PERIOD", "1s"),
    ];
    let mut stage = ground.stage_of_everything("whole", &short).await?;
    stage.start().await?;
    stage.apply(&stage.replication()).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let user = json!([{"namespace": "whole", "name": "tax", "sourceBucket": stage.source_bucket}]);
    account_says(&stage, |status| {
        status["replicationCount"] == 1
            && status["replications"] == user
            && status["orphanedRoleARNs"].is_null()
    })
    .await?;
    let account = stage.source_account_name();
    let refused = stage
        .environment
        .kubectl(&["delete", "awsaccount", &account])
        .await
        .err()
        .context("an account in use was deleted")?;
    ensure!(
        refused
            .to_string()
            .contains("in use by 1 BucketReplications"),
        "{refused}"
    );

    // Somebody removes the finalizer while the operator is away.
    stage.crash();
    let bare = r#"{"metadata": {"finalizers": null}}"#;
    stage
        .environment
        .kubectl(&[
            "patch",
            "bucketreplication",
            "tax",
            "-n",
            &stage.name,
            "--type=merge",
            "-p",
            bare,
        ])
        .await?;
    stage
        .environment
        .kubectl(&["delete", "bucketreplication", "tax", "-n", &stage.name])
        .await?;
    let _ = stage.proxy.take();
    stage.start().await?;
    let role = stage
        .source
        .replication_roles()
        .await?
        .first()
        .cloned()
        .context("the role is gone")?;
    let is_told = |status: &Value| {
        status["orphanedRoleARNs"]
            .as_array()
            .is_some_and(|orphans| {
                orphans
                    .iter()
                    .any(|arn| arn.as_str().is_some_and(|arn| arn.ends_with(&role)))
            })
    };
    account_says(&stage, |status| {
        status["replicationCount"] == 0 && status["replications"].is_null() && is_told(status)
    })
    .await?;
    let writes: Vec<_> = stage
        .proxy
        .calls()
        .into_iter()
        .filter(testbed::proxy::Call::writes)
        .collect();
    ensure!(writes.is_empty(), "an orphan is told and left: {writes:?}");

    // The same object takes up what it finds, and removes it.
    stage.apply(&stage.replication()).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    account_says(&stage, |status| status["orphanedRoleARNs"].is_null()).await?;
    an_event_says_since_when_it_can_t_be_used(&stage).await?;
    stage.delete("tax").await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}

/// `kubectl describe awsaccount` shows since when it can't be used.
async fn an_event_says_since_when_it_can_t_be_used(stage: &Stage<'_>) -> anyhow::Result<()> {
    let kubectl = async |words: &[&str]| stage.environment.kubectl(words).await;
    let name = stage.source_account_name();
    let use_role = async |arn: &str| {
        let patch = json!({"spec": {"assumeRole": {"roleARN": arn}}}).to_string();
        let words = [
            "patch",
            "awsaccount",
            &name,
            "--type=merge",
            "--patch",
            &patch,
        ];
        kubectl(&words).await
    };
    let text = kubectl(&["get", "awsaccount", &name, "-o", "json"]).await?;
    let account: Value = serde_json::from_str(&text)?;
    let before = account["spec"]["assumeRole"]["roleARN"]
        .as_str()
        .context("no role")?;
    use_role(&format!("{before}-missing")).await?;
    let selector = format!("involvedObject.name={name},reason=AccessDenied");
    let words = [
        "get",
        "events",
        "-n",
        "default",
        "--field-selector",
        &selector,
    ];
    let words = [words.as_slice(), &["-o", "jsonpath={.items[0].type}"]].concat();
    let seen = until(Duration::from_secs(30), async || {
        Ok(kubectl(&words).await.ok())
    });
    ensure!(seen.await?.context("no Event")? == "Warning");
    use_role(before).await?;
    account_says(stage, |status| status["conditions"][0]["status"] == "True").await
}
