//! `plan --offline`: without cluster and AWS, everything that would be read there is assumed to be correct.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use serde_json::json;

use crate::{
    api::{AwsAccount, BucketReplication, bucket_replication::BucketReplicationSpec},
    config::Plan,
    replication::{
        Object,
        accounts::{Accounts, Labels},
        assess::{Resolved, ResolvedKeys},
        compose::compose,
        composition::claims::Claims,
        keys::{KeyArn, KeyReference},
        names::Region,
        observed::{KeyQuery, Observed},
        validate::{Encryption, Valid, source_of, validate},
    },
};

use super::plan_answer::{Answer, default_installation, five, in_namespace, refused};

/// Without cluster and AWS, everything that would be read there is assumed to be correct, and what can't be known is reported.
pub(super) fn offline(
    arguments: &Plan,
    replication: &BucketReplication,
    mut list: Vec<AwsAccount>,
) -> anyhow::Result<(Answer, bool)> {
    let mut warnings = vec![];
    let spec = &replication.spec;
    complete(&mut list, spec, &mut warnings)?;
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

/// Adds the accounts that the files lack, and grants everything.
fn complete(
    list: &mut Vec<AwsAccount>,
    spec: &BucketReplicationSpec,
    warnings: &mut Vec<String>,
) -> anyhow::Result<()> {
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
    for account in list {
        account.spec.grants = vec![everything(
            &spec.source.account_name,
            &spec.destination.account_name,
        )?];
    }
    Ok(())
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
