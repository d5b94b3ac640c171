//! Reads S3's replication metrics of an account, and writes what they say of its objects.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, stream};
use jiff::Timestamp;
use kube::ResourceExt;
use tokio::time::Instant;

use super::{
    kubernetes::key_of,
    publish::RECONCILE,
    reconcile::{Context, NEXT_ATTEMPT},
    schedule::{Accounts as Called, Due, Urgency},
};
use crate::{
    api::{BucketReplication, condition::ConditionType, finding::Finding, verification::Health},
    replication::{
        accounts::Account,
        assess::failed,
        names::{ObjectKey, Region},
        observed::Failure,
        verification::health::{Metered, Readings, batches, health, metered, reading},
    },
};

/// CloudWatch gets data some minutes late: so much more than the period is read.
const LATE: Duration = Duration::from_mins(10);
/// The store shows a write after this time at the latest, unless the API server is slow.
const STORE_LAG: Duration = Duration::from_secs(1);
/// So many calls are made side by side.
const AT_ONCE: usize = 4;

type Object = Arc<BucketReplication>;

impl Context {
    /// Reads the metrics of all rules with a source in the account, and returns when to read them again.
    pub(super) async fn read_metrics(&self, account: &str) -> Option<(Due, Called)> {
        let accounts = self.current_accounts();
        let found = accounts.by_name(account).ok();
        let period = found.and_then(|account| account.metrics_period);
        let mut objects = self.all_objects();
        objects.retain(|object| object.spec.source.account_name == account);
        let is_read = |object: Object| {
            let read = metered(&object).filter(|_| period.is_some());
            (object, read)
        };
        let (read, others): (Vec<_>, Vec<_>) = objects
            .into_iter()
            .map(is_read)
            .partition(|(_, read)| read.is_some());
        let mut all_written = true;
        for (object, _) in others {
            all_written &= self.report_health(&object, None).await;
            let (bucket, key) = (&object.spec.source.bucket, key_of(&object));
            self.metrics.healthy(bucket, &key, None);
        }
        let again = || Due {
            at: Instant::now() + NEXT_ATTEMPT,
            urgency: Urgency::Check,
        };
        let called: Called = [account.to_owned()].into();
        let Some((found, period)) = found.zip(period) else {
            return (!all_written).then(|| (again(), called));
        };
        let read: Vec<_> = read
            .into_iter()
            .filter_map(|(object, read)| Some((object, read?)))
            .collect();
        let (readings, failures) = self.readings(found, &read, period + LATE).await;
        let mut unwritten = vec![];
        for (object, metered) in &read {
            let finding = match failure_of(metered, &failures) {
                Some(failure) => unread(failure),
                None => health(metered, &readings, period + LATE),
            };
            // It may be gone since.
            if self.object(&key_of(object)).is_none() {
                continue;
            }
            let written = self.report_health(object, Some(&finding)).await;
            let rules = metered.rules.iter();
            let rules = rules.map(|rule| (rule.name.clone(), reading(rule, &readings)));
            let (bucket, key) = (&object.spec.source.bucket, key_of(object));
            let said = Some((&finding, rules.collect()));
            self.metrics.healthy(bucket, &key, said);
            if !written {
                unwritten.push((key_of(object), finding));
            }
        }
        self.report_again(unwritten).await;
        let due = Due {
            at: Instant::now() + period,
            urgency: Urgency::Check,
        };
        Some((due, called))
    }

    async fn readings(
        &self,
        account: &Account,
        read: &[(Object, Metered)],
        window: Duration,
    ) -> (Readings, BTreeMap<Region, Failure>) {
        let calls = batches(read.iter().map(|(_, metered)| metered));
        let aws = &self.aws;
        let made = calls.iter().map(|(region, queries)| {
            async move {
                let answer = aws.metric_data(account, region, queries, window).await;
                (region.clone(), answer)
            }
            .boxed()
        });
        let made: Vec<_> = made.collect();
        let answers: Vec<_> = stream::iter(made).buffered(AT_ONCE).collect().await;
        let (mut readings, mut failures) = (Readings::new(), BTreeMap::new());
        for (region, answer) in answers {
            match answer {
                Ok(data) => readings.extend(data),
                Err(failure) => {
                    failures.insert(region, failure);
                }
            }
        }
        (readings, failures)
    }

    /// Reports once more what was not accepted: visits to the buckets may have written these statuses meanwhile, and a moment later the store shows
    /// that. What is not accepted then waits for the next period, since each read of the metrics has its price.
    async fn report_again(&self, unwritten: Vec<(ObjectKey, Finding)>) {
        if unwritten.is_empty() {
            return;
        }
        tokio::time::sleep(STORE_LAG).await;
        for (key, finding) in unwritten {
            if let Some(object) = self.object(&key) {
                self.report_health(&object, Some(&finding)).await;
            }
        }
    }

    /// Writes the condition if its status or reason changed: its message has figures that change each time. `None`: there is none. False: it was not
    /// accepted.
    async fn report_health(&self, object: &Object, finding: Option<&Finding>) -> bool {
        let status = object.status.clone().unwrap_or_default();
        let recorded = Health::of(&status);
        let generation = object.metadata.generation;
        let before = recorded.condition();
        let said = before.map(|condition| (condition.status.as_str(), condition.reason.as_str()));
        let says = finding.map(|finding| (finding.status(), finding.reason.as_str()));
        let is_current = before.is_none_or(|condition| condition.observed_generation == generation);
        if said == says && is_current {
            return true;
        }
        let condition = finding.map(|finding| {
            let now = Timestamp::now();
            finding.condition(
                ConditionType::Healthy,
                generation,
                &recorded.conditions,
                now,
            )
        });
        let health = Health {
            conditions: condition.into_iter().collect(),
        };
        let version = object.resource_version();
        let key = key_of(object);
        let written = self
            .kubernetes
            .write_health(object, version.as_deref(), &health);
        if let Err(error) = written.await {
            tracing::debug!(object = %key, %error, "the API server did not accept what metrics say");
            return false;
        }
        let Some(finding) = finding.filter(|_| said != says) else {
            return true;
        };
        tracing::info!(object = %key, healthy = finding.status(), reason = finding.reason.as_str(), condition_message = finding.message, "what metrics say changed");
        // That metrics are not there yet is no news.
        let was_bad = before.is_some_and(|condition| condition.status == "False");
        if finding.holds == Some(false) || was_bad {
            let warning = finding.holds == Some(false);
            let reason = finding.reason.as_str();
            self.kubernetes
                .record(
                    object.as_ref(),
                    warning,
                    reason,
                    RECONCILE,
                    &finding.message,
                )
                .await;
        }
        true
    }
}

/// Why not all of its metrics were read, if so.
fn failure_of<'a>(
    metered: &Metered,
    failures: &'a BTreeMap<Region, Failure>,
) -> Option<&'a Failure> {
    let (source, destination) = &metered.regions;
    failures.get(source).or(failures.get(destination))
}

fn unread(failure: &Failure) -> Finding {
    let problem = failed(ConditionType::Healthy, failure);
    Finding::unknown(problem.reason, problem.message)
}
