//! Keys, the string to sign and the signature (IAM User Guide, "Create a string to sign", "Calculate the signature").

use std::cell::RefCell;
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{ALGORITHM, TERMINATOR};

/// A SHA-256 in lower-case hexadecimal, as canonical requests have it.
pub fn hex(digest: &[u8; 32]) -> String {
    use fmt::Write;
    let mut out = String::with_capacity(64);
    for byte in digest {
        // Writing into a String does not fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// 64 lower-case hexadecimal digits, and nothing else.
pub fn from_hex(text: &[u8]) -> Option<[u8; 32]> {
    let digits = <&[u8; 64]>::try_from(text).ok()?;
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            *byte = (*byte << 4) | value;
        }
    }
    Some(out)
}

/// Day, region and service that a key is good for; the terminator is always the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// `YYYYMMDD`.
    pub day: String,
    /// As `us-east-1`.
    pub region: String,
    /// As `execute-api`.
    pub service: String,
}

/// `day/region/service/aws4_request`.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            day,
            region,
            service,
        } = self;
        write!(f, "{day}/{region}/{service}/{TERMINATOR}")
    }
}

/// The string to sign of a canonical request with this hash.
pub fn string_to_sign(amz_date: &str, scope: &Scope, canonical_request_hash: &[u8; 32]) -> String {
    let hash = hex(canonical_request_hash);
    format!("{ALGORITHM}\n{amz_date}\n{scope}\n{hash}")
}

/// The hash of a canonical request, given without its last line and that line.
pub fn request_hash(head: &[u8], payload_hash: &str) -> [u8; 32] {
    Sha256::new()
        .chain_update(head)
        .chain_update(payload_hash)
        .finalize()
        .into()
}

/// A key derived for one scope. Its `Debug` says nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey([u8; 32]);

impl SigningKey {
    /// Derives it from a secret access key.
    pub fn derive(secret: &str, scope: &Scope) -> Self {
        let mut key = Vec::with_capacity(secret.len() + 4);
        key.extend_from_slice(b"AWS4");
        key.extend_from_slice(secret.as_bytes());
        let mut derived = mac(&key, scope.day.as_bytes());
        for part in [&scope.region, &scope.service, TERMINATOR] {
            derived = mac(&derived, part.as_bytes());
        }
        Self(derived)
    }

    /// The signature of a string to sign.
    pub fn sign(&self, string_to_sign: &str) -> [u8; 32] {
        mac(&self.0, string_to_sign.as_bytes())
    }

    /// Whether a signature is this key's, in constant time.
    pub fn verify(&self, string_to_sign: &str, signature: &[u8; 32]) -> bool {
        self.sign(string_to_sign).ct_eq(signature).into()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// A secret access key, and the keys lately derived from it. Its `Debug` says nothing.
///
/// Days change once a day, and around midnight two of them are in use: two derived keys are enough. They live as long as
/// the policy that holds the secret.
pub struct Secret {
    text: String,
    derived: RefCell<[Option<(Scope, SigningKey)>; 2]>,
}

impl Secret {
    /// Takes a secret access key.
    pub const fn new(text: String) -> Self {
        Self {
            text,
            derived: RefCell::new([None, None]),
        }
    }

    /// The key for a scope, derived or remembered.
    pub fn key(&self, scope: &Scope) -> SigningKey {
        // Nobody else has it; without it the key is derived once more.
        let Ok(mut derived) = self.derived.try_borrow_mut() else {
            return SigningKey::derive(&self.text, scope);
        };
        if let Some((_, key)) = derived.iter().flatten().find(|(s, _)| s == scope) {
            return key.clone();
        }
        let key = SigningKey::derive(&self.text, scope);
        let [first, second] = &mut *derived;
        *second = first.replace((scope.clone(), key.clone()));
        key
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
    match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mut mac) => {
            mac.update(message);
            mac.finalize().into_bytes().into()
        }
        // HMAC takes keys of every length (RFC 2104 section 2); were it not so, this is nobody's signature that could be guessed.
        Err(_) => Sha256::new()
            .chain_update(key)
            .chain_update(message)
            .chain_update(key)
            .finalize()
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn scope(day: &str) -> Scope {
        Scope {
            day: day.to_owned(),
            region: "us-east-1".to_owned(),
            service: "iam".to_owned(),
        }
    }

    /// The example of the AWS General Reference, "Deriving the signing key".
    #[test]
    fn the_documented_key() {
        let key = SigningKey::derive(
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            &scope("20150830"),
        );
        assert_eq!(
            hex(&key.0),
            "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
        );
    }

    #[test]
    fn derived_keys_are_remembered_and_few() {
        let secret = Secret::new("s".repeat(40));
        for day in ["20150830", "20150831", "20150830", "20150901"] {
            let derived = SigningKey::derive(&"s".repeat(40), &scope(day));
            assert_eq!(secret.key(&scope(day)), derived, "{day}");
            assert_eq!(secret.key(&scope(day)), derived, "{day}");
        }
        let known = secret.derived.borrow();
        let days: Vec<&str> = known.iter().flatten().map(|(s, _)| &*s.day).collect();
        assert_eq!(days, ["20150901", "20150831"]);
    }

    #[test]
    fn only_lower_case_hex() {
        let good = "00ff".repeat(16);
        assert_eq!(hex(&from_hex(good.as_bytes()).unwrap()), good);
        for bad in [
            &*"00FF".repeat(16),
            &*"00f".repeat(16),
            &*"0g".repeat(32),
            "",
        ] {
            assert_eq!(from_hex(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let secret = Secret::new("hunter2".to_owned());
        let shown = format!("{secret:?} {:?}", secret.key(&scope("20150830")));
        assert_eq!(shown, "Secret(…) SigningKey(…)");
    }
}
