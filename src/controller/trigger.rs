//! From watch events to what has to be visited. A relist does not report what was deleted while the watch was down, so that is remembered here.

use std::{collections::HashMap, hash::Hash};

use futures::{Stream, StreamExt};
use kube::{
    Resource, ResourceExt,
    runtime::{
        reflector::{Lookup, ObjectRef},
        watcher::{self, Event},
    },
};

use crate::api::{ABANDON, APPLIED, AwsAccount, BucketReplication, TAKE_OVER, VERIFY};

/// What a watch saw change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Touched {
    /// An object on that source bucket, between those two `AWSAccount`s.
    Object {
        /// The source bucket.
        bucket: String,
        /// The `AWSAccount` of the source.
        source: String,
        /// The `AWSAccount` of the destination.
        destination: String,
    },
    /// An `AWSAccount`.
    Account(String),
    /// The labels of a namespace.
    Namespace(String),
}

/// What in a `BucketReplication` matters. Its status, which the operator writes, does not.
#[must_use]
pub fn object(object: &BucketReplication) -> (Touched, String) {
    let spec = &object.spec;
    let touched = Touched::Object {
        bucket: spec.source.bucket.clone(),
        source: spec.source.account_name.clone(),
        destination: spec.destination.account_name.clone(),
    };
    let annotations =
        [ABANDON, TAKE_OVER, APPLIED, VERIFY].map(|name| object.annotations().get(name));
    let deleting = object.metadata.deletion_timestamp.is_some();
    (
        touched,
        format!(
            "{:?} {:?} {deleting} {annotations:?}",
            object.metadata.uid, object.metadata.generation
        ),
    )
}

/// What in an `AWSAccount` matters.
#[must_use]
pub fn account(account: &AwsAccount) -> (Touched, String) {
    (
        Touched::Account(account.name_any()),
        format!(
            "{:?} {:?}",
            account.metadata.uid, account.metadata.generation
        ),
    )
}

/// What in a namespace matters.
#[must_use]
pub fn namespace<K: ResourceExt>(namespace: &K) -> (Touched, String) {
    (
        Touched::Namespace(namespace.name_any()),
        format!("{:?}", namespace.labels()),
    )
}

/// What is touched by the events of a watch, its first list aside. `matters` returns what an object touches, and a text that changes if something
/// that matters does.
pub fn touched<K>(
    events: impl Stream<Item = Result<Event<K>, watcher::Error>>,
    matters: impl Fn(&K) -> (Touched, String),
) -> impl Stream<Item = Touched>
where
    K: Lookup + Resource,
    <K as Lookup>::DynamicType: Default + Eq + Hash + Clone,
{
    let mut seen: Seen<K> = HashMap::new();
    let mut listed: Seen<K> = HashMap::new();
    let mut is_first = true;
    events
        .filter_map(|event| {
            if let Err(error) = &event {
                tracing::warn!(%error, "a watch failed; the operator restarts it");
            }
            std::future::ready(event.ok())
        })
        .flat_map(move |event| {
            let now = match event {
                Event::Init => {
                    listed.clear();
                    vec![]
                }
                Event::InitApply(object) => {
                    listed.insert(ObjectRef::from_obj(&object), matters(&object));
                    vec![]
                }
                Event::InitDone if std::mem::take(&mut is_first) => {
                    seen = std::mem::take(&mut listed);
                    vec![]
                }
                Event::InitDone => {
                    let before = std::mem::replace(&mut seen, std::mem::take(&mut listed));
                    differences(&before, &seen)
                }
                Event::Apply(object) => {
                    let value = matters(&object);
                    let before = seen.insert(ObjectRef::from_obj(&object), value.clone());
                    match before {
                        Some(before) if before == value => vec![],
                        Some(before) if before.0 != value.0 => vec![before.0, value.0],
                        _ => vec![value.0],
                    }
                }
                Event::Delete(object) => {
                    seen.remove(&ObjectRef::from_obj(&object));
                    vec![matters(&object).0]
                }
            };
            futures::stream::iter(now)
        })
}

/// Of each object what it touches, and a text that changes if something that matters does.
type Seen<K> = HashMap<ObjectRef<K>, (Touched, String)>;

/// What is touched by what changed, and by what is gone.
fn differences<K>(before: &Seen<K>, now: &Seen<K>) -> Vec<Touched>
where
    K: Lookup,
    K::DynamicType: Eq + Hash + Clone,
{
    let changed = now
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(*value));
    let gone = before.iter().filter(|(key, _)| !now.contains_key(*key));
    changed
        .chain(gone)
        .map(|(_, (touched, _))| touched.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(name: &str, generation: i64, bucket: &str) -> BucketReplication {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "bucketops.dev/v1alpha1", "kind": "BucketReplication",
            "metadata": {"name": name, "namespace": "n", "generation": generation},
            "spec": {"source": {"accountName": "a", "bucket": bucket}, "destination": {"accountName": "b", "bucket": "d"}},
        }))
        .expect("an object")
    }

    async fn buckets(events: Vec<Event<BucketReplication>>) -> Vec<String> {
        let events = futures::stream::iter(events.into_iter().map(Ok));
        let mut buckets: Vec<_> = touched(events, object)
            .map(|touched| match touched {
                Touched::Object { bucket, .. } => bucket,
                other => format!("{other:?}"),
            })
            .collect()
            .await;
        buckets.sort();
        buckets
    }

    #[tokio::test]
    async fn writing_a_status_touches_nothing() {
        assert_eq!(
            buckets(vec![
                Event::Apply(make("x", 1, "s")),
                Event::Apply(make("x", 1, "s"))
            ])
            .await,
            ["s"]
        );
        assert_eq!(
            buckets(vec![
                Event::Apply(make("x", 1, "s")),
                Event::Apply(make("x", 2, "s"))
            ])
            .await,
            ["s", "s"]
        );
    }

    #[tokio::test]
    async fn what_vanished_while_the_watch_was_down_is_touched() {
        let list = |objects: Vec<BucketReplication>| {
            let applied = objects.into_iter().map(Event::InitApply);
            std::iter::once(Event::Init)
                .chain(applied)
                .chain([Event::InitDone])
                .collect::<Vec<_>>()
        };
        let mut events = list(vec![make("x", 1, "s"), make("y", 1, "t")]);
        assert_eq!(
            buckets(events.clone()).await,
            [""; 0],
            "the first list is no change"
        );
        events.extend(list(vec![make("y", 1, "t"), make("z", 1, "u")]));
        assert_eq!(buckets(events).await, ["s", "u"]);
    }

    #[tokio::test]
    async fn deleting_touches() {
        assert_eq!(
            buckets(vec![
                Event::Apply(make("x", 1, "s")),
                Event::Delete(make("x", 1, "s"))
            ])
            .await,
            ["s", "s"]
        );
    }
}
