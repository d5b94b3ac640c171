//! What the owner of a policy runs to add what is needed: one line for a POSIX shell with the AWS CLI and jq.

use std::fmt;

use serde_json::{Value, json};

use crate::{
    accounts::Accounts,
    arns::RoleArn,
    evaluation::DenyingStatement,
    keys::KeyArn,
    names::{AccountId, OwnedBucket},
    policy::Statement,
    shared_policy::SharedPolicy,
};
use api::{aws_account::PolicyMode, bucket_replication::RequiredAction};

/// A policy that its owner writes.
#[derive(Clone, Copy, Debug)]
pub enum PolicyOf<'a> {
    /// A bucket's.
    Bucket(&'a OwnedBucket),
    /// A KMS key's.
    Key(&'a KeyArn),
}

impl<'a> From<&'a SharedPolicy> for PolicyOf<'a> {
    fn from(policy: &'a SharedPolicy) -> Self {
        match policy {
            SharedPolicy::OfBucket(bucket) => Self::Bucket(bucket),
            SharedPolicy::OfKey(key) => Self::Key(key),
        }
    }
}

/// A statement that only the owner of its policy can remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its Sid.
    pub sid: String,
    /// The policy.
    pub document: String,
    /// The owner's account.
    pub account: AccountId,
    /// What the owner runs to remove it.
    pub command: String,
}

impl fmt::Display for PolicyOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bucket(bucket) => write!(f, "policy of bucket {}", bucket.name),
            Self::Key(key) => write!(f, "policy of key {key}"),
        }
    }
}

impl PolicyOf<'_> {
    /// The account whose owner has to act.
    #[must_use]
    pub fn account(&self) -> &AccountId {
        match self {
            Self::Bucket(bucket) => &bucket.account,
            Self::Key(key) => &key.account,
        }
    }

    /// Whether the operator writes the policy: it can reach the account, which says `Manage`.
    #[must_use]
    pub fn is_written(&self, accounts: &Accounts) -> bool {
        let managed = accounts.managed(self.account());
        let mode = managed.map(|account| match self {
            Self::Bucket(_) => account.policies.bucket_policy,
            Self::Key(_) => account.policies.key_policy,
        });
        mode == Some(PolicyMode::Manage)
    }

    /// Adds `statement` to the policy.
    #[must_use]
    pub fn add(&self, statement: &Statement) -> RequiredAction {
        // Another source bucket's object may have asked for the same statement.
        let filter = ".Statement |= ([.] | flatten | map(select(.Sid != $it.Sid)) + [$it])";
        self.action(filter, statement.json())
    }

    /// What is left in the policy: the statement with the Sid `sid`, and how to remove it.
    #[must_use]
    pub fn left(&self, sid: &str) -> Left {
        let filter = quoted(&format!(
            "del(.Statement[] | select(.Sid == {}))",
            json!(sid)
        ));
        let (read, write) = match self {
            Self::Bucket(bucket) => {
                let named = format!("--bucket {}", bucket.name);
                let read = format!("s3api get-bucket-policy {named}");
                (read, format!("s3api put-bucket-policy {named}"))
            }
            Self::Key(key) => {
                let region = &key.region;
                let named = format!("--region {region} --key-id {key} --policy-name default");
                let read = format!("kms get-key-policy {named}");
                (read, format!("kms put-key-policy {named}"))
            }
        };
        Left {
            sid: sid.to_owned(),
            document: self.to_string(),
            account: self.account().clone(),
            command: format!(
                r#"aws {write} --policy "$(aws {read} --query Policy --output text | jq -c {filter})""#
            ),
        }
    }

    /// Exempts `role` from what a statement denies.
    #[must_use]
    pub fn except(&self, denying: &DenyingStatement, role: &RoleArn) -> RequiredAction {
        let of = match &denying.sid {
            Some(sid) => format!(".Statement[] | select(.Sid == {})", json!(sid)),
            None => format!(".Statement[{}]", denying.position),
        };
        let filter = format!(
            r#".Statement |= ([.] | flatten) | ({of}).Condition.ArnNotEquals["aws:PrincipalArn"] |= ([.] | flatten | map(values)) + [$it.ArnNotEquals["aws:PrincipalArn"]]"#
        );
        self.action(
            &filter,
            &json!({"ArnNotEquals": {"aws:PrincipalArn": role.to_string()}}),
        )
    }

    /// Replaces the policy with the output of a jq `filter` for the policy and `it`.
    fn action(&self, filter: &str, it: &Value) -> RequiredAction {
        let edit = format!(
            "jq -c --argjson it {} {}",
            quoted(&it.to_string()),
            quoted(filter)
        );
        let command = match self {
            Self::Bucket(bucket) => {
                let name = &bucket.name;
                // An empty policy is the start only if none exists: any other failure has to stop.
                format!(
                    r#"policy=$(aws s3api get-bucket-policy --bucket {name} --query Policy --output text 2>&1) || case $policy in *NoSuchBucketPolicy*) policy='{{"Version":"2012-10-17","Statement":[]}}' ;; *) echo "$policy" >&2; false ;; esac && policy=$(printf %s "$policy" | {edit}) && aws s3api put-bucket-policy --bucket {name} --policy "$policy""#
                )
            }
            Self::Key(key) => {
                let named = format!(
                    "--region {} --key-id {key} --policy-name default",
                    key.region
                );
                format!(
                    r#"policy=$(aws kms get-key-policy {named} --query Policy --output text) && policy=$(printf %s "$policy" | {edit}) && aws kms put-key-policy {named} --policy "$policy""#
                )
            }
        };
        RequiredAction {
            document: self.to_string(),
            account_id: self.account().to_string(),
            statement: format!("{it:#}"),
            command,
        }
    }
}

/// The text as one word of a POSIX shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
