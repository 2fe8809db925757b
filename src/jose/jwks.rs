//! JWK sets (RFC 7517 section 5) and the choice of the one key a token may be verified with.

use serde_json::Value;

use super::algorithm::Algorithm;
use super::json::{JsonError, parse_strict};
use super::jwk::{Jwk, JwkError};
use super::jws::{KeyMismatch, VerifyError};
use super::limits::JoseLimits;
use super::thumbprint::Thumbprint;

/// The usable keys of a set, at least one, and why the others are not.
#[derive(Clone, Debug)]
pub struct KeySet {
    keys: Vec<Jwk>,
    skipped: Vec<SkippedKey>,
    /// Indices into `keys` of those with a `kid`, sorted by it.
    by_kid: Vec<usize>,
}

/// An entry of a set that is not used, as RFC 7517 section 5 wants unknown ones ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedKey {
    /// Its place in `keys`, from 0.
    pub index: usize,
    /// Its `kid`, if it has one of a length we accept.
    pub kid: Option<String>,
    /// Why.
    pub reason: JwkError,
}

/// Why a document is no key set. A set that was in force before stays in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySetError {
    /// Longer than [`JoseLimits::jwks_bytes`].
    TooLarge {
        /// Its length in octets.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Not strict JSON.
    Json(JsonError),
    /// Not an object, or its `keys` is missing or no array.
    NoKeys,
    /// More entries than [`JoseLimits::jwks_keys`].
    TooManyKeys {
        /// Entries found.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// No entry can be used.
    NoUsableKey {
        /// Why not, one for each entry.
        skipped: Vec<SkippedKey>,
    },
}

impl KeySet {
    /// Reads a JWK set document.
    ///
    /// # Errors
    ///
    /// [`KeySetError`] when it is too big, not strict JSON, without `keys`, or
    /// without one usable key.
    pub fn parse(text: &[u8], limits: &JoseLimits) -> Result<Self, KeySetError> {
        if text.len() > limits.jwks_bytes {
            return Err(KeySetError::TooLarge {
                bytes: text.len(),
                limit: limits.jwks_bytes,
            });
        }
        let document = parse_strict(text, limits.json_depth).map_err(KeySetError::Json)?;
        Self::from_value(&document, limits)
    }

    /// Reads a JWK set that is JSON already, as in a configuration.
    ///
    /// # Errors
    ///
    /// As [`KeySet::parse`], but for what concerns the text.
    pub fn from_value(document: &Value, limits: &JoseLimits) -> Result<Self, KeySetError> {
        let entries = document
            .get("keys")
            .and_then(Value::as_array)
            .ok_or(KeySetError::NoKeys)?;
        if entries.len() > limits.jwks_keys {
            return Err(KeySetError::TooManyKeys {
                found: entries.len(),
                limit: limits.jwks_keys,
            });
        }
        let mut keys = Vec::with_capacity(entries.len());
        let mut skipped = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            match Jwk::from_value(entry, limits) {
                Ok(key) => keys.push(key),
                Err(reason) => {
                    let kid = entry
                        .get("kid")
                        .and_then(Value::as_str)
                        .filter(|kid| kid.len() <= limits.kid_bytes);
                    skipped.push(SkippedKey {
                        index,
                        kid: kid.map(str::to_owned),
                        reason,
                    });
                }
            }
        }
        if keys.is_empty() {
            return Err(KeySetError::NoUsableKey { skipped });
        }
        let mut named: Vec<(&str, usize)> = keys
            .iter()
            .enumerate()
            .filter_map(|(index, key)| Some((key.kid()?, index)))
            .collect();
        named.sort_unstable();
        let by_kid = named.into_iter().map(|(_, index)| index).collect();
        Ok(Self {
            keys,
            skipped,
            by_kid,
        })
    }

    /// The usable keys, in the order of the document; never empty.
    #[must_use]
    pub fn keys(&self) -> &[Jwk] {
        &self.keys
    }

    /// The entries that are not used.
    #[must_use]
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }

    /// Whether the key with this thumbprint is in the set: what was verified
    /// with one that is not must be forgotten.
    #[must_use]
    pub fn contains(&self, thumbprint: &Thumbprint) -> bool {
        self.keys.iter().any(|key| key.thumbprint() == thumbprint)
    }

    /// The one key for a token with this `kid` and `alg`. No key is ever tried
    /// on suspicion: a token costs at most one signature verification, and a
    /// signature that fits a key the token does not name is not accepted.
    ///
    /// Several fitting keys under one `kid` are refused unless they are the same
    /// key: which of them is meant would be a guess. A key of another type or
    /// `alg` under the same `kid` is no rival (RFC 7517 section 4.5 allows that).
    ///
    /// A token without `kid` is verified only if exactly one key of the set fits
    /// its `alg`, and that key has no `kid` either.
    ///
    /// # Errors
    ///
    /// [`VerifyError`]; never [`VerifyError::BadSignature`].
    pub fn select(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&Jwk, VerifyError> {
        let Some(kid) = kid else {
            let mut fitting = self
                .keys
                .iter()
                .filter(|key| key.check_fits(algorithm).is_ok());
            return match (fitting.next(), fitting.next()) {
                (Some(key), None) if key.kid().is_none() => Ok(key),
                _ => Err(VerifyError::MissingKid),
            };
        };
        let mut chosen: Option<&Jwk> = None;
        let mut mismatch = None;
        for key in self.named(kid) {
            match (key.check_fits(algorithm), chosen) {
                (Err(reason), _) => mismatch = mismatch.or(Some(reason)),
                (Ok(()), None) => chosen = Some(key),
                (Ok(()), Some(other))
                    if other.thumbprint() == key.thumbprint() && other.issuer() == key.issuer() => {
                }
                (Ok(()), Some(_)) => return Err(VerifyError::AmbiguousKid),
            }
        }
        if let Some(key) = chosen {
            return Ok(key);
        }
        // A key that is there but cannot be used is no reason to fetch the set again.
        let unusable = || {
            self.skipped
                .iter()
                .find(|key| key.kid.as_deref() == Some(kid))
        };
        match mismatch.or_else(|| unusable().map(|key| KeyMismatch::Unusable(key.reason))) {
            Some(mismatch) => Err(VerifyError::KeyMismatch(mismatch)),
            None => Err(VerifyError::UnknownKid),
        }
    }

    /// The keys with this `kid`, by binary search: it is the caller who chooses
    /// what is looked up, and a set may hold thousands.
    fn named<'s, 'k>(&'s self, kid: &'k str) -> impl Iterator<Item = &'s Jwk> + use<'s, 'k> {
        let kid_at = |index: &usize| self.keys.get(*index).and_then(Jwk::kid);
        let start = self
            .by_kid
            .partition_point(|index| kid_at(index) < Some(kid));
        self.by_kid
            .iter()
            .skip(start)
            .filter_map(|index| self.keys.get(*index))
            .take_while(move |key| key.kid() == Some(kid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::fixtures::{ed25519, p256, p384, p521, rsa, with};
    use crate::jose::{Curve, KeyType};
    use serde_json::json;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn set(keys: &[Value]) -> KeySet {
        KeySet::from_value(&json!({ "keys": keys }), &JoseLimits::DEFAULT).unwrap()
    }

    fn parse(text: &str) -> Result<KeySet, KeySetError> {
        KeySet::parse(text.as_bytes(), &JoseLimits::DEFAULT)
    }

    #[test]
    fn skips_what_it_cannot_use_and_says_why() {
        let keys = set(&[
            json!({"kty":"oct","kid":"s","k":"AA"}),
            rsa(),
            json!(null),
            with(p256(), "use", "enc"),
        ]);
        assert_eq!(keys.keys().len(), 1);
        assert_eq!(
            keys.skipped(),
            [
                SkippedKey {
                    index: 0,
                    kid: Some("s".to_owned()),
                    reason: JwkError::Symmetric
                },
                SkippedKey {
                    index: 2,
                    kid: None,
                    reason: JwkError::NotAnObject
                },
                SkippedKey {
                    index: 3,
                    kid: None,
                    reason: JwkError::NotForSignatures
                },
            ]
        );
        assert!(keys.contains(keys.keys()[0].thumbprint()));
        assert!(!keys.contains(set(&[p256()]).keys()[0].thumbprint()));
    }

    #[test]
    fn refuses_what_is_no_key_set() {
        for text in [
            "null",
            "1",
            "[]",
            "{}",
            r#"{"keys":null}"#,
            r#"{"keys":{}}"#,
            r#"{"keys":"x"}"#,
        ] {
            assert_eq!(parse(text).map(|_| ()), Err(KeySetError::NoKeys), "{text}");
        }
        assert_eq!(
            parse(&rsa().to_string()).map(|_| ()),
            Err(KeySetError::NoKeys)
        );
        assert!(matches!(
            parse(""),
            Err(KeySetError::Json(JsonError::UnexpectedEnd))
        ));
        let sound = json!({"keys":[rsa()]}).to_string();
        assert!(matches!(
            parse(&format!("{sound}x")),
            Err(KeySetError::Json(JsonError::Syntax { .. }))
        ));
        let twice = sound.replacen("\"kid\"", "\"kid\":\"evil\",\"kid\"", 1);
        assert!(matches!(
            parse(&twice),
            Err(KeySetError::Json(JsonError::DuplicateMember { .. }))
        ));
        assert_eq!(
            parse(r#"{"keys":[]}"#).map(|_| ()),
            Err(KeySetError::NoUsableKey { skipped: vec![] })
        );
        let reason = JwkError::Symmetric;
        assert_eq!(
            parse(r#"{"keys":[{"kty":"oct"}]}"#).map(|_| ()),
            Err(KeySetError::NoUsableKey {
                skipped: vec![SkippedKey {
                    index: 0,
                    kid: None,
                    reason
                }]
            })
        );
    }

    #[test]
    fn bounds_octets_and_entries() {
        let text = json!({"keys":[rsa(), p256()]}).to_string();
        let limits = JoseLimits {
            jwks_bytes: text.len(),
            jwks_keys: 2,
            ..JoseLimits::DEFAULT
        };
        assert_eq!(
            KeySet::parse(text.as_bytes(), &limits)
                .unwrap()
                .keys()
                .len(),
            2
        );
        let limits = JoseLimits {
            jwks_keys: 1,
            ..limits
        };
        assert_eq!(
            KeySet::parse(text.as_bytes(), &limits).map(|_| ()),
            Err(KeySetError::TooManyKeys { found: 2, limit: 1 })
        );
        let limits = JoseLimits {
            jwks_bytes: text.len() - 1,
            ..limits
        };
        assert_eq!(
            KeySet::parse(text.as_bytes(), &limits).map(|_| ()),
            Err(KeySetError::TooLarge {
                bytes: text.len(),
                limit: text.len() - 1
            })
        );
    }

    #[test]
    fn finds_the_key_that_is_named() {
        let named = |jwk, kid: &str| with(jwk, "kid", kid);
        let keys = set(&[
            named(p384(), "c"),
            named(p256(), "a"),
            named(p521(), "d"),
            named(ed25519(), "b"),
            rsa(),
        ]);
        for (kid, algorithm, curve) in [
            ("a", Algorithm::Es256, Some(Curve::P256)),
            ("b", Algorithm::EdDsa, Some(Curve::Ed25519)),
            ("c", Algorithm::Es384, Some(Curve::P384)),
            ("d", Algorithm::Es512, Some(Curve::P521)),
            ("2011-04-29", Algorithm::Rs256, None),
        ] {
            let key = keys.select(Some(kid), algorithm).unwrap();
            assert_eq!((key.kid(), key.public_key().curve()), (Some(kid), curve));
        }
        for kid in ["", "A", "a ", "a\0", "e", "2011", "2011-04-290", ".*"] {
            assert_eq!(
                keys.select(Some(kid), Algorithm::Es256).map(|_| ()),
                Err(VerifyError::UnknownKid),
                "{kid:?}"
            );
        }
        assert_eq!(
            keys.select(Some("a"), Algorithm::Rs256).map(|_| ()),
            Err(VerifyError::KeyMismatch(KeyMismatch::KeyType {
                key: KeyType::Ec,
                token: Algorithm::Rs256
            }))
        );
    }

    #[test]
    fn knows_an_unusable_key_from_an_unknown_one() {
        let keys = set(&[with(with(p256(), "use", "enc"), "kid", "e"), rsa()]);
        let unusable = KeyMismatch::Unusable(JwkError::NotForSignatures);
        assert_eq!(
            keys.select(Some("e"), Algorithm::Es256).map(|_| ()),
            Err(VerifyError::KeyMismatch(unusable))
        );
    }

    #[test]
    fn does_not_guess_between_keys_of_one_kid() {
        let named = |jwk| with(jwk, "kid", "k");
        let other = json!({"kty":"EC","crv":"P-256", // RFC 7517 appendix A.1
            "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"});
        let select = |keys: &[Value]| {
            set(keys)
                .select(Some("k"), Algorithm::Es256)
                .map(|key| key.thumbprint().to_string())
        };
        let expected = set(&[p256()]).keys()[0].thumbprint().to_string();
        assert_eq!(
            select(&[named(p256()), named(other)]),
            Err(VerifyError::AmbiguousKid)
        );
        // The same key twice is no question, nor is one of another type or algorithm.
        assert_eq!(
            select(&[named(p256()), named(with(p256(), "alg", "ES256"))]).as_ref(),
            Ok(&expected)
        );
        assert_eq!(
            select(&[named(rsa()), named(p384()), named(p256())]).as_ref(),
            Ok(&expected)
        );
        // It is one if the copies are for different issuers.
        let elsewhere = with(p256(), "issuer", "https://other.example");
        assert_eq!(
            select(&[named(p256()), named(elsewhere)]),
            Err(VerifyError::AmbiguousKid)
        );
    }

    #[test]
    fn takes_a_nameless_token_for_the_only_fitting_nameless_key() {
        let select = |keys: &[Value]| set(keys).select(None, Algorithm::Es256).map(|_| ());
        assert_eq!(select(&[p256()]), Ok(()));
        assert_eq!(select(&[rsa(), p256(), ed25519()]), Ok(()));
        for keys in [
            &[with(p256(), "kid", "k")][..],
            &[p256(), with(p256(), "kid", "k")],
            &[p256(), p256()],
            &[rsa()],
        ] {
            assert_eq!(select(keys), Err(VerifyError::MissingKid));
        }
        // A key without a name is not what a named token asks for.
        assert_eq!(
            set(&[p256()])
                .select(Some("k"), Algorithm::Es256)
                .map(|_| ()),
            Err(VerifyError::UnknownKid)
        );
    }
}
