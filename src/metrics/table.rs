//! Every metric, in one table: names, labels and help.

/// A metric: its name without the prefix, its kind, its labels, and what it says.
pub type Described = (&'static str, &'static str, &'static str, &'static str);

/// What every name begins with.
pub const PREFIX: &str = "bucket_replication";

/// The name with which it is exported, without the suffixes of counters and histograms.
#[must_use]
pub fn exported(name: &str) -> String {
    let unit = if is_time(name) { "_seconds" } else { "" };
    format!("{PREFIX}_{name}{unit}")
}

/// What a metric says.
pub(super) fn help(name: &str) -> &'static str {
    let mut all = TABLE.iter();
    all.find(|(described, ..)| *described == name)
        .map_or("", |(.., help)| help)
}

pub(super) fn is_time(name: &str) -> bool {
    ["_age", "_duration", "_wait", "_lag", "_latency"]
        .iter()
        .any(|unit| name.ends_with(unit))
}

/// All metrics.
pub const TABLE: [Described; 23] = [
    (
        "visits",
        "counter",
        "ending: done, blocked, retry, later",
        "Visits to source buckets, by how they ended",
    ),
    ("visit_duration", "histogram", "", "How long a visit took"),
    (
        "panics",
        "counter",
        "",
        "Visits that ended by a fault of the operator itself",
    ),
    (
        "due_visits",
        "gauge",
        "account_name: the AWSAccount of the source",
        "Visits that are due and did not begin yet",
    ),
    (
        "longest_wait",
        "gauge",
        "account_name: the AWSAccount of the source",
        "For how long the visit has been due that has waited for the longest time",
    ),
    (
        "watch_age",
        "gauge",
        "resource: bucketreplications, awsaccounts or namespaces",
        "For how long the API server has not answered the watch of a resource",
    ),
    (
        "steps",
        "counter",
        "step: as in plans, such as PutReplication",
        "Changes made in AWS, by kind",
    ),
    (
        "drift_corrections",
        "counter",
        "",
        "Changes by another writer that were corrected",
    ),
    (
        "aws_calls",
        "counter",
        "service, operation: AWS's names; outcome: ok, denied, not_found, throttled, failed, unreachable",
        "Attempts to call AWS",
    ),
    (
        "pacing_wait",
        "counter",
        "account_name: the AWSAccount; quota: what AWS counts together",
        "For how long calls to AWS waited, because no more are allowed or AWS throttled some",
    ),
    (
        "api_server_requests",
        "counter",
        "outcome: ok, conflict, denied, not_found, throttled, failed, unreachable",
        "Attempts to call the API server, by how it answers",
    ),
    (
        "ready",
        "gauge",
        "namespace, name: of the BucketReplication; reason: of the condition Ready",
        "1 if a BucketReplication is ready, 0 if not",
    ),
    (
        "verified",
        "gauge",
        "namespace, name: of the BucketReplication; reason: of the condition Verified",
        "1 if S3 replicated the last canaries of a BucketReplication, 0 if not or if that is not known",
    ),
    (
        "canary_lag",
        "gauge",
        "namespace, name: of the BucketReplication",
        "How long S3 took for the slowest of the last canaries that it replicated",
    ),
    (
        "healthy",
        "gauge",
        "namespace, name: of the BucketReplication; reason: of the condition Healthy",
        "1 if S3's metrics of a BucketReplication are healthy, 0 if not or if that is not known",
    ),
    (
        "pending_bytes",
        "gauge",
        "namespace, name: of the BucketReplication; rule: its name in the object",
        "By S3's metrics, the most bytes that were pending within the last read",
    ),
    (
        "pending_operations",
        "gauge",
        "namespace, name: of the BucketReplication; rule: its name in the object",
        "By S3's metrics, the most operations that were pending within the last read",
    ),
    (
        "failed_operations",
        "gauge",
        "namespace, name: of the BucketReplication; rule: its name in the object",
        "By S3's metrics, how many operations failed within the last read",
    ),
    (
        "replication_latency",
        "gauge",
        "namespace, name: of the BucketReplication; rule: its name in the object",
        "By S3's metrics, the longest replication latency within the last read",
    ),
    (
        "objects",
        "gauge",
        "ready: True, False, Unknown; reason: of the condition Ready",
        "BucketReplications, by whether they are ready and why",
    ),
    (
        "orphaned_roles",
        "gauge",
        "account_name: the AWSAccount",
        "Roles that the operator created and that no object uses any longer",
    ),
    (
        "leader",
        "gauge",
        "",
        "1 if this replica works: it holds the lease, or runs without leader election",
    ),
    (
        "build_info",
        "gauge",
        "version: of the operator",
        "Always 1",
    ),
];
