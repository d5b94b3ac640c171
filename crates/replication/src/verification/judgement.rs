//! What is concluded from canaries: whether S3 replicates, since when that is known, and what is missing.

use std::time::Duration;

use api::{condition::Reason, finding::Finding};

use crate::{
    assess,
    observed::{Failure, FailureKind},
    request::problem::and_more,
    verification::{
        canary::{Canary, ReplicaEncryption, Sighting, SourceStatus},
        diagnosis::Diagnosis,
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
    /// It was removed before it could be judged.
    Lost(String),
}

/// What a sighting means, after so long. `again`: the source object was completed at the last look, too.
pub(super) fn fate(
    subject: &Subject,
    sighting: &Sighting,
    lag: Duration,
    again: bool,
) -> Option<Fate> {
    match sighting {
        Sighting::Replica { kept_owner, .. } if *kept_owner && subject.changes_owner => {
            Some(Fate::Differs(format!(
                "account {} owns the replica, not account {}: the rule of the replication configuration does not change the owner",
                subject.source.account, subject.destination.account
            )))
        }
        Sighting::Replica { encryption, .. } => Some(encrypted(subject, encryption, lag)),
        Sighting::Source(SourceStatus::Failed) => Some(Fate::Failed),
        Sighting::Source(SourceStatus::NotSelected) => Some(Fate::NotSelected),
        Sighting::Source(SourceStatus::Gone) => Some(Fate::Lost(format!(
            "someone removed it from bucket {}",
            subject.source.name
        ))),
        Sighting::Source(SourceStatus::Completed) if again && lag >= subject.timeout => {
            Some(Fate::Lost(format!(
                "S3 says that it replicated it, and the replica is not in bucket {}: something removes objects there",
                subject.destination.name
            )))
        }
        Sighting::Source(SourceStatus::Pending | SourceStatus::Completed) => None,
    }
}

fn encrypted(subject: &Subject, encryption: &ReplicaEncryption, lag: Duration) -> Fate {
    let found = match encryption {
        ReplicaEncryption::Kms(key) => Some(key),
        ReplicaEncryption::WithoutKms => None,
        ReplicaEncryption::Unreadable => return Fate::Replicated { lag },
    };
    match &subject.replica_key {
        Some(wanted) if found != Some(wanted) => {
            let found = found.map_or("no KMS key", String::as_str);
            Fate::Differs(format!(
                "the replica is encrypted with {found}, not with {wanted}"
            ))
        }
        _ => Fate::Replicated { lag },
    }
}

/// The finding if canaries were removed before they could be judged.
pub(super) fn lost(subject: &Subject, canary: &Canary, what: &str) -> Finding {
    let message = format!(
        "the canary of rule {} in bucket {} says nothing: {what}",
        canary.rule, subject.source.name
    );
    Finding::unknown(Reason::Verifying, message)
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

/// The finding if some canaries were not replicated, or in another way. `diagnosis` is what was found to be missing.
pub(super) fn not_verified(
    subject: &Subject,
    fates: &[(&Canary, &Fate)],
    diagnosis: &Diagnosis,
) -> Finding {
    let bad: Vec<_> = fates
        .iter()
        .filter(|(_, fate)| !matches!(fate, Fate::Replicated { .. } | Fate::Lost(_)))
        .collect();
    let more = and_more(bad.len());
    let Some((canary, fate)) = bad.first() else {
        return Finding::unknown(Reason::Verifying, "no canary was uploaded");
    };
    let (reason, what) = match fate {
        Fate::Differs(what) => (Reason::ReplicaDiffers, what.clone()),
        Fate::NotSelected => (
            Reason::CanaryFailed,
            "no rule of the replication configuration selected it".to_owned(),
        ),
        Fate::Failed | Fate::Lost(_) | Fate::Replicated { .. } => (
            Reason::CanaryFailed,
            "S3 did not replicate it, and does not retry it".to_owned(),
        ),
    };
    let causes = [&diagnosis.certain, &diagnosis.possible];
    let causes = causes.into_iter().find(|causes| !causes.is_empty()).map_or_else(
        || "nothing is missing by now, as far as that can be read; the next canary shows whether S3 replicates again".to_owned(),
        |causes| causes.join("; "),
    );
    let message = format!(
        "canary of rule {}{more} in bucket {}: {what}: {causes}",
        canary.rule, subject.source.name
    );
    Finding::no(reason, message)
}

/// Whether why AWS refused an upload may be seen in what exists, such as a key that is disabled.
pub(super) fn may_be_seen(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::Invalid | FailureKind::NotFound | FailureKind::Conflict
    )
}

/// The finding if AWS refused to take a canary. If something is missing, S3 does not replicate either.
pub(super) fn refused(subject: &Subject, failure: &Failure, diagnosis: &Diagnosis) -> Finding {
    let missing = &diagnosis.certain;
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
