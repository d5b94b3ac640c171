//! `status`, as a tenant types it: with the namespace of the context, for one object and for all.

use std::{
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use testbed::stage::{Stage, until};
use tokio::{io::AsyncReadExt, process::Command};

use crate::Ground;

/// The command with a kubeconfig whose context has the namespace of the stage.
fn command(stage: &Stage<'_>) -> anyhow::Result<Command> {
    let admin = std::fs::read_to_string(stage.environment.kubeconfig())?;
    let mut kubeconfig: Value = serde_json::from_str(&admin)?;
    kubeconfig["contexts"][0]["context"]["namespace"] = json!(stage.name);
    let file = stage.environment.directory.join("kubeconfig-of-status");
    std::fs::write(&file, kubeconfig.to_string())?;
    let mut command = Command::new(stage.binary());
    command
        .arg("status")
        .env_clear()
        .arg("--kubeconfig")
        .arg(file);
    Ok(command)
}

async fn status(stage: &Stage<'_>, words: &[&str]) -> anyhow::Result<Output> {
    Ok(command(stage)?.args(words).output().await?)
}

/// The type of the Event with this reason.
async fn event_type(stage: &Stage<'_>, reason: &str) -> anyhow::Result<String> {
    let selector = format!("reason={reason}");
    let words = ["-n", &stage.name, "--field-selector", &selector];
    let first = ["-o", "jsonpath={.items[0].type}"];
    let words = [["get", "events"].as_slice(), &words, &first].concat();
    let seen = until(Duration::from_secs(10), async || {
        // Without any, kubectl fails: the list has no first item.
        Ok(stage.environment.kubectl(&words).await.ok())
    });
    seen.await?.context("no Event")
}

pub async fn status_shows_what_is_and_what_to_do(ground: &Ground) -> anyhow::Result<()> {
    let mut stage = ground.stage("status").await?;
    let none = status(&stage, &[]).await?;
    let said = String::from_utf8_lossy(&none.stderr);
    ensure!(
        none.status.code() == Some(0) && none.stdout.is_empty(),
        "{none:?}"
    );
    ensure!(
        said.contains("no BucketReplication in namespace status"),
        "{said}"
    );

    stage.start().await?;
    stage.apply(&stage.replication()).await?;
    stage.wait_for("tax", "Ready", "True", "Ready").await?;
    let one = status(&stage, &["tax"]).await?;
    let text = String::from_utf8_lossy(&one.stdout);
    ensure!(one.status.code() == Some(0), "{one:?}");
    ensure!(text.starts_with("status/tax: Ready\n├─ "), "{text}");
    ensure!(
        text.contains("tax: priority ") && text.contains("role arn:aws:iam::"),
        "{text}"
    );
    ensure!(
        !text.contains("what to do") && !text.contains('\u{1b}'),
        "{text}"
    );

    // What a user chose is nothing to warn of.
    let mut observed = stage.replication();
    observed["metadata"]["name"] = json!("observed");
    observed["spec"]["rules"] = json!([{"name": "tax", "prefix": "Legal"}]);
    observed["spec"]["mode"] = json!("Observe");
    stage.apply(&observed).await?;
    stage
        .wait_for("observed", "Ready", "False", "PlanPending")
        .await?;
    ensure!(event_type(&stage, "PlanPending").await? == "Normal");
    stage.delete("observed").await?;

    let mut wrong = stage.replication();
    wrong["metadata"]["name"] = json!("wrong");
    wrong["spec"]["rules"] = json!([{"name": "tax", "prefix": "Legal"}]);
    wrong["spec"]["destination"]["bucket"] = json!("status-missing");
    stage.apply(&wrong).await?;
    stage
        .wait_for("wrong", "Ready", "False", "BucketNotFound")
        .await?;
    ensure!(event_type(&stage, "BucketNotFound").await? == "Warning");
    let all = status(&stage, &["-A", "-o", "json"]).await?;
    ensure!(all.status.code() == Some(1), "{all:?}");
    let read: Value = serde_json::from_slice(&all.stdout)?;
    let of = |name: &str| {
        let items = read["items"].as_array().into_iter().flatten();
        let mut same = items.filter(|item| item["namespace"] == "status");
        same.find(|item| item["name"] == name)
            .cloned()
            .context("it is missing")
    };
    ensure!(of("tax")?["ready"] == true, "{read:#}");
    let what = of("wrong")?["whatToDo"][0].to_string();
    ensure!(what.contains("BucketNotFound: "), "{read:#}");
    let names = status(&stage, &["-o", "name"]).await?;
    let names = String::from_utf8_lossy(&names.stdout).into_owned();
    ensure!(
        names == "bucketreplication.bucketops.dev/tax\nbucketreplication.bucketops.dev/wrong\n",
        "{names}"
    );

    let missing = status(&stage, &["taxes"]).await?;
    let said = String::from_utf8_lossy(&missing.stderr);
    ensure!(missing.status.code() == Some(2), "{missing:?}");
    ensure!(
        said.contains("BucketReplication taxes in namespace status"),
        "{said}"
    );
    let context = status(&stage, &["--context", "elsewhere"]).await?;
    ensure!(context.status.code() == Some(2), "{context:?}");
    watch(&stage).await
}

/// `--watch` shows an object, and shows it again when it changes.
async fn watch(stage: &Stage<'_>) -> anyhow::Result<()> {
    let mut watching = command(stage)?
        .args(["wrong", "--watch"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut out = watching.stdout.take().context("no output")?;
    let mut text = String::new();
    let mut until = async |what: &str| {
        let read = async {
            let mut bytes = [0; 4096];
            while !text.contains(what) {
                let count = out.read(&mut bytes).await?;
                ensure!(count > 0, "it ended: {text}");
                text += &String::from_utf8_lossy(&bytes[..count]);
            }
            Ok(())
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), read)
            .await
            .with_context(|| format!("{what} was not shown"))?
    };
    until("status/wrong: BucketNotFound").await?;
    let patch = r#"{"spec":{"mode":"Paused"}}"#;
    let kubectl = [
        "patch",
        "bucketreplication",
        "wrong",
        "-n",
        "status",
        "--type",
        "merge",
        "-p",
        patch,
    ];
    stage.environment.kubectl(&kubectl).await?;
    until("status/wrong: Paused").await
}
