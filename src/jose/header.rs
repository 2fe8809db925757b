//! The JOSE header of a token (RFC 7515 section 4), and those that are known because many tokens have the same.

use std::borrow::Cow;
use std::rc::Rc;

use serde::de::DeserializeSeed;
use serde_json::Value;

use super::algorithm::Algorithm;
use super::json::{Context, JsonError, Refused, StrictObject, strict_utf8};
use super::jws::{JwsError, Part, decode};
use super::limits::JoseLimits;

/// What we read of a JOSE header. Key material and key locations in it (`jwk`,
/// `jku`, `x5c`, `x5u`, `x5t`) are not: whoever wrote the token wrote those too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwsHeader {
    algorithm: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
}

/// A header beside the text that it was read from. The same text is the same header at any time.
#[derive(Debug)]
pub struct ReadHeader {
    text: Box<[u8]>,
    header: JwsHeader,
}

/// Headers that were read before. An issuer signs its tokens with a key or two, and so thousands of them begin with the same text.
#[derive(Debug, Default)]
pub struct KnownHeaders {
    /// Those found last stand before others.
    known: Vec<Rc<ReadHeader>>,
    /// What they were read under.
    limits: JoseLimits,
}

/// Known headers: those of the keys in use, and few enough to be compared with one by one.
const KNOWN: usize = 32;

impl ReadHeader {
    /// Reads the first part of a token.
    ///
    /// # Errors
    ///
    /// [`JwsError`].
    pub(super) fn read(text: &[u8], limits: &JoseLimits) -> Result<Self, JwsError> {
        let header = JwsHeader::parse(&decode(Part::Header, text)?, limits)?;
        Ok(Self {
            text: text.into(),
            header,
        })
    }

    /// The first part of the token, as it was sent.
    #[must_use]
    pub const fn text(&self) -> &[u8] {
        &self.text
    }

    /// What it says.
    #[must_use]
    pub const fn header(&self) -> &JwsHeader {
        &self.header
    }
}

impl KnownHeaders {
    /// The header with that text, if it is known and was read under these limits.
    pub(super) fn find(&mut self, text: &[u8], limits: &JoseLimits) -> Option<Rc<ReadHeader>> {
        if self.known.is_empty() || self.limits != *limits {
            return None;
        }
        let place = self.known.iter().position(|known| *known.text == *text)?;
        if place > 0 {
            self.known.swap(place, place - 1);
        }
        self.known.get(place.saturating_sub(1)).cloned()
    }

    /// Keeps a header that was read under these limits. Only of tokens whose signature stands: nobody else is to choose what is known.
    pub fn keep(&mut self, header: &Rc<ReadHeader>, limits: &JoseLimits) {
        if self.limits != *limits {
            self.known.clear();
            self.limits.clone_from(limits);
        }
        if self.known.iter().any(|known| Rc::ptr_eq(known, header)) {
            return;
        }
        self.known.truncate(KNOWN - 1);
        self.known.push(header.clone());
    }
}

impl JwsHeader {
    /// The `alg`.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The `kid`.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The `typ`, as it stands: `JWT`, `at+jwt`, anything.
    #[must_use]
    pub fn typ(&self) -> Option<&str> {
        self.typ.as_deref()
    }

    fn parse(text: &[u8], limits: &JoseLimits) -> Result<Self, JwsError> {
        let mut members = HeaderMembers::default();
        let mut refused = None;
        let context = Context::new(limits.json_depth);
        let mut deserializer =
            serde_json::Deserializer::from_str(strict_utf8(text).map_err(JwsError::HeaderJson)?);
        let object = StrictObject {
            context: &context,
            each: |name, value| {
                if members.count >= limits.header_members {
                    refused = Some(JwsError::TooManyMembers {
                        limit: limits.header_members,
                    });
                    return Err(Refused::Otherwise);
                }
                members.add(name, value)
            },
        };
        if let Err(error) = object.deserialize(&mut deserializer) {
            return Err(match (refused, context.explain(&error)) {
                (Some(refused), _) => refused,
                (None, JsonError::Syntax { .. }) if error.is_data() => JwsError::HeaderNotAnObject,
                (None, error) => JwsError::HeaderJson(error),
            });
        }
        deserializer
            .end()
            .map_err(|error| JwsError::HeaderJson(context.explain(&error)))?;
        members.check(limits)
    }
}

/// The members of a header as they come, those we know apart.
#[derive(Default)]
struct HeaderMembers<'h> {
    count: usize,
    alg: Option<Value>,
    kid: Option<Value>,
    typ: Option<Value>,
    cty: Option<Value>,
    others: Vec<Cow<'h, str>>,
    crit: bool,
    b64: bool,
    enc: bool,
}

impl<'h> HeaderMembers<'h> {
    fn add(&mut self, name: Cow<'h, str>, value: Value) -> Result<(), Refused> {
        self.count += 1;
        let place = match &*name {
            "alg" => &mut self.alg,
            "kid" => &mut self.kid,
            "typ" => &mut self.typ,
            "cty" => &mut self.cty,
            other => {
                self.crit |= other == "crit";
                self.b64 |= other == "b64";
                self.enc |= other == "enc";
                if self.others.contains(&name) {
                    return Err(Refused::Duplicate);
                }
                self.others.push(name);
                return Ok(());
            }
        };
        match place.replace(value) {
            None => Ok(()),
            Some(_) => Err(Refused::Duplicate),
        }
    }

    fn check(self, limits: &JoseLimits) -> Result<JwsHeader, JwsError> {
        if self.enc {
            return Err(JwsError::Encrypted);
        }
        if self.crit {
            return Err(JwsError::Critical);
        }
        if self.b64 {
            return Err(JwsError::UnencodedPayload);
        }
        let algorithm = string("alg", self.alg)?.ok_or(JwsError::MissingAlgorithm)?;
        let algorithm = Algorithm::from_name(&algorithm).map_err(JwsError::UnsupportedAlgorithm)?;
        let kid = string("kid", self.kid)?;
        if let Some(bytes) = kid
            .as_ref()
            .map(String::len)
            .filter(|bytes| *bytes > limits.kid_bytes)
        {
            return Err(JwsError::KidTooLong {
                bytes,
                limit: limits.kid_bytes,
            });
        }
        let typ = string("typ", self.typ)?;
        string("cty", self.cty)?;
        Ok(JwsHeader {
            algorithm,
            kid,
            typ,
        })
    }
}

fn string(member: &'static str, value: Option<Value>) -> Result<Option<String>, JwsError> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(JwsError::MemberType { member }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::{UntrustedJws, base64url};
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn token(kid: usize) -> String {
        let header = format!(r#"{{"alg":"RS256","kid":"{kid}"}}"#);
        format!("{}.e30.c2ln", base64url::encode(header.as_bytes()))
    }

    fn read(token: &str, limits: &JoseLimits, known: &mut KnownHeaders) -> Rc<ReadHeader> {
        let jws = UntrustedJws::parse_knowing(token.as_bytes(), limits, known).unwrap();
        jws.read_header().clone()
    }

    #[test]
    fn a_known_header_is_not_read_again() {
        let (mut known, limits) = (KnownHeaders::default(), JoseLimits::DEFAULT);
        let first = read(&token(1), &limits, &mut known);
        // Nobody has said that it is worth keeping.
        assert!(!Rc::ptr_eq(&first, &read(&token(1), &limits, &mut known)));
        known.keep(&first, &limits);
        for _ in 0..3 {
            let again = read(&token(1), &limits, &mut known);
            assert!(Rc::ptr_eq(&first, &again));
            known.keep(&again, &limits);
            assert_eq!(known.known.len(), 1);
            let other = read(&token(2), &limits, &mut known);
            assert_eq!(other.header().kid(), Some("2"));
        }
    }

    #[test]
    fn those_in_use_stay_however_many_there_are() {
        let (mut known, limits) = (KnownHeaders::default(), JoseLimits::DEFAULT);
        let first = read(&token(0), &limits, &mut known);
        known.keep(&first, &limits);
        for kid in 1..1000 {
            let header = read(&token(kid), &limits, &mut known);
            assert_eq!(header.header().kid(), Some(kid.to_string().as_str()));
            known.keep(&header, &limits);
            assert!(known.known.len() <= KNOWN);
            assert!(Rc::ptr_eq(&first, &read(&token(0), &limits, &mut known)));
        }
    }

    #[test]
    fn what_was_read_under_other_limits_is_not_known() {
        let mut known = KnownHeaders::default();
        let first = read(&token(1), &JoseLimits::DEFAULT, &mut known);
        known.keep(&first, &JoseLimits::DEFAULT);
        let tight = JoseLimits {
            header_members: 1,
            ..JoseLimits::DEFAULT
        };
        let token = token(1);
        let refused = UntrustedJws::parse_knowing(token.as_bytes(), &tight, &mut known).err();
        assert_eq!(refused, Some(JwsError::TooManyMembers { limit: 1 }));
    }
}
