//! A key set as an issuer serves it.

use portcullis_core::jose::{Algorithm, JoseLimits, Jwk, KeySet, base64url};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// `data` as a JWK set document.
pub fn run(data: &[u8]) {
    // Small, so that the fuzzer finds its way past them.
    let limits = JoseLimits {
        jwks_bytes: 4096,
        jwks_keys: 4,
        kid_bytes: 32,
        ..JoseLimits::DEFAULT
    };
    let Ok(set) = KeySet::parse(data, &limits) else {
        return;
    };
    assert!(data.len() <= limits.jwks_bytes);
    assert!((1..=limits.jwks_keys).contains(&(set.keys().len() + set.skipped().len())));
    assert!(!set.keys().is_empty());
    let again = KeySet::parse(data, &limits).expect("the same text");
    let document: Value = serde_json::from_slice(data).expect("strict JSON is JSON");
    let entries = document["keys"].as_array().expect("a list");
    // Every entry is either a key or skipped, in the order of the document.
    let used = (0..entries.len()).filter(|i| set.skipped().iter().all(|s| s.index != *i));
    let used: Vec<&Value> = used.map(|i| &entries[i]).collect();
    assert_eq!(used.len(), set.keys().len());
    for ((key, same), entry) in set.keys().iter().zip(again.keys()).zip(used) {
        assert_eq!(key.thumbprint(), same.thumbprint());
        assert_eq!(key.thumbprint().to_string(), thumbprint(entry));
        assert!(set.contains(key.thumbprint()));
        assert_eq!(key.kid(), entry.get("kid").and_then(Value::as_str));
        assert!(key.kid().is_none_or(|kid| kid.len() <= limits.kid_bytes));
        assert!(!key.public_key().spki_der().is_empty());
        for private in ["d", "p", "q", "dp", "dq", "qi", "oth"] {
            assert!(entry.get(private).is_none(), "{private}");
        }
        let fitting = Algorithm::ALL
            .into_iter()
            .filter(|a| key.check_fits(*a).is_ok());
        assert!(
            (1..=6).contains(&fitting.count()),
            "a key that fits nothing, or everything"
        );
        choice(&set, key);
    }
}

/// Whatever is asked for, the key that is singled out has that name and fits.
fn choice(set: &KeySet, key: &Jwk) {
    for algorithm in Algorithm::ALL {
        if let Ok(chosen) = set.select(key.kid(), algorithm) {
            assert_eq!(chosen.kid(), key.kid());
            assert!(chosen.check_fits(algorithm).is_ok());
            let rivals = set.keys().iter().filter(|k| {
                k.kid() == chosen.kid()
                    && k.check_fits(algorithm).is_ok()
                    && k.thumbprint() != chosen.thumbprint()
            });
            assert_eq!(rivals.count(), 0, "chosen among several");
        }
    }
}

/// RFC 7638 section 3, from the published members.
fn thumbprint(entry: &Value) -> String {
    let names: &[&str] = match entry["kty"].as_str() {
        Some("RSA") => &["e", "kty", "n"],
        Some("EC") => &["crv", "kty", "x", "y"],
        _ => &["crv", "kty", "x"],
    };
    let members: Vec<String> = names
        .iter()
        .map(|n| format!("\"{n}\":{}", entry[*n]))
        .collect();
    base64url::encode(&Sha256::digest(format!("{{{}}}", members.join(","))))
}
