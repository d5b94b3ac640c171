//! `plan`: what an object would create in AWS, as documents and as steps, before anything is done.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::{Value, json};
use similar::TextDiff;

use super::{documents, objects};
use crate::{
    api::{AwsAccount, BucketReplication, bucket_replication::Mode},
    api_server,
    cloud::{
        Cloud,
        aws::{Aws, AwsCloud},
        editor::Editors,
    },
    config::{Output, Plan},
    leader::Leadership,
    metrics::Metrics,
    replication::{
        Object, Problem,
        accounts::{Accounts, Labels},
        assess::{Resolved, ResolvedKeys},
        change::{Change, changes},
        compose::compose,
        composition::claims::Claims,
        composition::desired::Desired,
        names::{InstallationId, KeyArn, KeyReference, Region},
        observed::{KeyQuery, Observed},
        plan::{PlannedStep, Step},
        policy::Document,
        validate::{Encryption, Valid, source_of, validate},
        visit::{
            Next, Times, Visit, decision::Decision, disposition::Disposition, memory::Memory, next,
            seen::Seen,
        },
    },
};

/// The text to print, and whether something would change.
#[derive(Debug)]
pub struct Printed {
    /// For standard output.
    pub text: String,
    /// For standard error.
    pub warnings: Vec<String>,
    /// Whether anything differs from what exists; offline there is nothing to compare with.
    pub changes: bool,
}

/// Plans.
///
/// # Errors
/// When files, cluster or AWS can't be read, or the object can't get what it asks for.
pub async fn run(arguments: &Plan) -> anyhow::Result<Printed> {
    if let Some(name) = &arguments.name {
        return reported(arguments, name).await;
    }
    let documents = documents(&arguments.filename)?;
    let mut replications: Vec<BucketReplication> = objects(&documents, "BucketReplication")?;
    let accounts: Vec<AwsAccount> = objects(&documents, "AWSAccount")?;
    let (Some(replication), None) = (replications.pop(), replications.first()) else {
        bail!("the files contain no BucketReplication, or more than one: plan one at a time");
    };
    let (printed, changes) = if arguments.offline {
        offline(arguments, &replication, accounts)?
    } else {
        online(arguments, replication, accounts).await?
    };
    if let Some(directory) = &arguments.directory {
        fs::create_dir_all(directory)
            .with_context(|| format!("{} can't be created", directory.display()))?;
        for (name, document) in &printed.documents {
            let file = directory.join(name);
            fs::write(&file, format!("{document:#}\n"))
                .with_context(|| format!("{} can't be written", file.display()))?;
        }
    }
    let text = match arguments.output {
        Output::Text => printed.text()?,
        Output::Json => format!("{:#}\n", printed.json()),
        Output::Yaml => serde_saphyr::to_string(&printed.json())?,
    };
    Ok(Printed {
        text,
        warnings: printed.warnings,
        changes,
    })
}

/// What the operator planned for an existing object: in Observe mode, or if something blocks the object.
async fn reported(arguments: &Plan, name: &str) -> anyhow::Result<Printed> {
    let client = api_server::client()
        .await
        .context("no cluster: set KUBECONFIG")?;
    let object: BucketReplication = Api::namespaced(client, &arguments.namespace)
        .get(name)
        .await?;
    let status = object.status.unwrap_or_default();
    let ready = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Ready" && condition.status != "True");
    let warnings = ready
        .map(|ready| format!("{}: {}", ready.reason, ready.message))
        .into_iter()
        .collect();
    let text = match arguments.output {
        Output::Text => status.plan.iter().flat_map(|line| [line, "\n"]).collect(),
        Output::Json => format!("{:#}\n", json!({ "steps": status.plan })),
        Output::Yaml => serde_saphyr::to_string(&json!({ "steps": status.plan }))?,
    };
    Ok(Printed {
        text,
        warnings,
        changes: !status.plan.is_empty(),
    })
}

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
struct Answer {
    steps: Vec<String>,
    /// Documents are only printed as text if there are no steps to print, as offline.
    offline: bool,
    documents: Vec<(String, Value)>,
    warnings: Vec<String>,
}

impl Answer {
    fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        for step in &self.steps {
            writeln!(text, "{step}")?;
        }
        for (index, (name, document)) in self.documents.iter().enumerate().filter(|_| self.offline)
        {
            let gap = if index > 0 { "\n" } else { "" };
            writeln!(text, "{gap}==> {name} <==\n{document:#}")?;
        }
        Ok(text)
    }

    fn json(&self) -> Value {
        let mut fields = serde_json::Map::new();
        if !self.steps.is_empty() {
            fields.insert("steps".into(), json!(self.steps));
        }
        fields.extend(self.documents.iter().cloned());
        Value::Object(fields)
    }
}

fn refused(problems: &[Problem]) -> anyhow::Error {
    anyhow::anyhow!(
        "{}",
        problems
            .iter()
            .map(|problem| format!("{}: {}", problem.reason.as_str(), problem.message))
            .collect::<Vec<_>>()
            .join("\n")
    )
}

/// A plan takes new permissions as settled, and a read as final.
pub const AT_ONCE: Times = Times {
    preflight: Duration::ZERO,
    grace: Duration::ZERO,
    settle: Duration::ZERO,
    sweep: Duration::ZERO,
};

/// What a visit would decide now. Nothing is written.
///
/// # Errors
/// When what is needed can't be read.
pub async fn decided<C: Cloud>(cloud: &C, visit: &Visit) -> anyhow::Result<(Decision, Observed)> {
    let mut seen = Seen::new(visit, Memory::default(), Timestamp::now());
    loop {
        let decision = match next(visit, &seen, Timestamp::now()) {
            Next::Ask(questions) => {
                let answers = join_all(questions.iter().map(|question| cloud.ask(question))).await;
                seen.answered(visit, answers);
                continue;
            }
            Next::Confirm(prepared) | Next::Apply(prepared) => prepared.decision.clone(),
            Next::End(report) => report.decision.context("nothing was decided")?,
        };
        return Ok((decision, seen.observed().clone()));
    }
}

fn in_namespace(replication: &BucketReplication, namespace: &str) -> BucketReplication {
    let mut placed = replication.clone();
    placed
        .metadata
        .namespace
        .get_or_insert_with(|| namespace.to_owned());
    placed
}

fn is_same(one: &BucketReplication, other: &BucketReplication) -> bool {
    (one.namespace(), one.name_any()) == (other.namespace(), other.name_any())
}

/// What `existing` becomes when `planned` is applied to it.
fn edited(existing: &BucketReplication, planned: &BucketReplication) -> BucketReplication {
    let mut edited = existing.clone();
    edited.spec = planned.spec.clone();
    let annotations = planned.annotations().clone();
    edited.annotations_mut().extend(annotations);
    edited
}

/// The five documents of the walkthrough, in its order; then the policies of source keys that need a statement, such as those of a third account.
fn five(desired: &Desired, valid: &Valid, keys: Option<&ResolvedKeys>) -> Vec<(String, Value)> {
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
            Document::of(statements.clone()).json(),
        ));
    }
    let Some(keys) = keys else { return documents };
    if let Some(statements) = desired.key_statements.get(&keys.replica) {
        documents.push((
            "destination-key-policy.json".into(),
            Document::of(statements.clone()).json(),
        ));
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
                Document::of(statements.clone()).json(),
            ));
        }
    }
    documents
}

/// Without cluster and AWS, everything that would be read there is assumed to be correct, and what can't be known is reported.
fn offline(
    arguments: &Plan,
    replication: &BucketReplication,
    mut list: Vec<AwsAccount>,
) -> anyhow::Result<(Answer, bool)> {
    let mut warnings = vec![];
    let spec = &replication.spec;
    let keys = |keys: Option<&String>| {
        keys.and_then(|key| {
            key.parse::<KeyReference>()
                .ok()?
                .account()
                .map(ToString::to_string)
        })
    };
    let source_key = spec.source.kms_keys.iter().flatten().next();
    for (name, of_key) in [
        (&spec.source.account_name, keys(source_key)),
        (
            &spec.destination.account_name,
            keys(spec.destination.kms_key.as_ref()),
        ),
    ] {
        if list.iter().any(|account| account.name_any() == *name) {
            continue;
        }
        let free = |id: &String| list.iter().all(|account| account.spec.account_id != *id);
        let (id, from) = match of_key.filter(free) {
            Some(id) => (id, ", the account of its key,"),
            None => (format!("{:012}", list.len()), ""),
        };
        warnings.push(format!(
            "AWSAccount {name} is not in the files: the plan uses {id}{from} as its account ID"
        ));
        list.push(stand_in(name, &id)?);
    }
    for account in &mut list {
        account.spec.grants = vec![everything(
            &spec.source.account_name,
            &spec.destination.account_name,
        )?];
    }
    let accounts = Accounts::new(&list);
    let labels = Labels::from([(
        "kubernetes.io/metadata.name".to_owned(),
        "offline".to_owned(),
    )]);
    let object = Object::of(&in_namespace(replication, &arguments.namespace), labels);
    let valid = validate(&object, &accounts).map_err(|problems| refused(&problems))?;
    let source = source_of(spec, &accounts).map_err(|problem| refused(&[problem]))?;
    let account = accounts
        .by_name(&spec.source.account_name)
        .map_err(|problem| refused(&[problem]))?;
    let resolved = resolve_offline(arguments, &valid, &mut warnings)?;
    let observed = Observed::default();
    let desired = compose(&Claims {
        installation: &arguments
            .installation_id
            .clone()
            .map_or_else(default_installation, Ok)?,
        accounts: &accounts,
        account,
        source: &source,
        observed: &observed,
        acting: std::slice::from_ref(&resolved),
        withheld: &BTreeSet::new(),
        carried: &BTreeMap::new(),
    });
    let mut desired = desired;
    // Default key policies allow the roles of the key's own account to use it.
    desired
        .key_statements
        .retain(|key, _| key.account != source.account);
    Ok((
        Answer {
            steps: vec![],
            offline: true,
            documents: five(&desired, &valid, resolved.keys.as_ref()),
            warnings,
        },
        false,
    ))
}

fn default_installation() -> anyhow::Result<InstallationId> {
    Ok("default".parse()?)
}

/// Rule IDs begin with the installation's ID.
fn named_installation(objects: &[BucketReplication]) -> Option<InstallationId> {
    let mut rules = objects
        .iter()
        .flat_map(|object| &object.status)
        .flat_map(|status| &status.rules);
    rules.find_map(|rule| rule.id.split('/').next()?.parse().ok())
}

fn stand_in(name: &str, id: &str) -> anyhow::Result<AwsAccount> {
    let account = json!({"apiVersion": "bucketops.dev/v1alpha1", "kind": "AWSAccount", "metadata": {"name": name}, "spec": {"accountID": id}});
    Ok(serde_json::from_value(account)?)
}

fn everything(source: &str, destination: &str) -> anyhow::Result<crate::api::aws_account::Grant> {
    Ok(serde_json::from_value(json!({
        "namespaces": {"matchLabels": {"kubernetes.io/metadata.name": "offline"}},
        "sources": [{"bucket": "*", "destinationAccountNames": [source, destination]}],
        "destinations": [{"bucket": "*"}],
        "kmsKeys": ["*"],
        "allow": ["EnableVersioning", "MergeConfiguration", "Retain"],
    }))?)
}

fn resolve_offline(
    arguments: &Plan,
    valid: &Valid,
    warnings: &mut Vec<String>,
) -> anyhow::Result<Resolved> {
    let region_of = |keys: &[&KeyQuery], flag: &str| -> anyhow::Result<Region> {
        let named = keys.iter().find_map(|query| query.reference.region());
        Ok(match named {
            Some(region) => region.clone(),
            None => flag.parse()?,
        })
    };
    let (source_queries, replica): (Vec<KeyQuery>, Option<KeyQuery>) = match &valid.encryption {
        Encryption::Replicate {
            source_keys,
            replica_key,
        } => (
            source_keys.clone().unwrap_or_default(),
            Some(replica_key.clone()),
        ),
        Encryption::NoKey | Encryption::Skip => (vec![], None),
    };
    let source_region = region_of(
        &source_queries.iter().collect::<Vec<_>>(),
        &arguments.source_region,
    )?;
    let destination_region = region_of(
        &replica.iter().collect::<Vec<_>>(),
        &arguments.destination_region,
    )?;
    let mut by_arn = |query: &KeyQuery, region: &Region| -> anyhow::Result<KeyArn> {
        let reference =
            query
                .reference
                .clone()
                .beside(query.beside.partition, &query.beside.account, region);
        if let KeyReference::AliasArn {
            partition,
            region,
            account,
            alias,
        } = &reference
        {
            let name = alias.replace(['/', '_'], "-");
            warnings.push(format!(
                "{reference} can't be resolved offline: the plan uses {name} as the key's ID"
            ));
            return Ok(format!("arn:{partition}:kms:{region}:{account}:key/{name}").parse()?);
        }
        Ok(reference.to_string().parse()?)
    };
    let keys = match &replica {
        None => None,
        Some(replica) => {
            let mut source: BTreeSet<_> = source_queries
                .iter()
                .map(|query| by_arn(query, &source_region))
                .collect::<anyhow::Result<_>>()?;
            let replica = by_arn(replica, &destination_region)?;
            if source.is_empty() {
                let id = format!(
                    "default-key-of-{}",
                    valid.source.name.as_str().replace('.', "-")
                );
                warnings.push(format!(
                    "the default key of bucket {} is not known offline: the plan uses {id} as its ID",
                    valid.source.name
                ));
                source.insert(
                    format!(
                        "arn:{}:kms:{source_region}:{}:key/{id}",
                        valid.source.partition, valid.source.account
                    )
                    .parse()?,
                );
            }
            Some(ResolvedKeys { source, replica })
        }
    };
    Ok(Resolved {
        valid: valid.clone(),
        source_region,
        destination_region: Some(destination_region),
        keys,
        object_lock: false,
        notes: vec![],
    })
}

/// With cluster and AWS: the steps that would be applied now, for all objects on the bucket including this one.
async fn online(
    arguments: &Plan,
    replication: BucketReplication,
    files: Vec<AwsAccount>,
) -> anyhow::Result<(Answer, bool)> {
    let client = api_server::client()
        .await
        .context("no cluster: use --offline, or set KUBECONFIG")?;
    let mut accounts = files;
    for account in Api::<AwsAccount>::all(client.clone())
        .list(&ListParams::default())
        .await?
        .items
    {
        if !accounts
            .iter()
            .any(|given| given.name_any() == account.name_any())
        {
            accounts.push(account);
        }
    }
    let accounts = Arc::new(Accounts::new(&accounts));
    let source = source_of(&replication.spec, &accounts).map_err(|problem| refused(&[problem]))?;
    let labels: BTreeMap<_, _> = Api::<Namespace>::all(client.clone())
        .list_metadata(&ListParams::default())
        .await?
        .items
        .into_iter()
        .map(|namespace| (namespace.name_any(), namespace.labels().clone()))
        .collect();
    let labels_of = |replication: &BucketReplication| {
        let namespace = replication.namespace().unwrap_or_default();
        labels.get(&namespace).cloned().unwrap_or_default()
    };
    let existing = Api::<BucketReplication>::all(client)
        .list(&ListParams::default())
        .await?
        .items;
    let mut warnings = vec![];
    let installation = if let Some(known) = arguments
        .installation_id
        .clone()
        .or_else(|| named_installation(&existing))
    {
        known
    } else {
        let warning = "no BucketReplication in the cluster shows an installation ID in its status, so the plan uses \"default\": set --installation-id";
        warnings.push(warning.to_owned());
        default_installation()?
    };
    let planned = in_namespace(&replication, &arguments.namespace);
    let mut this = match existing.iter().find(|other| is_same(other, &planned)) {
        Some(existing) => Object::of(&edited(existing, &planned), labels_of(&planned)),
        None => Object::of(&planned, labels_of(&planned)),
    };
    // A plan shows what would be done, so an object in Observe mode is planned as in Enforce mode.
    this.spec.mode = Mode::Enforce;
    this.created = this.created.or_else(|| Some(Timestamp::now()));
    let key = this.key.clone();
    let others = existing
        .iter()
        .filter(|other| other.spec.source.bucket == source.name.as_str())
        .filter(|other| !is_same(other, &planned))
        .filter(|other| source_of(&other.spec, &accounts).is_ok_and(|other| other == source));
    let mut all: Vec<_> = others
        .map(|other| Object::of(other, labels_of(other)))
        .collect();
    all.push(this);
    let aws = Aws::from_environment(installation.clone(), Metrics::default()).await;
    let cloud = AwsCloud {
        aws,
        accounts: Arc::clone(&accounts),
        editors: Editors::new(Duration::ZERO, Timestamp::now),
        leadership: Leadership::alone(),
    };
    let (decision, observed) = decided(
        &cloud,
        &Visit::new(installation, accounts, source, all, AT_ONCE),
    )
    .await?;
    let resolved = match decision.dispositions.get(&key) {
        Some(Disposition::Acting {
            resolved, problems, ..
        }) => {
            warnings.extend(problems.iter().map(|problem| problem.message.clone()));
            resolved
        }
        Some(Disposition::Refused { problems, .. }) => return Err(refused(problems)),
        _ => bail!("the object is neither planned nor refused"),
    };
    warnings.extend(
        decision
            .blockers
            .iter()
            .map(|problem| problem.message.clone()),
    );
    let steps = lines(&decision.steps, &observed, arguments.verbose);
    let changes = !steps.is_empty();
    let documents = five(&decision.desired, &resolved.valid, resolved.keys.as_ref());
    Ok((
        Answer {
            steps,
            offline: false,
            documents,
            warnings,
        },
        changes,
    ))
}
