//! Configurations on nginx: good, bad, in two parts; and what has to stand around the filter.

use std::time::Duration;

use portcullis_test_host::{Host, Module, Profile, Request, Settings, nginx_parameter};
use serde_json::{Value, json};

use crate::{answer, oidc, orders, refused, settings, start, start_with, with};

/// A key of `tests/scenarios`, and its record.
const KEY: &str = "gak_aaaaaaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_4aT835";
const HASH: &str = "sha256:e0158a898bb8d6e4326ad9cf785a3b05982af3dfc5dc77e83a0252bb0acb4cd9";

#[test]
fn an_undeclared_variable_refuses_everybody_and_says_which() {
    for missing in [
        "portcullis_decision",
        "portcullis_user_id",
        "portcullis_key_id",
    ] {
        let mut settings = settings();
        settings.variables.remove(missing);
        let mut host = start_with(settings, &oidc());
        let id = host.send(0, Request::get("/healthz"));
        assert_eq!(answer(&host, id).status, 503);
        assert!(
            host.logged(&format!("set ${missing} \"\";")),
            "{:?}",
            host.log()
        );
    }
}

#[test]
fn a_bad_configuration_loads_and_denies_everybody() {
    for (config, reason) in [
        (json!({"auth": {"providers": []}}).to_string(), "auth.providers"),
        ("{".to_owned(), "is not JSON"),
        (String::new(), "is empty"),
        (json!({"host": "envoy", "auth": oidc()["auth"]}).to_string(), "host: this is nginx"),
        (
            json!({"auth": oidc()["auth"], "callouts": {"upstreams": {"issuer.example": "issuer.example:99999"}}}).to_string(),
            "callouts.upstreams[",
        ),
    ] {
        let mut host = Host::start(&Module::built(), settings(), config.as_bytes()).unwrap();
        for request in [orders().token("x"), Request::get("/healthz")] {
            let id = host.send(0, request);
            refused(&host, id, 503, "no_policy");
            let body = String::from_utf8(answer(&host, id).body).unwrap();
            assert!(body.contains("no usable configuration is in force"), "{body}");
        }
        assert!(host.logged(reason), "{reason}: {:?}", host.log());
        assert!(host.logged("configuration refused: "), "{:?}", host.log());
        assert!(host.metrics().value("portcullis.config.refused") >= 1);
        host.advance(Duration::from_secs(2));
    }
}

#[test]
fn a_reload_with_a_bad_configuration_denies_and_a_good_one_mends_it() {
    let mut host = start(&oidc());
    host.reload(b"{}").unwrap();
    let id = host.send(0, Request::get("/healthz"));
    refused(&host, id, 503, "no_policy");
    host.reload(oidc().to_string().as_bytes()).unwrap();
    let id = host.send(0, Request::get("/healthz"));
    assert!(host.stream(id).forwarded().is_some());
}

fn blocks() -> (Value, Value) {
    let mut plugin = oidc();
    let agent = plugin.as_object_mut().unwrap().remove("agent").unwrap();
    (json!({"host": "nginx", "agent": agent}), plugin)
}

#[test]
fn a_configuration_may_come_in_two_parts() {
    for profile in Profile::ALL {
        let (vm, plugin) = blocks();
        let mut settings = match profile {
            Profile::Nginx => settings(),
            Profile::Envoy => Settings::new(profile),
        };
        let vm = match profile {
            Profile::Nginx => vm,
            Profile::Envoy => json!({"agent": vm["agent"]}),
        };
        settings.vm_configuration = vm.to_string().into_bytes();
        let mut host = start_with(settings, &plugin);
        let id = host.send(0, Request::get("/healthz"));
        assert!(host.stream(id).forwarded().is_some());
        let id = host.send(0, orders());
        assert_eq!(
            host.stream(id).audit().unwrap()["fields"]["agent"],
            "orders"
        );
    }
}

#[test]
fn a_block_in_both_parts_is_refused() {
    let (mut vm, plugin) = blocks();
    vm["auth"] = json!({"required": false, "providers": []});
    let mut on_nginx = settings();
    on_nginx.vm_configuration = vm.to_string().into_bytes();
    let mut host = start_with(on_nginx, &plugin);
    let id = host.send(0, Request::get("/healthz"));
    refused(&host, id, 503, "no_policy");
    assert!(
        host.logged("auth: stands in the VM configuration as well"),
        "{:?}",
        host.log()
    );
    let mut on_envoy = Settings::new(Profile::Envoy);
    on_envoy.vm_configuration = vm.to_string().into_bytes();
    let refused = Host::start(&Module::built(), on_envoy, plugin.to_string().as_bytes());
    assert!(refused.is_err());
}

#[test]
fn without_a_zone_only_what_limits_rates_does_not_start() {
    let mut none = settings();
    none.shm_kv = None;
    let mut host = start_with(none.clone(), &oidc());
    let id = host.send(0, Request::get("/healthz"));
    assert!(host.stream(id).forwarded().is_some());
    host.advance(Duration::from_secs(2));
    let keys = with(json!({"type": "api_key", "settings": {"keys": []}}));
    assert!(Host::start(&Module::built(), none, keys.to_string().as_bytes()).is_err());
}

/// What no single parameter of nginx holds, in the two that there are.
#[test]
fn a_configuration_of_more_than_four_kilobytes_comes_in_two_parts() {
    let keys: Vec<Value> = (0..14)
        .map(|n| {
            json!({"id": format!("aaaaaaaaaaa{}", char::from(b'a' + n)), "hash": HASH, "scope": {"agent": "orders"},
                "expires_at": "never", "created_at": 1_700_000_000, "owner": "o'neill@example.com"})
        })
        .collect();
    let mut plugin = with(json!({"type": "api_key", "settings": {"keys": keys}}));
    let agent = plugin.as_object_mut().unwrap().remove("agent").unwrap();
    let mut agents = json!({});
    for n in 0..40 {
        agents[format!("agent-{n}")] = json!({"owner": "alice@example.com", "org": "acme"});
    }
    agents["orders"] =
        json!({"owner": "alice@example.com", "org": "acme", "workspace": "payments"});
    let vm = json!({"host": "nginx", "agent": agent, "agents": agents});

    let mut whole = plugin.clone();
    for (block, value) in vm.as_object().unwrap() {
        whole[block] = value.clone();
    }
    // As they stand between single quotes.
    let quoted = |value: &Value| value.to_string().replace('\'', "\\'");
    assert!(
        nginx_parameter(&quoted(&whole)).is_err(),
        "it would have fitted"
    );
    let (vm, plugin) = (
        nginx_parameter(&quoted(&vm)),
        nginx_parameter(&quoted(&plugin)),
    );
    let (vm, plugin) = (vm.unwrap(), plugin.unwrap());
    assert!(vm.len() + plugin.len() > 4096);

    let mut settings = settings();
    settings.vm_configuration = vm;
    let mut host = Host::start(&Module::built(), settings, &plugin).unwrap();
    let id = host.send(0, orders().header("x-api-key", KEY));
    let stream = host.stream(id);
    let forwarded = stream
        .forwarded()
        .unwrap_or_else(|| panic!("{:?}", stream.fate));
    assert_eq!(forwarded.all("x-auth-user-id"), ["o'neill@example.com"]);
    assert_eq!(forwarded.all("x-auth-workspace-id"), ["payments"]);
}

/// The error log cuts its lines; the variable does not.
#[test]
fn a_long_audit_event_comes_out_whole_by_its_variable() {
    let long = |part: &str| part.repeat(1000);
    let (user, org) = (long("u"), long("o"));
    let mut config = with(json!({"type": "static_token", "settings": {
        "token_env": "TOKEN", "identity": {"user_id": user, "org_id": org, "workspace_id": long("w")}}}));
    config["audit"] = json!({"sinks": ["filter_state", "log"]});
    let mut settings = settings();
    let token = "a-token-for-this-test-and-no-other";
    settings.env.insert("TOKEN".to_owned(), token.to_owned());
    let mut host = start_with(settings, &config);
    let id = host.send(0, orders().token(token));
    let event = host.stream(id).left("portcullis_audit").unwrap();
    assert!(event.len() > 2047, "{}", event.len());
    let event: Value = serde_json::from_str(&event).unwrap();
    assert_eq!(event["fields"]["user_id"], user);
    assert_eq!(event["org_id"], org);
    let logged = host
        .log()
        .into_iter()
        .find(|line| line.text.contains("auth_verify"));
    assert_eq!(logged.unwrap().text.len(), 2047);
}
