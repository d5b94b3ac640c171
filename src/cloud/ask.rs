//! Asks AWS: one `match`, and in each arm one call. What does not exist is no failure; what can't be read, or got no answer, is one.

use super::{aws::AwsCloud, error::Call};
use crate::replication::{
    observed::{Facet, Failure, FailureKind},
    policy::Document,
    question::{Answer, Question},
    shared_policy::SharedPolicy,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

/// The resource, nothing if AWS says that it does not exist, or why it is not known.
pub(super) type Read<T> = Result<Option<T>, Failure>;

pub(super) fn found<T, E>(answer: Result<T, SdkError<E, HttpResponse>>, call: &Call<'_>) -> Read<T>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match answer.map_err(|error| call.failed(&error)) {
        Ok(answer) => Ok(Some(answer)),
        Err(failure) if failure.kind == FailureKind::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

pub(super) fn not_understood(call: &Call<'_>, message: impl ToString) -> Failure {
    Failure {
        kind: FailureKind::Invalid,
        action: call.action.into(),
        message: message.to_string(),
    }
}

pub(super) fn readable(
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

impl AwsCloud {
    /// What an answer says to this visit: of a policy, what counts for its source bucket.
    pub(super) fn as_seen(&self, answer: Answer) -> Answer {
        let seen = |policy: SharedPolicy, read: Facet<Document>| {
            read.map(|document| {
                self.editors
                    .seen(&policy, &self.role, document, &self.aws.installation)
            })
        };
        match answer {
            Answer::BucketPolicy(bucket, read) => {
                let read = seen(SharedPolicy::OfBucket(bucket.clone()), read);
                Answer::BucketPolicy(bucket, read)
            }
            Answer::KeyPolicy(key, read) => {
                let read = seen(SharedPolicy::OfKey(key.clone()), read);
                Answer::KeyPolicy(key, read)
            }
            other => other,
        }
    }

    pub(super) async fn answer(&self, question: &Question) -> Answer {
        match question {
            Question::Region(bucket) => {
                Answer::Region(bucket.clone(), self.region(bucket).await.into())
            }
            Question::Versioning(bucket, region) => {
                Answer::Versioning(bucket.clone(), self.versioning(bucket, region).await.into())
            }
            Question::Encryption(bucket, region) => {
                Answer::Encryption(bucket.clone(), self.encryption(bucket, region).await.into())
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
            Question::BucketPolicy(bucket, region) => {
                let read = self.bucket_policy(bucket, region).await;
                Answer::BucketPolicy(bucket.clone(), read.into())
            }
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
                let read = self.key_policy(key).await;
                Answer::KeyPolicy(key.clone(), read.into())
            }
            Question::Role(account, role) => Answer::Role(self.role(account, role).await.into()),
            Question::InlinePolicy { role, policy } => Answer::InlinePolicy(
                role.clone(),
                self.inline_policy(role, policy.as_str()).await.into(),
            ),
            Question::AttachedPolicies(account, role) => {
                Answer::AttachedPolicies(self.attached_policies(account, role).await.into())
            }
            Question::PolicyVersions(policy) => {
                Answer::PolicyVersions(policy.clone(), self.policy_versions(policy).await.into())
            }
            Question::PolicyDocument { policy, version } => {
                let read = self.policy_document(&policy.account, policy, version).await;
                Answer::PolicyDocument(policy.clone(), read.into())
            }
            Question::ForeignRole(role) => {
                let read = self.role(&role.account, &role.name).await;
                Answer::ForeignRole(role.clone(), read.into())
            }
            Question::InlinePolicyNames(role) => {
                let read = self.inline_policy_names(role).await;
                Answer::InlinePolicyNames(role.clone(), read.into())
            }
            Question::ForeignInlinePolicy { role, policy } => {
                let read = self.inline_policy(role, policy).await;
                Answer::ForeignInlinePolicy(role.clone(), policy.clone(), read.into())
            }
            Question::ForeignAttachedPolicies(role) => {
                let read = self.attached_policies(&role.account, &role.name).await;
                Answer::ForeignAttachedPolicies(role.clone(), read.into())
            }
            Question::ManagedVersion(account, policy) => {
                let read = self.managed_version(account, policy).await;
                Answer::ManagedVersion(policy.clone(), read.into())
            }
            Question::ManagedDocument {
                account,
                policy,
                version,
            } => {
                let read = self.policy_document(account, policy, version).await;
                Answer::ManagedDocument(policy.clone(), read.into())
            }
        }
    }
}
