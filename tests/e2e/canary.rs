//! Canaries: an object says that S3 replicates, or what is missing, and nothing of them is left.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use testbed::{
    proxy::Fault,
    stage::{DESTINATION_REGION, SOURCE_REGION, Stage, until},
};

use crate::Ground;

/// The object of the walkthrough, with canaries.
fn verified(stage: &Stage<'_>) -> Value {
    let mut object = stage.replication();
    object["spec"]["verification"] = json!({"canary": {"interval": "5m", "timeout": "1m"}});
    object
}

/// All versions of all objects in both buckets.
async fn objects(stage: &Stage<'_>) -> anyhow::Result<Vec<String>> {
    let mut all = vec![];
    let buckets = [
        (&stage.source, SOURCE_REGION, &stage.source_bucket),
        (
            &stage.destination,
            DESTINATION_REGION,
            &stage.destination_bucket,
        ),
    ];
    for (account, region, bucket) in buckets {
        let s3 = account.s3(region);
        let listed = s3.list_object_versions().bucket(bucket).send().await?;
        let keys = listed.versions().iter().filter_map(|version| version.key());
        all.extend(keys.map(|key| format!("{bucket}/{key}")));
    }
    Ok(all)
}

async fn verify_now(stage: &Stage<'_>, value: &str) -> anyhow::Result<()> {
    let value = format!("bucketops.dev/verify={value}");
    let words = ["annotate", "--overwrite", "brepl", "tax", &value, "-n"];
    let words = [words.as_slice(), &[&stage.name]].concat();
    stage.environment.kubectl(&words).await.map(drop)
}

async fn put_replica_key_policy(stage: &Stage<'_>, policy: &Value) -> anyhow::Result<()> {
    let kms = stage.destination.kms(DESTINATION_REGION);
    let put = kms.put_key_policy().key_id(&stage.replica_key);
    let put = put.policy_name("default").policy(policy.to_string());
    put.send().await?;
    Ok(())
}

fn uploads(stage: &Stage<'_>) -> usize {
    let calls = stage.proxy.calls();
    let uploads = calls.iter().filter(|call| call.action == "s3:PutObject");
    uploads.count()
}

pub async fn an_object_says_that_s3_replicates_and_what_is_missing_if_not(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("canary").await?;
    stage.start().await?;
    stage.apply(&verified(&stage)).await?;
    let said = stage
        .wait_for("tax", "Verified", "True", "Verified")
        .await?;
    ensure!(
        said.starts_with("S3 replicated the canary within "),
        "{said}"
    );
    let status = stage.get("tax").await?["status"].clone();
    let found = &status["verification"];
    ensure!(
        found["lag"].is_string()
            && found["lastVerifiedTime"].is_string()
            && found["canaries"].is_null(),
        "{found:#}"
    );
    let ready = status["conditions"][6].clone();
    ensure!(
        ready["type"] == "Ready" && ready["status"] == "True",
        "{ready:#}"
    );
    let left = objects(&stage).await?;
    ensure!(left.is_empty(), "{left:?}");
    let shown = stage
        .environment
        .kubectl(&["get", "brepl", "-n", &stage.name, "-o", "wide"])
        .await?;
    ensure!(
        shown.contains("VERIFIED") && shown.contains("LAG"),
        "{shown}"
    );

    // The owner of the replica key denies its use: no one but the owner can change that.
    let policy = stage
        .destination
        .key_policy(DESTINATION_REGION, &stage.replica_key)
        .await?;
    let mut denying = policy.clone();
    let stop = json!({"Sid": "Stop", "Effect": "Deny", "Principal": "*", "Action": "kms:Encrypt", "Resource": "*"});
    denying["Statement"]
        .as_array_mut()
        .context("no statements")?
        .push(stop);
    put_replica_key_policy(&stage, &denying).await?;
    verify_now(&stage, "denied").await?;
    let said = stage
        .wait_for("tax", "Verified", "False", "CanaryFailed")
        .await?;
    ensure!(
        said.contains("statement Stop of the policy of key") && said.contains("denies kms:Encrypt"),
        "{said}"
    );
    let events = stage.events().await?;
    ensure!(
        events.iter().any(|(reason, _)| reason == "CanaryFailed"),
        "{events:?}"
    );
    put_replica_key_policy(&stage, &policy).await?;
    verify_now(&stage, "allowed").await?;
    stage
        .wait_for("tax", "Verified", "True", "Verified")
        .await?;

    // A new process knows by the status when the next is due.
    stage.crash();
    let before = uploads(&stage);
    stage.start().await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    ensure!(uploads(&stage) == before, "a restart uploads canaries");

    // Without its source account, the object still has what canaries found, from their writer alone.
    let name = stage.source_account_name();
    let kubectl = async |words: &[&str]| stage.environment.kubectl(words).await;
    kubectl(&["delete", "awsaccount", &name]).await?;
    stage
        .wait_for("tax", "Accepted", "False", "AccountNotFound")
        .await?;
    let words = ["get", "brepl", "tax", "--show-managed-fields", "-o", "json"];
    let shown = kubectl(&[words.as_slice(), &["-n", &stage.name]].concat()).await?;
    let shown: Value = serde_json::from_str(&shown)?;
    let writers = shown["metadata"]["managedFields"].as_array();
    let of_canaries = writers.into_iter().flatten().filter(|writer| {
        let status = &writer["fieldsV1"]["f:status"];
        status["f:verification"].is_object()
    });
    let of_canaries: Vec<_> = of_canaries.map(|writer| &writer["manager"]).collect();
    ensure!(
        of_canaries == ["bucket-replication-operator-verification"],
        "{of_canaries:?}"
    );
    let account = stage.source_account().to_string();
    stage.environment.apply(&account).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;

    // Canaries that can't be removed hold the object until they can.
    stage
        .proxy
        .set_fault("s3:DeleteObjectVersion", Some(Fault::Refuse));
    verify_now(&stage, "kept").await?;
    stage
        .wait_for("tax", "Verified", "Unknown", "AccessDenied")
        .await?;
    let left = objects(&stage).await?;
    ensure!(left.len() == 2, "{left:?}");
    stage.begin_deletion("tax").await?;
    let held = until(Duration::from_secs(30), async || {
        let object = stage.get("tax").await?;
        let said = object["status"]["conditions"].to_string();
        Ok(said.contains("it is released once they are").then_some(()))
    });
    held.await?
        .context("a deleted object does not say what holds it")?;
    stage.proxy.set_fault("s3:DeleteObjectVersion", None);
    stage.wait_gone("tax").await?;
    let left = objects(&stage).await?;
    ensure!(left.is_empty(), "{left:?}");
    let calls = stage.proxy.calls();
    ensure!(
        calls.iter().all(|call| call.service != "monitoring"),
        "CloudWatch is called"
    );
    stage.is_tidy().await?.map_err(anyhow::Error::msg)
}

/// What the API server can see is refused there.
pub async fn canaries_are_refused_at_the_door_without_a_grant_or_with_bad_periods(
    ground: &Ground,
) -> anyhow::Result<()> {
    let stage = ground.stage("canarydoor").await?;
    let refused = async |interval: &str, timeout: &str| -> anyhow::Result<String> {
        let mut object = verified(&stage);
        object["spec"]["verification"]["canary"] =
            json!({"interval": interval, "timeout": timeout});
        match stage.apply(&object).await {
            Ok(_) => anyhow::bail!("{interval} and {timeout} are taken"),
            Err(error) => Ok(format!("{error:#}")),
        }
    };
    for (interval, timeout, says) in [
        ("4m59s", "1m", "interval is not between 5m and 168h"),
        ("169h", "1m", "interval is not between 5m and 168h"),
        ("5m", "6m", "timeout is not between 1m and the interval"),
        ("5m", "59s", "timeout is not between 1m and the interval"),
        ("daily", "1m", "spec.verification.canary.interval"),
    ] {
        let said = refused(interval, timeout).await?;
        ensure!(said.contains(says), "{interval} {timeout}: {said}");
    }
    let mut account = stage.destination_account();
    account["spec"]["grants"][0]["allow"] = json!([]);
    stage.environment.apply(&account.to_string()).await?;
    let denied = until(Duration::from_secs(20), async || {
        let taken = stage.apply(&verified(&stage)).await;
        let _ = stage
            .environment
            .kubectl(&["delete", "brepl", "tax", "-n", &stage.name])
            .await;
        Ok(taken.err().map(|error| format!("{error:#}")))
    });
    let said = denied.await?.context("it is taken without a grant")?;
    ensure!(
        said.contains("ask for spec.verification.canary with this bucket (allow: Canary)"),
        "{said}"
    );
    Ok(())
}
