//! How many calls a second the strict AWS answers on one core: `make bench-aws`. Four reads for each write, by a user whose policy is evaluated, of a
//! bucket whose policy is evaluated too.

use std::{
    error::Error,
    io::{Write, stdout},
    time::{Duration, Instant},
};

use documents::{names::AccountId, policy::Document};
use serde_json::{Value, json};
use strict_aws::{
    Aws,
    message::Request,
    state::{Bucket, Identity, User},
    weather::Served,
};

const ACCOUNT: &str = "111111111111";
const KEY: &str = "AKIAEXAMPLE";

fn document(statement: &Value) -> Result<Document, Box<dyn Error>> {
    let text = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
    Document::parse(&text).map_err(|error| error.to_string().into())
}

fn request(method: &str, query: &str, body: &str) -> Request {
    let scope = format!(
        "AWS4-HMAC-SHA256 Credential={KEY}/20260101/us-east-1/s3/aws4_request, Signature=x"
    );
    Request {
        method: method.to_owned(),
        path: "/records".to_owned(),
        query: query.to_owned(),
        headers: [("authorization".to_owned(), scope)].into(),
        body: body.as_bytes().to_vec(),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let aws = Aws::default();
    let account: AccountId = ACCOUNT.parse()?;
    let may = document(
        &json!({"Effect": "Allow", "Action": ["s3:Get*", "s3:PutBucketPolicy"], "Resource": "arn:aws:s3:::records"}),
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
    let requests = [
        request("PUT", "policy", &policy.compact()),
        request("GET", "policy", ""),
        request("GET", "versioning", ""),
        request("GET", "encryption", ""),
        request("GET", "location", ""),
    ];
    let (began, mut calls) = (Instant::now(), 0_u32);
    while began.elapsed() < Duration::from_secs(3) {
        for request in &requests {
            match aws.serve(request).1 {
                Served::Answer(answer) if answer.status < 300 => calls += 1,
                other => return Err(format!("{request:?}: {other:?}").into()),
            }
        }
        let _ = aws.take_calls();
    }
    let rate = f64::from(calls) / began.elapsed().as_secs_f64();
    writeln!(stdout(), "{rate:.0} calls a second on one core")?;
    Ok(())
}
