//! The results: a table for people, and JSON for programs.

use std::{
    collections::BTreeMap,
    io::{Write, stdout},
    path::Path,
};

use serde::Serialize;

/// All results.
#[derive(Debug, Default, Serialize)]
pub struct Results {
    /// Milliseconds that each call to AWS took.
    pub latency: u64,
    /// Processors of the machine.
    pub processors: usize,
    /// A row for each number of buckets and phase.
    pub rows: Vec<Row>,
}

/// What was measured in a phase; what a phase does not measure is absent.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    /// The number of buckets.
    pub buckets: usize,
    /// The phase.
    pub phase: &'static str,
    /// Seconds that it took.
    pub seconds: f64,
    /// Seconds that the same requests need without the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<f64>,
    /// `seconds` as a multiple of what it is compared with: the bound, or what is named in `note`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// The median of the seconds from an object's creation until it was ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median: Option<f64>,
    /// The 99th percentile of the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
    /// Calls to AWS.
    pub calls: usize,
    /// Those that write.
    pub writes: usize,
    /// Requests to the API server, without leases and watches.
    pub requests: u64,
    /// The same by kind.
    pub requests_by_kind: BTreeMap<String, u64>,
    /// Milliseconds of the API server's processor time.
    pub api_server_cpu: f64,
    /// Milliseconds of the operator's processor time.
    pub operator_cpu: f64,
    /// Megabytes of the operator's memory at the end.
    pub memory: f64,
    /// Megabytes of the operator's memory at most.
    pub peak: f64,
    /// What else there is to say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

const COLUMNS: [(&str, usize); 13] = [
    ("BUCKETS", 7),
    ("PHASE", 12),
    ("SECONDS", 8),
    ("BOUND", 7),
    ("RATIO", 6),
    ("MEDIAN", 7),
    ("P99", 7),
    ("CALLS", 7),
    ("WRITES", 7),
    ("REQUESTS", 8),
    ("API MS", 8),
    ("CPU MS", 8),
    ("MB", 6),
];

/// Numbers of calls, requests and milliseconds are for each object.
fn cells(row: &Row) -> [String; 13] {
    let buckets = row.buckets.max(1);
    let each = |number: f64| format!("{:.2}", number / buckets as f64);
    let seconds = |given: Option<f64>| given.map_or("-".to_owned(), |given| format!("{given:.2}"));
    let of = |number: usize| each(number as f64);
    let requests = each(row.requests as f64);
    [
        row.buckets.to_string(),
        row.phase.to_owned(),
        format!("{:.2}", row.seconds),
        seconds(row.bound),
        seconds(row.ratio),
        seconds(row.median),
        seconds(row.p99),
        of(row.calls),
        of(row.writes),
        requests,
        each(row.api_server_cpu),
        each(row.operator_cpu),
        format!("{:.1}", row.memory),
    ]
}

impl Results {
    /// Writes the table to standard output, and JSON to a file.
    ///
    /// # Errors
    /// When one of them can't be written.
    pub fn show(&self, json: &Path) -> anyhow::Result<()> {
        let mut out = stdout().lock();
        let line = |cells: [String; 13]| {
            let padded = cells
                .iter()
                .zip(COLUMNS)
                .map(|(cell, (_, width))| format!("{cell:>width$}"));
            padded.collect::<Vec<_>>().join("  ")
        };
        let heads = COLUMNS.map(|(head, _)| head.to_owned());
        writeln!(out, "{}  NOTE", line(heads))?;
        for row in &self.rows {
            writeln!(out, "{}  {}", line(cells(row)), row.note)?;
        }
        writeln!(
            out,
            "CALLS to AWS, WRITES among them, REQUESTS to the API server, and milliseconds of processor time of API server and operator are for each bucket."
        )?;
        if let Some(directory) = json.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::write(json, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(())
    }
}

/// The value at that part of the sorted values, such as 0.5 for the median.
pub fn percentile(values: &mut [f64], part: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let index = (part * values.len().saturating_sub(1) as f64).round() as usize;
    values.get(index).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_of_the_list() {
        let mut values = [3.0, 1.0, 2.0];
        assert_eq!(percentile(&mut values, 0.5), Some(2.0));
        assert_eq!(percentile(&mut values, 0.99), Some(3.0));
        assert_eq!(percentile(&mut [], 0.5), None);
    }
}
