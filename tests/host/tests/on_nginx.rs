//! The shipped module on nginx: who gets in, who is kept out, and what a bad peer, a bad caller or a bad configuration makes of it. A
//! trap, a request left undecided, one that hangs: each fails the test by itself (`Host` says so when it is dropped).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use portcullis_test_host::{
    Fate, Host, LocalReply, Module, Profile, Reply, Request, Settings, Status,
};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

const ISSUER: &str = "https://issuer.example";
const PARTS: [&str; 8] = [
    "user_id",
    "email",
    "org_id",
    "workspace_id",
    "groups",
    "provider",
    "agent",
    "key_id",
];

/// What `examples/nginx/nginx.conf` sets around the filter.
fn settings() -> Settings {
    let mut settings = Settings::new(Profile::Nginx);
    for name in ["decision", "audit"].iter().chain(&PARTS) {
        settings.variables.insert(format!("portcullis_{name}"));
    }
    for part in PARTS {
        let header = format!("x-auth-{}", part.replace('_', "-"));
        let variable = format!("portcullis_{part}");
        settings.proxy_set_header.insert(header, variable);
    }
    // A variable that nobody sets: the header goes.
    for name in ["authorization", "x-api-key"] {
        settings
            .proxy_set_header
            .insert(name.to_owned(), "empty".to_owned());
    }
    let guard = ("portcullis_decision".to_owned(), "allow".to_owned());
    settings.guard = Some(guard);
    let protocol = b"HTTP/1.1".to_vec();
    settings
        .properties
        .insert("ngx.server_protocol".to_owned(), protocol);
    settings
}

fn start_with(settings: Settings, config: &Value) -> Host {
    let config = config.to_string();
    Host::start(&Module::built(), settings, config.as_bytes()).unwrap_or_else(|e| panic!("{e}"))
}

fn start(config: &Value) -> Host {
    start_with(settings(), config)
}

fn with(provider: Value) -> Value {
    json!({"auth": {"providers": [provider], "skip": ["GET /healthz"]}, "agent": {"path": "/rest/{agent}"}})
}

fn oidc() -> Value {
    with(json!({"type": "oidc", "settings": {"issuer": ISSUER, "audience": "api://agents"}}))
}

fn verifier() -> Value {
    with(json!({"type": "http_verifier", "settings": {
        "url": "https://verifier.example/check", "default_org": "acme", "cache_ttl": "1m"}}))
}

fn signer() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

fn key_set(kid: &str) -> String {
    let x = B64.encode(signer().public_key().as_ref());
    json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": x}]}).to_string()
}

fn token(kid: &str, subject: &str) -> String {
    let b64 = |value: Value| B64.encode(value.to_string());
    let head = b64(json!({"alg": "EdDSA", "kid": kid}));
    let claims = b64(
        json!({"iss": ISSUER, "aud": "api://agents", "sub": subject, "email": "a@example.com",
        "exp": 1_767_225_600 + 3600, "iat": 1_767_225_600}),
    );
    let signed = format!("{head}.{claims}");
    let signature = signer().sign(signed.as_bytes());
    format!("{signed}.{}", B64.encode(signature.as_ref()))
}

fn discovery() -> Reply {
    Reply::json(
        200,
        json!({"issuer": ISSUER, "jwks_uri": format!("{ISSUER}/jwks")}).to_string(),
    )
}

/// An issuer in good health.
fn issuer(host: &mut Host) -> usize {
    host.serve(|callout| match callout.header(":path").as_str() {
        "/.well-known/openid-configuration" => Some(discovery()),
        "/jwks" => Some(Reply::json(200, key_set("k1"))),
        _ => None,
    })
}

/// Lets the timer fetch the keys, a step at a time.
fn fetched(host: &mut Host) {
    for _ in 0..3 {
        host.advance(Duration::from_millis(60));
        issuer(host);
    }
}

fn orders() -> Request {
    Request::get("/rest/orders")
}

fn answer(host: &Host, id: u32) -> LocalReply {
    match host.fate(id) {
        Fate::Answered(reply) => reply,
        other => panic!("not answered: {other:?}"),
    }
}

/// Status and code of a refusal; the guard is shut behind it.
fn refusal(host: &Host, id: u32) -> (u32, String) {
    let reply = answer(host, id);
    let stream = host.stream(id);
    assert_eq!(stream.left("portcullis_decision").as_deref(), Some("deny"));
    let code = stream
        .audit()
        .map_or(Value::Null, |a| a["fields"]["code"].clone());
    (reply.status, code.as_str().unwrap_or_default().to_owned())
}

fn refused(host: &Host, id: u32, status: u32, code: &str) {
    assert_eq!(refusal(host, id), (status, code.to_owned()));
}

#[test]
fn identity_goes_out_in_variables_and_credentials_end_here() {
    let mut host = start(&oidc());
    fetched(&mut host);
    let id = host.send(0, orders().token(&token("k1", "alice")));
    let stream = host.stream(id);
    assert_eq!(stream.left("portcullis_decision").as_deref(), Some("allow"));
    let forwarded = stream
        .forwarded()
        .unwrap_or_else(|| panic!("{:?}", stream.fate));
    assert_eq!(forwarded.all("x-auth-user-id"), ["alice"]);
    assert_eq!(forwarded.all("x-auth-email"), ["a@example.com"]);
    assert_eq!(forwarded.all("x-auth-agent"), ["orders"]);
    assert_eq!(forwarded.all("x-auth-provider"), ["oidc"]);
    assert_eq!(forwarded.all("x-auth-key-id"), [""; 0]);
    assert_eq!(forwarded.all("authorization"), [""; 0]);
    let audit = stream.audit().unwrap();
    assert_eq!(
        (&audit["event"], &audit["fields"]["user_id"]),
        (&json!("auth_verify"), &json!("alice"))
    );
    drop(stream);
    // Nothing here touches a header: what is removed by a host call defeats `proxy_set_header`.
    let calls = host.calls();
    for call in [
        "proxy_remove_header_map_value",
        "proxy_replace_header_map_value",
        "proxy_call_foreign_function",
        "proxy_set_effective_context",
        "proxy_continue_stream",
    ] {
        assert_eq!(calls.get(call), None, "{call}");
    }
    assert_eq!(calls["proxy_set_tick_period_milliseconds"], 1);
}

#[test]
fn a_skipped_path_passes_the_guard_with_no_identity() {
    let mut host = start(&oidc());
    let id = host.send(0, Request::get("/healthz"));
    let stream = host.stream(id);
    let forwarded = stream.forwarded().unwrap();
    for part in PARTS {
        let header = format!("x-auth-{}", part.replace('_', "-"));
        assert_eq!(forwarded.all(&header), [""; 0]);
    }
}

#[test]
fn identity_headers_of_a_caller_are_refused_with_400() {
    let mut host = start(&oidc());
    for name in [
        "x-auth-user-id",
        "X-AUTH-Groups",
        "x_auth_email",
        "x-goog-authenticated-user-email",
    ] {
        for request in [
            orders().token(&token("k1", "alice")),
            Request::get("/healthz"),
        ] {
            let id = host.send(0, request.header(name, "mallory"));
            refused(&host, id, 400, "identity_header");
        }
    }
    let id = host.send(
        0,
        Request::get("/healthz").header("Connection", "x-auth-user-id"),
    );
    refused(&host, id, 400, "identity_header");
}

#[test]
fn a_head_that_may_be_cut_is_refused() {
    let mut host = start(&oidc());
    let mut request = Request::get("/healthz");
    for i in 0..120 {
        request = request.header(&format!("x-{i}"), "1");
    }
    let id = host.send(0, request.header("x-auth-user-id", "mallory"));
    refused(&host, id, 400, "too_many_headers");
}

#[test]
fn discovery_and_keys_come_tick_by_tick_before_anybody_asks() {
    let mut host = start(&oidc());
    assert_eq!(host.callouts().len(), 0, "none from on_configure");
    host.advance(Duration::from_millis(60));
    let callout = host.callout_to("/.well-known/");
    assert_eq!(callout.upstream, "issuer.example:443");
    assert_eq!(callout.header(":scheme"), "https");
    host.reply(callout.token, discovery());
    assert_eq!(
        host.callouts().len(),
        0,
        "no chain in the root's own callback"
    );
    host.advance(Duration::from_millis(60));
    let callout = host.callout_to("/jwks");
    host.reply(callout.token, Reply::json(200, key_set("k1")));
    let id = host.send(0, orders().token(&token("k1", "alice")));
    assert!(host.stream(id).forwarded().is_some());
}

#[test]
fn a_request_before_the_keys_fetches_them_and_is_decided_in_that_callback() {
    let mut host = start(&oidc());
    let id = host.send(0, orders().token(&token("k1", "alice")));
    let callout = host.callout_to("/.well-known/");
    assert_eq!(callout.context, host.stream(id).context);
    assert_eq!(host.fate(id), Fate::Held);
    let left = host.stream(id).audit().unwrap();
    assert_eq!(left["fields"]["code"], "cancelled", "until it is decided");
    host.reply(callout.token, discovery());
    let callout = host.callout_to("/jwks");
    assert_eq!(callout.context, host.stream(id).context);
    host.reply(callout.token, Reply::json(200, key_set("k1")));
    let stream = host.stream(id);
    let forwarded = stream
        .forwarded()
        .unwrap_or_else(|| panic!("{:?}", stream.fate));
    assert_eq!(forwarded.all("x-auth-user-id"), ["alice"]);
}

#[test]
fn twenty_at_once_each_send_their_own_and_are_each_decided() {
    let mut host = start(&oidc());
    let good: Vec<u32> = (0..10)
        .map(|_| host.send(0, orders().token(&token("k1", "alice"))))
        .collect();
    let bad: Vec<u32> = (0..10)
        .map(|_| host.send(0, orders().token(&token("k2", "alice"))))
        .collect();
    assert_eq!(host.callouts().len(), 20);
    while issuer(&mut host) > 0 {}
    for id in good {
        assert!(host.stream(id).forwarded().is_some(), "{:?}", host.fate(id));
    }
    for id in bad {
        refused(&host, id, 401, "unknown_kid");
    }
}

/// Everything that can come back in place of what was asked for.
fn faults() -> Vec<(&'static str, Reply)> {
    let bad = |status, body: &str| Reply::json(status, body);
    vec![
        ("broken", Reply::Broken),
        ("timeout", Reply::Timeout),
        ("unresolved", Reply::Unresolved),
        ("tls", Reply::TlsFailed),
        ("closed", Reply::NoReply),
        ("truncated", Reply::Truncated(Box::new(bad(200, "{")), 1000)),
        (
            "close-delimited",
            Reply::CloseDelimited(Box::new(bad(200, &key_set("k1")))),
        ),
        ("empty", bad(200, "")),
        ("garbage", bad(200, "<html>")),
        ("not found", bad(404, "{}")),
        ("error", bad(500, "oops")),
        (
            "redirect",
            bad(302, "").header("location", "https://evil.example/"),
        ),
        (
            "foreign",
            bad(
                200,
                r#"{"issuer":"https://evil.example","jwks_uri":"https://evil.example/jwks"}"#,
            ),
        ),
        ("too large", bad(200, &"x".repeat(2 << 20))),
    ]
}

#[test]
fn whatever_comes_back_for_keys_the_request_is_refused_once() {
    for (what, fault) in faults() {
        for step in ["/.well-known/", "/jwks"] {
            let mut host = start(&oidc());
            let id = host.send(0, orders().token(&token("k1", "alice")));
            if step == "/jwks" {
                let callout = host.callout_to("/.well-known/");
                host.reply(callout.token, discovery());
            }
            let callout = host.callout_to(step);
            host.reply(callout.token, fault.clone());
            println!("{what} at {step}");
            refused(&host, id, 503, "keys_unavailable");
            assert_eq!(host.callouts().len(), 0, "{what}");
        }
    }
}

#[test]
fn whatever_a_verifier_answers_is_decided_once() {
    for (what, fault) in faults() {
        let mut host = start(&verifier());
        let id = host.send(0, orders().token("opaque"));
        let callout = host.callout_to("/check");
        assert_eq!(callout.context, host.stream(id).context);
        host.reply(callout.token, fault);
        let (status, code) = refusal(&host, id);
        println!("{what}: {status} {code}");
        assert!(status == 503 || status == 401, "{what}: {status} {code}");
    }
    let mut host = start(&verifier());
    let id = host.send(0, orders().token("opaque"));
    let callout = host.callout_to("/check");
    host.reply(
        callout.token,
        Reply::json(200, r#"{"valid":true,"user_id":"bob","org_id":"acme"}"#),
    );
    let stream = host.stream(id);
    assert_eq!(stream.forwarded().unwrap().all("x-auth-user-id"), ["bob"]);
}

#[test]
fn a_callout_that_nobody_answers_ends_with_its_timeout() {
    let mut host = start(&verifier());
    let id = host.send(0, orders().token("opaque"));
    host.advance(Duration::from_secs(30));
    refused(&host, id, 503, "lookup_unavailable");
}

#[test]
fn a_client_that_leaves_is_written_down_and_hurts_nobody() {
    let mut host = start(&verifier());
    for i in 0..20 {
        let id = host.send(0, orders().token(&format!("opaque-{i}")));
        host.cancel(id);
        assert_eq!(
            host.stream(id).audit().unwrap()["fields"]["code"],
            "cancelled"
        );
    }
    host.advance(Duration::from_secs(30));
    let id = host.send(0, orders().token("opaque"));
    let callout = host.callout_to("/check");
    host.reply(
        callout.token,
        Reply::json(200, r#"{"valid":true,"user_id":"bob","org_id":"acme"}"#),
    );
    assert!(host.stream(id).forwarded().is_some());
}

#[test]
fn too_many_who_wait_are_told_at_once() {
    let mut config = verifier();
    config["limits"] = json!({"waiting_requests": 3});
    let mut host = start(&config);
    let held: Vec<u32> = (0..3)
        .map(|i| host.send(0, orders().token(&format!("o-{i}"))))
        .collect();
    let id = host.send(0, orders().token("one-more"));
    refused(&host, id, 503, "too_many_waiting");
    assert_eq!(host.callouts().len(), 3);
    assert!(held.iter().all(|id| host.fate(*id) == Fate::Held));
    for id in held {
        host.cancel(id);
    }
}

#[test]
fn host_calls_that_fail_while_a_request_waits_refuse_it() {
    let failing = [
        ("proxy_http_call", "keys_unavailable"),
        ("proxy_get_header_map_pairs", "host_failure"),
    ];
    for (function, code) in failing {
        let mut host = start(&oidc());
        host.inject(portcullis_test_host::Fault::returns(
            function,
            Status::INTERNAL_FAILURE,
        ));
        let id = host.send(0, orders().token(&token("k1", "alice")));
        refused(&host, id, 503, code);
        host.heal();
    }
    // The reply can't be read, or the time not be told, in the callback itself.
    for (function, code) in [
        ("proxy_get_header_map_pairs", "keys_unavailable"),
        ("proxy_get_buffer_bytes", "keys_unavailable"),
        ("proxy_get_current_time_nanoseconds", "host_failure"),
    ] {
        let mut host = start(&oidc());
        let id = host.send(0, orders().token(&token("k1", "alice")));
        let callout = host.callout_to("/.well-known/");
        host.inject(portcullis_test_host::Fault::returns(
            function,
            Status::INTERNAL_FAILURE,
        ));
        host.reply(callout.token, discovery());
        host.heal();
        println!("{function}");
        refused(&host, id, 503, code);
    }
}

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
fn the_guard_opens_last() {
    // Every property that is set fails once; nobody gets in without all of them.
    for nth in 0..12 {
        let mut host = start(&oidc());
        let fault =
            portcullis_test_host::Fault::returns("proxy_set_property", Status::INTERNAL_FAILURE);
        host.inject(fault.after(nth).times(1));
        let id = host.send(0, Request::get("/healthz"));
        let hit = host.heal() > 0;
        assert_eq!(
            matches!(host.fate(id), Fate::Forwarded(_)),
            !hit,
            "{nth}: {:?}",
            host.fate(id)
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

#[test]
fn the_path_and_the_host_are_the_clients() {
    let mut config = oidc();
    config["agent"] = json!({"host": "{agent}.agents.test"});
    config["auth"]["providers"][0]["agents"] = json!(["orders"]);
    let mut settings = settings();
    // The server's own name must not name the agent.
    settings.server_name = "orders.agents.test:8080".to_owned();
    let mut host = start_with(settings, &config);
    fetched(&mut host);
    for (name, fate) in [
        ("orders.agents.test", None),
        ("billing.agents.test", Some("forbidden_agent")),
    ] {
        let mut request = orders().token(&token("k1", "alice"));
        request.host = name.to_owned();
        let id = host.send(0, request);
        match fate {
            None => assert!(host.stream(id).forwarded().is_some(), "{:?}", host.fate(id)),
            Some(code) => refused(&host, id, 403, code),
        }
    }
    // Decoded it would be the public path.
    let id = host.send(0, Request::get("/%68ealthz"));
    refused(&host, id, 401, "missing_token");
    assert_eq!(
        host.stream(id).audit().unwrap()["fields"]["path"],
        "/%68ealthz"
    );
}

#[test]
fn nothing_of_a_refusal_shows_in_the_status_line() {
    let mut host = start(&oidc());
    let id = host.send(0, orders());
    assert_eq!(answer(&host, id).details, "");
    refused(&host, id, 401, "missing_token");
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

fn signed_config() -> Value {
    with(json!({"type": "sigv4", "settings": {
        "service": "execute-api", "region": "eu-west-1", "unsigned_payload": "deny",
        "credentials": [{"access_key_id": "AKIDEXAMPLE", "secret_access_key": "0123456789abcdef0123456789abcdef01234567", "user_id": "robot"}]}}))
}

#[test]
fn a_signed_request_with_a_body_is_refused_in_so_many_words() {
    // Well-formed, of a known key, and its body claimed: whatever the signature is worth, nothing hangs and nothing gets in.
    let mut host = start(&signed_config());
    for body in [false, true] {
        let mut request = Request::new("POST", "/rest/orders")
            .header("X-Amz-Date", "20260101T000000Z")
            .header(
                "Authorization",
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/eu-west-1/execute-api/aws4_request, \
                 SignedHeaders=host;x-amz-date, Signature=0000000000000000000000000000000000000000000000000000000000000000",
            );
        if body {
            request = request.header("Content-Length", "4").piece("body");
        }
        let id = host.send(0, request);
        let expected = if body {
            (503, "body_not_seen")
        } else {
            (401, "bad_signature")
        };
        assert_eq!(refusal(&host, id), (expected.0, expected.1.to_owned()));
    }
}

#[test]
fn workers_fetch_for_themselves_and_share_no_document() {
    let mut settings = settings();
    settings.workers = 2;
    // A key set larger than the zone would be a trap.
    settings.shm_kv = Some(4096);
    let mut host = start_with(settings, &oidc());
    for n in 0..2 {
        let id = host.send(n, orders().token(&token("k1", "alice")));
        while issuer(&mut host) > 0 {}
        assert!(host.stream(id).forwarded().is_some());
    }
    assert_eq!(host.shared().keys().count(), 0);
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
