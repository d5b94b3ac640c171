//! The phases in which something is wrong: AWS throttles calls, or does not answer in an account.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use strict_aws::{
    calls::Call,
    weather::{Outage, OutageKind, Weather},
};

use crate::{
    fleet::Fleet,
    ground::{ACCOUNTS, Replica},
    phases::{Bench, LONGEST},
};

/// Calls a second of an account and service in the throttled phase.
const RATE: u64 = 80;

/// Writes a second of an account that IAM takes in its phase.
const IAM_WRITES: u64 = 5;

impl Bench {
    /// Creates that many objects while AWS takes few calls a second.
    pub async fn throttled(&mut self, size: usize, replica: &Replica) -> anyhow::Result<()> {
        let rates = ["iam", "kms", "s3"].map(|service| (service, RATE));
        self.slowed("throttled", size, replica, &rates).await
    }

    /// Creates that many objects while IAM takes few writes a second.
    pub async fn iam_writes(&mut self, size: usize, replica: &Replica) -> anyhow::Result<()> {
        let rates = [("iam writes", IAM_WRITES)];
        self.slowed("iam-writes", size, replica, &rates).await
    }

    /// Creates that many objects with so many calls a second of each kind, and compares that with the time that the slowest kind takes at least.
    async fn slowed(
        &mut self,
        phase: &'static str,
        size: usize,
        replica: &Replica,
        rates: &[(&str, u64)],
    ) -> anyhow::Result<()> {
        let fleet = Fleet::new(&self.ground, 0, &format!("{phase}{size}"), size);
        let named = rates.iter().map(|(kind, rate)| ((*kind).to_owned(), *rate));
        self.ground.aws.set_weather(Weather {
            rates: named.collect(),
            ..self.ground.weather()
        });
        let before = self.before(replica).await?;
        fleet.create().await?;
        fleet.ready(1, LONGEST).await?;
        let took = before.start.elapsed();
        let own = [("POST", size)];
        let (mut row, calls) = self
            .row(phase, (size, took), replica, &before, &own)
            .await?;
        self.ground.good_weather();
        let refused = calls.iter().filter(|call| is_throttled(call)).count();
        let done = calls.iter().filter(|call| !is_throttled(call));
        // Each kind has as many calls a second as AWS takes, in the account that makes the most of them.
        let mut counted: HashMap<(&str, &str), u64> = HashMap::new();
        for call in done {
            for (kind, _) in rates.iter().filter(|(kind, _)| is_of_kind(call, kind)) {
                *counted.entry((kind, call.key.as_str())).or_default() += 1;
            }
        }
        let rate_of = |kind: &str| rates.iter().find(|(named, _)| *named == kind);
        let seconds = counted.iter().filter_map(|((kind, _), count)| {
            let (_, rate) = rate_of(kind)?;
            Some(*count as f64 / *rate as f64)
        });
        let bound = seconds.fold(f64::MIN_POSITIVE, f64::max);
        row.bound = Some(bound);
        row.ratio = Some(took.as_secs_f64() / bound);
        row.note = format!(
            "{:.1} % of calls are throttled",
            refused as f64 * 100.0 / calls.len() as f64
        );
        fleet.delete().await?;
        fleet.gone(LONGEST).await?;
        self.add(row);
        Ok(())
    }

    /// Creates an object of another account while AWS does not answer in that of so many objects.
    pub async fn account_down(&mut self, size: usize, replica: &Replica) -> anyhow::Result<()> {
        let time_of = async |label: &str| {
            let probe = Fleet::new(&self.ground, 1, label, 1);
            let start = Instant::now();
            probe.create().await?;
            probe.ready(1, LONGEST).await?;
            let took = start.elapsed();
            probe.delete().await?;
            probe.gone(LONGEST).await?;
            anyhow::Ok(took)
        };
        time_of("session").await?;
        let alone = time_of("alone").await?;
        let fleet = Fleet::new(&self.ground, 0, &format!("down{size}"), size);
        self.ground.aws.set_weather(Weather {
            outages: vec![Outage {
                account: Some(ACCOUNTS[0].1.to_owned()),
                kind: OutageKind::Hangs,
                ..Outage::default()
            }],
            ..self.ground.weather()
        });
        fleet.create().await?;
        tokio::time::sleep(Duration::from_secs(10)).await;
        let before = self.before(replica).await?;
        let took = time_of("beside").await?;
        let (mut row, _) = self
            .row("account-down", (size, took), replica, &before, &[])
            .await?;
        row.bound = Some(alone.as_secs_f64());
        row.ratio = Some(took.as_secs_f64() / alone.as_secs_f64());
        row.note = String::from("a new object of another account, and alone");
        self.ground.good_weather();
        fleet.delete().await?;
        fleet.gone(LONGEST).await?;
        self.add(row);
        Ok(())
    }
}

/// Whether the call counts for that kind of rate: of a service, or of the service's writes.
fn is_of_kind(call: &Call, kind: &str) -> bool {
    let service = call.operation.split(':').next().unwrap_or_default();
    match kind.split_once(' ') {
        Some((named, _)) => named == service && call.writes(),
        None => kind == service,
    }
}

/// S3 refuses calls that come too fast with 503, the others with 400, which no call of a valid object gets for another reason.
fn is_throttled(call: &Call) -> bool {
    matches!(call.status, Some(400 | 503))
}
