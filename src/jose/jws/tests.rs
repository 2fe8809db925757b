use serde_json::{Value, json};
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;
use crate::jose::fixtures::{ed25519, p256, rsa, with};
use crate::jose::{BadSignature, PublicKey, RustVerifier};

/// RFC 8037 appendix A.4: EdDSA, no kid, `Example of Ed25519 signing`.
const EXAMPLE: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
    hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

/// Takes every signature: to see what happens around it.
struct NoSecurity;

impl SignatureVerifier for NoSecurity {
    fn verify(&self, _: Algorithm, _: &PublicKey, _: &[u8], _: &[u8]) -> Result<(), BadSignature> {
        Ok(())
    }
}

fn parse(token: &str) -> Result<UntrustedJws<'_>, JwsError> {
    UntrustedJws::parse(token.as_bytes(), &JoseLimits::DEFAULT)
}

fn refusal(token: &str) -> JwsError {
    parse(token).map(|_| ()).unwrap_err()
}

fn token(header: &str) -> String {
    format!("{}.e30.c2ln", base64url::encode(header.as_bytes()))
}

fn header(header: &str) -> Result<JwsHeader, JwsError> {
    parse(&token(header)).map(|jws| jws.header().clone())
}

fn keys(keys: &[Value]) -> KeySet {
    KeySet::from_value(&json!({ "keys": keys }), &JoseLimits::DEFAULT).unwrap()
}

#[test]
fn verifies_the_published_example() {
    let jws = parse(EXAMPLE).unwrap();
    assert_eq!(jws.payload(), b"Example of Ed25519 signing");
    assert_eq!(jws.signature().len(), 64);
    assert_eq!(
        jws.signing_input(),
        &EXAMPLE.as_bytes()[..EXAMPLE.rfind('.').unwrap()]
    );
    assert_eq!((jws.algorithm(), jws.kid()), (Algorithm::EdDsa, None));
    let keys = keys(&[with(ed25519(), "issuer", "https://issuer.example")]);
    let verified = jws.verify(&keys, &RustVerifier).unwrap();
    assert_eq!(verified.payload(), b"Example of Ed25519 signing");
    assert_eq!(verified.thumbprint(), keys.keys()[0].thumbprint());
    assert_eq!(verified.key_issuer(), Some("https://issuer.example"));
}

#[test]
fn notices_every_flipped_bit_of_the_payload_and_signature() {
    let keys = keys(&[ed25519()]);
    let (signed, signature) = EXAMPLE.rsplit_once('.').unwrap();
    let octets = base64url::decode(signature.as_bytes()).unwrap();
    for bit in 0..octets.len() * 8 {
        let mut flipped = octets.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let token = format!("{signed}.{}", base64url::encode(&flipped));
        let verified = parse(&token).unwrap().verify(&keys, &RustVerifier);
        assert_eq!(
            verified.map(|_| ()),
            Err(VerifyError::BadSignature),
            "bit {bit}"
        );
    }
    let token = EXAMPLE.replace("RXhhbXBsZSBv", "RXhhbXBsZSBw");
    let verified = parse(&token).unwrap().verify(&keys, &RustVerifier);
    assert_eq!(verified.map(|_| ()), Err(VerifyError::BadSignature));
}

#[test]
fn wants_three_parts() {
    for (text, error) in [
        ("", JwsError::PartCount { found: 1 }),
        (".", JwsError::PartCount { found: 2 }),
        ("e30.e30", JwsError::PartCount { found: 2 }),
        ("a.b.c.d", JwsError::PartCount { found: 4 }),
        ("a.b.c.d.e", JwsError::Encrypted),
        ("a.b.c.d.e.f", JwsError::PartCount { found: 6 }),
        ("..", JwsError::NotSigned),
        ("..c2ln", JwsError::HeaderJson(JsonError::UnexpectedEnd)),
    ] {
        assert_eq!(refusal(text), error, "{text}");
    }
    assert_eq!(
        refusal(&".".repeat(1_000_000)),
        JwsError::TooLong {
            part: Part::Token,
            bytes: 1_000_000,
            limit: 32 * 1024,
        }
    );
    // A JWS may sign nothing at all (RFC 7515 section 5.2 says nothing against it).
    assert_eq!(
        parse(&format!(
            "{}..c2ln",
            base64url::encode(br#"{"alg":"ES256"}"#)
        ))
        .unwrap()
        .payload(),
        b""
    );
}

#[test]
fn bounds_every_part_before_decoding_it() {
    let limits = JoseLimits {
        header_bytes: 15,
        payload_bytes: 2,
        signature_bytes: 3,
        ..JoseLimits::DEFAULT
    };
    let parse = |text: &str| UntrustedJws::parse(text.as_bytes(), &limits).map(|_| ());
    let sound = token(r#"{"alg":"ES256"}"#);
    assert!(parse(&sound).is_ok());
    let too_long = |part, bytes, limit| Err(JwsError::TooLong { part, bytes, limit });
    // None of these is base64url, and none gets that far.
    assert_eq!(
        parse(&format!("{}.e30.c2ln", "*".repeat(24))),
        too_long(Part::Header, 18, 15)
    );
    assert_eq!(
        parse(&sound.replace(".e30.", ".****.")),
        too_long(Part::Payload, 3, 2)
    );
    assert_eq!(
        parse(&sound.replace(".c2ln", ".******")),
        too_long(Part::Signature, 4, 3)
    );
}

#[test]
fn refuses_another_spelling_of_any_part() {
    let sound = token(r#"{"alg":"ES256"}"#);
    for (at, part) in [(0, Part::Header), (1, Part::Payload), (2, Part::Signature)] {
        for stray in ["=", " ", "\n", "+", "\u{e9}"] {
            let mut parts: Vec<String> = sound.split('.').map(str::to_owned).collect();
            parts[at].push_str(stray);
            let error = refusal(&parts.join("."));
            assert!(
                matches!(error, JwsError::Base64 { part: found, .. } if found == part),
                "{part:?} {error:?}"
            );
        }
    }
}

#[test]
fn reads_the_header() {
    let read =
        header(r#" {"typ":"at+jwt","kid":"k\u0031","alg":"ES256","jwk":{"kty":"oct"},"x":[1]} "#)
            .unwrap();
    assert_eq!(
        (read.algorithm(), read.kid(), read.typ()),
        (Algorithm::Es256, Some("k1"), Some("at+jwt"))
    );
    assert_eq!(
        header(r#"{"alg":"Ed25519"}"#).unwrap().algorithm(),
        Algorithm::EdDsa
    );
    assert_eq!(
        header(r#"{"alg":"ES256","kid":""}"#).unwrap().kid(),
        Some("")
    );
    assert!(header(r#"{"alg":"ES256","CRIT":["x"],"Alg":"none"}"#).is_ok());
}

#[test]
fn refuses_algorithms_that_prove_nothing() {
    use UnsupportedAlgorithm::{Symmetric, Unknown, Unsecured};
    for (alg, reason) in [
        ("none", Unsecured),
        ("None", Unsecured),
        ("nOnE", Unsecured),
        ("none\\u0000", Unknown),
        ("", Unknown),
        ("HS256", Symmetric),
        ("HS512", Symmetric),
        ("rs256", Unknown),
        ("ES256K", Unknown),
        ("dir", Unknown),
    ] {
        let read = header(&format!(r#"{{"alg":"{alg}"}}"#));
        assert_eq!(read, Err(JwsError::UnsupportedAlgorithm(reason)), "{alg}");
    }
    assert_eq!(header("{}"), Err(JwsError::MissingAlgorithm));
    for alg in ["null", "true", "{}", "[\"ES256\"]", "256"] {
        let read = header(&format!(r#"{{"alg":{alg}}}"#));
        assert_eq!(read, Err(JwsError::MemberType { member: "alg" }), "{alg}");
    }
}

#[test]
fn refuses_extensions_and_encryption() {
    for crit in [r#"["exp"]"#, "[]", "null", "1", r#"["b64"]"#] {
        assert_eq!(
            header(&format!(r#"{{"alg":"ES256","crit":{crit}}}"#)),
            Err(JwsError::Critical),
            "{crit}"
        );
    }
    for b64 in ["true", "false"] {
        assert_eq!(
            header(&format!(r#"{{"alg":"ES256","b64":{b64}}}"#)),
            Err(JwsError::UnencodedPayload)
        );
    }
    assert_eq!(
        header(r#"{"alg":"ES256","enc":"A128GCM"}"#),
        Err(JwsError::Encrypted)
    );
    for member in ["kid", "typ", "cty"] {
        for value in ["1", "null", "[]", r#"{"x":"y"}"#] {
            let read = header(&format!(r#"{{"alg":"ES256","{member}":{value}}}"#));
            assert_eq!(
                read,
                Err(JwsError::MemberType { member }),
                "{member} {value}"
            );
        }
    }
    let long = "k".repeat(513);
    let read = header(&format!(r#"{{"alg":"ES256","kid":"{long}"}}"#));
    assert_eq!(
        read,
        Err(JwsError::KidTooLong {
            bytes: 513,
            limit: 512
        })
    );
}

#[test]
fn refuses_headers_that_two_readers_could_read_differently() {
    for text in [
        r#"{"alg":"ES256","alg":"ES256"}"#,
        r#"{"alg":"ES256","\u0061lg":"none"}"#,
        r#"{"kid":"a","alg":"ES256","kid":"b"}"#,
        r#"{"alg":"ES256","x":1,"x":1}"#,
        r#"{"alg":"ES256","x":{"y":1,"y":1}}"#,
    ] {
        let read = header(text);
        assert!(
            matches!(
                read,
                Err(JwsError::HeaderJson(JsonError::DuplicateMember { .. }))
            ),
            "{text} {read:?}"
        );
    }
    for text in ["\"ES256\"", "1", "null", "true", "[{\"alg\":\"ES256\"}]"] {
        assert_eq!(header(text), Err(JwsError::HeaderNotAnObject), "{text}");
    }
    for text in [
        r#"{"alg":"ES256"}x"#,
        r#"{"alg":"ES256",}"#,
        r#"{'alg':'ES256'}"#,
        "{\"alg\":\"ES256\"}\0",
    ] {
        assert!(
            matches!(
                header(text),
                Err(JwsError::HeaderJson(JsonError::Syntax { .. }))
            ),
            "{text}"
        );
    }
    let deep = format!(r#"{{"alg":"ES256","x":{}"#, "[".repeat(5000));
    assert_eq!(
        header(&deep),
        Err(JwsError::HeaderJson(JsonError::TooDeep { limit: 32 }))
    );
    let many: Vec<String> = (0..32).map(|i| format!(r#""m{i}":0"#)).collect();
    let read = header(&format!(r#"{{"alg":"ES256",{}}}"#, many.join(",")));
    assert_eq!(read, Err(JwsError::TooManyMembers { limit: 32 }));
}

#[test]
fn asks_the_verifier_only_with_a_key_that_agrees() {
    let set = keys(&[rsa(), with(p256(), "kid", "e")]);
    let verify = |alg: &str, kid: &str| {
        let token = token(&format!(r#"{{"alg":"{alg}","kid":"{kid}"}}"#));
        parse(&token)
            .unwrap()
            .verify(&set, &NoSecurity)
            .map(|verified| verified.into_payload())
    };
    assert_eq!(verify("RS256", "2011-04-29"), Ok(b"{}".to_vec()));
    assert_eq!(
        verify("RS256", "e"),
        Err(VerifyError::KeyMismatch(KeyMismatch::KeyType {
            key: KeyType::Ec,
            token: Algorithm::Rs256,
        }))
    );
    assert_eq!(
        verify("PS256", "2011-04-29"),
        Err(VerifyError::KeyMismatch(KeyMismatch::Algorithm {
            key: Algorithm::Rs256,
            token: Algorithm::Ps256,
        }))
    );
    assert_eq!(
        verify("ES384", "e"),
        Err(VerifyError::KeyMismatch(KeyMismatch::Curve {
            key: Some(Curve::P256),
            token: Algorithm::Es384,
        }))
    );
    assert_eq!(verify("RS256", "x"), Err(VerifyError::UnknownKid));
    let nameless = token(r#"{"alg":"RS256"}"#);
    let verified = parse(&nameless).unwrap().verify(&set, &NoSecurity);
    assert_eq!(verified.map(|_| ()), Err(VerifyError::MissingKid));
}
