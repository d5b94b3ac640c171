//! Decisions of the strict AWS, replayed by the independent evaluator.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::oracle_process::ask;

/// The decision as the independent evaluator reads it. `None`: it is about no resource in particular.
fn cell(name: &str, decision: &Value) -> Option<Value> {
    let text = |field: &str| decision[field].as_str().unwrap();
    let (action, resource) = (text("action"), text("resource"));
    let service = action.split(':').next().unwrap();
    let part = resource.splitn(6, ':').last().unwrap();
    let kind = match (service, part.split('/').next().unwrap()) {
        ("s3", _) if part.contains('/') => "object",
        ("s3", _) => "bucket",
        (_, kind) => kind,
    };
    if resource.ends_with('*') || resource.ends_with(":role/") || resource.ends_with(":policy/") {
        return None;
    }
    let mut cell = json!({
        "name": name, "service": service, "type": kind, "resource": resource, "account": decision["account"], "principal": decision["principal"],
        "identity": decision["identity"], "actions": [action],
    });
    // The evaluator knows this key by the spelling of KMS.
    let context = decision["context"].to_string().replace(
        "kms:encryptioncontext:aws:s3:arn",
        "kms:EncryptionContext:aws:s3:arn",
    );
    cell["context"] = serde_json::from_str(&context).unwrap();
    for policy in ["boundary", "policy"] {
        if !decision[policy].is_null() {
            cell[policy] = decision[policy].clone();
        }
    }
    Some(cell)
}

/// Replays the decisions, each with whether it was to allow, and panics at those on which the evaluators differ. How many could be replayed.
pub fn replay(decisions: &[(Value, bool)]) -> usize {
    let (mut cells, mut expected) = (vec![], BTreeMap::new());
    for (decision, allowed) in decisions {
        let name = cells.len().to_string();
        if let Some(cell) = cell(&name, decision) {
            cells.push(cell);
            expected.insert(name, *allowed);
        }
    }
    let answers = ask(&cells);
    let differ: Vec<_> = cells
        .iter()
        .filter(|cell| {
            let name = cell["name"].as_str().unwrap();
            expected[name] == answers[name].is_empty()
        })
        .collect();
    assert!(
        differ.is_empty(),
        "{} of {} differ: {:#}",
        differ.len(),
        cells.len(),
        differ[0]
    );
    cells.len()
}
