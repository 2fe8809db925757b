//! What all JWT providers share: the presented token, read once, and the proof of its signature.

use std::rc::Rc;

use crate::audit::AuditClaims;
use crate::claims::Claims;
use crate::identity::{Identity, Refused};
use crate::jose::base64url;
use crate::jose::jwks::KeySet;
use crate::jose::jws::{JwsError, UntrustedJws, VerifyError};
use crate::jose::verify::SignatureVerifier;
use crate::jose::{Algorithm, Jwk, KeyUse};
use crate::limits::Limits;
use crate::metrics::Cache;
use crate::policy::{GraphPolicy, KeyOrigin};
use crate::provider::validity::Validity;
use crate::reason::Code;
use crate::standing::Grounds;
use crate::time::UnixTime;
use crate::tokens::{Hashed, TokenCache, VerifiedToken};
use crate::url::without_slash;

/// What a provider of JWTs adds to what all of them do: keys, signature, and that only one provider judges a token.
pub(crate) trait JwtRules {
    /// Where the keys come from.
    fn keys(&self) -> &KeyOrigin;

    /// The one issuer whose tokens it judges, without a trailing `/`; `None` where the form of `iss` tells.
    fn issuer(&self) -> Option<&str>;

    /// Whether `iss` names that issuer: equal but for one trailing `/`.
    fn owns_issuer(&self, iss: &str) -> bool {
        self.issuer() == Some(without_slash(iss))
    }

    /// One of these must be in `aud`.
    fn audiences(&self) -> &[String];

    /// Whether a token that says this is meant for us.
    fn is_for_us(&self, claims: &Claims) -> bool {
        claims.is_for(self.audiences())
    }

    /// Whether a token that says this, and `iss` among it, is this provider's to judge.
    fn ownership(&self, iss: &str, claims: &Claims) -> Ownership {
        if !self.owns_issuer(iss) {
            Ownership::None
        } else if self.is_for_us(claims) {
            Ownership::Audience
        } else {
            Ownership::Issuer
        }
    }

    /// Whether a key of the issuer's set may vouch for a token that says this. Asked before the signature is verified, and
    /// on every request with a token that was verified before.
    ///
    /// # Errors
    /// The code for what disagrees.
    fn check_key(&self, key: &Jwk, algorithm: Algorithm, claims: &Claims) -> Result<(), Code>;

    /// When a token that says this is good.
    ///
    /// # Errors
    /// The code for times that are missing.
    fn validity(&self, claims: &Claims) -> Result<Validity, Code>;

    /// Judges what a token of this provider says, its signature proven and its time checked. No clock: what is judged once stays so.
    ///
    /// # Errors
    /// The code of the first rule that it breaks.
    fn judge(&self, claims: &Claims) -> Result<Identity, Code>;

    /// What of a proven token the audit event repeats.
    fn audit_claims(&self, _: &Claims) -> AuditClaims {
        AuditClaims::default()
    }

    /// Whom a proven token names that this provider refuses.
    fn refused(&self, claims: &Claims) -> Refused {
        Refused::new(claims.subject(), None)
    }

    /// Where the rest of the caller's groups is to be had, when the token says that it does not hold them.
    fn more_groups(&self, _: &Claims) -> Option<&GraphPolicy> {
        None
    }
}

/// A key for JWT-SVIDs vouches for nothing else, and nothing else for them: one trust bundle may hold both.
///
/// # Errors
/// [`Code::KeyMismatch`].
pub(crate) fn check_use(key: &Jwk, wanted: KeyUse) -> Result<(), Code> {
    let fits = match wanted {
        KeyUse::Signature => key.key_use() != Some(KeyUse::JwtSvid),
        KeyUse::JwtSvid => key.key_use() == Some(KeyUse::JwtSvid),
    };
    if fits { Ok(()) } else { Err(Code::KeyMismatch) }
}

/// Of several providers that could judge a token, the first of the strongest claim does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ownership {
    /// Another issuer's.
    None,
    /// Of this issuer, for somebody else.
    Issuer,
    /// Of this issuer, for us.
    Audience,
}

/// Whose token it is, and the keys of theirs in force.
#[derive(Clone, Copy)]
pub(crate) struct Issuer<'k> {
    pub rules: &'k dyn JwtRules,
    pub keys: &'k Rc<KeySet>,
    /// As in [`Grounds`].
    pub policy: u64,
    /// As in [`Grounds`].
    pub provider: usize,
}

impl<'k> Issuer<'k> {
    /// What a judgement of a token of theirs rests on.
    pub(crate) fn grounds(&self) -> Grounds {
        Grounds::new(self.policy, self.provider, self.keys)
    }

    /// The one key that may vouch for a token with this header and these claims.
    fn key(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        claims: &Claims,
    ) -> Result<&'k Jwk, NoProof> {
        let key = self
            .keys
            .select(kid, algorithm)
            .map_err(|e| no_proof(&e, kid))?;
        self.rules
            .check_key(key, algorithm, claims)
            .map_err(NoProof::Refused)?;
        Ok(key)
    }
}

/// A JWT as presented: its claims may choose a provider, and nothing else.
pub struct Presented<'a> {
    token: Hashed<'a>,
    jws: UntrustedJws<'a>,
    claims: Claims,
    /// Its signature was verified before.
    seen: Option<Rc<VerifiedToken>>,
}

/// A JWT whose signature stands.
pub(crate) struct Proven {
    pub claims: Claims,
    /// Where what is made of it can be remembered.
    pub token: Rc<VerifiedToken>,
    pub cache: Cache,
}

/// Why a signature did not become a proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoProof {
    /// The key set has no key of that `kid`.
    UnknownKid(String),
    /// Refused, its signature unread.
    Refused(Code),
    /// The signature is not that key's. Whether that was known from before.
    BadSignature(Cache),
}

impl<'a> Presented<'a> {
    /// Reads a token.
    ///
    /// # Errors
    /// The code for what is wrong with it.
    pub fn read(token: Hashed<'a>, cache: &mut TokenCache, limits: &Limits) -> Result<Self, Code> {
        let jose = limits.jose();
        let jws = UntrustedJws::parse_knowing(token.text().as_bytes(), &jose, &mut cache.headers)
            .map_err(|e| code_of(&e))?;
        Ok(Self {
            claims: Claims::read(jws.payload(), jose.json_depth)?,
            seen: cache.verified(token, limits),
            token,
            jws,
        })
    }

    /// The token.
    pub(crate) const fn hashed(&self) -> Hashed<'a> {
        self.token
    }

    /// The claims, unproven: for choosing who looks at the token.
    pub const fn unproven(&self) -> &Claims {
        &self.claims
    }

    /// Proves the signature under the key that the issuer's set singles out now. A token seen before is proven by that key being
    /// the one it was verified with; if another has that `kid` now, the old proof is worth nothing. Who verified it now
    /// ([`Cache::Miss`]) is to remember it.
    ///
    /// # Errors
    /// [`NoProof`].
    pub(crate) fn prove(
        self,
        issuer: &Issuer<'_>,
        cache: &mut TokenCache,
        verifier: &dyn SignatureVerifier,
        limits: &Limits,
        now: UnixTime,
    ) -> Result<Proven, NoProof> {
        let Self {
            token,
            jws,
            claims,
            seen,
        } = self;
        let key = issuer.key(jws.kid(), jws.algorithm(), &claims)?;
        let thumbprint = key.thumbprint();
        if let Some(token) = seen.filter(|seen| seen.thumbprint == *thumbprint) {
            return Ok(Proven {
                claims,
                token,
                cache: Cache::Hit,
            });
        }
        let failed = cache.failed(token, now, limits);
        if failed.is_some_and(|failed| failed.is_under(thumbprint)) {
            return Err(NoProof::BadSignature(Cache::FailedHit));
        }
        let header = jws.read_header().clone();
        match jws.verify(issuer.keys, verifier) {
            Ok(proof) => {
                let verified = VerifiedToken::new(token, &header, proof.thumbprint().clone())
                    .ok_or(NoProof::Refused(Code::MalformedToken))?;
                Ok(Proven {
                    claims,
                    token: Rc::new(verified),
                    cache: Cache::Miss,
                })
            }
            Err(VerifyError::BadSignature) => {
                cache.remember_failure(token, thumbprint.clone(), issuer.grounds(), now, limits);
                Err(NoProof::BadSignature(Cache::Miss))
            }
            Err(e) => Err(no_proof(&e, header.header().kid())),
        }
    }
}

/// What a token says that is shaped like a JWS and signed as nobody here accepts: for seeing whose it claims to be.
pub(crate) fn claims_of_unsupported(token: &str, limits: &Limits) -> Option<Claims> {
    let payload = token.split('.').nth(1)?;
    let payload = base64url::decode(payload.as_bytes()).ok()?;
    Claims::read(&payload, limits.jose().json_depth).ok()
}

fn no_proof(error: &VerifyError, kid: Option<&str>) -> NoProof {
    NoProof::Refused(match error {
        VerifyError::UnknownKid => return NoProof::UnknownKid(kid.unwrap_or_default().to_owned()),
        VerifyError::MissingKid => Code::MissingKid,
        VerifyError::AmbiguousKid | VerifyError::KeyMismatch(_) => Code::KeyMismatch,
        VerifyError::BadSignature => return NoProof::BadSignature(Cache::Miss),
    })
}

fn code_of(error: &JwsError) -> Code {
    match error {
        JwsError::TooLong { .. } => Code::TokenTooLarge,
        JwsError::Encrypted | JwsError::Critical | JwsError::UnencodedPayload => {
            Code::UnsupportedHeader
        }
        JwsError::UnsupportedAlgorithm(_) => Code::UnsupportedAlgorithm,
        _ => Code::MalformedToken,
    }
}
