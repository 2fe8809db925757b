//! Signature verification, behind a trait: a host can lend a faster verifier,
//! and tests can count calls.

pub mod es256;
pub mod host;
mod rsa_encoding;
mod rust;

pub use self::es256::{Es256Tables, SelfTestFailed, TableLimits};
pub use self::rust::RustVerifier;

use super::algorithm::Algorithm;
use super::public_key::PublicKey;

/// The signature was not made by that key over that input, or is not in the one
/// form that its algorithm has. Deliberately without a reason: which check
/// failed is of use to a forger only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSignature;

/// Verifies one signature. Implementations must give the same verdict for the
/// same arguments, whatever backend they use.
pub trait SignatureVerifier {
    /// `signature` is as JWS carries it: PKCS#1 for RSA, `r || s` for ECDSA
    /// (RFC 7518 section 3.4), `R || S` for EdDSA.
    ///
    /// # Errors
    ///
    /// [`BadSignature`] unless it verifies; also when `key` is not one for `algorithm`.
    fn verify(
        &self,
        algorithm: Algorithm,
        key: &PublicKey,
        signing_input: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature>;
}
