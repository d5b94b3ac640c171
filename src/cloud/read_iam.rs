//! The reads of IAM and KMS, one call each.

use std::{collections::BTreeSet, fmt::Display, str::FromStr};

use super::{
    ask::{Read, found, not_understood, readable},
    aws::AwsCloud,
    calls::action,
    convert::iam_document,
    error::Call,
};
use crate::replication::{
    arns::{ManagedPolicyArn, PolicyArn, RoleArn},
    keys::{KeyArn, KeyReference},
    names::{AccountId, Region, RoleName},
    observed::{KeyDescription, PolicyVersions, Role},
    policy::Document,
};

impl AwsCloud {
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
            caller: session.caller(),
        };
        let answer = found(
            session
                .kms(region)
                .await?
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
            caller: session.caller(),
        };
        let answer = session
            .kms(&key.region)
            .await?
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

    /// The default version of a managed policy.
    pub(super) async fn managed_version(
        &self,
        account: &AccountId,
        policy: &ManagedPolicyArn,
    ) -> Read<String> {
        let arn = policy.to_string();
        let session = self.session(account).await?;
        let call = Call {
            action: action::GET_POLICY,
            on: format!("policy {arn}"),
            caller: session.caller(),
        };
        let answer = found(
            session
                .iam()
                .await?
                .get_policy()
                .policy_arn(arn)
                .send()
                .await,
            &call,
        )?;
        Ok(answer.map(|answer| {
            answer
                .policy()
                .and_then(|policy| policy.default_version_id())
                .unwrap_or_default()
                .to_owned()
        }))
    }

    /// The document of a version of a managed policy.
    pub(super) async fn policy_document(
        &self,
        account: &AccountId,
        policy: &(dyn Display + Sync),
        version: &str,
    ) -> Read<Document> {
        let session = self.session(account).await?;
        let arn = policy.to_string();
        let call = Call {
            action: action::GET_POLICY_VERSION,
            on: format!("policy {arn}"),
            caller: session.caller(),
        };
        let request = session
            .iam()
            .await?
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
            caller: session.caller(),
        };
        let answer = found(
            session
                .iam()
                .await?
                .get_role()
                .role_name(name.as_str())
                .send()
                .await,
            &call,
        )?;
        let Some(role) = answer.as_ref().and_then(|answer| answer.role()) else {
            return Ok(None);
        };
        Ok(Some(Role {
            arn: role
                .arn()
                .parse()
                .map_err(|error| not_understood(&call, error))?,
            id: role.role_id().to_owned(),
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
                .and_then(|arn| arn.parse().ok()),
        }))
    }

    /// The inline policy `policy` of a role.
    pub(super) async fn inline_policy(&self, role: &RoleArn, policy: &str) -> Read<Document> {
        let session = self.session(&role.account).await?;
        let call = Call {
            action: action::GET_ROLE_POLICY,
            on: format!("role {}", role.name),
            caller: session.caller(),
        };
        let answer = found(
            session
                .iam()
                .await?
                .get_role_policy()
                .role_name(role.name.as_str())
                .policy_name(policy)
                .send()
                .await,
            &call,
        )?;
        answer
            .map(|answer| readable(iam_document(answer.policy_document()), &call))
            .transpose()
    }

    /// The names of a role's inline policies.
    pub(super) async fn inline_policy_names(&self, role: &RoleArn) -> Read<BTreeSet<String>> {
        let session = self.session(&role.account).await?;
        let call = Call {
            action: action::LIST_ROLE_POLICIES,
            on: format!("role {}", role.name),
            caller: session.caller(),
        };
        // All inline policies together have 10,240 characters, so that they are on one page of 1,000.
        let request = session.iam().await?.list_role_policies().max_items(1000);
        let request = request.role_name(role.name.as_str());
        let answer = found(request.send().await, &call)?;
        Ok(answer.map(|answer| answer.policy_names().iter().cloned().collect()))
    }

    /// The ARNs of a role's managed policies.
    pub(super) async fn attached_policies<Arn: FromStr + Ord>(
        &self,
        account: &AccountId,
        role: &RoleName,
    ) -> Read<BTreeSet<Arn>> {
        let session = self.session(account).await?;
        let call = Call {
            action: action::LIST_ATTACHED_ROLE_POLICIES,
            on: format!("role {role}"),
            caller: session.caller(),
        };
        // A role has at most 20 managed policies, and a page 100 entries.
        let request = session
            .iam()
            .await?
            .list_attached_role_policies()
            .role_name(role.as_str());
        let answer = found(request.send().await, &call)?;
        Ok(answer.map(|answer| {
            answer
                .attached_policies()
                .iter()
                .filter_map(|policy| policy.policy_arn()?.parse().ok())
                .collect()
        }))
    }

    /// The versions of a managed policy.
    pub(super) async fn policy_versions(&self, policy: &PolicyArn) -> Read<PolicyVersions> {
        let session = self.session(&policy.account).await?;
        let arn = policy.to_string();
        let call = Call {
            action: action::LIST_POLICY_VERSIONS,
            on: format!("policy {arn}"),
            caller: session.caller(),
        };
        let request = session.iam().await?.list_policy_versions().policy_arn(&arn);
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
