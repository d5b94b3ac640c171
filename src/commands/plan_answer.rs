//! What `plan` answers: steps, documents and warnings, as text or JSON.

use std::fmt::Write;

use serde_json::{Value, json};
use similar::TextDiff;

use crate::{
    api::BucketReplication,
    replication::{
        Problem,
        assess::ResolvedKeys,
        change::{Change, changes},
        composition::desired::{Desired, PlaceStatement},
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

#[derive(Default)]
pub(super) struct Answer {
    pub(super) steps: Vec<String>,
    /// Documents are only printed as text if there are no steps to print, as offline.
    pub(super) offline: bool,
    pub(super) documents: Vec<(String, Value)>,
    pub(super) warnings: Vec<String>,
}

impl Answer {
    pub(super) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        for step in &self.steps {
            writeln!(text, "{step}")?;
        }
        if !self.offline {
            writeln!(text, "{}", self.summary())?;
        }
        for (index, (name, document)) in self.documents.iter().enumerate().filter(|_| self.offline)
        {
            let gap = if index > 0 { "\n" } else { "" };
            writeln!(text, "{gap}==> {name} <==\n{document:#}")?;
        }
        Ok(text)
    }

    /// What the steps come to, as Terraform says it.
    fn summary(&self) -> String {
        let count = |sign: char| {
            self.steps
                .iter()
                .filter(|step| step.starts_with(sign))
                .count()
        };
        if self.steps.is_empty() {
            return "No changes.".to_owned();
        }
        format!(
            "\nPlan: {} to add, {} to change, {} to remove.",
            count('+'),
            count('~'),
            count('-')
        )
    }

    pub(super) fn json(&self) -> Value {
        let mut fields = serde_json::Map::new();
        if !self.steps.is_empty() {
            fields.insert("steps".into(), json!(self.steps));
        }
        fields.extend(self.documents.iter().cloned());
        Value::Object(fields)
    }
}

pub(super) fn refused(problems: &[Problem]) -> anyhow::Error {
    anyhow::anyhow!(
        "{}",
        problems
            .iter()
            .map(|problem| format!("{}: {}", problem.reason.as_str(), problem.message))
            .collect::<Vec<_>>()
            .join("\n")
    )
}

pub(super) fn default_installation() -> anyhow::Result<InstallationId> {
    Ok("default".parse()?)
}

pub(super) fn in_namespace(replication: &BucketReplication, namespace: &str) -> BucketReplication {
    let mut placed = replication.clone();
    placed
        .metadata
        .namespace
        .get_or_insert_with(|| namespace.to_owned());
    placed
}

fn document(statements: &[PlaceStatement]) -> Value {
    let statements = statements.iter().map(|place| place.statement.clone());
    Document::of(statements).json()
}

/// The five documents of the walkthrough, in its order; then the policies of source keys that need a statement, such as those of a third account.
pub(super) fn five(
    desired: &Desired,
    valid: &Valid,
    keys: Option<&ResolvedKeys>,
) -> Vec<(String, Value)> {
    let mut documents = vec![];
    if let Some(configuration) = &desired.configuration {
        documents.push(("replication.json".to_owned(), json!(configuration)));
    }
    if let Some(role) = &desired.role {
        documents.push(("trust.json".into(), role.trust.json()));
        documents.push(("permissions.json".into(), role.policy.json()));
    }
    if let Some(statements) = desired.bucket_statements.get(&valid.destination) {
        documents.push((
            "destination-bucket-policy.json".into(),
            document(statements),
        ));
    }
    let Some(keys) = keys else { return documents };
    if let Some(statements) = desired.key_statements.get(&keys.replica) {
        documents.push(("destination-key-policy.json".into(), document(statements)));
    }
    for key in keys.source.iter().filter(|key| **key != keys.replica) {
        if let Some(statements) = desired.key_statements.get(key) {
            let id = key
                .to_string()
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned();
            documents.push((
                format!("source-key-policy-{}-{id}.json", key.account),
                document(statements),
            ));
        }
    }
    documents
}
