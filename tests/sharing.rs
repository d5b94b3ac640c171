//! Whatever stands on a bucket that is not ours, and in whatever order objects and foreign rules come and go, with crashes, reads that lag and
//! stale stores in between: what is foreign stays as it is, and AWS comes to the one state that the objects ask for.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on has failed"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use bucket_replication_operator::replication::{
    configuration::{
        AccessControlTranslation, Configuration, EncryptionConfiguration, Filter, Metrics, Minutes,
        ReplicationRule, ReplicationTime, RuleDestination, Setting, SourceSelectionCriteria, Tag,
    },
    names::ObjectKey,
    policy::Document,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{
    cluster::{Cluster, DR, KEYS, THEIR_ROLE, ground, installation, key, make_their_role},
    life::{Wish, comparable, fault, foreign, interrupted, nothing_of_ours, ready, wish, write},
    world::{Faults, State, World},
};

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    /// An object is applied, for the first time or with another spec.
    Apply(usize, Wish),
    /// An object is deleted.
    Delete(usize),
    /// Somebody adds a rule of that shape to the bucket's configuration.
    AddRule(u8),
    /// Somebody removes one of their rules.
    RemoveRule(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..4_usize, wish()).prop_map(|(name, wish)| Event::Apply(name, wish)),
        2 => (0..4_usize).prop_map(Event::Delete),
        1 => any::<u8>().prop_map(Event::AddRule),
        1 => any::<usize>().prop_map(Event::RemoveRule),
    ]
}

/// Statements as people write them; `{me}` stands for the ARN of the bucket or key.
const STATEMENTS: [&str; 8] = [
    r#"{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["{me}","{me}/*"],"Condition":{"Bool":{"aws:SecureTransport":"false"}}}"#,
    r#"{"Sid":"Twice","Effect":"Allow","Principal":{"AWS":"111111111111"},"Action":["s3:Get*"],"Resource":"{me}/*"}"#,
    r#"{"Sid":"Twice","Effect":"Allow","Principal":{"AWS":["arn:aws:iam::222222222222:root"]},"Action":"s3:GetObject","Resource":["{me}/a*"]}"#,
    r#"{"Sid":"Bücher 🗄","Effect":"Deny","NotPrincipal":{"AWS":["111111111111","222222222222"]},"NotAction":["s3:List*","s3:Get*","s3:Replicate*","s3:ObjectOwner*","s3:*BucketPolicy","kms:*"],"NotResource":"{me}/öffentlich/*"}"#,
    r#"{"Sid":"","Effect":"Allow","Principal":{"Service":["logging.s3.amazonaws.com","delivery.logs.amazonaws.com"],"AWS":"*"},"Action":"s3:PutObject","Resource":"{me}/*","Condition":{"StringEquals":{"aws:SourceAccount":["111111111111"],"s3:x-amz-acl":"bucket-owner-full-control"},"ArnLike":{"aws:SourceArn":"arn:aws:s3:::*"}}}"#,
    r#"{"Sid":"Brepl","Effect":"Allow","Principal":{"AWS":"222222222222"},"Action":"s3:ListBucket","Resource":"{me}","Condition":{"NumericLessThan":{"s3:max-keys":10},"Null":{"aws:TokenIssueTime":true}}}"#,
    r#"{"Sid":"BreplotherReplicas00000000000000000000","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111111111111:root"},"Action":["s3:ReplicateObject"],"Resource":["{me}/*"]}"#,
    r#"{"Resource":"{me}","Action":"S3:getbucketlocation","Principal":{"AWS":["222222222222","222222222222"]},"Effect":"Allow"}"#,
];

/// A rule of theirs: each bit of `shape` is a feature.
fn their_rule(number: usize, shape: u8, priority: i32) -> ReplicationRule {
    let has = |bit: u8| shape & (1 << bit) != 0;
    let tags: Vec<_> = ["ä", "b"]
        .iter()
        .take(usize::from(shape & 3))
        .map(|key| Tag {
            key: (*key).into(),
            value: "é<&>".into(),
        })
        .collect();
    let tagged = !tags.is_empty();
    let across = has(2) || has(4);
    ReplicationRule {
        id: Some(format!("theirs/{number}")),
        priority: Some(priority),
        filter: Some(if has(2) && !tagged {
            Filter::new("theirs/", vec![])
        } else {
            Filter::new(&format!("theirs/{number}/"), tags)
        }),
        status: (!has(3)).into(),
        source_selection_criteria: has(5).then(|| SourceSelectionCriteria {
            sse_kms_encrypted_objects: Some(Setting::new(true)),
            replica_modifications: has(3).then(|| Setting::new(false)),
        }),
        // S3 no longer accepts it.
        existing_object_replication: None,
        destination: RuleDestination {
            bucket: if across {
                "arn:aws:s3:::dest"
            } else {
                "arn:aws:s3:::backup"
            }
            .into(),
            account: across.then(|| DR.into()),
            storage_class: has(7).then(|| "GLACIER".into()),
            access_control_translation: has(4).then(|| AccessControlTranslation {
                owner: "Destination".into(),
            }),
            encryption_configuration: has(5).then(|| EncryptionConfiguration {
                replica_kms_key_id: Some("arn:aws:kms:us-west-2:222222222222:key/theirs".into()),
            }),
            replication_time: has(6).then(|| ReplicationTime {
                status: true.into(),
                time: Some(Minutes { minutes: 15 }),
            }),
            metrics: has(6).then(|| Metrics {
                status: true.into(),
                event_threshold: Some(Minutes { minutes: 15 }),
            }),
        },
        delete_marker_replication: Some(Setting::new(has(7) && !tagged)),
        ..ReplicationRule::default()
    }
}

fn place(policy: &Document, me: &str, chosen: &[usize]) -> Document {
    let mut json = policy.json();
    for statement in chosen {
        let text = STATEMENTS[*statement].replace("{me}", me);
        json["Statement"]
            .as_array_mut()
            .unwrap()
            .push(serde_json::from_str(&text).unwrap());
    }
    Document::parse(&json.to_string()).unwrap()
}

/// The ground with statements of theirs in every policy, and their role.
fn their_ground(statements: &Statements) -> World {
    let world = ground();
    let chosen = |place: u8| statements.get(&place).cloned().unwrap_or_default();
    world.edit(|state| {
        for (number, name) in [(0, "dest"), (1, "archive")] {
            let found = state.buckets.get_mut(name).unwrap();
            let stands = found.policy.clone().unwrap_or_default();
            let placed = place(&stands, &format!("arn:aws:s3:::{name}"), &chosen(number));
            found.policy = (!placed.is_empty()).then_some(placed);
        }
        for (number, arn) in [
            (2, key(DR, "us-west-2", "dst")),
            (3, key(KEYS, "us-west-2", "central")),
            (4, key(DR, "eu-west-1", "arc")),
        ] {
            let found = state.keys.get_mut(&arn.to_string()).unwrap();
            found.policy = place(&found.policy, &arn.to_string(), &chosen(number));
        }
        make_their_role(state);
    });
    world
}

/// Somebody adds a rule; where there is no configuration, under their role.
fn add(state: &mut State, rule: ReplicationRule) {
    let existing = &mut state.buckets.get_mut("source").unwrap().replication;
    existing
        .get_or_insert_with(|| Configuration {
            role: THEIR_ROLE.into(),
            rules: vec![],
        })
        .rules
        .push(rule);
}

fn their_rules(state: &State) -> Vec<ReplicationRule> {
    let existing = state.buckets["source"].replication.clone();
    existing
        .into_iter()
        .flat_map(|c| c.rules)
        .filter(|rule| rule.mark(&installation()).is_none())
        .collect()
}

fn merging(name: usize, wish: &Wish) -> Value {
    let mut spec = write(name, wish);
    spec["existingConfiguration"] = json!("Merge");
    spec
}

/// What AWS looks like where the objects were applied at once beside what is foreign now.
/// The objects that have rules in S3, exist and are not being deleted.
fn rules_of_existing(cluster: &Cluster, world: &World) -> BTreeSet<ObjectKey> {
    let state = world.snapshot();
    let configuration = state.buckets["source"].replication.as_ref();
    let rules = configuration.into_iter().flat_map(|read| &read.rules);
    let owners = rules.filter_map(|rule| Some(rule.mark(&installation())?.object));
    let stays = |key: &ObjectKey| {
        let object = cluster.objects.get(key);
        object.is_some_and(|(object, ..)| !object.is_deleting())
    };
    owners.filter(stays).collect()
}

async fn at_once(statements: &Statements, wishes: &BTreeMap<usize, Wish>, now: &State) -> Value {
    let (world, mut cluster) = (their_ground(statements), Cluster::default());
    let under_theirs = now.buckets["source"]
        .replication
        .as_ref()
        .is_some_and(|c| c.role == THEIR_ROLE);
    let rules = their_rules(now);
    let add_all = || world.edit(|state| rules.iter().for_each(|rule| add(state, rule.clone())));
    if under_theirs {
        add_all();
    }
    for (name, wish) in wishes {
        cluster.apply(&format!("o{name}"), &merging(*name, wish));
    }
    cluster.settle(&world).await;
    if !under_theirs {
        add_all();
        cluster.settle(&world).await;
    }
    comparable(&world.snapshot())
}

async fn happen(statements: Statements, before: Vec<u8>, events: Events) {
    let (world, mut cluster) = (their_ground(&statements), Cluster::default());
    world.edit(|state| {
        for (number, shape) in before.iter().enumerate() {
            add(
                state,
                their_rule(number, *shape, i32::try_from(3 * number).unwrap() + 2),
            );
        }
    });
    let mut wishes: BTreeMap<usize, Wish> = BTreeMap::new();
    let (mut number, mut before_last) = (before.len(), cluster.objects.clone());
    let mut left_for_theirs = false;
    let all_go = (0..4).map(|name| (Event::Delete(name), vec![]));
    for (event, stops) in events.into_iter().chain(all_go) {
        let stale = std::mem::replace(&mut before_last, cluster.objects.clone());
        match event {
            Event::Apply(name, wish) => {
                cluster.apply(&format!("o{name}"), &merging(name, &wish));
                wishes.insert(name, wish);
            }
            Event::Delete(name) if !wishes.contains_key(&name) => continue,
            Event::Delete(name) => {
                cluster.delete(&format!("o{name}"));
                wishes.remove(&name);
            }
            Event::AddRule(shape) => world.edit(|state| {
                let existing = state.buckets["source"].replication.clone();
                let taken: Vec<_> = existing
                    .iter()
                    .flat_map(|c| &c.rules)
                    .filter_map(|rule| rule.priority)
                    .collect();
                let free = (i32::from(shape % 9)..1000)
                    .find(|priority| !taken.contains(priority))
                    .unwrap();
                number += 1;
                add(state, their_rule(number, shape, free));
            }),
            Event::RemoveRule(_) if their_rules(&world.snapshot()).is_empty() => continue,
            Event::RemoveRule(chosen) => world.edit(|state| {
                let rules = their_rules(state);
                let gone = &rules[chosen % rules.len()];
                let existing = &mut state.buckets.get_mut("source").unwrap().replication;
                existing
                    .as_mut()
                    .unwrap()
                    .rules
                    .retain(|rule| rule.id != gone.id);
                *existing = existing
                    .take()
                    .filter(|existing| !existing.rules.is_empty());
            }),
        }
        let theirs = foreign(&world.snapshot());
        world.set_faults(Faults::default());
        cluster.stale = Some(stale).filter(|stale| !stale.is_empty() && *stale != cluster.objects);
        if cluster.stale.is_some() {
            let before = rules_of_existing(&cluster, &world);
            cluster.visit(&world).await;
            let after = rules_of_existing(&cluster, &world);
            assert!(before.is_subset(&after), "a stale store lost rules");
            assert_eq!(foreign(&world.snapshot()), theirs);
        }
        cluster.stale = None;
        interrupted(
            &mut cluster,
            &world,
            &stops.iter().copied().map(fault).collect::<Vec<_>>(),
        )
        .await;
        ready(&cluster);
        let now = world.snapshot();
        assert_eq!(foreign(&now), theirs);
        if wishes.is_empty() {
            // Our role stays with the rules of theirs that came under it; when those go too, no object is left whose visit could remove it.
            left_for_theirs |= now.buckets["source"]
                .replication
                .as_ref()
                .is_some_and(|c| c.role != THEIR_ROLE);
            assert!(
                cluster.objects.is_empty() && (left_for_theirs || nothing_of_ours(&now)),
                "{now:#?}"
            );
        } else {
            left_for_theirs = false;
            assert_eq!(comparable(&now), at_once(&statements, &wishes, &now).await);
        }
    }
    assert!(wishes.is_empty());
}

type Statements = BTreeMap<u8, Vec<usize>>;

fn statements() -> impl Strategy<Value = Statements> {
    prop::collection::btree_map(
        0..5_u8,
        prop::collection::vec(0..STATEMENTS.len(), 0..5),
        0..5,
    )
}

type Events = Vec<(Event, Vec<(usize, bool)>)>;

fn events() -> impl Strategy<Value = Events> {
    prop::collection::vec(
        (
            event(),
            prop::collection::vec((0..9_usize, any::<bool>()), 0..3),
        ),
        1..6,
    )
}

fn run(statements: Statements, before: Vec<u8>, events: Events) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(happen(statements, before, events));
}

// A thousand in all, on two cores at once.
proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn on_a_bucket_of_our_own_what_others_add_stays(statements in statements(), events in events()) {
        run(statements, vec![], events);
    }

    #[test]
    fn beside_a_configuration_under_their_role_what_is_theirs_stays(
        statements in statements(),
        before in prop::collection::vec(any::<u8>(), 1..3),
        events in events(),
    ) {
        run(statements, before, events);
    }
}
