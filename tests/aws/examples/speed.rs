//! Calls a second on one core, of the kinds that the operator makes: `cargo run --release -p strict-aws --example speed`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it prints what it measures"
)]

use std::time::Instant;

use strict_aws::{Aws, message::Request, weather::Served};

fn request(method: &str, path: &str, query: &str, service: &str, body: &str) -> Request {
    let scope = format!(
        "AWS4-HMAC-SHA256 Credential=111111111111/20260101/us-east-1/{service}/aws4_request, x"
    );
    Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: [("authorization".to_owned(), scope)].into(),
        body: body.as_bytes().to_vec(),
    }
}

fn main() {
    let aws = Aws::default();
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"222222222222"},"Action":"s3:ReplicateObject","Resource":"arn:aws:s3:::source/*"}]}"#;
    let trust = "Action=CreateRole&RoleName=r&AssumeRolePolicyDocument=%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Principal%22%3A%7B%22Service%22%3A%22s3.amazonaws.com%22%7D%2C%22Action%22%3A%22sts%3AAssumeRole%22%7D%5D%7D";
    let answered = |request: &Request| match aws.serve(request).1 {
        Served::Answer(answer) => answer.status,
        Served::Dropped => 0,
    };
    for request in [
        request("PUT", "/source", "", "s3", ""),
        request("POST", "/", "", "iam", trust),
    ] {
        assert_eq!(answered(&request), 200);
    }
    let calls = [
        request("PUT", "/source", "policy", "s3", policy),
        request("GET", "/source", "policy", "s3", ""),
        request("GET", "/source", "location", "s3", ""),
        request("GET", "/source", "versioning", "s3", ""),
        request("POST", "/", "", "iam", "Action=GetRole&RoleName=r"),
        request("POST", "/", "", "sts", "Action=GetCallerIdentity"),
    ];
    let rounds = 20_000_u32;
    let started = Instant::now();
    for _ in 0..rounds {
        for call in &calls {
            assert!(answered(call) < 300);
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let made = f64::from(rounds) * 6.0;
    println!(
        "{made:.0} calls in {seconds:.2} s: {:.0} a second",
        made / seconds
    );
}
