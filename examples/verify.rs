//! Verifies signatures, tokens and key sets with the very functions the filter
//! uses, for vectors that no endpoint can carry.
//!
//! ```text
//! verify batch                       one JSON document a line on stdin, one answer a line on stdout:
//!   {"op":"verify","alg":"ES256","jwk":{…},"msg":"<hex>","sig":"<hex>"}   accept | reject | error
//!   {"op":"jws","jwks":{"keys":[…]},"token":"h.p.s"}                      accept | reject | error
//!   {"op":"jwks","jwks":"<document>"}                                     number of usable keys | reject
//! verify verify --alg ES256 --jwk FILE --message HEX --signature HEX      exit 0 accept, 1 reject, 2 error
//! ```
//!
//! `error` means that the algorithm is not offered.

use std::error::Error;
use std::io::{BufRead, Write};
use std::process::ExitCode;

use portcullis_core::jose::{
    Algorithm, Es256Tables, JoseLimits, Jwk, JwsError, KeySet, RustVerifier, SelfTestFailed,
    SignatureVerifier, TableLimits, UntrustedJws,
};
use serde_json::Value;

const USAGE: &str =
    "usage: verify batch | verify verify --alg NAME --jwk FILE --message HEX --signature HEX";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((command, [])) if command == "batch" => batch().map(|()| ExitCode::SUCCESS),
        Some((command, options)) if command == "verify" => single(options),
        _ => Err(USAGE.into()),
    };
    outcome.unwrap_or_else(|error| {
        // Nothing to be done about a closed stderr.
        _ = writeln!(std::io::stderr(), "verify: {error}");
        ExitCode::from(2)
    })
}

fn batch() -> Result<(), Box<dyn Error>> {
    let tables = tables()?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let case: Value = serde_json::from_str(&line?)?;
        let answer = match text(&case, "op")? {
            "verify" => {
                let (message, signature) =
                    (unhex(text(&case, "msg")?)?, unhex(text(&case, "sig")?)?);
                let jwk = case.get("jwk").ok_or("no jwk")?;
                verify(&tables, text(&case, "alg")?, jwk, &message, &signature).to_owned()
            }
            "jws" => jws(case.get("jwks").ok_or("no jwks")?, text(&case, "token")?).to_owned(),
            "jwks" => match KeySet::parse(text(&case, "jwks")?.as_bytes(), &JoseLimits::DEFAULT) {
                Ok(keys) => keys.keys().len().to_string(),
                Err(_) => "reject".to_owned(),
            },
            op => return Err(format!("unknown op {op:?}").into()),
        };
        writeln!(out, "{answer}")?;
    }
    out.flush()?;
    Ok(())
}

fn single(options: &[String]) -> Result<ExitCode, Box<dyn Error>> {
    let option = |name: &str| {
        let at = options
            .iter()
            .position(|option| option == name)
            .ok_or(USAGE)?;
        options.get(at + 1).map(String::as_str).ok_or(USAGE)
    };
    let jwk: Value = serde_json::from_slice(&std::fs::read(option("--jwk")?)?)?;
    let (message, signature) = (unhex(option("--message")?)?, unhex(option("--signature")?)?);
    Ok(
        match verify(&tables()?, option("--alg")?, &jwk, &message, &signature) {
            "accept" => ExitCode::SUCCESS,
            "reject" => ExitCode::from(1),
            _ => return Err("algorithm not offered".into()),
        },
    )
}

/// Any number of keys in turn: none goes without a table.
fn tables() -> Result<Es256Tables, SelfTestFailed> {
    Es256Tables::new(TableLimits {
        patience: 0,
        ..TableLimits::DEFAULT
    })
}

fn verify(
    tables: &Es256Tables,
    algorithm: &str,
    jwk: &Value,
    message: &[u8],
    signature: &[u8],
) -> &'static str {
    let Ok(algorithm) = Algorithm::from_name(algorithm) else {
        return "error";
    };
    let Ok(jwk) = Jwk::from_value(jwk, &JoseLimits::DEFAULT) else {
        return "reject";
    };
    if jwk.check_fits(algorithm).is_err() {
        return "reject";
    }
    let verified = RustVerifier.verify(algorithm, jwk.public_key(), message, signature);
    if algorithm == Algorithm::Es256 {
        // Not a verdict, so that the vector fails. To have none, where points meet themselves, is in order.
        let by_tables = tables.verdict(jwk.public_key(), message, signature);
        if by_tables.is_some_and(|by_tables| by_tables != verified) {
            return "another verdict by tables";
        }
    }
    if verified.is_ok() { "accept" } else { "reject" }
}

fn jws(jwks: &Value, token: &str) -> &'static str {
    let limits = JoseLimits::DEFAULT;
    let jws = match UntrustedJws::parse(token.as_bytes(), &limits) {
        Ok(jws) => jws,
        Err(JwsError::UnsupportedAlgorithm(_)) => return "error",
        Err(_) => return "reject",
    };
    let verified = KeySet::from_value(jwks, &limits)
        .is_ok_and(|keys| jws.verify(&keys, &RustVerifier).is_ok());
    if verified { "accept" } else { "reject" }
}

fn text<'v>(case: &'v Value, member: &str) -> Result<&'v str, String> {
    case.get(member)
        .and_then(Value::as_str)
        .ok_or_else(|| format!("no {member}"))
}

fn unhex(text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    if !text.len().is_multiple_of(2) {
        return Err("odd number of hex digits".into());
    }
    text.as_bytes()
        .chunks(2)
        .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?))
        .collect()
}
