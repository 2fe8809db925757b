//! The backend in pure Rust, for every algorithm and every host.

use sha2::{Digest, Sha256, Sha384, Sha512};

use super::super::algorithm::Algorithm;
use super::super::public_key::{PublicKey, RsaKey};
use super::rsa_encoding::{self, SignedHash};
use super::{BadSignature, SignatureVerifier};

/// Verifies with the RustCrypto crates and ed25519-dalek, and RSA by [`portcullis_arithmetic::rsa`].
#[derive(Clone, Copy, Debug, Default)]
pub struct RustVerifier;

impl SignatureVerifier for RustVerifier {
    fn verify(
        &self,
        algorithm: Algorithm,
        key: &PublicKey,
        signing_input: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        match (algorithm, key) {
            (Algorithm::Rs256, PublicKey::Rsa(key)) => {
                pkcs1::<Sha256>(key, signing_input, signature)
            }
            (Algorithm::Rs384, PublicKey::Rsa(key)) => {
                pkcs1::<Sha384>(key, signing_input, signature)
            }
            (Algorithm::Rs512, PublicKey::Rsa(key)) => {
                pkcs1::<Sha512>(key, signing_input, signature)
            }
            (Algorithm::Ps256, PublicKey::Rsa(key)) => pss::<Sha256>(key, signing_input, signature),
            (Algorithm::Ps384, PublicKey::Rsa(key)) => pss::<Sha384>(key, signing_input, signature),
            (Algorithm::Ps512, PublicKey::Rsa(key)) => pss::<Sha512>(key, signing_input, signature),
            (Algorithm::Es256, PublicKey::P256(key)) => {
                use p256::ecdsa::signature::hazmat::PrehashVerifier;
                // `from_slice` checks the exact length, and that r and s are in [1, n-1].
                let signature =
                    p256::ecdsa::Signature::from_slice(signature).map_err(|_| BadSignature)?;
                key.verifying
                    .verify_prehash(&Sha256::digest(signing_input), &signature)
                    .map_err(|_| BadSignature)
            }
            (Algorithm::Es384, PublicKey::P384(key)) => {
                use p384::ecdsa::signature::hazmat::PrehashVerifier;
                let signature =
                    p384::ecdsa::Signature::from_slice(signature).map_err(|_| BadSignature)?;
                key.verifying
                    .verify_prehash(&Sha384::digest(signing_input), &signature)
                    .map_err(|_| BadSignature)
            }
            (Algorithm::Es512, PublicKey::P521(key)) => {
                use p521::ecdsa::signature::hazmat::PrehashVerifier;
                let signature =
                    p521::ecdsa::Signature::from_slice(signature).map_err(|_| BadSignature)?;
                key.verifying
                    .verify_prehash(&Sha512::digest(signing_input), &signature)
                    .map_err(|_| BadSignature)
            }
            (Algorithm::EdDsa, PublicKey::Ed25519(key)) => {
                let signature =
                    ed25519_dalek::Signature::from_slice(signature).map_err(|_| BadSignature)?;
                // Strict: S reduced, R and A not of small order, so that there is
                // one signature for each message and key.
                let key = key.verifying.as_ref().ok_or(BadSignature)?;
                key.verify_strict(signing_input, &signature)
                    .map_err(|_| BadSignature)
            }
            _ => Err(BadSignature),
        }
    }
}

/// RSASSA-PKCS1-v1_5 (RFC 8017 section 8.2.2): exact length, s < n, and the
/// encoded message compared as a whole rather than parsed.
fn pkcs1<D: SignedHash>(
    key: &RsaKey,
    signing_input: &[u8],
    signature: &[u8],
) -> Result<(), BadSignature> {
    let digest = D::digest(signing_input);
    let power = &key.power;
    let message = power.raise(signature).ok_or(BadSignature)?;
    let expected = rsa_encoding::pkcs1::<D>(&digest, power.octets()).ok_or(BadSignature)?;
    if message == expected {
        Ok(())
    } else {
        Err(BadSignature)
    }
}

/// RSASSA-PSS (RFC 8017 section 8.1.2) with MGF1 of the same hash and a salt of
/// the hash's length (RFC 7518 section 3.5).
fn pss<D: Digest>(
    key: &RsaKey,
    signing_input: &[u8],
    signature: &[u8],
) -> Result<(), BadSignature> {
    let digest = D::digest(signing_input);
    let power = &key.power;
    let message = power.raise(signature).ok_or(BadSignature)?;
    if rsa_encoding::is_pss::<D>(&digest, &message, power.bits()) {
        Ok(())
    } else {
        Err(BadSignature)
    }
}
