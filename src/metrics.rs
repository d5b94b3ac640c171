//! Every metric, counted and served. Labels have fixed sets of values, or names of the cluster's own objects.

mod exposition;
mod objects;
mod process;
mod table;

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{
        EncodeLabelSet,
        text::{encode_eof, encode_registry},
    },
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Metric, Registry, Unit},
};

use strum::{EnumIter, IntoEnumIterator};

use crate::{
    api::{finding::Finding, verification::Verified},
    cloud::pace::Quota,
    progress::Progress,
    replication::visit::report::Report,
    replication::{
        names::ObjectKey, plan::Step, requeue::Ending, verification::health::RuleReading,
    },
};

pub use exposition::Format;
use objects::Objects;
use process::Process;
pub use table::{Described, PREFIX, TABLE, exported};
use table::{help, is_time};

/// What is counted. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    visits: Family<EndingLabel, Counter>,
    duration: Histogram,
    panics: Counter,
    due: Family<AccountLabel, Gauge>,
    longest_wait: Family<AccountLabel, Gauge<f64, AtomicU64>>,
    waiting: Arc<Mutex<Option<Waiting>>>,
    watch_age: Family<ResourceLabel, Gauge<f64, AtomicU64>>,
    progress: Progress,
    steps: Family<StepLabel, Counter>,
    drift: Counter,
    calls: Family<CallLabel, Counter>,
    pacing_wait: Family<QuotaLabel, Counter<f64, AtomicU64>>,
    requests: Family<RequestLabel, Counter>,
    objects: Objects,
    orphaned_roles: Family<AccountLabel, Gauge>,
    leader: Gauge,
}

/// How many visits are due of each account, and for how long the first of them has been.
type Waiting = Box<dyn Fn() -> BTreeMap<String, (usize, Duration)> + Send + Sync>;

/// The outcome of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[allow(missing_docs, reason = "the table says what they are")]
pub enum CallOutcome {
    Ok,
    Denied,
    NotFound,
    Throttled,
    Failed,
    Unreachable,
}

/// The outcome of a request to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[allow(missing_docs, reason = "the table says what they are")]
pub enum RequestOutcome {
    Ok,
    Conflict,
    Denied,
    NotFound,
    Throttled,
    Failed,
    Unreachable,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabel {
    version: &'static str,
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
struct CallLabel {
    service: String,
    operation: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabel {
    resource: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QuotaLabel {
    account_name: String,
    quota: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AccountLabel {
    account_name: String,
}

fn register(registry: &mut Registry, name: &str, metric: impl Metric) {
    if is_time(name) {
        registry.register_with_unit(name, help(name), Unit::Seconds, metric);
    } else {
        registry.register(name, help(name), metric);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let this = Self {
            registry: Arc::default(),
            visits: Family::default(),
            duration: Histogram::new(exponential_buckets(0.01, 2.0, 12)),
            panics: Counter::default(),
            due: Family::default(),
            longest_wait: Family::default(),
            waiting: Arc::default(),
            watch_age: Family::default(),
            progress: Progress::default(),
            steps: Family::default(),
            drift: Counter::default(),
            calls: Family::default(),
            pacing_wait: Family::default(),
            requests: Family::default(),
            objects: Objects::default(),
            orphaned_roles: Family::default(),
            leader: Gauge::default(),
        };
        register(&mut registry, "visits", this.visits.clone());
        register(&mut registry, "visit_duration", this.duration.clone());
        register(&mut registry, "panics", this.panics.clone());
        register(&mut registry, "due_visits", this.due.clone());
        register(&mut registry, "longest_wait", this.longest_wait.clone());
        register(&mut registry, "watch_age", this.watch_age.clone());
        register(&mut registry, "steps", this.steps.clone());
        register(&mut registry, "drift_corrections", this.drift.clone());
        register(&mut registry, "aws_calls", this.calls.clone());
        register(&mut registry, "pacing_wait", this.pacing_wait.clone());
        // From zero on, so that the first failure is an increase.
        for outcome in RequestOutcome::iter().map(Into::into) {
            drop(this.requests.get_or_create(&RequestLabel { outcome }));
        }
        register(&mut registry, "api_server_requests", this.requests.clone());
        registry.register_collector(Box::new(this.objects.clone()));
        register(&mut registry, "orphaned_roles", this.orphaned_roles.clone());
        register(&mut registry, "leader", this.leader.clone());
        let build = Family::<BuildLabel, Gauge>::default();
        let version = env!("CARGO_PKG_VERSION");
        build.get_or_create(&BuildLabel { version }).set(1);
        register(&mut registry, "build_info", build);
        Self {
            registry: Arc::new(Mutex::new(registry)),
            ..this
        }
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
            self.steps
                .get_or_create(&StepLabel { step: step.into() })
                .inc();
        }
        self.drift.inc_by(report.corrections.len() as u64);
    }

    /// Counts a visit that panicked.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// From now on, `waiting` says how many visits are due of each account, and for how long the first of them has been.
    pub fn waits(
        &self,
        waiting: impl Fn() -> BTreeMap<String, (usize, Duration)> + Send + Sync + 'static,
    ) {
        let mut known = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(Box::new(waiting));
    }

    fn measure_waiting(&self) {
        let known = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.due.clear();
        self.longest_wait.clear();
        let all = known.as_ref().map(|waiting| waiting()).unwrap_or_default();
        for (account_name, (number, longest)) in all {
            let label = AccountLabel { account_name };
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            self.due.get_or_create(&label).set(number);
            self.longest_wait
                .get_or_create(&label)
                .set(longest.as_secs_f64());
        }
    }

    fn measure_watches(&self) {
        self.watch_age.clear();
        for (resource, age) in self.progress.watch_ages() {
            let label = ResourceLabel { resource };
            self.watch_age.get_or_create(&label).set(age.as_secs_f64());
        }
    }

    /// What shows that this replica goes on.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// What is stuck, so that only a new process goes on.
    #[must_use]
    pub fn stuck(&self) -> Option<String> {
        let known = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let all = known.as_ref().map(|waiting| waiting()).unwrap_or_default();
        let longest = all.into_values().map(|(_, wait)| wait).max();
        self.progress.stuck(longest.unwrap_or_default())
    }

    /// Counts an attempt of a call to AWS.
    pub fn called(&self, service: &str, operation: &str, outcome: CallOutcome) {
        let label = CallLabel {
            service: service.to_owned(),
            operation: operation.to_owned(),
            outcome: outcome.into(),
        };
        self.calls.get_or_create(&label).inc();
    }

    /// Counts a call that begins after `wait`.
    pub fn paced(&self, account: &str, quota: Quota, wait: Duration) {
        let label = QuotaLabel {
            account_name: account.to_owned(),
            quota: quota.to_string(),
        };
        let waited = self.pacing_wait.get_or_create(&label);
        waited.inc_by(wait.as_secs_f64());
    }

    /// Counts an attempt of a request to the API server.
    pub fn requested(&self, outcome: RequestOutcome) {
        let label = RequestLabel {
            outcome: outcome.into(),
        };
        self.requests.get_or_create(&label).inc();
    }

    /// Sets whether an object on `bucket` is ready and why.
    pub fn object(&self, bucket: &str, key: &ObjectKey, ready: &str, reason: &str) {
        self.objects.set(bucket, key, ready, reason);
    }

    /// Sets what canaries of an object found; nothing if it has none.
    pub fn verified(&self, bucket: &str, key: &ObjectKey, verified: &Verified) {
        self.objects.set_verified(bucket, key, verified);
    }

    /// Sets what S3's metrics say of an object, and of its rules by name; nothing if they are not read.
    pub fn healthy(
        &self,
        bucket: &str,
        key: &ObjectKey,
        said: Option<(&Finding, Vec<(String, RuleReading)>)>,
    ) {
        self.objects.set_health(bucket, key, said);
    }

    /// Removes the objects on `bucket` except for these.
    pub fn only(&self, bucket: &str, keys: &HashSet<ObjectKey>) {
        self.objects.only(bucket, keys);
    }

    /// Sets that this replica writes, until the returned guard is dropped.
    #[must_use]
    pub fn writing(&self) -> Writing {
        self.leader.set(1);
        self.progress.begin();
        Writing(self.clone())
    }

    /// Sets how many orphaned roles an account has.
    pub fn orphaned_roles(&self, account: &str, count: usize) {
        self.orphaned_roles
            .get_or_create(&AccountLabel {
                account_name: account.to_owned(),
            })
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Removes an account that no longer exists.
    pub fn without_account(&self, account: &str) {
        let label = AccountLabel {
            account_name: account.to_owned(),
        };
        self.orphaned_roles.remove(&label);
        for quota in Quota::iter() {
            self.pacing_wait.remove(&QuotaLabel {
                account_name: account.to_owned(),
                quota: quota.to_string(),
            });
        }
    }

    /// All metrics, and those of the process.
    ///
    /// # Errors
    /// When they can't be written as text.
    pub fn text(&self, format: Format) -> Result<String, fmt::Error> {
        self.measure_waiting();
        self.measure_watches();
        let mut text = String::new();
        let own = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        encode_registry(&mut text, &own)?;
        let mut of_process = Registry::default();
        of_process.register_collector(Box::new(Process));
        encode_registry(&mut text, &of_process)?;
        encode_eof(&mut text)?;
        Ok(match format {
            Format::OpenMetrics => text,
            Format::Text => exposition::plain(&text),
        })
    }
}

/// While it exists, this replica writes and knows the state of objects and accounts. Then another replica does.
#[derive(Debug)]
pub struct Writing(Metrics);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.leader.set(0);
        self.0.progress.end();
        self.0.objects.clear();
        *self
            .0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
        self.0.orphaned_roles.clear();
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_counted_once_and_where_it_stands() {
        let metrics = Metrics::default();
        let key = |name: &str| ObjectKey {
            namespace: "n".into(),
            name: name.into(),
        };
        metrics.object("bucket", &key("a"), "False", "KeyNotFound");
        metrics.object("bucket", &key("b"), "True", "Ready");
        metrics.object("bucket", &key("a"), "True", "Ready");
        metrics.object("bucket", &key("a"), "True", "Ready");
        let text = metrics.text(Format::OpenMetrics).expect("text");
        assert!(
            text.contains(r#"bucket_replication_objects{ready="True",reason="Ready"} 2"#),
            "{text}"
        );
        assert!(
            text.contains(r#"bucket_replication_ready{namespace="n",name="a",reason="Ready"} 1"#),
            "{text}"
        );
        assert!(!text.contains("KeyNotFound"), "{text}");
        metrics.only("another", &[].into());
        metrics.only("bucket", &[key("a")].into());
        assert!(
            metrics
                .text(Format::OpenMetrics)
                .expect("text")
                .contains(r#"bucket_replication_objects{ready="True",reason="Ready"} 1"#)
        );
    }

    #[test]
    fn every_metric_is_in_the_table() {
        let metrics = Metrics::default();
        metrics.called("S3", "GetBucketPolicy", CallOutcome::NotFound);
        metrics.object(
            "bucket",
            &ObjectKey {
                namespace: "n".into(),
                name: "a".into(),
            },
            "True",
            "Ready",
        );
        metrics.orphaned_roles("prod", 0);
        metrics.requested(RequestOutcome::Conflict);
        metrics.paced("prod", Quota::PutKeyPolicy, Duration::from_millis(500));
        metrics.progress().tried("/api/v1/namespaces");
        metrics.waits(|| BTreeMap::from([("prod".to_owned(), (3, Duration::from_millis(1_500)))]));
        metrics
            .visits
            .get_or_create(&EndingLabel { ending: "done" })
            .inc();
        metrics
            .steps
            .get_or_create(&StepLabel {
                step: "PutReplication",
            })
            .inc();
        let text = metrics.text(Format::OpenMetrics).expect("text");
        let mut reported: Vec<_> = text
            .lines()
            .filter_map(|line| {
                let name = line.strip_prefix("# HELP ")?.split(' ').next();
                name.map(ToOwned::to_owned)
            })
            .collect();
        let of_process = |name: &String| name.starts_with("process_");
        assert_eq!(reported.iter().filter(|name| of_process(name)).count(), 6);
        reported.retain(|name| !of_process(name));
        let mut listed: Vec<_> = TABLE.iter().map(|(name, ..)| exported(name)).collect();
        reported.sort_unstable();
        listed.sort_unstable();
        assert_eq!(reported, listed);
        for line in [
            r#"bucket_replication_due_visits{account_name="prod"} 3"#,
            r#"bucket_replication_longest_wait_seconds{account_name="prod"} 1.5"#,
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
