//! A destination in an account that the operator has no credentials for.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use testbed::stage::{DESTINATION_REGION, SOURCE_REGION};

use crate::Ground;

pub async fn nothing_is_called_in_an_external_account_and_its_owner_is_told_what_to_apply(
    ground: &Ground,
) -> anyhow::Result<()> {
    let mut stage = ground.stage("external").await?;
    let mut account = stage.destination_account();
    account["spec"]["access"] = json!("External");
    account["spec"]
        .as_object_mut()
        .context("no spec")?
        .remove("assumeRole");
    stage.environment.apply(&account.to_string()).await?;
    stage.start().await?;
    stage.apply(&stage.replication()).await?;
    let message = stage
        .wait_for("tax", "Ready", "Unknown", "NotAttested")
        .await?;
    ensure!(
        stage
            .source
            .replication(SOURCE_REGION, &stage.source_bucket)
            .await?
            .is_none(),
        "the rules do not wait"
    );

    let told = stage.get("tax").await?["status"]["requiredActions"].clone();
    let told = told.as_array().context("no actions")?;
    ensure!(
        told.len() == 2
            && told.iter().all(|action| action["command"]
                .as_str()
                .is_some_and(|command| command.contains("aws "))),
        "{told:?}"
    );
    for action in told {
        ensure!(action["accountID"] == stage.destination.id.as_str());
        stage
            .destination
            .run(action["command"].as_str().unwrap_or_default())
            .await?;
    }
    let policy = stage
        .destination
        .bucket_policy(DESTINATION_REGION, &stage.destination_bucket)
        .await?
        .context("no policy")?;
    let key_policy = stage
        .destination
        .key_policy(DESTINATION_REGION, &stage.replica_key)
        .await?;
    for (document, action) in [(&policy, &told[0]), (&key_policy, &told[1])] {
        let statement: Value =
            serde_json::from_str(action["statement"].as_str().unwrap_or_default())?;
        let statements = document["Statement"].as_array().context("no statements")?;
        ensure!(statements.contains(&statement), "{document:#}");
    }
    ensure!(
        key_policy["Statement"]
            .as_array()
            .is_some_and(|statements| statements.len() > 1),
        "the key's own statements are gone"
    );

    let command = message.split("kubectl ").nth(1).context("no command")?;
    stage
        .environment
        .kubectl(&command.split(' ').collect::<Vec<_>>())
        .await?;
    stage.wait_for("tax", "Ready", "True", "Attested").await?;
    let rules = stage
        .source
        .replication(SOURCE_REGION, &stage.source_bucket)
        .await?
        .context("no configuration")?;
    ensure!(rules.rules().len() == 1);

    let mut wider = stage.replication();
    wider["spec"]["rules"] =
        json!([{"name": "tax", "prefix": "Tax"}, {"name": "legal", "prefix": "Legal"}]);
    stage.apply(&wider).await?;
    let again = stage
        .wait_for("tax", "Ready", "Unknown", "NotAttested")
        .await?;
    ensure!(again != message, "the fingerprint is the same: {again}");
    stage.delete("tax").await?;
    let events = stage.events().await?;
    let left = events
        .iter()
        .find(|(reason, _)| reason == "StatementsLeft")
        .context("the owner is not told what stays")?;
    ensure!(
        left.1.contains(&stage.destination_bucket) && left.1.contains(&stage.replica_key),
        "{left:?}"
    );
    let there: Vec<_> = stage
        .proxy
        .calls()
        .into_iter()
        .filter(|call| {
            call.expected_owner.as_ref() == Some(&stage.destination.id)
                || call.resource.contains(&stage.destination.id)
        })
        .collect();
    ensure!(there.is_empty(), "{there:?}");
    Ok(())
}
