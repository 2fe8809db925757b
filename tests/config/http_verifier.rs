//! `http_verifier`: where tokens go, for how long answers are good, and that there is one.

use std::time::Duration;

use portcullis_core::policy::{HttpVerifierPolicy, ProviderKind};
use serde_json::{Value, json};

#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

const SETTINGS: &str = "auth.providers[0].settings";
const URL: &str = "https://verify.example/check";

fn verifier(settings: Value) -> Value {
    json!({"auth": {"providers": [{"type": "http_verifier", "settings": settings}]}})
}

fn policy(settings: Value) -> HttpVerifierPolicy {
    let mut policy = super::policy(&verifier(settings));
    match policy.providers.remove(0).kind {
        ProviderKind::HttpVerifier(policy) => *policy,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_defaults() {
    let policy = policy(json!({"url": URL}));
    assert_eq!(policy.url.to_string(), URL);
    assert_eq!(policy.default_org, None);
    assert_eq!(policy.org_headers, ["x-org-id", "org-id"]);
    assert_eq!(policy.timeout, Duration::from_secs(10));
    assert_eq!(policy.cache_ttl, Duration::ZERO);
    assert_eq!(policy.negative_cache_ttl, Duration::ZERO);
    assert_eq!(&**policy.scope.name(), "verify.example");
    assert!(super::warnings(&verifier(json!({"url": URL}))).is_empty());
}

#[test]
fn scopes_are_equal_only_where_the_question_is() {
    let scope = |settings: Value| policy(settings).scope;
    let base = scope(json!({"url": URL}));
    for same in [
        json!({"url": URL, "timeout": "1s"}),
        json!({"url": URL, "default_org": "a"}),
        json!({"url": "https://VERIFY.example/check"}),
    ] {
        assert_eq!(base, scope(same));
    }
    for other in [
        json!({"url": "http://verify.example/check"}),
        json!({"url": "https://verify.example/check2"}),
        json!({"url": "https://verify.example:8443/check"}),
        json!({"url": URL, "cache_ttl": "1s"}),
        json!({"url": URL, "negative_cache_ttl": "1s"}),
    ] {
        assert_ne!(base, scope(other));
    }
}

#[test]
fn errors() {
    for (settings, expected) in [
        (json!({}), "url: is required"),
        (json!({"url": ""}), "url: must not be an empty string"),
        (
            json!({"url": "verify.example"}),
            "url: is not an absolute URL that can be called: it must start with https:// (or http://)",
        ),
        (
            json!({"url": "https://u:p@verify.example/"}),
            "url: is not an absolute URL that can be called: it needs a plain host or host:port, without user name or password",
        ),
        (
            json!({"url": URL, "timeout": "61s"}),
            "timeout: must be between 10ms and 1m",
        ),
        (
            json!({"url": URL, "timeout": "0s"}),
            "timeout: must be between 10ms and 1m",
        ),
        (
            json!({"url": URL, "cache_ttl": "2h"}),
            "cache_ttl: must be between 0s and 1h",
        ),
        (
            json!({"url": URL, "negative_cache_ttl": "61m"}),
            "negative_cache_ttl: must be between 0s and 1h",
        ),
        (
            json!({"url": URL, "default_org": "a b"}),
            "default_org: must be 1 to 256 visible ASCII characters without spaces",
        ),
        (
            json!({"url": URL, "org_header": "X-Org"}),
            "org_header[0]: is not the name of a header: letters, digits and `-`, in lower case",
        ),
        (
            json!({"url": URL, "org_header": ["x-org", "authorization"]}),
            "org_header[1]: is a header that the filter removes from requests; name another one",
        ),
        (
            json!({"url": URL, "default_orgs": "a"}),
            "default_orgs: unknown key; did you mean `default_org`?",
        ),
    ] {
        let errors = super::errors(&verifier(settings.clone()));
        assert_eq!(errors, [format!("{SETTINGS}.{expected}")], "{settings}");
    }
}

#[test]
fn there_is_one() {
    let one = |url: &str| json!({"type": "http_verifier", "settings": {"url": url}});
    let oidc =
        json!({"type": "oidc", "settings": {"issuer": "https://i.example", "audience": "a"}});
    let config = |providers: &[Value]| json!({"auth": {"providers": providers}});
    super::policy(&config(&[one(URL), oidc.clone()]));
    assert_eq!(
        super::errors(&config(&[oidc, one(URL), one("https://b.example/")])),
        [
            "auth.providers[2]: would never be asked: auth.providers[1] takes every token that no other provider recognises; keep one of the two"
        ]
    );
}

#[test]
fn plain_http_is_told_of() {
    assert_eq!(
        super::warnings(&verifier(json!({"url": "http://verify.example/"}))),
        [format!(
            "{SETTINGS}.url: is plain http: whoever sits between sees callers' tokens and can say who a caller is, unless the proxy's cluster adds TLS"
        )]
    );
}
