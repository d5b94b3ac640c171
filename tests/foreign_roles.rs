//! Roles that others create, on the strict AWS: what they lack is named before anything is written and after the object was ready, and they are
//! never written.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on has failed"
)]

#[path = "judged/mod.rs"]
mod ground;
mod support;

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use bucket_replication_operator::{
    api::bucket_replication::DrainingStatus, replication::policy::Document,
};
use ground::Judged;
use serde_json::{Value, json};
use strict_aws::state::Role;
use support::{
    cluster::{DR, KEYS, PROD, key, object_key, spec},
    golden::compare,
    in_process::{add_key, add_policy, document},
};

/// What is wrong, how it becomes so, and the reason of `Ready`.
type Wrong = (&'static str, fn(&Judged), &'static str);

const ROLE: &str = "arn:aws:iam::111111111111:role/finance/replication";
const DAY: i64 = 24 * 3_600;
const KMS: &[(&str, &str)] = &[("x-amz-server-side-encryption", "aws:kms")];

fn checked() -> Judged {
    Judged::with_roles(&json!({
        "management": "Check", "named": [{"bucket": "source", "roleARN": ROLE}],
    }))
}

fn walkthrough() -> Value {
    let source = key(PROD, "us-east-1", "src").to_string();
    let mut spec = spec(
        ("dr", "dest"),
        Some(&key(DR, "us-west-2", "dst")),
        &json!({"rules": [{"name": "tax", "prefix": "Tax", "deleteMarkers": "Replicate"}]}),
    );
    spec["source"]["kmsKeys"] = json!([source]);
    spec
}

fn trust(service: &str) -> Document {
    document(json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole",
    }]}))
}

fn create(judged: &Judged, arn: &str, policy: Document) {
    let arn: bucket_replication_operator::replication::arns::RoleArn = arn.parse().unwrap();
    let role = Role {
        id: "AROAFINANCE".to_owned(),
        trust: trust("s3.amazonaws.com"),
        inline: [("replication".to_owned(), policy)].into(),
        attached: vec![],
        boundary: None,
        tags: BTreeMap::new(),
        description: String::new(),
        created: 0,
        arn: arn.clone(),
    };
    judged.aws.with(|state| {
        let place = (arn.account.clone(), arn.name.to_string());
        state.roles.insert(place, role);
    });
}

/// Puts a rule of another writer on the source bucket, under the role.
fn put_their_rule(judged: &Judged) {
    judged.aws.with(|state| {
        let rules = json!({"Role": ROLE, "Rules": [{
            "ID": "theirs", "Priority": 7, "Status": "Enabled", "Filter": {"Prefix": "theirs/"},
            "DeleteMarkerReplication": {"Status": "Disabled"}, "Destination": {"Bucket": "arn:aws:s3:::backup"},
        }]});
        let rules = serde_json::from_value(rules).unwrap();
        state.buckets.get_mut("source").unwrap().replication = Some(rules);
    });
}

fn edit(judged: &Judged, edit: impl FnOnce(&mut Role)) {
    judged.aws.with(|state| {
        let mut roles = state.roles.values_mut();
        edit(roles.find(|role| role.id == "AROAFINANCE").unwrap());
    });
}

/// Puts a managed policy there.
fn put_managed(judged: &Judged, name: &str, policy: Document) -> String {
    let arn = format!("arn:aws:iam::{PROD}:policy/{name}");
    judged.aws.with(|state| add_policy(state, &arn, policy));
    arn
}

/// The reason of `Ready` after the object came to rest.
async fn reason(judged: &mut Judged) -> String {
    judged.cluster.restart();
    judged.settle().await;
    judged.cluster.condition("tax", "Ready").1
}

fn message(judged: &Judged, kind: &str) -> String {
    let conditions = &judged.cluster.objects[&object_key("tax")].2.conditions;
    let found = conditions.iter().find(|condition| condition.type_ == kind);
    found.unwrap().message.clone()
}

fn policy_of_required_action(judged: &Judged) -> Document {
    let status = &judged.cluster.objects[&object_key("tax")].2;
    let [action] = status.required_actions.as_slice() else {
        panic!("{:?}", status.required_actions);
    };
    assert!(action.command.contains("aws iam "), "{}", action.command);
    Document::parse(&action.statement).unwrap()
}

/// What is set up: the role with exactly what the object's status asks for.
async fn ready() -> Judged {
    let mut judged = checked();
    judged.cluster.apply("tax", &walkthrough());
    assert_eq!(reason(&mut judged).await, "RoleNotFound");
    let policy = policy_of_required_action(&judged);
    create(&judged, ROLE, policy);
    assert_eq!(reason(&mut judged).await, "Ready");
    judged
}

#[tokio::test]
async fn a_role_with_what_the_status_asks_for_replicates_and_is_never_written() {
    let before = checked().made();
    let mut judged = ready().await;
    let ready = judged.cluster.condition("tax", "RoleReady");
    assert_eq!(ready.0, "True");
    for (object, headers) in [("Tax/a", &[][..]), ("Tax/b", KMS)] {
        let (replicated, why) = judged.upload(object, headers);
        assert_eq!(replicated, Some("COMPLETED"), "{object}: {why:?}");
    }
    judged.cluster.delete("tax");
    assert!(judged.settle().await);
    let mut after = judged.made();
    after.retain(|what, _| before.contains_key(what));
    assert_eq!(after, before);
    let calls = judged.aws.calls();
    let written: Vec<_> = calls
        .iter()
        .map(|call| call.operation.as_str())
        .filter(|operation| operation.starts_with("iam:"))
        .filter(|operation| !operation.starts_with("iam:Get") && !operation.starts_with("iam:List"))
        .collect();
    assert_eq!(written, [""; 0]);
}

/// Each permission of the role is taken away once, before the first write and after the object was ready.
#[tokio::test]
async fn each_permission_that_the_role_lacks_is_named() {
    let ready = ready().await;
    let mut policy = Value::Null;
    edit(&ready, |role| policy = role.inline["replication"].json());
    let statements = policy["Statement"].as_array_mut().unwrap();
    for statement in &mut *statements {
        if statement["Action"].is_string() {
            statement["Action"] = json!([statement["Action"]]);
        }
    }
    let statements = statements.len();
    let mut tried = 0;
    for number in 0..statements {
        let actions = policy["Statement"][number]["Action"]
            .as_array()
            .unwrap()
            .len();
        for action in 0..actions {
            let mut less = policy.clone();
            let taken = less["Statement"][number]["Action"]
                .as_array_mut()
                .unwrap()
                .remove(action);
            if actions == 1 {
                less["Statement"].as_array_mut().unwrap().remove(number);
            }
            let taken = taken.as_str().unwrap();
            let mut fresh = checked();
            fresh.cluster.apply("tax", &walkthrough());
            create(&fresh, ROLE, document(less.clone()));
            let mut later = ready.copy();
            edit(&later, |role| {
                role.inline
                    .insert("replication".to_owned(), document(less.clone()));
            });
            for judged in [&mut fresh, &mut later] {
                // Two pages of AWS differ about tags.
                if taken.ends_with("Tags") || taken.ends_with("Tagging") {
                    assert_eq!(reason(judged).await, "Ready", "{taken}");
                    assert!(message(judged, "RoleReady").contains(taken), "{taken}");
                    continue;
                }
                assert_eq!(reason(judged).await, "RolePolicyNeeded", "{taken}");
                let message = message(judged, "RoleReady");
                assert!(message.contains(taken), "{taken}: {message}");
            }
            let written = fresh
                .aws
                .with(|state| state.buckets["source"].replication.is_some());
            let suffices = fresh.cluster.condition("tax", "Ready").1 == "Ready";
            assert_eq!(written, suffices, "nothing is written before");
            tried += 1;
        }
    }
    assert!(tried >= 11, "{tried}");
}

/// awslabs/aws-well-architected-labs#615: a role that S3 may not assume, that is gone, or that its own boundary holds back.
#[tokio::test]
async fn what_else_is_wrong_with_the_role_is_said() {
    let ready = ready().await;
    let wrongs: [Wrong; 5] = [
        (
            "another service may assume it",
            |judged| edit(judged, |role| role.trust = trust("ec2.amazonaws.com")),
            "RoleNotAssumable",
        ),
        (
            "it is gone",
            |judged| {
                judged.aws.with(|state| {
                    state.roles.retain(|_, role| role.id != "AROAFINANCE");
                });
            },
            "RoleNotFound",
        ),
        (
            "its boundary is too narrow",
            |judged| {
                let narrow = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]});
                let arn = put_managed(judged, "narrow", document(narrow));
                edit(judged, |role| role.boundary = Some(arn));
            },
            "BoundaryTooNarrow",
        ),
        (
            "its boundary is gone",
            |judged| {
                edit(judged, |role| {
                    role.boundary = Some(format!("arn:aws:iam::{PROD}:policy/gone"));
                });
            },
            "BoundaryTooNarrow",
        ),
        (
            "another policy of it denies",
            |judged| {
                let deny = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "s3:Replicate*", "Resource": "arn:aws:s3:::dest/*"}]});
                let arn = put_managed(judged, "deny", document(deny));
                edit(judged, |role| role.attached.push(arn));
            },
            "RolePolicyNeeded",
        ),
    ];
    let mut text = "# What an object says of a role that others create.\n".to_owned();
    for (what, make, expected) in wrongs {
        let mut judged = ready.copy();
        make(&judged);
        assert_eq!(reason(&mut judged).await, expected, "{what}");
        let said = message(&judged, "Ready");
        writeln!(text, "\n== {what}\nReady=False {expected}: {said}").unwrap();
        let (replicated, _) = judged.upload("Tax/c", KMS);
        assert_eq!(replicated, Some("FAILED"), "{what}: it was right to say so");
    }
    compare("tests/golden/roles.txt", &text);
}

/// The operator adds its own policy to the role of unmanaged rules; everything else of the role has to be right.
#[tokio::test]
async fn a_role_of_unmanaged_rules_is_looked_at() {
    let wrongs: [Wrong; 5] = [
        ("nothing", |_| {}, "Ready"),
        (
            "it is gone",
            |judged| {
                judged.aws.with(|state| {
                    state.roles.retain(|_, role| role.id != "AROAFINANCE");
                });
            },
            "RoleNotFound",
        ),
        (
            "another service may assume it",
            |judged| edit(judged, |role| role.trust = trust("ec2.amazonaws.com")),
            "RoleNotAssumable",
        ),
        (
            "its boundary is too narrow",
            |judged| {
                let narrow = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]});
                let arn = put_managed(judged, "narrow", document(narrow));
                edit(judged, |role| role.boundary = Some(arn));
            },
            "BoundaryTooNarrow",
        ),
        (
            "a policy of it denies",
            |judged| {
                edit(judged, |role| {
                    let deny = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "kms:*", "Resource": "*"}]});
                    role.inline.insert("deny".to_owned(), document(deny));
                });
            },
            "RolePolicyNeeded",
        ),
    ];
    for (what, make, expected) in wrongs {
        // The platform's boundary is that of the operator's roles alone.
        let boundary = format!("arn:aws:iam::{PROD}:policy/too-narrow-for-anything");
        let mut judged = Judged::with_roles(&json!({
            "mergeableRoleARNs": [ROLE], "permissionsBoundaryARN": boundary,
        }));
        create(
            &judged,
            ROLE,
            document(json!({"Version": "2012-10-17", "Statement": []})),
        );
        put_their_rule(&judged);
        make(&judged);
        let mut spec = walkthrough();
        spec["existingConfiguration"] = json!("Merge");
        judged.cluster.apply("tax", &spec);
        assert_eq!(reason(&mut judged).await, expected, "{what}");
        if expected == "Ready" {
            let (replicated, why) = judged.upload("Tax/c", KMS);
            assert_eq!(replicated, Some("COMPLETED"), "{why:?}");
        }
    }
}

/// An unmanaged role is not tagged: the status says since when former permissions stay in it, so that a restart changes nothing.
#[tokio::test]
async fn former_permissions_drain_in_an_unmanaged_role_too() {
    let mut judged = Judged::with_roles(&json!({"mergeableRoleARNs": [ROLE]}));
    judged.cluster.times.drain = std::time::Duration::from_hours(24);
    let none = json!({"Version": "2012-10-17", "Statement": []});
    create(&judged, ROLE, document(none));
    put_their_rule(&judged);
    let of_prefix = |prefix: &str| {
        let mut spec = walkthrough();
        spec["existingConfiguration"] = json!("Merge");
        spec["rules"][0]["prefix"] = json!(prefix);
        spec
    };
    let permitted = |judged: &Judged, prefix: &str| {
        judged.aws.with(|state| {
            let mut roles = state.roles.values();
            let role = roles.find(|role| role.id == "AROAFINANCE").unwrap();
            assert!(role.tags.is_empty(), "it is another's: {:?}", role.tags);
            let resource = format!("arn:aws:s3:::source/{prefix}*\"");
            role.inline
                .values()
                .any(|policy| policy.compact().contains(&resource))
        })
    };
    judged.cluster.apply("tax", &of_prefix("Tax"));
    assert!(judged.settle().await);
    judged.cluster.apply("tax", &of_prefix("Tax/2026/"));
    assert!(judged.settle().await);
    assert_eq!(
        (permitted(&judged, "Tax"), permitted(&judged, "Tax/2026/")),
        (true, true)
    );
    assert_eq!(judged.cluster.condition("tax", "Ready").1, "Ready");
    judged.cluster.pass(DAY / 2);
    assert!(judged.settle().await);
    assert!(permitted(&judged, "Tax"), "half of the time is over");
    judged.cluster.restart();
    judged.cluster.pass(DAY / 4);
    assert!(judged.settle().await);
    assert!(permitted(&judged, "Tax"), "three quarters of it are over");
    judged.cluster.pass(DAY / 4);
    assert!(judged.settle().await);
    assert_eq!(
        (permitted(&judged, "Tax"), permitted(&judged, "Tax/2026/")),
        (false, true)
    );
    assert_eq!(judged.cluster.objects[&object_key("tax")].2.drift, None);
}

/// The policies that have statements of the operator, with how many.
fn stated(judged: &Judged) -> BTreeMap<String, usize> {
    judged.aws.with(|state| {
        let buckets = state
            .buckets
            .iter()
            .filter_map(|(name, bucket)| Some((name.clone(), bucket.policy.as_ref()?)));
        let keys = state
            .keys
            .iter()
            .map(|(arn, key)| (arn.rsplit('/').next().unwrap().to_owned(), &key.policy));
        let of = |policy: &Document| policy.compact().matches("\"Sid\":\"Brepl").count();
        let all = buckets.chain(keys).map(|(name, policy)| (name, of(policy)));
        all.filter(|(_, statements)| *statements > 0).collect()
    })
}

/// What is set up, with a role that may do anything, and two destinations.
async fn ready_for_anything() -> Judged {
    let mut judged = checked();
    for id in ["vault", "safe"] {
        judged
            .aws
            .with(|state| add_key(state, KEYS, "us-east-1", id));
    }
    judged.cluster.apply("tax", &with_vault());
    let none = json!({"Version": "2012-10-17", "Statement": []});
    create(&judged, ROLE, document(none));
    let all = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*", "kms:*"], "Resource": "*"}]});
    edit(&judged, |role| {
        role.inline.insert("all".to_owned(), document(all));
    });
    judged.aws.with(|state| {
        let archive = support::in_process::bucket(DR, "us-west-2");
        state.buckets.insert("archive".to_owned(), archive);
    });
    judged.cluster.times.drain = Duration::from_secs(DAY.unsigned_abs());
    assert_eq!(reason(&mut judged).await, "Ready");
    judged
}

/// The walkthrough with a source key of a third account: those of the role's own need no statement.
fn with_vault() -> Value {
    let mut spec = walkthrough();
    spec["source"]["kmsKeys"] = json!([key(KEYS, "us-east-1", "vault").to_string()]);
    spec
}

fn draining(judged: &Judged) -> Option<DrainingStatus> {
    judged.cluster.objects[&object_key("tax")]
        .2
        .draining
        .clone()
}

/// What is on its way is replicated after an edit, whoever creates the role: its statements stay, and the status says where.
#[tokio::test]
async fn statements_for_a_role_that_others_create_drain_too() {
    type Edit = fn(&mut Value);
    let edits: [(&str, Edit, &str, &str); 4] = [
        (
            "another destination",
            |spec| spec["destination"]["bucket"] = json!("archive"),
            "archive 1, dest 1, dst 1, vault 1",
            "archive 1, dst 1, vault 1",
        ),
        (
            "a narrower prefix",
            |spec| spec["rules"][0]["prefix"] = json!("Tax/2026/"),
            "dest 2, dst 1, vault 1",
            "dest 1, dst 1, vault 1",
        ),
        (
            "another source key",
            |spec| spec["source"]["kmsKeys"] = json!([key(KEYS, "us-east-1", "safe").to_string()]),
            "dest 1, dst 1, safe 1, vault 1",
            "dest 1, dst 1, safe 1",
        ),
        (
            "another replica key",
            |spec| {
                spec["destination"]["kmsKey"] =
                    json!(key(KEYS, "us-west-2", "central").to_string());
            },
            "central 1, dest 1, dst 1, vault 1",
            "central 1, dest 1, vault 1",
        ),
    ];
    let text = |judged: &Judged| {
        let stated = stated(judged)
            .into_iter()
            .map(|(name, count)| format!("{name} {count}"));
        stated.collect::<Vec<_>>().join(", ")
    };
    for (what, change, during, after) in edits {
        let mut judged = ready_for_anything().await;
        assert_eq!(
            (text(&judged).as_str(), draining(&judged)),
            ("dest 1, dst 1, vault 1", None)
        );
        let mut edited = with_vault();
        change(&mut edited);
        judged.cluster.apply("tax", &edited);
        assert!(judged.settle().await);
        assert_eq!(
            judged.cluster.condition("tax", "Ready").1,
            "Ready",
            "{what}"
        );
        assert_eq!(text(&judged), during, "{what}");
        let said = draining(&judged).unwrap();
        assert!(
            !said.buckets.is_empty() || !said.kms_key_arns.is_empty(),
            "{what}: {said:?}"
        );

        // Nothing is written while it waits, also not by an operator that just started.
        let mut judged = judged.copy();
        judged.cluster.times.drain = Duration::from_secs(DAY.unsigned_abs());
        judged.cluster.pass(DAY / 2);
        assert!(judged.settle().await);
        let written = judged
            .aws
            .calls()
            .iter()
            .filter(|call| call.writes())
            .count();
        assert_eq!((text(&judged).as_str(), written), (during, 0), "{what}");
        assert_eq!(draining(&judged), Some(said), "{what}");

        judged.cluster.pass(DAY / 2);
        assert!(judged.settle().await);
        assert_eq!(
            (text(&judged).as_str(), draining(&judged)),
            (after, None),
            "{what}"
        );
        let status = &judged.cluster.objects[&object_key("tax")].2;
        assert_eq!(status.drift, None, "it is no drift: {what}");
        assert_eq!(
            judged.cluster.condition("tax", "Ready").1,
            "Ready",
            "{what}"
        );
        judged.cluster.delete("tax");
        assert!(judged.settle().await);
        assert_eq!(text(&judged), "", "{what}");
    }
}

/// A deletion waits for nothing, also right after a move.
#[tokio::test]
async fn a_deletion_removes_what_drains_for_a_role_that_others_create() {
    let mut judged = ready_for_anything().await;
    let mut moved = with_vault();
    moved["destination"]["bucket"] = json!("archive");
    judged.cluster.apply("tax", &moved);
    assert!(judged.settle().await);
    assert_eq!(stated(&judged).len(), 4);
    judged.cluster.delete("tax");
    assert!(judged.settle().await);
    assert_eq!(stated(&judged), BTreeMap::new());
}

/// Many moves in a row are not in the way of the next one.
#[tokio::test]
async fn what_drains_for_a_role_that_others_create_never_forbids_an_edit() {
    let mut judged = ready_for_anything().await;
    judged.edit_forty_times(&with_vault()).await;
}

/// The rules of an object that can't get what it now asks for stay, and so does what they use, whatever its neighbours do.
#[tokio::test]
async fn an_object_that_is_refused_keeps_what_its_rules_use() {
    for drain in [0, DAY.unsigned_abs()] {
        let mut judged = ready_for_anything().await;
        judged.cluster.times.drain = Duration::from_secs(drain);
        let mut other = with_vault();
        other["destination"] = json!({"accountName": "dr", "bucket": "archive", "kmsKey": key(DR, "us-west-2", "dst").to_string()});
        other["rules"][0]["prefix"] = json!("Other/");
        other["source"]["kmsKeys"] = json!([key(KEYS, "us-east-1", "safe").to_string()]);
        judged.cluster.apply("other", &other);
        assert!(judged.settle().await);
        let before = stated(&judged);
        assert_eq!(
            before.keys().collect::<Vec<_>>(),
            ["archive", "dest", "dst", "safe", "vault"]
        );
        let mut wrong = with_vault();
        wrong["source"]["kmsKeys"] = json!([key(KEYS, "us-east-1", "missing").to_string()]);
        judged.cluster.apply("tax", &wrong);
        other["rules"][0]["prefix"] = json!("Others/");
        judged.cluster.apply("other", &other);
        for _ in 0..6 {
            judged.visit().await;
            judged.cluster.pass(DAY);
        }
        assert_eq!(judged.cluster.condition("tax", "Ready").1, "KeyNotFound");
        assert_eq!(judged.cluster.condition("other", "Ready").1, "Ready");
        assert_eq!(stated(&judged), before);
        let (replicated, why) = judged.upload("Tax/later", KMS);
        assert_eq!(replicated, Some("COMPLETED"), "{why:?}");
    }
}

/// Without a role of the operator's, the status says where its statements may be.
#[tokio::test]
async fn a_moved_destination_is_cleaned_up_after_a_crash() {
    let mut judged = ready().await;
    let mut policy = Value::Null;
    edit(&judged, |role| policy = role.inline["replication"].json());
    judged.aws.with(|state| {
        let archive = support::in_process::bucket(DR, "us-west-2");
        state.buckets.insert("archive".to_owned(), archive);
    });
    let wider = policy
        .to_string()
        .replace("arn:aws:s3:::dest", "arn:aws:s3:::archive");
    edit(&judged, |role| {
        role.inline
            .insert("archive".to_owned(), Document::parse(&wider).unwrap());
    });
    let mut moved = walkthrough();
    moved["destination"]["bucket"] = json!("archive");
    judged.cluster.apply("tax", &moved);
    judged.aws.set_weather(strict_aws::weather::Weather {
        faults: vec![strict_aws::weather::Fault {
            operation: "s3:DeleteBucketPolicy".to_owned(),
            after: 0,
            times: 1_000,
            kind: strict_aws::weather::FaultKind::DropBefore,
            ..strict_aws::weather::Fault::default()
        }],
        ..strict_aws::weather::Weather::default()
    });
    for _ in 0..6 {
        judged.visit().await;
        judged.cluster.pass(30);
    }
    let left = |judged: &Judged| {
        judged
            .aws
            .with(|state| state.buckets["dest"].policy.is_some())
    };
    assert!(left(&judged), "the removal failed");
    let mut judged = judged.copy();
    assert!(judged.settle().await);
    assert!(!left(&judged));
    assert_eq!(judged.cluster.condition("tax", "Ready").1, "Ready");
}
