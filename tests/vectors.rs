//! Published signature vectors and hostile tokens, natively and in Node.
//!
//! The same expectations as `run_raw.py` of the vector folder has, plus what of
//! the token sets is decided by signature, header and key set. A verdict that
//! differs from a label is an exception with a reason in
//! `conformance/exceptions.json` (those of the run `core`), or it is a failure.
//! `conformance/run.py` has the vector folder's own runners judge the same functions
//! as a program, and the filter in a real proxy.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use portcullis_core::jose::{
    Algorithm, BadSignature, Es256Tables, JoseLimits, Jwk, KeySet, PublicKey, RustVerifier,
    SignatureVerifier, TableLimits, UntrustedJws, base64url, parse_strict,
};
use serde_json::Value;

#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

macro_rules! vectors {
    ($path:literal) => {
        json(include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../shared/vectors/",
            $path
        )))
    };
}

#[test]
fn wycheproof_rsa_pkcs1() {
    raw_vectors(
        &vectors!("data/wycheproof_raw.json"),
        &["RS256", "RS384", "RS512"],
    )
    .check(1500);
}

#[test]
fn wycheproof_rsa_pss() {
    raw_vectors(
        &vectors!("data/wycheproof_raw.json"),
        &["PS256", "PS384", "PS512"],
    )
    .check(350);
}

#[test]
fn wycheproof_ecdsa_p256() {
    raw_vectors(&vectors!("data/wycheproof_raw.json"), &["ES256"]).check(120);
}

#[test]
fn wycheproof_ecdsa_p384() {
    raw_vectors(&vectors!("data/wycheproof_raw.json"), &["ES384"]).check(120);
}

#[test]
fn wycheproof_ecdsa_p521() {
    raw_vectors(&vectors!("data/wycheproof_raw.json"), &["ES512"]).check(120);
}

#[test]
fn wycheproof_ed25519() {
    raw_vectors(&vectors!("data/wycheproof_raw.json"), &["EdDSA"]).check(60);
}

/// Signatures that are valid under another scheme, hash, curve or form.
#[test]
fn wycheproof_cross() {
    let all: Vec<&str> = Algorithm::ALL
        .iter()
        .map(|algorithm| algorithm.name())
        .collect();
    raw_vectors(&vectors!("data/wycheproof_raw_cross.json"), &all).check(800);
}

/// The cookbooks of RFC 7520 and RFC 8037, and golang-jwt.
#[test]
fn third_party_raw() {
    let mut tally = Tally::new();
    for case in array(&vectors!("data/jws_thirdparty_raw.json")) {
        let mut jwk = case["jwk"].clone();
        for member in ["use", "key_ops", "alg"] {
            jwk.as_object_mut().unwrap().remove(member);
        }
        let (message, signature) = (unhex(text(case, "msg")), unhex(text(case, "sig")));
        let got = Jwk::from_value(&jwk, &JoseLimits::DEFAULT)
            .is_ok_and(|jwk| verify(&jwk, text(case, "alg"), &message, &signature));
        tally.judge(text(case, "id"), text(case, "expect"), got);
    }
    tally.check(5);
}

#[test]
fn wycheproof_jws() {
    let mut tally = Tally::new();
    for (prefix, file) in [
        ("jws", vectors!("data/wycheproof_jws.json")),
        ("jwk", vectors!("data/wycheproof_jwk.json")),
    ] {
        for group in array(&file["testGroups"]) {
            let key = group.get("public").unwrap_or_else(|| &group["private"]);
            let keys = match key.get("keys") {
                Some(_) => key.clone(),
                None => serde_json::json!({ "keys": [key] }),
            };
            let symmetric = array(&keys["keys"]).iter().any(|key| key["kty"] == "oct");
            let loaded = load(&keys);
            for case in array(&group["tests"]) {
                let id = format!("{prefix}-{}", case["tcId"]);
                let expect = match (text(case, "result"), text(group, "comment")) {
                    // HMAC is never accepted, by policy.
                    _ if symmetric => "reject",
                    // Detecting keys with the ROCA weakness is optional.
                    (_, "jws_rsa_roca_key") => "either",
                    ("valid", _) => "accept",
                    _ => "reject",
                };
                // What is labelled invalid yet byte-identical to a valid case is an HMAC token, too.
                tally.judge(
                    &id,
                    expect,
                    token(loaded.as_ref(), text(case, "jws").as_bytes()),
                );
            }
        }
    }
    tally.check(180);
}

/// Defects of Wycheproof's tokens carried over to JWT payloads.
#[test]
fn wycheproof_derived() {
    let mut tally = Tally::new();
    let file = vectors!("data/wycheproof_jwt_derived.json");
    for group in array(&file["groups"]) {
        let keys = load(&group["jwks"]);
        for case in array(&group["cases"]) {
            let got = token(keys.as_ref(), text(case, "token").as_bytes());
            tally.judge(text(case, "id"), text(case, "expect"), got);
        }
    }
    tally.check(180);
}

/// Tokens of other libraries' tests. What they refuse for a claim we accept here.
#[test]
fn third_party_tokens() {
    let mut tally = Tally::new();
    let file = vectors!("data/jwt_thirdparty.json");
    for group in array(&file["groups"]) {
        let keys = load(&group["jwks"]);
        for case in array(&group["cases"]) {
            if text(case, "expect") == "accept" {
                let sent = text(case, "token");
                let got = token(keys.as_ref(), sent.as_bytes());
                tally.judge_valid_token(text(case, "id"), &group["jwks"], sent, got);
            }
        }
    }
    tally.check(20);
}

/// Every attack that is decided before claims are read must fail here, and
/// every control, and every case that fails by a claim or by the way the token
/// is transported, must pass.
#[test]
fn attacks() {
    let mut tally = Tally::new();
    let file = vectors!("attacks_jwt.json");
    let ours = [
        "alg-none",
        "alg-confusion",
        "kid",
        "header-keys",
        "crit",
        "base64",
        "ecdsa",
        "rsa",
        "ed25519",
        "jwks",
        "dos",
    ];
    for group in array(&file["groups"]) {
        let keys = load(&group["jwks"]);
        for case in array(&group["cases"]) {
            let (category, expect) = (text(case, "cat"), text(case, "expect"));
            let Some(sent) = case.get("token").and_then(Value::as_str) else {
                continue;
            };
            // Header values reach a filter as octets; the file writes them as Latin-1.
            let sent: Vec<u8> = sent
                .chars()
                .map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?'))
                .collect();
            let got = token(keys.as_ref(), &sent);
            if expect == "accept" || ours.contains(&category) {
                tally.judge(text(case, "id"), expect, got);
            } else if category == "structure" && expect == "reject" {
                // Malformed payloads pass as JWS and fail as JSON objects.
                tally.judge(text(case, "id"), expect, got && payload_is_object(&sent));
            }
        }
    }
    tally.check(200);
}

/// The counts of usable keys that other libraries publish for their test sets.
#[test]
fn third_party_key_sets() {
    let mut tally = Tally::new();
    for case in array(&vectors!("data/jwks_thirdparty.json")) {
        let (id, sent) = (text(case, "id"), text(case, "jwks"));
        let got = KeySet::parse(sent.as_bytes(), &JoseLimits::DEFAULT)
            .map_or(0, |keys| keys.keys().len());
        let expected = match (&case["usable_keys"], text(case, "status")) {
            (Value::Number(count), _) => count.as_u64().unwrap() as usize,
            // Published without a count, or with a status that is about something else.
            (_, "Ok") => continue,
            (_, status) if status.contains("see") => continue,
            _ => 0,
        };
        // Sets that hold secrets count those as usable, which we never do.
        if sent.contains("oct") && expected != 0 {
            continue;
        }
        tally.judge(id, "accept", got == expected);
    }
    tally.check(15);
}

/// The largest set of the attacks: bounded work for the one who sends tokens.
#[test]
fn a_token_costs_one_verification_at_most() {
    struct Counting(Cell<usize>);
    impl SignatureVerifier for Counting {
        fn verify(
            &self,
            _: Algorithm,
            _: &PublicKey,
            _: &[u8],
            _: &[u8],
        ) -> Result<(), BadSignature> {
            self.0.set(self.0.get() + 1);
            Err(BadSignature)
        }
    }
    let file = vectors!("attacks_jwt.json");
    let (mut tokens, mut verified) = (0, 0);
    for group in array(&file["groups"]) {
        let Ok(keys) = KeySet::parse(document(&group["jwks"]).as_bytes(), &JoseLimits::DEFAULT)
        else {
            continue;
        };
        for case in array(&group["cases"]) {
            let Some(sent) = case.get("token").and_then(Value::as_str) else {
                continue;
            };
            tokens += 1;
            let counting = Counting(Cell::new(0));
            if let Ok(jws) = UntrustedJws::parse(sent.as_bytes(), &JoseLimits::DEFAULT) {
                assert!(jws.verify(&keys, &counting).is_err());
            }
            let calls = counting.0.get();
            assert!(calls <= 1, "{}: {calls} verifications", text(case, "id"));
            let free = ["alg-none", "crit", "base64", "dos"].contains(&text(case, "cat"))
                && text(case, "expect") == "reject";
            let dirty = text(case, "id").contains("crlf");
            assert!(
                !free || dirty || calls == 0,
                "{} reached the signature",
                text(case, "id")
            );
            verified += calls;
        }
    }
    assert!(
        tokens > 300 && verified > 100,
        "{tokens} tokens, {verified} verifications"
    );
}

/// Outcomes of one set.
struct Tally {
    exceptions: BTreeMap<String, Exception>,
    /// By rule rather than by id.
    no_kid: Exception,
    seen: BTreeSet<String>,
    wrong: Vec<String>,
}

/// A vector that is not judged by its label.
#[derive(Clone)]
struct Exception {
    accepted: bool,
    reason: String,
}

impl Tally {
    fn new() -> Self {
        let file = json(include_bytes!("conformance/exceptions.json"));
        let of_core = |section: &str, name: &str| -> BTreeMap<String, Exception> {
            array(&file[section])
                .iter()
                .filter(|entry| text(entry, "run") == "core")
                .map(|entry| {
                    let exception = Exception {
                        accepted: text(entry, "outcome") == "accept",
                        reason: text(entry, "reason").to_owned(),
                    };
                    (text(entry, name).to_owned(), exception)
                })
                .collect()
        };
        Self {
            exceptions: of_core("vectors", "id"),
            no_kid: of_core("rules", "rule")["no-kid"].clone(),
            seen: BTreeSet::new(),
            wrong: Vec::new(),
        }
    }

    fn judge(&mut self, id: &str, expect: &str, accepted: bool) {
        let exception = self.exceptions.get(id).cloned();
        self.judge_with(id, expect, accepted, exception.as_ref());
    }

    /// A token that is published as valid, which without a `kid` it may not be here.
    fn judge_valid_token(&mut self, id: &str, jwks: &Value, sent: &str, accepted: bool) {
        let exception = if needs_kid(jwks, sent) {
            Some(self.no_kid.clone())
        } else {
            self.exceptions.get(id).cloned()
        };
        self.judge_with(id, "accept", accepted, exception.as_ref());
    }

    fn judge_with(
        &mut self,
        id: &str,
        expect: &str,
        accepted: bool,
        exception: Option<&Exception>,
    ) {
        assert!(self.seen.insert(id.to_owned()), "{id} twice");
        let as_labelled = match expect {
            "accept" => accepted,
            "reject" => !accepted,
            "either" => return,
            other => panic!("{id}: unknown expectation {other}"),
        };
        match (as_labelled, exception) {
            (true, None) => {}
            (false, Some(exception)) if exception.accepted == accepted => {}
            (false, _) => self
                .wrong
                .push(format!("{id}: expected {expect}, accepted is {accepted}")),
            (true, Some(exception)) => self.wrong.push(format!(
                "{id}: judged as labelled, yet an exception: {}",
                exception.reason
            )),
        }
    }

    /// `at_least` guards against a set that has become empty or is not found by its names.
    fn check(&self, at_least: usize) {
        assert!(
            self.wrong.is_empty(),
            "{} wrong:\n{}",
            self.wrong.len(),
            self.wrong.join("\n")
        );
        assert!(
            self.seen.len() >= at_least,
            "only {} vectors",
            self.seen.len()
        );
    }
}

fn raw_vectors(file: &Value, algorithms: &[&str]) -> Tally {
    let mut tally = Tally::new();
    for group in array(&file["files"])
        .iter()
        .flat_map(|file| array(&file["groups"]))
    {
        let algorithm = text(group, "alg");
        if !algorithms.contains(&algorithm) {
            continue;
        }
        let jwk = Jwk::from_value(&group["jwk"], &JoseLimits::DEFAULT).ok();
        for case in array(&group["cases"]) {
            let (message, signature) = (unhex(text(case, "msg")), unhex(text(case, "sig")));
            let got = jwk
                .as_ref()
                .is_some_and(|jwk| verify(jwk, algorithm, &message, &signature));
            tally.judge(text(case, "id"), text(case, "expect"), got);
        }
    }
    tally
}

fn verify(jwk: &Jwk, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
    let algorithm = Algorithm::from_name(algorithm).unwrap();
    jwk.check_fits(algorithm).is_ok()
        && BOTH
            .with(|both| both.verify(algorithm, jwk.public_key(), message, signature))
            .is_ok()
}

thread_local! {
    static BOTH: Both = Both {
        tables: Es256Tables::new(TableLimits { patience: 0, ..TableLimits::DEFAULT }).unwrap(),
        unsure: Cell::new(0),
    };
}

/// The filter's own verifiers: without tables and, where there are any, with them.
struct Both {
    tables: Es256Tables,
    unsure: Cell<usize>,
}

impl SignatureVerifier for Both {
    fn verify(
        &self,
        algorithm: Algorithm,
        key: &PublicKey,
        signing_input: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        let verdict = RustVerifier.verify(algorithm, key, signing_input, signature);
        if algorithm == Algorithm::Es256 && key.supports(algorithm) {
            match self.tables.verdict(key, signing_input, signature) {
                Some(by_tables) => assert_eq!(by_tables, verdict, "{signature:02x?}"),
                // Where points meet themselves, as a few vectors have it on purpose.
                None => self.unsure.set(self.unsure.get() + 1),
            }
            assert!(
                self.unsure.get() <= 8,
                "{} without a verdict",
                self.unsure.get()
            );
        }
        verdict
    }
}

/// A key set, or none when the document is refused, by which every token is.
fn load(jwks: &Value) -> Option<KeySet> {
    KeySet::parse(document(jwks).as_bytes(), &JoseLimits::DEFAULT).ok()
}

fn token(keys: Option<&KeySet>, token: &[u8]) -> bool {
    keys.is_some_and(|keys| {
        UntrustedJws::parse(token, &JoseLimits::DEFAULT)
            .is_ok_and(|jws| BOTH.with(|both| jws.verify(keys, both)).is_ok())
    })
}

/// Whether a token names no key although there is one to name: the rule `no-kid`. Written from the documents alone, so
/// that our own choice of a key isn't measured by itself.
fn needs_kid(jwks: &Value, token: &str) -> bool {
    let header = token.split('.').next().unwrap();
    let header = json(&base64url::decode(header.as_bytes()).unwrap());
    if header.get("kid").is_some() {
        return false;
    }
    let algorithm = text(&header, "alg");
    let kind = match algorithm {
        "ES256" => ("EC", Some("P-256")),
        "ES384" => ("EC", Some("P-384")),
        "ES512" => ("EC", Some("P-521")),
        "EdDSA" => ("OKP", Some("Ed25519")),
        _ => ("RSA", None),
    };
    let set = json(document(jwks).as_bytes());
    let fitting: Vec<&Value> = array(&set["keys"])
        .iter()
        .filter(|key| (text(key, "kty"), key["crv"].as_str()) == kind)
        .filter(|key| key.get("alg").is_none_or(|alg| alg == algorithm))
        .collect();
    !matches!(fitting.as_slice(), [only] if only.get("kid").is_none())
}

fn payload_is_object(token: &[u8]) -> bool {
    let limits = JoseLimits::DEFAULT;
    let jws = UntrustedJws::parse(token, &limits).unwrap();
    parse_strict(jws.payload(), limits.json_depth).is_ok_and(|payload| {
        payload
            .as_object()
            .is_some_and(|members| !members.is_empty())
    })
}

/// A key set of the vectors is a JSON object or the text of a document.
fn document(jwks: &Value) -> String {
    jwks.as_str()
        .map_or_else(|| jwks.to_string(), str::to_owned)
}

fn json(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value[member]
        .as_str()
        .unwrap_or_else(|| panic!("no {member}"))
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |octet: u8| char::from(octet).to_digit(16).unwrap() as u8;
    text.as_bytes()
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}
