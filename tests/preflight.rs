//! Every precondition, broken in one account and across two, before the object comes and after it is ready: it is never called ready while
//! that holds, says its own reason, writes nothing, and is ready again after the remedy.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on has failed"
)]

mod support;

use std::fmt::Write;

use bucket_replication_operator::replication::{
    configuration::{Filter, Setting},
    keys::KeyArn,
    observed::{FailureKind, UnknownElement},
    policy::Document,
};
use serde_json::{Value, json};
use strict_aws::state::{Bucket, Key};
use support::{
    cluster::{
        Cluster, DR, PROD, THEIR_ROLE, account, ground, key, make_their_role, object_key,
        put_theirs, spec,
    },
    golden::compare,
    in_process::{add_policy, encrypt_by_default},
    life::comparable,
    world::{Faults, State, World, delete_replication_roles, deny_operator, replication_roles},
};

/// Where a case plays: the destination, its key, and its account.
struct Place {
    account: &'static str,
    id: &'static str,
    bucket: &'static str,
}

impl Place {
    const ALL: [Self; 2] = [
        Self {
            account: "prod",
            id: PROD,
            bucket: "backup",
        },
        Self {
            account: "dr",
            id: DR,
            bucket: "dest",
        },
    ];

    fn across(&self) -> bool {
        self.id != PROD
    }

    fn replica_key(&self) -> KeyArn {
        if self.across() {
            key(DR, "us-west-2", "dst")
        } else {
            key(PROD, "us-east-1", "bkp")
        }
    }

    /// The object of every case.
    fn object(&self) -> Value {
        spec(
            (self.account, self.bucket),
            Some(&self.replica_key()),
            &json!({"rules": [{"name": "tax", "prefix": "Tax"}]}),
        )
    }
}

/// What is broken: in AWS, in the spec, or in what the platform team says.
enum Break {
    World(fn(&mut State, &Place)),
    Spec(fn(&mut Value, &Place)),
    Account(fn(&Place) -> [Value; 2]),
}

struct Case {
    name: &'static str,
    condition: &'static str,
    reason: &'static str,
    /// Whether it can be broken within one account, and across two.
    places: [bool; 2],
    broken: Break,
}

fn case(
    name: &'static str,
    condition: &'static str,
    reason: &'static str,
    places: [bool; 2],
    broken: Break,
) -> Case {
    Case {
        name,
        condition,
        reason,
        places,
        broken,
    }
}

const BOTH: [bool; 2] = [true, true];
const ACROSS: [bool; 2] = [false, true];

fn deny(document: &Document, resource: &str, principal: &Value) -> Document {
    let mut json = document.json();
    let actions = [
        "s3:GetObject*",
        "s3:Replicate*",
        "kms:Encrypt",
        "kms:Decrypt",
    ];
    let statement = json!({"Sid": "Stop", "Effect": "Deny", "Principal": principal, "Action": actions, "Resource": resource});
    json["Statement"].as_array_mut().unwrap().push(statement);
    Document::parse(&json.to_string()).unwrap()
}

fn source(state: &mut State) -> &mut Bucket {
    state.buckets.get_mut("source").unwrap()
}

fn destination<'a>(state: &'a mut State, at: &Place) -> &'a mut Bucket {
    state.buckets.get_mut(at.bucket).unwrap()
}

fn replica_key<'a>(state: &'a mut State, at: &Place) -> &'a mut Key {
    state.keys.get_mut(&at.replica_key().to_string()).unwrap()
}

fn cases() -> Vec<Case> {
    use Break::{Account, Spec, World};
    vec![
        case(
            "the source bucket is gone",
            "SourceReady",
            "BucketNotFound",
            BOTH,
            World(|s, _| drop(s.buckets.remove("source"))),
        ),
        case(
            "the destination bucket is gone",
            "DestinationReady",
            "BucketNotFound",
            BOTH,
            World(|s, at| drop(s.buckets.remove(at.bucket))),
        ),
        case(
            "the source has no versioning",
            "SourceReady",
            "VersioningNotEnabled",
            BOTH,
            World(|s, _| source(s).versioning = Some(false)),
        ),
        case(
            "the destination has no versioning",
            "DestinationReady",
            "VersioningNotEnabled",
            BOTH,
            World(|s, at| destination(s, at).versioning = Some(false)),
        ),
        case(
            "the destination is Requester Pays",
            "DestinationReady",
            "RequesterPays",
            ACROSS,
            World(|s, at| destination(s, at).payer = "Requester".into()),
        ),
        case(
            "the source's owner is to own replicas, and the destination enforces its own",
            "DestinationReady",
            "OwnerNotPossible",
            ACROSS,
            Spec(|spec, _| spec["destination"]["owner"] = json!("Source")),
        ),
        case(
            "Object Lock is on for the source alone",
            "DestinationReady",
            "ObjectLockMissing",
            BOTH,
            World(|s, _| source(s).object_lock = true),
        ),
        case(
            "the source's policy denies",
            "SourceReady",
            "DeniedByBucketPolicy",
            BOTH,
            World(|s, _| {
                source(s).policy = Some(deny(
                    &Document::default(),
                    "arn:aws:s3:::source/*",
                    &json!("*"),
                ));
            }),
        ),
        case(
            "the destination's policy denies",
            "DestinationReady",
            "DeniedByBucketPolicy",
            BOTH,
            World(|s, at| {
                let found = destination(s, at);
                let stands = found.policy.clone().unwrap_or_default();
                found.policy = Some(deny(
                    &stands,
                    &format!("arn:aws:s3:::{}/T*", at.bucket),
                    &json!({"AWS": PROD}),
                ));
            }),
        ),
        case(
            "the source key's policy denies",
            "KeysReady",
            "DeniedByKeyPolicy",
            BOTH,
            World(|s, _| {
                let found = s
                    .keys
                    .get_mut(&key(PROD, "us-east-1", "src").to_string())
                    .unwrap();
                found.policy = deny(
                    &found.policy,
                    "*",
                    &json!({"AWS": "arn:aws:iam::111111111111:root"}),
                );
            }),
        ),
        case(
            "the replica key's policy denies",
            "KeysReady",
            "DeniedByKeyPolicy",
            BOTH,
            World(|s, at| {
                let found = replica_key(s, at);
                found.policy = deny(&found.policy, "*", &json!({"AWS": PROD}));
            }),
        ),
        case(
            "the source key is gone",
            "KeysReady",
            "KeyNotFound",
            BOTH,
            World(|s, _| drop(s.keys.remove(&key(PROD, "us-east-1", "src").to_string()))),
        ),
        case(
            "the replica key is gone",
            "KeysReady",
            "KeyNotFound",
            BOTH,
            World(|s, at| drop(s.keys.remove(&at.replica_key().to_string()))),
        ),
        case(
            "the source key is disabled",
            "KeysReady",
            "KeyNotUsable",
            BOTH,
            World(|s, _| {
                s.keys
                    .get_mut(&key(PROD, "us-east-1", "src").to_string())
                    .unwrap()
                    .state = "Disabled".into();
            }),
        ),
        case(
            "the replica key is to be deleted",
            "KeysReady",
            "KeyNotUsable",
            BOTH,
            World(|s, at| replica_key(s, at).state = "PendingDeletion".into()),
        ),
        case(
            "AWS manages the replica key",
            "KeysReady",
            "KeyManagedByAWS",
            ACROSS,
            World(|s, at| replica_key(s, at).managed_by_aws = true),
        ),
        case(
            "the replica key is in another Region",
            "KeysReady",
            "KeyInOtherRegion",
            BOTH,
            Spec(|spec, _| {
                spec["destination"]["kmsKey"] = json!(key(DR, "eu-west-1", "arc").to_string());
            }),
        ),
        case(
            "the replica key is of an unknown account",
            "KeysReady",
            "KeyAccountUnknown",
            BOTH,
            Spec(|spec, at| {
                let region = at.replica_key().region;
                spec["destination"]["kmsKey"] =
                    json!(format!("arn:aws:kms:{region}:999999999999:key/k"));
            }),
        ),
        case(
            "the source encrypts with KMS and no replica key is named",
            "KeysReady",
            "ReplicaKeyMissing",
            BOTH,
            Spec(|spec, _| {
                spec["destination"]
                    .as_object_mut()
                    .unwrap()
                    .remove("kmsKey");
                spec["source"].as_object_mut().unwrap().remove("kmsKeys");
            }),
        ),
        case(
            "the source's keys are not known",
            "KeysReady",
            "SourceKeysMissing",
            BOTH,
            World(|s, _| encrypt_by_default(source(s), None)),
        ),
        case(
            "the source's default key is not listed",
            "KeysReady",
            "DefaultKeyNotListed",
            BOTH,
            Spec(|spec, _| {
                spec["source"]["kmsKeys"] = json!([key(PROD, "us-east-1", "src2").to_string()]);
            }),
        ),
        case(
            "a policy in the destination may not be read",
            "DestinationReady",
            "AccessDenied",
            ACROSS,
            World(|s, _| deny_operator(s, "s3:GetBucketPolicy", DR)),
        ),
        case(
            "the destination's owner writes the bucket's policy",
            "DestinationReady",
            "BucketPolicyNeeded",
            ACROSS,
            Account(|_| [json!({}), json!({"policies": {"bucketPolicy": "Check"}})]),
        ),
        case(
            "the destination's owner writes the key's policy",
            "KeysReady",
            "KeyPolicyNeeded",
            ACROSS,
            Account(|_| [json!({}), json!({"policies": {"keyPolicy": "Check"}})]),
        ),
        case(
            "the permissions boundary is too narrow",
            "RoleReady",
            "BoundaryTooNarrow",
            BOTH,
            Account(|_| {
                [
                    json!({"roles": {"permissionsBoundaryARN": "arn:aws:iam::111111111111:policy/narrow"}}),
                    json!({}),
                ]
            }),
        ),
        case(
            "the permissions boundary does not exist",
            "RoleReady",
            "BoundaryTooNarrow",
            BOTH,
            Account(|_| {
                [
                    json!({"roles": {"permissionsBoundaryARN": "arn:aws:iam::111111111111:policy/none"}}),
                    json!({}),
                ]
            }),
        ),
        case(
            "no grant",
            "Accepted",
            "NotGranted",
            BOTH,
            Account(|_| [json!({"grants": []}), json!({})]),
        ),
        case(
            "a role of our name without our tags",
            "RoleReady",
            "RoleNotOurs",
            BOTH,
            World(|s, _| {
                delete_replication_roles(s);
                make_their_role(s);
                let mut theirs = replication_roles(s).next().unwrap().clone();
                let arn = "arn:aws:iam::111111111111:role/brepl-test-source-d74c4c7f";
                theirs.arn = arn.parse().unwrap();
                s.roles
                    .insert((PROD.parse().unwrap(), theirs.arn.name.to_string()), theirs);
            }),
        ),
        case(
            "a configuration under a foreign role",
            "ReplicationConfigured",
            "ForeignConfiguration",
            BOTH,
            World(|s, _| put_theirs(s, THEIR_ROLE, Some(Filter::new("theirs/", vec![])))),
        ),
        case(
            "an unmanaged rule with an element that S3 no longer accepts",
            "ReplicationConfigured",
            "ForeignRuleNotPreservable",
            BOTH,
            World(|s, _| {
                put_theirs(
                    s,
                    "arn:aws:iam::111111111111:role/brepl-test-source-d74c4c7f",
                    Some(Filter::new("theirs/", vec![])),
                );
                let rules = &mut source(s).replication.as_mut().unwrap().rules;
                let theirs = rules
                    .iter_mut()
                    .find(|rule| rule.id.as_deref() == Some("legacy"));
                theirs.unwrap().existing_object_replication = Some(Setting::new(false));
            }),
        ),
        case(
            "a configuration of another installation",
            "ReplicationConfigured",
            "OtherInstallation",
            BOTH,
            World(|s, _| {
                put_theirs(
                    s,
                    "arn:aws:iam::111111111111:role/brepl-other-source-d74c4c7f",
                    Some(Filter::new("theirs/", vec![])),
                );
            }),
        ),
    ]
}

fn set_accounts(cluster: &mut Cluster, extra: &[Value; 2]) {
    cluster.accounts[0] = account("prod", PROD, &extra[0]);
    cluster.accounts[1] = account("dr", DR, &extra[1]);
}

/// The ground, where the source encrypts by default with a key of its own, so that this default can be broken.
fn stage(at: &Place) -> (World, Cluster, Value) {
    let world = ground();
    world.edit(|state| {
        encrypt_by_default(source(state), Some(&key(PROD, "us-east-1", "src").to_string()));
        let narrow = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*"],"Resource":"*"}]}"#;
        add_policy(state, "arn:aws:iam::111111111111:policy/narrow", Document::parse(narrow).unwrap());
    });
    let mut object = at.object();
    // The key of the bucket's default encryption is used, so that it is looked at.
    object["source"].as_object_mut().unwrap().remove("kmsKeys");
    (world, Cluster::default(), object)
}

/// Breaks it, looks, mends it, looks again; gives what the object said.
async fn cell(case: &Case, at: &Place, after_ready: bool) -> String {
    let (world, mut cluster, good) = stage(at);
    let told = format!(
        "{}, {}, {}",
        case.name,
        at.bucket,
        if after_ready { "after" } else { "before" }
    );
    if after_ready {
        cluster.apply("tax", &good);
        cluster.settle(&world).await;
        assert_eq!(
            cluster.condition("tax", "Ready").0,
            "True",
            "{told}: {}",
            cluster.message("tax", "Ready")
        );
        cluster.pass(3_600);
    }
    let before = world.snapshot();
    let mut bad = good.clone();
    match &case.broken {
        Break::World(change) => world.edit(|state| change(state, at)),
        Break::Spec(change) => change(&mut bad, at),
        Break::Account(extra) => set_accounts(&mut cluster, &extra(at)),
    }
    cluster.apply("tax", &bad);
    world.set_faults(Faults::default());
    let asked = world.reads();
    cluster.settle(&world).await;
    let calls = world.reads() - asked;
    assert_ne!(
        cluster.condition("tax", "Ready").0,
        "True",
        "{told}: falsely ready"
    );
    assert_eq!(
        cluster.condition("tax", case.condition),
        ("False".into(), case.reason.into()),
        "{told}"
    );
    assert_eq!(cluster.condition("tax", "Ready").1, case.reason, "{told}");
    // What stands on the bucket already is read last, for the plan that such an object is told; Requester Pays with it, since it is rare.
    let needs_all = matches!(
        case.reason,
        "ForeignConfiguration"
            | "OtherInstallation"
            | "RoleNotOurs"
            | "RequesterPays"
            | "ForeignRuleNotPreservable"
    );
    assert!(
        world.writes() > 0 || calls <= if needs_all { 17 } else { 12 },
        "{told}: {calls} calls"
    );
    // A role may be made so that its owner can name it in a policy; a grant that is gone disables the rules.
    let writes = matches!(case.reason, "BucketPolicyNeeded" | "KeyPolicyNeeded")
        || (case.reason == "NotGranted" && after_ready);
    assert!(
        writes || world.writes() == 0,
        "{told}: {:?}",
        world.written.lock().unwrap()
    );
    let message = cluster.message("tax", case.condition);
    let actions = cluster.objects[&object_key("tax")].2.required_actions.len();
    match &case.broken {
        Break::World(_) => world.restore(before),
        Break::Spec(_) => {}
        Break::Account(_) => set_accounts(&mut cluster, &[json!({}), json!({})]),
    }
    cluster.apply("tax", &good);
    cluster.pass(3_600);
    cluster.settle(&world).await;
    assert_eq!(
        cluster.condition("tax", "Ready").0,
        "True",
        "{told}, mended: {}",
        cluster.message("tax", "Ready")
    );
    let required = if actions > 0 {
        format!(" ({actions} in status.requiredActions)")
    } else {
        String::new()
    };
    format!("{}={}{required}: {message}", case.condition, case.reason)
}

#[tokio::test]
async fn every_precondition_is_told_and_can_be_mended() {
    let mut text = String::from(
        "# What each broken precondition makes an object say; the same within one account and across two, before and after it was ready.\n",
    );
    let mut cells = 0;
    for case in cases() {
        let mut said: Vec<String> = vec![];
        for (at, _) in Place::ALL
            .iter()
            .zip(case.places)
            .filter(|(_, possible)| *possible)
        {
            // A statement that stands is right, whoever writes it from now on.
            for after_ready in [false, true]
                .into_iter()
                .filter(|after| !after || !case.reason.ends_with("PolicyNeeded"))
            {
                said.push(cell(&case, at, after_ready).await);
                cells += 1;
            }
        }
        writeln!(text, "\n== {}\n{}", case.name, said.last().unwrap()).unwrap();
    }
    assert!(cells >= 40, "{cells}");
    compare("tests/golden/preflight.txt", &text);
}

/// One line on what an object says.
fn says(cluster: &Cluster, what: &str, kind: &str) -> String {
    let (status, reason) = cluster.condition("tax", kind);
    format!(
        "\n== {what}\n{kind}={status} {reason}: {}\n",
        cluster.message("tax", kind)
    )
}

/// What AWS, other writers and people make an object say, beside broken preconditions.
/// One object that no grant allows stands beside another that worked until somebody denied it something: nothing is taken from either.
#[tokio::test]
async fn what_was_never_allowed_takes_nothing_from_others() {
    let at = &Place::ALL[1];
    let (world, mut cluster, object) = stage(at);
    let grants = json!([{
        "namespaces": {"matchLabels": {"team": "finance"}}, "kmsKeys": ["arn:aws:kms:*"],
        "sources": [{"bucket": "*", "prefixes": ["Tax"], "destinationAccountNames": ["dr"]}],
    }]);
    cluster.accounts[0] = account("prod", PROD, &json!({ "grants": grants }));
    cluster.apply("tax", &object);
    cluster.settle(&world).await;
    assert_eq!(
        cluster.condition("tax", "Ready").0,
        "True",
        "{}",
        cluster.message("tax", "Ready")
    );
    let mut greedy = object.clone();
    greedy["rules"] = json!([{"name": "all", "prefix": "Payroll"}]);
    cluster.apply("greedy", &greedy);
    cluster.settle(&world).await;
    assert_eq!(cluster.condition("greedy", "Ready").1, "NotGranted");
    let all = json!("*");
    world.edit(|state| {
        let found = destination(state, at);
        found.policy = Some(deny(
            found.policy.as_ref().unwrap(),
            "arn:aws:s3:::dest/*",
            &all,
        ));
    });
    let (before, writes) = (world.snapshot(), world.writes());
    cluster.restart();
    cluster.pass(7200);
    cluster.settle(&world).await;
    assert_eq!(cluster.condition("tax", "Ready").1, "DeniedByBucketPolicy");
    assert_eq!(world.writes(), writes);
    assert_eq!(comparable(&world.snapshot()), comparable(&before));
}

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "a table")]
async fn every_other_answer_is_told() {
    let mut text = String::from(
        "# What an object says of what AWS answers, and of what its spec and the accounts say.\n",
    );
    let at = &Place::ALL[1];
    let answers = [
        (
            "AWS asks to slow down",
            "PutReplication",
            FailureKind::Throttled,
            "AWSUnavailable",
        ),
        (
            "AWS gives no answer",
            "CreateRole",
            FailureKind::Transient,
            "AWSUnavailable",
        ),
        (
            "AWS does not take a document",
            "PutBucketPolicy",
            FailureKind::Invalid,
            "RefusedByAWS",
        ),
        (
            "the operator has no credentials",
            "CreateRole",
            FailureKind::NoCredentials,
            "NoCredentials",
        ),
        (
            "a policy of the organization denies",
            "CreateRole",
            FailureKind::DeniedByOrganization,
            "DeniedByOrganization",
        ),
        (
            "a permission is missing",
            "PutKeyPolicy",
            FailureKind::Denied,
            "AccessDenied",
        ),
    ];
    for (what, step, kind, reason) in answers {
        let (world, mut cluster, object) = stage(at);
        world.fail(step, kind);
        cluster.apply("tax", &object);
        cluster.visit(&world).await;
        cluster.pass(30);
        cluster.visit(&world).await;
        text.push_str(&says(&cluster, what, "Ready"));
        assert_eq!(cluster.condition("tax", "Ready").1, reason, "{what}");
        if step == "CreateRole" && reason == "AWSUnavailable" {
            text.push_str(&says(
                &cluster,
                "and what comes after it",
                "DestinationReady",
            ));
        }
        world.mend();
        cluster.pass(600);
        cluster.settle(&world).await;
        assert_eq!(cluster.condition("tax", "Ready").0, "True", "{what}");
        for (kind, reason) in [
            (FailureKind::Throttled, "Deleting"),
            (FailureKind::Denied, "DeletionBlocked"),
        ] {
            if step == "PutReplication" {
                world.fail("DeleteReplication", kind);
                cluster.delete("tax");
                cluster.visit(&world).await;
                text.push_str(&says(&cluster, "and while it is deleted", "Ready"));
                assert_eq!(cluster.condition("tax", "Ready").1, reason);
            }
        }
    }
    let specs: [(&str, Value, &str); 3] = [
        (
            "a prefix with a wildcard",
            json!([{"name": "tax", "prefix": "Tax*"}]),
            "InvalidSpec",
        ),
        (
            "an AWSAccount that does not exist",
            json!("unknown"),
            "AccountNotFound",
        ),
        (
            "an AWSAccount that came second for its account",
            json!("second"),
            "AccountNotReady",
        ),
    ];
    for (what, value, reason) in specs {
        let (world, mut cluster, mut object) = stage(at);
        cluster.accounts.push(account("second", DR, &json!({})));
        if value.is_array() {
            object["rules"] = value;
        } else {
            object["destination"]["accountName"] = value;
        }
        cluster.apply("tax", &object);
        cluster.settle(&world).await;
        text.push_str(&says(&cluster, what, "Accepted"));
        assert_eq!(
            (cluster.condition("tax", "Ready").1.as_str(), world.writes()),
            (reason, 0),
            "{what}"
        );
    }
    let (world, mut cluster, object) = stage(at);
    world.edit(|state| {
        put_theirs(
            state,
            "arn:aws:iam::111111111111:role/brepl-test-source-d74c4c7f",
            Some(Filter::new("theirs/", vec![])),
        );
    });
    world.set_unknown(vec![UnknownElement {
        rule: Some("legacy".into()),
        path: "Pace".into(),
    }]);
    cluster.apply("tax", &object);
    cluster.settle(&world).await;
    text.push_str(&says(
        &cluster,
        "a foreign rule holds an element that is not known",
        "ReplicationConfigured",
    ));
    assert_eq!(
        cluster.condition("tax", "Ready").1,
        "ForeignRuleNotPreservable"
    );

    let (world, mut cluster, mut object) = stage(at);
    let rules: Vec<_> =
        (0..100).map(|number| json!({"name": format!("r{number}"), "prefix": format!("{number}/{}", "x".repeat(900))})).collect();
    object["rules"] = json!(rules);
    cluster.apply("tax", &object);
    cluster.settle(&world).await;
    text.push_str(&says(&cluster, "more than a policy holds", "Ready"));
    assert_eq!(
        (cluster.condition("tax", "Ready").1.as_str(), world.writes()),
        ("LimitExceeded", 0)
    );

    let (world, mut cluster, object) = stage(at);
    let theirs = world.snapshot().buckets["dest"].policy.clone();
    cluster.apply("tax", &object);
    for _ in 0..40 {
        world.edit(|state| {
            state
                .buckets
                .get_mut("dest")
                .unwrap()
                .policy
                .clone_from(&theirs);
        });
        cluster.visit(&world).await;
        cluster.pass(30);
    }
    text.push_str(&says(
        &cluster,
        "another writer reverts what is put right",
        "Ready",
    ));
    assert_eq!(cluster.condition("tax", "Ready").1, "Contended");
    compare("tests/golden/answers.txt", &text);
}
