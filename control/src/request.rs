//! The request that is to be explained: made from options, or a whole HTTP/1.1 head from a file.

use std::fmt;

use portcullis_core::request::RequestHead;

/// A request's head that owns its text. No `Debug`: it holds a credential.
pub struct Request {
    method: String,
    path: String,
    authority: Vec<u8>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
}

/// Why a text is no request.
#[derive(Debug)]
pub enum RequestError {
    /// Not the head of an HTTP/1.1 request.
    NotHttp,
    /// Ends before the empty line.
    Incomplete,
    /// A `--header` that is not `name: value`.
    BadHeader,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotHttp => "is not the head of an HTTP/1.1 request",
            Self::Incomplete => "ends before the empty line behind the headers",
            Self::BadHeader => "a header must be written `name: value`",
        })
    }
}

impl Request {
    /// From a method, a path and `name: value` lines.
    pub fn new(method: &str, path: &str, headers: &[String]) -> Result<Self, RequestError> {
        let mut request = Self {
            method: method.to_owned(),
            path: path.to_owned(),
            authority: Vec::new(),
            headers: Vec::new(),
            body: Vec::new(),
        };
        for line in headers {
            let (name, value) = line.split_once(':').ok_or(RequestError::BadHeader)?;
            request.push(name.trim(), value.trim().as_bytes());
        }
        Ok(request)
    }

    /// From the text of an HTTP/1.1 request. What follows the head is its body, cut at `Content-Length`. Lines may end in LF alone, as editors write them.
    pub fn parse(text: &[u8]) -> Result<Self, RequestError> {
        let mut storage = [httparse::EMPTY_HEADER; 128];
        let mut parsed = httparse::Request::new(&mut storage);
        let end = match parsed.parse(text) {
            Ok(httparse::Status::Complete(end)) => end,
            Ok(httparse::Status::Partial) => return Err(RequestError::Incomplete),
            Err(_) => return Err(RequestError::NotHttp),
        };
        let (Some(method), Some(path)) = (parsed.method, parsed.path) else {
            return Err(RequestError::NotHttp);
        };
        let mut request = Self::new(method, path, &[])?;
        for header in parsed.headers.iter() {
            request.push(header.name, header.value);
        }
        let body = text.get(end..).unwrap_or_default();
        let length = request
            .with_head(|head| head.only_value("content-length")?.trim().parse().ok())
            .unwrap_or(0);
        request.body = body.get(..length).unwrap_or(body).to_vec();
        Ok(request)
    }

    fn push(&mut self, name: &str, value: &[u8]) {
        let name = name.to_ascii_lowercase();
        if name == "host" {
            self.authority = value.to_vec();
        }
        self.headers.push((name.into_bytes(), value.to_vec()));
    }

    /// Presents a bearer token.
    pub fn bear(&mut self, token: &str) {
        self.push("authorization", format!("Bearer {token}").as_bytes());
    }

    /// The bearer token, for reading what is not secret in it. Only where there is one credential.
    pub fn bearer(&self) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(n, _)| n == b"authorization");
        let (_, value) = values.next()?;
        if values.next().is_some() {
            return None;
        }
        let (scheme, token) = std::str::from_utf8(value).ok()?.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    /// The value of a header (lower-case name). Only where there is one.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(n, _)| n == name.as_bytes());
        let (_, value) = values.next()?;
        if values.next().is_some() {
            return None;
        }
        std::str::from_utf8(value).ok().map(str::trim)
    }

    /// `GET /path`, without the query.
    pub fn line(&self) -> String {
        let path = self.path.split(['?', '#']).next().unwrap_or_default();
        format!("{} {path}", self.method)
    }

    /// The body; empty where no `Content-Length` says that there is one.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Hands the head to the core.
    pub fn with_head<T>(&self, f: impl FnOnce(&RequestHead<'_>) -> T) -> T {
        let headers: Vec<(&[u8], &[u8])> = self
            .headers
            .iter()
            .map(|(n, v)| (n.as_slice(), v.as_slice()))
            .collect();
        f(&RequestHead {
            method: self.method.as_bytes(),
            path: self.path.as_bytes(),
            authority: &self.authority,
            headers: &headers,
            remote_addr: None,
        })
    }
}
