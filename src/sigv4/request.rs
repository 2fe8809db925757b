//! A signed request, taken apart: what it says of itself, and what its signature has to cover. Untrusted.

use std::fmt;
use std::time::Duration;

use super::canonical::{self, Parameter, PathRules};
use super::date::AmzDate;
use super::signing::{Scope, from_hex};
use super::{ALGORITHM, TERMINATOR, UNSIGNED_PAYLOAD};
use crate::credential::is_tchar;
use crate::reason::Code;
use crate::request::RequestHead;

/// The query parameters that make a presigned request: each exactly once, in this case.
const PRESIGNED: [&str; 6] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
];

/// What the payload is said to be, where it is said at all.
const CLAIM: &str = "X-Amz-Content-Sha256";

/// Parameters that may stand beside them, at most once.
const OPTIONAL: [&str; 2] = ["X-Amz-Security-Token", CLAIM];

/// One of these is enough to be taken for presigned: a request that lacks the rest is a broken one and not an unsigned one.
const TELLING: [&str; 3] = ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature"];

/// Signed headers of one request. Clients sign about ten; Envoy admits 100 headers.
const MAX_SIGNED_HEADERS: usize = 100;

/// What a request claims its payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing: its hash has to be calculated.
    Unclaimed,
    /// Of this hash.
    Hash([u8; 32]),
    /// Not covered by the signature.
    Unsigned,
}

/// A request signed with SigV4, by header or by query. It owns all that proving it needs, but for the payload.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedRequest {
    access_key_id: String,
    scope: Scope,
    date: AmzDate,
    /// How long it says it may be used; presigned requests only.
    expires: Option<Duration>,
    signature: [u8; 32],
    payload: Payload,
    content_length: Option<u64>,
    session_token: Option<Vec<u8>>,
    method: Vec<u8>,
    path: Vec<u8>,
    /// The canonical query, and a second one without the session token where a signer may have added that last.
    queries: Vec<String>,
    header_lines: Vec<u8>,
    signed_headers: String,
}

/// Names who and nothing else.
impl fmt::Debug for SignedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedRequest")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// Credential, signed headers and signature, as both forms have them.
struct Parts<'p> {
    credential: &'p [u8],
    signed_headers: &'p [u8],
    signature: &'p [u8],
}

impl SignedRequest {
    /// Whether the query has a presigned request's parameters, in whatever case.
    pub fn is_presigned(head: &RequestHead<'_>) -> bool {
        canonical::parameters(raw_query(head)).any(|p| {
            TELLING
                .iter()
                .any(|name| p.name.eq_ignore_ascii_case(name.as_bytes()))
        })
    }

    /// Takes a request apart. `credentials` is what follows the scheme in its `Authorization`, or `None` for a presigned one.
    ///
    /// # Errors
    /// [`Code::MalformedSignature`], [`Code::UnsupportedSignature`], [`Code::StreamingPayload`], [`Code::UnsignedHeader`],
    /// [`Code::ScopeMismatch`], [`Code::AmbiguousCredentials`].
    pub fn read(head: &RequestHead<'_>, credentials: Option<&str>) -> Result<Self, Code> {
        // A fragment is never sent (RFC 9110 section 7.1): who put it there wants two readers to see two requests.
        if head.path.contains(&b'#') {
            return Err(Code::MalformedSignature);
        }
        let parameters: Vec<Parameter> = canonical::parameters(raw_query(head)).collect();
        let token_header = only(head, "x-amz-security-token")?;
        let claimed_header = only(head, "x-amz-content-sha256")?;
        let (parts, date, expires, session_token, claimed, queries) = match credentials {
            Some(text) => {
                let parts = authorization(text)?;
                let queries = vec![canonical::query(parameters.iter())];
                (
                    parts,
                    header_date(head)?,
                    None,
                    token_header,
                    claimed_header,
                    queries,
                )
            }
            None => {
                let required = PRESIGNED
                    .map(|name| parameter(&parameters, name)?.ok_or(Code::MalformedSignature));
                let [
                    algorithm,
                    credential,
                    date,
                    expires,
                    signed_headers,
                    signature,
                ] = required;
                check_algorithm(algorithm?)?;
                let parts = Parts {
                    credential: credential?,
                    signed_headers: signed_headers?,
                    signature: signature?,
                };
                let date = AmzDate::parse(date?).ok_or(Code::MalformedSignature)?;
                let expires = seconds(expires?)?;
                let [token, claimed] = OPTIONAL.map(|name| parameter(&parameters, name));
                let token = one_of(token?, token_header)?;
                let claimed = one_of(claimed?, claimed_header)?;
                let queries = presigned_queries(&parameters);
                (parts, date, Some(expires), token, claimed, queries)
            }
        };
        let (access_key_id, scope) = credential(parts.credential)?;
        if scope.day != date.day() {
            return Err(Code::ScopeMismatch);
        }
        let signature = from_hex(parts.signature).ok_or(Code::MalformedSignature)?;
        let payload = match claimed {
            None => Payload::Unclaimed,
            Some(claim) if claim == UNSIGNED_PAYLOAD.as_bytes() => Payload::Unsigned,
            Some(claim) if claim.starts_with(b"STREAMING-") => return Err(Code::StreamingPayload),
            Some(claim) => Payload::Hash(from_hex(claim).ok_or(Code::MalformedSignature)?),
        };
        let signed = signed_headers(parts.signed_headers)?;
        let header_lines = header_lines(head, &signed, expires.is_none())?;
        Ok(Self {
            access_key_id,
            scope,
            date,
            expires,
            signature,
            payload,
            content_length: head
                .only_value("content-length")
                .and_then(|v| v.trim().parse().ok()),
            session_token: session_token.map(<[u8]>::to_vec),
            method: head.method.to_vec(),
            path: head.raw_path().to_vec(),
            queries,
            header_lines,
            signed_headers: signed.join(";"),
        })
    }

    /// Whose secret signed it, it says.
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// For which day, region and service.
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// When it was signed.
    pub const fn date(&self) -> &AmzDate {
        &self.date
    }

    /// How long it may be used, if it is presigned.
    pub const fn expires(&self) -> Option<Duration> {
        self.expires
    }

    /// Its signature.
    pub const fn signature(&self) -> &[u8; 32] {
        &self.signature
    }

    /// What it says of its payload.
    pub const fn payload(&self) -> Payload {
        self.payload
    }

    /// How long it says its payload is.
    pub const fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// The session token that it brings.
    pub fn session_token(&self) -> Option<&[u8]> {
        self.session_token.as_deref()
    }

    /// What its signer may have signed: canonical requests without their last line, which is the payload's hash.
    pub fn canonical_heads(&self, rules: PathRules) -> Vec<Vec<u8>> {
        let uri = canonical::uri(&self.path, rules);
        self.queries
            .iter()
            .map(|query| {
                canonical::request_head(
                    &self.method,
                    &uri,
                    query,
                    &self.header_lines,
                    &self.signed_headers,
                )
            })
            .collect()
    }
}

fn raw_query<'h>(head: &RequestHead<'h>) -> &'h [u8] {
    let start = head.path.iter().position(|b| *b == b'?');
    start
        .and_then(|at| head.path.get(at + 1..))
        .unwrap_or_default()
}

/// A header field that may be there once.
fn only<'h>(head: &RequestHead<'h>, name: &str) -> Result<Option<&'h [u8]>, Code> {
    let mut values = head.values(name);
    match (values.next(), values.next()) {
        (value, None) => Ok(value.map(<[u8]>::trim_ascii)),
        _ => Err(Code::AmbiguousCredentials),
    }
}

/// A query parameter that may be there once, and (but for the claim) only as it is spelt.
fn parameter<'p>(all: &'p [Parameter], name: &str) -> Result<Option<&'p [u8]>, Code> {
    let mut found = all
        .iter()
        .filter(|p| p.name.eq_ignore_ascii_case(name.as_bytes()));
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        // Signers move a header's value into the query under the name that it had.
        (Some(p), None) if p.name == name.as_bytes() || name == CLAIM => Ok(Some(&p.value)),
        (Some(_), None) => Err(Code::MalformedSignature),
        (Some(_), Some(_)) => Err(Code::AmbiguousCredentials),
    }
}

fn one_of<'v>(query: Option<&'v [u8]>, header: Option<&'v [u8]>) -> Result<Option<&'v [u8]>, Code> {
    match (query, header) {
        (Some(_), Some(_)) => Err(Code::AmbiguousCredentials),
        (value, None) | (None, value) => Ok(value),
    }
}

/// `Credential=…, SignedHeaders=…, Signature=…` in any order, each once; white space around the commas is optional.
fn authorization(text: &str) -> Result<Parts<'_>, Code> {
    let (mut credential, mut signed_headers, mut signature) = (None, None, None);
    for part in text.split(',') {
        let part = part.trim_matches([' ', '\t']);
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        if name.contains(' ') {
            // A scheme: a proxy has joined two `Authorization` fields.
            return Err(Code::AmbiguousCredentials);
        }
        let place = match name {
            "Credential" => &mut credential,
            "SignedHeaders" => &mut signed_headers,
            "Signature" => &mut signature,
            _ => return Err(Code::MalformedSignature),
        };
        if place.replace(value.as_bytes()).is_some() {
            return Err(Code::AmbiguousCredentials);
        }
    }
    match (credential, signed_headers, signature) {
        (Some(credential), Some(signed_headers), Some(signature)) => Ok(Parts {
            credential,
            signed_headers,
            signature,
        }),
        _ => Err(Code::MalformedSignature),
    }
}

fn check_algorithm(name: &[u8]) -> Result<(), Code> {
    if name == ALGORITHM.as_bytes() {
        Ok(())
    } else if name.starts_with(b"AWS4-") {
        Err(Code::UnsupportedSignature)
    } else {
        Err(Code::MalformedSignature)
    }
}

/// `access key id/day/region/service/aws4_request`.
fn credential(text: &[u8]) -> Result<(String, Scope), Code> {
    let text = std::str::from_utf8(text).map_err(|_| Code::MalformedSignature)?;
    let mut parts = text.split('/');
    let mut next = || {
        parts
            .next()
            .filter(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_graphic()))
            .map(str::to_owned)
            .ok_or(Code::MalformedSignature)
    };
    let (access_key_id, day, region, service, terminator) =
        (next()?, next()?, next()?, next()?, next()?);
    if parts.next().is_some() || terminator != TERMINATOR {
        return Err(Code::MalformedSignature);
    }
    let scope = Scope {
        day,
        region,
        service,
    };
    Ok((access_key_id, scope))
}

/// `X-Amz-Date`, or `Date` where that is missing. [`header_lines`] sees to it that it is signed.
fn header_date(head: &RequestHead<'_>) -> Result<AmzDate, Code> {
    match only(head, "x-amz-date")? {
        Some(value) => AmzDate::parse(value),
        None => only(head, "date")?.and_then(AmzDate::parse_http),
    }
    .ok_or(Code::MalformedSignature)
}

/// A number of seconds, from 1 to seven digits, not padded.
fn seconds(text: &[u8]) -> Result<Duration, Code> {
    let fine = (1..=7).contains(&text.len())
        && text.iter().all(u8::is_ascii_digit)
        && text.first() != Some(&b'0');
    std::str::from_utf8(text)
        .ok()
        .filter(|_| fine)
        .and_then(|t| t.parse().ok())
        .map(Duration::from_secs)
        .ok_or(Code::MalformedSignature)
}

/// Without the signature itself, and once more without the session token: some services have it added after signing.
fn presigned_queries(parameters: &[Parameter]) -> Vec<String> {
    let without = |left_out: &[&str]| {
        canonical::query(
            parameters
                .iter()
                .filter(|p| !left_out.iter().any(|name| p.name == name.as_bytes())),
        )
    };
    let mut queries = vec![without(&["X-Amz-Signature"])];
    if parameters.iter().any(|p| p.name == b"X-Amz-Security-Token") {
        queries.push(without(&["X-Amz-Signature", "X-Amz-Security-Token"]));
    }
    queries
}

/// Names in lower case, sorted, each once.
fn signed_headers(list: &[u8]) -> Result<Vec<&str>, Code> {
    let list = std::str::from_utf8(list).map_err(|_| Code::MalformedSignature)?;
    let names: Vec<&str> = list.split(';').take(MAX_SIGNED_HEADERS + 1).collect();
    let is_name = |name: &&str| {
        !name.is_empty() && name.bytes().all(|b| is_tchar(b) && !b.is_ascii_uppercase())
    };
    if names.len() > MAX_SIGNED_HEADERS
        || !names.iter().all(is_name)
        || !names.is_sorted_by(|a, b| a < b)
        || names.contains(&"authorization")
    {
        return Err(Code::MalformedSignature);
    }
    Ok(names)
}

/// The canonical headers, once it is clear that all those are signed that have to be.
fn header_lines(head: &RequestHead<'_>, signed: &[&str], by_header: bool) -> Result<Vec<u8>, Code> {
    let is_signed = |name: &[u8]| {
        signed
            .iter()
            .any(|s| name.eq_ignore_ascii_case(s.as_bytes()))
    };
    // Without the host a request to one service would be good for every other that knows the key.
    if !is_signed(b"host") {
        return Err(Code::UnsignedHeader);
    }
    // HTTP/2 can bring both, and upstreams differ in which they read.
    if only(head, "host")?.is_some_and(|host| host != head.authority) {
        return Err(Code::AmbiguousCredentials);
    }
    if by_header && !is_signed(b"x-amz-date") {
        let by_date = head.values("x-amz-date").next().is_none() && is_signed(b"date");
        if !by_date {
            return Err(Code::UnsignedHeader);
        }
    }
    // They say what to do with the request. The session token proves itself: it is compared with ours.
    if head.headers.iter().any(|(name, _)| {
        is_amz(name) && !is_signed(name) && !name.eq_ignore_ascii_case(b"x-amz-security-token")
    }) {
        return Err(Code::UnsignedHeader);
    }
    let mut lines = Vec::with_capacity(256);
    for name in signed {
        if *name == "host" {
            canonical::header_line(name, std::iter::once(head.authority), &mut lines);
            continue;
        }
        let mut values = head.values(name).peekable();
        if values.peek().is_none() {
            return Err(Code::MalformedSignature);
        }
        canonical::header_line(name, values, &mut lines);
    }
    Ok(lines)
}

/// Whether a header, or a trailer, is one that must not go unsigned.
pub(crate) fn is_amz(name: &[u8]) -> bool {
    name.get(..6)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"x-amz-"))
}
