//! What a caller presents: found in the request's head, untrusted, and never printed.

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;

use portcullis_octets::text;

use crate::reason::Code;
use crate::request::RequestHead;
use crate::sigv4::{self, SignedRequest};

/// The kind of a presented credential, `token_kind` in audit events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// Nothing presented.
    Empty,
    /// A bearer token with no structure we know, or another authentication scheme.
    Opaque,
    /// Three (JWS) or five (JWE) dot-separated parts.
    Jwt,
    /// Signed with AWS Signature Version 4.
    SigV4,
    /// The assertion of Google's Identity-Aware Proxy, in a header of its own.
    IapJwt,
    /// An API key, or what stands where one belongs.
    ApiKey,
}

impl TokenKind {
    /// The name in audit events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Opaque => "opaque",
            Self::Jwt => "jwt",
            Self::SigV4 => "sigv4",
            Self::IapJwt => "iap_jwt",
            Self::ApiKey => "api_key",
        }
    }
}

/// The credential of one request.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential<'a> {
    /// None at all.
    None,
    /// `Authorization: Bearer …` (RFC 6750 section 2.1).
    Bearer(Cow<'a, str>),
    /// The request's own signature, in `Authorization: AWS4-HMAC-SHA256 …` or a presigned query.
    Signed(Box<SignedRequest>),
    /// An API key, and where it stood.
    ApiKey(Cow<'a, str>, KeyPlace),
    /// An `Authorization` of another scheme: presented, and nobody here claims it.
    OtherScheme,
}

/// Where a request carries API keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct KeyPlaces {
    /// Header fields of their own, in lower case.
    pub headers: Vec<Rc<str>>,
    /// Prefixes that make a bearer token a key.
    pub bearer_prefixes: Vec<Rc<str>>,
}

/// Where one key stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// `Authorization: Bearer`.
    Bearer,
    /// The header field at this place of [`KeyPlaces::headers`].
    Header(usize),
}

impl KeyPlaces {
    /// The name of the header field.
    pub fn header(&self, place: KeyPlace) -> &str {
        match place {
            KeyPlace::Bearer => "authorization",
            KeyPlace::Header(i) => self.headers.get(i).map_or("", |name| &**name),
        }
    }

    fn is_bearer_key(&self, token: &str) -> bool {
        self.bearer_prefixes
            .iter()
            .any(|p| token.strip_prefix(&**p).is_some_and(|t| t.starts_with('_')))
    }

    /// The one key that stands in a header field of its own.
    fn find<'a>(
        &self,
        head: &RequestHead<'a>,
        max_bytes: usize,
    ) -> Result<Option<Credential<'a>>, Code> {
        let mut found = None;
        for (i, name) in self.headers.iter().enumerate() {
            for value in head.values(name) {
                let value = value.trim_ascii();
                if value.is_empty() {
                    continue;
                }
                if found.is_some() || value.contains(&b',') {
                    return Err(Code::AmbiguousCredentials);
                }
                if value.len() > max_bytes {
                    return Err(Code::TokenTooLarge);
                }
                let text = std::str::from_utf8(value).map_err(|_| Code::MalformedKey)?;
                let place = KeyPlace::Header(i);
                found = Some(Credential::ApiKey(Cow::Borrowed(text), place));
            }
        }
        Ok(found)
    }
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Bearer(_) => "Bearer(redacted)",
            Self::Signed(_) => "Signed(redacted)",
            Self::ApiKey(..) => "ApiKey(redacted)",
            Self::OtherScheme => "OtherScheme",
        })
    }
}

impl<'a> Credential<'a> {
    /// Finds the one credential of a request.
    ///
    /// # Errors
    /// [`Code::AmbiguousCredentials`] for more than one `Authorization` field, or one that a proxy has joined from
    /// several, or a key beside another credential: two readers might pick different ones.
    /// [`Code::MalformedAuthorization`] when it is no credential, [`Code::TokenTooLarge`] beyond `max_bytes`. With `signatures`, what
    /// [`SignedRequest::read`] says of a signed request, and [`Code::AmbiguousCredentials`] for a presigned one that has an
    /// `Authorization` too; without, those are nobody's business here but the upstream's.
    pub fn find(
        head: &RequestHead<'a>,
        places: &KeyPlaces,
        max_bytes: usize,
        signatures: bool,
    ) -> Result<Self, Code> {
        let key = places.find(head, max_bytes)?;
        match (key, Self::authorization(head, max_bytes, signatures)?) {
            (Some(key), Self::None) => Ok(key),
            (Some(_), _) => Err(Code::AmbiguousCredentials),
            (None, Self::Bearer(token)) if places.is_bearer_key(&token) => {
                Ok(Self::ApiKey(token, KeyPlace::Bearer))
            }
            (None, other) => Ok(other),
        }
    }

    fn authorization(
        head: &RequestHead<'a>,
        max_bytes: usize,
        signatures: bool,
    ) -> Result<Self, Code> {
        let mut values = head.values("authorization");
        let first = values.next();
        if values.next().is_some() {
            return Err(Code::AmbiguousCredentials);
        }
        if signatures && SignedRequest::is_presigned(head) {
            return match first {
                None => SignedRequest::read(head, None).map(|s| Self::Signed(Box::new(s))),
                Some(_) => Err(Code::AmbiguousCredentials),
            };
        }
        let Some(value) = first else {
            return Ok(Self::None);
        };
        if value.len() > max_bytes.saturating_add(16) {
            return Err(Code::TokenTooLarge);
        }
        let value = std::str::from_utf8(value).map_err(|_| Code::MalformedAuthorization)?;
        // Optional whitespace around a field value is not part of it (RFC 9110 section 5.5).
        let value = value.trim_matches([' ', '\t']);
        if value.is_empty() {
            return Ok(Self::None);
        }
        let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
        if !scheme.bytes().all(is_tchar) {
            return Err(if scheme.contains(',') {
                Code::AmbiguousCredentials
            } else {
                Code::MalformedAuthorization
            });
        }
        if signatures
            && scheme
                .get(..5)
                .is_some_and(|s| s.eq_ignore_ascii_case("aws4-"))
        {
            if scheme != sigv4::ALGORITHM {
                return Err(Code::UnsupportedSignature);
            }
            return SignedRequest::read(head, Some(rest)).map(|s| Self::Signed(Box::new(s)));
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Ok(Self::OtherScheme);
        }
        // One space, although RFC 6750 section 2.1 has "1*SP": no client sends more, and readers behind us might take the
        // second for a part of the token.
        let token = rest;
        if token.is_empty() || !text::is_token_like(token) {
            return Err(if token.contains(',') {
                Code::AmbiguousCredentials
            } else {
                Code::MalformedAuthorization
            });
        }
        if token.len() > max_bytes {
            return Err(Code::TokenTooLarge);
        }
        Ok(Self::Bearer(Cow::Borrowed(token)))
    }

    /// The same, owning its token.
    pub fn into_owned(self) -> Credential<'static> {
        match self {
            Self::None => Credential::None,
            Self::Signed(signed) => Credential::Signed(signed),
            Self::OtherScheme => Credential::OtherScheme,
            Self::Bearer(token) => Credential::Bearer(Cow::Owned(token.into_owned())),
            Self::ApiKey(key, place) => Credential::ApiKey(Cow::Owned(key.into_owned()), place),
        }
    }

    /// What to call it in an audit event.
    pub fn kind(&self) -> TokenKind {
        match self {
            Self::None => TokenKind::Empty,
            Self::OtherScheme => TokenKind::Opaque,
            Self::Signed(_) => TokenKind::SigV4,
            Self::Bearer(token) if looks_like_jwt(token) => TokenKind::Jwt,
            Self::Bearer(_) => TokenKind::Opaque,
            Self::ApiKey(..) => TokenKind::ApiKey,
        }
    }
}

/// Where Google's Identity-Aware Proxy says who a caller is, in a header that clients can't set through it.
pub const IAP_ASSERTION: &str = "x-goog-iap-jwt-assertion";

/// The assertion of Google's Identity-Aware Proxy; `None` when there is none, or an empty one.
///
/// # Errors
/// As [`Credential::find`]; and [`Code::MalformedToken`] for what is not even text.
pub fn find_assertion<'a>(
    head: &RequestHead<'a>,
    max_bytes: usize,
) -> Result<Option<Cow<'a, str>>, Code> {
    let mut values = head.values(IAP_ASSERTION);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Code::AmbiguousCredentials);
    }
    if value.len() > max_bytes {
        return Err(Code::TokenTooLarge);
    }
    let value = std::str::from_utf8(value).map_err(|_| Code::MalformedToken)?;
    let value = value.trim_matches([' ', '\t']);
    Ok((!value.is_empty()).then_some(Cow::Borrowed(value)))
}

/// A character of a `token` (RFC 9110 section 5.6.2).
pub(crate) fn is_tchar(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// Three or five dot-separated parts: what is shaped like a JWT is judged by JWT rules and by nothing else,
/// so that a mangled one can't pass for something opaque.
pub(crate) fn looks_like_jwt(token: &str) -> bool {
    matches!(memchr::memchr_iter(b'.', token.as_bytes()).count(), 2 | 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn find(values: &[&str]) -> Result<Credential<'static>, Code> {
        let headers: Vec<(&[u8], &[u8])> = values
            .iter()
            .map(|v| (b"Authorization".as_slice(), v.as_bytes()))
            .collect();
        let head = RequestHead {
            method: b"GET",
            path: b"/",
            authority: b"h",
            headers: &headers,
            remote_addr: None,
        };
        Credential::find(&head, &KeyPlaces::default(), 100, true).map(Credential::into_owned)
    }

    fn find_key(headers: &[(&str, &str)]) -> Result<Credential<'static>, Code> {
        let headers: Vec<(&[u8], &[u8])> = headers
            .iter()
            .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
            .collect();
        let head = RequestHead {
            method: b"GET",
            path: b"/",
            authority: b"h",
            headers: &headers,
            remote_addr: None,
        };
        let places = KeyPlaces {
            headers: vec!["x-gofannon-key".into(), "x-api-key".into()],
            bearer_prefixes: vec!["gak".into(), "gsa".into()],
        };
        Credential::find(&head, &places, 100, true).map(Credential::into_owned)
    }

    #[test]
    fn keys_in_each_place() {
        let key = |place| Ok(Credential::ApiKey("gak_a".into(), place));
        for (headers, found) in [
            (&[("X-Gofannon-Key", "gak_a")][..], key(KeyPlace::Header(0))),
            (&[("x-api-key", " gak_a\t")], key(KeyPlace::Header(1))),
            (&[("authorization", "bearer gak_a")], key(KeyPlace::Bearer)),
            (
                &[("x-api-key", ""), ("authorization", "Bearer gak_a")],
                key(KeyPlace::Bearer),
            ),
            (
                &[("authorization", "Bearer gako_a")],
                Ok(Credential::Bearer("gako_a".into())),
            ),
            (
                &[("authorization", "Bearer gak")],
                Ok(Credential::Bearer("gak".into())),
            ),
            (&[("x-api-key", " ")], Ok(Credential::None)),
        ] {
            assert_eq!(find_key(headers), found, "{headers:?}");
        }
    }

    #[test]
    fn a_key_beside_another_credential() {
        for headers in [
            &[("x-api-key", "gak_a"), ("x-api-key", "gak_a")][..],
            &[("x-api-key", "gak_a"), ("x-gofannon-key", "gak_a")],
            &[("x-api-key", "gak_a,gak_b")],
            &[("x-api-key", "gak_a"), ("authorization", "Bearer gak_a")],
            &[("x-api-key", "gak_a"), ("authorization", "Bearer other")],
            &[("x-api-key", "gak_a"), ("authorization", "Basic other")],
        ] {
            assert_eq!(
                find_key(headers),
                Err(Code::AmbiguousCredentials),
                "{headers:?}"
            );
        }
        let long = "a".repeat(101);
        assert_eq!(find_key(&[("x-api-key", &long)]), Err(Code::TokenTooLarge));
    }

    #[test]
    fn bearer_in_any_case() {
        for v in ["Bearer abc", "bearer abc", "BEARER abc", "bEaReR abc "] {
            assert_eq!(find(&[v]), Ok(Credential::Bearer("abc".into())), "{v}");
        }
        assert_eq!(find(&[]), Ok(Credential::None));
        assert_eq!(find(&["  "]), Ok(Credential::None));
        assert_eq!(find(&["Basic abc"]), Ok(Credential::OtherScheme));
        assert_eq!(find(&["Bearer  abc"]), Err(Code::MalformedAuthorization));
    }

    #[test]
    fn two_are_none() {
        for v in [
            &["Bearer a", "Bearer a"][..],
            &["Bearer a", ""],
            &["Bearer a,Bearer b"],
            &["Bearer a, Basic b"],
            &["Bearer,Bearer a"],
        ] {
            assert_eq!(find(v), Err(Code::AmbiguousCredentials), "{v:?}");
        }
    }

    #[test]
    fn what_is_no_token() {
        for v in [
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Bearer\ta",
            "Bearer a\u{e9}",
            "Bearer:a",
        ] {
            assert_eq!(find(&[v]), Err(Code::MalformedAuthorization), "{v}");
        }
        let long = format!("Bearer {}", "a".repeat(101));
        assert_eq!(find(&[&long]), Err(Code::TokenTooLarge));
        let longer = format!("Bearer {}", "a".repeat(1000));
        assert_eq!(find(&[&longer]), Err(Code::TokenTooLarge));
    }

    #[test]
    fn debug_shows_no_token() {
        assert!(!format!("{:?}", Credential::Bearer("hunter2".into())).contains("hunter2"));
    }
}
