//! JSON Web Keys (RFC 7517), public signature keys only.

use serde_json::{Map, Value};

use super::algorithm::{Algorithm, UnsupportedAlgorithm};
use super::base64url::{self, Base64UrlError};
use super::jws::KeyMismatch;
use super::limits::JoseLimits;
use super::public_key::{Curve, KeyType, PublicKey, PublicKeyError};
use super::thumbprint::Thumbprint;

/// A key of an issuer that we would verify a signature with.
#[derive(Clone, Debug)]
pub struct Jwk {
    kid: Option<String>,
    algorithm: Option<Algorithm>,
    key_use: Option<KeyUse>,
    issuer: Option<String>,
    thumbprint: Thumbprint,
    key: PublicKey,
}

/// `use` (RFC 7517 section 4.2), of those that stand for signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyUse {
    /// `sig`.
    Signature,
    /// `jwt-svid`: the JWT keys of a SPIFFE trust bundle
    /// (SPIFFE Trust Domain and Bundle section 4.2.2).
    JwtSvid,
}

/// A member of a JWK, to say which one is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Member {
    /// `kty`.
    KeyType,
    /// `kid`.
    KeyId,
    /// `alg`.
    Algorithm,
    /// `use`.
    Use,
    /// `key_ops`.
    KeyOperations,
    /// `issuer`, Microsoft's extension.
    Issuer,
    /// `crv`.
    Curve,
    /// `n`.
    Modulus,
    /// `e`.
    Exponent,
    /// `x`.
    X,
    /// `y`.
    Y,
}

impl Member {
    /// The member's name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KeyType => "kty",
            Self::KeyId => "kid",
            Self::Algorithm => "alg",
            Self::Use => "use",
            Self::KeyOperations => "key_ops",
            Self::Issuer => "issuer",
            Self::Curve => "crv",
            Self::Modulus => "n",
            Self::Exponent => "e",
            Self::X => "x",
            Self::Y => "y",
        }
    }
}

/// Why an entry of a key set is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwkError {
    /// Not a JSON object.
    NotAnObject,
    /// A required member is missing.
    Missing(Member),
    /// A member has the wrong JSON type.
    MemberType(Member),
    /// The `kid` is longer than [`JoseLimits::kid_bytes`].
    KidTooLong {
        /// Its length in octets.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// kty `oct`: a secret has no place in a published set, and whoever reads it can forge.
    Symmetric,
    /// Another `kty` than RSA, EC and OKP.
    UnsupportedKeyType,
    /// A `crv` we do not verify with, or one that does not belong to the `kty`.
    UnsupportedCurve,
    /// The private part is in the set as well, so anyone may have signed.
    PrivateKey,
    /// An `alg` that is no signature algorithm of ours.
    UnsupportedAlgorithm(UnsupportedAlgorithm),
    /// The key's `alg` does not go with its own type or curve.
    AlgorithmMismatch(Algorithm),
    /// A `use` other than signatures.
    NotForSignatures,
    /// `key_ops` without `verify`.
    NotForVerifying,
    /// A member is not base64url.
    Base64 {
        /// The member.
        member: Member,
        /// What is wrong with it.
        error: Base64UrlError,
    },
    /// The key itself is not sound.
    Key(PublicKeyError),
}

/// Members that only private keys have (RFC 7518 sections 6.2.2 and 6.3.2, RFC 8037 section 2).
const PRIVATE_MEMBERS: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];

impl Jwk {
    /// Reads one JWK. Members we do not know are ignored (RFC 7517 section 4),
    /// certificates (`x5c`, `x5t`, `x5u`) among them: the key set is trusted by
    /// where it came from.
    ///
    /// # Errors
    ///
    /// [`JwkError`], the first reason not to use this key.
    pub fn from_value(value: &Value, limits: &JoseLimits) -> Result<Self, JwkError> {
        let members = Members(value.as_object().ok_or(JwkError::NotAnObject)?);
        let key_type = members.required(Member::KeyType)?;
        if key_type == "oct" {
            return Err(JwkError::Symmetric);
        }
        let key_type = KeyType::from_name(key_type).ok_or(JwkError::UnsupportedKeyType)?;
        if PRIVATE_MEMBERS
            .iter()
            .any(|name| members.0.contains_key(*name))
        {
            return Err(JwkError::PrivateKey);
        }
        let kid = members.optional(Member::KeyId)?;
        if let Some(bytes) = kid.map(str::len).filter(|bytes| *bytes > limits.kid_bytes) {
            return Err(JwkError::KidTooLong {
                bytes,
                limit: limits.kid_bytes,
            });
        }
        let issuer = members.optional(Member::Issuer)?;
        let key_use = members.key_use()?;
        members.check_operations()?;
        let algorithm = members
            .optional(Member::Algorithm)?
            .map(Algorithm::from_name)
            .transpose()
            .map_err(JwkError::UnsupportedAlgorithm)?;
        if let Some(algorithm) = algorithm.filter(|algorithm| algorithm.key_type() != key_type) {
            return Err(JwkError::AlgorithmMismatch(algorithm));
        }
        let (key, thumbprint) = match key_type {
            KeyType::Rsa => members.rsa()?,
            KeyType::Ec => members.ec()?,
            KeyType::Okp => members.okp()?,
        };
        if let Some(algorithm) = algorithm.filter(|algorithm| !key.supports(*algorithm)) {
            return Err(JwkError::AlgorithmMismatch(algorithm));
        }
        Ok(Self {
            kid: kid.map(str::to_owned),
            algorithm,
            key_use,
            issuer: issuer.map(str::to_owned),
            thumbprint,
            key,
        })
    }

    /// The `kid`.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The `alg`; none means any algorithm of the key's type and curve.
    #[must_use]
    pub const fn algorithm(&self) -> Option<Algorithm> {
        self.algorithm
    }

    /// The `use`.
    #[must_use]
    pub const fn key_use(&self) -> Option<KeyUse> {
        self.key_use
    }

    /// Microsoft's `issuer` member: which issuer this key signs for, perhaps
    /// with `{tenantid}` in it.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// The name of the key itself, whatever it is called in a set.
    #[must_use]
    pub const fn thumbprint(&self) -> &Thumbprint {
        &self.thumbprint
    }

    /// The key.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// Whether a token that says `algorithm` may be verified with this key.
    ///
    /// # Errors
    ///
    /// [`KeyMismatch`]: what disagrees.
    pub fn check_fits(&self, algorithm: Algorithm) -> Result<(), KeyMismatch> {
        let (key_type, curve) = (self.key.key_type(), self.key.curve());
        if key_type != algorithm.key_type() {
            return Err(KeyMismatch::KeyType {
                key: key_type,
                token: algorithm,
            });
        }
        if curve != algorithm.curve() {
            return Err(KeyMismatch::Curve {
                key: curve,
                token: algorithm,
            });
        }
        match self.algorithm {
            Some(key) if key != algorithm => Err(KeyMismatch::Algorithm {
                key,
                token: algorithm,
            }),
            _ => Ok(()),
        }
    }
}

/// The members of a JWK under examination.
#[derive(Clone, Copy)]
struct Members<'v>(&'v Map<String, Value>);

impl<'v> Members<'v> {
    fn optional(self, member: Member) -> Result<Option<&'v str>, JwkError> {
        match self.0.get(member.name()) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(JwkError::MemberType(member)),
        }
    }

    fn required(self, member: Member) -> Result<&'v str, JwkError> {
        self.optional(member)?.ok_or(JwkError::Missing(member))
    }

    /// A required base64url member: its text and what it stands for.
    fn octets(self, member: Member) -> Result<(&'v str, Vec<u8>), JwkError> {
        let text = self.required(member)?;
        let octets = base64url::decode(text.as_bytes())
            .map_err(|error| JwkError::Base64 { member, error })?;
        Ok((text, octets))
    }

    fn key_use(self) -> Result<Option<KeyUse>, JwkError> {
        match self.optional(Member::Use)? {
            None => Ok(None),
            Some("sig") => Ok(Some(KeyUse::Signature)),
            Some("jwt-svid") => Ok(Some(KeyUse::JwtSvid)),
            Some(_) => Err(JwkError::NotForSignatures),
        }
    }

    /// `key_ops`, when present, must be an array of strings with `verify` in it (RFC 7517 section 4.3).
    fn check_operations(self) -> Result<(), JwkError> {
        let Some(operations) = self.0.get(Member::KeyOperations.name()) else {
            return Ok(());
        };
        let wrong = JwkError::MemberType(Member::KeyOperations);
        let operations = operations.as_array().ok_or(wrong)?;
        if !operations.iter().all(Value::is_string) {
            return Err(wrong);
        }
        if operations.iter().any(|operation| operation == "verify") {
            Ok(())
        } else {
            Err(JwkError::NotForVerifying)
        }
    }

    // Thumbprints are taken over the texts as published, where these are the canonical
    // encodings because every other one has been refused by then.

    fn rsa(self) -> Result<(PublicKey, Thumbprint), JwkError> {
        let (n_text, n) = self.octets(Member::Modulus)?;
        let (e_text, e) = self.octets(Member::Exponent)?;
        let key = PublicKey::rsa(&n, &e).map_err(JwkError::Key)?;
        Ok((
            key,
            Thumbprint::of(&[("e", e_text), ("kty", "RSA"), ("n", n_text)]),
        ))
    }

    fn ec(self) -> Result<(PublicKey, Thumbprint), JwkError> {
        let curve = Curve::from_name(self.required(Member::Curve)?)
            .filter(|curve| *curve != Curve::Ed25519)
            .ok_or(JwkError::UnsupportedCurve)?;
        let x = self.coordinate(Member::X, curve)?;
        let y = self.coordinate(Member::Y, curve)?;
        let key = PublicKey::ec(curve, &x, &y).map_err(JwkError::Key)?;
        Ok((
            key,
            Thumbprint::of(&[
                ("crv", curve.name()),
                ("kty", "EC"),
                ("x", &base64url::encode(&x)),
                ("y", &base64url::encode(&y)),
            ]),
        ))
    }

    /// A coordinate in the full length of its field. RFC 7518 section 6.2.1.2 wants it published so, but Authlib and
    /// others leave leading zero octets out: in three of four P-521 keys, and one of 128 on P-256. It is the same number,
    /// and with the zeros put back the key has one thumbprint.
    fn coordinate(self, member: Member, curve: Curve) -> Result<Vec<u8>, JwkError> {
        let (_, mut octets) = self.octets(member)?;
        let missing = curve.coordinate_length().saturating_sub(octets.len());
        if !octets.is_empty() {
            octets.splice(..0, std::iter::repeat_n(0, missing));
        }
        Ok(octets)
    }

    fn okp(self) -> Result<(PublicKey, Thumbprint), JwkError> {
        if self.required(Member::Curve)? != Curve::Ed25519.name() {
            return Err(JwkError::UnsupportedCurve);
        }
        let (x_text, x) = self.octets(Member::X)?;
        let key = PublicKey::ed25519(&x).map_err(JwkError::Key)?;
        Ok((
            key,
            Thumbprint::of(&[
                ("crv", Curve::Ed25519.name()),
                ("kty", "OKP"),
                ("x", x_text),
            ]),
        ))
    }
}

#[cfg(test)]
mod tests;
