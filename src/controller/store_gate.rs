//! The gate of a visit: before anything is written to AWS, consistent reads confirm what the visit took from the store.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Mutex,
};

use futures::future::try_join_all;
use kube::ResourceExt;

use super::{
    kubernetes::{AccountVersion, Kubernetes, is_ours, key_of},
    trigger,
    visit::Gate,
};
use crate::{
    api::BucketReplication,
    replication::{
        names::ObjectKey,
        visit::{Confirmation, Opened},
    },
};

/// What a decision depends on.
fn version(object: &BucketReplication) -> (ObjectKey, String) {
    (key_of(object), trigger::object(object).1)
}

/// The API server reads every object for a list by the source bucket, and one for a read by name: of more objects, a list costs less.
const MOST_SINGLE_READS: usize = 8;

/// The gate of one visit: what the visit took from the store has to be what is in etcd.
pub struct StoreGate<'a> {
    kubernetes: &'a Kubernetes,
    bucket: &'a str,
    taken: BTreeSet<(ObjectKey, String)>,
    /// The `AWSAccount`s that the objects name. `None`: the store has no account of that name.
    accounts: BTreeMap<String, Option<AccountVersion>>,
    versions: Mutex<HashMap<ObjectKey, String>>,
}

impl<'a> StoreGate<'a> {
    /// For a visit that took `objects` from the store, and the accounts that they name.
    pub fn new(
        kubernetes: &'a Kubernetes,
        bucket: &'a str,
        objects: impl Iterator<Item = &'a BucketReplication>,
        accounts: BTreeMap<String, Option<AccountVersion>>,
    ) -> Self {
        Self {
            accounts,
            kubernetes,
            bucket,
            taken: objects.map(version).collect(),
            versions: Mutex::default(),
        }
    }

    /// The resource versions that objects have now, as far as they were read or written here.
    #[must_use]
    pub fn versions(self) -> HashMap<ObjectKey, String> {
        self.versions.into_inner().unwrap_or_default()
    }

    async fn try_open(&self, confirmation: &Confirmation) -> kube::Result<Opened> {
        let acting = &confirmation.acting;
        let read = if confirmation.all || self.taken.len() > MOST_SINGLE_READS {
            self.kubernetes.on_bucket(self.bucket).await?
        } else {
            self.kubernetes
                .each(self.taken.iter().map(|(key, _)| key))
                .await?
        };
        let live: Vec<_> = read.into_iter().filter(is_ours).collect();
        if live.iter().map(version).collect::<BTreeSet<_>>() != self.taken {
            tracing::debug!(
                bucket = self.bucket,
                "the store lags behind: visiting again"
            );
            return Ok(Opened::Changed);
        }
        // They say what is allowed, and what is gone with an account is given up.
        let asked = self.accounts.keys();
        let asked = asked.map(|name| self.kubernetes.account_version(name));
        let current = try_join_all(asked).await?;
        if self.accounts.values().ne(&current) {
            tracing::debug!(
                bucket = self.bucket,
                "an AWSAccount changed: visiting again"
            );
            return Ok(Opened::Changed);
        }
        let (mut versions, mut refused) = (BTreeMap::new(), BTreeMap::new());
        for object in live {
            let key = key_of(&object);
            let current = if acting.contains(&key) && !object.is_held() {
                match self.kubernetes.hold(&object).await {
                    Ok(held) => held,
                    Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                        return Ok(Opened::Changed);
                    }
                    Err(kube::Error::Api(status)) if is_refusal(status.code) => {
                        tracing::warn!(object = %key, %status, "the finalizer was refused");
                        refused.insert(key, status.message.clone());
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            } else {
                object
            };
            versions.insert(key, current.resource_version().unwrap_or_default());
        }
        if let Ok(mut kept) = self.versions.lock() {
            kept.extend(versions);
        }
        Ok(if refused.is_empty() {
            Opened::Open
        } else {
            Opened::Refused(refused)
        })
    }
}

/// Whether a retry does not solve it: the request is invalid or not allowed.
fn is_refusal(code: u16) -> bool {
    matches!(code, 400 | 403 | 405 | 422)
}

impl Gate for StoreGate<'_> {
    async fn open(&self, confirmation: &Confirmation) -> Opened {
        self.try_open(confirmation).await.unwrap_or_else(|error| {
            tracing::warn!(%error, bucket = self.bucket, "the API server did not confirm what is in the store");
            Opened::Unanswered(error.to_string())
        })
    }
}
