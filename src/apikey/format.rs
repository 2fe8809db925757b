//! The form of a key: `gak_<id>_<secret>_<check>`.
//!
//! * prefix: `gak` unless configured otherwise, `gsa` for service-account tokens;
//! * id: 12 base62 characters, no secret: it names the record;
//! * secret: 43 base62 characters, which is 256 bits when they are drawn evenly;
//! * check: the CRC-32 (ISO-HDLC: the one of zlib, PNG and RFC 1952) of everything before the last `_`, that `_` not
//!   included, as 6 base62 digits, the greatest first, padded with `0`.
//!
//! Base62 digits are `0-9`, `A-Z`, `a-z`, in this order. With the check a typo or garbage costs no look-up, and a
//! secret scanner can tell a key from what merely looks like one.

use std::fmt;

use subtle::ConstantTimeEq;

/// Characters of an id.
pub const ID_LENGTH: usize = 12;
/// Characters of a secret.
pub const SECRET_LENGTH: usize = 43;
/// Characters of the check.
pub const CHECK_LENGTH: usize = 6;
/// Characters of a prefix at most.
pub const MAX_PREFIX: usize = 16;

/// The digits of base62, each at the place of its value.
pub const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Names a key's record. Not a secret: it is in audit events.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; ID_LENGTH]);

impl KeyId {
    /// An id as it is written: 12 base62 characters.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; ID_LENGTH] = text.as_bytes().try_into().ok()?;
        bytes
            .iter()
            .all(u8::is_ascii_alphanumeric)
            .then_some(Self(bytes))
    }

    /// The characters.
    pub fn as_str(&self) -> &str {
        // Only made of ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A presented text that has a key's form and whose check characters are right. Proves nothing yet.
#[derive(Clone, Copy)]
pub struct ApiKey<'a> {
    /// The record it claims to be.
    pub id: KeyId,
    text: &'a str,
}

impl<'a> ApiKey<'a> {
    /// Reads a key with that prefix; `None` when form or check characters are wrong.
    pub fn parse(text: &'a str, prefix: &str) -> Option<Self> {
        let rest = text.strip_prefix(prefix)?.strip_prefix('_')?;
        let (id, rest) = rest.split_once('_')?;
        let (secret, check) = rest.split_once('_')?;
        let id = KeyId::parse(id)?;
        if secret.len() != SECRET_LENGTH || !secret.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return None;
        }
        let signed = text.strip_suffix(check)?.strip_suffix('_')?;
        // Not a secret, but of a secret: compared as one.
        let right = check.len() == CHECK_LENGTH
            && bool::from(check_characters(signed).ct_eq(check.as_bytes()));
        right.then_some(Self { id, text })
    }

    /// The whole key, for hashing.
    pub(crate) const fn text(&self) -> &'a str {
        self.text
    }
}

impl fmt::Debug for ApiKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}, redacted)", self.id)
    }
}

/// Puts a new key together. `secret` is 43 base62 characters from a source that nobody can predict.
///
/// `None` when a part does not have its form.
pub fn assemble(prefix: &str, id: KeyId, secret: &str) -> Option<String> {
    let signed = format!("{prefix}_{id}_{secret}");
    let check = check_characters(&signed);
    let key = format!("{signed}_{}", std::str::from_utf8(&check).ok()?);
    (is_prefix(prefix) && ApiKey::parse(&key, prefix).is_some()).then_some(key)
}

/// `[a-z][a-z0-9]{1,15}`.
pub fn is_prefix(text: &str) -> bool {
    (2..=MAX_PREFIX).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// The check of everything before the last `_`.
pub fn check_characters(signed: &str) -> [u8; CHECK_LENGTH] {
    let mut rest = crc32(signed.as_bytes());
    let mut out = [b'0'; CHECK_LENGTH];
    for digit in out.iter_mut().rev() {
        *digit = BASE62.get((rest % 62) as usize).copied().unwrap_or(b'0');
        rest /= 62;
    }
    out
}

/// CRC-32/ISO-HDLC. A key's check is over 60 bytes once a request: a table is not worth its kilobyte.
const fn step(mut crc: u32) -> u32 {
    let mut bit = 0;
    while bit < 8 {
        crc = if crc & 1 == 1 {
            (crc >> 1) ^ 0xEDB8_8320
        } else {
            crc >> 1
        };
        bit += 1;
    }
    crc
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(!0, |crc, byte| step(crc ^ u32::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Check characters computed with Python's `zlib.crc32`.
    const VECTORS: [&str; 3] = [
        "gak_000000000000_0000000000000000000000000000000000000000000_0iKbHW",
        "gak_Ab3dEf6hIj9k_zYxWvUtSrQpOnMlKjIhGfEdCbA9876543210zYxWvUt_0h1kyk",
        "gsa_zzzzzzzzzzzz_ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ_0V6o4S",
    ];

    #[test]
    fn crc_of_the_catalogue() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn published_vectors() {
        for key in VECTORS {
            let prefix = &key[..3];
            let parsed = ApiKey::parse(key, prefix).unwrap();
            assert_eq!(parsed.id.as_str(), &key[4..16]);
            assert_eq!(parsed.text(), key);
            assert_eq!(
                assemble(prefix, parsed.id, &key[17..60]).as_deref(),
                Some(key)
            );
        }
    }

    #[test]
    fn one_wrong_character_anywhere_is_no_key() {
        let key = VECTORS[1];
        for place in 0..key.len() {
            for wrong in [b'0', b'Z', b'_', b'-', b' '] {
                let mut bytes = key.as_bytes().to_vec();
                if bytes[place] == wrong {
                    continue;
                }
                bytes[place] = wrong;
                let text = String::from_utf8(bytes).unwrap();
                assert!(ApiKey::parse(&text, "gak").is_none(), "{place} {text}");
            }
        }
    }

    #[test]
    fn what_is_no_key() {
        let key = VECTORS[1];
        for text in [
            "",
            "gak",
            "gak_",
            "gak___",
            &key[..66],
            &format!("{key}0"),
            &format!("{key}_"),
            &format!(" {key}"),
            &key.to_uppercase(),
            &key.replace("gak_", "gsa_"),
            &format!("gak_{key}"),
            "gak_é00000000000_0000000000000000000000000000000000000000000_000000",
        ] {
            assert!(ApiKey::parse(text, "gak").is_none(), "{text}");
        }
    }

    #[test]
    fn prefixes() {
        for (text, fine) in [
            ("gak", true),
            ("acme2", true),
            ("a", false),
            ("2ab", false),
            ("Gak", false),
            ("g_k", false),
            ("abcdefghijklmnop", true),
            ("abcdefghijklmnopq", false),
        ] {
            assert_eq!(is_prefix(text), fine, "{text}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", ApiKey::parse(VECTORS[1], "gak"));
        assert!(shown.contains("Ab3dEf6hIj9k"));
        assert!(!shown.contains("zYxW"));
    }
}
