//! Elements of a policy statement in a form that is equal for equal meanings.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// The value of `element`: lists sorted, single strings as lists, actions in lower case.
pub(crate) fn canonical_element(element: &str, value: &Value) -> Value {
    match element {
        "Action" | "NotAction" => sorted_list(value, str::to_ascii_lowercase),
        "Resource" | "NotResource" => sorted_list(value, ToOwned::to_owned),
        "Principal" | "NotPrincipal" => match value {
            Value::Object(kinds) => {
                let kinds: BTreeMap<_, _> = kinds
                    .iter()
                    .map(|(kind, who)| (kind, sorted_list(who, ToOwned::to_owned)))
                    .collect();
                json!(kinds)
            }
            other => other.clone(),
        },
        "Condition" => match value {
            Value::Object(operators) => {
                let operators: BTreeMap<_, _> = operators
                    .iter()
                    .map(|(operator, keys)| {
                        let keys: BTreeMap<_, _> = keys
                            .as_object()
                            .into_iter()
                            .flatten()
                            .map(|(key, values)| {
                                (
                                    key.to_ascii_lowercase(),
                                    sorted_list(values, ToOwned::to_owned),
                                )
                            })
                            .collect();
                        (operator, keys)
                    })
                    .collect();
                json!(operators)
            }
            other => other.clone(),
        },
        _ => value.clone(),
    }
}

fn sorted_list(value: &Value, normal: impl Fn(&str) -> String) -> Value {
    let items = match value {
        Value::Array(items) => items.clone(),
        one => vec![one.clone()],
    };
    let texts: BTreeSet<_> = items
        .iter()
        .map(|item| item.as_str().map_or_else(|| item.to_string(), &normal))
        .collect();
    json!(texts)
}
