//! JSON Web Signatures in compact serialization (RFC 7515 section 7.1).
//!
//! [`UntrustedJws::parse`] takes a token apart and refuses every form we do not
//! verify; [`UntrustedJws::verify`] consumes it and gives a [`VerifiedJws`],
//! which cannot be had in any other way.

use std::rc::Rc;

use super::algorithm::{Algorithm, UnsupportedAlgorithm};
use super::base64url::{self, Base64UrlError};
use super::header::{JwsHeader, KnownHeaders, ReadHeader};
use super::json::JsonError;
use super::jwk::JwkError;
use super::jwks::KeySet;
use super::limits::JoseLimits;
use super::public_key::{Curve, KeyType};
use super::thumbprint::Thumbprint;
use super::verify::SignatureVerifier;

/// A token that was taken apart and nothing else.
pub struct UntrustedJws<'a> {
    header: Rc<ReadHeader>,
    payload: Vec<u8>,
    signature: Vec<u8>,
    signing_input: &'a [u8],
}

/// A token whose signature was made by a key of the set it was verified with.
#[derive(Clone)]
pub struct VerifiedJws {
    header: Rc<ReadHeader>,
    payload: Vec<u8>,
    thumbprint: Thumbprint,
    key_issuer: Option<String>,
}

/// A part of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// All of it.
    Token,
    /// The JOSE header.
    Header,
    /// The payload.
    Payload,
    /// The signature.
    Signature,
}

/// Why a text is no JWS that we would verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwsError {
    /// Longer than [`JoseLimits`] allow; refused before it was decoded.
    TooLong {
        /// What is too long.
        part: Part,
        /// Its length in octets, decoded but for the token.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Not three parts.
    PartCount {
        /// The parts that were found.
        found: usize,
    },
    /// Five parts or an `enc` member: encrypted (JWE).
    Encrypted,
    /// The signature is empty.
    NotSigned,
    /// A part is not base64url.
    Base64 {
        /// Which.
        part: Part,
        /// What is wrong with it.
        error: Base64UrlError,
    },
    /// The header is not strict JSON.
    HeaderJson(JsonError),
    /// The header is JSON, but no object.
    HeaderNotAnObject,
    /// More header members than [`JoseLimits::header_members`].
    TooManyMembers {
        /// The limit.
        limit: usize,
    },
    /// `alg`, `kid`, `typ` or `cty` is no string.
    MemberType {
        /// The member's name.
        member: &'static str,
    },
    /// No `alg`.
    MissingAlgorithm,
    /// An `alg` we never verify.
    UnsupportedAlgorithm(UnsupportedAlgorithm),
    /// A `crit`: there is no extension that we understand (RFC 7515 section 4.1.11).
    Critical,
    /// A `b64` (RFC 7797), even one without `crit`, where it must not stand.
    UnencodedPayload,
    /// The `kid` is longer than [`JoseLimits::kid_bytes`].
    KidTooLong {
        /// Its length in octets.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

/// Why a token could not be verified with a key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyError {
    /// The set has no key of this `kid`; a newer one may have.
    UnknownKid,
    /// The token names no key, and it is not the case that the only fitting key has no name.
    MissingKid,
    /// Different keys of the set fit the token's `kid` and `alg`.
    AmbiguousKid,
    /// The key named by the token may not be used for it.
    KeyMismatch(KeyMismatch),
    /// The signature was not made by the key.
    BadSignature,
}

/// In what a token's header and the key it names disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyMismatch {
    /// `kty`.
    KeyType {
        /// The key's.
        key: KeyType,
        /// The token's algorithm.
        token: Algorithm,
    },
    /// `crv`.
    Curve {
        /// The key's.
        key: Option<Curve>,
        /// The token's algorithm.
        token: Algorithm,
    },
    /// `alg`.
    Algorithm {
        /// The key's.
        key: Algorithm,
        /// The token's.
        token: Algorithm,
    },
    /// The key is in the set but cannot be used at all.
    Unusable(JwkError),
}

impl<'a> UntrustedJws<'a> {
    /// Takes a compact token apart.
    ///
    /// # Errors
    ///
    /// [`JwsError`], the first reason to refuse it. Lengths are checked before
    /// anything is decoded, the header before the payload is looked at.
    pub fn parse(token: &'a [u8], limits: &JoseLimits) -> Result<Self, JwsError> {
        Self::parse_knowing(token, limits, &mut KnownHeaders::default())
    }

    /// As [`Self::parse`]; a header that is known is not read again.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`].
    pub fn parse_knowing(
        token: &'a [u8],
        limits: &JoseLimits,
        known: &mut KnownHeaders,
    ) -> Result<Self, JwsError> {
        // RFC 7515 section 5.2. Step 1: three parts.
        if token.len() > limits.token_bytes {
            return Err(JwsError::TooLong {
                part: Part::Token,
                bytes: token.len(),
                limit: limits.token_bytes,
            });
        }
        let mut dots = memchr::memchr_iter(b'.', token);
        let parts = match (dots.next(), dots.next(), dots.next()) {
            (Some(first), Some(second), None) => parts(token, first, second),
            _ => None,
        };
        let Some([signing_input, header, payload, signature]) = parts else {
            return Err(match memchr::memchr_iter(b'.', token).count() + 1 {
                5 => JwsError::Encrypted,
                found => JwsError::PartCount { found },
            });
        };
        for (part, text, limit) in [
            (Part::Header, header, limits.header_bytes),
            (Part::Payload, payload, limits.payload_bytes),
            (Part::Signature, signature, limits.signature_bytes),
        ] {
            let bytes = base64url::decoded_length(text.len());
            if bytes > limit {
                return Err(JwsError::TooLong { part, bytes, limit });
            }
        }
        if signature.is_empty() {
            return Err(JwsError::NotSigned);
        }
        // Steps 2 to 5: the header.
        let header = match known.find(header, limits) {
            Some(known) => known,
            None => Rc::new(ReadHeader::read(header, limits)?),
        };
        // Steps 6 and 7.
        let payload = decode(Part::Payload, payload)?;
        let signature = decode(Part::Signature, signature)?;
        Ok(Self {
            header,
            payload,
            signature,
            signing_input,
        })
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &JwsHeader {
        self.header.header()
    }

    /// The header with the text that it was read from, for [`KnownHeaders::keep`].
    #[must_use]
    pub const fn read_header(&self) -> &Rc<ReadHeader> {
        &self.header
    }

    /// The `kid`.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.header().kid()
    }

    /// The `alg`.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.header().algorithm()
    }

    /// The payload, by whomever: good for finding out whose token this claims
    /// to be, and for nothing else.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The octets that are signed: header and payload as they were sent.
    #[must_use]
    pub const fn signing_input(&self) -> &'a [u8] {
        self.signing_input
    }

    /// The signature, decoded.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Verifies the signature with the one key of `keys` that the header names.
    /// `verifier` is called once at most, and only with a key that agrees with
    /// the header in type, curve, algorithm and purpose.
    ///
    /// # Errors
    ///
    /// [`VerifyError`]; [`VerifyError::UnknownKid`] alone is a reason to look
    /// for a newer key set.
    pub fn verify(
        self,
        keys: &KeySet,
        verifier: &dyn SignatureVerifier,
    ) -> Result<VerifiedJws, VerifyError> {
        let jwk = keys.select(self.kid(), self.algorithm())?;
        // RFC 7515 section 5.2 step 8.
        verifier
            .verify(
                self.algorithm(),
                jwk.public_key(),
                self.signing_input,
                &self.signature,
            )
            .map_err(|_| VerifyError::BadSignature)?;
        Ok(VerifiedJws {
            header: self.header,
            payload: self.payload,
            thumbprint: jwk.thumbprint().clone(),
            key_issuer: jwk.issuer().map(str::to_owned),
        })
    }
}

impl VerifiedJws {
    /// The header.
    #[must_use]
    pub fn header(&self) -> &JwsHeader {
        self.header.header()
    }

    /// The payload, signed by the key.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The payload, taken out.
    #[must_use]
    pub fn into_payload(self) -> Vec<u8> {
        self.payload
    }

    /// The `kid` that the token named.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.header().kid()
    }

    /// The key that the signature was verified with.
    #[must_use]
    pub const fn thumbprint(&self) -> &Thumbprint {
        &self.thumbprint
    }

    /// The `issuer` member of that key, see [`super::Jwk::issuer`].
    #[must_use]
    pub fn key_issuer(&self) -> Option<&str> {
        self.key_issuer.as_deref()
    }
}

/// The signing input, the header, the payload and the signature of a token with dots at these two places.
fn parts(token: &[u8], first: usize, second: usize) -> Option<[&[u8]; 4]> {
    let (signing_input, signature) = token.split_at_checked(second)?;
    let (header, payload) = signing_input.split_at_checked(first)?;
    Some([
        signing_input,
        header,
        payload.get(1..)?,
        signature.get(1..)?,
    ])
}

pub(super) fn decode(part: Part, text: &[u8]) -> Result<Vec<u8>, JwsError> {
    base64url::decode(text).map_err(|error| JwsError::Base64 { part, error })
}

#[cfg(test)]
mod tests;
