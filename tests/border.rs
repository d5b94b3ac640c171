//! The border to AWS, against the strict AWS in process: where a bucket is, sessions that end, credentials that are missing, and what is not visible
//! yet.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that can't go on has failed"
)]

#[path = "judged/mod.rs"]
mod ground;
mod support;

use std::sync::Arc;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use bucket_replication_operator::{
    cloud::{
        Cloud,
        aws::{Aws, LatestAccounts},
    },
    metrics::Metrics,
    replication::{
        accounts::Accounts,
        arns::RoleArn,
        edit::StatementEdit,
        grantee::{Grantee, OwnRoles},
        names::OwnedBucket,
        observed::{Facet, FailureKind},
        plan::Step,
        policy::{Document, Purpose, Statement},
        question::{Answer, Question},
    },
};
use ground::Judged;
use serde_json::json;
use strict_aws::{
    connector::InProcess,
    weather::{Fault, FaultKind, Weather},
};
use support::{
    cluster::{DR, PROD, account, installation},
    in_process::{bucket, document},
};

fn owned(owner: &str, name: &str) -> OwnedBucket {
    OwnedBucket {
        partition: "aws".parse().unwrap(),
        account: owner.parse().unwrap(),
        name: name.parse().unwrap(),
    }
}

async fn region(judged: &Judged, owner: &str, name: &str) -> Result<Option<String>, FailureKind> {
    match judged
        .cloud()
        .ask(&Question::Region(owned(owner, name)))
        .await
    {
        Answer::Region(_, Facet::Present(region)) => Ok(Some(region.to_string())),
        Answer::Region(_, Facet::Failed(failure)) => Err(failure.kind),
        _ => Ok(None),
    }
}

fn called(judged: &Judged, operation: &str) -> Vec<String> {
    let calls = judged.aws.calls().into_iter();
    let calls = calls.filter(|call| call.operation == operation);
    calls.map(|call| call.region).collect()
}

/// cloud-custodian/cloud-custodian#8005: an opt-in Region answers other Regions without the header that says where the bucket is.
#[tokio::test]
async fn a_bucket_is_found_in_a_region_that_has_to_be_enabled() {
    let judged = Judged::new();
    judged.aws.with(|state| {
        let far = bucket(DR, "il-central-1");
        state.buckets.insert("far".to_owned(), far);
    });
    let found = region(&judged, DR, "far").await;
    assert_eq!(found, Ok(Some("il-central-1".to_owned())));
    assert_eq!(called(&judged, "s3:HeadBucket"), ["us-east-1"]);
    assert_eq!(region(&judged, DR, "nowhere").await, Ok(None));
}

/// A policy of the organization that denies calls in other Regions also denies to ask there.
#[tokio::test]
async fn a_bucket_is_found_if_calls_in_the_home_region_are_denied() {
    let judged = Judged::new();
    let denied = |code: &str| Weather {
        faults: vec![Fault {
            operation: "s3:GetBucketLocation".to_owned(),
            after: 0,
            times: 1,
            kind: FaultKind::Error(403, code.to_owned()),
            ..Fault::default()
        }],
        ..Weather::default()
    };
    judged.aws.set_weather(denied("AccessDenied"));
    let found = region(&judged, DR, "dest").await;
    assert_eq!(found, Ok(Some("us-west-2".to_owned())));
    // In the Region that was asked, a denial is one.
    judged.aws.set_weather(denied("AccessDenied"));
    let found = region(&judged, PROD, "source").await;
    assert_eq!(found, Err(FailureKind::Denied));
}

#[tokio::test]
async fn an_account_is_called_in_its_own_region() {
    let mut judged = Judged::new();
    let role = format!("arn:aws:iam::{DR}:role/bucket-replication-operator");
    let spec = json!({"region": "eu-central-1", "assumeRole": {"roleARN": role, "externalID": "an-external-id"}});
    judged.cluster.accounts = vec![account("dr", DR, &spec)];
    assert_eq!(
        region(&judged, DR, "dest").await,
        Ok(Some("us-west-2".to_owned()))
    );
    for operation in ["sts:AssumeRole", "s3:GetBucketLocation"] {
        assert_eq!(called(&judged, operation), ["eu-central-1"], "{operation}");
    }
}

#[tokio::test]
async fn a_role_is_assumed_again_if_its_session_has_ended() {
    let judged = Judged::new();
    for (code, kind) in [
        ("ExpiredToken", FailureKind::Transient),
        ("InvalidAccessKeyId", FailureKind::Denied),
    ] {
        let before = called(&judged, "sts:AssumeRole").len();
        judged.aws.set_weather(Weather {
            faults: vec![Fault {
                operation: "s3:GetBucketLocation".to_owned(),
                after: 1,
                times: 5,
                kind: FaultKind::Error(400, code.to_owned()),
                ..Fault::default()
            }],
            ..Weather::default()
        });
        assert!(region(&judged, PROD, "source").await.is_ok());
        assert_eq!(region(&judged, PROD, "source").await, Err(kind), "{code}");
        judged.aws.set_weather(Weather::default());
        assert!(region(&judged, PROD, "source").await.is_ok());
        let assumed = called(&judged, "sts:AssumeRole").len() - before;
        assert_eq!(assumed, usize::from(before == 0) + 1, "{code}");
    }
}

#[tokio::test]
async fn without_credentials_the_message_says_how_to_give_them() {
    let judged = Judged::new();
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(InProcess(Arc::clone(&judged.aws)))
        .endpoint_url("http://aws.localhost")
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(NoCredentials))
        .build();
    let mut cloud = judged.cloud();
    cloud.aws = Aws::new(config, installation(), Metrics::default());
    let question = Question::Region(owned(PROD, "source"));
    let Answer::Region(_, Facet::Failed(failure)) = cloud.ask(&question).await else {
        panic!("there are no credentials");
    };
    assert_eq!(failure.kind, FailureKind::NoCredentials);
    assert!(
        failure.message.starts_with("there are no AWS credentials"),
        "{failure}"
    );
    assert!(!failure.message.contains("chain"), "{failure}");
}

/// A chain of providers none of which has credentials.
#[derive(Debug)]
struct NoCredentials;

impl aws_credential_types::provider::ProvideCredentials for NoCredentials {
    fn provide_credentials<'a>(
        &'a self,
    ) -> aws_credential_types::provider::future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let none = aws_credential_types::provider::error::CredentialsError::not_loaded(
            "no providers in chain provided credentials",
        );
        aws_credential_types::provider::future::ProvideCredentials::ready(Err(none))
    }
}

/// IAM shows a new role only after a while.
#[tokio::test]
async fn what_a_write_does_not_find_is_not_visible_yet() {
    let judged = Judged::new();
    let step = Step::PutRolePolicy {
        account: PROD.parse().unwrap(),
        role: "brepl-test-source-d74c4c7f".parse().unwrap(),
        policy: "brepl-test-source-d74c4c7f".parse().unwrap(),
        document: document(json!({"Version": "2012-10-17", "Statement": []})),
    };
    let failure = judged.cloud().apply(&step).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Transient, "{failure}");
}

/// An edit may wait for others, and the account may say meanwhile that its policies are only checked.
#[tokio::test]
async fn a_policy_that_is_only_checked_now_is_not_written() {
    let mut judged = Judged::new();
    let (installation, role) = (installation(), judged.cloud().role);
    let own: RoleArn = format!("arn:aws:iam::{PROD}:role/{}", role.name)
        .parse()
        .unwrap();
    let statement = Statement::allow(
        &installation,
        Purpose::Replicas,
        role.name.as_str(),
        Some(&Grantee::Roles(OwnRoles::with(&own, &installation))),
        &["s3:ReplicateObject"],
        &["arn:aws:s3:::dest/*".to_owned()],
        &vec![],
    );
    let step = Step::PutBucketPolicy {
        bucket: owned(DR, "dest"),
        region: "us-west-2".parse().unwrap(),
        edit: StatementEdit::adding(&[statement], &installation, &role),
        document: Document::default(),
    };
    for (mode, expected, calls) in [
        ("Check", Err(FailureKind::Outdated), 0),
        ("Manage", Ok(()), 1),
    ] {
        let mut cloud = judged.cloud();
        judged.cluster.edit_account("dr", |spec| {
            spec["policies"] = json!({"bucketPolicy": mode});
        });
        let accounts = Arc::new(Accounts::new(&judged.cluster.accounts));
        cloud.latest = LatestAccounts::by(move || Arc::clone(&accounts));
        let applied = cloud.apply(&step).await.map_err(|failure| failure.kind);
        assert_eq!(applied, expected);
        assert_eq!(called(&judged, "s3:PutBucketPolicy").len(), calls, "{mode}");
    }
}

/// Thousands of visits may wait for their turn to edit one policy: each holds the state of its step meanwhile.
#[tokio::test]
async fn a_step_that_waits_is_small() {
    let cloud = Judged::new().cloud();
    let step = Step::Settle;
    let (apply, question) = (
        cloud.apply(&step),
        Question::Versioning(owned(PROD, "source"), "us-east-1".parse().unwrap()),
    );
    let sizes = (size_of_val(&apply), size_of_val(&cloud.ask(&question)));
    apply.await.unwrap();
    assert!(sizes.0 <= 2_048 && sizes.1 <= 512, "{sizes:?} bytes");
}
