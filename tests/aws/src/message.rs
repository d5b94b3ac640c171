//! Requests and answers, as they are on the wire but for the connection.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// A request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `GET`, `PUT` and so on.
    pub method: String,
    /// The path, still encoded.
    pub path: String,
    /// The query, still encoded.
    pub query: String,
    /// The headers, with their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// A refusal: HTTP status, AWS's code, and the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// AWS's code.
    pub code: String,
    /// The message.
    pub message: String,
    /// Headers of the answer.
    pub headers: Vec<(String, String)>,
}

impl Refusal {
    /// A refusal.
    #[must_use]
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            headers: vec![],
        }
    }
}

/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Encodes text as IAM encodes policy documents in its answers (RFC 3986).
#[must_use]
pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Decodes a part of a path or query.
#[must_use]
pub fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The fields of a query or form.
#[must_use]
pub fn fields(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(&value.replace('+', " ")))
        })
        .collect()
}

impl Request {
    /// The header, in lower case, if it is there.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The request with its body as it is meant: SDKs send uploads in chunks with checksums ("Signature calculations: Transferring payload in
    /// multiple chunks" in the S3 API Reference).
    #[must_use]
    pub fn unchunked(mut self) -> Self {
        let chunked = self
            .header("x-amz-content-sha256")
            .is_some_and(|hash| hash.starts_with("STREAMING-"));
        if chunked {
            self.body = unchunked(&self.body);
        }
        self
    }

    /// The access key, Region and service of the signature ("Signing AWS API requests" in the IAM User Guide).
    #[must_use]
    pub fn signature(&self) -> Option<(&str, &str, &str)> {
        let scope = self.header("authorization")?.split("Credential=").nth(1)?;
        let scope = scope.split([',', ' ']).next()?;
        match scope.split('/').collect::<Vec<_>>()[..] {
            [key, _, region, service, _] => Some((key, region, service)),
            _ => None,
        }
    }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = vec![];
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let head = String::from_utf8_lossy(&rest[..end]);
        let size = head
            .split(';')
            .next()
            .and_then(|size| usize::from_str_radix(size, 16).ok());
        let Some(size) = size.filter(|size| *size > 0) else {
            break;
        };
        let (start, after) = (end + 2, end + 2 + size);
        body.extend(rest.get(start..after).unwrap_or_default());
        rest = rest.get(after + 2..).unwrap_or_default();
    }
    body
}

impl Response {
    /// An answer with a body of that type.
    #[must_use]
    pub fn of(kind: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type".to_owned(), kind.to_owned())],
            body: body.into(),
        }
    }

    /// An answer of S3, IAM or STS.
    #[must_use]
    pub fn xml(body: impl Into<Vec<u8>>) -> Self {
        Self::of("text/xml", body)
    }

    /// An answer without a body.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    /// With one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}
