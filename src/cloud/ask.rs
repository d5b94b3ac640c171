//! Asks AWS: one `match`, and in each arm one call. What does not exist is no failure; what can't be read, or got no answer, is one.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    aws::AwsCloud,
    calls::action,
    convert::{configuration_from_sdk, iam_document},
    error::Call,
    raw::{Body, unknown_elements},
};
use crate::replication::{
    configuration::Configuration,
    names::{AccountId, KeyArn, KeyReference, ManagedPolicyName, OwnedBucket, Region, RoleName},
    observed::{
        DefaultEncryption, Failure, FailureKind, KeyDescription, PolicyVersions, Role,
        UnknownElement,
    },
    policy::Document,
    question::{Answer, Question},
};
use aws_sdk_s3::{
    error::{ProvideErrorMetadata, SdkError},
    types::{
        BucketVersioningStatus, ObjectLockEnabled, ObjectOwnership, OwnershipControls, Payer,
        ServerSideEncryption,
    },
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

/// The resource, nothing if AWS says that it does not exist, or why it is not known.
pub(super) type Read<T> = Result<Option<T>, Failure>;

fn found<T, E>(answer: Result<T, SdkError<E, HttpResponse>>, call: &Call<'_>) -> Read<T>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match answer.map_err(|error| call.failed(&error)) {
        Ok(answer) => Ok(Some(answer)),
        Err(failure) if failure.kind == FailureKind::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn not_understood(call: &Call<'_>, message: impl ToString) -> Failure {
    Failure {
        kind: FailureKind::Invalid,
        action: call.action.into(),
        message: message.to_string(),
    }
}

fn readable(
    document: Result<Document, serde_json::Error>,
    call: &Call<'_>,
) -> Result<Document, Failure> {
    document.map_err(|error| {
        not_understood(
            call,
            format!("the policy of {} is not readable as JSON: {error}", call.on),
        )
    })
}

fn about<'a>(bucket: &OwnedBucket, action: &'static str, caller: &'a str) -> Call<'a> {
    Call {
        action,
        on: format!("bucket {}", bucket.name),
        caller,
    }
}

impl AwsCloud {
    pub(super) async fn answer(&self, question: &Question) -> Answer {
        match question {
            Question::Region(bucket) => {
                Answer::Region(bucket.clone(), self.region(bucket).await.into())
            }
            Question::Versioning(bucket, region) => {
                Answer::Versioning(bucket.clone(), self.versioning(bucket, region).await.into())
            }
            Question::DefaultEncryption(bucket, region) => {
                Answer::DefaultEncryption(self.default_encryption(bucket, region).await.into())
            }
            Question::ObjectLock(bucket, region) => Answer::ObjectLock(
                bucket.clone(),
                self.object_lock(bucket, region).await.into(),
            ),
            Question::RequesterPays(bucket, region) => {
                let read = self.requester_pays(bucket, region).await;
                Answer::RequesterPays(bucket.clone(), read.into())
            }
            Question::OwnerEnforced(bucket, region) => {
                let read = self.owner_enforced(bucket, region).await;
                Answer::OwnerEnforced(bucket.clone(), read.into())
            }
            Question::BucketPolicy(bucket, region) => Answer::BucketPolicy(
                bucket.clone(),
                self.bucket_policy(bucket, region).await.into(),
            ),
            Question::Configuration(bucket, region) => Answer::Configuration(
                bucket.clone(),
                self.configuration(bucket, region).await.into(),
            ),
            Question::Tags(bucket, region) => {
                Answer::Tags(bucket.clone(), self.tags(bucket, region).await.into())
            }
            Question::Key {
                query,
                reference,
                account,
                region,
            } => Answer::Key(
                query.clone(),
                self.key(reference, account, region).await.into(),
            ),
            Question::KeyPolicy(key) => {
                Answer::KeyPolicy(key.clone(), self.key_policy(key).await.into())
            }
            Question::Role(account, role) => Answer::Role(self.role(account, role).await.into()),
            Question::InlinePolicy {
                account,
                role_arn,
                role,
                policy,
            } => Answer::InlinePolicy(
                role_arn.clone(),
                self.inline_policy(account, role, policy).await.into(),
            ),
            Question::AttachedPolicies(account, role) => {
                Answer::AttachedPolicies(self.attached_policies(account, role).await.into())
            }
            Question::PolicyVersions(policy) => Answer::PolicyVersions(
                policy.to_string(),
                self.policy_versions(policy).await.into(),
            ),
            Question::DefaultVersion {
                account,
                policy_arn,
            } => Answer::DefaultVersion(
                policy_arn.clone(),
                self.default_version(account, policy_arn).await.into(),
            ),
            Question::PolicyDocument {
                account,
                policy_arn,
                version,
            } => Answer::PolicyDocument(
                policy_arn.clone(),
                self.policy_document(account, policy_arn, version)
                    .await
                    .into(),
            ),
        }
    }

    /// The Region of the bucket.
    pub(super) async fn region(&self, bucket: &OwnedBucket) -> Read<Region> {
        let session = self.session(&bucket.account).await?;
        let call = about(bucket, action::GET_BUCKET_LOCATION, &session.caller);
        let home = self.aws.home(bucket.partition);
        let request = session
            .s3(&home)
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
            Err(error) => {
                // S3 sends a client of the wrong Region away, but says where the bucket is.
                let response = error.raw_response();
                let moved =
                    response.filter(|response| matches!(response.status().as_u16(), 301 | 400));
                let region = moved
                    .and_then(|response| response.headers().get("x-amz-bucket-region"))
                    .and_then(|region| region.parse().ok());
                region.map_or_else(|| found(Err(error), &call), |region| Ok(Some(region)))
            }
        }
    }

    /// Whether versioning is enabled.
    pub(super) async fn versioning(&self, bucket: &OwnedBucket, region: &Region) -> Read<bool> {
        let session = self.session(&bucket.account).await?;
        let call = about(bucket, action::GET_BUCKET_VERSIONING, &session.caller);
        let request = session
            .s3(region)
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
        let call = about(bucket, action::GET_BUCKET_REQUEST_PAYMENT, &session.caller);
        let request = session
            .s3(region)
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
            &session.caller,
        );
        let request = session
            .s3(region)
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
        let session = self.session(&bucket.account).await?;
        let call = about(
            bucket,
            action::GET_BUCKET_OBJECT_LOCK_CONFIGURATION,
            &session.caller,
        );
        let request = session
            .s3(region)
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
        let enabled = answer
            .object_lock_configuration()
            .and_then(|lock| lock.object_lock_enabled());
        Ok(Some(enabled == Some(&ObjectLockEnabled::Enabled)))
    }

    /// The bucket's tags.
    pub(super) async fn tags(
        &self,
        bucket: &OwnedBucket,
        region: &Region,
    ) -> Read<BTreeMap<String, String>> {
        let session = self.session(&bucket.account).await?;
        let call = about(bucket, action::GET_BUCKET_TAGGING, &session.caller);
        let request = session
            .s3(region)
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
        let call = about(bucket, action::GET_BUCKET_POLICY, &session.caller);
        let request = session
            .s3(region)
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
            &session.caller,
        );
        let request = session
            .s3(region)
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

    /// The default encryption of the bucket.
    pub(super) async fn default_encryption(
        &self,
        bucket: &OwnedBucket,
        region: &Region,
    ) -> Read<DefaultEncryption> {
        let session = self.session(&bucket.account).await?;
        let call = about(
            bucket,
            action::GET_ENCRYPTION_CONFIGURATION,
            &session.caller,
        );
        let request = session
            .s3(region)
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
            .map(aws_sdk_s3::types::ServerSideEncryptionConfiguration::rules);
        let default = rules
            .unwrap_or_default()
            .iter()
            .find_map(|rule| rule.apply_server_side_encryption_by_default());
        let Some(default) = default.filter(|default| {
            matches!(
                default.sse_algorithm(),
                ServerSideEncryption::AwsKms | ServerSideEncryption::AwsKmsDsse
            )
        }) else {
            return Ok(Some(DefaultEncryption::S3));
        };
        let named = default.kms_master_key_id().unwrap_or("alias/aws/s3");
        // S3 also accepts a bare key ID, which is a key of the bucket's account and Region.
        let bare = format!(
            "arn:{}:kms:{region}:{}:key/{named}",
            bucket.partition, bucket.account
        );
        let reference = named
            .parse()
            .or_else(|_| bare.parse::<KeyReference>())
            .map_err(|error| not_understood(&call, error))?;
        Ok(Some(DefaultEncryption::Kms(reference)))
    }

    /// The key of `reference`, which includes account and Region.
    pub(super) async fn key(
        &self,
        reference: &KeyReference,
        account: &AccountId,
        region: &Region,
    ) -> Read<KeyDescription> {
        let session = self.session(account).await?;
        let call = Call {
            action: action::DESCRIBE_KEY,
            on: format!("key {reference}"),
            caller: &session.caller,
        };
        let answer = found(
            session
                .kms(region)
                .describe_key()
                .key_id(reference.to_string())
                .send()
                .await,
            &call,
        )?;
        let Some(key) = answer.as_ref().and_then(|answer| answer.key_metadata()) else {
            return Ok(None);
        };
        Ok(Some(KeyDescription {
            arn: key
                .arn()
                .unwrap_or_default()
                .parse()
                .map_err(|error| not_understood(&call, error))?,
            state: key
                .key_state()
                .map_or("Enabled", aws_sdk_kms::types::KeyState::as_str)
                .to_owned(),
            symmetric: key
                .key_spec()
                .is_none_or(|spec| spec.as_str() == "SYMMETRIC_DEFAULT"),
            managed_by_aws: key
                .key_manager()
                .is_some_and(|manager| manager.as_str() == "AWS"),
        }))
    }

    /// The key's policy.
    pub(super) async fn key_policy(&self, key: &KeyArn) -> Read<Document> {
        let session = self.session(&key.account).await?;
        let call = Call {
            action: action::GET_KEY_POLICY,
            on: format!("key {key}"),
            caller: &session.caller,
        };
        let answer = session
            .kms(&key.region)
            .get_key_policy()
            .key_id(key.to_string())
            .policy_name("default")
            .send()
            .await;
        found(answer, &call)?
            .as_ref()
            .and_then(|answer| answer.policy())
            .map(|text| readable(Document::parse(text), &call))
            .transpose()
    }

    /// The default version of a managed policy of the account's or AWS's own.
    async fn default_version(&self, account: &AccountId, arn: &str) -> Read<String> {
        let session = self.session(account).await?;
        let call = Call {
            action: action::GET_POLICY,
            on: format!("policy {arn}"),
            caller: &session.caller,
        };
        let answer = found(session.iam.get_policy().policy_arn(arn).send().await, &call)?;
        Ok(answer.map(|answer| {
            answer
                .policy()
                .and_then(|policy| policy.default_version_id())
                .unwrap_or_default()
                .to_owned()
        }))
    }

    /// The document of a version of a managed policy.
    async fn policy_document(
        &self,
        account: &AccountId,
        arn: &str,
        version: &str,
    ) -> Read<Document> {
        let session = self.session(account).await?;
        let call = Call {
            action: action::GET_POLICY_VERSION,
            on: format!("policy {arn}"),
            caller: &session.caller,
        };
        let request = session
            .iam
            .get_policy_version()
            .policy_arn(arn)
            .version_id(version);
        let answer = found(request.send().await, &call)?;
        let text = answer
            .as_ref()
            .and_then(|answer| answer.policy_version()?.document());
        text.map(|text| readable(iam_document(text), &call))
            .transpose()
    }

    /// A role.
    pub(super) async fn role(&self, account: &AccountId, name: &RoleName) -> Read<Role> {
        let session = self.session(account).await?;
        let call = Call {
            action: action::GET_ROLE,
            on: format!("role {name}"),
            caller: &session.caller,
        };
        let answer = found(
            session.iam.get_role().role_name(name.as_str()).send().await,
            &call,
        )?;
        let Some(role) = answer.as_ref().and_then(|answer| answer.role()) else {
            return Ok(None);
        };
        Ok(Some(Role {
            arn: role.arn().to_owned(),
            trust: readable(
                iam_document(role.assume_role_policy_document().unwrap_or("{}")),
                &call,
            )?,
            tags: role
                .tags()
                .iter()
                .map(|tag| (tag.key().to_owned(), tag.value().to_owned()))
                .collect(),
            boundary: role
                .permissions_boundary()
                .and_then(|boundary| boundary.permissions_boundary_arn())
                .map(ToOwned::to_owned),
        }))
    }

    /// The inline policy `policy` of a role.
    pub(super) async fn inline_policy(
        &self,
        account: &AccountId,
        role: &RoleName,
        policy: &RoleName,
    ) -> Read<Document> {
        let session = self.session(account).await?;
        let call = Call {
            action: action::GET_ROLE_POLICY,
            on: format!("role {role}"),
            caller: &session.caller,
        };
        let answer = found(
            session
                .iam
                .get_role_policy()
                .role_name(role.as_str())
                .policy_name(policy.as_str())
                .send()
                .await,
            &call,
        )?;
        answer
            .map(|answer| readable(iam_document(answer.policy_document()), &call))
            .transpose()
    }

    /// The ARNs of a role's managed policies.
    async fn attached_policies(
        &self,
        account: &AccountId,
        role: &RoleName,
    ) -> Read<BTreeSet<String>> {
        let session = self.session(account).await?;
        let call = Call {
            action: action::LIST_ATTACHED_ROLE_POLICIES,
            on: format!("role {role}"),
            caller: &session.caller,
        };
        // A role has at most 20 managed policies, and a page 100 entries.
        let request = session
            .iam
            .list_attached_role_policies()
            .role_name(role.as_str());
        let answer = found(request.send().await, &call)?;
        Ok(answer.map(|answer| {
            answer
                .attached_policies()
                .iter()
                .filter_map(|policy| policy.policy_arn().map(ToOwned::to_owned))
                .collect()
        }))
    }

    /// The versions of a managed policy.
    async fn policy_versions(&self, policy: &ManagedPolicyName) -> Read<PolicyVersions> {
        let session = self.session(&policy.account).await?;
        let arn = policy.to_string();
        let call = Call {
            action: action::LIST_POLICY_VERSIONS,
            on: format!("policy {arn}"),
            caller: &session.caller,
        };
        let request = session.iam.list_policy_versions().policy_arn(&arn);
        let Some(answer) = found(request.send().await, &call)? else {
            return Ok(None);
        };
        let id = |version: &aws_sdk_iam::types::PolicyVersion| {
            version.version_id().unwrap_or_default().to_owned()
        };
        let (default, others): (Vec<_>, Vec<_>) = answer
            .versions()
            .iter()
            .partition(|version| version.is_default_version());
        Ok(default.first().map(|default| PolicyVersions {
            default: id(default),
            others: others.into_iter().map(id).collect(),
        }))
    }
}
