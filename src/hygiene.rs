//! What must be gone from a request before an upstream sees it.
//!
//! An upstream trusts our identity headers. A caller who can smuggle one in is whoever he says he is, so all of
//! them are removed first: every spelling a server may read as ours, on every request.

use crate::credential::IAP_ASSERTION;
use crate::request::RequestHead;

/// What hygiene found to change.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cleansing {
    /// Names of header fields to remove, as the host spells them; each once.
    pub remove: Vec<Vec<u8>>,
    /// The new value of `Connection`, when it named one of ours; empty means remove it.
    pub connection: Option<String>,
}

/// What Google's Identity-Aware Proxy says of a caller without signing it. Upstreams behind it read these headers, and whoever gets
/// around it can write them.
pub const UNSIGNED_IAP: &str = "x-goog-authenticated-user-";

/// Finds the header fields that start with `prefix` (lower case, ends in `-`) or with [`UNSIGNED_IAP`], and mentions of them in
/// `Connection`.
///
/// `_` counts as `-`: CGI, WSGI and their kin turn both into `_`, so `x_auth_user_id` would
/// arrive as `HTTP_X_AUTH_USER_ID`. A name listed in `Connection` is dropped by the next
/// proxy (RFC 9110 section 7.6.1), which would let a caller delete the header that we set.
pub fn cleanse(head: &RequestHead<'_>, prefix: &str) -> Cleansing {
    let mut cleansing = Cleansing::default();
    let mut connection_names_ours = false;
    for (name, value) in head.headers {
        if is_ours(name, prefix) && !cleansing.remove.iter().any(|n| n == name) {
            cleansing.remove.push(name.to_vec());
        }
        if name.eq_ignore_ascii_case(b"connection") {
            connection_names_ours |= options(value).any(|o| is_ours(o, prefix));
        }
    }
    if connection_names_ours {
        let kept: Vec<String> = head
            .values("connection")
            .flat_map(options)
            .filter(|o| !is_ours(o, prefix))
            .filter_map(|o| std::str::from_utf8(o).ok().map(str::to_owned))
            .collect();
        cleansing.connection = Some(kept.join(", "));
    }
    cleansing
}

/// Whether a request must be refused that can't be cleansed.
///
/// Where assertions of Identity-Aware Proxy are judged, Google itself sends [`UNSIGNED_IAP`] headers with every request; there the
/// proxy's own configuration has to overwrite them. An assertion in another spelling than Google's is nobody's but an attacker's.
pub fn is_spoofed(head: &RequestHead<'_>, cleansing: &Cleansing, behind_iap: bool) -> bool {
    let from_google =
        |name: &[u8]| behind_iap && !name.contains(&b'_') && starts_like(name, UNSIGNED_IAP);
    cleansing.connection.is_some()
        || cleansing.remove.iter().any(|name| !from_google(name))
        || (behind_iap
            && spellings(head, IAP_ASSERTION)
                .iter()
                .any(|name| name.contains(&b'_')))
}

fn is_ours(name: &[u8], prefix: &str) -> bool {
    starts_like(name, prefix) || starts_like(name, UNSIGNED_IAP)
}

/// Every spelling of one header that a server may read as it, `_` for `-` among them.
pub fn spellings(head: &RequestHead<'_>, name: &str) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    for (n, _) in head.headers {
        if n.len() == name.len() && starts_like(n, name) && !found.iter().any(|f| f == n) {
            found.push(n.to_vec());
        }
    }
    found
}

fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|b| *b == b',')
        .map(|o| o.trim_ascii())
        .filter(|o| !o.is_empty())
}

/// Whether a field name is this (lower-case) one, `_` counting as `-`.
pub(crate) fn spelled_like(name: &[u8], ours: &str) -> bool {
    name.len() == ours.len() && starts_like(name, ours)
}

fn starts_like(name: &[u8], prefix: &str) -> bool {
    name.len() >= prefix.len()
        && name.iter().zip(prefix.bytes()).all(|(n, p)| {
            let n = if *n == b'_' {
                b'-'
            } else {
                n.to_ascii_lowercase()
            };
            let p = if p == b'_' { b'-' } else { p };
            n == p
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn run(headers: &[(&str, &str)]) -> Cleansing {
        let headers: Vec<(&[u8], &[u8])> = headers
            .iter()
            .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
            .collect();
        cleanse(
            &RequestHead {
                method: b"GET",
                path: b"/",
                authority: b"h",
                headers: &headers,
                remote_addr: None,
            },
            "x-auth-",
        )
    }

    #[test]
    fn every_spelling_goes() {
        let found = run(&[
            ("x-auth-user-id", "a"),
            ("X-Auth-User-Id", "b"),
            ("x-auth-user-id", "c"),
            ("x_auth_user_id", "d"),
            ("x-auth_email", "e"),
            ("x-auth-", "f"),
            ("x-auth", "stays"),
            ("x-authority", "stays"),
            ("authorization", "stays"),
            ("X-Goog-Authenticated-User-Email", "g"),
            ("x_goog_authenticated_user_id", "h"),
            ("x-goog-authenticated-user", "stays"),
            ("x-goog-iap-jwt-assertion", "stays"),
        ]);
        let names: Vec<&str> = found
            .remove
            .iter()
            .map(|n| std::str::from_utf8(n).unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "x-auth-user-id",
                "X-Auth-User-Id",
                "x_auth_user_id",
                "x-auth_email",
                "x-auth-",
                "X-Goog-Authenticated-User-Email",
                "x_goog_authenticated_user_id"
            ]
        );
        assert_eq!(found.connection, None);
    }

    #[test]
    fn connection_may_not_name_ours() {
        let found = run(&[
            ("connection", "keep-alive, X-Auth-User-Id"),
            ("Connection", "x_auth_email,te"),
        ]);
        assert_eq!(found.connection.as_deref(), Some("keep-alive, te"));
        assert_eq!(
            run(&[("connection", "x-auth-agent")]).connection.as_deref(),
            Some("")
        );
        assert_eq!(run(&[("connection", "close")]).connection, None);
    }
}
