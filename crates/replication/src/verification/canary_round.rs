//! The stages of a round of canaries, and what was seen in it: recorded in the object's status, uploaded, found, judged, removed, and reported.

use std::time::Duration;

use api::{
    condition::{ConditionType, Reason},
    finding::Finding,
    verification::{CanaryStatus, VerificationStatus, Verified},
};
use jiff::Timestamp;

use crate::{
    observed::{Failure, FailureKind},
    verification::{
        canary::{Canary, Sighting, SourceStatus},
        checks::{Checked, refusal},
        diagnosis::Diagnosis,
        judgement::{self, Fate},
        subject::{Subject, Wanted},
    },
};

/// The first round after one that did not verify comes so much later; each further one twice as late, and no later than the interval.
pub(super) const FIRST_RETRY: Duration = Duration::from_mins(1);

/// What is remembered between the visits of an object's canaries.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub(super) round: Option<Round>,
    /// The canaries that may exist, whatever the store's copy of the status says.
    ledger: Vec<CanaryStatus>,
    /// How many rounds in a row did not verify.
    pub(super) failures: u32,
    /// Of which generation the next round is due when, if not by the interval.
    pub(super) again: Option<(Option<i64>, Timestamp)>,
    /// Of which generation no rule selects the canaries, and since when.
    unselected: Option<(Option<i64>, Timestamp)>,
}

impl Memory {
    /// Whether nothing has to be remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.round.is_none() && self.ledger.is_empty()
    }

    /// The canaries that may exist.
    #[must_use]
    pub fn ledger(&self) -> &[CanaryStatus] {
        &self.ledger
    }
}

#[derive(Clone, Debug)]
pub(super) struct Round {
    pub(super) subject: Subject,
    /// What asked for it, if something did.
    pub(super) request: Option<String>,
    pub(super) stage: Stage,
}

#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// Nothing refuses the canaries.
    Checked,
    /// The status says that they may exist.
    Recorded,
    /// AWS refused to take one.
    Refused(Failure),
    /// They were uploaded.
    Sent(Vec<Sent>),
    /// Some were not replicated.
    Failed(Vec<Sent>),
    /// What follows is known.
    Judged(Judgement),
    /// And they are removed.
    Removed(Judgement),
}

#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) canary: Canary,
    pub(super) version: String,
    pub(super) at: Timestamp,
    /// Whether S3 said at the last look that it replicated it.
    completed: bool,
    pub(super) fate: Option<Fate>,
}

#[derive(Clone, Debug)]
pub(super) struct Judgement {
    pub(super) finding: Finding,
    pub(super) lag: Option<Duration>,
}

/// One visit to an object's canaries: what was seen so far.
#[derive(Clone, Debug)]
pub struct State {
    /// What the object's status says.
    pub(super) recorded: Verified,
    /// What is remembered.
    pub memory: Memory,
    /// What the object's annotation says that asks for canaries at once.
    pub(super) request: Option<String>,
    /// Whether what earlier rounds left was removed in this visit.
    cleared: bool,
    /// Why it was not.
    pub(super) not_removed: Option<Failure>,
    /// When it was looked last.
    pub(super) looked: Option<Timestamp>,
}

impl State {
    /// With what is remembered. A round for what is no longer asked for is given up.
    #[must_use]
    pub fn new(
        wanted: &Wanted,
        request: Option<String>,
        mut memory: Memory,
        recorded: Verified,
    ) -> Self {
        let is_current = |round: &Round| matches!(wanted, Wanted::Canaries(subject) if **subject == round.subject);
        if memory
            .round
            .as_ref()
            .is_some_and(|round| !is_current(round))
        {
            memory.round = None;
            memory.again = None;
        }
        Self {
            recorded,
            memory,
            request,
            cleared: false,
            not_removed: None,
            looked: None,
        }
    }

    pub(super) fn leftovers(&self) -> Vec<CanaryStatus> {
        let mut all = self.memory.ledger.clone();
        if !self.cleared {
            let recorded = self.recorded.canaries().iter();
            all.extend(
                recorded
                    .filter(|canary| !self.memory.ledger.contains(canary))
                    .cloned(),
            );
        }
        all
    }

    /// What the status has to say, with this finding.
    pub(super) fn report(
        &self,
        finding: &Finding,
        generation: Option<i64>,
        now: Timestamp,
    ) -> Verified {
        let previous = &self.recorded.conditions;
        Verified {
            conditions: vec![finding.condition(ConditionType::Verified, generation, previous, now)],
            verification: self.recorded.verification.clone(),
        }
    }

    pub(super) fn with(&self, change: impl FnOnce(&mut VerificationStatus)) -> VerificationStatus {
        let mut status = self.recorded.verification.clone().unwrap_or_default();
        change(&mut status);
        status
    }

    /// Whether canaries of this generation were judged before: then its rules were in effect.
    fn was_judged(&self, generation: Option<i64>) -> bool {
        self.recorded.condition().is_some_and(|verified| {
            verified.status != "Unknown" && verified.observed_generation == generation
        })
    }

    /// What was read before the upload.
    pub fn checked(&mut self, subject: &Subject, checked: &Checked) {
        let stage = match refusal(subject, checked) {
            Some(finding) => Stage::Removed(Judgement { finding, lag: None }),
            None => Stage::Checked,
        };
        self.memory.again = None;
        let subject = subject.clone();
        let request = self.request.clone();
        self.memory.round = Some(Round {
            subject,
            request,
            stage,
        });
    }

    /// The API server accepted this status.
    pub fn recorded(&mut self, written: Verified, now: Timestamp) {
        self.recorded = written;
        let Some(round) = &mut self.memory.round else {
            return;
        };
        match &round.stage {
            Stage::Checked => {
                self.memory.ledger = self.recorded.canaries().to_vec();
                round.stage = Stage::Recorded;
            }
            Stage::Removed(judgement) => {
                if judgement.finding.holds == Some(true) {
                    (self.memory.failures, self.memory.unselected) = (0, None);
                } else {
                    self.memory.failures += 1;
                    let wait = retry(self.memory.failures, round.subject.interval);
                    self.memory.again = Some((round.subject.generation, now + wait));
                }
                self.memory.round = None;
            }
            Stage::Recorded
            | Stage::Refused(_)
            | Stage::Sent(_)
            | Stage::Failed(_)
            | Stage::Judged(_) => {}
        }
    }

    /// What became of the uploads: the IDs of the versions, in order.
    pub fn uploaded(&mut self, uploads: Vec<Result<String, Failure>>, now: Timestamp) {
        let Some(round) = &mut self.memory.round else {
            return;
        };
        let canaries = round.subject.canaries.iter().cloned();
        let sent = |(canary, version)| Sent {
            canary,
            version,
            at: now,
            completed: false,
            fate: None,
        };
        round.stage = match uploads.into_iter().collect::<Result<Vec<_>, _>>() {
            Ok(versions) => Stage::Sent(canaries.zip(versions).map(sent).collect()),
            Err(failure) if judgement::may_be_seen(failure.kind) => Stage::Refused(failure),
            Err(failure) => judged(judgement::failed(&failure)),
        };
    }

    /// What was seen of those that were looked for, in order.
    pub fn looked(&mut self, sightings: Vec<Result<Sighting, Failure>>, now: Timestamp) {
        self.looked = Some(now);
        let Some(round) = &mut self.memory.round else {
            return;
        };
        let Stage::Sent(sent) = &mut round.stage else {
            return;
        };
        let unknown = sent.iter_mut().filter(|sent| sent.fate.is_none());
        for (sent, sighting) in unknown.zip(sightings) {
            match sighting {
                Ok(sighting) => {
                    let (lag, again) = (since(sent.at, now), sent.completed);
                    sent.fate = judgement::fate(&round.subject, &sighting, lag, again);
                    sent.completed = sighting == Sighting::Source(SourceStatus::Completed);
                }
                // It is looked again.
                Err(failure)
                    if matches!(
                        failure.kind,
                        FailureKind::Transient | FailureKind::Throttled
                    ) => {}
                Err(failure) => {
                    round.stage = judged(judgement::failed(&failure));
                    return;
                }
            }
        }
        self.conclude(now);
    }

    /// What follows once the fate of all is known.
    fn conclude(&mut self, now: Timestamp) {
        let Some(round) = &mut self.memory.round else {
            return;
        };
        let Stage::Sent(sent) = &mut round.stage else {
            return;
        };
        let fates = sent.iter().map(|sent| sent.fate.clone());
        let Some(fates) = fates.collect::<Option<Vec<_>>>() else {
            return;
        };
        let lag = |fate: &Fate| match fate {
            Fate::Replicated { lag } => Some(*lag),
            Fate::Differs(_) | Fate::Failed | Fate::NotSelected | Fate::Lost(_) => None,
        };
        if let Some(lags) = fates.iter().map(lag).collect::<Option<Vec<_>>>() {
            let (finding, slowest) = judgement::verified(&lags);
            round.stage = Stage::Judged(Judgement {
                finding,
                lag: Some(slowest),
            });
            return;
        }
        let is_bad = |fate: &Fate| !matches!(fate, Fate::Replicated { .. } | Fate::Lost(_));
        let lost = sent.iter().find_map(|sent| match &sent.fate {
            Some(Fate::Lost(what)) => Some((sent.canary.clone(), what.clone())),
            _ => None,
        });
        if let Some((canary, what)) = lost.filter(|_| !fates.iter().any(is_bad)) {
            round.stage = judged(judgement::lost(&round.subject, &canary, &what));
            return;
        }
        round.stage = Stage::Failed(std::mem::take(sent));
        // A configuration that was just written does not select at once ("Troubleshooting replication" in the S3 User Guide).
        let unselected = fates.contains(&Fate::NotSelected) && !fates.contains(&Fate::Failed);
        let (generation, timeout) = (round.subject.generation, round.subject.timeout);
        if unselected && !self.was_judged(generation) {
            let begun = self.memory.unselected.filter(|(of, _)| *of == generation);
            let (_, first) = *self
                .memory
                .unselected
                .insert(begun.unwrap_or((generation, now)));
            if since(first, now) < timeout {
                let message = "no rule has selected a canary yet: a replication configuration takes some minutes to take effect";
                self.judge(judged(Finding::unknown(Reason::Verifying, message)));
            }
        }
    }

    fn judge(&mut self, stage: Stage) {
        if let Some(round) = &mut self.memory.round {
            round.stage = stage;
        }
    }

    /// The API server did not accept a status. What was checked before an upload is checked again, since it may take a while until then.
    pub fn not_recorded(&mut self) {
        let round = self.memory.round.as_ref();
        if round.is_some_and(|round| matches!(round.stage, Stage::Checked)) {
            self.memory.round = None;
        }
    }

    /// What is missing.
    pub fn diagnosed(&mut self, missing: &Diagnosis) {
        let Some(round) = &self.memory.round else {
            return;
        };
        let finding = match &round.stage {
            Stage::Refused(failure) => judgement::refused(&round.subject, failure, missing),
            Stage::Failed(sent) => {
                let fates: Vec<_> = sent
                    .iter()
                    .filter_map(|sent| Some((&sent.canary, sent.fate.as_ref()?)))
                    .collect();
                judgement::not_verified(&round.subject, &fates, missing)
            }
            Stage::Checked
            | Stage::Recorded
            | Stage::Sent(_)
            | Stage::Judged(_)
            | Stage::Removed(_) => return,
        };
        self.judge(judged(finding));
    }

    /// Whether the canaries were removed.
    pub fn removed(&mut self, result: Result<(), Failure>) {
        if let Err(failure) = result {
            self.memory.failures += 1;
            self.not_removed = Some(failure);
            return;
        }
        self.memory.ledger.clear();
        self.cleared = true;
        if let Some(round) = &mut self.memory.round
            && let Stage::Judged(judgement) = &round.stage
        {
            round.stage = Stage::Removed(judgement.clone());
        }
    }
}

fn judged(finding: Finding) -> Stage {
    Stage::Judged(Judgement { finding, lag: None })
}

pub(super) fn since(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(at)).unwrap_or_default()
}

/// The wait before the next round, after so many that did not verify.
pub(super) fn retry(failures: u32, interval: Duration) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1).min(16));
    FIRST_RETRY.saturating_mul(doubled).min(interval)
}
