//! Reads S3's replication metrics from CloudWatch, many with each call.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use aws_sdk_cloudwatch::{
    primitives::DateTime,
    types::{Dimension, Metric, MetricDataQuery, MetricDataResult, MetricStat, StatusCode},
};

use super::{aws::Aws, calls::action, error::Call, session::Turns};
use crate::replication::{
    accounts::Account,
    names::Region,
    observed::{Failure, FailureKind},
    verification::health::{Query, Readings},
};

/// The data of each query is of so many seconds: S3 publishes every minute.
const SECONDS: i32 = 60;

impl Aws {
    /// The data of the last `window` for queries in a Region, at most [`crate::replication::verification::health::MOST_QUERIES`] of them.
    ///
    /// # Errors
    /// When AWS does not give it.
    pub async fn metric_data(
        &self,
        account: &Account,
        region: &Region,
        queries: &[Query],
        window: Duration,
    ) -> Result<Readings, Failure> {
        let session = Turns::new(self.session(account).await?, account);
        let call = Call {
            action: action::GET_METRIC_DATA,
            on: format!("account {} in {region}", account.id),
            caller: session.caller(),
        };
        let asked = queries.iter().enumerate();
        let asked = asked.map(|(number, query)| {
            MetricDataQuery::builder()
                .id(format!("q{number}"))
                .metric_stat(statistic(query))
                .build()
        });
        let end = SystemTime::now();
        let mut pages = session
            .cloudwatch(region)
            .await?
            .get_metric_data()
            .set_metric_data_queries(Some(asked.collect()))
            .start_time(DateTime::from(end - window))
            .end_time(DateTime::from(end))
            .into_paginator()
            .send();
        let mut data: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(&error))?;
            for result in page.metric_data_results() {
                // Without data there is none yet; this one is not known.
                if matches!(
                    result.status_code(),
                    Some(StatusCode::InternalError | StatusCode::Forbidden)
                ) {
                    return Err(not_given(&call, result));
                }
                let of_query = data.entry(result.id().unwrap_or_default().to_owned());
                of_query.or_default().extend(result.values());
            }
        }
        let read = queries.iter().enumerate();
        let read = read.filter_map(|(number, query)| {
            let values = data.remove(&format!("q{number}"))?;
            Some((query.clone(), values))
        });
        Ok(read.collect())
    }
}

fn not_given(call: &Call<'_>, result: &MetricDataResult) -> Failure {
    let status = result.status_code().map_or("", StatusCode::as_str);
    Failure {
        kind: FailureKind::Transient,
        action: call.action.into(),
        message: format!("{} on {} gave no data: {status}", call.action, call.on),
    }
}

/// "Metrics and dimensions" in the S3 User Guide.
fn statistic(query: &Query) -> MetricStat {
    let dimension = |name: &str, value: &str| Dimension::builder().name(name).value(value).build();
    let metric = Metric::builder()
        .namespace("AWS/S3")
        .metric_name(query.metric.as_str())
        .dimensions(dimension("SourceBucket", &query.rule.source))
        .dimensions(dimension("DestinationBucket", &query.rule.destination))
        .dimensions(dimension("RuleId", &query.rule.id));
    MetricStat::builder()
        .metric(metric.build())
        .period(SECONDS)
        .stat(query.metric.statistic())
        .build()
}
