//! What a host's own verifier needs, as pure functions.
//!
//! Envoy's `verify_signature` takes a key as SubjectPublicKeyInfo, an ECDSA
//! signature as DER, and knows RSASSA-PKCS1-v1_5 and ECDSA only. Everything that
//! its verdict could differ in from [`super::RustVerifier`]'s is checked here,
//! before it is asked, so that both give the same one.

use std::borrow::Cow;

use super::super::algorithm::{Algorithm, Hash};
use super::super::public_key::PublicKey;
use super::BadSignature;

/// One call to a host's verifier, beside the signed text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCheck<'a> {
    /// The hash function.
    pub hash: Hash,
    /// The key, DER.
    pub spki_der: &'a [u8],
    /// The signature: PKCS#1 for RSA, DER `ECDSA-Sig-Value` for ECDSA.
    pub signature: Cow<'a, [u8]>,
}

/// Whether a host's verifier can be asked about an algorithm at all; the others
/// are left to [`super::RustVerifier`].
#[must_use]
pub const fn is_offered(algorithm: Algorithm) -> bool {
    match algorithm {
        Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512 => true,
        Algorithm::Es256 | Algorithm::Es384 | Algorithm::Es512 => true,
        Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512 | Algorithm::EdDsa => false,
    }
}

impl<'a> HostCheck<'a> {
    /// Prepares the call. The signature still has to be verified.
    ///
    /// # Errors
    ///
    /// [`BadSignature`] when the signature cannot be one, whatever the text:
    /// wrong length, or a number out of range. Also when `key` is not one for
    /// `algorithm`, or [`is_offered`] says no.
    pub fn new(
        algorithm: Algorithm,
        key: &'a PublicKey,
        signature: &'a [u8],
    ) -> Result<Self, BadSignature> {
        let (true, true, Some(hash)) = (
            is_offered(algorithm),
            key.supports(algorithm),
            algorithm.hash(),
        ) else {
            return Err(BadSignature);
        };
        let signature = match key {
            // RFC 8017 section 8.2.2 step 1, and s < n of section 5.2.2. Equal
            // lengths make the order of octets the order of the integers.
            PublicKey::Rsa(key)
                if signature.len() == key.modulus.len() && signature < &*key.modulus =>
            {
                Cow::Borrowed(signature)
            }
            PublicKey::P256(_) => der(p256::ecdsa::Signature::from_slice(signature)
                .map(|s| s.to_der().as_bytes().to_vec()))?,
            PublicKey::P384(_) => der(p384::ecdsa::Signature::from_slice(signature)
                .map(|s| s.to_der().as_bytes().to_vec()))?,
            PublicKey::P521(_) => der(p521::ecdsa::Signature::from_slice(signature)
                .map(|s| s.to_der().as_bytes().to_vec()))?,
            PublicKey::Rsa(_) | PublicKey::Ed25519(_) => return Err(BadSignature),
        };
        Ok(Self {
            hash,
            spki_der: key.spki_der(),
            signature,
        })
    }
}

impl Hash {
    /// The name that Envoy's `verify_signature` has for it.
    #[must_use]
    pub const fn host_name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }
}

fn der<'a, E>(converted: Result<Vec<u8>, E>) -> Result<Cow<'a, [u8]>, BadSignature> {
    converted.map(Cow::Owned).map_err(|_| BadSignature)
}
