//! What is wrong with a key set in the configuration, in the words of whoever has to mend it.

use std::fmt;

use crate::jose::json::JsonError;
use crate::jose::jwk::JwkError;
use crate::jose::jwks::KeySetError;
use crate::jose::public_key::PublicKeyError;

/// A [`KeySetError`] to be read after "is no usable key set: ".
pub(super) struct Words<'a>(pub(super) &'a KeySetError);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            KeySetError::TooLarge { bytes, limit } => {
                write!(
                    f,
                    "it has {bytes} bytes, and `limits.jwks_bytes` is {limit}"
                )
            }
            KeySetError::Json(JsonError::Syntax { line, column }) => {
                write!(f, "it is not JSON from line {line}, column {column} on")
            }
            KeySetError::Json(JsonError::UnexpectedEnd) => f.write_str("it ends in the middle"),
            KeySetError::Json(JsonError::DuplicateMember { line, column }) => {
                write!(f, "a member stands twice at line {line}, column {column}")
            }
            KeySetError::Json(JsonError::TooDeep { .. }) => f.write_str("it is nested too deeply"),
            KeySetError::NoKeys => f.write_str("it needs a list `keys`, as in RFC 7517 section 5"),
            KeySetError::TooManyKeys { found, limit } => {
                write!(f, "it has {found} keys, and `limits.jwks_keys` is {limit}")
            }
            KeySetError::NoUsableKey { skipped } => match skipped.first() {
                None => f.write_str("its `keys` is empty"),
                Some(first) => {
                    write!(
                        f,
                        "none of its {} keys can be used; keys[{}] ",
                        skipped.len(),
                        first.index
                    )?;
                    key(&first.reason, f)
                }
            },
        }
    }
}

fn key(error: &JwkError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match error {
        JwkError::NotAnObject => f.write_str("is not an object"),
        JwkError::Missing(member) => write!(f, "has no `{}`", member.name()),
        JwkError::MemberType(member) => write!(f, "has a `{}` of the wrong type", member.name()),
        JwkError::KidTooLong { limit, .. } => write!(f, "has a `kid` of more than {limit} bytes"),
        JwkError::Symmetric => {
            f.write_str("is a symmetric secret, with which anyone who verifies can also forge")
        }
        JwkError::UnsupportedKeyType => f.write_str("is of another type than RSA, EC and OKP"),
        JwkError::UnsupportedCurve => {
            f.write_str("is on another curve than P-256, P-384, P-521 and Ed25519")
        }
        JwkError::PrivateKey => {
            f.write_str("holds its private part, which belongs to the issuer alone")
        }
        JwkError::UnsupportedAlgorithm(_) => f.write_str("has an `alg` that is not accepted"),
        JwkError::AlgorithmMismatch(alg) => {
            write!(f, "has the `alg` {}, which its type can't do", alg.name())
        }
        JwkError::NotForSignatures => f.write_str("has a `use` other than `sig`"),
        JwkError::NotForVerifying => f.write_str("has `key_ops` without `verify`"),
        JwkError::Base64 { member, .. } => write!(
            f,
            "has a `{}` that is not base64url without padding",
            member.name()
        ),
        JwkError::Key(PublicKeyError::ModulusLength { bits }) => {
            write!(f, "is an RSA key of {bits} bits; 2048 to 8192 are accepted")
        }
        JwkError::Key(_) => f.write_str("is not a sound public key"),
    }
}
