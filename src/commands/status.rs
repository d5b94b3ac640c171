//! `status`: what objects are like, as a tree: conditions, rules, role, the last drift, and what to do.

use std::{collections::HashMap, fmt::Write};

use anyhow::Context;
use futures::StreamExt;
use kube::{
    Api, ResourceExt,
    api::ListParams,
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};
use strum::{EnumMessage, IntoEnumIterator};

use crate::{
    api::{
        BucketReplication,
        bucket_replication::BucketReplicationStatus,
        condition::{ConditionType, Reason},
    },
    api_server,
    config::{Status, StatusOutput},
};

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// For standard output.
    pub text: String,
    /// For standard error.
    pub warnings: Vec<String>,
    /// Whether every object is ready.
    pub ready: bool,
}

/// Reads the objects, as the user of the kubeconfig.
///
/// # Errors
/// When there is no cluster, or the objects can't be read.
pub async fn run(arguments: &Status, colored: bool) -> anyhow::Result<Found> {
    let (api, place) = objects(arguments).await?;
    let found = if let Some(name) = &arguments.name {
        let one = api.get(name).await;
        vec![one.with_context(|| format!("BucketReplication {name} in {place} can't be read"))?]
    } else {
        let list = api.list(&ListParams::default()).await;
        list.with_context(|| format!("the BucketReplications in {place} can't be listed"))?
            .items
    };
    let mut warnings = vec![];
    if found.is_empty() {
        warnings.push(format!("there is no BucketReplication in {place}"));
    }
    Ok(Found {
        text: text(&found, arguments, colored)?,
        warnings,
        ready: found.iter().all(is_ready),
    })
}

/// Shows each object now, and again whenever what is shown of it changes, until `show` fails. A watch that breaks off is opened again.
///
/// # Errors
/// When there is no cluster, the API server refuses the watch, or the output can't be written.
pub async fn watch(
    arguments: &Status,
    colored: bool,
    mut show: impl FnMut(&str) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let (api, place) = objects(arguments).await?;
    let mut config = watcher::Config::default();
    if let Some(name) = &arguments.name {
        config = config.fields(&format!("metadata.name={name}"));
    }
    let changes = watcher(api, config).default_backoff().applied_objects();
    let mut changes = changes.boxed();
    let mut last = HashMap::new();
    while let Some(change) = changes.next().await {
        let object = match change {
            Ok(object) => object,
            Err(watcher::Error::InitialListFailed(error @ kube::Error::Api(_))) => {
                let what = format!("the BucketReplications in {place} can't be watched");
                return Err(anyhow::Error::new(error).context(what));
            }
            Err(_) => continue,
        };
        let shown = text(std::slice::from_ref(&object), arguments, colored)?;
        let key = (object.namespace(), object.name_any());
        if last.insert(key, shown.clone()).as_ref() != Some(&shown) {
            show(&shown)?;
        }
    }
    Ok(())
}

/// The objects that are asked for, and what their place is called.
async fn objects(arguments: &Status) -> anyhow::Result<(Api<BucketReplication>, String)> {
    let (client, default) = api_server::client_of(&arguments.cluster).await?;
    if arguments.all_namespaces {
        return Ok((Api::all(client), "any namespace".to_owned()));
    }
    let namespace = arguments.namespace.clone().unwrap_or(default);
    let place = format!("namespace {namespace}");
    Ok((Api::namespaced(client, &namespace), place))
}

/// Ready, for the spec that the object has now.
fn is_ready(object: &BucketReplication) -> bool {
    object.status.as_ref().is_some_and(|status| {
        let is_current = status.observed_generation == object.metadata.generation;
        is_current && status.ready().is_some_and(|ready| ready.status == "True")
    })
}

fn text(
    objects: &[BucketReplication],
    arguments: &Status,
    colored: bool,
) -> anyhow::Result<String> {
    let of_all = || match (&arguments.name, objects) {
        (Some(_), [object]) => summary(object),
        _ => json!({"items": objects.iter().map(summary).collect::<Vec<_>>()}),
    };
    Ok(match arguments.output {
        StatusOutput::Text => objects.iter().map(|object| tree(object, colored)).collect(),
        StatusOutput::Json => format!("{:#}\n", of_all()),
        StatusOutput::Yaml => serde_saphyr::to_string(&of_all())?,
        StatusOutput::Name => objects.iter().fold(String::new(), |mut text, object| {
            let _ = writeln!(
                text,
                "bucketreplication.bucketops.dev/{}",
                object.name_any()
            );
            text
        }),
    })
}

/// The object for programs: what `kubectl get` has, and what to do.
fn summary(object: &BucketReplication) -> Value {
    let status = object.status.clone().unwrap_or_default();
    let mut summary = json!({
        "namespace": object.namespace(),
        "name": object.name_any(),
        "ready": is_ready(object),
        "generation": object.metadata.generation,
        "whatToDo": what_to_do(&status),
    });
    if let (Some(summary), Ok(Value::Object(status))) =
        (summary.as_object_mut(), serde_json::to_value(&status))
    {
        summary.extend(status);
    }
    summary
}

/// What the reasons of the conditions that are not True ask for, in the order of the conditions, each once.
fn what_to_do(status: &BucketReplicationStatus) -> Vec<String> {
    let mut all = vec![];
    for condition in status.conditions.iter().filter(|c| c.status != "True") {
        let reason = Reason::iter().find(|reason| reason.as_str() == condition.reason);
        let Some(what) = reason.and_then(|reason| reason.get_detailed_message()) else {
            continue;
        };
        let what = format!("{}: {what}", condition.reason);
        if condition.reason != Reason::Waiting.as_str() && !all.contains(&what) {
            all.push(what);
        }
    }
    all
}

/// A part of a tree, with its own parts.
struct Branch {
    text: String,
    parts: Vec<Branch>,
}

impl Branch {
    fn leaf(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            parts: vec![],
        }
    }

    fn of(text: impl Into<String>, parts: Vec<String>) -> Self {
        Self {
            text: text.into(),
            parts: parts.into_iter().map(Self::leaf).collect(),
        }
    }

    /// Writes the parts below a line that begins with `indent`.
    fn write(&self, indent: &str, out: &mut String) {
        for (number, part) in self.parts.iter().enumerate() {
            let is_last = number + 1 == self.parts.len();
            let (branch, below) = if is_last {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            let _ = writeln!(out, "{indent}{branch}{}", part.text);
            part.write(&format!("{indent}{below}"), out);
        }
    }
}

/// Text in a color of the terminal: green if it is well, red if it is not, and yellow if that is not known.
fn painted(text: &str, status: &str, colored: bool) -> String {
    let color = match status {
        "True" => 32,
        "False" => 31,
        _ => 33,
    };
    if colored {
        format!("\u{1b}[{color}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

/// The object for people.
fn tree(object: &BucketReplication, colored: bool) -> String {
    let status = object.status.clone().unwrap_or_default();
    let (state, reason) = status.ready().map_or(("Unknown", "Pending"), |ready| {
        (ready.status.as_str(), ready.reason.as_str())
    });
    let old = if status.observed_generation == object.metadata.generation {
        ""
    } else {
        ", of an older spec"
    };
    let mut root = Branch::leaf(format!(
        "{}/{}: {}{old}",
        object.namespace().unwrap_or_default(),
        object.name_any(),
        painted(reason, state, colored),
    ));
    let spec = &object.spec;
    let destination = spec.destination.bucket.as_str();
    root.parts.push(Branch::leaf(format!(
        "{} ({}) → {destination} ({})",
        spec.source.bucket, spec.source.account_name, spec.destination.account_name
    )));
    root.parts
        .push(Branch::of("conditions", conditions(&status, colored)));
    let rules = status.rules.iter();
    let rules = rules.map(|rule| format!("{}: priority {}", rule.name, rule.priority));
    root.parts.push(Branch::of(
        format!("rules in S3: {}", status.rules.len()),
        rules.collect(),
    ));
    if let Some(role) = &status.role_arn {
        root.parts.push(Branch::leaf(format!("role {role}")));
    }
    if let Some(drift) = &status.drift {
        root.parts.push(Branch::leaf(format!(
            "last drift at {}: {}",
            drift.last_seen_time.0, drift.correction
        )));
    }
    root.parts.extend(draining(&status));
    let actions = status.required_actions.iter();
    let actions =
        actions.map(|action| format!("{} (account {})", action.document, action.account_id));
    let actions: Vec<_> = actions.collect();
    if !actions.is_empty() {
        let which = "to be applied by owners, see status.requiredActions";
        root.parts.push(Branch::of(which, actions));
    }
    if !status.plan.is_empty() {
        root.parts
            .push(Branch::of("plan, not applied", status.plan.clone()));
    }
    let what_to_do = what_to_do(&status);
    if !what_to_do.is_empty() {
        root.parts.push(Branch::of("what to do", what_to_do));
    }
    let mut out = format!("{}\n", root.text);
    root.write("", &mut out);
    out
}

/// The permissions of former rules that stay.
fn draining(status: &BucketReplicationStatus) -> Option<Branch> {
    let draining = status.draining.as_ref()?;
    let buckets = draining.buckets.iter().map(|named| {
        format!(
            "policy of bucket {} (account {})",
            named.bucket, named.account_id
        )
    });
    let keys = draining.kms_key_arns.iter();
    let keys = keys.map(|key| format!("policy of key {key}"));
    let since = format!(
        "permissions of former rules stay for the drain period, since {}",
        draining.start_time.0
    );
    Some(Branch::of(since, buckets.chain(keys).collect()))
}

/// A line for each condition, but for Ready, which is the object's own line, and Reconciling, which says that the operator works on it.
fn conditions(status: &BucketReplicationStatus, colored: bool) -> Vec<String> {
    let conditions = status
        .conditions
        .iter()
        .filter(|condition| condition.type_ != ConditionType::Ready.as_str());
    conditions
        .map(|condition| {
            let state = painted(&condition.status, &condition.status, colored);
            if condition.status == "True" {
                format!("{}: {state}", condition.type_)
            } else {
                format!(
                    "{}: {state}: {}: {}",
                    condition.type_, condition.reason, condition.message
                )
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(ready: &str) -> BucketReplication {
        let reason = if ready == "True" {
            "Ready"
        } else {
            "VersioningNotEnabled"
        };
        let condition = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason, "message": format!("because of {reason}"), "lastTransitionTime": "2026-01-01T00:00:00Z"});
        serde_json::from_value(json!({
            "apiVersion": "bucketops.dev/v1alpha1", "kind": "BucketReplication",
            "metadata": {"name": "tax", "namespace": "finance", "generation": 2},
            "spec": {
                "source": {"accountName": "prod", "bucket": "logs"},
                "destination": {"accountName": "dr", "bucket": "archive"},
                "rules": [{"name": "tax", "prefix": "Tax"}],
            },
            "status": {
                "observedGeneration": 2,
                "roleARN": "arn:aws:iam::111111111111:role/r",
                "rules": [{"name": "tax", "id": "i", "priority": 1}],
                "conditions": [
                    condition("Accepted", "True", "Accepted"),
                    condition("DestinationReady", ready, reason),
                    condition("ReplicationConfigured", ready, if ready == "True" { "RulesConfigured" } else { "Waiting" }),
                    condition("Ready", ready, reason),
                ],
            },
        }))
        .expect("an object")
    }

    #[test]
    fn a_tree_says_what_is_wrong_and_what_to_do() {
        let text = tree(&object("False"), false);
        let expected = "finance/tax: VersioningNotEnabled
├─ logs (prod) → archive (dr)
├─ conditions
│  ├─ Accepted: True
│  ├─ DestinationReady: False: VersioningNotEnabled: because of VersioningNotEnabled
│  └─ ReplicationConfigured: False: Waiting: because of Waiting
├─ rules in S3: 1
│  └─ tax: priority 1
├─ role arn:aws:iam::111111111111:role/r
└─ what to do
   └─ VersioningNotEnabled: ";
        assert!(text.starts_with(expected), "{text}");
        assert_eq!(text.matches("VersioningNotEnabled: ").count(), 2);
    }

    #[test]
    fn ready_is_for_the_present_spec() {
        let mut object = object("True");
        assert!(is_ready(&object));
        assert!(!tree(&object, false).contains("what to do"));
        object.metadata.generation = Some(3);
        assert!(!is_ready(&object));
        assert!(tree(&object, false).starts_with("finance/tax: Ready, of an older spec\n"));
        object.status = None;
        assert!(!is_ready(&object));
        assert!(tree(&object, false).starts_with("finance/tax: Pending"));
    }

    #[test]
    fn colors_are_only_where_they_are_asked_for() {
        let object = object("False");
        assert!(!tree(&object, false).contains('\u{1b}'));
        assert!(tree(&object, true).contains("\u{1b}[31mVersioningNotEnabled\u{1b}[0m"));
    }
}
