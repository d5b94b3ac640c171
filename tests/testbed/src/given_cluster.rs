//! A cluster that exists already, such as kind or minikube: the demo installs the chart there, and removes all of it again.

use std::{ffi::OsStr, fs, path::Path, process::Command};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::{
    environment::Environment,
    process::{output, program},
};

/// What the demo makes there, in the order in which it is removed.
const MADE: [&str; 4] = [
    "namespace/finance",
    "crd/bucketreplications.bucketops.dev",
    "crd/awsaccounts.bucketops.dev",
    "namespace/bucket-replication",
];

/// Writes the current context of `kubeconfig`, which may be a list of files, to `file`; gives context and server.
///
/// # Errors
/// When there is none.
pub async fn extract(kubeconfig: &OsStr, file: &Path) -> anyhow::Result<String> {
    let mut kubectl = Command::new(program("kubectl")?);
    kubectl
        .args(["config", "view", "--raw", "--minify", "--flatten"])
        .args(["--output", "json"])
        .env("KUBECONFIG", kubeconfig);
    let text = output(&mut kubectl)
        .await
        .with_context(|| format!("KUBECONFIG={} has no context", kubeconfig.display()))?;
    let config: Value = serde_json::from_str(&text)?;
    fs::write(file, &text)?;
    let text = |value: &Value| value.as_str().unwrap_or("(none)").to_owned();
    let server = text(&config["clusters"][0]["cluster"]["server"]);
    Ok(format!(
        "context {} ({server})",
        text(&config["current-context"])
    ))
}

/// Checks that nothing of the demo is there, which it would mix with its own.
///
/// # Errors
/// When something is, or the cluster does not answer.
pub async fn is_free(environment: &Environment) -> anyhow::Result<()> {
    let words = ["get", "--ignore-not-found", "--output", "name"];
    let found = environment
        .kubectl(&[words.as_slice(), &MADE].concat())
        .await?;
    let found: Vec<_> = found.lines().collect();
    ensure!(
        found.is_empty(),
        "the cluster of KUBECONFIG has {} already: the demo uses these names, so take another cluster, or unset KUBECONFIG for one of its own",
        found.join(", ")
    );
    Ok(())
}

/// Removes what the demo made.
///
/// # Errors
/// When the cluster refuses that.
pub async fn clean(environment: &Environment) -> anyhow::Result<()> {
    let release = ["uninstall", "bucket-replication-operator", "--namespace"];
    environment
        .helm(&[release.as_slice(), &["bucket-replication"]].concat())
        .await?;
    let words = ["delete", "--ignore-not-found", "--timeout", "60s"];
    environment
        .kubectl(&[words.as_slice(), &MADE].concat())
        .await?;
    Ok(())
}
