//! The writes, one call each: one `match`, and in each arm one call. Nothing is decided here.

use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};

use super::{aws::AwsCloud, calls::action, convert::configuration_to_sdk, error::Call};
use crate::replication::{
    arns::PolicyArn,
    composition::desired::DesiredRole,
    keys::KeyArn,
    observed::{Failure, FailureKind},
    plan::Step,
};

impl AwsCloud {
    #[allow(clippy::too_many_lines, reason = "one match, and in each arm one call")]
    pub(super) async fn call(&self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::EnableVersioning { bucket, region } => {
                let session = self.session(&bucket.account).await?.for_writes();
                let call = Call {
                    action: action::PUT_BUCKET_VERSIONING,
                    on: format!("bucket {}", bucket.name),
                    caller: session.caller(),
                };
                let enabled = VersioningConfiguration::builder()
                    .status(BucketVersioningStatus::Enabled)
                    .build();
                let request = session
                    .s3(region)
                    .await?
                    .put_bucket_versioning()
                    .bucket(bucket.name.as_str())
                    .versioning_configuration(enabled);
                request
                    .expected_bucket_owner(bucket.account.as_str())
                    .send()
                    .await
                    .map_err(|error| call.failed(&error))?;
            }
            Step::CreateRole(role) => {
                let session = self.session(&role.arn.account).await?.for_writes();
                let call = on_role(action::CREATE_ROLE, &role.arn.name, session.caller());
                let tags = tags(role)?;
                let request = session
                    .iam()
                    .await?
                    .create_role()
                    .role_name(role.arn.name.as_str())
                    .path(&role.arn.path)
                    .set_tags(Some(tags));
                let request = request
                    .assume_role_policy_document(role.trust.compact())
                    .set_permissions_boundary(role.boundary.as_ref().map(ToString::to_string));
                request
                    .description(
                        "Assumed by S3 to replicate a bucket; created by bucket-replication-operator",
                    )
                    .send()
                    .await
                    .map_err(|error| call.failed(&error))?;
            }
            Step::UpdateTrustPolicy(role) => {
                let session = self.session(&role.arn.account).await?.for_writes();
                let call = on_role(
                    action::UPDATE_ASSUME_ROLE_POLICY,
                    &role.arn.name,
                    session.caller(),
                );
                let request = session
                    .iam()
                    .await?
                    .update_assume_role_policy()
                    .role_name(role.arn.name.as_str())
                    .policy_document(role.trust.compact());
                request.send().await.map_err(|error| call.failed(&error))?;
            }
            Step::TagRole(role) => {
                let session = self.session(&role.arn.account).await?.for_writes();
                let call = on_role(action::TAG_ROLE, &role.arn.name, session.caller());
                let request = session
                    .iam()
                    .await?
                    .tag_role()
                    .role_name(role.arn.name.as_str())
                    .set_tags(Some(tags(role)?));
                request.send().await.map_err(|error| call.failed(&error))?;
            }
            Step::PutRolePermissionsBoundary { role, boundary } => {
                let session = self.session(&role.arn.account).await?.for_writes();
                let call = on_role(
                    action::PUT_ROLE_PERMISSIONS_BOUNDARY,
                    &role.arn.name,
                    session.caller(),
                );
                let request = session
                    .iam()
                    .await?
                    .put_role_permissions_boundary()
                    .role_name(role.arn.name.as_str())
                    .permissions_boundary(boundary.to_string());
                request.send().await.map_err(|error| call.failed(&error))?;
            }
            Step::PutRolePolicy {
                account,
                role,
                policy,
                document,
            } => {
                let session = self.session(account).await?.for_writes();
                let call = on_role(action::PUT_ROLE_POLICY, role, session.caller());
                let request = session
                    .iam()
                    .await?
                    .put_role_policy()
                    .role_name(role.as_str())
                    .policy_name(policy.as_str());
                request
                    .policy_document(document.compact())
                    .send()
                    .await
                    .map_err(|error| call.failed(&error))?;
            }
            Step::PutBucketPolicy {
                bucket,
                region,
                document,
                ..
            } => {
                let session = self.session(&bucket.account).await?.for_writes();
                let call = Call {
                    action: action::PUT_BUCKET_POLICY,
                    on: format!("bucket {}", bucket.name),
                    caller: session.caller(),
                };
                let request = session
                    .s3(region)
                    .await?
                    .put_bucket_policy()
                    .bucket(bucket.name.as_str())
                    .policy(document.compact());
                request
                    .expected_bucket_owner(bucket.account.as_str())
                    .send()
                    .await
                    .map_err(|error| call.failed(&error))?;
            }
            Step::DeleteBucketPolicy { bucket, region, .. } => {
                let session = self.session(&bucket.account).await?.for_writes();
                let call = Call {
                    action: action::DELETE_BUCKET_POLICY,
                    on: format!("bucket {}", bucket.name),
                    caller: session.caller(),
                };
                let request = session
                    .s3(region)
                    .await?
                    .delete_bucket_policy()
                    .bucket(bucket.name.as_str());
                let sent = request
                    .expected_bucket_owner(bucket.account.as_str())
                    .send()
                    .await;
                absent_is_done(sent.map_err(|error| call.failed(&error)))?;
            }
            Step::PutKeyPolicy { key, document, .. } => {
                let session = self.session(&key.account).await?.for_writes();
                let call = on_key(action::PUT_KEY_POLICY, key, session.caller());
                let request = session
                    .kms(&key.region)
                    .await?
                    .put_key_policy()
                    .key_id(key.to_string())
                    .policy_name("default");
                request
                    .policy(document.compact())
                    .send()
                    .await
                    .map_err(|error| call.failed(&error))?;
            }
            // The visit ends here and continues later.
            Step::Settle => {}
            Step::PutReplication {
                bucket,
                region,
                configuration,
                ..
            } => {
                let session = self.session(&bucket.account).await?.for_writes();
                let call = Call {
                    action: action::PUT_REPLICATION_CONFIGURATION,
                    on: format!("bucket {}", bucket.name),
                    caller: session.caller(),
                };
                let configuration = configuration_to_sdk(configuration)
                    .map_err(|error| unsendable(call.action, &error))?;
                let request = session
                    .s3(region)
                    .await?
                    .put_bucket_replication()
                    .bucket(bucket.name.as_str())
                    .replication_configuration(configuration);
                request
                    .expected_bucket_owner(bucket.account.as_str())
                    .send()
                    .await
                    .map_err(|error| call.failed(&error))?;
            }
            Step::DeleteReplication { bucket, region, .. } => {
                let session = self.session(&bucket.account).await?.for_writes();
                let call = Call {
                    action: action::PUT_REPLICATION_CONFIGURATION,
                    on: format!("bucket {}", bucket.name),
                    caller: session.caller(),
                };
                let request = session
                    .s3(region)
                    .await?
                    .delete_bucket_replication()
                    .bucket(bucket.name.as_str());
                let sent = request
                    .expected_bucket_owner(bucket.account.as_str())
                    .send()
                    .await;
                absent_is_done(sent.map_err(|error| call.failed(&error)))?;
            }
            Step::CreateManagedPolicy { policy, document } => {
                let session = self.session(&policy.account).await?.for_writes();
                let call = on_policy(action::CREATE_POLICY, policy, session.caller());
                let request = session
                    .iam()
                    .await?
                    .create_policy()
                    .policy_name(&policy.name)
                    .path(&policy.path);
                let request = request
                    .description("Of a replication role; created by bucket-replication-operator");
                request
                    .policy_document(document.compact())
                    .send()
                    .await
                    .map_err(|error| call.failed(&error))?;
            }
            Step::AttachManagedPolicy { role, policy } => {
                let session = self.session(&policy.account).await?.for_writes();
                let call = on_role(action::ATTACH_ROLE_POLICY, role, session.caller());
                let request = session
                    .iam()
                    .await?
                    .attach_role_policy()
                    .role_name(role.as_str())
                    .policy_arn(policy.to_string());
                request.send().await.map_err(|error| call.failed(&error))?;
            }
            Step::CreateManagedPolicyVersion { policy, document } => {
                let session = self.session(&policy.account).await?.for_writes();
                let call = on_policy(action::CREATE_POLICY_VERSION, policy, session.caller());
                let request = session
                    .iam()
                    .await?
                    .create_policy_version()
                    .policy_arn(policy.to_string())
                    .set_as_default(true);
                request
                    .policy_document(document.compact())
                    .send()
                    .await
                    .map_err(|error| call.failed(&error))?;
            }
            Step::DeleteManagedPolicyVersion { policy, version } => {
                let session = self.session(&policy.account).await?.for_writes();
                let call = on_policy(action::DELETE_POLICY_VERSION, policy, session.caller());
                let sent = session
                    .iam()
                    .await?
                    .delete_policy_version()
                    .policy_arn(policy.to_string())
                    .version_id(version)
                    .send()
                    .await;
                absent_is_done(sent.map_err(|error| call.failed(&error)))?;
            }
            Step::DetachManagedPolicy { role, policy } => {
                let session = self.session(&policy.account).await?.for_writes();
                let call = on_role(action::DETACH_ROLE_POLICY, role, session.caller());
                let sent = session
                    .iam()
                    .await?
                    .detach_role_policy()
                    .role_name(role.as_str())
                    .policy_arn(policy.to_string())
                    .send()
                    .await;
                absent_is_done(sent.map_err(|error| call.failed(&error)))?;
            }
            Step::DeleteManagedPolicy { policy } => {
                let session = self.session(&policy.account).await?.for_writes();
                let call = on_policy(action::DELETE_POLICY, policy, session.caller());
                let sent = session
                    .iam()
                    .await?
                    .delete_policy()
                    .policy_arn(policy.to_string())
                    .send()
                    .await;
                absent_is_done(sent.map_err(|error| call.failed(&error)))?;
            }
            Step::DeleteRolePolicy {
                account,
                role,
                policy,
            } => {
                let session = self.session(account).await?.for_writes();
                let call = on_role(action::DELETE_ROLE_POLICY, role, session.caller());
                let sent = session
                    .iam()
                    .await?
                    .delete_role_policy()
                    .role_name(role.as_str())
                    .policy_name(policy.as_str())
                    .send()
                    .await;
                absent_is_done(sent.map_err(|error| call.failed(&error)))?;
            }
            Step::DeleteRole { account, role } => {
                let session = self.session(account).await?.for_writes();
                let call = on_role(action::DELETE_ROLE, role, session.caller());
                let sent = session
                    .iam()
                    .await?
                    .delete_role()
                    .role_name(role.as_str())
                    .send()
                    .await;
                absent_is_done(sent.map_err(|error| call.failed(&error)))?;
            }
        }
        Ok(())
    }
}

fn on_role<'a>(
    action: &'static str,
    role: &crate::replication::names::RoleName,
    caller: &'a str,
) -> Call<'a> {
    Call {
        action,
        on: format!("role {role}"),
        caller,
    }
}

fn on_policy<'a>(action: &'static str, policy: &PolicyArn, caller: &'a str) -> Call<'a> {
    Call {
        action,
        on: format!("policy {policy}"),
        caller,
    }
}

fn on_key<'a>(action: &'static str, key: &KeyArn, caller: &'a str) -> Call<'a> {
    Call {
        action,
        on: format!("key {key}"),
        caller,
    }
}

/// A deletion whose answer was lost finds nothing when it is tried again.
fn absent_is_done<T>(sent: Result<T, Failure>) -> Result<(), Failure> {
    match sent {
        Err(failure) if failure.kind != FailureKind::NotFound => Err(failure),
        _ => Ok(()),
    }
}

fn tags(role: &DesiredRole) -> Result<Vec<aws_sdk_iam::types::Tag>, Failure> {
    let tag = |(key, value): (&String, &String)| {
        aws_sdk_iam::types::Tag::builder()
            .key(key)
            .value(value)
            .build()
    };
    role.tags
        .iter()
        .map(tag)
        .collect::<Result<_, _>>()
        .map_err(|error| unsendable(action::TAG_ROLE, &error))
}

fn unsendable(action: &str, error: &dyn std::error::Error) -> Failure {
    Failure {
        kind: FailureKind::Invalid,
        action: action.to_owned(),
        message: format!("{action} could not be written: {error}"),
    }
}
