//! What the settings and the records of API keys are refused for, word for word.

#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use portcullis_core::config::{self, Warning};
use portcullis_core::policy::{AgentFacts, ProviderKind};
use serde_json::{Value, json};

const SETTINGS: &str = "auth.providers[0].settings";

fn record(changes: Value) -> Value {
    let mut record = json!({
        "id": "Ab3dEf6hIj9k",
        "hash": format!("sha256:{}", "0f".repeat(32)),
        "scope": {"agent": "orders"},
        "expires_at": 1_900_000_000,
    });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => record.as_object_mut().unwrap().remove(name),
            value => record
                .as_object_mut()
                .unwrap()
                .insert(name.clone(), value.clone()),
        };
    }
    record
}

fn config(settings: Value) -> Value {
    json!({
        "auth": {"providers": [{"type": "api_key", "settings": settings}]},
        "agent": {"path": "/rest/{agent}"},
    })
}

fn outcome(config: &Value) -> (Vec<String>, Vec<String>) {
    let env = |name: &str| match name {
        "SHORT" => Some("fifteen letters".to_owned()),
        "FEED" => Some("a-fleet-token-of-some-length".to_owned()),
        "TINY" => Some("tiny".to_owned()),
        _ => None,
    };
    match config::load(config.to_string().as_bytes(), &env) {
        Ok((_, warnings)) => (
            Vec::new(),
            warnings.iter().map(Warning::to_string).collect(),
        ),
        Err(errors) => (
            errors.to_string().lines().map(str::to_owned).collect(),
            Vec::new(),
        ),
    }
}

fn errors(config: &Value) -> Vec<String> {
    let (errors, _) = outcome(config);
    assert!(!errors.is_empty(), "was accepted: {config}");
    errors
}

fn warnings(config: &Value) -> Vec<String> {
    let (errors, warnings) = outcome(config);
    assert!(errors.is_empty(), "{errors:#?}");
    warnings
}

/// The errors of one record, without the path to it.
fn of(changes: Value) -> Vec<String> {
    let place = format!("{SETTINGS}.keys[0]");
    errors(&config(json!({"keys": [record(changes)]})))
        .into_iter()
        .map(|e| e.strip_prefix(&place).unwrap_or(&e).to_owned())
        .collect()
}

#[test]
fn a_good_one() {
    let full = record(json!({
        "name": "ci", "owner": "alice@example.com", "created_at": 1_700_000_000, "not_before": 1_700_000_001,
        "grace_until": 1_800_000_000, "revoked_at": 1_800_000_001, "revoked_reason": "left a log", "replaces": "000000000000",
        "rate_limit": {"requests": 600, "per": "1m", "burst": 60}, "methods": ["GET", "M-SEARCH"],
    }));
    let written = config(json!({"keys": [full], "max_ttl": "365d"}));
    assert_eq!(warnings(&written), [""; 0]);
    let (policy, _) = config::load(written.to_string().as_bytes(), &|_| None).unwrap();
    let ProviderKind::ApiKey(keys) = &policy.providers[0].kind else {
        panic!("{:?}", policy.providers);
    };
    assert_eq!(keys.keys.len(), 1);
    let entry = keys.keys.iter().next().unwrap();
    assert_eq!(entry.rate_limit().unwrap().burst(), 60);
    assert_eq!(policy.key_places.headers.len(), 2);
    assert_eq!(policy.key_places.bearer_prefixes.len(), 2);
    // Doubles, as Envoy's Struct has them.
    let doubles =
        record(json!({"created_at": 1.7e9, "rate_limit": {"requests": 6.0, "per": "1s"}}));
    assert_eq!(warnings(&config(json!({"keys": [doubles]}))), [""; 0]);
}

#[test]
fn records() {
    for (changes, wanted) in [
        (json!({"id": null}), &[".id: is required"][..]),
        (
            json!({"id": "Ab3dEf6hIj9"}),
            &[".id: is not the id of a key: the 12 letters and digits after its prefix"],
        ),
        (json!({"id": 12}), &[".id: must be a string, not a number"]),
        (
            json!({"hash": "0f".repeat(32)}),
            &[
                ".hash: must be `sha256:` or `hmac-sha256:` and 64 hexadecimal digits; `portcullis key hash` makes it from a key",
            ],
        ),
        (
            json!({"scope": {}}),
            &[".scope: needs exactly one of agent, workspace, org, user"],
        ),
        (
            json!({"scope": {"agent": "a", "org": "b"}}),
            &[".scope: needs exactly one of agent, workspace, org, user"],
        ),
        (json!({"scope": null}), &[".scope: is required"]),
        (
            json!({"scope": {"agents": "a"}}),
            &[".scope.agents: unknown key; did you mean `agent`?"],
        ),
        (
            json!({"scope": {"agent": "orders*"}}),
            &[
                ".scope.agent: is not an agent's name: 1 to 128 letters, digits, `.`, `_`, `~` or `-`",
            ],
        ),
        (
            json!({"scope": {"user": "a\r\nx-auth-user-id: b"}}),
            &[
                ".scope.user: must be at most 256 bytes, without control characters and white space around it",
            ],
        ),
        (
            json!({"owner": " alice"}),
            &[
                ".owner: must be at most 256 bytes, without control characters and white space around it",
            ],
        ),
        (
            json!({"expires_at": null}),
            &[".expires_at: is required: seconds since 1970, or `never`"],
        ),
        (
            json!({"expires_at": "nevr"}),
            &[".expires_at: unknown value; did you mean `never`?"],
        ),
        (
            json!({"expires_at": 1_900_000_000_000_u64}),
            &[
                ".expires_at: is after the year 9999; times are seconds since 1970, not milliseconds",
            ],
        ),
        (
            json!({"not_before": "tomorrow"}),
            &[".not_before: must be seconds since 1970, not a string"],
        ),
        (
            json!({"expire_at": 1}),
            &[".expire_at: unknown key; did you mean `expires_at`?"],
        ),
        (
            json!({"rate_limit": {"requests": 0, "per": "10ms", "burst": 0}}),
            &[
                ".rate_limit.requests: must be between 1 and 1000000",
                ".rate_limit.burst: must be between 1 and 1000000",
                ".rate_limit.per: must be between 1s and 1d",
            ],
        ),
        (
            json!({"rate_limit": {}}),
            &[
                ".rate_limit.requests: is required",
                ".rate_limit.per: is required",
            ],
        ),
        (
            json!({"methods": []}),
            &[".methods: must not be empty; add an entry or leave the key out"],
        ),
        (
            json!({"methods": ["get", "GET,POST"]}),
            &[
                ".methods[0]: is not a method in capitals, such as `POST`",
                ".methods[1]: is not a method in capitals, such as `POST`",
            ],
        ),
    ] {
        assert_eq!(of(changes.clone()), wanted, "{changes}");
    }
}

#[test]
fn the_list() {
    let at_keys = |keys: Value| errors(&config(json!({"keys": keys})));
    let one = record(json!({}));
    assert_eq!(
        at_keys(json!([one, record(json!({"id": "000000000000"})), one])),
        [format!(
            "{SETTINGS}.keys: the key Ab3dEf6hIj9k stands twice; keep one record"
        )]
    );
    for (value, found) in [
        (json!({"a": 1}), "a map"),
        (json!("text"), "a string"),
        (json!("[1]"), "a string"),
        (json!(3), "a number"),
    ] {
        assert_eq!(
            at_keys(value),
            [format!(
                "{SETTINGS}.keys: must be a list of key records, not {found}"
            )]
        );
    }
    assert_eq!(
        at_keys(json!([one, 7])),
        [format!("{SETTINGS}.keys[1]: must be a map, not a number")]
    );
    // A flood of errors ends.
    let bad: Vec<Value> = (0..1000).map(|_| json!({})).collect();
    let lines = at_keys(json!(bad)).len();
    assert!((100..110).contains(&lines), "{lines}");
}

#[test]
fn what_stands_twice_in_a_record_is_an_error() {
    let text = config(json!({"keys": [record(json!({}))]}))
        .to_string()
        .replace(
            "\"expires_at\":",
            "\"expires_at\":\"never\",\"expires_at\":",
        );
    let errors = config::load(text.as_bytes(), &|_| None).unwrap_err();
    assert_eq!(
        errors.to_string(),
        format!("{SETTINGS}.keys[0].expires_at: stands twice; keep one")
    );
    let text = config(json!({"keys": []}))
        .to_string()
        .replace("\"keys\":[]", "\"keys\":[],\"keys\":[]");
    let errors = config::load(text.as_bytes(), &|_| None).unwrap_err();
    assert_eq!(
        errors.to_string(),
        format!("{SETTINGS}.keys: stands twice; keep one")
    );
    let deep = "[".repeat(500) + &"]".repeat(500);
    let text = config(json!({"keys": []}))
        .to_string()
        .replace("\"keys\":[]", &format!("\"keys\":{deep}"));
    assert!(config::load(text.as_bytes(), &|_| None).is_err());
}

#[test]
fn settings() {
    for (settings, wanted) in [
        (
            json!({"prefix": "Gak"}),
            &[".prefix: must be 2 to 16 lower-case letters and digits, a letter first"][..],
        ),
        (
            json!({"service_prefix": "gak"}),
            &[
                ".service_prefix: keys with this prefix are auth.providers[0].settings.prefix's; give one provider all of them, or each its own prefix",
            ],
        ),
        (
            json!({"headers": ["X-Key", "authorization", "x key"]}),
            &[
                ".headers[1]: is a header that the filter removes from requests; name another one",
                ".headers[2]: is not the name of a header: letters, digits and `-`, in lower case",
            ],
        ),
        (
            json!({"headers": [], "bearer": false}),
            &[".headers: must not be empty; add an entry or leave the key out"],
        ),
        (
            json!({"max_ttl": "1s"}),
            &[
                ".max_ttl: must be between 1m and 3650d",
                ".keys: the key Ab3dEf6hIj9k has no `created_at`, so `max_ttl` can't be applied to it",
            ],
        ),
        (
            json!({"max_ttl": "1d"}),
            &[
                ".keys: the key Ab3dEf6hIj9k has no `created_at`, so `max_ttl` can't be applied to it",
            ],
        ),
        (
            json!({"pepper_env": "SHORT"}),
            &[".pepper_env: the variable holds fewer than 16 bytes, which can be guessed"],
        ),
        (
            json!({"pepper_env": "NONE"}),
            &[".pepper_env: the environment variable `NONE` is not set, or empty"],
        ),
        (
            json!({"keys": [record(json!({"hash": format!("hmac-sha256:{}", "0".repeat(64))}))]}),
            &[".keys: the key Ab3dEf6hIj9k has a peppered digest; set `pepper_env`"],
        ),
        (
            json!({"sources": {}}),
            &[
                ".sources: unknown key; known here: headers, bearer, prefix, service_prefix, keys, feed, max_ttl, pepper_env",
            ],
        ),
    ] {
        let mut all = settings.clone();
        if all.get("keys").is_none() {
            all["keys"] = json!([record(json!({}))]);
        }
        let found: Vec<String> = errors(&config(all))
            .into_iter()
            .map(|e| e.strip_prefix(SETTINGS).unwrap_or(&e).to_owned())
            .collect();
        assert_eq!(found, wanted, "{settings}");
    }
}

#[test]
fn what_keys_need_beside_them() {
    let mut without_agent = config(json!({"keys": [record(json!({}))]}));
    without_agent.as_object_mut().unwrap().remove("agent");
    assert_eq!(
        errors(&without_agent),
        [
            "auth.providers[0]: could never match, because nothing says which agent a request is for; add a top-level `agent` block"
        ]
    );
    let mut by_key_header = config(json!({"keys": [record(json!({}))], "headers": "x-agent-id"}));
    by_key_header["agent"] = json!({"header": "X-Agent-Id"});
    assert_eq!(
        errors(&by_key_header),
        ["auth.providers: is a header that the filter removes from requests; name another one"]
    );
    let two = json!({"type": "api_key", "settings": {"keys": [record(json!({}))]}});
    let mut twice = config(json!({"keys": [record(json!({}))]}));
    twice["auth"]["providers"].as_array_mut().unwrap().push(two);
    assert_eq!(errors(&twice).len(), 2, "{:?}", errors(&twice));
}

#[test]
fn agents() {
    let mut config = config(json!({"keys": [record(json!({"scope": {"org": "acme"}}))]}));
    assert_eq!(
        warnings(&config),
        [
            "agents: there are keys for a workspace, an organisation or a user's agents, and no agent belongs to one; they get 403 everywhere"
        ]
    );
    config["agents"] = json!({"orders": {"owner": "alice", "workspace": "w", "org": "acme"}});
    assert_eq!(warnings(&config), [""; 0]);
    let (policy, _) = config::load(config.to_string().as_bytes(), &|_| None).unwrap();
    assert_eq!(
        policy.agents["orders"],
        AgentFacts {
            owner: Some("alice".into()),
            workspace: Some("w".into()),
            org: Some("acme".into()),
        }
    );
    config["agents"] = json!({"or/ders": {"owner": "alice\n", "wrkspace": "w"}});
    assert_eq!(
        errors(&config),
        [
            "agents[\"or/ders\"].wrkspace: unknown key; did you mean `workspace`?",
            "agents[\"or/ders\"]: is not an agent's name: 1 to 128 letters, digits, `.`, `_`, `~` or `-`",
            "agents[\"or/ders\"].owner: must be at most 256 bytes, without control characters and white space around it",
        ]
    );
}

#[test]
fn warned_of() {
    assert_eq!(
        warnings(&config(json!({}))),
        [format!(
            "{SETTINGS}.keys: has no key, so it lets nobody in; `portcullis key create` makes one"
        )]
    );
    let endless = |n: u8| {
        let id = format!("{n:012}");
        record(json!({"id": id, "expires_at": "never", "created_at": 1}))
    };
    let revoked = record(json!({"expires_at": "never", "revoked_at": 1, "created_at": 1}));
    let keys = json!([endless(2), endless(1), revoked]);
    assert_eq!(
        warnings(&config(json!({"keys": keys}))),
        [format!(
            "{SETTINGS}.keys: 2 keys never expire, 000000000002 the first of them; set `expires_at` or `max_ttl`"
        )]
    );
    assert_eq!(
        warnings(&config(json!({"keys": keys, "max_ttl": "90d"}))),
        [""; 0]
    );
}

#[test]
fn keys_by_themselves() {
    let text = json!([record(json!({}))]).to_string();
    assert_eq!(config::load_keys(&text).unwrap().len(), 1);
    let bad = json!([record(json!({"id": "x"}))]).to_string();
    let error = config::load_keys(&bad).unwrap_err().to_string();
    assert!(error.starts_with("keys[0].id: "), "{error}");
    assert!(config::load_keys("[").is_err());
}

fn feed(changes: Value) -> Value {
    let mut feed = json!({"url": "https://keys.example/feed", "token_env": "FEED"});
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => feed.as_object_mut().unwrap().remove(name),
            value => feed
                .as_object_mut()
                .unwrap()
                .insert(name.clone(), value.clone()),
        };
    }
    config(json!({ "feed": feed }))
}

#[test]
fn a_feed() {
    let load = |config: &Value| {
        let env = |name: &str| (name == "FEED").then(|| "a-fleet-token-of-some-length".to_owned());
        let (policy, warnings) = config::load(config.to_string().as_bytes(), &env).unwrap();
        assert_eq!(warnings, []);
        let ProviderKind::ApiKey(keys) = &policy.providers[0].kind else {
            panic!("{:?}", policy.providers);
        };
        assert!(!format!("{policy:?}").contains("fleet-token"));
        keys.feed.clone().unwrap()
    };
    let secs = std::time::Duration::from_secs;
    // Without a key of its own, and without a warning that there is none.
    let plain = load(&feed(json!({})));
    assert_eq!(plain.url.to_string(), "https://keys.example/feed");
    assert_eq!(
        (plain.interval, plain.max_staleness, plain.timeout),
        (secs(1), secs(60), secs(5))
    );
    assert!(plain.usage.is_none());
    let full = load(&feed(json!({
        "interval": "2s", "max_staleness": "4s", "timeout": "3s",
        "usage_url": "https://keys.example/uses", "usage_interval": "30s",
    })));
    assert_eq!(
        (full.interval, full.max_staleness, full.timeout),
        (secs(2), secs(4), secs(3))
    );
    let usage = full.usage.unwrap();
    assert_eq!(
        (usage.url.to_string().as_str(), usage.interval),
        ("https://keys.example/uses", secs(30))
    );
    // An interval for which the default would be too short.
    assert_eq!(
        load(&feed(json!({"interval": "5m"}))).max_staleness,
        secs(600)
    );
    // What the feed brings may need no `agents` here.
    let mut org = feed(json!({}));
    org["auth"]["providers"][0]["settings"]["keys"] =
        json!([record(json!({"scope": {"org": "acme"}}))]);
    load(&org);
}

#[test]
fn what_a_feed_is_refused_for() {
    for (changes, wanted) in [
        (json!({"url": null}), ".url: is required"),
        (
            json!({"url": "keys.example/feed"}),
            ".url: is not an absolute URL that can be called: it must start with https:// (or http://)",
        ),
        (json!({"token_env": null}), ".token_env: is required"),
        (
            json!({"token_env": "NONE"}),
            ".token_env: the environment variable `NONE` is not set, or empty",
        ),
        (
            json!({"token_env": "SHORT"}),
            ".token_env: has white space or a character outside ASCII, so no request could carry it",
        ),
        (
            json!({"interval": "100ms"}),
            ".interval: must be between 200ms and 10m",
        ),
        (
            json!({"max_staleness": "1s999ms"}),
            ".max_staleness: must be between 2s and 7d",
        ),
        (
            json!({"interval": "10s", "max_staleness": "15s"}),
            ".max_staleness: must be between 20s and 7d",
        ),
        (
            json!({"timeout": "2m"}),
            ".timeout: must be between 10ms and 1m",
        ),
        (
            json!({"usage_url": "ftp://x/"}),
            ".usage_url: is not an absolute URL that can be called: it must start with https:// (or http://)",
        ),
        (
            json!({"usage_interval": "10s"}),
            ".usage_interval: means nothing without `usage_url`; add it",
        ),
        (
            json!({"usage_url": "https://h/", "usage_interval": "1h"}),
            ".usage_interval: must be between 1s and 10m",
        ),
        (
            json!({"retries": 3}),
            ".retries: unknown key; known here: url, token_env, interval, max_staleness, timeout, usage_url, usage_interval",
        ),
        (
            json!({"max_stalenes": "1m"}),
            ".max_stalenes: unknown key; did you mean `max_staleness`?",
        ),
        (
            json!({"token": "a-fleet-token-of-some-length"}),
            ".token: unknown key; did you mean `token_env`?",
        ),
    ] {
        let found: Vec<String> = errors(&feed(changes.clone()))
            .into_iter()
            .map(|e| {
                let at = format!("{SETTINGS}.feed");
                e.strip_prefix(&at).unwrap_or(&e).to_owned()
            })
            .collect();
        assert_eq!(found, [wanted], "{changes}");
    }
    assert_eq!(
        warnings(&feed(
            json!({"url": "http://k/", "usage_url": "http://k/u", "token_env": "TINY"})
        )),
        [
            format!(
                "{SETTINGS}.feed.url: is plain http: whoever sits between sees the token and can say which keys there are, unless the proxy's cluster adds TLS"
            ),
            format!(
                "{SETTINGS}.feed.usage_url: is plain http: whoever sits between sees the token and can say which keys there are, unless the proxy's cluster adds TLS"
            ),
            format!("{SETTINGS}.feed.token_env: is shorter than 16 characters and can be guessed"),
        ]
    );
}
