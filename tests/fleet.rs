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
    controller::{
        queue::Queue,
        schedule::{Accounts, Due, Urgency},
    },
    replication::{
        keys::KeyArn,
        names::OwnedBucket,
        policy::Statement,
        requeue::{Ending, Periods, wait},
    },
};
use futures::StreamExt;
use serde_json::{Value, json};
use support::{
    cluster::{Cluster, DR, PROD, bucket, ground, installation, key, spec},
    life::{foreign, nothing_of_ours},
    world::{World, uncovered},
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

/// The destination of all source buckets, and its key.
fn destination() -> (OwnedBucket, KeyArn) {
    (bucket(DR, "dest"), key(DR, "us-west-2", "dst"))
}

/// A source bucket of its own for each number, all of them toward one destination bucket and one key of another account.
fn wish(number: usize, prefix: &str) -> Value {
    let (bucket, replica) = destination();
    let source = json!({"source": {"accountName": "prod", "bucket": format!("source-{number}"), "kmsKeys": [key(PROD, "us-east-1", "src").to_string()]}});
    let mut wish = spec(("dr", bucket.name.as_str()), Some(&replica), &source);
    wish["rules"] = json!([{"name": "tax", "prefix": prefix}]);
    wish
}

fn accounts() -> Accounts {
    ["prod".to_owned(), "dr".to_owned()].into()
}

fn change(after: Duration) -> Due {
    Due {
        at: Instant::now() + after,
        urgency: Urgency::Change,
    }
}

impl Fleet {
    fn start(size: usize) -> Arc<Self> {
        let world = ground();
        world.set_latency(Duration::from_millis(20));
        world.edit(|state| {
            let source = state.buckets["source"].clone();
            for number in 0..size {
                let name = format!("source-{number}");
                state.buckets.insert(name, source.clone());
            }
        });
        let (touch, touched) = mpsc::unbounded_channel();
        let shared = Cluster::default();
        let cluster = |number| {
            Mutex::new(Cluster {
                source: bucket(PROD, &format!("source-{number}")),
                editors: shared.editors.clone(),
                clock: Arc::clone(&shared.clock),
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
        let visiting = Arc::clone(&fleet);
        let touched = futures::stream::unfold(touched, async |mut touched| {
            let key = touched.recv().await?;
            Some((
                (key, change(Duration::from_millis(250)), accounts()),
                touched,
            ))
        });
        let visit = move |number, _| {
            let fleet = Arc::clone(&visiting);
            async move { fleet.visit(number).await }
        };
        tokio::spawn(Queue::new(WORKERS).run(touched.boxed(), visit, std::future::pending::<()>()));
        fleet
    }

    async fn visit(&self, number: usize) -> Option<(Due, Accounts)> {
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
        let (name, attempts) = (cluster.source.name.as_str(), cluster.memory.attempts);
        let after = wait(report.ending, name, attempts, &self.periods);
        Some((change(after), accounts()))
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

    /// The operator's statements in the policies of the destination and of its key.
    fn ours(&self) -> [Vec<Statement>; 2] {
        let state = self.world.snapshot();
        let (bucket, key) = destination();
        let of_bucket = state.buckets[bucket.name.as_str()].policy.clone();
        let of_key = state.keys[&key.to_string()].policy.clone();
        [of_bucket.unwrap_or_default(), of_key].map(|policy| policy.ours(&installation()))
    }

    /// Whether both policies let in the roles of the source's account by one statement, and no rule is without its permissions.
    fn all_are_let_in(&self) {
        let ours = self.ours();
        assert_eq!(ours.each_ref().map(Vec::len), [1, 1], "{ours:#?}");
        for statement in ours.iter().flatten() {
            let principal = &statement.json()["Principal"]["AWS"];
            assert_eq!(principal, "arn:aws:iam::111111111111:root");
        }
        let uncovered = uncovered(&self.world.snapshot(), &installation());
        assert_eq!(uncovered, Vec::<String>::new());
    }

    /// How often the policies of the destination and of its key were written since the last time.
    fn writes(&self) -> [usize; 2] {
        let calls = self.world.aws.take_calls();
        let of = |operations: &[&str]| {
            let wrote = calls.iter().filter(|call| call.wrote());
            wrote
                .filter(|call| operations.contains(&call.operation.as_str()))
                .count()
        };
        [
            of(&["s3:PutBucketPolicy", "s3:DeleteBucketPolicy"]),
            of(&["kms:PutKeyPolicy"]),
        ]
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
async fn fifty_source_buckets_share_one_statement_of_a_destination_and_of_a_key() {
    let fleet = Fleet::start(50);
    let before = foreign(&fleet.world.snapshot());
    for (prefix, writes) in [("Tax", [1, 1]), ("Legal", [0, 0])] {
        fleet
            .change(|number, cluster| cluster.apply("o", &wish(number, prefix)))
            .await;
        fleet.until(Duration::from_mins(2), is_ready).await;
        fleet.all_are_let_in();
        assert_eq!(fleet.writes(), writes, "{prefix}");
        assert_eq!(foreign(&fleet.world.snapshot()), before);
    }
    fleet.change(|_, cluster| cluster.delete("o")).await;
    fleet
        .until(Duration::from_mins(2), |cluster| cluster.objects.is_empty())
        .await;
    assert_eq!(fleet.writes(), [1, 1], "of the last");
    assert_eq!(fleet.ours(), [vec![], vec![]]);
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
