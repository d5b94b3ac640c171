//! Bad input: refused by the API server where it can see it, else by the controller, which then writes nothing.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use testbed::{
    proxy::Call,
    stage::{SOURCE_REGION, Stage, until},
};

use crate::{Ground, bad_input};

pub async fn the_api_server_refuses_what_it_can_see(ground: &Ground) -> anyhow::Result<()> {
    let stage = ground.stage("refused").await?;
    for (name, pointer, value, expected) in bad_input::replications() {
        let mut object = stage.replication();
        bad_input::put(&mut object, pointer, value);
        let refused = stage
            .apply(&object)
            .await
            .err()
            .with_context(|| format!("{name}: was taken"))?
            .to_string();
        ensure!(refused.contains(expected), "{name}: {refused}");
    }
    for (name, pointer, value, expected) in bad_input::accounts() {
        let mut object = stage.source_account();
        object["metadata"]["name"] = "refused-other".into();
        bad_input::put(&mut object, pointer, value);
        let refused = stage
            .apply(&object)
            .await
            .err()
            .with_context(|| format!("{name}: was taken"))?
            .to_string();
        ensure!(refused.contains(expected), "{name}: {refused}");
    }
    let mut own = stage.source_account();
    own["spec"]["roles"] = json!({"mergeableRoleARNs": [own["spec"]["assumeRole"]["roleARN"]]});
    let refused = stage
        .apply(&own)
        .await
        .err()
        .context("the operator's own role was taken as mergeable")?
        .to_string();
    ensure!(
        refused.contains("could then change its own permissions"),
        "{refused}"
    );
    stage.apply(&stage.replication()).await?;
    for (pointer, value) in [
        ("/spec/source/bucket", "another-bucket"),
        ("/spec/source/accountName", "another-account"),
    ] {
        let mut changed = stage.replication();
        bad_input::put(&mut changed, pointer, json!(value));
        let refused = stage
            .apply(&changed)
            .await
            .err()
            .with_context(|| format!("{pointer}: was taken"))?
            .to_string();
        ensure!(
            refused.contains("can't be changed: create another object"),
            "{refused}"
        );
    }
    ensure!(
        stage.get("tax").await?["status"]["conditions"][6]["reason"] == "Pending",
        "an object that nobody saw is not ready"
    );
    Ok(())
}

/// Applies an object that the API server takes, and expects this condition of it, with no write to AWS.
async fn refuses(
    stage: &Stage<'_>,
    name: &str,
    change: impl Fn(&mut Value),
    kind: &str,
    reason: &str,
    told: &str,
) -> anyhow::Result<()> {
    let mut object = stage.replication();
    object["metadata"]["name"] = name.into();
    change(&mut object);
    stage
        .apply(&object)
        .await
        .with_context(|| format!("{name}: the API server refused it"))?;
    let message = stage.wait_for(name, kind, "False", reason).await?;
    stage.wait_for(name, "Ready", "False", reason).await?;
    ensure!(message.contains(told), "{name}: {message}");
    stage.delete(name).await
}

/// A policy of the cluster that lets no one add a finalizer to one object: that object says so, and its neighbor on the bucket is served.
pub async fn a_finalizer_that_is_refused_concerns_its_object_alone(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("finalizer").await?;
    let refuse = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "no-finalizer"},
        "spec": {
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["bucketops.dev"], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": ["bucketreplications"],
            }]},
            "validations": [{"expression": "object.metadata.name != 'unheld' || !has(object.metadata.finalizers)", "message": "no finalizers here"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "no-finalizer"},
        "spec": {"policyName": "no-finalizer", "validationActions": ["Deny"]},
    });
    stage.apply(&refuse).await?;
    stage.apply(&binding).await?;
    let mut unheld = stage.replication();
    unheld["metadata"]["name"] = "unheld".into();
    unheld["spec"]["rules"] = json!([{"name": "a", "prefix": "Tax/Unheld/"}]);
    stage.apply(&unheld).await?;
    let words = [
        "patch",
        "bucketreplication",
        "unheld",
        "-n",
        &stage.name,
        "--dry-run=server",
        "--type=merge",
        "-p",
        r#"{"metadata":{"finalizers":["test/one"]}}"#,
    ];
    let refused = until(Duration::from_secs(30), async || {
        Ok(ground
            .environment
            .kubectl(&words)
            .await
            .is_err()
            .then_some(()))
    });
    refused.await?.context("the policy is not enforced")?;
    let mut held = stage.replication();
    held["spec"]["rules"] = json!([{"name": "a", "prefix": "Tax/Held/"}]);
    stage.apply(&held).await?;
    stage.start().await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let message = stage
        .wait_for("unheld", "Accepted", "False", "FinalizerRefused")
        .await?;
    ensure!(message.contains("no finalizers here"), "{message}");
    let configuration = stage
        .source
        .replication(SOURCE_REGION, &stage.source_bucket)
        .await?
        .context("no configuration")?;
    ensure!(configuration.rules().len() == 1, "{configuration:?}");
    stage.delete("unheld").await?;
    stage.delete("tax").await?;
    for kind in [
        "validatingadmissionpolicybinding",
        "validatingadmissionpolicy",
    ] {
        ground
            .environment
            .kubectl(&["delete", kind, "no-finalizer"])
            .await?;
    }
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}

pub async fn the_controller_refuses_the_rest_and_writes_nothing(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("controller").await?;
    ground
        .environment
        .kubectl(&["label", "namespace", &stage.name, "door-is-open=yes"])
        .await?;
    let region_key = stage.destination.make_key("eu-west-1").await?;
    stage
        .source
        .make_bucket(SOURCE_REGION, "controller-kms-default")
        .await?;
    set_default_key(&stage, "controller-kms-default").await?;
    stage
        .destination
        .make_bucket("us-west-2", "controller-unversioned")
        .await?;
    stage
        .destination
        .set_versioning("us-west-2", "controller-unversioned", false)
        .await?;
    stage
        .destination
        .make_bucket("us-west-2", "elsewhere-dest")
        .await?;
    stage.start().await?;
    let set = |pointer: &'static str, value: Value| {
        move |object: &mut Value| bad_input::put(object, pointer, value.clone())
    };
    let key = |id: &str| {
        json!(format!(
            "arn:aws:kms:us-west-2:{id}:key/11111111-1111-1111-1111-111111111111"
        ))
    };
    let unknown = key("444444444444");
    let absent = key(&stage.destination.id);
    refuses(
        &stage,
        "no-account",
        set("/spec/destination/accountName", json!("unknown")),
        "Accepted",
        "AccountNotFound",
        "AWSAccount unknown does not exist",
    )
    .await?;
    refuses(
        &stage,
        "no-source",
        set("/spec/source/accountName", json!("unknown")),
        "Accepted",
        "AccountNotFound",
        "AWSAccount unknown does not exist",
    )
    .await?;
    refuses(
        &stage,
        "no-grant",
        set("/spec/destination/bucket", json!("elsewhere-dest")),
        "Accepted",
        "NotGranted",
        "ask #platform-storage",
    )
    .await?;
    refuses(
        &stage,
        "foreign",
        set("/spec/source/bucket", json!("payroll")),
        "Accepted",
        "NotGranted",
        "allows this namespace to replicate from bucket payroll",
    )
    .await?;
    refuses(
        &stage,
        "prefix",
        set("/spec/rules/0/prefix", json!("Other")),
        "Accepted",
        "NotGranted",
        "prefix \"Other\"",
    )
    .await?;
    refuses(
        &stage,
        "suffix",
        set("/spec/destination/bucket", json!("controller-x-s3alias")),
        "Accepted",
        "InvalidSpec",
        "access point",
    )
    .await?;
    refuses(
        &stage,
        "key-region",
        set("/spec/destination/kmsKey", json!(region_key)),
        "KeysReady",
        "KeyInOtherRegion",
        "name a key in us-west-2",
    )
    .await?;
    refuses(
        &stage,
        "key-unknown",
        set("/spec/destination/kmsKey", unknown),
        "KeysReady",
        "KeyAccountUnknown",
        "444444444444",
    )
    .await?;
    refuses(
        &stage,
        "key-absent",
        set("/spec/destination/kmsKey", absent),
        "KeysReady",
        "KeyNotFound",
        "does not exist",
    )
    .await?;
    refuses(
        &stage,
        "no-bucket",
        set("/spec/destination/bucket", json!("controller-missing")),
        "DestinationReady",
        "BucketNotFound",
        "create it",
    )
    .await?;
    refuses(
        &stage,
        "unversioned",
        set("/spec/destination/bucket", json!("controller-unversioned")),
        "DestinationReady",
        "VersioningNotEnabled",
        "put-bucket-versioning",
    )
    .await?;
    let without_keys = |object: &mut Value| {
        object["spec"]["source"] =
            json!({"accountName": "controller-prod", "bucket": "controller-kms-default"});
        object["spec"]["destination"] =
            json!({"accountName": "controller-dr", "bucket": "controller-dest-bucket"});
    };
    refuses(
        &stage,
        "no-key",
        without_keys,
        "KeysReady",
        "ReplicaKeyMissing",
        "or set spec.source.sseKMSObjects to Skip",
    )
    .await?;
    nothing_is_written(&stage)?;
    never_touched(&stage, &["payroll", "elsewhere-dest"])
}

pub fn nothing_is_written(stage: &Stage<'_>) -> anyhow::Result<()> {
    let writes: Vec<_> = stage
        .proxy
        .calls()
        .into_iter()
        .filter(Call::writes)
        .collect();
    ensure!(writes.is_empty(), "{writes:?}");
    Ok(())
}

/// No call was on a thing with one of those names, not even one that reads.
pub fn never_touched(stage: &Stage<'_>, names: &[&str]) -> anyhow::Result<()> {
    let calls = stage.proxy.calls();
    let on: Vec<_> = calls
        .iter()
        .filter(|call| names.iter().any(|name| call.resource.contains(name)))
        .collect();
    ensure!(on.is_empty(), "{on:?}");
    ensure!(!calls.is_empty(), "nothing was called at all");
    Ok(())
}

pub async fn set_default_key(stage: &Stage<'_>, bucket: &str) -> anyhow::Result<()> {
    stage
        .source
        .set_default_key(SOURCE_REGION, bucket, &stage.source_key)
        .await
}
