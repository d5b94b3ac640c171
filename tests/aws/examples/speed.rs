//! How many calls a second the strict AWS answers on one core, of the kinds that the operator makes: `make bench-aws`. They are made by a user whose
//! policy is evaluated, and so is the bucket's.

use std::{
    error::Error,
    io::{Write, stdout},
    time::{Duration, Instant},
};

use documents::{names::AccountId, policy::Document};
use serde_json::{Value, json};
use strict_aws::{
    Aws,
    message::{Request, encoded},
    state::{Bucket, Identity, User},
    weather::Served,
};

const ACCOUNT: &str = "111111111111";
const KEY: &str = "AKIAEXAMPLE";

fn document(statement: &Value) -> Result<Document, Box<dyn Error>> {
    let text = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
    Document::parse(&text).map_err(|error| error.to_string().into())
}

fn request(service: &str, method: &str, path: &str, query: &str, body: &str) -> Request {
    let scope = format!(
        "AWS4-HMAC-SHA256 Credential={KEY}/20260101/us-east-1/{service}/aws4_request, Signature=x"
    );
    Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: [("authorization".to_owned(), scope)].into(),
        body: body.as_bytes().to_vec(),
    }
}

/// One, if it is answered and not refused.
fn answered(aws: &Aws, request: &Request) -> Result<u32, Box<dyn Error>> {
    match aws.serve(request).1 {
        Served::Answer(answer) if answer.status < 300 => Ok(1),
        other => Err(format!("{request:?}: {other:?}").into()),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let aws = Aws::default();
    let account: AccountId = ACCOUNT.parse()?;
    let may = document(
        &json!({"Effect": "Allow", "Action": ["s3:Get*", "s3:PutBucketPolicy", "iam:CreateRole", "iam:GetRole"], "Resource": "*"}),
    )?;
    aws.with(|state| {
        let bucket = Bucket {
            versioning: Some(true),
            ..Bucket::new(account.clone(), "us-east-1")
        };
        state.buckets.insert("records".to_owned(), bucket);
        let user = User {
            id: "AIDAEXAMPLE".to_owned(),
            inline: [("records".to_owned(), may)].into(),
        };
        let name = "reader".to_owned();
        state.users.insert((account.clone(), name.clone()), user);
        let identity = Identity::User(account, name);
        state.credentials.insert(KEY.to_owned(), identity);
    });
    let policy = document(
        &json!({"Sid": "Tls", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::records",
            "Condition": {"Bool": {"aws:SecureTransport": "false"}}}),
    )?;
    let trust = encoded(
        &json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "sts:AssumeRole",
        }]})
        .to_string(),
    );
    let s3 = |method: &str, query: &str, body: &str| request("s3", method, "/records", query, body);
    let form = |service: &str, body: &str| request(service, "POST", "/", "", body);
    let create = format!("Action=CreateRole&RoleName=replication&AssumeRolePolicyDocument={trust}");
    let _ = answered(&aws, &form("iam", &create))?;
    let requests = [
        s3("PUT", "policy", &policy.compact()),
        s3("GET", "policy", ""),
        s3("GET", "location", ""),
        s3("GET", "versioning", ""),
        form("iam", "Action=GetRole&RoleName=replication"),
        form("sts", "Action=GetCallerIdentity"),
    ];
    let (began, mut calls) = (Instant::now(), 0_u32);
    while began.elapsed() < Duration::from_secs(3) {
        for request in &requests {
            calls += answered(&aws, request)?;
        }
        let _ = aws.take_calls();
    }
    let rate = f64::from(calls) / began.elapsed().as_secs_f64();
    writeln!(stdout(), "{rate:.0} calls a second on one core")?;
    Ok(())
}
