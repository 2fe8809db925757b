//! The name of a public key: its JWK thumbprint (RFC 7638) with SHA-256.

use std::fmt;
use std::rc::Rc;

use sha2::{Digest, Sha256};

use super::base64url;

/// SHA-256 over the required members of a JWK in their one canonical form. Two
/// keys have the same thumbprint exactly if they are the same public key,
/// whatever `kid`, `alg` or `use` they are published with.
///
/// Counted references: every token that was verified with a key holds that key's.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Thumbprint(Rc<[u8; 32]>);

impl Thumbprint {
    /// Of `(name, value)` pairs that are already in lexicographic order and need
    /// no JSON escapes (RFC 7638 section 3).
    pub(super) fn of(members: &[(&str, &str)]) -> Self {
        let mut hash = Sha256::new();
        for (index, (name, value)) in members.iter().enumerate() {
            hash.update(if index == 0 { "{\"" } else { ",\"" });
            hash.update(name);
            hash.update("\":\"");
            hash.update(value);
            hash.update("\"");
        }
        hash.update("}");
        Self(Rc::new(hash.finalize().into()))
    }

    /// The digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Base64url, as RFC 7638 writes it.
impl fmt::Display for Thumbprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&base64url::encode(&*self.0))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Thumbprint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn is_written_as_base64url() {
        // SHA-256 of the empty object, which no key is.
        let thumbprint = Thumbprint::of(&[("kty", "x")]);
        assert_eq!(thumbprint.to_string().len(), 43);
        assert_eq!(
            format!("{thumbprint:?}"),
            format!("Thumbprint({thumbprint})")
        );
        assert_eq!(
            <[u8; 32]>::from(Sha256::digest(br#"{"kty":"x"}"#)),
            *thumbprint.as_bytes()
        );
    }
}
