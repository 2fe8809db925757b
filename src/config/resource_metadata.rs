//! `auth.resource_metadata`: what clients are told about who issues tokens (RFC 9728).

use super::compile::Compiler;
use super::error::Problem;
use super::hazard::Hazard;
use super::provider::Settings;
use super::raw::AuthConfig;
use super::read::{Many, Path, choice, object};
use crate::policy::Url;
use crate::request::canonical_path;
use crate::resource_metadata::ResourceMetadata;
use crate::url::without_slash;

object! {
    /// Protected-resource metadata (RFC 9728), by which MCP clients and others find out where to get a token. The filter serves it at
    /// `/.well-known/oauth-protected-resource` and at the same with a resource's path behind it, needs no credential for that, and
    /// names it in the challenge of every 401.
    pub struct ResourceMetadataConfig {
        /// The URL of what is behind this proxy, as clients know it: `https://agents.example.com`. Clients ask for tokens for
        /// it, so it is usually an `audience` too.
        #[cfg_attr(feature = "schema", schemars(required))]
        resource: String,
        /// The issuers that clients may get tokens from. Absent: the issuers of the chain's `oidc` providers.
        authorization_servers: Many<String>,
        /// The scopes that clients may ask for.
        scopes_supported: Many<String>,
        /// How tokens are presented: `header` is all there is.
        bearer_methods_supported: Many<BearerMethod> = "header",
        /// A name for people.
        resource_name: String,
        /// The URL of a page for developers.
        resource_documentation: String,
        /// The URL of a page on how the resource's data may be used.
        resource_policy_uri: String,
        /// The URL of the terms of service.
        resource_tos_uri: String,
        /// The `scope` of challenges. Absent: `scopes_supported`.
        challenge_scopes: Many<String>,
        /// Challenges name the metadata of the request's own path, whose resource is `resource`'s origin and that path. Clients then ask
        /// for tokens for that URL alone, and `audience` has to list each.
        per_path: bool = false,
    }
}

choice! {
    /// `header` (RFC 6750 section 2.1).
    pub enum BearerMethod = "header" {
        /// The `Authorization` header.
        Header = "header",
    }
}

impl ResourceMetadataConfig {
    pub(super) fn compile(
        &self,
        auth: &AuthConfig,
        at: &Path<'_>,
        compiler: &mut Compiler<'_>,
    ) -> Option<ResourceMetadata> {
        let url = self.resource(at, compiler);
        let authorization_servers = self.authorization_servers(auth, at, compiler);
        let scopes_supported = scopes(
            self.scopes_supported.as_ref(),
            &at.key("scopes_supported"),
            compiler,
        );
        let challenge_scopes = match &self.challenge_scopes {
            None => scopes_supported.clone(),
            written => scopes(written.as_ref(), &at.key("challenge_scopes"), compiler),
        };
        for (written, key) in [
            (&self.resource_documentation, "resource_documentation"),
            (&self.resource_policy_uri, "resource_policy_uri"),
            (&self.resource_tos_uri, "resource_tos_uri"),
        ] {
            if let Some(text) = written {
                compiler.url(text, &at.key(key));
            }
        }
        let url = url?;
        Some(ResourceMetadata {
            resource: self.resource.clone()?,
            origin: format!("{}://{}", url.scheme(), url.authority),
            path: without_slash(&url.path).to_owned(),
            authorization_servers,
            scopes_supported,
            resource_name: self.resource_name.clone(),
            resource_documentation: self.resource_documentation.clone(),
            resource_policy_uri: self.resource_policy_uri.clone(),
            resource_tos_uri: self.resource_tos_uri.clone(),
            challenge_scopes,
            per_path: self.per_path.unwrap_or(false),
        })
    }

    /// Section 1.2: an https URL without fragment, and better without query. Its path stands in a URL of ours and in a header.
    fn resource(&self, at: &Path<'_>, compiler: &mut Compiler<'_>) -> Option<Url> {
        let at = at.key("resource");
        let text = compiler.required(self.resource.as_ref(), &at)?;
        let url = compiler.url(text, &at)?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@/".contains(&b);
        if canonical_path(url.path.as_bytes()).as_deref() != Some(url.path.as_str())
            || !url.path.bytes().all(plain)
        {
            compiler.error(&at, Problem::PathNotCanonical);
            return None;
        }
        if !url.https {
            compiler.warn(&at, Hazard::PlainHttpResource);
        }
        Some(url)
    }

    /// As their metadata names them, to the last `/`: clients compare (RFC 8414 section 3.3).
    fn authorization_servers(
        &self,
        auth: &AuthConfig,
        at: &Path<'_>,
        compiler: &mut Compiler<'_>,
    ) -> Vec<String> {
        let at = at.key("authorization_servers");
        let mut servers = Vec::new();
        if let Some(Many(written)) = &self.authorization_servers {
            for (i, text) in written.iter().enumerate() {
                let at = at.index(i);
                let Some(url) = compiler.url(text, &at) else {
                    continue;
                };
                if url.path.contains('?') {
                    compiler.error(&at, Problem::IssuerQuery);
                }
                servers.push(text.clone());
            }
        } else {
            for provider in auth.providers.iter().flatten() {
                if let Settings::Oidc(oidc) = &provider.settings
                    && let Some(issuer) = &oidc.issuer
                    && Url::parse(issuer).is_ok_and(|url| !url.path.contains('?'))
                    && !servers.contains(issuer)
                {
                    servers.push(issuer.clone());
                }
            }
        }
        if servers.is_empty() {
            compiler.error_after(&at, Problem::Missing);
        }
        servers
    }
}

/// RFC 6749 appendix A.4.
fn scopes(
    written: Option<&Many<String>>,
    at: &Path<'_>,
    compiler: &mut Compiler<'_>,
) -> Vec<String> {
    let scopes = written.map_or_else(Default::default, |many| many.0.as_slice());
    for (i, scope) in scopes.iter().enumerate() {
        let fine = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
        if !scope.bytes().all(fine) {
            compiler.error(&at.index(i), Problem::BadScope);
        }
    }
    scopes.to_vec()
}
