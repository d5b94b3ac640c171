//! Visits the canaries of objects, writes what they found, and removes those of objects that are deleted.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::FutureExt;
use jiff::Timestamp;
use kube::ResourceExt;
use tokio::time::Instant;
use tracing::Instrument;

use super::{
    kubernetes::key_of,
    publish::{NotWritten, RECONCILE},
    reconcile::{Context, LONGEST_VISIT, NEXT_ATTEMPT},
    schedule::{Accounts as Called, Due, Urgency},
    touches::accounts_of,
    verify::{CanariesOf, Record, Verifying, remove, verify},
};
use crate::{
    api::{
        BucketReplication,
        condition::ConditionType,
        event::EventReason,
        finding::Finding,
        verification::{CanaryStatus, Verified},
    },
    replication::{
        accounts::Accounts,
        assess::failed,
        names::{ObjectKey, OwnedBucket},
        observed::Failure,
        validate::{source_of, validate},
        verification::{Memory, Wanted, wanted},
        visit::Visit,
    },
    slot::Slot,
};

/// What is remembered of an object's canaries. Whoever uploads or removes canaries holds it, so that both are never done at once.
pub type Remembered = Arc<tokio::sync::Mutex<Memory>>;

/// Whether the object asks for canaries, or has some.
pub(super) fn verifies(object: &BucketReplication) -> bool {
    let status = object.status.as_ref();
    object.spec.verification.is_some() || status.is_some_and(Verified::is_part_of)
}

/// What is due soon, and no one waits for.
fn due(at: Instant) -> Due {
    let urgency = Urgency::Check;
    Due { at, urgency }
}

impl Context {
    fn remembered_canaries(&self, key: &ObjectKey) -> Remembered {
        let mut all = self.canaries.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(key.clone()).or_default())
    }

    fn forget_canaries(&self, key: &ObjectKey) {
        let mut all = self.canaries.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(key);
    }

    /// Visits the canaries of an object, and returns when to visit them again, and the accounts that this calls.
    pub(super) async fn visit_canaries(
        &self,
        key: &ObjectKey,
        slot: &Slot,
    ) -> Option<(Due, Called)> {
        let Some(object) = self.object(key).filter(|object| verifies(object)) else {
            self.forget_canaries(key);
            return None;
        };
        let called = accounts_of([object.as_ref()]);
        let span = tracing::info_span!("canaries", object = %key);
        let visited = self.verified(&object, slot).instrument(span);
        let visited = AssertUnwindSafe(tokio::time::timeout(LONGEST_VISIT, visited));
        match Box::pin(visited.catch_unwind()).await {
            Ok(Ok(until)) => until.map(|wait| (due(Instant::now() + wait), called)),
            Ok(Err(_)) => Some((due(Instant::now() + NEXT_ATTEMPT), called)),
            Err(_) => {
                self.metrics.panicked();
                Some((due(Instant::now() + NEXT_ATTEMPT), called))
            }
        }
    }

    fn canaries_of<'a>(&'a self, object: &'a ObjectKey, source: &'a OwnedBucket) -> CanariesOf<'a> {
        CanariesOf {
            object,
            source,
            installation: &self.installation,
        }
    }

    /// All objects on a source bucket, as a visit takes them.
    fn visit_of(&self, owned: &OwnedBucket, accounts: &Arc<Accounts>) -> Visit {
        let all = self.all_objects();
        let on_bucket = all
            .iter()
            .filter(|object| source_of(&object.spec, accounts).as_ref() == Ok(owned));
        self.taken(owned, on_bucket, accounts)
    }

    /// One visit; how long to wait before the next one.
    async fn verified(&self, object: &Arc<BucketReplication>, slot: &Slot) -> Option<Duration> {
        let accounts = self.current_accounts();
        let Ok(owned) = source_of(&object.spec, &accounts) else {
            return Some(NEXT_ATTEMPT);
        };
        let key = key_of(object);
        let reduced = self.reduced(object);
        let valid = validate(&reduced, &accounts);
        let valid = valid.as_ref().map_err(Vec::as_slice);
        let wanted = wanted(&reduced, valid, &self.installation, &accounts);
        let cloud = self.cloud_of(&owned, &accounts, slot);
        let status = Status {
            context: self,
            object,
            version: Mutex::new(object.resource_version()),
        };
        let visit = || self.visit_of(&owned, &accounts);
        let verifying = Verifying {
            of: self.canaries_of(&key, &owned),
            generation: object.metadata.generation,
            wanted: &wanted,
            request: &reduced.verify,
            visit: &visit,
        };
        let remembered = self.remembered_canaries(&key);
        let mut memory = remembered.lock().await;
        let recorded = reduced.verified.clone();
        let verified = verify(
            &cloud,
            &status,
            verifying,
            &mut memory,
            recorded,
            Timestamp::now,
        );
        let until = Box::pin(verified).await;
        if wanted == Wanted::Nothing && memory.is_empty() {
            self.forget_canaries(&key);
        }
        let until = until?.duration_since(Timestamp::now());
        Some(Duration::try_from(until).unwrap_or_default())
    }

    /// Removes the canaries of a deleted object before it is released.
    ///
    /// # Errors
    /// When they may still exist. An object that is to be abandoned is released all the same.
    pub(super) async fn remove_canaries(
        &self,
        object: &BucketReplication,
    ) -> Result<(), NotWritten> {
        let key = key_of(object);
        let remembered = self.remembered_canaries(&key);
        let remembered = remembered.lock().await;
        let verified = self.reduced(object).verified;
        let mut canaries = remembered.ledger().to_vec();
        canaries.extend(verified.canaries().iter().cloned());
        let accounts = self.current_accounts();
        let owned = source_of(&object.spec, &accounts).ok();
        if let (Some(owned), Some(first)) = (owned, canaries.first()) {
            let cloud = self.cloud_of(&owned, &accounts, &Slot::default());
            let of = self.canaries_of(&key, &owned);
            let removed = Box::pin(remove(&cloud, of, &canaries)).await;
            let is_reached = |canary: &CanaryStatus| {
                let account = canary.destination_account_id.parse();
                account.is_ok_and(|account| cloud.reaches(&account))
            };
            let left = match &removed {
                Ok(()) => canaries.iter().find(|canary| !is_reached(canary)),
                Err(_) if object.asks_to_abandon() => Some(first),
                Err(failure) => {
                    self.report_canaries(object, verified, failure).await;
                    tracing::warn!(object = %key, error = %failure, "canaries were not removed");
                    return Err(NotWritten);
                }
            };
            if let Some(left) = left {
                self.canary_is_left(object, left).await;
            }
        }
        self.forget_canaries(&key);
        Ok(())
    }

    async fn canary_is_left(&self, object: &BucketReplication, left: &CanaryStatus) {
        let note = format!(
            "canaries of this object were not removed: delete all versions of {} in bucket {}, and in the source bucket, by hand",
            left.key_name, left.destination_bucket
        );
        let reason = EventReason::CanariesLeft.as_str();
        self.kubernetes
            .record(object, true, reason, RECONCILE, &note)
            .await;
    }

    /// Says in a deleted object's status why its canaries can't be removed.
    async fn report_canaries(
        &self,
        object: &BucketReplication,
        mut verified: Verified,
        failure: &Failure,
    ) {
        let problem = failed(ConditionType::Verified, failure);
        let message = format!(
            "the object's canaries can't be removed, and it is released once they are: {}. To release it without that: kubectl annotate bucketreplication {} -n {} {}=true",
            problem.message,
            object.name_any(),
            object.namespace().unwrap_or_default(),
            crate::api::ABANDON,
        );
        let finding = Finding::unknown(problem.reason, message);
        let generation = object.metadata.generation;
        let condition = finding.condition(
            ConditionType::Verified,
            generation,
            &verified.conditions,
            Timestamp::now(),
        );
        if verified.conditions == [condition.clone()] {
            return;
        }
        verified.conditions = vec![condition];
        let version = object.resource_version();
        if let Err(error) = self
            .kubernetes
            .write_verified(object, version.as_deref(), &verified)
            .await
        {
            tracing::debug!(object = %key_of(object), %error, "the API server did not accept a status");
        }
    }
}

/// What canaries found, in the status of their object.
struct Status<'a> {
    context: &'a Context,
    object: &'a BucketReplication,
    /// The resource version that the object has.
    version: Mutex<Option<String>>,
}

impl Status<'_> {
    fn version(&self) -> Option<String> {
        let version = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        version.clone()
    }
}

impl Record for Status<'_> {
    async fn record(&self, verified: &Verified) -> bool {
        let Self {
            context, object, ..
        } = self;
        let version = self.version();
        let written = context
            .kubernetes
            .write_verified(object, version.as_deref(), verified)
            .await;
        let written = match written {
            Ok(written) => written,
            Err(error) => {
                tracing::debug!(object = %key_of(object), %error, "the API server did not accept what canaries found");
                return false;
            }
        };
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) = written.resource_version();
        context.count_verified(object, verified);
        let before = context.reduced(object).verified;
        let of = |verified: &Verified| {
            let condition = verified.condition();
            condition.map(|condition| (condition.status.clone(), condition.reason.clone()))
        };
        if let Some(condition) = verified.condition().filter(|_| of(verified) != of(&before)) {
            tracing::info!(object = %key_of(object), verified = condition.status, reason = condition.reason, condition_message = condition.message, "what canaries found changed");
            let warning = condition.status == "False";
            context
                .kubernetes
                .record(
                    *object,
                    warning,
                    &condition.reason,
                    RECONCILE,
                    &condition.message,
                )
                .await;
        }
        true
    }
}
