//! Writes the outcome of a visit to Kubernetes: statuses, Events and finalizers.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use futures::future::join_all;
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::Value;

use super::kubernetes::key_of;
use crate::{
    api::{
        BucketReplication, bucket_replication::BucketReplicationStatus, condition::Reason,
        event::EventReason, verification::Verified,
    },
    replication::{names::ObjectKey, status, visit::report::Report},
};

use super::reconcile::Context;

/// The action of Events about the whole object. Events about one change in AWS name the step.
pub(super) const RECONCILE: &str = "Reconcile";
/// So many statuses of one bucket's objects are written side by side.
const AT_ONCE: usize = 8;

impl Context {
    /// Reports on objects with a generation that no visit reported on yet that they are in progress, so that nothing earlier is taken for true of it.
    /// Returns the resource versions of what was written. What is not accepted is left to the end of the visit.
    pub(super) async fn begin(
        &self,
        objects: &[&Arc<BucketReplication>],
    ) -> HashMap<ObjectKey, String> {
        let now = Timestamp::now();
        let mut begun = vec![];
        for object in objects {
            if let Some(status) = status::begun(&self.reduced(object), now) {
                begun.push((Arc::clone(object), status));
            }
        }
        let mut versions = HashMap::new();
        for several in begun.chunks(AT_ONCE) {
            let writes = several
                .iter()
                .map(|(object, status)| self.write_begun(object, status));
            versions.extend(join_all(writes).await.into_iter().flatten());
        }
        versions
    }

    async fn write_begun(
        &self,
        object: &BucketReplication,
        status: &BucketReplicationStatus,
    ) -> Option<(ObjectKey, String)> {
        let stored = object.resource_version();
        let written = self
            .kubernetes
            .write_status(object, stored.as_deref(), status);
        match written.await {
            Ok(written) => Some((key_of(object), written.resource_version()?)),
            Err(error) => {
                tracing::debug!(object = %key_of(object), %error, "the API server did not accept a status");
                None
            }
        }
    }

    /// Writes statuses, Events and finalizers: all that the API server accepts, also if it refuses some of them.
    ///
    /// # Errors
    /// When the API server did not accept all of it.
    pub(super) async fn publish(
        &self,
        objects: &[&Arc<BucketReplication>],
        report: &Report,
        versions: &HashMap<ObjectKey, String>,
    ) -> Result<(), NotWritten> {
        let mut all = Ok(());
        for object in objects {
            let key = key_of(object);
            self.report_events(object, report).await;
            let status = report.statuses.get(&key);
            if let Some(status) = status.filter(|_| !report.released.contains(&key)) {
                let version = versions.get(&key).map(String::as_str);
                all = all.and(self.write(object, version, status).await);
            }
        }
        // These may have canaries, whose removal takes longer: the others do not wait for it.
        let released = objects
            .iter()
            .filter(|object| report.released.contains(&key_of(object)));
        for object in released {
            all = all.and(self.release(object).await);
        }
        all
    }

    /// Records Events of what people should know, and of what was corrected.
    async fn report_events(&self, object: &BucketReplication, report: &Report) {
        for notice in &report.notices {
            let (reason, action) = (notice.reason().as_str(), notice.action());
            let action = action.as_deref().unwrap_or(RECONCILE);
            self.kubernetes
                .record(object, true, reason, action, &notice.to_string())
                .await;
        }
        let key = key_of(object);
        let corrections = report.corrections.iter();
        for (_, correction) in corrections.filter(|(concerned, _)| *concerned == key) {
            let note = format!(
                "the operator corrected a change by another writer with this step: {correction}"
            );
            let reason = EventReason::DriftCorrected.as_str();
            self.kubernetes
                .record(object, true, reason, correction.into(), &note)
                .await;
        }
    }

    /// Removes the finalizer of a deleted object, with Events of what it leaves, once its canaries are removed.
    async fn release(&self, object: &BucketReplication) -> Result<(), NotWritten> {
        Box::pin(self.remove_canaries(object)).await?;
        if self.reduced(object).abandoned {
            let note = "the operator released this object, but could not remove all of its resources in AWS: remove the rest by hand if it is not needed";
            let reason = EventReason::Abandoned.as_str();
            self.kubernetes
                .record(object, true, reason, RECONCILE, note)
                .await;
        }
        if let Some(note) = left_to_owners(object) {
            let reason = EventReason::StatementsLeft.as_str();
            self.kubernetes
                .record(object, true, reason, RECONCILE, &note)
                .await;
        }
        accepted(self.kubernetes.release(object).await, &key_of(object))
    }

    /// Counts the object by what canaries found.
    pub(super) fn count_verified(&self, object: &BucketReplication, verified: &Verified) {
        let (bucket, key) = (&object.spec.source.bucket, key_of(object));
        self.metrics.verified(bucket, &key, verified);
    }

    /// Counts the object by its status.
    pub(super) fn count(&self, object: &BucketReplication, status: &BucketReplicationStatus) {
        if let Some(ready) = status.ready() {
            let (bucket, key) = (&object.spec.source.bucket, key_of(object));
            self.metrics
                .object(bucket, &key, &ready.status, &ready.reason);
        }
    }

    /// Writes the status if it changed, and records an Event if the object became Ready or ceased to be.
    ///
    /// # Errors
    /// When the API server did not accept it.
    pub(super) async fn write(
        &self,
        object: &BucketReplication,
        version: Option<&str>,
        status: &BucketReplicationStatus,
    ) -> Result<(), NotWritten> {
        let mut previous = object.status.clone().unwrap_or_default();
        // What canaries found is written by itself.
        Verified::take(&mut previous);
        self.count(object, status);
        if previous == *status {
            return Ok(());
        }
        let stored = object.resource_version();
        accepted(
            self.kubernetes
                .write_status(object, version.or(stored.as_deref()), status)
                .await,
            &key_of(object),
        )?;
        let find = |status: &BucketReplicationStatus| {
            status.ready().map(|condition| {
                (
                    condition.status.clone(),
                    condition.reason.clone(),
                    condition.message.clone(),
                )
            })
        };
        if let Some((holds, reason, message)) = find(status) {
            let before = find(&previous).map(|(holds, reason, _)| (holds, reason));
            if before != Some((holds.clone(), reason.clone())) {
                tracing::info!(object = %key_of(object), ready = holds, reason, condition_message = message, "status changed");
                let intended = reason.parse().is_ok_and(Reason::is_intended);
                let warning = holds == "False" && !intended;
                self.kubernetes
                    .record(object, warning, &reason, RECONCILE, &message)
                    .await;
            }
        }
        Ok(())
    }
}

/// What owners of other accounts were asked to apply for a deleted object, and what only they can remove.
pub(super) fn left_to_owners(object: &BucketReplication) -> Option<String> {
    let actions = &object.status.as_ref()?.required_actions;
    let reported: BTreeSet<_> = actions
        .iter()
        .map(|action| {
            let statement: Option<Value> = serde_json::from_str(&action.statement).ok();
            let sid = statement.as_ref().and_then(|read| read["Sid"].as_str());
            let what =
                sid.map_or_else(|| "the change".to_owned(), |sid| format!("statement {sid}"));
            format!(
                "{what} in the {} (account {})",
                action.document, action.account_id
            )
        })
        .collect();
    let reported = reported.into_iter().collect::<Vec<_>>().join(" and ");
    (!reported.is_empty()).then(|| {
        format!("if the owner applied what status.requiredActions listed, this is left: {reported}. If no other source bucket of the account uses it, have the owner remove it")
    })
}

/// A write that the API server did not accept, which is logged: a later visit tries it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotWritten;

/// The object of an accepted write may be gone: then there is nothing left to write.
pub(super) fn accepted<T>(result: kube::Result<T>, key: &ObjectKey) -> Result<(), NotWritten> {
    match result {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            tracing::debug!(object = %key, %status, "the object is gone");
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.code == 409 => {
            tracing::debug!(object = %key, %status, "the object was changed in between");
            Err(NotWritten)
        }
        Err(error) => {
            tracing::warn!(object = %key, %error, "the API server did not accept a write");
            Err(NotWritten)
        }
    }
}
