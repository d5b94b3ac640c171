//! What is composed, and from what.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    accounts::{Account, Accounts},
    assess::Resolved,
    composition::drain::Drain,
    names::{InstallationId, ObjectKey, OwnedBucket},
    observed::Observed,
};

/// What is composed, and from what.
#[derive(Clone, Copy, Debug)]
pub struct Claims<'a> {
    /// This installation.
    pub installation: &'a InstallationId,
    /// All accounts.
    pub accounts: &'a Accounts,
    /// The account of the source bucket.
    pub account: &'a Account,
    /// The source bucket.
    pub source: &'a OwnedBucket,
    /// What exists in AWS.
    pub observed: &'a Observed,
    /// Objects that get what they ask for, in order.
    pub acting: &'a [Resolved],
    /// Those of them whose rules have to wait. The role is created, so that an owner can name it in a policy.
    pub withheld: &'a BTreeSet<ObjectKey>,
    /// How long permissions of former rules stay. `None`: they are removed at once.
    pub drain: Option<Drain>,
    /// Objects whose part does not change, or only as said.
    pub carried: &'a BTreeMap<ObjectKey, Carry>,
}

/// How the part of an object that does not act is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carry {
    /// It does not change.
    Unchanged,
    /// Its rules are left out, since S3 refuses them: their destination is gone.
    Dropped,
    /// Its rules are disabled: it is no longer allowed to have them.
    Disabled,
    /// Its rules are marked as retained: the object is deleted, and its rules stay.
    Retained,
}
