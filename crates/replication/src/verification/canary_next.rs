//! What to do next about the canaries of an object, by the stage of their round.

use std::time::Duration;

use api::{
    condition::Reason,
    finding::Finding,
    verification::{CanaryStatus, Verified},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    observed::Failure,
    verification::{
        canary::Canary,
        canary_round::{FIRST_RETRY, Round, Sent, Stage, State, retry, since},
        judgement,
        subject::{Subject, Wanted},
    },
};

/// An object that is not ready is visited again so soon: that makes no calls.
const NOT_READY: Duration = Duration::from_secs(5);
/// One that waits for someone to act: a change of it, of its accounts or its namespace is noticed at once.
const REFUSED: Duration = Duration::from_mins(5);
/// Canaries are looked for no sooner and no more often, and later ever less often.
const SOONEST_LOOK: Duration = Duration::from_secs(1);
const RAREST_LOOK: Duration = Duration::from_secs(30);
/// The same after the timeout.
const LATE_LOOK: Duration = Duration::from_mins(5);
/// The time between two rounds that are asked for.
const REQUESTED: Duration = Duration::from_secs(10);

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Write this to the object's status.
    Record(Verified),
    /// Remove all versions of these canaries from both buckets.
    Remove(Vec<CanaryStatus>),
    /// Read what may refuse canaries.
    Check,
    /// Upload these.
    Upload(Vec<Canary>),
    /// Look for these, by the IDs of their versions.
    Look(Vec<(Canary, String)>),
    /// Find out what is missing for S3 to replicate.
    Diagnose,
    /// Nothing until then, or until the object changes.
    Wait(Option<Timestamp>),
}

/// What to do next about the canaries of an object.
#[must_use]
pub fn next(wanted: &Wanted, state: &State, generation: Option<i64>, now: Timestamp) -> Next {
    if *wanted == Wanted::Rest {
        return Next::Wait(None);
    }
    if let Some(failure) = &state.not_removed {
        return not_removed(state, failure, generation, now);
    }
    if let Some(round) = &state.memory.round {
        return of_round(round, state, now);
    }
    let leftovers = state.leftovers();
    if !leftovers.is_empty() {
        return Next::Remove(leftovers);
    }
    if !state.recorded.canaries().is_empty() {
        let cleared = state.with(|status| status.canaries.clear());
        return Next::Record(Verified {
            verification: Some(cleared),
            ..state.recorded.clone()
        });
    }
    match wanted {
        Wanted::Rest => Next::Wait(None),
        Wanted::Nothing if state.recorded == Verified::default() => Next::Wait(None),
        Wanted::Nothing => Next::Record(Verified::default()),
        Wanted::Waiting(finding) => {
            let report = state.report(finding, generation, now);
            // That a new object is not ready yet, its other conditions say.
            let says_nothing =
                finding.reason == Reason::Verifying && state.recorded == Verified::default();
            if says_nothing || report == state.recorded {
                let is_soon = finding.reason == Reason::Verifying;
                Next::Wait(Some(now + if is_soon { NOT_READY } else { REFUSED }))
            } else {
                Next::Record(report)
            }
        }
        Wanted::Canaries(subject) => match due(subject, state) {
            Some(due) if due > now => Next::Wait(Some(due)),
            _ => Next::Check,
        },
    }
}

/// When the next round is due; `None`: at once.
fn due(subject: &Subject, state: &State) -> Option<Timestamp> {
    let verified = state.recorded.condition()?;
    let found = state.recorded.verification.as_ref();
    let last_time = found.and_then(|found| found.last_canary_time.as_ref());
    let last_request = found.and_then(|found| found.last_request.as_ref());
    if state.request.is_some() && state.request.as_ref() != last_request {
        return Some(last_time?.0 + REQUESTED);
    }
    if let Some((generation, again)) = state.memory.again
        && generation == subject.generation
    {
        return Some(again);
    }
    // What was found says nothing of another spec.
    let last = found.filter(|found| found.canary_generation == subject.generation)?;
    let wait = if verified.status == "True" {
        subject.interval
    } else {
        FIRST_RETRY
    };
    Some(last.last_canary_time.as_ref()?.0 + wait)
}

fn not_removed(state: &State, failure: &Failure, generation: Option<i64>, now: Timestamp) -> Next {
    let mut finding = judgement::failed(failure);
    let why = format!(
        "canaries can't be removed, and no others are uploaded: {}",
        finding.message
    );
    finding.message = why;
    // That S3 does not replicate matters more.
    if let Some(Round {
        stage: Stage::Judged(judgement),
        ..
    }) = &state.memory.round
        && judgement.finding.holds == Some(false)
    {
        let said = format!("{}; {}", judgement.finding.message, finding.message);
        finding = Finding::no(judgement.finding.reason, said);
    }
    let report = Verified {
        verification: Some(state.with(|status| status.canaries = state.leftovers())),
        ..state.report(&finding, generation, now)
    };
    if report == state.recorded {
        let wait = retry(state.memory.failures, Duration::from_hours(1));
        Next::Wait(Some(now + wait))
    } else {
        Next::Record(report)
    }
}

fn of_round(round: &Round, state: &State, now: Timestamp) -> Next {
    let Round {
        subject,
        request,
        stage,
    } = round;
    match stage {
        Stage::Checked => {
            let canaries = subject.canaries.iter();
            let canaries = canaries.map(|canary| {
                canary.recorded(
                    &subject.source_region,
                    &subject.destination,
                    &subject.destination_region,
                )
            });
            let begun = state.with(|status| {
                status.canaries = canaries.collect();
                status.last_canary_time = Some(Time(whole_seconds(now)));
                status.last_request.clone_from(request);
                status.canary_generation = subject.generation;
            });
            // The last finding stays, unless it was for another spec.
            let last = state.recorded.condition();
            let report = match last {
                Some(last) if last.observed_generation == subject.generation => {
                    state.recorded.clone()
                }
                _ => {
                    let finding = Finding::unknown(Reason::Verifying, "a canary is on its way");
                    state.report(&finding, subject.generation, now)
                }
            };
            Next::Record(Verified {
                verification: Some(begun),
                ..report
            })
        }
        Stage::Recorded => Next::Upload(subject.canaries.clone()),
        Stage::Sent(sent) => look(subject, sent, state, now),
        Stage::Refused(_) | Stage::Failed(_) => Next::Diagnose,
        Stage::Judged(_) => Next::Remove(state.leftovers()),
        Stage::Removed(judgement) => {
            let status = state.with(|status| {
                status.canaries.clear();
                status.last_request.clone_from(request);
                if let Some(lag) = judgement.lag {
                    status.lag = Some(judgement::shown(lag));
                    status.last_verified_time = Some(Time(whole_seconds(now)));
                }
            });
            Next::Record(Verified {
                verification: Some(status),
                ..state.report(&judgement.finding, subject.generation, now)
            })
        }
    }
}

fn look(subject: &Subject, sent: &[Sent], state: &State, now: Timestamp) -> Next {
    let unknown: Vec<_> = sent.iter().filter(|sent| sent.fate.is_none()).collect();
    let Some(first) = unknown.first() else {
        return Next::Wait(Some(now + SOONEST_LOOK));
    };
    let age = since(first.at, now);
    let wait = if age < subject.timeout {
        (age / 2).clamp(SOONEST_LOOK, RAREST_LOOK)
    } else {
        LATE_LOOK
    };
    if state.looked.is_none() && age >= SOONEST_LOOK {
        let look = |sent: &&Sent| (sent.canary.clone(), sent.version.clone());
        return Next::Look(unknown.iter().map(look).collect());
    }
    if age >= subject.timeout {
        let finding = judgement::pending(subject, &first.canary);
        let report = state.report(&finding, subject.generation, now);
        if report != state.recorded {
            return Next::Record(report);
        }
    }
    Next::Wait(Some(now + wait))
}

fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
