//! The life of an issuer's keys: fetched ahead, refreshed, shared, and served on when the issuer is gone.

use std::time::Duration;

use serde_json::json;
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use portcullis_core::keys::source::FetchOutcome;

use crate::support::*;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn served() -> Bench {
    let mut bench = Bench::new(&remote());
    bench.serve(&jwks(&["k1"]).to_string());
    bench
}

#[test]
fn fetched_before_anybody_asks() {
    let mut bench = Bench::new(&remote());
    let discovery_call = bench.callout();
    assert!(lease(&discovery_call).is_some());
    assert_eq!(discovery_call.callout.authority, "issuer.example");
    assert_eq!(
        discovery_call.callout.path,
        "/.well-known/openid-configuration"
    );
    assert_eq!(discovery_call.callout.scheme, "https");
    bench.no_callout();
    bench.respond(&discovery_call, 200, &[], &discovery());
    let keys_call = bench.callout();
    assert_eq!(lease(&keys_call), None);
    assert_eq!(keys_call.callout.path, "/jwks");
    bench.respond(&keys_call, 200, &[], &jwks(&["k1"]).to_string());
    bench.no_callout();
    assert_eq!(bench.with_token(&token(json!({}))), "ok");
}

#[test]
fn a_request_waits_for_the_fetch_in_flight() {
    let mut bench = Bench::new(&remote());
    let need = bench.waits(&bearer(&token(json!({}))));
    assert!(!need.ready(&bench.auth, bench.now));
    let call = bench.callout();
    bench.respond(&call, 200, &[], &discovery());
    assert!(
        !need.ready(&bench.auth, bench.now),
        "discovery alone is no key"
    );
    let call = bench.callout();
    bench.respond(&call, 200, &[], &jwks(&["k1"]).to_string());
    assert_eq!(bench.resume(need), "ok");
}

#[test]
fn a_request_waits_no_longer_than_the_callout_timeout() {
    let mut bench = Bench::new(&remote());
    let need = bench.waits(&bearer(&token(json!({}))));
    bench.callout();
    bench.pass(secs(5));
    assert_eq!(bench.resume(need), "keys_unavailable");
}

#[test]
fn failures_are_told_at_once_and_tried_again_with_backoff() {
    let mut bench = Bench::new(&remote());
    let need = bench.waits(&bearer(&token(json!({}))));
    let call = bench.callout();
    bench.fail(&call);
    assert_eq!(bench.resume(need), "keys_unavailable");
    let denial = bench.deny(&bearer(&token(json!({}))));
    assert_eq!(denial.status, 503);
    assert!(
        denial.headers.contains(&("retry-after", "1".into())),
        "{:?}",
        denial.headers
    );
    let mut waited = Vec::new();
    for _ in 0..9 {
        let from = bench.now;
        let call = loop {
            bench.pass(Duration::from_millis(50));
            if let Some(call) = bench.auth.poll_callout(bench.now) {
                break call;
            }
        };
        waited.push(bench.now.since(from).as_secs());
        bench.fail(&call);
    }
    // Each up to a tenth early.
    for (waited, nominal) in waited.iter().zip([1, 2, 4, 8, 10, 10, 10, 10, 10]) {
        assert!(
            (nominal * 9 / 10..=nominal).contains(waited),
            "{waited} {nominal}"
        );
    }
    bench.pass(secs(10));
    bench.serve(&jwks(&["k1"]).to_string());
    assert_eq!(bench.with_token(&token(json!({}))), "ok");
}

#[test]
fn what_is_no_key_set_leaves_the_old_one_in_force() {
    let too_big = format!("{}{}", jwks(&["k1"]), " ".repeat(2_000_000));
    for (status, body) in [
        (500, jwks(&["k2"]).to_string()),
        (302, jwks(&["k2"]).to_string()),
        (204, String::new()),
        (304, String::new()),
        (200, "<html>".into()),
        (200, "{}".into()),
        (200, r#"{"keys":[]}"#.into()),
        (
            200,
            r#"{"keys":[{"kty":"oct","kid":"k1","k":"c2VjcmV0"}]}"#.into(),
        ),
        (200, too_big),
    ] {
        let mut bench = Bench::new(&oidc_config(
            json!({"jwks": null, "jwks_url": "https://issuer.example/jwks"}),
        ));
        let call = bench.callout();
        bench.respond(&call, 200, &[], &jwks(&["k1"]).to_string());
        bench.pass(secs(3600));
        let call = bench.callout();
        bench.respond(&call, status, &[], &body);
        let now = bench.now.as_secs();
        assert_eq!(
            bench.with_token(&token(json!({"exp": now + 9}))),
            "ok",
            "{status}"
        );
    }
}

#[test]
fn refreshed_before_it_expires_and_not_at_once_everywhere() {
    let mut bench = served();
    bench.pass(secs(3600 * 7 / 10 - 1));
    bench.no_callout();
    bench.pass(secs(3600 * 2 / 10 + 2));
    let call = bench.callout();
    // Discovery is remembered; the set is asked for with its ETag.
    assert_eq!(call.callout.path, "/jwks");
    assert!(
        call.callout
            .headers
            .contains(&("if-none-match".into(), "\"1\"".into()))
    );
    bench.respond(&call, 304, &[], "");
    let now = bench.now.as_secs();
    assert_eq!(bench.with_token(&token(json!({"exp": now + 9}))), "ok");
    bench.no_callout();
    bench.pass(secs(3600 * 6 / 10));
    bench.no_callout();
}

#[test]
fn an_issuer_that_is_gone_changes_nothing_for_an_hour_past_the_ttl() {
    let mut bench = served();
    for _ in 0..7190 {
        bench.pass(secs(1));
        if let Some(call) = bench.auth.poll_callout(bench.now) {
            bench.fail(&call);
        }
    }
    let now = bench.now.as_secs();
    assert_eq!(bench.with_token(&token(json!({"exp": now + 99}))), "ok");
    bench.pass(secs(11));
    let call = bench.callout();
    bench.fail(&call);
    let denial = bench.deny(&bearer(&token(json!({"exp": now + 99}))));
    assert_eq!(denial.code.as_str(), "keys_unavailable");
}

#[test]
fn an_unknown_kid_causes_one_fetch_in_30_seconds() {
    let mut bench = served();
    let need = bench.waits(&bearer(&token_with_kid("k2")));
    let other = bench.waits(&bearer(&token_with_kid("k3")));
    let call = bench.callout();
    bench.no_callout();
    bench.respond(&call, 200, &[], &jwks(&["k1"]).to_string());
    assert_eq!(bench.resume(need), "unknown_kid");
    assert_eq!(bench.resume(other), "unknown_kid");
    for kid in 0..100 {
        assert_eq!(
            bench.with_token(&token_with_kid(&format!("x{kid}"))),
            "unknown_kid"
        );
    }
    bench.no_callout();
    bench.pass(secs(29));
    assert_eq!(bench.with_token(&token_with_kid("k2")), "unknown_kid");
    bench.pass(secs(1));
    let need = bench.waits(&bearer(&token_with_kid("k2")));
    let call = bench.callout();
    bench.respond(&call, 200, &[], &jwks(&["k1", "k2"]).to_string());
    assert_eq!(bench.resume(need), "ok");
    assert_eq!(bench.verifier.0.get(), 1);
}

#[test]
fn an_unknown_kid_at_an_unreachable_issuer_is_nobodys_fault() {
    let mut bench = served();
    let need = bench.waits(&bearer(&token_with_kid("k2")));
    let call = bench.callout();
    bench.fail(&call);
    assert_eq!(bench.resume(need), "keys_unavailable");
    assert_eq!(bench.with_token(&token(json!({}))), "ok");
    // However it ended, it was this half minute's fetch.
    bench.pass(secs(2));
    assert_eq!(bench.with_token(&token_with_kid("k4")), "keys_unavailable");
    bench.no_callout();
}

#[test]
fn a_key_that_vanished_is_honoured_no_longer() {
    let mut bench = served();
    let token = token(json!({"exp": start().as_secs() + 9999}));
    assert_eq!(bench.with_token(&token), "ok");
    bench.pass(secs(3600));
    let call = bench.callout();
    bench.respond(&call, 200, &[], &jwks(&["k2"]).to_string());
    let need = bench.waits(&bearer(&token));
    let call = bench.callout();
    bench.respond(&call, 200, &[], &jwks(&["k2"]).to_string());
    assert_eq!(bench.resume(need), "unknown_kid");
}

#[test]
fn discovery_must_be_the_issuers_own() {
    let mut bench = Bench::new(&remote());
    let need = bench.waits(&bearer(&token(json!({}))));
    let call = bench.callout();
    let evil = json!({"issuer": "https://evil.example", "jwks_uri": "https://evil.example/jwks"})
        .to_string();
    bench.respond(&call, 200, &[], &evil);
    bench.no_callout();
    assert_eq!(bench.resume(need), "keys_unavailable");
}

#[test]
fn a_reply_that_never_comes_is_given_up() {
    let mut bench = Bench::new(&remote());
    let call = bench.callout();
    bench.pass(secs(6));
    bench.no_callout();
    bench.pass(secs(1));
    bench.callout();
    // The late one is nobody's.
    bench.respond(&call, 200, &[], &discovery());
    bench.no_callout();
}

#[test]
fn key_sets_survive_a_reload() {
    let mut bench = served();
    let mut config = remote();
    config["auth"]["providers"][0]["settings"]["allowed_subjects"] = json!("alice");
    bench.reload(&config);
    bench.no_callout();
    assert_eq!(bench.with_token(&token(json!({}))), "ok");
}

#[test]
fn workers_share_one_fetch() {
    let mut leader = Bench::new(&remote());
    let mut follower = Bench::new(&remote());
    let mut late = Bench::new(&remote());
    let call = follower.callout();
    let until = follower.now + lease(&call).unwrap();
    follower.auth.defer(call.id, until);
    follower.no_callout();
    assert!(follower.auth.sources()[0].deferred);
    let need = follower.waits(&bearer(&token(json!({}))));

    leader.serve(&jwks(&["k1"]).to_string());
    let finished = leader.auth.poll_finished().unwrap();
    let FetchOutcome::Fetched { document, .. } = &finished.outcome else {
        panic!("{finished:?}");
    };
    let now = follower.now;
    assert!(follower.auth.adopt(&finished.source, document, now));
    assert_eq!(follower.resume(need), "ok");
    assert!(
        !follower.auth.adopt(&finished.source, document, now),
        "not newer"
    );
    assert!(!follower.auth.adopt(&finished.source, b"garbage", now));
    assert!(!follower.auth.adopt("another source", document, now));

    // The leader dies: the lease ends, and the next one fetches.
    let call = late.callout();
    let until = late.now + secs(3);
    late.auth.defer(call.id, until);
    late.pass(secs(3));
    assert!(lease(&late.callout()).is_some());
}

#[test]
fn a_leaders_failure_is_everybodys() {
    let mut leader = Bench::new(&remote());
    let mut follower = Bench::new(&remote());
    let call = follower.callout();
    let until = follower.now + lease(&call).unwrap();
    follower.auth.defer(call.id, until);
    let need = follower.waits(&bearer(&token(json!({}))));
    let call = leader.callout();
    leader.fail(&call);
    let finished = leader.auth.poll_finished().unwrap();
    let FetchOutcome::Failed { retry_at, .. } = finished.outcome else {
        panic!("{finished:?}");
    };
    let now = follower.now;
    follower.auth.peer_failed(&finished.source, retry_at, now);
    assert_eq!(follower.resume(need), "keys_unavailable");
    follower.no_callout();
}

// Who fetched goes away

#[test]
fn a_fetch_that_was_given_up_is_no_failure_and_is_begun_again() {
    let mut bench = Bench::new(&remote());
    let need = bench.waits(&bearer(&token(json!({}))));
    let call = bench.callout();
    bench.auth.give_up(call.id);
    assert!(!need.ready(&bench.auth, bench.now), "nothing has failed");
    // And the next, which begins with the lease.
    let again = bench.callout();
    assert!(lease(&again).is_some());
    bench.auth.give_up(again.id);
    // Whoever answers now is not heard.
    bench.respond(&call, 200, &[], &discovery());
    bench.fail(&again);
    bench.serve(&jwks(&["k1"]).to_string());
    assert_eq!(bench.resume(need), "ok");
}

#[test]
fn a_key_that_just_turned_up_is_fetched_though_the_first_try_was_given_up() {
    let mut bench = served();
    let need = bench.waits(&bearer(&token_with_kid("k2")));
    let call = bench.callout();
    bench.auth.give_up(call.id);
    assert!(!need.ready(&bench.auth, bench.now));
    bench.serve(&jwks(&["k1", "k2"]).to_string());
    assert_eq!(bench.resume(need), "ok");
}

#[test]
fn another_workers_fetch_that_was_given_up_is_no_failure_either() {
    let mut bench = served();
    let need = bench.waits(&bearer(&token_with_kid("k2")));
    let call = bench.callout();
    bench.auth.defer(call.id, bench.now + secs(10));
    bench.no_callout();
    let source = bench.auth.sources().remove(0).source;
    bench.auth.peer_gave_up(&source);
    assert!(!need.ready(&bench.auth, bench.now));
    bench.serve(&jwks(&["k1", "k2"]).to_string());
    assert_eq!(bench.resume(need), "ok");
}

// A clock that was wrong

#[test]
fn a_clock_that_is_set_back_does_not_put_off_the_refresh() {
    let mut bench = served();
    let right = bench.now;
    bench.pass(secs(86_400));
    bench.serve(&jwks(&["k1"]).to_string());
    bench.no_callout();
    bench.now = right + secs(1);
    let call = bench.callout();
    bench.respond(&call, 200, &[], &jwks(&["k1", "k2"]).to_string());
    bench.no_callout();
    assert_eq!(bench.with_token(&token_with_kid("k2")), "ok");
}

#[test]
fn a_clock_that_is_set_back_does_not_put_off_the_next_try() {
    let mut bench = Bench::new(&remote());
    let right = bench.now;
    bench.pass(secs(86_400));
    let call = bench.callout();
    bench.fail(&call);
    bench.now = right;
    let need = bench.waits(&bearer(&token(json!({}))));
    bench.serve(&jwks(&["k1"]).to_string());
    assert_eq!(bench.resume(need), "ok");
}

#[test]
fn a_clock_that_is_set_back_does_not_put_off_new_keys() {
    let mut bench = served();
    let right = bench.now;
    bench.pass(secs(1800));
    let need = bench.waits(&bearer(&token_with_kid("nobodys")));
    bench.serve(&jwks(&["k1"]).to_string());
    assert_eq!(bench.resume(need), "unknown_kid");
    bench.now = right + secs(1);
    // It is due anyway; that fetch counts as the one that may bring the key.
    let need = bench.waits(&bearer(&token_with_kid("k2")));
    bench.serve(&jwks(&["k1", "k2"]).to_string());
    assert_eq!(bench.resume(need), "ok");
}

#[test]
fn while_the_issuer_cannot_be_asked_nobody_is_said_to_have_no_key() {
    let mut bench = served();
    let need = bench.waits(&bearer(&token_with_kid("k2")));
    let call = bench.callout();
    bench.fail(&call);
    assert_eq!(bench.resume(need), "keys_unavailable");
    // Past the backoff, within the interval of unknown keys: it is not asked again, but nothing is known either.
    for _ in 0..29 {
        assert_eq!(bench.with_token(&token_with_kid("k2")), "keys_unavailable");
        bench.no_callout();
        bench.pass(secs(1));
    }
    bench.pass(secs(1));
    let need = bench.waits(&bearer(&token_with_kid("k2")));
    bench.serve(&jwks(&["k1", "k2"]).to_string());
    assert_eq!(bench.resume(need), "ok");
}
