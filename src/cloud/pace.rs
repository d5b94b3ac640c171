//! How fast AWS is called: for each account, service and Region no more calls a second than are allowed, fewer after AWS throttled some, and for a
//! while none if AWS answers none.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use strum::{Display, EnumIter};
use tokio::time::Instant;

use crate::{
    api::aws_account::RequestsPerSecond,
    metrics::Metrics,
    replication::{
        accounts::Account,
        names::{AccountId, Partition, Region},
        observed::{Failure, FailureKind},
    },
};

/// What AWS counts together in an account and Region.
#[derive(Clone, Copy, Debug, Display, EnumIter, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Quota {
    /// IAM, which has one endpoint for a partition. Its quotas are not documented.
    #[strum(to_string = "IAM")]
    Iam,
    /// Configurations of buckets. Their quotas are not documented.
    S3,
    /// KMS. Its reads have quotas of 100 and more ("Request quotas" in the KMS Developer Guide).
    #[strum(to_string = "KMS")]
    Kms,
    /// Writes of key policies, which have a quota of their own.
    #[strum(to_string = "KMS PutKeyPolicy")]
    PutKeyPolicy,
    /// CloudWatch, which takes 500 reads a second ("CloudWatch service quotas" in the CloudWatch User Guide).
    CloudWatch,
}

impl Quota {
    /// What a call counts for, by AWS's names of service and operation.
    #[must_use]
    pub fn of(service: &str, operation: &str) -> &'static [Self] {
        match (service, operation) {
            ("IAM", _) => &[Self::Iam],
            ("S3", _) => &[Self::S3],
            ("KMS", "PutKeyPolicy") => &[Self::Kms, Self::PutKeyPolicy],
            ("KMS", _) => &[Self::Kms],
            ("CloudWatch", _) => &[Self::CloudWatch],
            _ => &[],
        }
    }

    /// Calls a second that AWS documents ("Request quotas" in the KMS Developer Guide), if that is fewer than the operator may make.
    fn documented(self) -> Option<f64> {
        match self {
            Self::PutKeyPolicy => Some(15.0),
            Self::Iam | Self::S3 | Self::Kms | Self::CloudWatch => None,
        }
    }
}

/// After a throttled call, this part of the calls of the last second are made.
const LOWERED_TO: f64 = 0.9;
/// No lower than a call in a second.
const LOWEST: f64 = 1.0;
/// So much faster in each second without a throttled call.
const RAISED_BY: f64 = 0.03;
/// Calls that were sent before a pace was lowered do not lower it again.
const ONCE_WITHIN: Duration = Duration::from_secs(1);
/// Without a throttled call for this time, only the bound counts.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(2);
/// So many attempts in a row without an answer: those of two calls.
const UNANSWERED: u32 = 6;
/// How long none is made then, until one tries again.
const PAUSE: Duration = Duration::from_secs(15);

/// The pace of the calls that AWS counts together, as a state machine without a clock.
#[derive(Debug, Default)]
struct Pace {
    /// Calls a second at most; `None`: any number.
    bound: Option<f64>,
    /// Calls a second since AWS throttled one, and when the pace was set.
    lowered: Option<(f64, Instant)>,
    /// When AWS last throttled a call.
    throttled: Option<Instant>,
    /// When the next call may begin.
    next: Option<Instant>,
    /// Answers in the present second, and in the one before it.
    answers: Option<(Instant, f64, f64)>,
    /// Attempts in a row without an answer.
    unanswered: u32,
    /// Until then, no call is made.
    paused: Option<Instant>,
}

impl Pace {
    /// Calls a second now; `None`: any number.
    fn rate(&self, now: Instant) -> Option<f64> {
        let lowered = self.lowered.map(|(rate, since)| {
            rate * (1.0 + RAISED_BY).powf(now.saturating_duration_since(since).as_secs_f64())
        });
        match (self.bound, lowered) {
            (Some(bound), Some(lowered)) => Some(bound.min(lowered)),
            (one, other) => one.or(other),
        }
    }

    /// When a call may begin that comes now, in the order in which calls come. An error: until when none is made, since AWS answers none.
    fn turn(&mut self, now: Instant) -> Result<Instant, Instant> {
        if let Some(until) = self.paused {
            if now < until {
                return Err(until);
            }
            // This one tries whether AWS answers again.
            self.paused = Some(now + PAUSE);
        }
        if self.throttled.is_some_and(|at| now >= at + FORGOTTEN_AFTER) {
            (self.lowered, self.throttled) = (None, None);
        }
        let Some(rate) = self.rate(now) else {
            self.next = None;
            return Ok(now);
        };
        let turn = self.next.map_or(now, |next| next.max(now));
        self.next = Some(turn + Duration::from_secs_f64(1.0 / rate));
        Ok(turn)
    }

    /// AWS answered an attempt.
    fn answered(&mut self, now: Instant) {
        (self.unanswered, self.paused) = (0, None);
        let second = Duration::from_secs(1);
        self.answers = Some(match self.answers {
            Some((since, count, before)) if now < since + second => (since, count + 1.0, before),
            Some((since, count, _)) if now < since + 2 * second => (since + second, 1.0, count),
            _ => (now, 1.0, 0.0),
        });
    }

    /// AWS throttled an attempt.
    fn was_throttled(&mut self, now: Instant) {
        (self.unanswered, self.paused) = (0, None);
        let at_once = self.throttled.is_some_and(|at| now < at + ONCE_WITHIN);
        if at_once {
            return;
        }
        let answers = self
            .answers
            .map_or(0.0, |(_, count, before)| count.max(before));
        let most = self.rate(now).map_or(answers, |rate| rate.min(answers));
        self.lowered = Some(((most * LOWERED_TO).max(LOWEST), now));
        self.throttled = Some(now);
    }

    /// AWS did not answer an attempt.
    fn was_not_answered(&mut self, now: Instant) {
        self.unanswered = self.unanswered.saturating_add(1);
        if self.unanswered >= UNANSWERED {
            self.paused = Some(now + PAUSE);
        }
    }
}

/// The pace of one quota of an account. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Paced {
    pace: Arc<Mutex<Pace>>,
    quota: Quota,
    region: Region,
    account: Arc<str>,
    metrics: Metrics,
}

impl Paced {
    fn pace(&self) -> std::sync::MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next turn, with the bound that the account has now, and says how long it is until then.
    ///
    /// # Errors
    /// When no call is made now, since AWS answered none of the last ones.
    pub fn take(&self, bound: Option<f64>) -> Result<Duration, Failure> {
        let now = Instant::now();
        let turn = {
            let mut pace = self.pace();
            pace.bound = bound;
            pace.turn(now)
        };
        turn.map(|turn| turn.saturating_duration_since(now))
            .map_err(|until| Failure {
                kind: FailureKind::Transient,
                action: self.quota.to_string(),
                message: format!(
                    "{} did not answer the last calls in account {}, Region {}: the next is made in {} s",
                    self.quota,
                    self.account,
                    self.region,
                    until.saturating_duration_since(now).as_secs() + 1
                ),
            })
    }

    /// Waits for the next turn. A visit keeps its slot meanwhile: further visits of the same account would only wait as well, and those that come back
    /// from waiting would be more than there are slots.
    ///
    /// # Errors
    /// When no call is made now, since AWS answered none of the last ones.
    pub async fn turn(&self, bound: Option<f64>) -> Result<(), Failure> {
        let wait = self.take(bound)?;
        self.metrics.paced(&self.account, self.quota, wait);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    /// AWS answered an attempt.
    pub fn answered(&self) {
        self.pace().answered(Instant::now());
    }

    /// AWS throttled an attempt.
    pub fn throttled(&self) {
        self.pace().was_throttled(Instant::now());
    }

    /// AWS did not answer an attempt.
    pub fn unanswered(&self) {
        self.pace().was_not_answered(Instant::now());
    }
}

/// An account, as far as the pace of its calls depends on it.
#[derive(Clone, Debug)]
pub struct PacedAccount {
    id: AccountId,
    name: Arc<str>,
    /// IAM has one endpoint for it.
    pub partition: Partition,
    bound: Option<RequestsPerSecond>,
}

impl From<&Account> for PacedAccount {
    fn from(account: &Account) -> Self {
        Self {
            id: account.id.clone(),
            name: account.name.as_str().into(),
            partition: account.partition,
            bound: account.requests_per_second.clone(),
        }
    }
}

impl PacedAccount {
    /// Calls a second that the account and AWS's documented quotas allow. `None`: any number.
    #[must_use]
    pub fn bound(&self, quota: Quota) -> Option<f64> {
        let allowed = self.bound.as_ref().and_then(|allowed| match quota {
            Quota::Iam => allowed.iam,
            Quota::S3 => allowed.s3,
            Quota::Kms | Quota::PutKeyPolicy => allowed.kms,
            Quota::CloudWatch => None,
        });
        let bounds = [allowed.map(f64::from), quota.documented()];
        bounds.into_iter().flatten().reduce(f64::min)
    }
}

type Key = (AccountId, Quota, Region);

/// The paces of all accounts. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Paces(Arc<Mutex<HashMap<Key, Arc<Mutex<Pace>>>>>);

impl Paces {
    /// Forgets those of all accounts but those that `exists` knows.
    pub fn keep_only(&self, exists: &dyn Fn(&AccountId) -> bool) {
        let mut paces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        paces.retain(|(account, ..), _| exists(account));
    }

    /// The pace of `quota` in `account`.
    #[must_use]
    pub fn of(
        &self,
        account: &PacedAccount,
        quota: Quota,
        region: &Region,
        metrics: &Metrics,
    ) -> Paced {
        let key = (account.id.clone(), quota, region.clone());
        let pace = {
            let mut paces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(paces.entry(key).or_default())
        };
        Paced {
            pace,
            quota,
            region: region.clone(),
            account: Arc::clone(&account.name),
            metrics: metrics.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An AWS that takes so many calls of each second, and the calls of a client that makes as many as it may. Gives those that AWS took, and those
    /// that it throttled.
    fn calls(pace: &mut Pace, limit: u32, seconds: u64) -> (u32, u32) {
        let start = Instant::now();
        let (mut now, mut window, mut counted) = (start, 0, 0);
        let (mut taken, mut throttled) = (0, 0);
        while now < start + Duration::from_secs(seconds) {
            now = pace
                .turn(now)
                .expect("AWS answers")
                // The client itself makes no more than 200 calls a second.
                .max(now + Duration::from_millis(5));
            let second = now.duration_since(start).as_secs();
            if second != window {
                (window, counted) = (second, 0);
            }
            counted += 1;
            if counted <= limit {
                taken += 1;
                pace.answered(now);
            } else {
                throttled += 1;
                pace.was_throttled(now);
            }
        }
        (taken, throttled)
    }

    #[tokio::test(start_paused = true)]
    async fn an_undocumented_limit_is_found_and_used() {
        let (taken, throttled) = calls(&mut Pace::default(), 40, 100);
        assert!(taken >= 40 * 100 * 85 / 100, "{taken} of 4000");
        assert!(throttled * 100 <= taken * 6, "{throttled} of {taken}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_bound_is_kept_and_calls_go_in_their_order() {
        let mut pace = Pace {
            bound: Some(10.0),
            ..Pace::default()
        };
        let now = Instant::now();
        let turns: Vec<_> = (0..4).map(|_| pace.turn(now)).collect();
        let expected: Vec<_> = (0..4_u64)
            .map(|call| Ok(now + Duration::from_millis(100 * call)))
            .collect();
        assert_eq!(turns, expected);
        // What was not used is not saved for later.
        let later = now + Duration::from_mins(1);
        assert_eq!(pace.turn(later), Ok(later));
        assert_eq!(pace.turn(later), Ok(later + Duration::from_millis(100)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttled_call_is_forgotten() {
        let mut pace = Pace::default();
        let now = Instant::now();
        for call in 0..20 {
            pace.answered(now + Duration::from_millis(50 * call));
        }
        let now = now + Duration::from_secs(1);
        pace.was_throttled(now);
        assert_eq!(pace.rate(now), Some(18.0));
        // Of calls that were sent at the same time, one counts.
        pace.was_throttled(now);
        assert_eq!(pace.rate(now), Some(18.0));
        let later = now + FORGOTTEN_AFTER;
        assert_eq!(pace.turn(later), Ok(later));
        assert_eq!(pace.rate(later), None);
    }

    #[tokio::test(start_paused = true)]
    async fn while_nothing_answers_one_call_tries() {
        let mut pace = Pace::default();
        let now = Instant::now();
        for attempt in 0..UNANSWERED {
            assert_eq!(pace.turn(now), Ok(now), "attempt {attempt}");
            pace.was_not_answered(now);
        }
        assert_eq!(pace.turn(now), Err(now + PAUSE));
        let later = now + PAUSE;
        assert_eq!(pace.turn(later), Ok(later));
        assert_eq!(pace.turn(later), Err(later + PAUSE), "one tries");
        pace.answered(later);
        assert_eq!(pace.turn(later), Ok(later));
        assert_eq!(pace.turn(later), Ok(later));
    }
}
