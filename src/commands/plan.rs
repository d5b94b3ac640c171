//! `plan`: what an object would create in AWS, as documents and as steps, before anything is done.

use std::fs;

use anyhow::{Context, bail};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::{
    documents, labels_of_namespace, objects, plan_answer::in_namespace, plan_offline::offline,
    plan_online::online,
};
use crate::{
    api::{AwsAccount, BucketReplication},
    api_server,
    config::{Output, Plan},
};

/// The text to print, and whether something would change.
#[derive(Debug)]
pub struct Printed {
    /// For standard output.
    pub text: String,
    /// For standard error.
    pub warnings: Vec<String>,
    /// Whether anything differs from what exists; offline there is nothing to compare with.
    pub changes: bool,
}

/// Plans.
///
/// # Errors
/// When files, cluster or AWS can't be read, or the object can't get what it asks for.
pub async fn run(arguments: &Plan) -> anyhow::Result<Printed> {
    if let Some(name) = &arguments.name {
        return reported(arguments, name).await;
    }
    let documents = documents(&arguments.filename)?;
    let mut replications: Vec<BucketReplication> = objects(&documents, "BucketReplication")?;
    let accounts: Vec<AwsAccount> = objects(&documents, "AWSAccount")?;
    let (Some(replication), None) = (replications.pop(), replications.first()) else {
        bail!("the files contain no BucketReplication, or more than one: plan one at a time");
    };
    let (printed, changes) = if arguments.offline {
        let namespace = arguments.namespace.as_deref().unwrap_or("default");
        let replication = in_namespace(&replication, namespace);
        let namespace = replication.namespace().unwrap_or_default();
        let labels = labels_of_namespace(&documents, &namespace);
        offline(arguments, &replication, accounts, labels)?
    } else {
        online(arguments, replication, accounts).await?
    };
    if let Some(directory) = &arguments.directory {
        fs::create_dir_all(directory)
            .with_context(|| format!("{} can't be created", directory.display()))?;
        for (name, document) in &printed.documents {
            let file = directory.join(name);
            fs::write(&file, format!("{document:#}\n"))
                .with_context(|| format!("{} can't be written", file.display()))?;
        }
    }
    let text = match arguments.output {
        Output::Text => printed.text()?,
        Output::Json => format!("{:#}\n", printed.json()),
        Output::Yaml => serde_saphyr::to_string(&printed.json())?,
    };
    Ok(Printed {
        text,
        warnings: printed.warnings,
        changes,
    })
}

/// What the operator planned for an existing object: in Observe mode, or if something blocks the object.
async fn reported(arguments: &Plan, name: &str) -> anyhow::Result<Printed> {
    let (client, default) = api_server::client_of(&arguments.cluster).await?;
    let namespace = arguments.namespace.as_ref().unwrap_or(&default);
    let object: BucketReplication = Api::namespaced(client, namespace)
        .get(name)
        .await
        .with_context(|| {
            format!("BucketReplication {name} in namespace {namespace} can't be read")
        })?;
    let status = object.status.unwrap_or_default();
    let ready = status.ready().filter(|ready| ready.status != "True");
    let warnings = ready
        .map(|ready| format!("{}: {}", ready.reason, ready.message))
        .into_iter()
        .collect();
    let text = match arguments.output {
        Output::Text => status.plan.iter().flat_map(|line| [line, "\n"]).collect(),
        Output::Json => format!("{:#}\n", json!({ "steps": status.plan })),
        Output::Yaml => serde_saphyr::to_string(&json!({ "steps": status.plan }))?,
    };
    Ok(Printed {
        text,
        warnings,
        changes: !status.plan.is_empty(),
    })
}
