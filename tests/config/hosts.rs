//! `host`, and a configuration in two parts.

use portcullis_core::config::{self, ConfigErrors, Hazard, Warning};
use portcullis_core::policy::{Host, Policy, Spoofed};
use serde_json::{Value, json};

fn base(changes: &Value) -> Value {
    let mut config = json!({"auth": {"providers": [{"type": "oidc",
        "settings": {"issuer": "https://issuer.example", "audience": "a"}}]}});
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn load(config: &Value) -> Result<(Policy, Vec<Warning>), ConfigErrors> {
    config::load(config.to_string().as_bytes(), &|_| None)
}

fn words(config: &Value) -> String {
    load(config).unwrap_err().to_string()
}

#[test]
fn a_host_is_one_of_three() {
    for (written, host) in [
        ("auto", None),
        ("envoy", Some(Host::Envoy)),
        ("nginx", Some(Host::Nginx)),
    ] {
        let (policy, warnings) = load(&base(&json!({"host": written}))).unwrap();
        assert_eq!(policy.host, host);
        assert_eq!(
            policy.identity.spoofed == Spoofed::Refused,
            host == Some(Host::Nginx)
        );
        assert_eq!(warnings, []);
    }
    assert_eq!(
        words(&base(&json!({"host": "ngnix"}))),
        "host: unknown value; did you mean `nginx`?"
    );
    for (text, host) in [
        ("{\"host\":\"nginx\",\"auth\":1}", Some(Host::Nginx)),
        ("{\"host\":1}", None),
        ("{", None),
        ("[]", None),
    ] {
        assert_eq!(config::host_of(text.as_bytes()), host, "{text}");
    }
}

#[test]
fn what_nginx_can_not_connect_to_is_an_error_there() {
    for bad in [
        "issuer.example:0",
        "issuer.example:65536",
        "issuer.example:https",
        "unix:relative",
        "http://issuer.example",
        "a b",
    ] {
        let upstreams = json!({"upstreams": {"issuer.example": bad}});
        let on_nginx = base(&json!({"host": "nginx", "callouts": upstreams}));
        let error = words(&on_nginx);
        assert!(
            error.contains("is no place that nginx can connect to"),
            "{error}"
        );
        assert!(error.starts_with("callouts.upstreams"), "{error}");
        // A cluster's name may be anything, and nothing says that this is for nginx.
        load(&base(&json!({"callouts": upstreams}))).unwrap();
    }
    for good in [
        "issuer.example",
        "issuer.example:8443",
        "unix:/run/keys.sock",
    ] {
        load(&base(
            &json!({"host": "nginx", "callouts": {"upstreams": {"issuer.example": good}}}),
        ))
        .unwrap();
    }
}

#[test]
fn what_works_less_well_on_nginx_is_a_warning_there() {
    let mut config = base(&json!({"host": "nginx", "audit": {"sinks": ["filter_state", "log"]}}));
    config["auth"]["providers"] = json!([{"type": "sigv4", "settings": {"service": "s", "region": "eu-west-1",
        "credentials": [{"access_key_id": "AKID", "secret_access_key": "0123456789012345678901234567890123456789", "user_id": "u"}]}}]);
    let hazards = |config: &Value| -> Vec<Hazard> {
        let (_, warnings) = load(config).unwrap();
        warnings
            .into_iter()
            .map(|w| w.hazard)
            .filter(|h| *h != Hazard::LiteralSecretKey)
            .collect()
    };
    assert_eq!(
        hazards(&config),
        [Hazard::CutAuditLines, Hazard::NoSignedBodies]
    );
    config["host"] = json!("auto");
    assert_eq!(hazards(&config), []);
    let (mut policy, _) = load(&config).unwrap();
    let first = config::fit(&mut policy, Host::Nginx).unwrap();
    assert_eq!(first.len(), 2);
    assert_eq!(config::fit(&mut policy, Host::Nginx).unwrap(), first);
}

fn merged(vm: &str, plugin: &str) -> Result<String, String> {
    config::merge(vm.as_bytes(), plugin.as_bytes())
        .map(|text| String::from_utf8(text.into_owned()).unwrap())
        .map_err(|errors| errors.to_string())
}

#[test]
fn two_parts_are_the_blocks_of_both() {
    assert_eq!(
        merged("", " {\"a\": 1}").as_deref(),
        Ok(" {\"a\": 1}"),
        "one alone stays as it is"
    );
    assert_eq!(merged("{\"a\": 1}", "\n").as_deref(), Ok("{\"a\": 1}"));
    assert_eq!(
        merged(" {\"a\": [1, {}]} ", "{ \"b\": \"}\" }").as_deref(),
        Ok("{\"a\": [1, {}], \"b\": \"}\" }")
    );
    assert_eq!(merged("{}", "{\"b\": 1}").as_deref(), Ok("{\"b\": 1}"));
    assert_eq!(merged("{}", "{ }").as_deref(), Ok("{}"));
    // Lists of keys are read one by one, and have to come through as they are.
    let keys =
        "{\"auth\": {\"providers\": [{\"type\": \"api_key\", \"settings\": {\"keys\": []}}]}}";
    let text = merged("{\"agent\": {\"fixed\": \"orders\"}}", keys).unwrap();
    config::load(text.as_bytes(), &|_| None).unwrap();
}

#[test]
fn no_block_stands_in_both_parts() {
    let error = merged(
        "{\"auth\": {}, \"limits\": {}}",
        "{\"limits\": {}, \"auth\": {}}",
    )
    .unwrap_err();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines.len(), 2, "{error}");
    assert!(
        lines[0].starts_with("auth: stands in the VM configuration as well"),
        "{error}"
    );
    // Another spelling of a name is the same name.
    assert!(merged("{\"auth\": {}}", "{\"\\u0061uth\": {}}").is_err());
    for (vm, plugin) in [
        ("[]", "{}"),
        ("{}", "1"),
        ("{", "{}"),
        ("{}", "{}}"),
        ("{\"a\":1,\"a\":2}", "{}"),
        ("{}, {}", "{\"b\":1}"),
    ] {
        assert!(merged(vm, plugin).is_err(), "{vm} {plugin}");
    }
}
