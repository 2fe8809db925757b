//! A foreign implementation signs, we verify: our own encoder would hide our
//! own decoder's bugs. Native only, since jwt-compact needs a source of
//! randomness.

#![cfg(not(target_arch = "wasm32"))]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use jwt_compact::alg::{Ed25519, Es256, Rsa, RsaPrivateKey};
use jwt_compact::jwk::JsonWebKey;
use jwt_compact::{Algorithm as ForeignAlgorithm, AlgorithmExt, Claims, Header, UntrustedToken};
use portcullis_core::jose::{
    Algorithm, JoseLimits, JsonError, JwsError, KeySet, RustVerifier, UntrustedJws, VerifyError,
    base64url, parse_strict,
};
use serde_json::{Value, json};

const KEYS: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../shared/vectors/data/attack_keys.json"
));

#[test]
fn es256() {
    let key: <Es256 as ForeignAlgorithm>::SigningKey = (&private("es1")).try_into().unwrap();
    let public = JsonWebKey::from(key.verifying_key()).to_string();
    exchange(&Es256, &key, &public, Algorithm::Es256);
}

#[test]
fn eddsa() {
    let key: <Ed25519 as ForeignAlgorithm>::SigningKey = (&private("ed1")).try_into().unwrap();
    let public = JsonWebKey::from(&key.verifying_key()).to_string();
    exchange(&Ed25519, &key, &public, Algorithm::EdDsa);
    exchange(
        &Ed25519::with_specific_name(),
        &key,
        &public,
        Algorithm::EdDsa,
    );
}

#[test]
fn rsa() {
    for (algorithm, ours) in [
        (Rsa::rs256(), Algorithm::Rs256),
        (Rsa::rs384(), Algorithm::Rs384),
        (Rsa::rs512(), Algorithm::Rs512),
        (Rsa::ps256(), Algorithm::Ps256),
        (Rsa::ps384(), Algorithm::Ps384),
        (Rsa::ps512(), Algorithm::Ps512),
    ] {
        let key = RsaPrivateKey::try_from(&private("rs1")).unwrap();
        let public = JsonWebKey::from(&key.to_public_key()).to_string();
        exchange(&algorithm, &key, &public, ours);
    }
}

fn exchange<A: ForeignAlgorithm>(
    algorithm: &A,
    key: &A::SigningKey,
    public: &str,
    ours: Algorithm,
) {
    let claims = json!({"iss": "https://issuer.example", "aud": ["a", "b"], "sub": "käse"});
    let header = Header::empty().with_key_id("k").with_token_type("JWT");
    let token = algorithm
        .token(&header, &Claims::new(claims.clone()), key)
        .unwrap();

    let mut jwk: Value = serde_json::from_str(public).unwrap();
    let foreign: JsonWebKey<'_> = serde_json::from_str(public).unwrap();
    jwk["kid"] = "k".into();
    let limits = JoseLimits::DEFAULT;
    let keys = KeySet::parse(json!({"keys": [jwk]}).to_string().as_bytes(), &limits).unwrap();
    assert_eq!(
        keys.keys()[0].thumbprint().as_bytes()[..],
        foreign.thumbprint::<sha2_10::Sha256>()[..]
    );

    let jws = UntrustedJws::parse(token.as_bytes(), &limits).unwrap();
    assert_eq!(
        (jws.algorithm(), jws.kid(), jws.header().typ()),
        (ours, Some("k"), Some("JWT"))
    );
    let verified = jws.verify(&keys, &RustVerifier).unwrap();
    assert_eq!(
        parse_strict(verified.payload(), limits.json_depth).unwrap(),
        claims
    );

    // The same signature over another payload.
    let (head, signature) = token.rsplit_once('.').unwrap();
    let header = head.split_once('.').unwrap().0;
    let forged = format!("{header}.e30.{signature}");
    let refused = UntrustedJws::parse(forged.as_bytes(), &limits)
        .unwrap()
        .verify(&keys, &RustVerifier);
    assert_eq!(refused.map(|_| ()), Err(VerifyError::BadSignature));
}

fn private(name: &str) -> JsonWebKey<'static> {
    let keys: Value = serde_json::from_slice(KEYS).unwrap();
    serde_json::from_value(keys[name].clone()).unwrap()
}

/// What our own strictness is for: the foreign implementation takes these.
#[test]
fn refuses_what_the_foreign_implementation_does_not_look_at() {
    let key: <Es256 as ForeignAlgorithm>::SigningKey = (&private("es1")).try_into().unwrap();
    let limits = JoseLimits::DEFAULT;
    for (member, value, error) in [
        ("crit", json!(["exp"]), JwsError::Critical),
        ("b64", json!(true), JwsError::UnencodedPayload),
    ] {
        let header = Header::new(json!({ member: value }));
        let token = Es256.token(&header, &Claims::new(json!({})), &key).unwrap();
        let foreign = UntrustedToken::<Value>::try_from(token.as_str()).unwrap();
        Es256
            .validator::<Value>(key.verifying_key())
            .validate(&foreign)
            .unwrap();
        assert_eq!(
            UntrustedJws::parse(token.as_bytes(), &limits).err(),
            Some(error)
        );
    }
    let header = base64url::encode(br#"{"alg":"ES256","x":1,"x":2}"#);
    let token = format!("{header}.e30.{}", base64url::encode(&[1; 64]));
    UntrustedToken::new(&token).unwrap();
    assert!(matches!(
        UntrustedJws::parse(token.as_bytes(), &limits).err(),
        Some(JwsError::HeaderJson(JsonError::DuplicateMember { .. }))
    ));
}
