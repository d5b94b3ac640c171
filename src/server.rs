//! `/metrics`, `/healthz` and `/readyz`.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE},
    },
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;

use crate::metrics::{Format, Metrics};

/// Whether every watch has listed what there is.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Marks the operator as ready.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Serves until `stop`.
///
/// # Errors
/// When the address can't be bound.
pub async fn serve(
    address: SocketAddr,
    metrics: Metrics,
    ready: Readiness,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "serving /metrics, /healthz and /readyz");
    let answer = move || {
        let is_ready = ready.0.load(Ordering::Relaxed);
        std::future::ready(if is_ready {
            (StatusCode::OK, "ok\n")
        } else {
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the watches are not synced yet\n",
            )
        })
    };
    let progress = metrics.clone();
    let health = move || {
        std::future::ready(match progress.stuck() {
            None => (StatusCode::OK, "ok\n".to_owned()),
            Some(stuck) => {
                tracing::error!(stuck, "the operator does not go on");
                (StatusCode::SERVICE_UNAVAILABLE, stuck + "\n")
            }
        })
    };
    let text = move |headers: HeaderMap| {
        let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
        let format = Format::accepted(accept);
        std::future::ready(match metrics.text(format) {
            Ok(text) => ([(CONTENT_TYPE, format.content_type())], text).into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        })
    };
    let routes = Router::new()
        .route("/healthz", get(health))
        .route("/readyz", get(answer))
        .route("/metrics", get(text));
    axum::serve(listener, routes)
        .with_graceful_shutdown(stop)
        .await
}
