//! `plan`: what objects would create in AWS, as documents and as steps, before anything is done.

use std::{fs, path::Path};

use anyhow::{Context, bail};
use kube::Api;
use serde_json::json;

use super::{
    are_sound, documents, named_objects, objects, plan_offline::offline, plan_online::online,
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
    /// What keeps objects from being planned.
    pub errors: Vec<String>,
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
    let documents = documents(&arguments.filename, arguments.recursive)?;
    are_sound(&documents)?;
    let replications = named_objects::<BucketReplication>(&documents, "BucketReplication")?;
    let accounts: Vec<AwsAccount> = objects(&documents, "AWSAccount")?;
    if replications.is_empty() {
        bail!("there is no BucketReplication in the files");
    }
    let answer = if arguments.offline {
        offline(arguments, replications, accounts, &documents)?
    } else {
        Box::pin(online(arguments, replications, accounts)).await?
    };
    if let Some(directory) = &arguments.directory {
        for (name, document) in answer.named_documents() {
            write(&directory.join(name), &format!("{document:#}\n"))?;
        }
    }
    let text = match arguments.output {
        _ if answer.buckets.is_empty() && answer.taken.is_empty() => String::new(),
        Output::Text => answer.text()?,
        Output::Json => format!("{:#}\n", answer.json()),
        Output::Yaml => serde_saphyr::to_string(&answer.json())?,
    };
    Ok(Printed {
        text,
        changes: answer.changes(),
        warnings: answer.warnings,
        errors: answer.errors,
    })
}

/// Writes a file, and its folder if that is missing.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let folder = file.parent().unwrap_or(file);
    fs::create_dir_all(folder).with_context(|| format!("{} can't be created", folder.display()))?;
    fs::write(file, text).with_context(|| format!("{} can't be written", file.display()))
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
    let mut warnings: Vec<_> = ready
        .map(|ready| format!("{}: {}", ready.reason, ready.message))
        .into_iter()
        .collect();
    // Without steps, an object that is not ready says nothing of what would be done.
    let errors = if status.plan.is_empty() {
        let reasons = std::mem::take(&mut warnings).into_iter();
        reasons
            .map(|reason| format!("BucketReplication {name} has no plan: {reason}"))
            .collect()
    } else {
        vec![]
    };
    let text = match arguments.output {
        _ if !errors.is_empty() => String::new(),
        Output::Text if status.plan.is_empty() => "No changes.\n".to_owned(),
        Output::Text => status.plan.iter().flat_map(|line| [line, "\n"]).collect(),
        Output::Json => format!("{:#}\n", json!({ "steps": status.plan })),
        Output::Yaml => serde_saphyr::to_string(&json!({ "steps": status.plan }))?,
    };
    Ok(Printed {
        text,
        warnings,
        errors,
        changes: !status.plan.is_empty(),
    })
}
