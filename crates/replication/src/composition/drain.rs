//! How long permissions outlive the rules that used them.
//!
//! S3 replicates minutes or, for large objects, hours after an upload, by the rules of that time ("Getting replication status information" in the S3
//! User Guide), and makes a new configuration known with a delay. What the role may no longer do then fails for good.

use std::time::Duration;

use jiff::Timestamp;

use crate::observed::{Observed, Role};

/// The role's tag that says since when its policy has permissions of former rules; empty if it has none.
pub const TAG_DRAINING_SINCE: &str = "bucketops.dev/draining-since";

/// How long former permissions stay, and the time now.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// How long.
    pub period: Duration,
    /// Now.
    pub now: Timestamp,
}

impl Drain {
    /// Since when former permissions stay, by the role's tag.
    #[must_use]
    pub fn since(observed: &Observed) -> Option<Timestamp> {
        let role: Option<&Role> = observed.role.present();
        role?.tags.get(TAG_DRAINING_SINCE)?.parse().ok()
    }

    /// Whether they stayed for long enough.
    #[must_use]
    pub fn is_over(&self, observed: &Observed) -> bool {
        let since = Self::since(observed);
        since.is_some_and(|since| self.age(since) >= self.period)
    }

    /// The value of the tag while there are former permissions. Changes within a twenty-fourth of the period do not write it again.
    #[must_use]
    pub(crate) fn tag(&self, observed: &Observed, changes: bool) -> String {
        let is_recent = |since: &Timestamp| !changes || self.age(*since) < self.period / 24;
        let since = Self::since(observed).filter(is_recent);
        let since = since.unwrap_or(self.now);
        // Whole seconds are enough.
        Timestamp::from_second(since.as_second())
            .unwrap_or(since)
            .to_string()
    }

    fn age(&self, since: Timestamp) -> Duration {
        Duration::try_from(self.now.duration_since(since)).unwrap_or_default()
    }
}
