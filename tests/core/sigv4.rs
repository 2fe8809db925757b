//! Signed requests and their bodies: who judges them, what goes upstream, and what a body can do.

use std::time::Duration;

use portcullis_core::body::NeedBody;
use portcullis_core::decision::{Decision, Step};
use portcullis_core::reason::Code;
use portcullis_core::request::RequestHead;
use portcullis_core::sigv4::SignedRequest;
use portcullis_core::sigv4::canonical::PathRules;
use portcullis_core::sigv4::signing::{Scope, SigningKey, hex, request_hash, string_to_sign};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use crate::support::*;

pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// `start()`.
const DATE: &str = "20270115T080000Z";

pub fn provider(changes: Value) -> Value {
    let mut settings = json!({"service": "agents", "region": "eu-central-1", "max_body_bytes": 100, "credentials": [
        {"access_key_id": "AKIDBOT", "secret_access_key": SECRET, "user_id": "bot", "org_id": "acme"}]});
    for (name, value) in changes.as_object().unwrap() {
        settings[name] = value.clone();
    }
    json!({"type": "sigv4", "settings": settings})
}

fn bench() -> Bench {
    Bench::new(&json!({"auth": {"providers": [provider(json!({}))]}}))
}

/// Signs a request as [`Bench`] will show it, with the code under test: the published suites hold that to account.
pub fn sign(request: Request, key: &str, secret: &str, service: &str, payload: &str) -> Request {
    let scope = format!("{key}/20270115/eu-central-1/{service}/aws4_request");
    let request = request.header("x-amz-date", DATE);
    let names: Vec<&str> = request.headers.iter().map(|(n, _)| n.as_str()).collect();
    let mut names = [names, vec!["host"]].concat();
    names.sort_unstable();
    let parts = |signature: &str| {
        let names = names.join(";");
        format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={names}, Signature={signature}")
    };
    let unsigned = parts(&"0".repeat(64));
    let headers: Vec<(&[u8], &[u8])> = request
        .headers
        .iter()
        .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
        .collect();
    let head = RequestHead {
        method: request.method.as_bytes(),
        path: request.path.as_bytes(),
        authority: b"agents.example",
        headers: &headers,
        remote_addr: None,
    };
    let read = SignedRequest::read(&head, Some(&unsigned["AWS4-HMAC-SHA256 ".len()..])).unwrap();
    let rules = PathRules {
        normalize: true,
        double_encode: true,
    };
    let hash = request_hash(&read.canonical_heads(rules)[0], payload);
    let scope = Scope {
        day: "20270115".to_owned(),
        region: "eu-central-1".to_owned(),
        service: service.to_owned(),
    };
    let signature = SigningKey::derive(secret, &scope).sign(&string_to_sign(DATE, &scope, &hash));
    let authorization = parts(&hex(&signature));
    request.header("authorization", &authorization)
}

pub fn hash(body: &[u8]) -> String {
    hex(&Sha256::digest(body).into())
}

pub fn signed(body: &[u8]) -> Request {
    sign(
        Request::get("/rest/orders?b=2&a=1"),
        "AKIDBOT",
        SECRET,
        "agents",
        &hash(body),
    )
}

fn claimed(body: &[u8]) -> Request {
    let request = Request::get("/rest/orders").header("x-amz-content-sha256", &hash(body));
    sign(request, "AKIDBOT", SECRET, "agents", &hash(body))
}

fn needs_body(bench: &mut Bench, request: &Request) -> NeedBody {
    match bench.begin(request) {
        Step::NeedBody(need) => need,
        Step::Done(decision) => panic!("no need: {}", verdict(decision)),
        Step::NeedCallout(_) => panic!("waits for a callout"),
    }
}

fn with_body(bench: &mut Bench, request: &Request, body: &[u8]) -> Decision {
    let mut need = needs_body(bench, request);
    body.chunks(3).for_each(|part| {
        need.update(part);
    });
    match need.finish(&mut bench.auth, bench.now) {
        Step::Done(decision) => decision,
        _ => panic!("waits on"),
    }
}

#[test]
fn a_proven_body_lets_the_request_go_on_without_its_credential() {
    let mut bench = bench();
    for request in [signed(b"body"), claimed(b"body")] {
        let Decision::Allow(allow) = with_body(&mut bench, &request, b"body") else {
            panic!("refused");
        };
        assert_eq!(set(&allow, "x-auth-user-id"), Some("bot"));
        assert_eq!(removed(&allow), ["authorization", "x-amz-security-token"]);
        let event = event(allow.audit);
        assert_eq!(event["fields"]["token_kind"], "sigv4");
        assert_eq!(event["fields"]["provider"], "sigv4");
        assert_eq!(event["org_id"], "acme");
    }
    assert_eq!(verdict(with_body(&mut bench, &signed(b""), b"")), "ok");
}

#[test]
fn another_body_does_not() {
    let mut bench = bench();
    for body in [&b""[..], b"bod", b"body ", b"Body"] {
        assert_eq!(
            verdict(with_body(&mut bench, &signed(b"body"), body)),
            "bad_signature"
        );
        assert_eq!(
            verdict(with_body(&mut bench, &claimed(b"body"), body)),
            "payload_mismatch"
        );
    }
}

#[test]
fn a_body_is_hashed_up_to_its_limit() {
    let mut bench = bench();
    let fits = [b'x'; 100];
    assert_eq!(verdict(with_body(&mut bench, &signed(&fits), &fits)), "ok");
    let long = [b'x'; 101];
    let mut need = needs_body(&mut bench, &signed(&long));
    assert!(need.update(&fits));
    assert!(!need.update(b"x"));
    assert_eq!(need.seen(), 101);
    let Step::Done(Decision::Deny(denial)) = need.finish(&mut bench.auth, bench.now) else {
        panic!("let in");
    };
    assert_eq!((denial.status, denial.code), (413, Code::BodyTooLarge));
    // Said beforehand, it is not even begun; and only a signer is told.
    let announced = signed(&long).header("content-length", "101");
    assert_eq!(bench.verdict(&announced), "body_too_large");
}

#[test]
fn a_forged_claim_is_refused_before_the_body() {
    let mut bench = bench();
    let request = Request::get("/rest/orders").header("x-amz-content-sha256", &hash(b"x"));
    let forged = sign(request, "AKIDBOT", "another secret", "agents", &hash(b"x"));
    assert_eq!(bench.verdict(&forged), "bad_signature");
    bench.pass(Duration::from_secs(301));
    assert_eq!(bench.verdict(&signed(b"x")), "signature_expired");
    bench.now = bench.now + Duration::ZERO;
    let unknown = sign(
        Request::get("/"),
        "AKIDNOBODY",
        SECRET,
        "agents",
        &hash(b""),
    );
    assert_eq!(bench.verdict(&unknown), "unknown_access_key");
}

#[test]
fn an_unproven_caller_is_told_one_thing() {
    let mut bench = bench();
    let body = |bench: &mut Bench, request: &Request| {
        let denial = match bench.begin(request) {
            Step::Done(Decision::Deny(denial)) => denial,
            Step::NeedBody(need) => match need.finish(&mut bench.auth, bench.now) {
                Step::Done(Decision::Deny(denial)) => denial,
                _ => panic!("let in"),
            },
            _ => panic!("let in"),
        };
        let mut body: Value = serde_json::from_str(&denial.body).unwrap();
        body["request_id"] = json!("");
        (denial.status, denial.headers, body)
    };
    let wrong_secret = sign(Request::get("/"), "AKIDBOT", "x", "agents", &hash(b""));
    let expected = body(&mut bench, &wrong_secret);
    for request in [
        sign(
            Request::get("/"),
            "AKIDNOBODY",
            SECRET,
            "agents",
            &hash(b""),
        ),
        sign(Request::get("/"), "AKIDBOT", SECRET, "billing", &hash(b"")),
        sign(
            Request::get("/").header("x-amz-security-token", "t"),
            "AKIDBOT",
            SECRET,
            "agents",
            &hash(b""),
        ),
    ] {
        assert_eq!(body(&mut bench, &request), expected);
    }
    bench.pass(Duration::from_secs(3600));
    assert_eq!(body(&mut bench, &signed(b"")), expected);
}

#[test]
fn trailers_bring_nothing_that_has_to_be_signed() {
    let mut bench = bench();
    for (trailer, expected) in [("x-checksum", "ok"), ("X-Amz-Target", "unsigned_header")] {
        let mut need = needs_body(&mut bench, &signed(b"body"));
        need.update(b"body");
        need.trailer(trailer.as_bytes());
        match need.finish(&mut bench.auth, bench.now) {
            Step::Done(decision) => assert_eq!(verdict(decision), expected),
            _ => panic!("waits on"),
        }
    }
}

#[test]
fn a_request_that_ends_before_its_body_is_audited_as_cancelled() {
    let mut bench = bench();
    let need = needs_body(&mut bench, &signed(b"body"));
    let line = event(need.cancelled_audit(&mut bench.auth, bench.now));
    assert_eq!(line["fields"]["code"], "cancelled");
    assert_eq!(line["fields"]["token_kind"], "sigv4");
    // One request, one number, however it ends.
    let seq = line["seq"].clone();
    let Step::Done(Decision::Deny(denial)) =
        need.abandon(&mut bench.auth, Code::BodyNotSeen, bench.now)
    else {
        panic!("let in");
    };
    assert_eq!((denial.status, denial.code), (503, Code::BodyNotSeen));
    assert_eq!(event(denial.audit)["seq"], seq);
}

#[test]
fn a_held_request_is_judged_by_the_policy_it_began_with() {
    let mut bench = bench();
    let mut need = needs_body(&mut bench, &signed(b"body"));
    bench.reload(&json!({"auth": {"providers": [provider(json!({"service": "other"}))]}}));
    need.update(b"body");
    match need.finish(&mut bench.auth, bench.now) {
        Step::Done(decision) => assert_eq!(verdict(decision), "ok"),
        _ => panic!("waits on"),
    }
    assert_eq!(bench.verdict(&signed(b"body")), "scope_mismatch");
}

#[test]
fn a_signature_beside_another_credential_is_ambiguous() {
    let mut bench = bench();
    let both = signed(b"").bearer("x");
    assert_eq!(bench.verdict(&both), "ambiguous_credentials");
    let presigned = Request::get("/?x-amz-signature=0").bearer("x");
    assert_eq!(bench.verdict(&presigned), "ambiguous_credentials");
    assert_eq!(
        bench.verdict(&Request::get("/?X%2DAmz-Signature=0")),
        "malformed_signature"
    );
    let hosts = signed(b"").header("host", "other.example");
    assert_eq!(bench.verdict(&hosts), "ambiguous_credentials");
    // Nobody here judges signatures: they are the upstream's business.
    let mut other = Bench::oidc(json!({}));
    assert_eq!(other.verdict(&signed(b"")), "not_for_me");
    assert_eq!(
        other.verdict(&Request::get("/?x-amz-signature=0")),
        "missing_token"
    );
}
