//! Absolute `http` and `https` URLs as far as a callout needs them (RFC 3986).

use std::fmt;

/// An absolute `http` or `https` URL, split as a callout needs it. No userinfo, no fragment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url {
    /// Whether the scheme is `https`.
    pub https: bool,
    /// `host` or `host:port` as written, in lower case.
    pub authority: String,
    /// Path and query; starts with `/`.
    pub path: String,
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.authority, self.path)
    }
}

/// Why a text is not a URL that can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlError {
    /// Neither `https://` nor `http://`.
    Scheme,
    /// No host, userinfo, or a character that no authority has.
    Authority,
    /// A fragment, white space, controls or bytes outside ASCII.
    Path,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "must start with https:// (or http://)",
            Self::Authority => "needs a plain host or host:port, without user name or password",
            Self::Path => "has a fragment, white space or a character outside ASCII",
        })
    }
}

impl Url {
    /// `https` or `http`.
    pub const fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// Splits a URL.
    ///
    /// # Errors
    /// [`UrlError`] for anything but an absolute http(s) URL without userinfo and fragment.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let (https, rest) = if let Some(rest) = text.strip_prefix("https://") {
            (true, rest)
        } else {
            (false, text.strip_prefix("http://").ok_or(UrlError::Scheme)?)
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let port = port_of(authority);
        let host = port.map_or(authority, |port| {
            authority
                .strip_suffix(port)
                .and_then(|a| a.strip_suffix(':'))
                .unwrap_or_default()
        });
        let host_ok = match host.strip_prefix('[') {
            Some(v6) => v6
                .strip_suffix(']')
                .is_some_and(|a| a.parse::<std::net::Ipv6Addr>().is_ok()),
            None => {
                !host.is_empty()
                    && host
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
            }
        };
        if !host_ok
            || port.is_some_and(|p| {
                !p.bytes().all(|b| b.is_ascii_digit()) || p.parse::<u16>().is_err()
            })
        {
            return Err(UrlError::Authority);
        }
        if !path.bytes().all(|b| (0x21..0x7f).contains(&b) && b != b'#') {
            return Err(UrlError::Path);
        }
        let path = match path.chars().next() {
            None => "/".to_owned(),
            Some('/') => path.to_owned(),
            Some(_) => format!("/{path}"),
        };
        Ok(Self {
            https,
            authority: authority.to_ascii_lowercase(),
            path,
        })
    }
}

/// An issuer, or a path, as it is compared and added to: without one trailing `/`.
pub fn without_slash(text: &str) -> &str {
    text.strip_suffix('/').unwrap_or(text)
}

/// Whether a host can connect to that address: `host`, `host:port` with a port from 1 to 65535, or `unix:/path.sock`.
pub fn is_dialable(upstream: &str) -> bool {
    if let Some(path) = upstream.strip_prefix("unix:") {
        return path.starts_with('/') && path.bytes().all(|b| (0x21..0x7f).contains(&b));
    }
    let parsed = Url::parse(&format!("http://{upstream}"));
    let plain = parsed.is_ok_and(|url| url.authority.eq_ignore_ascii_case(upstream));
    plain && port_of(upstream).is_none_or(|port| port.parse::<u16>().is_ok_and(|n| n > 0))
}

/// The port that an authority or upstream names.
pub fn port_of(authority: &str) -> Option<&str> {
    let (_, port) = authority.rsplit_once(':')?;
    // An IPv6 literal has colons of its own, inside brackets.
    (!port.contains(']')).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn splits() {
        for (text, authority, path) in [
            ("https://Issuer.example", "issuer.example", "/"),
            (
                "http://127.0.0.1:8080/a/b?c=d",
                "127.0.0.1:8080",
                "/a/b?c=d",
            ),
            ("https://[::1]:8443/x", "[::1]:8443", "/x"),
            ("https://h?q", "h", "/?q"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(
                (url.authority.as_str(), url.path.as_str()),
                (authority, path)
            );
        }
    }

    #[test]
    fn refuses() {
        for (text, error) in [
            ("ftp://h/", UrlError::Scheme),
            ("//h/", UrlError::Scheme),
            ("https:///x", UrlError::Authority),
            ("https://u@h/", UrlError::Authority),
            ("https://u:p@h/", UrlError::Authority),
            ("https://h:99999/", UrlError::Authority),
            ("https://h:8o/", UrlError::Authority),
            ("https://[::1/", UrlError::Authority),
            ("https://h\u{e9}/", UrlError::Authority),
            ("https://h/#f", UrlError::Path),
            ("https://h/a b", UrlError::Path),
            ("https://h/\r\nx", UrlError::Path),
        ] {
            assert_eq!(Url::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn what_can_be_connected_to() {
        for good in [
            "h",
            "h:1",
            "h.example:65535",
            "127.0.0.1:80",
            "[::1]:443",
            "[::1]",
            "unix:/run/x.sock",
        ] {
            assert!(is_dialable(good), "{good}");
        }
        for bad in [
            "",
            "h:",
            "h:0",
            "h:00",
            "h:65536",
            "h:-1",
            "h:x",
            "h:+1",
            "::1:80",
            "u@h",
            "h/x",
            "unix:x",
            "unix:/a b",
            "http://h",
        ] {
            assert!(!is_dialable(bad), "{bad}");
        }
    }
}
