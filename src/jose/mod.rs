//! JSON Object Signing and Encryption: what of RFC 7515, 7517, 7518, 7638 and 8037 Portcullis speaks.
//!
//! One direction: bytes become an [`UntrustedJws`], a [`KeySet`] and a
//! [`SignatureVerifier`] turn it into a [`VerifiedJws`], and nothing else can.
//! Only signatures by asymmetric keys are spoken: `none`, HMAC and encryption
//! are refused by name before anything is looked up.

pub mod algorithm;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod header;
pub mod json;
pub mod jwk;
pub mod jwks;
pub mod jws;
pub mod limits;
pub mod members;
pub mod public_key;
mod spki;
pub mod thumbprint;
pub mod verify;

pub use self::algorithm::{Algorithm, Hash, UnsupportedAlgorithm};
pub use self::header::{JwsHeader, KnownHeaders, ReadHeader};
pub use self::json::{JsonError, parse_strict};
pub use self::jwk::{Jwk, JwkError, KeyUse, Member};
pub use self::jwks::{KeySet, KeySetError, SkippedKey};
pub use self::jws::{JwsError, KeyMismatch, Part, UntrustedJws, VerifiedJws, VerifyError};
pub use self::limits::JoseLimits;
pub use self::members::Members;
pub use self::public_key::{Curve, KeyType, PublicKey, PublicKeyError};
pub use self::thumbprint::Thumbprint;
pub use self::verify::host::HostCheck;
pub use self::verify::{
    BadSignature, Es256Tables, RustVerifier, SelfTestFailed, SignatureVerifier, TableLimits,
};
pub use portcullis_octets::base64url::{self, Base64UrlError};
