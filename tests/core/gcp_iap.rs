//! Google's Identity-Aware Proxy: a credential in a header of its own, beside whatever else a request carries.

use serde_json::{Value, json};
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use crate::support::*;

const HEADER: &str = "x-goog-iap-jwt-assertion";
pub const BACKEND: &str = "/projects/123456789/global/backendServices/987654321";

pub fn iap(audience: &str) -> Value {
    json!({"type": "gcp_iap", "settings": {"audience": audience}})
}

fn named(name: &str, mut provider: Value) -> Value {
    provider["name"] = json!(name);
    provider
}

fn chain(providers: &[Value]) -> Value {
    json!({"auth": {"providers": providers}})
}

fn assertion_with(header: Value, changes: Value) -> String {
    let now = start().as_secs();
    let claims = json!({
        "iss": "https://cloud.google.com/iap", "aud": BACKEND,
        "sub": "accounts.google.com:113774264463038321964", "email": "alice@corp.example",
        "hd": "corp.example", "google": {"access_levels": ["accessPolicies/1/accessLevels/a"]},
        "iat": now - 10, "exp": now + 590, "azp": BACKEND,
    });
    genuine(&header, &over(claims, changes))
}

pub fn assertion(changes: Value) -> String {
    assertion_with(
        json!({"alg": "ES256", "typ": "JWT", "kid": "0oeLcQ"}),
        changes,
    )
}

pub fn through_iap(assertion: &str) -> Request {
    Request::get("/rest/orders").header(HEADER, assertion)
}

fn bench(config: &Value) -> Bench {
    let mut bench = Bench::new(config);
    let callout = bench.callout();
    let at = &callout.callout;
    assert_eq!(
        (at.authority.as_str(), at.path.as_str()),
        ("www.gstatic.com", "/iap/verify/public_key-jwk")
    );
    bench.respond(&callout, 200, &[], &keys());
    bench
}

/// Google's key set.
pub fn keys() -> String {
    json!({"keys": [p256_jwk("0oeLcQ"), rsa_jwk("rsa", json!({}))]}).to_string()
}

#[test]
fn who_came_through_iap() {
    let mut bench = bench(&chain(&[iap(BACKEND)]));
    let request = through_iap(&assertion(json!({})))
        .header(
            "x-goog-authenticated-user-email",
            "accounts.google.com:eve@evil.example",
        )
        .header("X_Goog_Authenticated_User_Id", "accounts.google.com:1");
    let allow = bench.allow(&request);
    assert_eq!(
        set(&allow, "x-auth-user-id"),
        Some("accounts.google.com:113774264463038321964")
    );
    assert_eq!(set(&allow, "x-auth-email"), Some("alice@corp.example"));
    assert_eq!(set(&allow, "x-auth-org-id"), Some("corp.example"));
    let removed = removed(&allow);
    for name in [
        HEADER,
        "x-goog-authenticated-user-email",
        "X_Goog_Authenticated_User_Id",
    ] {
        assert!(removed.contains(&name), "{name}: {removed:?}");
    }
    let event = event(allow.audit);
    assert_eq!(event["fields"]["token_kind"], "iap_jwt");
    assert_eq!(event["fields"]["provider"], "gcp_iap");
    // An account outside any Workspace.
    let allow = bench.allow(&through_iap(&assertion(json!({"hd": null}))));
    assert_eq!(set(&allow, "x-auth-org-id"), None);
}

#[test]
fn every_rule() {
    let mut bench = bench(&chain(&[iap(BACKEND)]));
    let now = start().as_secs();
    for (changes, expected) in [
        (
            json!({"aud": "/projects/1/apps/other"}),
            "audience_mismatch",
        ),
        (json!({"aud": null}), "audience_mismatch"),
        (
            json!({"iss": "https://accounts.google.com"}),
            "issuer_mismatch",
        ),
        (
            json!({"iss": "https://cloud.google.com/iap/"}),
            "issuer_mismatch",
        ),
        (json!({"iss": null}), "issuer_mismatch"),
        (json!({"exp": now - 31}), "expired"),
        (json!({"exp": null}), "missing_expiry"),
        (json!({"iat": now + 31}), "not_yet_valid"),
        (json!({"iat": null}), "malformed_claims"),
        (json!({"sub": null}), "missing_subject"),
        (json!({"sub": "a\nb"}), "malformed_claims"),
    ] {
        let denial = bench.deny(&through_iap(&assertion(changes.clone())));
        assert_eq!(denial.code.as_str(), expected, "{changes}");
        let event = event(denial.audit);
        assert_eq!(event["fields"]["token_kind"], "iap_jwt", "{changes}");
        assert_eq!(event["fields"]["provider"], "gcp_iap", "{changes}");
    }
    // ES256 alone, whatever keys there are.
    let rs256 = assertion_with(json!({"alg": "RS256", "kid": "rsa"}), json!({}));
    assert_eq!(bench.verdict(&through_iap(&rs256)), "unsupported_algorithm");
    let good = assertion(json!({}));
    for (request, expected) in [
        (
            through_iap(&good).header(HEADER, &good),
            "ambiguous_credentials",
        ),
        (through_iap("x"), "malformed_token"),
        (through_iap(&"x".repeat(40_000)), "token_too_large"),
        (through_iap(" "), "missing_token"),
        // It is worth nothing as a bearer token, nor under another name.
        (bearer(&good), "not_for_me"),
        (
            Request::get("/").header("x_goog_iap_jwt_assertion", &good),
            "missing_token",
        ),
    ] {
        assert_eq!(bench.verdict(&request), expected);
    }
    let mut forged = good.clone();
    forged.truncate(forged.rfind('.').unwrap() + 1);
    forged.push_str(&portcullis_core::jose::base64url::encode(&[9; 64]));
    assert_eq!(bench.verdict(&through_iap(&forged)), "bad_signature");
}

#[test]
fn beside_another_credential_the_chains_order_decides() {
    let oidc = || named("oidc", provider(json!({})));
    let good = assertion(json!({}));
    let late = assertion(json!({"exp": 1}));
    let user = |b: &mut Bench, assertion: &str, token: &str| {
        let request = through_iap(assertion).bearer(token);
        match b.ask(&request) {
            portcullis_core::decision::Decision::Serve(_) => {
                panic!("answered by the filter itself")
            }
            portcullis_core::decision::Decision::Allow(allow) => {
                let removed = removed(&allow);
                assert!(removed.contains(&HEADER) && removed.contains(&"authorization"));
                set(&allow, "x-auth-provider").unwrap().to_owned()
            }
            portcullis_core::decision::Decision::Deny(denial) => denial.code.to_string(),
            portcullis_core::decision::Decision::Limited(_) => panic!("limited"),
        }
    };
    let foreign = token(json!({"iss": "https://else.example"}));
    let mut first = bench(&chain(&[iap(BACKEND), oidc()]));
    assert_eq!(user(&mut first, &good, &token(json!({}))), "gcp_iap");
    assert_eq!(
        user(&mut first, &good, &token(json!({"exp": 1}))),
        "gcp_iap"
    );
    assert_eq!(user(&mut first, &late, &token(json!({}))), "expired");
    assert_eq!(
        user(&mut first, "junk", &token(json!({}))),
        "malformed_token"
    );
    assert_eq!(first.with_token(&token(json!({}))), "ok");
    let mut second = bench(&chain(&[oidc(), iap(BACKEND)]));
    assert_eq!(user(&mut second, &good, &token(json!({}))), "oidc");
    assert_eq!(user(&mut second, "junk", &token(json!({}))), "oidc");
    assert_eq!(
        user(&mut second, &good, &token(json!({"exp": 1}))),
        "expired"
    );
    assert_eq!(
        user(&mut second, &good, &forged(json!({}))),
        "bad_signature"
    );
    assert_eq!(user(&mut second, &good, &foreign), "gcp_iap");
    assert_eq!(user(&mut second, &late, &foreign), "expired");
    // Two `Authorization` fields stay one too many, whatever else there is.
    let request = through_iap(&good).bearer("a").bearer("b");
    assert_eq!(second.verdict(&request), "ambiguous_credentials");
    // Another scheme is nobody's, and so in nobody's way.
    let request = through_iap(&good).header("authorization", "Basic YTpi");
    assert_eq!(second.verdict(&request), "ok");
}

#[test]
fn two_backends() {
    let other = "/projects/123456789/apps/fleet";
    let mut bench = bench(&chain(&[
        named("one", iap(BACKEND)),
        named("two", iap(other)),
    ]));
    let who = |b: &mut Bench, audience: &str| {
        let allow = b.allow(&through_iap(&assertion(json!({"aud": audience}))));
        set(&allow, "x-auth-provider").unwrap().to_owned()
    };
    assert_eq!(who(&mut bench, BACKEND), "one");
    assert_eq!(who(&mut bench, other), "two");
    let denial = bench.deny(&through_iap(&assertion(json!({"aud": "else"}))));
    assert_eq!(denial.code.as_str(), "audience_mismatch");
    assert_eq!(event(denial.audit)["fields"]["provider_name"], "one");
}

#[test]
fn nobody_looks_at_it_where_no_provider_wants_it() {
    let mut bench = Bench::oidc(json!({}));
    assert_eq!(
        bench.verdict(&through_iap(&assertion(json!({})))),
        "missing_token"
    );
    let allow = bench.allow(&through_iap("junk").bearer(&token(json!({}))));
    assert!(!removed(&allow).contains(&HEADER));
}

#[test]
fn forwarded_only_when_asked_and_in_one_spelling() {
    let mut config = chain(&[iap(BACKEND)]);
    config["identity"] = json!({"forward_credentials": true});
    let mut bench = bench(&config);
    let request = through_iap(&assertion(json!({}))).header("x_goog_iap_jwt_assertion", "evil");
    let allow = bench.allow(&request);
    let removed = removed(&allow);
    assert!(removed.contains(&"x_goog_iap_jwt_assertion") && !removed.contains(&HEADER));
}

#[test]
fn optional_authentication_still_refuses_a_bad_one() {
    let mut config = chain(&[iap(BACKEND)]);
    config["auth"]["required"] = json!(false);
    let mut bench = bench(&config);
    assert_eq!(bench.verdict(&Request::get("/")), "ok");
    assert_eq!(bench.verdict(&through_iap("junk")), "malformed_token");
}

#[test]
fn beside_a_signed_request_what_stands_first_decides() {
    let sigv4 = json!({"type": "sigv4", "settings": {"service": "execute-api", "region": "eu-west-1",
        "credentials": [{"access_key_id": "AKIDEXAMPLE", "secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            "user_id": "ci"}]}});
    let elsewhere = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20270115/us-east-1/execute-api/aws4_request, SignedHeaders=host;x-amz-date, Signature={}",
        "0".repeat(64)
    );
    let request = through_iap(&assertion(json!({})))
        .header("x-amz-date", "20270115T080000Z")
        .header("authorization", &elsewhere);
    let mut first = bench(&chain(&[iap(BACKEND), sigv4.clone()]));
    assert_eq!(first.verdict(&request), "ok");
    let mut last = bench(&chain(&[sigv4, iap(BACKEND)]));
    assert_eq!(last.verdict(&request), "scope_mismatch");
}

#[test]
fn what_was_seen_in_its_header_is_no_bearer_token() {
    let mut bench = bench(&chain(&[iap(BACKEND), provider(json!({}))]));
    let token = assertion(json!({}));
    bench.allow(&through_iap(&token));
    for _ in 0..2 {
        let bearer = Request::get("/rest/orders").bearer(&token);
        assert_eq!(bench.verdict(&bearer), "not_for_me");
        bench.allow(&through_iap(&token));
    }
}

#[test]
fn a_bearer_token_seen_before_does_not_go_past_an_assertion() {
    let mut bench = bench(&chain(&[iap(BACKEND), provider(json!({}))]));
    let token = token(json!({}));
    for _ in 0..2 {
        bench.allow(&Request::get("/rest/orders").bearer(&token));
    }
    let both = |assertion: &str| through_iap(assertion).bearer(&token);
    let expired = assertion(json!({"exp": start().as_secs() - 100}));
    assert_eq!(bench.verdict(&both(&expired)), "expired");
    let allow = bench.allow(&both(&assertion(json!({}))));
    assert_eq!(set(&allow, "x-auth-provider"), Some("gcp_iap"));
}
