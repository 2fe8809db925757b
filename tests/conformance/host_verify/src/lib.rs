//! Signature vectors judged by the proxy's own crypto, for those that no token can carry.
//!
//! The plugin configuration holds them, one JSON document a line:
//! `{"alg":"ES256","jwk":{…},"msg":"<hex>","sig":"<hex>"}`. Every request is answered with a first line that names the
//! algorithms the host verifies, and then a line for each: `accept` or `reject`, by the host; `none` where it
//! was not asked or had no verdict; `key` where the key is none for that algorithm, so that nobody is asked.
//!
//! Used by `tests/conformance`, never shipped.

use std::fmt::Write as _;

use portcullis_core::jose::{Algorithm, JoseLimits, Jwk};
use portcullis_host::abi::{Action, BufferType};
use portcullis_host::contexts::Slot;
use portcullis_host::exports::Filter;
use portcullis_host::host_kind::HostKind;
use portcullis_host::verifier::HostVerifier;
use portcullis_host::{hostcalls, log};
use serde_json::Value;

portcullis_host::export_filter!(crate::Vectors);

/// The module, as the host calls it.
#[derive(Debug)]
pub struct Vectors;

thread_local! {
    /// The vectors as they came.
    static VECTORS: Slot<Vec<u8>> = Slot::new(Vec::new());
}

impl Filter for Vectors {
    fn on_vm_start(_size: usize) {}

    fn on_context_create(_: u32, _: u32) {}

    fn on_configure(_: u32, size: usize) -> bool {
        match hostcalls::buffer(BufferType::PluginConfiguration, size) {
            Ok(text) => VECTORS
                .with(|vectors| vectors.with(|v| *v = text))
                .is_some(),
            Err(status) => {
                log::error(format_args!("no configuration: {status}"));
                false
            }
        }
    }

    fn on_tick(_: u32) {}

    fn on_request_body(_: u32, _: usize, _: bool) -> Action {
        Action::Continue
    }

    fn on_request_trailers(_: u32) -> Action {
        Action::Continue
    }

    fn on_request_headers(_: u32, _: bool) -> Action {
        let answer = VECTORS
            .with(|vectors| vectors.with(|text| judge(text)))
            .unwrap_or_else(|| Err("busy".to_owned()));
        let (status, body) = match answer {
            Ok(verdicts) => (200, verdicts),
            Err(what) => (500, what),
        };
        if let Err(status) = hostcalls::send_local_response(status, "vectors", &[], &body) {
            log::error(format_args!("no answer: {status}"));
        }
        Action::Pause
    }

    fn on_http_call_response(_: u32, _: u32, _: usize, _: usize) {}

    fn on_delete(_: u32) {}
}

fn judge(vectors: &[u8]) -> Result<String, String> {
    let kind = HostKind::detect().ok_or("this host is not known")?;
    let verifier = HostVerifier::probe(kind);
    let mut out = format!("{}\n", verifier.by_host());
    for line in vectors.split(|octet| *octet == b'\n') {
        if line.is_empty() {
            continue;
        }
        let vector: Value = serde_json::from_slice(line).map_err(|e| e.to_string())?;
        let verdict = verdict(&verifier, &vector).ok_or_else(|| format!("no vector: {vector}"))?;
        // Writing to a String can't fail.
        let _ = writeln!(out, "{verdict}");
    }
    Ok(out)
}

/// `None` when it is no vector at all.
fn verdict(verifier: &HostVerifier, vector: &Value) -> Option<&'static str> {
    let algorithm = Algorithm::from_name(vector.get("alg")?.as_str()?).ok()?;
    let message = unhex(vector.get("msg")?.as_str()?)?;
    let signature = unhex(vector.get("sig")?.as_str()?)?;
    let key = Jwk::from_value(vector.get("jwk")?, &JoseLimits::DEFAULT)
        .ok()
        .filter(|key| key.check_fits(algorithm).is_ok());
    let Some(key) = key else { return Some("key") };
    let verdict = verifier.verdict_of_host(algorithm, key.public_key(), &message, &signature);
    Some(match verdict {
        Some(Ok(())) => "accept",
        Some(Err(_)) => "reject",
        None => "none",
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
