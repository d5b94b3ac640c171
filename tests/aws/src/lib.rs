//! An AWS that judges: S3, IAM, KMS and STS as far as the operator and its tests call them. It refuses what AWS refuses, with AWS's codes, evaluates
//! identity, trust, bucket and key policies and permissions boundaries on every call, and replicates objects under the permissions of the
//! replication role alone.
//!
//! [`Aws::serve`] answers a request; [`server`] does so on loopback, and [`connector`] in process.

pub mod connector;
pub mod decisions;
pub mod iam;
pub mod judge;
pub mod kms;
pub mod message;
pub mod principals;
pub mod query;
pub mod replicate;
pub mod s3;
pub mod server;
pub mod state;
pub mod sts;
pub mod xml;

use std::sync::{Mutex, PoisonError};

use message::{Refusal, Request, Response};
use query::Form;
use serde_json::json;
use state::State;

/// All of it.
#[derive(Debug, Default)]
pub struct Aws {
    state: Mutex<State>,
}

impl Aws {
    /// Answers a request.
    #[must_use]
    pub fn serve(&self, request: &Request) -> Response {
        self.with(|state| answer(state, request))
    }

    /// What exists, for a test that looks at it or changes it without a call.
    pub fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn answer(state: &mut State, request: &Request) -> Response {
    let service = request
        .signature()
        .map_or("s3", |(_, _, service)| service)
        .to_owned();
    let region = request
        .signature()
        .map_or("us-east-1", |(_, region, _)| region)
        .to_owned();
    let answered = state.who(request).and_then(|who| match service.as_str() {
        "iam" => iam::call(state, &who, &Form::read(&request.body)),
        "sts" => sts::call(state, &who, &Form::read(&request.body)),
        "kms" => {
            let target = request.header("x-amz-target").unwrap_or_default();
            let action = target.rsplit('.').next().unwrap_or_default();
            kms::call(state, &who, &region, action, &request.body)
        }
        _ => s3::call(state, &who, &region, request),
    });
    let mut response = answered.unwrap_or_else(|refusal| refused(&service, &refusal));
    if request.method == "HEAD" {
        response.body.clear();
    }
    response
        .with("x-amz-request-id", "REQUEST")
        .with("x-amzn-requestid", "REQUEST")
}

/// A refusal in the form of the service.
fn refused(service: &str, refusal: &Refusal) -> Response {
    let (code, message) = (&refusal.code, xml::escaped(&refusal.message));
    let mut response = match service {
        "kms" => Response::of(
            "application/x-amz-json-1.1",
            json!({"__type": code, "message": refusal.message}).to_string(),
        ),
        "iam" | "sts" => Response::xml(format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>REQUEST</RequestId></ErrorResponse>"
        )),
        _ => Response::xml(format!(
            "<Error><Code>{code}</Code><Message>{message}</Message><RequestId>REQUEST</RequestId></Error>"
        )),
    };
    response.status = refusal.status;
    response.headers.extend(refusal.headers.iter().cloned());
    response
}
