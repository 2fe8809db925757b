//! Who gets to judge a credential, and that nothing falls through.

use serde_json::json;
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use portcullis_core::decision::Step;
use portcullis_core::reason::Code;

use crate::support::*;

fn static_provider() -> serde_json::Value {
    json!({"type": "static_token", "settings": {"token": "correct-horse-battery", "identity": {"user_id": "cron"}}})
}

fn other_issuer() -> serde_json::Value {
    let mut p = provider(
        json!({"issuer": "https://other.example", "jwks": {"keys": [jwk("k1", OTHER_KEY)]}}),
    );
    p["name"] = json!("other");
    p
}

#[test]
fn several_providers_in_any_order() {
    let all = [provider(json!({})), other_issuer(), static_provider()];
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let chain: Vec<_> = order.iter().map(|i| all[*i].clone()).collect();
        let mut bench = Bench::new(&json!({"auth": {"providers": chain}}));
        for (token, verdict, by) in [
            (token(json!({})), "ok", "oidc"),
            (
                token(json!({"iss": "https://other.example"})),
                "ok",
                "other",
            ),
            ("correct-horse-battery".into(), "ok", "static_token"),
            (
                token(json!({"iss": "https://third.example"})),
                "not_for_me",
                "",
            ),
            (token(json!({"iss": null})), "not_for_me", ""),
            ("correct-horse-batterz".into(), "not_for_me", ""),
            (forged(json!({})), "bad_signature", "oidc"),
            (
                forged(json!({"iss": "https://other.example"})),
                "bad_signature",
                "other",
            ),
            (token(json!({"aud": "x"})), "audience_mismatch", "oidc"),
            (token_with_kid("k2"), "unknown_kid", "oidc"),
            ("a.b.c".into(), "malformed_token", ""),
            ("a.b.c.d.e".into(), "malformed_token", ""),
        ] {
            let tally = match bench.ask(&bearer(&token)) {
                portcullis_core::decision::Decision::Allow(a) => {
                    assert_eq!(verdict, "ok", "{order:?} {token}");
                    assert_eq!(set(&a, "x-auth-provider"), Some(by));
                    a.tally
                }
                portcullis_core::decision::Decision::Serve(_) => panic!("served"),
                portcullis_core::decision::Decision::Deny(d) => {
                    let code = d.code.as_str();
                    // How exactly a mangled token is mangled is not this test's business.
                    assert!(
                        code == verdict
                            || verdict == "malformed_token" && code.starts_with("unsupported"),
                        "{order:?} {token} {code}"
                    );
                    assert_eq!(event(d.audit)["fields"]["code"], code);
                    d.tally
                }
                portcullis_core::decision::Decision::Limited(_) => panic!("no key, no limit"),
            };
            assert_eq!(
                tally.unwrap().provider.as_deref().unwrap_or_default(),
                by,
                "{order:?} {token}"
            );
        }
    }
}

#[test]
fn one_issuer_twice_the_audience_decides() {
    let mut second = provider(json!({"audience": "second", "allowed_subjects": "bob"}));
    second["name"] = json!("second");
    let mut bench = Bench::new(&json!({"auth": {"providers": [provider(json!({})), second]}}));
    assert_eq!(bench.with_token(&token(json!({}))), "ok");
    assert_eq!(
        bench.with_token(&token(json!({"aud": "second", "sub": "bob"}))),
        "ok"
    );
    // The second provider's word is final for its audience, though the first would take alice.
    assert_eq!(
        bench.with_token(&token(json!({"aud": "second"}))),
        "subject_not_allowed"
    );
    assert_eq!(
        bench.with_token(&token(json!({"aud": "third"}))),
        "audience_mismatch"
    );
    // In both audiences: the first in the chain owns it.
    assert_eq!(
        bench.with_token(&token(json!({"aud": ["second", AUDIENCE]}))),
        "ok"
    );
}

#[test]
fn without_a_credential() {
    let mut bench = Bench::oidc(json!({}));
    let denial = bench.deny(&Request::get("/rest/orders"));
    assert_eq!((denial.status, denial.code), (401, Code::MissingToken));
    assert!(
        denial
            .headers
            .contains(&("www-authenticate", "Bearer".into()))
    );
    let body: serde_json::Value = serde_json::from_str(&denial.body).unwrap();
    assert_eq!(body["error"], "unauthorized");
    assert_eq!(body["message"], "valid bearer token required");
    let event = event(denial.audit);
    assert_eq!(event["event"], "auth_fail");
    assert_eq!(event["correlation_id"], body["request_id"]);
    assert_eq!(event["fields"]["token_kind"], "empty");
    assert_eq!(event["fields"]["reason"], "missing_token");

    for header in ["Basic dTpw", "DPoP x", "Negotiate x"] {
        assert_eq!(
            bench.verdict(&Request::get("/").header("authorization", header)),
            "not_for_me"
        );
    }
    for header in ["Bearer", "Bearer a b"] {
        assert_eq!(
            bench.verdict(&Request::get("/").header("authorization", header)),
            "malformed_authorization"
        );
    }
}

#[test]
fn not_required_lets_in_those_who_show_nothing_and_nobody_else() {
    let mut config = oidc_config(json!({}));
    config["auth"]["required"] = json!(false);
    let mut bench = Bench::new(&config);
    let allow = bench.allow(&Request::get("/x").header("x-auth-user-id", "admin"));
    assert_eq!(removed(&allow), ["x-auth-user-id"]);
    assert!(allow.set.is_empty());
    let event = event(allow.audit);
    assert_eq!(
        (&event["event"], &event["fields"]["provider"]),
        (&json!("auth_verify"), &json!("anonymous"))
    );
    assert_eq!(
        set(&bench.allow(&bearer(&token(json!({})))), "x-auth-user-id"),
        Some("alice")
    );
    assert_eq!(bench.with_token(&forged(json!({}))), "bad_signature");
    assert_eq!(bench.with_token("opaque"), "not_for_me");
}

#[test]
fn an_agent_bound_provider_vouches_for_its_agents_only() {
    let mut bound = provider(json!({}));
    bound["agents"] = json!(["orders", "fraud-*"]);
    let mut bench = Bench::new(&json!({
        "auth": {"providers": [bound, static_provider()]},
        "agent": {"path": "/rest/{agent}"}
    }));
    let token = token(json!({}));
    for (path, verdict) in [
        ("/rest/orders", "ok"),
        ("/rest/orders/run?x=/rest/secret", "ok"),
        ("/rest/fraud-eu", "ok"),
        ("/rest/billing", "forbidden_agent"),
        ("/rest/Orders", "forbidden_agent"),
        ("/rest/orders/../billing", "unknown_agent"),
        ("/rest/orders/%2e%2e/billing", "unknown_agent"),
        ("/rest/orders%2f..%2fbilling", "unknown_agent"),
        ("/rest//orders", "unknown_agent"),
        ("/other", "unknown_agent"),
    ] {
        assert_eq!(
            bench.verdict(&Request::get(path).bearer(&token)),
            verdict,
            "{path}"
        );
    }
    let denial = bench.deny(&Request::get("/rest/billing").bearer(&token));
    assert_eq!(denial.status, 403);
    // Proven and not allowed: the audit says who.
    assert_eq!(event(denial.audit)["fields"]["user_id"], "alice");
    assert_eq!(
        bench.verdict(&Request::get("/rest/billing").bearer("correct-horse-battery")),
        "ok"
    );
}

#[test]
fn forgeries_cost_one_signature_each_and_are_remembered_briefly() {
    let mut bench = Bench::oidc(json!({}));
    let forged = forged(json!({}));
    for _ in 0..5 {
        assert_eq!(bench.with_token(&forged), "bad_signature");
    }
    assert_eq!(bench.verifier.0.get(), 1);
    bench.pass(std::time::Duration::from_secs(5));
    assert_eq!(bench.with_token(&forged), "bad_signature");
    assert_eq!(bench.verifier.0.get(), 2);
    for token in ["a.b.c", &token_with_kid("k9"), &token(json!({"iss": "x"}))] {
        bench.with_token(token);
    }
    assert_eq!(
        bench.verifier.0.get(),
        2,
        "none of these has a key to be verified with"
    );
}

/// A policy that is tightened takes effect at once, whatever is remembered.
#[test]
fn reload_judges_remembered_tokens_anew() {
    let mut bench = Bench::oidc(json!({}));
    let token = token(json!({}));
    assert_eq!(bench.with_token(&token), "ok");
    bench.reload(&oidc_config(json!({"allowed_subjects": "bob"})));
    assert_eq!(bench.with_token(&token), "subject_not_allowed");
    bench.reload(&oidc_config(json!({"audience": "other"})));
    assert_eq!(bench.with_token(&token), "audience_mismatch");
    bench.reload(&oidc_config(json!({"jwks": {"keys": [jwk("k2", KEY)]}})));
    assert_eq!(bench.with_token(&token), "unknown_kid");
    assert_eq!(bench.verifier.0.get(), 1);
    bench.reload(&oidc_config(
        json!({"jwks": {"keys": [jwk("k1", OTHER_KEY)]}}),
    ));
    assert_eq!(
        bench.with_token(&token),
        "ok",
        "another key of that name: the signature is verified again"
    );
    assert_eq!(bench.verifier.0.get(), 2);
    bench.reload(&oidc_config(json!({})));
    assert_eq!(bench.with_token(&token), "ok");
    bench.reload(&json!({"auth": {"providers": [static_provider()]}}));
    assert_eq!(bench.with_token(&token), "not_for_me");
}

#[test]
fn the_unproven_subject_is_logged_only_when_asked_for() {
    for (asked, logged) in [(false, json!(null)), (true, json!("alice"))] {
        let mut config = oidc_config(json!({}));
        config["audit"] = json!({"unproven_subject": asked});
        let mut bench = Bench::new(&config);
        let event = event(bench.deny(&bearer(&forged(json!({})))).audit);
        assert_eq!(event["fields"]["unproven_subject"], logged);
        assert_eq!(event["fields"]["user_id"], json!(null));
    }
}

/// An allow-list that is wrong can be mended only by who knows whom it refuses. Who has proven nothing is named nowhere.
#[test]
fn who_is_refused_for_a_reason_of_policy_is_named() {
    let mut bench = Bench::oidc(json!({"allowed_subjects": "bob", "claim_map": {"email": "mail"}}));
    for (claims, user, email) in [
        (
            json!({"mail": "a@example.com", "email_verified": true}),
            json!("alice"),
            json!("a@example.com"),
        ),
        (
            json!({"mail": "a@example.com", "email_verified": false}),
            json!("alice"),
            json!(null),
        ),
        (json!({"mail": "a\nb"}), json!("alice"), json!(null)),
        (json!({"sub": "a\nb"}), json!(null), json!(null)),
    ] {
        let fields = event(bench.deny(&bearer(&token(claims.clone()))).audit)["fields"].clone();
        assert_eq!(fields["code"], "subject_not_allowed", "{claims}");
        assert_eq!(
            (&fields["user_id"], &fields["email"]),
            (&user, &email),
            "{claims}"
        );
        let fields = event(bench.deny(&bearer(&forged(claims.clone()))).audit)["fields"].clone();
        assert_eq!(fields["code"], "bad_signature", "{claims}");
        assert!(
            fields.get("user_id").is_none() && fields.get("email").is_none(),
            "{claims}"
        );
    }
}

#[test]
fn waiting_requests_finish_under_the_policy_they_began_with() {
    let mut bench = Bench::new(&remote());
    let need = bench.waits(&bearer(&token(json!({}))));
    let mut tightened = remote();
    tightened["auth"]["providers"][0]["settings"]["allowed_subjects"] = json!("bob");
    bench.reload(&tightened);
    let later = bench.waits(&bearer(&token(json!({}))));
    bench.serve(&jwks(&["k1"]).to_string());
    assert_eq!(bench.resume(need), "ok");
    assert_eq!(bench.resume(later), "subject_not_allowed");
}

#[test]
fn a_request_that_can_not_wait_is_refused() {
    let mut bench = Bench::new(&remote());
    let need = bench.waits(&bearer(&token(json!({}))));
    let line = event(need.cancelled_audit(&mut bench.auth, start()));
    assert_eq!(line["fields"]["code"], "cancelled");
    match need.abandon(&mut bench.auth, Code::TooManyWaiting, start()) {
        Step::Done(decision) => assert_eq!(verdict(decision), "too_many_waiting"),
        _ => panic!("waits on"),
    }
}
