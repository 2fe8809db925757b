//! A token as a caller sends it.

use portcullis_core::credential::{Credential, KeyPlaces};
use portcullis_core::jose::{
    Algorithm, BadSignature, JoseLimits, KeySet, PublicKey, SignatureVerifier, UntrustedJws,
    base64url,
};
use portcullis_core::request::RequestHead;
use serde_json::Value;

/// Believes no signature.
struct Nobody;

impl SignatureVerifier for Nobody {
    fn verify(&self, _: Algorithm, _: &PublicKey, _: &[u8], _: &[u8]) -> Result<(), BadSignature> {
        Err(BadSignature)
    }
}

const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// `data` as a token, and as the value of `Authorization`.
pub fn run(data: &[u8]) {
    compact(data);
    authorization(data);
}

fn compact(data: &[u8]) {
    let limits = JoseLimits::DEFAULT;
    let Ok(jws) = UntrustedJws::parse(data, &limits) else {
        return;
    };
    assert!(data.len() <= limits.token_bytes);
    // What was accepted is the one spelling of its three parts.
    let parts: Vec<&[u8]> = data.split(|b| *b == b'.').collect();
    let [header, payload, signature] = parts[..] else {
        panic!("{} parts", parts.len());
    };
    let raw_header = base64url::decode(header).expect("the header was decoded before");
    assert_eq!(base64url::encode(&raw_header).as_bytes(), header);
    assert_eq!(base64url::encode(jws.payload()).as_bytes(), payload);
    assert_eq!(base64url::encode(jws.signature()).as_bytes(), signature);
    assert_eq!(
        jws.signing_input(),
        &data[..header.len() + 1 + payload.len()]
    );
    assert!(!jws.signature().is_empty());
    // Another reader of JSON sees the same header.
    let seen: Value = serde_json::from_slice(&raw_header).expect("strict JSON is JSON");
    let members = seen.as_object().expect("a header is an object");
    assert!(members.len() <= limits.header_members);
    let name = members["alg"].as_str().expect("alg is a string");
    assert!(
        name == jws.algorithm().name()
            || (name == "Ed25519" && jws.algorithm() == Algorithm::EdDsa)
    );
    assert_eq!(
        members
            .get("kid")
            .map(|k| k.as_str().expect("kid is a string")),
        jws.kid()
    );
    assert!(jws.kid().is_none_or(|kid| kid.len() <= limits.kid_bytes));
    for never in ["crit", "b64", "enc"] {
        assert!(!members.contains_key(never), "{never}");
    }
    let keys = KeySet::parse(KEYS.as_bytes(), &limits).expect("a good set");
    assert!(jws.verify(&keys, &Nobody).is_err());
}

fn authorization(data: &[u8]) {
    let head = RequestHead {
        method: b"GET",
        path: b"/",
        authority: b"h",
        headers: &[(b"authorization", data)],
        remote_addr: None,
    };
    let places = KeyPlaces::default();
    for signatures in [false, true] {
        let Ok(found) = Credential::find(&head, &places, 4096, signatures) else {
            continue;
        };
        let Credential::Bearer(token) = &found else {
            continue;
        };
        assert!((1..=4096).contains(&token.len()));
        assert!(token.bytes().all(|b| b.is_ascii_graphic() && b != b','));
        assert!(data.windows(token.len()).any(|w| w == token.as_bytes()));
        // Short texts turn up in any text.
        assert!(token.len() < 12 || !format!("{found:?}").contains(&**token));
    }
}
