//! The configuration as it is written. Nothing here is checked beyond its type; the shape a
//! request is judged by is [`crate::policy::Policy`].
//!
//! The documentation comments are what `docs/configuration.md` and the JSON Schema say.

use std::collections::BTreeMap;

use serde_json::Value;

use super::crypto::CryptoConfig;
use super::error::Problem;
use super::provider::Settings;
use super::read::{
    Errors, Many, Path, Read, Span, choice, field, object, refuse_unknown, wrong_type,
};
use super::resource_metadata::ResourceMetadataConfig;

object! {
    /// The plugin configuration of Portcullis.
    pub struct Config {
        /// Who is let in.
        #[cfg_attr(feature = "schema", schemars(required))]
        auth: AuthConfig,
        /// How a request names its agent: exactly one of the keys. Needed where a provider has `agents`.
        agent: AgentConfig,
        /// Who the agents belong to, by name. Needed for API keys that are bound to a workspace, an organisation or a user.
        agents: BTreeMap<String, AgentFactsConfig>,
        /// Where the proxy finds issuers and other peers.
        callouts: CalloutConfig,
        /// What the upstream is told about the caller.
        identity: IdentityConfig,
        /// Where audit events go and what is in them.
        audit: AuditConfig,
        /// Who verifies signatures, by algorithm. `host`: the proxy's own crypto, where the proxy lends it and it passed a
        /// self-test, else the filter. `library`: the filter itself. `tables`: the filter itself, for ES256, with a table of
        /// 288 KiB for each of up to 16 keys, which is faster still. The verdict is the same, the cost is not. PS256 to PS512
        /// and EdDSA are always verified by the filter, because no host offers them.
        crypto: CryptoConfig,
        /// Every bound, with a safe default.
        limits: LimitsConfig,
        /// The proxy that this is for. `auto` finds out; `nginx` also has `portcullis check` say what nginx can't do, and is for builds
        /// that can't be recognised. `envoy` on an nginx that is recognised is refused.
        host: HostChoice = "auto",
    }
}

choice! {
    /// The proxy that a configuration is for.
    pub enum HostChoice = "auto, envoy or nginx" {
        /// Found out when it loads.
        Auto = "auto",
        /// Envoy and everything built on it.
        Envoy = "envoy",
        /// nginx with ngx_wasm_module, Kong included.
        Nginx = "nginx",
    }
}

object! {
    /// Who is let in. This block has the shape of `auth` in Forge's `forge.yaml`.
    pub struct AuthConfig {
        /// Whether a request without a credential is refused. With `false`, whoever presents a credential
        /// is identified and the rest passes as anonymous; a bad credential is refused all the same.
        required: bool = true,
        /// The chain, tried in order. A provider passes on only what is not its own; its word is final on
        /// everything else.
        #[cfg_attr(feature = "schema", schemars(required))]
        providers: Vec<ProviderConfig>,
        /// Requests that need no credential: `METHOD /path`, exact, on a canonical path.
        skip: Many<String>,
        /// The status while a provider can't be reached: 503, or 401 for callers that expect that.
        unavailable_status: UnavailableStatus = 503,
        /// Protected-resource metadata (RFC 9728), served by the filter and named in the challenge of every 401.
        resource_metadata: ResourceMetadataConfig,
    }
}

/// One link of the chain.
#[derive(Clone, Debug)]
pub struct ProviderConfig {
    /// Unique in the chain; the type when absent, with `-2` and so on for further ones.
    pub name: Option<String>,
    /// Globs on the names of the agents that identities from this provider may call; absent means any.
    pub agents: Option<Many<String>>,
    /// What it verifies and how.
    pub settings: Settings,
}

impl Read for ProviderConfig {
    const EXPECTED: &'static str = "a map with `type` and `settings`";

    fn read(value: &Value, at: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        let Some(object) = value.as_object() else {
            return wrong_type(value, at, errors);
        };
        refuse_unknown(object, &["type", "name", "agents", "settings"], at, errors);
        let name = field(object, "name", at, errors);
        let agents = field(object, "agents", at, errors);
        let settings = match object.get("type") {
            None => {
                errors.push(&at.key("type"), Problem::Missing);
                None
            }
            Some(kind) => String::read(kind, &at.key("type"), errors)
                .and_then(|kind| Settings::read(&kind, object.get("settings"), at, errors)),
        };
        Some(Self {
            name,
            agents,
            settings: settings?,
        })
    }
}

/// 503 or 401.
#[derive(Clone, Copy, Debug)]
pub struct UnavailableStatus(pub u16);

impl Read for UnavailableStatus {
    const EXPECTED: &'static str = "503 or 401";
    fn read(value: &Value, at: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        match u64::read(value, at, errors)? {
            503 => Some(Self(503)),
            401 => Some(Self(401)),
            _ => {
                let choices = &["503", "401"];
                errors.push(
                    at,
                    Problem::NotAChoice {
                        choices,
                        nearest: None,
                    },
                );
                None
            }
        }
    }
}

object! {
    /// How a request names its agent: exactly one of these.
    pub struct AgentConfig {
        /// A path template with `{agent}` as one whole segment, such as `/rest/{agent}`; deeper paths belong
        /// to the same agent.
        path: String,
        /// A host template with `{agent}` as one whole label, such as `{agent}.agents.example.com`; compared
        /// without port and case.
        host: String,
        /// The request header that holds the agent's name. The proxy must route by the same header, or a
        /// caller could name one agent and reach another.
        header: String,
        /// Every request is for this agent.
        fixed: String,
    }
}

object! {
    /// Who an agent belongs to.
    pub struct AgentFactsConfig {
        /// The user who owns it; service-account tokens of that user may call it.
        owner: String,
        /// Its workspace.
        workspace: String,
        /// Its organisation.
        org: String,
    }
}

object! {
    /// Where the proxy finds issuers and other peers.
    pub struct CalloutConfig {
        /// From the authority of a URL (`accounts.google.com`) to the upstream that leads there: an Envoy
        /// cluster's name, or `host:port` on nginx. An authority that is not listed is its own upstream.
        upstreams: BTreeMap<String, String>,
        /// How long one callout may take: `10ms` to `1m`.
        timeout: Span = "5s",
    }
}

object! {
    /// What the upstream is told about the caller.
    pub struct IdentityConfig {
        /// What the identity headers' names start with: `user-id`, `email`, `org-id`, `workspace-id`, `groups`,
        /// `provider`, `agent` and `key-id` follow. Incoming headers that start with it are removed.
        header_prefix: String = "x-auth-",
        /// Leave the credential on the request to the upstream.
        forward_credentials: bool = false,
    }
}

object! {
    /// Where audit events go and what is in them.
    pub struct AuditConfig {
        /// `filter_state`: the proxy's filter state, for the access log to print as one line of JSON.
        /// `log`: the proxy's own log. An empty list switches auditing off.
        sinks: Many<Sink>,
        /// Add the presented, unproven subject to `auth_fail` events.
        unproven_subject: bool = false,
        /// Add the peer's address.
        remote_addr: bool = true,
    }
}

choice! {
    /// One place that audit events go to.
    pub enum Sink = "filter_state or log" {
        /// The host's filter state.
        FilterState = "filter_state",
        /// The host's log.
        Log = "log",
    }
}

object! {
    /// Every bound.
    pub struct LimitsConfig {
        /// Bytes of a credential: 256 to 1048576. The proxy's own bound on request headers comes first (Envoy: 60 KiB in all).
        token_bytes: u64 = 32768,
        /// Bytes of a JWKS or discovery document: 256 to 16777216.
        jwks_bytes: u64 = 1048576,
        /// Keys of one set: 1 to 100000.
        jwks_keys: u64 = 1024,
        /// How long the last good key set serves on when it can't be refreshed: `0s` to `7d`.
        jwks_grace: Span = "1h",
        /// The least time between two fetches that an unknown `kid` may cause, per issuer: `1s` to `1h`.
        unknown_kid_interval: Span = "30s",
        /// Unknown `kid`s remembered per issuer: 1 to 1000000.
        unknown_kids: u64 = 1000,
        /// Verified tokens remembered per worker: 0 to 10000000.
        cached_tokens: u64 = 100000,
        /// Bytes that the remembered tokens may take together: 0 to 2147483648.
        cached_token_bytes: u64 = 104857600,
        /// Tokens remembered because they failed: 0 to 1000000.
        failed_tokens: u64 = 1000,
        /// How long a failed token is remembered: `0s` to `1m`.
        failed_token_ttl: Span = "5s",
        /// Wrong API keys from one address within a minute, per worker, before further ones are refused unread: 0 (no such bound) to
        /// 1000000. The right key still gets in from there.
        key_failures: u64 = 30,
        /// Addresses that such failures are counted for, per worker: 1 to 1000000.
        key_failure_sources: u64 = 10000,
        /// Bytes of one page of a key feed: 65536 to 67108864.
        feed_page_bytes: u64 = 8388608,
        /// Keys of one key feed, and agents: 1 to 10000000.
        feed_keys: u64 = 1000000,
        /// Uses of keys (a row for each key, agent and minute) that wait to be reported, per worker: 1 to 1000000.
        key_uses: u64 = 10000,
        /// Requests of one worker that wait for a callout at the same time: 1 to 1000000.
        waiting_requests: u64 = 10000,
        /// Answers of others (STS, verifiers, directories) remembered per worker: 16 to 10000000.
        lookups: u64 = 20000,
        /// Bytes that these may take together: 1048576 to 2147483648.
        lookup_bytes: u64 = 33554432,
        /// Questions to others that one worker has open at the same time: 1 to 100000.
        lookups_in_flight: u64 = 512,
    }
}
