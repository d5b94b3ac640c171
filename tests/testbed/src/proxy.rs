//! The proxy between operator and emulator: it hands every call on as it came, and logs service, action, resource and status of each.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, Response, Uri,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use percent_encoding::percent_decode_str;
use tokio::net::TcpListener;

/// A call to AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `s3`, `iam`, `kms` or `sts`.
    pub service: String,
    /// The action as IAM names it, such as `s3:PutReplicationConfiguration`.
    pub action: String,
    /// The bucket, role or key that it is on.
    pub resource: String,
    /// The HTTP status of the answer.
    pub status: u16,
    /// The account that an S3 call expects to own the bucket.
    pub expected_owner: Option<String>,
    /// The form fields of an IAM or STS call.
    pub fields: Vec<(String, String)>,
}

impl Call {
    /// Whether the call can change anything.
    #[must_use]
    pub fn writes(&self) -> bool {
        let name = self.action.split(':').nth(1).unwrap_or_default();
        [
            "Put", "Delete", "Create", "Update", "Tag", "Untag", "Attach", "Detach",
        ]
        .iter()
        .any(|verb| name.starts_with(verb))
    }
}

/// What the proxy does to the calls of one action.
#[derive(Clone, Debug)]
pub enum Fault {
    /// They are refused for lack of a permission, and the emulator sees nothing of them.
    Refuse,
    /// They are asked to slow down, and the emulator sees nothing of them.
    Throttle,
    /// They are passed on after that time.
    Delay(Duration),
    /// In the answers' bodies, the first text becomes the second one.
    Replace(String, String),
}

/// What the proxy and its connections share.
#[derive(Debug, Default)]
struct Shared {
    calls: Mutex<Vec<Call>>,
    faults: Mutex<HashMap<String, Fault>>,
}

static ALL: Mutex<Vec<Call>> = Mutex::new(vec![]);

/// All calls through all proxies of this process so far.
#[must_use]
pub fn all_calls() -> Vec<Call> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// A proxy that runs until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// What clients use as their endpoint.
    pub url: String,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Starts a proxy in front of `upstream`, on the same address.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(upstream: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((upstream.ip(), 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared::default());
        let of_task = Arc::clone(&shared);
        let client = Client::builder(TokioExecutor::new()).build_http();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (client, shared) = (client.clone(), Arc::clone(&of_task));
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let (client, shared) = (client.clone(), Arc::clone(&shared));
                        async move {
                            Ok::<_, Infallible>(hand_on(request, upstream, &client, &shared).await)
                        }
                    });
                    // A client that goes away ends its connection, and nothing else.
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Ok(Self { url, shared, task })
    }

    /// From now on, calls of `action` (such as `s3:PutBucketPolicy`) get this fault; `None` ends it.
    pub fn set_fault(&self, action: &str, fault: Option<Fault>) {
        let mut faults = self
            .shared
            .faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match fault {
            Some(fault) => faults.insert(action.to_owned(), fault),
            None => faults.remove(action),
        };
    }

    /// All calls so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared
            .calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// All calls so far, which are then forgotten.
    #[must_use]
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(
            &mut *self
                .shared
                .calls
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

async fn hand_on(
    request: Request<Incoming>,
    upstream: SocketAddr,
    client: &Client<HttpConnector, Full<Bytes>>,
    shared: &Shared,
) -> Response<Full<Bytes>> {
    match try_hand_on(request, upstream, client, shared).await {
        Ok((call, response)) => {
            ALL.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(call.clone());
            shared
                .calls
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(call);
            response
        }
        Err(error) => {
            let mut response = Response::new(Full::from(format!("{error:#}")));
            *response.status_mut() = hyper::StatusCode::BAD_GATEWAY;
            response
        }
    }
}

async fn try_hand_on(
    request: Request<Incoming>,
    upstream: SocketAddr,
    client: &Client<HttpConnector, Full<Bytes>>,
    shared: &Shared,
) -> anyhow::Result<(Call, Response<Full<Bytes>>)> {
    let (mut head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let mut call = describe(&head.method, &head.uri, &head.headers, &body);
    let fault = shared
        .faults
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&call.action)
        .cloned();
    let refused = match fault {
        Some(Fault::Refuse) if call.service == "kms" => Some(("AccessDeniedException", 400)),
        Some(Fault::Refuse) => Some(("AccessDenied", 403)),
        Some(Fault::Throttle) if call.service == "s3" => Some(("SlowDown", 503)),
        Some(Fault::Throttle) => Some(("ThrottlingException", 400)),
        _ => None,
    };
    if let Some((code, status)) = refused {
        call.status = status;
        let refusal = refusal(&call, code);
        return Ok((call, refusal));
    }
    if let Some(Fault::Delay(time)) = fault {
        tokio::time::sleep(time).await;
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    // The signature covers the Host header, which stays as it came.
    head.uri = format!("http://{upstream}{path}").parse()?;
    let answer = client
        .request(Request::from_parts(head, Full::from(body)))
        .await
        .context("the emulator does not answer")?;
    let (mut head, body) = answer.into_parts();
    call.status = head.status.as_u16();
    let mut body = body.collect().await?.to_bytes();
    if let Some(Fault::Replace(from, to)) = fault {
        body = String::from_utf8_lossy(&body).replace(&from, &to).into();
        head.headers.remove(hyper::header::CONTENT_LENGTH);
    }
    Ok((call, Response::from_parts(head, Full::from(body))))
}

/// How each service says that it does not do it.
fn refusal(call: &Call, code: &str) -> Response<Full<Bytes>> {
    let words = "the test refuses this";
    let body = match call.service.as_str() {
        "kms" => format!(r#"{{"__type":"{code}","message":"{words}"}}"#),
        "s3" => format!("<Error><Code>{code}</Code><Message>{words}</Message></Error>"),
        _ => format!(
            "<ErrorResponse><Error><Code>{code}</Code><Message>{words}</Message></Error></ErrorResponse>"
        ),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = hyper::StatusCode::from_u16(call.status).unwrap_or_default();
    response
}

fn describe(method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Call {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let scope = header("authorization")
        .and_then(|value| value.split("Credential=").nth(1))
        .unwrap_or_default();
    let service = scope.split('/').nth(3).unwrap_or("s3").to_owned();
    let fields = form(body);
    let field = |name: &str| {
        fields
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    };
    let (action, resource) = match service.as_str() {
        "s3" => s3(method, uri),
        // IAM's name of the service.
        "monitoring" => {
            let operation = uri.path().rsplit('/').next().unwrap_or_default();
            (format!("cloudwatch:{operation}"), String::new())
        }
        "kms" => {
            let target = header("x-amz-target")
                .and_then(|target| target.split('.').nth(1))
                .unwrap_or_default();
            let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
            (
                format!("kms:{target}"),
                json["KeyId"].as_str().unwrap_or_default().to_owned(),
            )
        }
        _ => {
            let resource = field("RoleName")
                .or_else(|| field("RoleArn"))
                .unwrap_or_default();
            (
                format!("{service}:{}", field("Action").unwrap_or_default()),
                resource,
            )
        }
    };
    let fields = if matches!(service.as_str(), "iam" | "sts") {
        fields
    } else {
        vec![]
    };
    Call {
        service,
        action,
        resource,
        status: 0,
        expected_owner: header("x-amz-expected-bucket-owner").map(ToOwned::to_owned),
        fields,
    }
}

fn form(body: &Bytes) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(body);
    let decode = |part: &str| {
        percent_decode_str(&part.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}

/// The action of an S3 call, as IAM names it, and its bucket (and object).
fn s3(method: &Method, uri: &Uri) -> (String, String) {
    let path = uri.path().trim_start_matches('/').trim_end_matches('/');
    let query: Vec<_> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .map(|part| part.split('=').next().unwrap_or_default())
        .collect();
    let object = path.split_once('/').map(|(_, object)| object);
    let known = [
        ("replication", "ReplicationConfiguration", true),
        ("versioning", "BucketVersioning", false),
        ("encryption", "EncryptionConfiguration", true),
        ("policy", "BucketPolicy", false),
        ("location", "BucketLocation", false),
        ("object-lock", "BucketObjectLockConfiguration", false),
        ("requestPayment", "BucketRequestPayment", false),
        ("ownershipControls", "BucketOwnershipControls", false),
        ("tagging", "BucketTagging", false),
    ];
    let of_version = query.contains(&"versionId");
    let found = known
        .iter()
        .find(|(part, ..)| query.contains(part))
        .filter(|_| object.is_none());
    let name = match (found, object, method) {
        // IAM has one action for writing and deleting these.
        (Some((_, noun, true)), _, &Method::DELETE) => format!("Put{noun}"),
        (Some((_, noun, _)), _, &Method::GET) => format!("Get{noun}"),
        (Some((_, noun, _)), _, &Method::DELETE) => format!("Delete{noun}"),
        (Some((_, noun, _)), ..) => format!("Put{noun}"),
        (None, None, &Method::GET) if query.contains(&"versions") => "ListBucketVersions".into(),
        (None, Some(_), &Method::GET | &Method::HEAD) if of_version => "GetObjectVersion".into(),
        (None, Some(_), &Method::DELETE) if of_version => "DeleteObjectVersion".into(),
        (None, None, &Method::HEAD) => "ListBucket".into(),
        (None, Some(_), &Method::GET | &Method::HEAD) => "GetObject".into(),
        (None, Some(_), &Method::PUT) => "PutObject".into(),
        _ => format!("{method} {}", query.join("&")),
    };
    (format!("s3:{name}"), path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, uri: &str, expected: (&str, &str)) {
        let method = method.parse().unwrap_or_default();
        let uri = uri.parse().unwrap_or_default();
        assert_eq!(
            s3(&method, &uri),
            (expected.0.to_owned(), expected.1.to_owned())
        );
    }

    #[test]
    fn calls_of_s3_are_named_as_iam_names_them() {
        check(
            "PUT",
            "/b?replication",
            ("s3:PutReplicationConfiguration", "b"),
        );
        check(
            "DELETE",
            "/b?replication=",
            ("s3:PutReplicationConfiguration", "b"),
        );
        check("GET", "/b/?policy", ("s3:GetBucketPolicy", "b"));
        check("DELETE", "/b?policy", ("s3:DeleteBucketPolicy", "b"));
        check("GET", "/b?location", ("s3:GetBucketLocation", "b"));
        check(
            "PUT",
            "/b/Tax/doc?x-id=PutObject",
            ("s3:PutObject", "b/Tax/doc"),
        );
        check(
            "GET",
            "/b?versions&prefix=Tax",
            ("s3:ListBucketVersions", "b"),
        );
        check(
            "HEAD",
            "/b/doc?versionId=1",
            ("s3:GetObjectVersion", "b/doc"),
        );
        check(
            "DELETE",
            "/b/doc?versionId=1",
            ("s3:DeleteObjectVersion", "b/doc"),
        );
    }
}
