//! A key feed and a filter: what is asked, what is taken, what is in force, and who gets in meanwhile.

use std::time::Duration;

use portcullis_core::apikey::feed::{FeedProblem, Notice};
use portcullis_core::authenticator::{Authenticator, BackgroundCallout, Purpose, Stores};
use portcullis_core::config;
use portcullis_core::policy::Policy;
use serde_json::{Value, json};
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use crate::api_keys::key;
use crate::support::{Bench, CountingVerifier, Request, event, over, set, start, verdict};

pub const TOKEN: &str = "fleet-token-0123456789";

/// A configuration whose keys come from a feed, with `settings` over the provider's.
pub fn config(feed: Value, settings: Value) -> Value {
    let feed = over(
        json!({"url": "https://keys.example/feed", "token_env": "FEED_TOKEN"}),
        feed,
    );
    let settings = over(json!({"feed": feed}), settings);
    json!({
        "auth": {"providers": [{"type": "api_key", "name": "keys", "settings": settings}]},
        "agent": {"path": "/rest/{agent}"},
        "callouts": {"upstreams": {"keys.example": "keys"}},
    })
}

pub fn load(config: &Value) -> Policy {
    let env = |name: &str| (name == "FEED_TOKEN").then(|| TOKEN.to_owned());
    match config::load(config.to_string().as_bytes(), &env) {
        Ok((policy, _)) => policy,
        Err(errors) => panic!("{errors}"),
    }
}

pub fn bench(config: &Value) -> Bench {
    let verifier = std::rc::Rc::new(CountingVerifier::default());
    let auth = Authenticator::new(load(config), Stores::new(7), verifier.clone(), start());
    Bench {
        auth,
        verifier,
        now: start(),
    }
}

pub fn page(revision: u64, more: Value) -> Value {
    over(
        json!({"format": "portcullis-feed/1", "epoch": "e1", "revision": revision, "reset": false, "more": false}),
        more,
    )
}

/// A bench whose feed was read, with these records in it.
pub fn loaded(feed: Value, settings: Value, records: &[&Value]) -> Bench {
    let mut bench = bench(&config(feed, settings));
    bench.page(&page(10, json!({"reset": true, "keys": records})));
    assert_eq!(bench.problems(), []);
    bench
}

pub fn to(agent: &str, key: &str) -> Request {
    Request::get(&format!("/rest/{agent}")).header("x-api-key", key)
}

pub trait Feed {
    fn poll(&mut self) -> BackgroundCallout;
    fn page(&mut self, page: &Value) -> String;
    fn problems(&mut self) -> Vec<FeedProblem>;
    fn second(&mut self);
}

impl Feed for Bench {
    fn poll(&mut self) -> BackgroundCallout {
        let callout = self.callout();
        assert_eq!(
            callout.purpose,
            Purpose::Feed("https://keys.example/feed".into())
        );
        callout
    }

    /// Answers the poll that is due; gives what was asked.
    fn page(&mut self, page: &Value) -> String {
        let callout = self.poll();
        self.respond(&callout, 200, &[("etag", "\"tag\"")], &page.to_string());
        callout.callout.path
    }

    fn problems(&mut self) -> Vec<FeedProblem> {
        let notices = std::iter::from_fn(|| self.auth.poll_notice());
        notices
            .filter_map(|n| match n {
                Notice::Failed { problem, .. } => Some(problem),
                _ => None,
            })
            .collect()
    }

    fn second(&mut self) {
        self.pass(Duration::from_secs(1));
    }
}

fn header<'c>(callout: &'c BackgroundCallout, name: &str) -> Option<&'c str> {
    let found = callout.callout.headers.iter().find(|(n, _)| n == name);
    found.map(|(_, value)| value.as_str())
}

#[test]
fn a_cold_start_a_delta_and_a_revocation() {
    let (one, r1) = key("gak", 'a', json!({"owner": "alice@example.com"}));
    let (two, r2) = key("gak", 'b', json!({}));
    let mut bench = bench(&config(json!({}), json!({})));
    let first = bench.poll();
    assert_eq!(first.callout.path, "/feed?after=0&limit=2000");
    assert_eq!(
        (first.callout.method, first.callout.scheme),
        ("GET", "https")
    );
    assert_eq!(first.callout.upstream, "keys");
    assert_eq!(
        header(&first, "authorization"),
        Some("Bearer fleet-token-0123456789")
    );
    assert_eq!(
        header(&first, "x-portcullis-instance"),
        Some("0000000000000007")
    );
    assert_eq!(
        header(&first, "x-portcullis-config"),
        Some(&*bench.auth.policy().version)
    );
    assert_eq!(header(&first, "if-none-match"), None);
    assert!(!format!("{first:?} {:?}", bench.auth.policy()).contains(TOKEN));
    bench.no_callout();
    bench.respond(
        &first,
        200,
        &[("etag", "\"10\"")],
        &page(10, json!({"reset": true, "keys": [r1]})).to_string(),
    );
    let allow = bench.allow(&to("orders", &one));
    assert_eq!(set(&allow, "x-auth-user-id"), Some("alice@example.com"));
    assert_eq!(event(allow.audit)["fields"]["key_id"], "aaaaaaaaaaaa");
    assert_eq!(bench.verdict(&to("fraud", &one)), "forbidden_agent");
    assert_eq!(bench.verdict(&to("orders", &two)), "unknown_key");

    // Within the interval, and not at once.
    bench.no_callout();
    bench.second();
    let second = bench.poll();
    assert_eq!(second.callout.path, "/feed?after=10&epoch=e1&limit=2000");
    assert_eq!(header(&second, "if-none-match"), Some("\"10\""));
    bench.respond(&second, 304, &[], "");
    assert_eq!(bench.verdict(&to("orders", &one)), "ok");

    bench.second();
    bench.page(&page(11, json!({"keys": [r2]})));
    assert_eq!(bench.verdict(&to("orders", &two)), "ok");
    bench.second();
    let revoked = over(r1.clone(), json!({"revoked_at": 1}));
    bench.page(&page(
        12,
        json!({"keys": [revoked], "removed_keys": ["bbbbbbbbbbbb"]}),
    ));
    assert_eq!(bench.verdict(&to("orders", &one)), "key_revoked");
    assert_eq!(bench.verdict(&to("orders", &two)), "unknown_key");
    assert_eq!(bench.problems(), []);
}

#[test]
fn a_poll_is_due_within_each_interval() {
    for seed in 0..50 {
        let verifier = std::rc::Rc::new(CountingVerifier::default());
        let policy = load(&config(json!({}), json!({})));
        let auth = Authenticator::new(policy, Stores::new(seed), verifier.clone(), start());
        let mut bench = Bench {
            auth,
            verifier,
            now: start(),
        };
        bench.page(&page(1, json!({"reset": true})));
        bench.pass(Duration::from_millis(799));
        bench.no_callout();
        bench.pass(Duration::from_millis(101));
        bench.poll();
    }
}

#[test]
fn nobody_is_told_that_a_key_is_unknown_before_the_feed_was_read() {
    let (key, record) = key("gak", 'a', json!({}));
    let mut bench = bench(&config(json!({}), json!({})));
    let early = bench.waits(&to("orders", &key));
    assert_eq!(early.deadline(), start() + Duration::from_secs(5));
    // What can't be a key does not wait.
    assert_eq!(bench.verdict(&to("orders", "gak_typo")), "malformed_key");
    // Not with half of it either.
    bench.page(&page(5, json!({"reset": true, "more": true, "keys": []})));
    assert!(!early.ready(&bench.auth, bench.now));
    let late = bench.waits(&to("orders", &key));
    let path = bench.page(&page(9, json!({"keys": [record]})));
    assert_eq!(path, "/feed?after=5&epoch=e1&limit=2000");
    assert_eq!(bench.resume(early), "ok");
    assert_eq!(bench.resume(late), "ok");
}

#[test]
fn a_feed_that_was_never_there_is_an_outage() {
    let (key, record) = key("gak", 'a', json!({}));
    let mut bench = bench(&config(json!({}), json!({})));
    let waiting = bench.waits(&to("orders", &key));
    let callout = bench.poll();
    bench.fail(&callout);
    assert_eq!(bench.resume(waiting), "feed_unavailable");
    let denial = bench.deny(&to("orders", &key));
    assert_eq!(
        (denial.status, denial.code.as_str()),
        (503, "feed_unavailable")
    );
    assert!(denial.headers.contains(&("retry-after", "1".into())));
    assert_eq!(
        event(denial.audit)["fields"]["reason"],
        "provider_unavailable"
    );
    assert_eq!(bench.problems(), [FeedProblem::NoAnswer]);
    // It comes, and nobody has to do anything.
    bench.second();
    let waiting = bench.waits(&to("orders", &key));
    bench.page(&page(1, json!({"reset": true, "keys": [record]})));
    assert_eq!(bench.resume(waiting), "ok");
}

#[test]
fn a_request_does_not_wait_for_ever() {
    let (key, _) = key("gak", 'a', json!({}));
    let mut bench = bench(&config(json!({"timeout": "2s"}), json!({})));
    let waiting = bench.waits(&to("orders", &key));
    bench.poll();
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.resume(waiting), "feed_unavailable");
}

#[test]
fn a_callout_that_never_ends_is_given_up() {
    let mut bench = loaded(json!({}), json!({}), &[]);
    bench.second();
    let lost = bench.poll();
    bench.pass(Duration::from_secs(6));
    bench.no_callout();
    bench.pass(Duration::from_secs(2));
    let next = bench.auth.poll_callout(bench.now);
    assert!(next.is_none(), "the failure counts as one: {next:?}");
    bench.second();
    bench.poll();
    // Its answer, at last, is nobody's.
    bench.respond(
        &lost,
        200,
        &[],
        &page(99, json!({"epoch": "x"})).to_string(),
    );
    assert_eq!(bench.problems(), []);
}

#[test]
fn max_staleness_denies_and_recovers() {
    let (good, r1) = key("gak", 'a', json!({}));
    let (revoked, r2) = key("gak", 'b', json!({"revoked_at": 1}));
    let (unknown, _) = key("gak", 'c', json!({}));
    let (own, r4) = key("gak", 'd', json!({}));
    let mut bench = loaded(
        json!({"max_staleness": "10s"}),
        json!({"keys": [r4]}),
        &[&r1, &r2],
    );
    let began = bench.now;
    while bench.now.since(began) <= Duration::from_secs(10) {
        assert_eq!(bench.verdict(&to("orders", &good)), "ok");
        if let Some(callout) = bench.auth.poll_callout(bench.now) {
            bench.fail(&callout);
        }
        bench.pass(Duration::from_millis(100));
    }
    let denial = bench.deny(&to("orders", &good));
    assert_eq!((denial.status, denial.code.as_str()), (503, "feed_stale"));
    assert_eq!(
        event(denial.audit)["fields"]["reason"],
        "provider_unavailable"
    );
    // It may have been made since.
    assert_eq!(bench.verdict(&to("orders", &unknown)), "feed_stale");
    // This one is revoked for good, and that one never was the feed's.
    assert_eq!(bench.verdict(&to("orders", &revoked)), "key_revoked");
    assert_eq!(bench.verdict(&to("orders", &own)), "ok");
    // The backoff is bounded.
    bench.pass(Duration::from_secs(10));
    let callout = bench.poll();
    bench.respond(&callout, 304, &[], "");
    assert_eq!(bench.verdict(&to("orders", &good)), "ok");
    assert_eq!(bench.verdict(&to("orders", &unknown)), "unknown_key");
}

#[test]
fn a_clock_that_is_set_back_makes_nothing_younger() {
    let (good, record) = key("gak", 'a', json!({"created_at": 1}));
    let mut bench = loaded(json!({"max_staleness": "10s"}), json!({}), &[&record]);
    bench.now = bench.now - Duration::from_secs(3600);
    let callout = bench.poll_or_later();
    bench.fail(&callout);
    assert_eq!(bench.verdict(&to("orders", &good)), "ok");
    bench.pass(Duration::from_secs(11));
    assert_eq!(bench.verdict(&to("orders", &good)), "feed_stale");
}

impl Bench {
    /// The next poll, within the longest that one may be waited for.
    fn poll_or_later(&mut self) -> BackgroundCallout {
        for _ in 0..110 {
            if let Some(callout) = self.auth.poll_callout(self.now) {
                // What was in force an hour ahead is as old as now, and not younger.
                return callout;
            }
            self.now = self.now + Duration::from_millis(100);
        }
        panic!("the polling has stopped");
    }
}

#[test]
fn a_reset_is_built_aside_and_swapped_in_whole() {
    let (old, r1) = key("gak", 'a', json!({}));
    let (new, r2) = key("gak", 'b', json!({}));
    let mut bench = loaded(json!({}), json!({}), &[&r1]);
    bench.second();
    let first = json!({"epoch": "e/2&", "reset": true, "more": true, "keys": [r2], "agents": {"x": {"org": "o"}}});
    bench.page(&page(3, first));
    assert_eq!(bench.verdict(&to("orders", &old)), "ok");
    assert_eq!(bench.verdict(&to("orders", &new)), "unknown_key");
    // An outage in the middle: it goes on from there.
    let callout = bench.poll();
    assert_eq!(
        callout.callout.path,
        "/feed?after=3&epoch=e%2F2%26&limit=2000"
    );
    assert_eq!(header(&callout, "if-none-match"), None);
    bench.fail(&callout);
    assert_eq!(bench.verdict(&to("orders", &old)), "ok");
    bench.second();
    let path = bench.page(&page(4, json!({"epoch": "e/2&"})));
    assert_eq!(path, "/feed?after=3&epoch=e%2F2%26&limit=2000");
    assert_eq!(bench.verdict(&to("orders", &old)), "unknown_key");
    assert_eq!(bench.verdict(&to("orders", &new)), "ok");
}

#[test]
fn a_service_that_begins_again_and_again_is_asked_no_faster_than_usual() {
    let mut bench = bench(&config(json!({}), json!({})));
    let first = page(3, json!({"reset": true, "more": true}));
    bench.page(&first);
    bench.page(&first);
    bench.no_callout();
    bench.second();
    bench.page(&page(4, json!({})));
    assert_eq!(bench.problems(), []);
}

#[test]
fn what_does_not_follow_is_refused_whole_and_the_feed_is_read_anew() {
    let (old, r1) = key("gak", 'a', json!({}));
    let (new, r2) = key("gak", 'b', json!({}));
    let revoked = over(r1.clone(), json!({"revoked_at": 1}));
    for bad in [
        page(9, json!({"keys": [revoked, r2]})),
        page(10, json!({"keys": [revoked, r2]})),
        page(10, json!({"more": true})),
        page(11, json!({"epoch": "e2", "keys": [revoked, r2]})),
    ] {
        let mut bench = loaded(json!({}), json!({}), &[&r1]);
        bench.second();
        bench.page(&bad);
        assert!(
            matches!(bench.problems()[..], [FeedProblem::Order(_)]),
            "{bad}"
        );
        assert_eq!(bench.verdict(&to("orders", &old)), "ok");
        assert_eq!(bench.verdict(&to("orders", &new)), "unknown_key");
        bench.second();
        // A delta, when all was asked for, is no answer; nor is "nothing new".
        let path = bench.page(&page(11, json!({"keys": [r2]})));
        assert_eq!(path, "/feed?after=0&limit=2000");
        assert!(matches!(bench.problems()[..], [FeedProblem::Order(_)]));
        bench.pass(Duration::from_secs(2));
        let callout = bench.poll();
        assert_eq!(header(&callout, "if-none-match"), None);
        bench.respond(&callout, 304, &[], "");
        assert!(matches!(bench.problems()[..], [FeedProblem::Order(_)]));
        bench.pass(Duration::from_secs(3));
        bench.page(&page(
            2,
            json!({"epoch": "e3", "reset": true, "keys": [r2]}),
        ));
        assert_eq!(bench.verdict(&to("orders", &old)), "unknown_key");
        assert_eq!(bench.verdict(&to("orders", &new)), "ok");
    }
}

#[test]
fn garbage_leaves_what_is_in_force_and_is_asked_for_again() {
    let (good, r1) = key("gak", 'a', json!({}));
    let mut bench = loaded(json!({"max_staleness": "1h"}), json!({}), &[&r1]);
    let whole = page(11, json!({"removed_keys": ["aaaaaaaaaaaa"]})).to_string();
    let huge = " ".repeat(8 << 20) + &whole;
    for (status, body) in [
        (200, "<html>captive portal</html>"),
        (200, &whole[..whole.len() - 1]),
        (200, &whole.replace("feed/1", "feed/2")),
        (200, &whole.replace("\"more\"", "\"mode\"")),
        (200, &whole.replace("aaaaaaaaaaaa", "aaaa")),
        (200, &huge),
        (200, ""),
        (201, &whole),
        (206, &whole),
        (301, &whole),
        (401, &whole),
        (500, &whole),
    ] {
        let callout = bench.poll_or_later();
        bench.respond(&callout, status, &[], body);
        assert_eq!(bench.problems().len(), 1, "{status}");
        assert_eq!(bench.verdict(&to("orders", &good)), "ok");
    }
    let callout = bench.poll_or_later();
    assert_eq!(callout.callout.path, "/feed?after=10&epoch=e1&limit=2000");
    bench.respond(&callout, 200, &[], &whole);
    assert_eq!(bench.verdict(&to("orders", &good)), "unknown_key");
}

#[test]
fn one_bad_record_does_not_keep_a_revocation_from_being_heard() {
    let (one, r1) = key("gak", 'a', json!({}));
    let (two, r2) = key("gak", 'b', json!({}));
    let mut bench = loaded(json!({}), json!({}), &[&r1, &r2]);
    bench.second();
    let strange = over(r1.clone(), json!({"shape": "round"}));
    let revoked = over(r2.clone(), json!({"revoked_at": 1}));
    bench.page(&page(11, json!({"keys": [strange, revoked]})));
    assert_eq!(bench.verdict(&to("orders", &two)), "key_revoked");
    let denial = bench.deny(&to("orders", &one));
    assert_eq!(
        (denial.status, denial.code.as_str()),
        (401, "unreadable_key")
    );
    assert_eq!(event(denial.audit)["fields"]["key_id"], "aaaaaaaaaaaa");
    let notices: Vec<Notice> = std::iter::from_fn(|| bench.auth.poll_notice()).collect();
    let told = notices
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n");
    assert!(
        told.contains("1 records can't be read; their keys are refused; the first is aaaaaaaaaaaa: shape: unknown key; known here: id, hash"),
        "{told}"
    );
    // Mended.
    bench.second();
    bench.page(&page(12, json!({"keys": [r1]})));
    assert_eq!(bench.verdict(&to("orders", &one)), "ok");
}

#[test]
fn a_key_in_both_has_to_be_good_by_both() {
    let id = "aaaaaaaaaaaa";
    let (good, record) = key("gak", 'a', json!({"owner": "configured@example.com"}));
    let other_hash = json!({"hash": format!("sha256:{}", "0f".repeat(32))});
    for (here, there, wanted) in [
        (json!({}), json!({}), "ok"),
        (json!({"revoked_at": 1}), json!({}), "key_revoked"),
        (json!({}), json!({"revoked_at": 1}), "key_revoked"),
        (json!({}), json!({"expires_at": 1}), "key_expired"),
        (json!({"expires_at": 1}), json!({}), "key_expired"),
        (
            json!({}),
            json!({"scope": {"agent": "fraud"}}),
            "forbidden_agent",
        ),
        (
            json!({"scope": {"agent": "fraud"}}),
            json!({}),
            "forbidden_agent",
        ),
        (json!({}), json!({"methods": "POST"}), "method_not_allowed"),
        (other_hash.clone(), json!({}), "wrong_key"),
        (json!({}), other_hash.clone(), "wrong_key"),
        (json!({}), json!({"what": 1}), "unreadable_key"),
        (
            json!({}),
            json!({"rate_limit": {"requests": 1, "per": "1s"}}),
            "limited",
        ),
        (
            json!({"rate_limit": {"requests": 1, "per": "1s"}}),
            json!({}),
            "limited",
        ),
    ] {
        let here = over(record.clone(), here);
        let fed = over(record.clone(), json!({"owner": "fed@example.com"}));
        let fed = over(fed, there.clone());
        let mut bench = loaded(json!({}), json!({"keys": [here]}), &[&fed]);
        assert_eq!(
            bench.verdict(&to("orders", &good)),
            wanted,
            "{here} {there}"
        );
        if wanted == "ok" {
            let allow = bench.allow(&to("orders", &good));
            assert_eq!(
                set(&allow, "x-auth-user-id"),
                Some("configured@example.com")
            );
            // The feed forgets it: the configuration's is what is left.
            bench.second();
            bench.page(&page(11, json!({"removed_keys": [id]})));
            assert_eq!(bench.verdict(&to("orders", &good)), "ok");
        }
    }
}

#[test]
fn keys_of_the_configuration_wait_for_what_the_feed_has_revoked() {
    let (good, record) = key("gak", 'a', json!({}));
    let mut bench = bench(&config(json!({}), json!({"keys": [record]})));
    let waiting = bench.waits(&to("orders", &good));
    let callout = bench.poll();
    bench.fail(&callout);
    assert_eq!(bench.resume(waiting), "feed_unavailable");
    bench.second();
    bench.page(&page(1, json!({"reset": true})));
    assert_eq!(bench.verdict(&to("orders", &good)), "ok");
}

#[test]
fn whose_an_agent_is_the_feed_may_say_where_the_configuration_does_not() {
    let (user, r1) = key("gsa", 'a', json!({"scope": {"user": "alice@example.com"}}));
    let (org, r2) = key("gak", 'b', json!({"scope": {"org": "acme"}}));
    let mut settings = config(json!({}), json!({}));
    settings["agents"] = json!({"orders": {"owner": "bob@example.com"}});
    let mut bench = bench(&settings);
    let agents = json!({
        "orders": {"owner": "alice@example.com", "org": "acme"},
        "fraud": {"owner": "alice@example.com", "workspace": "w", "org": "acme"},
        "broken": {"owner": "alice@example.com", "org": "acme", "x": 1},
    });
    bench.page(&page(
        1,
        json!({"reset": true, "keys": [r1, r2], "agents": agents}),
    ));
    for key in [&user, &org] {
        // The configuration's word on an agent is its only word.
        assert_eq!(bench.verdict(&to("orders", key)), "forbidden_agent");
        assert_eq!(bench.verdict(&to("broken", key)), "forbidden_agent");
        assert_eq!(bench.verdict(&to("elsewhere", key)), "forbidden_agent");
        let allow = bench.allow(&to("fraud", key));
        assert_eq!(set(&allow, "x-auth-workspace-id"), Some("w"));
    }
    bench.second();
    bench.page(&page(
        2,
        json!({"agents": {"fraud": {"owner": "bob@example.com", "org": "acme"}}}),
    ));
    assert_eq!(bench.verdict(&to("fraud", &user)), "forbidden_agent");
    assert_eq!(bench.verdict(&to("fraud", &org)), "ok");
    bench.second();
    bench.page(&page(3, json!({"removed_agents": ["fraud"]})));
    assert_eq!(bench.verdict(&to("fraud", &org)), "forbidden_agent");
}

#[test]
fn what_was_read_outlives_a_reload_and_is_nobody_elses() {
    let (good, record) = key("gak", 'a', json!({}));
    let mut bench = loaded(json!({}), json!({}), &[&record]);
    let reload = |bench: &mut Bench, config: &Value| bench.auth.reload(load(config), bench.now);
    // Another interval is another way to ask the same feed.
    reload(
        &mut bench,
        &config(
            json!({"interval": "5s", "max_staleness": "20s"}),
            json!({"prefix": "gak"}),
        ),
    );
    assert_eq!(bench.verdict(&to("orders", &good)), "ok");
    bench.second();
    bench.page(&page(11, json!({})));
    bench.pass(Duration::from_millis(3900));
    bench.no_callout();
    bench.second();
    bench.page(&page(12, json!({})));
    // Another URL is another feed.
    reload(
        &mut bench,
        &config(json!({"url": "https://keys.example/other"}), json!({})),
    );
    bench.waits(&to("orders", &good));
    let callout = bench.callout();
    assert_eq!(callout.callout.path, "/other?after=0&limit=2000");
    bench.respond(
        &callout,
        200,
        &[],
        &page(5, json!({"reset": true})).to_string(),
    );
    assert_eq!(bench.verdict(&to("orders", &good)), "unknown_key");
    // And back: what was known is known, and asked about before it is relied upon if it is too old.
    reload(&mut bench, &config(json!({}), json!({})));
    assert_eq!(bench.verdict(&to("orders", &good)), "ok");
    reload(
        &mut bench,
        &config(json!({"url": "https://keys.example/other"}), json!({})),
    );
    bench.pass(Duration::from_secs(61));
    reload(&mut bench, &config(json!({}), json!({})));
    let waiting = bench.waits(&to("orders", &good));
    let path = bench.page(&page(13, json!({})));
    assert_eq!(path, "/feed?after=12&epoch=e1&limit=2000");
    assert_eq!(bench.resume(waiting), "ok");
    // Without a feed its keys are nobody's.
    let mut without = config(json!({}), json!({}));
    without["auth"]["providers"][0]["settings"] = json!({});
    reload(&mut bench, &without);
    assert_eq!(bench.verdict(&to("orders", &good)), "unknown_key");
    bench.pass(Duration::from_secs(5));
    bench.no_callout();
}

#[test]
fn no_more_keys_than_there_is_room_for() {
    let (good, r1) = key("gak", 'a', json!({}));
    let (other, r2) = key("gak", 'b', json!({}));
    let mut settings = config(json!({}), json!({}));
    settings["limits"] = json!({"feed_keys": 1});
    let mut bench = bench(&settings);
    bench.page(&page(1, json!({"reset": true, "keys": [r1]})));
    bench.second();
    bench.page(&page(
        2,
        json!({"keys": [r2, over(r1.clone(), json!({"revoked_at": 1}))]}),
    ));
    assert_eq!(bench.problems(), [FeedProblem::TooManyKeys]);
    assert_eq!(bench.verdict(&to("orders", &good)), "ok");
    assert_eq!(bench.verdict(&to("orders", &other)), "unknown_key");
    // A change of what is there needs no room.
    bench.second();
    bench.page(&page(
        2,
        json!({"keys": [over(r1, json!({"revoked_at": 1}))]}),
    ));
    assert_eq!(bench.verdict(&to("orders", &good)), "key_revoked");
}

#[test]
fn guesses_still_have_a_budget() {
    let (good, record) = key("gak", 'a', json!({}));
    let (unknown, _) = key("gak", 'z', json!({}));
    let mut settings = config(json!({}), json!({}));
    settings["limits"] = json!({"key_failures": 2});
    let mut bench = bench(&settings);
    bench.page(&page(1, json!({"reset": true, "keys": [record]})));
    for wanted in ["unknown_key", "unknown_key", "too_many_failures"] {
        assert_eq!(bench.verdict(&to("orders", &unknown)), wanted);
    }
    assert_eq!(bench.verdict(&to("orders", &good)), "ok");
}

#[test]
fn gauges() {
    use portcullis_core::metrics::Id;
    let (_, record) = key("gak", 'a', json!({}));
    let mut bench = bench(&config(json!({}), json!({})));
    let gauge = |bench: &Bench, id: Id| {
        let gauges = bench.auth.gauges(bench.now);
        gauges
            .into_iter()
            .find(|(i, _)| *i == id)
            .map(|(_, value)| value)
    };
    bench.poll();
    assert_eq!(gauge(&bench, Id::FeedInForce), Some(0));
    bench.pass(Duration::from_secs(3));
    assert_eq!(gauge(&bench, Id::FeedAge), Some(3));
    bench.pass(Duration::from_secs(9));
    bench.no_callout();
    bench.second();
    bench.page(&page(7, json!({"reset": true, "keys": [record]})));
    bench.pass(Duration::from_secs(2));
    for (id, value) in [
        (Id::FeedInForce, 1),
        (Id::FeedAge, 2),
        (Id::FeedRevision, 7),
        (Id::FeedKeys, 1),
    ] {
        assert_eq!(gauge(&bench, id), Some(value), "{id:?}");
    }
    bench.pass(Duration::from_secs(60));
    let callout = bench.poll();
    bench.fail(&callout);
    assert_eq!(gauge(&bench, Id::FeedInForce), Some(0));
    // Nobody has one: nothing to show.
    let mut none = config(json!({}), json!({}));
    none["auth"]["providers"][0]["settings"] = json!({});
    bench.auth.reload(load(&none), bench.now);
    assert_eq!(gauge(&bench, Id::FeedAge), None);
}

#[test]
fn two_providers_two_feeds() {
    let (one, r1) = key("gak", 'a', json!({}));
    let (two, r2) = key("two", 'a', json!({}));
    let mut both = config(json!({}), json!({}));
    let second = json!({"type": "api_key", "name": "second", "settings": {"prefix": "two", "service_prefix": "tsa",
        "feed": {"url": "https://keys.example/second", "token_env": "FEED_TOKEN"}}});
    both["auth"]["providers"]
        .as_array_mut()
        .unwrap()
        .push(second);
    let mut bench = bench(&both);
    let callouts = [bench.callout(), bench.callout()];
    bench.no_callout();
    bench.respond(
        &callouts[0],
        200,
        &[],
        &page(1, json!({"reset": true, "keys": [r1]})).to_string(),
    );
    assert_eq!(bench.verdict(&to("orders", &one)), "ok");
    let waiting = bench.waits(&to("orders", &two));
    bench.respond(
        &callouts[1],
        200,
        &[],
        &page(1, json!({"reset": true, "keys": [r2]})).to_string(),
    );
    assert_eq!(bench.resume(waiting), "ok");
    // Neither is the other's.
    assert_eq!(bench.verdict(&to("orders", &one)), "ok");
    assert_eq!(verdict(bench.ask(&to("orders", &two))), "ok");
}

#[test]
fn a_poll_that_was_given_up_is_no_failure_and_is_sent_again_at_once() {
    let mut bench = loaded(json!({}), json!({}), &[]);
    bench.second();
    let lost = bench.poll();
    bench.auth.give_up(lost.id);
    let next = bench.poll();
    bench.respond(&next, 304, &[], "");
    assert_eq!(bench.problems(), []);
}
