//! What was read of the operator's policies on its role.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use crate::{
    arns::{ManagedPolicyArn, PolicyArn, RoleArn},
    observation::{facet::Facet, ledger::TAG_POLICIES, scope::Scope},
    policy::Document,
    role_policies::{MOST_POLICIES, ManagedPolicy, PolicyOwner, RolePolicies},
};

/// The role of a source bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Role {
    /// Its ARN.
    pub arn: RoleArn,
    /// The unique ID (`AROA…`), which no other role ever has.
    pub id: String,
    /// Who may assume it.
    pub trust: Document,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// ARN of its permissions boundary.
    pub boundary: Option<ManagedPolicyArn>,
}

impl Role {
    /// The numbers of the operator's managed policies on the role, as its tag says.
    #[must_use]
    pub fn managed_policies(&self) -> RangeInclusive<u32> {
        let last = self
            .tags
            .get(TAG_POLICIES)
            .and_then(|last| last.parse::<u32>().ok());
        1..=last.unwrap_or_default().min(MOST_POLICIES)
    }
}

/// The versions of a managed policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyVersions {
    /// The default version.
    pub default: String,
    /// The others.
    pub others: Vec<String>,
}

/// A role that the operator does not manage, with all its policies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ForeignRole {
    /// The role.
    pub role: Facet<Role>,
    /// The names of its inline policies.
    pub names: Facet<BTreeSet<String>>,
    /// Its inline policies, by name.
    pub inline: BTreeMap<String, Facet<Document>>,
    /// The ARNs of its managed policies.
    pub attached: Facet<BTreeSet<ManagedPolicyArn>>,
}

/// What was read of a managed policy that the operator does not write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ManagedRead {
    /// Its default version.
    pub version: Facet<String>,
    /// The document of that version.
    pub document: Facet<Document>,
}

impl ManagedRead {
    /// The document, or why there is none.
    #[must_use]
    pub fn policy(&self) -> Facet<Document> {
        match &self.version {
            Facet::Absent => Facet::Absent,
            Facet::Failed(failure) => Facet::Failed(failure.clone()),
            Facet::Unread | Facet::Present(_) => self.document.clone(),
        }
    }
}

/// What was read of the operator's policies on its role.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoleRead {
    /// The inline policy.
    pub inline: Facet<Document>,
    /// The ARNs of the role's managed policies.
    pub attached: Facet<BTreeSet<PolicyArn>>,
    /// The operator's managed policies, by ARN.
    pub managed: BTreeMap<PolicyArn, PolicyRead>,
}

/// What was read of a managed policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyRead {
    /// Its versions.
    pub versions: Facet<PolicyVersions>,
    /// The document of the default version.
    pub document: Facet<Document>,
}

impl RoleRead {
    /// The policies on `role`, once all of them were read.
    #[must_use]
    pub fn policies(&self, scope: &Scope, role: &Facet<Role>) -> Facet<RolePolicies> {
        let role = match role {
            Facet::Present(role) => role,
            Facet::Absent => return Facet::Absent,
            Facet::Unread | Facet::Failed(_) => return Facet::Unread,
        };
        let inline = match &self.inline {
            Facet::Unread => return Facet::Unread,
            Facet::Failed(failure) => return Facet::Failed(failure.clone()),
            Facet::Absent => None,
            Facet::Present(document) => Some(document.clone()),
        };
        let numbers = role.managed_policies();
        let attached = match &self.attached {
            Facet::Unread if !numbers.is_empty() => return Facet::Unread,
            Facet::Failed(failure) => return Facet::Failed(failure.clone()),
            read => read.present().cloned().unwrap_or_default(),
        };
        let owner = PolicyOwner::of(&scope.source, &role.arn.path, &scope.role);
        let mut managed = BTreeMap::new();
        for number in numbers {
            let arn = owner.policy(number);
            let read = self.managed.get(&arn).cloned().unwrap_or_default();
            let attached = attached.contains(&arn);
            match (read.versions, read.document) {
                (Facet::Failed(failure), _) | (_, Facet::Failed(failure)) => {
                    return Facet::Failed(failure);
                }
                (Facet::Unread, _) | (Facet::Present(_), Facet::Unread) => return Facet::Unread,
                (Facet::Absent, _) | (_, Facet::Absent) => {}
                (Facet::Present(versions), Facet::Present(document)) => {
                    let policy = ManagedPolicy {
                        document,
                        version: versions.default,
                        stale_versions: versions.others,
                        attached,
                    };
                    managed.insert(number, policy);
                }
            }
        }
        if inline.is_none() && managed.is_empty() {
            return Facet::Absent;
        }
        Facet::Present(RolePolicies { inline, managed })
    }
}
