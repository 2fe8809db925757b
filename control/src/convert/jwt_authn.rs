//! From `envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication`.
//!
//! The two filters differ in what happens without a rule: there such a request passes, here it needs a credential. So rules that open
//! something are carried over only where this filter can say exactly the same (`skip`), and rules that close something always hold.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::object::Object;
use super::{Converted, JwtArgs, Said};

const FILTER: &str =
    "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
const PER_ROUTE: &str =
    "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig";
/// For an open path without a method.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Converts the only filter of a file.
///
/// # Errors
/// When there is none, or more than one.
pub fn convert(file: &Value, args: &JwtArgs) -> Result<Converted, String> {
    let mut said = Said::default();
    let mut filters = Vec::new();
    if file.get("@type").is_none() && file.get("providers").is_some_and(Value::is_object) {
        filters.push((String::new(), file));
    } else {
        find(file, &mut String::new(), &mut filters, &mut said);
    }
    match filters.as_slice() {
        [] => Err(
            "has no filter of type envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
                .to_owned(),
        ),
        [(path, filter)] => Ok(one(filter, path, args, said)),
        several => {
            let paths: Vec<&str> = several.iter().map(|(path, _)| path.as_str()).collect();
            Err(format!(
                "has several filters, each of which becomes a configuration of its own: give one of them alone ({})",
                paths.join(", ")
            ))
        }
    }
}

fn find<'v>(
    value: &'v Value,
    path: &mut String,
    filters: &mut Vec<(String, &'v Value)>,
    said: &mut Said,
) {
    let length = path.len();
    match value {
        Value::Object(object) => {
            match object.get("@type").and_then(Value::as_str) {
                Some(FILTER) => return filters.push((path.clone(), value)),
                Some(PER_ROUTE) => {
                    return said.lost(path.clone(), "requirements of single routes: there are none here; providers can be bound to agents (`agents`)");
                }
                _ => {}
            }
            for (key, value) in object {
                if length > 0 {
                    path.push('.');
                }
                path.push_str(key);
                find(value, path, filters, said);
                path.truncate(length);
            }
        }
        Value::Array(items) => {
            for (i, value) in items.iter().enumerate() {
                path.push_str(&format!("[{i}]"));
                find(value, path, filters, said);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// What the rules ask of a provider.
#[derive(Debug, Default)]
struct Use {
    /// For requests to any path.
    everywhere: bool,
    /// Or only to these agents.
    agents: BTreeSet<String>,
    audiences: Vec<Value>,
}

/// What the rules come to.
#[derive(Debug, Default)]
struct Rules {
    /// By provider.
    uses: BTreeMap<String, Use>,
    skip: Vec<String>,
    optional: bool,
    /// Whether a rule is for every path.
    complete: bool,
}

fn one(filter: &Value, path: &str, args: &JwtArgs, mut said: Said) -> Converted {
    let mut object = Object::new(filter, path.to_owned(), &mut said);
    let named = object.take("requirement_map").and_then(Value::as_object);
    let mut rules = Rules::default();
    for (at, rule) in object.list("rules", &mut said) {
        if rules.complete {
            said.note(
                at,
                "comes after a rule for every path, and is never reached",
            );
            continue;
        }
        read_rule(rule, at, named, args, &mut rules, &mut said);
    }
    if !rules.complete {
        said.note(
            object.at("rules"),
            "requests that no rule matches pass without a token there; here they need a credential. `skip` opens single paths",
        );
    }
    let mut config = Map::new();
    let mut providers = Vec::new();
    let mut upstreams = Map::new();
    let mut forward = BTreeSet::new();
    let at = object.at("providers");
    let all = object.take("providers").and_then(Value::as_object);
    for (name, provider) in all.into_iter().flatten() {
        let at = format!("{at}.{name}");
        let Some(wanted) = rules.uses.remove(name) else {
            said.note(at, "no rule that is carried over asks for it, so it is left out: here every provider lets its callers in");
            continue;
        };
        if let Some(provider) = read_provider(
            name,
            provider,
            at,
            wanted,
            args,
            &mut upstreams,
            &mut forward,
            &mut said,
        ) {
            providers.push(provider);
        }
    }
    for name in rules.uses.keys() {
        said.lost(
            object.at("rules"),
            format!("a rule asks for the provider `{name}`, which there is not"),
        );
    }
    if object.flag("bypass_cors_preflight", &mut said) {
        said.lost(
            object.at("bypass_cors_preflight"),
            "put Envoy's cors filter before this one: it answers preflights by itself",
        );
    }
    object.lose(
        "filter_state_rules",
        "requirements by filter state: there are none here",
        &mut said,
    );
    // The caller is never told more than that here.
    object.take("strip_failure_response");
    if object.take("stat_prefix").is_some() {
        said.note(
            object.at("stat_prefix"),
            "counters are named by provider here (docs/metrics.md)",
        );
    }
    object.end(&mut said);
    let mut auth = Map::new();
    auth.insert("required".to_owned(), json!(!rules.optional));
    auth.insert("providers".to_owned(), Value::Array(providers));
    if !rules.skip.is_empty() {
        auth.insert("skip".to_owned(), json!(rules.skip));
    }
    config.insert("auth".to_owned(), Value::Object(auth));
    config.insert("agent".to_owned(), json!({"path": args.agent_path}));
    if !upstreams.is_empty() {
        config.insert("callouts".to_owned(), json!({"upstreams": upstreams}));
    }
    if forward.contains(&true) {
        if forward.contains(&false) {
            said.lost(at, "`forward` differs between providers: here it is one setting, and the token is removed");
        } else {
            config.insert("identity".to_owned(), json!({"forward_credentials": true}));
        }
    }
    Converted {
        config: Value::Object(config),
        lost: said.lost,
        notes: said.notes,
    }
}

fn read_rule(
    rule: &Value,
    path: String,
    named: Option<&Map<String, Value>>,
    args: &JwtArgs,
    rules: &mut Rules,
    said: &mut Said,
) {
    let mut object = Object::new(rule, path, said);
    let place = match object.take("match") {
        Some(value) => read_match(value, object.at("match"), args, said),
        None => {
            said.lost(object.path.clone(), "has no `match`");
            return;
        }
    };
    let requirement = match (
        object.take("requires"),
        object.text("requirement_name", said),
    ) {
        (Some(value), _) => Some((object.at("requires"), value)),
        (None, Some(name)) => match named.and_then(|n| n.get(name)) {
            Some(value) => Some((format!("requirement_map.{name}"), value)),
            None => return said.lost(object.at("requirement_name"), "is not in requirement_map"),
        },
        (None, None) => None,
    };
    match (place, requirement) {
        (None, _) => {}
        (Some(Place::Everywhere), None) => {
            rules.complete = true;
            said.lost(
                object.path.clone(),
                "lets everybody in everywhere; here no rule can",
            );
        }
        (Some(Place::Exact { path, method }), None) => match method {
            Some(method) => rules.skip.push(format!("{method} {path}")),
            None => rules
                .skip
                .extend(METHODS.iter().map(|m| format!("{m} {path}"))),
        },
        (Some(Place::Agent(_)), None) => {
            said.lost(
                object.path.clone(),
                "opens all that begins so; here `skip` opens single paths, each with its method",
            );
        }
        (Some(Place::Exact { .. }), Some((at, _))) => {
            said.lost(
                at,
                "requirements of one path: here providers are bound to agents, not to paths",
            );
        }
        (Some(Place::Everywhere), Some((at, value))) => {
            rules.complete = true;
            read_requirement(value, at, None, rules, said);
        }
        (Some(Place::Agent(agent)), Some((at, value))) => {
            read_requirement(value, at, Some(&agent), rules, said);
        }
    }
    object.end(said);
}

/// Where a rule is for.
enum Place {
    Everywhere,
    Exact {
        path: String,
        method: Option<String>,
    },
    Agent(String),
}

/// None, and said, where it is for what this filter can't tell apart.
fn read_match(value: &Value, path: String, args: &JwtArgs, said: &mut Said) -> Option<Place> {
    let mut object = Object::new(value, path, said);
    let (before, after) = args
        .agent_path
        .split_once("{agent}")
        .unwrap_or((&args.agent_path, ""));
    let agent = |text: &str| {
        let name = text.strip_prefix(before)?;
        (after.is_empty() && !name.is_empty() && !name.contains('/')).then(|| name.to_owned())
    };
    let mut place = None;
    if let Some(prefix) = object.text("prefix", said) {
        place = match prefix.strip_suffix('/') {
            Some("") => Some(Place::Everywhere),
            Some(prefix) => agent(prefix).map(Place::Agent),
            None => None,
        };
    }
    if let Some(prefix) = object.text("path_separated_prefix", said) {
        place = agent(prefix).map(Place::Agent);
    }
    if let Some(path) = object.text("path", said) {
        place = Some(Place::Exact {
            path: path.to_owned(),
            method: None,
        });
    }
    let mut fits = place.is_some();
    for (at, header) in object.list("headers", said) {
        let mut header = Object::new(header, at, said);
        let name = header.text("name", said);
        let exact = match header.take("string_match") {
            Some(matcher) => matcher.get("exact").and_then(Value::as_str),
            None => header.text("exact_match", said),
        };
        match (name, exact, &mut place) {
            (Some(":method"), Some(is), Some(Place::Exact { method, .. })) => {
                *method = Some(is.to_owned())
            }
            _ => fits = false,
        }
        header.end(said);
    }
    // Whatever else narrows it makes it another place.
    for key in [
        "case_sensitive",
        "query_parameters",
        "grpc",
        "dynamic_metadata",
        "filter_state",
        "runtime_fraction",
        "tls_context",
        "safe_regex",
        "connect_matcher",
        "path_match_policy",
        "cookies",
    ] {
        if object.take(key).is_some() {
            fits = false;
        }
    }
    let at = object.path.clone();
    object.end(said);
    if !fits {
        said.lost(
            at,
            format!("can't be told apart here: a rule is for every path (prefix /), for one exact path, or for one agent ({before}NAME/)"),
        );
        return None;
    }
    place
}

fn read_requirement(
    value: &Value,
    path: String,
    agent: Option<&str>,
    rules: &mut Rules,
    said: &mut Said,
) {
    let mut object = Object::new(value, path, said);
    if let Some(name) = object.text("provider_name", said) {
        add(rules, name, agent, Vec::new());
    }
    if let Some(value) = object.take("provider_and_audiences") {
        let mut pair = Object::new(value, object.at("provider_and_audiences"), said);
        let audiences = pair
            .list("audiences", said)
            .into_iter()
            .map(|(_, v)| v.clone())
            .collect();
        if let Some(name) = pair.text("provider_name", said) {
            add(rules, name, agent, audiences);
        }
        pair.end(said);
    }
    if let Some(value) = object.take("requires_any") {
        let mut any = Object::new(value, object.at("requires_any"), said);
        for (at, requirement) in any.list("requirements", said) {
            read_requirement(requirement, at, agent, rules, said);
        }
        any.end(said);
    }
    if object.take("allow_missing").is_some() {
        match agent {
            None => rules.optional = true,
            Some(_) => said.lost(
                object.at("allow_missing"),
                "for one agent alone: here it is one setting for all (`auth.required`)",
            ),
        }
    }
    object.lose(
        "allow_missing_or_failed",
        "lets bad tokens through; here a bad credential is refused, whoever may come without",
        said,
    );
    object.lose(
        "requires_all",
        "several tokens on one request: here one decides",
        said,
    );
    object.lose(
        "extract_only_without_validation",
        "believes what nobody has verified",
        said,
    );
    object.end(said);
}

fn add(rules: &mut Rules, name: &str, agent: Option<&str>, audiences: Vec<Value>) {
    let wanted = rules.uses.entry(name.to_owned()).or_default();
    match agent {
        None => wanted.everywhere = true,
        Some(agent) => {
            wanted.agents.insert(agent.to_owned());
        }
    }
    wanted.audiences.extend(audiences);
}

#[expect(
    clippy::too_many_arguments,
    reason = "one provider, and what all of them add to"
)]
fn read_provider(
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
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a duration is never negative, and ends at u64's end"
            )]
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
