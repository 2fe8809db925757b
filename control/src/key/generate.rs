//! New keys, from the operating system's randomness.

use portcullis_core::apikey::KeyId;
use portcullis_core::apikey::format::{self, BASE62, ID_LENGTH, SECRET_LENGTH};
use portcullis_core::apikey::record::Pepper;

use super::Failure;

/// A new key and its id.
pub fn key(prefix: &str) -> Result<(KeyId, String), Failure> {
    let id = KeyId::parse(&base62(ID_LENGTH)?).ok_or_else(|| Failure::new("no id"))?;
    let secret = base62(SECRET_LENGTH)?;
    let key = format::assemble(prefix, id, &secret).ok_or_else(|| {
        Failure::new("the prefix must be 2 to 16 lower-case letters and digits, a letter first")
    })?;
    Ok((id, key))
}

/// The pepper that a variable holds.
pub fn pepper(variable: Option<&str>) -> Result<Option<Pepper>, Failure> {
    let Some(name) = variable else {
        return Ok(None);
    };
    let text = std::env::var(name).unwrap_or_default();
    match Pepper::new(&text) {
        Some(pepper) => Ok(Some(pepper)),
        None => Err(Failure::new(format!(
            "the pepper's variable {name} must hold 16 bytes or more here as well, or the key's hash can't be made"
        ))),
    }
}

/// Characters drawn evenly: a byte beyond the last whole multiple of 62 is drawn again.
fn base62(length: usize) -> Result<String, Failure> {
    const EVEN: u8 = 248;
    let mut out = String::with_capacity(length);
    let mut bytes = [0; 64];
    while out.len() < length {
        getrandom::fill(&mut bytes)
            .map_err(|e| Failure::new(format!("the system gives no randomness: {e}")))?;
        let drawn = bytes.iter().filter(|b| **b < EVEN);
        let characters = drawn.filter_map(|b| BASE62.get(usize::from(b % 62)));
        out.extend(characters.map(|c| char::from(*c)).take(length - out.len()));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
    use super::*;

    #[test]
    fn every_character_about_as_often() {
        let text = base62(62_000).unwrap();
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
        assert_ne!(base62(43).unwrap(), base62(43).unwrap());
    }
}
