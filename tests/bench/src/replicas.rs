//! The replicas of the operator, and the phases in which they end: one is restarted, or the one that leads is killed.

use std::time::{Duration, Instant};

use crate::{
    fleet::Fleet,
    ground::{Replica, http},
    phases::{Before, Bench, LONGEST},
    table::Row,
};

impl Bench {
    /// A replica that leads.
    pub async fn replica(&self, drift: Duration) -> anyhow::Result<Replica> {
        let drift = format!("{}s", drift.as_secs());
        let replica = self.ground.replica(&[("DRIFT_PERIOD", drift)]).await?;
        self.leads(&replica).await?;
        Ok(replica)
    }

    /// Waits until the replica leads.
    async fn leads(&self, replica: &Replica) -> anyhow::Result<()> {
        let start = Instant::now();
        while !http(&replica.address, "/metrics")
            .await?
            .contains("bucket_replication_leader 1")
        {
            anyhow::ensure!(start.elapsed() < Duration::from_mins(1), "no replica leads");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Calls in the drift period that began with `before`, and those of a steady one.
    async fn first_period(
        &self,
        phase: &'static str,
        size: usize,
        replica: &Replica,
        before: &Before,
        drift: Duration,
    ) -> anyhow::Result<Row> {
        tokio::time::sleep(drift.saturating_sub(before.start.elapsed())).await;
        let took = before.start.elapsed();
        let (mut row, _) = self.row(phase, (size, took), replica, before, &[]).await?;
        let steady = self
            .results
            .rows
            .iter()
            .rev()
            .find(|row| row.phase == "steady" && row.buckets == size);
        if let Some(steady) = steady {
            let as_steady = steady.calls as f64 * row.seconds / steady.seconds;
            row.ratio = Some(row.calls as f64 / as_steady.max(1.0));
            row.note = String::from("calls, against those of a steady state");
        }
        Ok(row)
    }

    /// Stops the operator and starts it again.
    pub async fn restart(
        &mut self,
        fleet: &Fleet,
        replica: Replica,
        drift: Duration,
    ) -> anyhow::Result<Replica> {
        end(replica, "TERM").await?;
        let size = fleet.names.len();
        let start = Instant::now();
        let replica = self.replica(drift).await?;
        let acting = start.elapsed();
        let before = self.before(&replica).await?;
        let mut row = self
            .first_period("restart", size, &replica, &before, drift)
            .await?;
        row.note = format!("leads after {:.2} s; {}", acting.as_secs_f64(), row.note);
        self.add(row);
        Ok(replica)
    }

    /// Kills the replica that leads, with another one waiting.
    pub async fn failover(
        &mut self,
        fleet: &Fleet,
        replica: Replica,
        drift: Duration,
    ) -> anyhow::Result<Replica> {
        let standby = self
            .ground
            .replica(&[("DRIFT_PERIOD", format!("{}s", drift.as_secs()))])
            .await?;
        let size = fleet.names.len();
        let killed = Instant::now();
        end(replica, "KILL").await?;
        self.leads(&standby).await?;
        let before = self.before(&standby).await?;
        let probe = Fleet::new(&self.ground, 0, &format!("probe{size}"), 1);
        probe.create().await?;
        probe.ready(1, LONGEST).await?;
        let acting = killed.elapsed();
        let mut row = self
            .first_period("failover", size, &standby, &before, drift)
            .await?;
        row.note = format!(
            "a new object is ready {:.2} s after the kill; {}",
            acting.as_secs_f64(),
            row.note
        );
        probe.delete().await?;
        probe.gone(LONGEST).await?;
        self.add(row);
        Ok(standby)
    }
}

/// How many visits the replica made.
pub async fn visits(replica: &Replica) -> anyhow::Result<u64> {
    let text = http(&replica.address, "/metrics").await?;
    let counts = text
        .lines()
        .filter(|line| line.starts_with("bucket_replication_visits_total"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    Ok(counts.sum())
}

/// Ends a replica with a signal, and waits until it has ended.
pub async fn end(mut replica: Replica, signal: &str) -> anyhow::Result<()> {
    let id = replica.process.id().to_string();
    testbed::process::output(std::process::Command::new("kill").args(["-s", signal, &id])).await?;
    let start = Instant::now();
    while !replica.process.has_ended()? {
        anyhow::ensure!(start.elapsed() < Duration::from_mins(1), "it does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
