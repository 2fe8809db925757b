//! `auth.resource_metadata`: what may be published, and that it says where tokens come from.

use portcullis_core::resource_metadata::ResourceMetadata;
use serde_json::{Value, json};

#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

const AT: &str = "auth.resource_metadata";
const RESOURCE: &str = "https://agents.example";

fn metadata(config: &Value) -> ResourceMetadata {
    super::policy(config).resource_metadata.unwrap()
}

fn with(settings: Value) -> Value {
    super::with_auth("resource_metadata", settings)
}

#[test]
fn the_defaults() {
    assert_eq!(
        metadata(&with(json!({"resource": RESOURCE}))),
        ResourceMetadata {
            resource: RESOURCE.into(),
            origin: RESOURCE.into(),
            authorization_servers: vec!["https://issuer.example".into()],
            ..ResourceMetadata::default()
        }
    );
    assert!(super::warnings(&with(json!({"resource": RESOURCE}))).is_empty());
    let plain = super::oidc(json!({}));
    assert_eq!(super::policy(&plain).resource_metadata, None);
}

#[test]
fn a_resource_is_its_origin_and_a_path() {
    for (resource, origin, path) in [
        ("https://a.example/", "https://a.example", ""),
        ("https://A.example/", "https://a.example", ""),
        ("https://a.example:8443", "https://a.example:8443", ""),
        ("https://a.example/mcp", "https://a.example", "/mcp"),
        ("https://a.example/mcp/", "https://a.example", "/mcp"),
    ] {
        let metadata = metadata(&with(json!({"resource": resource})));
        assert_eq!(
            (&*metadata.resource, &*metadata.origin, &*metadata.path),
            (resource, origin, path)
        );
    }
}

#[test]
fn the_issuers_of_the_chain() {
    let oidc = |issuer: &str, jwks: bool| {
        let mut p = json!({"type": "oidc", "settings": {"issuer": issuer, "audience": "a"}});
        if jwks {
            p["settings"]["jwks_url"] = json!("https://keys.example/jwks");
        }
        p
    };
    let config = |providers: &[Value]| json!({"auth": {"providers": providers, "resource_metadata": {"resource": RESOURCE}}});
    let servers = |providers: &[Value]| metadata(&config(providers)).authorization_servers;
    assert_eq!(
        servers(&[
            oidc("https://t.auth0.example/", false),
            oidc("https://b.example", false),
            oidc("https://t.auth0.example/", false),
            // No URL, so nothing that a client could look up.
            oidc("accounts.google.com", true),
        ]),
        // To the last slash.
        ["https://t.auth0.example/", "https://b.example"]
    );
    let verifier = json!({"type": "http_verifier", "settings": {"url": "https://verify.example/"}});
    assert_eq!(
        super::errors(&config(std::slice::from_ref(&verifier))),
        [format!("{AT}.authorization_servers: is required")]
    );
    let mut named = config(&[verifier]);
    named["auth"]["resource_metadata"]["authorization_servers"] = json!("https://as.example/x");
    assert_eq!(
        metadata(&named).authorization_servers,
        ["https://as.example/x"]
    );
}

#[test]
fn errors() {
    for (settings, expected) in [
        (json!({}), "resource: is required"),
        (
            json!({"resource": "agents.example"}),
            "resource: is not an absolute URL that can be called: it must start with https:// (or http://)",
        ),
        (
            json!({"resource": "https://a.example/#x"}),
            "resource: is not an absolute URL that can be called: it has a fragment, white space or a character outside ASCII",
        ),
        (
            json!({"resource": "https://a.example/?x=y"}),
            "resource: is not a canonical path, so it could match no request; write it without percent-encoding, `//`, `.` and `..` segments, `;` and query",
        ),
        (
            json!({"resource": "https://a.example/a\"b"}),
            "resource: is not a canonical path, so it could match no request; write it without percent-encoding, `//`, `.` and `..` segments, `;` and query",
        ),
        (
            json!({"resource": "https://a.example/a/../b"}),
            "resource: is not a canonical path, so it could match no request; write it without percent-encoding, `//`, `.` and `..` segments, `;` and query",
        ),
        (
            json!({"resource": RESOURCE, "authorization_servers": []}),
            "authorization_servers: is required",
        ),
        (
            json!({"resource": RESOURCE, "authorization_servers": ["https://a.example", "a"]}),
            "authorization_servers[1]: is not an absolute URL that can be called: it must start with https:// (or http://)",
        ),
        (
            json!({"resource": RESOURCE, "authorization_servers": "https://a.example/?x"}),
            "authorization_servers[0]: must not have a query; write the issuer as its tokens' `iss` has it",
        ),
        (
            json!({"resource": RESOURCE, "scopes_supported": ["a", "b c"]}),
            "scopes_supported[1]: is not a scope: visible ASCII characters without spaces, `\"` and `\\`",
        ),
        (
            json!({"resource": RESOURCE, "challenge_scopes": "a\", b=\"c"}),
            "challenge_scopes[0]: is not a scope: visible ASCII characters without spaces, `\"` and `\\`",
        ),
        (
            json!({"resource": RESOURCE, "bearer_methods_supported": ["header", "query"]}),
            "bearer_methods_supported[1]: unknown value; must be one of header",
        ),
        (
            json!({"resource": RESOURCE, "resource_documentation": "docs"}),
            "resource_documentation: is not an absolute URL that can be called: it must start with https:// (or http://)",
        ),
        (
            json!({"resource": RESOURCE, "scope_supported": "a"}),
            "scope_supported: unknown key; did you mean `scopes_supported`?",
        ),
    ] {
        let errors = super::errors(&with(settings.clone()));
        assert_eq!(errors, [format!("{AT}.{expected}")], "{settings}");
    }
}

#[test]
fn plain_http_is_told_of() {
    assert_eq!(
        super::warnings(&with(json!({"resource": "http://agents.example"}))),
        [format!(
            "{AT}.resource: is plain http: clients should send no token to it, and careful ones will not"
        )]
    );
}
