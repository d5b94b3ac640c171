//! `plan --offline`: without cluster and AWS, everything that would be read there is assumed to be correct.

use std::collections::{BTreeMap, BTreeSet};

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
        names::{Partition, Region},
        observed::{KeyQuery, Observed},
        validate::{Encryption, Valid, source_of, validate},
    },
};

use super::plan_answer::{Answer, default_installation, five, refused};

/// Without cluster and AWS, everything that would be read there is assumed to be correct, and what can't be known is reported. `labels` are those of
/// the object's namespace, if the files contain it.
pub(super) fn offline(
    arguments: &Plan,
    replication: &BucketReplication,
    mut list: Vec<AwsAccount>,
    labels: Option<Labels>,
) -> anyhow::Result<(Answer, bool)> {
    let mut warnings = vec![];
    let spec = &replication.spec;
    let namespace = replication.namespace().unwrap_or_default();
    let labels = labels.unwrap_or_else(|| {
        for_any_namespace(&mut list, &namespace, &mut warnings);
        Labels::from([(NAME.to_owned(), namespace.clone())])
    });
    complete(&mut list, spec, &namespace, &mut warnings)?;
    let accounts = Accounts::new(&list);
    let object = Object::of(replication, labels);
    let valid = validate(&object, &accounts).map_err(|problems| refused(&problems))?;
    let source = source_of(spec, &accounts).map_err(|problem| refused(&[problem]))?;
    let account = accounts
        .by_name(&spec.source.account_name)
        .map_err(|problem| refused(&[problem]))?;
    let resolved = resolve_offline(arguments, &valid, &mut warnings)?;
    granted_keys(&resolved, &accounts)?;
    let observed = Observed::default();
    let mut desired = compose(&Claims {
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
        drain: None,
        carried: &BTreeMap::new(),
    });
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

/// The label that every namespace has.
const NAME: &str = "kubernetes.io/metadata.name";

/// Takes every grant as one for the object's namespace, whose labels are not in the files.
fn for_any_namespace(list: &mut [AwsAccount], namespace: &str, warnings: &mut Vec<String>) {
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
        warnings.push(format!(
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
    namespace: &str,
    warnings: &mut Vec<String>,
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
        warnings.push(format!(
            "AWSAccount {name} is not in the files: the plan uses {id}{from} as its account ID"
        ));
        list.push(stand_in(name, &id, partition, spec, namespace)?);
    }
    Ok(())
}

fn stand_in(
    name: &str,
    id: &str,
    partition: AwsPartition,
    spec: &BucketReplicationSpec,
    namespace: &str,
) -> anyhow::Result<AwsAccount> {
    let (source, destination) = (&spec.source.account_name, &spec.destination.account_name);
    let account = json!({
        "apiVersion": "bucketops.dev/v1alpha1", "kind": "AWSAccount", "metadata": {"name": name},
        "spec": {"accountID": id, "partition": partition, "grants": [{
            "namespaces": only(namespace),
            "sources": [{"bucket": "*", "destinationAccountNames": [source, destination]}],
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
    let keys = match &replica {
        None => None,
        Some(replica) => {
            let mut source: BTreeSet<_> = source_queries
                .iter()
                .map(|query| by_arn(query, &source_region, warnings))
                .collect::<anyhow::Result<_>>()?;
            let replica = by_arn(replica, &destination_region, warnings)?;
            if source.is_empty() {
                source.insert(stand_in_key(valid, &source_region, warnings)?);
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
fn by_arn(query: &KeyQuery, region: &Region, warnings: &mut Vec<String>) -> anyhow::Result<KeyArn> {
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
        warnings.push(format!(
            "{reference} can't be resolved offline: the plan uses {name} as the key's ID"
        ));
        return Ok(format!("arn:{partition}:kms:{region}:{account}:key/{name}").parse()?);
    }
    Ok(reference.to_string().parse()?)
}

/// A key in place of the source bucket's default key.
fn stand_in_key(
    valid: &Valid,
    region: &Region,
    warnings: &mut Vec<String>,
) -> anyhow::Result<KeyArn> {
    let source = &valid.source;
    let id = format!("default-key-of-{}", source.name.as_str().replace('.', "-"));
    warnings.push(format!(
        "the default key of bucket {} is not known offline: the plan uses {id} as its ID",
        source.name
    ));
    let (partition, account) = (source.partition, &source.account);
    Ok(format!("arn:{partition}:kms:{region}:{account}:key/{id}").parse()?)
}
