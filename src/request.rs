//! A request head as the wire had it, and its canonical path.

use std::borrow::Cow;

/// What a decision is made from. Borrowed from the host for the time of one call.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method as on the wire.
    pub method: &'a [u8],
    /// The target as on the wire: path and query, not decoded.
    pub path: &'a [u8],
    /// The client's `Host` or `:authority`.
    pub authority: &'a [u8],
    /// Header fields in order, pseudo-headers left out, names in any case.
    pub headers: &'a [(&'a [u8], &'a [u8])],
    /// The peer's address as the host writes it.
    pub remote_addr: Option<&'a str>,
}

impl<'a> RequestHead<'a> {
    /// The values of every field of that (lower-case) name.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, v)| *v)
    }

    /// The value of a field that is there exactly once and is UTF-8.
    pub fn only_value(&self, name: &str) -> Option<&'a str> {
        let mut values = self.values(name);
        let first = values.next()?;
        if values.next().is_some() {
            return None;
        }
        std::str::from_utf8(first).ok()
    }

    /// The path without query, as on the wire.
    pub fn raw_path(&self) -> &'a [u8] {
        let end = self
            .path
            .iter()
            .position(|b| matches!(b, b'?' | b'#'))
            .unwrap_or(self.path.len());
        self.path.get(..end).unwrap_or_default()
    }
}

/// The one spelling of a path (without query), or `None` when different servers would read it
/// differently: then no rule may be applied to it and no agent be read from it.
///
/// Percent-encoded unreserved characters are decoded (RFC 3986 section 6.2.2.2). `None` for dot
/// segments, empty segments, encoded or plain backslashes, encoded slashes, NUL and other
/// controls, bytes outside ASCII, a path parameter (`;`) and broken percent-encoding.
///
/// ```
/// use portcullis_core::request::canonical_path;
/// assert_eq!(canonical_path(b"/rest/%6frders").as_deref(), Some("/rest/orders"));
/// assert_eq!(canonical_path(b"/rest/x/../orders"), None);
/// assert_eq!(canonical_path(b"/rest/%2e%2e/orders"), None);
/// assert_eq!(canonical_path(b"/rest//orders"), None);
/// ```
pub fn canonical_path(raw: &[u8]) -> Option<Cow<'_, str>> {
    if raw.first() != Some(&b'/') {
        return None;
    }
    let plain = |b: u8| (0x21..0x7f).contains(&b) && !matches!(b, b'\\' | b';' | b'?' | b'#');
    let path = if raw.contains(&b'%') {
        let mut out = String::with_capacity(raw.len());
        let mut bytes = raw.iter().copied();
        while let Some(b) = bytes.next() {
            if b == b'%' {
                let (hi, lo) = (bytes.next()?, bytes.next()?);
                let hex = [hi, lo];
                let value = u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?;
                // `from_str_radix` takes a sign.
                if !hex.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                if value.is_ascii_alphanumeric() || matches!(value, b'-' | b'.' | b'_' | b'~') {
                    out.push(char::from(value));
                } else if value < 0x20 || matches!(value, b'/' | b'\\' | 0x7f | b';' | b'%') {
                    return None;
                } else {
                    out.push('%');
                    out.push(char::from(hi.to_ascii_uppercase()));
                    out.push(char::from(lo.to_ascii_uppercase()));
                }
            } else if plain(b) {
                out.push(char::from(b));
            } else {
                return None;
            }
        }
        Cow::Owned(out)
    } else if raw.iter().all(|b| plain(*b)) {
        Cow::Borrowed(std::str::from_utf8(raw).ok()?)
    } else {
        return None;
    };
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if matches!(segment, "." | "..") || (segment.is_empty() && !last) {
            return None;
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn canonical(raw: &str) -> Option<String> {
        canonical_path(raw.as_bytes()).map(Cow::into_owned)
    }

    #[test]
    fn one_spelling_or_none() {
        for same in ["/", "/healthz", "/a/b/", "/a/b-c_d~e.f", "/a%20b", "/a:b@c"] {
            assert_eq!(canonical(same).as_deref(), Some(same));
        }
        assert_eq!(canonical("/%61%2d").as_deref(), Some("/a-"));
        assert_eq!(canonical("/a%c3%a9").as_deref(), Some("/a%C3%A9"));
        for none in [
            "",
            "healthz",
            "*",
            "//",
            "//healthz",
            "/a//b",
            "/.",
            "/..",
            "/a/./b",
            "/a/../b",
            "/a/..",
            "/%2e",
            "/%2E%2e/a",
            "/a%2fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a;b",
            "/a%3bb",
            "/a%",
            "/a%4",
            "/a%zz",
            "/a%+1",
            "/a b",
            "/a\u{7f}",
            "/é",
            "/a%252e",
            "http://h/healthz",
        ] {
            assert_eq!(canonical(none), None, "{none}");
        }
    }

    #[test]
    fn a_field_that_comes_twice_has_no_only_value() {
        let head = RequestHead {
            method: b"GET",
            path: b"/a?b#c",
            authority: b"h",
            headers: &[(b"X-A", b"1"), (b"x-a", b"2"), (b"x-b", b"3")],
            remote_addr: None,
        };
        assert_eq!(head.only_value("x-a"), None);
        assert_eq!(head.only_value("x-b"), Some("3"));
        assert_eq!(head.raw_path(), b"/a");
    }
}
