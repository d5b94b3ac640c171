//! Many source buckets at once, visited by the real queue: what they share at the destination is right for all of them, and none of them waits
//! for another's settle delay.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on has failed"
)]

mod support;

use std::{sync::Arc, time::Duration};

use bucket_replication_operator::{
    controller::queue::{self, Settings},
    replication::{
        keys::KeyArn,
        requeue::{Ending, Periods, wait},
    },
};
use futures::StreamExt;
use serde_json::{Value, json};
use support::{
    cluster::{Cluster, DR, PROD, bucket, ground, installation, key, spec},
    life::{foreign, nothing_of_ours},
    world::World,
};
use tokio::{
    sync::{Mutex, mpsc},
    time::Instant,
};

/// The default of `--concurrency`.
const WORKERS: usize = 16;

struct Fleet {
    world: World,
    clusters: Vec<Mutex<Cluster>>,
    periods: Periods,
    began: Instant,
    touch: mpsc::UnboundedSender<usize>,
}

/// So many source buckets share a destination and its key: one policy has no room for the statements of a hundred.
const SHARING: usize = 30;

fn destination(number: usize) -> (String, KeyArn) {
    (
        format!("dest-{}", number / SHARING),
        key(DR, "us-west-2", &format!("dst-{}", number / SHARING)),
    )
}

/// A source bucket of its own for each number, thirty of them toward one destination bucket and one key of another account.
fn wish(number: usize, prefix: &str) -> Value {
    let (bucket, replica) = destination(number);
    let source = json!({"source": {"accountName": "prod", "bucket": format!("source-{number}"), "kmsKeys": [key(PROD, "us-east-1", "src").to_string()]}});
    let mut wish = spec(("dr", &bucket), Some(&replica), &source);
    wish["rules"] = json!([{"name": "tax", "prefix": prefix}]);
    wish
}

impl Fleet {
    fn start(size: usize) -> Arc<Self> {
        let world = ground();
        *world.latency.lock().unwrap() = Duration::from_millis(20);
        world.edit(|state| {
            let (source, dest) = (
                state.buckets[&bucket(PROD, "source")].clone(),
                state.buckets[&bucket(DR, "dest")].clone(),
            );
            let replica = state.keys[&key(DR, "us-west-2", "dst")].clone();
            for number in 0..size {
                let (name, key) = destination(number);
                state
                    .buckets
                    .insert(bucket(PROD, &format!("source-{number}")), source.clone());
                state.buckets.insert(bucket(DR, &name), dest.clone());
                state.keys.insert(key, replica.clone());
            }
        });
        let (touch, touched) = mpsc::unbounded_channel();
        let editors = Cluster::default().editors;
        let cluster = |number| {
            Mutex::new(Cluster {
                source: bucket(PROD, &format!("source-{number}")),
                editors: editors.clone(),
                ..Cluster::default()
            })
        };
        let periods = Periods::new(
            Duration::from_mins(10),
            Duration::from_secs(5),
            Duration::from_mins(5),
        );
        let fleet = Arc::new(Self {
            world,
            clusters: (0..size).map(cluster).collect(),
            periods,
            began: Instant::now(),
            touch,
        });
        let settings = Settings {
            window: Duration::from_millis(250),
            at_most: WORKERS,
            after_panic: Duration::from_secs(30),
        };
        let visiting = Arc::clone(&fleet);
        let touched = futures::stream::unfold(touched, async |mut touched| {
            touched.recv().await.map(|key| (key, touched))
        });
        tokio::spawn(queue::run(touched.boxed(), settings, move |number| {
            let fleet = Arc::clone(&visiting);
            async move { fleet.visit(number).await }
        }));
        fleet
    }

    async fn visit(&self, number: usize) -> Option<Instant> {
        let mut cluster = self.clusters[number].lock().await;
        if cluster.objects.is_empty() {
            return None;
        }
        let elapsed = jiff::SignedDuration::try_from(self.began.elapsed()).unwrap();
        *cluster.clock.lock().unwrap() = jiff::Timestamp::from_second(1_800_000_000)
            .unwrap()
            .checked_add(elapsed)
            .unwrap();
        let report = cluster.visit(&self.world).await;
        cluster.memory.attempts = if report.ending == Ending::Retry {
            cluster.memory.attempts + 1
        } else {
            0
        };
        Some(
            Instant::now()
                + wait(
                    report.ending,
                    cluster.source.name.as_str(),
                    cluster.memory.attempts,
                    &self.periods,
                ),
        )
    }

    /// Somebody changes all objects at once.
    async fn change(&self, change: impl Fn(usize, &mut Cluster)) {
        for (number, cluster) in self.clusters.iter().enumerate() {
            change(number, &mut *cluster.lock().await);
            self.touch.send(number).unwrap();
        }
    }

    /// How long it takes until `holds` for every bucket.
    async fn until(&self, most: Duration, holds: impl Fn(&Cluster) -> bool) -> Duration {
        let start = Instant::now();
        loop {
            let mut all = true;
            for cluster in &self.clusters {
                all &= holds(&*cluster.lock().await);
            }
            if all {
                return start.elapsed();
            }
            assert!(
                start.elapsed() < most,
                "not all of {} are there after {most:?}",
                self.clusters.len()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The roles that the destination's policy, and that of its key, let in, with what the first names.
    fn let_in(&self) -> (Vec<String>, Vec<String>) {
        let state = self.world.snapshot();
        let (name, key) = destination(0);
        let policies = [
            state.buckets[&bucket(DR, &name)].policy.clone(),
            Some(state.keys[&key].policy.clone()),
        ];
        let [of_bucket, of_key] = policies.map(|policy| {
            let ours = policy
                .map(|policy| policy.ours(&installation()))
                .unwrap_or_default();
            let mut told: Vec<_> = ours
                .iter()
                .map(|statement| {
                    format!(
                        "{} {}",
                        statement.json()["Principal"]["AWS"],
                        statement.json()["Resource"]
                    )
                })
                .collect();
            told.sort();
            told
        });
        (of_bucket, of_key)
    }

    /// Whether both policies let in every role of the fleet, once each, for that prefix, and no rule is without its permissions.
    fn all_are_let_in(&self, prefix: &str) {
        let (of_bucket, of_key) = self.let_in();
        assert_eq!(
            (of_bucket.len(), of_key.len()),
            (self.clusters.len(), self.clusters.len()),
            "{of_bucket:#?}"
        );
        assert!(
            of_bucket
                .iter()
                .all(|statement| statement.ends_with(&format!("dest-0/{prefix}*\""))),
            "{of_bucket:#?}"
        );
        assert_eq!(
            self.world.snapshot().uncovered(&installation()),
            Vec::<String>::new()
        );
    }
}

fn is_ready(cluster: &Cluster) -> bool {
    let current = cluster
        .objects
        .values()
        .all(|(_, generation, status)| status.observed_generation == Some(*generation));
    current && cluster.condition("o", "Ready").0 == "True"
}

#[tokio::test(start_paused = true)]
async fn thirty_source_buckets_share_one_destination_and_one_key() {
    let fleet = Fleet::start(SHARING);
    let before = foreign(&fleet.world.snapshot());
    for prefix in ["Tax", "Legal"] {
        fleet
            .change(|number, cluster| cluster.apply("o", &wish(number, prefix)))
            .await;
        fleet.until(Duration::from_mins(2), is_ready).await;
        fleet.all_are_let_in(prefix);
        assert_eq!(foreign(&fleet.world.snapshot()), before);
    }
    fleet.change(|_, cluster| cluster.delete("o")).await;
    fleet
        .until(Duration::from_mins(2), |cluster| cluster.objects.is_empty())
        .await;
    assert_eq!(fleet.let_in(), (vec![], vec![]));
    let end = fleet.world.snapshot();
    assert_eq!(foreign(&end), before);
    assert!(nothing_of_ours(&end), "{end:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_new_buckets_are_ready_within_three_settle_delays() {
    let fleet = Fleet::start(100);
    fleet
        .change(|number, cluster| cluster.apply("o", &wish(number, "Tax")))
        .await;
    let settle = fleet.clusters[0].lock().await.times.settle;
    let took = fleet.until(Duration::from_mins(10), is_ready).await;
    assert!(took < settle * 3, "{took:?}");
}
