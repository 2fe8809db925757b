//! What nobody must guess: keys, tokens, sessions, from the operating system's randomness.

use portcullis_core::apikey::KeyId;
use portcullis_core::apikey::format::{self, BASE62, ID_LENGTH, SECRET_LENGTH};
use sha2::{Digest as _, Sha256};

/// A new key with that prefix, and its id. `None` when the prefix is none, or the system has no randomness.
pub fn key(prefix: &str) -> Option<(KeyId, String)> {
    let id = KeyId::parse(&base62(ID_LENGTH))?;
    let key = format::assemble(prefix, id, &base62(SECRET_LENGTH))?;
    Some((id, key))
}

/// Characters drawn evenly: a byte beyond the last whole multiple of 62 is drawn again.
///
/// Empty when the system gives no randomness, which no key and no session may be made of: [`key`] has none then, and
/// [`token`] neither.
pub fn base62(length: usize) -> String {
    const EVEN: u8 = 248;
    let mut out = String::with_capacity(length);
    let mut bytes = [0; 64];
    while out.len() < length {
        if getrandom::fill(&mut bytes).is_err() {
            return String::new();
        }
        let drawn = bytes.iter().filter(|b| **b < EVEN);
        let characters = drawn.filter_map(|b| BASE62.get(usize::from(b % 62)));
        out.extend(characters.map(|c| char::from(*c)).take(length - out.len()));
    }
    out
}

/// A token of 256 bits, and what is stored of it. `None` when the system gives no randomness.
pub fn token() -> Option<(String, String)> {
    let token = base62(SECRET_LENGTH);
    (token.len() == SECRET_LENGTH).then(|| {
        let hash = digest(&token);
        (token, hash)
    })
}

/// SHA-256 in hexadecimal.
pub fn digest(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// Whether two texts are the same, in a time that depends on their lengths only.
pub fn same(a: &str, b: &str) -> bool {
    use subtle::ConstantTimeEq as _;
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_about_as_often() {
        let text = base62(62_000);
        assert_eq!(text.len(), 62_000);
        for c in BASE62 {
            let count = text.bytes().filter(|b| b == c).count();
            // A thousand on average; six standard deviations.
            assert!(
                (810..1190).contains(&count),
                "{count} of {}",
                char::from(*c)
            );
        }
        assert_ne!(base62(43), base62(43));
    }
}
