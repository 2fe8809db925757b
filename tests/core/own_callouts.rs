//! Requests that send what they wait for by themselves, as on a host where nobody else can let them go.

use std::time::Duration;

use portcullis_core::authenticator::{NeedCallout, Purpose};
use portcullis_core::callout::{Callout, CalloutFailure, CalloutReply, HttpResponse};
use portcullis_core::decision::Step;
use portcullis_core::reason::Code;
use serde_json::{Value, json};
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use crate::support::*;

/// What a request sends.
fn sends(bench: &mut Bench, need: &mut NeedCallout) -> Callout {
    need.callout(&mut bench.auth, bench.now)
        .expect("something to send")
        .0
}

fn answered(bench: &mut Bench, need: NeedCallout, status: u16, body: &str) -> Step {
    let reply = CalloutReply::Response(HttpResponse {
        status,
        headers: &[],
        body: body.as_bytes(),
    });
    need.reply(&mut bench.auth, reply, bench.now).0
}

fn not_answered(bench: &mut Bench, need: NeedCallout) -> Step {
    let reply = CalloutReply::Failed(CalloutFailure::NoResponse);
    need.reply(&mut bench.auth, reply, bench.now).0
}

fn waits_on(step: Step) -> NeedCallout {
    match step {
        Step::NeedCallout(need) => need,
        other => panic!("does not wait on: {other:?}"),
    }
}

fn done(step: Step) -> &'static str {
    match step {
        Step::Done(decision) => verdict(decision),
        other => panic!("not decided: {other:?}"),
    }
}

fn good() -> Request {
    bearer(&token(json!({})))
}

/// Up to its own fetch of the keys.
fn discovered(bench: &mut Bench, mut need: NeedCallout) -> NeedCallout {
    let call = sends(bench, &mut need);
    assert_eq!(call.path, "/.well-known/openid-configuration");
    let mut need = waits_on(answered(bench, need, 200, &discovery()));
    let call = sends(bench, &mut need);
    assert_eq!(call.path, "/jwks");
    need
}

fn keys() -> String {
    jwks(&["k1"]).to_string()
}

#[test]
fn discovery_then_keys_then_a_decision() {
    let mut bench = Bench::new(&remote());
    let mut need = bench.waits(&good());
    let (_, purpose) = need.callout(&mut bench.auth, bench.now).unwrap();
    assert!(matches!(purpose, Purpose::Keys { lease: None, .. }));
    let need = waits_on(answered(&mut bench, need, 200, &discovery()));
    let need = {
        let mut need = need;
        assert_eq!(sends(&mut bench, &mut need).path, "/jwks");
        need
    };
    assert_eq!(done(answered(&mut bench, need, 200, &keys())), "ok");
    // Everybody else has them now, and there is nothing left to fetch in the background.
    assert_eq!(bench.verdict(&good()), "ok");
    bench.no_callout();
    let finished = bench.auth.poll_finished().expect("to be told to others");
    assert!(finished.source.contains("issuer.example"));
}

#[test]
fn nobody_answers() {
    let mut bench = Bench::new(&remote());
    let mut need = bench.waits(&good());
    sends(&mut bench, &mut need);
    assert_eq!(done(not_answered(&mut bench, need)), "keys_unavailable");
    // The backoff holds for those who come next: none of them sends anything.
    assert_eq!(bench.verdict(&good()), "keys_unavailable");
}

#[test]
fn garbage_is_no_answer_and_no_loop() {
    for (status, body) in [
        (200, ""),
        (200, "<html>"),
        (404, "{}"),
        (500, ""),
        (302, ""),
        (
            200,
            "{\"issuer\":\"https://evil.example\",\"jwks_uri\":\"https://evil.example/k\"}",
        ),
    ] {
        let mut bench = Bench::new(&remote());
        let mut need = bench.waits(&good());
        sends(&mut bench, &mut need);
        let step = answered(&mut bench, need, status, body);
        assert_eq!(done(step), "keys_unavailable", "{status} {body}");
    }
}

#[test]
fn a_failure_beside_a_fetch_under_way_is_decided_and_stops_nothing() {
    let mut bench = Bench::new(&remote());
    let background = bench.callout();
    let mut need = bench.waits(&good());
    sends(&mut bench, &mut need);
    assert_eq!(done(not_answered(&mut bench, need)), "keys_unavailable");
    bench.respond(&background, 200, &[], &discovery());
    let background = bench.callout();
    bench.respond(&background, 200, &[], &keys());
    assert_eq!(bench.verdict(&good()), "ok");
}

#[test]
fn a_thousand_failures_at_once_are_one() {
    let mut bench = Bench::new(&remote());
    let mut all = Vec::new();
    for _ in 0..1000 {
        let mut need = bench.waits(&good());
        sends(&mut bench, &mut need);
        all.push(need);
    }
    for need in all {
        assert_eq!(done(not_answered(&mut bench, need)), "keys_unavailable");
    }
    // One failure backs off for a second; a thousand would for ten.
    bench.pass(Duration::from_secs(1));
    bench.waits(&good());
}

#[test]
fn whoever_is_answered_first_serves_the_others() {
    let mut bench = Bench::new(&remote());
    let (first, second) = (bench.waits(&good()), bench.waits(&good()));
    let first = discovered(&mut bench, first);
    // It has asked for discovery, and the keys are there when that comes back.
    let mut second = second;
    sends(&mut bench, &mut second);
    bench.pass(Duration::from_millis(10));
    assert_eq!(done(answered(&mut bench, first, 200, &keys())), "ok");
    assert_eq!(done(not_answered(&mut bench, second)), "ok");
}

#[test]
fn an_older_answer_does_not_replace_a_newer_set() {
    let mut bench = Bench::new(&remote());
    let (old, new) = (bench.waits(&good()), bench.waits(&good()));
    let old = discovered(&mut bench, old);
    let mut new = new;
    assert_eq!(sends(&mut bench, &mut new).path, "/jwks");
    bench.pass(Duration::from_millis(10));
    assert_eq!(done(answered(&mut bench, new, 200, &keys())), "ok");
    let without = jwks(&["k0"]).to_string();
    assert_eq!(done(answered(&mut bench, old, 200, &without)), "ok");
    assert_eq!(bench.verdict(&good()), "ok");
}

#[test]
fn an_unknown_kid_is_fetched_for_once() {
    let mut bench = Bench::new(&remote());
    bench.serve(&keys());
    let unknown = bearer(&token_with_kid("k2"));
    let mut need = bench.waits(&unknown);
    assert_eq!(sends(&mut bench, &mut need).path, "/jwks");
    let step = answered(&mut bench, need, 200, &keys());
    assert_eq!(done(step), "unknown_kid");
    assert_eq!(bench.verdict(&unknown), "unknown_kid");
    bench.no_callout();
}

#[test]
fn a_reply_after_the_deadline_is_decided_with_what_there_is() {
    let mut bench = Bench::new(&remote());
    let need = bench.waits(&good());
    let need = discovered(&mut bench, need);
    bench.pass(Duration::from_secs(60));
    assert_eq!(done(not_answered(&mut bench, need)), "keys_unavailable");
    let mut bench = Bench::new(&remote());
    let mut need = bench.waits(&good());
    sends(&mut bench, &mut need);
    bench.pass(Duration::from_secs(60));
    let step = answered(&mut bench, need, 200, &discovery());
    assert_eq!(
        done(step),
        "keys_unavailable",
        "no further wait after the first"
    );
}

#[test]
fn a_peer_that_always_has_more_to_ask_is_cut_off() {
    let mut bench = Bench::new(&remote());
    let mut need = bench.waits(&good());
    let mut asked = 0;
    while need.callout(&mut bench.auth, bench.now).is_some() {
        asked += 1;
        assert!(asked < 100, "asks for ever");
    }
    assert_eq!(asked, 16);
    let step = need.abandon(&mut bench.auth, Code::KeysUnavailable, bench.now);
    assert_eq!(done(step), "keys_unavailable");
}

fn verifier() -> Value {
    json!({"auth": {"providers": [{
        "type": "http_verifier",
        "settings": {"url": "https://verifier.example/check", "default_org": "acme", "cache_ttl": "1m"},
    }]}})
}

const VALID: &str = r#"{"valid":true,"user_id":"alice","org_id":"acme"}"#;

#[test]
fn a_question_is_asked_by_each_and_answered_for_all() {
    let mut bench = Bench::new(&verifier());
    let request = bearer("opaque");
    let (mut first, mut second) = (bench.waits(&request), bench.waits(&request));
    for need in [&mut first, &mut second] {
        let call = sends(&mut bench, need);
        assert_eq!(
            (call.method, &*call.authority),
            ("POST", "verifier.example")
        );
    }
    // What requests send, the background does not.
    bench.no_callout();
    assert_eq!(done(answered(&mut bench, first, 200, VALID)), "ok");
    assert_eq!(done(not_answered(&mut bench, second)), "ok");
}

#[test]
fn a_client_that_goes_away_takes_its_question_with_it_and_blames_nobody() {
    let mut bench = Bench::new(&verifier());
    for i in 0..50 {
        let mut need = bench.waits(&bearer(&format!("opaque-{i}")));
        sends(&mut bench, &mut need);
        need.forsake(&mut bench.auth);
    }
    bench.no_callout();
    bench.pass(Duration::from_secs(60));
    bench.no_callout();
    // Were they failures, the verifier would be spared now.
    let mut need = bench.waits(&bearer("opaque"));
    sends(&mut bench, &mut need);
    assert_eq!(done(answered(&mut bench, need, 200, VALID)), "ok");
}

#[test]
fn one_who_leaves_takes_nothing_from_the_others() {
    let mut bench = Bench::new(&verifier());
    let request = bearer("opaque");
    let (mut leaves, mut stays) = (bench.waits(&request), bench.waits(&request));
    sends(&mut bench, &mut leaves);
    sends(&mut bench, &mut stays);
    leaves.forsake(&mut bench.auth);
    assert_eq!(done(answered(&mut bench, stays, 200, VALID)), "ok");
}

#[test]
fn a_late_answer_to_an_earlier_question_is_not_one_to_the_next() {
    let mut bench = Bench::new(&verifier());
    let request = bearer("opaque");
    let mut early = bench.waits(&request);
    sends(&mut bench, &mut early);
    // Two seconds after its timeout the question is given up.
    bench.pass(Duration::from_secs(20));
    bench.no_callout();
    bench.pass(Duration::from_secs(20));
    let mut later = bench.waits(&request);
    sends(&mut bench, &mut later);
    let step = answered(&mut bench, early, 200, VALID);
    assert_eq!(done(step), "lookup_unavailable");
    let refused = r#"{"valid":false,"error":"revoked"}"#;
    let step = answered(&mut bench, later, 200, refused);
    assert_eq!(done(step), "rejected_upstream");
}

#[test]
fn a_try_that_is_forsaken_leaves_the_next_one_to_try() {
    let mut bench = Bench::new(&verifier());
    for i in 0..5 {
        let mut need = bench.waits(&bearer(&format!("opaque-{i}")));
        sends(&mut bench, &mut need);
        assert_eq!(done(not_answered(&mut bench, need)), "lookup_unavailable");
    }
    assert_eq!(bench.verdict(&bearer("spared")), "lookup_unavailable");
    bench.pass(Duration::from_secs(1));
    let mut probe = bench.waits(&bearer("probe"));
    sends(&mut bench, &mut probe);
    assert_eq!(bench.verdict(&bearer("meanwhile")), "lookup_unavailable");
    probe.forsake(&mut bench.auth);
    let mut next = bench.waits(&bearer("next"));
    sends(&mut bench, &mut next);
    assert_eq!(done(answered(&mut bench, next, 200, VALID)), "ok");
}

#[test]
fn what_could_not_be_asked_is_forgotten() {
    let mut bench = Bench::new(&verifier());
    let mut need = bench.waits(&bearer("opaque"));
    need.forsake(&mut bench.auth);
    let step = need.abandon(&mut bench.auth, Code::TooManyWaiting, bench.now);
    assert_eq!(done(step), "too_many_waiting");
    bench.no_callout();
}

#[test]
fn nobody_fetches_a_whole_feed_by_himself() {
    let config = crate::key_feed::config(json!({}), json!({}));
    let mut bench = crate::key_feed::bench(&config);
    let (key, _) = crate::api_keys::key("gak", 'a', json!({}));
    let mut need = bench.waits(&Request::get("/rest/orders").header("x-api-key", &key));
    assert!(need.callout(&mut bench.auth, bench.now).is_none());
    assert_eq!(need.unavailable(), Code::FeedUnavailable);
}

#[test]
fn hosts_that_remove_nothing_refuse_identity_headers() {
    let nginx = over(oidc_config(json!({})), json!({"host": "nginx"}));
    let token = token(json!({}));
    for name in [
        "x-auth-user-id",
        "X-Auth-Groups",
        "x_auth_email",
        "x-auth-",
        "x-goog-authenticated-user-id",
    ] {
        let request = bearer(&token).header(name, "mallory");
        assert_eq!(
            Bench::new(&nginx).verdict(&request),
            "identity_header",
            "{name}"
        );
        assert_eq!(Bench::oidc(json!({})).verdict(&request), "ok", "{name}");
        let denial = Bench::new(&nginx).deny(&request);
        assert_eq!(denial.status, 400);
    }
    let hop = bearer(&token).header("connection", "close, x-auth-user-id");
    assert_eq!(Bench::new(&nginx).verdict(&hop), "identity_header");
    assert_eq!(Bench::new(&nginx).with_token(&token), "ok");
    // A public path is no way around it: the upstream trusts the headers there too.
    let open = over(
        nginx,
        json!({"auth": {"skip": ["GET /healthz"], "providers": [provider(json!({}))]}}),
    );
    let request = Request::get("/healthz").header("x-auth-user-id", "mallory");
    assert_eq!(Bench::new(&open).verdict(&request), "identity_header");
    assert_eq!(Bench::new(&open).verdict(&Request::get("/healthz")), "ok");
}
