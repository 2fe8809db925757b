//! What a configuration says and what it is refused for: every message word for word, because
//! users see the same words in the proxy's log and from `portcullis check`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod api_keys;
mod aws_sigv4;
mod azure_ad;
mod gcp_iap;
mod github_actions;
mod hosts;
mod http_verifier;
mod resource_metadata;
mod sigv4;

#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use std::time::Duration;

use portcullis_core::config::{self, ConfigErrors, Warning};
use portcullis_core::jose::Algorithm;
use portcullis_core::policy::{
    AgentResolver, AuditSink, ClaimPath, KeyOrigin, OidcPolicy, Policy, ProviderKind,
};
use serde_json::{Value, json};

const TOKEN: &str = "0123456789abcdef-secret";

fn env(name: &str) -> Option<String> {
    match name {
        "TOKEN" => Some(TOKEN.to_owned()),
        "EMPTY" => Some(String::new()),
        "SPACED" => Some("a token with spaces in it".to_owned()),
        _ => None,
    }
}

fn load(config: &Value) -> Result<(Policy, Vec<Warning>), ConfigErrors> {
    config::load(config.to_string().as_bytes(), &env)
}

/// The lines of the refusal.
fn errors(config: &Value) -> Vec<String> {
    match load(config) {
        Ok(_) => panic!("was accepted: {config}"),
        Err(errors) => errors.to_string().lines().map(str::to_owned).collect(),
    }
}

fn warnings(config: &Value) -> Vec<String> {
    let (_, warnings) = load(config).unwrap_or_else(|e| panic!("{e}"));
    warnings.iter().map(Warning::to_string).collect()
}

fn policy(config: &Value) -> Policy {
    load(config).unwrap_or_else(|e| panic!("{e}")).0
}

/// A configuration with one `oidc` provider of these settings.
fn oidc(settings: Value) -> Value {
    let mut all = json!({"issuer": "https://issuer.example", "audience": "api://agents"});
    for (key, value) in settings.as_object().unwrap() {
        all[key] = value.clone();
    }
    json!({"auth": {"providers": [{"type": "oidc", "settings": all}]}})
}

fn static_token(settings: Value) -> Value {
    let mut all = json!({"identity": {"user_id": "ci"}});
    for (key, value) in settings.as_object().unwrap() {
        all[key] = value.clone();
    }
    json!({"auth": {"providers": [{"type": "static_token", "settings": all}]}})
}

/// A good configuration with one more top-level key.
fn with(key: &str, value: Value) -> Value {
    let mut config = oidc(json!({}));
    config[key] = value;
    config
}

fn with_auth(key: &str, value: Value) -> Value {
    let mut config = oidc(json!({}));
    config["auth"][key] = value;
    config
}

fn oidc_policy(policy: &Policy) -> &OidcPolicy {
    match &policy.providers[0].kind {
        ProviderKind::Oidc(oidc) => oidc,
        other => panic!("{other:?}"),
    }
}

const SETTINGS: &str = "auth.providers[0].settings";

// --- the document ---

#[test]
fn a_text_that_is_no_configuration() {
    let error = |text: &str| config::load(text.as_bytes(), &env).unwrap_err().to_string();
    assert_eq!(
        error(""),
        "configuration: is empty; give the plugin a configuration with an `auth` block"
    );
    assert_eq!(error(" \n"), error(""));
    assert_eq!(
        error("{\n  \"auth\": nope}"),
        "configuration: is not JSON from line 2, column 12 on"
    );
    assert_eq!(
        error("{} {}"),
        "configuration: is not JSON from line 1, column 4 on"
    );
    assert_eq!(error("[]"), "configuration: must be a map, not a list");
    assert_eq!(error("{}"), "auth: is required");
    assert_eq!(
        error(&"[".repeat(10_000)),
        "configuration: is nested too deeply"
    );
}

#[test]
fn a_syntax_error_does_not_quote_what_it_stumbled_over() {
    let text = format!("{{\"auth\": {TOKEN}}}");
    let error = config::load(text.as_bytes(), &env).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(TOKEN));
}

#[test]
fn a_key_that_stands_twice() {
    let text = r#"{"auth": {"providers": [{"type": "oidc", "settings": {
        "issuer": "https://issuer.example", "audience": "a",
        "allowed_subjects": ["x"], "allowed_subjects": []}}]},
        "limits": {}, "limits": {}}"#;
    let errors = config::load(text.as_bytes(), &env).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "auth.providers[0].settings.allowed_subjects: stands twice; keep one\n\
         limits: stands twice; keep one"
    );
}

#[test]
fn every_error_is_reported_at_once() {
    let config = json!({
        "auth": {
            "providers": [
                {"type": "oidc", "name": "a", "settings": {"isuer": "https://issuer.example", "audience": 5}},
                {"type": "oidc", "name": "a", "settings": {
                    "issuer": "ftp://issuer.example", "audience": [], "clock_skew": "1 s",
                    "allowed_subjects": ["fine", "[", "\\"],
                }},
                {"type": "static_token", "settings": {"token_env": "NOT_SET"}},
            ],
            "skip": ["GET /../x"],
        },
        "agnet": {"fixed": "orders"},
        "limits": {"token_bytes": "many"},
    });
    let mut found = errors(&config);
    found.sort();
    let mut expected = vec![
        "agnet: unknown key; did you mean `agent`?",
        "auth.providers[0].settings.audience: must be a string or a list of strings, not a number",
        "auth.providers[0].settings.issuer: is required",
        "auth.providers[0].settings.isuer: unknown key; did you mean `issuer`?",
        "auth.providers[1].name: is taken by auth.providers[0].name; names must be unique",
        "auth.providers[1].settings.allowed_subjects[1]: is not a glob: `[` without its `]`; write `\\[` for the character itself",
        "auth.providers[1].settings.allowed_subjects[2]: is not a glob: a `\\` with nothing behind it; write `\\\\` for the character itself",
        "auth.providers[1].settings.audience: must not be empty; add an entry or leave the key out",
        "auth.providers[1].settings.clock_skew: is not a duration; write it like `30s`, `15m`, `1h30m` or `500ms`",
        "auth.providers[1].settings.issuer: is not an absolute URL that can be called: it must start with https:// (or http://)",
        "auth.providers[2].settings.identity: is required",
        "auth.providers[2].settings.token_env[0]: the environment variable `NOT_SET` is not set, or empty",
        "auth.skip[0]: is not a canonical path, so it could match no request; write it without percent-encoding, `//`, `.` and `..` segments, `;` and query",
        "limits.token_bytes: must be a whole number, not a string",
    ];
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn the_same_text_has_the_same_version() {
    let text = oidc(json!({})).to_string();
    let (policy, _) = config::load(text.as_bytes(), &env).unwrap();
    assert_eq!(policy.version.len(), 12);
    assert_eq!(&*policy.version, config::version(text.as_bytes()));
    // printf %s '' | sha256sum
    assert_eq!(config::version(b""), "e3b0c44298fc");
}

// --- keys and types, everywhere ---

#[test]
fn unknown_keys() {
    let table = [
        (
            with("x", json!(1)),
            "x: unknown key; known here: auth, agent, agents, callouts, identity, audit, crypto, limits, host",
        ),
        (
            with("Audit", json!({})),
            "Audit: unknown key; did you mean `audit`?",
        ),
        (
            with_auth("provider", json!([])),
            "auth.provider: unknown key; did you mean `providers`?",
        ),
        (
            with_auth("requierd", json!(true)),
            "auth.requierd: unknown key; did you mean `required`?",
        ),
        (
            oidc(json!({"allowed_subject": ["x"]})),
            "auth.providers[0].settings.allowed_subject: unknown key; did you mean `allowed_subjects`?",
        ),
        (
            oidc(json!({"allowedSubjects": ["x"]})),
            "auth.providers[0].settings.allowedSubjects: unknown key; did you mean `allowed_subjects`?",
        ),
        (
            oidc(json!({"claim_map": {"userid": "sub"}})),
            "auth.providers[0].settings.claim_map.userid: unknown key; did you mean `user_id`?",
        ),
        (
            static_token(json!({"token_sha265": "x", "token_env": "TOKEN"})),
            "auth.providers[0].settings.token_sha265: unknown key; did you mean `token_sha256`?",
        ),
        (
            with("agent", json!({"fixed": "a", "hots": "x"})),
            "agent.hots: unknown key; did you mean `host`?",
        ),
        (
            with("callouts", json!({"timeuot": "1s"})),
            "callouts.timeuot: unknown key; did you mean `timeout`?",
        ),
        (
            with("identity", json!({"forward_credential": true})),
            "identity.forward_credential: unknown key; did you mean `forward_credentials`?",
        ),
        (
            with("audit", json!({"sink": []})),
            "audit.sink: unknown key; did you mean `sinks`?",
        ),
    ];
    for (config, expected) in table {
        assert_eq!(errors(&config), [expected]);
    }
    // A key that would read like a path is quoted.
    let lines = errors(&with("limits", json!({"a.b": 1})));
    assert!(
        lines[0].starts_with("limits[\"a.b\"]: unknown key; known here: token_bytes, jwks_bytes, "),
        "{lines:?}"
    );
}

#[test]
fn a_key_without_a_value_is_not_a_default() {
    // In YAML, `allowed_subjects:` with its list forgotten.
    assert_eq!(
        errors(&oidc(json!({"allowed_subjects": null}))),
        [
            "auth.providers[0].settings.allowed_subjects: has no value; write a string or a list of strings, or leave the key out"
        ]
    );
    assert_eq!(
        errors(&with("agent", Value::Null)),
        ["agent: has no value; write a map, or leave the key out"]
    );
}

#[test]
fn types() {
    let table = [
        (
            with_auth("required", json!("yes")),
            "auth.required: must be true or false, not a string",
        ),
        (
            with_auth("providers", json!({})),
            "auth.providers: must be a list, not a map",
        ),
        (
            with_auth("providers", json!(["oidc"])),
            "auth.providers[0]: must be a map with `type` and `settings`, not a string",
        ),
        (
            with_auth("skip", json!([1])),
            "auth.skip[0]: must be a string, not a number",
        ),
        (
            with("limits", json!({"jwks_grace": 30})),
            "limits.jwks_grace: must be a duration such as 30s, not a number",
        ),
        (
            with("limits", json!({"jwks_keys": 1.5})),
            "limits.jwks_keys: must be a whole number, not a fraction or a negative number",
        ),
        (
            with("limits", json!({"jwks_keys": -1})),
            "limits.jwks_keys: must be a whole number, not a fraction or a negative number",
        ),
        (
            with("callouts", json!({"upstreams": ["a"]})),
            "callouts.upstreams: must be a map, not a list",
        ),
    ];
    for (config, expected) in table {
        assert_eq!(errors(&config), [expected]);
    }
    // Envoy's Struct has only doubles.
    let policy = policy(&with("limits", json!({"token_bytes": 2048.0})));
    assert_eq!(policy.limits.token_bytes, 2048);
}

// --- auth ---

#[test]
fn the_defaults() {
    let policy = policy(&oidc(json!({})));
    assert!(policy.required);
    assert_eq!(policy.unavailable_status, 503);
    assert!(policy.skip.is_empty());
    assert!(matches!(policy.agent, AgentResolver::None));
    assert_eq!(policy.callouts.timeout, Duration::from_secs(5));
    assert_eq!(policy.callouts.upstream("issuer.example"), "issuer.example");
    assert_eq!(policy.identity.header_prefix, "x-auth-");
    assert!(!policy.identity.forward_credentials);
    assert_eq!(policy.audit.sinks, [AuditSink::FilterState]);
    assert!(!policy.audit.unproven_subject && policy.audit.remote_addr);
    assert_eq!(policy.limits, portcullis_core::limits::Limits::default());
    assert_eq!(&*policy.providers[0].name, "oidc");
    assert!(policy.providers[0].agents.is_none());
    let oidc = oidc_policy(&policy);
    assert_eq!(oidc.jwks_cache_ttl, Duration::from_secs(3600));
    assert_eq!(oidc.clock_skew, Duration::from_secs(30));
    assert_eq!(oidc.claim_map.user_id, ClaimPath::Name("sub".into()));
    assert_eq!(oidc.claim_map.groups, ClaimPath::Name("groups".into()));
    assert!(oidc.allowed_subjects.is_none() && oidc.required_claims.is_empty());
    assert!(
        !oidc.require_email_verified && !oidc.allow_missing_exp && oidc.max_token_age.is_none()
    );
    let KeyOrigin::Remote(keys) = &oidc.keys else {
        panic!()
    };
    assert_eq!(
        keys.discovery.as_ref().unwrap().to_string(),
        "https://issuer.example/.well-known/openid-configuration"
    );
    assert!(keys.jwks.is_none());
}

#[test]
fn providers() {
    let table = [
        (
            json!({"providers": []}),
            "auth.providers: must not be empty; add an entry or leave the key out",
        ),
        (json!({}), "auth.providers: is required"),
        (
            json!({"providers": [{"settings": {}}]}),
            "auth.providers[0].type: is required",
        ),
        (
            json!({"providers": [{"type": "kerberos", "settings": {"region": "eu-west-1"}}]}),
            "auth.providers[0].type: this version does not offer the provider type `kerberos`; it offers oidc, static_token, aws_sigv4, sigv4, azure_ad, gcp_iap, github_actions, api_key, http_verifier",
        ),
        (
            json!({"providers": [{"type": "static-tokens", "settings": {}}]}),
            "auth.providers[0].type: this version does not offer the provider type `static-tokens`; did you mean `static_token`?",
        ),
    ];
    for (auth, expected) in table {
        assert_eq!(errors(&json!({"auth": auth})), [expected]);
    }
    assert_eq!(
        errors(&json!({"auth": {"providers": [{"type": "oidc"}]}})),
        [
            format!("{SETTINGS}.issuer: is required"),
            format!("{SETTINGS}.audience: is required")
        ]
    );
}

#[test]
fn names() {
    let provider = |name: Option<&str>| {
        let mut p =
            json!({"type": "oidc", "settings": {"issuer": "https://i.example", "audience": "a"}});
        if let Some(name) = name {
            p["name"] = json!(name);
        }
        p
    };
    let chain = |names: &[Option<&str>]| {
        let providers: Vec<Value> = names.iter().map(|n| provider(*n)).collect();
        json!({"auth": {"providers": providers}})
    };
    let named = |names: &[Option<&str>]| -> Vec<String> {
        let policy = policy(&chain(names));
        policy
            .providers
            .iter()
            .map(|p| p.name.to_string())
            .collect()
    };
    assert_eq!(
        named(&[None, None, Some("x"), None]),
        ["oidc", "oidc-2", "x", "oidc-3"]
    );
    assert_eq!(
        named(&[None, Some("oidc"), None, Some("oidc-3")]),
        ["oidc-2", "oidc", "oidc-4", "oidc-3"]
    );
    assert_eq!(
        errors(&chain(&[Some("a"), Some("a")])),
        ["auth.providers[1].name: is taken by auth.providers[0].name; names must be unique"]
    );
    for bad in ["a b", "é", "a.b", &"a".repeat(65)] {
        assert_eq!(
            errors(&chain(&[Some(bad)])),
            ["auth.providers[0].name: must be 1 to 64 letters, digits, `_` or `-`"]
        );
    }
}

#[test]
fn agents_of_a_provider() {
    let mut config = oidc(json!({}));
    config["auth"]["providers"][0]["agents"] = json!(["orders", "fraud-*"]);
    assert_eq!(
        errors(&config),
        [
            "auth.providers[0].agents: could never match, because nothing says which agent a request is for; add a top-level `agent` block"
        ]
    );
    config["agent"] = json!({"path": "/rest/{agent}"});
    let agents = policy(&config).providers.remove(0).agents.unwrap();
    assert!(agents.is_match("fraud-eu") && !agents.is_match("billing"));
    config["auth"]["providers"][0]["agents"] = json!([]);
    assert_eq!(
        errors(&config),
        ["auth.providers[0].agents: must not be empty; add an entry or leave the key out"]
    );
}

#[test]
fn skip_rules() {
    let policy = policy(&with_auth(
        "skip",
        json!(["GET /healthz", "GET /.well-known/agent-card.json", "POST /"]),
    ));
    assert_eq!(policy.skip[1].path, "/.well-known/agent-card.json");
    assert_eq!(policy.skip[2].method, "POST");
    let not_canonical = "is not a canonical path, so it could match no request; write it without percent-encoding, `//`, `.` and `..` segments, `;` and query";
    let shape = "must be `METHOD /path`, as in `GET /healthz`";
    let wildcard = "has a wildcard; only exact paths can be skipped, so name each one";
    let table = [
        ("/healthz", shape),
        ("GET healthz", shape),
        ("get /healthz", shape),
        ("GET  /healthz", shape),
        ("GET", shape),
        ("GET https://h/x", shape),
        ("GET /*", wildcard),
        ("* /healthz", wildcard),
        ("GET /a/**", wildcard),
        ("GET /a/../b", not_canonical),
        ("GET /a/.", not_canonical),
        ("GET //a", not_canonical),
        ("GET /a%2fb", not_canonical),
        ("GET /%61", not_canonical),
        ("GET /a?b", not_canonical),
        ("GET /a#b", not_canonical),
        ("GET /a;b", not_canonical),
        ("GET /a\\b", not_canonical),
        ("GET /a b", not_canonical),
        ("GET /é", not_canonical),
    ];
    for (rule, expected) in table {
        assert_eq!(
            errors(&with_auth("skip", json!([rule]))),
            [format!("auth.skip[0]: {expected}")],
            "{rule}"
        );
    }
}

#[test]
fn unavailable_status() {
    assert_eq!(
        policy(&with_auth("unavailable_status", json!(401))).unavailable_status,
        401
    );
    assert_eq!(
        errors(&with_auth("unavailable_status", json!(200))),
        ["auth.unavailable_status: unknown value; must be one of 503, 401"]
    );
}

// --- oidc ---

#[test]
fn issuers() {
    let issuer = |text: &str| oidc(json!({"issuer": text}));
    for (text, stored, discovery) in [
        (
            "https://issuer.example/",
            "https://issuer.example",
            "https://issuer.example/.well-known/openid-configuration",
        ),
        (
            "https://Issuer.example/Realm/",
            "https://Issuer.example/Realm",
            "https://issuer.example/Realm/.well-known/openid-configuration",
        ),
        (
            "http://127.0.0.1:9000/o",
            "http://127.0.0.1:9000/o",
            "http://127.0.0.1:9000/o/.well-known/openid-configuration",
        ),
    ] {
        let policy = policy(&issuer(text));
        let oidc = oidc_policy(&policy);
        assert_eq!(oidc.issuer, stored);
        assert!(oidc.owns_issuer(text));
        let KeyOrigin::Remote(keys) = &oidc.keys else {
            panic!()
        };
        assert_eq!(keys.discovery.as_ref().unwrap().to_string(), discovery);
        assert_eq!(keys.issuer, stored);
    }
    let bad = "is not an absolute URL that can be called: it";
    let table = [
        (
            "accounts.google.com",
            format!("{bad} must start with https:// (or http://)"),
        ),
        (
            "https://",
            format!("{bad} needs a plain host or host:port, without user name or password"),
        ),
        (
            "https://u:hunter2@h/",
            format!("{bad} needs a plain host or host:port, without user name or password"),
        ),
        (
            "https://h/#f",
            format!("{bad} has a fragment, white space or a character outside ASCII"),
        ),
        (
            "https://h/?a=b",
            "must not have a query; write the issuer as its tokens' `iss` has it".to_owned(),
        ),
        ("", "must not be an empty string".to_owned()),
    ];
    // With the keys named otherwise nothing is called at the issuer.
    for text in ["joe", "spiffe.example.org", "ci@builds.example"] {
        let settings = json!({"issuer": text, "jwks_url": "https://h/keys"});
        let policy = policy(&oidc(settings));
        assert_eq!(oidc_policy(&policy).issuer, text);
    }
    for (text, expected) in table {
        assert_eq!(
            errors(&issuer(text)),
            [format!("{SETTINGS}.issuer: {expected}")],
            "{text}"
        );
    }
    assert_eq!(
        errors(&oidc(json!({"jwks_url": "//h/keys"}))),
        [format!(
            "{SETTINGS}.jwks_url: {bad} must start with https:// (or http://)"
        )]
    );
}

#[test]
fn audiences() {
    assert_eq!(
        oidc_policy(&policy(&oidc(json!({"audience": ["a", "b"]})))).audiences,
        ["a", "b"]
    );
    assert_eq!(
        errors(&oidc(json!({"audience": []}))),
        [format!(
            "{SETTINGS}.audience: must not be empty; add an entry or leave the key out"
        )]
    );
    assert_eq!(
        errors(&oidc(json!({"audience": ""}))),
        [format!("{SETTINGS}.audience: must not be an empty string")]
    );
    assert_eq!(
        errors(&oidc(json!({"audience": ["a", ""]}))),
        [format!(
            "{SETTINGS}.audience[1]: must not be an empty string"
        )]
    );
}

fn jwks() -> Value {
    // RFC 8037 appendix A.2.
    json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]})
}

#[test]
fn keys() {
    for set in [jwks(), json!(jwks().to_string())] {
        let policy = policy(&oidc(json!({"jwks": set})));
        assert!(matches!(oidc_policy(&policy).keys, KeyOrigin::Inline(_)));
    }
    let config = oidc(json!({"jwks_url": "https://Keys.example/jwks?app=1"}));
    let policy = policy(&config);
    let KeyOrigin::Remote(keys) = &oidc_policy(&policy).keys else {
        panic!()
    };
    assert_eq!(
        keys.jwks.as_ref().unwrap().to_string(),
        "https://keys.example/jwks?app=1"
    );
    assert!(keys.discovery.is_none());

    assert_eq!(
        errors(&oidc(
            json!({"jwks": jwks(), "jwks_url": "https://k.example/"})
        )),
        [format!(
            "{SETTINGS}.jwks: can't stand beside `jwks_url`; keep one of them"
        )]
    );
    let table = [
        (
            json!({}),
            "it needs a list `keys`, as in RFC 7517 section 5",
        ),
        (json!("{"), "it ends in the middle"),
        (json!("{} {}"), "it is not JSON from line 1, column 4 on"),
        (json!({"keys": []}), "its `keys` is empty"),
        (
            json!({"keys": [{"kty": "oct", "k": TOKEN}]}),
            "none of its 1 keys can be used; keys[0] is a symmetric secret, with which anyone who verifies can also forge",
        ),
        (
            json!({"keys": [{}, {}]}),
            "none of its 2 keys can be used; keys[0] has no `kty`",
        ),
    ];
    for (set, expected) in table {
        assert_eq!(
            errors(&oidc(json!({"jwks": set}))),
            [format!("{SETTINGS}.jwks: is no usable key set: {expected}")]
        );
    }
    assert_eq!(
        errors(&oidc(json!({"jwks": 1}))),
        [format!(
            "{SETTINGS}.jwks: must be a JWK set, as a map or as text, not a number"
        )]
    );
}

#[test]
fn durations_have_bounds() {
    let table = [
        (
            oidc(json!({"jwks_cache_ttl": "500ms"})),
            "auth.providers[0].settings.jwks_cache_ttl: must be between 1s and 7d",
        ),
        (
            oidc(json!({"clock_skew": "11m"})),
            "auth.providers[0].settings.clock_skew: must be between 0s and 10m",
        ),
        (
            oidc(json!({"max_token_age": "0s"})),
            "auth.providers[0].settings.max_token_age: must be between 1s and 365d",
        ),
        (
            with("callouts", json!({"timeout": "0s"})),
            "callouts.timeout: must be between 10ms and 1m",
        ),
        (
            with("limits", json!({"jwks_grace": "8d"})),
            "limits.jwks_grace: must be between 0s and 7d",
        ),
        (
            with("limits", json!({"token_bytes": 16})),
            "limits.token_bytes: must be between 256 and 1048576",
        ),
        (
            with("limits", json!({"waiting_requests": 0})),
            "limits.waiting_requests: must be between 1 and 1000000",
        ),
    ];
    for (config, expected) in table {
        assert_eq!(errors(&config), [expected]);
    }
    let policy = policy(&oidc(
        json!({"clock_skew": "300s", "max_token_age": "1h30m"}),
    ));
    assert_eq!(oidc_policy(&policy).clock_skew, Duration::from_secs(300));
    assert_eq!(
        oidc_policy(&policy).max_token_age,
        Some(Duration::from_secs(5400))
    );
}

#[test]
fn claims() {
    let policy = policy(&oidc(json!({
        "claim_map": {"user_id": "email", "groups": "/realm_access/roles", "org_id": "https://example.com/org"},
        "required_claims": {"hd": "example.com", "/realm_access/roles": ["caller-*", "admin"]},
    })));
    let settings = oidc_policy(&policy);
    assert_eq!(settings.claim_map.user_id, ClaimPath::Name("email".into()));
    assert_eq!(
        settings.claim_map.groups,
        ClaimPath::Pointer("/realm_access/roles".into())
    );
    assert_eq!(
        settings.claim_map.org_id,
        ClaimPath::Name("https://example.com/org".into())
    );
    let (path, globs) = &settings.required_claims[0];
    assert_eq!(*path, ClaimPath::Pointer("/realm_access/roles".into()));
    assert!(globs.is_match("caller-x") && globs.is_match("admin") && !globs.is_match("x"));

    let pointer = "is neither a claim's name nor a JSON pointer (in which `~` is written `~0`)";
    let table = [
        (
            json!({"claim_map": {"email": "/a~b"}}),
            format!("{SETTINGS}.claim_map.email: {pointer}"),
        ),
        (
            json!({"required_claims": {"/a~": "x"}}),
            format!("{SETTINGS}.required_claims[\"/a~\"]: {pointer}"),
        ),
        (
            json!({"required_claims": {"hd": []}}),
            format!(
                "{SETTINGS}.required_claims.hd: must not be empty; add an entry or leave the key out"
            ),
        ),
        (
            json!({"required_claims": {"hd": ["[z-a]"]}}),
            format!(
                "{SETTINGS}.required_claims.hd[0]: is not a glob: the range `z-a` ends before it starts"
            ),
        ),
        (
            json!({"required_claims": {"hd": true}}),
            format!(
                "{SETTINGS}.required_claims.hd: must be a string or a list of strings, not a boolean"
            ),
        ),
    ];
    for (settings, expected) in table {
        assert_eq!(errors(&oidc(settings)), [expected]);
    }
}

#[test]
fn an_email_of_a_shared_issuer_must_be_verified() {
    let required = |issuer: &str, settings: Value| {
        let mut settings = settings;
        settings["issuer"] = json!(issuer);
        settings["allowed_subjects"] = json!("x");
        oidc_policy(&policy(&oidc(settings))).require_email_verified
    };
    assert!(required("https://accounts.google.com", json!({})));
    assert!(required(
        "https://accounts.google.com/",
        json!({"require_email_verified": false})
    ));
    assert!(required(
        "https://login.microsoftonline.com/0a1b/v2.0",
        json!({})
    ));
    assert!(required("https://sts.windows.net/0a1b/", json!({})));
    assert!(!required("https://issuer.example", json!({})));
    assert!(required(
        "https://issuer.example",
        json!({"require_email_verified": true})
    ));
}

// --- static_token ---

/// `printf %s 0123456789abcdef-secret | sha256sum`
const DIGEST: &str = "850ae3f423335b60148d3fc45c468884cba122418f4a7f0f48dd51265016d160";

#[test]
fn static_tokens() {
    let digests = |settings: Value| match &policy(&static_token(settings)).providers[0].kind {
        ProviderKind::StaticToken(p) => p.token_sha256.clone(),
        other => panic!("{other:?}"),
    };
    let by_env = digests(json!({"token_env": "TOKEN"}));
    assert_eq!(by_env.len(), 1);
    let hex: String = by_env[0].iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, DIGEST);
    assert_eq!(digests(json!({"token": TOKEN})), by_env);
    assert_eq!(digests(json!({"token_sha256": DIGEST})), by_env);
    assert_eq!(
        digests(json!({"token_sha256": format!("sha256:{}", DIGEST.to_uppercase())})),
        by_env
    );
    assert_eq!(
        digests(json!({"token_sha256": [DIGEST], "token_env": ["TOKEN"]})).len(),
        2
    );

    let config = static_token(json!({"token_env": "TOKEN", "identity": {
        "user_id": "u", "email": "e@example.com", "org_id": "o", "workspace_id": "w", "groups": "g"}}));
    let policy = policy(&config);
    let ProviderKind::StaticToken(p) = &policy.providers[0].kind else {
        panic!()
    };
    assert_eq!(p.identity.user_id(), "u");
    assert_eq!(p.identity.email(), Some("e@example.com"));
    assert_eq!(p.identity.org_id(), Some("o"));
    assert_eq!(p.identity.workspace_id(), Some("w"));
    assert_eq!(p.identity.groups(), ["g"]);

    let digest = "must be a SHA-256 as 64 hexadecimal digits: `printf %s \"$TOKEN\" | sha256sum`";
    let table = [
        (
            json!({}),
            format!("{SETTINGS}: needs one of token_sha256, token_env, token"),
        ),
        (
            json!({"token_sha256": "abc"}),
            format!("{SETTINGS}.token_sha256[0]: {digest}"),
        ),
        (
            json!({"token_sha256": "é".repeat(32)}),
            format!("{SETTINGS}.token_sha256[0]: {digest}"),
        ),
        (
            json!({"token_sha256": format!("{}g", &DIGEST[1..])}),
            format!("{SETTINGS}.token_sha256[0]: {digest}"),
        ),
        (
            json!({"token_sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}),
            format!(
                "{SETTINGS}.token_sha256[0]: is the SHA-256 of an empty token; hash the token itself"
            ),
        ),
        (
            json!({"token_env": "EMPTY"}),
            format!(
                "{SETTINGS}.token_env[0]: the environment variable `EMPTY` is not set, or empty"
            ),
        ),
        (
            json!({"token_env": "SPACED"}),
            format!(
                "{SETTINGS}.token_env[0]: has white space or a character outside ASCII, so no request could carry it"
            ),
        ),
        (
            json!({"token": ""}),
            format!("{SETTINGS}.token: must not be an empty string"),
        ),
        (
            json!({"token": 5}),
            format!("{SETTINGS}.token: must be a string or a list of strings, not a number"),
        ),
        (
            json!({"token_env": "TOKEN", "identity": {}}),
            format!("{SETTINGS}.identity.user_id: is required"),
        ),
    ];
    for (settings, expected) in table {
        assert_eq!(errors(&static_token(settings)), [expected]);
    }
}

#[test]
fn a_secret_shows_nowhere() {
    let config =
        static_token(json!({"token": [TOKEN, "short-hunter2"], "token_env": ["TOKEN", "GONE"]}));
    let raw = config::parse(config.to_string().as_bytes()).unwrap();
    let errors = load(&config).unwrap_err();
    let (policy, warnings) =
        load(&static_token(json!({"token": [TOKEN, "short-hunter2"]}))).unwrap();
    let all = format!("{raw:?} {errors} {errors:?} {warnings:?}");
    assert!(!all.contains(TOKEN) && !all.contains("hunter2"), "{all}");
    assert!(!format!("{policy:?}").contains("hunter2"));
    // A private key pasted into `jwks` is one too.
    let raw = config::parse(
        oidc(json!({"jwks": {"keys": [{"d": "hunter2"}]}}))
            .to_string()
            .as_bytes(),
    );
    assert!(!format!("{:?}", raw.unwrap()).contains("hunter2"));
}

// --- the other blocks ---

#[test]
fn agents() {
    let resolver = |agent: Value| policy(&with("agent", agent)).agent;
    match resolver(json!({"path": "/a/rest/{agent}/v1"})) {
        AgentResolver::Path { before, after } => {
            assert_eq!(
                (before, after),
                (
                    vec!["a".to_owned(), "rest".to_owned()],
                    vec!["v1".to_owned()]
                )
            );
        }
        other => panic!("{other:?}"),
    }
    match resolver(json!({"path": "/{agent}"})) {
        AgentResolver::Path { before, after } => assert!(before.is_empty() && after.is_empty()),
        other => panic!("{other:?}"),
    }
    match resolver(json!({"host": "{agent}.Agents.example.com"})) {
        AgentResolver::Host { prefix, suffix } => {
            assert_eq!(
                (prefix.as_str(), suffix.as_str()),
                ("", ".agents.example.com")
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(
        matches!(resolver(json!({"header": "X-Agent-Id"})), AgentResolver::Header(h) if h == "x-agent-id")
    );
    assert!(
        matches!(resolver(json!({"fixed": "orders"})), AgentResolver::Fixed(a) if &*a == "orders")
    );

    let placeholder = "must contain `{agent}` exactly once, as a whole path segment or host label";
    let path = "must be a canonical path such as `/rest/{agent}`, without percent-encoding, `//`, a trailing `/` or a query";
    let host = "must be a host name such as `{agent}.agents.example.com`, without a port";
    let one = "needs exactly one of path, host, header, fixed";
    let header = "is not the name of a header: letters, digits and `-`, in lower case";
    let reserved = "is a header that the filter removes from requests; name another one";
    let table = [
        (json!({}), "agent", one),
        (json!({"path": "/{agent}", "fixed": "a"}), "agent", one),
        (json!({"path": "rest/{agent}"}), "agent.path", path),
        (json!({"path": "/rest"}), "agent.path", placeholder),
        (
            json!({"path": "/{agent}/{agent}"}),
            "agent.path",
            placeholder,
        ),
        (json!({"path": "/a-{agent}"}), "agent.path", placeholder),
        (
            json!({"path": "/{agent}/a{agent}"}),
            "agent.path",
            placeholder,
        ),
        (json!({"path": "/rest//{agent}"}), "agent.path", path),
        (json!({"path": "/rest/{agent}/"}), "agent.path", path),
        (json!({"path": "/rest/../{agent}"}), "agent.path", path),
        (json!({"path": "/r%65st/{agent}"}), "agent.path", path),
        (
            json!({"path": "/rest/{agent}?x"}),
            "agent.path",
            placeholder,
        ),
        (json!({"path": "/{org}/{agent}"}), "agent.path", path),
        (
            json!({"host": "agents.example.com"}),
            "agent.host",
            placeholder,
        ),
        (
            json!({"host": "x-{agent}.example.com"}),
            "agent.host",
            placeholder,
        ),
        (
            json!({"host": "{agent}example.com"}),
            "agent.host",
            placeholder,
        ),
        (json!({"host": "{agent}"}), "agent.host", host),
        (json!({"host": "{agent}."}), "agent.host", host),
        (
            json!({"host": "{agent}.example.com:443"}),
            "agent.host",
            host,
        ),
        (json!({"host": "{agent}..example.com"}), "agent.host", host),
        (json!({"header": "x agent"}), "agent.header", header),
        (json!({"header": "x-auth-agent"}), "agent.header", reserved),
        (json!({"header": "Authorization"}), "agent.header", reserved),
        (
            json!({"fixed": "a/b"}),
            "agent.fixed",
            "is not an agent's name: 1 to 128 letters, digits, `.`, `_`, `~` or `-`",
        ),
    ];
    for (agent, at, expected) in table {
        assert_eq!(
            errors(&with("agent", agent.clone())),
            [format!("{at}: {expected}")],
            "{agent}"
        );
    }
}

#[test]
fn callouts() {
    let policy = policy(&with(
        "callouts",
        json!({"upstreams": {"accounts.google.com": "google", "127.0.0.1:9000": "issuer", "[::1]:80": "v6"}, "timeout": "2s"}),
    ));
    assert_eq!(policy.callouts.upstream("accounts.google.com"), "google");
    assert_eq!(policy.callouts.upstream("other.example"), "other.example");
    assert_eq!(policy.callouts.timeout, Duration::from_secs(2));
    for key in ["https://h", "H.example", "h/path", "", "u@h", "h?q"] {
        let lines = errors(&with("callouts", json!({"upstreams": {key: "x"}})));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0]
                .ends_with(": must be `host` or `host:port`, in lower case and without a scheme"),
            "{lines:?}"
        );
    }
    assert_eq!(
        errors(&with("callouts", json!({"upstreams": {"h.example": ""}}))),
        ["callouts.upstreams[\"h.example\"]: must not be an empty string"]
    );
}

#[test]
fn identity_headers() {
    assert_eq!(
        policy(&with("identity", json!({"header_prefix": "x-caller-"})))
            .identity
            .header_prefix,
        "x-caller-"
    );
    let name = "is not the name of a header: letters, digits and `-`, in lower case";
    let hyphen = "must end in `-`, or headers that are not ours would be removed";
    for (prefix, expected) in [
        ("X-Auth-", name),
        ("x auth-", name),
        ("x_auth-", name),
        ("x-auth", hyphen),
        ("-", hyphen),
    ] {
        assert_eq!(
            errors(&with("identity", json!({"header_prefix": prefix}))),
            [format!("identity.header_prefix: {expected}")],
            "{prefix}"
        );
    }
}

#[test]
fn audit() {
    let sinks = |v: Value| policy(&with("audit", json!({"sinks": v}))).audit.sinks;
    assert_eq!(sinks(json!("log")), [AuditSink::Log]);
    assert_eq!(
        sinks(json!(["log", "filter_state", "log"])),
        [AuditSink::Log, AuditSink::FilterState]
    );
    assert!(sinks(json!([])).is_empty());
    assert_eq!(
        errors(&with("audit", json!({"sinks": ["filter-state", "stdout"]}))),
        [
            "audit.sinks[0]: unknown value; did you mean `filter_state`?",
            "audit.sinks[1]: unknown value; must be one of filter_state, log",
        ]
    );
}

#[test]
fn crypto() {
    let by_host = |v: Value| policy(&with("crypto", v)).crypto.by_host;
    use Algorithm::{Es256, Es384, Es512, Rs256, Rs384, Rs512};
    assert_eq!(
        by_host(json!({})),
        [Rs256, Rs384, Rs512, Es256, Es384, Es512]
    );
    assert_eq!(
        by_host(json!({"rs256": "library", "es256": "host", "es512": "library"})),
        [Rs384, Rs512, Es256, Es384]
    );
    let tables = |v: Value| policy(&with("crypto", v)).crypto.es256_tables;
    assert!(tables(json!({})) && tables(json!({"es256": "tables", "rs256": "library"})));
    assert!(!tables(json!({"es256": "host"})) && !tables(json!({"es256": "library"})));
    // A key that has no table is the host's.
    assert!(by_host(json!({"es256": "tables"})).contains(&Es256));
    let library = |name: &&str| ((*name).to_owned(), json!("library"));
    let all: serde_json::Map<String, Value> =
        ["rs256", "rs384", "rs512", "es256", "es384", "es512"]
            .iter()
            .map(library)
            .collect();
    assert!(by_host(Value::Object(all)).is_empty());
    assert_eq!(
        errors(&with(
            "crypto",
            json!({"rs256": "rust", "es384": "hots", "es256": "fast", "rs384": "tables"})
        )),
        [
            "crypto.rs256: unknown value; must be one of host, library",
            "crypto.rs384: unknown value; must be one of host, library",
            "crypto.es256: unknown value; must be one of host, tables, library",
            "crypto.es384: unknown value; did you mean `host`?",
        ]
    );
    // No host has these; a setting that does nothing would only look like one.
    assert_eq!(
        errors(&with("crypto", json!({"ps256": "host"}))),
        ["crypto.ps256: unknown key; did you mean `rs256`?"]
    );
}

#[test]
fn limits() {
    let policy = policy(&with(
        "limits",
        json!({
            "token_bytes": 1024, "jwks_bytes": 1025, "jwks_keys": 3, "jwks_grace": "4s", "unknown_kid_interval": "5s",
            "unknown_kids": 6, "cached_tokens": 7, "cached_token_bytes": 8, "failed_tokens": 9,
            "failed_token_ttl": "10s", "waiting_requests": 11, "lookups": 16, "lookup_bytes": 1_048_577,
            "lookups_in_flight": 13, "key_failures": 12, "key_failure_sources": 14,
            "feed_page_bytes": 65_537, "feed_keys": 15, "key_uses": 17,
        }),
    ));
    let secs = Duration::from_secs;
    assert_eq!(
        policy.limits,
        portcullis_core::limits::Limits {
            token_bytes: 1024,
            jwks_bytes: 1025,
            jwks_keys: 3,
            jwks_grace: secs(4),
            unknown_kid_interval: secs(5),
            unknown_kids: 6,
            cached_tokens: 7,
            cached_token_bytes: 8,
            failed_tokens: 9,
            failed_token_ttl: secs(10),
            waiting_requests: 11,
            lookups: 16,
            lookup_bytes: 1_048_577,
            lookups_in_flight: 13,
            key_failures: 12,
            key_failure_sources: 14,
            feed_page_bytes: 65_537,
            feed_keys: 15,
            key_uses: 17,
        }
    );
    // The limits hold for key sets in the configuration too, wherever the block stands.
    let mut config = oidc(json!({"jwks": {"keys": [{}, {}]}}));
    config["limits"] = json!({"jwks_keys": 1});
    assert_eq!(
        errors(&config),
        [format!(
            "{SETTINGS}.jwks: is no usable key set: it has 2 keys, and `limits.jwks_keys` is 1"
        )]
    );
}

// --- warnings ---

#[test]
fn what_is_legal_but_dangerous() {
    let shared = "and each may name any audience; set `allowed_subjects` or `required_claims`";
    let google = format!(
        "{SETTINGS}.issuer: this issuer makes tokens for every Google account and service account, {shared}"
    );
    let http = "is plain http: whoever sits between can replace the keys, unless the proxy's cluster adds TLS";
    let table = [
        (oidc(json!({})), vec![]),
        (oidc(json!({"issuer": "https://accounts.google.com"})), vec![google.clone()]),
        (oidc(json!({"issuer": "https://Accounts.Google.com/"})), vec![google.clone()]),
        (
            oidc(json!({"issuer": "https://accounts.google.com", "allowed_subjects": []})),
            vec![
                format!("{SETTINGS}.allowed_subjects: is empty, so it allows everyone; list some, or leave the key out"),
                google,
            ],
        ),
        (oidc(json!({"issuer": "https://accounts.google.com", "allowed_subjects": ["*@p.example"]})), vec![]),
        (oidc(json!({"issuer": "https://accounts.google.com", "required_claims": {"hd": "example.com"}})), vec![]),
        (
            oidc(json!({"issuer": "https://token.actions.githubusercontent.com"})),
            vec![format!("{SETTINGS}.issuer: this issuer makes tokens for every GitHub repository, {shared}")],
        ),
        (
            oidc(json!({"client_id": "x"})),
            vec![format!("{SETTINGS}.client_id: a token of this client is accepted whatever its audience; prefer to name the audience")],
        ),
        (
            oidc(json!({"allow_missing_exp": true})),
            vec![format!("{SETTINGS}.allow_missing_exp: tokens without `exp` are accepted for ever; set `max_token_age` too")],
        ),
        (oidc(json!({"allow_missing_exp": true, "max_token_age": "1h"})), vec![]),
        (oidc(json!({"issuer": "http://127.0.0.1:9000"})), vec![format!("{SETTINGS}.issuer: {http}")]),
        (oidc(json!({"issuer": "http://127.0.0.1:9000", "jwks": jwks()})), vec![]),
        (oidc(json!({"jwks_url": "http://keys.example/"})), vec![format!("{SETTINGS}.jwks_url: {http}")]),
        (
            oidc(json!({"jwks_cache_ttl": "5s"})),
            vec![format!("{SETTINGS}.jwks_cache_ttl: keys will be fetched every few seconds; a minute or more is kinder to the issuer")],
        ),
        (
            static_token(json!({"token": "hunter2"})),
            vec![
                format!("{SETTINGS}.token[0]: is shorter than 16 characters and can be guessed"),
                format!("{SETTINGS}.token: a secret in the configuration; prefer `token_sha256` or `token_env`"),
            ],
        ),
        (with("audit", json!({"sinks": []})), vec!["audit.sinks: is empty, so no request is audited".to_owned()]),
        (
            with_auth("required", json!(false)),
            vec!["auth.required: callers without a credential are let through as anonymous".to_owned()],
        ),
        (
            with("identity", json!({"forward_credentials": true})),
            vec!["identity.forward_credentials: every agent behind this proxy can use its callers' credentials elsewhere".to_owned()],
        ),
    ];
    for (config, expected) in table {
        assert_eq!(warnings(&config), expected, "{config}");
    }
}

/// The recipe of Forge's issue 80, pasted in.
#[test]
fn forges_recipe() {
    let config = json!({"auth": {"providers": [{"type": "oidc", "settings": {
        "issuer": "https://accounts.google.com",
        "audience": "api://forge",
        "allowed_subjects": ["*@agent-fleet-prod.iam.gserviceaccount.com"],
    }}]}});
    assert_eq!(warnings(&config), Vec::<String>::new());
    let policy = policy(&config);
    let subjects = oidc_policy(&policy).allowed_subjects.as_ref().unwrap();
    assert!(subjects.is_match("orders@agent-fleet-prod.iam.gserviceaccount.com"));
    assert!(!subjects.is_match("orders@agent-fleet-prod.iam.gserviceaccount.com.evil.example"));
}
