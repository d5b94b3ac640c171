//! Least privilege, as an independent evaluator of IAM policies sees it: what the role may do is exactly what the S3 and KMS guides ask for, what
//! the operator may do ends at the grants, and a policy with a fault is found out.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on has failed"
)]

mod oracle_process;
mod support;

use std::{
    collections::BTreeSet,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use bucket_replication_operator::{
    cloud::own_policy,
    replication::{
        accounts::Accounts, boundary::boundary, configuration::Filter, keys::KeyArn,
        names::OwnedBucket,
    },
};
use oracle_process::{Allowed, ask};
use serde_json::{Value, json};
use strict_aws::state::Key;
use support::{
    cluster::{
        Cluster, DR, KEYS, PROD, THEIR_ROLE, account, bucket, ground, key, put_theirs, spec,
    },
    in_process::{add_policy, encrypt_by_default},
    world::{State, permissions, replication_roles},
};

/// A request by the role, and what the guides say it needs there.
struct Cell {
    name: &'static str,
    service: &'static str,
    kind: &'static str,
    resource: String,
    account: &'static str,
    context: Value,
    needed: Vec<&'static str>,
}

/// What is replicated, and how.
struct Case {
    name: &'static str,
    destination: OwnedBucket,
    replica_key: Option<KeyArn>,
    source_key: KeyArn,
    extra: Value,
    locked: bool,
    /// How many other objects are on the bucket, with prefixes of their own.
    crowd: usize,
    /// Whether the bucket is replicated already, under a role of somebody else.
    merged: bool,
}

const SOURCE_OBJECT: [&str; 3] = [
    "s3:GetObjectVersionForReplication",
    "s3:GetObjectVersionAcl",
    "s3:GetObjectVersionTagging",
];
const LOCK: [&str; 2] = ["s3:GetObjectRetention", "s3:GetObjectLegalHold"];

fn cases() -> Vec<Case> {
    let rules = |extra: Value| {
        let mut rule = json!({"name": "tax", "prefix": "Tax"});
        rule.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        json!({ "rules": [rule] })
    };
    let across = |name: &'static str, extra: Value| Case {
        name,
        destination: bucket(DR, "dest"),
        replica_key: Some(key(DR, "us-west-2", "dst")),
        source_key: key(PROD, "us-east-1", "src"),
        extra,
        locked: false,
        crowd: 0,
        merged: false,
    };
    let with = |mut value: Value, pointer: &str, to: Value| {
        value[pointer] = to;
        value
    };
    vec![
        across(
            "the walkthrough",
            rules(json!({"deleteMarkers": "Replicate"})),
        ),
        across(
            "the destination owns replicas",
            with(rules(json!({})), "owner", json!("Destination")),
        ),
        Case {
            locked: true,
            ..across("Object Lock", rules(json!({})))
        },
        across(
            "tags, time control, both ways",
            with(
                with(
                    rules(json!({"tags": {"class": "records"}})),
                    "replicationTimeControl",
                    json!("Enabled"),
                ),
                "replicaModifications",
                json!("Sync"),
            ),
        ),
        Case {
            replica_key: None,
            ..across("no SSE-KMS objects", rules(json!({})))
        },
        Case {
            replica_key: Some(key(KEYS, "us-west-2", "central")),
            ..across("a key of a third account", rules(json!({})))
        },
        Case {
            crowd: 12,
            ..across(
                "permissions that spill to managed policies",
                rules(json!({})),
            )
        },
        Case {
            merged: true,
            ..across("beside a configuration of somebody else", rules(json!({})))
        },
        Case {
            destination: bucket(PROD, "backup"),
            replica_key: Some(key(PROD, "us-east-1", "bkp")),
            ..across("within one account", rules(json!({})))
        },
    ]
}

fn via(region: &str, context: &str) -> Value {
    json!({"kms:ViaService": format!("s3.{region}.amazonaws.com"), "kms:EncryptionContext:aws:s3:arn": context, "kms:CallerAccount": PROD})
}

fn account_of(id: &str) -> &'static str {
    [PROD, DR, KEYS]
        .into_iter()
        .find(|known| *known == id)
        .unwrap()
}

fn cells(case: &Case) -> Vec<Cell> {
    let spec = &case.extra;
    let mut source = SOURCE_OBJECT.to_vec();
    if case.locked {
        source.extend(LOCK);
    }
    let mut replica = vec!["s3:ReplicateObject", "s3:ReplicateTags"];
    if spec["rules"][0]["deleteMarkers"] == "Replicate" {
        replica.push("s3:ReplicateDelete");
    }
    if spec["owner"] == "Destination" {
        replica.push("s3:ObjectOwnerOverrideToBucketOwner");
    }
    let to = case.destination.name.as_str();
    let owner = account_of(case.destination.account.as_str());
    let s3 = |name, kind, arn: String, account: &'static str, needed: Vec<&'static str>| Cell {
        name,
        service: "s3",
        kind,
        resource: format!("arn:aws:s3:::{arn}"),
        account,
        context: json!({"aws:ResourceAccount": account}),
        needed,
    };
    let mut cells = vec![
        s3(
            "source bucket",
            "bucket",
            "source".into(),
            PROD,
            vec!["s3:GetReplicationConfiguration", "s3:ListBucket"],
        ),
        s3(
            "source object",
            "object",
            "source/Tax/a".into(),
            PROD,
            source,
        ),
        s3(
            "source object outside the prefix",
            "object",
            "source/Legal/a".into(),
            PROD,
            vec![],
        ),
        s3("another bucket", "bucket", "payroll".into(), PROD, vec![]),
        s3(
            "another bucket's object",
            "object",
            "payroll/Tax/a".into(),
            PROD,
            vec![],
        ),
        s3("destination bucket", "bucket", to.into(), owner, vec![]),
        s3("replica", "object", format!("{to}/Tax/a"), owner, replica),
        s3(
            "replica outside the prefix",
            "object",
            format!("{to}/Legal/a"),
            owner,
            vec![],
        ),
        s3(
            "replica in a bucket that a stranger made anew",
            "object",
            format!("{to}/Tax/a"),
            "999999999999",
            vec![],
        ),
    ];
    let key_cell = |name, key: &KeyArn, context: Value, needed: &[&'static str]| Cell {
        name,
        service: "kms",
        kind: "key",
        resource: key.to_string(),
        account: account_of(key.account.as_str()),
        context,
        needed: if case.replica_key.is_some() {
            needed.to_vec()
        } else {
            vec![]
        },
    };
    let (decrypt, encrypt) = (
        ["kms:Decrypt"],
        ["kms:Encrypt", "kms:GenerateDataKey", "kms:Decrypt"],
    );
    let source_key = &case.source_key;
    let own = source_key.region.to_string();
    let object = "arn:aws:s3:::source/Tax/a";
    cells.extend([
        key_cell(
            "source key for an object",
            source_key,
            via(&own, object),
            &decrypt,
        ),
        key_cell(
            "source key with a bucket key",
            source_key,
            via(&own, "arn:aws:s3:::source"),
            &decrypt,
        ),
        key_cell(
            "source key for another prefix",
            source_key,
            via(&own, "arn:aws:s3:::source/Legal/a"),
            &[],
        ),
        key_cell(
            "source key for another bucket",
            source_key,
            via(&own, "arn:aws:s3:::payroll/Tax/a"),
            &[],
        ),
        key_cell(
            "source key, not through S3",
            source_key,
            json!({"kms:EncryptionContext:aws:s3:arn": object}),
            &[],
        ),
        key_cell(
            "source key through another Region",
            source_key,
            via("eu-west-1", object),
            &[],
        ),
        key_cell(
            "another key",
            &key(PROD, "us-east-1", "src2"),
            via("us-east-1", object),
            &[],
        ),
    ]);
    if let Some(key) = &case.replica_key {
        let region = key.region.to_string();
        let replica = format!("arn:aws:s3:::{to}/Tax/a");
        cells.extend([
            key_cell(
                "replica key for an object",
                key,
                via(&region, &replica),
                &encrypt,
            ),
            key_cell(
                "replica key with a bucket key",
                key,
                via(&region, &format!("arn:aws:s3:::{to}")),
                &encrypt,
            ),
            key_cell(
                "replica key for another prefix",
                key,
                via(&region, &format!("arn:aws:s3:::{to}/Legal/a")),
                &[],
            ),
            key_cell(
                "replica key for another bucket",
                key,
                via(&region, "arn:aws:s3:::payroll/Tax/a"),
                &[],
            ),
            key_cell(
                "replica key, not through S3",
                key,
                json!({"kms:EncryptionContext:aws:s3:arn": replica}),
                &[],
            ),
        ]);
    }
    cells
}

/// What stands in the world once the case is ready.
async fn existing(case: &Case) -> State {
    let world = ground();
    world.edit(|state| {
        let source = state.buckets.get_mut("source").unwrap();
        encrypt_by_default(source, Some(&case.source_key.to_string()));
        if case.locked {
            source.object_lock = true;
            let destination = case.destination.name.as_str();
            state.buckets.get_mut(destination).unwrap().object_lock = true;
        }
    });
    let mut extra = case.extra.clone();
    let owner = extra.as_object_mut().unwrap().remove("owner");
    let name = if case.destination.account.as_str() == PROD {
        "prod"
    } else {
        "dr"
    };
    let mut object = spec(
        (name, case.destination.name.as_str()),
        case.replica_key.as_ref(),
        &extra,
    );
    if let Some(owner) = owner {
        object["destination"]["owner"] = owner;
    }
    if case.replica_key.is_none() {
        object["source"]["sseKMSObjects"] = json!("Skip");
    }
    let mut cluster = Cluster::default();
    if case.merged {
        world.edit(|state| put_theirs(state, THEIR_ROLE, Some(Filter::new("theirs/", vec![]))));
        cluster.accounts[0] = account(
            "prod",
            PROD,
            &json!({"roles": {"mergeableRoleARNs": [THEIR_ROLE]}}),
        );
        object["existingConfiguration"] = json!("Merge");
    }
    // The eldest is in the inline policy: what spills are the youngest's permissions.
    for number in 0..case.crowd {
        let mut other = object.clone();
        other["rules"] = json!([{"name": "crowd", "prefix": format!("Crowd/{number}/")}]);
        cluster.apply(&format!("crowd-{number}"), &other);
    }
    cluster.apply("tax", &object);
    cluster.settle(&world).await;
    assert_eq!(
        cluster.condition("tax", "Ready").0,
        "True",
        "{}: {}",
        case.name,
        cluster.message("tax", "Ready")
    );
    world.snapshot()
}

/// All that stands on the role by us.
fn role_policy(state: &State) -> (String, Value) {
    let mut role = replication_roles(state).next().unwrap().clone();
    role.inline.retain(|name, _| name.starts_with("brepl-"));
    (role.arn.to_string(), permissions(state, &role).json())
}

/// A policy that leaves all to the role's own one: within the account by saying nothing, across accounts by letting everybody do everything.
fn permissive(cell: &Cell) -> Value {
    let statement = |principal: Value| json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": principal, "Action": "*", "Resource": "*"}]});
    match (cell.service, cell.account == PROD) {
        ("s3", true) => Value::Null,
        (_, true) => statement(json!({"AWS": format!("arn:aws:iam::{PROD}:root")})),
        (_, false) => statement(json!({"AWS": "*"})),
    }
}

/// The policy that stands on the cell's resource.
fn real(state: &State, cell: &Cell) -> Value {
    if cell.service == "kms" {
        return state.shown(&state.keys[&cell.resource].policy).json();
    }
    let name = cell
        .resource
        .trim_start_matches("arn:aws:s3:::")
        .split('/')
        .next()
        .unwrap();
    let found = state.buckets.get(name);
    let policy = found.and_then(|bucket| bucket.policy.as_ref());
    policy.map_or(Value::Null, |policy| state.shown(policy).json())
}

fn request(name: String, cell: &Cell, principal: &str, identity: &Value, policy: &Value) -> Value {
    // Every signed request has it ("AWS global condition context keys" in the IAM User Guide).
    let mut context = cell.context.clone();
    context["aws:PrincipalArn"] = json!(principal);
    let mut request = json!({
        "name": name, "service": cell.service, "type": cell.kind, "resource": cell.resource, "account": cell.account, "context": context,
        "principal": principal, "identity": identity,
    });
    if !policy.is_null() {
        request["policy"] = policy.clone();
    }
    request
}

#[tokio::test]
async fn the_role_may_do_what_the_guides_ask_for_and_nothing_else() {
    let (mut requests, mut needed) = (vec![], Allowed::new());
    let accounts = Accounts::new(&Cluster::default().accounts);
    for case in cases() {
        let state = existing(&case).await;
        let (role, identity) = role_policy(&state);
        let made = replication_roles(&state).next().unwrap();
        assert_eq!(case.crowd > 0, !made.attached.is_empty(), "{}", case.name);
        if !case.merged {
            let trust = json!({"Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "sts:AssumeRole"});
            assert_eq!(
                made.trust.json()["Statement"],
                json!([trust]),
                "{}",
                case.name
            );
        }
        // The cells try only actions on what they name.
        let known: BTreeSet<_> = cells(&case)
            .into_iter()
            .flat_map(|cell| cell.needed)
            .collect();
        for statement in identity["Statement"].as_array().unwrap() {
            let actions = &statement["Action"];
            let mut actions = actions
                .as_array()
                .cloned()
                .unwrap_or_else(|| vec![actions.clone()])
                .into_iter();
            assert!(
                statement["Effect"] == "Allow"
                    && actions.all(|action| known.contains(action.as_str().unwrap())),
                "{}: {statement}",
                case.name
            );
        }
        for cell in cells(&case) {
            let expected: BTreeSet<_> = cell
                .needed
                .iter()
                .map(|action| (*action).to_owned())
                .collect();
            for (which, policy) in [
                ("by its own policy", permissive(&cell)),
                ("with the policies that stand", real(&state, &cell)),
            ] {
                let name = format!("{}: {}, {which}", case.name, cell.name);
                requests.push(request(name.clone(), &cell, &role, &identity, &policy));
                needed.insert(name, expected.clone());
            }
            // The boundary that the templates make takes nothing away.
            let name = format!("{}: {}, within the boundary", case.name, cell.name);
            let mut bounded = request(name.clone(), &cell, &role, &identity, &permissive(&cell));
            bounded["boundary"] = boundary(accounts.by_name("prod").unwrap(), &accounts).json();
            requests.push(bounded);
            needed.insert(name, expected.clone());
            // What stands in another account lets our role in, and nobody else of our account, whatever that one may do.
            if cell.account != PROD && cell.account != "999999999999" {
                let name = format!("{}: {}, by somebody else", case.name, cell.name);
                let anything = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
                let somebody = format!("arn:aws:iam::{PROD}:role/somebody");
                requests.push(request(
                    name.clone(),
                    &cell,
                    &somebody,
                    &anything,
                    &real(&state, &cell),
                ));
                needed.insert(name, BTreeSet::new());
            }
        }
    }
    let allowed = ask(&requests);
    assert!(
        allowed.len() == requests.len() && requests.len() > 200,
        "{} cells",
        requests.len()
    );
    let differ: Vec<_> = allowed
        .iter()
        .filter(|(name, actions)| needed[*name] != **actions)
        .collect();
    assert!(differ.is_empty(), "{differ:#?}");
}

/// A name, and what is done to a policy.
type Fault = (&'static str, fn(&mut Value));

/// The operator itself does not find that boundary too narrow.
#[tokio::test]
async fn the_boundary_of_the_templates_passes_preflight() {
    let arn = format!("arn:aws:iam::{PROD}:policy/boundary");
    let mut cluster = Cluster::default();
    cluster.accounts[0] = account(
        "prod",
        PROD,
        &json!({"roles": {"permissionsBoundaryARN": arn}}),
    );
    let accounts = Accounts::new(&cluster.accounts);
    let world = ground();
    let boundary = boundary(accounts.by_name("prod").unwrap(), &accounts);
    world.edit(|state| add_policy(state, &arn, boundary));
    let (key, extra) = (
        key(DR, "us-west-2", "dst"),
        json!({"rules": [{"name": "tax", "prefix": "Tax", "deleteMarkers": "Replicate"}]}),
    );
    cluster.apply("tax", &spec(("dr", "dest"), Some(&key), &extra));
    cluster.settle(&world).await;
    assert_eq!(
        cluster.condition("tax", "Ready").0,
        "True",
        "{}",
        cluster.message("tax", "Ready")
    );
}

/// A linter of IAM policies finds nothing in any document that the operator writes or prints.
#[tokio::test]
async fn a_linter_finds_nothing() {
    let mut documents = vec![];
    for case in cases() {
        let state = existing(&case).await;
        documents.push((format!("role policy: {}", case.name), role_policy(&state).1));
        let buckets = state.buckets.iter().filter_map(|(name, bucket)| {
            let policy = bucket.policy.as_ref()?;
            Some((name.clone(), state.shown(policy).json()))
        });
        let of_key = |key: &Key| state.shown(&key.policy).json();
        let keys = state
            .keys
            .iter()
            .map(|(arn, key)| (arn.clone(), of_key(key)));
        for (name, mut policy) in buckets.chain(keys) {
            // Owners may have their own ways.
            let statements = policy["Statement"].as_array_mut().unwrap();
            statements.retain(|statement| {
                statement["Sid"]
                    .as_str()
                    .is_some_and(|sid| sid.starts_with("Brepl"))
            });
            if !statements.is_empty() {
                documents.push((format!("policy of {name}: {}", case.name), policy));
            }
        }
    }
    let grants = json!([{
        "namespaces": {"matchLabels": {"team": "finance"}}, "sources": [{"bucket": "finance-*"}], "destinations": [{"bucket": "finance-*"}],
        "kmsKeys": [format!("arn:aws:kms:*:{PROD}:key/*")], "allow": ["EnableVersioning", "MergeConfiguration"],
    }]);
    let roles = json!({"permissionsBoundaryARN": format!("arn:aws:iam::{PROD}:policy/boundary"), "mergeableRoleARNs": [format!("arn:aws:iam::{PROD}:role/theirs")]});
    let object = account("prod", PROD, &json!({"grants": grants, "roles": roles}));
    let accounts = Accounts::new([&object]);
    let prod = accounts.by_name("prod").unwrap();
    documents.push((
        "the operator's policy".into(),
        own_policy::policy(prod).unwrap().json(),
    ));
    documents.push(("the boundary".into(), boundary(prod, &accounts).json()));
    documents.push((
        "the operator's identity".into(),
        own_policy::identity_policy(&accounts).json(),
    ));
    assert!(documents.len() > 20, "{}", documents.len());
    // In a key's policy a star is that key. Who may write a bucket's policy could let itself in: docs/security.md says so. The IAM User Guide
    // itself compares boundaries as strings. AWS's own policies are in the account "aws" ("Identify AWS resources with ARNs" there).
    let known = |line: &String| {
        line.starts_with("policy of arn:aws:kms:") && line.contains(" RESOURCE_STAR ")
            || line.starts_with("the operator's policy RESOURCE_POLICY_PRIVILEGE_ESCALATION ")
            || line.starts_with("the operator's policy MISMATCHED_TYPE_BUT_USABLE ")
            || line.starts_with("the operator's policy INVALID_ARN ")
                && line.contains("'arn:aws:iam::aws:policy/*'")
    };
    let found: Vec<_> = lint(&documents)
        .into_iter()
        .filter(|line| !known(line))
        .collect();
    assert!(found.is_empty(), "{found:#?}");
    // It does find what is wrong, so that silence says something.
    let wrong = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:GetObjekt"], "Resource": "arn:aws:s3:::b"}]});
    assert!(!lint(&[("wrong".into(), wrong)]).is_empty());
}

/// What parliament says of documents, each with its name.
fn lint(documents: &[(String, Value)]) -> Vec<String> {
    let program = "import json, sys, parliament
for name, document in json.load(sys.stdin):
    for finding in parliament.analyze_policy_string(json.dumps(document)).findings:
        print(name, finding.issue, finding.detail, finding.location)";
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/python/bin/python");
    let mut child = Command::new(python)
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(json!(documents).to_string().as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(ToOwned::to_owned)
        .collect()
}

/// Faults that somebody could put into the generator, each on the policy of the walkthrough.
fn faults() -> Vec<Fault> {
    fn statement<'a>(policy: &'a mut Value, purpose: &str) -> &'a mut Value {
        let statements = policy["Statement"].as_array_mut().unwrap();
        statements
            .iter_mut()
            .find(|statement| statement["Sid"].as_str().unwrap().contains(purpose))
            .unwrap()
    }
    fn push(value: &mut Value, action: &str) {
        if let Value::String(one) = value {
            *value = json!([one]);
        }
        value.as_array_mut().unwrap().push(json!(action));
    }
    fn without(policy: &mut Value, purpose: &str) {
        policy["Statement"]
            .as_array_mut()
            .unwrap()
            .retain(|statement| !statement["Sid"].as_str().unwrap().contains(purpose));
    }
    vec![
        ("source objects of the whole bucket", |p| {
            statement(p, "SourceObjects")["Resource"] = json!("arn:aws:s3:::source/*");
        }),
        ("objects of all buckets", |p| {
            statement(p, "SourceObjects")["Resource"] = json!("*");
        }),
        ("replicas in the whole bucket", |p| {
            statement(p, "Replicas")["Resource"] = json!("arn:aws:s3:::dest/*");
        }),
        ("replicas in a stranger's bucket", |p| {
            drop(
                statement(p, "Replicas")
                    .as_object_mut()
                    .unwrap()
                    .remove("Condition"),
            );
        }),
        ("PutObject for replicas", |p| {
            push(&mut statement(p, "Replicas")["Action"], "s3:PutObject");
        }),
        ("all of S3 for replicas", |p| {
            statement(p, "Replicas")["Action"] = json!("s3:*");
        }),
        ("GetObject on the source", |p| {
            push(&mut statement(p, "SourceObjects")["Action"], "s3:GetObject");
        }),
        ("no tags of the source", |p| {
            statement(p, "SourceObjects")["Action"] = json!([
                "s3:GetObjectVersionForReplication",
                "s3:GetObjectVersionAcl"
            ]);
        }),
        ("no tags on replicas", |p| {
            statement(p, "Replicas")["Action"] =
                json!(["s3:ReplicateObject", "s3:ReplicateDelete"]);
        }),
        ("no delete markers", |p| {
            statement(p, "Replicas")["Action"] = json!(["s3:ReplicateObject", "s3:ReplicateTags"]);
        }),
        ("no source bucket", |p| without(p, "SourceBucket")),
        ("no source keys", |p| without(p, "SourceKeys")),
        ("no replica key", |p| without(p, "ReplicaKey")),
        ("all keys", |p| {
            statement(p, "SourceKeys")["Resource"] = json!("*");
        }),
        ("source keys not only through S3", |p| {
            drop(
                statement(p, "SourceKeys")["Condition"]
                    .as_object_mut()
                    .unwrap()
                    .remove("StringEquals"),
            );
        }),
        ("source keys for all buckets", |p| {
            drop(
                statement(p, "SourceKeys")["Condition"]
                    .as_object_mut()
                    .unwrap()
                    .remove("StringLike"),
            );
        }),
        ("the replica key through the source's Region", |p| {
            statement(p, "ReplicaKey")["Condition"]["StringEquals"] =
                json!({"kms:ViaService": "s3.us-east-1.amazonaws.com"});
        }),
        ("the replica key without bucket keys", |p| {
            statement(p, "ReplicaKey")["Condition"]["StringLike"] =
                json!({"kms:EncryptionContext:aws:s3:arn": "arn:aws:s3:::dest/Tax*"});
        }),
        ("the replica key without Decrypt", |p| {
            statement(p, "ReplicaKey")["Action"] = json!(["kms:Encrypt", "kms:GenerateDataKey"]);
        }),
        ("grants on the replica key", |p| {
            push(&mut statement(p, "ReplicaKey")["Action"], "kms:CreateGrant");
        }),
        ("a denial", |p| {
            statement(p, "SourceObjects")["Effect"] = json!("Deny");
        }),
        ("all of KMS", |p| {
            statement(p, "SourceKeys")["Action"] = json!("kms:*");
        }),
    ]
}

#[tokio::test]
async fn every_fault_in_a_policy_is_found() {
    let case = cases().remove(0);
    let state = existing(&case).await;
    let (role, policy) = role_policy(&state);
    let tried = [
        "s3:GetReplicationConfiguration",
        "s3:ListBucket",
        "s3:GetObject",
        "s3:PutObject",
        "s3:DeleteObject",
        "s3:GetObjectVersionForReplication",
        "s3:GetObjectVersionAcl",
        "s3:GetObjectVersionTagging",
        "s3:ReplicateObject",
        "s3:ReplicateTags",
        "s3:ReplicateDelete",
        "s3:PutBucketPolicy",
        "kms:Decrypt",
        "kms:Encrypt",
        "kms:GenerateDataKey",
        "kms:CreateGrant",
        "kms:ScheduleKeyDeletion",
    ];
    let mut faults = faults();
    assert!(faults.len() >= 20);
    // Without it, a policy that is wrong by itself would make every fault look found.
    faults.push(("no fault", |_| {}));
    let (mut requests, mut needed) = (vec![], Allowed::new());
    for (fault, change) in &faults {
        let mut changed = policy.clone();
        change(&mut changed);
        assert_eq!(
            changed == policy,
            *fault == "no fault",
            "{fault}: nothing changed"
        );
        for cell in cells(&case) {
            let name = format!("{fault}/{}", cell.name);
            let mut request = request(name.clone(), &cell, &role, &changed, &permissive(&cell));
            request["actions"] = tried
                .iter()
                .copied()
                .filter(|action| action.starts_with(cell.service))
                .collect();
            requests.push(request);
            needed.insert(
                name,
                cell.needed
                    .iter()
                    .map(|action| (*action).to_owned())
                    .collect(),
            );
        }
    }
    let allowed = ask(&requests);
    for (fault, _) in &faults {
        let found = allowed.iter().any(|(name, actions)| {
            name.split('/').next() == Some(*fault) && needed[name] != *actions
        });
        assert_eq!(found, *fault != "no fault", "nobody notices: {fault}");
    }
}

/// The operator's own policy in an account with one grant: nothing outside of it, no object in it, no other role, and none without the boundary.
#[test]
fn the_operator_may_do_nothing_outside_of_the_grants() {
    let boundary = format!("arn:aws:iam::{PROD}:policy/boundary");
    let grants = json!([{
        "namespaces": {"matchLabels": {"team": "finance"}}, "sources": [{"bucket": "finance-*"}], "destinations": [{"bucket": "finance-*"}],
        "kmsKeys": [format!("arn:aws:kms:*:{PROD}:key/a*")],
    }]);
    let object = account(
        "prod",
        PROD,
        &json!({"grants": grants, "roles": {"permissionsBoundaryARN": boundary}}),
    );
    let accounts = Accounts::new([&object]);
    let identity = own_policy::policy(accounts.by_name("prod").unwrap())
        .unwrap()
        .json();
    let principal = format!("arn:aws:iam::{PROD}:role/operator");
    let cell = |name: &str, service: &str, kind: &str, resource: &str, context: Value| {
        json!({
            "name": name, "service": service, "type": kind, "resource": resource, "account": PROD, "context": context, "principal": principal,
            "identity": identity,
        })
    };
    let role = |name: &str| format!("arn:aws:iam::{PROD}:role/{name}");
    let delegating = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{PROD}:root")}, "Action": "kms:*", "Resource": "*"}]});
    let key_cell = |name: &str, id: &str| {
        let mut cell = cell(
            name,
            "kms",
            "key",
            &format!("arn:aws:kms:us-east-1:{PROD}:key/{id}"),
            json!({}),
        );
        cell["policy"] = delegating.clone();
        cell
    };
    let ours = json!({"iam:PolicyARN": format!("arn:aws:iam::{PROD}:policy/brepl-x-b-1"), "iam:PermissionsBoundary": boundary, "iam:PassedToService": "s3.amazonaws.com"});
    let admin = json!({"iam:PolicyARN": "arn:aws:iam::aws:policy/AdministratorAccess", "iam:PermissionsBoundary": boundary});
    let unbound = json!({"iam:PolicyARN": format!("arn:aws:iam::{PROD}:policy/brepl-x-b-1")});
    let allowed = ask(&[
        cell(
            "a bucket outside",
            "s3",
            "bucket",
            "arn:aws:s3:::payroll",
            json!({}),
        ),
        cell(
            "an object outside",
            "s3",
            "object",
            "arn:aws:s3:::payroll/a",
            json!({}),
        ),
        cell(
            "a bucket inside",
            "s3",
            "bucket",
            "arn:aws:s3:::finance-records",
            json!({}),
        ),
        cell(
            "an object inside",
            "s3",
            "object",
            "arn:aws:s3:::finance-records/a",
            json!({}),
        ),
        key_cell("a key outside", "b1"),
        key_cell("a key inside", "a1"),
        cell("another role", "iam", "role", &role("admin"), ours.clone()),
        cell(
            "the operator's own role",
            "iam",
            "role",
            &principal,
            ours.clone(),
        ),
        cell(
            "a replication role",
            "iam",
            "role",
            &role("brepl-x-b-1"),
            ours,
        ),
        cell(
            "a replication role with AdministratorAccess",
            "iam",
            "role",
            &role("brepl-x-b-1"),
            admin,
        ),
        cell(
            "a replication role without the boundary",
            "iam",
            "role",
            &role("brepl-x-b-1"),
            unbound,
        ),
        cell(
            "another policy",
            "iam",
            "policy",
            &format!("arn:aws:iam::{PROD}:policy/admin"),
            json!({}),
        ),
    ]);
    let of = |name: &str| {
        allowed[name]
            .iter()
            .map(String::as_str)
            .collect::<BTreeSet<_>>()
    };
    for outside in [
        "a bucket outside",
        "an object outside",
        "an object inside",
        "a key outside",
        "another role",
        "the operator's own role",
        "another policy",
    ] {
        assert!(of(outside).is_empty(), "{outside}: {:?}", of(outside));
    }
    assert_eq!(
        of("a key inside"),
        ["kms:DescribeKey", "kms:GetKeyPolicy", "kms:PutKeyPolicy"].into()
    );
    let inside = of("a bucket inside");
    assert!(
        inside.contains("s3:PutReplicationConfiguration")
            && !inside.contains("s3:DeleteBucket")
            && !inside.contains("s3:ListBucket"),
        "{inside:?}"
    );
    let full = of("a replication role");
    assert!(
        [
            "iam:CreateRole",
            "iam:PassRole",
            "iam:AttachRolePolicy",
            "iam:PutRolePermissionsBoundary"
        ]
        .iter()
        .all(|action| full.contains(action)),
        "{full:?}"
    );
    assert!(
        !full.contains("iam:DeleteRolePermissionsBoundary"),
        "{full:?}"
    );
    let escalation = of("a replication role with AdministratorAccess");
    assert!(
        !escalation.contains("iam:AttachRolePolicy") && !escalation.contains("iam:PassRole"),
        "{escalation:?}"
    );
    let unbound = of("a replication role without the boundary");
    let bound = [
        "iam:CreateRole",
        "iam:PutRolePolicy",
        "iam:PutRolePermissionsBoundary",
        "iam:AttachRolePolicy",
        "iam:DetachRolePolicy",
    ];
    assert!(
        bound.iter().all(|action| !unbound.contains(action)),
        "{unbound:?}"
    );
}
