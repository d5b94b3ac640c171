//! Counts each attempt of a call to AWS, makes it a span, and logs it with AWS's request ID.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{
            Intercept,
            context::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef},
            dyn_dispatch_hint,
        },
        orchestrator::{HttpResponse, Metadata},
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::{
    config_bag::{ConfigBag, Storable, StoreReplace},
    error::display::DisplayErrorContext,
};
use tracing::{Span, field::Empty};

use super::{
    error::{ends_session, kind},
    pace::{Paced, PacedAccount, Paces, Quota},
};
use crate::{
    metrics::{CallOutcome, Metrics},
    replication::{
        names::{AccountId, Region},
        observed::FailureKind,
    },
};

/// Reports every attempt to the metrics, the log and the trace, and to the pace of further calls.
#[derive(Clone, Debug)]
pub struct Attempts {
    metrics: Metrics,
    ended: Arc<AtomicBool>,
    paces: Paces,
    /// Of which calls they are, if calls wait for their turn.
    of: Option<(PacedAccount, Region)>,
}

impl Attempts {
    /// Those of a new session.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            ended: Arc::default(),
            paces: Paces::default(),
            of: None,
        }
    }

    /// Those of another new session.
    #[must_use]
    pub fn of_new_session(&self) -> Self {
        Self {
            ended: Arc::default(),
            ..self.clone()
        }
    }

    /// Those of a client for this account and Region.
    #[must_use]
    pub fn paced(&self, account: &PacedAccount, region: &Region) -> Self {
        Self {
            of: Some((account.clone(), region.clone())),
            ..self.clone()
        }
    }

    /// Forgets the paces of all accounts but those that `exists` knows.
    pub fn keep_only(&self, exists: &dyn Fn(&AccountId) -> bool) {
        self.paces.keep_only(exists);
    }

    /// The pace of calls.
    #[must_use]
    pub fn pace(&self, account: &PacedAccount, quota: Quota, region: &Region) -> Paced {
        self.paces.of(account, quota, region, &self.metrics)
    }

    /// Counts an attempt with this outcome, and notes what it says about the pace of further ones.
    fn note(&self, service: &str, operation: &str, outcome: CallOutcome) {
        self.metrics.called(service, operation, outcome);
        let Some((account, region)) = &self.of else {
            return;
        };
        for quota in Quota::of(service, operation) {
            let paced = self.pace(account, *quota, region);
            match outcome {
                CallOutcome::Throttled => paced.throttled(),
                CallOutcome::Unreachable => paced.unanswered(),
                CallOutcome::Ok
                | CallOutcome::Denied
                | CallOutcome::NotFound
                | CallOutcome::Failed => paced.answered(),
            }
        }
    }

    /// Whether AWS no longer takes the session's credentials.
    #[must_use]
    pub fn have_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

/// The span of the attempt under way.
#[derive(Debug)]
struct Attempt(Span);

impl Storable for Attempt {
    type Storer = StoreReplace<Self>;
}

#[dyn_dispatch_hint]
impl Intercept for Attempts {
    fn name(&self) -> &'static str {
        "Attempts"
    }

    fn read_before_attempt(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(call) = config.load::<Metadata>() {
            // Names of OpenTelemetry's semantic conventions for calls of AWS SDKs.
            let span = tracing::info_span!(
                "call",
                otel.name = format!("{}.{}", call.service(), call.name()),
                otel.kind = "client",
                otel.status_code = Empty,
                rpc.system = "aws-api",
                rpc.service = call.service(),
                rpc.method = call.name(),
                http.response.status_code = Empty,
                aws.request_id = Empty,
            );
            config.interceptor_state().store_put(Attempt(span));
        }
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(call) = config.load::<Metadata>() else {
            return Ok(());
        };
        let status = context
            .response()
            .map(|response| response.status().as_u16());
        let code = context.response().and_then(code).unwrap_or_default();
        if ends_session(&code) {
            self.ended.store(true, Ordering::Relaxed);
        }
        let outcome = outcome(context.response(), &code);
        self.note(call.service(), call.name(), outcome);
        let request_id = context.response().and_then(request_id).unwrap_or_default();
        let (service, operation, reported) = (call.service(), call.name(), <&str>::from(outcome));
        let answered = matches!(outcome, CallOutcome::Ok | CallOutcome::NotFound);
        if answered {
            tracing::debug!(
                service,
                operation,
                status,
                request_id,
                outcome = reported,
                "AWS answered"
            );
        } else {
            let error = context
                .output_or_error()
                .and_then(Result::err)
                .map(|error| DisplayErrorContext(error).to_string());
            tracing::warn!(
                service,
                operation,
                status,
                request_id,
                outcome = reported,
                error,
                "AWS call failed"
            );
        }
        if let Some(Attempt(span)) = config.load::<Attempt>() {
            if let Some(status) = status {
                span.record("http.response.status_code", status);
            }
            if !answered {
                span.record("otel.status_code", "ERROR");
            }
            if !request_id.is_empty() {
                span.record("aws.request_id", request_id);
            }
        }
        // It ends here, not with the call's other attempts.
        config.interceptor_state().store_put(Attempt(Span::none()));
        Ok(())
    }
}

/// S3 has its own header; the other services share one.
fn request_id(response: &HttpResponse) -> Option<&str> {
    response
        .headers()
        .get("x-amz-request-id")
        .or_else(|| response.headers().get("x-amzn-requestid"))
}

/// The status alone is not enough: IAM and KMS also answer 400 to a caller that is denied or throttled.
fn outcome(response: Option<&HttpResponse>, code: &str) -> CallOutcome {
    let Some(response) = response else {
        return CallOutcome::Unreachable;
    };
    let status = response.status();
    if status.as_u16() < 400 {
        return CallOutcome::Ok;
    }
    match kind(code, "", Some(status.as_u16())) {
        FailureKind::Denied | FailureKind::DeniedByOrganization => CallOutcome::Denied,
        FailureKind::NotFound => CallOutcome::NotFound,
        FailureKind::Throttled => CallOutcome::Throttled,
        _ => CallOutcome::Failed,
    }
}

/// The error code in an answer: KMS answers in JSON, S3, IAM and STS in XML.
fn code(response: &HttpResponse) -> Option<String> {
    if response.status().is_success() {
        return None;
    }
    let text = std::str::from_utf8(response.body().bytes()?).ok()?;
    if let Ok(json) = serde_json::from_str::<serde_json::Value>(text) {
        let kind = json.get("__type")?.as_str()?;
        return Some(kind.rsplit('#').next().unwrap_or(kind).to_owned());
    }
    let (_, rest) = text.split_once("<Code>")?;
    rest.split_once("</Code>").map(|(code, _)| code.to_owned())
}

#[cfg(test)]
mod tests {
    use aws_smithy_types::body::SdkBody;

    use super::*;

    #[test]
    fn outcomes_are_read_from_what_aws_says() {
        let reported = |status: u16, body: &str| {
            let response =
                HttpResponse::new(status.try_into().expect("a status"), SdkBody::from(body));
            let code = code(&response).unwrap_or_default();
            outcome(Some(&response), &code)
        };
        let xml = |code: &str| {
            format!("<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>")
        };
        assert_eq!(reported(200, ""), CallOutcome::Ok);
        assert_eq!(reported(400, &xml("Throttling")), CallOutcome::Throttled);
        assert_eq!(
            reported(400, r#"{"__type":"ThrottlingException"}"#),
            CallOutcome::Throttled
        );
        assert_eq!(reported(503, &xml("SlowDown")), CallOutcome::Throttled);
        assert_eq!(
            reported(
                400,
                r#"{"__type":"com.amazonaws.kms#AccessDeniedException"}"#
            ),
            CallOutcome::Denied
        );
        assert_eq!(reported(403, ""), CallOutcome::Denied);
        assert_eq!(
            reported(404, &xml("NoSuchBucketPolicy")),
            CallOutcome::NotFound
        );
        assert_eq!(reported(400, &xml("MalformedPolicy")), CallOutcome::Failed);
        assert_eq!(outcome(None, ""), CallOutcome::Unreachable);
    }
}
