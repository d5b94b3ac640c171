//! Applies steps: one `match`, and in each arm one call. Nothing is decided here. What another writer may have changed since it was planned is
//! read again right before it is written.

use std::future::Future;

use super::{Cloud, ask::Read, aws::AwsCloud, calls::action};
use crate::replication::{
    configuration::Configuration,
    edit::StatementEdit,
    names::{OwnedBucket, Region},
    observed::{Failure, FailureKind},
    plan::Step,
    policy::Document,
    question::{Answer, Question},
    remedy::PolicyOf,
    shared_policy::SharedPolicy,
    uses::Used,
};

impl Cloud for AwsCloud {
    // On the heap: the future of a call of the SDK is large, and it is moved through every layer above.
    async fn ask(&self, question: &Question) -> Answer {
        let ask = async { Box::pin(self.answer(question)).await };
        let answer = Box::pin(self.aws.reads.answer(question, ask)).await;
        self.as_seen(answer)
    }

    async fn apply(&self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::PutBucketPolicy {
                bucket,
                region,
                edit,
                ..
            }
            | Step::DeleteBucketPolicy {
                bucket,
                region,
                edit,
            } => {
                let policy = SharedPolicy::OfBucket(bucket.clone());
                self.edit(policy, edit, || self.bucket_policy(bucket, region), step)
                    .await
            }
            Step::PutKeyPolicy { key, edit, .. } => {
                let policy = SharedPolicy::OfKey(key.clone());
                // What writes nothing takes no turn of those that do.
                if !edit.leaves_all(&policy, &self.editors.uses.now()) {
                    let turns = Box::pin(self.session(&key.account)).await?;
                    Box::pin(turns.to_put_key_policy(&key.region)).await?;
                }
                self.edit(policy, edit, || self.key_policy(key), step).await
            }
            Step::PutReplication {
                bucket,
                region,
                existing,
                ..
            } => {
                Box::pin(self.is_unchanged(bucket, region, existing.as_ref())).await?;
                self.write(step).await
            }
            Step::DeleteReplication {
                bucket,
                region,
                existing,
            } => {
                Box::pin(self.is_unchanged(bucket, region, Some(existing))).await?;
                self.write(step).await
            }
            Step::EnableVersioning { .. }
            | Step::CreateRole(_)
            | Step::UpdateTrustPolicy(_)
            | Step::TagRole(_)
            | Step::PutRolePermissionsBoundary { .. }
            | Step::PutRolePolicy { .. }
            | Step::Settle
            | Step::CreateManagedPolicy { .. }
            | Step::AttachManagedPolicy { .. }
            | Step::CreateManagedPolicyVersion { .. }
            | Step::DeleteManagedPolicyVersion { .. }
            | Step::DetachManagedPolicy { .. }
            | Step::DeleteManagedPolicy { .. }
            | Step::DeleteRolePolicy { .. }
            | Step::DeleteRole { .. } => self.write(step).await,
        }
    }

    fn note(&self, uses: &Used) -> bool {
        self.editors.note(&self.role, uses, self.since)
    }
}

impl AwsCloud {
    async fn edit<R: Future<Output = Read<Document>> + Send>(
        &self,
        policy: SharedPolicy,
        edit: &StatementEdit,
        read: impl FnOnce() -> R + Send,
        step: &Step,
    ) -> Result<(), Failure> {
        for roles in edit.other_users() {
            Box::pin(self.know_uses(&roles)).await?;
        }
        Box::pin(self.know_better(&policy, edit)).await?;
        let write = async |document| {
            self.may_edit(&policy)?;
            self.write(&step.with_policy(document)).await
        };
        let read = async move || read().await.map_err(no_refusal);
        self.editors.edit(&policy, edit, read, write).await
    }

    /// Fails if the policy's account says meanwhile that it is only checked, or is gone.
    fn may_edit(&self, policy: &SharedPolicy) -> Result<(), Failure> {
        if PolicyOf::from(policy).is_written(&self.latest.now()) {
            return Ok(());
        }
        Err(Failure {
            kind: FailureKind::Outdated,
            action: policy.to_string(),
            message: format!(
                "the AWSAccount of {policy} changed while the operator visited the bucket"
            ),
        })
    }

    /// Fails if the replication configuration is not the one that the plan is for: a PUT would undo what another writer wrote since.
    async fn is_unchanged(
        &self,
        bucket: &OwnedBucket,
        region: &Region,
        planned_on: Option<&Configuration>,
    ) -> Result<(), Failure> {
        let read = self.configuration(bucket, region).await;
        let (configuration, unknown) = read.map_err(no_refusal)?.unzip();
        let foreign = unknown
            .iter()
            .flatten()
            .any(|unknown| unknown.is_foreign(&self.aws.installation));
        if configuration.as_ref() == planned_on && !foreign {
            return Ok(());
        }
        let message = format!(
            "the replication configuration of bucket {} changed while the operator visited the bucket",
            bucket.name
        );
        Err(Failure {
            kind: FailureKind::Outdated,
            action: action::PUT_REPLICATION_CONFIGURATION.to_owned(),
            message,
        })
    }

    /// Makes the call of a step, if this replica may write, and within the time in which no other may.
    async fn write(&self, step: &Step) -> Result<(), Failure> {
        let call = async { Box::pin(self.call(step)).await.map_err(not_visible) };
        let written = self.during_lease(&step.to_string(), Box::pin(call)).await;
        if let Some(question) = changed_by(step) {
            self.aws.reads.forget(&question);
        }
        written
    }

    /// Makes a call that writes, if this replica may write, and within the time in which no other may.
    pub(super) async fn during_lease<T>(
        &self,
        action: &str,
        call: impl Future<Output = Result<T, Failure>> + Send + Unpin,
    ) -> Result<T, Failure> {
        let written = self.leadership.during(call).await;
        written.unwrap_or_else(|| {
            let message =
                "this replica does not hold the lease for long enough to write".to_owned();
            Err(Failure {
                kind: FailureKind::Transient,
                action: action.to_owned(),
                message,
            })
        })
    }
}

/// The shared read that a step changes.
fn changed_by(step: &Step) -> Option<Question> {
    if let Step::EnableVersioning { bucket, region } = step {
        Some(Question::Versioning(bucket.clone(), region.clone()))
    } else if let Step::PutBucketPolicy { bucket, region, .. }
    | Step::DeleteBucketPolicy { bucket, region, .. } = step
    {
        Some(Question::BucketPolicy(bucket.clone(), region.clone()))
    } else if let Step::PutKeyPolicy { key, .. } = step {
        Some(Question::KeyPolicy(key.clone()))
    } else {
        None
    }
}

/// An answer that is not understood, for example because it is cut off, says nothing about what is to be written: AWS did not refuse that as invalid.
fn no_refusal(failure: Failure) -> Failure {
    match failure.kind {
        FailureKind::Invalid => Failure {
            kind: FailureKind::Transient,
            ..failure
        },
        _ => failure,
    }
}

/// What was read or made a moment ago is not gone, but not yet visible everywhere ("Changes that I make are not always immediately visible" in the
/// IAM User Guide). If it is gone, the next read says so.
fn not_visible(failure: Failure) -> Failure {
    match failure.kind {
        FailureKind::NotFound => Failure {
            kind: FailureKind::Transient,
            ..failure
        },
        _ => failure,
    }
}
