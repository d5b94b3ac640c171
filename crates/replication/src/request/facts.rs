//! What the checks before the first write are made on, and what they find.

use std::collections::BTreeSet;

use api::condition::ConditionType;

use crate::{
    Problem,
    accounts::{Account, Accounts},
    arns::RoleArn,
    assess::Resolved,
    names::{BucketName, InstallationId, OwnedBucket, RoleName},
    observed::{Observed, Traits},
    request::s3_requests::{RoleFacts, S3Request, s3_requests},
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
    pub(super) upstream: &'a BTreeSet<BucketName>,
    pub(super) requests: Vec<S3Request<'a>>,
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
        let own = role.name == RoleName::of(installation, &resolved.valid.source);
        let existing = observed.role.present().filter(|found| found.arn == *role);
        let known = RoleFacts {
            arn: role,
            id: existing.map(|role| role.id.as_str()),
            bounded: own.then(|| account.roles.boundary.is_some()),
            accounts,
        };
        Self {
            resolved,
            observed,
            account,
            role,
            upstream,
            requests: s3_requests(resolved, known),
        }
    }
}

impl Facts<'_> {
    /// What decides whether `bucket` can be replicated from or to.
    pub(super) fn traits_of(&self, bucket: &OwnedBucket) -> Traits {
        let read = self.observed.buckets.get(bucket);
        read.map(|read| read.traits.clone()).unwrap_or_default()
    }
}

/// A check adds what it finds.
pub(super) type Check = fn(&Facts<'_>, &mut Preflight);
