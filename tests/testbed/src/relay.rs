//! A relay in front of the API server that can fall silent: it takes connections and bytes, and hands nothing on until it may again.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

use crate::environment::Environment;

/// A relay that runs until it is dropped.
#[derive(Debug)]
pub struct Relay {
    /// A kubeconfig that leads through the relay.
    pub kubeconfig: PathBuf,
    silent: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// Starts a relay in front of the API server of `environment`, for the client whose kubeconfig `through` is.
    ///
    /// # Errors
    /// When there is no free port, or the kubeconfig names no server.
    pub async fn start(
        environment: &Environment,
        through: &Path,
        name: &str,
    ) -> anyhow::Result<Self> {
        let mut config: serde_json::Value = serde_json::from_str(&fs::read_to_string(through)?)?;
        let server = config["clusters"][0]["cluster"]["server"]
            .as_str()
            .context("no server")?
            .to_owned();
        let upstream: SocketAddr = server.trim_start_matches("https://").parse()?;
        let listener = TcpListener::bind((upstream.ip(), 0)).await?;
        config["clusters"][0]["cluster"]["server"] =
            format!("https://{}", listener.local_addr()?).into();
        let kubeconfig = environment
            .directory
            .join(format!("kubeconfig-{name}-relayed"));
        fs::write(&kubeconfig, format!("{config:#}"))?;
        let (silent, hears) = watch::channel(false);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connect(client, upstream, hears.clone()));
            }
        });
        Ok(Self {
            kubeconfig,
            silent,
            task,
        })
    }

    /// Falls silent, or speaks again: what came meanwhile is handed on then.
    pub fn set_silent(&self, silent: bool) {
        // Nobody listens where no connection is open.
        let _ = self.silent.send(silent);
    }
}

async fn connect(client: TcpStream, upstream: SocketAddr, silent: watch::Receiver<bool>) {
    let Ok(server) = TcpStream::connect(upstream).await else {
        return;
    };
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    tokio::join!(
        hand_on(from_client, to_server, silent.clone()),
        hand_on(from_server, to_client, silent)
    );
}

async fn hand_on(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut silent: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read) = from.read(&mut buffer).await {
        if silent.wait_for(|silent| !silent).await.is_err()
            || read == 0
            || to.write_all(&buffer[..read]).await.is_err()
        {
            return;
        }
    }
}
