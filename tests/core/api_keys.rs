//! `api_key` in the chain: who is let in where, and that nobody learns more than that.

use std::time::Duration;

use portcullis_core::answer::Field;
use portcullis_core::apikey::bucket::Taken;
use portcullis_core::apikey::format::{KeyId, assemble};
use portcullis_core::apikey::record::{KeyDigest, Pepper};
use portcullis_core::config;
use portcullis_core::decision::{Decision, Denial};
use serde_json::{Value, json};
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use crate::support::{Bench, Request, event, removed, set, start, token};

/// A key whose id and secret are made of one character, and its record with `changes` over it.
pub fn key(prefix: &str, letter: char, changes: Value) -> (String, Value) {
    let all = |n: usize| letter.to_string().repeat(n);
    let key = assemble(prefix, KeyId::parse(&all(12)).unwrap(), &all(43)).unwrap();
    let mut record = json!({
        "id": all(12),
        "hash": KeyDigest::of(&key, None).to_string(),
        "scope": {"agent": "orders"},
        "expires_at": start().as_secs() + 3600,
        "created_at": start().as_secs() - 60,
    });
    for (name, value) in changes.as_object().unwrap() {
        record[name] = value.clone();
    }
    (key, record)
}

fn provider(settings: Value) -> Value {
    json!({"type": "api_key", "name": "keys", "settings": settings})
}

fn config(records: &[&Value]) -> Value {
    json!({
        "auth": {"providers": [provider(json!({"keys": records}))]},
        "agent": {"path": "/rest/{agent}"},
        "agents": {
            "orders": {"owner": "alice@example.com", "workspace": "payments", "org": "acme"},
            "fraud": {"owner": "bob@example.com", "workspace": "payments", "org": "acme"},
            "hr": {"owner": "alice@example.com", "workspace": "people", "org": "acme"},
            "elsewhere": {"org": "globex"},
        },
    })
}

fn to(agent: &str, key: &str) -> Request {
    Request::get(&format!("/rest/{agent}")).header("X-Gofannon-Key", key)
}

#[test]
fn a_key_in_each_place() {
    let (key, record) = key("gak", 'a', json!({"owner": "alice@example.com"}));
    let mut bench = Bench::new(&config(&[&record]));
    for (request, name) in [
        (to("orders", &key), "x-gofannon-key"),
        (
            Request::get("/rest/orders").header("x-api-key", &key),
            "x-api-key",
        ),
        (Request::get("/rest/orders").bearer(&key), "authorization"),
    ] {
        let allow = bench.allow(&request);
        assert_eq!(removed(&allow), [name]);
        for (header, value) in [
            ("x-auth-user-id", Some("alice@example.com")),
            ("x-auth-key-id", Some("aaaaaaaaaaaa")),
            ("x-auth-agent", Some("orders")),
            ("x-auth-org-id", Some("acme")),
            ("x-auth-workspace-id", Some("payments")),
            ("x-auth-provider", Some("keys")),
            ("x-auth-email", None),
        ] {
            assert_eq!(set(&allow, header), value, "{header}");
        }
        let event = event(allow.audit);
        assert_eq!(event["event"], "auth_verify");
        assert_eq!(event["fields"]["token_kind"], "api_key");
        assert_eq!(event["fields"]["key_id"], "aaaaaaaaaaaa");
        assert_eq!(event["fields"]["provider"], "api_key");
        assert!(!event.to_string().contains(&key));
    }
    let mut forwarding = config(&[&record]);
    forwarding["identity"] = json!({"forward_credentials": true});
    bench.reload(&forwarding);
    assert!(removed(&bench.allow(&to("orders", &key))).is_empty());
}

#[test]
fn without_an_owner_the_key_stands_for_itself() {
    let (key, record) = key("gak", 'a', json!({}));
    let mut bench = Bench::new(&config(&[&record]));
    let allow = bench.allow(&to("orders", &key));
    assert_eq!(set(&allow, "x-auth-user-id"), Some("key:aaaaaaaaaaaa"));
}

#[test]
fn each_scope_opens_what_it_says() {
    for (scope, opens) in [
        (json!({"agent": "orders"}), &["orders"][..]),
        (json!({"workspace": "payments"}), &["orders", "fraud"]),
        (json!({"org": "acme"}), &["orders", "fraud", "hr"]),
        (json!({"user": "alice@example.com"}), &["orders", "hr"]),
        (json!({"org": "nobodys"}), &[]),
    ] {
        let (key, record) = key("gsa", 'b', json!({"scope": scope}));
        let mut bench = Bench::new(&config(&[&record]));
        for agent in ["orders", "fraud", "hr", "elsewhere", "unheard-of"] {
            let wanted = if opens.contains(&agent) {
                "ok"
            } else {
                "forbidden_agent"
            };
            assert_eq!(
                bench.verdict(&to(agent, &key)),
                wanted,
                "{scope} at {agent}"
            );
        }
        let nowhere = Request::get("/").header("x-api-key", &key);
        assert_eq!(bench.verdict(&nowhere), "unknown_agent");
    }
}

#[test]
fn a_refusal_at_another_agent_names_the_key() {
    let (key, record) = key("gak", 'a', json!({"owner": "alice@example.com"}));
    let mut bench = Bench::new(&config(&[&record]));
    let denial = bench.deny(&to("fraud", &key));
    assert_eq!(denial.status, 403);
    let event = event(denial.audit);
    assert_eq!(event["fields"]["key_id"], "aaaaaaaaaaaa");
    assert_eq!(event["fields"]["user_id"], "alice@example.com");
}

/// What a caller sees, his request's id aside.
fn answer(denial: &Denial) -> (u16, Vec<Field>, String) {
    let mut body: Value = serde_json::from_str(&denial.body).unwrap();
    body.as_object_mut().unwrap().remove("request_id");
    (denial.status, denial.headers.clone(), body.to_string())
}

#[test]
fn whatever_is_wrong_with_a_key_the_answer_is_the_same() {
    let now = start().as_secs();
    let (expired, r1) = key("gak", 'b', json!({"expires_at": now}));
    let (revoked, r2) = key("gak", 'c', json!({"revoked_at": now - 1}));
    let (early, r3) = key("gak", 'd', json!({"not_before": now + 1}));
    let (superseded, r4) = key("gak", 'e', json!({"grace_until": now}));
    let (unknown, _) = key("gak", 'f', json!({}));
    let (good, r5) = key("gak", 'g', json!({}));
    let wrong = assemble(
        "gak",
        KeyId::parse(&"g".repeat(12)).unwrap(),
        &"h".repeat(43),
    )
    .unwrap();
    // The same characters as another kind of key: another digest.
    let other_kind = assemble(
        "gsa",
        KeyId::parse(&"g".repeat(12)).unwrap(),
        &"g".repeat(43),
    )
    .unwrap();
    let mut bench = Bench::new(&config(&[&r1, &r2, &r3, &r4, &r5]));
    assert_eq!(bench.verdict(&to("orders", &good)), "ok");
    let mut answers = Vec::new();
    for (key, code, has_record) in [
        (&expired, "key_expired", true),
        (&revoked, "key_revoked", true),
        (&early, "key_not_yet_valid", true),
        (&superseded, "key_superseded", true),
        (&unknown, "unknown_key", false),
        (&wrong, "wrong_key", true),
        (&other_kind, "wrong_key", true),
    ] {
        for agent in ["orders", "fraud"] {
            let denial = bench.deny(&to(agent, key));
            answers.push(answer(&denial));
            let event = event(denial.audit);
            assert_eq!(event["fields"]["code"], code);
            assert_eq!(event["fields"]["reason"], "rejected");
            assert_eq!(event["fields"]["provider_name"], "keys");
            assert_eq!(
                event["fields"].get("key_id").is_some(),
                has_record,
                "{code}"
            );
            assert!(event["fields"].get("user_id").is_none());
        }
    }
    assert_eq!(answers[0].0, 401);
    assert!(answers.iter().all(|a| *a == answers[0]), "{answers:#?}");
}

#[test]
fn the_stored_hash_is_no_key() {
    let (_, record) = key("gak", 'a', json!({}));
    let mut bench = Bench::new(&config(&[&record]));
    let hash = record["hash"].as_str().unwrap();
    let hex = &hash[7..];
    for text in [
        hash,
        hex,
        &format!("gak_{hex}"),
        &format!("gak_aaaaaaaaaaaa_{}", &hex[..43]),
    ] {
        let request = Request::get("/rest/orders").header("x-api-key", text);
        assert!(
            ["not_for_me", "malformed_key"].contains(&bench.verdict(&request)),
            "{text}"
        );
        assert_ne!(bench.with_token(text), "ok", "{text}");
    }
    // Not even in a key's form.
    let id = KeyId::parse("aaaaaaaaaaaa").unwrap();
    let dressed = assemble("gak", id, &hex[..43]).unwrap();
    assert_eq!(bench.verdict(&to("orders", &dressed)), "wrong_key");
}

#[test]
fn a_typo_is_no_guess() {
    let (key, record) = key("gak", 'a', json!({}));
    let mut settings = config(&[&record]);
    settings["limits"] = json!({"key_failures": 1});
    let mut bench = Bench::new(&settings);
    // Secret, check, id: whatever was mistyped, the check characters tell, and it counts against nobody.
    for typo in [
        key.replacen("aaaa_", "aaab_", 2),
        format!("{}0", &key[..66]),
        key.replacen("_a", "_b", 1),
        key[..66].to_owned(),
        key.to_uppercase().replacen("GAK", "gak", 1),
    ] {
        assert_ne!(typo, key);
        let denial = bench.deny(&to("orders", &typo));
        let event = event(denial.audit);
        assert_eq!(event["fields"]["code"], "malformed_key", "{typo}");
        assert!(event["fields"].get("key_id").is_none());
    }
    assert_eq!(bench.verdict(&to("orders", &key)), "ok");
}

#[test]
fn rotation_has_two_live_keys_until_grace_ends() {
    let now = start().as_secs();
    let (old, r1) = key("gak", 'a', json!({"grace_until": now + 60}));
    let (new, r2) = key("gak", 'b', json!({"replaces": "aaaaaaaaaaaa"}));
    let mut bench = Bench::new(&config(&[&r1, &r2]));
    bench.pass(Duration::from_millis(59_999));
    assert_eq!(bench.verdict(&to("orders", &old)), "ok");
    assert_eq!(bench.verdict(&to("orders", &new)), "ok");
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.verdict(&to("orders", &old)), "key_superseded");
    assert_eq!(bench.verdict(&to("orders", &new)), "ok");
}

#[test]
fn methods() {
    let (key, record) = key("gak", 'a', json!({"methods": "POST"}));
    let mut bench = Bench::new(&config(&[&record]));
    assert_eq!(bench.verdict(&to("orders", &key)), "method_not_allowed");
    let post = Request {
        method: "POST",
        ..to("orders", &key)
    };
    assert_eq!(bench.verdict(&post), "ok");
}

#[test]
fn the_chain_and_keys_do_not_mix() {
    let (key, record) = key("gak", 'a', json!({}));
    let mut both = config(&[&record]);
    let oidc = crate::support::provider(json!({}));
    let opaque = json!({"type": "static_token", "settings":
        {"token": ["a-token-of-its-own", key], "identity": {"user_id": "x"}}});
    both["auth"]["providers"] = json!([oidc, opaque, both["auth"]["providers"][0]]);
    let mut bench = Bench::new(&both);
    let get = || Request::get("/rest/orders");
    // Tokens keep their providers, keys theirs, in whatever order.
    assert_eq!(bench.verdict(&get().bearer(&token(json!({})))), "ok");
    assert_eq!(bench.verdict(&get().bearer("a-token-of-its-own")), "ok");
    let allow = bench.allow(&get().bearer(&key));
    assert_eq!(set(&allow, "x-auth-provider"), Some("keys"));
    // A token in a key's place is none.
    for token in [&token(json!({})), "a-token-of-its-own"] {
        let request = get().header("x-api-key", token);
        assert_eq!(bench.verdict(&request), "not_for_me", "{token}");
    }
    let ambiguous = to("orders", &key).bearer(&token(json!({})));
    assert_eq!(bench.verdict(&ambiguous), "ambiguous_credentials");
    // Two keys as well, be they the same.
    let twice = to("orders", &key).header("x-api-key", &key);
    assert_eq!(bench.verdict(&twice), "ambiguous_credentials");
}

#[test]
fn without_the_provider_its_headers_mean_nothing() {
    let mut bench = Bench::oidc(json!({}));
    let request = Request::get("/rest/orders")
        .header("x-api-key", "an upstream's own")
        .bearer(&token(json!({})));
    let allow = bench.allow(&request);
    assert_eq!(removed(&allow), ["authorization"]);
}

#[test]
fn settings() {
    let (acme, record) = key("acme", 'a', json!({}));
    let mut settings = config(&[]);
    settings["auth"]["providers"][0] = provider(json!({
        "keys": [record], "prefix": "acme", "headers": "X-Acme-Key", "bearer": false,
    }));
    let mut bench = Bench::new(&settings);
    let with = |name: &str, key: &str| Request::get("/rest/orders").header(name, key);
    assert_eq!(bench.verdict(&with("x-acme-key", &acme)), "ok");
    assert_eq!(bench.verdict(&with("x-api-key", &acme)), "missing_token");
    assert_eq!(bench.with_token(&acme), "not_for_me");
    let (gak, _) = key("gak", 'a', json!({}));
    assert_eq!(bench.verdict(&with("x-acme-key", &gak)), "not_for_me");
    assert_eq!(
        bench.verdict(&with("x-acme-key", "acme_x")),
        "malformed_key"
    );
}

#[test]
fn the_longest_life_is_held_against_every_record() {
    let (key, record) = key("gak", 'a', json!({"expires_at": "never"}));
    let mut settings = config(&[]);
    settings["auth"]["providers"][0] = provider(json!({"keys": [record], "max_ttl": "2m"}));
    let mut bench = Bench::new(&settings);
    // It is a minute old.
    bench.pass(Duration::from_secs(59));
    assert_eq!(bench.verdict(&to("orders", &key)), "ok");
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.verdict(&to("orders", &key)), "key_expired");
}

#[test]
fn peppered() {
    let pepper = Pepper::new("an hour of boiling").unwrap();
    let (key, mut record) = key("gak", 'a', json!({}));
    record["hash"] = json!(KeyDigest::of(&key, Some(&pepper)).to_string());
    let mut settings = config(&[]);
    settings["auth"]["providers"][0] = provider(json!({"keys": [record], "pepper_env": "PEPPER"}));
    let load = |pepper: &str| {
        let env = |name: &str| (name == "PEPPER").then(|| pepper.to_owned());
        config::load(settings.to_string().as_bytes(), &env)
    };
    let mut bench = Bench::new(&config(&[]));
    bench
        .auth
        .reload(load("an hour of boiling").unwrap().0, start());
    assert_eq!(bench.verdict(&to("orders", &key)), "ok");
    bench
        .auth
        .reload(load("an hour of roasting").unwrap().0, start());
    assert_eq!(bench.verdict(&to("orders", &key)), "wrong_key");
    assert!(load("short").unwrap_err().to_string().contains("16 bytes"));
}

#[test]
fn guessing_uses_up_a_budget_and_locks_nobody_out() {
    let (good, record) = key("gak", 'a', json!({}));
    let (unknown, _) = key("gak", 'z', json!({}));
    let wrong = assemble(
        "gak",
        KeyId::parse(&"a".repeat(12)).unwrap(),
        &"b".repeat(43),
    )
    .unwrap();
    let mut settings = config(&[&record]);
    settings["limits"] = json!({"key_failures": 3});
    let mut bench = Bench::new(&settings);
    for _ in 0..2 {
        assert_eq!(bench.verdict(&to("orders", &unknown)), "unknown_key");
        // Neither typos nor other people's tokens are guesses.
        assert_eq!(bench.verdict(&to("orders", "gak_typo")), "malformed_key");
    }
    assert_eq!(bench.verdict(&to("orders", &wrong)), "wrong_key");
    let denial = bench.deny(&to("orders", &unknown));
    assert_eq!(
        (denial.status, denial.code.as_str()),
        (429, "too_many_failures")
    );
    assert!(denial.headers.contains(&("retry-after", "60".into())));
    assert_eq!(bench.verdict(&to("orders", &wrong)), "too_many_failures");
    // The neighbour behind the same address.
    assert_eq!(bench.verdict(&to("orders", &good)), "ok");
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.verdict(&to("orders", &unknown)), "unknown_key");
    settings["limits"] = json!({"key_failures": 0});
    bench.reload(&settings);
    for _ in 0..99 {
        assert_eq!(bench.verdict(&to("orders", &unknown)), "unknown_key");
    }
}

#[test]
fn the_address_is_audited_only_where_it_should_be() {
    let (key, record) = key("gak", 'a', json!({}));
    let mut settings = config(&[&record]);
    settings["audit"] = json!({"remote_addr": false});
    let mut bench = Bench::new(&settings);
    assert!(bench.auth.wants_remote_addr());
    let allow = bench.allow(&to("orders", &key));
    assert!(event(allow.audit)["fields"].get("remote_addr").is_none());
    settings["limits"] = json!({"key_failures": 0});
    bench.reload(&settings);
    assert!(!bench.auth.wants_remote_addr());
}

#[test]
fn a_rate_limit_is_settled_with_the_shared_bucket() {
    let limit = json!({"requests": 60, "per": "1m", "burst": 2});
    let (key, record) = key("gak", 'a', json!({"rate_limit": limit}));
    let mut bench = Bench::new(&config(&[&record]));
    let request = to("orders", &key).header("x-request-id", "r-1");
    let mut state = None;
    let mut seqs = Vec::new();
    for wanted in ["ok", "ok", "rate_limited"] {
        let Decision::Limited(limited) = bench.ask(&request) else {
            panic!("not limited");
        };
        assert_eq!(limited.bucket_name(), "portcullis.rate/keys/aaaaaaaaaaaa");
        let taken = match limited.take(state, bench.now) {
            Taken::Yes(next) => {
                state = Some(next);
                Ok(())
            }
            Taken::No { retry_after } => Err(retry_after),
        };
        let (outcome, audit) = match limited.settle(taken) {
            Decision::Allow(allow) => ("ok", allow.audit),
            Decision::Deny(denial) => {
                assert_eq!(denial.status, 429);
                for (name, value) in [
                    ("retry-after", "1"),
                    ("ratelimit-policy", "\"key\";q=60;w=60"),
                    ("ratelimit", "\"key\";r=0;t=1"),
                ] {
                    let found: Vec<_> = denial.headers.iter().filter(|(n, _)| *n == name).collect();
                    assert_eq!(found, [&(name, value.into())]);
                }
                (denial.code.as_str(), denial.audit)
            }
            Decision::Limited(_) | Decision::Serve(_) => panic!("limited again"),
        };
        assert_eq!(outcome, wanted);
        seqs.push(event(audit)["seq"].as_u64().unwrap());
    }
    // One request, one number.
    assert_eq!(seqs, [1, 2, 3]);
    // What is forbidden costs nothing.
    assert_eq!(bench.verdict(&to("fraud", &key)), "forbidden_agent");
}

#[test]
fn a_reload_revokes_at_once() {
    let (key, record) = key("gak", 'a', json!({}));
    let mut bench = Bench::new(&config(&[&record]));
    assert_eq!(bench.verdict(&to("orders", &key)), "ok");
    bench.reload(&config(&[]));
    assert_eq!(bench.verdict(&to("orders", &key)), "unknown_key");
}
