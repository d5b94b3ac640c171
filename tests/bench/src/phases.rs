//! What is measured, phase by phase, for each number of buckets.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::ValueEnum;
use strict_aws::calls::Call;

use crate::{
    Arguments,
    bound::{self, Figures, Template, replay},
    fleet::Fleet,
    ground::{Ground, Replica},
    meter::{self, Requests, Usage},
    replicas::{end, visits},
    say,
    table::{Results, Row, percentile},
};

/// A phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Phase {
    /// All objects are created at once.
    Create,
    /// Nothing changes for a drift period.
    Steady,
    /// All objects are edited at once.
    Edit,
    /// The operator is stopped and started.
    Restart,
    /// The replica that leads is killed.
    Failover,
    /// All objects are deleted at once.
    Delete,
    /// All objects are created while AWS takes few calls a second.
    Throttled,
    /// Up to 300 objects are created while IAM takes few writes a second. Only if asked for.
    IamWrites,
    /// AWS does not answer in the account of all source buckets but one.
    AccountDown,
}

/// Visits that the scheduler allows one account at the same time: three quarters of the default of `--concurrency`.
const AT_ONCE: usize = 12;

/// Nothing takes longer, whatever the number of buckets.
pub const LONGEST: Duration = Duration::from_mins(45);

/// The shortest drift period, in seconds.
const SHORTEST_DRIFT: u64 = 10;

/// Checks a second of the steady state, if there are many buckets.
const CHECKS_A_SECOND: u64 = 50;

/// Runs all of it.
///
/// # Errors
/// When a part does not come to its end.
pub async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let ground = Ground::start(arguments).await?;
    let mut bench = Bench {
        results: Results {
            latency: arguments.latency,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            rows: vec![],
        },
        phases: arguments.phases.clone(),
        ground,
    };
    let template = bench.record().await?;
    for size in &arguments.buckets {
        bench.measure(*size, &template).await?;
    }
    bench.results.show(&arguments.json)?;
    say(&format!("JSON: {}", arguments.json.display()));
    Ok(())
}

/// What is measured, and where.
pub struct Bench {
    /// Where the operator is measured.
    pub ground: Ground,
    /// What was measured so far.
    pub results: Results,
    phases: Vec<Phase>,
}

/// What was counted before a phase.
pub struct Before {
    /// When the phase began.
    pub start: Instant,
    requests: Requests,
    api_server: Usage,
    operator: Usage,
}

impl Bench {
    /// Whether the phase is wanted.
    pub fn asks_for(&self, phase: Phase) -> bool {
        self.phases.is_empty() || self.phases.contains(&phase)
    }

    /// What is asked for one object, from which the bounds are made.
    async fn record(&mut self) -> anyhow::Result<Template> {
        say("recording what the operator asks for one object");
        let replica = self.replica(Duration::from_mins(10)).await?;
        let (template, figures) = Template::record(&self.ground).await?;
        end(replica, "TERM").await?;
        let Figures {
            calls,
            rounds,
            span,
        } = figures;
        say(&format!(
            "  {calls} calls to AWS in {rounds} rounds, {span} ms from the first to the last"
        ));
        Ok(template)
    }

    fn api_server(&self) -> anyhow::Result<u32> {
        let found = self.ground.environment.process_id("kube-apiserver");
        found.context("no API server")
    }

    /// What is counted before a phase.
    pub async fn before(&self, replica: &Replica) -> anyhow::Result<Before> {
        let _ = self.ground.aws.take_calls();
        Ok(Before {
            requests: meter::requests(&self.ground).await?,
            api_server: Usage::of(self.api_server()?)?,
            operator: Usage::of(replica.process.id())?,
            start: Instant::now(),
        })
    }

    /// The row of a phase that took so long: what was counted since `before`, without the users' own requests.
    pub async fn row(
        &self,
        phase: &'static str,
        (buckets, took): (usize, Duration),
        replica: &Replica,
        before: &Before,
        own: &[(&str, usize)],
    ) -> anyhow::Result<(Row, Vec<Call>)> {
        // What the operator writes after the last status belongs to the phase as well.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let calls = self.ground.aws.take_calls();
        let (api_server, operator) = (
            Usage::of(self.api_server()?)?,
            Usage::of(replica.process.id())?,
        );
        let mut requests = meter::since(&before.requests, &meter::requests(&self.ground).await?);
        for (verb, count) in own {
            let kind = (
                (*verb).to_owned(),
                "bucketreplications".to_owned(),
                String::new(),
            );
            let counted = requests.entry(kind).or_default();
            *counted = counted.saturating_sub(*count as u64);
        }
        requests.retain(|_, count| *count > 0);
        let row = Row {
            buckets,
            phase,
            seconds: took.as_secs_f64(),
            calls: calls.len(),
            writes: meter::writes(&calls),
            requests: bound::total(&requests),
            requests_by_kind: bound::in_words(&requests),
            api_server_cpu: api_server.cpu - before.api_server.cpu,
            operator_cpu: operator.cpu - before.operator.cpu,
            memory: operator.memory,
            peak: operator.peak,
            ..Row::default()
        };
        Ok((row, calls))
    }

    /// Shows a row, and adds it to the results.
    pub fn add(&mut self, row: Row) {
        say(&format!(
            "  {}: {:.2} s{}{}",
            row.phase,
            row.seconds,
            row.ratio
                .map_or(String::new(), |ratio| format!(", {ratio:.2} x")),
            if row.note.is_empty() {
                String::new()
            } else {
                format!(" ({})", row.note)
            }
        ));
        self.results.rows.push(row);
    }

    async fn measure(&mut self, size: usize, template: &Template) -> anyhow::Result<()> {
        say(&format!("{size} buckets"));
        let fleet = Fleet::new(&self.ground, 0, &format!("n{size}"), size);
        let bound = replay(&self.ground, template, &fleet, AT_ONCE).await?;
        let drift = Duration::from_secs((size as u64 / CHECKS_A_SECOND).max(SHORTEST_DRIFT));
        let mut replica = self.replica(drift).await?;
        // The session of each account is there, as it is for all but the first objects.
        let warm = Fleet::new(&self.ground, 0, "warm", 1);
        warm.create().await?;
        warm.ready(1, LONGEST).await?;
        let idle = Usage::of(replica.process.id())?.memory;
        self.create(&fleet, &replica, bound, idle).await?;
        if self.asks_for(Phase::Steady) {
            self.steady(&fleet, &replica, drift).await?;
        }
        if self.asks_for(Phase::Edit) {
            self.edit(&fleet, &replica).await?;
        }
        if self.asks_for(Phase::Restart) {
            replica = self.restart(&fleet, replica, drift).await?;
        }
        if self.asks_for(Phase::Failover) {
            replica = self.failover(&fleet, replica, drift).await?;
        }
        self.delete(&fleet, &replica).await?;
        warm.delete().await?;
        warm.gone(LONGEST).await?;
        drop(fleet);
        if size > 1 && self.asks_for(Phase::Throttled) {
            self.throttled(size.min(100), &replica).await?;
        }
        if size > 1 && self.phases.contains(&Phase::IamWrites) {
            self.iam_writes(size.min(300), &replica).await?;
        }
        if size > 1 && self.asks_for(Phase::AccountDown) {
            self.account_down(size.min(1000), &replica).await?;
        }
        end(replica, "TERM").await
    }

    async fn create(
        &mut self,
        fleet: &Fleet,
        replica: &Replica,
        bound: Duration,
        idle: f64,
    ) -> anyhow::Result<()> {
        let before = self.before(replica).await?;
        let created = fleet.create().await?;
        let ready = fleet.ready(1, LONGEST).await?;
        let took = before.start.elapsed();
        let size = fleet.names.len();
        let (mut row, calls) = self
            .row("create", (size, took), replica, &before, &[("POST", size)])
            .await?;
        let mut each: Vec<f64> = times(&created, &ready);
        row.median = percentile(&mut each, 0.5);
        row.p99 = percentile(&mut each, 0.99);
        if size == 1 {
            // The first object is alone: what counts is how long it calls AWS.
            let rounds = meter::rounds(&calls).len();
            let sequential = rounds as u64 * self.results.latency;
            let span = meter::span(&calls);
            row.note = format!("{rounds} rounds: {span} ms of calls, {sequential} ms at least");
            row.ratio = Some(span as f64 / sequential as f64);
        } else {
            row.bound = Some(bound.as_secs_f64());
            row.ratio = Some(took.as_secs_f64() / bound.as_secs_f64());
            row.note = format!(
                "{:.1} MB before, {:.1} kB an object",
                idle,
                (row.memory - idle) * 1024.0 / size as f64
            );
        }
        self.add(row);
        Ok(())
    }

    async fn steady(
        &mut self,
        fleet: &Fleet,
        replica: &Replica,
        drift: Duration,
    ) -> anyhow::Result<()> {
        let visits_before = visits(replica).await?;
        let before = self.before(replica).await?;
        tokio::time::sleep(drift).await;
        let checks = visits(replica).await? - visits_before;
        let size = fleet.names.len();
        let (mut row, _) = self
            .row("steady", (size, drift), replica, &before, &[])
            .await?;
        row.note = format!(
            "{checks} checks of {:.2} calls",
            row.calls as f64 / checks.max(1) as f64
        );
        self.add(row);
        Ok(())
    }

    async fn edit(&mut self, fleet: &Fleet, replica: &Replica) -> anyhow::Result<()> {
        let before = self.before(replica).await?;
        fleet.edit().await?;
        fleet.ready(2, LONGEST).await?;
        let took = before.start.elapsed();
        let size = fleet.names.len();
        let own = [("PATCH", size)];
        let (row, _) = self
            .row("edit", (size, took), replica, &before, &own)
            .await?;
        self.add(row);
        Ok(())
    }

    async fn delete(&mut self, fleet: &Fleet, replica: &Replica) -> anyhow::Result<()> {
        let before = self.before(replica).await?;
        fleet.delete().await?;
        fleet.gone(LONGEST).await?;
        let took = before.start.elapsed();
        let size = fleet.names.len();
        let own = [("DELETE", size)];
        let (row, _) = self
            .row("delete", (size, took), replica, &before, &own)
            .await?;
        self.add(row);
        Ok(())
    }
}

/// Seconds from creation until each object was ready.
fn times(created: &HashMap<String, Instant>, ready: &HashMap<String, Instant>) -> Vec<f64> {
    let both = created.iter().filter_map(|(name, created)| {
        Some(ready.get(name)?.duration_since(*created).as_secs_f64())
    });
    both.collect()
}
