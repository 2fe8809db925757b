//! What keys are used for: counted, reported once, and never in the way.

use std::time::Duration;

use portcullis_core::apikey::bucket::Taken;
use portcullis_core::apikey::feed::Notice;
use portcullis_core::authenticator::{BackgroundCallout, Purpose};
use portcullis_core::decision::Decision;
use serde_json::{Value, json};
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use crate::api_keys::key;
use crate::key_feed::{Feed, bench, config, load, loaded, page, to};
use crate::support::{Bench, over, start};

fn reporting() -> Value {
    json!({"usage_url": "https://usage.example/uses", "interval": "10m", "max_staleness": "1d"})
}

fn with(records: &[&Value]) -> Bench {
    loaded(reporting(), json!({}), records)
}

fn report(bench: &mut Bench) -> (BackgroundCallout, Value) {
    let callout = bench.callout();
    assert_eq!(
        callout.purpose,
        Purpose::Uses("https://keys.example/feed".into())
    );
    let body = serde_json::from_slice(&callout.callout.body).unwrap();
    (callout, body)
}

fn uses(body: &Value) -> Vec<(String, Option<String>, u64, u64, u64)> {
    let mut uses: Vec<_> = body["uses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|u| {
            assert_eq!(u["minute"], u["last_used_at"]);
            let number = |name: &str| u[name].as_u64().unwrap();
            (
                u["key"].as_str().unwrap()[..1].to_owned(),
                u["agent"].as_str().map(str::to_owned),
                number("minute") - start().as_secs(),
                number("allowed"),
                number("refused"),
            )
        })
        .collect();
    uses.sort();
    uses
}

fn row(
    key: &str,
    agent: &str,
    minute: u64,
    allowed: u64,
    refused: u64,
) -> (String, Option<String>, u64, u64, u64) {
    let agent = (!agent.is_empty()).then(|| agent.to_owned());
    (key.to_owned(), agent, minute, allowed, refused)
}

fn dropped(bench: &mut Bench) -> u64 {
    std::iter::from_fn(|| bench.auth.poll_notice())
        .map(|n| match n {
            Notice::UsesDropped { count, .. } => count,
            _ => 0,
        })
        .sum()
}

#[test]
fn counted_by_key_agent_and_minute() {
    let limit = json!({"requests": 1, "per": "1h", "burst": 1});
    let (a, ra) = key("gak", 'a', json!({}));
    let (b, rb) = key("gak", 'b', json!({"revoked_at": 1}));
    let (c, rc) = key("gak", 'c', json!({"rate_limit": limit}));
    let (unknown, _) = key("gak", 'z', json!({}));
    let mut bench = with(&[&ra, &rb, &rc]);
    assert_eq!(start().as_secs() % 60, 0);
    // Nothing was used: nothing is told.
    bench.no_callout();
    for _ in 0..3 {
        assert_eq!(bench.verdict(&to("orders", &a)), "ok");
    }
    assert_eq!(
        bench.verdict(&to("somewhere-made-up", &a)),
        "forbidden_agent"
    );
    assert_eq!(bench.verdict(&to("orders", &b)), "key_revoked");
    for (taken, wanted) in [(Ok(()), true), (Err(Duration::from_secs(1)), false)] {
        let Decision::Limited(limited) = bench.ask(&to("orders", &c)) else {
            panic!("not limited");
        };
        assert!(matches!(limited.take(None, bench.now), Taken::Yes(_)));
        assert_eq!(matches!(limited.settle(taken), Decision::Allow(_)), wanted);
    }
    // Who has no key's secret leaves no trace here.
    assert_eq!(bench.verdict(&to("orders", &unknown)), "unknown_key");
    let id = portcullis_core::apikey::KeyId::parse("aaaaaaaaaaaa").unwrap();
    let wrong = portcullis_core::apikey::format::assemble("gak", id, &"x".repeat(43)).unwrap();
    assert_eq!(bench.verdict(&to("orders", &wrong)), "wrong_key");

    let (callout, body) = report(&mut bench);
    assert_eq!(
        (callout.callout.method, callout.callout.path.as_str()),
        ("POST", "/uses")
    );
    assert_eq!(callout.callout.upstream, "usage.example");
    let headers = &callout.callout.headers;
    for (name, value) in [
        ("content-type", "application/json"),
        ("authorization", "Bearer fleet-token-0123456789"),
    ] {
        assert!(headers.contains(&(name.into(), value.into())), "{name}");
    }
    assert_eq!(body["format"], "portcullis-usage/1");
    assert_eq!(body["instance"], "0000000000000007");
    assert_eq!(
        uses(&body),
        [
            row("a", "", 0, 0, 1),
            row("a", "orders", 0, 3, 0),
            row("b", "orders", 0, 0, 1),
            row("c", "orders", 0, 1, 1),
        ]
    );
    // One report at a time; what comes meanwhile is the next one's.
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.verdict(&to("orders", &a)), "ok");
    bench.no_callout();
    bench.respond(&callout, 204, &[], "");
    bench.pass(Duration::from_secs(8));
    bench.no_callout();
    bench.pass(Duration::from_secs(52));
    assert_eq!(bench.verdict(&to("orders", &a)), "ok");
    let (callout, second) = report(&mut bench);
    assert_eq!(
        uses(&second),
        [row("a", "orders", 0, 1, 0), row("a", "orders", 60, 1, 0)]
    );
    assert_ne!(body["batch"], second["batch"]);
    bench.respond(&callout, 204, &[], "");
    bench.pass(Duration::from_secs(60));
    bench.no_callout();
    assert_eq!(dropped(&mut bench), 0);
}

#[test]
fn a_report_that_was_not_taken_is_sent_again_as_it_was() {
    let (a, ra) = key("gak", 'a', json!({}));
    let mut bench = with(&[&ra]);
    bench.allow(&to("orders", &a));
    let (mut callout, first) = report(&mut bench);
    for (n, status) in (0..).zip([500, 503, 401, 403, 408, 429, 302, 0]) {
        if status == 0 {
            bench.fail(&callout);
        } else {
            bench.respond(&callout, status, &[], "");
        }
        bench.no_callout();
        // In the meantime.
        bench.allow(&to("orders", &a));
        bench.pass(Duration::from_secs((1 << n).min(60)));
        let (next, body) = report(&mut bench);
        assert_eq!(body, first, "{status}");
        callout = next;
    }
    // Never answered at all.
    bench.pass(Duration::from_secs(6));
    bench.no_callout();
    bench.pass(Duration::from_secs(3));
    bench.no_callout();
    bench.pass(Duration::from_secs(60));
    let (next, body) = report(&mut bench);
    assert_eq!(body, first);
    bench.respond(&callout, 204, &[], "");
    bench.no_callout();
    bench.respond(&next, 204, &[], "");
    bench.pass(Duration::from_secs(10));
    let (callout, body) = report(&mut bench);
    assert_eq!(uses(&body).iter().map(|u| u.3).sum::<u64>(), 8);
    bench.respond(&callout, 200, &[], "{}");
    assert_eq!(dropped(&mut bench), 0);
}

#[test]
fn a_report_that_nobody_wants_is_dropped_and_counted() {
    let (a, ra) = key("gak", 'a', json!({}));
    let mut bench = with(&[&ra]);
    for status in [400, 404, 413, 422] {
        for _ in 0..5 {
            bench.allow(&to("orders", &a));
        }
        bench.pass(Duration::from_secs(10));
        let (callout, _) = report(&mut bench);
        bench.respond(&callout, status, &[], "");
        assert_eq!(dropped(&mut bench), 5, "{status}");
    }
    // A service that is away for a day gets what was counted since.
    bench.allow(&to("orders", &a));
    bench.pass(Duration::from_secs(10));
    let (callout, _) = report(&mut bench);
    bench.fail(&callout);
    assert_eq!(dropped(&mut bench), 0);
    bench.pass(Duration::from_secs(24 * 3600));
    // A poll of the feed is overdue as well by now.
    let poll = bench.poll();
    bench.fail(&poll);
    let (callout, _) = report(&mut bench);
    bench.fail(&callout);
    assert_eq!(dropped(&mut bench), 1);
}

#[test]
fn bounded() {
    let records: Vec<(String, Value)> = "abcdefghij"
        .chars()
        .map(|c| key("gak", c, json!({})))
        .collect();
    let mut settings = config(reporting(), json!({}));
    settings["limits"] = json!({"key_uses": 4});
    let mut bench = bench(&settings);
    let list: Vec<&Value> = records.iter().map(|(_, r)| r).collect();
    bench.page(&page(1, json!({"reset": true, "keys": list})));
    let (key, _) = &records[0];
    bench.allow(&to("orders", key));
    let (callout, _) = report(&mut bench);
    bench.fail(&callout);
    for _ in 0..3 {
        for (key, _) in &records {
            bench.allow(&to("orders", key));
        }
    }
    bench.pass(Duration::from_secs(60));
    let (callout, _) = report(&mut bench);
    assert_eq!(dropped(&mut bench), 18);
    bench.respond(&callout, 204, &[], "");
    bench.pass(Duration::from_secs(10));
    let (_, body) = report(&mut bench);
    let uses = uses(&body);
    assert_eq!(uses.len(), 4);
    // Who had a row still has one.
    assert!(uses.iter().all(|u| u.3 == 3), "{uses:?}");
}

#[test]
fn many_rows_go_in_several_batches() {
    let mut bench = with(&[]);
    let agents: Value = (0..1500)
        .map(|n| (format!("agent-{n}"), json!({"org": "acme"})))
        .collect::<serde_json::Map<String, Value>>()
        .into();
    let (a, ra) = key("gak", 'a', json!({"scope": {"org": "acme"}}));
    bench.pass(Duration::from_secs(600));
    bench.page(&page(11, json!({"keys": [ra], "agents": agents})));
    for n in 0..1500 {
        bench.allow(&to(&format!("agent-{n}"), &a));
    }
    let (callout, one) = report(&mut bench);
    bench.allow(&to("agent-0", &a));
    bench.respond(&callout, 204, &[], "");
    bench.pass(Duration::from_secs(10));
    let (callout, two) = report(&mut bench);
    bench.respond(&callout, 204, &[], "");
    assert_eq!(uses(&one).len(), 1000);
    let all: u64 = uses(&one).iter().chain(&uses(&two)).map(|u| u.3).sum();
    assert_eq!(all, 1501);
}

#[test]
fn nothing_is_lost_by_a_reload() {
    let (a, ra) = key("gak", 'a', json!({}));
    let mut bench = with(&[&ra]);
    bench.allow(&to("orders", &a));
    // Not even if the next policy has another feed, or none: it is still told.
    let other = over(reporting(), json!({"url": "https://keys.example/other"}));
    bench
        .auth
        .reload(load(&config(other, json!({}))), bench.now);
    let poll = bench.callout();
    assert_eq!(poll.callout.path, "/other?after=0&limit=2000");
    let (callout, body) = report(&mut bench);
    assert_eq!(uses(&body), [row("a", "orders", 0, 1, 0)]);
    bench.fail(&callout);
    bench
        .auth
        .reload(load(&config(reporting(), json!({}))), bench.now);
    bench.allow(&to("orders", &a));
    bench.pass(Duration::from_secs(2));
    let (callout, again) = report(&mut bench);
    assert_eq!(body, again);
    bench.respond(&callout, 204, &[], "");
}

#[test]
fn without_an_address_nothing_is_counted() {
    let (a, ra) = key("gak", 'a', json!({}));
    let quiet = json!({"interval": "10m", "max_staleness": "1d"});
    let mut bench = loaded(quiet, json!({}), &[&ra]);
    bench.allow(&to("orders", &a));
    bench.pass(Duration::from_secs(60));
    bench.no_callout();
}

#[test]
fn keys_of_the_configuration_are_not_the_services_business() {
    let (a, ra) = key("gak", 'a', json!({}));
    let mut bench = loaded(reporting(), json!({"keys": [ra]}), &[]);
    bench.allow(&to("orders", &a));
    bench.pass(Duration::from_secs(60));
    bench.no_callout();
}

#[test]
fn a_report_whose_callout_was_given_up_goes_out_again_under_its_name() {
    let (text, record) = key("gak", 'a', json!({}));
    let mut bench = with(&[&record]);
    bench.allow(&to("orders", &text));
    bench.pass(Duration::from_secs(60));
    let (lost, first) = report(&mut bench);
    bench.auth.give_up(lost.id);
    let (_, second) = report(&mut bench);
    assert_eq!(first, second);
}
