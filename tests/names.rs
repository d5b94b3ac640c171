//! The names of the API, walked through in both schemas and all enums: the Kubernetes API conventions on acronyms and references, and that every
//! field and value is described.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on has failed"
)]

use bucket_replication_operator::{
    api::{
        condition::{ConditionType, Reason},
        event::EventReason,
    },
    commands::crd::definitions,
    metrics::TABLE,
    replication::plan::Step,
};
use serde_json::{Value, json};
use strum::{EnumMessage, IntoEnumIterator};

/// Acronyms, which have one case: all upper, or all lower where a name begins with one ("Naming conventions" in the Kubernetes API conventions).
const ACRONYMS: [&str; 14] = [
    "ACL", "API", "ARN", "AWS", "DSSE", "IAM", "ID", "JSON", "KMS", "SSE", "STS", "URI", "URL",
    "XML",
];

/// Fields that name another thing by something else than its name: a bucket is AWS's own word for its name, and a key may be named by its ARN,
/// its alias' ARN, or its alias.
const OTHER_REFERENCES: [&str; 5] = [
    "bucket",
    "kmsKey",
    "kmsKeys",
    "sourceBucket",
    "destinationBucket",
];

/// Words for things that a field may refer to.
const REFERENCES: [&str; 8] = [
    "account", "role", "policy", "boundary", "key", "identity", "user", "bucket",
];

/// The words of a name in camel case, each as it is written; the plural of an acronym keeps its small s.
fn words(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let (mut words, mut place) = (vec![], 0);
    while place < letters.len() {
        let upper = letters[place..]
            .iter()
            .take_while(|letter| letter.is_ascii_uppercase())
            .count();
        let after = &letters[place + upper..];
        let is_plural = upper > 1
            && after.first() == Some(&'s')
            && after.get(1).is_none_or(char::is_ascii_uppercase);
        let lower = after
            .iter()
            .take_while(|letter| !letter.is_ascii_uppercase())
            .count();
        // Of several capitals before a small letter, the last one begins the next word.
        let length = match (upper, lower) {
            (upper, _) if is_plural => upper + 1,
            (2.., 1..) => upper - 1,
            (upper, lower) => upper + lower,
        };
        words.push(letters[place..place + length].iter().collect());
        place += length;
    }
    words
}

fn has_one_case(name: &str) -> Result<(), String> {
    for (place, word) in words(name).iter().enumerate() {
        let is_acronym = |word: &str| {
            ACRONYMS
                .iter()
                .any(|acronym| acronym.eq_ignore_ascii_case(word))
        };
        let singular = word.strip_suffix('s').unwrap_or(word);
        let plain = if is_acronym(word) {
            word.as_str()
        } else {
            singular
        };
        let acronym = is_acronym(plain);
        let small = place == 0 && plain.chars().all(|letter| letter.is_ascii_lowercase());
        if acronym && !small && plain.chars().any(|letter| letter.is_ascii_lowercase()) {
            return Err(format!("{name}: {word} is an acronym in two cases"));
        }
    }
    Ok(())
}

/// Whether a field that holds strings and refers to something says how: `Name`, `Names`, `Ref` or ARN.
fn refers_well(name: &str, schema: &Value) -> Result<(), String> {
    let is_text = |schema: &Value| schema["type"] == "string" && schema.get("enum").is_none();
    let holds_text = is_text(schema) || (schema["type"] == "array" && is_text(&schema["items"]));
    let words = words(name);
    let last = words.last().unwrap().to_ascii_lowercase();
    let singular = if last.ends_with("ies") {
        last.replace("ies", "y")
    } else {
        last.trim_end_matches('s').to_owned()
    };
    if holds_text && REFERENCES.contains(&singular.as_str()) && !OTHER_REFERENCES.contains(&name) {
        return Err(format!(
            "{name} refers to something, and does not end in Name, Names, Ref or ARN"
        ));
    }
    Ok(())
}

/// Everything that is wrong with the names and descriptions of a schema's fields.
fn faults(path: &str, schema: &Value, found: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        // These come from Kubernetes.
        if path.ends_with(".conditions") || path.ends_with(".namespaces") {
            continue;
        }
        let description = field["description"].as_str().unwrap_or_default();
        if description.len() < 5 {
            found.push(format!("{path} has no description"));
        }
        for value in field["enum"]
            .as_array()
            .or(field["items"]["enum"].as_array())
            .into_iter()
            .flatten()
        {
            let value = value.as_str().unwrap_or("null");
            let is_aws = value.chars().all(|letter| !letter.is_ascii_lowercase())
                || value.starts_with("aws");
            if !is_aws && !description.contains(value) {
                found.push(format!("{path} does not say what {value} means"));
            }
        }
        if field["nullable"] == true {
            found.push(format!("{path} may be null"));
        }
        found.extend(
            [has_one_case(name), refers_well(name, field)]
                .into_iter()
                .filter_map(Result::err)
                .map(|fault| format!("{path}: {fault}")),
        );
        faults(&path, field, found);
        faults(&path, &field["items"], found);
    }
}

#[test]
fn fields_of_both_kinds_are_named_and_described_as_kubernetes_does() {
    let mut found = vec![];
    for (_, definition) in definitions() {
        let names = &definition.spec.names;
        found.extend(has_one_case(&names.kind).err());
        for version in &definition.spec.versions {
            let schema = json!(version.schema.as_ref().unwrap().open_api_v3_schema);
            faults(
                &names.kind,
                &schema["properties"]["spec"].clone().in_properties("spec"),
                &mut found,
            );
            faults(
                &names.kind,
                &schema["properties"]["status"]
                    .clone()
                    .in_properties("status"),
                &mut found,
            );
            for column in version.additional_printer_columns.iter().flatten() {
                let shows_first_only = column.json_path.contains("[*]");
                if shows_first_only {
                    found.push(format!("column {} shows the first entry only", column.name));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

trait InProperties {
    /// A schema that has this one as its only field.
    fn in_properties(self, name: &str) -> Value;
}

impl InProperties for Value {
    fn in_properties(mut self, name: &str) -> Value {
        if self.get("description").is_none() {
            self["description"] = json!("described by its fields");
        }
        json!({"properties": {name: self}})
    }
}

#[test]
fn conditions_reasons_steps_and_labels_have_acronyms_in_one_case_and_are_described() {
    let mut found = vec![];
    let mut look = |name: &str, described: bool| {
        found.extend(has_one_case(name).err());
        if !described {
            found.push(format!("{name} is not described"));
        }
    };
    for kind in ConditionType::iter() {
        look(kind.as_str(), kind.get_message().is_some());
    }
    for reason in Reason::iter() {
        look(
            reason.as_str(),
            reason.get_message().is_some() && reason.get_detailed_message().is_some(),
        );
    }
    for reason in EventReason::iter() {
        look(
            reason.as_str(),
            reason.get_message().is_some() && reason.get_detailed_message().is_some(),
        );
    }
    for (name, kind, _, help) in TABLE {
        look(name, !kind.is_empty() && !help.is_empty());
        assert!(
            name.chars()
                .all(|letter| letter.is_ascii_lowercase() || letter == '_'),
            "{name}"
        );
    }
    look(<&str>::from(&Step::Settle), true);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_rules_find_what_breaks_them() {
    assert_eq!(words("sseKMSObjects"), ["sse", "KMS", "Objects"]);
    assert_eq!(words("mergeableRoleARNs"), ["mergeable", "Role", "ARNs"]);
    assert_eq!(words("RefusedByAWS"), ["Refused", "By", "AWS"]);
    for name in [
        "accountId",
        "roleArn",
        "AwsAccount",
        "sseKmsObjects",
        "endpointUrl",
    ] {
        assert!(has_one_case(name).is_err(), "{name}");
    }
    for name in [
        "accountID",
        "id",
        "kmsKeyARNs",
        "AWSAccount",
        "identityARN",
        "idle",
    ] {
        assert_eq!(has_one_case(name), Ok(()), "{name}");
    }
    let text = json!({"type": "string"});
    assert!(refers_well("account", &text).is_err());
    assert!(refers_well("roles", &json!({"type": "array", "items": text})).is_err());
    assert_eq!(refers_well("roles", &json!({"type": "object"})), Ok(()));
    assert_eq!(refers_well("accountName", &text), Ok(()));
    let mut found = vec![];
    faults(
        "x",
        &json!({"properties": {"mode": {"type": "string", "enum": ["On"], "nullable": true}}}),
        &mut found,
    );
    assert_eq!(
        found,
        [
            "x.mode has no description",
            "x.mode does not say what On means",
            "x.mode may be null"
        ]
    );
}
