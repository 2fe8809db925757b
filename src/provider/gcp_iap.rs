//! `gcp_iap`: the assertion that Google's Identity-Aware Proxy adds to every request it lets through (Google Cloud, "Securing your app
//! with signed headers"). Issuer, keys and algorithm are Google's and can't be configured.

use std::rc::Rc;

use crate::claims::Claims;
use crate::identity::{Identity, is_part};
use crate::jose::{Algorithm, Jwk, KeyUse};
use crate::policy::{IapPolicy, KeyOrigin};
use crate::provider::jwt::{JwtRules, check_use};
use crate::provider::validity::Validity;
use crate::reason::Code;

/// The `iss` of every assertion.
pub const ISSUER: &str = "https://cloud.google.com/iap";

/// Where the keys are.
pub const KEYS: &str = "https://www.gstatic.com/iap/verify/public_key-jwk";

impl JwtRules for IapPolicy {
    fn keys(&self) -> &KeyOrigin {
        &self.keys
    }

    fn issuer(&self) -> Option<&str> {
        Some(ISSUER)
    }

    /// To the letter: there is one, and it is Google's.
    fn owns_issuer(&self, iss: &str) -> bool {
        iss == ISSUER
    }

    fn audiences(&self) -> &[String] {
        &self.audiences
    }

    fn check_key(&self, key: &Jwk, algorithm: Algorithm, _: &Claims) -> Result<(), Code> {
        if algorithm != Algorithm::Es256 {
            return Err(Code::UnsupportedAlgorithm);
        }
        check_use(key, KeyUse::Signature)
    }

    fn validity(&self, claims: &Claims) -> Result<Validity, Code> {
        // Of `iat`: "Must be in the past."
        Validity::of(claims, self.clock_skew, false)?.issued_in_the_past(claims, self.clock_skew)
    }

    fn judge(&self, claims: &Claims) -> Result<Identity, Code> {
        if claims.issuer() != Some(ISSUER) {
            return Err(Code::IssuerMismatch);
        }
        if !self.is_for_us(claims) {
            return Err(Code::AudienceMismatch);
        }
        let user_id = claims.subject().ok_or(Code::MissingSubject)?;
        if !is_part(user_id) {
            return Err(Code::MalformedClaims);
        }
        let part = |name| claims.text(name).filter(|s| is_part(s)).map(Rc::from);
        Ok(Identity {
            user_id: user_id.into(),
            email: part("email"),
            // Absent for accounts outside any Google Workspace.
            org_id: part("hd"),
            workspace_id: None,
            groups: Vec::new(),
        })
    }
}
