//! The one function that turns a code into an HTTP response (design section 6, RFC 6750 section 3).

use std::borrow::Cow;
use std::time::Duration;

use portcullis_octets::text::push_json;

use crate::apikey::bucket::RateLimit;
use crate::reason::{Code, Reason};

/// A header field of an answer.
pub type Field = (&'static str, Cow<'static, str>);

/// A refusal as it goes on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header fields, `content-type` first.
    pub headers: Vec<Field>,
    /// JSON.
    pub body: String,
}

impl Response {
    /// Adds parameters to the challenge, if there is one, and lets a page of another origin read it: browsers hide this header
    /// from scripts otherwise (Fetch section 3.2.4).
    pub fn add_to_challenge(&mut self, parameters: &str) {
        let challenge = self
            .headers
            .iter_mut()
            .find(|(n, _)| *n == "www-authenticate");
        let Some((_, value)) = challenge else { return };
        // Parameters are separated by commas, the first from the scheme by a space (RFC 9110 section 11.6.1).
        let separator = if value.contains('=') { ", " } else { " " };
        *value = format!("{value}{separator}{parameters}").into();
        self.headers
            .push(("access-control-expose-headers", "WWW-Authenticate".into()));
    }
}

/// The response to a request refused with `code`.
///
/// The body tells a caller what to mend and nothing else: one text per reason, so it does not say which
/// subjects, keys or audiences there are.
pub fn response(
    code: Code,
    unavailable_status: u16,
    retry_after: Option<Duration>,
    request_id: &str,
) -> Response {
    let reason = code.reason();
    let (status, error, message) = match reason {
        Reason::MissingToken | Reason::NotForMe => {
            (401, "unauthorized", "valid bearer token required")
        }
        // RFC 9110 section 15.5.14.
        Reason::Rejected if code == Code::BodyTooLarge => (
            413,
            "content_too_large",
            "request body too large to be verified",
        ),
        Reason::Rejected => (401, "unauthorized", "token rejected by auth provider"),
        Reason::Invalid => (401, "unauthorized", "invalid token"),
        Reason::BadRequest if code == Code::IdentityHeader => (
            400,
            "bad_request",
            "the request brings headers that only this proxy may set",
        ),
        Reason::BadRequest => (400, "bad_request", "too many header fields"),
        Reason::ForbiddenAgent => (403, "forbidden", "not allowed to call this agent"),
        Reason::RateLimited => (429, "rate_limited", "too many requests"),
        Reason::ProviderUnavailable if unavailable_status == 401 => {
            (401, "unauthorized", "auth provider unavailable")
        }
        Reason::ProviderUnavailable => (503, "unavailable", "auth provider unavailable"),
        Reason::Infrastructure if code == Code::NoPolicy => (
            503,
            "unavailable",
            "no usable configuration is in force; the proxy's log says why",
        ),
        Reason::Infrastructure => (503, "unavailable", "auth provider error"),
    };
    let mut body = String::with_capacity(160);
    for (key, value) in [
        ("{\"error\":", error),
        (",\"message\":", message),
        (",\"request_id\":", request_id),
    ] {
        body.push_str(key);
        push_json(&mut body, value);
    }
    body.push('}');
    let mut headers: Vec<Field> = Vec::with_capacity(5);
    headers.push(("content-type", "application/json".into()));
    if status == 401 {
        // RFC 6750 section 3.1: no error code for a request that carries no authentication information.
        let bare = matches!(reason, Reason::MissingToken | Reason::ProviderUnavailable);
        let challenge = if bare {
            "Bearer"
        } else {
            "Bearer error=\"invalid_token\""
        };
        headers.push(("www-authenticate", challenge.into()));
    }
    if matches!(status, 429 | 503) {
        let wait = retry_after.map_or(1, |d| d.as_millis().div_ceil(1000).clamp(1, 60));
        headers.push(("retry-after", wait.to_string().into()));
    }
    // A refusal says something about one caller at one moment.
    headers.push(("cache-control", "no-store".into()));
    Response {
        status,
        headers,
        body,
    }
}

/// `Retry-After` (RFC 9110 section 10.2.3), and the fields of draft-ietf-httpapi-ratelimit-headers-10: `RateLimit-Policy` with the
/// quota `q` for each window of `w` seconds, `RateLimit` with `r` requests left and `t` seconds until there is one more.
pub fn rate_limit_fields(limit: &RateLimit, wait: Duration) -> [Field; 3] {
    let seconds = |d: Duration| d.as_millis().div_ceil(1000).max(1);
    let wait = seconds(wait);
    let (quota, window) = (limit.requests(), seconds(limit.per()));
    [
        ("retry-after", wait.to_string().into()),
        (
            "ratelimit-policy",
            format!("\"key\";q={quota};w={window}").into(),
        ),
        ("ratelimit", format!("\"key\";r=0;t={wait}").into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn header<'a>(r: &'a Response, name: &str) -> Option<&'a str> {
        r.headers
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, v)| &**v)
    }

    #[test]
    fn every_code_is_a_refusal() {
        for code in Code::ALL {
            let r = response(*code, 503, None, "r-1");
            assert!(
                matches!(r.status, 400 | 401 | 403 | 413 | 429 | 503),
                "{code}"
            );
            assert_eq!(
                r.status == 401,
                header(&r, "www-authenticate").is_some(),
                "{code}"
            );
            let body: serde_json::Value = serde_json::from_str(&r.body).unwrap();
            assert_eq!(body["request_id"], "r-1");
            // A code that is no finer than its reason says no more than the status.
            let no_finer = code.as_str() == code.reason().as_str();
            assert!(!r.body.contains(code.as_str()) || no_finer, "{code} shows");
        }
    }

    #[test]
    fn challenges() {
        let challenge =
            |code| header(&response(code, 503, None, ""), "www-authenticate").map(str::to_owned);
        assert_eq!(challenge(Code::MissingToken).as_deref(), Some("Bearer"));
        assert_eq!(
            challenge(Code::Expired).as_deref(),
            Some("Bearer error=\"invalid_token\"")
        );
        assert_eq!(
            challenge(Code::NotForMe).as_deref(),
            Some("Bearer error=\"invalid_token\"")
        );
        assert_eq!(challenge(Code::ForbiddenAgent), None);
    }

    #[test]
    fn more_to_say() {
        for (code, challenge) in [
            (Code::MissingToken, Some("Bearer a=\"b\", c=\"d\"")),
            (
                Code::Expired,
                Some("Bearer error=\"invalid_token\", a=\"b\", c=\"d\""),
            ),
            (Code::ForbiddenAgent, None),
            (Code::KeysUnavailable, None),
        ] {
            let mut r = response(code, 503, None, "");
            r.add_to_challenge("a=\"b\", c=\"d\"");
            assert_eq!(header(&r, "www-authenticate"), challenge);
            let exposed = header(&r, "access-control-expose-headers");
            assert_eq!(exposed, challenge.map(|_| "WWW-Authenticate"));
        }
    }

    #[test]
    fn unavailable_is_503_with_retry_after_or_401() {
        let r = response(
            Code::KeysUnavailable,
            503,
            Some(Duration::from_millis(1500)),
            "",
        );
        assert_eq!((r.status, header(&r, "retry-after")), (503, Some("2")));
        let r = response(Code::KeysUnavailable, 401, None, "");
        assert_eq!(
            (r.status, header(&r, "www-authenticate")),
            (401, Some("Bearer"))
        );
        let r = response(Code::HostFailure, 401, None, "");
        assert_eq!((r.status, header(&r, "retry-after")), (503, Some("1")));
    }
}
