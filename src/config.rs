//! Flags, each with an environment twin and a default.
#![allow(
    clippy::doc_markdown,
    rustdoc::bare_urls,
    reason = "the comments are what `--help` prints"
)]

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::replication::names::InstallationId;

/// Makes Amazon S3 replicate buckets, SSE-KMS objects included, as BucketReplication objects in Kubernetes say.
#[derive(Debug, Parser)]
#[command(name = "bucket-replication-operator", version, about)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the controller.
    Run(Box<Settings>),
    /// Print what a BucketReplication would create in AWS.
    Plan(Plan),
    /// Print the custom resource definitions as YAML.
    Crd,
    /// Print the IAM policies that the operator itself needs, from AWSAccount objects.
    IamPolicy(IamPolicy),
    /// Tell whether an installation is well: the CRDs are served, a replica works, the accounts can be used. Exit code 1: not all of it is.
    Check(Check),
}

/// Flags of `run`.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Marks what this installation makes in AWS: 1 to 16 lower-case letters and digits. Set it by hand in production, so that a rebuilt cluster finds its things again; by default it is made of the cluster's and the release's identity.
    #[arg(long, env)]
    pub installation_id: Option<InstallationId>,
    /// Which installation in the cluster it is.
    #[command(flatten)]
    pub release: Release,
    /// Within this time, what somebody else changed is put right.
    #[arg(long, env, default_value = "10m", value_parser = period)]
    pub drift_period: Duration,
    /// From one look at everything, keys and Regions included, to the next.
    #[arg(long, env, default_value = "1h", value_parser = period)]
    pub preflight_period: Duration,
    /// Two reads this long apart that both differ from what should stand are drift, since reads of S3 may lag; at most a quarter of the drift period.
    #[arg(long, env, default_value = "5s", value_parser = duration)]
    pub drift_grace: Duration,
    /// How long AWS is given to make new permissions known before the replication configuration that needs them is written: S3 does not retry objects that fail in between.
    #[arg(long, env, default_value = "15s", value_parser = duration)]
    pub settle_delay: Duration,
    /// The longest wait between two tries of what does not succeed.
    #[arg(long, env, default_value = "5m", value_parser = period)]
    pub longest_retry: Duration,
    /// How often each account is searched for roles of ours that no object has any more; they are only told.
    #[arg(long, env, default_value = "6h", value_parser = period)]
    pub sweep_period: Duration,
    /// Events that come within this time after the first one make one visit to a bucket.
    #[arg(long, env, default_value = "250ms", value_parser = duration)]
    pub event_window: Duration,
    /// At most this many buckets are visited at once.
    #[arg(long, env, default_value = "16", value_parser = concurrency)]
    pub concurrency: usize,
    /// Only write while holding the lease that has the release's name, in the release's namespace: needed where several replicas run.
    #[arg(long, env, num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub leader_election: bool,
    /// How long another replica waits for one that does not renew the lease any more.
    #[arg(long, env, default_value = "15s", value_parser = lease)]
    pub lease_duration: Duration,
    /// Where /metrics, /healthz and /readyz are served.
    #[arg(long, env, default_value = "0.0.0.0:8080")]
    pub listen_address: SocketAddr,
    /// Where spans of visits and AWS calls are sent by OTLP over gRPC, such as http://collector.monitoring:4317; by default nowhere.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// How log lines are written.
    #[arg(long, env, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// What is logged, as tracing's directives.
    #[arg(
        long,
        env = "RUST_LOG",
        default_value = "info,aws_config=warn,aws_smithy_runtime=warn"
    )]
    pub log_filter: String,
}

/// An installation in a cluster, for the operator itself and for who looks at it.
#[derive(Clone, Debug, Args)]
pub struct Release {
    /// Namespace of the release: the lease is in it, and the default installation id is made of it.
    #[arg(
        long = "release-namespace",
        env = "RELEASE_NAMESPACE",
        default_value = "default"
    )]
    pub namespace: String,
    /// Name of the release: that of the lease, and the default installation id is made of it.
    #[arg(
        long = "release-name",
        env = "RELEASE_NAME",
        default_value = "bucket-replication-operator"
    )]
    pub name: String,
    /// Namespaces to watch, separated by commas; by default all. With it, the status of AWSAccounts is not written.
    #[arg(long, env, value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Flags of `plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// Print what stands in status.plan of this BucketReplication, for who has no AWS credentials.
    #[arg(conflicts_with_all = ["filename", "offline", "directory", "verbose"])]
    pub name: Option<String>,
    /// YAML files with one BucketReplication and, without a cluster, the AWSAccounts that it names; - reads standard input.
    #[arg(short, long, required_unless_present = "name")]
    pub filename: Vec<PathBuf>,
    /// Show how each document changes.
    #[arg(short, long)]
    pub verbose: bool,
    /// Use neither cluster nor AWS: print the documents for what the files say.
    #[arg(long)]
    pub offline: bool,
    /// Write each document to a file in this directory, too.
    #[arg(long)]
    pub directory: Option<PathBuf>,
    /// The namespace of a BucketReplication that names none.
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// Region of the source bucket, where no key's ARN tells it.
    #[arg(long, default_value = "us-east-1")]
    pub source_region: String,
    /// Region of the destination bucket, where no key's ARN tells it.
    #[arg(long, default_value = "us-east-1")]
    pub destination_region: String,
    /// The installation that the plan is for; by default the one that the status of an object in the cluster names, and offline "default".
    #[arg(long, env)]
    pub installation_id: Option<InstallationId>,
    /// How the documents are printed.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// How documents are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Each document under a line with its name.
    Text,
    /// One JSON object, with a field for each document.
    Json,
    /// The same as YAML.
    Yaml,
}

/// Flags of `iam-policy`.
#[derive(Debug, Args)]
pub struct IamPolicy {
    /// YAML files with AWSAccounts; - reads standard input. By default those in the cluster.
    #[arg(short, long)]
    pub filename: Vec<PathBuf>,
    /// Print only the policy of this AWSAccount's role.
    #[arg(long, conflicts_with = "identity")]
    pub account: Option<String>,
    /// Print only the policy of the operator's own identity.
    #[arg(long)]
    pub identity: bool,
    /// Print what makes that AWSAccount's role, with its policy, trust and the permissions boundary, as a template instead.
    #[arg(long, value_enum, requires = "account")]
    pub template: Option<Template>,
}

/// Flags of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Which installation in the cluster is looked at.
    #[command(flatten)]
    pub release: Release,
    /// How long to wait for all to be well; a leader shows by renewing its lease, which takes a few seconds.
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub wait: Duration,
}

/// A kind of template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Template {
    /// AWS CloudFormation, as YAML.
    Cloudformation,
    /// Terraform, in its JSON syntax.
    Terraform,
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = text
        .parse()
        .map_err(|error| format!("{error}: use a duration such as 90s, 10m or 1h"))?;
    Duration::try_from(parsed)
        .map_err(|_| "it is negative: use a duration such as 90s, 10m or 1h".to_owned())
}

fn at_least(least: Duration, text: &str) -> Result<Duration, String> {
    let given = duration(text)?;
    if given < least {
        Err(format!("it has to be at least {} s", least.as_secs()))
    } else {
        Ok(given)
    }
}

/// Something that comes again: without time in between, nothing else would ever be done.
fn period(text: &str) -> Result<Duration, String> {
    at_least(Duration::from_secs(1), text)
}

/// A lease is renewed five times in its duration, and `Lease` counts whole seconds.
fn lease(text: &str) -> Result<Duration, String> {
    at_least(Duration::from_secs(3), text)
}

/// More visits at once than this need more memory than a replica has by default.
const MOST_VISITS: usize = 1024;

fn concurrency(text: &str) -> Result<usize, String> {
    let given: usize = text
        .parse()
        .map_err(|_| format!("use a number from 1 to {MOST_VISITS}"))?;
    if (1..=MOST_VISITS).contains(&given) {
        Ok(given)
    } else {
        Err(format!("it has to be from 1 to {MOST_VISITS}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("-1s").is_err());
        assert!(duration("ten").is_err());
    }

    #[test]
    fn what_would_work_never_or_always_is_refused_with_its_bound() {
        let refused = |flag: &str, value: &str| {
            let tried =
                Arguments::try_parse_from(["bucket-replication-operator", "run", flag, value]);
            tried.map(|_| ()).map_err(|error| error.to_string())
        };
        for flag in [
            "--drift-period",
            "--preflight-period",
            "--longest-retry",
            "--sweep-period",
        ] {
            let message = refused(flag, "0s").expect_err("a period of nothing");
            assert!(
                message.contains(flag) && message.contains("at least 1 s"),
                "{message}"
            );
            assert_eq!(refused(flag, "1s"), Ok(()));
        }
        assert!(
            refused("--lease-duration", "2s")
                .expect_err("too short")
                .contains("at least 3 s")
        );
        for (value, allowed) in [
            ("0", false),
            ("1", true),
            ("1024", true),
            ("1025", false),
            ("many", false),
        ] {
            let tried = refused("--concurrency", value);
            assert_eq!(tried.is_ok(), allowed, "{tried:?}");
            assert!(allowed || tried.expect_err("refused").contains("1 to 1024"));
        }
        assert_eq!(
            refused("--settle-delay", "0s"),
            Ok(()),
            "not to wait is a choice"
        );
    }

    #[test]
    fn the_arguments_hold_together() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }
}
