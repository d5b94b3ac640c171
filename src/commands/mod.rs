//! The subcommands other than `run`, and the files that they read.

pub mod check;
pub mod completion;
pub mod crd;
pub mod iam_policy;
pub mod plan;
pub mod plan_answer;
mod plan_offline;
pub mod plan_online;
pub mod said;
pub mod status;

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde_json::Value;

/// The API that the kinds of the operator belong to.
const API_VERSION: &str = "bucketops.dev/v1alpha1";

/// A YAML document, and the file that it is in.
pub(crate) struct Document {
    file: String,
    value: Value,
}

impl Document {
    fn kind(&self) -> Option<&str> {
        self.value.get("kind")?.as_str()
    }

    /// File, kind and name, for messages.
    fn named(&self) -> String {
        let name = self.value["metadata"]["name"].as_str();
        let kind = self.kind().unwrap_or_default();
        format!("{}: {kind} {}", self.file, name.unwrap_or("without a name"))
    }
}

/// The files, with those in folders, as `kubectl apply -f` finds them there.
fn files(paths: &[PathBuf], recursive: bool) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = vec![];
    for path in paths {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let inside = in_folder(path, recursive)
            .with_context(|| format!("folder {} can't be read", path.display()))?;
        if inside.is_empty() {
            bail!(
                "folder {} contains no file *.yaml, *.yml or *.json{}",
                path.display(),
                if recursive {
                    ""
                } else {
                    ": --recursive also reads the folders in it"
                }
            );
        }
        found.extend(inside);
    }
    Ok(found)
}

/// The files with objects in a folder, in order of their names.
fn in_folder(folder: &Path, recursive: bool) -> std::io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut entries: Vec<PathBuf> = entries.collect::<std::io::Result<_>>()?;
    entries.sort();
    let mut found = vec![];
    for path in entries {
        if path.is_dir() {
            if recursive {
                found.extend(in_folder(&path, recursive)?);
            }
        } else if path
            .extension()
            .is_some_and(|kind| kind == "yaml" || kind == "yml" || kind == "json")
        {
            found.push(path);
        }
    }
    Ok(found)
}

/// All YAML documents of the files, and of the files in folders; `-` is standard input.
pub(crate) fn documents(paths: &[PathBuf], recursive: bool) -> anyhow::Result<Vec<Document>> {
    let mut documents = vec![];
    for path in files(paths, recursive)? {
        let is_input = path == Path::new("-");
        let file = if is_input {
            "standard input".to_owned()
        } else {
            path.display().to_string()
        };
        let mut text = String::new();
        if is_input {
            std::io::stdin()
                .read_to_string(&mut text)
                .context("standard input can't be read")?;
        } else {
            text = fs::read_to_string(&path).with_context(|| format!("{file} can't be read"))?;
        }
        let read: Vec<Value> =
            serde_saphyr::from_multiple(&text).with_context(|| format!("{file} is not YAML"))?;
        for value in read {
            let of_file = |value| Document {
                file: file.clone(),
                value,
            };
            // `kubectl get -o yaml` of several objects prints a list.
            match value.get("items").and_then(Value::as_array) {
                Some(items) => documents.extend(items.iter().cloned().map(of_file)),
                None if value.is_null() => {}
                None => documents.push(of_file(value)),
            }
        }
    }
    Ok(documents)
}

/// The kinds of the API.
const KINDS: [&str; 2] = ["AWSAccount", "BucketReplication"];

/// Whether every object of the operator's API has a kind that it has, and a name, and none is there twice. Others are passed over: files may have them.
///
/// # Errors
/// Names the first that is wrong.
pub(crate) fn are_sound(documents: &[Document]) -> anyhow::Result<()> {
    let mut seen = std::collections::BTreeMap::new();
    let ours = documents.iter().filter(|document| {
        let version = document.value["apiVersion"].as_str();
        let group = version.and_then(|version| version.split('/').next());
        group == API_VERSION.split('/').next()
    });
    for document in ours {
        let kind = document.kind().unwrap_or_default();
        if !KINDS.contains(&kind) {
            bail!(
                "{}: there is no kind {kind:?}: use {}",
                document.named(),
                KINDS.join(" or ")
            );
        }
        let metadata = &document.value["metadata"];
        let Some(name) = metadata["name"].as_str() else {
            bail!("{}: metadata.name is missing", document.named());
        };
        let namespace = metadata["namespace"].as_str();
        if let Some(before) = seen.insert((kind, namespace, name), &document.file) {
            bail!(
                "{}: it is in {before} as well: leave one of them out",
                document.named()
            );
        }
    }
    Ok(())
}

/// The objects of the operator's `kind`. A field that the kind does not have is refused, as by `kubectl apply`.
pub(crate) fn objects<K: DeserializeOwned>(
    documents: &[Document],
    kind: &str,
) -> anyhow::Result<Vec<K>> {
    let named = named_objects(documents, kind)?;
    Ok(named.into_iter().map(|(_, object)| object).collect())
}

/// The same, each with its file, kind and name, for messages.
pub(crate) fn named_objects<K: DeserializeOwned>(
    documents: &[Document],
    kind: &str,
) -> anyhow::Result<Vec<(String, K)>> {
    let of_kind = documents
        .iter()
        .filter(|document| document.kind() == Some(kind));
    of_kind
        .map(|document| {
            let named = document.named();
            match strictly(&document.value) {
                Ok(object) => Ok((named, object)),
                Err(error) => Err(error.context(named)),
            }
        })
        .collect()
}

fn strictly<K: DeserializeOwned>(document: &Value) -> anyhow::Result<K> {
    match document["apiVersion"].as_str() {
        Some(API_VERSION) => {}
        Some(other) => bail!("apiVersion {other} is not supported: use {API_VERSION}"),
        None => bail!("it has no apiVersion: use {API_VERSION}"),
    }
    let mut unknown = vec![];
    let mut ignored = |path: serde_ignored::Path<'_>| unknown.push(field(&path));
    let fields = document.clone().into_deserializer();
    let fields = serde_ignored::Deserializer::new(fields, &mut ignored);
    let object = serde_path_to_error::deserialize(fields)?;
    unknown.retain(|path| path.starts_with("spec."));
    match unknown.first() {
        Some(field) => bail!("it has no field {field}"),
        None => Ok(object),
    }
}

/// The path of a field as `kubectl` prints it.
fn field(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", field(parent)),
        Path::Map { parent, key } => match field(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => field(parent),
    }
}

/// The labels of the namespace of that name, as Kubernetes has them, if the files contain it.
pub(crate) fn labels_of_namespace(
    documents: &[Document],
    name: &str,
) -> Option<std::collections::BTreeMap<String, String>> {
    let namespace = documents.iter().find(|document| {
        document.kind() == Some("Namespace") && document.value["metadata"]["name"] == name
    })?;
    let labels = namespace.value["metadata"].get("labels").cloned();
    let mut labels: std::collections::BTreeMap<String, String> =
        serde_json::from_value(labels.unwrap_or_default()).unwrap_or_default();
    labels.insert("kubernetes.io/metadata.name".to_owned(), name.to_owned());
    Some(labels)
}
