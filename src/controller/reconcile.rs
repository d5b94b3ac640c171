//! Reconciles a bucket or an account: gathers what is known, visits it, and writes the outcome to Kubernetes.

use std::{
    collections::{BTreeMap, HashMap},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    ResourceExt,
    core::PartialObjectMeta,
    runtime::reflector::{ObjectRef, Store},
};
use tracing::{Instrument, field::Empty};

use super::{
    account::AccountMemory,
    canaries::Remembered,
    known_accounts::{Known, KnownAccounts},
    kubernetes::{Kubernetes, is_ours, key_of},
    publish::NotWritten,
    schedule::{Accounts as Called, Due, Urgency},
    store_gate::StoreGate,
    touches::accounts_of,
    visit::visit,
};
use crate::{
    api::{AwsAccount, BucketReplication},
    cloud::{
        aws::{Aws, AwsCloud, LatestAccounts},
        editor::Editors,
    },
    leader::Leadership,
    metrics::Metrics,
    replication::{
        Object,
        accounts::{Accounts, Labels},
        contention::Contention,
        names::{InstallationId, ObjectKey, OwnedBucket},
        requeue::{Ending, Periods, wait},
        shared_policy::SourceRole,
        validate::source_of,
        visit::{
            Times, Visit,
            memory::Memory,
            report::{Report, panicked, unended},
            upstream_of,
        },
    },
    slot::Slot,
};

/// A visit that takes longer is ended and retried. Each call has its own deadline, so this is only reached if many calls are slow.
pub(super) const LONGEST_VISIT: Duration = Duration::from_mins(5);
/// Writing statuses, Events and finalizers may take so much longer.
const LONGEST_PUBLISHING: Duration = Duration::from_mins(2);
/// What no visit counts the attempts of is done again after so long.
pub(super) const NEXT_ATTEMPT: Duration = Duration::from_secs(30);

/// What is visited.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A source bucket, by name.
    Bucket(String),
    /// An `AWSAccount`, by name.
    Account(String),
    /// The canaries of an object.
    Canaries(ObjectKey),
    /// S3's replication metrics of an `AWSAccount`, by name.
    Metrics(String),
}

/// What reconciling uses.
pub struct Context {
    /// This installation.
    pub installation: InstallationId,
    /// The border to Kubernetes.
    pub kubernetes: Kubernetes,
    /// The border to AWS.
    pub aws: Aws,
    /// The editors of policies that several source buckets share.
    pub editors: Editors,
    /// The objects of each watch, one for each watched namespace.
    pub objects: Vec<Store<BucketReplication>>,
    /// All `AWSAccount`s.
    pub accounts: Store<AwsAccount>,
    /// All namespaces, for their labels.
    pub namespaces: Store<PartialObjectMeta<Namespace>>,
    /// The periods of visits.
    pub times: Times,
    /// When to visit again.
    pub periods: Periods,
    /// Whether all namespaces are watched, so that the status of accounts can be written.
    pub writes_account_status: bool,
    /// Whether this replica may write.
    pub leadership: Leadership,
    /// What is counted.
    pub metrics: Metrics,
    /// The accounts, as visits need them.
    pub known_accounts: Arc<KnownAccounts>,
    /// What is remembered of each bucket.
    pub memory: Mutex<HashMap<OwnedBucket, Memory>>,
    /// Fights with other writers about policies that several source buckets share.
    pub contention: Mutex<Contention>,
    /// What is remembered of each `AWSAccount`.
    pub account_memory: Mutex<HashMap<String, AccountMemory>>,
    /// What is remembered of the canaries of each object.
    pub canaries: Mutex<HashMap<ObjectKey, Remembered>>,
}

impl Context {
    /// All objects in the stores.
    pub fn all_objects(&self) -> Vec<Arc<BucketReplication>> {
        self.objects.iter().flat_map(Store::state).collect()
    }

    /// The object in the stores.
    pub(super) fn object(&self, key: &ObjectKey) -> Option<Arc<BucketReplication>> {
        let named = ObjectRef::new(&key.name).within(&key.namespace);
        self.objects.iter().find_map(|store| store.get(&named))
    }

    fn labels(&self, namespace: &str) -> Labels {
        let found = self
            .namespaces
            .find(|candidate| candidate.name_any() == namespace);
        found
            .map(|namespace| namespace.labels().clone())
            .unwrap_or_default()
    }

    pub(super) fn current_accounts(&self) -> Arc<Accounts> {
        Arc::clone(&self.known_accounts.now(&self.accounts).accounts)
    }

    /// Visits a bucket or account, and returns when to visit it again, and the accounts that this calls.
    pub async fn reconcile(&self, key: &Key, slot: Slot) -> Option<(Due, Called)> {
        let visited = AssertUnwindSafe(self.visited(key, &slot)).catch_unwind();
        let again = visited.await.unwrap_or_else(|_| {
            self.metrics.panicked();
            Some(self.after_panic(key))
        });
        self.metrics.progress().visited();
        again
    }

    /// A fault outside of what a visit decides is only counted and logged: what was to be written may be the cause.
    fn after_panic(&self, key: &Key) -> (Due, Called) {
        let again = Due {
            at: tokio::time::Instant::now() + NEXT_ATTEMPT,
            urgency: Urgency::Retry,
        };
        let called = match key {
            Key::Bucket(bucket) => {
                let mut objects = self.all_objects();
                objects.retain(|object| object.spec.source.bucket == *bucket);
                accounts_of(objects.iter().map(AsRef::as_ref))
            }
            Key::Canaries(object) => accounts_of(self.object(object).iter().map(AsRef::as_ref)),
            Key::Account(account) | Key::Metrics(account) => [account.clone()].into(),
        };
        (again, called)
    }

    async fn visited(&self, key: &Key, slot: &Slot) -> Option<(Due, Called)> {
        match key {
            Key::Bucket(bucket) => self.bucket(bucket, slot).await,
            Key::Canaries(object) => self.visit_canaries(object, slot).await,
            Key::Metrics(account) => {
                let read = tokio::time::timeout(LONGEST_VISIT, self.read_metrics(account));
                let read = Box::pin(read).await;
                read.unwrap_or_else(|_| Some(self.of_account(Ending::Retry, account)))
            }
            Key::Account(account) => {
                let visit = self
                    .account(account)
                    .instrument(tracing::info_span!("visit", account));
                let ending = tokio::time::timeout(LONGEST_VISIT, visit)
                    .await
                    .unwrap_or(Some(Ending::Retry));
                ending.map(|ending| self.of_account(ending, account))
            }
        }
    }

    fn of_account(&self, ending: Ending, account: &str) -> (Due, Called) {
        (self.due(ending, account, 1), [account.to_owned()].into())
    }

    fn due(&self, ending: Ending, name: &str, attempts: u32) -> Due {
        Due {
            at: tokio::time::Instant::now() + wait(ending, name, attempts, &self.periods),
            urgency: ending.into(),
        }
    }

    async fn bucket(&self, bucket: &str, slot: &Slot) -> Option<(Due, Called)> {
        let known = self.known_accounts.now(&self.accounts);
        let accounts = &known.accounts;
        let mut taken = self.all_objects();
        taken.retain(|object| object.spec.source.bucket == bucket && is_ours(object));
        // A visit may wait for long, and has to hold no room for all objects.
        taken.shrink_to_fit();
        self.metrics
            .only(bucket, &taken.iter().map(|object| key_of(object)).collect());
        if taken.is_empty() {
            self.memory
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .retain(|known, _| known.name.as_str() != bucket);
            return None;
        }
        let mut by_owner: BTreeMap<OwnedBucket, Vec<&Arc<BucketReplication>>> = BTreeMap::new();
        let mut again: Option<Due> = None;
        for object in &taken {
            if let Ok(owned) = source_of(&object.spec, accounts) {
                by_owner.entry(owned).or_default().push(object);
            } else {
                let ending = match self.without_source(object, accounts).await {
                    Ok(()) => Ending::Blocked,
                    Err(NotWritten) => Ending::After(NEXT_ATTEMPT),
                };
                again = Some(self.due(ending, bucket, 0).and(again));
            }
        }
        for (owned, objects) in by_owner {
            let due = self.visit(&owned, &objects, &taken, &known, slot).await;
            again = Some(due.and(again));
        }
        let accounts = accounts_of(taken.iter().map(AsRef::as_ref));
        again.map(|due| (due, accounts))
    }

    async fn visit(
        &self,
        owned: &OwnedBucket,
        objects: &[&Arc<BucketReplication>],
        taken: &[Arc<BucketReplication>],
        known: &Known,
        slot: &Slot,
    ) -> Due {
        let started = Instant::now();
        let of_bucket = self.taken(owned, objects.iter().copied(), &known.accounts);
        let cloud = self.cloud(&of_bucket, slot);
        let gate = StoreGate::new(
            &self.kubernetes,
            owned.name.as_str(),
            taken.iter().map(AsRef::as_ref),
            known.named_by(objects),
        );
        let mut memory = self.remembered(owned);
        memory
            .contention
            .absorb(&self.contention(), Timestamp::now());
        let before = memory.clone();
        let span = tracing::info_span!("visit", bucket = %owned.name, objects = objects.len(), steps = Empty, ending = Empty);
        let visited = async {
            let begun = tokio::time::timeout(LONGEST_PUBLISHING, self.begin(objects));
            let mut versions = begun.await.unwrap_or_default();
            let visited = Box::pin(visit(&cloud, &gate, &of_bucket, memory, Timestamp::now));
            let mut report = self.ended(visited, &of_bucket, before).await;
            versions.extend(gate.versions());
            let published = self.publish(objects, &report, &versions);
            let published = tokio::time::timeout(LONGEST_PUBLISHING, published).await;
            if published != Ok(Ok(())) {
                report.ending = Ending::Retry;
            }
            report
        };
        let mut report = visited.instrument(span.clone()).await;
        let (ending, steps) = (report.ending, report.done.len());
        span.record("steps", steps)
            .record("ending", tracing::field::debug(ending));
        let mut memory = std::mem::take(&mut report.memory);
        memory.count(ending);
        let mut contention = self.contention();
        contention.absorb(&memory.contention, Timestamp::now());
        contention.forget(Timestamp::now());
        drop(contention);
        let (name, attempts) = (owned.name.as_str(), memory.attempts);
        let mut memories = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memories.insert(owned.clone(), memory);
        drop(memories);
        self.metrics.visited(&report, started.elapsed());
        tracing::debug!(parent: &span, ?ending, steps, "visited");
        self.due(ending, name, attempts)
    }

    /// The report of `visited`, also if it takes too long or panics. Then everything is remembered that was before.
    async fn ended(
        &self,
        visited: impl Future<Output = Report>,
        visit: &Visit,
        before: Memory,
    ) -> Report {
        let visited = AssertUnwindSafe(tokio::time::timeout(LONGEST_VISIT, visited));
        match visited.catch_unwind().await {
            Ok(Ok(report)) => report,
            Ok(Err(_)) => unended(visit, LONGEST_VISIT, before, Timestamp::now()),
            Err(_) => {
                self.metrics.panicked();
                panicked(visit, before, Timestamp::now())
            }
        }
    }

    /// A visit to a source bucket, on which there are these objects.
    pub(super) fn taken<'a>(
        &self,
        owned: &OwnedBucket,
        objects: impl IntoIterator<Item = &'a Arc<BucketReplication>>,
        accounts: &Arc<Accounts>,
    ) -> Visit {
        let objects = objects.into_iter().map(|object| self.reduced(object));
        Visit::new(
            self.installation.clone(),
            Arc::clone(accounts),
            owned.clone(),
            objects.collect(),
            upstream_of(owned, self.all_objects().iter().map(AsRef::as_ref)),
            self.times,
            Timestamp::now(),
        )
        .watching(self.kubernetes.namespaces.iter().cloned())
    }

    /// The border to AWS for one visit.
    fn cloud(&self, visit: &Visit, slot: &Slot) -> AwsCloud {
        self.cloud_of(&visit.source, &visit.accounts, slot)
    }

    /// The same for calls on a source bucket.
    pub(super) fn cloud_of(
        &self,
        source: &OwnedBucket,
        accounts: &Arc<Accounts>,
        slot: &Slot,
    ) -> AwsCloud {
        AwsCloud {
            aws: self.aws.clone(),
            accounts: Arc::clone(accounts),
            latest: self.latest_accounts(),
            role: SourceRole::of(&self.installation, source),
            since: self.editors.moment(),
            editors: self.editors.of_visit(slot.clone()),
            leadership: self.leadership.clone(),
        }
    }

    fn latest_accounts(&self) -> LatestAccounts {
        let (known, store) = (Arc::clone(&self.known_accounts), self.accounts.clone());
        LatestAccounts::by(move || Arc::clone(&known.now(&store).accounts))
    }

    fn contention(&self) -> MutexGuard<'_, Contention> {
        self.contention
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(&self, bucket: &OwnedBucket) -> Memory {
        let memories = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memories.get(bucket).cloned().unwrap_or_default()
    }

    pub(super) fn reduced(&self, object: &BucketReplication) -> Object {
        let namespace = object.namespace().unwrap_or_default();
        Object::of(object, self.labels(&namespace))
    }
}
