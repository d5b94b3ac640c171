//! Source buckets of several accounts, visited by the real queue on the strict AWS: what goes wrong in one account holds up no other.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on has failed"
)]

#[path = "judged/mod.rs"]
mod ground;
mod support;

use std::{sync::Arc, time::Duration};

use bucket_replication_operator::{
    api::aws_account::RequestsPerSecond,
    controller::{
        queue::Queue,
        schedule::{Accounts, Due, Urgency},
    },
    replication::{
        accounts::Accounts as AwsAccounts,
        requeue::{Periods, wait},
    },
    slot::Slot,
};
use futures::{StreamExt, future::join_all};
use ground::Judged;
use serde_json::json;
use strict_aws::weather::{Fault, FaultKind, Outage, OutageKind, Weather};
use support::{
    cluster::{Cluster, DR, KEYS, PROD, key, spec},
    in_process::add_key,
};
use tokio::{
    sync::{Mutex, mpsc},
    time::Instant,
};

/// The default of `--concurrency`.
const SLOTS: usize = 16;
/// Source buckets of the account in which something is wrong.
const MANY: usize = 150;

/// What is wrong in the account of all source buckets but the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// The other source buckets do not exist.
    Alone,
    /// AWS does that to every call.
    Outage(OutageKind),
    /// AWS first takes few calls a second, so that many wait for their turn, and then answers none.
    ThrottlesThenHangs,
    /// The destination of each object does not exist.
    NoDestination,
    /// Every object is new, and nothing is wrong.
    Flood,
}

/// What AWS does to the calls of the account in which something is wrong.
fn weather(outage: Option<OutageKind>) -> Weather {
    let of_account = |kind| Outage {
        account: Some(KEYS.to_owned()),
        kind,
        ..Outage::default()
    };
    Weather {
        latency: 50,
        outages: outage.map(of_account).into_iter().collect(),
        ..Weather::default()
    }
}

struct Fleet {
    judged: Judged,
    clusters: Vec<Mutex<Cluster>>,
    periods: Periods,
    began: Instant,
}

impl Fleet {
    /// Source buckets of one account, and one of another.
    async fn new(trouble: Trouble) -> Self {
        let judged = Judged::new().with_deadlines().await;
        let many = if trouble == Trouble::Alone { 0 } else { MANY };
        let owner = |number: usize| {
            if number == many {
                (PROD, "prod")
            } else {
                (KEYS, "keys")
            }
        };
        judged.aws.with(|state| {
            add_key(state, KEYS, "us-east-1", "src");
            for number in 0..=many {
                let bucket = support::in_process::bucket(owner(number).0, "us-east-1");
                state.buckets.insert(format!("source-{number}"), bucket);
            }
        });
        judged.aws.set_weather(match trouble {
            Trouble::Outage(kind) => weather(Some(kind)),
            Trouble::ThrottlesThenHangs => Weather {
                rates: [("iam".to_owned(), 5)].into(),
                ..weather(None)
            },
            Trouble::Alone | Trouble::NoDestination | Trouble::Flood => weather(None),
        });
        let cluster = |number: usize| {
            let (id, account) = owner(number);
            let name = format!("source-{number}");
            let mut cluster = Cluster {
                source: support::cluster::bucket(id, &name),
                accounts: judged.cluster.accounts.clone(),
                editors: judged.cluster.editors.clone(),
                clock: Arc::clone(&judged.cluster.clock),
                ..Cluster::default()
            };
            let missing = trouble == Trouble::NoDestination && number != many;
            let destination = if missing { "missing" } else { "dest" };
            let replica = key(DR, "us-west-2", "dst");
            let source = json!({"source": {"accountName": account, "bucket": name, "kmsKeys": [key(id, "us-east-1", "src").to_string()]}});
            cluster.apply("o", &spec(("dr", destination), Some(&replica), &source));
            cluster.times.settle = Duration::ZERO;
            Mutex::new(cluster)
        };
        Self {
            clusters: (0..=many).map(cluster).collect(),
            judged,
            periods: Periods::new(
                Duration::from_mins(10),
                Duration::from_secs(5),
                Duration::from_mins(5),
            ),
            began: Instant::now(),
        }
    }

    async fn visit(&self, number: usize, slot: Slot) -> Option<(Due, Accounts)> {
        let mut cluster = self.clusters[number].lock().await;
        let elapsed = jiff::SignedDuration::try_from(self.began.elapsed()).unwrap();
        let now = jiff::Timestamp::from_second(1_800_000_000).unwrap();
        *cluster.clock.lock().unwrap() = now.checked_add(elapsed).unwrap();
        let mut cloud = self.judged.cloud_of(&cluster);
        cloud.editors = cloud.editors.of_visit(slot);
        let report = cluster.visit_with(&cloud).await;
        let attempts = cluster.memory.attempts;
        let after = wait(
            report.ending,
            cluster.source.name.as_str(),
            attempts,
            &self.periods,
        );
        let due = Due {
            at: Instant::now() + after,
            urgency: report.ending.into(),
        };
        Some((due, self.accounts(number)))
    }

    fn accounts(&self, number: usize) -> Accounts {
        let is_last = number + 1 == self.clusters.len();
        [if is_last { "prod" } else { "keys" }, "dr"]
            .map(ToOwned::to_owned)
            .into()
    }

    async fn is_ready(&self, number: usize) -> bool {
        let cluster = self.clusters[number].lock().await;
        cluster.condition("o", "Ready").0 == "True"
    }
}

/// How long it takes until the object of the other account is ready, if it comes a while after those in which something is wrong.
async fn time_of_another(trouble: Trouble) -> Duration {
    let fleet = Arc::new(Fleet::new(trouble).await);
    let (sender, receiver) = mpsc::unbounded_channel();
    let visited = Arc::clone(&fleet);
    let touches = {
        let fleet = Arc::clone(&fleet);
        futures::stream::unfold((receiver, fleet), async |(mut receiver, fleet)| {
            let number: usize = receiver.recv().await?;
            let due = Due {
                at: Instant::now() + Duration::from_millis(250),
                urgency: Urgency::Change,
            };
            Some(((number, due, fleet.accounts(number)), (receiver, fleet)))
        })
    };
    let visit = move |number, slot| {
        let fleet = Arc::clone(&visited);
        async move { fleet.visit(number, slot).await }
    };
    let queue = Queue::new(SLOTS).run(touches.boxed(), visit, std::future::pending::<()>());
    let queue = tokio::spawn(queue);
    let last = fleet.clusters.len() - 1;
    for number in 0..last {
        sender.send(number).unwrap();
    }
    if trouble == Trouble::ThrottlesThenHangs {
        tokio::time::sleep(Duration::from_secs(30)).await;
        fleet
            .judged
            .aws
            .set_weather(weather(Some(OutageKind::Hangs)));
        tokio::time::sleep(Duration::from_secs(12)).await;
    } else if trouble != Trouble::Flood {
        tokio::time::sleep(Duration::from_secs(45)).await;
    }
    sender.send(last).unwrap();
    let start = Instant::now();
    while !fleet.is_ready(last).await {
        assert!(start.elapsed() < Duration::from_mins(5), "{trouble:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let took = start.elapsed();
    queue.abort();
    took
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_in_one_account_holds_up_no_other() {
    let alone = time_of_another(Trouble::Alone).await;
    for trouble in [
        Trouble::Outage(OutageKind::Hangs),
        Trouble::Outage(OutageKind::Drops),
        Trouble::Outage(OutageKind::Throttles),
        Trouble::ThrottlesThenHangs,
        Trouble::NoDestination,
        Trouble::Flood,
    ] {
        let took = time_of_another(trouble).await;
        // Time is paused: what is measured is the waiting, not this machine.
        assert!(
            took <= 2 * alone,
            "{trouble:?}: {took:?}, and {alone:?} alone"
        );
    }
}

/// `spec.requestsPerSecond` counts from the next call on, also in a session that began before.
#[tokio::test(start_paused = true)]
async fn an_account_is_called_no_faster_than_it_allows() {
    let mut judged = Judged::new().with_deadlines().await;
    judged.cluster.times.settle = Duration::ZERO;
    let replica = key(DR, "us-west-2", "dst");
    judged
        .cluster
        .apply("o", &spec(("dr", "dest"), Some(&replica), &json!({})));
    let calls_of_source = |judged: &Judged| {
        let calls = judged.aws.take_calls().into_iter();
        // A write is made at once, and what comes after it waits.
        let reads = calls.filter(|call| call.path.starts_with("/source") && !call.writes());
        u32::try_from(reads.count()).unwrap()
    };
    let unbounded = Instant::now();
    judged.visit().await;
    assert_eq!(judged.cluster.condition("o", "Ready").0, "True");
    assert!(unbounded.elapsed() < Duration::from_secs(1));
    assert!(calls_of_source(&judged) > 4);
    for account in &mut judged.cluster.accounts {
        account.spec.requests_per_second = Some(RequestsPerSecond {
            s3: Some(2),
            ..RequestsPerSecond::default()
        });
    }
    let edited = json!({"rules": [{"name": "a", "prefix": "Legal"}]});
    judged
        .cluster
        .apply("o", &spec(("dr", "dest"), Some(&replica), &edited));
    let bounded = Instant::now();
    judged.visit().await;
    assert_eq!(judged.cluster.condition("o", "Ready").0, "True");
    let made = calls_of_source(&judged);
    assert!(made > 2, "{made} calls");
    let least = Duration::from_millis(500) * (made - 1);
    assert!(
        bounded.elapsed() >= least,
        "{:?} of {made} calls",
        bounded.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn visits_that_wait_for_the_same_session_share_its_failure() {
    let judged = Judged::new().with_deadlines().await;
    let hangs = Fault {
        operation: "sts:AssumeRole".to_owned(),
        after: 0,
        times: 1_000,
        kind: FaultKind::Delay(3_600_000),
        ..Fault::default()
    };
    judged.aws.set_weather(Weather {
        faults: vec![hangs],
        ..Weather::default()
    });
    let (aws, accounts) = (
        judged.cloud().aws,
        AwsAccounts::new(&judged.cluster.accounts),
    );
    let account = accounts.by_name("prod").unwrap();
    let start = Instant::now();
    let all = join_all((0..SLOTS).map(|_| aws.session(account))).await;
    assert!(all.iter().all(Result::is_err));
    let one = start.elapsed();
    assert!(
        one <= Duration::from_secs(31),
        "one call with its retries: {one:?}"
    );
    let attempts = judged.aws.calls().len();
    assert!(attempts <= 3, "{attempts} attempts");
    // Visits that come soon do not wait as long again, and later ones try again.
    judged.aws.set_weather(Weather::default());
    assert!(aws.session(account).await.is_err());
    assert_eq!(judged.aws.calls().len(), attempts);
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert!(aws.session(account).await.is_ok());
}
