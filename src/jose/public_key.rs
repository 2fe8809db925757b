//! Public keys, decoded and checked once, when a key set is loaded.

use std::fmt;

use ed25519_dalek::VerifyingKey as Ed25519VerifyingKey;
use portcullis_arithmetic::rsa::{self, RsaPower};

use super::algorithm::Algorithm;
use super::spki;

/// The smallest RSA modulus (RFC 7518 sections 3.3 and 3.5).
pub const RSA_MIN_BITS: usize = 2048;

/// The largest RSA modulus. Verifying costs the square of the length, and a
/// caller who can name such a key makes us pay; nobody publishes more than 4096.
pub const RSA_MAX_BITS: usize = rsa::MAX_BITS;

/// The smallest RSA exponent. 3 is legal (RFC 8017 section 3.1) and sound where
/// padding is compared as a whole, as it is here, and published vectors use it;
/// 1 would make every padded hash its own signature.
pub const RSA_MIN_EXPONENT: u64 = 3;

/// The largest RSA exponent, 2^33-1: the bound that both the `rsa` crate and
/// BoringSSL set, so that no key is good for one backend and bad for the other.
/// A longer exponent makes each verification that much slower.
pub const RSA_MAX_EXPONENT: u64 = (1 << 33) - 1;

/// `kty` (RFC 7518 section 6.1, RFC 8037 section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// `RSA`.
    Rsa,
    /// `EC`.
    Ec,
    /// `OKP`.
    Okp,
}

/// `crv` (RFC 7518 section 6.2.1.1, RFC 8037 section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Curve {
    /// `P-256`, of kty `EC`.
    P256,
    /// `P-384`, of kty `EC`.
    P384,
    /// `P-521`, of kty `EC`.
    P521,
    /// `Ed25519`, of kty `OKP`.
    Ed25519,
}

/// Why octets are no key we would verify with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicKeyError {
    /// An RSA integer is empty or begins with a zero octet (RFC 7518 section 2,
    /// Base64urlUInt). Taken, it would give one key two thumbprints.
    IntegerForm,
    /// The RSA modulus has a length outside [`RSA_MIN_BITS`]..=[`RSA_MAX_BITS`].
    ModulusLength {
        /// Its length in bits.
        bits: usize,
    },
    /// The RSA modulus is even, so it is no product of two odd primes.
    ModulusEven,
    /// The RSA exponent is even or outside [`RSA_MIN_EXPONENT`]..=[`RSA_MAX_EXPONENT`].
    Exponent,
    /// A coordinate has not the full length of its field (RFC 7518 section 6.2.1.2).
    CoordinateLength {
        /// Octets found.
        found: usize,
        /// Octets required.
        required: usize,
    },
    /// The coordinates are no point of the curve, or not reduced.
    NotOnCurve,
    /// The Ed25519 point is not encoded as RFC 8032 section 5.1.2 does it.
    PointForm,
    /// The Ed25519 point has small order: signatures by it fit many messages.
    SmallOrder,
}

/// A key that has passed every check on its own, ready to verify with.
#[derive(Clone)]
pub enum PublicKey {
    /// RSA, for RS* and PS*.
    Rsa(Box<RsaKey>),
    /// A point on P-256, for ES256.
    P256(Box<PointKey<p256::ecdsa::VerifyingKey>>),
    /// A point on P-384, for ES384.
    P384(Box<PointKey<p384::ecdsa::VerifyingKey>>),
    /// A point on P-521, for ES512.
    P521(Box<PointKey<p521::ecdsa::VerifyingKey>>),
    /// A point on edwards25519, for EdDSA. None when the octets decode to no
    /// point: decoding is a step of verifying (RFC 8032 section 5.1.7), so that
    /// such a key is a key, and every signature by it is invalid.
    Ed25519(Box<PointKey<Option<Ed25519VerifyingKey>>>),
}

/// An RSA public key with what its arithmetic precomputes.
#[derive(Clone)]
pub struct RsaKey {
    pub(super) power: RsaPower,
    /// Big-endian, no leading zero octet.
    pub(super) modulus: Box<[u8]>,
    spki: Box<[u8]>,
}

/// A public key that is one point of a curve.
#[derive(Clone)]
pub struct PointKey<K> {
    pub(super) verifying: K,
    spki: Box<[u8]>,
}

impl PublicKey {
    /// An RSA key from its modulus and exponent, big-endian.
    ///
    /// # Errors
    ///
    /// [`PublicKeyError`], see the bounds of this module.
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, PublicKeyError> {
        // Neither integer may be empty or zero-padded.
        let (Some(1..), Some(1..)) = (modulus.first(), exponent.first()) else {
            return Err(PublicKeyError::IntegerForm);
        };
        let bits = bit_length(modulus);
        if !(RSA_MIN_BITS..=RSA_MAX_BITS).contains(&bits) {
            return Err(PublicKeyError::ModulusLength { bits });
        }
        if modulus.last().is_none_or(|octet| octet & 1 == 0) {
            return Err(PublicKeyError::ModulusEven);
        }
        if exponent.len() > size_of::<u64>() {
            return Err(PublicKeyError::Exponent);
        }
        let e = exponent
            .iter()
            .fold(0_u64, |e, octet| (e << 8) | u64::from(*octet));
        if !(RSA_MIN_EXPONENT..=RSA_MAX_EXPONENT).contains(&e) || e & 1 == 0 {
            return Err(PublicKeyError::Exponent);
        }
        let power = RsaPower::new(modulus, e).ok_or(PublicKeyError::ModulusLength { bits })?;
        let spki = spki::rsa(modulus, exponent);
        Ok(Self::Rsa(Box::new(RsaKey {
            power,
            modulus: modulus.into(),
            spki,
        })))
    }

    /// A point of a curve of kty `EC` from its affine coordinates, big-endian.
    ///
    /// # Errors
    ///
    /// [`PublicKeyError`] unless both coordinates have the field's length, are
    /// reduced and lie on the curve; for [`Curve::Ed25519`] always.
    pub fn ec(curve: Curve, x: &[u8], y: &[u8]) -> Result<Self, PublicKeyError> {
        let required = curve.coordinate_length();
        for coordinate in [x, y] {
            if coordinate.len() != required {
                return Err(PublicKeyError::CoordinateLength {
                    found: coordinate.len(),
                    required,
                });
            }
        }
        // SEC 1 section 2.3.4: the crates check range and curve equation.
        let sec1 = [&[4], x, y].concat();
        let spki = spki::point(curve, x, y);
        let off = |_| PublicKeyError::NotOnCurve;
        Ok(match curve {
            Curve::P256 => {
                let verifying = p256::ecdsa::VerifyingKey::from_sec1_bytes(&sec1).map_err(off)?;
                Self::P256(Box::new(PointKey { verifying, spki }))
            }
            Curve::P384 => {
                let verifying = p384::ecdsa::VerifyingKey::from_sec1_bytes(&sec1).map_err(off)?;
                Self::P384(Box::new(PointKey { verifying, spki }))
            }
            Curve::P521 => {
                let verifying = p521::ecdsa::VerifyingKey::from_sec1_bytes(&sec1).map_err(off)?;
                Self::P521(Box::new(PointKey { verifying, spki }))
            }
            Curve::Ed25519 => return Err(PublicKeyError::NotOnCurve),
        })
    }

    /// An Ed25519 key from its 32 octets (RFC 8032 section 5.1.5).
    ///
    /// # Errors
    ///
    /// [`PublicKeyError`] when there are not 32 of them, when they are a second
    /// spelling of a point, or when the point has small order.
    pub fn ed25519(x: &[u8]) -> Result<Self, PublicKeyError> {
        let required = Curve::Ed25519.coordinate_length();
        let octets: &[u8; 32] = x.try_into().map_err(|_| PublicKeyError::CoordinateLength {
            found: x.len(),
            required,
        })?;
        if !is_reduced_25519(octets) {
            return Err(PublicKeyError::PointForm);
        }
        let verifying = Ed25519VerifyingKey::from_bytes(octets).ok();
        // Also refuses the other non-canonical form, x = 0 with a sign: its points have order 1 and 2.
        if verifying.as_ref().is_some_and(Ed25519VerifyingKey::is_weak) {
            return Err(PublicKeyError::SmallOrder);
        }
        let spki = spki::point(Curve::Ed25519, x, &[]);
        Ok(Self::Ed25519(Box::new(PointKey { verifying, spki })))
    }

    /// The `kty` of this key.
    #[must_use]
    pub const fn key_type(&self) -> KeyType {
        match self {
            Self::Rsa(_) => KeyType::Rsa,
            Self::P256(_) | Self::P384(_) | Self::P521(_) => KeyType::Ec,
            Self::Ed25519(_) => KeyType::Okp,
        }
    }

    /// The `crv` of this key; none for RSA.
    #[must_use]
    pub const fn curve(&self) -> Option<Curve> {
        match self {
            Self::Rsa(_) => None,
            Self::P256(_) => Some(Curve::P256),
            Self::P384(_) => Some(Curve::P384),
            Self::P521(_) => Some(Curve::P521),
            Self::Ed25519(_) => Some(Curve::Ed25519),
        }
    }

    /// Whether type and curve are those that `algorithm` signs with.
    #[must_use]
    pub fn supports(&self, algorithm: Algorithm) -> bool {
        self.key_type() == algorithm.key_type() && self.curve() == algorithm.curve()
    }

    /// The key as DER SubjectPublicKeyInfo, for a host's own verifier.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        match self {
            Self::Rsa(key) => &key.spki,
            Self::P256(key) => &key.spki,
            Self::P384(key) => &key.spki,
            Self::P521(key) => &key.spki,
            Self::Ed25519(key) => &key.spki,
        }
    }
}

/// Type and curve only; a whole modulus helps nobody in a log.
impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(key) => write!(formatter, "Rsa({} bits)", bit_length(&key.modulus)),
            Self::P256(_) => formatter.write_str("P256"),
            Self::P384(_) => formatter.write_str("P384"),
            Self::P521(_) => formatter.write_str("P521"),
            Self::Ed25519(_) => formatter.write_str("Ed25519"),
        }
    }
}

impl KeyType {
    /// Reads a `kty` value; case-sensitive.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "RSA" => Some(Self::Rsa),
            "EC" => Some(Self::Ec),
            "OKP" => Some(Self::Okp),
            _ => None,
        }
    }
}

impl Curve {
    /// Reads a `crv` value; case-sensitive.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "P-256" => Some(Self::P256),
            "P-384" => Some(Self::P384),
            "P-521" => Some(Self::P521),
            "Ed25519" => Some(Self::Ed25519),
            _ => None,
        }
    }

    /// The registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
            Self::Ed25519 => "Ed25519",
        }
    }

    /// Octets of a coordinate.
    #[must_use]
    pub const fn coordinate_length(self) -> usize {
        match self {
            Self::P256 | Self::Ed25519 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

/// Bits of a big-endian integer without leading zero octets.
fn bit_length(octets: &[u8]) -> usize {
    octets
        .first()
        .map_or(0, |first| octets.len() * 8 - first.leading_zeros() as usize)
}

/// Whether the y of a little-endian Ed25519 encoding is below p = 2^255 - 19.
fn is_reduced_25519(octets: &[u8; 32]) -> bool {
    let [low, middle @ .., high] = octets;
    *low < 0xed || high & 0x7f != 0x7f || middle.iter().any(|octet| *octet != 0xff)
}
