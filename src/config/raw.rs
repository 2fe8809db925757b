//! The configuration as it is written. Nothing here is checked beyond its type; the shape a
//! request is judged by is [`crate::policy::Policy`].
//!
//! The documentation comments are what `docs/configuration.md` and the JSON Schema say.

use std::collections::BTreeMap;

use serde_json::Value;

use super::agent::{AgentConfig, AgentFactsConfig};
use super::crypto::CryptoConfig;
use super::error::Problem;
use super::limits::LimitsConfig;
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
