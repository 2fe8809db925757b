//! What is gone before the upstream sees a request, and which requests need no credential.

use serde_json::json;
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use crate::support::*;

fn with_skip() -> Bench {
    let mut config = oidc_config(json!({}));
    config["auth"]["skip"] = json!(["GET /healthz", "GET /.well-known/agent-card.json"]);
    Bench::new(&config)
}

#[test]
fn skip_rules_match_exactly_and_canonically() {
    let mut bench = with_skip();
    for (path, skipped) in [
        ("/healthz", true),
        ("/healthz?probe=1", true),
        ("/.well-known/agent-card.json", true),
        ("/healthz/", false),
        ("/Healthz", false),
        ("/healthz/x", false),
        ("//healthz", false),
        ("/./healthz", false),
        ("/x/../healthz", false),
        ("/%68ealthz", false),
        ("/healthz%00", false),
        ("/healthz;x", false),
        ("/healthz%3fx", false),
        ("/healthz\\", false),
        ("http://h/healthz", false),
        ("", false),
    ] {
        let expected = if skipped { "ok" } else { "missing_token" };
        assert_eq!(bench.verdict(&Request::get(path)), expected, "{path}");
    }
    let mut post = Request::get("/healthz");
    for method in ["POST", "get", "HEAD", "OPTIONS"] {
        post.method = method;
        assert_eq!(bench.verdict(&post), "missing_token", "{method}");
    }
}

#[test]
fn a_skipped_request_is_cleansed_and_not_audited() {
    let mut bench = with_skip();
    let allow = bench.allow(
        &Request::get("/healthz")
            .header("x-auth-user-id", "admin")
            .header("X_AUTH_EMAIL", "boss@example.com")
            .header("connection", "x-auth-agent, keep-alive")
            .bearer("whatever"),
    );
    assert_eq!(
        removed(&allow),
        ["x-auth-user-id", "X_AUTH_EMAIL", "authorization"]
    );
    assert_eq!(set(&allow, "connection"), Some("keep-alive"));
    assert!(allow.audit.is_none());
    assert_eq!(allow.tally.unwrap().counter_name(), "portcullis.skipped");
    // Not even two of them are looked at where none is needed.
    assert_eq!(
        bench.verdict(&Request::get("/healthz").bearer("a").bearer("b")),
        "ok"
    );
}

#[test]
fn the_prefix_is_configurable_and_credentials_can_be_forwarded() {
    let mut config = oidc_config(json!({}));
    config["identity"] = json!({"header_prefix": "x-caller-", "forward_credentials": true});
    let mut bench = Bench::new(&config);
    let request = bearer(&token(json!({})))
        .header("x-caller-groups", "admins")
        .header("x-auth-user-id", "not ours here");
    let allow = bench.allow(&request);
    assert_eq!(removed(&allow), ["x-caller-groups"]);
    assert_eq!(set(&allow, "x-caller-user-id"), Some("alice"));
    assert_eq!(set(&allow, "x-auth-user-id"), None);
}

#[test]
fn two_credentials_are_none() {
    let mut bench = Bench::oidc(json!({}));
    let token = token(json!({}));
    assert_eq!(
        bench.verdict(&bearer(&token).bearer(&token)),
        "ambiguous_credentials"
    );
    assert_eq!(
        bench.verdict(&bearer(&token).header("Authorization", "Basic x")),
        "ambiguous_credentials"
    );
    assert_eq!(
        bench.verdict(
            &Request::get("/").header("authorization", &format!("Bearer x, Bearer {token}"))
        ),
        "ambiguous_credentials"
    );
    assert_eq!(
        bench.verdict(&Request::get(&format!("/?access_token={token}"))),
        "missing_token"
    );
}
