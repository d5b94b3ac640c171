//! What a visit asks and does, as the core says it: how many calls, that `plan` says what is then done, and that Observe says what Enforce would.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on has failed"
)]

mod budgets;
mod support;

use std::{collections::BTreeSet, time::Duration};

use budgets::{CHECK, CREATE, DELETE};

use bucket_replication_operator::{
    cloud::Cloud,
    replication::{
        names::ObjectKey,
        plan::Step,
        policy::Document,
        requeue::Ending,
        visit::{Next, disposition::Disposition, memory::Memory, next, seen::Seen},
    },
};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{
    cluster::{Cluster, DR, PROD, account, ground, key, object_key, spec},
    life::{Wish, wish, write},
    world::{World, replication_roles_mut},
};

/// The calls of one visit.
#[derive(Debug, PartialEq, Eq)]
struct Calls {
    /// Rounds of questions, each asked side by side.
    rounds: usize,
    questions: usize,
    /// What is read again right before it is written.
    read_again: usize,
    writes: usize,
}

impl Calls {
    fn total(&self) -> usize {
        self.questions + self.read_again + self.writes
    }
}

async fn calls(cluster: &mut Cluster, world: &World) -> Calls {
    let before = world.reads();
    let rounds = rounds(cluster, world).await;
    let asked = world.reads() - before;
    let report = cluster.visit(world).await;
    let questions = world.reads() - before - asked;
    assert_eq!(asked, questions, "the same visit asks the same");
    let read_again = |step: &&Step| {
        matches!(
            step,
            Step::PutBucketPolicy { .. }
                | Step::DeleteBucketPolicy { .. }
                | Step::PutKeyPolicy { .. }
                | Step::PutReplication { .. }
                | Step::DeleteReplication { .. }
        )
    };
    Calls {
        rounds,
        questions,
        read_again: report.done.iter().filter(read_again).count(),
        writes: report.done.len(),
    }
}

/// Rounds of questions until the visit writes or ends.
async fn rounds(cluster: &Cluster, world: &World) -> usize {
    let process = world.process(|aws| cluster.cloud(aws));
    let (visit, now) = (cluster.subject(), *cluster.clock.lock().unwrap());
    let mut seen = Seen::new(&visit, cluster.memory.clone(), now);
    for round in 0.. {
        let Next::Ask(questions) = next(&visit, &seen, now) else {
            return round;
        };
        let mut answers = vec![];
        for question in &questions {
            answers.push(process.ask(question).await);
        }
        seen.answered(&visit, answers);
    }
    unreachable!("it never ends");
}

fn across() -> Value {
    spec(
        ("dr", "dest"),
        Some(&key(DR, "us-west-2", "dst")),
        &json!({"rules": [{"name": "a", "prefix": "Tax"}]}),
    )
}

/// The budgets of the walkthrough's object, across accounts with KMS and without a settle delay.
#[tokio::test]
async fn calls_are_budgeted() {
    let (world, mut cluster) = (ground(), Cluster::default());
    cluster.times.settle = Duration::ZERO;
    cluster.apply("tax", &across());
    let create = Calls {
        rounds: 5,
        questions: 16,
        read_again: 3,
        writes: 5,
    };
    assert_eq!(calls(&mut cluster, &world).await, create);
    assert_eq!(create.total(), CREATE);
    cluster.pass(600);
    let check = Calls {
        rounds: 1,
        questions: 8,
        read_again: 0,
        writes: 0,
    };
    assert_eq!(calls(&mut cluster, &world).await, check);
    assert_eq!(check.total(), CHECK);
    // Once in a preflight period everything is read, and then not again.
    cluster.pass(3_000);
    let preflight = calls(&mut cluster, &world).await;
    assert!(preflight.total() > 2 * CHECK, "{preflight:?}");
    for _ in 0..3 {
        cluster.pass(600);
        assert_eq!(calls(&mut cluster, &world).await, check);
    }
    cluster.delete("tax");
    let delete = Calls {
        rounds: 1,
        questions: 6,
        read_again: 3,
        writes: 5,
    };
    assert_eq!(calls(&mut cluster, &world).await, delete);
    assert_eq!(delete.total(), DELETE);
    assert!(cluster.objects.is_empty());
}

/// A store that lacks an object whose rules are in S3 would have them removed: then all objects on the bucket are listed first.
#[tokio::test]
async fn rules_of_an_object_that_the_store_lacks_stay() {
    let (world, mut cluster) = (ground(), Cluster::default());
    cluster.times.settle = Duration::ZERO;
    let of = |prefix: &str| {
        let mut wish = across();
        wish["rules"][0]["prefix"] = json!(prefix);
        wish
    };
    cluster.apply("tax", &of("Tax"));
    cluster.apply("legal", &of("Legal"));
    cluster.settle(&world).await;
    world.written.lock().unwrap().clear();
    cluster.apply("tax", &of("Taxes"));
    let mut stale = cluster.objects.clone();
    stale.remove(&object_key("legal"));
    cluster.stale = Some(stale);
    cluster.visit(&world).await;
    assert_eq!(*world.written.lock().unwrap(), vec![]);
    // One that has no rules yet loses nothing.
    cluster.stale = None;
    cluster.apply("new", &of("New"));
    let mut stale = cluster.objects.clone();
    stale.remove(&object_key("new"));
    cluster.stale = Some(stale);
    cluster.visit(&world).await;
    let rules = |step: &Step| matches!(step, Step::PutReplication { .. });
    assert!(world.written.lock().unwrap().iter().any(rules));
    cluster.stale = None;
    cluster.settle(&world).await;
    let configuration = world.snapshot().buckets["source"].replication.clone();
    assert_eq!(configuration.map(|read| read.rules.len()), Some(3));
}

/// A store that lags for long does not make visits read AWS five times a second.
#[tokio::test]
async fn a_store_that_lags_for_long_is_asked_less_and_less_often() {
    let (world, mut cluster) = (ground(), Cluster::default());
    cluster.apply("tax", &across());
    cluster.stale = Some(cluster.objects.clone());
    cluster.apply("tax", &{
        let mut edited = across();
        edited["rules"][0]["prefix"] = json!("Taxes");
        edited
    });
    let (mut visits, mut waited) = (0, Duration::ZERO);
    while waited < Duration::from_mins(5) {
        let report = cluster.visit(&world).await;
        let Ending::After(wait) = report.ending else {
            panic!("{:?}", report.ending);
        };
        assert!(wait <= Duration::from_secs(30), "{wait:?}");
        (visits, waited) = (visits + 1, waited + wait);
    }
    assert!(
        (10..20).contains(&visits),
        "{visits} visits in five minutes"
    );
    assert_eq!(*world.written.lock().unwrap(), vec![]);
    cluster.stale = None;
    cluster.settle(&world).await;
    assert_eq!(cluster.condition("tax", "Ready").0, "True");
}

/// What an operator no longer watches, it does not know: rules and permissions of those namespaces stay as they are.
#[tokio::test]
async fn rules_of_namespaces_that_are_not_watched_stay() {
    let (world, mut cluster) = (ground(), Cluster::default());
    let theirs = ObjectKey {
        namespace: "legal".to_owned(),
        name: "contracts".to_owned(),
    };
    let mut contracts = spec(
        ("dr", "archive"),
        Some(&key(DR, "eu-west-1", "arc")),
        &json!({"rules": [{"name": "a", "prefix": "Contracts"}]}),
    );
    contracts["source"]["kmsKeys"] = json!([key(PROD, "us-east-1", "src2").to_string()]);
    cluster.apply("tax", &across());
    cluster.apply_as(theirs.clone(), &contracts);
    cluster.settle(&world).await;
    let made = |world: &World| {
        let state = world.snapshot();
        let role = state
            .roles
            .values()
            .find(|role| role.arn.name.as_str().starts_with("brepl-"));
        let role = role.map(|role| {
            json!(role.inline.values().map(Document::json).collect::<Vec<_>>()).to_string()
        });
        let arc = state.keys[&key(DR, "eu-west-1", "arc").to_string()]
            .policy
            .canonical();
        let rules = state.buckets["source"]
            .replication
            .clone()
            .map(|read| read.rules);
        let contracts = rules
            .into_iter()
            .flatten()
            .find(|rule| json!(rule).to_string().contains("Contracts"));
        let named = role.unwrap_or_default();
        (
            state.buckets["archive"].policy.clone(),
            arc,
            contracts,
            ["Contracts", "key/src2", "key/arc"].map(|name| named.contains(name)),
        )
    };
    let before = made(&world);
    assert!(before.2.is_some() && before.3 == [true; 3]);
    cluster.watched = ["finance".to_owned()].into();
    cluster.restart();
    let mut edited = across();
    edited["rules"][0]["prefix"] = json!("Taxes");
    for wish in [across(), edited] {
        cluster.apply("tax", &wish);
        cluster.settle(&world).await;
        assert_eq!(cluster.condition("tax", "Ready").0, "True");
        assert_eq!(made(&world), before);
    }
    // A rule that can't be combined with it is refused, as an older object's would be.
    let mut clash = spec(
        ("dr", "archive"),
        None,
        &json!({"rules": [{"name": "a", "prefix": "Contracts/2026"}]}),
    );
    clash["rules"][0]["deleteMarkers"] = json!("Replicate");
    cluster.apply("clash", &clash);
    cluster.settle(&world).await;
    assert_eq!(cluster.condition("clash", "Ready").1, "OverlappingRules");
    cluster.delete("clash");
    cluster.delete("tax");
    cluster.settle(&world).await;
    assert_eq!(made(&world), before, "the last watched object is gone");
    // Whoever watches all namespaces again finds it as it was.
    cluster.watched.clear();
    cluster.settle(&world).await;
    assert_eq!(
        cluster.objects[&theirs]
            .2
            .ready()
            .map(|ready| ready.status.as_str()),
        Some("True")
    );
    assert_eq!(made(&world), before);
}

/// What another writer does to what exists.
fn disturb(world: &World, what: usize) {
    world.edit(|state| match what {
        1 => state.buckets.get_mut("dest").unwrap().policy = None,
        2 => {
            let source = state.buckets.get_mut("source").unwrap();
            source.replication = None;
        }
        3 => {
            for role in replication_roles_mut(state) {
                role.inline.clear();
            }
        }
        4 => {
            let dst = state.keys.get_mut(&key(DR, "us-west-2", "dst").to_string()).unwrap();
            let root = format!(
                r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"AWS":"arn:aws:iam::{DR}:root"}},"Action":"kms:*","Resource":"*"}}]}}"#
            );
            dst.policy = Document::parse(&root).unwrap();
        }
        5 => {
            let source = state.buckets.get_mut("source").unwrap();
            if let Some(configuration) = &mut source.replication {
                configuration.rules.truncate(1);
            }
        }
        _ => {}
    });
}

/// A bucket with objects, in whatever state.
#[derive(Clone, Debug)]
struct Case {
    existing: Vec<Wish>,
    edited: Option<Wish>,
    deleted: bool,
    disturbed: usize,
    checks: bool,
}

fn case() -> impl Strategy<Value = Case> {
    (
        prop::collection::vec(wish(), 1..3),
        prop::option::of(wish()),
        any::<bool>(),
        0..8_usize,
        any::<bool>(),
    )
        .prop_map(|(existing, edited, deleted, disturbed, checks)| Case {
            existing,
            edited,
            deleted,
            disturbed,
            checks,
        })
}

impl Case {
    async fn begin(&self) -> (World, Cluster) {
        let (world, mut cluster) = (ground(), Cluster::default());
        cluster.times.settle = Duration::ZERO;
        cluster.times.grace = Duration::ZERO;
        for (name, wish) in self.existing.iter().enumerate() {
            cluster.apply(&format!("o{name}"), &write(name, wish));
        }
        cluster.settle(&world).await;
        disturb(&world, self.disturbed);
        if let Some(edited) = &self.edited {
            cluster.apply("o0", &write(0, edited));
        }
        if self.deleted {
            cluster.delete("o1");
        }
        if self.checks {
            let check = json!({"policies": {"bucketPolicy": "Check", "keyPolicy": "Check"}});
            cluster.accounts[1] = account("dr", DR, &check);
        }
        // A plan remembers nothing.
        cluster.restart();
        (world, cluster)
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn plan_says_what_is_then_done(case in case()) {
        runtime().block_on(async {
            let (world, mut cluster) = case.begin().await;
            if cluster.objects.is_empty() {
                return;
            }
            let (decision, _) = cluster.decide(&world).await;
            let mut planned: Vec<_> = decision.steps.iter().map(|planned| planned.step.to_string()).collect();
            let report = cluster.visit(&world).await;
            let mut done: Vec<_> = report.done.iter().map(ToString::to_string).collect();
            planned.sort();
            done.sort();
            assert_eq!(planned, done);
        });
    }

    #[test]
    fn observe_says_what_enforce_would(case in case(), new in wish(), overlaps in any::<bool>()) {
        runtime().block_on(async {
            let (world, mut cluster) = case.begin().await;
            // Under the prefixes of an older object, it may be refused for an overlap.
            let mut wanted = write(if overlaps { 0 } else { 7 }, &new);
            cluster.apply("new", &wanted);
            let (enforced, _) = cluster.decide(&world).await;
            wanted["mode"] = json!("Observe");
            cluster.apply("new", &wanted);
            cluster.visit(&world).await;
            let (key, reason) = (object_key("new"), cluster.condition("new", "Ready").1);
            let status = &cluster.objects[&key].2;
            match &enforced.dispositions[&key] {
                Disposition::Refused { problems, .. } => {
                    let reasons: BTreeSet<_> = problems.iter().map(|problem| problem.reason.as_str()).collect();
                    assert!(reasons.contains(reason.as_str()), "{reason} instead of {reasons:?}");
                }
                Disposition::Acting { problems, .. } if !problems.is_empty() => {
                    let reasons: BTreeSet<_> = problems.iter().map(|problem| problem.reason.as_str()).collect();
                    assert!(reasons.contains(reason.as_str()), "{reason} instead of {reasons:?}");
                    assert!(!status.required_actions.is_empty());
                }
                Disposition::Acting { .. } => {
                    assert_eq!(reason, "PlanPending");
                    let concerned = enforced.steps.iter().filter(|planned| planned.concerns.contains(&key));
                    assert_eq!(status.plan.len(), concerned.count(), "{:?}", status.plan);
                }
                other => panic!("{other:?}"),
            }
        });
    }
}

/// A visit is a function of what was seen: the same again gives the same, whatever was asked in between.
#[tokio::test]
async fn next_changes_nothing() {
    let (world, mut cluster) = (ground(), Cluster::default());
    cluster.apply("tax", &across());
    let (visit, now) = (cluster.subject(), *cluster.clock.lock().unwrap());
    let seen = Seen::new(&visit, Memory::default(), now);
    let ask = || match next(&visit, &seen, now) {
        Next::Ask(questions) => questions,
        other => panic!("{other:?}"),
    };
    assert_eq!(ask(), ask());
    assert_eq!(ask().len(), 2, "the Regions of both buckets");
    assert_eq!(world.reads(), 0);
    cluster.settle(&world).await;
}
