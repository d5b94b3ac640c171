//! Flags, each with an environment variable and a default.
#![allow(
    clippy::doc_markdown,
    rustdoc::bare_urls,
    reason = "the comments are what `--help` prints"
)]

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use strum::Display;

use crate::replication::names::InstallationId;

/// Sets up Amazon S3 replication of buckets, SSE-KMS objects included, from BucketReplication objects in Kubernetes.
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
    /// Print what BucketReplications would create in AWS. Exit code 0: no changes, 1: changes, 2: an error.
    Plan(Plan),
    /// Show BucketReplications: conditions, rules, role, the last drift, and what to do. Exit code 0: all are ready, 1: not all of them are, 2: an error.
    Status(Status),
    /// Print the custom resource definitions as YAML.
    Crd,
    /// Print the IAM policies that the operator itself needs, from AWSAccount objects.
    IamPolicy(IamPolicy),
    /// Print a script that completes the command line, for the shell to read.
    Completion(Completion),
    /// Check an installation: the CRDs are served, a replica holds the lease, and the accounts can be used. Exit code 0: every check passed, 1: one failed, 2: an error.
    Check(Check),
}

/// Flags of `run`.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// The ID that marks what this installation creates in AWS. It has 1 to 16 lowercase letters and digits. Set it in production, so that a rebuilt cluster recognizes its resources. By default, it is derived from the identity of the cluster and the release.
    #[arg(long, env)]
    pub installation_id: Option<InstallationId>,
    /// The installation in the cluster.
    #[command(flatten)]
    pub release: Release,
    /// The time within which drift is corrected.
    #[arg(long, env, default_value = "10m", value_parser = period)]
    pub drift_period: Duration,
    /// The time between two reads of everything, keys and Regions included.
    #[arg(long, env, default_value = "1h", value_parser = period)]
    pub preflight_period: Duration,
    /// The time between the two reads that confirm drift. Both must differ from the desired state, because reads of S3 can lag. A quarter of the drift period, if that is less.
    #[arg(long, env, default_value = "5s", value_parser = duration)]
    pub drift_grace: Duration,
    /// How long to wait for new permissions to settle before writing the rules that need them. S3 does not retry objects that fail before the permissions have settled.
    #[arg(long, env, default_value = "15s", value_parser = duration)]
    pub settle_delay: Duration,
    /// How long the permissions of former rules stay after an edit, so that objects that are on their way are still replicated. Deleting an object removes its permissions at once.
    #[arg(long, env, default_value = "24h", value_parser = duration)]
    pub drain_period: Duration,
    /// The longest time between two retries.
    #[arg(long, env, default_value = "5m", value_parser = period)]
    pub longest_retry: Duration,
    /// How often each account is checked for orphaned roles, which no object uses any longer. They are reported and never deleted.
    #[arg(long, env, default_value = "6h", value_parser = period)]
    pub sweep_period: Duration,
    /// How long to wait after the first event for a bucket. All events in this time are handled by one visit.
    #[arg(long, env, default_value = "250ms", value_parser = duration)]
    pub event_window: Duration,
    /// The number of buckets that are visited at the same time, from 1 to 1024. Those of one account use at most three quarters of it, and visits that wait for another's edit do not count.
    #[arg(long, env, default_value = "16", value_parser = concurrency)]
    pub concurrency: usize,
    /// Write only while holding the lease with the release's name in the release's namespace. Required if several replicas run.
    #[arg(long, env, num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub leader_election: bool,
    /// How long another replica waits for a leader that no longer renews the lease. At least 3s.
    #[arg(long, env, default_value = "15s", value_parser = lease)]
    pub lease_duration: Duration,
    /// The address that serves /metrics, /healthz and /readyz.
    #[arg(long, env, default_value = "0.0.0.0:8080")]
    pub listen_address: SocketAddr,
    /// The OTLP endpoint (gRPC) for spans of visits and AWS calls, such as http://collector.monitoring:4317. By default, none are sent.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// The format of log lines.
    #[arg(long, env, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// The log filter, in the syntax of the tracing crate's directives.
    #[arg(
        long,
        env = "RUST_LOG",
        default_value = "info,aws_config=warn,aws_smithy_runtime=warn"
    )]
    pub log_filter: String,
}

/// An installation in a cluster, for the operator itself and for commands that read it.
#[derive(Clone, Debug, Args)]
pub struct Release {
    /// The namespace of the release. It contains the lease, and the default installation ID is derived from it.
    #[arg(
        long = "release-namespace",
        env = "RELEASE_NAMESPACE",
        default_value = "bucket-replication"
    )]
    pub namespace: String,
    /// The name of the release and of the lease. The default installation ID is derived from it.
    #[arg(
        long = "release-name",
        env = "RELEASE_NAME",
        default_value = "bucket-replication-operator"
    )]
    pub name: String,
    /// The namespaces that the operator watches, separated by commas. By default, all. If it is set, the status of AWSAccounts is not written.
    #[arg(long, env, value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text.
    Text,
    /// One JSON object per line.
    Json,
}

/// Flags of `plan`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("objects").required(true).args(["name", "filename"])))]
pub struct Plan {
    /// Print status.plan of this BucketReplication. This needs no AWS credentials.
    #[arg(conflicts_with_all = ["offline", "directory", "verbose"])]
    pub name: Option<String>,
    /// YAML files, or folders of them, with BucketReplications and, if there is no cluster, the AWSAccounts that they name. Use - for standard input.
    #[arg(short, long)]
    pub filename: Vec<PathBuf>,
    /// Also read the folders in the folders of --filename.
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// Show how each policy and configuration changes.
    #[arg(short, long, conflicts_with = "offline")]
    pub verbose: bool,
    /// Print the documents for the files without using the cluster or AWS.
    #[arg(long)]
    pub offline: bool,
    /// Also write each document to a file in this directory, or in one for each bucket if there are several.
    #[arg(long)]
    pub directory: Option<PathBuf>,
    /// The namespace of NAME, or of BucketReplications whose files do not set one. By default, that of the context; with --offline, "default".
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// The cluster.
    #[command(flatten)]
    pub cluster: Cluster,
    /// With --offline, the Region of the source bucket, if no key's ARN contains it.
    #[arg(long, default_value = "us-east-1")]
    pub source_region: String,
    /// With --offline, the Region of the destination bucket, if no key's ARN contains it.
    #[arg(long, default_value = "us-east-1")]
    pub destination_region: String,
    /// The operator's --drain-period: for how long it leaves the permissions of former rules.
    #[arg(long, env, default_value = "24h", value_parser = duration)]
    pub drain_period: Duration,
    /// The installation that the plan is for. By default, the one in the status of an object in the cluster; with --offline, "default".
    #[arg(long, env)]
    pub installation_id: Option<InstallationId>,
    /// The format of the documents.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// The cluster that a command reads.
#[derive(Clone, Debug, Default, Args)]
pub struct Cluster {
    /// The kubeconfig. By default, as kubectl: the files in KUBECONFIG, or ~/.kube/config.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig. By default, the current one.
    #[arg(long)]
    pub context: Option<String>,
}

/// Arguments of `completion`.
#[derive(Debug, Args)]
pub struct Completion {
    /// The shell. For bash, for example: source <(bucket-replication-operator completion bash)
    #[arg(value_enum)]
    pub shell: Shell,
}

/// A shell that completes command lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Display)]
#[strum(serialize_all = "lowercase")]
pub enum Shell {
    /// Bash.
    Bash,
    /// Elvish.
    Elvish,
    /// Fish.
    Fish,
    /// PowerShell.
    #[value(name = "powershell")]
    PowerShell,
    /// Zsh.
    Zsh,
}

/// Flags of `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Only this BucketReplication.
    pub name: Option<String>,
    /// The namespace. By default, that of the context.
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// All namespaces.
    #[arg(short = 'A', long, conflicts_with_all = ["name", "namespace"])]
    pub all_namespaces: bool,
    /// Show each BucketReplication again when it changes, until you stop it.
    #[arg(short, long)]
    pub watch: bool,
    /// The format.
    #[arg(short, long, value_enum, default_value_t = StatusOutput::Text)]
    pub output: StatusOutput,
    /// The cluster.
    #[command(flatten)]
    pub cluster: Cluster,
}

/// A format of `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StatusOutput {
    /// A tree for each object. Colors are used on a terminal, unless NO_COLOR is set.
    Text,
    /// One JSON object for NAME, otherwise one with a list.
    Json,
    /// The same as YAML.
    Yaml,
    /// Only the names, as kubectl prints them.
    Name,
}

/// A format of documents.
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
    /// YAML files, or folders of them, with AWSAccounts. Use - for standard input. By default, those in the cluster.
    #[arg(short, long)]
    pub filename: Vec<PathBuf>,
    /// Also read the folders in the folders of --filename.
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// Print only the policy of this AWSAccount's role.
    #[arg(long, conflicts_with = "identity")]
    pub account: Option<String>,
    /// Print only the policy of the operator's own identity.
    #[arg(long)]
    pub identity: bool,
    /// Instead of the policy, print a template that creates the role of the AWSAccount in --account, with its policy, its trust policy and the permissions boundary.
    #[arg(long, value_enum, requires = "account")]
    pub template: Option<Template>,
    /// The cluster, if there are no files.
    #[command(flatten)]
    pub cluster: Cluster,
}

/// Flags of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The installation in the cluster to check.
    #[command(flatten)]
    pub release: Release,
    /// How long to wait until every check passes. A leader is detected when it renews its lease, which takes a few seconds.
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub wait: Duration,
    /// The cluster.
    #[command(flatten)]
    pub cluster: Cluster,
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

/// A period of zero would leave no time for anything else.
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
