//! The same in process, as the HTTP client of the AWS SDK.

use std::sync::Arc;

use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings,
            SharedHttpConnector,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;

use crate::{
    Aws,
    message::{Request, Response},
    weather::Served,
};

/// An HTTP client that reaches nothing but this AWS.
#[derive(Clone, Debug)]
pub struct InProcess(pub Arc<Aws>);

impl HttpClient for InProcess {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for InProcess {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let aws = Arc::clone(&self.0);
        HttpConnectorFuture::new(async move {
            let (takes, served) = aws.serve(&read(&request).unchunked());
            if !takes.is_zero() {
                tokio::time::sleep(takes).await;
            }
            match served {
                Served::Answer(response) => {
                    written(response).map_err(|error| ConnectorError::other(error, None))
                }
                Served::Dropped => Err(ConnectorError::io("the connection was dropped".into())),
            }
        })
    }
}

fn read(request: &HttpRequest) -> Request {
    let uri = request.uri();
    let after = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let path = after.find('/').map_or("/", |slash| &after[slash..]);
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let headers = request.headers().iter();
    Request {
        method: request.method().to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect(),
        body: request.body().bytes().unwrap_or_default().to_vec(),
    }
}

fn written(response: Response) -> Result<HttpResponse, Box<dyn std::error::Error + Send + Sync>> {
    let status = StatusCode::try_from(response.status)?;
    let mut answer = HttpResponse::new(status, SdkBody::from(response.body));
    for (name, value) in response.headers {
        answer.headers_mut().try_append(name, value)?;
    }
    Ok(answer)
}
