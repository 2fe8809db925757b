//! RFC 9728: what clients learn without a credential, and from whom they never learn it.

use portcullis_core::answer::Field;
use portcullis_core::decision::{Decision, Served, Step};
use serde_json::{Value, json};

#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use crate::support::*;

const ROOT: &str = "/.well-known/oauth-protected-resource";

fn bench(settings: Value) -> Bench {
    let mut config = oidc_config(json!({}));
    config["auth"]["resource_metadata"] = json!({"resource": "https://agents.example"});
    for (name, value) in settings.as_object().unwrap() {
        config["auth"]["resource_metadata"][name] = value.clone();
    }
    Bench::new(&config)
}

fn ask(bench: &mut Bench, method: &'static str, path: &str) -> Option<Served> {
    let mut request = Request::get(path).header("host", "evil.example");
    request.method = method;
    match bench.begin(&request) {
        Step::Done(Decision::Serve(served)) => Some(served),
        Step::Done(Decision::Deny(_)) => None,
        other => panic!("{other:?}"),
    }
}

fn header<'a>(headers: &'a [Field], name: &str) -> Option<&'a str> {
    let mut values = headers.iter().filter(|(n, _)| *n == name);
    let first = values.next().map(|(_, v)| &**v);
    assert!(values.next().is_none(), "{name} twice");
    first
}

fn document(bench: &mut Bench, path: &str) -> Value {
    let served = ask(bench, "GET", path).expect("the metadata");
    assert_eq!(served.status, 200);
    assert_eq!(
        header(&served.headers, "content-type"),
        Some("application/json")
    );
    serde_json::from_str(&served.body).unwrap()
}

fn challenge(bench: &mut Bench, request: &Request) -> String {
    let denial = bench.deny(request);
    header(&denial.headers, "www-authenticate")
        .unwrap()
        .to_owned()
}

#[test]
fn the_document() {
    let mut bench = bench(json!({
        "scopes_supported": ["agents:call", "agents:list"],
        "resource_name": "The fleet",
        "resource_documentation": "https://docs.example/fleet",
        "resource_policy_uri": "https://docs.example/policy",
        "resource_tos_uri": "https://docs.example/tos",
    }));
    let document = document(&mut bench, ROOT);
    assert_eq!(
        document,
        json!({
            "resource": "https://agents.example",
            "authorization_servers": [ISSUER],
            "scopes_supported": ["agents:call", "agents:list"],
            "bearer_methods_supported": ["header"],
            "resource_name": "The fleet",
            "resource_documentation": "https://docs.example/fleet",
            "resource_policy_uri": "https://docs.example/policy",
            "resource_tos_uri": "https://docs.example/tos",
        })
    );
    let served = ask(&mut bench, "GET", ROOT).unwrap();
    assert_eq!(
        header(&served.headers, "cache-control"),
        Some("public, max-age=300")
    );
    assert_eq!(
        header(&served.headers, "access-control-allow-origin"),
        Some("*")
    );
    assert_eq!(served.tally.counter_name(), "portcullis.resource_metadata");
    let few = document_of_minimum();
    assert_eq!(few.as_object().unwrap().len(), 3, "{few}");
}

fn document_of_minimum() -> Value {
    document(&mut bench(json!({})), ROOT)
}

#[test]
fn of_every_path() {
    let mut bench = bench(json!({}));
    for (path, resource) in [
        ("", "https://agents.example"),
        ("/", "https://agents.example"),
        ("/rest/orders", "https://agents.example/rest/orders"),
        ("/rest/orders/", "https://agents.example/rest/orders/"),
        ("?x=y", "https://agents.example"),
        (
            "/rest/orders?resource=https://evil.example",
            "https://agents.example/rest/orders",
        ),
        ("/a%20b", "https://agents.example/a%20b"),
    ] {
        let document = document(&mut bench, &format!("{ROOT}{path}"));
        assert_eq!(document["resource"], resource, "{path}");
        assert_eq!(document["authorization_servers"], json!([ISSUER]));
    }
    // Not ours, or not written as everybody reads it: a credential is needed.
    for path in [
        "x",
        "/..",
        "/../x",
        "/%2e%2e/x",
        "//evil.example",
        "/a\"b",
        "/a<b",
        "/a%2fb",
        "/%61",
        "/a\\b",
        "/a;b",
    ] {
        assert!(
            ask(&mut bench, "GET", &format!("{ROOT}{path}")).is_none(),
            "{path}"
        );
    }
    for path in [
        "/.well-known/oauth-protected-resourc",
        "/.well-known/OAuth-protected-resource",
        "/rest/.well-known/oauth-protected-resource",
        "/.well-known/openid-configuration",
        "//.well-known/oauth-protected-resource",
        "/%2ewell-known/oauth-protected-resource",
    ] {
        assert!(ask(&mut bench, "GET", path).is_none(), "{path}");
    }
}

#[test]
fn of_a_resource_with_a_path() {
    for resource in [
        "https://Agents.Example:8443/rest",
        "https://agents.example:8443/rest",
    ] {
        let mut bench = bench(json!({"resource": resource, "per_path": true}));
        for (path, expected) in [
            ("", Some(resource)),
            ("/rest", Some(resource)),
            (
                "/rest/orders",
                Some("https://agents.example:8443/rest/orders"),
            ),
            ("/other", None),
            ("/restaurant", None),
            ("/", Some(resource)),
        ] {
            let served = ask(&mut bench, "GET", &format!("{ROOT}{path}"));
            let got = served.map(|s| serde_json::from_str::<Value>(&s.body).unwrap());
            let got = got.map(|d| d["resource"].as_str().unwrap().to_owned());
            assert_eq!(got.as_deref(), expected, "{path}");
        }
        for (path, named) in [
            ("/rest/orders", "/rest/orders"),
            ("/rest", "/rest"),
            ("/other", "/rest"),
            ("/restaurant", "/rest"),
        ] {
            assert_eq!(
                challenge(&mut bench, &Request::get(path)),
                format!("Bearer resource_metadata=\"https://agents.example:8443{ROOT}{named}\"")
            );
        }
    }
}

#[test]
fn methods() {
    let mut bench = bench(json!({}));
    let path = format!("{ROOT}/rest/orders");
    let get = ask(&mut bench, "GET", &path).unwrap();
    let head = ask(&mut bench, "HEAD", &path).unwrap();
    assert_eq!(
        (head.status, &head.headers, &head.body),
        (200, &get.headers, &get.body)
    );
    let preflight = ask(&mut bench, "OPTIONS", &path).unwrap();
    assert_eq!((preflight.status, preflight.body.as_str()), (204, ""));
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "GET, HEAD"),
        ("access-control-allow-headers", "*, Authorization"),
    ] {
        assert_eq!(header(&preflight.headers, name), Some(value));
    }
    assert_eq!(
        header(&preflight.headers, "access-control-allow-credentials"),
        None
    );
    for method in ["POST", "PUT", "DELETE", "get", "TRACE"] {
        let served = ask(&mut bench, method, &path).unwrap();
        assert_eq!((served.status, served.body.as_str()), (405, ""), "{method}");
        assert_eq!(header(&served.headers, "allow"), Some("GET, HEAD, OPTIONS"));
    }
    for method in ["OPTIONS", "POST"] {
        assert!(ask(&mut bench, method, &format!("{ROOT}x")).is_none());
    }
}

#[test]
fn challenges_name_it() {
    let named = format!("resource_metadata=\"https://agents.example{ROOT}\"");
    let mut bench = bench(json!({}));
    let request = Request::get("/rest/orders").header("host", "evil.example");
    assert_eq!(challenge(&mut bench, &request), format!("Bearer {named}"));
    for token in [&forged(json!({})), "opaque", "a.b.c"] {
        assert_eq!(
            challenge(&mut bench, &bearer(token)),
            format!("Bearer error=\"invalid_token\", {named}")
        );
    }
    let denial = bench.deny(&request);
    assert_eq!(
        header(&denial.headers, "access-control-expose-headers"),
        Some("WWW-Authenticate")
    );
    // The rest of the answer is what it always was.
    assert_eq!(header(&denial.headers, "cache-control"), Some("no-store"));
    assert_eq!(event(denial.audit)["fields"]["reason"], "missing_token");

    let mut bench = self::bench(json!({"scopes_supported": ["a", "b"]}));
    assert_eq!(
        challenge(&mut bench, &request),
        format!("Bearer {named}, scope=\"a b\"")
    );
    let mut bench = self::bench(json!({"scopes_supported": ["a", "b"], "challenge_scopes": "b"}));
    assert_eq!(
        challenge(&mut bench, &request),
        format!("Bearer {named}, scope=\"b\"")
    );
    let mut bench = self::bench(json!({"scopes_supported": "a", "challenge_scopes": []}));
    assert_eq!(challenge(&mut bench, &request), format!("Bearer {named}"));
}

#[test]
fn challenges_name_the_requests_own_path_where_that_is_asked_for() {
    let mut bench = bench(json!({"per_path": true}));
    for (path, named) in [
        ("/rest/orders", "/rest/orders"),
        ("/rest/orders?a=\"b\"", "/rest/orders"),
        ("/rest/%6frders", "/rest/orders"),
        ("/", "/"),
        // What no URL has, or is read in two ways.
        ("/a\", error=\"x", ""),
        ("/a\"b", ""),
        ("/a/../b", ""),
        ("//evil.example/", ""),
        ("*", ""),
    ] {
        assert_eq!(
            challenge(&mut bench, &Request::get(path)),
            format!("Bearer resource_metadata=\"https://agents.example{ROOT}{named}\""),
            "{path}"
        );
    }
    let long = format!("/{}", "a".repeat(3000));
    let challenge = challenge(&mut bench, &Request::get(&long));
    assert!(
        challenge.ends_with(&format!("{ROOT}{long}\"")),
        "{challenge}"
    );
}

#[test]
fn only_where_it_is_configured() {
    let mut bench = Bench::oidc(json!({}));
    assert!(ask(&mut bench, "GET", ROOT).is_none());
    assert_eq!(challenge(&mut bench, &Request::get("/x")), "Bearer");
    let denial = bench.deny(&Request::get("/x"));
    assert_eq!(
        header(&denial.headers, "access-control-expose-headers"),
        None
    );
}

#[test]
fn no_challenge_where_there_is_none() {
    let mut config = oidc_config(json!({}));
    config["auth"]["resource_metadata"] = json!({"resource": "https://agents.example"});
    config["auth"]["providers"][0]["agents"] = json!("billing");
    config["agent"] = json!({"path": "/rest/{agent}"});
    let mut bench = Bench::new(&config);
    let denial = bench.deny(&bearer(&token(json!({}))));
    assert_eq!(denial.status, 403);
    assert_eq!(header(&denial.headers, "www-authenticate"), None);
    assert_eq!(
        header(&denial.headers, "access-control-expose-headers"),
        None
    );
}
