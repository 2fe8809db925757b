//! The claims of a JWT (RFC 7519 section 4), typed where a decision is made on them.

use serde_json::Value;

use crate::jose::Members;
use crate::policy::ClaimPath;
use crate::reason::Code;
use crate::time::UnixTime;

/// The claims set of one token.
///
/// Claims by themselves prove nothing: read from an unverified token they may
/// only choose which provider looks at it.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    members: Members,
    /// Where those stand that every provider asks for.
    issuer: Option<usize>,
    subject: Option<usize>,
    audience: Option<usize>,
    expires_at: Option<UnixTime>,
    not_before: Option<UnixTime>,
    issued_at: Option<UnixTime>,
}

impl Claims {
    /// Reads a payload with at most `max_depth` arrays and objects inside each other.
    ///
    /// # Errors
    /// [`Code::MalformedToken`] when it is not strict JSON. [`Code::MalformedClaims`] when it is no object, or a registered claim is
    /// there with a type that RFC 7519 section 4.1 does not give it. `null` is a wrong type, not an absence.
    pub fn read(payload: &[u8], max_depth: usize) -> Result<Self, Code> {
        let members = Members::parse(payload, max_depth)
            .map_err(|_| Code::MalformedToken)?
            .ok_or(Code::MalformedClaims)?;
        let (mut issuer, mut subject, mut audience) = (None, None, None);
        let (mut expires_at, mut not_before, mut issued_at) = (None, None, None);
        for (place, (name, value)) in members.iter().enumerate() {
            let is_right = match name {
                "iss" | "sub" | "jti" | "azp" => {
                    match name {
                        "iss" => issuer = Some(place),
                        "sub" => subject = Some(place),
                        _ => {}
                    }
                    value.is_string()
                }
                "aud" => {
                    audience = Some(place);
                    match value {
                        Value::String(_) => true,
                        Value::Array(many) => many.iter().all(Value::is_string),
                        _ => false,
                    }
                }
                "exp" | "nbf" | "iat" => {
                    let date = numeric_date(value);
                    match name {
                        "exp" => expires_at = date,
                        "nbf" => not_before = date,
                        _ => issued_at = date,
                    }
                    date.is_some()
                }
                _ => true,
            };
            if !is_right {
                return Err(Code::MalformedClaims);
            }
        }
        Ok(Self {
            issuer,
            subject,
            audience,
            expires_at,
            not_before,
            issued_at,
            members,
        })
    }

    /// `iss`.
    pub fn issuer(&self) -> Option<&str> {
        self.members.at(self.issuer?)?.as_str()
    }

    /// `sub`.
    pub fn subject(&self) -> Option<&str> {
        self.members.at(self.subject?)?.as_str()
    }

    /// `azp`, the party the token was issued to (OpenID Connect Core 1.0 section 2).
    pub fn authorized_party(&self) -> Option<&str> {
        self.members.get("azp")?.as_str()
    }

    /// `aud`, one or many; none when absent.
    pub fn audience(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match self.audience.and_then(|place| self.members.at(place)) {
            Some(Value::String(one)) => (Some(one.as_str()), None),
            Some(Value::Array(many)) => (None, Some(many.iter().filter_map(Value::as_str))),
            _ => (None, None),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Whether `aud` holds one of these.
    pub fn is_for(&self, audiences: &[String]) -> bool {
        self.audience()
            .any(|presented| audiences.iter().any(|ours| ours == presented))
    }

    /// `exp`.
    pub const fn expires_at(&self) -> Option<UnixTime> {
        self.expires_at
    }

    /// `nbf`.
    pub const fn not_before(&self) -> Option<UnixTime> {
        self.not_before
    }

    /// `iat`.
    pub const fn issued_at(&self) -> Option<UnixTime> {
        self.issued_at
    }

    /// A top-level claim.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }

    /// A top-level claim that is a string.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.value(name)?.as_str()
    }

    /// Whether there is a top-level claim of that name, of whatever type.
    pub fn has(&self, name: &str) -> bool {
        self.members.get(name).is_some()
    }

    /// `email_verified` (OpenID Connect Core 1.0 section 5.1). Some issuers write the boolean as a string; any other
    /// value counts as `false`: an address is not verified by a word we don't know.
    pub fn email_verified(&self) -> Option<bool> {
        Some(match self.members.get("email_verified")? {
            Value::Bool(b) => *b,
            Value::String(s) => s == "true",
            _ => false,
        })
    }

    /// The value a path leads to.
    pub fn get(&self, path: &ClaimPath) -> Option<&Value> {
        match path {
            ClaimPath::Name(name) => self.members.get(name),
            ClaimPath::Pointer(pointer) => {
                // RFC 6901; the first token is looked up here, because `Value::pointer` wants a `Value`.
                let (first, rest) = pointer
                    .strip_prefix('/')
                    .map(|p| p.find('/').map_or((p, ""), |i| p.split_at(i)))?;
                let first = first.replace("~1", "/").replace("~0", "~");
                self.members.get(&first)?.pointer(rest)
            }
        }
    }
}

/// A `NumericDate`: seconds since the epoch, fractions allowed (RFC 7519 section 2). Beyond the range of [`UnixTime`] it
/// saturates, so that an absurdly late `exp` is late and an absurdly late `nbf` is never reached.
fn numeric_date(v: &Value) -> Option<UnixTime> {
    if let Some(secs) = v.as_u64() {
        return Some(UnixTime::from_secs(secs));
    }
    let secs = v.as_f64().filter(|s| s.is_finite())?;
    // A float-to-integer `as` cast saturates, and negative dates are before anything we compare with.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Some(UnixTime::from_millis((secs * 1000.0) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn read(payload: &Value) -> Result<Claims, Code> {
        Claims::read(payload.to_string().as_bytes(), 16)
    }

    #[test]
    fn dates() {
        let of = |v| read(&json!({"exp": v})).map(|c| c.expires_at().unwrap().as_millis());
        assert_eq!(of(json!(1)), Ok(1000));
        assert_eq!(of(json!(1.5)), Ok(1500));
        assert_eq!(of(json!(1e3)), Ok(1_000_000));
        assert_eq!(of(json!(-5)), Ok(0));
        assert_eq!(of(json!(u64::MAX)), Ok(u64::MAX));
        assert_eq!(of(json!(1e300)), Ok(u64::MAX));
        for bad in [json!("1"), json!(null), json!(true), json!([1]), json!({})] {
            assert_eq!(of(bad), Err(Code::MalformedClaims));
        }
    }

    #[test]
    fn registered_claims_have_their_types() {
        for bad in [
            json!({"iss": 1}),
            json!({"sub": null}),
            json!({"azp": ["a"]}),
            json!({"aud": 1}),
            json!({"aud": null}),
            json!({"aud": ["a", 1]}),
            json!({"aud": [["a"]]}),
            json!([]),
            json!("x"),
        ] {
            assert_eq!(read(&bad), Err(Code::MalformedClaims), "{bad}");
        }
        let claims = read(&json!({"aud": "a", "x": null})).unwrap();
        assert_eq!(claims.audience().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn email_is_verified_by_true_only() {
        let of = |v| {
            read(&json!({"email_verified": v}))
                .unwrap()
                .email_verified()
        };
        assert_eq!(of(json!(true)), Some(true));
        assert_eq!(of(json!("true")), Some(true));
        for no in [
            json!(false),
            json!("false"),
            json!("yes"),
            json!(1),
            json!(null),
        ] {
            assert_eq!(of(no), Some(false));
        }
        assert_eq!(read(&json!({})).unwrap().email_verified(), None);
    }

    #[test]
    fn paths() {
        let claims = read(&json!({
            "a": {"b/c": ["x", "y"], "~": 1}, "https://sts.amazonaws.com/": {"org": "o"}, "/odd": 2
        }))
        .unwrap();
        let get = |p: &str| claims.get(&ClaimPath::Pointer(p.into())).cloned();
        assert_eq!(get("/a/b~1c/1"), Some(json!("y")));
        assert_eq!(get("/a/~0"), Some(json!(1)));
        assert_eq!(get("/https:~1~1sts.amazonaws.com~1/org"), Some(json!("o")));
        assert_eq!(get("/~1odd"), Some(json!(2)));
        assert_eq!(get("/nothing"), None);
        assert_eq!(claims.get(&ClaimPath::Name("/odd".into())), Some(&json!(2)));
    }
}
