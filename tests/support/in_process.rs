//! The strict AWS in process: the operator's clients and roles, and what owners make.

use std::{collections::BTreeMap, sync::Arc};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use bucket_replication_operator::{
    cloud::{aws::Aws, own_policy},
    metrics::Metrics,
    replication::{
        accounts::{Account, Accounts},
        names::{AccountId, InstallationId},
        policy::Document,
    },
};
use serde_json::{Value, json};
use strict_aws::{
    connector::InProcess,
    state::{Bucket, Identity, Key, ManagedPolicy, Role, State, User},
};

use super::cluster::key;

const OPERATOR: &str = "999999999999";
const EXTERNAL_ID: &str = "an-external-id";
/// The name of the operator's role in each account.
pub const OPERATOR_ROLE: &str = "bucket-replication-operator";

/// How an `AWSAccount` says that the operator assumes its role there.
pub fn assume_role(account: &str) -> Value {
    json!({"roleARN": format!("arn:aws:iam::{account}:role/{OPERATOR_ROLE}"), "externalID": EXTERNAL_ID})
}

pub fn document(value: Value) -> Document {
    Document::parse(&value.to_string()).unwrap()
}

/// A bucket with versioning.
pub fn bucket(owner: &str, region: &str) -> Bucket {
    Bucket {
        versioning: Some(true),
        ..Bucket::new(owner.parse().unwrap(), region)
    }
}

/// What encrypts new objects of the bucket by default: a KMS key, or else S3.
pub fn encrypt_by_default(bucket: &mut Bucket, key: Option<&str>) {
    let by_default = key.map_or_else(
        || json!({"SSEAlgorithm": "AES256"}),
        |key| json!({"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}),
    );
    bucket.encryption["Rules"][0]["ApplyServerSideEncryptionByDefault"] = by_default;
}

/// A managed policy, as the platform team creates it for a permissions boundary.
pub fn add_policy(state: &mut State, arn: &str, document: Document) {
    let made = ManagedPolicy {
        arn: arn.parse().unwrap(),
        versions: [(1, document)].into(),
        default: 1,
        next: 2,
    };
    state.policies.insert(arn.to_owned(), made);
}

/// The clients of the operator, without retries and deadlines.
pub fn sdk(aws: &Arc<strict_aws::Aws>, installation: &InstallationId) -> Aws {
    let credentials = Credentials::new("AKIAOPERATOR", "secret", None, None, "test");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(InProcess(Arc::clone(aws)))
        .endpoint_url("http://aws.localhost")
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    Aws::new(config, installation.clone(), Metrics::default())
}

pub fn add_key(state: &mut State, owner: &str, region: &str, id: &str) {
    let root = format!("arn:aws:iam::{owner}:root");
    let policy = json!({"Version": "2012-10-17", "Statement": [{"Sid": "Root", "Effect": "Allow", "Principal": {"AWS": root}, "Action": "kms:*", "Resource": "*"}]});
    let made = Key {
        owner: owner.parse().unwrap(),
        region: region.to_owned(),
        state: "Enabled".to_owned(),
        policy: document(policy),
        spec: "SYMMETRIC_DEFAULT".to_owned(),
        managed_by_aws: false,
        description: String::new(),
    };
    state.keys.insert(key(owner, region, id).to_string(), made);
}

/// The operator is a user that may assume its roles, each of which has that policy.
pub fn add_operator(state: &mut State, accounts: &Accounts, policy: impl Fn(&Account) -> Document) {
    let operator: AccountId = OPERATOR.parse().unwrap();
    let user = User {
        id: "AIDAOPERATOR".to_owned(),
        inline: [("operator".to_owned(), own_policy::identity_policy(accounts))].into(),
    };
    state
        .users
        .insert((operator.clone(), "operator".to_owned()), user);
    let identity = Identity::User(operator, "operator".to_owned());
    state
        .credentials
        .insert("AKIAOPERATOR".to_owned(), identity);
    for account in accounts.all() {
        let trust = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{OPERATOR}:root")}, "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": EXTERNAL_ID}},
        }]});
        let arn = account.assume_role.as_ref().unwrap().role.clone();
        let role = Role {
            id: format!("AROAOPERATOR{}", account.id),
            trust: document(trust),
            inline: [("operator".to_owned(), policy(account))].into(),
            attached: vec![],
            boundary: None,
            tags: BTreeMap::new(),
            description: String::new(),
            created: 0,
            arn: arn.clone(),
        };
        state
            .roles
            .insert((arn.account, arn.name.to_string()), role);
    }
}
