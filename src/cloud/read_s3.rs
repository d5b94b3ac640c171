//! The reads of S3, one call each.

use std::collections::BTreeMap;

use super::{
    ask::{Read, found, not_understood, readable},
    aws::AwsCloud,
    calls::action,
    convert::configuration_from_sdk,
    error::Call,
    raw::{Body, unknown_elements},
};
use crate::replication::{
    configuration::Configuration,
    keys::KeyReference,
    names::{InvalidName, OwnedBucket, Region},
    observed::{DefaultEncryption, Encryption, UnknownElement},
    policy::Document,
};
use aws_sdk_s3::types::{
    BlockedEncryptionTypes, BucketVersioningStatus, EncryptionType, ObjectLockConfiguration,
    ObjectLockEnabled, ObjectOwnership, OwnershipControls, Payer, ServerSideEncryption,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

fn about<'a>(bucket: &OwnedBucket, action: &'static str, caller: &'a str) -> Call<'a> {
    Call {
        action,
        on: format!("bucket {}", bucket.name),
        caller,
    }
}

/// The Region that S3 names in an answer, whatever its status ("`HeadBucket`" in the S3 API Reference).
fn region_in(response: Option<&HttpResponse>) -> Option<Region> {
    let named = response?.headers().get("x-amz-bucket-region")?;
    named.parse().ok()
}

/// A key as the encryption configuration names it. S3 also accepts a bare key ID, which is a key of the bucket's account and Region.
fn default_key(
    named: &str,
    bucket: &OwnedBucket,
    region: &Region,
) -> Result<KeyReference, InvalidName> {
    let bare = format!(
        "arn:{}:kms:{region}:{}:key/{named}",
        bucket.partition, bucket.account
    );
    named.parse().or_else(|_| bare.parse())
}

impl AwsCloud {
    /// The Region of the bucket.
    pub(super) async fn region(&self, bucket: &OwnedBucket) -> Read<Region> {
        let session = self.session(&bucket.account).await?;
        let call = about(bucket, action::GET_BUCKET_LOCATION, session.caller());
        let home = self.aws.home(self.account(&bucket.account)?);
        let request = session
            .s3(&home)
            .await?
            .get_bucket_location()
            .bucket(bucket.name.as_str())
            .expected_bucket_owner(bucket.account.as_str());
        match request.send().await {
            // Two names are left from the time before Region names ("GetBucketLocation" in the S3 API Reference).
            Ok(answer) => {
                let named = match answer
                    .location_constraint()
                    .map_or("", |constraint| constraint.as_str())
                {
                    "" | "US" => "us-east-1",
                    "EU" => "eu-west-1",
                    region => region,
                };
                named
                    .parse()
                    .map(Some)
                    .map_err(|error| not_understood(&call, error))
            }
            // S3 sends a client of the wrong Region away, but says where the bucket is, if not in this answer then in that of HeadBucket. A policy
            // of the organization may deny every call in other Regions.
            Err(error) => {
                let status = error
                    .raw_response()
                    .map(|response| response.status().as_u16());
                let region = match region_in(error.raw_response()) {
                    _ if !matches!(status, Some(301 | 400 | 403)) => None,
                    Some(region) => Some(region),
                    None => {
                        let request = session.s3(&home).await?.head_bucket();
                        let request = request.expected_bucket_owner(bucket.account.as_str());
                        let answer = request.bucket(bucket.name.as_str()).send().await;
                        match &answer {
                            Ok(answer) => answer.bucket_region().and_then(|name| name.parse().ok()),
                            Err(error) => region_in(error.raw_response()),
                        }
                    }
                };
                region
                    .filter(|region| *region != home)
                    .map_or_else(|| found(Err(error), &call), |region| Ok(Some(region)))
            }
        }
    }

    /// Whether versioning is enabled.
    pub(super) async fn versioning(&self, bucket: &OwnedBucket, region: &Region) -> Read<bool> {
        let session = self.session(&bucket.account).await?;
        let call = about(bucket, action::GET_BUCKET_VERSIONING, session.caller());
        let request = session
            .s3(region)
            .await?
            .get_bucket_versioning()
            .bucket(bucket.name.as_str());
        let answer = found(
            request
                .expected_bucket_owner(bucket.account.as_str())
                .send()
                .await,
            &call,
        )?;
        Ok(answer.map(|answer| answer.status() == Some(&BucketVersioningStatus::Enabled)))
    }

    /// Whether it is a Requester Pays bucket.
    pub(super) async fn requester_pays(&self, bucket: &OwnedBucket, region: &Region) -> Read<bool> {
        let session = self.session(&bucket.account).await?;
        let call = about(bucket, action::GET_BUCKET_REQUEST_PAYMENT, session.caller());
        let request = session
            .s3(region)
            .await?
            .get_bucket_request_payment()
            .bucket(bucket.name.as_str());
        match request
            .expected_bucket_owner(bucket.account.as_str())
            .send()
            .await
        {
            // Emulators without support for Requester Pays list the bucket instead.
            Err(error)
                if error
                    .raw_response()
                    .is_some_and(|response| response.status().is_success()) =>
            {
                Ok(None)
            }
            answer => {
                Ok(found(answer, &call)?.map(|answer| answer.payer() == Some(&Payer::Requester)))
            }
        }
    }

    /// Whether the bucket's owner owns every object in it.
    pub(super) async fn owner_enforced(&self, bucket: &OwnedBucket, region: &Region) -> Read<bool> {
        let session = self.session(&bucket.account).await?;
        let call = about(
            bucket,
            action::GET_BUCKET_OWNERSHIP_CONTROLS,
            session.caller(),
        );
        let request = session
            .s3(region)
            .await?
            .get_bucket_ownership_controls()
            .bucket(bucket.name.as_str());
        let Some(answer) = found(
            request
                .expected_bucket_owner(bucket.account.as_str())
                .send()
                .await,
            &call,
        )?
        else {
            return Ok(None);
        };
        let rules = answer
            .ownership_controls()
            .map(OwnershipControls::rules)
            .unwrap_or_default();
        Ok(Some(rules.iter().any(|rule| {
            *rule.object_ownership() == ObjectOwnership::BucketOwnerEnforced
        })))
    }

    /// Whether Object Lock is enabled.
    pub(super) async fn object_lock(&self, bucket: &OwnedBucket, region: &Region) -> Read<bool> {
        let lock = self.object_lock_configuration(bucket, region).await?;
        Ok(lock.map(|lock| lock.object_lock_enabled() == Some(&ObjectLockEnabled::Enabled)))
    }

    /// How Object Lock is set.
    pub(super) async fn object_lock_configuration(
        &self,
        bucket: &OwnedBucket,
        region: &Region,
    ) -> Read<ObjectLockConfiguration> {
        let session = self.session(&bucket.account).await?;
        let call = about(
            bucket,
            action::GET_BUCKET_OBJECT_LOCK_CONFIGURATION,
            session.caller(),
        );
        let request = session
            .s3(region)
            .await?
            .get_object_lock_configuration()
            .bucket(bucket.name.as_str());
        let Some(answer) = found(
            request
                .expected_bucket_owner(bucket.account.as_str())
                .send()
                .await,
            &call,
        )?
        else {
            return Ok(None);
        };
        let lock = answer.object_lock_configuration;
        Ok(Some(lock.unwrap_or_else(|| {
            ObjectLockConfiguration::builder().build()
        })))
    }

    /// The bucket's tags.
    pub(super) async fn tags(
        &self,
        bucket: &OwnedBucket,
        region: &Region,
    ) -> Read<BTreeMap<String, String>> {
        let session = self.session(&bucket.account).await?;
        let call = about(bucket, action::GET_BUCKET_TAGGING, session.caller());
        let request = session
            .s3(region)
            .await?
            .get_bucket_tagging()
            .bucket(bucket.name.as_str());
        let answer = found(
            request
                .expected_bucket_owner(bucket.account.as_str())
                .send()
                .await,
            &call,
        )?;
        Ok(answer.map(|answer| {
            answer
                .tag_set()
                .iter()
                .map(|tag| (tag.key().to_owned(), tag.value().to_owned()))
                .collect()
        }))
    }

    /// The bucket's policy.
    pub(super) async fn bucket_policy(
        &self,
        bucket: &OwnedBucket,
        region: &Region,
    ) -> Read<Document> {
        let session = self.session(&bucket.account).await?;
        let call = about(bucket, action::GET_BUCKET_POLICY, session.caller());
        let request = session
            .s3(region)
            .await?
            .get_bucket_policy()
            .bucket(bucket.name.as_str());
        let answer = found(
            request
                .expected_bucket_owner(bucket.account.as_str())
                .send()
                .await,
            &call,
        )?;
        answer
            .as_ref()
            .and_then(|answer| answer.policy())
            .map(|text| readable(Document::parse(text), &call))
            .transpose()
    }

    /// The replication configuration, and its elements that the types do not support.
    pub(super) async fn configuration(
        &self,
        bucket: &OwnedBucket,
        region: &Region,
    ) -> Read<(Configuration, Vec<UnknownElement>)> {
        let session = self.session(&bucket.account).await?;
        let call = about(
            bucket,
            action::GET_REPLICATION_CONFIGURATION,
            session.caller(),
        );
        let request = session
            .s3(region)
            .await?
            .get_bucket_replication()
            .bucket(bucket.name.as_str());
        let body = Body::default();
        let answer = request
            .expected_bucket_owner(bucket.account.as_str())
            .customize()
            .interceptor(body.clone())
            .send()
            .await;
        let answer = found(answer, &call)?;
        let Some(read) = answer
            .as_ref()
            .and_then(|answer| answer.replication_configuration())
            .map(configuration_from_sdk)
        else {
            return Ok(None);
        };
        let unreadable = |error| {
            not_understood(
                &call,
                format!(
                    "the replication configuration of {} is not readable as XML: {error}",
                    call.on
                ),
            )
        };
        let unknown = unknown_elements(&body.text(), &read).map_err(unreadable)?;
        Ok(Some((read, unknown)))
    }

    /// The encryption configuration of the bucket.
    pub(super) async fn encryption(
        &self,
        bucket: &OwnedBucket,
        region: &Region,
    ) -> Read<Encryption> {
        let session = self.session(&bucket.account).await?;
        let call = about(
            bucket,
            action::GET_ENCRYPTION_CONFIGURATION,
            session.caller(),
        );
        let request = session
            .s3(region)
            .await?
            .get_bucket_encryption()
            .bucket(bucket.name.as_str());
        let Some(answer) = found(
            request
                .expected_bucket_owner(bucket.account.as_str())
                .send()
                .await,
            &call,
        )?
        else {
            return Ok(None);
        };
        let rules = answer
            .server_side_encryption_configuration()
            .map(aws_sdk_s3::types::ServerSideEncryptionConfiguration::rules)
            .unwrap_or_default();
        let blocked = rules
            .iter()
            .filter_map(|rule| rule.blocked_encryption_types());
        let mut blocked = blocked.flat_map(BlockedEncryptionTypes::encryption_type);
        let blocks_sse_c = blocked.any(|kind| *kind == EncryptionType::SseC);
        let default = rules
            .iter()
            .find_map(|rule| rule.apply_server_side_encryption_by_default());
        let Some(default) = default.filter(|default| {
            matches!(
                default.sse_algorithm(),
                ServerSideEncryption::AwsKms | ServerSideEncryption::AwsKmsDsse
            )
        }) else {
            return Ok(Some(Encryption {
                default: DefaultEncryption::S3,
                blocks_sse_c,
            }));
        };
        let named = default.kms_master_key_id().unwrap_or("alias/aws/s3");
        let reference = default_key(named, bucket, region);
        let reference = reference.map_err(|error| not_understood(&call, error))?;
        Ok(Some(Encryption {
            default: DefaultEncryption::Kms(reference),
            blocks_sse_c,
        }))
    }
}
