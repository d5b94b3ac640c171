//! The rules of the CRDs, tried in process; `tests/e2e/door.rs` tries the same table on the real API server.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on has failed"
)]

mod bad_input;

use bucket_replication_operator::{
    api::{
        AwsAccount, BucketReplication, aws_account::AwsAccountSpec,
        bucket_replication::BucketReplicationSpec, condition::ConditionType,
    },
    commands::crd::definitions,
};
use kube::core::cel::validate_cel_schema;
use serde_json::{Value, json};

fn replication() -> Value {
    json!({
        "apiVersion": "bucketops.dev/v1alpha1", "kind": "BucketReplication", "metadata": {"name": "tax", "namespace": "finance"},
        "spec": {
            "source": {"accountName": "prod", "bucket": "source-bucket", "kmsKeys": ["alias/tax"]},
            "destination": {"accountName": "dr", "bucket": "dest-bucket", "kmsKey": "alias/tax"},
            "rules": [{"name": "tax", "prefix": "Tax", "deleteMarkers": "Replicate"}],
        },
    })
}

fn account() -> Value {
    json!({
        "apiVersion": "bucketops.dev/v1alpha1", "kind": "AWSAccount", "metadata": {"name": "prod"},
        "spec": {
            "accountID": "111111111111",
            "assumeRole": {"roleARN": "arn:aws:iam::111111111111:role/operator", "externalID": "xx"},
            "grants": [{"namespaces": {"matchLabels": {"a": "b"}}, "sources": [{"bucket": "*"}]}],
        },
    })
}

/// What CEL says of a spec, with the defaults that the types know; None where it takes it.
fn refused<S: schemars::JsonSchema>(spec: &Value, old: Option<&Value>) -> Option<String> {
    validate_cel_schema::<S>(spec, old)
        .err()
        .map(|errors| errors.to_string())
}

fn with_defaults<S: serde::de::DeserializeOwned + serde::Serialize>(spec: &Value) -> Option<Value> {
    serde_json::from_value::<S>(spec.clone())
        .ok()
        .map(|spec| json!(spec))
}

#[test]
fn good_objects_are_taken() {
    let spec = with_defaults::<BucketReplicationSpec>(&replication()["spec"]).unwrap();
    assert_eq!(refused::<BucketReplicationSpec>(&spec, None), None);
    let spec = with_defaults::<AwsAccountSpec>(&account()["spec"]).unwrap();
    assert_eq!(refused::<AwsAccountSpec>(&spec, None), None);
}

/// The part of the table that CEL rules of the spec decide: those whose message is a sentence of ours. Patterns, bounds and enumerations are the
/// API server's own, and it answers with the path of the field.
#[test]
fn cel_refuses_what_the_table_says() {
    fn decided<S: schemars::JsonSchema + serde::de::DeserializeOwned + serde::Serialize>(
        cases: Vec<bad_input::Case>,
        good: fn() -> Value,
    ) -> usize {
        let by_cel = |expected: &str| {
            !["spec.", "metadata.", "uplicate"]
                .iter()
                .any(|other| expected.starts_with(other))
        };
        cases
            .into_iter()
            .filter(|(.., expected)| by_cel(expected))
            .map(|(name, pointer, value, expected)| {
                let mut object = good();
                bad_input::put(&mut object, pointer, value);
                let message = refused::<S>(&with_defaults::<S>(&object["spec"]).unwrap(), None)
                    .unwrap_or_default();
                assert!(message.contains(expected), "{name}: {message:?}");
            })
            .count()
    }
    assert_eq!(
        decided::<BucketReplicationSpec>(bad_input::replications(), replication),
        12
    );
    assert_eq!(decided::<AwsAccountSpec>(bad_input::accounts(), account), 3);
}

#[test]
fn source_and_identity_can_t_be_changed() {
    let old = with_defaults::<BucketReplicationSpec>(&replication()["spec"]).unwrap();
    for pointer in ["/source/bucket", "/source/accountName"] {
        let mut new = old.clone();
        bad_input::put(&mut new, pointer, json!("another"));
        assert!(
            refused::<BucketReplicationSpec>(&new, Some(&old))
                .unwrap()
                .contains("can't be changed"),
            "{pointer}"
        );
    }
    let old = with_defaults::<AwsAccountSpec>(&account()["spec"]).unwrap();
    for (pointer, value) in [
        ("/accountID", "222222222222"),
        ("/partition", "aws-cn"),
        ("/roles/path", "/other/"),
    ] {
        let mut new = old.clone();
        bad_input::put(&mut new, pointer, json!(value));
        assert!(
            refused::<AwsAccountSpec>(&new, Some(&old))
                .unwrap()
                .contains("can't be changed"),
            "{pointer}"
        );
    }
}

#[test]
fn every_field_of_spec_and_status_is_described() {
    fn look(path: &str, schema: &Value, missing: &mut Vec<String>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            if !field["description"].is_string() {
                missing.push(path.clone());
            }
            look(&path, field, missing);
            look(&path, &field["items"], missing);
        }
    }
    let mut missing = vec![];
    for (file, definition) in definitions() {
        let schema = json!(definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
        look(file, &schema["properties"]["spec"], &mut missing);
        look(file, &schema["properties"]["status"], &mut missing);
    }
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn an_object_that_nobody_saw_has_every_condition_unknown() {
    let (_, definition) = definitions().into_iter().nth(1).unwrap();
    let default = json!(definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["default"].clone();
    let types: Vec<_> = default["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (c["type"].clone(), c["status"].clone()))
        .collect();
    let expected: Vec<_> = ConditionType::PERSISTENT
        .iter()
        .map(|kind| (json!(kind.as_str()), json!("Unknown")))
        .collect();
    assert_eq!(types, expected);
}

/// Nobody can name another namespace, or a role to pass.
#[test]
fn no_field_of_a_replication_names_a_namespace_or_a_role() {
    let (_, definition) = definitions().into_iter().nth(1).unwrap();
    let spec = json!(definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
        ["spec"]["properties"]
        .to_string();
    for word in ["\"namespace\"", "\"role\"", "\"roleARN\"", "\"externalID\""] {
        assert!(!spec.contains(word), "{word}");
    }
}

#[test]
fn the_samples_are_taken() {
    for text in [
        include_str!("../deploy/samples/walkthrough.yaml"),
        include_str!("../deploy/samples/accounts.yaml"),
    ] {
        for document in serde_saphyr::from_multiple::<Value>(text).unwrap() {
            if document["kind"] == "AWSAccount" {
                let account: AwsAccount = serde_json::from_value(document).unwrap();
                assert_eq!(refused::<AwsAccountSpec>(&json!(account.spec), None), None);
            } else {
                let object: BucketReplication = serde_json::from_value(document).unwrap();
                assert_eq!(
                    refused::<BucketReplicationSpec>(&json!(object.spec), None),
                    None
                );
            }
        }
    }
}

/// What `kubectl explain` prints has to be enough to fill a field in without other docs.
#[test]
fn every_field_is_explained_with_default_bounds_and_example() {
    fn check(path: &str, field: &Value, mistakes: &mut Vec<String>) {
        let words = field["description"].as_str().unwrap_or_default();
        let mut wrong = |what: &str| mistakes.push(format!("{path}: {what}: {words}"));
        if !words.contains(['.', ':']) {
            wrong("no sentence");
        }
        let kind = field["type"].as_str().unwrap_or_default();
        let is_map = field["additionalProperties"].is_object();
        if field["enum"].is_null()
            && (matches!(kind, "string" | "integer" | "array") || is_map)
            && !words.contains("Example: ")
        {
            wrong("no example");
        }
        let default = field["default"]
            .as_str()
            .map(|default| if default.is_empty() { "empty" } else { default });
        if default.is_some_and(|default| !words.contains(&format!("Default: {default}."))) {
            wrong("no default");
        }
        for bound in [
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "minimum",
            "maximum",
            "maxProperties",
        ] {
            let number = field[bound].as_f64().filter(|number| *number > 0.0);
            if number.is_some_and(|number| !words.contains(&number.to_string())) {
                wrong(bound);
            }
        }
        // The selector is Kubernetes' own and explained by it.
        if !path.ends_with(".namespaces") {
            fields(path, field, mistakes);
            fields(&format!("{path}[]"), &field["items"], mistakes);
        }
    }
    fn fields(path: &str, schema: &Value, mistakes: &mut Vec<String>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            check(&format!("{path}.{name}"), field, mistakes);
        }
    }
    let mut mistakes = vec![];
    for (_, definition) in definitions() {
        let kind = definition.spec.names.kind.clone();
        let schema = json!(definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone();
        assert!(
            schema["properties"]
                .as_object()
                .is_some_and(|properties| properties.len() > 5),
            "{schema}"
        );
        fields(&kind, &schema, &mut mistakes);
    }
    assert!(mistakes.is_empty(), "{mistakes:#?}");
}
