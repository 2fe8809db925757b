//! What a proxy makes of a policy that is fine by itself: what can't work there is an error, what works less well a warning.

use super::error::{ConfigError, ConfigErrors, Problem};
use super::hazard::{Hazard, Warning};
use super::read::Path;
use crate::policy::{AuditSink, Host, Policy, ProviderKind, Spoofed};
use crate::url::is_dialable;

/// Octets that nginx surely takes in one parameter. It reads its configuration in blocks of 4,096 of them, and a parameter has to
/// fit into one with what stands before it on the line (`NGX_CONF_BUFFER`).
pub const INLINE_BYTES: usize = 4000;

/// Makes a policy fit for a proxy. Doing it twice changes nothing.
///
/// # Errors
///
/// What the proxy can't do.
pub fn fit(policy: &mut Policy, host: Host) -> Result<Vec<Warning>, ConfigErrors> {
    match host {
        Host::Envoy => Ok(Vec::new()),
        Host::Nginx => fit_nginx(policy),
    }
}

/// The proxy that a configuration says it is for, whatever else may be wrong with it.
pub fn host_of(text: &[u8]) -> Option<Host> {
    // All else is passed over and not kept: a million API keys as values would be more than the memory there is.
    #[derive(serde::Deserialize)]
    struct Said {
        host: String,
    }
    let said: Said = serde_json::from_str(std::str::from_utf8(text).ok()?).ok()?;
    Host::ALL
        .into_iter()
        .find(|host| host.as_str() == said.host)
}

fn fit_nginx(policy: &mut Policy) -> Result<Vec<Warning>, ConfigErrors> {
    let root = Path::ROOT;
    let mut errors = Vec::new();
    let callouts = root.key("callouts");
    let upstreams = callouts.key("upstreams");
    for (authority, upstream) in &policy.callouts.upstreams {
        // A port that is none traps in the host.
        if !is_dialable(upstream) {
            errors.push(ConfigError {
                path: upstreams.key(authority).to_string(),
                problem: Problem::BadUpstream,
            });
        }
    }
    if !errors.is_empty() {
        return Err(ConfigErrors(errors));
    }
    policy.identity.spoofed = Spoofed::Refused;
    let mut warnings = Vec::new();
    if policy.audit.sinks.contains(&AuditSink::Log) {
        warnings.push(Warning {
            path: root.key("audit").key("sinks").to_string(),
            hazard: Hazard::CutAuditLines,
        });
    }
    let auth = root.key("auth");
    let providers = auth.key("providers");
    for (i, provider) in policy.providers.iter().enumerate() {
        if matches!(provider.kind, ProviderKind::SigV4(_)) {
            warnings.push(Warning {
                path: providers.index(i).to_string(),
                hazard: Hazard::NoSignedBodies,
            });
        }
    }
    Ok(warnings)
}
