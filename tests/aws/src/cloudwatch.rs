//! CloudWatch, as far as S3's replication metrics are read: fed by what was replicated here.
//!
//! Where each metric is and what it counts: "Monitoring progress with replication metrics" and "Metrics and dimensions" in the S3 User Guide. The
//! protocol is Smithy RPC v2 with CBOR.

use std::io::Cursor;

use ciborium::Value;
use documents::{
    arns::BucketArn,
    configuration::{ReplicationRule, Status},
    evaluation::{Context, ResourcePolicy},
};

use crate::{
    judge::{Asked, Who},
    message::{Refusal, Request, Response},
    state::{Bucket, Operation, State},
};

/// `GetMetricData` in the CloudWatch API Reference.
const MOST_QUERIES: usize = 500;

/// The operation of a request, from its path.
#[must_use]
pub fn operation(request: &Request) -> &str {
    request.path.rsplit('/').next().unwrap_or_default()
}

/// A call of CloudWatch in a Region.
///
/// # Errors
/// As AWS refuses it.
pub fn call(
    state: &mut State,
    who: &Who,
    region: &str,
    request: &Request,
) -> Result<Response, Refusal> {
    if operation(request) != "GetMetricData" {
        let message = format!("{} is not known here", request.path);
        return Err(Refusal::new(404, "UnknownOperationException", message));
    }
    who.may(&Asked {
        action: "cloudwatch:GetMetricData",
        resource: "*".to_owned(),
        owner: &who.account,
        policy: ResourcePolicy::None,
        context: Context::complete(),
    })?;
    let invalid = |what: &str| Refusal::new(400, "ValidationError", what);
    let body: Value = ciborium::from_reader(Cursor::new(&request.body))
        .map_err(|error| invalid(&error.to_string()))?;
    let queries = list(field(&body, "MetricDataQueries"));
    if queries.is_empty() || queries.len() > MOST_QUERIES {
        return Err(invalid(
            "The collection MetricDataQueries must not have a size greater than 500.",
        ));
    }
    let time = |name: &str| number(field(&body, name));
    let (start, end) = (time("StartTime"), time("EndTime"));
    let (Some(start), Some(end)) = (start, end) else {
        return Err(invalid("StartTime and EndTime are required."));
    };
    if start >= end {
        return Err(invalid(
            "The parameter StartTime must be less than the parameter EndTime.",
        ));
    }
    // Only the length of the window counts: time here is not that of the caller.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a window is short and not negative"
    )]
    let window = ((end - start) * 1_000.0) as u64;
    let results = queries
        .iter()
        .map(|query| result(query, &data(state, who, region, query, window), end));
    let answer = map([("MetricDataResults", Value::Array(results.collect()))]);
    Ok(cbor(200, &answer))
}

/// A refusal, as the protocol has it.
#[must_use]
pub fn refused(refusal: &Refusal) -> Response {
    let answer = map([
        ("__type", Value::Text(refusal.code.clone())),
        ("message", Value::Text(refusal.message.clone())),
    ]);
    cbor(refusal.status, &answer)
}

fn cbor(status: u16, value: &Value) -> Response {
    let mut body = vec![];
    // Writing to a vector can't fail.
    let _ = ciborium::into_writer(value, &mut body);
    let response = Response {
        status,
        headers: vec![],
        body,
    };
    response
        .with("content-type", "application/cbor")
        .with("smithy-protocol", "rpc-v2-cbor")
}

fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let fields = fields.into_iter();
    Value::Map(
        fields
            .map(|(name, value)| (Value::Text(name.to_owned()), value))
            .collect(),
    )
}

fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    let fields = value.as_map().into_iter().flatten();
    let mut named = fields.filter(|(key, _)| key.as_text() == Some(name));
    named.next().map_or(&Value::Null, |(_, value)| value)
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_text().unwrap_or_default()
}

/// A number, also of a timestamp, which is a tagged one.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Tag(_, inner) => number(inner),
        Value::Float(number) => Some(*number),
        #[allow(clippy::cast_precision_loss, reason = "seconds are small")]
        Value::Integer(number) => Some(i128::from(*number) as f64),
        _ => None,
    }
}

fn result(query: &Value, values: &[f64], end: f64) -> Value {
    let times = values
        .iter()
        .map(|_| Value::Tag(1, Box::new(Value::Float(end))));
    map([
        ("Id", Value::Text(text(field(query, "Id")).to_owned())),
        ("StatusCode", Value::Text("Complete".to_owned())),
        ("Timestamps", Value::Array(times.collect())),
        (
            "Values",
            Value::Array(values.iter().copied().map(Value::Float).collect()),
        ),
    ])
}

/// The data of one query: none if the caller's account does not own the source bucket, or the metric is in another Region.
fn data(state: &State, who: &Who, region: &str, query: &Value, window: u64) -> Vec<f64> {
    let metric = field(field(query, "MetricStat"), "Metric");
    let dimensions = list(field(metric, "Dimensions"));
    let dimension = |name: &str| {
        let mut named = dimensions
            .iter()
            .filter(|one| text(field(one, "Name")) == name);
        named
            .next()
            .map(|one| text(field(one, "Value")))
            .unwrap_or_default()
            .to_owned()
    };
    let (source, destination) = (dimension("SourceBucket"), dimension("DestinationBucket"));
    let id = dimension("RuleId");
    let Some(bucket) = state
        .buckets
        .get(&source)
        .filter(|bucket| bucket.owner == who.account)
    else {
        return vec![];
    };
    let of_rule = |operation: &&Operation| {
        operation.source == source && operation.rule == id && operation.at + window >= state.now
    };
    let operations = || state.operations.iter().filter(of_rule);
    if text(field(metric, "MetricName")) == "OperationsFailedReplication" {
        let here = bucket.region == region;
        let failed = operations()
            .filter(|_| here)
            .map(|operation| f64::from(u8::from(operation.failed)));
        return failed.collect();
    }
    let there = state
        .buckets
        .get(&destination)
        .is_some_and(|found| found.region == region);
    let Some(rule) = metered_rule(bucket, &id, &destination).filter(|_| there) else {
        return vec![];
    };
    let pending = pending(state, bucket, rule);
    let seconds = |milliseconds: u64| std::time::Duration::from_millis(milliseconds).as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "counts are small")]
    match text(field(metric, "MetricName")) {
        "OperationsPendingReplication" => vec![pending.len() as f64],
        "BytesPendingReplication" => vec![pending.iter().map(|(bytes, _)| *bytes as f64).sum()],
        "ReplicationLatency" => {
            let replicated = operations().filter(|operation| !operation.failed);
            let lags = replicated.map(|operation| seconds(operation.lag));
            let ages = pending.iter().map(|(_, age)| seconds(*age));
            vec![lags.chain(ages).fold(0.0, f64::max)]
        }
        _ => vec![],
    }
}

fn metered_rule<'a>(
    bucket: &'a Bucket,
    id: &str,
    destination: &str,
) -> Option<&'a ReplicationRule> {
    let configuration = bucket.replication.as_ref()?;
    let mut rules = configuration.rules.iter();
    rules.find(|rule| {
        let named = rule.destination.bucket.parse::<BucketArn>();
        rule.id.as_deref() == Some(id)
            && has_metrics(rule)
            && named.is_ok_and(|arn| arn.name.as_str() == destination)
    })
}

/// Whether S3 publishes metrics of a rule.
pub(crate) fn has_metrics(rule: &ReplicationRule) -> bool {
    let metrics = rule.destination.metrics.as_ref();
    metrics.is_some_and(|metrics| metrics.status == Status::Enabled)
}

/// The bytes and the age, in milliseconds, of each object that waits to be replicated by a rule.
fn pending(state: &State, bucket: &Bucket, rule: &ReplicationRule) -> Vec<(usize, u64)> {
    let objects = bucket.objects.iter();
    let versions = objects.flat_map(|(key, versions)| versions.iter().map(move |one| (key, one)));
    let waiting = versions.filter(|(key, version)| {
        version.replication == Some("PENDING") && key.starts_with(rule.selected_prefix())
    });
    waiting
        .map(|(_, version)| {
            let bytes = version.body.as_ref().map_or(0, Vec::len);
            (bytes, state.now.saturating_sub(version.at))
        })
        .collect()
}
