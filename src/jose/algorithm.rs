//! Signature algorithms by their registered names (RFC 7518 section 3.1, RFC 8037 section 3.1).

use super::public_key::{Curve, KeyType};

/// A signature algorithm we verify. There is no value for `none` or HMAC, so
/// that neither can be reached by a wrong turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256, MGF1 with SHA-256 and 32 octets of salt.
    Ps256,
    /// RSASSA-PSS with SHA-384, MGF1 with SHA-384 and 48 octets of salt.
    Ps384,
    /// RSASSA-PSS with SHA-512, MGF1 with SHA-512 and 64 octets of salt.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
    /// EdDSA on Ed25519. `Ed25519`, the fully-specified name of RFC 9864, is
    /// the same algorithm with the same keys and is taken as another name for
    /// it, in tokens and in keys; Ed448 is not spoken.
    EdDsa,
}

/// A hash function of SHA-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// Why an `alg` value names no algorithm of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnsupportedAlgorithm {
    /// `none` in any case: not signed at all.
    Unsecured,
    /// HMAC: whoever can verify can forge, so no key set holds such a key.
    Symmetric,
    /// Any other name, key management algorithms of JWE included.
    Unknown,
}

impl Algorithm {
    /// All of them, in the order of the registry.
    pub const ALL: [Self; 10] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::EdDsa,
    ];

    /// Reads an `alg` value. Names are case-sensitive (RFC 7515 section 4.1.1).
    ///
    /// # Errors
    ///
    /// [`UnsupportedAlgorithm`], sorted by what the name means.
    pub fn from_name(name: &str) -> Result<Self, UnsupportedAlgorithm> {
        Ok(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "ES512" => Self::Es512,
            "EdDSA" | "Ed25519" => Self::EdDsa,
            "HS256" | "HS384" | "HS512" => return Err(UnsupportedAlgorithm::Symmetric),
            _ if name.eq_ignore_ascii_case("none") => return Err(UnsupportedAlgorithm::Unsecured),
            _ => return Err(UnsupportedAlgorithm::Unknown),
        })
    }

    /// The registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The hash of the message; none for EdDSA, which hashes by itself.
    #[must_use]
    pub const fn hash(self) -> Option<Hash> {
        match self {
            Self::Rs256 | Self::Ps256 | Self::Es256 => Some(Hash::Sha256),
            Self::Rs384 | Self::Ps384 | Self::Es384 => Some(Hash::Sha384),
            Self::Rs512 | Self::Ps512 | Self::Es512 => Some(Hash::Sha512),
            Self::EdDsa => None,
        }
    }

    /// The `kty` a key for this algorithm must have.
    #[must_use]
    pub const fn key_type(self) -> KeyType {
        match self {
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => {
                KeyType::Rsa
            }
            Self::Es256 | Self::Es384 | Self::Es512 => KeyType::Ec,
            Self::EdDsa => KeyType::Okp,
        }
    }

    /// The `crv` a key for this algorithm must have; none for RSA. An ECDSA
    /// algorithm of JOSE fixes the curve together with the hash.
    #[must_use]
    pub const fn curve(self) -> Option<Curve> {
        match self {
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => {
                None
            }
            Self::Es256 => Some(Curve::P256),
            Self::Es384 => Some(Curve::P384),
            Self::Es512 => Some(Curve::P521),
            Self::EdDsa => Some(Curve::Ed25519),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn names_are_exact() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_name(algorithm.name()), Ok(algorithm));
            assert!(Algorithm::from_name(&algorithm.name().to_ascii_lowercase()).is_err());
            assert!(Algorithm::from_name(&format!("{} ", algorithm.name())).is_err());
        }
        assert_eq!(Algorithm::from_name("Ed25519"), Ok(Algorithm::EdDsa));
        assert_eq!(
            Algorithm::from_name("nOnE"),
            Err(UnsupportedAlgorithm::Unsecured)
        );
        assert_eq!(
            Algorithm::from_name("HS256"),
            Err(UnsupportedAlgorithm::Symmetric)
        );
        for name in [
            "",
            "none\0",
            "ES256K",
            "Ed448",
            "dir",
            "A128KW",
            "RSA-OAEP",
            "SHA256withRSA",
            "HS1",
            "RS1",
        ] {
            assert_eq!(
                Algorithm::from_name(name),
                Err(UnsupportedAlgorithm::Unknown),
                "{name:?}"
            );
        }
    }
}
