//! Every sample of `deploy/samples`, applied as it stands beside the accounts, buckets and keys that it names: each becomes what its first lines say.

use std::{collections::BTreeSet, fs, time::Duration};

use anyhow::{Context, ensure};
use aws_sdk_s3::types::ReplicationRule;
use serde_json::{Value, json};
use testbed::{
    process::repository,
    stage::{DESTINATION_REGION, Place, SOURCE_REGION, Stage, until},
};

use crate::Ground;

const SOURCE_ACCOUNT: &str = "111111111111";
const DESTINATION_ACCOUNT: &str = "222222222222";
/// Those that list accounts, and the one whose keys are ARNs.
const NOT_BY_NAME: [&str; 3] = ["accounts.yaml", "platform.yaml", "walkthrough.yaml"];

fn text(file: &str) -> anyhow::Result<String> {
    Ok(fs::read_to_string(
        repository().join("deploy/samples").join(file),
    )?)
}

fn documents(file: &str) -> anyhow::Result<Vec<Value>> {
    text(file)?
        .split("\n---\n")
        .map(|document| Ok(serde_saphyr::from_str(document)?))
        .collect()
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Lists the accounts of a sample, and gives the operator's roles the policies that are printed for them.
async fn list(stage: &Stage<'_>, file: &str) -> anyhow::Result<()> {
    stage.environment.apply(&text(file)?).await?;
    for (account, document) in [&stage.source, &stage.destination]
        .into_iter()
        .zip(documents(file)?)
    {
        account
            .set_operator_policy(&stage.printed_policy(&document).await?)
            .await?;
    }
    Ok(())
}

/// Makes the buckets and keys that an object names, where they are not there yet.
async fn make_ground(
    stage: &Stage<'_>,
    object: &Value,
    made: &mut BTreeSet<String>,
) -> anyhow::Result<()> {
    for end in ["source", "destination"] {
        let part = &object["spec"][end];
        let (account, region) = if part["accountName"] == "finance-prod" {
            (&stage.source, SOURCE_REGION)
        } else {
            (&stage.destination, DESTINATION_REGION)
        };
        let bucket = part["bucket"].as_str().context("no bucket")?;
        if made.insert(bucket.to_owned()) {
            account.make_bucket(region, bucket).await?;
        }
        let keys = part["kmsKeys"]
            .as_array()
            .cloned()
            .unwrap_or_default()
            .into_iter()
            .chain([part["kmsKey"].clone()]);
        for alias in keys.filter_map(|key| key.as_str().map(ToOwned::to_owned)) {
            if made.insert(format!("{} {region} {alias}", account.id)) {
                let key = account.make_key(region).await?;
                account
                    .kms(region)
                    .create_alias()
                    .alias_name(&alias)
                    .target_key_id(key)
                    .send()
                    .await?;
            }
        }
        // Where no key is named, it is that of the bucket's default encryption.
        if end == "source" && part["kmsKeys"].is_null() && part["sseKMSObjects"] != "Skip" {
            account
                .set_default_key(region, bucket, &account.make_key(region).await?)
                .await?;
        }
    }
    Ok(())
}

async fn comes_to(stage: &Stage<'_>, object: &Value) -> anyhow::Result<()> {
    let (ready, reason) = if object["spec"]["mode"] == "Observe" {
        ("False", "PlanPending")
    } else {
        ("True", "Ready")
    };
    let namespace = object["metadata"]["namespace"]
        .as_str()
        .context("no namespace")?;
    let mut last = Value::Null;
    let found = until(Duration::from_mins(1), async || {
        let words = [
            "get",
            "bucketreplication",
            name(object),
            "-n",
            namespace,
            "-o",
            "json",
        ];
        last = serde_json::from_str(&stage.environment.kubectl(&words).await?)?;
        let mut conditions = last["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten();
        let is_ready = conditions
            .clone()
            .any(|it| it["type"] == "Ready" && it["status"] == ready && it["reason"] == reason);
        let verifies = object["spec"]["verification"].is_object();
        let is_verified =
            !verifies || conditions.any(|it| it["type"] == "Verified" && it["status"] == "True");
        Ok((is_ready && is_verified).then_some(()))
    });
    found.await?.with_context(|| {
        format!(
            "{} does not come to {ready}/{reason}: {:#}",
            name(object),
            last["status"]
        )
    })
}

async fn delete(stage: &Stage<'_>, object: &Value) -> anyhow::Result<()> {
    let namespace = object["metadata"]["namespace"]
        .as_str()
        .context("no namespace")?;
    stage
        .environment
        .kubectl(&[
            "delete",
            "bucketreplication",
            name(object),
            "-n",
            namespace,
            "--timeout=60s",
        ])
        .await
        .map(drop)
}

/// What a configuration looks like that somebody made with a rule of the same content, under a role and an ID of their own.
async fn made_by_somebody_else(stage: &Stage<'_>, object: &Value) -> anyhow::Result<()> {
    let bucket = object["spec"]["source"]["bucket"]
        .as_str()
        .context("no bucket")?;
    let mut first = object.clone();
    first["metadata"]["annotations"] = json!({});
    stage.environment.apply(&first.to_string()).await?;
    comes_to(stage, &first).await?;
    let ours = stage
        .source
        .replication(SOURCE_REGION, bucket)
        .await?
        .context("no configuration")?;
    delete(stage, &first).await?;
    let role = stage.source.make_role("s3-replication").await?;
    let mut theirs = ours;
    theirs.role = role;
    for rule in &mut theirs.rules {
        rule.id = Some("tax-records".into());
    }
    stage
        .source
        .s3(SOURCE_REGION)
        .put_bucket_replication()
        .bucket(bucket)
        .replication_configuration(theirs)
        .send()
        .await?;
    Ok(())
}

pub async fn every_sample_becomes_ready(ground: &Ground) -> anyhow::Result<()> {
    let place = Place {
        source_account: SOURCE_ACCOUNT.into(),
        destination_account: DESTINATION_ACCOUNT.into(),
        source_bucket: "source-bucket".into(),
        destination_bucket: "dest-bucket".into(),
    };
    let mut stage = ground.stage_at("finance", place).await?;
    stage.namespaces.push("legal".into());
    for namespace in &stage.namespaces {
        ground
            .environment
            .kubectl(&["create", "namespace", namespace])
            .await?;
    }
    for account in [&stage.source, &stage.destination] {
        let nothing = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}"#;
        account.make_operator_role(nothing).await?;
        // The emulator authorizes DescribeKey on the alias.
        account
            .allow_for_emulator(&["kms:DescribeKey"], "*")
            .await?;
    }
    list(&stage, "accounts.yaml").await?;
    stage.start().await?;
    let arn = |account: &str, region: &str, digit: &str| {
        let part = |length: usize| digit.repeat(length);
        format!(
            "arn:aws:kms:{region}:{account}:key/{}-{}-{}-{}-{}",
            part(8),
            part(4),
            part(4),
            part(4),
            part(12)
        )
    };
    let walkthrough = text("walkthrough.yaml")?
        .replace(&arn(SOURCE_ACCOUNT, SOURCE_REGION, "1"), &stage.source_key)
        .replace(
            &arn(DESTINATION_ACCOUNT, DESTINATION_REGION, "2"),
            &stage.replica_key,
        );
    ensure!(
        walkthrough.contains(&stage.source_key) && walkthrough.contains(&stage.replica_key),
        "the walkthrough names other keys"
    );
    // The door follows new accounts with a short delay.
    let taken = until(Duration::from_secs(30), async || {
        Ok(stage.environment.apply(&walkthrough).await.ok())
    })
    .await?;
    taken.context("the walkthrough is refused")?;
    let object = documents("walkthrough.yaml")?.remove(0);
    comes_to(&stage, &object).await?;
    delete(&stage, &object).await?;
    stage.is_tidy().await?.map_err(anyhow::Error::msg)?;

    list(&stage, "platform.yaml").await?;
    let mut files: Vec<_> = fs::read_dir(repository().join("deploy/samples"))?
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|file| !NOT_BY_NAME.contains(&file.as_str()))
        .collect();
    files.sort();
    ensure!(files.len() >= 7, "{files:?}");
    let (mut objects, mut made) = (vec![], BTreeSet::new());
    for file in &files {
        for object in documents(file)? {
            make_ground(&stage, &object, &mut made).await?;
            objects.push(object);
        }
    }
    let settled = until(Duration::from_secs(30), async || {
        Ok(stage
            .environment
            .kubectl(&[
                "apply",
                "--dry-run=server",
                "-f",
                "deploy/samples/several-teams.yaml",
            ])
            .await
            .ok())
    });
    settled.await?.context("the samples are refused")?;
    let adopted = objects
        .iter()
        .find(|object| name(object) == "adopted")
        .context("no sample of an adoption")?;
    made_by_somebody_else(&stage, adopted).await?;
    for file in &files {
        stage
            .environment
            .kubectl(&["apply", "-f", &format!("deploy/samples/{file}")])
            .await
            .with_context(|| file.clone())?;
    }
    for object in &objects {
        comes_to(&stage, object).await?;
    }
    let after = stage
        .source
        .replication(SOURCE_REGION, "finance-adopted")
        .await?
        .context("no configuration")?;
    let ids: Vec<_> = after
        .rules()
        .iter()
        .filter_map(ReplicationRule::id)
        .collect();
    ensure!(
        ids == ["finance/finance/adopted/tax"] && after.role().contains(":role/brepl-finance-"),
        "{ids:?} {}",
        after.role()
    );
    for object in &objects {
        delete(&stage, object).await?;
    }
    ensure!(
        stage.source.replication_roles().await?.is_empty()
            && stage.destination.replication_roles().await?.is_empty()
    );
    // Those who use no Helm: the API server takes what the overlays come to.
    for folder in ["base", "overlays/production", "overlays/one-team"] {
        let folder = format!("deploy/kustomize/{folder}");
        let taken = stage
            .environment
            .kubectl(&[
                "apply",
                "--server-side",
                "--force-conflicts",
                "--dry-run=server",
                "-k",
                &folder,
            ])
            .await?;
        ensure!(
            taken.contains("deployment.apps/bucket-replication-operator"),
            "{taken}"
        );
    }
    Ok(())
}
