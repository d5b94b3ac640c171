//! `make bench`: what the operator needs for a number of buckets, measured on a real API server and the strict AWS, and what the same requests need
//! without it.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and figures are far from 2 to the power of 52"
)]

mod bound;
mod fleet;
mod ground;
mod meter;
mod phases;
mod replicas;
mod table;
mod trouble;

use std::{
    io::{Write, stderr},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;

/// How the operator is measured.
#[derive(Clone, Debug, Parser)]
#[command(
    about = "Measures the operator on a real API server and the strict AWS. The table goes to standard output, progress to standard error."
)]
pub struct Arguments {
    /// Numbers of buckets, each measured on its own.
    #[arg(short = 'n', long, value_delimiter = ',', default_value = "1,100,1000")]
    pub buckets: Vec<usize>,
    /// The operator's binary.
    #[arg(long, default_value = "target/release/bucket-replication-operator")]
    pub operator: PathBuf,
    /// Milliseconds that each call to AWS takes.
    #[arg(long, default_value_t = 50)]
    pub latency: u64,
    /// Only these phases, separated by commas. All others that they stand on are run as well.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub phases: Vec<phases::Phase>,
    /// Where the environment lies while it runs.
    #[arg(long, default_value = "target/bench/environment")]
    pub directory: PathBuf,
    /// The file that gets the results as JSON.
    #[arg(long, default_value = "target/bench/bench.json")]
    pub json: PathBuf,
}

/// Shows progress.
fn say(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}

#[tokio::main]
async fn main() -> ExitCode {
    match phases::run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
