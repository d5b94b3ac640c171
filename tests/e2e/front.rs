//! A front of the API server that can be in trouble: it answers with an error, refuses connections, or lets watches fall silent.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use futures::{StreamExt, stream};
use kube::{
    Client,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
};

/// What is wrong with the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// It answers every request with this status.
    Answers(StatusCode),
    /// It takes no connection.
    Refuses,
    /// The watches that are open say nothing any longer.
    FrozenWatches,
}

#[derive(Clone)]
struct Shared {
    upstream: Client,
    trouble: watch::Sender<Trouble>,
    requests: Arc<AtomicUsize>,
}

/// A front that runs until it is dropped.
pub struct Front {
    /// A kubeconfig that leads through it.
    pub kubeconfig: PathBuf,
    address: SocketAddr,
    shared: Shared,
    /// Its own, so that it can end with all connections, as a process does.
    runtime: Option<Runtime>,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.close();
    }
}

impl Front {
    /// Starts one on loopback, in front of the API server of `kubeconfig`, whose user it is for everyone.
    pub async fn start(kubeconfig: &Path, file: PathBuf) -> anyhow::Result<Self> {
        let options = KubeConfigOptions::default();
        let through = Kubeconfig::read_from(kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(through, &options).await?;
        let shared = Shared {
            upstream: Client::try_from(config)?,
            trouble: watch::Sender::new(Trouble::None),
            requests: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let text = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "front",
            "clusters": [{"name": "front", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "front", "user": {}}],
            "contexts": [{"name": "front", "context": {"cluster": "front", "user": "front"}}],
        });
        std::fs::write(&file, text.to_string())?;
        Ok(Self {
            kubeconfig: file,
            address,
            runtime: Some(serve(listener, shared.clone())?),
            shared,
        })
    }

    /// From now on.
    pub fn set(&mut self, trouble: Trouble) -> anyhow::Result<()> {
        self.shared.trouble.send_replace(trouble);
        if trouble == Trouble::Refuses {
            self.close();
        } else if self.runtime.is_none() {
            let listener = TcpListener::bind(self.address)?;
            self.runtime = Some(serve(listener, self.shared.clone())?);
        }
        Ok(())
    }

    /// How many requests came so far.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }

    fn close(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn serve(listener: TcpListener, shared: Shared) -> std::io::Result<Runtime> {
    listener.set_nonblocking(true)?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let routes = Router::new().fallback(answer).with_state(shared);
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        axum::serve(listener, routes).await
    });
    Ok(runtime)
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let now = *shared.trouble.borrow();
    if let Trouble::Answers(status) = now {
        return status.into_response();
    }
    let is_watch = request
        .uri()
        .query()
        .is_some_and(|query| query.contains("watch=true"));
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let request = Request::from_parts(head, kube::client::Body::from(body.to_vec()));
    let Ok(answered) = shared.upstream.send(request).await else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    let answered = answered.map(Body::new);
    if !is_watch {
        return answered;
    }
    let mut trouble = shared.trouble.subscribe();
    let frozen = async move {
        let _ = trouble.wait_for(|now| *now == Trouble::FrozenWatches).await;
    };
    answered.map(|body| {
        let events = body.into_data_stream().take_until(Box::pin(frozen));
        Body::from_stream(events.chain(stream::pending()))
    })
}
