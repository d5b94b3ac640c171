//! A proxy as companies have them: what is beyond it has a name that only the proxy resolves.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A proxy that runs until it is dropped.
#[derive(Debug)]
pub struct ForwardProxy {
    /// What clients use as their proxy.
    pub url: String,
    tunnels: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ForwardProxy {
    /// Starts a proxy on loopback that leads from `name`, with any port, to `address`, and nowhere else.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(name: &'static str, address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let tunnels = Arc::<AtomicUsize>::default();
        let opened = Arc::clone(&tunnels);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let opened = Arc::clone(&opened);
                tokio::spawn(async move {
                    // A client may go away at any time.
                    let _ = tunnel(client, name, address, &opened).await;
                });
            }
        });
        Ok(Self { url, tunnels, task })
    }

    /// How many tunnels were opened.
    #[must_use]
    pub fn tunnels(&self) -> usize {
        self.tunnels.load(Ordering::Relaxed)
    }
}

/// Answers one CONNECT ("CONNECT" in RFC 9110).
async fn tunnel(
    mut client: TcpStream,
    name: &str,
    address: SocketAddr,
    opened: &AtomicUsize,
) -> std::io::Result<()> {
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") && head.len() < 8192 {
        head.push(client.read_u8().await?);
    }
    if !head.starts_with(format!("CONNECT {name}:").as_bytes()) {
        return client
            .write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            .await;
    }
    let mut server = TcpStream::connect(address).await?;
    opened.fetch_add(1, Ordering::Relaxed);
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    tokio::io::copy_bidirectional(&mut client, &mut server)
        .await
        .map(drop)
}
