//! The core's hot paths, each begun a few times between two marks, for `scripts/instructions` to count the instructions of.
//!
//! Prints the name of each path in the order in which they run. Counts nothing itself: callgrind does, inside [`measured`].

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    dead_code,
    unused_imports,
    reason = "a program for measuring, which borrows the helpers of the tests"
)]

#[path = "../tests/core/sigv4.rs"]
mod sigv4;
#[path = "../tests/core/support.rs"]
mod support;

use std::hint::black_box;

use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use portcullis_core::apikey::format::{KeyId, assemble};
use portcullis_core::apikey::record::KeyDigest;
use portcullis_core::authenticator::Authenticator;
use portcullis_core::decision::Step;
use portcullis_core::jose::{Curve, Es256Tables, PublicKey, TableLimits};
use portcullis_core::request::RequestHead;
use portcullis_core::time::UnixTime;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::{Bench, ISSUER, Request, bearer, forged, oidc_config, over, provider, start, token};

/// Requests of each path. Each new token is another one, and so many share what a table or a cache costs now and then.
const REQUESTS: usize = 16;

/// What is counted. A dump is written whenever this returns.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
    // Not a jump into `work`, from which this would never return.
    black_box(work);
}

/// Prints the name and how many times `work` does it.
fn path(name: &str, times: usize, mut work: impl FnMut()) {
    println!("{times}\t{name}");
    measured(&mut work);
}

/// Has all requests judged, and requires one outcome of all.
fn requests(name: &str, bench: &mut Bench, requests: &[Request], wanted: &str) {
    let headers: Vec<Vec<(&[u8], &[u8])>> = requests
        .iter()
        .map(|r| {
            r.headers
                .iter()
                .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
                .collect()
        })
        .collect();
    let heads: Vec<RequestHead<'_>> = requests
        .iter()
        .zip(&headers)
        .map(|(r, headers)| RequestHead {
            method: r.method.as_bytes(),
            path: r.path.as_bytes(),
            authority: b"agents.example",
            headers,
            remote_addr: Some("192.0.2.7:1234"),
        })
        .collect();
    let (auth, now): (&mut Authenticator, UnixTime) = (&mut bench.auth, bench.now);
    let mut steps: Vec<Step> = Vec::with_capacity(heads.len());
    path(name, REQUESTS, || {
        for head in &heads {
            steps.push(auth.begin(black_box(head), now));
        }
    });
    assert_eq!(steps.len(), REQUESTS);
    for step in steps {
        let Step::Done(decision) = step else {
            panic!("{name}: has to wait")
        };
        assert_eq!(support::verdict(decision), wanted, "{name}");
    }
}

/// A client's usual headers beside the credential.
fn with_headers(request: Request) -> Request {
    request
        .header("user-agent", "agent/1.0")
        .header("accept", "application/json")
        .header("content-type", "application/json")
        .header("x-request-id", "3f2b6f0e-5d3c-4b0a-9d57-6c2b8f0f0a11")
        .header("x-forwarded-proto", "https")
}

/// The claims of an ordinary access token; `serial` makes it another one.
fn claims(serial: usize) -> Value {
    json!({"email": "planner@agents.example.com", "email_verified": true, "org_id": "org-4711", "nbf": start().as_secs(),
        "jti": format!("token-{serial:08}"), "azp": "planner", "scope": "openid email agents.call"})
}

fn tokens(changes: &Value, first: usize) -> Vec<Request> {
    (first..first + REQUESTS)
        .map(|serial| with_headers(bearer(&token(over(claims(serial), changes.clone())))))
        .collect()
}

/// A policy that has judged a few requests, so that what is made once is made.
fn warm(config: &Value) -> Bench {
    let mut bench = Bench::new(config);
    for request in tokens(&json!({}), 1_000_000) {
        bench.ask(&request);
    }
    bench
}

fn main() {
    tokens_and_refusals();
    for providers in [5, 20] {
        // Only the last one takes the token.
        let mut chain: Vec<Value> = (1..providers)
            .map(|i| provider(json!({"issuer": format!("https://issuer-{i}.example")})))
            .collect();
        chain.push(provider(json!({})));
        let mut bench = warm(&json!({"auth": {"providers": chain}}));
        let new = tokens(&json!({}), 0);
        requests(
            &format!("new JWT, chain of {providers}"),
            &mut bench,
            &new,
            "ok",
        );
        requests(
            &format!("cached JWT, chain of {providers}"),
            &mut bench,
            &vec![new[0].clone(); REQUESTS],
            "ok",
        );
    }
    for globs in [1, 100, 10_000] {
        let mut list: Vec<String> = (1..globs).map(|i| format!("team-{i}/*")).collect();
        list.push("ali*".to_owned());
        let mut bench = warm(&oidc_config(json!({"allowed_subjects": list})));
        let new = tokens(&json!({}), 0);
        requests(&format!("new JWT, {globs} globs"), &mut bench, &new, "ok");
        requests(
            &format!("cached JWT, {globs} globs"),
            &mut bench,
            &vec![new[0].clone(); REQUESTS],
            "ok",
        );
    }
    for keys in [1, 1_000, 100_000] {
        api_keys(keys);
    }
    signed_requests();
    es256();
}

fn tokens_and_refusals() {
    let mut bench = warm(&oidc_config(json!({})));
    let new = tokens(&json!({}), 0);
    requests("new JWT", &mut bench, &new, "ok");
    requests(
        "cached JWT",
        &mut bench,
        &vec![new[0].clone(); REQUESTS],
        "ok",
    );
    let none = vec![with_headers(Request::get("/rest/orders")); REQUESTS];
    requests("no credential", &mut bench, &none, "missing_token");
    let expired = tokens(&json!({"exp": start().as_secs() - 3600}), 0);
    requests("expired JWT, new", &mut bench, &expired, "expired");
    requests("expired JWT, again", &mut bench, &expired, "expired");
    let garbage = vec![with_headers(bearer("bm8.c3VjaA.dGhpbmc")); REQUESTS];
    requests("garbage", &mut bench, &garbage, "malformed_token");
    let bad: Vec<Request> = (0..REQUESTS)
        .map(|serial| with_headers(bearer(&forged(claims(serial)))))
        .collect();
    requests("forged JWT, new", &mut bench, &bad, "bad_signature");
    requests("forged JWT, again", &mut bench, &bad, "bad_signature");
}

fn api_keys(count: usize) {
    let key = |i: usize| {
        let id = KeyId::parse(&format!("{i:012}")).expect("an id");
        assemble("gak", id, &format!("{i:043}")).expect("a key")
    };
    let records: Vec<Value> = (0..count)
        .map(|i| {
            json!({"id": format!("{i:012}"), "hash": KeyDigest::of(&key(i), None).to_string(), "scope": {"agent": "orders"},
                "expires_at": start().as_secs() + 3600, "created_at": start().as_secs() - 60})
        })
        .collect();
    let mut bench = Bench::new(&json!({
        "auth": {"providers": [{"type": "api_key", "settings": {"keys": records}}]},
        "agent": {"path": "/rest/{agent}"},
        "agents": {"orders": {"owner": "alice@example.com", "workspace": "payments", "org": "acme"}},
    }));
    let sent: Vec<Request> = (0..REQUESTS)
        .map(|i| {
            with_headers(Request::get("/rest/orders").header("x-api-key", &key(i * 6_007 % count)))
        })
        .collect();
    bench.ask(&sent[0]);
    requests(&format!("API key of {count}"), &mut bench, &sent, "ok");
}

fn signed_requests() {
    // The body's hash is claimed and is that of an empty one, which has not to be waited for.
    let settings = json!({"unsigned_payload": "allow"});
    let config = json!({"auth": {"providers": [sigv4::provider(settings)]}});
    let sent: Vec<Request> = (0..REQUESTS)
        .map(|i| {
            let request = Request::get(&format!("/rest/orders?i={i}"))
                .header("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
            sigv4::sign(
                request,
                "AKIDBOT",
                sigv4::SECRET,
                "agents",
                "UNSIGNED-PAYLOAD",
            )
        })
        .collect();
    // Nothing has been signed with the key yet, and then its derived key is remembered.
    let mut bench = Bench::new(&config);
    requests("SigV4, a new key for 16 requests", &mut bench, &sent, "ok");
    requests("SigV4", &mut bench, &sent, "ok");
}

fn es256() {
    let key = SigningKey::from_slice(&[7; 32]).expect("a key");
    let point = key.verifying_key().to_sec1_point(false);
    let ours = PublicKey::ec(
        Curve::P256,
        &point.as_bytes()[1..33],
        &point.as_bytes()[33..],
    )
    .expect("a point");
    let signed: Vec<([u8; 32], Vec<u8>)> = (0..REQUESTS)
        .map(|i| {
            let digest: [u8; 32] = Sha256::digest(i.to_be_bytes()).into();
            let signature: p256::ecdsa::Signature = key.sign_prehash(&digest).expect("a signature");
            (digest, signature.to_bytes().to_vec())
        })
        .collect();
    let tables = Es256Tables::new(TableLimits::DEFAULT).expect("the self-test passes");
    let verify = |(digest, signature): &([u8; 32], Vec<u8>)| {
        assert_eq!(
            tables.verdict_on_digest(&ours, digest, signature),
            Some(Ok(()))
        );
    };
    verify(&signed[0]);
    path("ES256 by tables, one signature", REQUESTS, || {
        signed.iter().for_each(verify)
    });
    path("ES256 by tables: two tables and the self-test", 1, || {
        let table = Es256Tables::new(TableLimits::DEFAULT);
        black_box(table.is_ok());
    });
}
