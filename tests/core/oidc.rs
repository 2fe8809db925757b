//! What an oidc provider asks of a token.

use std::time::Duration;

use serde_json::{Value, json};
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use crate::support::*;

#[test]
fn a_good_token_becomes_identity_headers_and_one_event() {
    let mut bench = Bench::new(&json!({
        "auth": {"providers": [provider(json!({"claim_map": {"org_id": "/org/id"}}))]},
        "agent": {"path": "/rest/{agent}"}
    }));
    let token = token(json!({
        "email": "alice@example.com", "org": {"id": "acme"}, "workspace_id": "w1",
        "groups": ["ops", "a,b", "100%"]
    }));
    let allow = bench.allow(&bearer(&token).header("x-request-id", "r-1"));
    for (name, value) in [
        ("x-auth-user-id", "alice"),
        ("x-auth-email", "alice@example.com"),
        ("x-auth-org-id", "acme"),
        ("x-auth-workspace-id", "w1"),
        ("x-auth-groups", "ops,a%2Cb,100%25"),
        ("x-auth-provider", "oidc"),
        ("x-auth-agent", "orders"),
    ] {
        assert_eq!(set(&allow, name), Some(value), "{name}");
    }
    assert_eq!(removed(&allow), ["authorization"]);
    let event = event(allow.audit);
    assert_eq!(event["event"], "auth_verify");
    assert_eq!(event["ts"], "2027-01-15T08:00:00.000Z");
    assert_eq!(event["correlation_id"], "r-1");
    assert_eq!(event["org_id"], "acme");
    assert_eq!(event["entity_id"], "orders");
    assert_eq!(event["entity_type"], "agent");
    let fields = &event["fields"];
    for (name, value) in [
        ("method", json!("GET")),
        ("path", json!("/rest/orders")),
        ("provider", json!("oidc")),
        ("provider_name", json!("oidc")),
        ("user_id", json!("alice")),
        ("email", json!("alice@example.com")),
        ("token_kind", json!("jwt")),
        ("groups_count", json!(3)),
        ("remote_addr", json!("192.0.2.7:1234")),
        ("agent", json!("orders")),
        ("cache", json!("miss")),
        ("decision_us", json!(12)),
    ] {
        assert_eq!(fields[name], value, "{name}");
    }
    assert_eq!(fields["config_version"].as_str().unwrap().len(), 12);
    assert!(!event.to_string().contains(&token));
}

#[test]
fn time() {
    let now = start().as_secs();
    let mut bench = Bench::oidc(json!({"clock_skew": "30s"}));
    for (changes, verdict) in [
        (json!({"exp": now + 1}), "ok"),
        (json!({"exp": now}), "ok"),
        (json!({"exp": now - 29}), "ok"),
        (json!({"exp": now - 30}), "expired"),
        (json!({"exp": now - 1000}), "expired"),
        (json!({"exp": null}), "missing_expiry"),
        (json!({"exp": "soon"}), "malformed_claims"),
        (json!({"nbf": now + 30}), "ok"),
        (json!({"nbf": now + 31}), "not_yet_valid"),
        (json!({"iat": null}), "ok"),
        (json!({"iat": now + 9999}), "ok"),
    ] {
        assert_eq!(
            bench.with_token(&token(changes.clone())),
            verdict,
            "{changes}"
        );
    }
}

#[test]
fn a_remembered_token_still_expires() {
    let mut bench = Bench::oidc(json!({}));
    let token = token(json!({}));
    for _ in 0..3 {
        assert_eq!(bench.with_token(&token), "ok");
    }
    assert_eq!(bench.verifier.0.get(), 1);
    bench.pass(Duration::from_secs(629));
    assert_eq!(bench.with_token(&token), "ok");
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.with_token(&token), "expired");
    assert_eq!(bench.verifier.0.get(), 1);
}

#[test]
fn age() {
    let now = start().as_secs();
    let mut bench =
        Bench::oidc(json!({"max_token_age": "5m", "clock_skew": "10s", "allow_missing_exp": true}));
    for (changes, verdict) in [
        (json!({"iat": now - 310}), "ok"),
        (json!({"iat": now - 311}), "too_old"),
        (json!({"iat": null}), "too_old"),
        (json!({"iat": now + 11}), "not_yet_valid"),
        (json!({"exp": null}), "ok"),
    ] {
        assert_eq!(
            bench.with_token(&token(changes.clone())),
            verdict,
            "{changes}"
        );
    }
}

#[test]
fn audience_and_client() {
    let mut bench = Bench::oidc(json!({"audience": ["a", "b"], "client_id": "app"}));
    for (changes, verdict) in [
        (json!({"aud": "a"}), "ok"),
        (json!({"aud": ["x", "b"]}), "ok"),
        (json!({"aud": ["x"]}), "audience_mismatch"),
        (json!({"aud": []}), "audience_mismatch"),
        (json!({"aud": null}), "audience_mismatch"),
        (json!({"aud": "A"}), "audience_mismatch"),
        (json!({"aud": "x", "azp": "app"}), "ok"),
        (json!({"aud": "x", "azp": "app2"}), "audience_mismatch"),
        (json!({"aud": {"a": 1}}), "malformed_claims"),
    ] {
        assert_eq!(
            bench.with_token(&token(changes.clone())),
            verdict,
            "{changes}"
        );
    }
    let mut bench = Bench::oidc(json!({}));
    assert_eq!(
        bench.with_token(&token(json!({"aud": "x", "azp": AUDIENCE}))),
        "audience_mismatch"
    );
}

/// The case of the first request of Forge's phase 3.
#[test]
fn google_service_accounts() {
    let mut bench = Bench::oidc(json!({
        "issuer": "https://accounts.google.com",
        "allowed_subjects": ["*@agent-fleet-prod.iam.gserviceaccount.com"]
    }));
    let google = |email: &str, verified: Value| {
        token(json!({
            "iss": "https://accounts.google.com", "sub": "113774264463038321964", "azp": "113774264463038321964",
            "email": email, "email_verified": verified
        }))
    };
    let fleet = "orders@agent-fleet-prod.iam.gserviceaccount.com";
    for (email, verified, verdict) in [
        (fleet, json!(true), "ok"),
        (fleet, json!(false), "email_not_verified"),
        (fleet, json!(null), "email_not_verified"),
        (fleet, json!("yes"), "email_not_verified"),
        (
            "orders@other-project.iam.gserviceaccount.com",
            json!(true),
            "subject_not_allowed",
        ),
        (
            "orders@agent-fleet-prod.iam.gserviceaccount.com.evil.example",
            json!(true),
            "subject_not_allowed",
        ),
        (
            "a/b@agent-fleet-prod.iam.gserviceaccount.com",
            json!(true),
            "subject_not_allowed",
        ),
    ] {
        assert_eq!(
            bench.with_token(&google(email, verified)),
            verdict,
            "{email}"
        );
    }
}

#[test]
fn an_address_counts_at_a_private_issuer_unless_it_says_unverified() {
    let mut bench = Bench::oidc(json!({"allowed_subjects": "*@example.com"}));
    for (changes, verdict) in [
        (json!({"email": "a@example.com"}), "ok"),
        (
            json!({"email": "a@example.com", "email_verified": false}),
            "email_not_verified",
        ),
        (
            json!({"sub": "a@example.com", "email_verified": false}),
            "ok",
        ),
        (json!({"email": ["a@example.com"]}), "subject_not_allowed"),
        (json!({}), "subject_not_allowed"),
    ] {
        assert_eq!(
            bench.with_token(&token(changes.clone())),
            verdict,
            "{changes}"
        );
    }
    let mut strict =
        Bench::oidc(json!({"allowed_subjects": "*@example.com", "require_email_verified": true}));
    assert_eq!(
        strict.with_token(&token(json!({"email": "a@example.com"}))),
        "email_not_verified"
    );
}

/// Upstreams believe `x-auth-email`.
#[test]
fn an_unverified_address_is_not_handed_on() {
    let mut bench = Bench::oidc(json!({}));
    let token = token(json!({"email": "boss@example.com", "email_verified": false}));
    assert_eq!(set(&bench.allow(&bearer(&token)), "x-auth-email"), None);
}

#[test]
fn required_claims() {
    let mut bench = Bench::oidc(json!({"required_claims": {
        "tier": ["gold", "plat*"], "/realm/roles": "caller", "level": "3", "ok": "true"
    }}));
    let good =
        json!({"tier": "platinum", "realm": {"roles": ["x", "caller"]}, "level": 3, "ok": true});
    assert_eq!(bench.with_token(&token(good.clone())), "ok");
    for (name, value) in [
        ("tier", json!("silver")),
        ("tier", json!(null)),
        ("realm", json!({"roles": []})),
        ("realm", json!({"roles": [["caller"]]})),
        ("level", json!(30)),
        ("ok", json!(false)),
    ] {
        let mut bad = good.clone();
        bad[name] = value.clone();
        assert_eq!(
            bench.with_token(&token(bad)),
            "claim_not_allowed",
            "{name} {value}"
        );
    }
}

#[test]
fn who_is_nobody() {
    let mut bench = Bench::oidc(json!({}));
    for (changes, verdict) in [
        (json!({"sub": null}), "missing_subject"),
        (json!({"sub": ""}), "malformed_claims"),
        (json!({"sub": 7}), "malformed_claims"),
        (
            json!({"sub": "a\r\nx-auth-user-id: admin"}),
            "malformed_claims",
        ),
        (json!({"sub": "a\u{0}"}), "malformed_claims"),
        (json!({"sub": "a".repeat(3000)}), "malformed_claims"),
        (json!({"sub": "élodie"}), "ok"),
    ] {
        assert_eq!(
            bench.with_token(&token(changes.clone())),
            verdict,
            "{changes}"
        );
    }
    let allow = bench.allow(&bearer(&token(
        json!({"org_id": "a\nb", "groups": ["x\r\ny", "z", 7]}),
    )));
    assert_eq!(set(&allow, "x-auth-org-id"), None);
    assert_eq!(set(&allow, "x-auth-groups"), Some("z"));
}

#[test]
fn one_trailing_slash_of_the_issuer_is_ignored() {
    for configured in ["https://issuer.example", "https://issuer.example/"] {
        let mut bench = Bench::oidc(json!({"issuer": configured}));
        for (iss, verdict) in [
            ("https://issuer.example", "ok"),
            ("https://issuer.example/", "ok"),
            ("https://issuer.example//", "not_for_me"),
            ("https://ISSUER.example", "not_for_me"),
            ("https://issuer.example.evil.example", "not_for_me"),
        ] {
            assert_eq!(
                bench.with_token(&token(json!({"iss": iss}))),
                verdict,
                "{configured} {iss}"
            );
        }
    }
}

#[test]
fn keys_for_jwt_svids_vouch_for_nothing_else() {
    let svid = |key_use: &str| {
        let mut key = jwk("k1", KEY);
        key["use"] = json!(key_use);
        json!({"keys": [key]})
    };
    for (settings, expected) in [
        (json!({"jwks": svid("sig")}), "ok"),
        (json!({"jwks": svid("jwt-svid")}), "key_mismatch"),
        (
            json!({"jwks": svid("jwt-svid"), "key_use": "jwt-svid"}),
            "ok",
        ),
        (
            json!({"jwks": svid("sig"), "key_use": "jwt-svid"}),
            "key_mismatch",
        ),
    ] {
        let mut bench = Bench::oidc(settings.clone());
        assert_eq!(bench.with_token(&token(json!({}))), expected, "{settings}");
        assert_eq!(bench.verifier.0.get(), u32::from(expected == "ok"));
    }
    // A token that was verified before is held to it too.
    let mut bench = Bench::oidc(json!({}));
    assert_eq!(bench.with_token(&token(json!({}))), "ok");
    bench.reload(&oidc_config(json!({"key_use": "jwt-svid"})));
    assert_eq!(bench.with_token(&token(json!({}))), "key_mismatch");
}
