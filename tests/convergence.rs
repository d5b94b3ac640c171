//! Whatever objects come, change and go, and wherever the operator is stopped on the way, AWS comes to the one state that they ask for,
//! with everything foreign as it was. The world checks after each step that no rule is enabled without its permissions.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on has failed"
)]

mod support;

use bucket_replication_operator::{
    replication::visit::notice::Notice,
    replication::{
        configuration::{Filter, ReplicationRule, RuleDestination, Setting},
        policy::Document,
        requeue::Ending,
    },
};
use proptest::prelude::*;
use serde_json::json;
use support::{
    cluster::{Cluster, DR, KEYS, PROD, ground, key, object_key, spec},
    life::{
        Wish, comparable, fault, foreign, fresh, interrupted, nothing_of_ours, ready,
        visit_that_lags, wish, write,
    },
    world::{
        Faults, State, World, delete_replication_roles, replication_roles, replication_roles_mut,
    },
};

async fn life(wishes: Vec<Wish>, edit: Wish, stops: &[(usize, bool)]) {
    let faults: Vec<_> = stops.iter().copied().map(fault).collect();
    let (world, mut cluster) = (ground(), Cluster::default());
    let before = foreign(&world.snapshot());
    let mut wishes: Vec<(usize, Wish)> = wishes.into_iter().enumerate().collect();
    for (name, wish) in &wishes {
        cluster.apply(&format!("o{name}"), &write(*name, wish));
    }
    interrupted(&mut cluster, &world, &faults).await;
    ready(&cluster);
    assert_eq!(foreign(&world.snapshot()), before);
    assert_eq!(
        comparable(&world.snapshot()),
        fresh(&wishes).await,
        "after create"
    );

    wishes[0].1 = edit;
    cluster.apply("o0", &write(0, &wishes[0].1));
    interrupted(&mut cluster, &world, &faults).await;
    ready(&cluster);
    assert_eq!(
        comparable(&world.snapshot()),
        fresh(&wishes).await,
        "after edit"
    );

    cluster.delete("o0");
    interrupted(&mut cluster, &world, &faults).await;
    ready(&cluster);
    assert_eq!(foreign(&world.snapshot()), before);
    assert_eq!(
        comparable(&world.snapshot()),
        fresh(&wishes[1..]).await,
        "after deleting one"
    );
    for (name, _) in &wishes[1..] {
        cluster.delete(&format!("o{name}"));
    }
    interrupted(&mut cluster, &world, &faults).await;
    assert!(cluster.objects.is_empty());
    let end = world.snapshot();
    assert_eq!(foreign(&end), before);
    assert!(nothing_of_ours(&end), "{end:#?}");
    assert_eq!(comparable(&end), comparable(&ground().snapshot()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn what_aws_refuses_for_a_while_comes_right_afterwards(wishes in prop::collection::vec(wish(), 1..4), edit in wish(), refused in 0..REFUSALS.len(), in_between: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(life_with_refusals(wishes, edit, REFUSALS[refused], in_between));
    }
}

/// An action that AWS denies the operator for a while.
const REFUSALS: [(&str, &str); 8] = [
    ("kms:PutKeyPolicy", DR),
    ("kms:PutKeyPolicy", KEYS),
    ("s3:PutBucketPolicy", DR),
    ("s3:DeleteBucketPolicy", DR),
    ("iam:PutRolePolicy", PROD),
    ("s3:PutReplicationConfiguration", PROD),
    ("iam:CreateRole", PROD),
    ("iam:DeleteRole", PROD),
];

/// Comes to rest although an action is denied, and to the right end once it is not.
async fn refused_for_a_while(
    cluster: &mut Cluster,
    world: &World,
    (action, account): (&str, &str),
) {
    world.deny(action, account);
    cluster.settle(world).await;
    world.mend();
    cluster.pass(600);
    cluster.settle(world).await;
}

async fn life_with_refusals(
    wishes: Vec<Wish>,
    edit: Wish,
    refused: (&str, &str),
    in_between: bool,
) {
    let (world, mut cluster) = (ground(), Cluster::default());
    let before = foreign(&world.snapshot());
    let mut wishes: Vec<(usize, Wish)> = wishes.into_iter().enumerate().collect();
    for (name, wish) in &wishes {
        cluster.apply(&format!("o{name}"), &write(*name, wish));
    }
    refused_for_a_while(&mut cluster, &world, refused).await;
    ready(&cluster);
    assert_eq!(
        comparable(&world.snapshot()),
        fresh(&wishes).await,
        "after create"
    );
    wishes[0].1 = edit;
    cluster.apply("o0", &write(0, &wishes[0].1));
    if in_between {
        refused_for_a_while(&mut cluster, &world, refused).await;
        ready(&cluster);
        assert_eq!(
            comparable(&world.snapshot()),
            fresh(&wishes).await,
            "after edit"
        );
    } else {
        world.deny(refused.0, refused.1);
        cluster.settle(&world).await;
    }
    cluster.delete("o0");
    refused_for_a_while(&mut cluster, &world, refused).await;
    assert_eq!(
        comparable(&world.snapshot()),
        fresh(&wishes[1..]).await,
        "after deleting one"
    );
    for (name, _) in &wishes[1..] {
        cluster.delete(&format!("o{name}"));
    }
    refused_for_a_while(&mut cluster, &world, refused).await;
    assert!(cluster.objects.is_empty());
    assert!(nothing_of_ours(&world.snapshot()));
    assert_eq!(foreign(&world.snapshot()), before);
}

/// The edit that changes the most, stopped after each of its writes in turn.
#[tokio::test]
async fn an_edit_of_prefix_key_and_destination_leaves_nothing_of_the_old() {
    let full = |destination, prefixes| Wish {
        destination,
        kms: true,
        source_key: destination == 1,
        prefixes,
        markers: true,
        owner: true,
    };
    for stop in 0..12 {
        for lose in [false, true] {
            for again in 0..4 {
                life(
                    vec![full(1, vec![0])],
                    full(2, vec![1, 2]),
                    &[(stop, lose), (again, false)],
                )
                .await;
            }
        }
    }
}

/// Many objects need more than the inline policy: they come, half of them go, and all go, with a stop at every tenth write.
#[tokio::test]
async fn permissions_spill_and_come_back() {
    let wish = |destination, prefix| Wish {
        destination,
        kms: true,
        source_key: true,
        prefixes: vec![prefix],
        markers: true,
        owner: true,
    };
    let many: Vec<_> = (0..30_usize)
        .map(|name| (name, wish(1 + name % 2, name % 4)))
        .collect();
    for stop in (0..40).step_by(10) {
        let (world, mut cluster) = (ground(), Cluster::default());
        let faults = [fault((stop, false)), fault((stop / 2, true))];
        for (name, wish) in &many {
            cluster.apply(&format!("o{name}"), &write(*name, wish));
        }
        interrupted(&mut cluster, &world, &faults).await;
        ready(&cluster);
        assert!(
            world.snapshot().policies.len() > 3,
            "{}",
            world.snapshot().policies.len()
        );
        assert_eq!(
            comparable(&world.snapshot()),
            fresh(&many).await,
            "after create"
        );
        for (name, _) in many.iter().filter(|(name, _)| name % 2 == 0) {
            cluster.delete(&format!("o{name}"));
        }
        interrupted(&mut cluster, &world, &faults).await;
        ready(&cluster);
        let half: Vec<_> = many
            .iter()
            .filter(|(name, _)| name % 2 == 1)
            .cloned()
            .collect();
        assert_eq!(
            comparable(&world.snapshot()),
            fresh(&half).await,
            "after deleting half"
        );
        for (name, _) in &half {
            cluster.delete(&format!("o{name}"));
        }
        interrupted(&mut cluster, &world, &faults).await;
        assert!(
            nothing_of_ours(&world.snapshot()),
            "{:?}",
            world.snapshot().policies.keys()
        );
    }
}

/// The read shows no rule yet, but the role's policy tells of one: nothing may be taken away that the rule needs.
#[tokio::test]
async fn a_deletion_right_after_the_rule_was_written_trusts_no_read_that_lags() {
    let (world, mut cluster) = (ground(), Cluster::default());
    let wish = Wish {
        destination: 1,
        kms: true,
        source_key: true,
        prefixes: vec![0],
        markers: true,
        owner: true,
    };
    cluster.apply("o0", &write(0, &wish));
    cluster.settle(&world).await;
    cluster.delete("o0");
    visit_that_lags(&mut cluster, &world).await;
    assert_eq!((world.writes(), cluster.objects.len()), (0, 1));
    world.set_faults(Faults::default());
    cluster.settle(&world).await;
    assert!(nothing_of_ours(&world.snapshot()) && cluster.objects.is_empty());
}

/// Somebody deletes the role, so that the statements which name it mean nobody any more.
#[tokio::test]
async fn a_role_that_is_made_again_is_a_new_principal() {
    let (world, mut cluster) = (ground(), Cluster::default());
    let wish = Wish {
        destination: 1,
        kms: true,
        source_key: true,
        prefixes: vec![0],
        markers: true,
        owner: true,
    };
    cluster.apply("o0", &write(0, &wish));
    cluster.settle(&world).await;
    world.edit(|state| {
        delete_replication_roles(state);
    });
    cluster.pass(600);
    cluster.settle(&world).await;
    ready(&cluster);
    assert_eq!(comparable(&world.snapshot()), fresh(&[(0, wish)]).await);
}

/// What two writers lose where they cross can't be prevented, but is told.
#[tokio::test]
async fn a_foreign_rule_that_was_in_our_write_and_is_gone_is_told_once() {
    let (world, mut cluster) = (ground(), Cluster::default());
    let wish = |prefix| Wish {
        destination: 1,
        kms: false,
        source_key: false,
        prefixes: vec![prefix],
        markers: true,
        owner: true,
    };
    cluster.apply("o0", &write(0, &wish(1)));
    cluster.settle(&world).await;
    let theirs = ReplicationRule {
        id: Some("theirs".into()),
        priority: Some(9),
        filter: Some(Filter::new("theirs/", vec![])),
        destination: RuleDestination {
            bucket: "arn:aws:s3:::backup".into(),
            ..RuleDestination::default()
        },
        delete_marker_replication: Some(Setting::new(false)),
        ..ReplicationRule::default()
    };
    let edit_rules = |change: &dyn Fn(&mut Vec<ReplicationRule>)| {
        world.edit(|state| {
            change(
                &mut state
                    .buckets
                    .get_mut("source")
                    .unwrap()
                    .replication
                    .as_mut()
                    .unwrap()
                    .rules,
            );
        });
    };
    let mut told = vec![];
    // Nobody is told of a rule that was never in what we wrote.
    for in_our_write in [false, true] {
        edit_rules(&|rules| rules.push(theirs.clone()));
        if in_our_write {
            cluster.apply("o0", &write(0, &wish(2)));
        }
        cluster.settle(&world).await;
        edit_rules(&|rules| rules.retain(|rule| rule.id != theirs.id));
        for _ in 0..4 {
            let report = cluster.visit(&world).await;
            cluster.pass(30);
            told.push((report.ending, report.notices));
        }
    }
    let gone = (Ending::Done, vec![Notice::ForeignRuleGone("theirs".into())]);
    let nothing = (Ending::Done, vec![]);
    let again = (Ending::After(cluster.times.grace), vec![]);
    assert_eq!(
        told,
        [
            &nothing, &nothing, &nothing, &nothing, &again, &gone, &nothing, &nothing
        ]
        .map(Clone::clone)
    );
}

/// Somebody gave the role a policy of their own: IAM does not delete it then.
#[tokio::test]
async fn a_role_with_a_foreign_policy_is_left_and_told() {
    let (world, mut cluster) = (ground(), Cluster::default());
    cluster.apply(
        "o0",
        &write(
            0,
            &Wish {
                destination: 1,
                kms: true,
                source_key: true,
                prefixes: vec![0],
                markers: true,
                owner: true,
            },
        ),
    );
    cluster.settle(&world).await;
    world.edit(|state| {
        let role = replication_roles_mut(state).next().unwrap();
        role.inline.insert("theirs".into(), Document::default())
    });
    cluster.delete("o0");
    let report = cluster.visit(&world).await;
    assert!(
        cluster.objects.is_empty() && matches!(report.notices.as_slice(), [Notice::RoleLeft(_)]),
        "{report:?}"
    );
    let state = world.snapshot();
    let role = replication_roles(&state).next().unwrap();
    assert_eq!(role.inline.keys().collect::<Vec<_>>(), ["theirs"]);
}

/// The bytes of a document that is as long as AWS takes, with our statements or without.
#[tokio::test]
async fn a_document_is_filled_up_to_the_limit_and_not_beyond() {
    let tax = spec(
        ("dr", "dest"),
        Some(&key(DR, "us-west-2", "dst")),
        &json!({"rules": [{"name": "tax", "prefix": "Tax"}]}),
    );
    let pad = |document: &Document, bytes: usize| {
        let mut json = document.json();
        json["Id"] = json!("");
        let length = Document::parse(&json.to_string()).unwrap().compact().len();
        json["Id"] = json!("x".repeat(bytes - length));
        Document::parse(&json.to_string()).unwrap()
    };
    let ours = {
        let (world, mut cluster) = (ground(), Cluster::default());
        cluster.apply("tax", &tax);
        cluster.settle(&world).await;
        let added =
            |now: &Document, before: &Document| now.compact().len() - before.compact().len();
        let (now, before) = (world.snapshot(), ground().snapshot());
        let policy = |state: &State| state.buckets["dest"].policy.clone().unwrap();
        let key_policy = |state: &State| {
            state.keys[&key(DR, "us-west-2", "dst").to_string()]
                .policy
                .clone()
        };
        (
            added(&policy(&now), &policy(&before)),
            added(&key_policy(&now), &key_policy(&before)),
        )
    };
    for (bucket_room, key_room, refused) in [
        (0, 0, None),
        (
            1,
            0,
            Some(("DestinationReady", "the policy of bucket dest")),
        ),
        (0, 1, Some(("KeysReady", "the policy of key"))),
    ] {
        let (world, mut cluster) = (ground(), Cluster::default());
        world.edit(|state| {
            let policy = &mut state.buckets.get_mut("dest").unwrap().policy;
            *policy = policy
                .as_ref()
                .map(|policy| pad(policy, 20 * 1024 - ours.0 + bucket_room));
            let policy = &mut state
                .keys
                .get_mut(&key(DR, "us-west-2", "dst").to_string())
                .unwrap()
                .policy;
            *policy = pad(policy, 32 * 1024 - ours.1 + key_room);
        });
        cluster.apply("tax", &tax);
        world.set_faults(Faults::default());
        cluster.settle(&world).await;
        match refused {
            None => ready(&cluster),
            Some((condition, what)) => {
                assert_eq!(
                    cluster.condition("tax", condition),
                    ("False".into(), "LimitExceeded".into())
                );
                assert!(
                    cluster.message("tax", condition).contains(what),
                    "{}",
                    cluster.message("tax", condition)
                );
                assert_eq!(world.writes(), 0);
            }
        }
    }
}

/// Foreign rules count, too.
#[tokio::test]
async fn the_limits_of_a_configuration_are_met_before_the_call() {
    let theirs = |number: usize, bucket: String, prefix: String| ReplicationRule {
        id: Some(format!("theirs/{number}")),
        priority: Some(i32::try_from(number).unwrap() + 10),
        filter: Some(Filter::new(&prefix, vec![])),
        destination: RuleDestination {
            bucket,
            ..RuleDestination::default()
        },
        delete_marker_replication: Some(Setting::new(false)),
        ..ReplicationRule::default()
    };
    let backup = || "arn:aws:s3:::backup".to_owned();
    let rules: Vec<_> = (0..998)
        .map(|number| theirs(number, backup(), format!("theirs/{number}/")))
        .collect();
    let destinations: Vec<_> = (0..27)
        .map(|number| {
            theirs(
                number,
                format!("arn:aws:s3:::backup-{number}"),
                format!("theirs/{number}/"),
            )
        })
        .collect();
    let bytes: Vec<_> = (0..990)
        .map(|number| {
            theirs(
                number,
                backup(),
                format!("theirs/{number}/{}", "'".repeat(310)),
            )
        })
        .collect();
    for (existing, what) in [
        (rules, "the number of rules"),
        (destinations, "the number of destinations"),
        (bytes, "the size in bytes of the bucket's"),
    ] {
        let (world, mut cluster) = (ground(), Cluster::default());
        cluster.apply(
            "first",
            &spec(
                ("prod", "backup"),
                None,
                &json!({"rules": [{"name": "a", "prefix": "a/"}]}),
            ),
        );
        if what.contains("destinations") {
            cluster.apply(
                "first",
                &spec(
                    ("dr", "dest"),
                    None,
                    &json!({"rules": [{"name": "a", "prefix": "a/"}]}),
                ),
            );
        }
        cluster.settle(&world).await;
        world.edit(|state| {
            for number in 0..27 {
                let made = state.buckets["backup"].clone();
                state.buckets.insert(format!("backup-{number}"), made);
            }
            state
                .buckets
                .get_mut("source")
                .unwrap()
                .replication
                .as_mut()
                .unwrap()
                .rules
                .extend(existing);
        });
        let two = json!({"rules": [{"name": "b", "prefix": "b/"}, {"name": "c", "prefix": format!("c/{}", "'".repeat(300))}]});
        cluster.apply("second", &spec(("dr", "archive"), None, &two));
        world.set_faults(Faults::default());
        cluster.settle(&world).await;
        assert_eq!(
            cluster.condition("second", "ReplicationConfigured"),
            ("False".into(), "LimitExceeded".into()),
            "{what}"
        );
        assert!(
            cluster.message("second", "Ready").contains(what),
            "{}",
            cluster.message("second", "Ready")
        );
        assert_eq!(
            (
                cluster.condition("first", "Ready").0.as_str(),
                world.writes()
            ),
            ("True", 0)
        );
    }
}

/// What is gone can't be cleaned up, and need not be.
#[tokio::test]
async fn what_is_gone_does_not_block_a_deletion() {
    let wish = Wish {
        destination: 1,
        kms: true,
        source_key: true,
        prefixes: vec![0],
        markers: true,
        owner: true,
    };
    let gone: [fn(&mut State); 4] = [
        |state| drop(state.buckets.remove("dest")),
        |state| drop(state.keys.remove(&key(DR, "us-west-2", "dst").to_string())),
        |state| drop(state.buckets.remove("source")),
        delete_replication_roles,
    ];
    for (number, gone) in gone.into_iter().enumerate() {
        for restarted in [false, true] {
            let (world, mut cluster) = (ground(), Cluster::default());
            cluster.apply("o0", &write(0, &wish));
            cluster.settle(&world).await;
            world.edit(gone);
            if restarted {
                cluster.restart();
            }
            cluster.delete("o0");
            cluster.settle(&world).await;
            assert!(
                cluster.objects.is_empty(),
                "{number}: {}",
                cluster.message("o0", "Ready")
            );
            assert!(
                nothing_of_ours(&world.snapshot()),
                "{number}: {:#?}",
                world.snapshot()
            );
        }
    }
}

/// What an object left behind that was let go is removed once AWS lets that be, and is no drift of the others.
#[tokio::test]
async fn what_was_abandoned_is_removed_beside_others_without_being_taken_for_drift() {
    let (world, mut cluster) = (ground(), Cluster::default());
    let wish = Wish {
        destination: 1,
        kms: true,
        source_key: true,
        prefixes: vec![0],
        markers: true,
        owner: true,
    };
    let other = Wish {
        destination: 0,
        ..wish.clone()
    };
    cluster.apply("o0", &write(0, &wish));
    cluster.apply("o1", &write(1, &other));
    cluster.settle(&world).await;
    world.deny("s3:PutBucketPolicy", DR);
    cluster.delete("o0");
    cluster.settle(&world).await;
    assert_eq!(cluster.condition("o0", "Ready").1, "DeletionBlocked");
    cluster
        .objects
        .get_mut(&object_key("o0"))
        .unwrap()
        .0
        .abandoned = true;
    cluster.visit(&world).await;
    assert!(!cluster.objects.contains_key(&object_key("o0")));
    cluster.settle(&world).await;
    ready(&cluster);
    cluster.apply(
        "o1",
        &write(
            1,
            &Wish {
                prefixes: vec![1, 2],
                ..other.clone()
            },
        ),
    );
    cluster.settle(&world).await;
    ready(&cluster);
    world.mend();
    cluster.pass(600);
    cluster.settle(&world).await;
    let status = &cluster.objects[&object_key("o1")].2;
    assert!(status.drift.is_none(), "{:?}", status.drift);
    assert_eq!(
        comparable(&world.snapshot()),
        fresh(&[(
            1,
            Wish {
                prefixes: vec![1, 2],
                ..other
            }
        )])
        .await
    );
}

/// An edit that crosses a limit is told to its own object, though others came later.
#[tokio::test]
async fn who_crosses_a_limit_is_told_and_others_are_not() {
    let (world, mut cluster) = (ground(), Cluster::default());
    let wish = |prefix: &str| {
        spec(
            ("prod", "backup"),
            None,
            &json!({"rules": [{"name": "a", "prefix": prefix}]}),
        )
    };
    for name in ["first", "second", "third"] {
        cluster.apply(name, &wish(name));
    }
    cluster.settle(&world).await;
    let rules: Vec<_> =
        (0..90).map(|number| json!({"name": format!("r{number}"), "prefix": format!("{number}/{}", "x".repeat(900))})).collect();
    cluster.apply(
        "first",
        &spec(("prod", "backup"), None, &json!({"rules": rules})),
    );
    cluster.settle(&world).await;
    let told: Vec<_> = ["first", "second", "third"]
        .iter()
        .map(|name| cluster.condition(name, "Ready").1)
        .collect();
    assert_eq!(told, ["LimitExceeded", "Ready", "Ready"]);
}

/// Another writer removes the statement in the destination's policy whenever it stands.
#[tokio::test]
async fn a_fight_with_another_writer_is_slowed_down_and_told() {
    let (world, mut cluster) = (ground(), Cluster::default());
    let tax = json!({"rules": [{"name": "tax", "prefix": "Tax"}]});
    cluster.apply(
        "tax",
        &spec(("dr", "dest"), Some(&key(DR, "us-west-2", "dst")), &tax),
    );
    cluster.settle(&world).await;
    let ack = (
        "services.k8s.aws/controller-version".to_owned(),
        "s3-v1.0.28".to_owned(),
    );
    world.edit(|state| state.buckets.get_mut("dest").unwrap().tags = [ack].into());
    let theirs = ground().snapshot().buckets["dest"].policy.clone();
    let mut writes = vec![];
    let mut contended = None;
    for minute in 0..360 {
        world.edit(|state| {
            state
                .buckets
                .get_mut("dest")
                .unwrap()
                .policy
                .clone_from(&theirs);
        });
        world.set_faults(Faults::default());
        cluster.visit(&world).await;
        cluster.pass(30);
        cluster.visit(&world).await;
        cluster.pass(30);
        writes.extend((0..world.writes()).map(|_| minute));
        if cluster.condition("tax", "Ready").1 == "Contended" && contended.is_none() {
            contended = Some(minute);
            let message = cluster.message("tax", "DestinationReady");
            assert!(
                message.contains("the policy of bucket dest")
                    && message.contains("the ACK controller s3-v1.0.28"),
                "{message}"
            );
        }
    }
    let contended = contended.unwrap();
    assert!(contended <= 12, "told after {contended} minutes");
    assert!(
        writes.windows(2).all(|pair| pair[1] > pair[0]),
        "at most one write a minute: {writes:?}"
    );
    let after: Vec<_> = writes
        .iter()
        .filter(|minute| **minute > contended)
        .collect();
    assert!(
        after.len() <= 6 && after.windows(2).all(|pair| pair[1] - pair[0] >= 60),
        "at most one write an hour: {after:?}"
    );
    cluster.pass(3_600);
    cluster.settle(&world).await;
    cluster.pass(7_200);
    cluster.visit(&world).await;
    ready(&cluster);
}

#[tokio::test]
async fn applying_again_restarting_and_reordering_lists_writes_nothing() {
    let (world, mut cluster) = (ground(), Cluster::default());
    let dst = key(DR, "us-west-2", "dst");
    let rules = |names: [&str; 2]| json!({"rules": names.map(|name| json!({"name": name, "prefix": format!("{name}/")}))});
    let keys = |order: [&str; 2]| json!(order.map(|id| key(PROD, "us-east-1", id).to_string()));
    let mut first = spec(("dr", "dest"), Some(&dst), &rules(["a", "b"]));
    first["source"]["kmsKeys"] = keys(["src", "src2"]);
    cluster.apply("tax", &first);
    cluster.settle(&world).await;
    world.set_faults(Faults::default());
    let mut second = spec(("dr", "dest"), Some(&dst), &rules(["b", "a"]));
    second["source"]["kmsKeys"] = keys(["src2", "src"]);
    cluster.apply("tax", &second);
    cluster.settle(&world).await;
    cluster.restart();
    cluster.settle(&world).await;
    assert_eq!(world.writes(), 0, "{:?}", world.written.lock().unwrap());
    ready(&cluster);
}
