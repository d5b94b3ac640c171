//! The strict AWS with the operator's border in front of it, in process: accounts, buckets and keys, and uploads by their owners.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{collections::BTreeMap, sync::Arc};

use aws_config::{BehaviorVersion, Region, retry::RetryConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use bucket_replication_operator::{
    api::{AwsAccount, aws_account::Permission},
    cloud::{
        aws::{Aws, AwsCloud, timeouts},
        own_policy,
    },
    metrics::Metrics,
    replication::{accounts::Accounts, policy::Document, requeue::Ending, visit::report::Report},
};
use serde_json::{Value, json};
use strict_aws::{
    connector::InProcess,
    message::{Request, Response},
    weather::Served,
};

use crate::support::{
    cluster::{Cluster, DR, KEYS, PROD, account, installation, key},
    in_process::{add_key, add_operator, bucket, sdk},
};

/// An AWS with three accounts, and a cluster whose operator has nothing there but the policies that `iam-policy` prints.
pub struct Judged {
    pub aws: Arc<strict_aws::Aws>,
    pub cluster: Cluster,
    sdk: Aws,
    /// Whether tokio's time is paused, and passes with that of the cluster.
    paused: bool,
}

impl Judged {
    pub fn new() -> Self {
        Self::with_roles(&json!({}))
    }

    /// The same, with `roles` of the source's account.
    pub fn with_roles(roles: &Value) -> Self {
        Self::with(roles, &|_| {})
    }

    /// The same, with grants that allow canaries.
    pub fn with_canaries(roles: &Value) -> Self {
        let canaries = |account: &mut AwsAccount| {
            account.spec.grants[0].allow.push(Permission::Canary);
        };
        Self::with(roles, &canaries)
    }

    /// The same, whose accounts are changed first.
    pub fn with(roles: &Value, change: &dyn Fn(&mut AwsAccount)) -> Self {
        let aws = Arc::new(strict_aws::Aws::default());
        let accounts = [("prod", PROD), ("dr", DR), ("keys", KEYS)].map(|(name, id)| {
            let mut extra = json!({});
            if id == PROD {
                extra["roles"] = roles.clone();
            }
            let mut account = account(name, id, &extra);
            change(&mut account);
            account
        });
        aws.with(|state| {
            state.decisions.record();
            for (owner, name, region) in [
                (PROD, "source", "us-east-1"),
                (PROD, "backup", "us-east-1"),
                (DR, "dest", "us-west-2"),
            ] {
                state.buckets.insert(name.to_owned(), bucket(owner, region));
            }
            for (owner, region, id) in [
                (PROD, "us-east-1", "src"),
                (PROD, "us-east-1", "bkp"),
                (DR, "us-west-2", "dst"),
                (KEYS, "us-west-2", "central"),
            ] {
                add_key(state, owner, region, id);
            }
            let alias = format!("arn:aws:kms:us-west-2:{DR}:alias/replicas");
            state
                .aliases
                .insert(alias, key(DR, "us-west-2", "dst").to_string());
            add_operator(state, &Accounts::new(&accounts), |account| {
                own_policy::policy(account).unwrap()
            });
        });
        let cluster = Cluster {
            accounts: accounts.to_vec(),
            ..Cluster::default()
        };
        Self {
            sdk: sdk(&aws, &installation()),
            paused: false,
            cluster,
            aws,
        }
    }

    /// The same once more, with an operator that just started.
    pub fn copy(&self) -> Self {
        let aws = Arc::new(strict_aws::Aws::default());
        let state = self.aws.with(|state| state.clone());
        aws.with(|copy| *copy = state);
        let now = *self.cluster.clock.lock().unwrap();
        let cluster = Cluster {
            accounts: self.cluster.accounts.clone(),
            objects: self.cluster.objects.clone(),
            created: self.cluster.created,
            ..Cluster::default()
        };
        *cluster.clock.lock().unwrap() = now;
        Self {
            paused: self.paused,
            sdk: sdk(&aws, &installation()),
            cluster,
            aws,
        }
    }

    /// The same, with the deadlines and retries that the operator has: by default, a call that fails is not tried again.
    pub async fn with_deadlines(mut self) -> Self {
        let credentials = Credentials::new("AKIAOPERATOR", "secret", None, None, "test");
        let config = aws_config::defaults(BehaviorVersion::latest())
            .http_client(InProcess(Arc::clone(&self.aws)))
            .endpoint_url("http://aws.localhost")
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .timeout_config(timeouts())
            .retry_config(RetryConfig::standard())
            .load()
            .await;
        self.sdk = Aws::new(config, installation(), Metrics::default());
        self
    }

    /// The same, with reads that several source buckets share for `valid`.
    pub fn sharing_reads(mut self, valid: std::time::Duration) -> Self {
        self.sdk = self.sdk.sharing_reads(valid);
        self
    }

    /// The clients of the operator.
    pub fn sdk(&self) -> &Aws {
        &self.sdk
    }

    /// The operator's border to this AWS.
    pub fn cloud(&self) -> AwsCloud {
        self.cloud_of(&self.cluster)
    }

    /// The border for the visits to another source bucket.
    pub fn cloud_of(&self, cluster: &Cluster) -> AwsCloud {
        cluster.cloud(if cluster.installation == installation() {
            self.sdk.clone()
        } else {
            sdk(&self.aws, &cluster.installation)
        })
    }

    /// In a test whose time is paused: tokio's time passes as well, so that calls are made again where AWS did not answer.
    pub fn in_paused_time(mut self) -> Self {
        self.paused = true;
        self
    }

    /// Half a minute passes.
    pub async fn pass(&self) {
        self.cluster.pass(30);
        if self.paused {
            tokio::time::advance(std::time::Duration::from_secs(30)).await;
        }
    }

    /// One visit to the source bucket.
    pub async fn visit(&mut self) -> Report {
        let cloud = self.cloud();
        self.cluster.visit_with(&cloud).await
    }

    /// Visits until nothing is left to do, with time passing in between. False: that did not come.
    pub async fn settle(&mut self) -> bool {
        for _ in 0..14 {
            if self.cluster.objects.is_empty() {
                return true;
            }
            let report = self.visit().await;
            self.pass().await;
            let rests = report.ending == Ending::Done && report.done.is_empty();
            if rests && report.released.is_empty() {
                return true;
            }
        }
        false
    }

    /// Gives the object `tax` ten other rules with long prefixes forty times; each time it becomes ready, although what drains of all of them would not
    /// fit into a policy.
    pub async fn edit_forty_times(&mut self, object: &Value) {
        for number in 0..40 {
            let mut edited = object.clone();
            edited["rules"] = json!(
                (0..10)
                    .map(|rule| json!({"name": format!("r{rule}"), "prefix": format!("Tax/{number}/{rule}/{}/", "x".repeat(100))}))
                    .collect::<Vec<_>>()
            );
            self.cluster.apply("tax", &edited);
            for _ in 0..3 {
                self.visit().await;
                self.cluster.pass(30);
            }
            let said = self.cluster.message("tax", "Ready");
            let (_, reason) = self.cluster.condition("tax", "Ready");
            assert_eq!(reason, "Ready", "{number}: {said}");
        }
    }

    /// All that the operator made or changed in AWS, as its owners see it.
    pub fn made(&self) -> BTreeMap<String, String> {
        self.aws.with(|state| {
            let mut made = BTreeMap::new();
            for (name, bucket) in &state.buckets {
                let policy = bucket
                    .policy
                    .as_ref()
                    .map(|policy| state.shown(policy).canonical());
                made.insert(format!("policy of bucket {name}"), format!("{policy:?}"));
                made.insert(
                    format!("replication of bucket {name}"),
                    format!("{:?}", bucket.replication),
                );
            }
            for (arn, key) in &state.keys {
                made.insert(
                    format!("policy of key {arn}"),
                    format!("{:?}", state.shown(&key.policy).canonical()),
                );
            }
            for ((account, name), role) in &state.roles {
                let policies: Vec<_> = role.inline.values().map(Document::canonical).collect();
                made.insert(
                    format!("role {name} of {account}"),
                    format!(
                        "{:?} {:?} {policies:?}",
                        state.shown(&role.trust),
                        role.tags
                    ),
                );
            }
            made
        })
    }

    /// An upload by the owner of the source bucket; what `HeadObject` says of it then, and why it failed.
    pub fn upload(
        &self,
        object: &str,
        headers: &[(&str, &str)],
    ) -> (Option<&'static str>, Option<String>) {
        self.upload_to("source", object, headers)
    }

    /// An upload to a bucket by its owner.
    pub fn upload_to(
        &self,
        bucket: &str,
        object: &str,
        headers: &[(&str, &str)],
    ) -> (Option<&'static str>, Option<String>) {
        let (owner, region) = self.aws.with(|state| {
            let bucket = &state.buckets[bucket];
            (bucket.owner.clone(), bucket.region.clone())
        });
        let path = format!("/{bucket}/{object}");
        let response = self.call_as((owner.as_str(), &region), "PUT", &path, "", headers);
        assert_eq!(
            response.status,
            200,
            "{}",
            String::from_utf8_lossy(&response.body)
        );
        self.status_of(bucket, object)
    }

    pub fn status(&self, object: &str) -> (Option<&'static str>, Option<String>) {
        self.status_of("source", object)
    }

    pub fn status_of(&self, bucket: &str, object: &str) -> (Option<&'static str>, Option<String>) {
        self.aws.with(|state| {
            let version = state.buckets[bucket].objects[object].last().unwrap();
            (version.replication, version.failure.clone())
        })
    }

    /// A call by the owner of the source bucket.
    pub fn call(
        &self,
        method: &str,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
    ) -> Response {
        self.call_as((PROD, "us-east-1"), method, path, query, headers)
    }

    fn call_as(
        &self,
        (account, region): (&str, &str),
        method: &str,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
    ) -> Response {
        let scope =
            format!("AWS4-HMAC-SHA256 Credential={account}/20260101/{region}/s3/aws4_request, x");
        let mut all: BTreeMap<_, _> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        all.insert("authorization".to_owned(), scope);
        let request = Request {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: all,
            body: b"1040\n".to_vec(),
        };
        match self.aws.serve(&request) {
            (_, Served::Answer(answer)) => answer,
            (_, Served::Dropped) => panic!("the owner's call was dropped"),
        }
    }
}
