//! `gcp_iap`: an audience, and nothing else that could weaken it.

use portcullis_core::policy::{KeyOrigin, ProviderKind};
use serde_json::{Value, json};

#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

const SETTINGS: &str = "auth.providers[0].settings";

fn iap(settings: Value) -> Value {
    json!({"auth": {"providers": [{"type": "gcp_iap", "settings": settings}]}})
}

#[test]
fn keys_and_issuer_are_googles() {
    let config = iap(json!({"audience": ["/projects/1/apps/a"], "jwks_cache_ttl": "2h"}));
    let mut policy = super::policy(&config);
    let ProviderKind::GcpIap(iap) = policy.providers.remove(0).kind else {
        panic!();
    };
    let KeyOrigin::Remote(keys) = &iap.keys else {
        panic!("{:?}", iap.keys);
    };
    assert_eq!(
        keys.jwks.as_ref().unwrap().to_string(),
        "https://www.gstatic.com/iap/verify/public_key-jwk"
    );
    assert!(keys.discovery.is_none());
    assert_eq!(keys.cache_ttl.as_secs(), 7200);
    assert_eq!(iap.audiences, ["/projects/1/apps/a"]);
    assert!(super::warnings(&config).is_empty());
}

#[test]
fn errors() {
    for (settings, expected) in [
        (json!({}), "audience: is required"),
        (
            json!({"audience": []}),
            "audience: must not be empty; add an entry or leave the key out",
        ),
        (
            json!({"audience": "a", "issuer": "x"}),
            "issuer: unknown key; known here: audience, jwks_cache_ttl, clock_skew",
        ),
        (
            json!({"audience": "a", "jwks_url": "x"}),
            "jwks_url: unknown key; known here: audience, jwks_cache_ttl, clock_skew",
        ),
        (
            json!({"audience": "a", "algorithms": "x"}),
            "algorithms: unknown key; known here: audience, jwks_cache_ttl, clock_skew",
        ),
        (
            json!({"audience": "a", "clock_skew": "11m"}),
            "clock_skew: must be between 0s and 10m",
        ),
    ] {
        let errors = super::errors(&iap(settings));
        assert_eq!(errors, [format!("{SETTINGS}.{expected}")]);
    }
}

#[test]
fn its_headers_name_no_agent() {
    for header in [
        "x-goog-iap-jwt-assertion",
        "X-Goog-Authenticated-User-Email",
    ] {
        let mut config = iap(json!({"audience": "a"}));
        config["agent"] = json!({"header": header});
        assert_eq!(
            super::errors(&config),
            ["agent.header: is a header that the filter removes from requests; name another one"]
        );
    }
}
