//! Objects that come, change and go, wherever the operator is stopped on the way, and what has to be equal afterwards.

use bucket_replication_operator::replication::{
    configuration::{Configuration, ReplicationRule},
    policy::Document,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    cluster::{Cluster, DR, KEYS, PROD, ground, installation, key, spec},
    world::{Faults, State, World, permissions, replication_roles},
};

/// An object of a test: which destination, whether with KMS, which prefixes, and other settings.
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[derive(Clone, Debug)]
pub struct Wish {
    pub destination: usize,
    pub kms: bool,
    pub source_key: bool,
    pub prefixes: Vec<usize>,
    pub markers: bool,
    pub owner: bool,
}

pub fn wish() -> impl Strategy<Value = Wish> {
    (
        0..3_usize,
        any::<bool>(),
        any::<bool>(),
        prop::collection::btree_set(0..4_usize, 1..3),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(destination, kms, source_key, prefixes, markers, owner)| Wish {
                destination,
                kms,
                source_key,
                prefixes: prefixes.into_iter().collect(),
                markers,
                owner,
            },
        )
}

/// Each object has prefixes of its own, so that none is refused for an overlap.
pub fn write(name: usize, wish: &Wish) -> Value {
    let (account, bucket, replica) = [
        ("prod", "backup", key(PROD, "us-east-1", "bkp")),
        (
            "dr",
            "dest",
            key(
                if name == 1 { KEYS } else { DR },
                "us-west-2",
                if name == 1 { "central" } else { "dst" },
            ),
        ),
        ("dr", "archive", key(DR, "eu-west-1", "arc")),
    ][wish.destination]
        .clone();
    let rules: Vec<_> = wish
        .prefixes
        .iter()
        .map(|prefix| {
            // The first prefix holds the others, and treats delete markers like every other one of them: their order matters.
            let markers = wish.markers && prefix % 2 == 0;
            let mut rule = json!({"name": format!("r{prefix}"), "deleteMarkers": if markers { "Replicate" } else { "Ignore" }});
            rule["prefix"] = json!(if *prefix == 0 { format!("o{name}/") } else { format!("o{name}/p{prefix}/") });
            if *prefix == 3 {
                rule["priority"] = json!(5);
            }
            rule
        })
        .collect();
    let mut made = spec(
        (account, bucket),
        wish.kms.then_some(&replica),
        &json!({"rules": rules}),
    );
    if wish.kms && wish.source_key {
        made["source"]["kmsKeys"] = json!([key(PROD, "us-east-1", "src2").to_string()]);
    }
    if wish.owner {
        made["destination"]["owner"] = json!("Destination");
    }
    made
}

/// The state without what may differ: the values of priorities, and the order of things.
pub fn comparable(state: &State) -> Value {
    let shown = |policy: &Document| state.shown(policy).canonical();
    let buckets: Vec<_> = state
        .buckets
        .iter()
        .map(|(name, bucket)| {
            let rules = bucket.replication.iter().flat_map(|c| c.rules.clone());
            let mut rules: Vec<_> = rules
                .map(|rule| {
                    json!(ReplicationRule {
                        priority: None,
                        ..rule
                    })
                    .to_string()
                })
                .collect();
            rules.sort();
            let order = bucket.replication.as_ref().map(effective_order);
            json!([
                name,
                rules,
                order,
                bucket.replication.as_ref().map(|c| c.role.clone()),
                bucket.policy.as_ref().map(shown)
            ])
        })
        .collect();
    let keys: Vec<_> = state
        .keys
        .iter()
        .map(|(arn, key)| json!([arn, shown(&key.policy)]))
        .collect();
    let roles: Vec<_> = replication_roles(state)
        .map(|role| json!([role.arn.to_string(), permissions(state, role).canonical()]))
        .collect();
    json!([buckets, keys, roles])
}

/// Of each two rules that would treat an object differently, first the one that wins.
fn effective_order(configuration: &Configuration) -> Vec<(String, String)> {
    let id = |rule: &ReplicationRule| rule.id.clone().unwrap_or_default();
    let rules = || configuration.rules.iter();
    let pairs = rules().flat_map(|one| rules().map(move |two| (one, two)));
    let mut order: Vec<_> = pairs
        .filter(|(one, two)| one.rivals(two) && one.priority > two.priority)
        .map(|(one, two)| (id(one), id(two)))
        .collect();
    order.sort();
    order
}

/// The policies of buckets and keys, as their owners read them.
fn policies(state: &State) -> impl Iterator<Item = Document> {
    let of_buckets = state
        .buckets
        .values()
        .filter_map(|bucket| bucket.policy.as_ref());
    let of_keys = state.keys.values().map(|key| &key.policy);
    of_buckets.chain(of_keys).map(|policy| state.shown(policy))
}

fn configurations(state: &State) -> impl Iterator<Item = &Configuration> {
    state
        .buckets
        .values()
        .filter_map(|bucket| bucket.replication.as_ref())
}

/// All that the operator did not make.
pub fn foreign(state: &State) -> Vec<String> {
    let id = installation();
    let statements = policies(state)
        .flat_map(|document| document.statements())
        .filter(|s| s.mark_of(&id).is_none())
        .map(|s| s.json().to_string());
    let rules = configurations(state)
        .flat_map(|configuration| &configuration.rules)
        .filter(|rule| rule.mark(&id).is_none())
        .map(|rule| json!(rule).to_string());
    let has_foreign = |c: &&Configuration| c.rules.iter().any(|rule| rule.mark(&id).is_none());
    let held_by = configurations(state)
        .filter(has_foreign)
        .map(|c| c.role.clone());
    let mut all: Vec<_> = statements.chain(rules).chain(held_by).collect();
    all.sort();
    all
}

pub fn nothing_of_ours(state: &State) -> bool {
    let id = installation();
    let mut rules = configurations(state).flat_map(|configuration| &configuration.rules);
    policies(state)
        .flat_map(|document| document.statements())
        .all(|s| s.mark_of(&id).is_none())
        && rules.all(|rule| rule.mark(&id).is_none())
        && replication_roles(state).all(|role| !role.arn.name.as_str().starts_with("brepl-"))
        && replication_roles(state)
            .flat_map(|role| role.inline.keys())
            .all(|policy| !policy.starts_with("brepl-"))
        && state.policies.is_empty()
}

pub fn ready(cluster: &Cluster) {
    for key in cluster.objects.keys() {
        assert_eq!(
            cluster.condition(&key.name, "Ready").0,
            "True",
            "{key}: {}",
            cluster.message(&key.name, "Ready")
        );
    }
}

pub async fn fresh(wishes: &[(usize, Wish)]) -> Value {
    let (world, mut cluster) = (ground(), Cluster::default());
    for (name, wish) in wishes {
        cluster.apply(&format!("o{name}"), &write(*name, wish));
    }
    cluster.settle(&world).await;
    comparable(&world.snapshot())
}

/// A visit that reads what stood before the last write, and after which reads have caught up.
pub async fn visit_that_lags(cluster: &mut Cluster, world: &World) {
    world.set_faults(Faults {
        lag: true,
        ..Faults::default()
    });
    if !cluster.objects.is_empty() {
        cluster.visit(world).await;
    }
    world.catch_up();
    cluster.pass(60);
}

/// Stops the operator after so many writes, and each new one once more, with reads that lag before and after, and lets the last one come to rest.
pub async fn interrupted(cluster: &mut Cluster, world: &World, faults: &[Faults]) {
    visit_that_lags(cluster, world).await;
    for faults in faults {
        world.set_faults(*faults);
        if !cluster.objects.is_empty() {
            cluster.visit(world).await;
        }
        cluster.restart();
        cluster.pass(60);
    }
    visit_that_lags(cluster, world).await;
    world.set_faults(Faults::default());
    cluster.settle(world).await;
    world.set_faults(Faults::default());
    if !cluster.objects.is_empty() {
        cluster.visit(world).await;
    }
    assert_eq!(
        world.writes(),
        0,
        "planning again is not empty: {:?}",
        world.written.lock().unwrap()
    );
}

/// A process that stops after `stop` writes, or does not see the answer to the one after them.
pub fn fault((stop, lose): (usize, bool)) -> Faults {
    if lose {
        Faults {
            lose_answer_of: Some(stop + 1),
            ..Faults::default()
        }
    } else {
        Faults {
            crash_after: Some(stop),
            ..Faults::default()
        }
    }
}
