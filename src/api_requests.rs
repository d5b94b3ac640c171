//! What becomes of requests to the API server, each attempt of its own: their outcome is counted, and watches are noted as progress.

use http::{Request, Response, StatusCode};
use tower::{BoxError, Layer, Service};

use crate::{
    metrics::{Metrics, RequestOutcome},
    progress::Progress,
};

/// Learns of every request of a client.
pub trait Observer: Clone + Send + 'static {
    /// A request for `path` is sent.
    fn sent(&self, path: &str);
    /// It was answered with `status`, or not at all.
    fn ended(&self, path: &str, status: Option<StatusCode>);
}

/// Counts every request.
impl Observer for Metrics {
    fn sent(&self, _: &str) {}

    fn ended(&self, _: &str, status: Option<StatusCode>) {
        self.requested(status.map_or(RequestOutcome::Unreachable, outcome));
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

/// Notes every request of the client for watches.
impl Observer for Progress {
    fn sent(&self, path: &str) {
        self.tried(path);
    }

    fn ended(&self, path: &str, status: Option<StatusCode>) {
        if status.is_some_and(|status| status.is_success()) {
            self.answered(path);
        }
    }
}

/// Lets an observer learn of every request of a client.
#[derive(Clone, Debug)]
pub struct Observe<O>(pub O);

impl<S, O: Clone> Layer<S> for Observe<O> {
    type Service = Observed<S, O>;

    fn layer(&self, inner: S) -> Observed<S, O> {
        Observed {
            inner,
            observer: self.0.clone(),
        }
    }
}

/// A client whose requests are observed.
#[derive(Clone, Debug)]
pub struct Observed<S, O> {
    inner: S,
    observer: O,
}

impl<S, O, Body, Answer> Service<Request<Body>> for Observed<S, O>
where
    S: Service<Request<Body>, Response = Response<Answer>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    O: Observer,
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
        let path = request.uri().path().to_owned();
        self.observer.sent(&path);
        let observer = self.observer.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            observer.ended(&path, answer.as_ref().ok().map(Response::status));
            answer
        })
    }
}
