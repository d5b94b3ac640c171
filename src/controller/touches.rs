//! What is visited when something changed and when the operator starts, how soon, and which accounts that calls.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use kube::ResourceExt;
use tokio::time::Instant;

use super::{
    canaries::verifies,
    kubernetes::{is_ours, key_of},
    reconcile::{Context, Key},
    schedule::{Accounts, Due, Urgency},
    trigger::Touched,
};
use crate::{
    api::{
        AwsAccount, BucketReplication,
        condition::Reason,
        verification::{Health, Verified},
    },
    replication::requeue::any_time_within,
};

/// The status of an account counts its objects so long after one of them changed.
const COUNTED: Duration = Duration::from_secs(5);

/// A key, when it is visited, and the accounts that this calls.
type Touch = (Key, Due, Accounts);

/// What is visited when the operator starts: all accounts, and the buckets of all objects.
pub(super) fn at_start(context: &Context, now: Instant) -> Vec<Touch> {
    let accounts = context.accounts.state();
    let due = Due {
        at: now,
        urgency: Urgency::Check,
    };
    let of_accounts = accounts
        .iter()
        .flat_map(|account| of_account(&account.name_any(), due));
    let objects = context.all_objects();
    let changed = changed_accounts(&accounts, &objects, context.writes_account_status);
    let ours = objects.iter().filter(|object| is_ours(object));
    let of_objects = ours.map(|object| {
        // It counts by its last report until it is visited.
        if let Some(status) = &object.status {
            context.count(object, status);
            context.count_verified(object, &Verified::take(&mut status.clone()));
        }
        let due = due_at_start(object, &changed, context.periods.drift, now);
        let key = Key::Bucket(object.spec.source.bucket.clone());
        (key, due, accounts_of([object.as_ref()]))
    });
    let of_canaries = canaries(&objects, due);
    // The condition may be left from an account that is gone.
    let of_metrics = objects.iter().filter(|object| {
        let status = object.status.as_ref();
        status.is_some_and(|status| Health::of(status) != Health::default())
    });
    let of_metrics = of_metrics.map(|object| {
        let account = &object.spec.source.account_name;
        let metrics = Key::Metrics(account.clone());
        (metrics, due, Accounts::from([account.clone()]))
    });
    let of_metrics: Vec<_> = of_metrics.collect();
    of_accounts
        .chain(of_objects)
        .chain(of_canaries)
        .chain(of_metrics)
        .collect()
}

/// The canaries of those of `objects` that have some or ask for them.
fn canaries(objects: &[Arc<BucketReplication>], due: Due) -> Vec<Touch> {
    let verifying = objects.iter().filter(|object| verifies(object));
    let touch = |object: &Arc<BucketReplication>| {
        let called = accounts_of([object.as_ref()]);
        (Key::Canaries(key_of(object)), due, called)
    };
    verifying.map(touch).collect()
}

/// The accounts that changed since their last report, with their IDs, and those that objects name and that do not exist.
fn changed_accounts(
    accounts: &[Arc<AwsAccount>],
    objects: &[Arc<BucketReplication>],
    reported: bool,
) -> BTreeMap<String, Option<String>> {
    let existing: BTreeSet<_> = accounts.iter().map(|account| account.name_any()).collect();
    let named = objects.iter().flat_map(|object| {
        let spec = &object.spec;
        [&spec.source.account_name, &spec.destination.account_name]
    });
    let missing = named.filter(|name| !existing.contains(*name));
    let changed = accounts.iter().filter(|account| {
        let status = account.status.as_ref();
        let observed = status.map(|status| status.observed_generation);
        reported && observed != Some(account.metadata.generation)
    });
    let changed =
        changed.map(|account| (account.name_any(), Some(account.spec.account_id.clone())));
    missing
        .map(|name| (name.clone(), None))
        .chain(changed)
        .collect()
}

/// Whether the object names the account, or a key in the account with that ID.
fn names(object: &BucketReplication, account: &str, id: Option<&str>) -> bool {
    let (source, destination) = (&object.spec.source, &object.spec.destination);
    let mut keys = source.kms_keys.iter().flatten().chain(&destination.kms_key);
    source.account_name == account
        || destination.account_name == account
        || id.is_some_and(|id| keys.any(|key| key.contains(&format!(":{id}:"))))
}

/// An object that was ready, and of which nothing changed since that was reported, is visited any time within a drift period, so that a restart does
/// not read everything at once. Of the accounts it is known which ones `changed`.
fn due_at_start(
    object: &BucketReplication,
    changed: &BTreeMap<String, Option<String>>,
    drift: Duration,
    now: Instant,
) -> Due {
    let observed = object
        .status
        .as_ref()
        .map(|status| status.observed_generation);
    let is_reported = object.metadata.deletion_timestamp.is_none()
        && observed == Some(object.metadata.generation)
        && !changed
            .iter()
            .any(|(name, id)| names(object, name, id.as_deref()));
    let urgency = match (is_reported, is_ready(object)) {
        (false, _) => Urgency::Change,
        (true, false) => Urgency::Retry,
        (true, true) => Urgency::Check,
    };
    let at = if urgency == Urgency::Check {
        now + any_time_within(drift, &object.spec.source.bucket)
    } else {
        now
    };
    Due { at, urgency }
}

fn is_ready(object: &BucketReplication) -> bool {
    let ready = object.status.as_ref().and_then(|status| status.ready());
    ready.is_some_and(|ready| ready.status == "True")
}

/// What is visited at `at`, after a change: an object's bucket and accounts; for an account or a namespace, the buckets of all objects that it affects.
pub(super) fn after(context: &Context, touched: &Touched, at: Instant) -> Vec<Touch> {
    let change = Due {
        at,
        urgency: Urgency::Change,
    };
    let buckets = |decides: &dyn Fn(&BucketReplication) -> bool| -> Vec<Touch> {
        let objects = context.all_objects();
        let affected = objects.iter().filter(|object| decides(object));
        let touch = |object: &Arc<BucketReplication>| {
            // What the change is for waits for it; of the others it is not known whether anything changes.
            let urgency = if is_ready(object) {
                Urgency::Check
            } else {
                Urgency::Change
            };
            let key = Key::Bucket(object.spec.source.bucket.clone());
            (key, Due { at, urgency }, accounts_of([object.as_ref()]))
        };
        let affected: Vec<_> = affected.cloned().collect();
        let of_canaries = canaries(&affected, change);
        affected.iter().map(touch).chain(of_canaries).collect()
    };
    match touched {
        Touched::Object {
            bucket,
            source,
            destination,
        } => {
            let accounts = BTreeSet::from([source, destination]);
            let called = accounts_in(source, [destination]);
            let of_bucket = (Key::Bucket(bucket.clone()), change, called);
            // Its numbers may wait, and then count many changes at once.
            let soon = Due {
                at: at + COUNTED,
                ..change
            };
            let of_accounts = accounts.into_iter().map(|name| status_of(name, soon));
            let mut verifying = context.all_objects();
            verifying.retain(|object| object.spec.source.bucket == *bucket);
            let of_canaries = canaries(&verifying, change);
            of_accounts.chain([of_bucket]).chain(of_canaries).collect()
        }
        Touched::Account(name) => {
            let id = context
                .accounts
                .find(|account| account.name_any() == *name)
                .map(|account| account.spec.account_id.clone());
            // A key can belong to a third account, and a default key to any account.
            let decides = |object: &BucketReplication| {
                names(object, name, id.as_deref()) || waits_for_account(object)
            };
            let affected = buckets(&decides).into_iter();
            affected.chain(of_account(name, change)).collect()
        }
        Touched::Namespace(name) => buckets(&|object| object.namespace().as_deref() == Some(name)),
    }
}

/// What is visited of an account itself: its status, and its metrics.
fn of_account(name: &str, due: Due) -> [Touch; 2] {
    let metrics = Key::Metrics(name.to_owned());
    [
        status_of(name, due),
        (metrics, due, [name.to_owned()].into()),
    ]
}

fn status_of(name: &str, due: Due) -> Touch {
    (Key::Account(name.to_owned()), due, [name.to_owned()].into())
}

/// The accounts that the visit of a bucket with these objects calls. The first one is a source's.
pub(super) fn accounts_of<'a>(
    objects: impl IntoIterator<Item = &'a BucketReplication> + Clone,
) -> Accounts {
    let sources = objects.clone().into_iter();
    let first = sources.map(|object| &object.spec.source.account_name).min();
    let all = objects.into_iter().flat_map(|object| {
        let spec = &object.spec;
        [&spec.source.account_name, &spec.destination.account_name]
    });
    first.map_or_else(|| [].into(), |first| accounts_in(first, all))
}

fn accounts_in<'a>(first: &String, all: impl IntoIterator<Item = &'a String>) -> Accounts {
    let others: BTreeSet<_> = all.into_iter().filter(|name| *name != first).collect();
    std::iter::once(first).chain(others).cloned().collect()
}

/// Whether something is missing that a change of any account can provide.
fn waits_for_account(object: &BucketReplication) -> bool {
    let reasons = [
        Reason::AccountNotFound,
        Reason::AccountNotReady,
        Reason::KeyAccountUnknown,
        Reason::NotGranted,
        Reason::AccessDenied,
    ];
    let mut conditions = object.status.iter().flat_map(|status| &status.conditions);
    conditions.any(|condition| {
        reasons
            .iter()
            .any(|reason| condition.reason == reason.as_str())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const DRIFT: Duration = Duration::from_mins(10);

    fn object(bucket: &str, generation: i64, status: &Value) -> BucketReplication {
        let object = json!({
            "apiVersion": "bucketops.dev/v1alpha1", "kind": "BucketReplication",
            "metadata": {"name": "o", "namespace": "n", "generation": generation},
            "spec": {"source": {"accountName": "a", "bucket": bucket}, "destination": {"accountName": "b", "bucket": "d"}},
            "status": status,
        });
        serde_json::from_value(object).expect("an object")
    }

    fn reported(ready: &str) -> Value {
        json!({"observedGeneration": 1, "conditions": [{"type": "Ready", "status": ready, "reason": "Ready", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
    }

    #[test]
    fn what_did_not_change_is_visited_any_time_within_a_drift_period() {
        let (now, none) = (Instant::now(), BTreeMap::new());
        let after = |number: usize| {
            let object = object(&format!("bucket-{number}"), 1, &reported("True"));
            let due = due_at_start(&object, &none, DRIFT, now);
            assert_eq!(due.urgency, Urgency::Check);
            due.at.duration_since(now)
        };
        let all: Vec<_> = (0..1_000).map(after).collect();
        for minute in 0..10 {
            let minutes = Duration::from_mins(minute)..Duration::from_mins(minute + 1);
            let within = all.iter().filter(|after| minutes.contains(*after)).count();
            assert!((60..140).contains(&within), "{within} in minute {minute}");
        }
        assert_eq!(after(7), after(7), "every restart spreads them alike");
    }

    #[test]
    fn what_may_have_changed_is_visited_at_once() {
        let now = Instant::now();
        let due = |object: &BucketReplication, changed: &[&str]| {
            let changed = changed
                .iter()
                .map(|name| ((*name).to_owned(), None))
                .collect();
            due_at_start(object, &changed, DRIFT, now)
        };
        let at_once = |urgency| Due { at: now, urgency };
        let ready = object("s", 1, &reported("True"));
        assert_eq!(due(&ready, &["c"]).urgency, Urgency::Check);
        let change = at_once(Urgency::Change);
        assert_eq!(due(&ready, &["a"]), change, "its source's account");
        assert_eq!(due(&ready, &["b"]), change, "its destination's account");
        let edited = object("s", 2, &reported("True"));
        assert_eq!(due(&edited, &[]), change);
        let new = object("s", 1, &Value::Null);
        assert_eq!(due(&new, &[]), change);
        let mut deleted = ready.clone();
        deleted.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).expect("a time");
        assert_eq!(due(&deleted, &[]), change);
        let failing = object("s", 1, &reported("False"));
        assert_eq!(due(&failing, &[]), at_once(Urgency::Retry));
    }

    #[test]
    fn accounts_changed_if_their_spec_was_not_reported_or_if_they_are_gone() {
        let account = |name: &str, id: &str, observed: Value| -> Arc<AwsAccount> {
            let account = json!({
                "apiVersion": "bucketops.dev/v1alpha1", "kind": "AWSAccount", "metadata": {"name": name, "generation": 2},
                "spec": {"accountID": id}, "status": {"observedGeneration": observed, "conditions": []},
            });
            Arc::new(serde_json::from_value(account).expect("an AWSAccount"))
        };
        let accounts = [
            account("a", "111111111111", json!(2)),
            account("keys", "333333333333", json!(1)),
        ];
        let mut object = object("s", 1, &reported("True"));
        object.spec.destination.account_name = "a".to_owned();
        let changed = |object: &BucketReplication| {
            changed_accounts(&accounts, &[Arc::new(object.clone())], true)
        };
        let due = |object: &BucketReplication| {
            due_at_start(object, &changed(object), DRIFT, Instant::now()).urgency
        };
        assert_eq!(
            due(&object),
            Urgency::Check,
            "it has nothing to do with what changed"
        );
        let key = "arn:aws:kms:us-east-1:333333333333:key/a".to_owned();
        object.spec.destination.kms_key = Some(key);
        assert_eq!(
            due(&object),
            Urgency::Change,
            "the account of its key changed"
        );
        object.spec.destination.kms_key = None;
        object.spec.destination.account_name = "gone".to_owned();
        assert_eq!(due(&object), Urgency::Change, "its account is gone");
    }

    #[test]
    fn a_visit_calls_the_accounts_of_all_objects_on_its_bucket() {
        let mut objects = vec![object("s", 1, &Value::Null), object("s", 1, &Value::Null)];
        objects[1].spec.destination.account_name = "a".to_owned();
        let called = accounts_of(&objects);
        assert_eq!(*called, ["a".to_owned(), "b".to_owned()]);
    }
}
