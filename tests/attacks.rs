//! The corpus of attacks (`tests/e2e/attacks`) in the core: the same verdicts as through Envoy, and what each costs.
//!
//! A caller decides what is sent, so whatever it makes us do is bounded: no signature is verified for what can be refused
//! without, one at most for anything, and nothing that is too long is taken apart at all.

#![cfg(not(target_arch = "wasm32"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by panicking"
)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;

use portcullis_core::callout::{CalloutFailure, CalloutReply, HttpResponse};
use portcullis_core::config;
use portcullis_core::decision::{Decision, Step};
use portcullis_core::jose::{Algorithm, BadSignature, PublicKey, RustVerifier, SignatureVerifier};
use portcullis_core::request::RequestHead;
use portcullis_core::time::UnixTime;
use portcullis_core::{Authenticator, Stores};
use serde_json::Value;

#[derive(Default)]
struct Counting(Cell<u32>);

impl SignatureVerifier for Counting {
    fn verify(
        &self,
        algorithm: Algorithm,
        key: &PublicKey,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        self.0.set(self.0.get() + 1);
        RustVerifier.verify(algorithm, key, message, signature)
    }
}

struct Corpus {
    now: UnixTime,
    config: Value,
    documents: BTreeMap<String, Vec<u8>>,
    cases: Vec<Value>,
}

/// Has the generator make a fresh one.
fn corpus() -> Corpus {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".venv/bin/python");
    let output = Command::new(&python)
        .args(["-m", "attacks"])
        .current_dir(root.join("tests/e2e"))
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; `make setup` makes it", python.display()));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut lines = output
        .stdout
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice::<Value>(line).unwrap());
    let head = lines.next().unwrap();
    let (documents, cases): (Vec<_>, Vec<_>) = lines.partition(|line| line.get("path").is_some());
    Corpus {
        now: UnixTime::from_secs(head["now"].as_u64().unwrap()),
        config: head["config"].clone(),
        documents: documents
            .iter()
            .map(|d| (text(d, "path").to_owned(), octets(text(d, "body"))))
            .collect(),
        cases,
    }
}

fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value[member].as_str().unwrap()
}

/// Padded base64, which the generator writes octets in.
fn octets(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap()
}

struct Bench {
    auth: Authenticator,
    verifier: Rc<Counting>,
    now: UnixTime,
    documents: BTreeMap<String, Vec<u8>>,
}

impl Bench {
    fn new(corpus: &Corpus, limits: &Value) -> Self {
        let mut config = corpus.config.clone();
        config["limits"] = limits.clone();
        let (policy, _) = config::load(config.to_string().as_bytes(), &|_| None)
            .unwrap_or_else(|e| panic!("{e}"));
        let verifier = Rc::new(Counting::default());
        Self {
            auth: Authenticator::new(policy, Stores::new(1), verifier.clone(), corpus.now),
            verifier,
            now: corpus.now,
            documents: corpus.documents.clone(),
        }
    }

    /// Answers every callout that is due.
    fn serve(&mut self) {
        while let Some(callout) = self.auth.poll_callout(self.now) {
            let reply = match self.documents.get(&callout.callout.path) {
                Some(body) if body.len() <= callout.callout.max_body => {
                    CalloutReply::Response(HttpResponse {
                        status: 200,
                        headers: &[],
                        body,
                    })
                }
                _ => CalloutReply::Failed(CalloutFailure::TooLarge),
            };
            self.auth.reply(callout.id, reply, self.now);
        }
    }

    /// The refusal's code, or `None`; and the verifications that it took.
    fn ask(&mut self, case: &Value) -> (Option<&'static str>, u32) {
        let fields: Vec<(String, Vec<u8>)> = case["headers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| {
                let name = f[0].as_str().unwrap().to_owned();
                (name, octets(f[1].as_str().unwrap()))
            })
            .collect();
        let headers: Vec<(&[u8], &[u8])> = fields
            .iter()
            .map(|(n, v)| (n.as_bytes(), v.as_slice()))
            .collect();
        let before = self.verifier.0.get();
        let step = self.auth.begin(
            &RequestHead {
                method: text(case, "method").as_bytes(),
                path: text(case, "target").as_bytes(),
                authority: b"agents.test",
                headers: &headers,
                remote_addr: None,
            },
            self.now,
        );
        let code = match step {
            Step::Done(Decision::Allow(_)) => None,
            Step::Done(Decision::Deny(denial)) => Some(denial.code.as_str()),
            Step::NeedBody(_) => panic!("nobody signs a body here"),
            Step::Done(Decision::Limited(_)) => panic!("nobody presents a key"),
            Step::NeedCallout(_) => Some("waits"),
        };
        (code, self.verifier.0.get() - before)
    }
}

fn check(bench: &mut Bench, corpus: &Corpus, expected: impl Fn(&Value) -> u64) {
    let wrong: Vec<String> = corpus
        .cases
        .iter()
        .filter_map(|case| {
            let (code, verifications) = bench.ask(case);
            let (want, cost) = (case["code"].as_str(), expected(case));
            (code != want || u64::from(verifications) != cost).then(|| {
                format!(
                    "{}: {code:?} for {verifications} verifications, wanted {want:?} for {cost}",
                    text(case, "id")
                )
            })
        })
        .collect();
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

fn cost(case: &Value) -> u64 {
    case["verifications"].as_u64().unwrap()
}

#[test]
fn no_attack_costs_more_than_one_verification_and_most_cost_none() {
    let corpus = corpus();
    assert!(corpus.cases.len() > 800, "{}", corpus.cases.len());
    assert!(corpus.cases.iter().all(|case| cost(case) <= 1));
    let mut bench = Bench::new(
        &corpus,
        &serde_json::json!({"failed_tokens": 0, "cached_tokens": 0}),
    );
    bench.serve();
    check(&mut bench, &corpus, cost);
    // And once more without a memory: nothing that was refused has become better by being repeated.
    check(&mut bench, &corpus, cost);
}

#[test]
fn what_is_repeated_costs_nothing() {
    let corpus = corpus();
    let mut bench = Bench::new(&corpus, &serde_json::json!({}));
    bench.serve();
    // The corpus has some tokens in more than one case, so the first round costs less than the sum of its cases.
    for case in &corpus.cases {
        let (code, verifications) = bench.ask(case);
        assert_eq!(code, case["code"].as_str(), "{}", text(case, "id"));
        assert!(
            u64::from(verifications) <= cost(case),
            "{}",
            text(case, "id")
        );
    }
    check(&mut bench, &corpus, |_| 0);
}

#[test]
fn what_is_too_long_is_not_taken_apart() {
    let corpus = corpus();
    let mut bench = Bench::new(&corpus, &serde_json::json!({"token_bytes": 256}));
    bench.serve();
    let mut long = 0;
    for case in &corpus.cases {
        let Some(field) = case["headers"].as_array().unwrap().first() else {
            continue;
        };
        let value = octets(field[1].as_str().unwrap());
        // Alone in the one field, of the right scheme, and longer than allowed whatever surrounds it.
        let alone = case["headers"].as_array().unwrap().len() == 1
            && field[0] == "Authorization"
            && value.len() > 256 + 16;
        if alone {
            long += 1;
            assert_eq!(
                bench.ask(case),
                (Some("token_too_large"), 0),
                "{}",
                text(case, "id")
            );
        }
    }
    assert!(long > 500, "{long}");
    assert_eq!(bench.verifier.0.get(), 0);
}
