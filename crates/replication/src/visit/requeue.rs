//! When to visit a bucket again.

use std::time::Duration;

use crate::names::fingerprint;

/// How a visit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything is as it should be: check for drift later.
    Done,
    /// Someone has to act: check again, but rarely.
    Blocked,
    /// AWS or the API server failed: retry, each time later.
    Retry,
    /// Visit again at a set time.
    After(Duration),
}

/// The periods that endings are turned into.
#[derive(Clone, Copy, Debug)]
pub struct Periods {
    /// Within it, drift is found and corrected.
    pub drift: Duration,
    /// The time between the two reads that confirm drift; at most a quarter of `drift`.
    pub grace: Duration,
    /// The longest wait between two retries.
    pub longest_retry: Duration,
}

impl Periods {
    /// A grace period that does not fit into `drift` is cut, so that what was found can still be corrected within it.
    #[must_use]
    pub fn new(drift: Duration, grace: Duration, longest_retry: Duration) -> Self {
        Self {
            drift,
            grace: grace.min(drift / 4),
            longest_retry,
        }
    }
}

/// The first wait before a retry; each further one is twice as long.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// How long to wait. `attempt` counts the visits in a row that ended in `Retry`, this one included. If many buckets would be due at
/// the same time, a fingerprint of the bucket spreads them.
#[must_use]
pub fn wait(ending: Ending, bucket: &str, attempt: u32, periods: &Periods) -> Duration {
    match ending {
        Ending::Done => spread(periods.drift.saturating_sub(periods.grace), bucket),
        Ending::Blocked => spread(periods.drift.min(periods.longest_retry), bucket),
        Ending::Retry => {
            let doubled =
                FIRST_RETRY.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1).min(16)));
            spread(
                doubled.min(periods.longest_retry),
                &format!("{bucket}/{attempt}"),
            )
        }
        Ending::After(wait) => wait,
    }
}

/// Any time within the period, the same for the same name.
#[must_use]
pub fn any_time_within(period: Duration, name: &str) -> Duration {
    period.mul_f64(fraction(name))
}

/// Between four fifths of the period and all of it, the same for the same name.
fn spread(period: Duration, name: &str) -> Duration {
    period.mul_f64(0.8 + 0.2 * fraction(name))
}

/// At least 0, and less than 1.
fn fraction(name: &str) -> f64 {
    let hash = u32::from_str_radix(&fingerprint(&[name], 4), 16).unwrap_or_default();
    f64::from(hash) / 65536.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIODS: Periods = Periods {
        drift: Duration::from_mins(10),
        grace: Duration::from_secs(5),
        longest_retry: Duration::from_mins(5),
    };

    #[test]
    fn retries_come_later_and_later_up_to_a_bound() {
        let waits: Vec<_> = (1..40)
            .map(|attempt| wait(Ending::Retry, "b", attempt, &PERIODS))
            .collect();
        assert!(waits[0] <= Duration::from_secs(1) && waits[0] >= Duration::from_millis(800));
        assert!(waits[..8].windows(2).all(|pair| pair[0] < pair[1]));
        assert!(waits.iter().all(|wait| *wait <= Duration::from_mins(5)));
    }

    #[test]
    fn drift_is_found_within_its_period_and_buckets_are_spread_over_it() {
        let waits: Vec<_> = (0..100)
            .map(|n| wait(Ending::Done, &format!("bucket-{n}"), 0, &PERIODS))
            .collect();
        assert!(
            waits
                .iter()
                .all(|wait| *wait + PERIODS.grace <= PERIODS.drift
                    && *wait >= PERIODS.drift.mul_f64(0.75))
        );
        assert!(waits.iter().max() > waits.iter().min());
    }

    #[test]
    fn a_grace_period_fits_into_the_drift_period() {
        let periods = Periods::new(
            Duration::from_secs(10),
            Duration::from_secs(5),
            Duration::from_mins(5),
        );
        assert_eq!(periods.grace, Duration::from_millis(2_500));
        assert!(wait(Ending::Done, "b", 0, &periods) + periods.grace <= periods.drift);
    }
}
