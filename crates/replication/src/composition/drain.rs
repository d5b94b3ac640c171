//! How long permissions outlive the rules that used them.
//!
//! S3 replicates minutes or, for large objects, hours after an upload, by the rules of that time ("Getting replication status information" in the S3
//! User Guide), and makes a new configuration known with a delay. What the role may no longer do then fails for good.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    composition::desired::RoleOwnership,
    observed::{Observed, Role},
};

/// The role's tag that says since when its policy has permissions of former rules; empty if it has none.
pub const TAG_DRAINING_SINCE: &str = "bucketops.dev/draining-since";

/// How long former permissions stay, and the time now.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// How long.
    pub period: Duration,
    /// Now.
    pub now: Timestamp,
    /// Since when a role has them whose tags are not the operator's: by the objects' statuses.
    pub remembered: Option<Timestamp>,
}

impl Drain {
    /// Since when former permissions stay: by the tag of the operator's own role, or by what statuses say of another's. Of one that others create,
    /// each object has a time of its own.
    pub(crate) fn since(&self, observed: &Observed, ownership: RoleOwnership) -> Option<Timestamp> {
        match ownership {
            RoleOwnership::Own => tagged(observed),
            RoleOwnership::Merged => self.remembered,
            RoleOwnership::Checked => None,
        }
    }

    /// Whether they stayed for long enough.
    #[must_use]
    pub(crate) fn is_over(&self, since: Option<Timestamp>) -> bool {
        since.is_some_and(|since| self.age(since) >= self.period)
    }

    /// Since when they stay, if there are any now and there were some `since` then. Changes within a twenty-fourth of the period do not begin it again.
    #[must_use]
    pub(crate) fn begun(&self, since: Option<Timestamp>, changes: bool) -> Timestamp {
        let is_recent = |since: &Timestamp| !changes || self.age(*since) < self.period / 24;
        let since = since.filter(is_recent).unwrap_or(self.now);
        // Whole seconds are enough.
        Timestamp::from_second(since.as_second()).unwrap_or(since)
    }

    fn age(&self, since: Timestamp) -> Duration {
        Duration::try_from(self.now.duration_since(since)).unwrap_or_default()
    }
}

/// Since when the operator's role has permissions of former rules, by its tag.
pub(crate) fn tagged(observed: &Observed) -> Option<Timestamp> {
    let role: Option<&Role> = observed.role.present();
    role?.tags.get(TAG_DRAINING_SINCE)?.parse().ok()
}
