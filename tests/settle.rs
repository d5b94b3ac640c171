//! What happens while new permissions become known everywhere in AWS, and while AWS refuses to let go of what an object made.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on has failed"
)]

mod support;

use std::time::Duration;

use bucket_replication_operator::replication::{
    configuration::{Filter, ReplicationRule, RuleDestination, Setting},
    observed::FailureKind,
    plan::Step,
    policy::Document,
    requeue::Ending,
    visit::{
        memory::Memory,
        report::{Report, panicked, unended},
    },
};
use serde_json::{Value, json};
use support::{
    cluster::{Cluster, DR, PROD, THEIR_ROLE, account, ground, key, object_key, put_theirs, spec},
    life::{comparable, ready},
    world::{Faults, State, World},
};

fn wish(prefix: &str) -> Value {
    spec(
        ("dr", "dest"),
        Some(&key(DR, "us-west-2", "dst")),
        &json!({"rules": [{"name": "a", "prefix": prefix}]}),
    )
}

/// Somebody adds a rule of theirs to what stands.
fn add_theirs(state: &mut State) {
    let rule = ReplicationRule {
        id: Some("theirs".into()),
        priority: Some(900),
        filter: Some(Filter::new("Theirs/", vec![])),
        destination: RuleDestination {
            bucket: "arn:aws:s3:::backup".into(),
            ..RuleDestination::default()
        },
        delete_marker_replication: Some(Setting::new(false)),
        ..ReplicationRule::default()
    };
    state
        .buckets
        .get_mut("source")
        .unwrap()
        .replication
        .as_mut()
        .unwrap()
        .rules
        .push(rule);
}

fn rules(world: &World) -> Vec<String> {
    let existing = world.snapshot().buckets["source"].replication.clone();
    let mut rules: Vec<_> = existing
        .into_iter()
        .flat_map(|found| found.rules)
        .filter_map(|rule| rule.id)
        .collect();
    rules.sort();
    rules
}

fn writes_rules(report: &Report) -> bool {
    report
        .done
        .iter()
        .any(|step| matches!(step, Step::PutReplication { .. }))
}

/// The visit ends where it has to wait, and the next one goes on from what it reads then.
#[tokio::test]
async fn a_foreign_rule_that_comes_while_permissions_settle_survives() {
    let (world, mut cluster) = (ground(), Cluster::default());
    cluster.apply("one", &wish("One/"));
    cluster.settle(&world).await;
    cluster.apply("two", &wish("Two/"));
    let report = cluster.visit(&world).await;
    assert!(
        !writes_rules(&report)
            && matches!(report.ending, Ending::After(wait) if wait > Duration::from_secs(14)),
        "{:?}",
        report.ending
    );
    assert_eq!(cluster.condition("two", "Ready").0, "Unknown");
    assert_eq!(
        cluster.condition("two", "ReplicationConfigured").1,
        "Progressing"
    );
    ready_alone(&cluster, "one");
    world.edit(add_theirs);
    cluster.pass(10);
    assert!(
        !writes_rules(&cluster.visit(&world).await),
        "it was written before the delay was over"
    );
    cluster.pass(6);
    assert!(
        writes_rules(&cluster.visit(&world).await),
        "it was not written when the delay was over"
    );
    assert_eq!(
        rules(&world),
        ["test/finance/one/a", "test/finance/two/a", "theirs"]
    );
    ready(&cluster);
}

fn ready_alone(cluster: &Cluster, name: &str) {
    assert_eq!(
        cluster.condition(name, "Ready").0,
        "True",
        "{}",
        cluster.message(name, "Ready")
    );
}

/// A PUT replaces the whole configuration, so that it only follows a read that still shows what it was planned on. AWS has no compare-and-set:
/// what others write between that read and the PUT is lost.
#[tokio::test(start_paused = true)]
async fn a_foreign_rule_that_comes_while_a_visit_is_under_way_survives_but_for_one_call() {
    const LATENCY: u64 = 20;
    let mut lost = vec![];
    for moment in (0..400).step_by(5) {
        let (world, mut cluster) = (ground(), Cluster::default());
        cluster.apply("one", &wish("One/"));
        cluster.settle(&world).await;
        cluster.times.settle = Duration::ZERO;
        cluster.apply("two", &wish("Two/"));
        world.set_latency(Duration::from_millis(LATENCY));
        let edit = async {
            tokio::time::sleep(Duration::from_millis(moment)).await;
            world.edit(add_theirs);
        };
        tokio::join!(cluster.visit(&world), edit);
        let written = rules(&world).contains(&"test/finance/two/a".to_owned());
        assert!(written, "not written by the same visit, at {moment} ms");
        cluster.pass(30);
        cluster.settle(&world).await;
        if rules(&world) != ["test/finance/one/a", "test/finance/two/a", "theirs"] {
            lost.push(moment);
        }
        ready(&cluster);
    }
    assert!(
        lost.iter().max().unwrap_or(&0) - lost.iter().min().unwrap_or(&0) <= LATENCY,
        "lost at {lost:?} ms"
    );
}

#[tokio::test]
async fn a_neighbour_who_edits_again_and_again_holds_up_nobody() {
    let (world, mut cluster) = (ground(), Cluster::default());
    cluster.apply("restless", &wish("Restless/"));
    cluster.settle(&world).await;
    cluster.apply("two", &wish("Two/"));
    let mut waited = 0;
    for edit in 0.. {
        cluster.apply("restless", &wish(&format!("Restless/{edit}/")));
        cluster.visit(&world).await;
        if cluster.condition("two", "Ready").0 == "True" {
            break;
        }
        cluster.pass(10);
        waited += 10;
        assert!(waited <= 30, "two is not ready after {waited} s");
    }
    cluster.settle(&world).await;
    ready(&cluster);
}

/// Neither is a correction delayed by them.
#[tokio::test]
async fn a_neighbour_who_edits_every_ten_seconds_delays_no_correction() {
    let (world, mut cluster) = (ground(), Cluster::default());
    cluster.apply("restless", &wish("Restless/"));
    cluster.apply("two", &wish("Two/"));
    cluster.settle(&world).await;
    ready(&cluster);
    let has_rule = |world: &World| rules(world).contains(&"test/finance/two/a".to_owned());
    world.edit(|state| {
        let source = state.buckets.get_mut("source").unwrap();
        let rules = &mut source.replication.as_mut().unwrap().rules;
        rules.retain(|rule| rule.id.as_deref() != Some("test/finance/two/a"));
    });
    let mut waited = 0;
    for edit in 0.. {
        cluster.apply("restless", &wish(&format!("Restless/{edit}/")));
        cluster.visit(&world).await;
        if has_rule(&world) {
            break;
        }
        cluster.pass(10);
        waited += 10;
        assert!(waited <= 20, "the rule of two is not back after {waited} s");
    }
    cluster.settle(&world).await;
    ready(&cluster);
}

/// Edits are no corrections: what was corrected once is not contended because tenants edit.
#[tokio::test]
async fn five_edits_after_a_correction_delay_no_neighbour() {
    let (world, mut cluster) = (ground(), Cluster::default());
    cluster.apply("restless", &wish("Restless/"));
    cluster.settle(&world).await;
    world.edit(|state| {
        let source = state.buckets.get_mut("source").unwrap();
        source.replication = None;
    });
    cluster.settle(&world).await;
    assert!(!rules(&world).is_empty(), "it was corrected");
    for edit in 0..5 {
        cluster.apply("restless", &wish(&format!("Restless/{edit}/")));
        cluster.settle(&world).await;
        ready(&cluster);
    }
    cluster.apply("two", &wish("Two/"));
    let mut waited = 0;
    while cluster.condition("two", "Ready").0 != "True" {
        assert!(waited <= 20, "two is not ready after {waited} s");
        cluster.visit(&world).await;
        cluster.pass(5);
        waited += 5;
    }
}

/// What was granted for a rule that waits is taken away: it has to be granted again, and for long enough.
#[tokio::test]
async fn what_is_taken_away_while_it_settles_has_to_settle_again() {
    let (world, mut cluster) = (ground(), Cluster::default());
    let theirs = world.snapshot().buckets["dest"].policy.clone();
    cluster.apply("one", &wish("One/"));
    cluster.visit(&world).await;
    cluster.pass(20);
    world.edit(|state| state.buckets.get_mut("dest").unwrap().policy = theirs);
    assert!(
        !writes_rules(&cluster.visit(&world).await),
        "the destination does not let the role in"
    );
    cluster.pass(10);
    assert!(
        !writes_rules(&cluster.visit(&world).await),
        "it was let in ten seconds ago"
    );
    cluster.pass(60);
    cluster.settle(&world).await;
    ready(&cluster);
}

/// Existing rules stay, but an object that needs another permission is not ready before that has settled.
#[tokio::test]
async fn another_source_key_has_to_settle_although_no_rule_changes() {
    let (world, mut cluster) = (ground(), Cluster::default());
    cluster.apply("one", &wish("One/"));
    cluster.apply("two", &wish("Two/"));
    cluster.settle(&world).await;
    let before = rules(&world);
    let mut both = wish("One/");
    let keys = ["src", "src2"].map(|id| key(PROD, "us-east-1", id).to_string());
    both["source"]["kmsKeys"] = json!(keys);
    cluster.apply("one", &both);
    let report = cluster.visit(&world).await;
    assert!(!writes_rules(&report) && rules(&world) == before);
    assert_eq!(
        cluster.condition("one", "Ready"),
        ("Unknown".into(), "Progressing".into())
    );
    assert!(
        matches!(report.ending, Ending::After(wait) if wait > Duration::from_secs(14)),
        "{:?}",
        report.ending
    );
    ready_alone(&cluster, "two");
    cluster.pass(16);
    let report = cluster.visit(&world).await;
    assert_eq!(report.done, []);
    ready(&cluster);
}

/// So it is if what another writer removed is granted again.
#[tokio::test]
async fn a_corrected_permission_has_to_settle() {
    let (world, mut cluster) = (ground(), Cluster::default());
    let theirs = world.snapshot().buckets["dest"].policy.clone();
    cluster.apply("one", &wish("One/"));
    cluster.settle(&world).await;
    world.edit(|state| state.buckets.get_mut("dest").unwrap().policy = theirs);
    cluster.visit(&world).await;
    cluster.pass(6);
    let report = cluster.visit(&world).await;
    assert!(!report.corrections.is_empty());
    assert_eq!(cluster.condition("one", "Ready").1, "Progressing");
    cluster.pass(16);
    cluster.visit(&world).await;
    ready(&cluster);
}

/// After a restart, what was ready is ready at once, and what was not has to settle.
#[tokio::test]
async fn a_restart_while_permissions_settle_makes_no_one_ready() {
    let (world, mut cluster) = (ground(), Cluster::default());
    cluster.apply("one", &wish("One/"));
    cluster.settle(&world).await;
    cluster.restart();
    cluster.visit(&world).await;
    ready(&cluster);
    let mut other = wish("One/");
    other["source"]["kmsKeys"] = json!([key(PROD, "us-east-1", "src2").to_string()]);
    cluster.apply("one", &other);
    cluster.visit(&world).await;
    cluster.restart();
    cluster.pass(5);
    cluster.visit(&world).await;
    assert_eq!(cluster.condition("one", "Ready").1, "Progressing");
    cluster.pass(16);
    cluster.visit(&world).await;
    ready(&cluster);
}

/// A read that does not show the statement yet is no reason to leave it.
#[tokio::test]
async fn a_deletion_leaves_nothing_that_a_lagging_read_did_not_show() {
    for restarts in [false, true] {
        let (world, mut cluster) = (ground(), Cluster::default());
        let before = world.snapshot();
        cluster.times.settle = Duration::ZERO;
        cluster.apply("one", &wish("One/"));
        cluster.settle(&world).await;
        // Reads show the bucket policy as it was before the operator wrote it.
        let granted = world.snapshot();
        let mut former = granted.clone();
        former.buckets.get_mut("dest").unwrap().policy = before.buckets["dest"].policy.clone();
        world.set_faults(Faults {
            lag: true,
            ..Faults::default()
        });
        world.aws.set_former(Some(former));
        if restarts {
            cluster.restart();
        }
        cluster.delete("one");
        cluster.visit(&world).await;
        assert!(!cluster.objects.is_empty(), "it was released in doubt");
        world.catch_up();
        world.set_faults(Faults::default());
        cluster.pass(6);
        cluster.settle(&world).await;
        assert!(cluster.objects.is_empty());
        assert_eq!(comparable(&world.snapshot()), comparable(&before));
    }
}

/// While the rules can't be read, no permission of theirs is removed.
#[tokio::test]
async fn a_deletion_removes_nothing_while_the_rules_can_t_be_read() {
    let (world, mut cluster) = (ground(), Cluster::default());
    cluster.apply("one", &wish("One/"));
    cluster.settle(&world).await;
    world.deny("s3:GetReplicationConfiguration", PROD);
    cluster.delete("one");
    world.set_faults(Faults::default());
    for _ in 0..2 {
        cluster.visit(&world).await;
        cluster.pass(60);
    }
    assert_eq!(world.writes(), 0);
    assert_eq!(cluster.condition("one", "Ready").1, "DeletionBlocked");
    world.mend();
    cluster.settle(&world).await;
    assert!(cluster.objects.is_empty() && rules(&world).is_empty());
}

/// A finalizer that someone removed is added again, although nothing has to be written to AWS.
#[tokio::test]
async fn a_finalizer_that_was_removed_comes_back() {
    let (world, mut cluster) = (ground(), Cluster::default());
    cluster.apply("one", &wish("One/"));
    cluster.settle(&world).await;
    cluster.objects.get_mut(&object_key("one")).unwrap().0.held = false;
    let report = cluster.visit(&world).await;
    assert!(report.done.is_empty() && cluster.objects[&object_key("one")].0.held);
}

/// Nothing is written for an object without the finalizer, and no neighbor waits for it.
#[tokio::test]
async fn a_refused_finalizer_concerns_its_object_alone() {
    let (world, mut cluster) = (ground(), Cluster::default());
    cluster.apply("one", &wish("One/"));
    cluster.apply("refused", &wish("Refused/"));
    cluster.unholdable = [object_key("refused")].into();
    cluster.settle(&world).await;
    ready_alone(&cluster, "one");
    assert_eq!(
        cluster.condition("refused", "Ready"),
        ("False".into(), "FinalizerRefused".into())
    );
    assert!(
        cluster
            .message("refused", "Ready")
            .contains("denied by a webhook")
    );
    assert_eq!(rules(&world), ["test/finance/one/a"]);
    cluster.unholdable.clear();
    cluster.settle(&world).await;
    ready(&cluster);
}

/// A removal in doubt is confirmed by a second read, although a neighbor's finalizer is refused and the plan changes within each visit.
#[tokio::test]
async fn a_deletion_in_doubt_ends_beside_a_refused_finalizer() {
    let (world, mut cluster) = (ground(), Cluster::default());
    cluster.apply("one", &wish("One/"));
    cluster.settle(&world).await;
    world.edit(|state| state.buckets.get_mut("source").unwrap().replication = None);
    cluster.delete("one");
    cluster.apply("refused", &wish("Refused/"));
    cluster.unholdable = [object_key("refused")].into();
    cluster.visit(&world).await;
    assert!(
        cluster.objects.contains_key(&object_key("one")),
        "it was released in doubt"
    );
    for _ in 0..4 {
        cluster.pass(20);
        cluster.visit(&world).await;
    }
    assert!(!cluster.objects.contains_key(&object_key("one")));
    assert_eq!(cluster.condition("refused", "Ready").1, "FinalizerRefused");
}

/// A policy that can't name the role for minutes blocks no object but those that need it.
#[tokio::test]
async fn a_principal_that_never_becomes_visible_blocks_no_neighbor() {
    let (world, mut cluster) = (ground(), Cluster::default());
    world.fail("PutKeyPolicy", FailureKind::PrincipalNotVisible);
    cluster.apply("blocked", &wish("Blocked/"));
    let rules_to_backup = json!({"rules": [{"name": "a", "prefix": "One/"}]});
    cluster.apply("one", &spec(("prod", "backup"), None, &rules_to_backup));
    for _ in 0..10 {
        cluster.visit(&world).await;
        cluster.pass(30);
    }
    ready_alone(&cluster, "one");
    assert_eq!(cluster.condition("blocked", "Ready").0, "False");
    world.mend();
    cluster.settle(&world).await;
    ready(&cluster);
}

/// An object whose destination's owner has to apply a statement, and the destination's policy without it and with it.
async fn waiting_for_an_owner(world: &World) -> (Cluster, Document, Document) {
    let mut cluster = Cluster::default();
    let check = json!({"policies": {"bucketPolicy": "Check"}});
    cluster.accounts[1] = account("dr", DR, &check);
    cluster.apply("one", &wish("One/"));
    for _ in 0..3 {
        cluster.visit(world).await;
        cluster.pass(60);
    }
    assert_eq!(cluster.condition("one", "Ready").1, "BucketPolicyNeeded");
    let action = cluster.objects[&object_key("one")].2.required_actions[0].clone();
    let statement: Value = serde_json::from_str(&action.statement).unwrap();
    let without = world.snapshot().buckets["dest"].policy.clone();
    let without = without.unwrap();
    let mut json = without.json();
    json["Statement"].as_array_mut().unwrap().push(statement);
    let with = Document::parse(&json.to_string()).unwrap();
    (cluster, without, with)
}

fn put_policy(world: &World, policy: &Document) {
    world.edit(|state| {
        state.buckets.get_mut("dest").unwrap().policy = Some(policy.clone());
    });
}

/// What the owner of a destination applies has to settle like what the operator writes.
#[tokio::test]
async fn what_an_owner_applies_has_to_settle_too() {
    let world = ground();
    let (mut cluster, _, applied) = waiting_for_an_owner(&world).await;
    put_policy(&world, &applied);
    assert!(
        !writes_rules(&cluster.visit(&world).await),
        "the owner applied it just now"
    );
    cluster.pass(20);
    assert!(writes_rules(&cluster.visit(&world).await));
    ready(&cluster);
}

/// So it has if the owner removes it meanwhile and applies it again.
#[tokio::test]
async fn what_an_owner_applies_again_has_to_settle_again() {
    let world = ground();
    let (mut cluster, removed, applied) = waiting_for_an_owner(&world).await;
    for (policy, wait) in [(&applied, 5), (&removed, 10)] {
        put_policy(&world, policy);
        assert!(!writes_rules(&cluster.visit(&world).await));
        cluster.pass(wait);
    }
    put_policy(&world, &applied);
    assert!(
        !writes_rules(&cluster.visit(&world).await),
        "the owner applied it again just now"
    );
    cluster.pass(20);
    assert!(writes_rules(&cluster.visit(&world).await));
    ready(&cluster);
}

/// While the policy of one destination is contended, its object waits, and every other one is served.
#[tokio::test]
async fn what_one_object_fights_for_holds_up_no_one_else() {
    let (world, mut cluster) = (ground(), Cluster::default());
    let contended = spec(
        ("dr", "archive"),
        None,
        &json!({"rules": [{"name": "a", "prefix": "Contended/"}]}),
    );
    cluster.apply("contended", &contended);
    cluster.settle(&world).await;
    let revert = |world: &World| {
        world.edit(|state| {
            state.buckets.get_mut("archive").unwrap().policy = None;
        });
    };
    for _ in 0..12 {
        for _ in 0..2 {
            revert(&world);
            cluster.visit(&world).await;
            cluster.pass(30);
        }
    }
    assert_eq!(cluster.condition("contended", "Ready").1, "Contended");
    // What follows from an edit is not delayed, and that corrects it once more.
    cluster.apply("one", &wish("One/"));
    cluster.visit(&world).await;
    for _ in 0..3 {
        revert(&world);
        cluster.visit(&world).await;
        assert_eq!(cluster.condition("contended", "Ready").1, "Contended");
        cluster.pass(20);
    }
    ready_alone(&cluster, "one");
    let report = cluster.visit(&world).await;
    assert_eq!(
        report.ending,
        Ending::Blocked,
        "what else is blocked is checked again soon"
    );
    // It goes while the contention lasts, and leaves nothing but what is contended.
    cluster.delete("one");
    for _ in 0..3 {
        cluster.visit(&world).await;
        cluster.pass(20);
    }
    assert!(!cluster.objects.contains_key(&object_key("one")));
    assert_eq!(rules(&world), ["test/finance/contended/a"]);
    cluster.pass(3_600);
    cluster.settle(&world).await;
    cluster.pass(7_200);
    cluster.settle(&world).await;
    ready(&cluster);
}

/// A retained rule of a deleted object needs nothing of those who come later, even if the owner of its destination no longer allows the role.
#[tokio::test]
async fn a_retained_rule_that_is_no_longer_allowed_blocks_no_one() {
    let (world, mut cluster) = (ground(), Cluster::default());
    let to_backup = |prefix: &str| {
        let rules = json!({"rules": [{"name": "a", "prefix": prefix}]});
        spec(("prod", "backup"), None, &rules)
    };
    let retained = json!({"deletionPolicy": "Retain", "rules": [{"name": "a", "prefix": "Kept/"}]});
    cluster.apply("kept", &spec(("dr", "archive"), None, &retained));
    cluster.settle(&world).await;
    cluster.delete("kept");
    cluster.apply("one", &to_backup("One/"));
    cluster.settle(&world).await;
    let check = json!({"policies": {"bucketPolicy": "Check"}});
    cluster.accounts[1] = account("dr", DR, &check);
    world.edit(|state| {
        state.buckets.get_mut("archive").unwrap().policy = None;
    });
    cluster.apply("two", &to_backup("Two/"));
    for _ in 0..4 {
        cluster.visit(&world).await;
        cluster.pass(20);
    }
    ready(&cluster);
}

/// Two objects that take over the last two unmanaged rules of a bucket move it to the operator's role together.
#[tokio::test]
async fn all_unmanaged_rules_are_taken_over_at_once() {
    let (world, mut cluster) = (ground(), Cluster::default());
    let prefixes = ["One/", "Two/"];
    world.edit(|state| {
        put_theirs(state, THEIR_ROLE, None);
        let source = state.buckets.get_mut("source").unwrap();
        let rules = &mut source.replication.as_mut().unwrap().rules;
        *rules = [1, 2]
            .map(|priority| ReplicationRule {
                id: Some(prefixes[priority - 1].to_lowercase().replace('/', "")),
                priority: i32::try_from(priority).ok(),
                filter: Some(Filter::new(prefixes[priority - 1], vec![])),
                ..rules[0].clone()
            })
            .into();
    });
    for (name, prefix) in ["one", "two"].into_iter().zip(prefixes) {
        let settings = json!({
            "existingConfiguration": "Merge",
            "metrics": "Disabled",
            "rules": [{"name": "a", "prefix": prefix}],
        });
        cluster.apply(name, &spec(("prod", "backup"), None, &settings));
        let object = &mut cluster.objects.get_mut(&object_key(name)).unwrap().0;
        object.take_over = [name.to_owned()].into();
    }
    for _ in 0..4 {
        cluster.visit(&world).await;
        cluster.pass(20);
    }
    assert_eq!(rules(&world), ["test/finance/one/a", "test/finance/two/a"]);
    ready(&cluster);
}

/// Whatever the failure: within minutes it says that it is blocked, and then it can be abandoned.
#[tokio::test]
async fn a_deletion_that_fails_for_minutes_says_so() {
    for kind in [
        FailureKind::Transient,
        FailureKind::Throttled,
        FailureKind::PrincipalNotVisible,
        FailureKind::Denied,
    ] {
        let (world, mut cluster) = (ground(), Cluster::default());
        cluster.apply("one", &wish("One/"));
        cluster.settle(&world).await;
        world.fail("PutBucketPolicy", kind);
        world.fail("PutKeyPolicy", kind);
        cluster.delete("one");
        cluster.visit(&world).await;
        let at_once = if kind == FailureKind::Denied {
            "DeletionBlocked"
        } else {
            "Deleting"
        };
        assert_eq!(cluster.condition("one", "Ready").1, at_once, "{kind:?}");
        for _ in 0..4 {
            cluster.pass(60);
            cluster.visit(&world).await;
        }
        assert_eq!(
            cluster.condition("one", "Ready"),
            ("False".into(), "DeletionBlocked".into()),
            "{kind:?}"
        );
        assert!(
            cluster
                .message("one", "Ready")
                .contains("bucketops.dev/abandon=true"),
            "{}",
            cluster.message("one", "Ready")
        );
        cluster
            .objects
            .get_mut(&object_key("one"))
            .unwrap()
            .0
            .abandoned = true;
        cluster.visit(&world).await;
        assert!(
            cluster.objects.is_empty(),
            "{kind:?}: it can't be abandoned"
        );
    }
}

/// A visit that never comes to an end is told like any other failure.
#[tokio::test]
async fn a_visit_that_is_given_up_is_told() {
    let (world, mut cluster) = (ground(), Cluster::default());
    cluster.apply("one", &wish("One/"));
    cluster.apply("paused", &wish("Paused/"));
    cluster.apply("going", &wish("Going/"));
    cluster.settle(&world).await;
    cluster.apply(
        "paused",
        &spec(("dr", "dest"), None, &json!({"mode": "Paused"})),
    );
    cluster.delete("going");
    cluster.pass(100);
    let told = |cluster: &mut Cluster| {
        let now = *cluster.clock.lock().unwrap();
        let report = unended(
            &cluster.subject(),
            Duration::from_mins(5),
            Memory::default(),
            now,
        );
        assert_eq!(report.ending, Ending::Retry);
        for (key, status) in report.statuses {
            cluster.objects.get_mut(&key).unwrap().2 = status;
        }
        ["one", "paused", "going"].map(|name| cluster.condition(name, "Ready").1)
    };
    assert_eq!(told(&mut cluster), ["AWSUnavailable", "Ready", "Deleting"]);
    cluster.pass(100);
    assert_eq!(
        told(&mut cluster),
        ["AWSUnavailable", "Ready", "DeletionBlocked"]
    );
    let now = *cluster.clock.lock().unwrap();
    let failed = panicked(&cluster.subject(), Memory::default(), now);
    assert_eq!(failed.ending, Ending::Retry);
    let (_, status) = failed
        .statuses
        .iter()
        .find(|(key, _)| **key == object_key("one"))
        .unwrap();
    let ready = status.ready().unwrap();
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_str()),
        ("False", "InternalError")
    );
    assert!(
        !failed.statuses.contains_key(&object_key("paused")),
        "it is not read"
    );
    let object = &mut cluster.objects.get_mut(&object_key("going")).unwrap().0;
    object.abandoned = true;
    let now = *cluster.clock.lock().unwrap();
    let report = unended(
        &cluster.subject(),
        Duration::from_mins(5),
        Memory::default(),
        now,
    );
    assert_eq!(report.released, [object_key("going")].into());
    world.set_faults(Faults::default());
}
