//! What is remembered of a bucket from one visit to the next, to distinguish drift from reads that lag. All of it can be lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    configuration::Configuration,
    contention::Contention,
    decision::Decision,
    names::{InstallationId, ObjectKey},
    observation::known::Known,
    observed::{Facet, FailureKind, Observed},
    plan::Step,
    requeue::Ending,
    settle::Need,
    visit::{culprits::Culprits, former::Former, input::Visit, outcome::Outcome},
};

/// Objects that changed meanwhile are taken from the store again after this time, at first.
pub(super) const CHANGED: Duration = Duration::from_millis(200);
/// And at least once in this time.
const BEHIND_AT_MOST: Duration = Duration::from_secs(30);
/// A read of a configuration that differs from what was written is believed at once if that was so long ago.
const BELIEVED_AFTER: Duration = Duration::from_mins(10);

/// What is remembered of a bucket from one visit to the next. All of it can be lost.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Consecutive visits that have to be retried.
    pub attempts: u32,
    /// Consecutive visits that took objects from the store that are no longer so.
    behind: u32,
    /// A fingerprint of all inputs other than AWS.
    pub(super) inputs: String,
    known: Option<(Known, Timestamp)>,
    /// Since when AWS grants what each object needs: a fingerprint of it, and the time.
    granted: BTreeMap<ObjectKey, (String, Timestamp)>,
    /// Whether the last visit left nothing to do but what waits for permissions to settle.
    settling: bool,
    suspicion: Option<(Vec<String>, Timestamp)>,
    /// The permissions of former rules that stay, as the objects' statuses say soon.
    pub(super) former: BTreeMap<ObjectKey, Former>,
    /// Fights with other writers.
    pub contention: Contention,
    /// Objects whose rules S3 refused.
    pub(super) culprits: Culprits,
    /// Unmanaged rules in the configuration that the operator wrote.
    written: BTreeSet<String>,
    /// The operator's rules in the configuration that it wrote last, and when, until they are read.
    put: Option<(Configuration, Timestamp)>,
    /// Those of them that were not read, and since when.
    missing: Option<(BTreeSet<String>, Timestamp)>,
}

impl Memory {
    /// Counts a visit that ended so.
    pub fn count(&mut self, ending: Ending) {
        self.attempts = match ending {
            Ending::Retry => self.attempts.saturating_add(1),
            Ending::Done | Ending::Blocked | Ending::After(_) => 0,
        };
    }

    /// After how long a visit is made again whose objects are no longer as the store has them: a store that lags for long is asked less and less often,
    /// since each of these visits reads AWS. What changes in the store is visited anyway.
    pub(super) fn behind(&mut self) -> Duration {
        let wait = CHANGED * 2_u32.saturating_pow(self.behind.min(10));
        self.behind += 1;
        wait.min(BEHIND_AT_MOST)
    }

    /// Whether something was read that has to be read again soon.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.missing.is_some()
    }

    /// Whether the operator's rules that were read are not those that it wrote in the last minutes.
    pub(super) fn lags(
        &mut self,
        observed: &Observed,
        installation: &InstallationId,
        now: Timestamp,
    ) -> bool {
        let read = match &observed.configuration {
            Facet::Present(configuration) => own_rules(configuration, installation),
            Facet::Absent => Configuration {
                role: String::new(),
                rules: vec![],
            },
            Facet::Unread | Facet::Failed(_) => return false,
        };
        self.put
            .take_if(|(written, since)| written.means(&read) || age(*since, now) >= BELIEVED_AFTER);
        self.put.is_some()
    }

    /// The unmanaged rules that were in the configuration that the operator wrote, and that two reads a grace period apart do not show.
    pub(super) fn gone(
        &mut self,
        observed: &Observed,
        installation: &InstallationId,
        grace: Duration,
        now: Timestamp,
    ) -> Vec<String> {
        let existing = match &observed.configuration {
            Facet::Present(configuration) => foreign_rules(configuration, installation),
            Facet::Absent => BTreeSet::new(),
            Facet::Unread | Facet::Failed(_) => return vec![],
        };
        let missing: BTreeSet<_> = self.written.difference(&existing).cloned().collect();
        match self.missing.take() {
            _ if missing.is_empty() => vec![],
            Some((before, since)) if before == missing && age(since, now) >= grace => {
                self.written = existing;
                missing.into_iter().collect()
            }
            Some((before, since)) if before == missing => {
                self.missing = Some((before, since));
                vec![]
            }
            _ => {
                self.missing = Some((missing, now));
                vec![]
            }
        }
    }

    pub(super) fn known(&self, preflight: Duration, now: Timestamp) -> Option<Observed> {
        let (known, since) = self.known.as_ref()?;
        (age(*since, now) < preflight).then(|| known.observed())
    }

    /// Whether the permissions that the object needs have settled.
    pub(super) fn settled(
        &self,
        key: &ObjectKey,
        need: &Need,
        settle: Duration,
        now: Timestamp,
    ) -> bool {
        let granted = self
            .granted
            .get(key)
            .filter(|(fingerprint, _)| need.granted && *fingerprint == need.fingerprint);
        settle.is_zero() || granted.is_some_and(|(_, since)| age(*since, now) >= settle)
    }

    /// Whether a permission that an object needs was granted before its rules were written, and no longer is.
    pub(super) fn was_taken_away(&self, decision: &Decision) -> bool {
        let before = |key| self.granted.get(key).map(|(fingerprint, _)| fingerprint);
        decision
            .needs
            .iter()
            .any(|(key, need)| !need.granted && before(key) == Some(&need.fingerprint))
    }

    /// How long it takes until the first of these objects is settled.
    pub(super) fn settles_in(
        &self,
        settling: &BTreeSet<ObjectKey>,
        settle: Duration,
        now: Timestamp,
    ) -> Option<Duration> {
        settling
            .iter()
            .filter_map(|key| self.granted.get(key))
            .map(|(_, since)| settle.saturating_sub(age(*since, now)))
            .min()
    }

    /// Whether the last visit, with the same inputs, left nothing to do but what waits for permissions to settle.
    pub(super) fn was_settling(&self, inputs: &str) -> bool {
        self.settling && self.inputs == inputs
    }

    /// A read may lag behind the operator's own writes, so what is in doubt is only believed if two reads a grace period apart both show it.
    pub(super) fn confirms(
        &mut self,
        decision: &Decision,
        in_doubt: bool,
        grace: Duration,
        now: Timestamp,
    ) -> bool {
        if !in_doubt || grace.is_zero() {
            self.suspicion = None;
            return true;
        }
        let changes = decision.changes();
        match &self.suspicion {
            Some((suspected, since)) if *suspected == changes => {
                let confirmed = age(*since, now) >= grace;
                if confirmed {
                    (self.suspicion, self.put) = (None, None);
                }
                confirmed
            }
            _ => {
                self.suspicion = Some((changes, now));
                false
            }
        }
    }

    pub(super) fn note(
        &mut self,
        decision: &Decision,
        observed: &Observed,
        outcome: &Outcome,
        visit: &Visit,
        now: Timestamp,
    ) {
        let (inputs, installation) = (&visit.inputs, &visit.installation);
        let mut known = Known::of(observed, &visit.source);
        for planned in &outcome.done {
            if let Step::CreateRole(role) = &planned.step {
                known.role = Some(role.arn.clone());
            } else if matches!(planned.step, Step::PutReplication { .. }) {
                known.was_versioned = observed.is_versioned(&visit.source);
            }
        }
        let since = self
            .known
            .as_ref()
            .filter(|(before, since)| {
                // Once it is too old, it was read again.
                let is_recent = age(*since, now) < visit.times.preflight;
                is_recent && self.inputs == *inputs && *before == known
            })
            .map_or(now, |(_, since)| *since);
        self.known = Some((known, since));
        self.behind = 0;
        self.inputs.clone_from(inputs);
        self.culprits.retain(&visit.objects);
        for planned in &outcome.done {
            if let Step::PutReplication { configuration, .. } = &planned.step {
                for key in &planned.concerns {
                    self.culprits.accept(key);
                }
                self.written = foreign_rules(configuration, installation);
                self.put = Some((own_rules(configuration, installation), now));
            } else if matches!(planned.step, Step::DeleteReplication { .. }) {
                let none = Configuration {
                    role: String::new(),
                    rules: vec![],
                };
                self.put = Some((none, now));
            }
        }
        let former = decision.former.iter();
        let remaining = former.filter(|(_, former)| former.remains(outcome));
        self.former = remaining
            .map(|(key, former)| (key.clone(), former.clone()))
            .collect();
        // A read that is older than the last write does not say that what was granted was taken away.
        if !outcome.has_failed(FailureKind::Outdated) {
            self.note_grants(decision, outcome, now);
        }
        self.settling = !decision.settling.is_empty() && outcome.failed.is_empty();
    }

    fn note_grants(&mut self, decision: &Decision, outcome: &Outcome, now: Timestamp) {
        let writes_rules = |step: &Step| {
            matches!(
                step,
                Step::PutReplication { .. } | Step::DeleteReplication { .. } | Step::Settle
            )
        };
        let before_rules = decision
            .steps
            .iter()
            .take_while(|planned| !writes_rules(&planned.step));
        let is_granting = before_rules
            .into_iter()
            .any(|planned| !outcome.done.contains(planned));
        // What is no longer seen, because it is withheld or can't be read, may be taken away meanwhile.
        self.granted.retain(|key, (fingerprint, _)| {
            let need = decision.needs.get(key);
            need.is_some_and(|need| need.granted && need.fingerprint == *fingerprint)
        });
        if !is_granting {
            for (key, need) in &decision.needs {
                self.granted
                    .entry(key.clone())
                    .or_insert_with(|| (need.fingerprint.clone(), now));
            }
        }
    }
}

fn foreign_rules(configuration: &Configuration, installation: &InstallationId) -> BTreeSet<String> {
    configuration
        .rules
        .iter()
        .filter(|rule| rule.mark(installation).is_none())
        .filter_map(|rule| rule.id.clone())
        .collect()
}

fn own_rules(configuration: &Configuration, installation: &InstallationId) -> Configuration {
    let rules = configuration
        .rules
        .iter()
        .filter(|rule| rule.mark(installation).is_some())
        .cloned()
        .collect();
    Configuration {
        role: String::new(),
        rules,
    }
}

fn age(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}
