//! What only nginx (ngx_wasm_module) wants. Why is in docs/hosts/nginx.md.

use std::borrow::Cow;

use portcullis_core::decision::Allow;
use portcullis_core::url::{is_dialable, port_of};

use crate::host_kind::Dialled;
use crate::hostcalls;
use crate::pairs::Field;
use crate::status::Status;

/// Header fields that nginx hands out at most. A map of that many may be half of one.
pub const MAX_FIELDS: usize = 100;

/// What the guard in nginx's configuration reads: nothing but [`ALLOW`] leads to an agent.
const DECISION: &[u8] = b"ngx\0portcullis_decision";
const ALLOW: &[u8] = b"allow";
const DENY: &[u8] = b"deny";

/// What follows the prefix in an identity header's name, and the variable that nginx's configuration makes that header of.
const IDENTITY: [(&str, &[u8]); 8] = [
    ("user-id", b"ngx\0portcullis_user_id"),
    ("email", b"ngx\0portcullis_email"),
    ("org-id", b"ngx\0portcullis_org_id"),
    ("workspace-id", b"ngx\0portcullis_workspace_id"),
    ("groups", b"ngx\0portcullis_groups"),
    ("provider", b"ngx\0portcullis_provider"),
    ("agent", b"ngx\0portcullis_agent"),
    ("key-id", b"ngx\0portcullis_key_id"),
];

/// A variable that nginx's configuration does not declare, or that can't be set.
#[derive(Clone, Copy, Debug)]
pub struct Undeclared {
    /// Its name, without the `$`.
    pub variable: &'static str,
    /// What the host says.
    pub status: Status,
}

impl std::fmt::Display for Undeclared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { variable, status } = self;
        write!(
            f,
            "${variable} can't be set ({status}); declare it: set ${variable} \"\";"
        )
    }
}

/// Shuts the guard: a request may come here a second time, with what the first judgement left in the variable.
pub(crate) fn shut() -> Result<(), Undeclared> {
    set(DECISION, DENY)
}

/// Opens the guard. The last thing that is done for a request that is let in.
pub(crate) fn open() -> Result<(), Undeclared> {
    set(DECISION, ALLOW)
}

/// Leaves the identity in variables, every one of them: those that this caller does not have are emptied.
///
/// No header is touched. A header that the client sent can't be replaced, and one that is removed here goes to the upstream all the
/// same, even against nginx's own `proxy_set_header`.
pub(crate) fn identify(allow: &Allow) -> Result<(), Undeclared> {
    for (part, variable) in IDENTITY {
        let value = allow
            .set
            .iter()
            .find(|(name, _)| name.strip_prefix(&*allow.identity_prefix) == Some(part))
            .map_or("", |(_, value)| value);
        set(variable, value.as_bytes())?;
    }
    Ok(())
}

fn set(property: &'static [u8], value: &[u8]) -> Result<(), Undeclared> {
    hostcalls::set_property(property, value).map_err(|status| Undeclared {
        variable: std::str::from_utf8(property)
            .ok()
            .and_then(|path| path.strip_prefix("ngx\0"))
            .unwrap_or_default(),
        status,
    })
}

/// Whether a request has no body, which nginx does not say when it shows the headers.
///
/// HTTP/1 without `Content-Length` and `Transfer-Encoding` has none (RFC 9112 section 6.3). HTTP/2 and 3 may have one without saying so.
pub fn has_no_body(fields: &[Field<'_>]) -> bool {
    let named = |n: &'static [u8]| {
        let fields = fields.iter();
        fields.filter(move |(name, _)| name.eq_ignore_ascii_case(n))
    };
    if named(b"transfer-encoding").next().is_some() {
        return false;
    }
    let mut lengths = named(b"content-length");
    match (lengths.next(), lengths.next()) {
        (Some((_, length)), None) => *length == b"0",
        (Some(_), Some(_)) => false,
        (None, _) => hostcalls::property(b"ngx\0server_protocol")
            .is_ok_and(|protocol| protocol.starts_with(b"HTTP/1.")),
    }
}

/// An address with the port that nginx wants, and how to speak there; `None` for what it would trap at.
///
/// On a socket of this machine it is plain HTTP whatever the URL says: what listens there is a server block of the same nginx, which
/// does TLS with the peer and has no certificate in its name.
pub(crate) fn dial<'u>(upstream: &'u str, scheme: &'static str) -> Option<Dialled<'u>> {
    if !is_dialable(upstream) {
        return None;
    }
    let (address, scheme) = if upstream.starts_with("unix:") {
        (Cow::Borrowed(upstream), "http")
    } else if port_of(upstream).is_some() {
        (Cow::Borrowed(upstream), scheme)
    } else {
        let port = if scheme == "https" { 443 } else { 80 };
        (Cow::Owned(format!("{upstream}:{port}")), scheme)
    };
    Some(Dialled { address, scheme })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port() {
        for (upstream, scheme, address, spoken) in [
            ("issuer.example", "https", "issuer.example:443", "https"),
            ("issuer.example", "http", "issuer.example:80", "http"),
            ("127.0.0.1:9000", "https", "127.0.0.1:9000", "https"),
            ("[::1]", "https", "[::1]:443", "https"),
            (
                "unix:/run/keys.sock",
                "https",
                "unix:/run/keys.sock",
                "http",
            ),
        ] {
            let dialled = dial(upstream, scheme).unwrap();
            assert_eq!((&*dialled.address, dialled.scheme), (address, spoken));
        }
        for trap in ["", "h:", "h:0", "h:99999", "h:x", "h:-1"] {
            assert!(dial(trap, "https").is_none(), "{trap}");
        }
    }

    #[test]
    fn only_what_says_so_has_no_body() {
        let has_no_body = |fields: &[(&'static str, &'static str)]| {
            let fields: Vec<Field<'_>> = fields
                .iter()
                .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
                .collect();
            has_no_body(&fields)
        };
        assert!(has_no_body(&[("Content-Length", "0")]));
        assert!(!has_no_body(&[("content-length", "1")]));
        assert!(!has_no_body(&[("content-length", "00")]));
        assert!(!has_no_body(&[
            ("content-length", "0"),
            ("content-length", "5")
        ]));
        assert!(!has_no_body(&[
            ("content-length", "0"),
            ("Transfer-Encoding", "chunked")
        ]));
        // The protocol is not known here, and HTTP/2 need not say anything.
        assert!(!has_no_body(&[]));
    }

    #[test]
    fn a_missing_variable_is_named_with_its_remedy() {
        let undeclared = open().unwrap_err();
        let text = undeclared.to_string();
        assert!(text.contains("set $portcullis_decision \"\";"), "{text}");
    }
}
