//! `sigv4`: requests signed with AWS Signature Version 4, by secrets that the policy holds.
//!
//! What does not need the body comes first, the signature over the *claimed* payload hash included: nobody but a caller who
//! knows a secret can make the filter hash a body whose hash is claimed. Without a claim (`x-amz-content-sha256`) the body's hash
//! is part of what was signed, so the body comes first; then date, scope and session token still stand before it.
//!
//! Until the signature is proven all refusals look alike to the caller: they belong to the reason `invalid`. An unknown access key id
//! costs the same two hashes as a known one.

use std::fmt;
use std::rc::Rc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::identity::Identity;
use crate::policy::{AccessKey, SigV4Policy};
use crate::reason::Code;
use crate::sigv4::signing::{SigningKey, hex, request_hash, string_to_sign};
use crate::sigv4::{Payload, SignedRequest, UNSIGNED_PAYLOAD};
use crate::time::UnixTime;

/// What a provider says of a request signed with one of its keys.
#[derive(Debug)]
pub enum Judgement {
    /// Not genuine, or denied.
    Refused(Code),
    /// Proven.
    Verified(Rc<Identity>),
    /// All but the body is.
    NeedBody(BodyProof),
}

/// What is still to be proven of a request whose body has to be hashed.
pub struct BodyProof {
    identity: Rc<Identity>,
    expected: Expected,
    max_bytes: u64,
}

/// Says nothing of who or what: the one is not proven, the other may hold a session token.
impl fmt::Debug for BodyProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyProof")
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

enum Expected {
    /// The signature is proven, for a body of this hash.
    Hash([u8; 32]),
    /// The body's hash is the last line of what was signed.
    Signature {
        key: SigningKey,
        signed: Box<SignedRequest>,
        heads: Vec<Vec<u8>>,
    },
}

impl SigV4Policy {
    /// Whether the request is signed with one of these keys.
    pub fn knows(&self, signed: &SignedRequest) -> bool {
        self.credentials.contains_key(signed.access_key_id())
    }

    /// Whether it is signed for this service and one of these regions.
    pub fn is_scope(&self, signed: &SignedRequest) -> bool {
        let scope = signed.scope();
        scope.service == self.service && self.regions.contains(&scope.region)
    }

    /// Judges a request that is signed with one of these keys.
    pub fn judge(&self, signed: &SignedRequest, now: UnixTime) -> Judgement {
        match self.credentials.get(signed.access_key_id()) {
            Some(access_key) => self
                .check(signed, access_key, now)
                .unwrap_or_else(Judgement::Refused),
            None => {
                // As long as for a key that somebody has, whatever comes out.
                let _ = self.check(signed, &self.nobody, now);
                Judgement::Refused(Code::UnknownAccessKey)
            }
        }
    }

    fn check(
        &self,
        signed: &SignedRequest,
        access_key: &AccessKey,
        now: UnixTime,
    ) -> Result<Judgement, Code> {
        if !self.is_scope(signed) {
            return Err(Code::ScopeMismatch);
        }
        self.check_time(signed, now)?;
        let session = check_session_token(signed, access_key);
        let key = access_key.secret.key(signed.scope());
        let heads = signed.canonical_heads(self.path_rules);
        let identity = access_key.identity.clone();
        let verifies = |line: &str| is_signed_with(&key, signed, &heads, line);
        let expected = match signed.payload() {
            Payload::Hash(hash) => {
                if !verifies(&hex(&hash)) {
                    return Err(Code::BadSignature);
                }
                session?;
                Expected::Hash(hash)
            }
            Payload::Unsigned => {
                if !verifies(UNSIGNED_PAYLOAD) {
                    return Err(Code::BadSignature);
                }
                session?;
                if !self.allow_unsigned_payload {
                    return Err(Code::UnsignedPayload);
                }
                return Ok(Judgement::Verified(identity));
            }
            // Presigned for S3: the payload is unsigned, and nothing but the signature says so.
            Payload::Unclaimed if signed.expires().is_some() && verifies(UNSIGNED_PAYLOAD) => {
                session?;
                if !self.allow_unsigned_payload {
                    return Err(Code::UnsignedPayload);
                }
                return Ok(Judgement::Verified(identity));
            }
            Payload::Unclaimed => {
                session?;
                Expected::Signature {
                    key,
                    signed: Box::new(signed.clone()),
                    heads,
                }
            }
        };
        if signed
            .content_length()
            .is_some_and(|len| len > self.max_body_bytes)
        {
            return Err(Code::BodyTooLarge);
        }
        Ok(Judgement::NeedBody(BodyProof {
            identity,
            expected,
            max_bytes: self.max_body_bytes,
        }))
    }

    /// The leeway goes both ways and also to a presigned request's end: the signer's clock set its beginning.
    fn check_time(&self, signed: &SignedRequest, now: UnixTime) -> Result<(), Code> {
        let at = signed.date().at();
        let life = signed.expires().unwrap_or_default();
        if life > self.max_expires {
            return Err(Code::ExpiresTooLong);
        }
        if at > now + self.clock_skew {
            return Err(Code::SignatureNotYetValid);
        }
        if now > at + life + self.clock_skew {
            return Err(Code::SignatureExpired);
        }
        Ok(())
    }
}

impl BodyProof {
    /// Octets of the body that are hashed at most.
    pub const fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// What the body's hash proves.
    ///
    /// # Errors
    /// [`Code::PayloadMismatch`] or [`Code::BadSignature`].
    pub fn finish(self, hash: &[u8; 32]) -> Result<Rc<Identity>, Code> {
        match &self.expected {
            Expected::Hash(expected) if expected == hash => Ok(self.identity),
            Expected::Hash(_) => Err(Code::PayloadMismatch),
            Expected::Signature { key, signed, heads } => {
                if is_signed_with(key, signed, heads, &hex(hash)) {
                    Ok(self.identity)
                } else {
                    Err(Code::BadSignature)
                }
            }
        }
    }
}

fn is_signed_with(
    key: &SigningKey,
    signed: &SignedRequest,
    heads: &[Vec<u8>],
    payload_line: &str,
) -> bool {
    heads.iter().any(|head| {
        let hash = request_hash(head, payload_line);
        let text = string_to_sign(signed.date().as_str(), signed.scope(), &hash);
        key.verify(&text, signed.signature())
    })
}

fn check_session_token(signed: &SignedRequest, access_key: &AccessKey) -> Result<(), Code> {
    let fine = match (signed.session_token(), &access_key.session_token_sha256) {
        (None, None) => true,
        (Some(token), Some(expected)) => {
            let digest: [u8; 32] = Sha256::digest(token).into();
            digest.ct_eq(expected).into()
        }
        _ => false,
    };
    if fine {
        Ok(())
    } else {
        Err(Code::SessionTokenMismatch)
    }
}
