//! A request, and what became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::abi::{Field, Status};
use crate::settings::{Profile, Settings};

/// A request as the client sends it.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`.
    pub method: String,
    /// Path and query, bytes as the client sent them.
    pub target: String,
    /// The `Host`.
    pub host: String,
    /// The rest of the head, in order, duplicates kept.
    pub headers: Vec<Field>,
    /// The body in the pieces in which it arrives.
    pub body: Vec<Vec<u8>>,
    /// What follows the body.
    pub trailers: Vec<Field>,
    /// The stream stays open once it was forwarded, until [`crate::Host::end`].
    pub stays: bool,
}

impl Request {
    /// A request without a body.
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            host: "agents.test".to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            trailers: Vec::new(),
            stays: false,
        }
    }

    /// A `GET`.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// One header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers
            .push((name.as_bytes().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// `Authorization: Bearer …`.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        self.header("Authorization", format!("Bearer {token}"))
    }

    /// One piece of body more.
    #[must_use]
    pub fn piece(mut self, piece: impl AsRef<[u8]>) -> Self {
        self.body.push(piece.as_ref().to_vec());
        self
    }

    /// One trailer more.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers
            .push((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        self
    }

    /// See [`Request::stays`].
    #[must_use]
    pub const fn staying(mut self) -> Self {
        self.stays = true;
        self
    }

    /// The header map that the proxy makes of it.
    pub(crate) fn map(&self, settings: &Settings, id: u32) -> Vec<Field> {
        let field = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        match settings.profile {
            Profile::Envoy => {
                let mut map = vec![
                    field(":authority", &self.host),
                    field(":path", &self.target),
                    field(":method", &self.method),
                    field(":scheme", "http"),
                ];
                map.extend(
                    self.headers
                        .iter()
                        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone())),
                );
                if !map.iter().any(|(name, _)| name == b"x-request-id") {
                    map.push(field("x-request-id", &request_id(id)));
                }
                map
            }
            Profile::Nginx => {
                let mut map = vec![
                    field(":authority", &settings.server_name),
                    (b":path".to_vec(), decoded(&self.target)),
                    field(":method", &self.method),
                    field(":scheme", "http"),
                    field("Host", &self.host),
                ];
                map.extend(self.headers.iter().cloned());
                map
            }
        }
    }
}

fn request_id(id: u32) -> String {
    format!("00000000-0000-4000-8000-{id:012x}")
}

/// nginx's `$uri`: unescaped, slashes merged, dots resolved; the query behind it as it is.
fn decoded(target: &str) -> Vec<u8> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut plain = Vec::new();
    let mut bytes = path.as_bytes();
    while let Some((byte, rest)) = bytes.split_first() {
        let escaped = rest
            .get(..2)
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (byte, escaped) {
            (b'%', Some(byte)) => {
                plain.push(byte);
                bytes = &rest[2..];
            }
            _ => {
                plain.push(*byte);
                bytes = rest;
            }
        }
    }
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut parts = plain.split(|b| *b == b'/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            b"" | b"." if last => segments.push(b""),
            b"" | b"." => {}
            b".." => {
                segments.pop();
                if last {
                    segments.push(b"");
                }
            }
            part => segments.push(part),
        }
    }
    let mut out = Vec::new();
    for segment in segments {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    if let Some(query) = query {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
    out
}

/// An answer that the filter gave in the agent's place.
#[derive(Clone, PartialEq, Eq)]
pub struct LocalReply {
    /// HTTP status.
    pub status: u32,
    /// In order.
    pub headers: Vec<Field>,
    /// The body.
    pub body: Vec<u8>,
    /// What the access log shows.
    pub details: String,
}

impl LocalReply {
    /// A header's first value as text.
    pub fn header(&self, name: &str) -> Option<String> {
        value(&self.headers, name)
    }
}

/// What the agent was sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Forwarded {
    /// All headers, pseudo headers too.
    pub headers: Vec<Field>,
    /// The body.
    pub body: Vec<u8>,
}

impl Forwarded {
    /// A header's first value as text.
    pub fn header(&self, name: &str) -> Option<String> {
        value(&self.headers, name)
    }

    /// Every value of a header.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, v)| String::from_utf8_lossy(v).into_owned())
            .collect()
    }
}

/// As text, one field a line: a failed test is to be read by people.
fn as_text(f: &mut fmt::Formatter<'_>, head: &str, headers: &[Field], body: &[u8]) -> fmt::Result {
    writeln!(f, "{head}")?;
    for (name, value) in headers {
        let (name, value) = (
            String::from_utf8_lossy(name),
            String::from_utf8_lossy(value),
        );
        writeln!(f, "  {name}: {value}")?;
    }
    write!(f, "  {}", String::from_utf8_lossy(body))
}

impl fmt::Debug for LocalReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = format!("{} ({})", self.status, self.details);
        as_text(f, &head, &self.headers, &self.body)
    }
}

impl fmt::Debug for Forwarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        as_text(f, "forwarded", &self.headers, &self.body)
    }
}

fn value(headers: &[Field], name: &str) -> Option<String> {
    headers
        .iter()
        .find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, v)| String::from_utf8_lossy(v).into_owned())
}

/// Where a request stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Held back; something may still let it go.
    Held,
    /// The agent has it.
    Forwarded(Forwarded),
    /// The filter answered.
    Answered(LocalReply),
    /// The proxy answered by itself: 500 or 503 after a trap, 400 or 413 before the filter was asked, 502 at nginx's guard.
    Failed {
        /// HTTP status.
        status: u16,
        /// Why.
        why: &'static str,
    },
    /// nginx: paused, and nothing is under way that could ever let it go.
    Hangs,
    /// No answer at all: the client left, the worker crashed, or nothing listens any more.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Headers,
    Body(usize),
    Trailers,
    End,
}

/// How a request is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    No,
    /// All of it.
    All,
    /// Envoy's `StopIteration`: the filter goes on to see the body.
    HeadersOnly,
}

/// One request in the proxy. Look at it by [`crate::Host::stream`].
#[derive(Debug)]
pub struct Stream {
    /// The worker that has it.
    pub worker: usize,
    /// Its context.
    pub context: u32,
    /// The root context whose configuration it is under.
    pub root: u32,
    /// As the client sent it.
    pub request: Request,
    /// The header map as the filter sees it now.
    pub map: Vec<Field>,
    /// Filter state (Envoy) or variables (nginx) that were set, by name: `portcullis_audit`.
    pub left: BTreeMap<String, Vec<u8>>,
    /// Where it stands.
    pub fate: Fate,
    /// nginx: what the client sent, which no host call changes.
    sent: Vec<Field>,
    /// nginx: what the filter added under names that the client didn't use.
    added: Vec<Field>,
    /// nginx: names that the filter removed, lower case.
    removed: BTreeSet<Vec<u8>>,
    pub(crate) next: Next,
    pub(crate) hold: Hold,
    /// The body as far as the filter can read it.
    pub(crate) buffered: Vec<u8>,
    pub(crate) passed_on: Vec<u8>,
    pub(crate) reply: Option<LocalReply>,
    /// Whether the running callback did anything to it.
    pub(crate) touched: bool,
    pub(crate) deleted: bool,
}

impl Stream {
    pub(crate) fn new(
        worker: usize,
        context: u32,
        root: u32,
        request: Request,
        settings: &Settings,
    ) -> Self {
        let map = request.map(settings, context);
        let sent = match settings.profile {
            Profile::Envoy => Vec::new(),
            Profile::Nginx => map.clone(),
        };
        Self {
            worker,
            context,
            root,
            request,
            map,
            left: BTreeMap::new(),
            fate: Fate::Held,
            sent,
            added: Vec::new(),
            removed: BTreeSet::new(),
            next: Next::Headers,
            hold: Hold::No,
            buffered: Vec::new(),
            passed_on: Vec::new(),
            reply: None,
            touched: false,
            deleted: false,
        }
    }

    /// What the filter left behind under a name, as text.
    pub fn left(&self, name: &str) -> Option<String> {
        self.left
            .get(name)
            .map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// The audit event that the access log would print.
    pub fn audit(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(self.left.get("portcullis_audit")?).ok()
    }

    /// What the agent was sent, if it was.
    pub const fn forwarded(&self) -> Option<&Forwarded> {
        match &self.fate {
            Fate::Forwarded(forwarded) => Some(forwarded),
            _ => None,
        }
    }

    /// What the filter answered, if it did.
    pub const fn answered(&self) -> Option<&LocalReply> {
        match &self.fate {
            Fate::Answered(reply) => Some(reply),
            _ => None,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.fate, Fate::Held)
    }

    pub(crate) fn replace(&mut self, profile: Profile, name: &[u8], new: &[u8]) -> Status {
        self.touched = true;
        let is = |field: &Field| field.0.eq_ignore_ascii_case(name);
        if profile == Profile::Nginx {
            // What the client sent stays as it is for the upstream; with two copies the second stays in the map as well.
            if !self.sent.iter().any(is) {
                self.added.retain(|field| !is(field));
                self.added.push((name.to_vec(), new.to_vec()));
            }
            match self.map.iter_mut().find(|field| is(field)) {
                Some(field) => new.clone_into(&mut field.1),
                None => self.map.push((name.to_vec(), new.to_vec())),
            }
            return Status::OK;
        }
        match self.map.iter().position(is) {
            Some(first) => {
                let mut at = 0;
                self.map.retain(|field| {
                    at += 1;
                    at - 1 == first || !is(field)
                });
                new.clone_into(&mut self.map[first].1);
            }
            None => self.map.push((name.to_ascii_lowercase(), new.to_vec())),
        }
        Status::OK
    }

    pub(crate) fn add(&mut self, profile: Profile, name: &[u8], new: &[u8]) -> Status {
        self.touched = true;
        self.map.push((name.to_vec(), new.to_vec()));
        if profile == Profile::Nginx {
            self.added.push((name.to_vec(), new.to_vec()));
        }
        Status::OK
    }

    pub(crate) fn remove(&mut self, profile: Profile, name: &[u8]) -> Status {
        self.touched = true;
        self.map.retain(|field| !field.0.eq_ignore_ascii_case(name));
        if profile == Profile::Nginx {
            self.added
                .retain(|field| !field.0.eq_ignore_ascii_case(name));
            self.removed.insert(name.to_ascii_lowercase());
        }
        Status::OK
    }

    /// What goes on to the agent.
    pub(crate) fn outgoing(&self, settings: &Settings) -> Vec<Field> {
        if settings.profile == Profile::Envoy {
            return self.map.clone();
        }
        let mut out = self.sent.clone();
        for (name, raw) in [
            (&b":path"[..], &self.request.target),
            (b":authority", &self.request.host),
        ] {
            for field in out.iter_mut().filter(|field| field.0 == name) {
                raw.as_bytes().clone_into(&mut field.1);
            }
        }
        out.extend(self.added.iter().cloned());
        for (name, variable) in &settings.proxy_set_header {
            // What the filter removed is no longer known by name: `proxy_set_header` can't find it.
            if self.removed.contains(name.as_bytes()) {
                continue;
            }
            out.retain(|field| !field.0.eq_ignore_ascii_case(name.as_bytes()));
            if let Some(value) = self.left.get(variable).filter(|value| !value.is_empty()) {
                out.push((name.as_bytes().to_vec(), value.clone()));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nginx_unescapes_the_path() {
        for (target, path) in [
            ("/rest/orders", "/rest/orders"),
            ("/rest/%6frders?a=%20", "/rest/orders?a=%20"),
            ("/a//b/./c/../d", "/a/b/d"),
            ("/a/..%2f..%2fb", "/b"),
            ("/a/", "/a/"),
            ("/", "/"),
            ("/a/..", "/"),
        ] {
            assert_eq!(
                String::from_utf8(decoded(target)).unwrap(),
                path,
                "{target}"
            );
        }
    }
}
