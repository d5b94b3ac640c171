//! Whether each object is ready and why, as metrics of each object, and of how many there are by reason.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{TypedMetric, gauge::ConstGauge},
    registry::Unit,
};

use super::table::{help, is_time};
use crate::{
    api::{finding::Finding, verification::Verified},
    replication::{names::ObjectKey, verification::health::RuleReading},
};

/// What is counted. Metrics are made of it when they are asked for, and nothing else is kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Objects(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
struct Inside {
    /// By bucket, in the order of their keys: most buckets have one, which takes little room.
    by_bucket: HashMap<Box<str>, Vec<(ObjectKey, Known)>>,
    /// Every state that an object was in, once: there are few, and many objects are in the same.
    states: BTreeSet<Arc<Counted>>,
}

/// What is known of an object.
#[derive(Debug, Default)]
struct Known {
    counted: Option<Arc<Counted>>,
    canaries: Option<Box<Canaries>>,
    health: Option<Box<Health>>,
}

/// Status and reason of the condition `Ready`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Counted {
    ready: String,
    reason: String,
}

/// What canaries of an object found.
#[derive(Debug)]
struct Canaries {
    holds: bool,
    reason: String,
    /// In seconds, if they were ever replicated.
    lag: Option<f64>,
}

/// What S3's metrics say of an object, and of its rules by name.
#[derive(Debug)]
struct Health {
    holds: bool,
    reason: String,
    rules: Vec<(String, RuleReading)>,
}

impl Objects {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, bucket: &str, key: &ObjectKey, ready: &str, reason: &str) {
        let counted = Counted {
            ready: ready.to_owned(),
            reason: reason.to_owned(),
        };
        let mut inside = self.inside();
        let counted = inside
            .states
            .get(&counted)
            .map_or(Arc::new(counted), Arc::clone);
        inside.states.insert(Arc::clone(&counted));
        inside.of(bucket, key).counted = Some(counted);
    }

    pub(super) fn set_verified(&self, bucket: &str, key: &ObjectKey, verified: &Verified) {
        let found = verified.verification.as_ref();
        let lag = found.and_then(|found| found.lag.as_ref()?.trim_end_matches('s').parse().ok());
        let canaries = verified.condition().map(|condition| {
            Box::new(Canaries {
                holds: condition.status == "True",
                reason: condition.reason.clone(),
                lag,
            })
        });
        self.inside().of(bucket, key).canaries = canaries;
    }

    pub(super) fn set_health(
        &self,
        bucket: &str,
        key: &ObjectKey,
        said: Option<(&Finding, Vec<(String, RuleReading)>)>,
    ) {
        let health = said.map(|(finding, rules)| {
            Box::new(Health {
                holds: finding.holds == Some(true),
                reason: finding.reason.as_str().to_owned(),
                rules,
            })
        });
        self.inside().of(bucket, key).health = health;
    }

    /// Removes the objects on `bucket` except for these.
    pub(super) fn only(&self, bucket: &str, keys: &HashSet<ObjectKey>) {
        let all = &mut self.inside().by_bucket;
        let Some(of_bucket) = all.get_mut(bucket) else {
            return;
        };
        of_bucket.retain(|(key, _)| keys.contains(key));
        if of_bucket.is_empty() {
            all.remove(bucket);
        }
    }

    pub(super) fn clear(&self) {
        *self.inside() = Inside::default();
    }
}

impl Inside {
    fn of(&mut self, bucket: &str, key: &ObjectKey) -> &mut Known {
        let of_bucket = self.by_bucket.entry(bucket.into()).or_default();
        let place = of_bucket.binary_search_by(|(known, _)| known.cmp(key));
        let place = place.unwrap_or_else(|place| {
            of_bucket.reserve_exact(1);
            of_bucket.insert(place, (key.clone(), Known::default()));
            place
        });
        &mut of_bucket[place].1
    }

    /// What is known of each object, as far as it is.
    fn each<'a, T: 'a>(
        &'a self,
        known: fn(&'a Known) -> Option<&'a T>,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a T)> {
        let objects = self.by_bucket.values().flatten();
        objects.filter_map(move |(key, object)| Some((key, known(object)?)))
    }

    fn encode_canaries(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let canaries = || self.each(|object| object.canaries.as_deref());
        let gauge = ConstGauge::<i64>::TYPE;
        let mut family = encoder.encode_descriptor("verified", help("verified"), None, gauge)?;
        for (key, found) in canaries() {
            let labels = [
                ("namespace", &*key.namespace),
                ("name", &*key.name),
                ("reason", found.reason.as_str()),
            ];
            let holds = i64::from(found.holds);
            ConstGauge::new(holds).encode(family.encode_family(&labels)?)?;
        }
        let unit = Some(&Unit::Seconds);
        let (help, gauge) = (help("canary_lag"), ConstGauge::<f64>::TYPE);
        let mut family = encoder.encode_descriptor("canary_lag", help, unit, gauge)?;
        for (key, found) in canaries() {
            let labels = [("namespace", &*key.namespace), ("name", &*key.name)];
            if let Some(lag) = found.lag {
                ConstGauge::new(lag).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// What a metric shows of a rule.
type Shown = (&'static str, fn(&RuleReading) -> Option<f64>);

impl Inside {
    fn encode_health(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let objects = || self.each(|object| object.health.as_deref());
        let gauge = ConstGauge::<i64>::TYPE;
        let mut family = encoder.encode_descriptor("healthy", help("healthy"), None, gauge)?;
        for (key, health) in objects() {
            let labels = [
                ("namespace", &*key.namespace),
                ("name", &*key.name),
                ("reason", health.reason.as_str()),
            ];
            let holds = i64::from(health.holds);
            ConstGauge::new(holds).encode(family.encode_family(&labels)?)?;
        }
        let shown: [Shown; 4] = [
            ("pending_bytes", |read| read.pending_bytes),
            ("pending_operations", |read| read.pending_operations),
            ("failed_operations", |read| read.failed),
            ("replication_latency", |read| read.latency),
        ];
        for (name, value) in shown {
            let unit = is_time(name).then_some(&Unit::Seconds);
            let gauge = ConstGauge::<f64>::TYPE;
            let mut family = encoder.encode_descriptor(name, help(name), unit, gauge)?;
            for (key, health) in objects() {
                for (rule, read) in &health.rules {
                    let labels = [
                        ("namespace", &*key.namespace),
                        ("name", &*key.name),
                        ("rule", rule.as_str()),
                    ];
                    if let Some(value) = value(read) {
                        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Collector for Objects {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let inside = self.inside();
        let objects = || inside.each(|object| object.counted.as_deref());
        let mut family =
            encoder.encode_descriptor("ready", help("ready"), None, ConstGauge::<i64>::TYPE)?;
        for (key, counted) in objects() {
            let labels = [
                ("namespace", &*key.namespace),
                ("name", &*key.name),
                ("reason", counted.reason.as_str()),
            ];
            let is_ready = i64::from(counted.ready == "True");
            ConstGauge::new(is_ready).encode(family.encode_family(&labels)?)?;
        }
        let mut numbers = BTreeMap::<&Counted, i64>::new();
        for (_, counted) in objects() {
            *numbers.entry(counted).or_default() += 1;
        }
        let mut family =
            encoder.encode_descriptor("objects", help("objects"), None, ConstGauge::<i64>::TYPE)?;
        for (Counted { ready, reason }, number) in numbers {
            let labels = [("ready", ready.as_str()), ("reason", reason.as_str())];
            ConstGauge::new(number).encode(family.encode_family(&labels)?)?;
        }
        inside.encode_canaries(&mut encoder)?;
        inside.encode_health(&mut encoder)
    }
}
