//! After all other tests: an operator that watches everything, and what the whole suite asked of Kubernetes and AWS.

use std::{collections::BTreeSet, fs, time::Duration};

use anyhow::{Context, ensure};
use bucket_replication_operator::cloud::calls;
use serde_json::{Value, json};
use testbed::{
    cloud::EXTERNAL_ID,
    proxy::all_calls,
    stage::{Stage, until},
};

use crate::Ground;

async fn account_status(stage: &Stage<'_>) -> anyhow::Result<Value> {
    let text = stage.environment.kubectl(&["get", "awsaccount", &stage.source_account_name(), "-o", "json"]).await?;
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

pub async fn an_account_tells_who_uses_it_and_which_roles_nobody_does(ground: &Ground) -> anyhow::Result<()> {
    let short = [("DRIFT_PERIOD", "3s"), ("SETTLE_DELAY", "0s"), ("SWEEP_PERIOD", "1s")];
    let mut stage = ground.stage_of_everything("whole", &short).await?;
    stage.start().await?;
    stage.apply(&stage.replication()).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let user = json!([{"namespace": "whole", "name": "tax", "source": stage.source_bucket}]);
    account_says(&stage, |status| status["replications"] == 1 && status["users"] == user && status["orphans"].is_null()).await?;
    let account = stage.source_account_name();
    let refused = stage.environment.kubectl(&["delete", "awsaccount", &account]).await.err().context("an account in use was deleted")?;
    ensure!(refused.to_string().contains("in use by 1 BucketReplications"), "{refused}");

    // Somebody removes the finalizer while the operator is away.
    stage.crash();
    let bare = r#"{"metadata": {"finalizers": null}}"#;
    stage.environment.kubectl(&["patch", "bucketreplication", "tax", "-n", &stage.name, "--type=merge", "-p", bare]).await?;
    stage.environment.kubectl(&["delete", "bucketreplication", "tax", "-n", &stage.name]).await?;
    let _ = stage.proxy.take();
    stage.start().await?;
    let role = stage.source.replication_roles().await?.first().cloned().context("the role is gone")?;
    let is_told = |status: &Value| {
        status["orphans"].as_array().is_some_and(|orphans| orphans.iter().any(|arn| arn.as_str().is_some_and(|arn| arn.ends_with(&role))))
    };
    account_says(&stage, |status| status["replications"] == 0 && status["users"].is_null() && is_told(status)).await?;
    let writes: Vec<_> = stage.proxy.calls().into_iter().filter(testbed::proxy::Call::writes).collect();
    ensure!(writes.is_empty(), "an orphan is told and left: {writes:?}");

    // The same object takes up what it finds, and removes it.
    stage.apply(&stage.replication()).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    account_says(&stage, |status| status["orphans"].is_null()).await?;
    stage.delete("tax").await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}

/// Group, resource and verb.
type Permission = (String, String, String);

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(ToOwned::to_owned)).collect()
}

pub async fn the_cluster_role_allows_what_the_suite_asked_for_and_no_more(ground: &Ground) -> anyhow::Result<()> {
    let text = ground.environment.kubectl(&["get", "clusterrole", "bucket-replication-operator", "-o", "json"]).await?;
    let role: Value = serde_json::from_str(&text)?;
    let mut allowed: BTreeSet<Permission> = BTreeSet::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        for group in strings(&rule["apiGroups"]) {
            for resource in strings(&rule["resources"]) {
                let verbs = strings(&rule["verbs"]).into_iter();
                allowed.extend(verbs.map(|verb| (group.clone(), resource.clone(), verb)));
            }
        }
    }
    let mut asked: BTreeSet<Permission> = BTreeSet::new();
    for line in fs::read_to_string(ground.environment.audit_log())?.lines() {
        let event: Value = serde_json::from_str(line)?;
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let resource = [text("/objectRef/resource"), text("/objectRef/subresource")].join("/");
        asked.insert((text("/objectRef/apiGroup"), resource.trim_end_matches('/').to_owned(), text("/verb")));
    }
    ensure!(asked.len() > 5, "the audit log is nearly empty: {asked:?}");
    let (unused, missing) = (&allowed - &asked, &asked - &allowed);
    ensure!(allowed == asked, "allowed and never asked for: {unused:?}\nasked for and not allowed: {missing:?}");
    Ok(())
}

pub async fn iam_policy_allows_what_the_suite_called_and_no_more(_: &Ground) -> anyhow::Result<()> {
    let calls = all_calls();
    let called: BTreeSet<_> = calls.iter().filter(|call| call.service != "sts").map(|call| call.action.as_str()).collect();
    let allowed = calls::actions();
    // No call of its own: PutBucketReplication needs it.
    let expected: BTreeSet<_> = allowed.iter().copied().filter(|action| *action != calls::action::PASS_ROLE).collect();
    let (unused, missing) = (&expected - &called, &called - &expected);
    ensure!(expected == called, "allowed and never called: {unused:?}\ncalled and not allowed: {missing:?}");
    let bare: Vec<_> = calls.iter().filter(|call| call.service == "s3" && call.expected_owner.is_none()).collect();
    ensure!(bare.is_empty(), "without the expected bucket owner: {bare:?}");
    let field = |call: &testbed::proxy::Call, name: &str| call.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let assumed: Vec<_> = calls.iter().filter(|call| call.action == "sts:AssumeRole").collect();
    let careless = assumed.iter().find(|call| {
        field(call, "ExternalId").as_deref() != Some(EXTERNAL_ID)
            || !field(call, "RoleSessionName").is_some_and(|name| name.starts_with("brepl-"))
    });
    ensure!(assumed.len() > 20 && careless.is_none(), "{careless:?}");
    Ok(())
}
