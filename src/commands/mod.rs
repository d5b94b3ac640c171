//! The subcommands other than `run`.

pub mod check;
pub mod crd;
pub mod iam_policy;
pub mod plan;
pub mod plan_answer;
mod plan_offline;
pub mod plan_online;

use std::{fs, io::Read, path::Path};

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// All YAML documents of a file; `-` is standard input.
pub(crate) fn documents(files: &[impl AsRef<Path>]) -> anyhow::Result<Vec<Value>> {
    let mut documents = vec![];
    for file in files {
        let file = file.as_ref();
        let mut text = String::new();
        if file == Path::new("-") {
            std::io::stdin()
                .read_to_string(&mut text)
                .context("standard input can't be read")?;
        } else {
            text = fs::read_to_string(file)
                .with_context(|| format!("{} can't be read", file.display()))?;
        }
        let name = if file == Path::new("-") {
            "standard input".to_owned()
        } else {
            file.display().to_string()
        };
        let read: Vec<Value> =
            serde_saphyr::from_multiple(&text).with_context(|| format!("{name} is not YAML"))?;
        for document in read {
            // `kubectl get -o yaml` of several objects prints a list.
            match document.get("items").and_then(Value::as_array) {
                Some(items) => documents.extend(items.iter().cloned()),
                None if document.is_null() => {}
                None => documents.push(document),
            }
        }
    }
    Ok(documents)
}

/// The documents of `kind`. A field that the kind does not have is refused, as by `kubectl apply`.
pub(crate) fn objects<K: DeserializeOwned>(
    documents: &[Value],
    kind: &str,
) -> anyhow::Result<Vec<K>> {
    let of_kind = documents
        .iter()
        .filter(|document| document.get("kind").and_then(Value::as_str) == Some(kind));
    of_kind
        .map(|document| {
            strictly(document).with_context(|| format!("a {kind} in the files is not valid"))
        })
        .collect()
}

fn strictly<K: DeserializeOwned>(document: &Value) -> anyhow::Result<K> {
    let mut unknown = vec![];
    let object =
        serde_ignored::deserialize(document.clone(), |path| unknown.push(path.to_string()))?;
    unknown.retain(|path| path.starts_with("spec."));
    match unknown.first() {
        Some(field) => bail!("it has no field {field}"),
        None => Ok(object),
    }
}
