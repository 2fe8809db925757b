//! The claims of a token whose signature is good: an issuer's users choose some of them.

use std::time::Duration;

use portcullis_core::claims::Claims;
use portcullis_core::config;
use portcullis_core::jose::parse_strict;
use portcullis_core::policy::{ClaimPath, OidcPolicy, Policy, ProviderKind};
use portcullis_core::time::UnixTime;
use serde_json::Value;

const CONFIG: &str = r#"{"auth":{"providers":[{"type":"oidc","settings":{
    "issuer":"https://issuer.example","audience":["a","b"],"clock_skew":"10s","max_token_age":"1h",
    "required_claims":{"/t/0":["x*","1"]},"claim_map":{"org_id":"/org/id","groups":"/g"},
    "allowed_subjects":["s*","*@example.com"]}}]}}"#;
const SKEW: Duration = Duration::from_secs(10);

/// `data` as a payload.
pub fn run(data: &[u8]) {
    let Ok(value) = parse_strict(data, 32) else {
        return;
    };
    assert!(depth(&value) <= 32);
    // Strict JSON is JSON, and says the same to another reader.
    let other: Value = serde_json::from_slice(data).expect("strict JSON is JSON");
    assert_eq!(value, other);
    let Ok(claims) = Claims::read(data, 32) else {
        return;
    };
    for (name, found) in [
        ("iss", claims.issuer()),
        ("sub", claims.subject()),
        ("azp", claims.authorized_party()),
    ] {
        assert_eq!(other.get(name), found.map(Value::from).as_ref());
    }
    for (name, value) in other.as_object().expect("claims are an object") {
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        assert_eq!(claims.get(&ClaimPath::Name(name.clone())), Some(value));
        assert_eq!(claims.get(&ClaimPath::Pointer(pointer)), Some(value));
    }
    POLICY.with(|policy| {
        let ProviderKind::Oidc(oidc) = &policy.providers[0].kind else {
            panic!("another provider");
        };
        judged(oidc, &claims);
    });
}

thread_local! {
    static POLICY: Policy = config::load(CONFIG.as_bytes(), &|_| None).expect("a good configuration").0;
}

fn judged(oidc: &OidcPolicy, claims: &Claims) {
    for now in [0, 1_000, 1_800_000_000, 4_000_000_000] {
        let now = UnixTime::from_secs(now);
        let Ok(identity) = oidc.judge_claims(claims, now) else {
            continue;
        };
        let expires = claims
            .expires_at()
            .expect("a token without exp was accepted");
        assert!(now < expires + SKEW);
        assert!(claims.not_before().is_none_or(|nbf| nbf <= now + SKEW));
        assert!(claims.issued_at().is_some_and(|iat| iat <= now + SKEW));
        assert!(claims.audience().any(|a| a == "a" || a == "b"));
        let mut parts = vec![identity.user_id()];
        parts.extend(identity.email());
        parts.extend(identity.org_id());
        parts.extend(identity.workspace_id());
        parts.extend(identity.groups().iter().map(String::as_str));
        for part in parts {
            assert!((1..=2048).contains(&part.len()));
            assert!(
                !part.chars().any(char::is_control),
                "a control character in a header's value"
            );
        }
        // What was good once is not good for ever.
        if expires < UnixTime::MAX {
            assert!(oidc.judge_claims(claims, expires + SKEW).is_err());
        }
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
