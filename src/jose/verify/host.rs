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
            // `from_slice` checks the exact length, and that r and s are in [1, n-1].
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

#[cfg(test)]
mod tests {
    use serde_json::Value;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::jose::fixtures::{ed25519, p256, p384, p521, rsa};
    use crate::jose::{JoseLimits, Jwk, base64url};

    fn key(jwk: &Value) -> PublicKey {
        let jwk = serde_json::json!({"kty":jwk["kty"],"crv":jwk["crv"],"n":jwk["n"],"e":jwk["e"],"x":jwk["x"],"y":jwk["y"]});
        let jwk = jwk
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, value)| !value.is_null());
        let jwk = Value::Object(
            jwk.map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        );
        Jwk::from_value(&jwk, &JoseLimits::DEFAULT)
            .unwrap()
            .public_key()
            .clone()
    }

    fn check(
        algorithm: Algorithm,
        key: &PublicKey,
        signature: &[u8],
    ) -> Result<Vec<u8>, BadSignature> {
        HostCheck::new(algorithm, key, signature).map(|check| check.signature.into_owned())
    }

    #[test]
    fn writes_ecdsa_signatures_as_der() {
        let key = key(&p256());
        let mut signature = [0; 64];
        signature[31] = 1;
        signature[63] = 0x80;
        // INTEGER 1, INTEGER 128 with a zero octet for its sign.
        let der = [0x30, 7, 2, 1, 1, 2, 2, 0, 0x80];
        assert_eq!(check(Algorithm::Es256, &key, &signature), Ok(der.to_vec()));
        let made = HostCheck::new(Algorithm::Es256, &key, &signature).unwrap();
        assert_eq!(
            (made.hash.host_name(), made.spki_der),
            ("sha256", key.spki_der())
        );
    }

    #[test]
    fn wants_ecdsa_signatures_of_one_length_and_in_range() {
        const N256: &[u8] = b"ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
        let n: Vec<u8> = N256
            .chunks(2)
            .map(|h| u8::from_str_radix(std::str::from_utf8(h).unwrap(), 16).unwrap())
            .collect();
        let (mut one, mut below) = ([0; 32], n.clone());
        one[31] = 1;
        below[31] -= 1;
        let key256 = key(&p256());
        let sent = |r: &[u8], s: &[u8]| check(Algorithm::Es256, &key256, &[r, s].concat()).is_ok();
        assert!(sent(&one, &below) && sent(&below, &one));
        assert!(
            !sent(&n, &one) && !sent(&one, &n) && !sent(&[0; 32], &one) && !sent(&one, &[0; 32])
        );
        for (algorithm, key, length) in [
            (Algorithm::Es256, key(&p256()), 64),
            (Algorithm::Es384, key(&p384()), 96),
            (Algorithm::Es512, key(&p521()), 132),
        ] {
            for found in [
                0,
                1,
                length - 2,
                length - 1,
                length + 1,
                length + 2,
                length * 2,
            ] {
                assert_eq!(
                    check(algorithm, &key, &vec![1; found]),
                    Err(BadSignature),
                    "{algorithm:?} {found}"
                );
            }
            assert!(
                check(algorithm, &key, &vec![1; length]).is_ok(),
                "{algorithm:?}"
            );
        }
    }

    #[test]
    fn wants_rsa_signatures_of_one_length_and_below_the_modulus() {
        let key = key(&rsa());
        let n = base64url::decode(rsa()["n"].as_str().unwrap().as_bytes()).unwrap();
        let mut below = n.clone();
        below[255] -= 1;
        for algorithm in [Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512] {
            assert_eq!(check(algorithm, &key, &below), Ok(below.clone()));
            for bad in [
                &n[..],
                &[0xff; 256],
                &[1; 255],
                &[&[0], &below[..]].concat(),
                &[],
            ] {
                assert_eq!(check(algorithm, &key, bad), Err(BadSignature));
            }
        }
    }

    #[test]
    fn leaves_alone_what_hosts_do_not_offer_and_what_does_not_agree() {
        for (algorithm, key) in [
            (Algorithm::Ps256, key(&rsa())),
            (Algorithm::EdDsa, key(&ed25519())),
            (Algorithm::Es256, key(&rsa())),
            (Algorithm::Rs256, key(&p256())),
            (Algorithm::Es256, key(&p384())),
        ] {
            for length in [64, 96, 132, 256] {
                assert_eq!(
                    check(algorithm, &key, &vec![1; length]),
                    Err(BadSignature),
                    "{algorithm:?}"
                );
            }
        }
        assert!(
            Algorithm::ALL
                .iter()
                .filter(|algorithm| is_offered(**algorithm))
                .count()
                == 6
        );
    }
}
