//! `oidc`: tokens of an OpenID Connect issuer.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;

use crate::config::compile::{Compiler, HOUR, MINUTE, SECOND};
use crate::config::error::Problem;
use crate::config::hazard::Hazard;
use crate::config::provider::{common, issuers};
use crate::config::read::{Errors, Many, Path, Read, Span, choice, object, wrong_type};
use crate::glob::Globs;
use crate::jose::KeyUse;
use crate::jose::jwks::KeySet;
use crate::policy::{ClaimMap, ClaimPath, KeyOrigin, OidcPolicy, ProviderKind, RemoteKeys, Url};
use crate::url::without_slash;

object! {
    /// Tokens of an OpenID Connect issuer: Auth0, Cognito, Entra ID, Google, Keycloak, Kubernetes, Okta and so on.
    pub struct OidcSettings {
        /// The issuer, as the tokens' `iss` has it: an absolute URL, or any string when `jwks` or `jwks_url` says where the keys are. One trailing `/` makes no difference.
        #[cfg_attr(feature = "schema", schemars(required))]
        issuer: String,
        /// The audience or audiences of which a token must name one.
        #[cfg_attr(feature = "schema", schemars(required))]
        audience: Many<String>,
        /// A token of another audience is accepted when its `azp` is this client.
        client_id: String,
        /// Where the key set is. Absent: what the issuer's discovery document says.
        jwks_url: String,
        /// The key set itself, as an object or as text; nothing is fetched then.
        jwks: Jwks,
        /// How long a fetched key set is fresh: `1s` to `7d`.
        jwks_cache_ttl: Span = "1h",
        /// Leeway for `exp`, `nbf` and `iat`: `0s` to `10m`.
        clock_skew: Span = "30s",
        /// Which claim becomes which part of the identity.
        claim_map: ClaimMapConfig,
        /// Globs on `sub`; a token whose `sub` matches none may match by its `email`, if that is verified. Absent:
        /// any subject of this issuer and audience.
        allowed_subjects: Many<String>,
        /// The `email` counts only with `email_verified: true`, not merely without `false`. `true` for issuers that
        /// many organisations share, such as Google and Microsoft, where it can't be switched off.
        require_email_verified: bool,
        /// Claims that must be there, each with a glob or globs that its value, or one of its values, must match. A key is
        /// a claim's name or a JSON pointer.
        required_claims: BTreeMap<String, Many<String>>,
        /// The oldest `iat` that is accepted: `1s` to `365d`. Absent: any.
        max_token_age: Span,
        /// Accept tokens without `exp`.
        allow_missing_exp: bool = false,
        /// What the keys must be for: `sig`, or no `use` at all; or `jwt-svid`, the keys for JWT-SVIDs in a SPIFFE trust bundle, and only those.
        key_use: KeyUseSetting = "sig",
    }
}

object! {
    /// Which claim becomes which part of the identity: a claim's name, or a JSON pointer when it starts with `/`.
    pub struct ClaimMapConfig {
        /// The stable name of the caller.
        user_id: String = "sub",
        /// The e-mail address.
        email: String = "email",
        /// The organisation.
        org_id: String = "org_id",
        /// The workspace.
        workspace_id: String = "workspace_id",
        /// The groups: a list of strings, or one string.
        groups: String = "groups",
    }
}

choice! {
    /// What the keys of an issuer must be for, by their `use`.
    pub enum KeyUseSetting = "sig or jwt-svid" {
        /// Signatures.
        Sig = "sig",
        /// JWT-SVIDs.
        JwtSvid = "jwt-svid",
    }
}

/// A key set in the configuration: a JWK set object, or its text.
#[derive(Clone)]
pub struct Jwks(Value);

impl Read for Jwks {
    const EXPECTED: &'static str = "a JWK set, as a map or as text";
    fn read(value: &Value, at: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        match value {
            Value::Object(_) | Value::String(_) => Some(Self(value.clone())),
            other => wrong_type(other, at, errors),
        }
    }
}

/// Says nothing: people paste private keys too.
impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Jwks(…)")
    }
}

impl OidcSettings {
    pub(super) fn compile(
        &self,
        at: &Path<'_>,
        compiler: &mut Compiler<'_>,
    ) -> Option<ProviderKind> {
        let issuer = self.issuer(at, compiler);
        let known = issuer.as_ref().map(|(text, _)| issuers::known(text));
        let audiences = common::audiences(self.audience.as_ref(), at, compiler);
        if self.client_id.is_some() {
            compiler.warn(&at.key("client_id"), Hazard::ClientId);
        }
        let cache_ttl = compiler.span(
            self.jwks_cache_ttl,
            HOUR,
            SECOND..=7 * 24 * HOUR,
            &at.key("jwks_cache_ttl"),
        );
        let keys = self.keys(at, issuer.as_ref(), cache_ttl, compiler);
        let clock_skew = common::clock_skew(self.clock_skew, at, compiler);
        let claim_map = self.claim_map(at, compiler);
        let at_subjects = at.key("allowed_subjects");
        let allowed_subjects =
            common::allow_list_or_all(self.allowed_subjects.as_ref(), &at_subjects, compiler);
        let required_claims = self.required_claims(at, compiler);
        let max_token_age = self.max_token_age.map(|age| {
            compiler.span(
                Some(age),
                HOUR,
                SECOND..=365 * 24 * HOUR,
                &at.key("max_token_age"),
            )
        });
        let allow_missing_exp = self.allow_missing_exp.unwrap_or(false);
        if allow_missing_exp && max_token_age.is_none() {
            compiler.warn(&at.key("allow_missing_exp"), Hazard::MissingExp);
        }
        if let Some(whose) = known.and_then(|k| k.shared_by)
            && allowed_subjects.is_none()
            && required_claims.is_empty()
        {
            compiler.warn(&at.key("issuer"), Hazard::SharedIssuer { whose });
        }
        let email_needs_proof = known.is_some_and(|k| k.email_needs_proof);
        Some(ProviderKind::Oidc(Box::new(OidcPolicy {
            issuer: issuer?.0,
            audiences: audiences?,
            client_id: self.client_id.clone(),
            keys: keys?,
            jwks_cache_ttl: cache_ttl,
            clock_skew,
            claim_map: claim_map?,
            allowed_subjects,
            require_email_verified: email_needs_proof
                || self.require_email_verified.unwrap_or(false),
            required_claims,
            max_token_age,
            allow_missing_exp,
            key_use: match self.key_use {
                None | Some(KeyUseSetting::Sig) => KeyUse::Signature,
                Some(KeyUseSetting::JwtSvid) => KeyUse::JwtSvid,
            },
        })))
    }

    /// The issuer without its trailing `/`, and the same as a URL where discovery needs one. Where the keys come from is
    /// said otherwise, it is any `StringOrURI` (RFC 7519 section 4.1.1): old Google tokens say `accounts.google.com`.
    fn issuer(&self, at: &Path<'_>, compiler: &mut Compiler<'_>) -> Option<(String, Option<Url>)> {
        let at = at.key("issuer");
        let text = compiler.required(self.issuer.as_ref(), &at)?;
        let url = if self.jwks.is_some() || self.jwks_url.is_some() {
            None
        } else {
            let url = compiler.url(text, &at)?;
            if url.path.contains('?') {
                compiler.error(&at, Problem::IssuerQuery);
                return None;
            }
            Some(url)
        };
        Some((without_slash(text).to_owned(), url))
    }

    fn keys(
        &self,
        at: &Path<'_>,
        issuer: Option<&(String, Option<Url>)>,
        cache_ttl: Duration,
        compiler: &mut Compiler<'_>,
    ) -> Option<KeyOrigin> {
        if let Some(Jwks(set)) = &self.jwks {
            let at_set = at.key("jwks");
            if self.jwks_url.is_some() {
                compiler.error(&at_set, Problem::Conflict { with: "jwks_url" });
                return None;
            }
            let limits = compiler.jose_limits();
            let parsed = match set {
                Value::String(text) => KeySet::parse(text.as_bytes(), &limits),
                object => KeySet::from_value(object, &limits),
            };
            return match parsed {
                Ok(set) => Some(KeyOrigin::Inline(Rc::new(set))),
                Err(error) => {
                    compiler.error(&at_set, Problem::KeySet(error));
                    None
                }
            };
        }
        if self.jwks_cache_ttl.is_some() && cache_ttl < MINUTE {
            compiler.warn(&at.key("jwks_cache_ttl"), Hazard::ShortCacheTtl);
        }
        let at_url = at.key("jwks_url");
        let jwks = match &self.jwks_url {
            Some(text) => Some(compiler.url(text, &at_url)?),
            None => None,
        };
        let (issuer, issuer_url) = issuer?;
        let discovery = issuer_url.as_ref().map(common::discovery);
        if jwks.as_ref().is_some_and(|url| !url.https) {
            compiler.warn(&at_url, Hazard::PlainHttp);
        }
        if discovery.as_ref().is_some_and(|url| !url.https) {
            compiler.warn(&at.key("issuer"), Hazard::PlainHttp);
        }
        Some(KeyOrigin::Remote(RemoteKeys {
            issuer: issuer.clone(),
            discovery,
            jwks,
            cache_ttl,
        }))
    }

    fn claim_map(&self, at: &Path<'_>, compiler: &mut Compiler<'_>) -> Option<ClaimMap> {
        let at = at.key("claim_map");
        let none = ClaimMapConfig::default();
        let map = self.claim_map.as_ref().unwrap_or(&none);
        let mut path = |written: &Option<String>, key: &str, default: &str| match written {
            None => Some(ClaimPath::Name(default.to_owned())),
            Some(text) => claim_path(text, &at.key(key), compiler),
        };
        let user_id = path(&map.user_id, "user_id", "sub");
        let email = path(&map.email, "email", "email");
        let org_id = path(&map.org_id, "org_id", "org_id");
        let workspace_id = path(&map.workspace_id, "workspace_id", "workspace_id");
        let groups = path(&map.groups, "groups", "groups");
        Some(ClaimMap {
            user_id: user_id?,
            email: email?,
            org_id: org_id?,
            workspace_id: workspace_id?,
            groups: groups?,
        })
    }

    fn required_claims(
        &self,
        at: &Path<'_>,
        compiler: &mut Compiler<'_>,
    ) -> Vec<(ClaimPath, Globs)> {
        let at = at.key("required_claims");
        let mut out = Vec::new();
        for (claim, globs) in self.required_claims.iter().flatten() {
            let at = at.key(claim);
            let path = claim_path(claim, &at, compiler);
            let globs = compiler.non_empty_globs(&globs.0, &at);
            out.extend(path.zip(globs));
        }
        out
    }
}

/// RFC 6901 section 3: in a pointer, `~` stands only before `0` or `1`.
fn claim_path(text: &str, at: &Path<'_>, compiler: &mut Compiler<'_>) -> Option<ClaimPath> {
    let fine = match text.strip_prefix('/') {
        None => !text.is_empty(),
        Some(tokens) => tokens
            .split('~')
            .skip(1)
            .all(|after| after.starts_with(['0', '1'])),
    };
    if !fine {
        compiler.error(at, Problem::BadClaimPath);
        return None;
    }
    Some(if text.starts_with('/') {
        ClaimPath::Pointer(text.to_owned())
    } else {
        ClaimPath::Name(text.to_owned())
    })
}
