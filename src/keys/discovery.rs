//! OpenID Connect Discovery 1.0: the one member that is needed, strictly.

use crate::jose::json::parse_strict;
use crate::policy::Url;
use crate::url::without_slash;

/// Why a discovery document was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscoveryError {
    /// Not a strict JSON object.
    NotJson,
    /// `issuer` is missing or names another issuer (section 4.3): whoever answered is not who was asked.
    WrongIssuer,
    /// `jwks_uri` is missing, no absolute http(s) URL, or plain http although the issuer is https.
    BadJwksUri,
}

/// The `jwks_uri` of a discovery document.
///
/// # Errors
/// [`DiscoveryError`].
pub fn jwks_uri(
    document: &[u8],
    issuer: &str,
    issuer_is_https: bool,
) -> Result<Url, DiscoveryError> {
    let document = parse_strict(document, 16).map_err(|_| DiscoveryError::NotJson)?;
    let named = document
        .get("issuer")
        .and_then(|v| v.as_str())
        .ok_or(DiscoveryError::WrongIssuer)?;
    if without_slash(named) != issuer {
        return Err(DiscoveryError::WrongIssuer);
    }
    let url = document
        .get("jwks_uri")
        .and_then(|v| v.as_str())
        .and_then(|text| Url::parse(text).ok())
        .ok_or(DiscoveryError::BadJwksUri)?;
    if issuer_is_https && !url.https {
        return Err(DiscoveryError::BadJwksUri);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const ISSUER: &str = "https://issuer.example";

    fn run(text: &str) -> Result<String, DiscoveryError> {
        jwks_uri(text.as_bytes(), ISSUER, true).map(|u| u.to_string())
    }

    #[test]
    fn the_document_must_be_the_issuers_own() {
        let good =
            r#"{"issuer":"https://issuer.example/","jwks_uri":"https://keys.example/jwks?v=1"}"#;
        assert_eq!(run(good).as_deref(), Ok("https://keys.example/jwks?v=1"));
        for (text, error) in [
            ("<html>", DiscoveryError::NotJson),
            ("{}", DiscoveryError::WrongIssuer),
            (
                r#"{"issuer":"https://issuer.example.evil","jwks_uri":"https://k/"}"#,
                DiscoveryError::WrongIssuer,
            ),
            (
                r#"{"issuer":"https://issuer.example","issuer":"https://issuer.example","jwks_uri":"https://k/"}"#,
                DiscoveryError::NotJson,
            ),
            (
                r#"{"issuer":"https://issuer.example"}"#,
                DiscoveryError::BadJwksUri,
            ),
            (
                r#"{"issuer":"https://issuer.example","jwks_uri":"http://k/"}"#,
                DiscoveryError::BadJwksUri,
            ),
            (
                r#"{"issuer":"https://issuer.example","jwks_uri":"file:///etc/passwd"}"#,
                DiscoveryError::BadJwksUri,
            ),
            (
                r#"{"issuer":"https://issuer.example","jwks_uri":"https://u:p@k/"}"#,
                DiscoveryError::BadJwksUri,
            ),
        ] {
            assert_eq!(run(text).as_ref(), Err(&error), "{text}");
        }
    }
}
