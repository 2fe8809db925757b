//! `azure_ad`: access tokens of Microsoft Entra ID, version 1 and 2 (Microsoft identity platform, "Access token claims reference" and
//! "Secure applications and APIs by validating claims").

pub mod graph;

use std::rc::Rc;

use serde_json::Value;

use crate::audit::AuditClaims;
use crate::claims::Claims;
use crate::identity::{Identity, Refused, is_part};
use crate::jose::{Algorithm, Jwk, KeyUse};
use crate::policy::{AzurePolicy, GraphPolicy, KeyOrigin, Tenants};
use crate::provider::jwt::{JwtRules, Ownership, check_use};
use crate::provider::validity::Validity;
use crate::reason::Code;

/// The two forms of tokens, which name the same things differently.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl JwtRules for AzurePolicy {
    fn keys(&self) -> &KeyOrigin {
        &self.keys
    }

    fn issuer(&self) -> Option<&str> {
        None
    }

    fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// A tenant that is not listed makes the weaker claim, so that another provider of the chain may list it.
    fn ownership(&self, iss: &str, claims: &Claims) -> Ownership {
        let Some(tenant) = self.tenant_of(iss) else {
            return Ownership::None;
        };
        let for_us = self.is_for_us(claims);
        match &self.tenants {
            Tenants::One(one) if one != tenant => Ownership::None,
            tenants if for_us && tenants.allow(tenant) => Ownership::Audience,
            _ => Ownership::Issuer,
        }
    }

    /// Each key of the common set says in `issuer` for which tenants it signs, `{tenantid}` for any. It names the issuer of version 2
    /// for tokens of both versions. In a set of one tenant's it may be missing; in a set of everybody's that
    /// would make one tenant's key good for all.
    fn check_key(&self, key: &Jwk, _: Algorithm, claims: &Claims) -> Result<(), Code> {
        check_use(key, KeyUse::Signature)?;
        let Some(template) = key.issuer() else {
            return match self.tenants {
                Tenants::One(_) => Ok(()),
                Tenants::Listed(_) | Tenants::Any => Err(Code::KeyIssuerMismatch),
            };
        };
        let tenant = claims.text("tid").unwrap_or_default();
        let issuer = template.replace("{tenantid}", tenant);
        if claims.issuer() == Some(&issuer) || self.issuer(tenant, Version::V2) == issuer {
            Ok(())
        } else {
            Err(Code::KeyIssuerMismatch)
        }
    }

    fn validity(&self, claims: &Claims) -> Result<Validity, Code> {
        Validity::of(claims, self.clock_skew, false)
    }

    fn judge(&self, claims: &Claims) -> Result<Identity, Code> {
        if !self.is_for_us(claims) {
            return Err(Code::AudienceMismatch);
        }
        let version = match claims.text("ver") {
            Some("1.0") => Version::V1,
            Some("2.0") => Version::V2,
            _ => return Err(Code::MalformedClaims),
        };
        let tenant = claims
            .text("tid")
            .filter(|t| is_guid(t))
            .ok_or(Code::MalformedClaims)?;
        if claims.issuer() != Some(&self.issuer(tenant, version)) {
            return Err(Code::IssuerMismatch);
        }
        if !self.tenants.allow(tenant) {
            return Err(Code::TenantNotAllowed);
        }
        if let Some(wanted) = self.token_type
            && claims.text("idtyp") != Some(wanted.as_str())
        {
            return Err(Code::TokenTypeNotAllowed);
        }
        if !self.apps.is_empty() {
            let app = calling_app(claims, version).ok_or(Code::AppNotAllowed)?;
            if !self.apps.iter().any(|a| a.eq_ignore_ascii_case(app)) {
                return Err(Code::AppNotAllowed);
            }
        }
        // 0 is a public client, which anybody can be; 1 has shown a secret and 2 a certificate.
        if self.require_confidential_client
            && !matches!(
                claims.text(match version {
                    Version::V1 => "appidacr",
                    Version::V2 => "azpacr",
                }),
                Some("1" | "2")
            )
        {
            return Err(Code::PublicClient);
        }
        identity(claims, tenant)
    }

    fn audit_claims(&self, claims: &Claims) -> AuditClaims {
        let mut out = AuditClaims::default();
        out.add("tid", claims.text("tid"));
        let version = match claims.text("ver") {
            Some("1.0") => Version::V1,
            _ => Version::V2,
        };
        out.add("app", calling_app(claims, version));
        out.add("idtyp", claims.text("idtyp"));
        out.add("uti", claims.text("uti"));
        out
    }

    fn refused(&self, claims: &Claims) -> Refused {
        Refused::new(claims.text("oid").or_else(|| claims.subject()), None)
    }

    fn more_groups(&self, claims: &Claims) -> Option<&GraphPolicy> {
        let graph = self.graph.as_ref()?;
        let named = claims
            .value("_claim_names")
            .and_then(|names| names.get("groups"))
            .is_some();
        // The implicit flow says it in its own way, as a boolean or as its text.
        let hinted = match claims.value("hasgroups") {
            Some(Value::Bool(has)) => *has,
            Some(Value::String(has)) => has == "true",
            _ => false,
        };
        ((named || hinted) && !claims.has("groups")).then_some(graph)
    }
}

impl AzurePolicy {
    /// The issuer of a tenant's tokens.
    fn issuer(&self, tenant: &str, version: Version) -> String {
        match version {
            Version::V1 => format!("https://{}/{tenant}/", self.cloud.v1_issuer_host),
            Version::V2 => format!("https://{}/{tenant}/v2.0", self.cloud.authority),
        }
    }

    /// The tenant that an issuer of this cloud names, in either version's form.
    pub fn tenant_of<'a>(&self, issuer: &'a str) -> Option<&'a str> {
        let rest = issuer.strip_prefix("https://")?;
        let tenant = match rest.strip_prefix(self.cloud.authority) {
            Some(path) => path.strip_prefix('/')?.strip_suffix("/v2.0")?,
            None => rest
                .strip_prefix(self.cloud.v1_issuer_host)?
                .strip_prefix('/')?
                .strip_suffix('/')?,
        };
        is_guid(tenant).then_some(tenant)
    }
}

/// The application that a token was issued to: `appid` or `azp`, by version. The caller's own object stands for it only in tokens
/// that name no application at all, and never beside one.
fn calling_app(claims: &Claims, version: Version) -> Option<&str> {
    let name = match version {
        Version::V1 => "appid",
        Version::V2 => "azp",
    };
    if claims.has("appid") || claims.has("azp") {
        claims.text(name)
    } else {
        claims.text("oid")
    }
}

/// `oid` is the same in every application and never given anew; `sub` is another in each. An address is worth showing
/// to an upstream only where the owner of its domain has been verified (`xms_edov`): a tenant's administrator
/// types in any address he likes.
fn identity(claims: &Claims, tenant: &str) -> Result<Identity, Code> {
    let user_id = claims
        .text("oid")
        .or_else(|| claims.subject())
        .ok_or(Code::MissingSubject)?;
    if !is_part(user_id) {
        return Err(Code::MalformedClaims);
    }
    let owner_verified = match claims.value("xms_edov") {
        Some(Value::Bool(verified)) => *verified,
        Some(Value::Number(n)) => n.as_u64() == Some(1),
        Some(Value::String(s)) => s == "1" || s == "true",
        _ => false,
    };
    let groups = claims
        .value("groups")
        .and_then(Value::as_array)
        .map(|groups| {
            groups
                .iter()
                .filter_map(Value::as_str)
                .filter(|g| is_part(g))
                .map(str::to_owned)
                .collect()
        });
    Ok(Identity {
        user_id: user_id.into(),
        email: claims
            .text("email")
            .filter(|e| owner_verified && is_part(e))
            .map(Rc::from),
        org_id: Some(tenant.into()),
        workspace_id: None,
        groups: groups.unwrap_or_default(),
    })
}

/// `8-4-4-4-12` hexadecimal digits in lower case, as Entra ID writes them: what stands in an issuer is no path of its own.
pub(crate) fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
        })
}
