//! What is concluded from canaries: whether S3 replicates, since when that is known, and what is missing.

use std::time::Duration;

use api::{condition::Reason, finding::Finding};

use crate::{
    assess,
    observed::Failure,
    verification::{
        canary::{Canary, Sighting, SourceStatus},
        subject::Subject,
    },
};
use api::condition::ConditionType;

/// What became of a canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// S3 replicated it, as the object asks for.
    Replicated {
        /// How long that took.
        lag: Duration,
    },
    /// S3 replicated it in another way.
    Differs(String),
    /// S3 did not replicate it, and will not.
    Failed,
    /// No rule selected it.
    NotSelected,
}

/// What a sighting means, after so long.
pub(super) fn fate(subject: &Subject, sighting: &Sighting, lag: Duration) -> Option<Fate> {
    match sighting {
        Sighting::Replica { kept_owner, .. } if *kept_owner && subject.changes_owner => {
            Some(Fate::Differs(format!(
                "account {} owns the replica, not account {}: the rule of the replication configuration does not change the owner",
                subject.source.account, subject.destination.account
            )))
        }
        Sighting::Replica { kms_key, .. }
            if subject.replica_key.is_some() && *kms_key != subject.replica_key =>
        {
            let found = kms_key.as_deref().unwrap_or("no KMS key");
            let wanted = subject.replica_key.as_deref().unwrap_or_default();
            Some(Fate::Differs(format!(
                "the replica is encrypted with {found}, not with {wanted}"
            )))
        }
        Sighting::Replica { .. } => Some(Fate::Replicated { lag }),
        Sighting::Source(SourceStatus::Failed) => Some(Fate::Failed),
        Sighting::Source(SourceStatus::NotSelected) => Some(Fate::NotSelected),
        Sighting::Source(SourceStatus::Pending) => None,
    }
}

/// The finding if all canaries were replicated, and the lag of the slowest.
pub(super) fn verified(lags: &[Duration]) -> (Finding, Duration) {
    let slowest = lags.iter().max().copied().unwrap_or_default();
    let canaries = match lags.len() {
        1 => "the canary".to_owned(),
        several => format!("all {several} canaries"),
    };
    let message = format!("S3 replicated {canaries} within {}", shown(slowest));
    (Finding::yes(Reason::Verified, message), slowest)
}

/// A lag in whole seconds, at least one: that is how often is looked.
pub(super) fn shown(lag: Duration) -> String {
    let seconds = lag.as_secs_f64().ceil().max(1.0);
    format!("{seconds}s")
}

/// The finding if some canaries were not replicated, or in another way. `missing` is what was found to be missing.
pub(super) fn not_verified(
    subject: &Subject,
    fates: &[(&Canary, &Fate)],
    missing: &[String],
) -> Finding {
    let bad: Vec<_> = fates
        .iter()
        .filter(|(_, fate)| !matches!(fate, Fate::Replicated { .. }))
        .collect();
    let more = match bad.len() {
        0 | 1 => String::new(),
        several => format!(" and {} more", several - 1),
    };
    let Some((canary, fate)) = bad.first() else {
        return Finding::unknown(Reason::Verifying, "no canary was uploaded");
    };
    let (reason, what) = match fate {
        Fate::Differs(what) => (Reason::ReplicaDiffers, what.clone()),
        Fate::NotSelected => (
            Reason::CanaryFailed,
            "no rule of the replication configuration selected it".to_owned(),
        ),
        Fate::Failed | Fate::Replicated { .. } => (
            Reason::CanaryFailed,
            "S3 did not replicate it, and does not retry it".to_owned(),
        ),
    };
    let causes = if missing.is_empty() {
        "nothing is missing by now, as far as that can be read; the next canary shows whether S3 replicates again".to_owned()
    } else {
        missing.join("; ")
    };
    let message = format!(
        "canary of rule {}{more} in bucket {}: {what}: {causes}",
        canary.rule, subject.source.name
    );
    Finding::no(reason, message)
}

/// The finding if AWS refused to take a canary. If something is missing, S3 does not replicate either.
pub(super) fn refused(subject: &Subject, failure: &Failure, missing: &[String]) -> Finding {
    if missing.is_empty() {
        return failed(failure);
    }
    let message = format!(
        "no canary can be uploaded to bucket {}: {}",
        subject.source.name,
        missing.join("; ")
    );
    Finding::no(Reason::CanaryFailed, message)
}

/// The finding while canaries are pending after the timeout.
pub(super) fn pending(subject: &Subject, canary: &Canary) -> Finding {
    let message = format!(
        "the canary of rule {} in bucket {} is still pending after {} minutes; S3 retries it, and no other is uploaded meanwhile",
        canary.rule,
        subject.source.name,
        subject.timeout.as_secs() / 60
    );
    Finding::unknown(Reason::Verifying, message)
}

/// The finding if a call of the operator failed.
pub(super) fn failed(failure: &Failure) -> Finding {
    let problem = assess::failed(ConditionType::Verified, failure);
    Finding::unknown(problem.reason, problem.message)
}
