//! Contention with another writer, which changes again what the operator corrects. Corrections are slowed down, and contention is reported.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use crate::plan::Step;

/// From the second time on, an element is corrected at most once in this time.
const PACE: SignedDuration = SignedDuration::from_mins(1);
/// This many corrections of one element within `LONG` are contention.
const MOST: usize = 5;
/// With contention, an element is corrected at most once in this time. It ends when a correction lasts for this long.
const LONG: SignedDuration = SignedDuration::from_hours(1);

/// What was corrected, by element: the resource or policy that a step writes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contention {
    elements: BTreeMap<String, Fight>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Fight {
    corrections: Vec<Timestamp>,
    contended: bool,
}

/// Whether drift may be corrected now.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Now.
    Correct,
    /// Later: it was just corrected.
    Later(Duration),
    /// Much later: another writer keeps changing this element.
    Contended {
        /// The element.
        element: String,
        /// How long until it is corrected again.
        wait: Duration,
    },
}

fn until(from: Timestamp, pause: SignedDuration, now: Timestamp) -> Option<Duration> {
    let left = pause.saturating_sub(now.duration_since(from));
    Duration::try_from(left).ok().filter(|left| !left.is_zero())
}

/// The other writer of a bucket, by its tags: these controllers tag what they manage ("Resource tagging" in the ACK documentation,
/// `crossplane-*` of Crossplane's providers, "Resource tags" in the `CloudFormation` User Guide).
#[must_use]
pub fn writer(tags: &BTreeMap<String, String>) -> Option<String> {
    let named = |tag: &str, who: &str| tags.get(tag).map(|value| format!("{who} {value}"));
    named("services.k8s.aws/controller-version", "the ACK controller")
        .or_else(|| named("crossplane-kind", "Crossplane's"))
        .or_else(|| named("aws:cloudformation:stack-name", "CloudFormation stack"))
}

impl Contention {
    /// Whether something was corrected recently.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.elements.is_empty()
    }

    /// Whether the `needed` steps may be applied at `now`.
    #[must_use]
    pub fn verdict(&self, needed: &[Step], now: Timestamp) -> Verdict {
        let mut verdict = Verdict::Correct;
        for element in needed.iter().filter_map(Step::element) {
            let Some(fight) = self.elements.get(&element) else {
                continue;
            };
            let Some(last) = fight.corrections.last() else {
                continue;
            };
            if fight.contended {
                if let Some(wait) = until(*last, LONG, now) {
                    return Verdict::Contended { element, wait };
                }
            } else if let Some(wait) = until(*last, PACE, now) {
                verdict = Verdict::Later(wait);
            }
        }
        verdict
    }

    /// Notes a visit at `now`: the steps that were needed, those that were applied, and whether they corrected drift. A contended object is not
    /// ready, so its drift no longer looks like drift: elements with earlier corrections count as well.
    pub fn note(&mut self, needed: &[Step], done: &[Step], drift: bool, now: Timestamp) {
        let differing: Vec<_> = needed.iter().filter_map(Step::element).collect();
        self.elements.retain(|element, fight| {
            let lasted = fight
                .corrections
                .last()
                .is_none_or(|last| until(*last, LONG, now).is_none());
            !lasted || differing.contains(element)
        });
        let done: BTreeSet<_> = done.iter().filter_map(Step::element).collect();
        for element in done {
            if !drift && !self.elements.contains_key(&element) {
                continue;
            }
            let fight = self.elements.entry(element).or_default();
            fight
                .corrections
                .retain(|correction| until(*correction, LONG, now).is_some());
            fight.corrections.push(now);
            fight.contended |= fight.corrections.len() >= MOST;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{OwnedBucket, Partition};

    fn step() -> Step {
        let bucket = OwnedBucket {
            partition: Partition::Aws,
            account: "111111111111".parse().expect("id"),
            name: "bucket".parse().expect("name"),
        };
        Step::DeleteReplication {
            bucket,
            region: "us-east-1".parse().expect("region"),
            existing: crate::configuration::Configuration {
                role: String::new(),
                rules: vec![],
            },
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).expect("time")
    }

    #[test]
    fn a_fight_is_slowed_down_and_ends_when_a_correction_stood_for_an_hour() {
        let (mut contention, steps) = (Contention::default(), [step()]);
        let mut corrections = vec![];
        for second in (0..4 * 3600).step_by(5) {
            let correct = contention.verdict(&steps, at(second)) == Verdict::Correct;
            // What is contended is not ready, and then its drift is none by name.
            contention.note(
                &steps,
                if correct { &steps } else { &[] },
                corrections.len() < 5,
                at(second),
            );
            corrections.extend(correct.then_some(second));
        }
        assert_eq!(corrections, [0, 60, 120, 180, 240, 3840, 7440, 11040]);
        contention.note(&[], &[], false, at(11040 + 3600));
        assert_eq!(contention, Contention::default());
        assert_eq!(
            contention.verdict(&steps, at(11040 + 3600)),
            Verdict::Correct
        );
    }

    #[test]
    fn what_is_put_right_now_and_then_is_no_fight() {
        let (mut contention, steps) = (Contention::default(), [step()]);
        for hour in 0..20 {
            let now = at(hour * 3600);
            assert_eq!(contention.verdict(&steps, now), Verdict::Correct);
            contention.note(&steps, &steps, true, now);
        }
    }
}
