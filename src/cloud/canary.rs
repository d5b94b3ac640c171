//! The calls on canaries: objects of the operator, in the one folder that its own policy allows.

use aws_sdk_s3::{
    primitives::ByteStream,
    types::{ObjectLockRetentionMode, ObjectVersion, ReplicationStatus, ServerSideEncryption},
};

use super::{
    ask::{Read, found},
    aws::AwsCloud,
    calls::action,
    error::Call,
};
use crate::replication::{
    names::{OwnedBucket, Region},
    observed::{Failure, FailureKind},
    verification::{Canary, ReplicaEncryption, Sighting, SourceStatus, Subject},
};

/// What a canary says of itself, to whoever comes across it.
const CONTENT: &str = "This object verifies that Amazon S3 replicates the bucket. bucket-replication-operator wrote it, and removes it and its replica.\n";

fn about<'a>(bucket: &OwnedBucket, key: &str, action: &'static str, caller: &'a str) -> Call<'a> {
    Call {
        action,
        on: format!("object {key} in bucket {}", bucket.name),
        caller,
    }
}

impl AwsCloud {
    /// Whether Object Lock keeps every new object of the bucket for a time.
    ///
    /// # Errors
    /// When AWS does not say.
    pub async fn default_retention(&self, bucket: &OwnedBucket, region: &Region) -> Read<bool> {
        let lock = self.object_lock_configuration(bucket, region).await?;
        Ok(lock.map(|lock| {
            let rule = lock.rule();
            let mode = rule
                .and_then(|rule| rule.default_retention())
                .and_then(|retention| retention.mode());
            mode.is_some_and(|mode: &ObjectLockRetentionMode| !mode.as_str().is_empty())
        }))
    }

    /// Uploads a canary to the source bucket, and returns the ID of its version.
    ///
    /// # Errors
    /// When AWS does not accept it, or it is not known whether it did.
    pub async fn upload(&self, subject: &Subject, canary: &Canary) -> Result<String, Failure> {
        let call = Box::pin(self.put(subject, canary));
        self.during_lease(action::PUT_OBJECT, call).await
    }

    async fn put(&self, subject: &Subject, canary: &Canary) -> Result<String, Failure> {
        let bucket = &subject.source;
        let session = self.session(&bucket.account).await?.for_writes();
        let call = about(bucket, &canary.key, action::PUT_OBJECT, session.caller());
        let tagging = url_encoded(canary);
        let (encryption, key) = match &canary.kms_key {
            Some(key) => (ServerSideEncryption::AwsKms, Some(key.to_string())),
            None => (ServerSideEncryption::Aes256, None),
        };
        let request = session
            .s3(&subject.source_region)
            .await?
            .put_object()
            .bucket(bucket.name.as_str())
            .key(&canary.key)
            .content_type("text/plain")
            .set_tagging((!tagging.is_empty()).then_some(tagging))
            .server_side_encryption(encryption)
            .set_ssekms_key_id(key)
            .body(ByteStream::from_static(CONTENT.as_bytes()));
        let answer = request
            .expected_bucket_owner(bucket.account.as_str())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        // A bucket with a replication configuration has versioning; without, every version is that one.
        Ok(answer.version_id().unwrap_or("null").to_owned())
    }

    /// Looks for the replica of a canary, and if there is none, at the canary itself.
    ///
    /// # Errors
    /// When AWS does not say.
    pub async fn look(
        &self,
        subject: &Subject,
        canary: &Canary,
        version: &str,
    ) -> Result<Sighting, Failure> {
        let destination = (&subject.destination, &subject.destination_region);
        let replicas = match Box::pin(self.versions(destination, &canary.key)).await {
            // What denies it to the operator may deny it to S3: that S3 failed says more than that the operator may not look.
            Err(failure) if failure.kind == FailureKind::Denied => {
                let status = Box::pin(self.source_status(subject, canary, version)).await?;
                let failed = Sighting::Source(SourceStatus::Failed);
                return Some(status)
                    .filter(|status| *status == failed)
                    .ok_or(failure);
            }
            read => read?,
        };
        let is_replica = |found: &&ObjectVersion| found.version_id() == Some(version);
        let Some(replica) = replicas.objects.iter().find(is_replica) else {
            return Box::pin(self.source_status(subject, canary, version)).await;
        };
        if subject.source.account != subject.destination.account {
            let source = (&subject.source, &subject.source_region);
            let originals = Box::pin(self.versions(source, &canary.key)).await?;
            let original = originals.objects.iter().find(is_replica);
            let owner = |found: &ObjectVersion| {
                let owner = found.owner()?;
                owner.id().map(ToOwned::to_owned)
            };
            // Whoever does not own a replica may not read it, so that this comes first.
            if original.and_then(owner) == owner(replica) {
                return Ok(Sighting::Replica {
                    encryption: ReplicaEncryption::Unreadable,
                    kept_owner: true,
                });
            }
        }
        let head = Box::pin(self.head(destination, &canary.key, version)).await?;
        // It was in the list, so that another look decides.
        let Some(head) = head else {
            return Ok(Sighting::Source(SourceStatus::Completed));
        };
        let key = head.ssekms_key_id();
        let encryption = key.map_or(ReplicaEncryption::WithoutKms, |key| {
            ReplicaEncryption::Kms(key.to_owned())
        });
        Ok(Sighting::Replica {
            encryption,
            kept_owner: false,
        })
    }

    async fn source_status(
        &self,
        subject: &Subject,
        canary: &Canary,
        version: &str,
    ) -> Result<Sighting, Failure> {
        let source = (&subject.source, &subject.source_region);
        // Without the right to list the bucket, S3 denies what does not exist: that is seen in the list of versions.
        let found = Box::pin(self.versions(source, &canary.key)).await?;
        let mut ids = found.objects.iter().filter_map(|found| found.version_id());
        if !ids.any(|id| id == version) {
            return Ok(Sighting::Source(SourceStatus::Gone));
        }
        let head = self.head(source, &canary.key, version).await?;
        let status = head.as_ref().and_then(|head| head.replication_status());
        Ok(Sighting::Source(match status {
            Some(ReplicationStatus::Failed) => SourceStatus::Failed,
            Some(ReplicationStatus::Completed | ReplicationStatus::Complete) => {
                SourceStatus::Completed
            }
            Some(_) => SourceStatus::Pending,
            None => SourceStatus::NotSelected,
        }))
    }

    async fn head(
        &self,
        (bucket, region): (&OwnedBucket, &Region),
        key: &str,
        version: &str,
    ) -> Read<aws_sdk_s3::operation::head_object::HeadObjectOutput> {
        let session = self.session(&bucket.account).await?;
        let call = about(bucket, key, action::GET_OBJECT_VERSION, session.caller());
        let request = session
            .s3(region)
            .await?
            .head_object()
            .bucket(bucket.name.as_str())
            .key(key)
            .version_id(version)
            .expected_bucket_owner(bucket.account.as_str());
        found(request.send().await, &call)
    }

    /// The first thousand versions of an object, the newest first: its key is the first with that prefix. A bucket that is gone has none.
    async fn versions(
        &self,
        (bucket, region): (&OwnedBucket, &Region),
        key: &str,
    ) -> Result<Versions, Failure> {
        let session = self.session(&bucket.account).await?;
        let call = about(bucket, key, action::LIST_BUCKET_VERSIONS, session.caller());
        let request = session
            .s3(region)
            .await?
            .list_object_versions()
            .bucket(bucket.name.as_str())
            .prefix(key)
            .expected_bucket_owner(bucket.account.as_str());
        let mut versions = Versions::default();
        let Some(page) = found(request.send().await, &call)? else {
            return Ok(versions);
        };
        let objects = page.versions().iter().cloned();
        versions
            .objects
            .extend(objects.filter(|found| found.key() == Some(key)));
        let markers = page.delete_markers().iter();
        let markers = markers.filter(|found| found.key() == Some(key));
        let ids = markers.filter_map(|found| found.version_id().map(ToOwned::to_owned));
        versions.markers.extend(ids);
        Ok(versions)
    }

    /// Removes all versions of a canary, or of its replica, from a bucket, for good.
    ///
    /// # Errors
    /// When AWS does not accept it, or it is not known whether it did.
    pub async fn remove(
        &self,
        bucket: &OwnedBucket,
        region: &Region,
        key: &str,
    ) -> Result<(), Failure> {
        let found = Box::pin(self.versions((bucket, region), key)).await?;
        let objects = found.objects.iter();
        let ids = objects.filter_map(|found| found.version_id().map(ToOwned::to_owned));
        for id in ids.chain(found.markers) {
            let call = Box::pin(self.delete(bucket, region, key, &id));
            self.during_lease(action::DELETE_OBJECT_VERSION, call)
                .await?;
        }
        Ok(())
    }

    async fn delete(
        &self,
        bucket: &OwnedBucket,
        region: &Region,
        key: &str,
        version: &str,
    ) -> Result<(), Failure> {
        let session = self.session(&bucket.account).await?.for_writes();
        let call = about(bucket, key, action::DELETE_OBJECT_VERSION, session.caller());
        let request = session
            .s3(region)
            .await?
            .delete_object()
            .bucket(bucket.name.as_str())
            .key(key)
            .version_id(version)
            .expected_bucket_owner(bucket.account.as_str());
        match request.send().await.map_err(|error| call.failed(&error)) {
            Err(failure) if failure.kind != FailureKind::NotFound => Err(failure),
            _ => Ok(()),
        }
    }
}

/// The versions of an object.
#[derive(Debug, Default)]
struct Versions {
    objects: Vec<ObjectVersion>,
    /// The IDs of delete markers.
    markers: Vec<String>,
}

/// Tags as the header of an upload has them ("`PutObject`" in the S3 API Reference).
fn url_encoded(canary: &Canary) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let tags = canary.tags.iter();
    let pairs: Vec<_> = tags
        .map(|tag| format!("{}={}", encoded(&tag.key), encoded(&tag.value)))
        .collect();
    pairs.join("&")
}
