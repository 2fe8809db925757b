//! Every provider beside every other, in both orders: each lets its own callers in, and none becomes a way around another.
//!
//! A new provider is one more row.

use portcullis_core::authenticator::BackgroundCallout;
use portcullis_core::decision::{Decision, Step};
use portcullis_core::jose::base64url;
use serde_json::{Value, json};
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use crate::support::*;
use crate::{api_keys, aws, azure, gcp_iap, github, sigv4};

/// One provider: its entry in a chain, a caller that it lets in, and callers whose credentials are its own to refuse.
struct Row {
    provider: fn() -> Value,
    good: fn() -> Request,
    /// Malformed, expired, forged, and stolen: genuine, and made for somebody else.
    bad: fn() -> Vec<(&'static str, Request)>,
}

const ROWS: [Row; 9] = [
    Row {
        provider: || provider(json!({"allowed_subjects": "alice"})),
        good: || bearer(&token(json!({}))),
        bad: || {
            let hs256 = json!({"alg": "HS256", "kid": "k1"});
            let none = json!({"alg": "none"});
            vec![
                ("malformed", bearer("a.b.c")),
                ("encrypted", bearer("a.b.c.d.e")),
                ("cut", bearer(token(json!({})).split_at(200).0)),
                ("expired", bearer(&token(json!({"exp": 1})))),
                ("forged", bearer(&forged(json!({})))),
                ("unsigned", bearer(&sign(&none, &claims(json!({})), b""))),
                ("hs256", bearer(&sign(&hs256, &claims(json!({})), &[3; 32]))),
                ("unknown key", bearer(&token_with_kid("k9"))),
                ("stolen", bearer(&token(json!({"aud": "api://other"})))),
                ("nobody's", bearer(&token(json!({"sub": "mallory"})))),
            ]
        },
    },
    Row {
        provider: || json!({"type": "static_token", "settings": {"token": "correct-horse-battery", "identity": {"user_id": "cron"}}}),
        good: || bearer("correct-horse-battery"),
        bad: || {
            vec![
                ("guessed", bearer("bad-horse-battery")),
                (
                    "twice",
                    bearer("correct-horse-battery").bearer("correct-horse-battery"),
                ),
            ]
        },
    },
    Row {
        provider: || json!({"type": "aws_sigv4", "settings": {"region": "eu-west-1", "allowed_accounts": "123456789012"}}),
        good: || bearer(&aws::token_with(json!({}))),
        bad: || {
            let with = |changes| bearer(&aws::token_with(changes));
            vec![
                ("malformed", bearer("forge-aws-v1.%%%")),
                ("empty", bearer("forge-aws-v1.")),
                ("expired", with(json!({"X-Amz-Date": "20200101T000000Z"}))),
                (
                    "forged",
                    with(json!({"X-Amz-Signature": FORGED.repeat(64)})),
                ),
                ("another call", with(json!({"Action": "AssumeRole"}))),
                (
                    "stolen",
                    with(json!({"X-Amz-SignedHeaders": "host%3Bx-k8s-aws-id"})),
                ),
            ]
        },
    },
    Row {
        provider: || sigv4::provider(json!({})),
        good: || sigv4::signed(b""),
        bad: || {
            let sign = |key, secret, service| {
                sigv4::sign(
                    Request::get("/rest/orders"),
                    key,
                    secret,
                    service,
                    &sigv4::hash(b""),
                )
            };
            let malformed = "AWS4-HMAC-SHA256 Credential=x";
            vec![
                (
                    "malformed",
                    Request::get("/").header("authorization", malformed),
                ),
                ("forged", sign("AKIDBOT", "guess", "agents")),
                ("unknown key", sign("AKIDX", sigv4::SECRET, "agents")),
                ("stolen", sign("AKIDBOT", sigv4::SECRET, "s3")),
            ]
        },
    },
    Row {
        provider: || {
            let (_, good) = api_keys::key("gak", 'a', json!({}));
            let (_, expired) = api_keys::key("gak", 'b', json!({"expires_at": 1_700_000_000}));
            let (_, other) = api_keys::key("gak", 'c', json!({"scope": {"agent": "hr"}}));
            json!({"type": "api_key", "settings": {"keys": [good, expired, other]}})
        },
        good: || bearer(&key('a')),
        bad: || {
            let good = key('a');
            let cut = good.split_at(good.len() - 1).0;
            vec![
                ("malformed", bearer(cut)),
                ("prefix alone", bearer("gak_")),
                (
                    "malformed beside",
                    Request::get("/rest/orders").header("x-api-key", cut),
                ),
                ("expired", bearer(&key('b'))),
                ("unknown", bearer(&key('d'))),
                ("another agent's", bearer(&key('c'))),
                ("two", bearer(&good).header("x-api-key", &good)),
            ]
        },
    },
    Row {
        provider: || {
            azure::provider(json!({"allowed_apps": "11112222-bbbb-3333-cccc-4444dddd5555"}))
        },
        good: || bearer(&azure::sealed(&azure::v2(json!({})))),
        bad: || {
            let with = |changes| bearer(&azure::sealed(&azure::v2(changes)));
            let good = azure::sealed(&azure::v2(json!({})));
            vec![
                ("cut", bearer(good.split_at(good.len() - 9).0)),
                ("expired", with(json!({"exp": 1}))),
                ("forged", bearer(&tampered(&good))),
                (
                    "another app's",
                    with(json!({"azp": "22223333-cccc-4444-dddd-5555eeee6666"})),
                ),
                (
                    "another tenant's",
                    with(json!({"tid": "bbbbcccc-1111-dddd-2222-eeee3333ffff"})),
                ),
                ("stolen", with(json!({"aud": "api://other"}))),
            ]
        },
    },
    Row {
        provider: || github::provider(json!({})),
        good: || bearer(&github::token(json!({}))),
        bad: || {
            let with = |changes| bearer(&github::token(changes));
            let good = github::token(json!({}));
            vec![
                ("cut", bearer(good.split_at(good.len() - 9).0)),
                ("expired", with(json!({"exp": 1}))),
                ("forged", bearer(&tampered(&good))),
                (
                    "another owner's",
                    with(json!({"repository_owner_id": "66"})),
                ),
                ("stolen", with(json!({"aud": "sigstore"}))),
            ]
        },
    },
    Row {
        provider: || gcp_iap::iap(gcp_iap::BACKEND),
        good: || gcp_iap::through_iap(&gcp_iap::assertion(json!({}))),
        bad: || {
            let with = |changes| gcp_iap::through_iap(&gcp_iap::assertion(changes));
            let good = gcp_iap::assertion(json!({}));
            vec![
                ("malformed", gcp_iap::through_iap("a.b.c")),
                ("expired", with(json!({"exp": 1}))),
                ("forged", gcp_iap::through_iap(&tampered(&good))),
                (
                    "stolen",
                    with(json!({"aud": "/projects/1/global/backendServices/2"})),
                ),
                (
                    "another issuer's",
                    with(json!({"iss": "https://evil.example"})),
                ),
                (
                    "two",
                    gcp_iap::through_iap(&good).header("x-goog-iap-jwt-assertion", &good),
                ),
            ]
        },
    },
    Row {
        provider: || json!({"type": "http_verifier", "settings": {"url": "https://verify.example/"}}),
        good: || bearer("opaque-0123456789"),
        bad: || {
            vec![
                ("unknown", bearer("bad-0123456789")),
                ("garbled", bearer("bad-%%%.")),
                (
                    "stolen",
                    bearer("opaque-0123456789").header("x-org-id", "victim"),
                ),
                (
                    "two orgs",
                    bearer("opaque-0123456789")
                        .header("x-org-id", "acme")
                        .header("x-org-id", "victim"),
                ),
            ]
        },
    },
];

/// A key that is good for the agent `orders`, or not any longer, and such a key that nobody has.
fn key(letter: char) -> String {
    api_keys::key("gak", letter, json!({})).0
}

/// The same token with another signature.
fn tampered(token: &str) -> String {
    let (signed, _) = token.rsplit_once('.').unwrap();
    format!("{signed}.{}", base64url::encode(&[2; 64]))
}

/// STS refuses such a signature.
const FORGED: &str = "f";

/// STS, and a verifier that takes anything for good that does not say it is bad: whatever of another provider's reaches it gets in.
fn answer(bench: &mut Bench, callout: &BackgroundCallout) {
    let json_type = ("content-type", "application/json");
    let path = callout.callout.path.as_str();
    let document = match callout.callout.authority.as_str() {
        "token.actions.githubusercontent.com" => Some(github::answer(path)),
        azure::LOGIN => Some(azure::answer(path)),
        "www.gstatic.com" => Some(gcp_iap::keys()),
        _ => None,
    };
    if let Some(document) = document {
        bench.respond(callout, 200, &[json_type], &document);
    } else if callout.callout.authority == "verify.example" {
        let question: Value = serde_json::from_slice(&callout.callout.body).unwrap();
        let bad = question["token"].as_str().unwrap().starts_with("bad-");
        let answer = json!({"valid": !bad, "user_id": "u", "org_id": "acme"});
        bench.respond(callout, 200, &[json_type], &answer.to_string());
    } else if callout.callout.path.contains(&FORGED.repeat(64)) {
        let error = json!({"Error": {"Code": "SignatureDoesNotMatch"}});
        bench.respond(callout, 403, &[json_type], &error.to_string());
    } else {
        bench.respond(callout, 200, &[json_type], &aws::answer(aws::ALICE));
    }
}

/// What becomes of a request, and whose word that is.
fn outcome(providers: &[Value], request: &Request) -> (&'static str, String) {
    let mut bench = Bench::new(&json!({
        "auth": {"providers": providers},
        "agent": {"path": "/rest/{agent}"},
    }));
    let mut step = bench.begin(request);
    for _ in 0..4 {
        step = match step {
            Step::Done(decision) => {
                let by = match &decision {
                    Decision::Allow(allow) => set(allow, "x-auth-provider").unwrap().to_owned(),
                    _ => String::new(),
                };
                return (verdict(decision), by);
            }
            Step::NeedBody(need) => need.finish(&mut bench.auth, bench.now),
            Step::NeedCallout(need) => {
                while let Some(callout) = bench.auth.poll_callout(bench.now) {
                    answer(&mut bench, &callout);
                }
                need.resume(&mut bench.auth, bench.now)
            }
        };
    }
    panic!("waits on and on");
}

#[test]
fn every_type_has_a_row() {
    let types: Vec<Value> = ROWS
        .iter()
        .map(|r| (r.provider)()["type"].clone())
        .collect();
    for offered in portcullis_core::config::OFFERED {
        assert!(types.contains(&json!(offered)), "{offered} has none");
    }
    assert_eq!(types.len(), portcullis_core::config::OFFERED.len());
}

#[test]
fn no_order_lets_anybody_in_whom_one_alone_refuses() {
    for (i, own) in ROWS.iter().enumerate() {
        let provider = (own.provider)();
        let name = provider["type"].as_str().unwrap().to_owned();
        let good = (own.good)();
        let alone = |request: &Request| outcome(std::slice::from_ref(&provider), request);
        assert_eq!(alone(&good), ("ok", name.clone()));
        for (j, other) in ROWS.iter().enumerate() {
            if i == j {
                continue;
            }
            let other = (other.provider)();
            for chain in [
                [provider.clone(), other.clone()],
                [other.clone(), provider.clone()],
            ] {
                let what = format!("{} then {}", chain[0]["type"], chain[1]["type"]);
                assert_eq!(outcome(&chain, &good), ("ok", name.clone()), "{what}");
                for (kind, bad) in (own.bad)() {
                    let (expected, _) = alone(&bad);
                    assert_ne!(expected, "ok", "{name}: {kind}");
                    let (got, _) = outcome(&chain, &bad);
                    // What is nobody's in particular may be refused by whoever is there.
                    let same = got == expected || expected == "not_for_me" && got != "ok";
                    assert!(same, "{what}: {name}'s {kind} is {got}, alone {expected}");
                }
            }
        }
    }
}
