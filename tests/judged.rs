//! The operator against an AWS that judges: under exactly the policy that `iam-policy` prints it makes S3 replicate, and each permission that it
//! gives is one that S3 asks for.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on has failed"
)]

#[path = "oracle_process/decisions.rs"]
mod decisions;
#[path = "judged/mod.rs"]
mod ground;
mod oracle_process;
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bucket_replication_operator::replication::{
    evaluation::{Context, ResourcePolicy},
    policy::{Document, Mark, Purpose},
};
use ground::Judged;
use serde_json::{Value, json};
use strict_aws::{judge::Asked, state::State};
use support::{
    cluster::{Cluster, DR, KEYS, PROD, key, spec},
    in_process::{add_key, document},
};

/// What is set up, and where it is replicated to.
struct Case {
    name: &'static str,
    spec: Value,
    /// Changes what exists before.
    before: fn(&Judged),
    /// Whether objects with SSE-KMS are among those that are uploaded.
    encrypted: bool,
}

fn case(
    name: &'static str,
    destination: (&str, &str),
    replica_key: Option<(&str, &str, &str)>,
    extra: Value,
) -> Case {
    let replica_key = replica_key.map(|(account, region, id)| key(account, region, id));
    Case {
        name,
        encrypted: replica_key.is_some(),
        spec: spec(destination, replica_key.as_ref(), &extra),
        before: |_| {},
    }
}

fn rules(extra: Value) -> Value {
    let mut rule = json!({"name": "tax", "prefix": "Tax"});
    rule.as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    json!({"rules": [rule]})
}

fn with(mut value: Value, field: &str, to: Value) -> Value {
    value[field] = to;
    value
}

fn set_default(judged: &Judged, bucket: &str, of: (&str, &str, &str), bucket_key: bool) {
    let arn = key(of.0, of.1, of.2).to_string();
    judged.aws.with(|state| {
        state.buckets.get_mut(bucket).unwrap().encryption = json!({"Rules": [{
            "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": arn}, "BucketKeyEnabled": bucket_key,
        }]});
    });
}

const DST: (&str, &str, &str) = (DR, "us-west-2", "dst");
const MULTI_REGION: &str = "mrk-1234abcd12ab34cd56ef1234567890ab";

fn cases() -> Vec<Case> {
    let markers = || rules(json!({"deleteMarkers": "Replicate"}));
    vec![
        case(
            "the walkthrough, across two accounts",
            ("dr", "dest"),
            Some(DST),
            markers(),
        ),
        Case {
            before: |judged| set_default(judged, "dest", DST, true),
            ..case(
                "a destination with a default key and an S3 Bucket Key",
                ("dr", "dest"),
                Some(DST),
                markers(),
            )
        },
        Case {
            before: |judged| set_default(judged, "dest", DST, false),
            ..case(
                "a destination with a default key",
                ("dr", "dest"),
                Some(DST),
                markers(),
            )
        },
        case(
            "within one account",
            ("prod", "backup"),
            Some((PROD, "us-east-1", "bkp")),
            markers(),
        ),
        case(
            "within one account, without KMS",
            ("prod", "backup"),
            None,
            markers(),
        ),
        case(
            "a key of a third account",
            ("dr", "dest"),
            Some((KEYS, "us-west-2", "central")),
            markers(),
        ),
        Case {
            before: |judged| {
                judged.aws.with(|state| {
                    let dest = state.buckets.get_mut("dest").unwrap();
                    "ObjectWriter".clone_into(&mut dest.ownership);
                });
            },
            ..case(
                "the destination owns replicas",
                ("dr", "dest"),
                Some(DST),
                with(
                    markers(),
                    "destination",
                    json!({"accountName": "dr", "bucket": "dest", "owner": "Destination", "kmsKey": "alias/replicas"}),
                ),
            )
        },
        Case {
            before: |judged| {
                judged.aws.with(|state| {
                    for name in ["source", "dest"] {
                        state.buckets.get_mut(name).unwrap().object_lock = true;
                    }
                });
            },
            ..case("Object Lock", ("dr", "dest"), Some(DST), rules(json!({})))
        },
        // S3 treats them like other keys ("Replicating encrypted objects" in the S3 User Guide).
        Case {
            before: |judged| {
                judged.aws.with(|state| {
                    add_key(state, DR, "us-west-2", MULTI_REGION);
                    add_key(state, PROD, "us-east-1", MULTI_REGION);
                });
            },
            ..case(
                "multi-Region keys",
                ("dr", "dest"),
                Some((DR, "us-west-2", MULTI_REGION)),
                with(
                    markers(),
                    "source",
                    json!({"accountName": "prod", "bucket": "source", "kmsKeys": [
                        key(PROD, "us-east-1", "src").to_string(), key(PROD, "us-east-1", MULTI_REGION).to_string(),
                    ]}),
                ),
            )
        },
        case(
            "objects with a tag",
            ("dr", "dest"),
            Some(DST),
            rules(json!({"tags": {"class": "records"}})),
        ),
        case(
            "several rules with time control",
            ("dr", "dest"),
            Some(DST),
            with(
                json!({"rules": [{"name": "a", "prefix": "Tax/a"}, {"name": "b", "prefix": "Tax/"}]}),
                "replicationTimeControl",
                json!("Enabled"),
            ),
        ),
    ]
}

/// Uploads one object of each kind, and gives those that were not replicated, with the reason.
fn upload_all(judged: &Judged, case: &Case) -> Vec<String> {
    let source_key = key(PROD, "us-east-1", "src").to_string();
    let mut failed = vec![];
    let mut note = |kind: &str, (status, reason): (Option<&str>, Option<String>)| {
        if status != Some("COMPLETED") {
            failed.push(format!("{kind}: {status:?} {reason:?}"));
        }
    };
    let tagged = ("x-amz-tagging", "class=records");
    let kms = ("x-amz-server-side-encryption", "aws:kms");
    let id = (
        "x-amz-server-side-encryption-aws-kms-key-id",
        source_key.as_str(),
    );
    note("SSE-S3", judged.upload("Tax/a/s3", &[tagged]));
    if case.encrypted {
        let bucket_key = ("x-amz-server-side-encryption-bucket-key-enabled", "true");
        let dsse = ("x-amz-server-side-encryption", "aws:kms:dsse");
        note("SSE-KMS", judged.upload("Tax/a/kms", &[tagged, kms, id]));
        note(
            "SSE-KMS with a bucket key",
            judged.upload("Tax/b/key", &[tagged, kms, id, bucket_key]),
        );
        note("DSSE-KMS", judged.upload("Tax/b/dsse", &[tagged, dsse, id]));
        for other in case.spec["source"]["kmsKeys"].as_array().unwrap() {
            let other = (id.0, other.as_str().unwrap());
            note(other.1, judged.upload("Tax/a/other", &[tagged, kms, other]));
        }
        let started = judged.call("POST", "/source/Tax/parts", "uploads", &[tagged, kms, id]);
        let started = String::from_utf8(started.body).unwrap();
        let upload = started
            .split("<UploadId>")
            .nth(1)
            .unwrap()
            .split('<')
            .next()
            .unwrap();
        judged.call(
            "PUT",
            "/source/Tax/parts",
            &format!("partNumber=1&uploadId={upload}"),
            &[],
        );
        judged.call(
            "POST",
            "/source/Tax/parts",
            &format!("uploadId={upload}"),
            &[],
        );
        note("multipart", judged.status("Tax/parts"));
    }
    if case.spec["rules"][0]["deleteMarkers"] == json!("Replicate") {
        judged.call("DELETE", "/source/Tax/a/s3", "", &[]);
        note("a delete marker", judged.status("Tax/a/s3"));
    }
    failed
}

async fn set_up(case: &Case) -> Judged {
    let mut judged = Judged::new();
    (case.before)(&judged);
    judged.cluster.apply("tax", &case.spec);
    judged.settle().await;
    let ready = judged.cluster.condition("tax", "Ready");
    assert_eq!(
        ready,
        ("True".to_owned(), "Ready".to_owned()),
        "{}: {}",
        case.name,
        judged.cluster.message("tax", "Ready")
    );
    judged
}

#[tokio::test]
async fn what_is_ready_replicates() {
    for case in cases() {
        let judged = set_up(&case).await;
        let failed = upload_all(&judged, &case);
        assert!(failed.is_empty(), "{}: {failed:#?}", case.name);
        // What the rules do not select is not replicated.
        assert_eq!(judged.upload("Other/a", &[]).0, None, "{}", case.name);
    }
}

/// Each bucket is the other one's destination. S3 does not replicate replicas again ("What isn't replicated with replication configurations?" in the
/// S3 User Guide).
#[tokio::test]
async fn two_buckets_replicate_to_each_other() {
    let mut judged = Judged::new();
    let (source_key, replica_key) = (key(PROD, "us-east-1", "src"), key(DR, "us-west-2", "dst"));
    let there = spec(("dr", "dest"), Some(&replica_key), &rules(json!({})));
    let mut back = spec(("prod", "source"), Some(&source_key), &rules(json!({})));
    back["source"] =
        json!({"accountName": "dr", "bucket": "dest", "kmsKeys": [replica_key.to_string()]});
    let mut other = Cluster {
        source: support::cluster::bucket(DR, "dest"),
        accounts: judged.cluster.accounts.clone(),
        editors: judged.cluster.editors.clone(),
        clock: Arc::clone(&judged.cluster.clock),
        ..Cluster::default()
    };
    judged.cluster.apply("there", &there);
    other.apply("back", &back);
    for _ in 0..4 {
        judged.visit().await;
        other.visit_with(&judged.cloud_of(&other)).await;
        judged.cluster.pass(30);
    }
    assert_eq!(judged.cluster.condition("there", "Ready").0, "True");
    assert_eq!(other.condition("back", "Ready").0, "True");
    let of = |bucket: &str, object: &str| {
        let versions = judged.aws.with(|state| {
            let objects = &state.buckets[bucket].objects;
            objects.get(object).map(Vec::len)
        });
        (judged.status_of(bucket, object).0, versions)
    };
    for (from, to, key) in [
        ("source", "dest", &source_key),
        ("dest", "source", &replica_key),
    ] {
        let object = format!("Tax/from-{from}");
        let kms = ("x-amz-server-side-encryption", "aws:kms");
        let id = (
            "x-amz-server-side-encryption-aws-kms-key-id",
            key.to_string(),
        );
        let (status, reason) = judged.upload_to(from, &object, &[kms, (id.0, &id.1)]);
        assert_eq!(status, Some("COMPLETED"), "{reason:?}");
        assert_eq!(of(to, &object), (Some("REPLICA"), Some(1)));
        assert_eq!(of(from, &object).1, Some(1), "it does not come back");
    }
}

/// A request of the replication role's session, and whether it is one that replication makes.
fn may(
    judged: &Judged,
    action: &str,
    resource: &str,
    owner: &str,
    context: &[(&str, &str)],
) -> bool {
    judged.aws.with(|state| {
        let mut roles = state.roles.values();
        let role = roles
            .find(|role| role.arn.name.as_str().starts_with("brepl-"))
            .unwrap();
        let mut keys = Context::complete();
        for (key, value) in context {
            keys = keys.with(key, *value);
        }
        let name = resource.split([':', '/']).nth(5).unwrap_or_default();
        let policy = match state.keys.get(resource) {
            Some(key) => ResourcePolicy::Key(&key.policy),
            None => ResourcePolicy::Bucket(
                state
                    .buckets
                    .get(name)
                    .and_then(|bucket| bucket.policy.as_ref()),
            ),
        };
        let asked = Asked {
            action,
            resource: resource.to_owned(),
            owner: &owner.parse().unwrap(),
            policy,
            context: keys,
        };
        state
            .session(role, "s3-replication")
            .access(&asked)
            .is_allowed()
    })
}

#[tokio::test]
async fn what_is_just_outside_is_denied() {
    let judged = set_up(&cases().remove(0)).await;
    let (src, dst) = (
        key(PROD, "us-east-1", "src").to_string(),
        key(DR, "us-west-2", "dst").to_string(),
    );
    let (via, context) = ("kms:ViaService", "kms:EncryptionContext:aws:s3:arn");
    let (east, west) = ("s3.us-east-1.amazonaws.com", "s3.us-west-2.amazonaws.com");
    let read = "s3:GetObjectVersionForReplication";
    for (action, resource, owner, keys, allowed) in [
        (read, "arn:aws:s3:::source/Tax/a", PROD, vec![], true),
        (read, "arn:aws:s3:::source/Legal/a", PROD, vec![], false),
        (read, "arn:aws:s3:::backup/Tax/a", PROD, vec![], false),
        (
            "s3:GetObject",
            "arn:aws:s3:::source/Tax/a",
            PROD,
            vec![],
            false,
        ),
        (
            "s3:ReplicateObject",
            "arn:aws:s3:::dest/Tax/a",
            DR,
            vec![],
            true,
        ),
        (
            "s3:ReplicateObject",
            "arn:aws:s3:::dest/Legal/a",
            DR,
            vec![],
            false,
        ),
        (
            "s3:ReplicateObject",
            "arn:aws:s3:::dest/Tax/a",
            KEYS,
            vec![],
            false,
        ),
        ("s3:PutObject", "arn:aws:s3:::dest/Tax/a", DR, vec![], false),
        (
            "kms:Decrypt",
            &src,
            PROD,
            vec![(via, east), (context, "arn:aws:s3:::source/Tax/a")],
            true,
        ),
        (
            "kms:Decrypt",
            &src,
            PROD,
            vec![(via, east), (context, "arn:aws:s3:::source")],
            true,
        ),
        (
            "kms:Decrypt",
            &src,
            PROD,
            vec![(via, west), (context, "arn:aws:s3:::source/Tax/a")],
            false,
        ),
        (
            "kms:Decrypt",
            &src,
            PROD,
            vec![(via, east), (context, "arn:aws:s3:::source/Legal/a")],
            false,
        ),
        (
            "kms:Decrypt",
            &src,
            PROD,
            vec![(context, "arn:aws:s3:::source/Tax/a")],
            false,
        ),
        ("kms:Decrypt", &src, PROD, vec![(via, east)], false),
        (
            "kms:Encrypt",
            &src,
            PROD,
            vec![(via, east), (context, "arn:aws:s3:::source/Tax/a")],
            false,
        ),
        (
            "kms:Encrypt",
            &dst,
            DR,
            vec![(via, west), (context, "arn:aws:s3:::dest/Tax/a")],
            true,
        ),
        (
            "kms:Encrypt",
            &dst,
            DR,
            vec![(via, east), (context, "arn:aws:s3:::dest/Tax/a")],
            false,
        ),
        (
            "kms:Encrypt",
            &dst,
            DR,
            vec![(via, west), (context, "arn:aws:s3:::source/Tax/a")],
            false,
        ),
        (
            "kms:ScheduleKeyDeletion",
            &dst,
            DR,
            vec![(via, west), (context, "arn:aws:s3:::dest")],
            false,
        ),
    ] {
        assert_eq!(
            may(&judged, action, resource, owner, &keys),
            allowed,
            "{action} {resource} {owner} {keys:?}"
        );
    }
}

/// What a plain creation and deletion do not call, or do not need: the end-to-end tests and `iam-policy`'s own table show when it is.
const SELDOM: [&str; 12] = [
    "iam:AttachRolePolicy",
    "iam:CreatePolicy",
    "iam:CreatePolicyVersion",
    "iam:DeletePolicy",
    "iam:DeletePolicyVersion",
    "iam:DetachRolePolicy",
    "iam:GetPolicyVersion",
    "iam:ListAttachedRolePolicies",
    "iam:ListPolicyVersions",
    "iam:UpdateAssumeRolePolicy",
    "s3:GetBucketTagging",
    "s3:PutBucketVersioning",
];

#[tokio::test]
async fn each_action_of_the_printed_policy_is_needed_and_named_if_it_is_missing() {
    let case = cases().remove(0);
    let operator = "bucket-replication-operator";
    let of = |account: &str| (account.parse().unwrap(), operator.to_owned());
    let mut actions = BTreeSet::new();
    Judged::new().aws.with(|state| {
        for account in [PROD, DR] {
            for statement in state.roles[&of(account)].inline["operator"].statements() {
                actions.extend(
                    statement
                        .strings("Action")
                        .into_iter()
                        .map(ToOwned::to_owned),
                );
            }
        }
    });
    let mut seldom = vec![];
    for action in actions {
        let mut judged = Judged::new();
        judged.aws.with(|state| {
            for account in [PROD, DR] {
                let role = state.roles.get_mut(&of(account)).unwrap();
                let mut policy = role.inline["operator"].json();
                for statement in policy["Statement"].as_array_mut().unwrap() {
                    if let Some(actions) = statement["Action"].as_array_mut() {
                        actions.retain(|allowed| *allowed != json!(action));
                        if actions.is_empty() {
                            actions.push(json!("s3:ListAllMyBuckets"));
                        }
                    }
                }
                role.inline.insert("operator".to_owned(), document(policy));
            }
        });
        judged.cluster.apply("tax", &case.spec);
        judged.settle().await;
        let messages = |judged: &Judged| judged.cluster.message("tax", "Ready");
        if judged.cluster.condition("tax", "Ready").0 == "True" {
            judged.cluster.delete("tax");
            judged.settle().await;
            if judged.cluster.objects.is_empty() {
                seldom.push(action);
                continue;
            }
        }
        assert!(
            messages(&judged).contains(&action),
            "{action}: {}",
            messages(&judged)
        );
    }
    assert_eq!(seldom, SELDOM);
}

#[tokio::test]
async fn a_role_that_s3_may_not_assume_replicates_nothing() {
    let case = cases().remove(0);
    let judged = set_up(&case).await;
    judged.aws.with(|state| {
        let mut roles = state.roles.values_mut();
        let role = roles.find(|role| role.arn.name.as_str().starts_with("brepl-"));
        role.unwrap().trust = document(json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"},
        ]}));
    });
    let (status, reason) = judged.upload("Tax/a", &[]);
    assert_eq!(
        (status, reason.as_deref()),
        (Some("FAILED"), Some("AssumeRoleNotPermitted"))
    );
}

#[tokio::test]
async fn after_the_deletion_nothing_is_left() {
    for case in cases() {
        let mut judged = set_up(&case).await;
        judged.cluster.delete("tax");
        judged.settle().await;
        assert!(judged.cluster.objects.is_empty(), "{}", case.name);
        judged.aws.with(|state| {
            assert!(
                state
                    .buckets
                    .values()
                    .all(|bucket| bucket.replication.is_none() && bucket.policy.is_none())
            );
            assert!(
                state
                    .keys
                    .values()
                    .all(|key| key.policy.statements().len() == 1)
            );
            assert!(
                state
                    .roles
                    .keys()
                    .all(|(_, name)| !name.starts_with("brepl-"))
            );
        });
    }
}

/// Which policy has a permission of the operator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// The inline policy of that name, of the role of that name.
    Role(String, String),
    Bucket(String),
    Key(String),
}

impl Place {
    fn name(&self) -> &'static str {
        match self {
            Self::Role(..) => "role",
            Self::Bucket(_) => "bucket policy",
            Self::Key(_) => "key policy",
        }
    }

    fn policy<'a>(&self, state: &'a mut State) -> &'a mut Document {
        match self {
            Self::Role(role, policy) => {
                let mut roles = state.roles.values_mut();
                let role = roles.find(|found| found.arn.name.as_str() == role).unwrap();
                role.inline.get_mut(policy).unwrap()
            }
            Self::Bucket(bucket) => state
                .buckets
                .get_mut(bucket)
                .unwrap()
                .policy
                .as_mut()
                .unwrap(),
            Self::Key(key) => &mut state.keys.get_mut(key).unwrap().policy,
        }
    }
}

/// All policies that have statements of the operator.
fn places(state: &State) -> Vec<Place> {
    let roles = state
        .roles
        .values()
        .filter(|role| role.arn.name.as_str().starts_with("brepl-"));
    let roles = roles.flat_map(|role| {
        role.inline
            .keys()
            .map(|policy| Place::Role(role.arn.name.to_string(), policy.clone()))
    });
    let buckets = state
        .buckets
        .iter()
        .filter(|(_, bucket)| bucket.policy.is_some());
    let keys = state.keys.keys().cloned().map(Place::Key);
    roles
        .chain(buckets.map(|(name, _)| Place::Bucket(name.clone())))
        .chain(keys)
        .collect()
}

/// A permission made wrong: what it was, and the policy with it.
struct Fault {
    label: String,
    place: Place,
    policy: Document,
}

/// Each action taken out, and each resource and condition value made wrong, of each statement of the operator.
fn faults(state: &mut State) -> Vec<Fault> {
    let mut faults = vec![];
    for place in places(state) {
        let policy = place.policy(state).json();
        for (number, statement) in policy["Statement"].as_array().unwrap().iter().enumerate() {
            let Some(mark) = statement["Sid"].as_str().and_then(Mark::parse) else {
                continue;
            };
            let purpose: &str = mark.purpose.into();
            let mut add = |what: String, changed: Value| {
                let mut policy = policy.clone();
                policy["Statement"][number] = changed;
                faults.push(Fault {
                    label: format!("{} {purpose}: {what}", place.name()),
                    place: place.clone(),
                    policy: document(policy),
                });
            };
            for (what, pointer) in values(statement, mark.purpose) {
                let mut changed = statement.clone();
                let value = changed.pointer_mut(&pointer).unwrap();
                *value = json!(wrong(&what, value.as_str().unwrap()));
                add(what, changed);
            }
        }
    }
    faults
}

/// Another action, ARN or value than that of a statement.
fn wrong(what: &str, value: &str) -> String {
    if what.starts_with("action") {
        return "s3:DeleteObject".to_owned();
    }
    match value.rsplit_once(':') {
        Some((start, end)) => format!("{start}:wrong-{end}"),
        None => format!("wrong-{value}"),
    }
}

/// The values of a statement: what each is, and where it is.
fn values(statement: &Value, purpose: Purpose) -> Vec<(String, String)> {
    let mut found = vec![];
    let mut each = |what: &dyn Fn(&str) -> String, pointer: &str| match statement.pointer(pointer) {
        Some(Value::Array(items)) => {
            for (number, item) in items.iter().enumerate() {
                found.push((what(item.as_str().unwrap()), format!("{pointer}/{number}")));
            }
        }
        Some(Value::String(item)) => found.push((what(item), pointer.to_owned())),
        _ => {}
    };
    each(&|action| format!("action {action}"), "/Action");
    // The resource of a key policy is the key itself, however it is written.
    if purpose != Purpose::KeyUse {
        each(&|_| "resource".to_owned(), "/Resource");
    }
    for (operator, keys) in statement["Condition"].as_object().into_iter().flatten() {
        for key in keys.as_object().unwrap().keys() {
            let what = |value: &str| {
                let of = if !key.starts_with("kms:EncryptionContext") {
                    ""
                } else if value.ends_with('*') {
                    " of objects"
                } else {
                    " of the bucket"
                };
                format!("{key}{of}")
            };
            each(
                &what,
                &format!("/Condition/{operator}/{}", key.replace('/', "~1")),
            );
        }
    }
    found
}

/// Permissions without which everything still replicates, and why they are given.
const NOT_SEEN_TO_BE_NEEDED: &[(&str, &str)] = &[
    (
        "action s3:ReplicateTags",
        "tags are lost without it, or objects with tags are not replicated: AWS's pages differ",
    ),
    ("action s3:GetObjectVersionTagging", "the same"),
];

#[tokio::test]
async fn each_permission_is_one_that_s3_asks_for() {
    let (mut needed, mut all) = (BTreeSet::new(), BTreeMap::new());
    for case in cases() {
        let judged = set_up(&case).await;
        let before = judged.aws.with(|state| state.clone());
        let faults = judged.aws.with(faults);
        assert!(!faults.is_empty(), "{}", case.name);
        for fault in faults {
            judged.aws.with(|state| {
                *state = before.clone();
                *fault.place.policy(state) = fault.policy.clone();
            });
            let failed = upload_all(&judged, &case);
            let unknown = failed
                .iter()
                .find(|failure| failure.contains("JudgementUnknown"));
            assert_eq!(unknown, None, "{}: {}", case.name, fault.label);
            if failed.is_empty() {
                all.entry(fault.label).or_insert(case.name);
            } else {
                needed.insert(fault.label);
            }
        }
    }
    all.retain(|label, _| !needed.contains(label));
    let is_known = |label: &String| {
        NOT_SEEN_TO_BE_NEEDED
            .iter()
            .any(|(known, _)| label.ends_with(known))
    };
    let unexplained: Vec<_> = all.keys().filter(|label| !is_known(label)).collect();
    assert!(
        unexplained.is_empty(),
        "given, and never needed: {unexplained:#?}"
    );
    let unused: Vec<_> = NOT_SEEN_TO_BE_NEEDED
        .iter()
        .filter(|(known, _)| !all.keys().any(|label| label.ends_with(known)))
        .collect();
    assert!(unused.is_empty(), "needed after all: {unused:?}");
    assert!(needed.len() > 20, "hardly anything was tried: {needed:#?}");
}

#[tokio::test]
async fn an_independent_evaluator_agrees_with_every_decision() {
    let mut made = vec![];
    for case in cases() {
        let mut judged = set_up(&case).await;
        upload_all(&judged, &case);
        let before = judged.aws.with(|state| state.clone());
        for fault in judged.aws.with(faults) {
            judged.aws.with(|state| {
                *state = before.clone();
                *fault.place.policy(state) = fault.policy.clone();
            });
            upload_all(&judged, &case);
        }
        judged.aws.with(|state| *state = before);
        judged.cluster.delete("tax");
        judged.settle().await;
        made.extend(judged.aws.with(|state| state.decisions.all()));
    }
    let replayed = decisions::replay(&made);
    assert!(replayed > 1_000, "only {replayed} decisions");
}
