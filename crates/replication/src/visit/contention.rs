//! Contention with another writer, which changes again what the operator corrects. Corrections are slowed down, and contention is reported.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use crate::plan::Step;

/// From the second time on, an element is corrected at most once in this time.
const PACE: SignedDuration = SignedDuration::from_mins(1);
/// Corrections of one element within this time are one.
const SAME: SignedDuration = SignedDuration::from_secs(30);
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
    /// Whether it is about a policy that several source buckets share.
    shared: bool,
}

impl Fight {
    /// Adds a correction that is later than all others. Visits to several source buckets that found the same change corrected it together.
    fn add(&mut self, now: Timestamp) {
        let last = self.corrections.last();
        if last.is_some_and(|last| until(*last, SAME, now).is_some()) {
            return;
        }
        self.corrections
            .retain(|correction| until(*correction, LONG, now).is_some());
        self.corrections.push(now);
        self.contended |= self.corrections.len() >= MOST;
    }
}

/// What the steps of a visit are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// They correct what another writer changed.
    Correction,
    /// Something was edited.
    Edited,
    /// Nothing was edited since the last visit.
    Unedited,
}

fn writes_rules(step: &Step) -> bool {
    matches!(
        step,
        Step::PutReplication { .. } | Step::DeleteReplication { .. }
    )
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

    /// Whether the `needed` steps may be applied at `now`, if nothing was edited since the last visit. New rules come a settle delay after an edit: they
    /// only wait for what is contended.
    #[must_use]
    pub fn verdict(&self, needed: &[Step], what: Work, now: Timestamp) -> Verdict {
        let is_paced = |step| what == Work::Correction || !writes_rules(step);
        let mut verdict = Verdict::Correct;
        for step in needed {
            let Some((element, fight)) = self.fight_about(step) else {
                continue;
            };
            let Some(last) = fight.corrections.last() else {
                continue;
            };
            if fight.contended {
                if let Some(wait) = until(*last, LONG, now) {
                    let element = element.clone();
                    return Verdict::Contended { element, wait };
                }
            } else if let Some(wait) = until(*last, PACE, now).filter(|_| is_paced(step)) {
                verdict = Verdict::Later(wait);
            }
        }
        verdict
    }

    /// Adds what `other` knows of policies that several source buckets share, so that each of them is corrected at one pace.
    pub fn absorb(&mut self, other: &Self, now: Timestamp) {
        let recent = |correction: &Timestamp| until(*correction, LONG, now).is_some();
        let shared = other.elements.iter().filter(|(_, fight)| fight.shared);
        for (element, theirs) in shared.filter(|(_, fight)| fight.corrections.iter().any(recent)) {
            let fight = self.elements.entry(element.clone()).or_default();
            let all = fight.corrections.iter().chain(&theirs.corrections);
            let all: BTreeSet<_> = all.copied().collect();
            fight.corrections.clear();
            for correction in all {
                fight.add(correction);
            }
            fight.contended |= theirs.contended;
            fight.shared = true;
        }
    }

    /// Forgets what was longer ago than it counts.
    pub fn forget(&mut self, now: Timestamp) {
        let recent = |correction: &Timestamp| until(*correction, LONG, now).is_some();
        self.elements
            .retain(|_, fight| fight.corrections.iter().any(recent));
    }

    fn fight_about(&self, step: &Step) -> Option<(&String, &Fight)> {
        self.elements.get_key_value(&step.element()?)
    }

    /// Notes a visit at `now`: the steps that were needed, those that were applied, and what they were. An object that was just corrected is not ready,
    /// so that its drift no longer looks like drift: without an edit, what was corrected before counts as well, and so does what is contended.
    pub fn note(&mut self, needed: &[Step], done: &[Step], what: Work, now: Timestamp) {
        let differing: Vec<_> = needed.iter().filter_map(Step::element).collect();
        self.elements.retain(|element, fight| {
            let lasted = fight
                .corrections
                .last()
                .is_none_or(|last| until(*last, LONG, now).is_none());
            !lasted || differing.contains(element)
        });
        let shared: BTreeSet<_> = needed
            .iter()
            .chain(done)
            .filter(|step| step.shared().is_some())
            .filter_map(Step::element)
            .collect();
        let counts = |step: &&Step| {
            let counts_again =
                |fight: &Fight| fight.contended || (what == Work::Unedited && !writes_rules(step));
            what == Work::Correction
                || self
                    .fight_about(step)
                    .is_some_and(|(_, fight)| counts_again(fight))
        };
        let done: BTreeSet<_> = done
            .iter()
            .filter(counts)
            .filter_map(Step::element)
            .collect();
        for element in done {
            let fight = self.elements.entry(element.clone()).or_default();
            fight.shared = shared.contains(&element);
            fight.add(now);
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
            let correct =
                contention.verdict(&steps, Work::Correction, at(second)) == Verdict::Correct;
            // What is contended is not ready, and then its drift is none by name.
            contention.note(
                &steps,
                if correct { &steps } else { &[] },
                if corrections.len() < 5 {
                    Work::Correction
                } else {
                    Work::Unedited
                },
                at(second),
            );
            corrections.extend(correct.then_some(second));
        }
        assert_eq!(corrections, [0, 60, 120, 180, 240, 3840, 7440, 11040]);
        contention.note(&[], &[], Work::Unedited, at(11040 + 3600));
        assert_eq!(contention, Contention::default());
        assert_eq!(
            contention.verdict(&steps, Work::Correction, at(11040 + 3600)),
            Verdict::Correct
        );
    }

    /// Tenants edit what was corrected once: that is no fight, and waits for nothing.
    #[test]
    fn edits_are_no_corrections() {
        let (mut contention, steps) = (Contention::default(), [step()]);
        contention.note(&steps, &steps, Work::Correction, at(0));
        for second in (1..3_000).step_by(10) {
            assert_eq!(
                contention.verdict(&steps, Work::Unedited, at(second)),
                Verdict::Correct
            );
            let work = [Work::Edited, Work::Unedited][usize::from(second % 20 == 1)];
            contention.note(&steps, &steps, work, at(second));
        }
        let paced = Contention::default();
        assert_eq!(
            paced.verdict(&steps, Work::Correction, at(0)),
            Verdict::Correct
        );
        assert_eq!(
            contention.verdict(&steps, Work::Correction, at(3_000)),
            Verdict::Correct
        );
    }

    /// What several source buckets correct in one policy is counted once, and waits for all of them.
    #[test]
    fn a_shared_policy_has_one_count() {
        let bucket = OwnedBucket {
            partition: Partition::Aws,
            account: "222222222222".parse().expect("id"),
            name: "dest".parse().expect("name"),
        };
        let shared = [Step::DeleteBucketPolicy {
            edit: crate::edit::StatementEdit::adding(
                &[],
                &"prod".parse().expect("an id"),
                &crate::shared_policy::SourceRole::of(&"prod".parse().expect("an id"), &bucket),
            ),
            region: "us-east-1".parse().expect("region"),
            bucket,
        }];
        let mut together = Contention::default();
        let mut corrections = vec![];
        for second in (0..1_800).step_by(5) {
            // Twelve visits at once, each with what its own bucket remembers.
            let (now, before) = (at(second), together.clone());
            let may = before.verdict(&shared, Work::Correction, now) == Verdict::Correct;
            for _ in 0..12 {
                let mut own = Contention::default();
                own.absorb(&before, now);
                let done: &[Step] = if may { &shared } else { &[] };
                own.note(&shared, done, Work::Correction, now);
                together.absorb(&own, now);
            }
            corrections.extend(may.then_some(second));
        }
        assert_eq!(corrections, [0, 60, 120, 180, 240]);
        let mut own = Contention::default();
        own.note(&[step()], &[step()], Work::Correction, at(0));
        together.absorb(&own, at(0));
        assert!(
            !together
                .elements
                .keys()
                .any(|element| element.contains("replication")),
            "it is no one else's"
        );
    }

    #[test]
    fn what_is_put_right_now_and_then_is_no_fight() {
        let (mut contention, steps) = (Contention::default(), [step()]);
        for hour in 0..20 {
            let now = at(hour * 3600);
            assert_eq!(
                contention.verdict(&steps, Work::Correction, now),
                Verdict::Correct
            );
            contention.note(&steps, &steps, Work::Correction, now);
        }
    }
}
