//! From Forge: its `auth` block has the shape of ours, so most of this is about what stands around it.

use serde_json::{Value, json};

use super::object::Object;
use super::{Converted, Said};

/// Converts a `forge.yaml`.
///
/// # Errors
/// When it is none.
pub fn convert(file: &Value) -> Result<Converted, String> {
    let mut said = Said::default();
    let mut forge = Object::new(file, String::new(), &mut said);
    let Some(auth) = forge.take("auth") else {
        return Err("has no `auth` block".to_owned());
    };
    let mut config = json!({"auth": auth});
    if auth.get("required").is_none()
        && let Some(auth) = config.get_mut("auth").and_then(Value::as_object_mut)
    {
        auth.insert("required".to_owned(), json!(true));
        said.note(
            "auth.required",
            "is true here; Forge's own default, false, lets requests without a credential through",
        );
    }
    if let Some(agent) = forge.text("agent_id", &mut said) {
        said.note(
            "agent_id",
            "becomes agent.fixed: this proxy stands before one agent; `agent.path` is for many",
        );
        if let Some(config) = config.as_object_mut() {
            config.insert("agent".to_owned(), json!({"fixed": agent}));
        }
    }
    let hosts = hosts(auth);
    if !hosts.is_empty() {
        said.note(
            "auth.providers",
            format!("Envoy needs a cluster for each of {}, and `callouts.upstreams` its name (the host itself unless set)", hosts.join(", ")),
        );
    }
    // `version` says which Forge reads the file.
    forge.take("version");
    let rest = file.as_object().into_iter().flat_map(serde_json::Map::keys);
    for key in rest.filter(|k| !matches!(k.as_str(), "auth" | "agent_id" | "version")) {
        forge.take(key);
        said.note(
            key,
            "is about the agent and not about who may call it: it stays with Forge",
        );
    }
    forge.end(&mut said);
    Ok(Converted {
        config,
        lost: said.lost,
        notes: said.notes,
    })
}

/// Whom the providers ask, as far as the file says.
fn hosts(auth: &Value) -> Vec<String> {
    let providers = auth.get("providers").and_then(Value::as_array);
    let mut hosts: Vec<String> = providers
        .into_iter()
        .flatten()
        .filter_map(|p| {
            let settings = p.get("settings")?;
            let url = ["issuer", "url", "jwks_url"]
                .iter()
                .find_map(|k| settings.get(*k)?.as_str())?;
            Some(url.split("//").nth(1)?.split('/').next()?.to_owned())
        })
        .collect();
    hosts.sort();
    hosts.dedup();
    hosts
}
