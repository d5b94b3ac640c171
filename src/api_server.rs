//! Clients of the Kubernetes API server, with a deadline for every call: one for calls, and one for watches, so that neither blocks the other.

use std::time::Duration;

use anyhow::Context;
use kube::{
    Client, Config,
    client::{ClientBuilder, retry::RetryPolicy},
    config::{KubeConfigOptions, Kubeconfig},
};
use tower::{ServiceBuilder, retry::RetryLayer, timeout::TimeoutLayer};

use crate::{api_requests::Observe, config::Cluster, metrics::Metrics};

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the API server may take to answer or to continue an answer, and to open a watch.
const ANSWER: Duration = Duration::from_secs(15);
/// With all retries, a call takes no longer.
const CALL: Duration = Duration::from_secs(30);
/// The first and the longest wait before a retry that the API server asks for without saying how long to wait.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// More tries than fit into `CALL`.
const RETRIES: u32 = 15;

/// The API server ends a watch after this many seconds, and the watch is restarted; load balancers close silent connections after about four
/// minutes.
pub const WATCH_SECONDS: u32 = 45;
/// The client ends a watch that the API server does not end in time.
const WATCH_SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 15);

/// How to reach the API server: the kubeconfig, or the `ServiceAccount` of the pod.
///
/// # Errors
/// When there is neither.
async fn config() -> anyhow::Result<Config> {
    Config::infer()
        .await
        .context("no cluster: set KUBECONFIG, or run in a pod with a ServiceAccount")
}

/// A client for calls, counted in `metrics`. Each attempt is answered within 15 seconds, and with its retries a call ends within 30.
///
/// # Errors
/// When there is no cluster to reach.
pub async fn client(metrics: &Metrics) -> anyhow::Result<Client> {
    for_calls(config().await?, metrics)
}

/// A client for calls to the cluster that a command names, and the namespace of its context.
///
/// # Errors
/// When there is no cluster to reach.
pub async fn client_of(cluster: &Cluster) -> anyhow::Result<(Client, String)> {
    let given = cluster.kubeconfig.is_some() || cluster.context.is_some();
    let config = if given {
        let kubeconfig = match &cluster.kubeconfig {
            Some(path) => Kubeconfig::read_from(path)
                .with_context(|| format!("{} is no kubeconfig", path.display()))?,
            None => Kubeconfig::read().context("the kubeconfig can't be read")?,
        };
        let options = KubeConfigOptions {
            context: cluster.context.clone(),
            ..KubeConfigOptions::default()
        };
        let context = options.context.clone();
        Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .with_context(|| match context {
                Some(context) => format!("context {context} can't be used"),
                None => "the current context can't be used".to_owned(),
            })?
    } else {
        config().await?
    };
    let namespace = config.default_namespace.clone();
    Ok((for_calls(config, &Metrics::default())?, namespace))
}

/// A client for watches, which are counted in `metrics` with its progress. Opening one is answered within 15 seconds, and one that hears nothing for a minute
/// ends.
///
/// # Errors
/// When there is no cluster to reach.
pub async fn watch_client(metrics: &Metrics) -> anyhow::Result<Client> {
    for_watches(config().await?, metrics)
}

fn for_calls(mut config: Config, metrics: &Metrics) -> anyhow::Result<Client> {
    config.connect_timeout = Some(CONNECT);
    (config.read_timeout, config.write_timeout) = (Some(ANSWER), Some(ANSWER));
    config.reset_reader_on_write = true;
    // kube's default retries a call for minutes.
    config.default_retry = false;
    let retry = RetryPolicy::new(RETRY.0, RETRY.1, RETRIES, true)?;
    let layers = ServiceBuilder::new()
        .layer(TimeoutLayer::new(CALL))
        .layer(RetryLayer::new(retry))
        .layer(Observe(metrics.clone()))
        .layer(TimeoutLayer::new(ANSWER));
    Ok(ClientBuilder::try_from(config)?
        .with_layer(&tower::buffer::BufferLayer::new(1024))
        .with_layer(&layers.into_inner())
        .build())
}

fn for_watches(mut config: Config, metrics: &Metrics) -> anyhow::Result<Client> {
    config.connect_timeout = Some(CONNECT);
    (config.read_timeout, config.write_timeout) = (Some(WATCH_SILENCE), Some(ANSWER));
    config.reset_reader_on_write = true;
    // A watcher has its own backoff.
    config.default_retry = false;
    Ok(ClientBuilder::try_from(config)?
        .with_layer(&TimeoutLayer::new(ANSWER))
        .with_layer(&Observe(metrics.clone()))
        .with_layer(&Observe(metrics.progress().clone()))
        .build())
}

#[cfg(test)]
mod tests {
    use std::{
        net::SocketAddr,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Instant,
    };

    use futures::StreamExt;
    use k8s_openapi::api::core::v1::Namespace;
    use kube::{Api, api::WatchParams};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::metrics::Format;

    /// An API server that takes every connection, and answers with this text, or never.
    async fn server(answer: Option<&'static str>) -> (Config, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address: SocketAddr = listener.local_addr().expect("an address");
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let asked = Arc::clone(&counted);
                tokio::spawn(async move {
                    let mut buffer = vec![0; 65536];
                    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                        asked.fetch_add(1, Ordering::Relaxed);
                        if let Some(answer) = answer {
                            let _ = stream.write_all(answer.as_bytes()).await;
                        }
                    }
                });
            }
        });
        (
            Config::new(format!("http://{address}").parse().expect("an address")),
            asked,
        )
    }

    const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    /// A watch that opens, and says nothing.
    const SILENT: &str =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";

    async fn call(config: Config, metrics: &Metrics) -> (Duration, kube::Error) {
        let namespaces: Api<Namespace> = Api::all(for_calls(config, metrics).expect("a client"));
        let start = Instant::now();
        let error = namespaces.get("default").await.expect_err("no answer");
        (start.elapsed(), error)
    }

    // They wait in real time, side by side: the clients' timers belong to real connections.
    #[tokio::test]
    async fn no_call_and_no_watch_waits_for_ever() {
        let (dead, _) = server(None).await;
        let (unavailable, asked) = server(Some(UNAVAILABLE)).await;
        let (silent, _) = server(Some(SILENT)).await;
        let watch = async |config: Config| {
            let metrics = Metrics::default();
            let client = for_watches(config, &metrics).expect("a client");
            let namespaces: Api<Namespace> = Api::all(client);
            let start = Instant::now();
            let opened = namespaces.watch(&WatchParams::default(), "0").await;
            let ended = match opened {
                Ok(events) => Box::pin(events)
                    .next()
                    .await
                    .is_none_or(|event| event.is_err()),
                Err(_) => true,
            };
            assert!(metrics.progress().watch_ages().contains_key("namespaces"));
            (start.elapsed(), ended)
        };
        let metrics = Metrics::default();
        let (unanswered, refused, unopened, silent) = tokio::join!(
            call(dead.clone(), &metrics),
            call(unavailable, &metrics),
            watch(dead),
            watch(silent)
        );
        let about = |took: Duration, bound: Duration| took <= bound + Duration::from_secs(5);
        assert!(about(unanswered.0, ANSWER), "{unanswered:?}");
        assert!(
            about(refused.0, CALL) && asked.load(Ordering::Relaxed) > 3,
            "{refused:?}"
        );
        // Each attempt is counted, also one that is not answered.
        let counted = metrics.text(Format::OpenMetrics).expect("text");
        let failed = asked.load(Ordering::Relaxed);
        for (outcome, number) in [("failed", failed), ("unreachable", 1)] {
            let line = format!(
                "bucket_replication_api_server_requests_total{{outcome=\"{outcome}\"}} {number}\n"
            );
            assert!(counted.contains(&line), "{counted}");
        }
        assert!(unopened.1 && about(unopened.0, ANSWER), "{unopened:?}");
        assert!(
            silent.1 && silent.0 > ANSWER && about(silent.0, WATCH_SILENCE),
            "{silent:?}"
        );
    }
}
