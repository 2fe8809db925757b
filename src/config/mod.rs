//! The configuration: bytes become a [`Config`] as written, which compiles to a
//! [`Policy`].
//!
//! 1. `json` reads strict JSON; a key that stands twice is an error.
//! 2. `read` turns it into the types of `raw`; an unknown key or another
//!    type of value is an error.
//! 3. `compile` checks what it means and makes the policy.
//!
//! All three report everything they find, each with its path, and a configuration with one error
//! is refused as a whole. What is legal but dangerous comes back as [`Warning`]s.

mod agent;
mod compile;
mod crypto;
mod error;
mod hazard;
mod host;
mod json;
mod key_records;
mod key_set;
mod limits;
mod merge;
mod provider;
mod raw;
mod read;
mod resource_metadata;
#[cfg(feature = "schema")]
mod schema;

use sha2::{Digest, Sha256};

pub use self::agent::{AgentConfig, AgentFactsConfig};
pub use self::crypto::{Backend, CryptoConfig, Es256Backend};
pub use self::error::{ConfigError, ConfigErrors, Problem, TemplateProblem};
pub use self::hazard::{Hazard, Warning};
pub use self::host::{INLINE_BYTES, fit, host_of};
pub use self::key_records::{Expiry, KeyList, KeyRateLimit, KeyRecord, KeyScope, Seconds};
pub(crate) use self::key_records::{read_agent, read_record};
pub use self::limits::LimitsConfig;
pub use self::merge::merge;
pub use self::provider::{
    AccessKeyConfig, ApiKeySettings, Authority, AzureAdSettings, ClaimMapConfig, FeedSettings,
    GcpIapSettings, GithubActionsSettings, GroupsMode, Ids, Jwks, KeyUseSetting, OFFERED,
    OidcSettings, Settings, SigV4Settings, StaticIdentity, StaticTokenSettings, TokenType,
    UnsignedPayload,
};
pub use self::raw::{
    AuditConfig, AuthConfig, CalloutConfig, Config, HostChoice, IdentityConfig, ProviderConfig,
    Sink, UnavailableStatus,
};
use self::read::{Errors, Path, Read};
pub use self::read::{Many, Secret, Span};
pub use self::resource_metadata::{BearerMethod, ResourceMetadataConfig};
#[cfg(feature = "schema")]
pub use self::schema::{markdown, schema};
use crate::policy::Policy;

/// Reads and compiles a plugin configuration: what the filter and `portcullis check` do.
///
/// `text` is JSON. `env` looks up environment variables (`token_env`).
///
/// # Errors
///
/// Everything that is wrong with it, in the words users see; secrets are never quoted.
///
/// ```
/// use portcullis_core::config;
///
/// let text = br#"{"auth": {"providers": [{"type": "oidc", "settings": {
///     "issuer": "https://accounts.google.com", "audiance": "api://agents"
/// }}]}}"#;
/// let errors = config::load(text, &|_variable| None).unwrap_err().to_string();
/// assert!(errors.contains("auth.providers[0].settings.audiance: unknown key; did you mean `audience`?"), "{errors}");
/// ```
pub fn load(
    text: &[u8],
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(Policy, Vec<Warning>), ConfigErrors> {
    let mut errors = Errors::default();
    match read(text, &mut errors) {
        // Compiled in spite of errors: an operator wants to see those of the second kind too.
        Some(config) => compile::compile(&config, &version(text), env, errors),
        None => Err(ConfigErrors(errors.into_vec())),
    }
}

/// Reads a configuration as it is written.
///
/// # Errors
///
/// Everything that has another shape than [`Config`].
pub fn parse(text: &[u8]) -> Result<Config, ConfigErrors> {
    let mut errors = Errors::default();
    match read(text, &mut errors) {
        Some(config) if errors.is_empty() => Ok(config),
        _ => Err(ConfigErrors(errors.into_vec())),
    }
}

/// Compiles a configuration; `version` becomes [`Policy::version`].
///
/// # Errors
///
/// Everything that makes no sense in it.
pub fn compile(
    config: &Config,
    version: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(Policy, Vec<Warning>), ConfigErrors> {
    compile::compile(config, version, env, Errors::default())
}

/// Reads a list of key records as it stands in a configuration's `keys`: JSON text.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn load_keys(text: &str) -> Result<std::rc::Rc<crate::apikey::KeyTable>, ConfigErrors> {
    let mut errors = Errors::default();
    let text = serde_json::Value::String(text.to_owned());
    match KeyList::read(&text, &Path::ROOT.key("keys"), &mut errors) {
        Some(list) if errors.is_empty() => Ok(list.table),
        _ => Err(ConfigErrors(errors.into_vec())),
    }
}

/// The first 12 hexadecimal digits of the text's SHA-256.
pub fn version(text: &[u8]) -> String {
    let digest = Sha256::digest(text);
    digest
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn read(text: &[u8], errors: &mut Errors) -> Option<Config> {
    let value = json::parse(text, errors)?;
    Config::read(&value, &Path::ROOT, errors)
}
