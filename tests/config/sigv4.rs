//! `sigv4`.

use std::time::Duration;

use portcullis_core::policy::{ProviderKind, SigV4Policy};
use portcullis_core::sigv4::canonical::PathRules;
use serde_json::{Value, json};
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use crate::TOKEN;

fn sigv4(settings: Value) -> Value {
    let mut all =
        json!({"service": "agents", "region": "eu-central-1", "credentials": [key(json!({}))]});
    for (key, value) in settings.as_object().unwrap() {
        all[key] = value.clone();
    }
    json!({"auth": {"providers": [{"type": "sigv4", "settings": all}]}})
}

fn key(changes: Value) -> Value {
    let mut key = json!({"access_key_id": "AKIDBOT", "secret_env": "TOKEN", "user_id": "bot"});
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            key.as_object_mut().unwrap().remove(name);
        } else {
            key[name] = value.clone();
        }
    }
    key
}

fn policy(settings: Value) -> SigV4Policy {
    let policy = crate::policy(&sigv4(settings));
    match policy.providers.into_iter().next().unwrap().kind {
        ProviderKind::SigV4(policy) => *policy,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_defaults() {
    let policy = policy(json!({}));
    assert_eq!(policy.regions, ["eu-central-1"]);
    assert_eq!(policy.clock_skew, Duration::from_secs(300));
    assert_eq!(policy.max_expires, Duration::from_secs(900));
    assert_eq!(policy.max_body_bytes, 1 << 20);
    assert!(!policy.allow_unsigned_payload);
    let rules = |normalize, double_encode| PathRules {
        normalize,
        double_encode,
    };
    assert_eq!(policy.path_rules, rules(true, true));
    assert_eq!(policy.credentials["AKIDBOT"].identity.user_id(), "bot");
    for (settings, expected) in [
        (json!({"service": "s3"}), rules(false, false)),
        (
            json!({"service": "s3", "double_encode": true}),
            rules(false, true),
        ),
        (json!({"normalize_path": false}), rules(false, true)),
    ] {
        assert_eq!(self::policy(settings).path_rules, expected);
    }
}

#[test]
fn errors() {
    let base = "auth.providers[0].settings";
    let credentials = |keys: Value| json!({ "credentials": keys });
    let table = [
        (
            json!({"service": "a/b"}),
            "service: is not as credential scopes have it, like `us-east-1` or `execute-api`: letters, digits, `.`, `_` and `-`",
        ),
        (
            json!({"region": []}),
            "region: must not be empty; add an entry or leave the key out",
        ),
        (
            json!({"region": ["eu-central-1", "*"]}),
            "region[1]: is not as credential scopes have it, like `us-east-1` or `execute-api`: letters, digits, `.`, `_` and `-`",
        ),
        (
            json!({"clock_skew": "16m"}),
            "clock_skew: must be between 0s and 15m",
        ),
        (
            json!({"max_expires": "8d"}),
            "max_expires: must be between 1s and 7d",
        ),
        (
            json!({"max_body_bytes": 1_u64 << 40}),
            "max_body_bytes: must be between 0 and 67108864",
        ),
        (
            json!({"unsigned_payload": "alow"}),
            "unsigned_payload: unknown value; did you mean `allow`?",
        ),
        (
            json!({"max_expire": "1m"}),
            "max_expire: unknown key; did you mean `max_expires`?",
        ),
        (
            credentials(json!([])),
            "credentials: must not be empty; add an entry or leave the key out",
        ),
        (
            credentials(json!([key(json!({})), key(json!({}))])),
            "credentials[1].access_key_id: stands in auth.providers[0].settings.credentials[0].access_key_id already; every access key id has one secret",
        ),
        (
            credentials(json!([key(json!({"access_key_id": "AK/ID"}))])),
            "credentials[0].access_key_id: is not an access key id: 1 to 128 letters, digits, `_` or `-`",
        ),
        (
            credentials(json!([key(json!({"access_key_id": null}))])),
            "credentials[0].access_key_id: is required",
        ),
        (
            credentials(json!([key(json!({"user_id": null}))])),
            "credentials[0].user_id: is required",
        ),
        (
            credentials(json!([key(json!({"user_id": "a\nb"}))])),
            "credentials[0].user_id: must be at most 2048 bytes without control characters",
        ),
        (
            credentials(json!([key(json!({"groups": ["a", "b\r"]}))])),
            "credentials[0].groups[1]: must be at most 2048 bytes without control characters",
        ),
        (
            credentials(json!([key(json!({"secret_env": null}))])),
            "credentials[0]: needs exactly one of secret_env, secret_access_key",
        ),
        (
            credentials(json!([key(json!({"secret_access_key": TOKEN}))])),
            "credentials[0]: needs exactly one of secret_env, secret_access_key",
        ),
        (
            credentials(json!([key(json!({"secret_env": "NOT_SET"}))])),
            "credentials[0].secret_env: the environment variable `NOT_SET` is not set, or empty",
        ),
        (
            credentials(json!([key(json!({"secret_env": "EMPTY"}))])),
            "credentials[0].secret_env: the environment variable `EMPTY` is not set, or empty",
        ),
        (
            credentials(json!([key(json!({"secret_env": "SPACED"}))])),
            "credentials[0].secret_env: has white space or a character outside ASCII, as no secret access key has; look for a line feed at its end",
        ),
        (
            credentials(json!([key(json!({"session_token": "a b"}))])),
            "credentials[0].session_token: has white space or a character outside ASCII, so no request could carry it",
        ),
    ];
    for (settings, expected) in table {
        let config = sigv4(settings);
        assert_eq!(
            crate::errors(&config),
            [format!("{base}.{expected}")],
            "{config}"
        );
    }
    let nothing = json!({"auth": {"providers": [{"type": "sigv4"}]}});
    let missing = ["service", "region", "credentials"].map(|k| format!("{base}.{k}: is required"));
    assert_eq!(crate::errors(&nothing), missing);
}

#[test]
fn warnings() {
    let base = "auth.providers[0].settings";
    let literal = json!({"secret_env": null, "secret_access_key": "hunter2", "session_token": "t"});
    let config = sigv4(json!({"unsigned_payload": "allow", "credentials": [key(literal)]}));
    assert_eq!(
        crate::warnings(&config),
        [
            format!(
                "{base}.credentials[0].secret_access_key: a secret in the configuration; prefer `secret_env`"
            ),
            format!(
                "{base}.credentials[0].secret_access_key: is shorter than 16 characters and can be guessed"
            ),
            format!(
                "{base}.credentials[0].session_token: a secret in the configuration; prefer `secret_env`"
            ),
            format!(
                "{base}.unsigned_payload: whoever stands between a caller and this proxy can replace the bodies of requests that leave them unsigned"
            ),
        ]
    );
    assert_eq!(crate::warnings(&sigv4(json!({}))), [""; 0]);
}

#[test]
fn a_secret_shows_nowhere() {
    let config = sigv4(
        json!({"credentials": [key(json!({"secret_env": null, "secret_access_key": "correct-horse-battery", "session_token": "staple-4711"}))]}),
    );
    let shown = format!(
        "{:?} {:?}",
        crate::policy(&config),
        crate::warnings(&config)
    );
    let written = portcullis_core::config::parse(config.to_string().as_bytes()).unwrap();
    let shown = format!("{shown} {written:?}");
    assert!(
        !shown.contains("correct-horse") && !shown.contains("staple"),
        "{shown}"
    );
}
