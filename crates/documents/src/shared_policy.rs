//! A policy that several source buckets may have statements in, and the role by which a source bucket is known there.

use std::fmt;

use jiff::SignedDuration;

use crate::{
    keys::KeyArn,
    names::{AccountId, InstallationId, OwnedBucket, RoleName},
};

/// What this process wrote to a shared policy within this time counts, even if a read does not show it.
pub const REMEMBERED: SignedDuration = SignedDuration::from_hours(1);

/// A policy that several source buckets may have statements in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SharedPolicy {
    /// That of a bucket.
    OfBucket(OwnedBucket),
    /// That of a key.
    OfKey(KeyArn),
}

impl SharedPolicy {
    /// The account of the bucket or key.
    #[must_use]
    pub fn account(&self) -> &AccountId {
        match self {
            Self::OfBucket(bucket) => &bucket.account,
            Self::OfKey(key) => &key.account,
        }
    }

    /// The bucket, if it is that of one.
    #[must_use]
    pub fn bucket(&self) -> Option<&OwnedBucket> {
        match self {
            Self::OfBucket(bucket) => Some(bucket),
            Self::OfKey(_) => None,
        }
    }

    /// The key, if it is that of one.
    #[must_use]
    pub fn key(&self) -> Option<&KeyArn> {
        match self {
            Self::OfKey(key) => Some(key),
            Self::OfBucket(_) => None,
        }
    }
}

impl fmt::Display for SharedPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OfBucket(bucket) => write!(f, "the policy of bucket {}", bucket.name),
            Self::OfKey(key) => write!(f, "the policy of key {key}"),
        }
    }
}

/// The replication role of a source bucket, by which the bucket is known in shared policies. It need not exist.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceRole {
    /// The account of the source bucket.
    pub account: AccountId,
    /// The name that the role has.
    pub name: RoleName,
}

impl SourceRole {
    /// That of `source`.
    #[must_use]
    pub fn of(installation: &InstallationId, source: &OwnedBucket) -> Self {
        Self {
            account: source.account.clone(),
            name: RoleName::of(installation, source),
        }
    }
}
