//! The operator's policies on a role: its inline policy and managed ones.

use std::collections::BTreeMap;

use crate::{
    arns::PolicyArn,
    names::{AccountId, OwnedBucket, Partition, RoleName},
    policy::{Document, Statement},
};

/// Managed policies on one role, the default of an adjustable quota (same page).
pub const MOST_POLICIES: u32 = 10;

/// The operator's policies on a role.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RolePolicies {
    /// The inline policy.
    pub inline: Option<Document>,
    /// The managed policies by number, from 1.
    pub managed: BTreeMap<u32, ManagedPolicy>,
}

/// A managed policy of the operator.
#[derive(Clone, Debug, PartialEq)]
pub struct ManagedPolicy {
    /// Its default version.
    pub document: Document,
    /// The ID of its default version.
    pub version: String,
    /// The IDs of its other versions.
    pub stale_versions: Vec<String>,
    /// Whether it is attached to the role.
    pub attached: bool,
}

impl RolePolicies {
    /// All statements, in the order of the policies.
    #[must_use]
    pub fn statements(&self) -> Vec<Statement> {
        let managed = self.managed.values().map(|policy| &policy.document);
        self.inline
            .iter()
            .chain(managed)
            .flat_map(Document::statements)
            .collect()
    }

    /// All of it as if it were one document.
    #[must_use]
    pub fn document(&self) -> Document {
        Document::of(self.statements())
    }
}

/// Whose policies they are.
#[derive(Clone, Copy, Debug)]
pub struct PolicyOwner<'a> {
    /// The partition of the account.
    pub partition: Partition,
    /// The account.
    pub account: &'a AccountId,
    /// The path of roles and policies.
    pub path: &'a str,
    /// The role.
    pub role: &'a RoleName,
    /// The name of the inline policy, with which the names of the managed ones begin: that of the operator's role for the bucket.
    pub name: &'a RoleName,
}

impl PolicyOwner<'_> {
    /// The managed policy with that number.
    #[must_use]
    pub fn policy(&self, number: u32) -> PolicyArn {
        PolicyArn {
            partition: self.partition,
            account: self.account.clone(),
            path: self.path.to_owned(),
            name: format!("{}-{number}", self.name),
        }
    }
}

impl<'a> PolicyOwner<'a> {
    /// The policies of the role of `source`, under `path`.
    #[must_use]
    pub fn of(source: &'a OwnedBucket, path: &'a str, role: &'a RoleName) -> Self {
        Self {
            partition: source.partition,
            account: &source.account,
            path,
            role,
            name: role,
        }
    }
}
