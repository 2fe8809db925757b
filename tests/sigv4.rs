//! The published SigV4 suites and hostile requests: each stage of a signature, and then the whole decision.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use portcullis_core::authenticator::{Authenticator, Stores};
use portcullis_core::config;
use portcullis_core::decision::{Decision, Step};
use portcullis_core::jose::RustVerifier;
use portcullis_core::request::RequestHead;
use portcullis_core::sigv4::canonical::PathRules;
use portcullis_core::sigv4::signing::{SigningKey, hex, request_hash, string_to_sign};
use portcullis_core::sigv4::{Payload, SignedRequest, UNSIGNED_PAYLOAD};
use portcullis_core::time::UnixTime;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

const CASES: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../shared/vectors/sigv4_cases.json"
));

/// A request as its octets say it, before any proxy has touched it.
struct Raw {
    method: Vec<u8>,
    target: Vec<u8>,
    authority: Vec<u8>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
}

impl Raw {
    fn parse(hex: &str) -> Self {
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
            .collect();
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let (head, body) = (&bytes[..end], bytes[end + 4..].to_vec());
        let mut lines = head.split(|b| *b == b'\n').map(|l| l.trim_ascii_end());
        let start = lines.next().unwrap();
        let first = start.iter().position(|b| *b == b' ').unwrap();
        let last = start.iter().rposition(|b| *b == b' ').unwrap();
        let mut headers: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for line in lines {
            if line.starts_with(b" ") {
                // RFC 9112 section 5.2: a folded line goes on after a space.
                let value = &mut headers.last_mut().unwrap().1;
                value.push(b' ');
                value.extend_from_slice(line.trim_ascii());
                continue;
            }
            let colon = line.iter().position(|b| *b == b':').unwrap();
            headers.push((
                line[..colon].to_ascii_lowercase(),
                line[colon + 1..].trim_ascii().to_vec(),
            ));
        }
        let is_host = |(name, _): &&(Vec<u8>, Vec<u8>)| name == b"host";
        let authority = headers.iter().find(is_host).unwrap().1.clone();
        Self {
            method: start[..first].to_vec(),
            target: start[first + 1..last].to_vec(),
            authority,
            headers,
            body,
        }
    }

    fn with_head<T>(&self, look: impl FnOnce(&RequestHead<'_>) -> T) -> T {
        let headers: Vec<(&[u8], &[u8])> = self.headers.iter().map(|(n, v)| (&**n, &**v)).collect();
        look(&RequestHead {
            method: &self.method,
            path: &self.target,
            authority: &self.authority,
            headers: &headers,
            remote_addr: None,
        })
    }
}

fn groups() -> Vec<Value> {
    let mut all: Value = serde_json::from_slice(CASES).unwrap();
    match all["groups"].take() {
        Value::Array(groups) => groups,
        other => panic!("{other}"),
    }
}

#[test]
fn every_stage_of_the_suites() {
    let mut seen = 0;
    for group in groups() {
        let settings = &group["sigv4"];
        let rules = PathRules {
            normalize: settings["normalize_path"].as_bool().unwrap(),
            double_encode: settings["double_encode"].as_bool().unwrap(),
        };
        for case in group["cases"].as_array().unwrap() {
            let Some(expected) = case["canonical_request"].as_str() else {
                continue;
            };
            let id = case["id"].as_str().unwrap();
            let raw = Raw::parse(case["raw_hex"].as_str().unwrap());
            let signed = raw.with_head(|head| {
                let authorization = head.only_value("authorization");
                assert_eq!(authorization.is_none(), SignedRequest::is_presigned(head));
                let parts = authorization.map(|a| a.split_once(' ').unwrap().1);
                SignedRequest::read(head, parts).unwrap_or_else(|e| panic!("{id}: {e}"))
            });
            let payload = match signed.payload() {
                Payload::Unsigned => UNSIGNED_PAYLOAD.to_owned(),
                Payload::Hash(hash) => hex(&hash),
                Payload::Unclaimed if expected.ends_with(UNSIGNED_PAYLOAD) => {
                    UNSIGNED_PAYLOAD.to_owned()
                }
                Payload::Unclaimed => hex(&Sha256::digest(&raw.body).into()),
            };
            let heads = signed.canonical_heads(rules);
            let texts: Vec<String> = heads
                .iter()
                .map(|h| format!("{}{payload}", String::from_utf8(h.clone()).unwrap()))
                .collect();
            let place = texts.iter().position(|t| t == expected);
            let place = place.unwrap_or_else(|| panic!("{id}: {texts:#?}\nnot\n{expected}"));
            let hash = request_hash(&heads[place], &payload);
            let text = string_to_sign(signed.date().as_str(), signed.scope(), &hash);
            assert_eq!(text, case["string_to_sign"].as_str().unwrap(), "{id}");
            let secret = settings["keys"][signed.access_key_id()]["secret"].as_str();
            let key = SigningKey::derive(secret.unwrap(), signed.scope());
            assert_eq!(hex(&key.sign(&text)), case["signature"], "{id}");
            assert_eq!(&key.sign(&text), signed.signature(), "{id}");
            seen += 1;
        }
    }
    assert!(seen >= 50, "{seen}");
}

fn plugin(settings: &Value) -> Value {
    let credentials: Vec<Value> = settings["keys"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(id, key)| {
            let mut c =
                json!({"access_key_id": id, "secret_access_key": key["secret"], "user_id": id});
            if let Some(token) = key["session_token"].as_str() {
                c["session_token"] = json!(token);
            }
            c
        })
        .collect();
    let seconds = |name: &str| format!("{}s", settings[name]);
    let unsigned = settings["allow_unsigned_payload"].as_bool().unwrap();
    json!({"auth": {"providers": [{"type": "sigv4", "settings": {
        "service": settings["service"],
        "region": settings["region"],
        "clock_skew": seconds("clock_skew"),
        "max_expires": seconds("max_expires"),
        "normalize_path": settings["normalize_path"],
        "double_encode": settings["double_encode"],
        "unsigned_payload": if unsigned { "allow" } else { "deny" },
        "credentials": credentials,
    }}]}})
}

#[test]
fn every_verdict() {
    let (mut accepted, mut refused, mut wrong) = (0, 0, Vec::new());
    for group in groups() {
        let text = plugin(&group["sigv4"]).to_string();
        let (policy, _) = config::load(text.as_bytes(), &|_| None).unwrap();
        let now = UnixTime::from_secs(group["clock"].as_u64().unwrap());
        let mut auth =
            Authenticator::new(policy, Stores::new(1), std::rc::Rc::new(RustVerifier), now);
        for case in group["cases"].as_array().unwrap() {
            let raw = Raw::parse(case["raw_hex"].as_str().unwrap());
            let step = match raw.with_head(|head| auth.begin(head, now)) {
                Step::NeedBody(mut need) => {
                    raw.body.chunks(3).for_each(|part| {
                        need.update(part);
                    });
                    need.finish(&mut auth, now)
                }
                step => step,
            };
            let verdict = match step {
                Step::Done(Decision::Allow(_)) => "ok",
                Step::Done(Decision::Deny(denial)) => denial.code.as_str(),
                other => panic!("{other:?}"),
            };
            match (case["expect"].as_str().unwrap(), verdict) {
                ("accept", "ok") => accepted += 1,
                ("reject", verdict) if verdict != "ok" => refused += 1,
                ("either", _) => {}
                (expect, verdict) => wrong.push(format!("{}: {verdict}, not {expect}", case["id"])),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(accepted >= 65 && refused >= 125, "{accepted} {refused}");
}
