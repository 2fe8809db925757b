//! `oidc`: what a proven token of one issuer must say (OpenID Connect Core 1.0 section 3.1.3.7, RFC 7519 section 4.1).

use std::rc::Rc;

use serde_json::Value;

use crate::claims::Claims;
use crate::glob::Globs;
use crate::identity::{Identity, Refused, is_part};
use crate::jose::{Algorithm, Jwk};
use crate::policy::{ClaimPath, KeyOrigin, OidcPolicy};
use crate::provider::jwt::{JwtRules, check_use};
use crate::provider::validity::Validity;
use crate::reason::Code;
use crate::time::UnixTime;

impl JwtRules for OidcPolicy {
    fn keys(&self) -> &KeyOrigin {
        &self.keys
    }

    fn issuer(&self) -> Option<&str> {
        Some(&self.issuer)
    }

    fn audiences(&self) -> &[String] {
        &self.audiences
    }

    fn is_for_us(&self, claims: &Claims) -> bool {
        self.owns_audience(claims)
    }

    fn check_key(&self, key: &Jwk, _: Algorithm, _: &Claims) -> Result<(), Code> {
        check_use(key, self.key_use)
    }

    fn validity(&self, claims: &Claims) -> Result<Validity, Code> {
        let validity = Validity::of(claims, self.clock_skew, self.allow_missing_exp)?;
        Ok(match self.max_token_age {
            Some(max_age) => validity.no_older_than(max_age, claims, self.clock_skew),
            None => validity,
        })
    }

    fn judge(&self, claims: &Claims) -> Result<Identity, Code> {
        if !self.owns_audience(claims) {
            return Err(Code::AudienceMismatch);
        }
        for (path, globs) in &self.required_claims {
            if !claims.get(path).is_some_and(|v| matches(v, globs)) {
                return Err(Code::ClaimNotAllowed);
            }
        }
        if let Some(allowed) = &self.allowed_subjects {
            self.check_subject(claims, allowed)?;
        }
        self.identity(claims)
    }

    /// With the address only where the issuer vouches for it.
    fn refused(&self, claims: &Claims) -> Refused {
        let text = |path| claims.get(path).and_then(Value::as_str);
        let email = text(&self.claim_map.email).filter(|_| self.trusts_email(claims));
        Refused::new(text(&self.claim_map.user_id), email)
    }
}

impl OidcPolicy {
    /// Whether a token for these audiences is meant for us: `aud` holds one of ours, or `azp` is our `client_id`.
    pub fn owns_audience(&self, claims: &Claims) -> bool {
        claims.is_for(&self.audiences)
            || self
                .client_id
                .as_deref()
                .is_some_and(|id| claims.authorized_party() == Some(id))
    }

    /// Judges the claims of a token whose signature and issuer are proven.
    ///
    /// # Errors
    /// The first rule that it breaks, in the order: time, audience, required claims, subject, identity.
    pub fn judge_claims(&self, claims: &Claims, now: UnixTime) -> Result<Identity, Code> {
        self.validity(claims)?.check(now)?;
        self.judge(claims)
    }

    /// `sub`, or `email` when `sub` does not match and the issuer vouches for the address. At an issuer shared by the world
    /// anybody can put any address into an account, so there it counts only when it is verified.
    fn check_subject(&self, claims: &Claims, allowed: &Globs) -> Result<(), Code> {
        if claims.subject().is_some_and(|s| allowed.is_match(s)) {
            return Ok(());
        }
        let email = claims
            .get(&ClaimPath::Name("email".to_owned()))
            .and_then(Value::as_str);
        match email {
            Some(email) if allowed.is_match(email) => {
                if self.trusts_email(claims) {
                    Ok(())
                } else {
                    Err(Code::EmailNotVerified)
                }
            }
            _ => Err(Code::SubjectNotAllowed),
        }
    }

    fn trusts_email(&self, claims: &Claims) -> bool {
        match claims.email_verified() {
            Some(verified) => verified,
            None => !self.require_email_verified,
        }
    }

    fn identity(&self, claims: &Claims) -> Result<Identity, Code> {
        let map = &self.claim_map;
        let text = |path| {
            claims
                .get(path)
                .and_then(Value::as_str)
                .filter(|s| is_part(s))
        };
        let user_id = claims
            .get(&map.user_id)
            .and_then(Value::as_str)
            .ok_or(Code::MissingSubject)?;
        if !is_part(user_id) {
            // Genuine, but not a name that can stand in a header or a log line.
            return Err(Code::MalformedClaims);
        }
        let groups = match claims.get(&map.groups) {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(many)) => many
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        };
        // An upstream that reads x-auth-email takes it for proven.
        let email_is_standard = map.email == ClaimPath::Name("email".to_owned());
        Ok(Identity {
            user_id: user_id.into(),
            email: text(&map.email)
                .filter(|_| !email_is_standard || self.trusts_email(claims))
                .map(Rc::from),
            org_id: text(&map.org_id).map(Rc::from),
            workspace_id: text(&map.workspace_id).map(Rc::from),
            groups: groups.into_iter().filter(|g| is_part(g)).collect(),
        })
    }
}

/// A string, number or boolean matches by its text; an array when one of its elements does.
fn matches(value: &Value, globs: &Globs) -> bool {
    match value {
        Value::String(s) => globs.is_match(s),
        Value::Number(n) => globs.is_match(&n.to_string()),
        Value::Bool(b) => globs.is_match(if *b { "true" } else { "false" }),
        Value::Array(many) => many
            .iter()
            .any(|v| !v.is_array() && !v.is_object() && matches(v, globs)),
        Value::Null | Value::Object(_) => false,
    }
}
