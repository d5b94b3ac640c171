//! What S3's replication metrics say of an object: which are asked for, where, and what follows from them.

use std::{collections::BTreeMap, time::Duration};

use api::{
    BucketReplication,
    bucket_replication::{Mode, Switch},
    condition::Reason,
    duration::duration,
    finding::Finding,
};

use crate::names::Region;

/// The most queries of one call (`GetMetricData` in the CloudWatch API Reference).
pub const MOST_QUERIES: usize = 500;

/// A metric of S3 for each rule ("Metrics and dimensions" in the S3 User Guide).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, strum::EnumIter, strum::IntoStaticStr,
)]
pub enum Metric {
    /// Bytes of objects that are pending.
    BytesPendingReplication,
    /// Objects that are pending.
    OperationsPendingReplication,
    /// Seconds by which the destination is behind the source.
    ReplicationLatency,
    /// Operations that failed.
    OperationsFailedReplication,
}

impl Metric {
    /// AWS's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Of the data of a minute, the statistic that means something.
    #[must_use]
    pub fn statistic(self) -> &'static str {
        match self {
            Self::BytesPendingReplication
            | Self::OperationsPendingReplication
            | Self::ReplicationLatency => "Maximum",
            Self::OperationsFailedReplication => "Sum",
        }
    }

    /// What several minutes come to.
    fn over(self, values: &[f64]) -> Option<f64> {
        match self {
            Self::BytesPendingReplication
            | Self::OperationsPendingReplication
            | Self::ReplicationLatency => values.iter().copied().reduce(f64::max),
            Self::OperationsFailedReplication => values.iter().copied().reduce(|a, b| a + b),
        }
    }
}

/// A rule whose metrics are read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeteredRule {
    /// The name in the object.
    pub name: String,
    /// Its ID in S3.
    pub id: String,
    /// The name of the source bucket.
    pub source: String,
    /// The name of the destination bucket.
    pub destination: String,
}

/// One metric of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Query {
    /// The rule.
    pub rule: MeteredRule,
    /// Which metric.
    pub metric: Metric,
}

/// An object whose metrics are read.
#[derive(Clone, Debug, PartialEq)]
pub struct Metered {
    /// Its rules in S3.
    pub rules: Vec<MeteredRule>,
    /// The Regions of source and destination bucket.
    pub regions: (Region, Region),
    /// The latency from which on it is not healthy, if there is a bound.
    pub longest: Option<Duration>,
}

/// What is read of an object, if S3 publishes something: the rules and Regions of its status.
#[must_use]
pub fn metered(object: &BucketReplication) -> Option<Metered> {
    let spec = &object.spec;
    let status = object.status.as_ref()?;
    let is_read = spec.metrics == Switch::Enabled
        && spec.mode != Mode::Paused
        && object.metadata.deletion_timestamp.is_none()
        && !status.rules.is_empty();
    let destination = status.destination.as_ref().filter(|_| is_read)?;
    let source_region = status.source.as_ref()?.region.parse().ok()?;
    let destination_region = destination.region.as_ref()?.parse().ok()?;
    let bucket = destination
        .bucket
        .as_ref()
        .unwrap_or(&spec.destination.bucket);
    let rules = status.rules.iter().map(|rule| MeteredRule {
        name: rule.name.clone(),
        id: rule.id.clone(),
        source: spec.source.bucket.clone(),
        destination: bucket.clone(),
    });
    let verification = spec.verification.as_ref();
    let longest = verification.and_then(|verification| verification.max_latency.as_ref());
    Some(Metered {
        rules: rules.collect(),
        regions: (source_region, destination_region),
        longest: longest.and_then(|text| duration(text)),
    })
}

/// What to ask of each Region, in as few calls as possible. Three of the metrics are in the destination's Region, one is in the source's.
#[must_use]
pub fn batches<'a>(objects: impl IntoIterator<Item = &'a Metered>) -> Vec<(Region, Vec<Query>)> {
    use strum::IntoEnumIterator;
    let mut by_region: BTreeMap<Region, Vec<Query>> = BTreeMap::new();
    for object in objects {
        let (source, destination) = &object.regions;
        for (rule, metric) in object
            .rules
            .iter()
            .flat_map(|rule| Metric::iter().map(move |metric| (rule, metric)))
        {
            let region = match metric {
                Metric::OperationsFailedReplication => source,
                Metric::BytesPendingReplication
                | Metric::OperationsPendingReplication
                | Metric::ReplicationLatency => destination,
            };
            let query = Query {
                rule: rule.clone(),
                metric,
            };
            by_region.entry(region.clone()).or_default().push(query);
        }
    }
    let mut calls = vec![];
    for (region, queries) in by_region {
        let chunks = queries.chunks(MOST_QUERIES);
        calls.extend(chunks.map(|chunk| (region.clone(), chunk.to_vec())));
    }
    calls
}

/// The data of queries. Without data, S3 did not publish any: that alone means nothing.
pub type Readings = BTreeMap<Query, Vec<f64>>;

/// What S3 says of one rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleReading {
    /// The most bytes that were pending.
    pub pending_bytes: Option<f64>,
    /// The most objects that were pending.
    pub pending_operations: Option<f64>,
    /// The longest latency, in seconds.
    pub latency: Option<f64>,
    /// How many operations failed.
    pub failed: Option<f64>,
}

/// What S3 says of a rule.
#[must_use]
pub fn reading(rule: &MeteredRule, readings: &Readings) -> RuleReading {
    let of = |metric: Metric| {
        let query = Query {
            rule: rule.clone(),
            metric,
        };
        metric.over(readings.get(&query)?)
    };
    RuleReading {
        pending_bytes: of(Metric::BytesPendingReplication),
        pending_operations: of(Metric::OperationsPendingReplication),
        latency: of(Metric::ReplicationLatency),
        failed: of(Metric::OperationsFailedReplication),
    }
}

/// What follows for the object, from the data of the last `window`.
#[must_use]
pub fn health(metered: &Metered, readings: &Readings, window: Duration) -> Finding {
    let read: Vec<_> = metered
        .rules
        .iter()
        .map(|rule| (rule, reading(rule, readings)))
        .collect();
    let failed = read
        .iter()
        .filter_map(|(rule, read)| Some((rule, read.failed.filter(|failed| *failed > 0.0)?)));
    if let Some((rule, failed)) = failed.max_by(|a, b| a.1.total_cmp(&b.1)) {
        let operations = if failed < 2.0 {
            "operation"
        } else {
            "operations"
        };
        let message = format!(
            "S3 failed to replicate {failed:.0} {operations} of rule {} within the last {} minutes",
            rule.name,
            window.as_secs() / 60
        );
        return Finding::no(Reason::OperationsFailed, message);
    }
    let latencies = read
        .iter()
        .filter_map(|(rule, read)| Some((rule, read.latency?)));
    let slowest = latencies.max_by(|a, b| a.1.total_cmp(&b.1));
    if let (Some((rule, latency)), Some(longest)) = (slowest, metered.longest)
        && latency > longest.as_secs_f64()
    {
        let message = format!(
            "the replication latency of rule {} is {latency:.0} s, and spec.verification.maxLatency is {} s",
            rule.name,
            longest.as_secs()
        );
        return Finding::no(Reason::LatencyTooHigh, message);
    }
    if read.iter().all(|(_, read)| *read == RuleReading::default()) {
        let message = format!(
            "S3 published no replication metrics of the object's rules within the last {} minutes",
            window.as_secs() / 60
        );
        return Finding::unknown(Reason::NoMetrics, message);
    }
    Finding::yes(
        Reason::Healthy,
        "no operation failed, and the replication latency is within bounds",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str) -> MeteredRule {
        MeteredRule {
            name: name.to_owned(),
            id: format!("test/finance/tax/{name}"),
            source: "source".to_owned(),
            destination: "dest".to_owned(),
        }
    }

    fn metered(rules: usize, regions: (&str, &str)) -> Metered {
        Metered {
            rules: (0..rules).map(|n| rule(&format!("r{n}"))).collect(),
            regions: (
                regions.0.parse().expect("a Region"),
                regions.1.parse().expect("a Region"),
            ),
            longest: Some(Duration::from_mins(10)),
        }
    }

    fn says(data: &[(&str, Metric, &[f64])]) -> (Option<bool>, Reason) {
        let readings = data.iter().map(|(name, metric, values)| {
            let query = Query {
                rule: rule(name),
                metric: *metric,
            };
            (query, values.to_vec())
        });
        let readings = readings.collect();
        let found = health(
            &metered(2, ("us-east-1", "us-west-2")),
            &readings,
            Duration::from_mins(25),
        );
        (found.holds, found.reason)
    }

    #[test]
    fn failures_and_latency_make_an_object_unhealthy_and_missing_data_does_not() {
        use Metric::{OperationsFailedReplication as Failed, ReplicationLatency as Latency};
        assert_eq!(says(&[]), (None, Reason::NoMetrics));
        let healthy = (Some(true), Reason::Healthy);
        assert_eq!(says(&[("r0", Latency, &[3.0, 600.0])]), healthy);
        assert_eq!(says(&[("r1", Failed, &[0.0, 0.0])]), healthy);
        let failing = (Some(false), Reason::OperationsFailed);
        assert_eq!(says(&[("r1", Failed, &[0.0, 1.0])]), failing);
        let slow = (Some(false), Reason::LatencyTooHigh);
        assert_eq!(says(&[("r0", Latency, &[601.0, 3.0])]), slow);
        let unknown_rule = says(&[("r9", Failed, &[7.0])]);
        assert_eq!(unknown_rule, (None, Reason::NoMetrics));
    }

    #[test]
    fn a_region_is_asked_in_as_few_calls_as_possible() {
        let regions = ["us-east-1", "us-west-2", "eu-west-1"];
        let objects: Vec<_> = (0..1000)
            .map(|n| metered(1, (regions[n % 3], regions[(n + 1) % 3])))
            .collect();
        let calls = batches(&objects);
        let queries = |region: &str| -> usize {
            let of_region = calls.iter().filter(|(of, _)| of.as_str() == region);
            of_region.map(|(_, queries)| queries.len()).sum()
        };
        let mut all = 0;
        for region in regions {
            let number = queries(region);
            all += number;
            let made = calls.iter().filter(|(of, _)| of.as_str() == region).count();
            assert_eq!(made, number.div_ceil(MOST_QUERIES), "{region}");
        }
        assert_eq!(all, 4 * 1000);
        assert!(
            calls
                .iter()
                .all(|(_, queries)| queries.len() <= MOST_QUERIES)
        );
    }
}
