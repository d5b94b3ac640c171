//! Objects whose source account can't be used: they belong to no visit.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    kubernetes::key_of,
    publish::{NotWritten, RECONCILE, accepted},
    reconcile::Context,
};
use crate::{
    api::{BucketReplication, condition::Reason, event::EventReason},
    replication::{accounts::Accounts, status, validate},
};

impl Context {
    /// Whether the source's `AWSAccount` does not exist. The store may lag behind, or the account is just replaced: the API server has to say so, too.
    async fn source_is_gone(
        &self,
        object: &BucketReplication,
        accounts: &Accounts,
    ) -> Result<bool, NotWritten> {
        let name = &object.spec.source.account_name;
        if !is_missing(name, accounts) {
            return Ok(false);
        }
        let version = self.kubernetes.account_version(name).await;
        version.map(|version| version.is_none()).map_err(|error| {
            tracing::warn!(account = name, %error, "the API server did not say whether the AWSAccount exists");
            NotWritten
        })
    }

    /// An object whose source account can't be used belongs to no visit. If the account is gone, nothing can be removed, and the deletion does not
    /// wait for it.
    pub(super) async fn without_source(
        &self,
        object: &Arc<BucketReplication>,
        accounts: &Accounts,
    ) -> Result<(), NotWritten> {
        let reduced = self.reduced(object);
        let problems = validate::validate(&reduced, accounts)
            .err()
            .unwrap_or_default();
        let deleting = object.metadata.deletion_timestamp.is_some();
        let abandoned = object.asks_to_abandon();
        if deleting && (abandoned || self.source_is_gone(object, accounts).await?) {
            let note = "the source AWSAccount can't be used, so this object's resources in AWS were not removed: remove them by hand if they are not needed";
            self.kubernetes
                .record(
                    object.as_ref(),
                    true,
                    EventReason::Abandoned.as_str(),
                    RECONCILE,
                    note,
                )
                .await;
            return accepted(self.kubernetes.release(object).await, &key_of(object));
        }
        let make = if deleting {
            status::blocked
        } else {
            status::refused
        };
        let status = make(
            reduced.generation,
            &reduced.status,
            &problems,
            Timestamp::now(),
        );
        self.write(object, None, &status).await
    }
}

/// Whether no `AWSAccount` of that name exists, as far as the store knows.
fn is_missing(name: &str, accounts: &Accounts) -> bool {
    let found = accounts.by_name(name);
    found.is_err_and(|problem| problem.reason == Reason::AccountNotFound)
}
