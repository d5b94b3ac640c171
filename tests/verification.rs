//! Canaries on the strict AWS: `Verified` is True if and only if S3 replicates, names what is missing, and nothing of a canary is left.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on has failed"
)]

#[path = "judged/mod.rs"]
mod ground;
mod support;
#[allow(dead_code, reason = "another test binary uses the rest")]
#[path = "preconditions/table.rs"]
mod table;

use std::{
    collections::BTreeSet,
    fmt::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bucket_replication_operator::{
    api::verification::{CanaryStatus, Verified},
    cloud::own_policy,
    controller::verify::{CanariesOf, Record, Verifying, verify},
    replication::{
        accounts::Accounts,
        evaluation::{Caller, Context, Request, Resource, Truth},
        policy::Document,
        validate::validate,
        verification::{FOLDER, Memory, wanted},
    },
};
use ground::Judged;
use jiff::Timestamp;
use serde_json::{Value, json};
use strict_aws::weather::{Fault, FaultKind, Outage, Weather};
use support::{
    cluster::{DR, PROD, installation, key, object_key, spec},
    golden::compare,
};
use table::{Precondition, preconditions};

/// An object with canaries, and what is remembered of them.
struct Canaries {
    judged: Judged,
    memory: Memory,
    /// What the API server has, also if the process that wrote it ends.
    recorded: Arc<Mutex<Verified>>,
    /// Whether the API server accepts statuses.
    accepts: AtomicBool,
}

struct Status<'a> {
    verified: Arc<Mutex<Verified>>,
    accepts: &'a AtomicBool,
}

impl Record for Status<'_> {
    async fn record(&self, verified: &Verified) -> bool {
        if !self.accepts.load(Ordering::Relaxed) {
            return false;
        }
        *self.verified.lock().unwrap() = verified.clone();
        true
    }
}

/// The object of the table of preconditions, with a canary every hour.
fn object() -> Value {
    let mut object = table::object();
    object["verification"] = json!({"canary": {"interval": "1h", "timeout": "15m"}});
    object
}

impl Canaries {
    async fn ready(roles: &Value, object: &Value) -> Self {
        let mut judged = Judged::with_canaries(roles);
        judged.cluster.apply("tax", object);
        assert!(judged.settle().await);
        let said = judged.cluster.message("tax", "Ready");
        assert_eq!(
            judged.cluster.condition("tax", "Ready").1,
            "Ready",
            "{said}"
        );
        Self::of(judged)
    }

    fn of(judged: Judged) -> Self {
        Self {
            judged,
            memory: Memory::default(),
            recorded: Arc::default(),
            accepts: AtomicBool::new(true),
        }
    }

    fn now(&self) -> Timestamp {
        *self.judged.cluster.clock.lock().unwrap()
    }

    /// One visit to the canaries; when the next is due.
    async fn visit(&mut self) -> Option<Timestamp> {
        let cloud = self.judged.cloud();
        let visit = self.judged.cluster.subject();
        let name = object_key("tax");
        let object = visit.objects.iter().find(|object| object.key == name);
        let mut object = object.unwrap().clone();
        object.verified = self.verified();
        let accounts = Accounts::new(&self.judged.cluster.accounts);
        let valid = validate(&object, &accounts);
        let wanted = wanted(
            &object,
            valid.as_ref().map_err(Vec::as_slice),
            &installation(),
            &accounts,
        );
        let status = Status {
            verified: Arc::clone(&self.recorded),
            accepts: &self.accepts,
        };
        let installation = installation();
        let verifying = Verifying {
            of: CanariesOf {
                object: &name,
                source: &visit.source,
                installation: &installation,
            },
            generation: object.generation,
            wanted: &wanted,
            request: &object.verify,
            visit: &|| visit.clone(),
        };
        let clock = || *self.judged.cluster.clock.lock().unwrap();
        let mut memory = std::mem::take(&mut self.memory);
        let recorded = object.verified.clone();
        let due = verify(&cloud, &status, verifying, &mut memory, recorded, clock);
        let due = Box::pin(due).await;
        self.memory = memory;
        due
    }

    fn verified(&self) -> Verified {
        self.recorded.lock().unwrap().clone()
    }

    fn condition(&self) -> (String, String, String) {
        self.verified()
            .condition()
            .map(|verified| {
                (
                    verified.status.clone(),
                    verified.reason.clone(),
                    verified.message.clone(),
                )
            })
            .unwrap_or_default()
    }

    /// Visits until a round ends, with time passing in between. At most an hour passes.
    async fn round(&mut self) -> (String, String, String) {
        let began = self.now();
        loop {
            let due = self.visit().await;
            let Some(due) = due else {
                return self.condition();
            };
            let idle = self.verified().canaries().is_empty() && !self.condition().0.is_empty();
            let passed = self.now().duration_since(began).as_secs();
            let soon = due.duration_since(self.now()).as_secs();
            if (idle && soon > 5) || passed > 3600 {
                return self.condition();
            }
            self.judged.cluster.pass(soon.max(1));
        }
    }

    /// The next round, when it is due.
    async fn next_round(&mut self) -> (String, String, String) {
        self.judged.cluster.pass(3600);
        self.round().await
    }

    /// What of canaries exists in any bucket, of all versions.
    fn leftovers(&self) -> Vec<String> {
        self.judged.aws.with(|state| {
            let mut left = vec![];
            for (name, bucket) in &state.buckets {
                for (key, versions) in &bucket.objects {
                    if key.contains(FOLDER) && !versions.is_empty() {
                        left.push(format!("{name}/{key}"));
                    }
                }
            }
            left
        })
    }
}

#[tokio::test]
async fn a_canary_of_each_rule_is_replicated_found_and_removed() {
    let mut object = object();
    object["rules"] = json!([
        {"name": "tax", "prefix": "Tax/", "tags": {"class": "a b/ü"}},
        {"name": "legal", "prefix": "Legal/"},
        {"name": "off", "prefix": "Off/", "state": "Disabled"},
    ]);
    let mut canaries = Canaries::ready(&json!({}), &object).await;
    let _ = canaries.judged.aws.take_calls();
    let (status, reason, message) = canaries.round().await;
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("True", "Verified"),
        "{message}"
    );
    assert_eq!(message, "S3 replicated all 2 canaries within 1s");
    assert_eq!(canaries.leftovers(), Vec::<String>::new());
    let found = canaries.verified().verification.unwrap();
    assert_eq!(found.lag.as_deref(), Some("1s"));
    assert!(found.last_verified_time.is_some() && found.canaries.is_empty());
    let calls = canaries.judged.aws.take_calls();
    let of = |operation: &str| {
        calls
            .iter()
            .filter(|call| call.operation == operation)
            .count()
    };
    assert_eq!(of("s3:PutObject"), 2, "{calls:#?}");
    assert!(
        calls.len() <= 3 + 2 * 8,
        "{} calls: {calls:#?}",
        calls.len()
    );

    // Until the next is due, nothing is called and nothing written.
    canaries.judged.cluster.pass(3_000);
    let before = canaries.verified();
    let due = canaries.visit().await.unwrap();
    assert!(due > canaries.now());
    assert_eq!(canaries.judged.aws.take_calls().len(), 0);
    assert_eq!(canaries.verified(), before);
}

/// Whether S3 replicates an object as the canary is.
fn replicates(judged: &Judged) -> bool {
    let source = key(PROD, "us-east-1", "src").to_string();
    let usable = judged.aws.with(|state| {
        let bucket = state.buckets.get("source");
        let key = state.keys.get(&source);
        bucket.is_some() && key.is_some_and(|key| key.state == "Enabled")
    });
    let kms = ("x-amz-server-side-encryption", "aws:kms");
    let id = (
        "x-amz-server-side-encryption-aws-kms-key-id",
        source.as_str(),
    );
    usable && judged.upload("Tax/as-a-canary", &[kms, id]).0 == Some("COMPLETED")
}

/// What `Verified` says while a precondition is broken.
async fn broken(precondition: &Precondition) -> Result<String, String> {
    let Precondition { what, .. } = precondition;
    let mut judged = Judged::with_canaries(&precondition.roles);
    judged.cluster.edit_account("dr", |spec| {
        spec["policies"] = precondition.policies.clone();
    });
    (precondition.before)(&judged);
    judged.cluster.apply("tax", &object());
    judged.settle().await;
    table::own(&judged, &precondition.policies);
    judged.settle().await;
    let mut canaries = Canaries::of(judged);
    let first = canaries.round().await;
    if first.0 != "True" {
        return Err(format!("{what}: at first {first:?}"));
    }
    let right = canaries.judged.aws.with(|state| state.clone());
    (precondition.breaks)(&canaries.judged);
    let (status, reason, message) = canaries.next_round().await;
    let replicates = replicates(&canaries.judged);
    // The canary itself can't be uploaded where the bucket is gone or its key can't be used: then it is not known.
    let is_right = match status.as_str() {
        "True" => replicates,
        "False" => !replicates && !message.contains("nothing is missing"),
        _ => !replicates && reason != "Verifying",
    };
    if !is_right {
        return Err(format!(
            "{what}: S3 replicates: {replicates}, and Verified is {status} {reason}: {message}"
        ));
    }
    canaries.judged.aws.with(|state| *state = right);
    let mut mended = canaries.next_round().await;
    // What could not be removed before the mending is first.
    if mended.0 != "True" {
        mended = canaries.next_round().await;
    }
    if mended.0 != "True" {
        return Err(format!("{what}: mended, {mended:?}"));
    }
    match canaries.leftovers() {
        left if left.is_empty() => Ok(format!("{what}: {status} {reason}: {message}\n")),
        left => Err(format!("{what}: left {left:?}")),
    }
}

#[tokio::test]
async fn verified_is_true_if_and_only_if_s3_replicates() {
    let (mut said, mut wrong, mut tried) = (String::new(), vec![], 0);
    for precondition in preconditions() {
        // Those that a change of the object breaks make it another one.
        let mut edited = table::object();
        (precondition.edit)(&mut edited);
        if precondition.when.1 && edited == table::object() {
            tried += 1;
            match broken(&precondition).await {
                Ok(line) => said.push_str(&line),
                Err(error) => wrong.push(error),
            }
        }
    }
    assert!(tried > 40, "{tried}");
    assert!(
        wrong.is_empty(),
        "{} of {tried}:\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
    compare("tests/golden/canaries/broken.txt", &said);
}

/// The policies of role, destination and keys, by name, with what changes them.
fn policies(judged: &Judged) -> Vec<(String, Document)> {
    let account = PROD.parse().unwrap();
    judged.aws.with(|state| {
        let mut all = vec![];
        for ((owner, name), role) in &state.roles {
            if *owner == account && name.starts_with("brepl-") {
                let inline = role.inline.iter();
                all.extend(
                    inline.map(|(policy, document)| (format!("{name}/{policy}"), document.clone())),
                );
            }
        }
        let destination = state.buckets["dest"].policy.clone().unwrap();
        all.push(("dest".to_owned(), destination));
        for id in [key(PROD, "us-east-1", "src"), key(DR, "us-west-2", "dst")] {
            all.push((id.to_string(), state.keys[&id.to_string()].policy.clone()));
        }
        all
    })
}

fn set_policy(judged: &Judged, place: &str, document: Document) {
    judged.aws.with(|state| match place.split_once('/') {
        Some((role, policy)) if !place.starts_with("arn:") => {
            let account = PROD.parse().unwrap();
            let role = state.roles.get_mut(&(account, role.to_owned())).unwrap();
            role.inline.insert(policy.to_owned(), document);
        }
        _ => match state.keys.get_mut(place) {
            Some(key) => key.policy = document,
            None => state.buckets.get_mut(place).unwrap().policy = Some(document),
        },
    });
}

/// Each action of role, bucket policy and key policies, taken away in turn. The statement of a key's account delegates to IAM: what it allows the
/// role is taken away from it as well.
#[tokio::test]
async fn each_single_permission_that_is_taken_away_is_named() {
    let mut canaries = Canaries::ready(&json!({}), &object()).await;
    let right = canaries.judged.aws.with(|state| state.clone());
    let (mut tried, mut failing, mut wrong) = (0, 0, vec![]);
    for (place, document) in policies(&canaries.judged) {
        let json = document.json();
        let mut actions = BTreeSet::new();
        for statement in json["Statement"].as_array().unwrap() {
            let listed = match &statement["Action"] {
                Value::String(all) if all == "kms:*" => vec![
                    json!("kms:Decrypt"),
                    json!("kms:Encrypt"),
                    json!("kms:GenerateDataKey"),
                ],
                Value::Array(actions) => actions.clone(),
                one => vec![one.clone()],
            };
            actions.extend(
                listed
                    .iter()
                    .map(|action| action.as_str().unwrap().to_owned()),
            );
        }
        for action in actions {
            canaries.judged.aws.with(|state| *state = right.clone());
            let mut without = json.clone();
            for statement in without["Statement"].as_array_mut().unwrap() {
                let mut listed = match statement["Action"].take() {
                    Value::String(all) if all == "kms:*" => [
                        "DescribeKey",
                        "GetKeyPolicy",
                        "PutKeyPolicy",
                        "Decrypt",
                        "Encrypt",
                        "GenerateDataKey",
                    ]
                    .map(|name| json!(format!("kms:{name}")))
                    .to_vec(),
                    Value::Array(actions) => actions,
                    one => vec![one],
                };
                listed.retain(|listed| *listed != action.as_str());
                statement["Action"] = json!(listed);
            }
            without["Statement"]
                .as_array_mut()
                .unwrap()
                .retain(|statement| statement["Action"] != json!([]));
            set_policy(
                &canaries.judged,
                &place,
                support::in_process::document(without),
            );
            tried += 1;
            let (status, reason, message) = canaries.next_round().await;
            // Without it, no one can upload an object with that key.
            let uploads = action == "kms:GenerateDataKey" && place.ends_with("key/src");
            let replicated = !uploads && replicates(&canaries.judged);
            let names = message.contains(action.as_str());
            let is_right = match status.as_str() {
                "True" => replicated,
                "False" => !replicated && names,
                _ => reason == "AccessDenied" && names && uploads,
            };
            failing += usize::from(status == "False");
            if !is_right {
                wrong.push(format!(
                    "{action} of {place}: S3 replicates: {replicated}; {status} {reason}: {message}"
                ));
            }
        }
    }
    assert!(
        tried > 15 && failing > 8,
        "{tried} tried, {failing} failing"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    canaries.judged.aws.with(|state| *state = right);
    assert_eq!(canaries.next_round().await.0, "True");
    assert_eq!(canaries.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_replica_of_another_owner_is_no_proof() {
    let mut object = object();
    object["destination"]["owner"] = json!("Destination");
    let mut canaries = Canaries::ready(&json!({}), &object).await;
    assert_eq!(canaries.round().await.0, "True");
    canaries.judged.aws.with(|state| {
        state.buckets.get_mut("dest").unwrap().ownership = "ObjectWriter".to_owned();
        let source = state.buckets.get_mut("source").unwrap();
        for rule in &mut source.replication.as_mut().unwrap().rules {
            rule.destination.access_control_translation = None;
        }
    });
    let (status, reason, message) = canaries.next_round().await;
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("False", "ReplicaDiffers"),
        "{message}"
    );
    let said = format!("the owner is not changed: {status} {reason}: {message}\n");
    compare("tests/golden/canaries/owner.txt", &said);
    assert_eq!(canaries.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn pending_is_unknown_and_no_other_canary_is_uploaded_meanwhile() {
    let mut canaries = Canaries::ready(&json!({}), &object()).await;
    // S3 can't reach the Region, and the operator can.
    canaries.judged.aws.set_weather(Weather {
        outages: vec![Outage {
            region: Some("us-west-2".to_owned()),
            account: Some("s3".to_owned()),
            ..Outage::default()
        }],
        ..Weather::default()
    });
    canaries.visit().await;
    canaries.judged.cluster.pass(60);
    canaries.visit().await;
    let (status, _, message) = canaries.condition();
    assert_eq!(
        (status.as_str(), message.as_str()),
        ("Unknown", "a canary is on its way")
    );
    canaries.judged.cluster.pass(20 * 60);
    canaries.visit().await;
    let (status, reason, message) = canaries.condition();
    assert_eq!((status.as_str(), reason.as_str()), ("Unknown", "Verifying"));
    let said = format!("S3 can't reach a Region: {status} {reason}: {message}\n");
    compare("tests/golden/canaries/pending.txt", &said);
    canaries.judged.cluster.pass(3 * 3600);
    let _ = canaries.judged.aws.take_calls();
    canaries.visit().await;
    let puts = canaries.judged.aws.take_calls();
    assert!(
        puts.iter().all(|call| call.operation != "s3:PutObject"),
        "{puts:#?}"
    );

    canaries.judged.aws.set_weather(Weather::default());
    assert_eq!(canaries.next_round().await.0, "True");
    assert_eq!(canaries.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_failing_destination_of_another_object_is_none_of_this_ones() {
    let mut canaries = Canaries::ready(&json!({}), &object()).await;
    let other = spec(
        ("prod", "backup"),
        None,
        &json!({"rules": [{"name": "legal", "prefix": "Legal"}], "source": {
            "accountName": "prod", "bucket": "source", "sseKMSObjects": "Skip",
        }}),
    );
    canaries.judged.cluster.apply("legal", &other);
    assert!(canaries.judged.settle().await);
    canaries.judged.aws.with(|state| {
        state.buckets.get_mut("backup").unwrap().versioning = Some(false);
    });
    assert_eq!(canaries.judged.upload("Legal/a", &[]).0, Some("FAILED"));
    let (status, _, message) = canaries.round().await;
    assert_eq!(status, "True", "{message}");
}

#[tokio::test]
async fn what_canaries_can_not_be_for_is_refused_and_nothing_is_uploaded() {
    type Case = (
        &'static str,
        fn(&mut Canaries, &mut Value),
        &'static str,
        &'static str,
    );
    let retention = json!({"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}});
    let retains = |canaries: &Canaries, name: &str, rule: Value| {
        canaries.judged.aws.with(|state| {
            let bucket = state.buckets.get_mut(name).unwrap();
            (bucket.object_lock, bucket.retention) = (true, Some(rule));
        });
    };
    let cases: [Case; 5] = [
        (
            "a rule of another object",
            |canaries, _| {
                let other = spec(
                    ("prod", "backup"),
                    None,
                    &json!({"source": {"accountName": "prod", "bucket": "source", "sseKMSObjects": "Skip"}}),
                );
                canaries.judged.cluster.apply("all", &other);
            },
            "OverlappingRules",
            "selects the canary of rule tax",
        ),
        (
            "a long prefix",
            |_, object| object["rules"][0]["prefix"] = json!(format!("Tax{}", "x".repeat(1000))),
            "InvalidSpec",
            "S3 allows 1024",
        ),
        (
            "no enabled rule",
            |_, object| object["rules"][0]["state"] = json!("Disabled"),
            "InvalidSpec",
            "no rule of the object is enabled",
        ),
        (
            "no grant at the destination",
            |canaries, _| {
                canaries.judged.cluster.edit_account("dr", |spec| {
                    spec["grants"][0]["allow"] = json!([]);
                });
            },
            "NotGranted",
            "no grant of AWSAccount dr allows this namespace to ask for Canary (allow) with bucket dest: ask #storage",
        ),
        (
            "a duration that is none",
            |_, object| object["verification"]["canary"]["interval"] = json!("hourly"),
            "InvalidSpec",
            "spec.verification.canary.interval: hourly is no duration",
        ),
    ];
    let (mut said, mut wrong, mut tried) = (String::new(), vec![], 0);
    let mut judge = |canaries: &Canaries, what: &str, expected: &str, says: &str| {
        tried += 1;
        let (status, reason, message) = canaries.condition();
        writeln!(said, "{what}: {status} {reason}: {message}").unwrap();
        let calls = canaries.judged.aws.take_calls();
        let uploads = calls.iter().any(|call| call.operation == "s3:PutObject");
        let is_ready = canaries.judged.cluster.condition("tax", "Ready").1 == "Ready";
        if status != "Unknown"
            || reason != expected
            || !message.contains(says)
            || uploads
            || !is_ready
        {
            wrong.push(format!(
                "{what}: {status} {reason} {message}, uploads {uploads}, ready {is_ready}"
            ));
        }
    };
    for (what, change, reason, says) in cases {
        let mut object = object();
        let mut canaries = Canaries::of(Judged::with_canaries(&json!({})));
        change(&mut canaries, &mut object);
        canaries.judged.cluster.apply("tax", &object);
        canaries.judged.settle().await;
        canaries.round().await;
        judge(&canaries, what, reason, says);
    }
    for name in ["source", "dest"] {
        let mut canaries = Canaries::ready(&json!({}), &object()).await;
        retains(&canaries, name, retention.clone());
        canaries.round().await;
        judge(
            &canaries,
            name,
            "DefaultRetention",
            &format!("bucket {name} has default retention"),
        );
    }
    assert!(
        wrong.is_empty(),
        "{} of {tried}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    compare("tests/golden/canaries/refused.txt", &said);
}

#[tokio::test]
async fn canaries_stop_with_the_wish_and_nothing_is_left() {
    let mut canaries = Canaries::ready(&json!({}), &object()).await;
    canaries.visit().await;
    canaries.judged.cluster.pass(1);
    assert_eq!(canaries.leftovers().len(), 2, "the canary and its replica");
    let without = table::object();
    canaries.judged.cluster.apply("tax", &without);
    canaries.round().await;
    assert_eq!(canaries.leftovers(), Vec::<String>::new());
    assert_eq!(canaries.verified(), Verified::default());
    let _ = canaries.judged.aws.take_calls();
    canaries.judged.cluster.pass(7200);
    assert_eq!(canaries.visit().await, None);
    assert_eq!(canaries.judged.aws.take_calls().len(), 0);
}

/// Kills after random calls, writes of the status that are lost, and edits in between: in the end, nothing of any canary is left.
#[tokio::test(start_paused = true)]
async fn nothing_is_left_after_200_crashes() {
    let mut judged = Judged::with_canaries(&json!({}));
    judged.cluster.apply("tax", &object());
    assert!(judged.settle().await);
    let mut canaries = Canaries::of(judged);
    let (mut crashes, mut seed, mut most) = (0, 7_u64, 0);
    let mut random = |below: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    while crashes < 200 {
        let delay = Fault {
            operation: "*".to_owned(),
            after: random(9),
            times: 1,
            kind: FaultKind::Delay(3_600_000),
            ..Fault::default()
        };
        canaries.judged.aws.set_weather(Weather {
            faults: vec![delay],
            ..Weather::default()
        });
        canaries.accepts.store(random(8) != 0, Ordering::Relaxed);
        for _ in 0..6 {
            let visit = tokio::time::timeout(Duration::from_secs(2), canaries.visit());
            if visit.await.is_err() {
                crashes += 1;
                canaries.memory = Memory::default();
                break;
            }
            canaries.judged.cluster.pass(1);
        }
        most = most.max(canaries.leftovers().len());
        if random(10) == 0 {
            let mut edited = object();
            edited["rules"][0]["prefix"] = json!(format!("Tax/{}", random(3)));
            canaries.judged.cluster.apply("tax", &edited);
            canaries.judged.aws.set_weather(Weather::default());
            canaries.judged.settle().await;
        }
        canaries
            .judged
            .cluster
            .pass(i64::try_from(random(4000)).unwrap());
    }
    assert!(most >= 2, "crashes left something in between");
    canaries.judged.aws.set_weather(Weather::default());
    canaries.accepts.store(true, Ordering::Relaxed);
    canaries.judged.settle().await;
    let (status, _, message) = canaries.next_round().await;
    assert_eq!(status, "True", "{message}");
    assert_eq!(canaries.leftovers(), Vec::<String>::new());
}

/// The rules in S3 are those of the former spec until the object is ready again.
#[tokio::test]
async fn an_edited_object_has_no_canaries_before_it_is_ready_for_its_new_spec() {
    let mut canaries = Canaries::ready(&json!({}), &object()).await;
    assert_eq!(canaries.round().await.0, "True");
    canaries.judged.cluster.pass(600);
    let mut edited = object();
    edited["destination"] = json!({"accountName": "prod", "bucket": "backup", "kmsKey": key(PROD, "us-east-1", "bkp").to_string()});
    canaries.judged.cluster.apply("tax", &edited);
    let _ = canaries.judged.aws.take_calls();
    for _ in 0..20 {
        canaries.visit().await;
        canaries.judged.cluster.pass(10);
    }
    let (status, reason, _) = canaries.condition();
    assert_eq!((status.as_str(), reason.as_str()), ("Unknown", "Verifying"));
    let calls = canaries.judged.aws.take_calls();
    assert_eq!(calls.len(), 0, "{calls:#?}");
    assert!(canaries.judged.settle().await);
    assert_eq!(canaries.round().await.0, "True");
    assert_eq!(canaries.leftovers(), Vec::<String>::new());

    // One that can't be ready is not verified by the rules before it.
    let mut missing = edited.clone();
    missing["destination"]["kmsKey"] = json!(key(PROD, "us-east-1", "none").to_string());
    canaries.judged.cluster.apply("tax", &missing);
    canaries.judged.settle().await;
    canaries.judged.cluster.pass(3600);
    assert_ne!(canaries.round().await.0, "True");
}

#[tokio::test]
async fn a_retained_rule_of_the_same_name_is_not_the_objects_own() {
    let mut retained = object();
    retained["deletionPolicy"] = json!("Retain");
    let mut canaries = Canaries::ready(&json!({}), &retained).await;
    canaries.judged.cluster.delete("tax");
    canaries.judged.settle().await;
    assert!(canaries.judged.cluster.objects.is_empty());
    let mut next = object();
    next["destination"] = json!({"accountName": "prod", "bucket": "backup", "kmsKey": key(PROD, "us-east-1", "bkp").to_string()});
    canaries.judged.cluster.apply("tax", &next);
    assert!(canaries.judged.settle().await);
    assert_eq!(canaries.judged.cluster.condition("tax", "Ready").1, "Ready");
    let (status, reason, message) = canaries.round().await;
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("Unknown", "OverlappingRules"),
        "{message}"
    );
    assert_eq!(canaries.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn what_others_remove_says_nothing_and_the_next_canary_does() {
    for (bucket, says) in [
        ("dest", "something removes objects there"),
        ("source", "someone removed it"),
    ] {
        let mut canaries = Canaries::ready(&json!({}), &object()).await;
        assert_eq!(canaries.round().await.0, "True");
        canaries.judged.cluster.pass(3600);
        canaries.visit().await;
        canaries.judged.aws.with(|state| {
            // S3 has replicated it already; of the source bucket, both are gone.
            for name in ["dest", bucket] {
                let found = state.buckets.get_mut(name).unwrap();
                found.objects.retain(|key, _| !key.contains(FOLDER));
            }
        });
        let (status, reason, message) = canaries.round().await;
        assert_eq!(
            (status.as_str(), reason.as_str()),
            ("Unknown", "Verifying"),
            "{message}"
        );
        assert!(message.contains(says), "{message}");
        assert_eq!(canaries.next_round().await.0, "True");
        assert_eq!(canaries.leftovers(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_replica_that_the_source_owns_is_enough_if_that_is_asked_for() {
    let mut object = object();
    object["destination"]["owner"] = json!("Source");
    let mut judged = Judged::with_canaries(&json!({}));
    judged.aws.with(|state| {
        state.buckets.get_mut("dest").unwrap().ownership = "ObjectWriter".to_owned();
    });
    judged.cluster.apply("tax", &object);
    assert!(judged.settle().await);
    let mut canaries = Canaries::of(judged);
    let (status, _, message) = canaries.round().await;
    assert_eq!(status, "True", "{message}");
}

/// A status that someone else wrote is no reason to remove anything but the object's own canaries.
#[tokio::test]
async fn what_a_status_names_beside_canaries_of_the_object_is_not_removed() {
    let mut canaries = Canaries::ready(&json!({}), &object()).await;
    assert_eq!(
        canaries.judged.upload("Tax/2026.csv", &[]).0,
        Some("COMPLETED")
    );
    for name in [
        "Tax/2026.csv",
        "Tax/.bucketops-canary/test/legal/other/all-0",
    ] {
        let mut forged = canaries.verified();
        let mut status = forged.verification.unwrap_or_default();
        status.canaries = vec![CanaryStatus {
            rule: "tax".to_owned(),
            key_name: name.to_owned(),
            source_region: "us-east-1".to_owned(),
            destination_bucket: "dest".to_owned(),
            destination_account_id: DR.to_owned(),
            destination_region: "us-west-2".to_owned(),
        }];
        forged.verification = Some(status);
        *canaries.recorded.lock().unwrap() = forged;
        let _ = canaries.judged.aws.take_calls();
        assert_eq!(canaries.next_round().await.0, "True");
        let calls = canaries.judged.aws.take_calls();
        let touched = calls.iter().filter(|call| call.path.ends_with(name));
        assert_eq!(touched.count(), 0, "{name}: {calls:#?}");
    }
    assert_eq!(canaries.judged.status("Tax/2026.csv").0, Some("COMPLETED"));
}

/// `Canary` counts in the grants that name the bucket, and in no others.
#[tokio::test]
async fn a_grant_allows_canaries_in_the_buckets_that_it_names() {
    let mut canaries = Canaries::ready(&json!({}), &object()).await;
    for account in ["prod", "dr"] {
        canaries.judged.cluster.edit_account(account, |spec| {
            let mut other = spec["grants"][0].clone();
            other["sources"] = json!([{"bucket": "scratch-*"}]);
            other["destinations"] = json!([{"bucket": "scratch-*"}]);
            spec["grants"][0]["allow"] = json!([]);
            spec["grants"].as_array_mut().unwrap().push(other);
        });
    }
    let (status, reason, message) = canaries.round().await;
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("Unknown", "NotGranted"),
        "{message}"
    );
    assert!(message.contains("with bucket source"), "{message}");
}

#[tokio::test]
async fn a_region_that_does_not_answer_is_no_proof_of_anything() {
    let mut canaries = Canaries::ready(&json!({}), &object()).await;
    canaries.judged.aws.set_weather(Weather {
        outages: vec![Outage {
            region: Some("us-west-2".to_owned()),
            ..Outage::default()
        }],
        ..Weather::default()
    });
    let (status, reason, _) = canaries.round().await;
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("Unknown", "AWSUnavailable")
    );
    canaries.judged.aws.set_weather(Weather::default());
    assert_eq!(canaries.next_round().await.0, "True");
}

/// Without any of the actions that `iam-policy` prints for canaries, `Verified` is unknown and names it.
#[tokio::test]
async fn every_action_on_canaries_is_needed() {
    let source = [
        "s3:PutObject",
        "s3:PutObjectTagging",
        "s3:GetObjectVersion",
        "s3:DeleteObjectVersion",
        "s3:ListBucketVersions",
        "kms:GenerateDataKey",
    ];
    let destination = [
        "s3:GetObjectVersion",
        "s3:DeleteObjectVersion",
        "s3:ListBucketVersions",
    ];
    let source = source.map(|action| (PROD, action));
    for (account, action) in destination
        .map(|action| (DR, action))
        .into_iter()
        .chain(source)
    {
        let mut object = object();
        object["rules"][0]["tags"] = json!({"class": "records"});
        object["rules"][0]["deleteMarkers"] = json!("Ignore");
        let mut canaries = Canaries::ready(&json!({}), &object).await;
        canaries.judged.aws.with(|state| {
            let name = (
                account.parse().unwrap(),
                "bucket-replication-operator".to_owned(),
            );
            let role = state.roles.get_mut(&name).unwrap();
            let policy = role.inline.get_mut("operator").unwrap();
            let mut json = policy.json();
            for statement in json["Statement"].as_array_mut().unwrap() {
                let actions = statement["Action"].as_array_mut().unwrap();
                actions.retain(|listed| listed != action);
            }
            *policy = support::in_process::document(json);
        });
        // Before the upload, what S3 says of the source object is only asked if there is no replica yet.
        if (account, action) == (PROD, "s3:GetObjectVersion") {
            canaries.judged.aws.set_weather(Weather {
                outages: vec![Outage {
                    region: Some("us-west-2".to_owned()),
                    account: Some("s3".to_owned()),
                    ..Outage::default()
                }],
                ..Weather::default()
            });
        }
        // What is the owner of a replica is asked for the source object as well.
        let (status, reason, message) = canaries.round().await;
        assert_eq!(
            (status.as_str(), reason.as_str()),
            ("Unknown", "AccessDenied"),
            "{action} in {account}: {message}"
        );
        assert!(message.contains(action), "{action} in {account}: {message}");
    }
}

/// The operator's own policy: without the grant it has no action on objects, and with it, only on canaries.
#[test]
fn the_operator_may_touch_canaries_and_no_other_object() {
    let actions = [
        "s3:PutObject",
        "s3:PutObjectTagging",
        "s3:GetObjectVersion",
        "s3:DeleteObjectVersion",
    ];
    let allows = |judged: &Judged, action: &str, name: &str| {
        let accounts = Accounts::new(&judged.cluster.accounts);
        let account = accounts.by_name("prod").unwrap();
        let caller = Caller::Root(
            support::cluster::bucket(PROD, "source").partition,
            PROD.parse().unwrap(),
        );
        let resource = Resource::one(format!("arn:aws:s3:::source/{name}"));
        let request = Request {
            caller: &caller,
            action,
            resource: &resource,
            context: &Context::complete(),
        };
        own_policy::policy(account).unwrap().permits(&request) == Truth::Yes
    };
    let (off, on) = (Judged::new(), Judged::with_canaries(&json!({})));
    let canary = format!("Tax/{FOLDER}test/finance/tax/all-0");
    for action in actions {
        assert!(!allows(&off, action, &canary), "{action}");
        assert!(!allows(&off, action, "Tax/2026.csv"), "{action}");
        assert!(allows(&on, action, &canary), "{action}");
        for other in ["Tax/2026.csv", ".bucketops-canary", "a/bucketops-canary/b"] {
            assert!(!allows(&on, action, other), "{action} {other}");
        }
    }
    for action in ["s3:GetObject", "s3:DeleteObject", "s3:PutObjectAcl"] {
        assert!(!allows(&on, action, &canary), "{action}");
    }
    // Keys of others are not listed, and KMS keys not used but by S3 and for the granted buckets.
    let permits = |action: &str, arn: &str, context: Context| {
        let accounts = Accounts::new(&on.cluster.accounts);
        let resource = Resource::one(arn.to_owned());
        let caller = Caller::Root(
            support::cluster::bucket(PROD, "source").partition,
            PROD.parse().unwrap(),
        );
        let request = Request {
            caller: &caller,
            action,
            resource: &resource,
            context: &context,
        };
        let account = accounts.by_name("prod").unwrap();
        own_policy::policy(account).unwrap().permits(&request) == Truth::Yes
    };
    let list = |prefix: &str| {
        let context = Context::complete().with("s3:prefix", prefix);
        permits("s3:ListBucketVersions", "arn:aws:s3:::source", context)
    };
    assert!(list(&canary) && !list("Tax/") && !list(""));
    let encrypt = |service: &str, context: &str| {
        let context = Context::complete()
            .with("kms:ViaService", service)
            .with("kms:EncryptionContext:aws:s3:arn", context);
        let arn = key(PROD, "us-east-1", "src").to_string();
        permits("kms:GenerateDataKey", &arn, context)
    };
    let arn = format!("arn:aws:s3:::source/{canary}");
    assert!(encrypt("s3.us-east-1.amazonaws.com", &arn));
    assert!(!encrypt("sqs.us-east-1.amazonaws.com", &arn));
    assert!(!encrypt("s3.us-east-1.amazonaws.com", "other"));
    let text = |judged: &Judged| {
        let accounts = Accounts::new(&judged.cluster.accounts);
        own_policy::policy(accounts.by_name("prod").unwrap())
            .unwrap()
            .compact()
    };
    assert!(!text(&off).contains("Object\""), "{}", text(&off));
}
