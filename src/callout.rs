//! What the core asks a host to fetch, and what came back: values, never callbacks.

use std::fmt;
use std::time::Duration;

use crate::url::Url;

/// How much longer than its own timeout a callout may stay unanswered: the host reports a timeout itself.
pub(crate) const OVERDUE: Duration = Duration::from_secs(2);

/// Names one background callout of one [`crate::Authenticator`]; never reused within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CalloutId(pub u64);

/// An HTTP request that the host is to send for the core.
///
/// `Debug` shows where it goes, never headers or body: they may carry a caller's credential.
#[derive(Clone)]
pub struct Callout {
    /// Where the host finds the peer: an Envoy cluster name, or `host:port` on nginx.
    pub upstream: String,
    /// `http` or `https`; the value of `:scheme`.
    pub scheme: &'static str,
    /// The authority (RFC 9110 section 7.2) that goes on the wire as `:authority` / `Host`.
    pub authority: String,
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Path and query, byte for byte.
    pub path: String,
    /// Further header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The request body, empty for none.
    pub body: Vec<u8>,
    /// How long the host waits for the whole reply.
    pub timeout: Duration,
    /// The longest body that is worth handing back, in bytes. A longer one is reported with its
    /// length and no content.
    pub max_body: usize,
}

impl Callout {
    /// A `GET` of `url` by way of `upstream`, for an answer in JSON of at most `max_body` bytes.
    pub(crate) fn get_json(upstream: &str, url: Url, timeout: Duration, max_body: usize) -> Self {
        let mut callout = Self {
            upstream: upstream.to_owned(),
            scheme: url.scheme(),
            authority: url.authority,
            method: "GET",
            path: url.path,
            headers: Vec::new(),
            body: Vec::new(),
            timeout,
            max_body,
        };
        callout.add_header("accept", "application/json");
        callout
    }

    /// Makes it a `POST` of that JSON.
    pub(crate) fn post_json(mut self, body: Vec<u8>) -> Self {
        self.method = "POST";
        self.add_header("content-type", "application/json");
        self.body = body;
        self
    }

    /// Adds a header field, its name in lower case.
    pub(crate) fn add_header(&mut self, name: &str, value: impl Into<String>) {
        self.headers.push((name.to_owned(), value.into()));
    }
}

impl fmt::Debug for Callout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callout")
            .field("upstream", &self.upstream)
            .field("authority", &self.authority)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// What became of a callout.
#[derive(Clone, Copy)]
pub enum CalloutReply<'a> {
    /// A whole HTTP response.
    Response(HttpResponse<'a>),
    /// No response: refused, reset, timed out, truncated, or never sent (no such upstream).
    Failed(CalloutFailure),
}

/// Why a callout brought no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalloutFailure {
    /// The host would not send it: unknown cluster, bad header.
    NotSent,
    /// Sent, but no whole response: refused, reset, timed out. Hosts do not always tell which.
    NoResponse,
    /// Advertised length and received length differ.
    Truncated,
    /// The body is longer than [`Callout::max_body`].
    TooLarge,
}

/// An HTTP response as the host received it.
#[derive(Clone, Copy)]
pub struct HttpResponse<'a> {
    /// The status code, 100 to 599.
    pub status: u16,
    /// Response header fields in order, names in lower case, pseudo-headers left out.
    pub headers: &'a [(&'a [u8], &'a [u8])],
    /// The whole body.
    pub body: &'a [u8],
}

impl<'a> HttpResponse<'a> {
    /// The first header field of that (lower-case) name, when it is UTF-8.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers
            .iter()
            .find(|(n, _)| *n == name.as_bytes())
            .and_then(|(_, v)| std::str::from_utf8(v).ok())
    }
}
