//! The cache of verified tokens changes what a decision costs, and nothing else.
//!
//! Two filters live the same life, one with its cache and one without. What is remembered of a token is whether its signature
//! verifies under the key of that thumbprint: a pure function of token and key, remembered with both. So a remembered
//! failure can't differ from a fresh one either, and the two must agree to the letter at every step.

#![cfg(not(target_arch = "wasm32"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by panicking"
)]

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use portcullis_core::callout::{CalloutFailure, CalloutReply, HttpResponse};
use portcullis_core::config;
use portcullis_core::decision::{Decision, Step};
use portcullis_core::jose::{Algorithm, BadSignature, PublicKey, SignatureVerifier, base64url};
use portcullis_core::metrics::Id;
use portcullis_core::request::RequestHead;
use portcullis_core::time::UnixTime;
use portcullis_core::{Authenticator, Stores};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const ISSUER: &str = "https://issuer.example";
/// RFC 8037 appendix A.2, and RFC 8032 section 7.1 tests 2 and 3.
const KEYS: [&str; 3] = [
    "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw",
    "_FHNjmIYoaONpH7QAjDwWAgW7RO6MwOsXeuRFUiQgCU",
];

/// A signature that depends on key and message, as real ones do, and costs nothing.
#[derive(Default)]
struct Toy(Cell<u32>);

fn toy_signature(x: &[u8], message: &[u8]) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(x);
    hash.update(message);
    hash.finalize().repeat(2)
}

impl SignatureVerifier for Toy {
    fn verify(
        &self,
        _: Algorithm,
        key: &PublicKey,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        self.0.set(self.0.get() + 1);
        // The point is the end of an SPKI.
        let x = key.spki_der().point();
        if toy_signature(x, message) == signature {
            Ok(())
        } else {
            Err(BadSignature)
        }
    }
}

trait Point {
    fn point(&self) -> &[u8];
}

impl Point for [u8] {
    fn point(&self) -> &[u8] {
        &self[self.len() - 32..]
    }
}

/// Which token of the pool: small numbers, so that the same ones come again and again.
#[derive(Clone, Copy, Debug)]
struct Token {
    kid: usize,
    signer: usize,
    forged: bool,
    /// Seconds from the start to `exp`.
    lives: u64,
    /// Seconds from the start to `nbf` and `iat`.
    begins: u64,
    audience: bool,
    padding: bool,
}

#[derive(Clone, Debug)]
struct Settings {
    keys: Option<Vec<(usize, usize)>>,
    audience: bool,
    /// Seconds of `max_token_age`.
    max_age: Option<u64>,
    unproven_subject: bool,
    cached_tokens: usize,
    cached_bytes: usize,
    failed_tokens: usize,
    failed_ttl: u64,
}

#[derive(Clone, Debug)]
enum Op {
    Ask(Token),
    Pass(u64),
    /// The clock is set back.
    Back(u64),
    Reload(Settings),
    /// Answers the next callout that is due with these keys, or with nothing.
    Serve(Option<Vec<(usize, usize)>>),
}

fn token() -> impl Strategy<Value = Token> {
    (
        prop::sample::select(vec![0_usize, 0, 0, 1, 2]),
        0..3_usize,
        prop::bool::weighted(0.25),
        prop::sample::select(vec![5_u64, 60, 4000, 4000, 4000]),
        prop::sample::select(vec![0_u64, 0, 0, 70]),
        prop::bool::weighted(0.9),
        prop::bool::weighted(0.2),
    )
        .prop_map(
            |(kid, signer, forged, lives, begins, audience, padding)| Token {
                kid,
                // Mostly by the key that is named.
                signer: if forged { signer } else { kid },
                forged: forged && signer == kid,
                lives,
                begins,
                audience,
                padding,
            },
        )
}

/// Pairs of `kid` and key; the same `kid` may stand there twice, and for another key than its own.
fn key_set() -> impl Strategy<Value = Vec<(usize, usize)>> {
    let own = prop::sample::subsequence(vec![(0, 0), (1, 1), (2, 2)], 1..=3);
    prop_oneof![3 => own, 1 => vec((0..3_usize, 0..3_usize), 1..4)]
}

fn settings() -> impl Strategy<Value = Settings> {
    (
        prop::option::of(key_set()),
        prop::bool::weighted(0.9),
        prop::option::weighted(0.2, prop::sample::select(vec![10_u64, 500])),
        prop::bool::weighted(0.2),
        prop::sample::select(vec![0_usize, 2, 3, 4, 8, 100]),
        prop::sample::select(vec![0_usize, 4000, 20_000, 1_000_000]),
        prop::sample::select(vec![0_usize, 2, 4, 100]),
        prop::sample::select(vec![0_u64, 5, 60]),
    )
        .prop_map(
            |(
                keys,
                audience,
                max_age,
                unproven_subject,
                cached_tokens,
                cached_bytes,
                failed_tokens,
                failed_ttl,
            )| Settings {
                keys,
                audience,
                max_age,
                unproven_subject,
                cached_tokens,
                cached_bytes,
                failed_tokens,
                failed_ttl,
            },
        )
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => token().prop_map(Op::Ask),
        2 => prop::sample::select(vec![1_u64, 4, 10, 31, 61, 400, 3700]).prop_map(Op::Pass),
        1 => prop::sample::select(vec![3_u64, 40, 400]).prop_map(Op::Back),
        1 => settings().prop_map(Op::Reload),
        2 => prop::option::weighted(0.8, key_set()).prop_map(Op::Serve),
    ]
}

fn start() -> UnixTime {
    UnixTime::from_secs(1_800_000_000)
}

fn jwks(keys: &[(usize, usize)]) -> String {
    let keys: Vec<Value> = keys
        .iter()
        .map(|(kid, key)| json!({"kty": "OKP", "crv": "Ed25519", "kid": format!("k{kid}"), "x": KEYS[*key]}))
        .collect();
    json!({ "keys": keys }).to_string()
}

fn text(token: Token) -> String {
    let header = json!({"alg": "EdDSA", "kid": format!("k{}", token.kid)}).to_string();
    let mut claims = json!({
        "iss": ISSUER, "sub": "alice", "exp": start().as_secs() + token.lives, "nbf": start().as_secs() + token.begins,
        "iat": start().as_secs() + token.begins,
        "aud": if token.audience { "api://agents" } else { "api://payroll" },
    });
    if token.padding {
        claims["padding"] = "x".repeat(700).into();
    }
    let input = format!(
        "{}.{}",
        base64url::encode(header.as_bytes()),
        base64url::encode(claims.to_string().as_bytes())
    );
    let key = base64url::decode(KEYS[token.signer].as_bytes()).unwrap();
    let mut signature = toy_signature(&key, input.as_bytes());
    if token.forged {
        signature[0] ^= 1;
    }
    format!("{input}.{}", base64url::encode(&signature))
}

fn configuration(settings: &Settings, remembers: bool) -> String {
    let mut oidc = json!({
        "issuer": ISSUER, "clock_skew": "0s", "jwks_cache_ttl": "5m",
        "audience": if settings.audience { "api://agents" } else { "api://other" },
    });
    if let Some(seconds) = settings.max_age {
        oidc["max_token_age"] = format!("{seconds}s").into();
    }
    match &settings.keys {
        Some(keys) => oidc["jwks"] = jwks(keys).into(),
        None => oidc["jwks_url"] = "https://issuer.example/keys".into(),
    }
    let mut limits = json!({"jwks_grace": "1m", "cached_tokens": 0, "cached_token_bytes": 0, "failed_tokens": 0});
    if remembers {
        limits["cached_tokens"] = settings.cached_tokens.into();
        limits["cached_token_bytes"] = settings.cached_bytes.into();
        limits["failed_tokens"] = settings.failed_tokens.into();
        limits["failed_token_ttl"] = format!("{}s", settings.failed_ttl).into();
    }
    json!({
        "auth": {"providers": [{"type": "oidc", "settings": oidc}]}, "limits": limits,
        "audit": {"unproven_subject": settings.unproven_subject},
    })
    .to_string()
}

struct Side {
    remembers: bool,
    auth: Authenticator,
    verifier: Rc<Toy>,
}

impl Side {
    fn new(settings: &Settings, remembers: bool) -> Self {
        let verifier = Rc::new(Toy::default());
        let policy = policy(settings, remembers);
        Self {
            remembers,
            auth: Authenticator::new(policy, Stores::new(7), verifier.clone(), start()),
            verifier,
        }
    }

    /// Everything that a host is told, but for what the cache is meant to change.
    fn ask(&mut self, token: &str, now: UnixTime, document: Option<&str>) -> String {
        let value = format!("Bearer {token}");
        let headers: [(&[u8], &[u8]); 1] = [(b"authorization", value.as_bytes())];
        let step = self.auth.begin(
            &RequestHead {
                method: b"GET",
                path: b"/",
                authority: b"h",
                headers: &headers,
                remote_addr: None,
            },
            now,
        );
        match step {
            Step::Done(decision) => shown(decision),
            // Nobody answers in time, or somebody does.
            Step::NeedBody(_) => panic!("nobody signs a body here"),
            Step::NeedCallout(need) => {
                self.serve(document, now);
                let at = if need.ready(&self.auth, now) {
                    now
                } else {
                    need.deadline()
                };
                match need.resume(&mut self.auth, at) {
                    Step::Done(decision) => format!("waited {}", shown(decision)),
                    Step::NeedBody(_) => panic!("nobody signs a body here"),
                    Step::NeedCallout(_) => panic!("waits beyond its deadline"),
                }
            }
        }
    }

    fn serve(&mut self, document: Option<&str>, now: UnixTime) {
        if let Some(callout) = self.auth.poll_callout(now) {
            let reply = match document {
                Some(body) => CalloutReply::Response(HttpResponse {
                    status: 200,
                    headers: &[],
                    body: body.as_bytes(),
                }),
                None => CalloutReply::Failed(CalloutFailure::NoResponse),
            };
            self.auth.reply(callout.id, reply, now);
        }
    }

    fn entries(&self, now: UnixTime) -> usize {
        let gauges = self.auth.gauges(now);
        let (_, n) = gauges
            .iter()
            .find(|(id, _)| *id == Id::TokenCacheEntries)
            // Not told before there was one.
            .unwrap_or(&(Id::TokenCacheEntries, 0));
        usize::try_from(*n).unwrap()
    }
}

fn policy(settings: &Settings, remembers: bool) -> portcullis_core::policy::Policy {
    let text = configuration(settings, remembers);
    config::load(text.as_bytes(), &|_| None)
        .unwrap_or_else(|e| panic!("{e}\n{text}"))
        .0
}

fn shown(decision: Decision) -> String {
    let event = |line: Option<portcullis_core::audit::AuditLine>| {
        let line = line.unwrap().finish(Duration::ZERO);
        let mut event: Value = serde_json::from_str(&line).unwrap();
        let fields = event["fields"].as_object_mut().unwrap();
        fields.remove("cache").unwrap();
        fields.remove("config_version").unwrap();
        event.to_string()
    };
    match decision {
        Decision::Limited(_) => panic!("nobody presents a key"),
        Decision::Serve(_) => panic!("no metadata is configured"),
        Decision::Allow(a) => format!("allow {:?} {:?} {}", a.remove, a.set, event(a.audit)),
        Decision::Deny(d) => format!(
            "deny {} {} {:?} {} {}",
            d.status,
            d.code,
            d.headers,
            d.body,
            event(d.audit)
        ),
    }
}

/// Lives through `ops` twice and returns how many verifications the cache has saved, and how many requests got in.
fn live(first: &Settings, ops: &[Op]) -> Result<(u32, u32), TestCaseError> {
    let mut sides = [Side::new(first, true), Side::new(first, false)];
    let (mut now, mut allowed) = (start(), 0);
    // What is remembered may outlive the policy that allowed it, until as much again has been remembered since.
    let mut most = first.cached_tokens;
    let mut in_force: Option<String> = first.keys.as_ref().map(|k| jwks(k));
    for op in ops {
        match op {
            Op::Ask(token) => {
                let token = text(*token);
                let [with, without] = &mut sides;
                let (a, b) = (
                    with.ask(&token, now, in_force.as_deref()),
                    without.ask(&token, now, in_force.as_deref()),
                );
                prop_assert_eq!(&a, &b);
                allowed += u32::from(a.contains("allow ["));
            }
            Op::Pass(seconds) => now = now + Duration::from_secs(*seconds),
            Op::Back(seconds) => now = now - Duration::from_secs(*seconds),
            Op::Reload(settings) => {
                most = most.max(settings.cached_tokens);
                for side in &mut sides {
                    side.auth.reload(policy(settings, side.remembers), now);
                }
            }
            Op::Serve(keys) => {
                in_force = keys.as_ref().map(|k| jwks(k));
                for side in &mut sides {
                    side.serve(in_force.as_deref(), now);
                }
            }
        }
        prop_assert!(sides[0].entries(now) <= most);
        prop_assert_eq!(sides[1].entries(now), 0);
        // A cache that costs verifications would be a strange one.
        prop_assert!(sides[0].verifier.0.get() <= sides[1].verifier.0.get());
    }
    Ok((
        sides[1].verifier.0.get() - sides[0].verifier.0.get(),
        allowed,
    ))
}

#[test]
fn decisions_are_the_same_with_and_without_the_cache() {
    let config = ProptestConfig {
        cases: 1500,
        // The shrunk input is printed, and that is where it belongs.
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let (saved, allowed) = (Cell::new(0), Cell::new(0));
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner
        .run(&(settings(), vec(op(), 1..80)), |(first, ops)| {
            let (s, a) = live(&first, &ops)?;
            saved.set(saved.get() + s);
            allowed.set(allowed.get() + a);
            Ok(())
        })
        .unwrap_or_else(|e| panic!("{e}"));
    // Lives in which nothing is ever remembered or let in would agree as well.
    assert!(
        saved.get() > 1000,
        "only {} verifications saved",
        saved.get()
    );
    assert!(allowed.get() > 1000, "only {} let in", allowed.get());
}
