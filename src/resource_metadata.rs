//! Protected-resource metadata (RFC 9728): where a client that was refused learns who issues tokens for what is behind the proxy.
//!
//! Everything that an answer or a challenge says is configured, or is the canonical path of the request itself; the `Host` that a
//! caller sends is in neither, so nobody can make us point a client elsewhere.

use serde::Serialize;

use crate::decision::Served;
use crate::metrics::{Cache, Outcome, Tally};

/// Section 3: goes between authority and path of the resource.
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// How long clients and the caches before us may keep a document, in seconds. It changes as rarely as a configuration, and
/// a change should not take a day to be seen.
const MAX_AGE: u32 = 300;

/// The metadata of what is behind this proxy (section 2). Names of fields are those of the document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceMetadata {
    /// The resource identifier as configured: what clients name as the resource, and issuers as audience.
    pub resource: String,
    /// Its scheme and authority, without a trailing `/`.
    pub origin: String,
    /// Its path, canonical, without a trailing `/`; empty where it has none.
    pub path: String,
    /// Issuer identifiers. Never empty.
    pub authorization_servers: Vec<String>,
    /// Scopes that clients may ask for.
    pub scopes_supported: Vec<String>,
    /// A name for people.
    pub resource_name: Option<String>,
    /// A page for developers.
    pub resource_documentation: Option<String>,
    /// A page on how the resource's data may be used.
    pub resource_policy_uri: Option<String>,
    /// The terms of service.
    pub resource_tos_uri: Option<String>,
    /// `scope` of challenges.
    pub challenge_scopes: Vec<String>,
    /// Challenges name the document of the request's own path.
    pub per_path: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    resource: &'a str,
    authorization_servers: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    scopes_supported: &'a [String],
    /// Section 2, by RFC 6750 section 2.1: the only one that the filter reads.
    bearer_methods_supported: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_documentation: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_policy_uri: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_tos_uri: Option<&'a str>,
}

impl ResourceMetadata {
    /// The answer to a request for the metadata; `None` where it is for something else. `path` is canonical, and as it was
    /// on the wire.
    pub(crate) fn serve(&self, method: &[u8], path: &str) -> Option<Served> {
        let rest = path.strip_prefix(WELL_KNOWN)?;
        let (status, body) = match method {
            b"GET" | b"HEAD" => (200, self.document(&self.resource_at(rest)?)),
            b"OPTIONS" => (204, self.resource_at(rest).map(|_| String::new())?),
            _ => (405, self.resource_at(rest).map(|_| String::new())?),
        };
        let mut headers = Vec::new();
        match status {
            200 => {
                headers.push(("content-type", "application/json".into()));
                headers.push(("cache-control", format!("public, max-age={MAX_AGE}").into()));
            }
            204 => {
                // Fetch section 3.2: what a page of any origin may ask. `*` does not cover Authorization.
                headers.push(("access-control-allow-methods", "GET, HEAD".into()));
                headers.push(("access-control-allow-headers", "*, Authorization".into()));
                headers.push(("access-control-max-age", "3600".into()));
            }
            _ => headers.push(("allow", "GET, HEAD, OPTIONS".into())),
        }
        // Public, the same for everyone, and answered without looking at any credential.
        headers.push(("access-control-allow-origin", "*".into()));
        Some(Served {
            status,
            headers,
            body,
            tally: Tally {
                provider: None,
                outcome: Outcome::ResourceMetadata,
                cache: Cache::None,
            },
        })
    }

    /// The resource whose well-known URL ends like this (section 3.1). The bare form is the configured one's, whatever its path:
    /// clients fall back to it.
    fn resource_at(&self, rest: &str) -> Option<String> {
        match rest {
            "" | "/" => Some(self.resource.clone()),
            path if path == self.path => Some(self.resource.clone()),
            path if self.is_below(path) => Some(format!("{}{path}", self.origin)),
            _ => None,
        }
    }

    fn is_below(&self, path: &str) -> bool {
        path.strip_prefix(self.path.as_str())
            .is_some_and(|below| below.starts_with('/'))
            && path.bytes().all(is_path_byte)
    }

    fn document(&self, resource: &str) -> String {
        let document = Document {
            resource,
            authorization_servers: &self.authorization_servers,
            scopes_supported: &self.scopes_supported,
            bearer_methods_supported: ["header"],
            resource_name: self.resource_name.as_deref(),
            resource_documentation: self.resource_documentation.as_deref(),
            resource_policy_uri: self.resource_policy_uri.as_deref(),
            resource_tos_uri: self.resource_tos_uri.as_deref(),
        };
        // Strings and lists of strings always serialise.
        serde_json::to_string(&document).unwrap_or_default()
    }

    /// What a challenge says beside the error (section 5.1), to a request for this path. `None` is a path with more
    /// than one reading.
    pub(crate) fn challenge(&self, path: Option<&str>) -> String {
        let path = path
            .filter(|path| self.per_path && self.is_below(path))
            .unwrap_or(&self.path);
        let mut parameters = format!("resource_metadata=\"{}{WELL_KNOWN}{path}\"", self.origin);
        if !self.challenge_scopes.is_empty() {
            parameters.push_str(", scope=\"");
            parameters.push_str(&self.challenge_scopes.join(" "));
            parameters.push('"');
        }
        parameters
    }
}

/// RFC 3986 section 3.3: `pchar` and `/`. None of them ends a quoted string.
const fn is_path_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(
            b,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b'='
                | b':'
                | b'@'
                | b'%'
                | b'/'
        )
}
