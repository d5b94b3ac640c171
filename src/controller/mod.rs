//! Watches Kubernetes and visits buckets: events of objects, accounts and namespaces become keys of one queue.

pub mod account;
pub mod canaries;
mod health;
mod known_accounts;
pub mod kubernetes;
mod publish;
pub mod queue;
pub mod reconcile;
pub mod schedule;
mod store_gate;
mod touches;
pub mod trigger;
pub mod verify;
pub mod visit;
mod without_source;

use std::{future::Future, sync::Arc, time::Duration};

use futures::{FutureExt, Stream, StreamExt, future::try_join_all};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        reflector::{self, Store},
        watcher,
    },
};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    api::{AwsAccount, BucketReplication},
    api_server::WATCH_SECONDS,
    cloud::{aws::Aws, editor::Editors},
    config::Settings,
    leader::Leadership,
    metrics::Metrics,
    replication::{names::InstallationId, requeue::Periods, visit::Times},
};
use kubernetes::Kubernetes;
use queue::Queue;
use reconcile::Context;
use trigger::{Touched, touched};

/// For how long visits to several source buckets share what was read: less than a grace period, since two reads that far apart confirm drift.
const LONGEST_SHARED: Duration = Duration::from_secs(2);

/// Runs until `stop`, and then until the writes under way end. `synced` is called once every watch has listed what there is.
///
/// # Errors
/// When a watch ends for good.
#[allow(
    clippy::too_many_arguments,
    reason = "each is a thing of its own, and it is called once"
)]
pub async fn run(
    client: Client,
    watch_client: Client,
    aws: Aws,
    installation: InstallationId,
    settings: &Settings,
    metrics: Metrics,
    leadership: Leadership,
    synced: impl FnOnce(),
    stop: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let Watched {
        objects,
        accounts,
        namespaces,
        receiver,
        tasks: mut watches,
    } = watch(&watch_client, &settings.release.watch_namespaces);
    let periods = Periods::new(
        settings.drift_period,
        settings.drift_grace,
        settings.longest_retry,
    );
    let context = Arc::new(Context {
        installation,
        kubernetes: Kubernetes::new(client, settings.release.watch_namespaces.clone()),
        aws: aws.sharing_reads(LONGEST_SHARED.min(periods.grace / 2)),
        editors: Editors::new(periods.grace, Timestamp::now),
        objects,
        accounts,
        namespaces,
        times: times(settings, &periods),
        periods,
        writes_account_status: settings.release.watch_namespaces.is_empty(),
        leadership,
        metrics,
        known_accounts: Arc::default(),
        memory: std::sync::Mutex::default(),
        contention: std::sync::Mutex::default(),
        account_memory: std::sync::Mutex::default(),
        canaries: std::sync::Mutex::default(),
    });
    let stop = stop.boxed().shared();
    // If a store lacks objects, a bucket is composed without them.
    let listed = async {
        try_join_all(context.objects.iter().map(Store::wait_until_ready)).await?;
        context.accounts.wait_until_ready().await?;
        context.namespaces.wait_until_ready().await
    };
    tokio::select! {
        listed = listed => listed?,
        () = stop.clone() => return Ok(()),
    }
    synced();
    tokio::select! {
        () = visit_all(context, settings, receiver, stop) => Ok(()),
        // A watch goes on for ever, unless it panicked.
        _ = watches.join_next() => anyhow::bail!("a watch ended"),
    }
}

/// The periods of visits.
fn times(settings: &Settings, periods: &Periods) -> Times {
    Times {
        preflight: settings.preflight_period,
        grace: periods.grace,
        settle: settings.settle_delay,
        drain: settings.drain_period,
        sweep: settings.sweep_period,
        retry: periods.longest_retry,
    }
}

/// Visits every bucket and account that an event touches, until `stop`, and then lets the writes under way end.
async fn visit_all(
    context: Arc<Context>,
    settings: &Settings,
    receiver: mpsc::UnboundedReceiver<Touched>,
    stop: impl Future<Output = ()> + Send,
) {
    let window = settings.event_window;
    let expanding = Arc::clone(&context);
    let all_touched = futures::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|touched| (touched, receiver))
    });
    let changes = all_touched.flat_map(move |touched| {
        futures::stream::iter(touches::after(
            &expanding,
            &touched,
            Instant::now() + window,
        ))
    });
    let first = touches::at_start(&context, Instant::now());
    let touches = futures::stream::iter(first).chain(changes).take_until(stop);
    let queue = Queue::new(settings.concurrency);
    let (scheduled, accounts) = (queue.clone(), context.accounts.clone());
    context.metrics.waits(move || {
        let mut waiting = scheduled.schedule().waiting(Instant::now());
        // An account without visits that are due has a number as well.
        for account in accounts.state() {
            waiting.entry(account.name_any()).or_default();
        }
        waiting
    });
    let leadership = context.leadership.clone();
    let visit = move |key, slot| {
        let context = Arc::clone(&context);
        async move { context.reconcile(&key, slot).await }
    };
    // Reads are dropped; a write under way ends, since another replica would not know of it.
    queue
        .run(touches.boxed(), visit, leadership.stop_writing())
        .await;
}

/// The stores of all watches, and the stream of what their events touch.
struct Watched {
    /// The objects of each watch, one for each watched namespace.
    objects: Vec<Store<BucketReplication>>,
    accounts: Store<AwsAccount>,
    namespaces: Store<PartialObjectMeta<Namespace>>,
    receiver: mpsc::UnboundedReceiver<Touched>,
    /// They end when this is dropped.
    tasks: tokio::task::JoinSet<()>,
}

fn watch(client: &Client, watch_namespaces: &[String]) -> Watched {
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut tasks = tokio::task::JoinSet::new();
    let mut objects = vec![];
    for api in object_apis(client, watch_namespaces) {
        let (store, writer) = reflector::store();
        objects.push(store);
        let events = watcher(api, config())
            .default_backoff()
            .modify(strip)
            .reflect(writer);
        tasks.spawn(forward(touched(events, trigger::object), sender.clone()));
    }
    let (accounts, writer) = reflector::store();
    let events = watcher(Api::<AwsAccount>::all(client.clone()), config())
        .default_backoff()
        .modify(strip)
        .reflect(writer);
    tasks.spawn(forward(touched(events, trigger::account), sender.clone()));
    let (namespaces, writer) = reflector::store();
    let of_namespaces = Api::<PartialObjectMeta<Namespace>>::all(client.clone());
    let events = watcher(of_namespaces, config())
        .default_backoff()
        .modify(strip)
        .reflect(writer);
    tasks.spawn(forward(touched(events, trigger::namespace), sender));
    Watched {
        objects,
        accounts,
        namespaces,
        receiver,
        tasks,
    }
}

/// The objects that an operator of these namespaces watches; if there are none, all.
pub(crate) fn object_apis(client: &Client, namespaces: &[String]) -> Vec<Api<BucketReplication>> {
    if namespaces.is_empty() {
        return vec![Api::all(client.clone())];
    }
    namespaces
        .iter()
        .map(|namespace| Api::namespaced(client.clone(), namespace))
        .collect()
}

fn config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}

/// Removes what is never read from memory.
fn strip<K: ResourceExt>(object: &mut K) {
    object.managed_fields_mut().clear();
    object
        .annotations_mut()
        .remove("kubectl.kubernetes.io/last-applied-configuration");
}

async fn forward(touched: impl Stream<Item = Touched>, sender: mpsc::UnboundedSender<Touched>) {
    let mut touched = std::pin::pin!(touched);
    while let Some(touched) = touched.next().await {
        if sender.send(touched).is_err() {
            return;
        }
    }
}
