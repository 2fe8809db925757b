//! The policy: what a configuration compiles to. Immutable, complete, and never half-valid.
//!
//! [`crate::config`] is the shape users write; this is the shape a request is judged by. Only
//! the compiler in `config::compile` makes one.

mod provider;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

pub use self::provider::{
    AccessKey, ApiKeyPolicy, AwsSigV4Policy, AzureCloud, AzurePolicy, AzureTokenType, ClaimMap,
    ClaimPath, GithubPolicy, GraphPolicy, HttpVerifierPolicy, IapPolicy, KeyOrigin, OidcPolicy,
    Provider, ProviderKind, RemoteKeys, SigV4Policy, StaticTokenPolicy, StsEndpoint, Tenants,
    TokenPrefix,
};
use crate::credential::KeyPlaces;
use crate::jose::algorithm::Algorithm;
use crate::limits::Limits;
use crate::resource_metadata::ResourceMetadata;
pub use crate::url::Url;

/// Everything a request is judged by.
#[derive(Debug)]
pub struct Policy {
    /// The first 12 hex digits of the SHA-256 of the configuration's text: `config_version` in audit events.
    pub version: Rc<str>,
    /// Whether a request without a credential is refused.
    pub required: bool,
    /// The chain, in the order it is tried. Never empty.
    pub providers: Vec<Provider>,
    /// Requests that need no credential.
    pub skip: Vec<SkipRule>,
    /// What clients are told about who issues tokens (RFC 9728).
    pub resource_metadata: Option<ResourceMetadata>,
    /// 503 or 401: the status while a provider can't be reached.
    pub unavailable_status: u16,
    /// How a request names its agent.
    pub agent: AgentResolver,
    /// Who the agents belong to, by name.
    pub agents: BTreeMap<Rc<str>, AgentFacts>,
    /// Where requests carry API keys; nowhere, unless a provider takes them.
    pub key_places: KeyPlaces,
    /// Where callouts go.
    pub callouts: CalloutPolicy,
    /// What the upstream is told about the caller.
    pub identity: IdentityPolicy,
    /// Where audit events go and what is in them.
    pub audit: AuditPolicy,
    /// Who verifies signatures.
    pub crypto: CryptoPolicy,
    /// Every bound.
    pub limits: Limits,
    /// The proxy that it was written for; `None` leaves that to be found out.
    pub host: Option<Host>,
}

/// A kind of proxy that a configuration can be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// Envoy and everything built on it.
    Envoy,
    /// nginx with ngx_wasm_module, Kong included.
    Nginx,
}

impl Host {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Envoy, Self::Nginx];

    /// As the configuration says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::Nginx => "nginx",
        }
    }
}

impl Policy {
    /// Whether ES256 is to be verified from tables, and may occur at all.
    pub fn wants_es256_tables(&self) -> bool {
        self.crypto.es256_tables && self.providers.iter().any(|p| p.kind.jwt_rules().is_some())
    }

    /// Whether a caller may have a rate limit.
    pub fn may_limit_rates(&self) -> bool {
        let is_key = |p: &Provider| matches!(p.kind, ProviderKind::ApiKey(_));
        self.providers.iter().any(is_key)
    }

    /// What the chain needs of every request.
    pub(crate) fn chain_traits(&self) -> ChainTraits {
        let any = |is: fn(&ProviderKind) -> bool| self.providers.iter().any(|p| is(&p.kind));
        let audited = self.audit.remote_addr && !self.audit.sinks.is_empty();
        ChainTraits {
            reads_signatures: any(|k| matches!(k, ProviderKind::SigV4(_))),
            wants_assertion: any(|k| matches!(k, ProviderKind::GcpIap(_))),
            judges_jwts: any(|k| k.bearer_rules().is_some()),
            asks_verifier: any(|k| matches!(k, ProviderKind::HttpVerifier(_))),
            wants_remote_addr: audited
                || (self.limits.key_failures > 0 && any(|k| matches!(k, ProviderKind::ApiKey(_)))),
        }
    }
}

/// What the chain needs of every request, found once: a chain may be long, and most requests concern one of its providers.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "answers to unrelated questions"
)]
pub(crate) struct ChainTraits {
    /// Requests may be signed themselves. If not, an AWS signature is the upstream's business.
    pub reads_signatures: bool,
    /// A provider judges the assertions of Google's Identity-Aware Proxy.
    pub wants_assertion: bool,
    /// A provider judges bearer tokens that are JWTs.
    pub judges_jwts: bool,
    /// A provider takes what the others don't.
    pub asks_verifier: bool,
    /// The peer's address makes a difference: it is audited, or failed API keys are counted by it.
    pub wants_remote_addr: bool,
}

/// Who an agent belongs to: what keys that are bound to more than one agent are judged by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentFacts {
    /// The user who owns it.
    pub owner: Option<String>,
    /// Its workspace.
    pub workspace: Option<String>,
    /// Its organisation.
    pub org: Option<String>,
}

/// A request that needs no credential: method and canonical path, both exact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkipRule {
    /// As on the wire, case-sensitive (RFC 9110 section 9.1).
    pub method: String,
    /// Canonical: see [`crate::request::canonical_path`].
    pub path: String,
}

/// How a request names its agent.
#[derive(Debug)]
pub enum AgentResolver {
    /// Requests name none; providers bound to agents then refuse everyone.
    None,
    /// A path template such as `/rest/{agent}`: one whole segment is the agent, deeper paths belong to it.
    Path {
        /// The literal segments before `{agent}`.
        before: Vec<String>,
        /// The literal segments right after it.
        after: Vec<String>,
    },
    /// A host template such as `{agent}.agents.example.com`; compared without port and case.
    Host {
        /// What stands before `{agent}`, in lower case.
        prefix: String,
        /// What stands after it, in lower case.
        suffix: String,
    },
    /// The value of a request header (lower-case name).
    Header(String),
    /// Every request is for this agent.
    Fixed(Rc<str>),
}

/// Where callouts go.
#[derive(Debug)]
pub struct CalloutPolicy {
    /// Authority (lower case, as in [`Url::authority`]) to upstream; an authority that is not listed is its own upstream.
    pub upstreams: BTreeMap<String, String>,
    /// How long one callout may take.
    pub timeout: Duration,
}

impl CalloutPolicy {
    /// The upstream for an authority.
    pub fn upstream<'a>(&'a self, authority: &'a str) -> &'a str {
        self.upstreams
            .get(authority)
            .map_or(authority, String::as_str)
    }
}

/// What the upstream is told about the caller.
#[derive(Debug)]
pub struct IdentityPolicy {
    /// Lower case, ends in `-`; incoming headers that start with it are removed.
    pub header_prefix: String,
    /// Leave the credential on the request.
    pub forward_credentials: bool,
    /// What becomes of a request that brings an identity header.
    pub spoofed: Spoofed,
}

/// What becomes of a request that brings a header which only the filter may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoofed {
    /// The header is removed.
    Removed,
    /// The request is refused, because the host can't remove a header that a client sent.
    Refused,
}

/// Where audit events go and what is in them.
#[derive(Debug)]
pub struct AuditPolicy {
    /// Where each event goes. Never empty unless auditing was switched off in so many words.
    pub sinks: Vec<AuditSink>,
    /// Add the presented, unproven `sub` to `auth_fail` events.
    pub unproven_subject: bool,
    /// Add the peer's address.
    pub remote_addr: bool,
}

/// One place that audit events go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditSink {
    /// The host's filter state, for the access log to print: `%FILTER_STATE(wasm.portcullis_audit:PLAIN)%`.
    FilterState,
    /// The host's own log, at level info.
    Log,
}

/// Who verifies signatures. A verdict doesn't depend on it.
#[derive(Debug)]
pub struct CryptoPolicy {
    /// The algorithms that the host may be asked about; a host that does not offer one is not asked all the same.
    pub by_host: Vec<Algorithm>,
    /// Whether ES256 is verified from tables of the keys first.
    pub es256_tables: bool,
}
