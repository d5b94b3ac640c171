//! The border to Kubernetes: consistent reads, finalizers, statuses and Events.

use futures::future::try_join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use serde::Serialize;
use serde_json::json;

use crate::{
    api::{
        AwsAccount, BucketReplication, FIELD_MANAGER, FINALIZER, HEALTH_FIELD_MANAGER,
        VERIFICATION_FIELD_MANAGER,
        aws_account::AwsAccountStatus,
        bucket_replication::BucketReplicationStatus,
        verification::{Health, Verified},
    },
    replication::names::ObjectKey,
};

/// What writes to the API server.
#[derive(Clone)]
pub struct Kubernetes {
    client: Client,
    recorder: Recorder,
    /// Empty: all namespaces.
    pub(super) namespaces: Vec<String>,
}

/// Which version of an `AWSAccount`'s spec it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountVersion {
    uid: Option<String>,
    generation: Option<i64>,
}

impl AccountVersion {
    /// That of the account with this metadata.
    #[must_use]
    pub fn of(metadata: &ObjectMeta) -> Self {
        Self {
            uid: metadata.uid.clone(),
            generation: metadata.generation,
        }
    }
}

/// Namespace and name of an object.
#[must_use]
pub fn key_of(object: &BucketReplication) -> ObjectKey {
    ObjectKey {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
    }
}

/// A deleted object that only other finalizers keep no longer concerns the operator.
#[must_use]
pub fn is_ours(object: &BucketReplication) -> bool {
    object.metadata.deletion_timestamp.is_none() || object.is_held()
}

impl Kubernetes {
    /// With `client`, for objects in `namespaces`, or in all if there are none.
    #[must_use]
    pub fn new(client: Client, namespaces: Vec<String>) -> Self {
        let instance = std::env::var("HOSTNAME").ok();
        let recorder = Recorder::new(
            client.clone(),
            Reporter {
                controller: FIELD_MANAGER.into(),
                instance,
            },
        );
        Self {
            client,
            recorder,
            namespaces,
        }
    }

    fn objects(&self, namespace: &str) -> Api<BucketReplication> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// These objects, as far as they exist, each by a consistent read.
    pub(super) async fn each(
        &self,
        keys: impl Iterator<Item = &ObjectKey>,
    ) -> kube::Result<Vec<BucketReplication>> {
        let read = keys.map(async |key| self.objects(&key.namespace).get_opt(&key.name).await);
        let found = try_join_all(read).await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// All objects on a source bucket, by a consistent read.
    pub(super) async fn on_bucket(&self, bucket: &str) -> kube::Result<Vec<BucketReplication>> {
        let params = ListParams::default().fields(&format!("spec.source.bucket={bucket}"));
        if self.namespaces.is_empty() {
            return Ok(Api::all(self.client.clone()).list(&params).await?.items);
        }
        let mut objects = vec![];
        for namespace in &self.namespaces {
            objects.extend(self.objects(namespace).list(&params).await?.items);
        }
        Ok(objects)
    }

    /// Which version of an `AWSAccount`'s spec exists, by a consistent read. `None`: there is no account of that name.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn account_version(&self, name: &str) -> kube::Result<Option<AccountVersion>> {
        let api: Api<AwsAccount> = Api::all(self.client.clone());
        let params = ListParams::default().fields(&format!("metadata.name={name}"));
        let found = api.list_metadata(&params).await?.items;
        Ok(found
            .first()
            .map(|account| AccountVersion::of(&account.metadata)))
    }

    async fn set_finalizers(
        &self,
        object: &BucketReplication,
        finalizers: &[String],
    ) -> kube::Result<BucketReplication> {
        let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": object.resource_version(), "uid": object.uid()}});
        let api = self.objects(&object.namespace().unwrap_or_default());
        api.patch(
            &object.name_any(),
            &PatchParams::default(),
            &Patch::Merge(patch),
        )
        .await
    }

    /// Adds the operator's finalizer.
    pub(super) async fn hold(&self, object: &BucketReplication) -> kube::Result<BucketReplication> {
        let own = [FINALIZER.to_owned()];
        let all: Vec<_> = object.finalizers().iter().cloned().chain(own).collect();
        self.set_finalizers(object, &all).await
    }

    /// Releases a deleted object.
    ///
    /// # Errors
    /// When the API server does not accept it, for example because the object changed meanwhile.
    pub async fn release(&self, object: &BucketReplication) -> kube::Result<()> {
        let others: Vec<_> = object
            .finalizers()
            .iter()
            .filter(|finalizer| *finalizer != FINALIZER)
            .cloned()
            .collect();
        self.set_finalizers(object, &others).await.map(drop)
    }

    /// Writes the status of an object, and returns the object. The resource version ensures that it is the one that was read; a uid does not.
    ///
    /// # Errors
    /// When the API server does not accept it.
    pub async fn write_status(
        &self,
        object: &BucketReplication,
        version: Option<&str>,
        status: &BucketReplicationStatus,
    ) -> kube::Result<BucketReplication> {
        self.apply_status(object, FIELD_MANAGER, version, status)
            .await
    }

    /// Writes what canaries found to the status of an object, and returns the object. Other parts of the status do not change.
    ///
    /// # Errors
    /// When the API server does not accept it.
    pub async fn write_verified(
        &self,
        object: &BucketReplication,
        version: Option<&str>,
        verified: &Verified,
    ) -> kube::Result<BucketReplication> {
        self.apply_status(object, VERIFICATION_FIELD_MANAGER, version, verified)
            .await
    }

    /// Writes what S3's metrics say to the status of an object. Other parts of the status do not change.
    ///
    /// # Errors
    /// When the API server does not accept it.
    pub async fn write_health(
        &self,
        object: &BucketReplication,
        version: Option<&str>,
        health: &Health,
    ) -> kube::Result<()> {
        let written = self.apply_status(object, HEALTH_FIELD_MANAGER, version, health);
        written.await.map(drop)
    }

    async fn apply_status(
        &self,
        object: &BucketReplication,
        manager: &str,
        version: Option<&str>,
        status: &impl Serialize,
    ) -> kube::Result<BucketReplication> {
        let patch = applied::<BucketReplication>(&object.name_any(), version, status);
        let api = self.objects(&object.namespace().unwrap_or_default());
        api.patch_status(
            &object.name_any(),
            &PatchParams::apply(manager).force(),
            &Patch::Apply(patch),
        )
        .await
    }

    /// Writes the status of an account.
    ///
    /// # Errors
    /// When the API server does not accept it.
    pub async fn write_account_status(
        &self,
        account: &AwsAccount,
        status: &AwsAccountStatus,
    ) -> kube::Result<()> {
        let patch = applied::<AwsAccount>(
            &account.name_any(),
            account.resource_version().as_deref(),
            status,
        );
        let api: Api<AwsAccount> = Api::all(self.client.clone());
        api.patch_status(
            &account.name_any(),
            &PatchParams::apply(FIELD_MANAGER).force(),
            &Patch::Apply(patch),
        )
        .await
        .map(drop)
    }

    /// Records an Event on an object; Events of one reason and action become a series. They are for people and may be lost.
    pub async fn record(
        &self,
        object: &impl Resource<DynamicType = ()>,
        warning: bool,
        reason: &str,
        action: &str,
        note: &str,
    ) {
        let event = Event {
            type_: if warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: reason.to_owned(),
            note: Some(note.chars().take(1000).collect()),
            action: action.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &object.object_ref(&())).await {
            tracing::warn!(%error, reason, "an Event was not recorded");
        }
    }
}

fn applied<K: Resource<DynamicType = ()>>(
    name: &str,
    version: Option<&str>,
    status: &impl Serialize,
) -> serde_json::Value {
    json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": name, "resourceVersion": version},
        "status": status,
    })
}
