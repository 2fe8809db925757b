//! Callouts that the filter sent, and how they end.

use crate::abi::Field;
use crate::settings::Profile;
use crate::world::Incoming;

/// nginx reads no body of a response with more than this in its headers.
const NGINX_RESPONSE_HEADERS: usize = 8 << 10;

/// A callout under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callout {
    /// What the filter knows it by.
    pub token: u32,
    /// The worker that sent it.
    pub worker: usize,
    /// The context that hears of its end.
    pub context: u32,
    /// Envoy's cluster, nginx's `host:port`.
    pub upstream: String,
    /// All headers, `:path` and the like too.
    pub headers: Vec<Field>,
    /// The body.
    pub body: Vec<u8>,
    /// In milliseconds.
    pub timeout: u32,
    pub(crate) deadline: u64,
}

impl Callout {
    /// A header's first value; empty for none.
    pub fn header(&self, name: &str) -> String {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, v)| String::from_utf8_lossy(v).into_owned())
            .unwrap_or_default()
    }

    /// Authority and path, as in a URL without its scheme.
    pub fn url(&self) -> String {
        self.header(":authority") + &self.header(":path")
    }
}

/// How a callout ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A whole response.
    Response {
        /// HTTP status.
        status: u16,
        /// In order.
        headers: Vec<Field>,
        /// The body.
        body: Vec<u8>,
    },
    /// `content-length` promised that many bytes more than came. Envoy takes it for a failure; nginx says how much was promised, and
    /// fails when asked for it.
    Truncated(Box<Reply>, usize),
    /// No length: the body ends where the connection does. nginx reads an empty one.
    CloseDelimited(Box<Reply>),
    /// No connection, or it broke.
    Broken,
    /// Nobody answered in time.
    Timeout,
    /// The name was not to be found.
    Unresolved,
    /// The peer isn't who it should be.
    TlsFailed,
    /// The peer closed the connection in place of an answer.
    NoReply,
}

impl Reply {
    /// A response in JSON.
    pub fn json(status: u16, body: impl AsRef<[u8]>) -> Self {
        Self::Response {
            status,
            headers: vec![(b"content-type".to_vec(), b"application/json".to_vec())],
            body: body.as_ref().to_vec(),
        }
    }

    /// One header more, in a response.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Self::Response { headers, .. } = &mut self {
            headers.push((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        }
        self
    }

    /// nginx's `:dispatch_status`.
    pub(crate) const fn dispatch_status(&self) -> &'static str {
        match self {
            Self::Broken => "broken connection",
            Self::Timeout => "timeout",
            Self::Unresolved => "resolver failure",
            Self::TlsFailed => "tls handshake failure",
            Self::Response { .. }
            | Self::Truncated(..)
            | Self::CloseDelimited(_)
            | Self::NoReply => "ok",
        }
    }
}

/// What a callback is shown of a reply.
pub(crate) fn incoming(profile: Profile, reply: &Reply) -> Incoming {
    let mut headers: Vec<Field> = Vec::new();
    let mut body: Vec<u8> = Vec::new();
    let mut missing = 0;
    match (profile, reply) {
        (_, Reply::Response { .. }) => (headers, body) = response(reply),
        (Profile::Nginx, Reply::Truncated(inner, by)) => {
            (headers, body) = response(inner);
            missing = *by;
        }
        (Profile::Nginx, Reply::CloseDelimited(inner)) => headers = response(inner).0,
        (Profile::Envoy, Reply::CloseDelimited(inner)) => (headers, body) = response(inner),
        _ => {}
    }
    let long: usize = headers.iter().map(|(n, v)| n.len() + v.len() + 4).sum();
    if profile == Profile::Nginx && long > NGINX_RESPONSE_HEADERS {
        body.clear();
        missing = 0;
    }
    Incoming {
        size: body.len() + missing,
        headers,
        body,
        dispatch_status: reply.dispatch_status(),
    }
}

fn response(reply: &Reply) -> (Vec<Field>, Vec<u8>) {
    match reply {
        Reply::Response {
            status,
            headers,
            body,
        } => {
            let mut all = vec![(b":status".to_vec(), status.to_string().into_bytes())];
            all.extend(headers.iter().cloned());
            (all, body.clone())
        }
        _ => (Vec::new(), Vec::new()),
    }
}
