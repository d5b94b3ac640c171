//! `plan --offline`: without cluster and AWS, everything that would be read there is assumed to be correct.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use serde_json::json;

use crate::{
    api::{
        AwsAccount, BucketReplication, aws_account::AwsPartition,
        bucket_replication::BucketReplicationSpec,
    },
    config::Plan,
    replication::{
        Object,
        accounts::{Accounts, Labels},
        assess::{Resolved, ResolvedKeys},
        compose::compose,
        composition::claims::Claims,
        keys::{KeyArn, KeyReference},
        names::{OwnedBucket, Partition, Region},
        observed::{KeyQuery, Observed},
        validate::{Encryption, Valid, validate},
    },
};

use super::{
    Document, labels_of_namespace,
    plan_answer::{Answer, BucketPlan, Given, default_installation, five, refused},
};

/// Without cluster and AWS, everything that would be read there is assumed to be correct, and what can't be known is reported. The labels of namespaces
/// are those in `documents`.
pub(super) fn offline(
    arguments: &Plan,
    replications: Vec<(String, BucketReplication)>,
    mut list: Vec<AwsAccount>,
    documents: &[Document],
) -> anyhow::Result<Answer> {
    let mut answer = Answer {
        offline: true,
        ..Answer::default()
    };
    let namespace = arguments.namespace.as_deref().unwrap_or("default");
    let given = replications
        .into_iter()
        .map(|named| Given::in_namespace(named, namespace));
    let given: Vec<_> = given.collect();
    let specs = || given.iter().map(|one| &one.replication.spec);
    let names =
        specs().flat_map(|spec| [&spec.source.account_name, &spec.destination.account_name]);
    let names: BTreeSet<_> = names.collect();
    for spec in specs() {
        complete(&mut list, spec, &names, &mut answer)?;
    }
    let mut by_source = BTreeMap::<OwnedBucket, Vec<(&Given, Resolved)>>::new();
    for one in &given {
        match resolved(arguments, one, list.clone(), documents, &mut answer) {
            Ok(resolved) => {
                let source = resolved.valid.source.clone();
                by_source.entry(source).or_default().push((one, resolved));
            }
            Err(error) => answer.refuse(one, &error),
        }
    }
    let accounts = Accounts::new(&list);
    for (source, planned) in by_source {
        let bucket = composed(arguments, &accounts, &source, &planned)?;
        answer.buckets.push(bucket);
    }
    Ok(answer)
}

/// An object with its keys and Regions, if the grants allow it.
fn resolved(
    arguments: &Plan,
    given: &Given,
    mut list: Vec<AwsAccount>,
    documents: &[Document],
    answer: &mut Answer,
) -> anyhow::Result<Resolved> {
    let namespace = given.namespace();
    let labels = labels_of_namespace(documents, &namespace).unwrap_or_else(|| {
        for_any_namespace(&mut list, &namespace, answer);
        Labels::from([(NAME.to_owned(), namespace.clone())])
    });
    let accounts = Accounts::new(&list);
    let object = Object::of(&given.replication, labels);
    let valid = validate(&object, &accounts).map_err(|problems| refused(&problems))?;
    let resolved = resolve_offline(arguments, &valid, answer)?;
    granted_keys(&resolved, &accounts)?;
    Ok(resolved)
}

/// What all objects on a bucket come to.
fn composed(
    arguments: &Plan,
    accounts: &Accounts,
    source: &OwnedBucket,
    planned: &[(&Given, Resolved)],
) -> anyhow::Result<BucketPlan> {
    let account = accounts
        .by_id(&source.account)
        .with_context(|| format!("there is no AWSAccount for account {}", source.account))?;
    let acting: Vec<_> = planned
        .iter()
        .map(|(_, resolved)| resolved.clone())
        .collect();
    let mut desired = compose(&Claims {
        installation: &arguments
            .installation_id
            .clone()
            .map_or_else(default_installation, Ok)?,
        accounts,
        account,
        source,
        observed: &Observed::default(),
        acting: &acting,
        withheld: &BTreeSet::new(),
        drain: None,
        carried: &BTreeMap::new(),
    });
    // Default key policies allow the roles of the key's own account to use it.
    desired
        .key_statements
        .retain(|key, _| key.account != source.account);
    let resolved = acting.iter();
    let resolved = resolved.map(|resolved| (&resolved.valid, resolved.keys.as_ref()));
    Ok(BucketPlan {
        bucket: source.name.to_string(),
        objects: planned.iter().map(|(given, _)| given.key()).collect(),
        steps: vec![],
        documents: five(&desired, &resolved.collect::<Vec<_>>()),
    })
}

/// The label that every namespace has.
const NAME: &str = "kubernetes.io/metadata.name";

/// Takes every grant as one for the object's namespace, whose labels are not in the files.
fn for_any_namespace(list: &mut [AwsAccount], namespace: &str, answer: &mut Answer) {
    let known = Labels::from([(NAME.to_owned(), namespace.to_owned())]);
    for account in list {
        let mut others: Vec<_> = account
            .spec
            .grants
            .iter_mut()
            .filter(|grant| !grant.selects(&known))
            .collect();
        if others.is_empty() {
            continue;
        }
        for grant in &mut others {
            grant.namespaces = only(namespace);
        }
        answer.warn(format!(
            "namespace {namespace} is not in the files, so that its labels are not known: the plan takes all grants of AWSAccount {} as grants for it",
            account.name_any()
        ));
    }
}

/// The keys that grants allow, which are only known once they are resolved.
fn granted_keys(resolved: &Resolved, accounts: &Accounts) -> anyhow::Result<()> {
    let Some(keys) = &resolved.keys else {
        return Ok(());
    };
    let labels = &resolved.valid.namespace_labels;
    let of_account = |key: &KeyArn| {
        accounts
            .by_id(&key.account)
            .map(|account| account.allow_key(labels, key))
    };
    let problems: Vec<_> = keys
        .source
        .iter()
        .chain([&keys.replica])
        .filter_map(|key| of_account(key)?.err())
        .collect();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(refused(&problems))
    }
}

/// Adds the accounts that the files lack, which grant everything.
fn complete(
    list: &mut Vec<AwsAccount>,
    spec: &BucketReplicationSpec,
    all: &BTreeSet<&String>,
    answer: &mut Answer,
) -> anyhow::Result<()> {
    let named = |key: Option<&String>| key.and_then(|key| key.parse::<KeyReference>().ok());
    let source_key = spec
        .source
        .kms_keys
        .iter()
        .flatten()
        .find_map(|key| named(Some(key)));
    let replica_key = named(spec.destination.kms_key.as_ref());
    let keys = [source_key.as_ref(), replica_key.as_ref()];
    let partition = keys.into_iter().flatten().find_map(KeyReference::partition);
    let given = list.iter().map(|account| account.spec.partition).next();
    let partition = given.unwrap_or(match partition {
        None | Some(Partition::Aws) => AwsPartition::Aws,
        Some(Partition::AwsCn) => AwsPartition::AwsCn,
        Some(Partition::AwsUsGov) => AwsPartition::AwsUsGov,
    });
    for (name, key) in [
        (&spec.source.account_name, &source_key),
        (&spec.destination.account_name, &replica_key),
    ] {
        if list.iter().any(|account| account.name_any() == *name) {
            continue;
        }
        let of_key = key.as_ref().and_then(KeyReference::account);
        let free = |id: &String| list.iter().all(|account| account.spec.account_id != *id);
        let (id, from) = match of_key.map(ToString::to_string).filter(free) {
            Some(id) => (id, ", the account of its key,"),
            None => (format!("{:012}", list.len()), ""),
        };
        answer.warn(format!(
            "AWSAccount {name} is not in the files: the plan uses {id}{from} as its account ID"
        ));
        list.push(stand_in(name, &id, partition, all)?);
    }
    Ok(())
}

/// An account that grants everything, toward the accounts of these names.
fn stand_in(
    name: &str,
    id: &str,
    partition: AwsPartition,
    all: &BTreeSet<&String>,
) -> anyhow::Result<AwsAccount> {
    let account = json!({
        "apiVersion": "bucketops.dev/v1alpha1", "kind": "AWSAccount", "metadata": {"name": name},
        "spec": {"accountID": id, "partition": partition, "grants": [{
            "namespaces": {"matchExpressions": [{"key": NAME, "operator": "Exists"}]},
            "sources": [{"bucket": "*", "destinationAccountNames": all}],
            "destinations": [{"bucket": "*"}],
            "kmsKeys": ["*"],
            "allow": ["EnableVersioning", "MergeConfiguration", "Retain"],
        }]},
    });
    Ok(serde_json::from_value(account)?)
}

/// Selects one namespace.
fn only(namespace: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Some(Labels::from([(NAME.to_owned(), namespace.to_owned())])),
        ..LabelSelector::default()
    }
}

fn resolve_offline(
    arguments: &Plan,
    valid: &Valid,
    answer: &mut Answer,
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
    let keys = match &replica {
        None => None,
        Some(replica) => {
            let mut source: BTreeSet<_> = source_queries
                .iter()
                .map(|query| by_arn(query, &source_region, answer))
                .collect::<anyhow::Result<_>>()?;
            let replica = by_arn(replica, &destination_region, answer)?;
            if source.is_empty() {
                source.insert(stand_in_key(valid, &source_region, answer)?);
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

/// The ARN of a key; an alias is taken for a key of that name.
fn by_arn(query: &KeyQuery, region: &Region, answer: &mut Answer) -> anyhow::Result<KeyArn> {
    let (reference, beside) = (query.reference.clone(), &query.beside);
    let reference = reference.beside(beside.partition, &beside.account, region);
    if let KeyReference::AliasArn {
        partition,
        region,
        account,
        alias,
    } = &reference
    {
        let name = alias.replace(['/', '_'], "-");
        answer.warn(format!(
            "{reference} can't be resolved offline: the plan uses {name} as the key's ID"
        ));
        return Ok(format!("arn:{partition}:kms:{region}:{account}:key/{name}").parse()?);
    }
    Ok(reference.to_string().parse()?)
}

/// A key in place of the source bucket's default key.
fn stand_in_key(valid: &Valid, region: &Region, answer: &mut Answer) -> anyhow::Result<KeyArn> {
    let source = &valid.source;
    let id = format!("default-key-of-{}", source.name.as_str().replace('.', "-"));
    answer.warn(format!(
        "the default key of bucket {} is not known offline: the plan uses {id} as its ID",
        source.name
    ));
    let (partition, account) = (source.partition, &source.account);
    Ok(format!("arn:{partition}:kms:{region}:{account}:key/{id}").parse()?)
}
