//! Whatever objects come, change and go, and wherever the operator is stopped on the way, AWS comes to the one state that they ask for,
//! with everything foreign as it was. The world checks after each step that no rule stands without its permissions.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test that can't go on has failed")]

mod support;

use proptest::prelude::*;
use serde_json::json;
use support::{
    cluster::{Cluster, DR, KEYS, PROD, bucket, ground, key, spec},
    life::{Wish, comparable, fault, foreign, fresh, interrupted, nothing_of_ours, ready, visit_that_lags, wish, write},
    world::{Faults, World},
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
    assert_eq!(comparable(&world.snapshot()), fresh(&wishes).await, "after create");

    wishes[0].1 = edit;
    cluster.apply("o0", &write(0, &wishes[0].1));
    interrupted(&mut cluster, &world, &faults).await;
    ready(&cluster);
    assert_eq!(comparable(&world.snapshot()), fresh(&wishes).await, "after edit");

    cluster.delete("o0");
    interrupted(&mut cluster, &world, &faults).await;
    ready(&cluster);
    assert_eq!(foreign(&world.snapshot()), before);
    assert_eq!(comparable(&world.snapshot()), fresh(&wishes[1..]).await, "after deleting one");
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
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(life_with_refusals(wishes, edit, REFUSALS[refused], in_between));
    }
}

/// A step that AWS refuses for a while.
const REFUSALS: [(&str, &str); 9] = [
    ("PutKeyPolicy", DR),
    ("PutKeyPolicy", KEYS),
    ("PutBucketPolicy", DR),
    ("DeleteBucketPolicy", DR),
    ("PutRolePolicy", PROD),
    ("PutReplication", PROD),
    ("DeleteReplication", PROD),
    ("CreateRole", PROD),
    ("DeleteRole", PROD),
];

/// Comes to rest although a step is refused, and to the right end once it is not.
async fn refused_for_a_while(cluster: &mut Cluster, world: &World, (step, account): (&str, &str)) {
    world.edit(|state| state.denied.insert((step.into(), account.parse().unwrap())));
    cluster.settle(world).await;
    world.edit(|state| state.denied.clear());
    cluster.pass(600);
    cluster.settle(world).await;
}

async fn life_with_refusals(wishes: Vec<Wish>, edit: Wish, refused: (&str, &str), in_between: bool) {
    let (world, mut cluster) = (ground(), Cluster::default());
    let before = foreign(&world.snapshot());
    let mut wishes: Vec<(usize, Wish)> = wishes.into_iter().enumerate().collect();
    for (name, wish) in &wishes {
        cluster.apply(&format!("o{name}"), &write(*name, wish));
    }
    refused_for_a_while(&mut cluster, &world, refused).await;
    ready(&cluster);
    assert_eq!(comparable(&world.snapshot()), fresh(&wishes).await, "after create");
    wishes[0].1 = edit;
    cluster.apply("o0", &write(0, &wishes[0].1));
    if in_between {
        refused_for_a_while(&mut cluster, &world, refused).await;
        ready(&cluster);
        assert_eq!(comparable(&world.snapshot()), fresh(&wishes).await, "after edit");
    } else {
        world.edit(|state| state.denied.insert((refused.0.into(), refused.1.parse().unwrap())));
        cluster.settle(&world).await;
    }
    cluster.delete("o0");
    refused_for_a_while(&mut cluster, &world, refused).await;
    assert_eq!(comparable(&world.snapshot()), fresh(&wishes[1..]).await, "after deleting one");
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
    let full = |destination, prefixes| Wish { destination, kms: true, source_key: destination == 1, prefixes, markers: true, owner: true };
    for stop in 0..12 {
        for lose in [false, true] {
            for again in 0..4 {
                life(vec![full(1, vec![0])], full(2, vec![1, 2]), &[(stop, lose), (again, false)]).await;
            }
        }
    }
}

/// Many objects need more than the inline policy: they come, half of them go, and all go, with a stop at every tenth write.
#[tokio::test]
async fn permissions_spill_and_come_back() {
    let wish = |destination, prefix| Wish { destination, kms: true, source_key: true, prefixes: vec![prefix], markers: true, owner: true };
    let many: Vec<_> = (0..30_usize).map(|name| (name, wish(1 + name % 2, name % 4))).collect();
    for stop in (0..40).step_by(10) {
        let (world, mut cluster) = (ground(), Cluster::default());
        let faults = [fault((stop, false)), fault((stop / 2, true))];
        for (name, wish) in &many {
            cluster.apply(&format!("o{name}"), &write(*name, wish));
        }
        interrupted(&mut cluster, &world, &faults).await;
        ready(&cluster);
        assert!(world.snapshot().policies.len() > 3, "{}", world.snapshot().policies.len());
        assert_eq!(comparable(&world.snapshot()), fresh(&many).await, "after create");
        for (name, _) in many.iter().filter(|(name, _)| name % 2 == 0) {
            cluster.delete(&format!("o{name}"));
        }
        interrupted(&mut cluster, &world, &faults).await;
        ready(&cluster);
        let half: Vec<_> = many.iter().filter(|(name, _)| name % 2 == 1).cloned().collect();
        assert_eq!(comparable(&world.snapshot()), fresh(&half).await, "after deleting half");
        for (name, _) in &half {
            cluster.delete(&format!("o{name}"));
        }
        interrupted(&mut cluster, &world, &faults).await;
        assert!(nothing_of_ours(&world.snapshot()), "{:?}", world.snapshot().policies.keys());
    }
}

/// The read shows no rule yet, but the role's policy tells of one: nothing may be taken away that the rule needs.
#[tokio::test]
async fn a_deletion_right_after_the_rule_was_written_trusts_no_read_that_lags() {
    let (world, mut cluster) = (ground(), Cluster::default());
    let wish = Wish { destination: 1, kms: true, source_key: true, prefixes: vec![0], markers: true, owner: true };
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
    let wish = Wish { destination: 1, kms: true, source_key: true, prefixes: vec![0], markers: true, owner: true };
    cluster.apply("o0", &write(0, &wish));
    cluster.settle(&world).await;
    world.edit(|state| {
        let (account, role) = state.roles.keys().next().unwrap().clone();
        state.remove_role(&account, &role);
    });
    cluster.pass(600);
    cluster.settle(&world).await;
    ready(&cluster);
    assert_eq!(comparable(&world.snapshot()), fresh(&[(0, wish)]).await);
}

/// Another writer removes the statement in the destination's policy whenever it stands.
#[tokio::test]
async fn a_fight_with_another_writer_is_slowed_down_and_told() {
    let (world, mut cluster) = (ground(), Cluster::default());
    let tax = json!({"rules": [{"name": "tax", "prefix": "Tax"}]});
    cluster.apply("tax", &spec(("dr", "dest"), Some(&key(DR, "us-west-2", "dst")), &tax));
    cluster.settle(&world).await;
    let theirs = ground().snapshot().buckets[&bucket(DR, "dest")].policy.clone();
    let mut writes = vec![];
    let mut contended = None;
    for minute in 0..360 {
        world.edit(|state| state.buckets.get_mut(&bucket(DR, "dest")).unwrap().policy.clone_from(&theirs));
        world.set_faults(Faults::default());
        cluster.visit(&world).await;
        cluster.pass(30);
        cluster.visit(&world).await;
        cluster.pass(30);
        writes.extend((0..world.writes()).map(|_| minute));
        if cluster.condition("tax", "Ready").1 == "Contended" && contended.is_none() {
            contended = Some(minute);
            assert!(cluster.message("tax", "DestinationReady").contains("the policy of bucket dest"));
        }
    }
    let contended = contended.unwrap();
    assert!(contended <= 12, "told after {contended} minutes");
    assert!(writes.windows(2).all(|pair| pair[1] > pair[0]), "at most one write a minute: {writes:?}");
    let after: Vec<_> = writes.iter().filter(|minute| **minute > contended).collect();
    assert!(after.len() <= 6 && after.windows(2).all(|pair| pair[1] - pair[0] >= 60), "at most one write an hour: {after:?}");
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
