use super::*;
use crate::jose::fixtures::{ed25519, p256, p384, p521, rsa, with};
use serde_json::json;
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn load(jwk: &Value) -> Result<Jwk, JwkError> {
    Jwk::from_value(jwk, &JoseLimits::DEFAULT)
}

fn refusal(jwk: &Value) -> JwkError {
    load(jwk).map(|_| ()).unwrap_err()
}

#[test]
fn loads_every_type_with_its_published_thumbprint() {
    let thumbprint = |jwk: &Value| load(jwk).unwrap().thumbprint().to_string();
    // RFC 7638 section 3.1 and RFC 8037 appendix A.3.
    assert_eq!(
        thumbprint(&rsa()),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    );
    assert_eq!(
        thumbprint(&ed25519()),
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    );
    // What names a key does not change what it is.
    assert_eq!(thumbprint(&with(rsa(), "kid", "other")), thumbprint(&rsa()));
    for jwk in [p256(), p384(), p521()] {
        load(&jwk).unwrap();
    }
}

/// As Authlib publishes them: without the leading zero octets of a coordinate.
#[test]
fn a_short_coordinate_is_the_same_key() {
    let full = json!({"kty":"EC","crv":"P-256","x":"AFVDiUrz0A7X10Cr29dclrBod7eH219w7qeLkKjXwAo",
        "y":"u0yFo9jqKe-q-iRAaRLdhNWxTcMr9lbvbGvVil2UP5I"});
    let short = with(
        full.clone(),
        "x",
        "VUOJSvPQDtfXQKvb11yWsGh3t4fbX3Dup4uQqNfACg",
    );
    let (full, short) = (load(&full).unwrap(), load(&short).unwrap());
    assert_eq!(
        short.thumbprint().to_string(),
        "7Yxe6c_3bAa6kiaK1G-BZmi9EeNsUmlcbdnrtLeuK4E"
    );
    assert_eq!(short.thumbprint(), full.thumbprint());
    assert_eq!(short.public_key().spki_der(), full.public_key().spki_der());
}

#[test]
fn keeps_what_tokens_are_held_against() {
    let jwk = load(&with(
        with(rsa(), "use", "sig"),
        "issuer",
        "https://login.example/{tenantid}/v2.0",
    ))
    .unwrap();
    assert_eq!(jwk.kid(), Some("2011-04-29"));
    assert_eq!(jwk.algorithm(), Some(Algorithm::Rs256));
    assert_eq!(jwk.key_use(), Some(KeyUse::Signature));
    assert_eq!(jwk.issuer(), Some("https://login.example/{tenantid}/v2.0"));
    assert_eq!(
        load(&with(p256(), "use", "jwt-svid")).unwrap().key_use(),
        Some(KeyUse::JwtSvid)
    );
}

#[test]
fn wants_keys_for_verifying_signatures() {
    assert_eq!(
        refusal(&with(rsa(), "use", "enc")),
        JwkError::NotForSignatures
    );
    assert_eq!(
        refusal(&with(rsa(), "use", "x509-svid")),
        JwkError::NotForSignatures
    );
    assert_eq!(
        refusal(&with(rsa(), "use", json!(null))),
        JwkError::MemberType(Member::Use)
    );
    for operations in [json!([]), json!(["sign"]), json!(["encrypt", "wrapKey"])] {
        assert_eq!(
            refusal(&with(rsa(), "key_ops", operations)),
            JwkError::NotForVerifying
        );
    }
    for operations in [json!("verify"), json!({}), json!(["verify", 1])] {
        assert_eq!(
            refusal(&with(rsa(), "key_ops", operations)),
            JwkError::MemberType(Member::KeyOperations)
        );
    }
    assert!(load(&with(rsa(), "key_ops", json!(["sign", "verify"]))).is_ok());
    assert_eq!(refusal(&with(p256(), "d", "AA")), JwkError::PrivateKey);
    assert_eq!(
        refusal(&json!({"kty":"oct","k":"AA","alg":"RS256"})),
        JwkError::Symmetric
    );
}

#[test]
fn wants_an_algorithm_that_goes_with_the_key() {
    use UnsupportedAlgorithm::{Symmetric, Unknown, Unsecured};
    for (alg, reason) in [
        ("RSA-OAEP", Unknown),
        ("HS256", Symmetric),
        ("none", Unsecured),
    ] {
        assert_eq!(
            refusal(&with(rsa(), "alg", alg)),
            JwkError::UnsupportedAlgorithm(reason)
        );
    }
    assert_eq!(
        refusal(&with(rsa(), "alg", "ES256")),
        JwkError::AlgorithmMismatch(Algorithm::Es256)
    );
    assert_eq!(
        refusal(&with(p256(), "alg", "ES384")),
        JwkError::AlgorithmMismatch(Algorithm::Es384)
    );
    assert_eq!(
        refusal(&with(ed25519(), "alg", "ES256")),
        JwkError::AlgorithmMismatch(Algorithm::Es256)
    );
    assert_eq!(
        refusal(&with(rsa(), "alg", 7)),
        JwkError::MemberType(Member::Algorithm)
    );
    for alg in ["EdDSA", "Ed25519"] {
        assert_eq!(
            load(&with(ed25519(), "alg", alg)).unwrap().algorithm(),
            Some(Algorithm::EdDsa)
        );
    }
}

#[test]
fn fits_tokens_by_type_curve_and_algorithm() {
    let any = load(&json!({"kty":"RSA","e":"AQAB","n":rsa()["n"]})).unwrap();
    let rs256 = load(&rsa()).unwrap();
    let p256 = load(&p256()).unwrap();
    assert_eq!(any.check_fits(Algorithm::Ps512), Ok(()));
    assert_eq!(rs256.check_fits(Algorithm::Rs256), Ok(()));
    assert_eq!(
        rs256.check_fits(Algorithm::Ps256),
        Err(KeyMismatch::Algorithm {
            key: Algorithm::Rs256,
            token: Algorithm::Ps256
        })
    );
    assert_eq!(
        p256.check_fits(Algorithm::Es512),
        Err(KeyMismatch::Curve {
            key: Some(Curve::P256),
            token: Algorithm::Es512
        })
    );
    assert_eq!(
        p256.check_fits(Algorithm::EdDsa),
        Err(KeyMismatch::KeyType {
            key: KeyType::Ec,
            token: Algorithm::EdDsa
        })
    );
}

#[test]
fn refuses_unsound_rsa_keys() {
    use PublicKeyError::{Exponent, IntegerForm, ModulusEven, ModulusLength};
    let n = base64url::decode(rsa()["n"].as_str().unwrap().as_bytes()).unwrap();
    let modulus = |octets: &[u8]| refusal(&with(rsa(), "n", base64url::encode(octets)));
    assert_eq!(modulus(&[]), JwkError::Key(IntegerForm));
    assert_eq!(
        modulus(&[&[0], &n[..]].concat()),
        JwkError::Key(IntegerForm)
    );
    assert_eq!(
        modulus(&n[..128]),
        JwkError::Key(ModulusLength { bits: 1024 })
    );
    let mut short = n.clone();
    short[0] = 0x7f;
    assert_eq!(modulus(&short), JwkError::Key(ModulusLength { bits: 2047 }));
    assert_eq!(
        modulus(&[&n[..], &[1; 769]].concat()),
        JwkError::Key(ModulusLength { bits: 8200 })
    );
    let mut even = n.clone();
    even[255] &= 0xfe;
    assert_eq!(modulus(&even), JwkError::Key(ModulusEven));
    let exponent = |octets: &[u8]| load(&with(rsa(), "e", base64url::encode(octets))).map(|_| ());
    for bad in [
        &[1][..],
        &[2],
        &[1, 0, 0],
        &[2, 0, 0, 0, 1],
        &[1; 9],
        &[1; 128],
    ] {
        assert_eq!(exponent(bad), Err(JwkError::Key(Exponent)), "{bad:?}");
    }
    for bad in [&[][..], &[0], &[0, 1, 0, 1]] {
        assert_eq!(exponent(bad), Err(JwkError::Key(IntegerForm)), "{bad:?}");
    }
    for good in [&[3][..], &[17], &[1, 0, 1], &[1, 255, 255, 255, 255]] {
        assert_eq!(exponent(good), Ok(()), "{good:?}");
    }
    let padded = Base64UrlError::Octet { offset: 4 };
    assert_eq!(
        refusal(&with(rsa(), "e", "AQAB=")),
        JwkError::Base64 {
            member: Member::Exponent,
            error: padded
        }
    );
}

#[test]
fn refuses_unsound_points() {
    use PublicKeyError::{CoordinateLength, NotOnCurve, PointForm, SmallOrder};
    let x = base64url::decode(p256()["x"].as_str().unwrap().as_bytes()).unwrap();
    let long = with(p256(), "x", base64url::encode(&[&[0], &x[..]].concat()));
    assert_eq!(
        refusal(&long),
        JwkError::Key(CoordinateLength {
            found: 33,
            required: 32
        })
    );
    let y = p256()["x"].clone();
    assert_eq!(refusal(&with(p256(), "y", y)), JwkError::Key(NotOnCurve));
    let zero = base64url::encode(&[0; 32]);
    assert_eq!(
        refusal(&with(with(p256(), "x", &*zero), "y", &*zero)),
        JwkError::Key(NotOnCurve)
    );
    assert_eq!(
        refusal(&with(p256(), "x", "")),
        JwkError::Key(CoordinateLength {
            found: 0,
            required: 32
        })
    );
    let cut = with(p256(), "x", base64url::encode(x.split_last().unwrap().1));
    assert_eq!(refusal(&cut), JwkError::Key(NotOnCurve));
    assert_eq!(
        refusal(&with(p384(), "crv", "P-256")),
        JwkError::Key(CoordinateLength {
            found: 48,
            required: 32
        })
    );
    for crv in ["secp256k1", "Ed25519", "p-256", "P-224"] {
        assert_eq!(
            refusal(&with(p256(), "crv", crv)),
            JwkError::UnsupportedCurve
        );
    }
    for crv in ["X25519", "Ed448", "P-256"] {
        assert_eq!(
            refusal(&with(ed25519(), "crv", crv)),
            JwkError::UnsupportedCurve
        );
    }
    let ed = |octets: [u8; 32]| refusal(&with(ed25519(), "x", base64url::encode(&octets)));
    let mut octets = [0; 32];
    octets[0] = 1;
    assert_eq!(ed(octets), JwkError::Key(SmallOrder)); // the identity
    octets[31] = 0x80;
    assert_eq!(ed(octets), JwkError::Key(SmallOrder)); // the identity, with a sign
    assert_eq!(ed([0; 32]), JwkError::Key(SmallOrder)); // order 4
    octets = [0xff; 32];
    octets[31] = 0x7f;
    assert_eq!(ed(octets), JwkError::Key(PointForm)); // p + 18
    octets[0] = 0xed;
    assert_eq!(ed(octets), JwkError::Key(PointForm)); // p
    octets[0] = 0xec;
    assert_eq!(ed(octets), JwkError::Key(SmallOrder)); // -1
}

#[test]
fn refuses_what_is_no_jwk() {
    for value in [json!(null), json!(1), json!("x"), json!([])] {
        assert_eq!(refusal(&value), JwkError::NotAnObject);
    }
    assert_eq!(refusal(&json!({})), JwkError::Missing(Member::KeyType));
    assert_eq!(
        refusal(&json!({"kty":1})),
        JwkError::MemberType(Member::KeyType)
    );
    assert_eq!(
        refusal(&with(rsa(), "kty", "rsa")),
        JwkError::UnsupportedKeyType
    );
    assert_eq!(
        refusal(&with(rsa(), "kty", "EC")),
        JwkError::AlgorithmMismatch(Algorithm::Rs256)
    );
    assert_eq!(
        refusal(&with(rsa(), "kid", 1)),
        JwkError::MemberType(Member::KeyId)
    );
    assert_eq!(
        refusal(&with(rsa(), "kid", "k".repeat(513))),
        JwkError::KidTooLong {
            bytes: 513,
            limit: 512
        }
    );
    let without_y = json!({"kty":"EC","crv":"P-256","x":p256()["x"]});
    assert_eq!(refusal(&without_y), JwkError::Missing(Member::Y));
}
