//! Counts requests to the API server by their outcome, each attempt of its own.

use http::{Request, Response, StatusCode};
use tower::{BoxError, Layer, Service};

use crate::metrics::{Metrics, RequestOutcome};

/// Counts every request of a client.
#[derive(Clone, Debug)]
pub struct CountRequests(pub Metrics);

impl<S> Layer<S> for CountRequests {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            metrics: self.0.clone(),
        }
    }
}

/// A client whose requests are counted.
#[derive(Clone, Debug)]
pub struct Counted<S> {
    inner: S,
    metrics: Metrics,
}

impl<S, Body, Answer> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<Answer>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = futures::future::BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let metrics = self.metrics.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            metrics.requested(match &answer {
                Ok(answer) => outcome(answer.status()),
                Err(_) => RequestOutcome::Unreachable,
            });
            answer
        })
    }
}

fn outcome(status: StatusCode) -> RequestOutcome {
    match status {
        StatusCode::CONFLICT => RequestOutcome::Conflict,
        StatusCode::NOT_FOUND | StatusCode::GONE => RequestOutcome::NotFound,
        StatusCode::TOO_MANY_REQUESTS => RequestOutcome::Throttled,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RequestOutcome::Denied,
        status if status.is_success() => RequestOutcome::Ok,
        _ => RequestOutcome::Failed,
    }
}
