//! Which grants allow canaries: those that name the bucket.

use api::{
    aws_account::{Grant, Permission},
    condition::ConditionType,
};

use crate::{
    Problem,
    names::BucketName,
    request::account::{Account, Labels, glob},
};

/// Where canaries are, or their replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanaryBucket<'a> {
    /// A source bucket.
    Source(&'a BucketName),
    /// A destination bucket.
    Destination(&'a BucketName),
}

impl Account {
    /// Whether canaries may be uploaded to `bucket`, or found and removed there: a grant that names the bucket has to allow it.
    ///
    /// # Errors
    /// What no grant allows, and whom to ask.
    pub fn allow_canaries(&self, labels: &Labels, bucket: CanaryBucket<'_>) -> Result<(), Problem> {
        let names = |grant: &Grant| match bucket {
            CanaryBucket::Source(name) => {
                let mut sources = grant.sources.iter();
                sources.any(|source| glob(&source.bucket, name.as_str()))
            }
            CanaryBucket::Destination(name) => {
                let mut destinations = grant.destinations.iter();
                destinations.any(|destination| glob(&destination.bucket, name.as_str()))
            }
        };
        let mut grants = self.grants(labels);
        if grants.any(|grant| grant.allow.contains(&Permission::Canary) && names(grant)) {
            return Ok(());
        }
        let (CanaryBucket::Source(name) | CanaryBucket::Destination(name)) = bucket;
        let what = format!("ask for Canary (allow) with bucket {name}");
        Err(self.refusal(ConditionType::Accepted, &what))
    }
}
