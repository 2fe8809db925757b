//! One provider of `jwt_authn` as an `oidc` provider.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::super::object::Object;
use super::super::{JwtArgs, Said};
use super::rules::Use;

#[expect(
    clippy::too_many_arguments,
    reason = "one provider, and what all of them add to"
)]
pub fn read_provider(
    name: &str,
    value: &Value,
    path: String,
    wanted: Use,
    args: &JwtArgs,
    upstreams: &mut Map<String, Value>,
    forward: &mut BTreeSet<bool>,
    said: &mut Said,
) -> Option<Value> {
    let mut object = Object::new(value, path, said);
    let mut settings = Map::new();
    let issuer = object.text("issuer", said);
    match issuer {
        Some(issuer) => settings.insert("issuer".to_owned(), json!(issuer)),
        None => {
            said.lost(object.at("issuer"), "is not set: there any issuer does, here each provider has one. The provider is left out");
            return None;
        }
    };
    let mut audiences: Vec<Value> = object
        .list("audiences", said)
        .into_iter()
        .map(|(_, v)| v.clone())
        .collect();
    if !wanted.audiences.is_empty() {
        audiences = wanted.audiences;
    }
    if audiences.is_empty() {
        match &args.audience {
            Some(audience) => audiences.push(json!(audience)),
            None => {
                said.lost(object.at("audiences"), "is not set: there a token for anybody does, here it has to be for you. Say for whom with --audience. The provider is left out");
                return None;
            }
        }
    }
    settings.insert("audience".to_owned(), Value::Array(audiences));
    read_keys(&mut object, &mut settings, upstreams, said);
    let skew = object.take("clock_skew_seconds").map_or(Some(60), number);
    match skew {
        // 0 is "unset" there.
        Some(0) => settings.insert("clock_skew".to_owned(), json!("60s")),
        Some(seconds) => settings.insert("clock_skew".to_owned(), json!(format!("{seconds}s"))),
        None => {
            said.lost(object.at("clock_skew_seconds"), "is no whole number");
            None
        }
    };
    if let Some(subjects) = object.take("subjects") {
        match glob(subjects) {
            Some(glob) => {
                settings.insert("allowed_subjects".to_owned(), json!([glob]));
            }
            None => {
                said.lost(object.at("subjects"), "is no `exact`, `prefix`, `suffix` or `contains` that a glob can say. The provider is left out: without the list it would let in more");
                return None;
            }
        }
    }
    if !object.flag("require_expiration", said) {
        said.note(
            object.at("require_expiration"),
            "tokens without `exp` are refused here; `allow_missing_exp: true` lets them in",
        );
    }
    object.lose("max_lifetime", "how long a token was made for is not looked at here; `max_token_age` bounds how old it may be", said);
    forward.insert(object.flag("forward", said));
    let default_places = object.take("from_headers").is_none()
        & object.take("from_params").is_none()
        & object.take("from_cookies").is_none();
    if default_places {
        said.note(
            object.path.clone(),
            "a token in the query parameter `access_token` is not read here: URLs end up in logs",
        );
    } else {
        read_places(&mut object, said);
    }
    for key in [
        "forward_payload_header",
        "pad_forward_payload_header",
        "payload_in_metadata",
        "header_in_metadata",
        "failed_status_in_metadata",
        "normalize_payload_in_metadata",
        "claim_to_headers",
    ] {
        object.lose(key, "the agent is told who is calling in x-auth-user-id, x-auth-email, x-auth-org-id and x-auth-groups; `claim_map` says from which claims", said);
    }
    // Both are so here, without being asked.
    object.take("jwt_cache_config");
    object.take("clear_route_cache");
    object.end(said);
    let mut provider = Map::new();
    provider.insert("type".to_owned(), json!("oidc"));
    provider.insert("name".to_owned(), json!(name));
    if !wanted.everywhere {
        provider.insert("agents".to_owned(), json!(wanted.agents));
    }
    provider.insert("settings".to_owned(), Value::Object(settings));
    Some(Value::Object(provider))
}

/// Where tokens stand: `Authorization: Bearer` and nowhere else.
fn read_places(object: &mut Object<'_>, said: &mut Said) {
    for (at, header) in object.list("from_headers", said) {
        let mut header = Object::new(header, at, said);
        let name = header.text("name", said).unwrap_or_default();
        let prefix = header.text("value_prefix", said).unwrap_or_default();
        if !(name.eq_ignore_ascii_case("authorization") && prefix == "Bearer ") {
            said.lost(
                header.path.clone(),
                "bearer tokens are read from `Authorization: Bearer` alone",
            );
        }
        header.end(said);
    }
    object.lose(
        "from_params",
        "tokens in URLs are not read: URLs end up in logs",
        said,
    );
    object.lose(
        "from_cookies",
        "tokens in cookies are not read: browsers send them for anybody",
        said,
    );
}

fn read_keys(
    object: &mut Object<'_>,
    settings: &mut Map<String, Value>,
    upstreams: &mut Map<String, Value>,
    said: &mut Said,
) {
    if let Some(remote) = object.take("remote_jwks") {
        let mut remote = Object::new(remote, object.at("remote_jwks"), said);
        if let Some(uri) = remote.take("http_uri") {
            let mut uri = Object::new(uri, remote.at("http_uri"), said);
            let url = uri.text("uri", said).unwrap_or_default();
            settings.insert("jwks_url".to_owned(), json!(url));
            if let Some(cluster) = uri.text("cluster", said)
                && let Some(authority) = url
                    .split("//")
                    .nth(1)
                    .and_then(|rest| rest.split('/').next())
            {
                upstreams.insert(authority.to_owned(), json!(cluster));
            }
            if uri.take("timeout").is_some() {
                said.note(
                    uri.at("timeout"),
                    "one for all is here `callouts.timeout`, 5s unless set",
                );
            }
            uri.end(said);
        }
        // Their default; here it is an hour.
        let cache = remote
            .take("cache_duration")
            .map_or(Some("600s"), Value::as_str);
        match cache
            .and_then(|c| c.strip_suffix('s'))
            .and_then(|c| c.parse::<f64>().ok())
        {
            // Whole seconds are all that is said here.
            Some(seconds) => {
                settings.insert(
                    "jwks_cache_ttl".to_owned(),
                    json!(format!("{}s", seconds.ceil().max(1.0) as u64)),
                );
            }
            None => said.lost(remote.at("cache_duration"), "is no duration such as 300s"),
        }
        // Fetched ahead, refreshed and tried again without being asked.
        for key in ["async_fetch", "retry_policy"] {
            remote.take(key);
        }
        remote.end(said);
    }
    if let Some(local) = object.take("local_jwks") {
        let mut local = Object::new(local, object.at("local_jwks"), said);
        if let Some(text) = local.text("inline_string", said) {
            settings.insert("jwks".to_owned(), json!(text));
        }
        if let Some(file) = local.text("filename", said) {
            match std::fs::read_to_string(file) {
                Ok(text) => {
                    settings.insert("jwks".to_owned(), json!(text));
                    said.note(
                        local.at("filename"),
                        "its keys stand in the configuration now: the file is read no more",
                    );
                }
                Err(error) => {
                    said.lost(local.at("filename"), format!("can't be read here: {error}"))
                }
            }
        }
        for key in ["inline_bytes", "environment_variable", "watched_directory"] {
            local.lose(key, "keys are text here: `jwks`, or `jwks_url`", said);
        }
        local.end(said);
    }
}

/// A `StringMatcher` as a glob that matches no more than it does.
fn glob(matcher: &Value) -> Option<String> {
    let object = matcher.as_object()?;
    let mut keys = object.iter().filter(|(k, v)| {
        !(matches!(k.as_str(), "ignore_case" | "ignoreCase") && **v == Value::Bool(false))
    });
    let (Some((kind, text)), None) = (keys.next(), keys.next()) else {
        return None;
    };
    let text = escaped(text.as_str()?);
    match kind.as_str() {
        "exact" => Some(text),
        // `*` does not cross `/`: a part of what it would match, and never more.
        "prefix" => Some(format!("{text}*")),
        "suffix" => Some(format!("*{text}")),
        "contains" => Some(format!("*{text}*")),
        _ => None,
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A number; protobuf's JSON may have it as text.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
