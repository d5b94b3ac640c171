//! What is counted: calls to AWS, requests to the API server, time of processes, and memory.

use std::{collections::BTreeMap, fs};

use anyhow::Context;
use serde::Serialize;
use strict_aws::calls::Call;

use crate::ground::Ground;

/// Requests of one kind: verb, resource and subresource.
pub type Kind = (String, String, String);

/// Requests to the API server by kind.
pub type Requests = BTreeMap<Kind, u64>;

/// The kinds of this project, Events and leases: what is asked of the API server for other reasons does not count.
const GROUPS: [&str; 3] = ["bucketops.dev", "events.k8s.io", "coordination.k8s.io"];

/// All requests that the API server answered so far, by kind, without watches.
///
/// # Errors
/// When it does not show them.
pub async fn requests(ground: &Ground) -> anyhow::Result<Requests> {
    let text = ground
        .environment
        .kubectl(&["get", "--raw", "/metrics"])
        .await?;
    let mut requests = Requests::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("apiserver_request_total{") else {
            continue;
        };
        let (labels, count) = rest.rsplit_once("} ").context("a count")?;
        let label = |name: &str| {
            let (_, rest) = labels.split_once(&format!("{name}=\""))?;
            rest.split('"').next().map(ToOwned::to_owned)
        };
        let of = |name| label(name).unwrap_or_default();
        if !GROUPS.contains(&of("group").as_str()) || of("verb") == "WATCH" {
            continue;
        }
        let kind = (of("verb"), of("resource"), of("subresource"));
        let count: f64 = count.trim().parse()?;
        *requests.entry(kind).or_default() += count as u64;
    }
    Ok(requests)
}

/// What a process used so far.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Usage {
    /// Milliseconds of processor time.
    pub cpu: f64,
    /// Megabytes of memory that it has now.
    pub memory: f64,
    /// Megabytes that it had at most.
    pub peak: f64,
    /// Open descriptors.
    pub descriptors: usize,
}

/// The kernel's clock of processes: `sysconf(_SC_CLK_TCK)`, which is 100 on every Linux that Rust supports.
const TICKS: f64 = 100.0;

impl Usage {
    /// That of the process with this ID.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(process: u32) -> anyhow::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        // The name, in parentheses, may have spaces.
        let (_, fields) = stat.rsplit_once(')').context("a stat")?;
        let ticks: f64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|ticks| ticks.parse::<f64>().ok())
            .sum();
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let megabytes = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
            kilobytes
                .and_then(|number| number.parse::<f64>().ok())
                .unwrap_or_default()
                / 1024.0
        };
        Ok(Self {
            cpu: ticks * 1000.0 / TICKS,
            memory: megabytes("VmRSS:"),
            peak: megabytes("VmHWM:"),
            descriptors: fs::read_dir(format!("/proc/{process}/fd"))?.count(),
        })
    }
}

/// Calls in rounds: a call belongs to the round of those that began before one of them ended.
pub fn rounds(calls: &[Call]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..calls.len()).collect();
    order.sort_by_key(|index| calls[*index].began);
    let mut rounds: Vec<Vec<usize>> = vec![];
    let mut ends = 0;
    for index in order {
        let call = &calls[index];
        match rounds.last_mut() {
            Some(round) if call.began < ends => round.push(index),
            _ => {
                ends = call.began + call.took;
                rounds.push(vec![index]);
            }
        }
    }
    rounds
}

/// How many of the calls write.
pub fn writes(calls: &[Call]) -> usize {
    calls.iter().filter(|call| call.writes()).count()
}

/// Milliseconds from the first call's beginning to the last one's end.
pub fn span(calls: &[Call]) -> u64 {
    let first = calls.iter().map(|call| call.began).min();
    let last = calls.iter().map(|call| call.began + call.took).max();
    last.unwrap_or_default() - first.unwrap_or_default()
}

/// What was counted more the second time.
pub fn since(before: &Requests, after: &Requests) -> Requests {
    let grown = after.iter().map(|(kind, count)| {
        let former = before.get(kind).copied().unwrap_or_default();
        (kind.clone(), count.saturating_sub(former))
    });
    grown.filter(|(_, count)| *count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use strict_aws::message::Request;

    fn call(began: u64, took: u64) -> Call {
        Call {
            began,
            took,
            ..Call::of(&Request {
                method: "GET".to_owned(),
                path: "/".to_owned(),
                query: String::new(),
                headers: BTreeMap::default(),
                body: vec![],
            })
        }
    }

    #[test]
    fn a_call_that_begins_after_an_answer_is_in_the_next_round() {
        let calls = [call(0, 50), call(3, 50), call(52, 50), call(49, 50)];
        assert_eq!(rounds(&calls), [vec![0, 1, 3], vec![2]]);
        assert_eq!(span(&calls), 102);
    }
}
