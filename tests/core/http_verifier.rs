//! Tokens that a verifier is asked about, with the verifier played by the test.

use std::time::Duration;

use portcullis_core::authenticator::{BackgroundCallout, NeedCallout, Purpose};
use portcullis_core::callout::{CalloutFailure, CalloutReply};
use portcullis_core::decision::{Allow, Decision, Denial, Step};
use portcullis_core::jose::base64url;
use serde_json::{Value, json};

#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use crate::support::*;

const JSON: (&str, &str) = ("content-type", "application/json");
const TOKEN: &str = "opaque-0123456789";

fn verifier(settings: Value) -> Value {
    let mut all = json!({"url": "https://verify.example/v1/check?tenant=a"});
    for (name, value) in settings.as_object().unwrap() {
        all[name] = value.clone();
    }
    json!({"type": "http_verifier", "settings": all})
}

fn chain(providers: &[Value]) -> Value {
    json!({"auth": {"providers": providers}})
}

fn bench(settings: Value) -> Bench {
    Bench::new(&chain(&[verifier(settings)]))
}

fn says(org: Option<&str>) -> Value {
    json!({"valid": true, "user_id": "u-7", "org_id": org, "email": "u@example.com", "workspace_id": "w-1"})
}

fn finish(bench: &mut Bench, need: NeedCallout) -> Decision {
    assert!(need.ready(&bench.auth, bench.now));
    match need.resume(&mut bench.auth, bench.now) {
        Step::Done(decision) => decision,
        _ => panic!("waits on"),
    }
}

/// What was sent: `(token, org_id)`.
fn asked(callout: &BackgroundCallout) -> (String, String) {
    let body: Value = serde_json::from_slice(&callout.callout.body).unwrap();
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    assert_eq!(body.as_object().unwrap().len(), 2);
    (text("token"), text("org_id"))
}

/// Sends a request, answers the question it raises with a 200 of this body, and says what became of it.
fn exchange(bench: &mut Bench, request: &Request, answer: &Value) -> Decision {
    let need = bench.waits(request);
    let callout = bench.callout();
    bench.respond(&callout, 200, &[JSON], &answer.to_string());
    bench.no_callout();
    finish(bench, need)
}

fn allowed(decision: Decision) -> Allow {
    match decision {
        Decision::Allow(allow) => allow,
        other => panic!("{}", verdict(other)),
    }
}

fn denied(decision: Decision) -> Denial {
    match decision {
        Decision::Deny(denial) => denial,
        other => panic!("{}", verdict(other)),
    }
}

#[test]
fn forges_wire_format() {
    let mut bench = bench(json!({"default_org": "acme", "timeout": "30s"}));
    let request = bearer("tok\"en\\1").header("cookie", "a=b");
    let need = bench.waits(&request);
    let callout = bench.callout();
    assert_eq!(callout.purpose, Purpose::Lookup("verify.example".into()));
    let sent = &callout.callout;
    assert_eq!(
        (sent.method, sent.scheme, sent.upstream.as_str()),
        ("POST", "https", "verify.example")
    );
    assert_eq!(sent.path, "/v1/check?tenant=a");
    assert_eq!(sent.timeout, Duration::from_secs(30));
    assert_eq!(sent.max_body, 64 * 1024);
    let headers: Vec<_> = sent
        .headers
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    assert_eq!(
        headers,
        [
            ("accept", "application/json"),
            ("content-type", "application/json")
        ]
    );
    // To the byte: services compare and sign it.
    assert_eq!(
        std::str::from_utf8(&sent.body).unwrap(),
        r#"{"token":"tok\"en\\1","org_id":"acme"}"#
    );
    bench.respond(
        &callout,
        200,
        &[JSON],
        &says(Some("org-of-the-answer")).to_string(),
    );
    let allow = allowed(finish(&mut bench, need));
    for (name, value) in [
        ("x-auth-user-id", "u-7"),
        ("x-auth-org-id", "org-of-the-answer"),
        ("x-auth-email", "u@example.com"),
        ("x-auth-workspace-id", "w-1"),
        ("x-auth-provider", "http_verifier"),
    ] {
        assert_eq!(set(&allow, name), Some(value), "{name}");
    }
    assert!(removed(&allow).contains(&"authorization"));
    let event = event(allow.audit);
    assert_eq!(event["org_id"], "org-of-the-answer");
    assert_eq!(event["fields"]["provider"], "http_verifier");
    assert_eq!(event["fields"]["token_kind"], "opaque");
    assert_eq!(event["fields"]["cache"], "miss");
}

#[test]
fn whom_the_caller_belongs_to_is_the_verifiers_word() {
    for (header, default_org, asked_for, answer, expected) in [
        (None, None, "", None, Ok(None)),
        (None, Some("acme"), "acme", None, Ok(None)),
        (None, Some("acme"), "acme", Some("beta"), Ok(Some("beta"))),
        (
            Some("beta"),
            Some("acme"),
            "beta",
            Some("beta"),
            Ok(Some("beta")),
        ),
        // Said by the caller alone, it is nobody's organisation.
        (Some("beta"), Some("acme"), "beta", None, Ok(None)),
        (
            Some("beta"),
            Some("acme"),
            "beta",
            Some("acme"),
            Err("org_mismatch"),
        ),
        (
            Some("beta"),
            None,
            "beta",
            Some("Beta"),
            Err("org_mismatch"),
        ),
        (
            Some(" "),
            Some("acme"),
            "acme",
            Some("acme"),
            Ok(Some("acme")),
        ),
    ] {
        let mut settings = json!({"cache_ttl": "1m"});
        if let Some(org) = default_org {
            settings["default_org"] = json!(org);
        }
        let mut bench = bench(settings);
        let mut request = bearer(TOKEN);
        if let Some(org) = header {
            request = request.header("X-Org-Id", org);
        }
        let need = bench.waits(&request);
        let callout = bench.callout();
        assert_eq!(asked(&callout), (TOKEN.to_owned(), asked_for.to_owned()));
        bench.respond(&callout, 200, &[JSON], &says(answer).to_string());
        let first = finish(&mut bench, need);
        // The same from what is remembered.
        let second = bench.ask(&request);
        bench.no_callout();
        for decision in [first, second] {
            match (decision, expected) {
                (Decision::Allow(allow), Ok(org)) => {
                    assert_eq!(set(&allow, "x-auth-org-id"), org, "{header:?}");
                }
                (decision, Err(code)) => assert_eq!(verdict(decision), code, "{header:?}"),
                (decision, Ok(_)) => panic!("{header:?}: {}", verdict(decision)),
            }
        }
    }
}

#[test]
fn an_organisation_with_two_readings_is_refused_without_asking() {
    let mut bench = bench(json!({"default_org": "acme"}));
    let long = "o".repeat(257);
    for headers in [
        &[("x-org-id", "a"), ("x-org-id", "b")][..],
        &[("x-org-id", "a"), ("org_id", "b")],
        &[("X_Org_Id", "a"), ("org-id", "A")],
        &[("x-org-id", "a, b")],
        &[("x-org-id", "a,b")],
        &[("x-org-id", "a b")],
        &[("x-org-id", "caf\u{e9}")],
        &[("x-org-id", "a\u{1}")],
        &[("x-org-id", &long)],
    ] {
        let mut request = bearer(TOKEN);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let denial = bench.deny(&request);
        assert_eq!(denial.code.as_str(), "org_mismatch", "{headers:?}");
        assert_eq!(denial.status, 401);
        bench.no_callout();
    }
    // Said twice the same way it is one.
    let request = bearer(TOKEN).header("x-org-id", "a").header("org_id", "a");
    bench.waits(&request);
    let callout = bench.callout();
    assert_eq!(asked(&callout).1, "a");
}

#[test]
fn other_headers_can_be_set_or_none() {
    for (setting, header, expected) in [
        (json!("x-tenant"), "x-tenant", "b"),
        (json!("x-tenant"), "x_tenant", "b"),
        (json!("x-tenant"), "x-org-id", "acme"),
        (json!(["x-tenant", "x-t"]), "x-t", "b"),
        (json!([]), "x-org-id", "acme"),
    ] {
        let mut bench = bench(json!({"default_org": "acme", "org_header": setting}));
        bench.waits(&bearer(TOKEN).header(header, "b"));
        let callout = bench.callout();
        assert_eq!(asked(&callout).1, expected, "{setting} {header}");
    }
}

/// An answer about one organisation is none about another, and one about a token none about its beginning.
#[test]
fn what_is_remembered_is_for_the_whole_question() {
    let mut bench = bench(json!({"cache_ttl": "1m", "negative_cache_ttl": "1m"}));
    let request = bearer(TOKEN).header("x-org-id", "a");
    let answer = says(Some("a"));
    assert_eq!(verdict(exchange(&mut bench, &request, &answer)), "ok");
    for other in [
        bearer(TOKEN),
        bearer(TOKEN).header("x-org-id", "b"),
        bearer(&format!("{TOKEN}a")),
        bearer(&TOKEN[..TOKEN.len() - 1]),
        bearer(&format!("{TOKEN}1")).header("x-org-id", "a"),
    ] {
        let no = json!({"valid": false});
        assert_eq!(
            verdict(exchange(&mut bench, &other, &no)),
            "rejected_upstream"
        );
    }
    assert_eq!(bench.verdict(&request), "ok");
    bench.no_callout();
}

#[test]
fn good_and_bad_news_are_remembered_as_long_as_is_set() {
    let mut bench = bench(json!({"cache_ttl": "60s", "negative_cache_ttl": "5s"}));
    let good = bearer("good-token-0001");
    let bad = bearer("bad-token-00001");
    assert_eq!(verdict(exchange(&mut bench, &good, &says(None))), "ok");
    let no = json!({"valid": false, "error": "revoked"});
    let denial = denied(exchange(&mut bench, &bad, &no));
    assert_eq!(denial.code.as_str(), "rejected_upstream");
    assert!(!denial.body.contains("revoked"));
    assert!(denial.headers.iter().all(|(_, v)| !v.contains("revoked")));
    assert_eq!(event(denial.audit)["fields"]["detail"], "revoked");
    bench.pass(Duration::from_millis(4_999));
    assert_eq!(bench.verdict(&bad), "rejected_upstream");
    let remembered = event(bench.deny(&bad).audit);
    assert_eq!(remembered["fields"]["detail"], "revoked");
    assert_eq!(remembered["fields"]["cache"], "hit");
    bench.pass(Duration::from_millis(1));
    assert_eq!(verdict(exchange(&mut bench, &bad, &says(None))), "ok");
    bench.pass(Duration::from_secs(54));
    assert_eq!(bench.verdict(&good), "ok");
    bench.pass(Duration::from_secs(1));
    assert_eq!(
        verdict(exchange(&mut bench, &good, &no)),
        "rejected_upstream"
    );
}

#[test]
fn with_no_ttl_only_those_who_wait_share_an_answer() {
    let mut bench = bench(json!({}));
    for valid in [true, false] {
        let answer = json!({"valid": valid, "user_id": "u"}).to_string();
        let expected = if valid { "ok" } else { "rejected_upstream" };
        let needs: Vec<_> = (0..10).map(|_| bench.waits(&bearer(TOKEN))).collect();
        let callout = bench.callout();
        bench.no_callout();
        bench.respond(&callout, 200, &[JSON], &answer);
        for need in needs {
            assert_eq!(verdict(finish(&mut bench, need)), expected);
        }
        // Whoever comes at the very same moment, after the answer, asks again.
        let need = bench.waits(&bearer(TOKEN));
        let callout = bench.callout();
        bench.respond(&callout, 200, &[JSON], &answer);
        assert_eq!(verdict(finish(&mut bench, need)), expected);
        bench.pass(Duration::from_millis(1));
    }
}

#[test]
fn an_outage_lets_nobody_in_and_is_not_asked_over_and_over() {
    let mut bench = Bench::new(&chain(&[
        verifier(json!({"cache_ttl": "1m"})),
        provider(json!({})),
    ]));
    for n in 0..5 {
        let need = bench.waits(&bearer(&format!("{TOKEN}-{n}")));
        let callout = bench.callout();
        if n % 2 == 0 {
            bench.fail(&callout);
        } else {
            bench.respond(&callout, 503, &[JSON], &says(None).to_string());
        }
        let denial = denied(finish(&mut bench, need));
        assert_eq!(
            (denial.status, denial.code.as_str()),
            (503, "lookup_unavailable")
        );
        assert!(denial.headers.iter().any(|(n, _)| *n == "retry-after"));
    }
    // Now it is spared: no further token is sent.
    assert_eq!(bench.with_token("opaque-another-one"), "lookup_unavailable");
    bench.no_callout();
    // Tokens of others are none of its business.
    assert_eq!(bench.with_token(&token(json!({}))), "ok");
    bench.pass(Duration::from_millis(100));
    let need = bench.waits(&bearer("opaque-another-one"));
    // One try at a time.
    assert_eq!(bench.with_token("opaque-and-another"), "lookup_unavailable");
    let callout = bench.callout();
    bench.respond(&callout, 200, &[JSON], &says(None).to_string());
    assert_eq!(verdict(finish(&mut bench, need)), "ok");
    bench.waits(&bearer("opaque-and-another"));
}

#[test]
fn what_is_no_answer_is_an_outage() {
    let good = says(None).to_string();
    for (status, media_type, body) in [
        (200, "application/json", "nonsense"),
        (200, "application/json", ""),
        (200, "application/json", "{\"user_id\":\"root\"}"),
        (200, "text/html", &good),
        (
            200,
            "application/json",
            r#"{"valid":false,"valid":true,"user_id":"root"}"#,
        ),
        (201, "application/json", &good),
        (301, "application/json", &good),
        (302, "application/json", &good),
        (307, "application/json", &good),
        (403, "application/json", &good),
        (404, "application/json", &good),
        (429, "application/json", &good),
        (500, "application/json", &good),
    ] {
        let mut bench = bench(json!({"cache_ttl": "1m"}));
        let need = bench.waits(&bearer(TOKEN));
        let callout = bench.callout();
        let headers = [
            ("content-type", media_type),
            ("location", "https://evil.example/"),
        ];
        bench.respond(&callout, status, &headers, body);
        // A redirect is not followed.
        bench.no_callout();
        let denial = denied(finish(&mut bench, need));
        assert_eq!(
            (denial.status, denial.code.as_str()),
            (503, "lookup_unavailable"),
            "{status} {body}"
        );
        assert_eq!(bench.with_token(TOKEN), "lookup_unavailable");
    }
    let mut bench = bench(json!({}));
    let need = bench.waits(&bearer(TOKEN));
    let callout = bench.callout();
    let reply = CalloutReply::Failed(CalloutFailure::TooLarge);
    bench.auth.reply(callout.id, reply, bench.now);
    assert_eq!(verdict(finish(&mut bench, need)), "lookup_unavailable");
}

#[test]
fn a_401_refuses_the_token() {
    let mut bench = bench(json!({"negative_cache_ttl": "5s"}));
    let need = bench.waits(&bearer(TOKEN));
    let callout = bench.callout();
    bench.respond(&callout, 401, &[("content-type", "text/html")], "<p>no</p>");
    let denial = denied(finish(&mut bench, need));
    assert_eq!(
        (denial.status, denial.code.as_str()),
        (401, "rejected_upstream")
    );
    assert_eq!(event(denial.audit)["fields"]["detail"], "http 401");
    assert_eq!(bench.with_token(TOKEN), "rejected_upstream");
    bench.no_callout();
}

#[test]
fn a_valid_token_of_nobody_is_refused() {
    let mut bench = bench(json!({}));
    let answer = json!({"valid": true, "org_id": "acme"});
    let decision = exchange(&mut bench, &bearer(TOKEN), &answer);
    assert_eq!(verdict(decision), "missing_subject");
}

#[test]
fn the_wait_is_as_long_as_its_own_timeout() {
    let mut config = chain(&[verifier(json!({"timeout": "30s"}))]);
    config["callouts"] = json!({"timeout": "1s"});
    let mut bench = Bench::new(&config);
    let need = bench.waits(&bearer(TOKEN));
    assert_eq!(need.deadline(), bench.now + Duration::from_secs(30));
    bench.callout();
    bench.pass(Duration::from_secs(29));
    assert!(!need.ready(&bench.auth, bench.now));
    bench.pass(Duration::from_secs(1));
    assert_eq!(verdict(finish(&mut bench, need)), "lookup_unavailable");
}

#[test]
fn a_token_is_never_shown() {
    let mut bench = bench(json!({}));
    let need = bench.waits(&bearer(TOKEN));
    let callout = bench.callout();
    let shown = format!("{callout:?} {need:?} {:?}", bench.auth);
    assert!(!shown.contains(TOKEN), "{shown}");
    let quoting = json!({"valid": false, "error": format!("unknown token {TOKEN}")});
    bench.respond(&callout, 200, &[JSON], &quoting.to_string());
    let denial = denied(finish(&mut bench, need));
    let event = event(denial.audit);
    assert!(!event.to_string().contains("0123456789"), "{event}");
}

fn static_provider() -> Value {
    json!({"type": "static_token", "settings": {"token": "correct-horse-battery", "identity": {"user_id": "cron"}}})
}

fn aws_provider() -> Value {
    json!({"type": "aws_sigv4", "settings": {"region": "eu-west-1"}})
}

/// Whatever the order, what another provider recognises never goes to the verifier.
#[test]
fn it_is_asked_about_what_nobody_else_recognises() {
    let verify = verifier(json!({}));
    let others = [provider(json!({})), static_provider(), aws_provider()];
    for place in 0..=others.len() {
        let mut providers = others.to_vec();
        providers.insert(place, verify.clone());
        let mut bench = Bench::new(&chain(&providers));
        let hs256 = |claims: Value| {
            sign(
                &json!({"alg": "HS256", "kid": "k1"}),
                &crate::support::claims(claims),
                &[3; 32],
            )
        };
        let presigned = format!("forge-aws-v1.{}", base64url::encode(b"https://sts"));
        for (token, verdict) in [
            (token(json!({})), "ok"),
            (forged(json!({})), "bad_signature"),
            (token(json!({"aud": "x"})), "audience_mismatch"),
            (token(json!({"exp": 1})), "expired"),
            (token_with_kid("k2"), "unknown_kid"),
            (hs256(json!({})), "unsupported_algorithm"),
            ("a.b.c".to_owned(), "malformed_token"),
            ("a.b.c.d.e".to_owned(), "unsupported_header"),
            ("correct-horse-battery".to_owned(), "ok"),
            (presigned, "malformed_presigned_url"),
        ] {
            let got = bench.with_token(&token);
            let mangled = |code: &str| {
                matches!(
                    code,
                    "malformed_token" | "unsupported_header" | "unsupported_algorithm"
                )
            };
            assert!(
                got == verdict || mangled(got) && mangled(verdict),
                "{place} {token}: {got}"
            );
            bench.no_callout();
        }
        for token in [
            "correct-horse-batterz".to_owned(),
            "forge-aws-v2.x".to_owned(),
            "a.b".to_owned(),
            "a.b.c.d".to_owned(),
            token(json!({"iss": "https://third.example"})),
            token(json!({"iss": null})),
            forged(json!({"iss": "https://third.example"})),
            hs256(json!({"iss": "https://third.example"})),
            hs256(json!({"iss": null})),
        ] {
            let answer = json!({"valid": true, "user_id": "u"});
            let decision = exchange(&mut bench, &bearer(&token), &answer);
            let allow = allowed(decision);
            assert_eq!(set(&allow, "x-auth-provider"), Some("http_verifier"));
        }
    }
    // With no provider of JWTs, JWTs are as opaque as anything.
    let mut bench = Bench::new(&chain(&[verify, static_provider()]));
    for token in ["a.b.c", "a.b.c.d.e", &token(json!({}))] {
        let answer = json!({"valid": true, "user_id": "u"});
        assert_eq!(verdict(exchange(&mut bench, &bearer(token), &answer)), "ok");
    }
}

#[test]
fn neither_silence_nor_another_scheme_is_asked_about() {
    let mut bench = bench(json!({}));
    assert_eq!(bench.verdict(&Request::get("/")), "missing_token");
    let basic = Request::get("/").header("authorization", "Basic dTpw");
    assert_eq!(bench.verdict(&basic), "not_for_me");
    bench.no_callout();
}

#[test]
fn a_reload_that_changes_who_is_asked_asks_anew() {
    let mut bench = bench(json!({"cache_ttl": "1m"}));
    assert_eq!(
        verdict(exchange(&mut bench, &bearer(TOKEN), &says(None))),
        "ok"
    );
    bench.reload(&chain(&[verifier(
        json!({"cache_ttl": "1m", "timeout": "3s"}),
    )]));
    assert_eq!(bench.with_token(TOKEN), "ok");
    for settings in [
        json!({"cache_ttl": "30s"}),
        json!({"cache_ttl": "1m", "url": "https://verify.example/v2"}),
        json!({"cache_ttl": "1m", "url": "https://other.example/v1/check?tenant=a"}),
        json!({"cache_ttl": "1m", "default_org": "acme"}),
    ] {
        bench.reload(&chain(&[verifier(settings)]));
        bench.waits(&bearer(TOKEN));
    }
}
