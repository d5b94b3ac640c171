//! What `plan` answers: for each bucket, steps and documents, as text or JSON; warnings, and what keeps objects from being planned.

use std::{collections::BTreeSet, fmt::Write};

use kube::ResourceExt;
use serde_json::{Map, Value, json};
use similar::TextDiff;

use super::said::said;
use crate::{
    api::BucketReplication,
    replication::{
        Problem,
        assess::ResolvedKeys,
        change::{Change, changes},
        composition::desired::{Desired, PlaceStatement},
        keys::KeyArn,
        names::InstallationId,
        observed::Observed,
        plan::{PlannedStep, Step},
        policy::Document,
        validate::Valid,
    },
};

/// The steps as `+ ~ -` lines; with `verbose`, each with how its document changes.
#[must_use]
pub fn lines(steps: &[PlannedStep], observed: &Observed, verbose: bool) -> Vec<String> {
    let line = |(planned, change): (&PlannedStep, Option<Change>)| {
        let line = format!("{} {}", planned.step.sign(), planned.step);
        let Some(change) = change.filter(|_| verbose) else {
            return line;
        };
        let compared = TextDiff::from_lines(&change.before, &change.after);
        let hunks: String = compared
            .unified_diff()
            .context_radius(2)
            .iter_hunks()
            .map(|hunk| hunk.to_string())
            .collect();
        format!(
            "{line}\n{}",
            hunks
                .lines()
                .map(|line| format!("    {line}"))
                .collect::<Vec<_>>()
                .join("\n")
        )
    };
    let steps: Vec<_> = steps
        .iter()
        .filter(|planned| planned.step != Step::Settle)
        .cloned()
        .collect();
    steps
        .iter()
        .zip(changes(&steps, observed))
        .map(line)
        .collect()
}

/// What is planned for one source bucket.
#[derive(Default)]
pub(super) struct BucketPlan {
    /// The bucket's name.
    pub(super) bucket: String,
    /// The objects of the files on it, as NAMESPACE/NAME.
    pub(super) objects: Vec<String>,
    pub(super) steps: Vec<String>,
    pub(super) documents: Vec<(String, Value)>,
}

/// What is planned for all objects of the files.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) buckets: Vec<BucketPlan>,
    /// Documents are only printed as text if there are no steps to print, as offline.
    pub(super) offline: bool,
    pub(super) warnings: Vec<String>,
    /// Each names its object.
    pub(super) errors: Vec<String>,
    /// The objects, as NAMESPACE/NAME, of which only is known that the API server would take them.
    pub(super) taken: Vec<String>,
}

impl Answer {
    /// Adds a warning, unless it was given for another object.
    pub(super) fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Adds what keeps an object from being planned.
    pub(super) fn refuse(&mut self, given: &Given, error: &anyhow::Error) {
        let reasons = said(error);
        for reason in reasons.lines() {
            self.errors.push(format!("{}: {reason}", given.named));
        }
    }

    pub(super) fn changes(&self) -> bool {
        self.buckets.iter().any(|bucket| !bucket.steps.is_empty())
    }

    pub(super) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        let several = self.buckets.len() > 1;
        for (index, bucket) in self.buckets.iter().enumerate() {
            if several && !self.offline {
                let gap = if index > 0 { "\n" } else { "" };
                let (name, objects) = (&bucket.bucket, bucket.objects.join(", "));
                writeln!(text, "{gap}bucket {name} ({objects}):")?;
                if bucket.steps.is_empty() {
                    writeln!(text, "No changes.")?;
                }
            }
            for step in &bucket.steps {
                writeln!(text, "{step}")?;
            }
        }
        for key in &self.taken {
            writeln!(text, "{key}: the API server takes it (dry run).")?;
        }
        if self.offline {
            for (index, (name, document)) in self.named_documents().enumerate() {
                let gap = if index > 0 { "\n" } else { "" };
                writeln!(text, "{gap}==> {name} <==\n{document:#}")?;
            }
        } else if !self.buckets.is_empty() {
            writeln!(text, "{}", self.summary())?;
        }
        Ok(text)
    }

    /// All documents; if there are several buckets, each in a folder of its bucket.
    pub(super) fn named_documents(&self) -> impl Iterator<Item = (String, &Value)> {
        let several = self.buckets.len() > 1;
        self.buckets.iter().flat_map(move |bucket| {
            let folder = if several {
                format!("{}/", bucket.bucket)
            } else {
                String::new()
            };
            let documents = bucket.documents.iter();
            documents.map(move |(file, document)| (format!("{folder}{file}"), document))
        })
    }

    /// What the steps come to, as Terraform says it.
    fn summary(&self) -> String {
        let steps = || self.buckets.iter().flat_map(|bucket| &bucket.steps);
        let count = |sign: char| steps().filter(|step| step.starts_with(sign)).count();
        if !self.changes() {
            return match self.buckets.len() {
                1 => "No changes.".to_owned(),
                several => format!("\nNo changes to {several} buckets."),
            };
        }
        format!(
            "\nPlan: {} to add, {} to change, {} to remove.",
            count('+'),
            count('~'),
            count('-')
        )
    }

    pub(super) fn json(&self) -> Value {
        let fields = |bucket: &BucketPlan| {
            let mut fields = Map::new();
            if !bucket.steps.is_empty() {
                fields.insert("steps".into(), json!(bucket.steps));
            }
            fields.extend(bucket.documents.iter().cloned());
            fields
        };
        if let [bucket] = self.buckets.as_slice() {
            return Value::Object(fields(bucket));
        }
        let named = |bucket: &BucketPlan| {
            let mut all = Map::new();
            all.insert("bucket".into(), json!(bucket.bucket));
            all.insert("objects".into(), json!(bucket.objects));
            all.extend(fields(bucket));
            all
        };
        let buckets: Vec<_> = self.buckets.iter().map(named).collect();
        if self.taken.is_empty() {
            json!({ "buckets": buckets })
        } else {
            json!({ "dryRun": self.taken })
        }
    }
}

/// A `BucketReplication` of the files, in its namespace.
pub(super) struct Given {
    /// Its file, kind and name, for messages.
    pub(super) named: String,
    pub(super) replication: BucketReplication,
}

impl Given {
    /// In `namespace`, if the file sets none.
    pub(super) fn in_namespace(
        (named, replication): (String, BucketReplication),
        namespace: &str,
    ) -> Self {
        let mut placed = Self { named, replication };
        let metadata = &mut placed.replication.metadata;
        metadata
            .namespace
            .get_or_insert_with(|| namespace.to_owned());
        placed
    }

    pub(super) fn namespace(&self) -> String {
        self.replication.namespace().unwrap_or_default()
    }

    /// NAMESPACE/NAME.
    pub(super) fn key(&self) -> String {
        format!("{}/{}", self.namespace(), self.replication.name_any())
    }
}

pub(super) fn refused(problems: &[Problem]) -> anyhow::Error {
    let mut reasons: Vec<String> = vec![];
    for problem in problems {
        let reason = format!("{}: {}", problem.reason.as_str(), problem.message);
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    anyhow::anyhow!("{}", reasons.join("\n"))
}

pub(super) fn default_installation() -> anyhow::Result<InstallationId> {
    Ok("default".parse()?)
}

fn document(statements: &[PlaceStatement]) -> Value {
    let statements = statements.iter().map(|place| place.statement.clone());
    Document::of(statements).json()
}

/// The five documents of the walkthrough, in its order, for all objects on a bucket; then the policies of source keys that need a statement, such as
/// those of a third account. With several destinations, the name of a document has that of its bucket or key.
pub(super) fn five(
    desired: &Desired,
    planned: &[(&Valid, Option<&ResolvedKeys>)],
) -> Vec<(String, Value)> {
    let mut documents = vec![];
    if let Some(configuration) = &desired.configuration {
        documents.push(("replication.json".to_owned(), json!(configuration)));
    }
    if let Some(role) = &desired.role {
        documents.push(("trust.json".into(), role.trust.json()));
        documents.push(("permissions.json".into(), role.policy.json()));
    }
    let destinations: BTreeSet<_> = planned
        .iter()
        .map(|(valid, _)| &valid.destination)
        .collect();
    for destination in &destinations {
        if let Some(statements) = desired.bucket_statements.get(*destination) {
            let name = match destinations.len() {
                1 => "destination-bucket-policy.json".to_owned(),
                _ => format!("destination-bucket-policy-{}.json", destination.name),
            };
            documents.push((name, document(statements)));
        }
    }
    let keys = || planned.iter().filter_map(|(_, keys)| *keys);
    let replica: BTreeSet<_> = keys().map(|keys| &keys.replica).collect();
    for key in &replica {
        if let Some(statements) = desired.key_statements.get(*key) {
            let name = match replica.len() {
                1 => "destination-key-policy.json".to_owned(),
                _ => format!("destination-key-policy-{}.json", short(key)),
            };
            documents.push((name, document(statements)));
        }
    }
    let source: BTreeSet<_> = keys().flat_map(|keys| &keys.source).collect();
    for key in source.difference(&replica) {
        if let Some(statements) = desired.key_statements.get(*key) {
            let name = format!("source-key-policy-{}.json", short(key));
            documents.push((name, document(statements)));
        }
    }
    documents
}

/// Account and ID of a key, for the name of a file.
fn short(key: &KeyArn) -> String {
    let arn = key.to_string();
    let id = arn.rsplit('/').next().unwrap_or_default();
    format!("{}-{id}", key.account)
}
