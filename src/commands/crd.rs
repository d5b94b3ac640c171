//! `crd`: the custom resource definitions, generated from the types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use crate::api::{AwsAccount, BucketReplication};

/// The definitions, each with its file name.
#[must_use]
pub fn definitions() -> [(&'static str, CustomResourceDefinition); 2] {
    let all = [
        ("awsaccounts.bucketops.dev.yaml", AwsAccount::crd()),
        (
            "bucketreplications.bucketops.dev.yaml",
            BucketReplication::crd(),
        ),
    ];
    all.map(|(file, mut definition)| {
        let kind = definition.spec.names.kind.clone();
        let versions = definition.spec.versions.iter_mut();
        for schema in
            versions.filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut())
        {
            schema.title = Some(kind.clone());
            without_null(schema);
            for (_, part) in schema
                .properties
                .iter_mut()
                .flatten()
                .filter(|(name, _)| *name == "spec")
            {
                explain(part);
            }
        }
        (file, definition)
    })
}

/// Optional fields are left out, never null: the API server would list `null` among the supported values of an enum.
fn without_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if let Some(values) = &mut schema.enum_ {
        values.retain(|value| !value.0.is_null());
    }
    schema
        .properties
        .iter_mut()
        .flat_map(|properties| properties.values_mut())
        .for_each(without_null);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        without_null(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        without_null(values);
    }
}

/// Adds defaults and bounds to the descriptions of the fields, because `kubectl explain` does not print them.
fn explain(schema: &mut JSONSchemaProps) {
    for field in schema
        .properties
        .iter_mut()
        .flat_map(|properties| properties.values_mut())
    {
        let facts: Vec<_> = default(field).into_iter().chain(bounds(field)).collect();
        if let Some(description) = field.description.as_mut().filter(|_| !facts.is_empty()) {
            // An example comes last, because values may end with a full stop.
            let (words, example) = description
                .split_once(" Example:")
                .map_or((description.as_str(), None), |(words, rest)| {
                    (words, Some(rest))
                });
            let example = example
                .map(|example| format!(" Example:{example}"))
                .unwrap_or_default();
            *description = format!("{words} {}{example}", facts.join(" "));
        }
        explain(field);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        explain(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        explain(values);
    }
}

fn default(field: &JSONSchemaProps) -> Option<String> {
    let default = &field.default.as_ref()?.0;
    match default.as_str() {
        Some("") => Some("Default: empty.".to_owned()),
        Some(text) => Some(format!("Default: {text}.")),
        None => default.is_number().then(|| format!("Default: {default}.")),
    }
}

fn bounds(field: &JSONSchemaProps) -> Option<String> {
    let between = |least: Option<i64>, most: Option<i64>, of: &str| match (
        least.filter(|least| *least > 0),
        most,
    ) {
        (Some(least), Some(most)) => Some(format!("{least} to {most} {of}.")),
        (Some(least), None) => Some(format!("At least {least} {of}.")),
        (None, Some(most)) => Some(format!("At most {most} {of}.")),
        (None, None) => None,
    };
    let range = field
        .minimum
        .zip(field.maximum)
        .map(|(least, most)| format!("From {least} to {most}."));
    between(field.min_length, field.max_length, "characters")
        .or_else(|| between(field.min_items, field.max_items, "items"))
        .or_else(|| between(field.min_properties, field.max_properties, "entries"))
        .or(range)
}

/// All definitions as YAML documents.
///
/// # Errors
/// When one can't be written as YAML.
pub fn run() -> anyhow::Result<String> {
    let mut text = String::new();
    for (_, definition) in definitions() {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(&definition)?);
    }
    Ok(text)
}
