//! Whom a statement of a destination or a key is for: the roles of a source account, or one role.

use crate::{
    arns::RoleArn,
    names::{AccountId, InstallationId, Partition, RoleName, account_root},
};

/// Whom a statement of a destination or a key is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grantee {
    /// One role, by its ARN.
    Role(RoleArn),
    /// The replication roles of one installation in an account.
    Roles(OwnRoles),
}

/// The replication roles of one installation in an account, under one path.
///
/// A statement names the account as its principal, and the roles by `aws:PrincipalArn`, which every signed request has and which is the role's
/// ARN for a session of the role ("AWS global condition context keys" in the IAM User Guide). So it is written once for all source buckets of the
/// account, it needs no role to exist, and it means the same after a role is deleted and created again. Across accounts, the role's own policy has
/// to allow the request as well ("Cross-account policy evaluation logic" in the IAM User Guide).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnRoles {
    /// The partition.
    pub partition: Partition,
    /// The account.
    pub account: AccountId,
    /// The path, which begins and ends with a slash.
    pub path: String,
    /// The installation.
    pub installation: InstallationId,
}

/// The key of the condition.
pub(crate) const PRINCIPAL: &str = "aws:PrincipalArn";
/// Its operator.
pub(crate) const LIKE: &str = "ArnLike";

impl OwnRoles {
    /// Those that `role` is one of.
    #[must_use]
    pub fn with(role: &RoleArn, installation: &InstallationId) -> Self {
        Self {
            partition: role.partition,
            account: role.account.clone(),
            path: role.path.clone(),
            installation: installation.clone(),
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn role(&self, name: RoleName) -> RoleArn {
        RoleArn {
            partition: self.partition,
            account: self.account.clone(),
            path: self.path.clone(),
            name,
        }
    }

    /// Those of `installation` whose ARNs have this pattern.
    pub(crate) fn of_pattern(pattern: &str, installation: &InstallationId) -> Option<Self> {
        let first: RoleArn = pattern.strip_suffix('*')?.parse().ok()?;
        let roles = Self::with(&first, installation);
        (roles.pattern() == pattern).then_some(roles)
    }

    /// The pattern of their ARNs.
    fn pattern(&self) -> String {
        let (partition, account) = (self.partition, &self.account);
        let prefix = RoleName::prefix(&self.installation);
        format!("arn:{partition}:iam::{account}:role{}{prefix}*", self.path)
    }
}

impl Grantee {
    /// The `AWS` principal.
    #[must_use]
    pub fn principal(&self) -> String {
        match self {
            Self::Role(role) => role.to_string(),
            Self::Roles(roles) => account_root(roles.partition, &roles.account),
        }
    }

    /// What limits the principal to the grantee: operator, key, values.
    #[must_use]
    pub fn condition(&self) -> Option<(&'static str, String, Vec<String>)> {
        match self {
            Self::Role(_) => None,
            Self::Roles(roles) => Some((LIKE, PRINCIPAL.to_owned(), vec![roles.pattern()])),
        }
    }
}
