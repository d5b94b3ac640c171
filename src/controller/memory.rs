//! What is remembered of a bucket from one visit to the next, to tell what somebody else did from what only lags behind; all of it can be lost.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use crate::replication::{
    configuration::Configuration,
    contention::Contention,
    decision::Decision,
    names::InstallationId,
    observed::{Facet, Observed},
    plan::Step,
    status::Outcome,
};

/// What is remembered of a bucket from one visit to the next; all of it can be lost.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Visits in a row that have to be tried again.
    pub attempts: u32,
    /// A fingerprint of all that was looked at beside AWS.
    pub(super) looked_at: String,
    facts: Option<(Observed, Timestamp)>,
    permissions: Option<(String, Timestamp)>,
    suspicion: Option<(Vec<String>, Timestamp)>,
    /// Fights with other writers.
    pub(super) contention: Contention,
    /// Foreign rules in the configuration that we wrote.
    written: BTreeSet<String>,
    /// Those of them that were not read, and since when.
    missing: Option<(BTreeSet<String>, Timestamp)>,
}

impl Memory {
    /// Whether something was read that has to be read again soon.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.missing.is_some()
    }

    /// The foreign rules that were in the configuration that we wrote, and that two reads a grace period apart do not show.
    pub(super) fn gone(&mut self, observed: &Observed, installation: &InstallationId, grace: Duration, now: Timestamp) -> Vec<String> {
        let stand = match &observed.configuration {
            Facet::Present(configuration) => foreign_rules(configuration, installation),
            Facet::Absent => BTreeSet::new(),
            Facet::Unread | Facet::Failed(_) => return vec![],
        };
        let missing: BTreeSet<_> = self.written.difference(&stand).cloned().collect();
        match self.missing.take() {
            _ if missing.is_empty() => vec![],
            Some((before, since)) if before == missing && age(since, now) >= grace => {
                self.written = stand;
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
        let (facts, since) = self.facts.as_ref()?;
        (age(*since, now) < preflight).then(|| facts.clone())
    }

    pub(super) fn settled(&self, permissions: &str, settle: Duration, now: Timestamp) -> bool {
        settle.is_zero() || self.permissions.as_ref().is_some_and(|(standing, since)| standing == permissions && age(*since, now) >= settle)
    }

    /// A read may lag behind our own writes, so that what is in doubt is only believed when two reads a grace period apart both show it.
    pub(super) fn confirms(&mut self, decision: &Decision, in_doubt: bool, grace: Duration, now: Timestamp) -> bool {
        if !in_doubt || grace.is_zero() {
            self.suspicion = None;
            return true;
        }
        let texts = decision.texts();
        match &self.suspicion {
            Some((suspected, since)) if *suspected == texts => {
                let confirmed = age(*since, now) >= grace;
                if confirmed {
                    self.suspicion = None;
                }
                confirmed
            }
            _ => {
                self.suspicion = Some((texts, now));
                false
            }
        }
    }

    pub(super) fn note(
        &mut self,
        decision: &Decision,
        observed: &Observed,
        outcome: &Outcome,
        looked_at: &str,
        installation: &InstallationId,
        now: Timestamp,
    ) {
        let facts = observed.facts();
        let since =
            self.facts.as_ref().filter(|(known, _)| self.looked_at == looked_at && *known == facts).map_or(now, |(_, since)| *since);
        self.facts = Some((facts, since));
        looked_at.clone_into(&mut self.looked_at);
        for planned in &outcome.done {
            if let Step::PutReplication { configuration, .. } = &planned.step {
                self.written = foreign_rules(configuration, installation);
            }
        }
        let mut permitting =
            outcome.undone.iter().take_while(|planned| !matches!(planned.step, Step::PutReplication { .. } | Step::Settle));
        if permitting.next().is_some() {
            self.permissions = None;
        } else if self.permissions.as_ref().is_none_or(|(standing, _)| *standing != decision.permissions) {
            self.permissions = Some((decision.permissions.clone(), now));
        }
    }
}

fn foreign_rules(configuration: &Configuration, installation: &InstallationId) -> BTreeSet<String> {
    configuration.rules.iter().filter(|rule| rule.mark(installation).is_none()).filter_map(|rule| rule.id.clone()).collect()
}

fn age(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}
