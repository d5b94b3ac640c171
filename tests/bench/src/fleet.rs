//! The objects: created, edited and deleted at once, and watched until they are ready or gone.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::bail;
use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::watcher::{self, Event},
};
use serde_json::json;

use crate::ground::{ACCOUNTS, Ground, NAMESPACE};
use api::BucketReplication;

/// So many requests of users are under way at the same time.
pub const USERS: usize = 16;

/// The objects on the source buckets of one account.
pub struct Fleet {
    api: Api<BucketReplication>,
    /// Their names, each also that of the source bucket.
    pub names: Vec<String>,
    account: usize,
    source_key: String,
    replica_key: String,
    seen: Seen,
    watch: tokio::task::JoinHandle<()>,
}

/// When each object became ready for each generation, and when it was gone.
type Seen = Arc<Mutex<HashMap<String, (i64, Option<Instant>)>>>;

impl Drop for Fleet {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Fleet {
    /// That many objects, which do not exist yet, on buckets that do.
    pub fn new(ground: &Ground, account: usize, label: &str, size: usize) -> Self {
        let names: Vec<_> = (0..size)
            .map(|number| format!("source-{label}-{number:05}"))
            .collect();
        ground.make_buckets(account, names.iter().cloned());
        let api: Api<BucketReplication> = Api::namespaced(ground.client.clone(), NAMESPACE);
        let seen = Seen::default();
        let watch = tokio::spawn(watch(api.clone(), Arc::clone(&seen)));
        Self {
            api,
            names,
            account,
            source_key: ground.source_keys[account].clone(),
            replica_key: ground.replica_key.clone(),
            seen,
            watch,
        }
    }

    /// The object of that name.
    ///
    /// # Errors
    /// Never: it is an object.
    pub fn object(&self, name: &str) -> anyhow::Result<BucketReplication> {
        Ok(serde_json::from_value(json!({
            "apiVersion": "bucketops.dev/v1alpha1",
            "kind": "BucketReplication",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "source": {"accountName": ACCOUNTS[self.account].0, "bucket": name, "kmsKeys": [self.source_key]},
                "destination": {"accountName": "dr", "bucket": "dest", "kmsKey": self.replica_key},
                "rules": [{"name": "tax", "prefix": format!("Tax/{name}/")}],
            },
        }))?)
    }

    async fn each<Fut: Future<Output = anyhow::Result<()>>>(
        &self,
        act: impl Fn(String) -> Fut,
    ) -> anyhow::Result<()> {
        stream::iter(self.names.iter().cloned())
            .map(|name| Ok(act(name)))
            .try_buffer_unordered(USERS)
            .try_collect()
            .await
    }

    /// Creates one of the objects.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn create_one(&self, name: &str) -> anyhow::Result<BucketReplication> {
        let object = self.object(name)?;
        Ok(self.api.create(&PostParams::default(), &object).await?)
    }

    /// An object as the API server has it.
    ///
    /// # Errors
    /// When it does not exist.
    pub async fn get(&self, name: &str) -> anyhow::Result<BucketReplication> {
        Ok(self.api.get(name).await?)
    }

    /// Creates all objects. Gives when each was created.
    ///
    /// # Errors
    /// When the API server refuses one.
    pub async fn create(&self) -> anyhow::Result<HashMap<String, Instant>> {
        let created = Mutex::new(HashMap::new());
        self.each(async |name| {
            let now = Instant::now();
            self.create_one(&name).await?;
            let mut created = created.lock().unwrap_or_else(PoisonError::into_inner);
            created.insert(name, now);
            Ok(())
        })
        .await?;
        Ok(created.into_inner().unwrap_or_default())
    }

    /// Gives every object another prefix.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn edit(&self) -> anyhow::Result<()> {
        self.each(async |name| {
            let patch =
                json!({"spec": {"rules": [{"name": "tax", "prefix": format!("Legal/{name}/")}]}});
            self.api
                .patch(&name, &PatchParams::default(), &Patch::Merge(patch))
                .await?;
            Ok(())
        })
        .await
    }

    /// Deletes every object.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn delete(&self) -> anyhow::Result<()> {
        self.each(async |name| {
            self.api.delete(&name, &DeleteParams::background()).await?;
            Ok(())
        })
        .await
    }

    /// Releases what a replay created, and deletes it.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn remove(&self) -> anyhow::Result<()> {
        self.each(async |name| {
            let patch = json!({"metadata": {"finalizers": null}});
            self.api
                .patch(&name, &PatchParams::default(), &Patch::Merge(patch))
                .await?;
            self.api.delete(&name, &DeleteParams::background()).await?;
            Ok(())
        })
        .await?;
        self.gone(Duration::from_mins(2)).await
    }

    fn count(&self, holds: impl Fn(Option<&(i64, Option<Instant>)>) -> bool) -> usize {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        self.names
            .iter()
            .filter(|name| holds(seen.get(*name)))
            .count()
    }

    async fn all(
        &self,
        what: &str,
        most: Duration,
        holds: impl Fn(Option<&(i64, Option<Instant>)>) -> bool,
    ) -> anyhow::Result<()> {
        let (start, mut told) = (Instant::now(), Instant::now());
        loop {
            let count = self.count(&holds);
            if count == self.names.len() {
                return Ok(());
            }
            if start.elapsed() > most {
                bail!("{count} of {} are {what} after {most:?}", self.names.len());
            }
            if told.elapsed() > Duration::from_secs(5) {
                told = Instant::now();
                crate::say(&format!("    {count} of {} are {what}", self.names.len()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until every object is ready for this generation. Gives when each became so.
    ///
    /// # Errors
    /// When it takes longer than `most`.
    pub async fn ready(
        &self,
        generation: i64,
        most: Duration,
    ) -> anyhow::Result<HashMap<String, Instant>> {
        self.all("Ready", most, |seen| {
            seen.is_some_and(|(of, ready)| *of == generation && ready.is_some())
        })
        .await?;
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let times = self
            .names
            .iter()
            .filter_map(|name| Some((name.clone(), seen.get(name)?.1?)));
        Ok(times.collect())
    }

    /// Waits until every object is gone.
    ///
    /// # Errors
    /// When it takes longer than `most`.
    pub async fn gone(&self, most: Duration) -> anyhow::Result<()> {
        self.all("gone", most, |seen| seen.is_none()).await
    }
}

async fn watch(api: Api<BucketReplication>, seen: Seen) {
    let mut events = watcher::watcher(api, watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => note(&mut seen, &object),
            Ok(Event::Delete(object)) => {
                seen.remove(&object.name_any());
            }
            Ok(Event::Init | Event::InitDone) | Err(_) => {}
        }
    }
}

fn note(seen: &mut HashMap<String, (i64, Option<Instant>)>, object: &BucketReplication) {
    let generation = object.meta().generation.unwrap_or_default();
    let ready = object.status.as_ref().is_some_and(|status| {
        status.observed_generation == Some(generation)
            && status.ready().is_some_and(|ready| ready.status == "True")
    });
    let entry = seen.entry(object.name_any()).or_insert((generation, None));
    if entry.0 != generation {
        *entry = (generation, None);
    }
    if !ready {
        entry.1 = None;
    } else if entry.1.is_none() {
        entry.1 = Some(Instant::now());
    }
}
