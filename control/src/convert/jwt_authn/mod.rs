//! From `envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication`.
//!
//! The two filters differ in what happens without a rule: there such a request passes, here it needs a credential. So rules that open
//! something are carried over only where this filter can say exactly the same (`skip`), and rules that close something always hold.

mod provider;
mod rules;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use self::provider::read_provider;
use self::rules::Rules;
use super::object::Object;
use super::{Converted, JwtArgs, Said};

const FILTER: &str =
    "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
const PER_ROUTE: &str =
    "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig";

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

fn one(filter: &Value, path: &str, args: &JwtArgs, mut said: Said) -> Converted {
    let mut object = Object::new(filter, path.to_owned(), &mut said);
    let named = object.take("requirement_map").and_then(Value::as_object);
    let mut rules = Rules::new(&args.agent_path);
    for (at, rule) in object.list("rules", &mut said) {
        rules.read(rule, at, named, &mut said);
    }
    let mut uses = rules.uses(object.at("rules"), &mut said);
    let mut config = Map::new();
    let mut providers = Vec::new();
    let mut upstreams = Map::new();
    let mut forward = BTreeSet::new();
    let at = object.at("providers");
    let all = object.take("providers").and_then(Value::as_object);
    for (name, provider) in all.into_iter().flatten() {
        let at = format!("{at}.{name}");
        let Some(wanted) = uses.remove(name) else {
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
    for name in uses.keys() {
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
    auth.insert("required".to_owned(), json!(!rules.optional()));
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
