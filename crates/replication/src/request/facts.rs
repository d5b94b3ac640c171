//! What the checks before the first write are made on, and what they find.

use std::collections::BTreeSet;

use api::condition::ConditionType;

use crate::{
    Problem,
    accounts::{Account, Accounts},
    arns::RoleArn,
    assess::Resolved,
    names::{BucketName, InstallationId, OwnedBucket, RoleName},
    observed::{Facet, Observed, Traits},
    policy::{Document, Statement},
    request::{
        s3_requests::{RoleFacts, S3Request, s3_requests},
        statements::role_statements,
    },
};

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Preflight {
    /// What makes replication fail.
    pub problems: Vec<Problem>,
    /// What may make it fail, or is probably not intended: reported with the conditions, which stay True.
    pub notes: Vec<(ConditionType, String)>,
}

/// What the checks are made on.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    pub(super) resolved: &'a Resolved,
    pub(super) observed: &'a Observed,
    pub(super) account: &'a Account,
    pub(super) role: &'a RoleArn,
    /// Whether the operator creates the role.
    pub(super) own: bool,
    pub(super) upstream: &'a BTreeSet<BucketName>,
    pub(super) requests: Vec<S3Request<'a>>,
    /// What the role needs, as statements of the operator.
    pub(super) statements: Vec<Statement>,
}

impl<'a> Facts<'a> {
    /// What an object asks for and what exists in AWS; the account of the source bucket, and the role that S3 will assume.
    #[must_use]
    pub fn new(
        resolved: &'a Resolved,
        observed: &'a Observed,
        installation: &InstallationId,
        accounts: &Accounts,
        account: &'a Account,
        role: &'a RoleArn,
        upstream: &'a BTreeSet<BucketName>,
    ) -> Self {
        // Which role it will be is only known with the configuration.
        let may_merge = resolved.valid.merge && observed.configuration == Facet::Unread;
        let checked = account.roles.are_checked() || may_merge;
        let own = !checked && role.name == RoleName::of(installation, &resolved.valid.source);
        let foreign = observed.foreign_roles.get(role);
        let existing = if own {
            observed.role.present().filter(|found| found.arn == *role)
        } else {
            foreign.and_then(|foreign| foreign.role.present())
        };
        let known = RoleFacts {
            arn: role,
            id: existing.map(|role| role.id.as_str()),
            bounded: if own {
                Some(account.roles.boundary.is_some())
            } else {
                existing.map(|role| role.boundary.is_some())
            },
            accounts,
        };
        Self {
            resolved,
            observed,
            account,
            role,
            own,
            upstream,
            requests: s3_requests(resolved, known),
            statements: role_statements(installation, resolved),
        }
    }
}

impl Facts<'_> {
    /// What decides whether `bucket` can be replicated from or to.
    pub(super) fn traits_of(&self, bucket: &OwnedBucket) -> Traits {
        let read = self.observed.buckets.get(bucket);
        read.map(|read| read.traits.clone()).unwrap_or_default()
    }

    /// The policy of the destination bucket. Across accounts, statements are written to it, and it is read whole for that.
    pub(super) fn destination_policy(&self) -> Facet<Document> {
        let valid = &self.resolved.valid;
        if !valid.is_across_accounts() {
            return self.traits_of(&valid.destination).policy;
        }
        let read = self.observed.buckets.get(&valid.destination);
        read.map(|read| read.policy.clone()).unwrap_or_default()
    }
}

/// A check adds what it finds.
pub(super) type Check = fn(&Facts<'_>, &mut Preflight);
