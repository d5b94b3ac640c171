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

impl Bench {
    /// Creates that many objects while AWS takes few calls a second.
    pub async fn throttled(&mut self, size: usize, replica: &Replica) -> anyhow::Result<()> {
        let fleet = Fleet::new(&self.ground, 0, &format!("slow{size}"), size);
        let rates = ["iam", "kms", "s3"].map(|service| (service.to_owned(), RATE));
        self.ground.aws.set_weather(Weather {
            rates: rates.into(),
            ..self.ground.weather()
        });
        let before = self.before(replica).await?;
        fleet.create().await?;
        fleet.ready(1, LONGEST).await?;
        let took = before.start.elapsed();
        let own = [("POST", size)];
        let (mut row, calls) = self
            .row("throttled", (size, took), replica, &before, &own)
            .await?;
        self.ground.good_weather();
        let refused = calls.iter().filter(|call| is_throttled(call)).count();
        let done = calls.iter().filter(|call| !is_throttled(call));
        // As many calls of the busiest service and account as AWS takes a second.
        let mut busiest: HashMap<(&str, &str), u64> = HashMap::new();
        for call in done {
            let service = call.operation.split(':').next().unwrap_or_default();
            if service != "sts" {
                *busiest.entry((service, call.key.as_str())).or_default() += 1;
            }
        }
        let most = busiest.values().max().copied().unwrap_or_default();
        let bound = most as f64 / RATE as f64;
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

/// S3 refuses calls that come too fast with 503, the others with 400, which no call of a valid object gets for another reason.
fn is_throttled(call: &Call) -> bool {
    matches!(call.status, Some(400 | 503))
}
