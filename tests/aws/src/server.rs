//! The same on loopback, over HTTP.

use std::{net::SocketAddr, sync::Arc};

use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::{
    Aws,
    message::{Request, Response},
    weather::Served,
};

/// Serves connections until the task is ended.
///
/// # Errors
/// When the address can't be listened on.
pub async fn serve(aws: Arc<Aws>, address: SocketAddr) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let aws = Arc::clone(&aws);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let aws = Arc::clone(&aws);
                async move { respond(&aws, request).await }
            });
            // A client that goes away ends its connection, and nothing else.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// A connection that is to be dropped ends with an error.
async fn respond(
    aws: &Aws,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let headers = head.headers.iter().filter_map(|(name, value)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    });
    let request = Request {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: headers.collect(),
        body: body
            .collect()
            .await
            .map(|body| body.to_bytes().to_vec())
            .unwrap_or_default(),
    };
    let (takes, served) = aws.serve(&request.unchunked());
    tokio::time::sleep(takes).await;
    let Served::Answer(Response {
        status,
        headers,
        body,
    }) = served
    else {
        return Err(std::io::Error::other("the connection is dropped"));
    };
    let mut response = hyper::Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response
        .body(Full::new(Bytes::from(body)))
        .map_err(std::io::Error::other)
}
