//! Every metric, in one table: names, labels and help. Labels have fixed sets of values.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use crate::{
    controller::visit::Report,
    replication::{plan::Step, requeue::Ending},
};

/// What is counted. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    visits: Family<EndingLabel, Counter>,
    duration: Histogram,
    steps: Family<StepLabel, Counter>,
    drift: Counter,
    orphans: Family<AccountLabel, Gauge>,
    leader: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndingLabel {
    ending: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabel {
    step: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AccountLabel {
    account: String,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("bucket_replication");
        let (visits, steps, drift) = (Family::default(), Family::default(), Counter::default());
        let duration = Histogram::new(exponential_buckets(0.01, 2.0, 12));
        registry.register("visits", "Visits to source buckets, by how they ended", visits.clone());
        registry.register_with_unit("visit_duration", "How long a visit took", Unit::Seconds, duration.clone());
        registry.register("steps", "Changes made in AWS, by kind", steps.clone());
        registry.register("drift_corrections", "Changes by somebody else that were put right", drift.clone());
        let orphans = Family::default();
        registry.register("orphans", "Roles that the operator made and no object has any more, by AwsAccount", orphans.clone());
        let leader = Gauge::default();
        registry.register("leader", "1 where this replica is the one that writes", leader.clone());
        Self { registry: Arc::new(Mutex::new(registry)), visits, duration, steps, drift, orphans, leader }
    }
}

impl Metrics {
    /// Counts a visit.
    pub fn visited(&self, report: &Report, took: Duration) {
        let ending = match report.ending {
            Ending::Done => "done",
            Ending::Blocked => "blocked",
            Ending::Retry => "retry",
            Ending::After(_) => "later",
        };
        self.visits.get_or_create(&EndingLabel { ending }).inc();
        self.duration.observe(took.as_secs_f64());
        for step in report.done.iter().filter(|step| **step != Step::Settle) {
            self.steps.get_or_create(&StepLabel { step: step.into() }).inc();
        }
        self.drift.inc_by(report.corrections.len() as u64);
    }

    /// Tells that this replica writes.
    pub fn leads(&self) {
        self.leader.set(1);
    }

    /// Tells how many roles nobody uses any more.
    pub fn orphans(&self, account: &str, count: usize) {
        self.orphans.get_or_create(&AccountLabel { account: account.to_owned() }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// All metrics in the `OpenMetrics` text format.
    ///
    /// # Errors
    /// When they can't be written as text.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
