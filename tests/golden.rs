//! What the pure core makes, kept as text: documents for objects in `golden/plan`, steps and statuses for stories in `golden/visit`.
//! `make update` writes them anew.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on has failed"
)]

mod support;

use std::{fs, path::Path, process::Command};

use bucket_replication_operator::{
    api::bucket_replication::RequiredAction,
    commands::plan_answer::lines,
    replication::{
        configuration::{
            Configuration, Filter, Metrics, ReplicationRule, RuleDestination, Setting,
        },
        plan::Step,
        policy::Document,
    },
};
use serde_json::{Value, json};
use support::{
    cluster::{
        Cluster, DR, KEYS, PROD, THEIR_ROLE, account, ground, key, make_their_role, object_key,
        spec,
    },
    golden::compare,
    in_process::{self, add_policy},
    world::{State, World, delete_replication_roles, replication_roles, replication_roles_mut},
};

fn plan(files: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bucket-replication-operator"));
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("plan")
        .args(["--offline", "--destination-region", "eu-west-1"]);
    for file in files {
        command.args(["-f", file]);
    }
    let output = command.env_clear().output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    format!("{}{}", text(output.stderr), text(output.stdout))
}

#[test]
fn documents_of_each_object() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/plan");
    let cases = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let cases: Vec<_> = cases
        .filter_map(|name| name.strip_suffix(".yaml").map(ToOwned::to_owned))
        .collect();
    assert!(cases.len() >= 4, "{cases:?}");
    for case in cases {
        compare(
            &format!("tests/golden/plan/{case}.txt"),
            &plan(&[&format!("tests/golden/plan/{case}.yaml")]),
        );
    }
}

#[test]
fn a_field_that_is_none_is_refused() {
    let sample = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/samples/walkthrough.yaml"),
    )
    .unwrap();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("misspelt.yaml");
    fs::write(&file, sample.replace("prefix: Tax", "prefx: Tax")).unwrap();
    let text = plan(&[&file.to_string_lossy()]);
    assert_eq!(
        text.replace(&*file.to_string_lossy(), "FILE"),
        "error: FILE: BucketReplication tax: it has no field spec.rules[0].prefx\n"
    );
}

#[test]
fn documents_of_the_walkthrough() {
    compare(
        "tests/golden/plan/walkthrough.txt",
        &plan(&[
            "deploy/samples/walkthrough.yaml",
            "deploy/samples/accounts.yaml",
        ]),
    );
}

/// A story in the world: what is applied, the steps that follow, and where the objects stand then.
struct Story {
    text: String,
    world: World,
    cluster: Cluster,
}

impl Story {
    fn new(sentence: &str) -> Self {
        Self {
            text: format!("# {sentence}\n"),
            world: ground(),
            cluster: Cluster::default(),
        }
    }

    fn tell(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Visits the bucket until it comes to rest, and tells the steps and the statuses.
    async fn then(&mut self, happening: &str) {
        self.tell(&format!("\n== {happening}"));
        self.world.written.lock().unwrap().clear();
        self.cluster.settle(&self.world).await;
        let written: Vec<_> = self
            .world
            .written
            .lock()
            .unwrap()
            .iter()
            .filter(|step| **step != Step::Settle)
            .cloned()
            .collect();
        for step in &written {
            self.tell(&format!("{} {step}", step.sign()));
        }
        if written.is_empty() {
            self.tell("(nothing is written)");
        }
        let objects: Vec<_> = self.cluster.objects.values().cloned().collect();
        for (object, _, status) in objects {
            for condition in &status.conditions {
                let told = format!(
                    "{}: {} {}",
                    condition.type_, condition.status, condition.reason
                );
                let message = if condition.status == "True" {
                    String::new()
                } else {
                    format!(": {}", condition.message)
                };
                self.tell(&format!("[{}] {told}{message}", object.key.name));
            }
            for line in &status.plan {
                self.tell(&format!("[{}] plan: {line}", object.key.name));
            }
            for action in &status.required_actions {
                let statement: Value = serde_json::from_str(&action.statement).unwrap();
                self.tell(&format!(
                    "[{}] required of account {}, on the {}: {statement}",
                    object.key.name, action.account_id, action.document
                ));
            }
            if let Some(drift) = &status.drift {
                self.tell(&format!(
                    "[{}] drift: {}",
                    object.key.name, drift.correction
                ));
            }
        }
    }

    fn apply(&mut self, name: &str, spec: &Value) {
        self.cluster.apply(name, spec);
    }

    fn compare(&self, name: &str) {
        let lines = self.text.lines().count();
        assert!(lines <= 60, "{name} has {lines} lines: split the story");
        compare(&format!("tests/golden/visit/{name}.txt"), &self.text);
    }
}

fn dst() -> bucket_replication_operator::replication::keys::KeyArn {
    key(DR, "us-west-2", "dst")
}

fn tax(extra: &Value) -> Value {
    let mut rules = json!({"rules": [{"name": "tax", "prefix": "Tax"}]});
    for (field, value) in extra.as_object().into_iter().flatten() {
        rules[field] = value.clone();
    }
    spec(("dr", "dest"), Some(&dst()), &rules)
}

#[tokio::test]
async fn an_object_comes_changes_and_goes() {
    let mut story = Story::new(
        "One object across two accounts, with a key on each side: applied, moved to another bucket and prefix, deleted.",
    );
    story.apply("tax", &tax(&json!({})));
    story.then("tax is applied").await;
    let moved = spec(
        ("dr", "archive"),
        Some(&key(DR, "eu-west-1", "arc")),
        &json!({"rules": [{"name": "tax", "prefix": "Legal"}]}),
    );
    story.apply("tax", &moved);
    story
        .then("it moves to another bucket, key and prefix")
        .await;
    story.cluster.delete("tax");
    story.then("it is deleted").await;
    story.compare("life");
}

#[tokio::test]
async fn somebody_else_changes_what_stands() {
    let mut story = Story::new("What somebody else changes is put back, and told.");
    story.apply("tax", &tax(&json!({})));
    story.then("tax is applied").await;
    story.world.edit(|state| {
        state.buckets.get_mut("dest").unwrap().policy = None;
        let role = replication_roles_mut(state).next().unwrap();
        role.inline.clear();
        role.trust = Document::parse(r#"{"Version":"2012-10-17","Statement":[]}"#).unwrap();
    });
    story
        .then("the bucket's policy, the role's policy and its trust are gone")
        .await;
    story.compare("drift");
}

#[tokio::test]
async fn observe_and_pause() {
    let mut story = Story::new(
        "Observe reports and writes nothing; Paused leaves what exists, whatever happens to it.",
    );
    story.apply("tax", &tax(&json!({"mode": "Observe"})));
    story.then("tax is applied with mode Observe").await;
    story.apply("tax", &tax(&json!({})));
    story.then("mode becomes Enforce").await;
    story.apply("tax", &tax(&json!({"mode": "Paused"})));
    story
        .world
        .edit(|state| state.buckets.get_mut("dest").unwrap().policy = None);
    let reads = story.world.reads();
    story
        .then("mode becomes Paused, and somebody removes the bucket's policy")
        .await;
    assert_eq!(story.world.reads(), reads, "a paused object reads nothing");
    story.compare("modes");
}

#[tokio::test]
async fn retain() {
    let mut story = Story::new(
        "With deletionPolicy Retain everything works on after the object is gone, and another object joins it.",
    );
    story.apply("tax", &tax(&json!({"deletionPolicy": "Retain"})));
    story.then("tax is applied").await;
    story.cluster.delete("tax");
    story.then("it is deleted").await;
    story.apply(
        "legal",
        &spec(
            ("prod", "backup"),
            None,
            &json!({"rules": [{"name": "legal", "prefix": "Legal"}]}),
        ),
    );
    story.then("legal is applied").await;
    let snapshot = story.world.snapshot();
    let rules = snapshot.buckets["source"]
        .replication
        .as_ref()
        .unwrap()
        .rules
        .clone();
    story.tell(&format!(
        "rules: {}",
        rules
            .iter()
            .filter_map(|rule| rule.id.clone())
            .collect::<Vec<_>>()
            .join(", ")
    ));
    story.compare("retain");
}

/// The owners of buckets and keys apply what they are told.
fn apply_required(state: &mut State, actions: &[RequiredAction]) {
    for action in actions {
        let statement: Value = serde_json::from_str(&action.statement).unwrap();
        let add = |policy: &mut Document| {
            let mut document = policy.json();
            document["Statement"]
                .as_array_mut()
                .unwrap()
                .push(statement.clone());
            *policy = Document::parse(&document.to_string()).unwrap();
        };
        match action.document.strip_prefix("policy of key ") {
            Some(arn) => add(&mut state.keys.get_mut(arn).unwrap().policy),
            None => add(state
                .buckets
                .get_mut("dest")
                .unwrap()
                .policy
                .as_mut()
                .unwrap()),
        }
    }
}

#[tokio::test]
async fn policies_that_their_owner_writes() {
    let mut story = Story::new(
        "Where an AWSAccount says Check, its owner is told what to apply, and the rules wait for it.",
    );
    story.cluster.accounts[1] = account(
        "dr",
        DR,
        &json!({"policies": {"bucketPolicy": "Check", "keyPolicy": "Check"}}),
    );
    story.apply("tax", &tax(&json!({})));
    story.then("tax is applied").await;
    let told = story.cluster.objects[&object_key("tax")]
        .2
        .required_actions
        .clone();
    story.world.edit(|state| apply_required(state, &told));
    story
        .then("the owner of account dr applies both statements")
        .await;
    story.compare("required-actions");
}

#[tokio::test]
async fn an_account_that_can_t_be_read() {
    let mut story = Story::new(
        "Where an AWSAccount says External nothing is called there; its owner applies what is told, and somebody attests it.",
    );
    story.cluster.accounts[1] = account("dr", DR, &json!({"access": "External"}));

    story.apply("tax", &tax(&json!({})));
    story.then("tax is applied").await;
    let told = story.cluster.objects[&object_key("tax")]
        .2
        .required_actions
        .clone();
    story.world.edit(|state| apply_required(state, &told));
    let message = story.cluster.message("tax", "Ready");
    let attest = |story: &mut Story, fingerprint: &str| {
        story
            .cluster
            .objects
            .get_mut(&object_key("tax"))
            .unwrap()
            .0
            .applied = Some(fingerprint.to_owned());
    };
    attest(&mut story, "0000000000000000");
    story.cluster.visit(&story.world).await;
    assert_eq!(
        story.cluster.condition("tax", "Ready"),
        ("Unknown".into(), "NotAttested".into())
    );
    attest(&mut story, message.rsplit('=').next().unwrap());
    story.then("they are applied and attested").await;
    // A role that is created again has another unique ID, which the statements do not name.
    story.world.edit(delete_replication_roles);
    story.cluster.settle(&story.world).await;
    assert_eq!(replication_roles(&story.world.snapshot()).count(), 1);
    assert_eq!(
        story.cluster.condition("tax", "Ready"),
        ("True".into(), "Attested".into()),
        "the same statements let it in"
    );
    let wider = spec(
        ("dr", "dest"),
        Some(&dst()),
        &json!({"rules": [{"name": "tax", "prefix": "Tax"}, {"name": "legal", "prefix": "Legal"}]}),
    );
    story.apply("tax", &wider);
    story.cluster.settle(&story.world).await;
    assert_eq!(
        story.cluster.condition("tax", "Ready"),
        ("True".into(), "Attested".into()),
        "the same statements allow it"
    );
    let more = spec(
        ("dr", "dest"),
        Some(&dst()),
        &json!({"rules": [{"name": "tax", "prefix": "Tax", "deleteMarkers": "Replicate"}]}),
    );
    story.apply("tax", &more);
    story.cluster.settle(&story.world).await;
    assert_eq!(
        story.cluster.condition("tax", "Ready"),
        ("Unknown".into(), "NotAttested".into())
    );
    story.cluster.delete("tax");
    story
        .then("it asks for more, which no one attests, and is deleted")
        .await;
    assert!(!story.world.was_called_in(DR));
    story.compare("external");
}

#[tokio::test]
async fn a_grant_is_taken_away() {
    let mut story = Story::new(
        "An object whose grant is taken away keeps its rules, but they are disabled; deletion still works.",
    );
    story.apply("tax", &tax(&json!({})));
    story.then("tax is applied").await;
    story.cluster.accounts[0] = account("prod", PROD, &json!({"grants": []}));
    story.then("the grant is taken away").await;
    story.cluster.delete("tax");
    story.then("it is deleted").await;
    story.compare("not-granted");
}

#[tokio::test]
async fn one_that_is_refused_does_not_hold_up_another() {
    let mut story =
        Story::new("AWS refuses a step for one object: the other one on the bucket is served.");
    story.world.deny("kms:PutKeyPolicy", DR);
    story.apply("tax", &tax(&json!({})));
    story.apply(
        "legal",
        &spec(
            ("prod", "backup"),
            None,
            &json!({"rules": [{"name": "legal", "prefix": "Legal"}]}),
        ),
    );
    story
        .then("both are applied, and the key's policy may not be written")
        .await;
    story.compare("denied");
}

#[tokio::test]
async fn what_stands_in_the_way() {
    let mut story = Story::new(
        "A configuration under a foreign role is left as it is; so are rules of the old schema.",
    );
    let theirs = ReplicationRule {
        id: Some("legacy".into()),
        ..ReplicationRule::default()
    };
    story.world.edit(|state| {
        let source = state.buckets.get_mut("source").unwrap();
        source.replication = Some(Configuration {
            role: format!("arn:aws:iam::{PROD}:role/theirs"),
            rules: vec![theirs.clone()],
        });
    });
    story.apply("tax", &tax(&json!({})));
    story
        .then("tax is applied where an unmanaged configuration exists")
        .await;
    story.world.edit(|state| {
        state.buckets.get_mut("source").unwrap().replication = None;
    });
    story.cluster.pass(600);
    story.then("it is removed").await;
    story.world.edit(|state| {
        let source = state.buckets.get_mut("source").unwrap();
        source.replication.as_mut().unwrap().rules = vec![theirs.clone()];
    });
    story
        .then("somebody replaces our rule by one of the old schema")
        .await;
    story.compare("foreign");
}

/// A configuration of theirs on the source bucket, with that rule.
fn put_theirs(story: &Story, rule: ReplicationRule) {
    story.world.edit(|state| {
        make_their_role(state);
        let source = state.buckets.get_mut("source").unwrap();
        source.replication = Some(Configuration {
            role: THEIR_ROLE.into(),
            rules: vec![rule],
        });
    });
}

/// A rule of the schema V2 that copies `prefix` to the bucket `backup`.
fn their_rule(prefix: &str) -> ReplicationRule {
    ReplicationRule {
        id: Some("legacy".into()),
        priority: Some(3),
        filter: Some(Filter::new(prefix, vec![])),
        destination: RuleDestination {
            bucket: "arn:aws:s3:::backup".into(),
            ..RuleDestination::default()
        },
        delete_marker_replication: Some(Setting::new(false)),
        ..ReplicationRule::default()
    }
}

fn configuration_of(story: &Story) -> Option<Configuration> {
    story.world.snapshot().buckets["source"].replication.clone()
}

#[tokio::test]
async fn merging_into_a_configuration_of_theirs() {
    let mut story = Story::new(
        "Where the platform team lists the role of a configuration, our rules are added to it, and leave it as it was.",
    );
    put_theirs(&story, their_rule("theirs/"));
    let before = configuration_of(&story);
    story.cluster.accounts[0] = account("prod", PROD, &json!({}));
    story.apply("tax", &tax(&json!({"existingConfiguration": "Merge"})));
    story
        .then("tax is applied, and their role is not listed")
        .await;
    story.cluster.accounts[0] = account(
        "prod",
        PROD,
        &json!({"roles": {"mergeableRoleARNs": [THEIR_ROLE]}}),
    );
    story.cluster.pass(600);
    story.then("it is listed").await;
    story.cluster.delete("tax");
    story.then("tax is deleted").await;
    assert_eq!(configuration_of(&story), before);
    story.compare("merge");
}

#[tokio::test]
async fn rules_that_are_taken_over() {
    let mut story = Story::new(
        "Unmanaged rules with the content of an object's rules are taken over if an annotation names them, and only then.",
    );
    let mut old = ReplicationRule {
        filter: None,
        prefix: Some("Tax".into()),
        priority: None,
        delete_marker_replication: None,
        ..their_rule("")
    };
    old.existing_object_replication = Some(Setting::new(false));
    old.destination.metrics = Some(Metrics {
        status: false.into(),
        event_threshold: None,
    });
    put_theirs(&story, old);
    let backup = |markers: &str| {
        let rules = json!([{"name": "tax", "prefix": "Tax", "deleteMarkers": markers}]);
        spec(
            ("prod", "backup"),
            None,
            &json!({"metrics": "Disabled", "rules": rules}),
        )
    };
    story.apply("tax", &backup("Ignore"));
    story
        .cluster
        .objects
        .get_mut(&object_key("tax"))
        .unwrap()
        .0
        .take_over = ["legacy".to_owned()].into();
    story.then("tax is applied with the annotation, and ignores delete markers, which the old schema replicates").await;
    story.apply("tax", &backup("Replicate"));
    story.then("it replicates them").await;
    let existing = configuration_of(&story).unwrap();
    let ids: Vec<_> = existing
        .rules
        .iter()
        .filter_map(|rule| rule.id.clone())
        .collect();
    story.tell(&format!(
        "rules: {} under role {}",
        ids.join(", "),
        existing.role
    ));
    story.compare("take-over");
}

#[tokio::test]
async fn overlap_with_a_rule_of_theirs() {
    let mut story = Story::new(
        "An unmanaged rule comes first: the operator's rules must not change its effect.",
    );
    put_theirs(&story, their_rule("Tax"));
    let rules = json!([{"name": "tax", "prefix": "Tax/2026"}]);
    story.apply(
        "tax",
        &spec(
            ("prod", "backup"),
            None,
            &json!({"existingConfiguration": "Merge", "rules": rules}),
        ),
    );
    story
        .then("tax is applied, whose metrics the unmanaged rule does not have")
        .await;
    story.compare("overlap-foreign");
}

#[tokio::test]
async fn a_finalizer_that_is_refused() {
    let mut story = Story::new(
        "Nothing is written for an object to which the API server adds no finalizer, and its neighbor is served.",
    );
    story.apply("tax", &tax(&json!({})));
    let mut unheld = tax(&json!({"rules": [{"name": "ledger", "prefix": "Ledger"}]}));
    unheld["destination"] = json!({"accountName": "prod", "bucket": "backup"});
    unheld["source"] = json!({"accountName": "prod", "bucket": "source"});
    story.apply("unheld", &unheld);
    story.cluster.unholdable = [object_key("unheld")].into();
    story
        .then("both are applied, and a webhook refuses the finalizer of unheld")
        .await;
    story.compare("finalizer");
}

#[tokio::test]
async fn overlap_and_versioning() {
    let mut story = Story::new(
        "Of two objects that overlap with other settings the first wins; versioning is enabled where that is asked for.",
    );
    story.world.edit(|state| {
        state.buckets.get_mut("dest").unwrap().versioning = None;
    });
    story.apply("first", &tax(&json!({"versioning": "Enable"})));
    let mut second = tax(&json!({}));
    second["destination"]["storageClass"] = json!("GLACIER");
    story.apply("second", &second);
    story.then("both are applied").await;
    story.compare("overlap");
}

/// Prepares AWS and what the platform team says for a plan.
type Prepare = fn(&mut Story);

fn rules(list: &Value) -> Value {
    spec(("dr", "dest"), Some(&dst()), &json!({ "rules": list }))
}

fn with(mut spec: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    spec.pointer_mut(parent).unwrap()[field] = value;
    spec
}

fn nothing(_: &mut Story) {}

/// The plans that are kept: what is there before, and the object that is planned.
#[allow(clippy::too_many_lines, reason = "a table")]
fn plans() -> Vec<(&'static str, Prepare, Value)> {
    let tag =
        |name: &str, markers: &str| json!({"name": name, "prefix": name, "deleteMarkers": markers});
    let same = || spec(("prod", "backup"), None, &json!({}));
    let merge = || tax(&json!({"existingConfiguration": "Merge"}));
    vec![
        ("across-accounts", nothing, tax(&json!({}))),
        (
            "across-accounts-without-kms",
            nothing,
            spec(("dr", "dest"), None, &json!({})),
        ),
        ("one-account", nothing, same()),
        (
            "one-account-with-kms",
            nothing,
            spec(
                ("prod", "backup"),
                Some(&key(PROD, "us-east-1", "bkp")),
                &json!({}),
            ),
        ),
        (
            "key-of-a-third-account",
            nothing,
            spec(
                ("dr", "dest"),
                Some(&key(KEYS, "us-west-2", "central")),
                &json!({}),
            ),
        ),
        (
            "default-key",
            |story| story.world.edit(encrypt_by_default),
            with(tax(&json!({})), "/source/kmsKeys", Value::Null),
        ),
        (
            "skip-kms",
            |story| story.world.edit(encrypt_by_default),
            with(same(), "/source/sseKMSObjects", json!("Skip")),
        ),
        (
            "several-keys",
            nothing,
            with(
                tax(&json!({})),
                "/source/kmsKeys",
                json!([
                    key(PROD, "us-east-1", "src").to_string(),
                    key(PROD, "us-east-1", "src2").to_string()
                ]),
            ),
        ),
        (
            "delete-markers",
            nothing,
            rules(&json!([tag("tax", "Replicate")])),
        ),
        (
            "several-rules",
            nothing,
            rules(&json!([
                tag("tax", "Replicate"),
                tag("legal", "Ignore"),
                tag("hr", "Ignore")
            ])),
        ),
        (
            "nested-rules",
            nothing,
            rules(&json!([{"name": "all"}, tag("tax", "Replicate")])),
        ),
        (
            "tags",
            nothing,
            rules(
                &json!([{"name": "tax", "prefix": "Tax", "tags": {"class": "records", "year": "2026"}}]),
            ),
        ),
        (
            "priority",
            nothing,
            rules(&json!([{"name": "tax", "prefix": "Tax", "priority": 40}])),
        ),
        (
            "disabled",
            nothing,
            rules(&json!([{"name": "tax", "prefix": "Tax", "state": "Disabled"}])),
        ),
        (
            "storage-class",
            nothing,
            with(
                tax(&json!({})),
                "/destination/storageClass",
                json!("GLACIER_IR"),
            ),
        ),
        (
            "owner",
            nothing,
            with(tax(&json!({})), "/destination/owner", json!("Destination")),
        ),
        (
            "time-control",
            nothing,
            tax(&json!({"replicationTimeControl": "Enabled"})),
        ),
        ("no-metrics", nothing, tax(&json!({"metrics": "Disabled"}))),
        (
            "two-way",
            nothing,
            tax(&json!({"replicaModifications": "Sync"})),
        ),
        (
            "versioning",
            |story| {
                story
                    .world
                    .edit(|s| s.buckets.values_mut().for_each(|b| b.versioning = None));
            },
            tax(&json!({"versioning": "Enable"})),
        ),
        (
            "object-lock",
            |story| {
                story.world.edit(|s| {
                    s.buckets.values_mut().for_each(|b| b.object_lock = true);
                });
            },
            tax(&json!({})),
        ),
        (
            "checked-policies",
            |story| {
                story.cluster.accounts[1] = account(
                    "dr",
                    DR,
                    &json!({"policies": {"bucketPolicy": "Check", "keyPolicy": "Check"}}),
                );
            },
            tax(&json!({})),
        ),
        (
            "path-tags-and-boundary",
            |story| {
                let roles = json!({"path": "/replication/", "tags": {"team": "storage"}, "permissionsBoundaryARN": "arn:aws:iam::111111111111:policy/wide"});
                story.cluster.accounts[0] = account("prod", PROD, &json!({ "roles": roles }));
                let wide = Document::parse(
                    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*","kms:*"],"Resource":"*"}]}"#,
                )
                .unwrap();
                story.world.edit(|state| {
                    add_policy(state, "arn:aws:iam::111111111111:policy/wide", wide);
                });
            },
            tax(&json!({})),
        ),
        (
            "merge",
            |story| put_theirs(story, their_rule("theirs/")),
            merge(),
        ),
        (
            "refused",
            |story| put_theirs(story, their_rule("theirs/")),
            tax(&json!({})),
        ),
        (
            "old-schema",
            |story| {
                put_theirs(
                    story,
                    ReplicationRule {
                        filter: None,
                        prefix: Some("a".into()),
                        ..their_rule("")
                    },
                );
            },
            merge(),
        ),
        (
            "beside-another",
            |story| {
                story.apply(
                    "first",
                    &spec(
                        ("dr", "archive"),
                        None,
                        &json!({"rules": [{"name": "a", "prefix": "a/"}]}),
                    ),
                );
            },
            same(),
        ),
        (
            "same-destination-as-another",
            |story| {
                story.apply(
                    "first",
                    &spec(
                        ("dr", "dest"),
                        None,
                        &json!({"rules": [{"name": "a", "prefix": "a/"}]}),
                    ),
                );
            },
            tax(&json!({})),
        ),
        (
            "edit",
            |story| story.apply("tax", &tax(&json!({}))),
            rules(&json!([tag("legal", "Replicate")])),
        ),
        (
            "move",
            |story| story.apply("tax", &tax(&json!({}))),
            spec(
                ("dr", "archive"),
                Some(&key(DR, "eu-west-1", "arc")),
                &json!({}),
            ),
        ),
        (
            "nothing-to-do",
            |story| story.apply("tax", &tax(&json!({}))),
            tax(&json!({})),
        ),
    ]
}

fn encrypt_by_default(state: &mut State) {
    let key = key(PROD, "us-east-1", "src").to_string();
    let source = state.buckets.get_mut("source").unwrap();
    in_process::encrypt_by_default(source, Some(&key));
}

#[tokio::test]
async fn thirty_plans() {
    let plans = plans();
    assert!(plans.len() >= 30, "{}", plans.len());
    for (name, prepare, object) in plans {
        let mut story = Story::new("");
        prepare(&mut story);
        story.cluster.settle(&story.world).await;
        story.apply("tax", &object);
        let (decision, observed) = story.cluster.decide(&story.world).await;
        let steps = lines(&decision.steps, &observed, false);
        let mut text = if steps.is_empty() {
            "(nothing to do)\n".to_owned()
        } else {
            steps.join("\n") + "\n"
        };
        for step in decision
            .pending
            .get(&object_key("tax"))
            .into_iter()
            .flatten()
        {
            text.push_str("(in the way) ");
            text.push_str(step);
            text.push('\n');
        }
        for planned in &decision.steps {
            if let Step::PutReplication { configuration, .. } = &planned.step {
                let ours = configuration
                    .rules
                    .iter()
                    .filter(|rule| rule.id.as_deref().is_some_and(|id| id.contains("/tax/")));
                text.extend(ours.map(|rule| format!("{}\n", json!(rule))));
            }
        }
        assert!(
            text.lines().count() < 60,
            "{name} has {} lines",
            text.lines().count()
        );
        compare(&format!("tests/golden/steps/{name}.txt"), &text);
    }
}
