//! New keys, from the operating system's randomness.

use portcullis_core::apikey::KeyId;
use portcullis_core::apikey::record::Pepper;
use portcullis_service::secret;

use super::Failure;

/// A new key and its id.
pub fn key(prefix: &str) -> Result<(KeyId, String), Failure> {
    secret::key(prefix).ok_or_else(|| {
        Failure::new(
            "the prefix must be 2 to 16 lower-case letters and digits, a letter first; or the system gives no randomness",
        )
    })
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
